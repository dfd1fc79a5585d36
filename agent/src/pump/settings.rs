//! What a pump is told: the provisioning file, and each of its values also by flag or environment.

use crate::display::texts::Language;
use crate::link::Endpoint;
use crate::provisioned::ProvisionedArgs;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wardlink_protocol::identity::{SecretId, Sha256};
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier};

/// Whether an unpaired pump begins by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// It couples as soon as it runs.
    Auto,
    /// It waits for the button on its display page.
    Manual,
}

/// The flags of `wardlink pump`.
#[derive(Clone, clap::Args)]
pub struct PumpArgs {
    #[command(flatten)]
    provisioned: ProvisionedArgs,
    /// The directory that the pump keeps its keys and its pairing in.
    #[arg(long, env = "WARDLINK_STATE", value_name = "DIR", default_value = "wardlink-pump")]
    state: PathBuf,
    /// Shows the pump's screen as a web page at this address, such as 127.0.0.1:8790.
    #[arg(long, env = "WARDLINK_DISPLAY", value_name = "ADDRESS")]
    pub display: Option<SocketAddr>,
    /// The language of the display in the terminal [default: the system's].
    #[arg(long, env = "WARDLINK_LANGUAGE")]
    pub language: Option<Language>,
    /// Prints one event per line as JSON, instead of the display.
    #[arg(long, env = "WARDLINK_JSON")]
    pub json: bool,
    /// Runs so many pumps; their identifiers, serial numbers and state directories end with -1, -2 and so on.
    #[arg(long, env = "WARDLINK_COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// The serial number on the casing [default: drawn from the identifier].
    #[arg(long, env = "WARDLINK_SERIAL")]
    serial: Option<String>,
    /// Whether an unpaired pump begins by itself or waits for its button.
    #[arg(long, env = "WARDLINK_START", value_enum, default_value_t = Start::Auto)]
    start: Start,
    /// Asks once, and ends when the control unit refuses.
    #[arg(long, env = "WARDLINK_ONCE")]
    once: bool,
    /// Milliseconds between two measurements.
    #[arg(long, env = "WARDLINK_TELEMETRY_MS", value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    telemetry_ms: u64,
    /// Seconds before a refused pump asks again; doubles with each refusal, up to ten minutes.
    #[arg(long, env = "WARDLINK_RETRY_SECS", value_name = "SECONDS", default_value_t = 15)]
    retry_secs: u64,
    /// The pump's display is too small for a QR code.
    #[arg(long, env = "WARDLINK_NO_QR")]
    no_qr: bool,
}

/// What one pump needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Class and identifier.
    pub device: Device,
    /// What it says of itself.
    pub information: DeviceInformation,
    /// The access secret's id.
    pub secret_id: SecretId,
    /// The access secret.
    pub secret: AccessSecret,
    /// SHA-256 of the site's root certificate; none where the hospital could not give it.
    pub cert_ca: Option<Sha256>,
    /// Without it: whether the pump lets itself be paired without verification.
    pub simple_without_cert_ca: bool,
    /// Where the bridge is, before the pairing command says it.
    pub endpoint: Arc<Endpoint>,
    /// The control unit's web origin, where it was provisioned.
    pub web_origin: Option<String>,
    /// The state directory.
    pub state: PathBuf,
    /// Whether it begins by itself.
    pub start: Start,
    /// Whether it ends after a refusal.
    pub once: bool,
    /// Whether it reports an infusion once it is paired.
    pub reports: bool,
    /// The pause between two measurements.
    pub telemetry_every: Duration,
    /// The pause after the first refusal.
    pub retry_pause: Duration,
}

impl PumpArgs {
    /// Reads the provisioning file and puts everything together: the settings of each pump.
    pub fn settings(&self) -> Result<Vec<Settings>> {
        let given = self.provisioned.read("the pump", "infusion-pump", "pump-1")?;
        ensure!(
            !given.is_for_one || self.count == 1,
            "the provisioning file is for one device, and --count asks for {}",
            self.count
        );
        let whole = Settings {
            information: self.information(&given.device),
            device: given.device,
            secret_id: given.secret_id,
            secret: given.secret,
            cert_ca: given.cert_ca,
            simple_without_cert_ca: given.simple_without_cert_ca,
            endpoint: Arc::new(given.endpoint),
            web_origin: given.web_origin,
            state: self.state.clone(),
            start: self.start,
            once: self.once,
            reports: true,
            telemetry_every: Duration::from_millis(self.telemetry_ms),
            retry_pause: Duration::from_secs(self.retry_secs),
        };
        if self.count == 1 {
            return Ok(vec![whole]);
        }
        (1..=self.count).map(|number| self.numbered(&whole, number)).collect()
    }

    /// One of several pumps.
    fn numbered(&self, whole: &Settings, number: u16) -> Result<Settings> {
        let base = whole.device.identifier.as_str();
        // pump-1 is the usual name of one pump; several are pump-1, pump-2, and so on.
        let base = if self.provisioned.identifier.is_none() { base.strip_suffix("-1").unwrap_or(base) } else { base };
        let identifier: DeviceIdentifier = format!("{base}-{number}")
            .parse()
            .with_context(|| format!("{base}-{number} is no identifier; choose a shorter one"))?;
        let device = Device { client: whole.device.client.clone(), identifier };
        let mut information = self.information(&device);
        if let Some(serial) = &self.serial {
            information.serial_number = format!("{serial}-{number}");
        }
        Ok(Settings { information, device, state: whole.state.join(number.to_string()), ..whole.clone() })
    }

    fn information(&self, device: &Device) -> DeviceInformation {
        DeviceInformation {
            device_type: type_of(&device.client),
            family: "PM".to_owned(),
            model: "PM2".to_owned(),
            serial_number: self.serial.clone().unwrap_or_else(|| serial_of(&device.identifier)),
            firmware_version: "1.4.2".to_owned(),
            hardware_id: "PM2-B".to_owned(),
            display: DisplayAbilities { code: true, qr: !self.no_qr, digit_entry: true },
        }
    }
}

/// What people call a class: `infusion-pump` is an infusion pump.
fn type_of(client: &ClientClass) -> String {
    let words = client.as_str().replace('-', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Six digits that are always the same for an identifier (FNV-1a): a casing has its number for life.
pub(crate) fn serial_of(identifier: &DeviceIdentifier) -> String {
    let hash = identifier
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{}", 200_000 + hash % 100_000)
}

#[cfg(test)]
mod tests;

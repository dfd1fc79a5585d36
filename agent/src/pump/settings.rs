//! What a pump is told: the provisioning file, and each of its values also by flag or environment.

use super::software::SoftwareSettings;
use crate::device::factory::{Factory, MAX_FACTORY_BYTES};
use crate::device::handover::PLAN;
use crate::device::image::MAX_IMAGE_BYTES;
use crate::device::records::STORED_BYTES;
use crate::display::texts::Language;
use crate::firmware::{Firmware, FirmwareArgs};
use crate::link::{Endpoint, SiteGateways};
use crate::provisioned::ProvisionedArgs;
use anyhow::{Context, Result, ensure};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wardlink_protocol::identity::{SecretId, Sha256};
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier};
use wardlink_records::sending::Plan;

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
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct PumpArgs {
    /// What is done instead of running a pump.
    #[command(subcommand)]
    pub command: Option<FirmwareArgs>,
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
    /// Milliseconds between two measurements [default: as the pump's image says, 1000 without one].
    #[arg(long, env = "WARDLINK_TELEMETRY_MS", value_name = "MS", value_parser = clap::value_parser!(u64).range(10..))]
    telemetry_ms: Option<u64>,
    /// The factory file of the model: whom the pump trusts for its software. Without it, the pump takes no updates.
    #[arg(long, env = "WARDLINK_FACTORY", value_name = "FILE")]
    factory: Option<PathBuf>,
    /// The image that the pump leaves the factory with; it counts at its first start only [default: revision 1.4.2].
    #[arg(long, env = "WARDLINK_FACTORY_IMAGE", value_name = "FILE")]
    factory_image: Option<PathBuf>,
    /// A folder, such as a stick's, that the pump takes updates from as from a gateway, and at which it hands over its stored data.
    #[arg(long, env = "WARDLINK_SERVICE_PORT", value_name = "FOLDER")]
    service_port: Option<PathBuf>,
    /// The pump's gateway on the network, such as wss://gateway.ward.example:8884: stored data is handed over there. It counts by its certificate of the site.
    #[arg(long, env = "WARDLINK_GATEWAY", value_name = "URL", conflicts_with = "service_port")]
    gateway: Option<String>,
    /// Does without a gateway: the pump keeps a session with the distribution server itself, and takes its updates from there.
    #[arg(long, env = "WARDLINK_DIRECT", conflicts_with_all = ["service_port", "gateway"], requires = "factory")]
    direct: bool,
    /// Milliseconds between two records of stored data.
    #[arg(long, env = "WARDLINK_RECORD_MS", value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(10..))]
    record_ms: u64,
    /// Seconds between two deliveries of stored data; what is urgent goes at once, and whenever it is asked for.
    #[arg(long, env = "WARDLINK_UPLOAD_SECS", value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    upload_secs: u64,
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
    /// Its software; none where it is no pump.
    pub software: Option<SoftwareSettings>,
    /// The pause between two measurements.
    pub telemetry_every: Duration,
    /// The pause between two records of stored data.
    pub record_every: Duration,
    /// When stored data is handed over.
    pub upload: Plan,
    /// How much of it is stored, in bytes.
    pub stored_bytes: u64,
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
            software: Some(self.software()?),
            telemetry_every: Duration::from_millis(self.telemetry_ms.unwrap_or(1_000)),
            record_every: Duration::from_millis(self.record_ms),
            upload: Plan { every_secs: Some(self.upload_secs), ..PLAN },
            stored_bytes: STORED_BYTES,
            retry_pause: Duration::from_secs(self.retry_secs),
        };
        if self.count == 1 {
            return Ok(vec![whole]);
        }
        (1..=self.count).map(|number| self.numbered(&whole, number)).collect()
    }

    fn software(&self) -> Result<SoftwareSettings> {
        let factory = self.factory.as_deref().map(|path| {
            let bytes = read(path, MAX_FACTORY_BYTES)?;
            Factory::parse(&bytes).map(Arc::new).with_context(|| format!("{} cannot be used", path.display()))
        });
        let image = self.factory_image.as_deref().map(|path| {
            let bytes = read(path, MAX_IMAGE_BYTES)?;
            let firmware = Firmware::parse(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
            let image = firmware.factory_image(bytes);
            Ok::<_, anyhow::Error>((firmware, image))
        });
        Ok(SoftwareSettings {
            factory: factory.transpose()?,
            image: image.transpose()?,
            port: self.service_port.clone(),
            gateway: self.gateway.as_deref().map(gateway).transpose()?,
            is_direct: self.direct,
            image_sets_telemetry: self.telemetry_ms.is_none(),
        })
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

/// An address of a gateway, checked before anything begins.
fn gateway(address: &str) -> Result<String> {
    Endpoint::of_gateway(address, SiteGateways::of(Sha256([0; Sha256::LENGTH])))?;
    Ok(address.to_owned())
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
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

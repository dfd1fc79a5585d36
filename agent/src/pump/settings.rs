//! What a pump is told: the provisioning file, and each of its values also by flag or environment.

use crate::display::texts::Language;
use crate::link::{Endpoint, TlsTrust};
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wardlink_protocol::identity::{SecretId, Sha256};
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities};
use wardlink_protocol::provisioning::{AccessSecret, FALLBACK_BROKER, Provisioning};
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier};

/// Whether an unpaired pump begins by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// It couples as soon as it runs.
    Auto,
    /// It waits for the button on its display page.
    Manual,
}

/// The flags of `wardlink pump`. Each value of the provisioning file can be given by flag or environment, too, and counts before
/// the file's.
#[derive(Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct PumpArgs {
    /// The provisioning file (JSON), made in the web app or by the API.
    #[arg(long, env = "WARDLINK_PROVISIONING", value_name = "FILE")]
    provisioning: Option<PathBuf>,
    /// The printed provisioning label instead of the file: the text of its QR code. It holds the access secret, and a flag can be
    /// seen by others on this machine: better the environment.
    #[arg(
        long,
        env = "WARDLINK_LABEL",
        hide_env_values = true,
        value_name = "TEXT",
        conflicts_with = "provisioning",
        value_parser = Provisioning::from_label
    )]
    label: Option<Provisioning>,
    /// The directory that the pump keeps its keys and its pairing in.
    #[arg(long, env = "WARDLINK_STATE", value_name = "DIR", default_value = "wardlink-pump")]
    state: PathBuf,
    /// The device's identifier [default: the file's, or pump-1].
    #[arg(long, env = "WARDLINK_IDENTIFIER")]
    identifier: Option<DeviceIdentifier>,
    /// The device's class [default: the file's, or infusion-pump].
    #[arg(long, env = "WARDLINK_CLIENT")]
    client: Option<ClientClass>,
    /// The broker's address: wss://HOST/mqtt, or ws:// on this machine [default: the file's, or wss://ais-broker/mqtt].
    #[arg(long, env = "WARDLINK_BROKER", value_name = "URL")]
    broker: Option<String>,
    /// The access secret's id.
    #[arg(long, env = "WARDLINK_SECRET_ID", value_name = "ID")]
    secret_id: Option<SecretId>,
    /// The access secret, base64url. A flag can be seen by others on this machine: better the file or the environment.
    #[arg(long, env = "WARDLINK_SECRET", hide_env_values = true)]
    secret: Option<AccessSecret>,
    /// The control unit's web origin, which QR codes name.
    #[arg(long, env = "WARDLINK_WEB_ORIGIN", value_name = "ORIGIN")]
    web_origin: Option<String>,
    /// SHA-256 of the site's root certificate (CertCA), in hexadecimal. Without it the pump asks for the control unit's answer.
    #[arg(long, env = "WARDLINK_CERT_CA_SHA256", value_name = "HASH")]
    cert_ca_sha256: Option<Sha256>,
    /// Without CertCA: lets the control unit pair the pump without verification, in a network that it calls secured.
    #[arg(long, env = "WARDLINK_ALLOW_SIMPLE_WITHOUT_CA")]
    allow_simple_without_ca: bool,
    /// A root certificate for TLS (PEM file); can be given several times.
    #[arg(long, env = "WARDLINK_TLS_ANCHOR", value_name = "FILE", value_delimiter = ',')]
    tls_anchor: Vec<PathBuf>,
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
    /// The pause between two measurements.
    pub telemetry_every: Duration,
    /// The pause after the first refusal.
    pub retry_pause: Duration,
}

impl PumpArgs {
    /// Reads the provisioning file and puts everything together: the settings of each pump.
    pub fn settings(&self) -> Result<Vec<Settings>> {
        let file = self.provisioning.as_deref().map(read_provisioning).transpose()?;
        let file = file.as_ref().or(self.label.as_ref());
        let missing = |what: &str, flag: &str| {
            format!(
                "the pump was not given {what}: use a provisioning file (--provisioning), a label (--label) or {flag}"
            )
        };
        let fixed = file.and_then(|file| file.identifier.clone());
        ensure!(
            fixed.is_none() || self.count == 1,
            "the provisioning file is for one device, and --count asks for {}",
            self.count
        );
        let identifier = self.identifier.clone().or(fixed);
        let identifier = identifier.map_or_else(|| "pump-1".parse().map_err(anyhow::Error::from), Ok)?;
        let client = self.client.clone().or_else(|| file.map(|file| file.client.clone()));
        let client = client.map_or_else(|| "infusion-pump".parse().map_err(anyhow::Error::from), Ok)?;
        let secret_id = self.secret_id.clone().or_else(|| file.map(|file| file.secret_id.clone()));
        let secret = self.secret.clone().or_else(|| file.map(|file| file.secret.clone()));
        let cert_ca = self.cert_ca_sha256.or_else(|| file.and_then(|file| file.cert_ca_sha256));
        let device = Device { client, identifier };
        let whole = Settings {
            information: self.information(&device),
            device,
            secret_id: secret_id.with_context(|| missing("the access secret's id", "--secret-id"))?,
            secret: secret.with_context(|| missing("the access secret", "WARDLINK_SECRET"))?,
            cert_ca,
            simple_without_cert_ca: self.allow_simple_without_ca,
            endpoint: Arc::new(self.endpoint(file, cert_ca.is_some())?),
            web_origin: self.web_origin.clone().or_else(|| file.map(|file| file.web_origin.clone())),
            state: self.state.clone(),
            start: self.start,
            once: self.once,
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
        let base = if self.identifier.is_none() { base.strip_suffix("-1").unwrap_or(base) } else { base };
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

    /// Where nothing was given to check a server by, any server counts until the pairing command says whom to trust. So it is after
    /// a label that had no room for root certificates: there CertCA vouches for the bridge meanwhile.
    fn endpoint(&self, file: Option<&Provisioning>, knows_cert_ca: bool) -> Result<Endpoint> {
        let mut anchors = file.map(|file| file.tls_anchors.clone()).unwrap_or_default();
        for path in &self.tls_anchor {
            anchors.push(read(path)?);
        }
        let mut trust = TlsTrust::from_pem(&anchors, file.is_some_and(|file| file.web_pki))?;
        let is_deferred = self.label.as_ref().is_some_and(Provisioning::tls_is_deferred);
        trust.dangerous_any_server = (is_deferred || !knows_cert_ca) && trust.anchors.is_empty() && !trust.web_pki;
        let broker = self.broker.as_deref().or_else(|| file.map(|file| file.broker.as_str()));
        Ok(Endpoint::new(broker.unwrap_or(FALLBACK_BROKER), &trust)?)
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
fn serial_of(identifier: &DeviceIdentifier) -> String {
    let hash = identifier
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{}", 200_000 + hash % 100_000)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_provisioning(path: &Path) -> Result<Provisioning> {
    let text = read(path)?;
    let file: Provisioning = serde_json::from_str(&text)
        .with_context(|| format!("{} is no provisioning file; make a new one in the web app", path.display()))?;
    if file.version != 1 {
        bail!("{} has version {}, this program knows version 1", path.display(), file.version);
    }
    Ok(file)
}

#[cfg(test)]
mod tests;

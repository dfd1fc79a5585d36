//! What a gateway is told by its command line.

use super::broker::{self, OFFLINE};
use super::devices::{self, Configured, FailAt, Passive};
use super::stored::STORED_BYTES;
use crate::link::{Endpoint, TlsTrust};
use crate::provisioned::ProvisionedArgs;
use crate::pump::settings as pump;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wardlink_protocol::Device;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities};
use wardlink_records::sending::Plan;
use wardlink_update::inventory::Characteristics;
use wardlink_update::package::{HardwareId, Manufacturer, Model, SerialNumber};
use wardlink_update::report::State;

/// Pauses between attempts to begin a session.
pub(crate) const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(2));

/// How long a new program of the gateway has to reach the server.
const TRIAL: Duration = Duration::from_mins(10);

/// The flags of `wardlink gateway run`.
#[derive(Clone, clap::Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    provisioned: ProvisionedArgs,
    /// The directory that the gateway keeps its keys, its store and its packages in.
    #[arg(long, env = "WARDLINK_STATE", value_name = "DIR", default_value = "wardlink-gateway")]
    pub state: PathBuf,
    /// The passive devices for which this gateway speaks and installs (JSON file).
    #[arg(long, env = "WARDLINK_DEVICES", value_name = "FILE")]
    devices: Option<PathBuf>,
    /// The first root of a manufacturer's repository. Without it the one counts that the server names first.
    #[arg(long, value_name = "NAME=ROOT.json")]
    manufacturer: Vec<String>,
    /// A mirror of packages: MANUFACTURER/targets lies under this address. What comes from it is verified like everything else.
    #[arg(long, env = "WARDLINK_MIRROR", value_name = "URL")]
    mirror: Option<String>,
    /// A folder of packages, such as a USB stick, with MANUFACTURER/targets in it; can be given several times.
    #[arg(long, env = "WARDLINK_MEDIA", value_name = "DIR", value_delimiter = ',')]
    media: Vec<PathBuf>,
    /// Seconds between two polls while there is no session, on average.
    #[arg(long, env = "WARDLINK_POLL_SECS", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    poll_secs: u64,
    /// Ends the session when there is nothing to say, instead of keeping it for what the server pushes.
    #[arg(long, env = "WARDLINK_POLL_ONLY")]
    poll_only: bool,
    /// Is the broker of its devices at this address, such as 0.0.0.0:8884: they connect over WebSocket with TLS.
    #[arg(long, env = "WARDLINK_HUB", value_name = "ADDRESS")]
    hub: Option<SocketAddr>,
    /// A host under which devices dial the hub, such as gateway.ward.example; can be given several times [default: the address].
    #[arg(long, env = "WARDLINK_HUB_NAME", value_name = "HOST[:PORT]", value_delimiter = ',', requires = "hub")]
    hub_name: Vec<String>,
    /// Hours that the hub goes on without the server with the rights that it knows; then it lets nobody in.
    #[arg(long, env = "WARDLINK_OFFLINE_HOURS", value_name = "HOURS", default_value_t = OFFLINE.as_secs() / 3_600, value_parser = clap::value_parser!(u64).range(1..=168))]
    offline_hours: u64,
    /// The folder of the ports at which devices hand over their stored data; a pump has it as its service port.
    #[arg(long, env = "WARDLINK_PORTS", value_name = "DIR")]
    ports: Option<PathBuf>,
    /// Seconds between two polls of the devices for their stored data.
    #[arg(long, env = "WARDLINK_COLLECT_SECS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    collect_secs: u64,
    /// Seconds between two uploads of stored data; much of it, and what the server asks for, goes at once.
    #[arg(long, env = "WARDLINK_UPLOAD_SECS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    upload_secs: u64,
    /// How much stored data of its devices the gateway holds until the server has it, in MB.
    #[arg(long, env = "WARDLINK_STORED_MB", value_name = "MB", default_value_t = STORED_BYTES >> 20, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    stored_mb: u64,
    /// Seconds in which a new program of the gateway's own has to reach the server; otherwise it is taken back.
    #[arg(long, env = "WARDLINK_TRIAL_SECS", value_name = "SECONDS", default_value_t = TRIAL.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    trial_secs: u64,
    /// Shows the gateway's status as a web page at this address, such as 127.0.0.1:8791.
    #[arg(long = "status", env = "WARDLINK_STATUS", value_name = "ADDRESS")]
    pub page: Option<SocketAddr>,
    /// Prints one event per line as JSON: of the coupling, the session, updates, stored data, and what does not work.
    #[arg(long, env = "WARDLINK_JSON")]
    pub json: bool,
    /// Who made this gateway.
    #[arg(long, env = "WARDLINK_MADE_BY", value_name = "NAME", default_value = "wardlink")]
    made_by: Manufacturer,
    /// Its model.
    #[arg(long, env = "WARDLINK_MODEL", value_name = "NAME", default_value = "gateway")]
    model: Model,
    /// Its serial number [default: drawn from the identifier].
    #[arg(long, env = "WARDLINK_SERIAL")]
    serial: Option<SerialNumber>,
    /// Its hardware [default: the machine's architecture].
    #[arg(long, env = "WARDLINK_HARDWARE", value_name = "ID")]
    hardware: Option<HardwareId>,
    /// Seconds before a refused gateway asks to be paired again; doubles with each refusal, up to ten minutes.
    #[arg(long, env = "WARDLINK_RETRY_SECS", value_name = "SECONDS", default_value_t = 15)]
    retry_secs: u64,
    /// The folder of the gateway's own programs: with it the gateway updates itself, and this program starts the one that counts.
    #[arg(long, env = "WARDLINK_PROGRAMS", value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Makes a passive device fail, at prepare, at room or at start: for tests of what happens then.
    #[arg(long, value_name = "DEVICE=STEP", hide = true)]
    fail: Vec<String>,
}

/// How a gateway is the broker of its devices.
#[derive(Clone)]
pub struct HubSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// The hosts under which devices dial it; none: its address.
    pub names: Vec<String>,
    /// How long it goes on without the server.
    pub offline: Duration,
}

/// What comes from a mirror.
#[derive(Clone)]
pub struct Mirror {
    /// Its host.
    pub endpoint: Arc<Endpoint>,
    /// The path under which the manufacturers lie.
    pub path: String,
}

/// What a gateway needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Where it keeps everything.
    pub directory: PathBuf,
    /// What it is and runs.
    pub state: State,
    /// The devices for which it speaks.
    pub devices: Vec<Configured>,
    /// At which step some of them fail, in tests.
    pub fail: Vec<(Device, FailAt)>,
    /// The folder of its own programs, where it updates itself.
    pub programs: Option<PathBuf>,
    /// The roots that were given beforehand.
    pub roots: Vec<(Manufacturer, Vec<u8>)>,
    /// A mirror of packages.
    pub mirror: Option<Mirror>,
    /// Folders of packages.
    pub media: Vec<PathBuf>,
    /// How often it polls, on average.
    pub poll_every: Duration,
    /// Whether it keeps its session when there is nothing to say.
    pub keep_session: bool,
    /// The folder of the devices' ports.
    pub ports: Option<PathBuf>,
    /// How it is their broker, where it is.
    pub hub: Option<HubSettings>,
    /// How often the devices are polled for their stored data.
    pub collect_every: Duration,
    /// How often stored data is sent, in any case.
    pub upload_every: Duration,
    /// How much of it is held, in bytes.
    pub stored_bytes: u64,
    /// The first and the longest pause before a new session.
    pub reconnect: (Duration, Duration),
    /// How long a new program of the gateway's own has to reach the server.
    pub trial: Duration,
}

impl Settings {
    pub(super) fn passive(&self) -> Vec<Passive> {
        let fail = |device: &Device| self.fail.iter().find(|(other, _)| other == device).map(|(_, step)| *step);
        self.devices.iter().map(|device| Passive::new(device.clone(), fail(&device.device))).collect()
    }
}

impl GatewayArgs {
    fn hub_settings(&self) -> Result<Option<HubSettings>> {
        let Some(address) = self.hub else { return Ok(None) };
        ensure!(
            !address.ip().is_unspecified() || !self.hub_name.is_empty(),
            "--hub {address} stands for every address of this machine: say by --hub-name how the devices dial it"
        );
        let offline = Duration::from_secs(self.offline_hours * 3_600);
        Ok(Some(HubSettings { address, names: self.hub_name.clone(), offline }))
    }

    /// Puts everything together: what the coupling needs, and what the gateway needs.
    pub fn settings(&self) -> Result<(pump::Settings, Settings)> {
        let given = self.provisioned.read("the gateway", "gateway", "gateway-1")?;
        ensure!(
            given.device.is_gateway(),
            "the provisioning is for a device of class {}, and a gateway has the class gateway",
            given.device.client
        );
        let serial_number = match &self.serial {
            Some(serial) => serial.clone(),
            None => pump::serial_of(&given.device.identifier).parse()?,
        };
        let hardware = match &self.hardware {
            Some(hardware) => hardware.clone(),
            None => std::env::consts::ARCH.parse()?,
        };
        let characteristics = Characteristics {
            device: given.device.clone(),
            manufacturer: self.made_by.clone(),
            model: self.model.clone(),
            serial_number: serial_number.clone(),
            revision: env!("CARGO_PKG_VERSION").parse().context("this program's version is no revision")?,
            hardware: hardware.clone(),
        };
        let information = DeviceInformation {
            device_type: "Gateway".to_owned(),
            family: self.made_by.to_string(),
            model: self.model.to_string(),
            serial_number: serial_number.to_string(),
            firmware_version: env!("CARGO_PKG_VERSION").to_owned(),
            hardware_id: hardware.to_string(),
            display: DisplayAbilities { code: true, qr: true, digit_entry: true },
        };
        let settings = Settings {
            directory: self.state.clone(),
            state: State { characteristics, image: None, release_counter: None, attack: None },
            devices: self.devices.as_deref().map(devices::read).transpose()?.unwrap_or_default(),
            fail: self.fail.iter().map(|text| failing(text)).collect::<Result<_>>()?,
            programs: self.programs.clone(),
            roots: self.manufacturer.iter().map(|text| root(text)).collect::<Result<_>>()?,
            mirror: self.mirror.as_deref().map(|url| mirror(url, &given.endpoint)).transpose()?,
            media: self.media.clone(),
            poll_every: Duration::from_secs(self.poll_secs),
            keep_session: !self.poll_only,
            ports: self.ports.clone().or_else(|| self.hub.map(|_| self.state.join(broker::PORT))),
            hub: self.hub_settings()?,
            collect_every: Duration::from_secs(self.collect_secs),
            upload_every: Duration::from_secs(self.upload_secs),
            stored_bytes: self.stored_mb << 20,
            reconnect: RECONNECT,
            trial: Duration::from_secs(self.trial_secs),
        };
        let coupling = pump::Settings {
            device: given.device,
            information,
            secret_id: given.secret_id,
            secret: given.secret,
            cert_ca: given.cert_ca,
            simple_without_cert_ca: given.simple_without_cert_ca,
            endpoint: Arc::new(given.endpoint),
            web_origin: given.web_origin,
            state: self.state.clone(),
            start: pump::Start::Auto,
            once: false,
            reports: false,
            software: None,
            telemetry_every: Duration::from_mins(1),
            record_every: Duration::from_mins(1),
            upload: Plan::default(),
            stored_bytes: 0,
            retry_pause: Duration::from_secs(self.retry_secs),
        };
        Ok((coupling, settings))
    }
}

fn failing(text: &str) -> Result<(Device, FailAt)> {
    let (device, step) = text.split_once('=').context("--fail is DEVICE=STEP")?;
    let step = step.parse().map_err(anyhow::Error::msg)?;
    Ok((device.parse().context("--fail is DEVICE=STEP")?, step))
}

fn root(text: &str) -> Result<(Manufacturer, Vec<u8>)> {
    let (name, file) = text.split_once('=').context("--manufacturer is NAME=ROOT.json")?;
    let root = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    Ok((name.parse()?, root))
}

/// `https://host/path`, or `http://` on this machine. A mirror is nobody whom one has to trust: the web's certificates are enough.
fn mirror(url: &str, way: &Endpoint) -> Result<Mirror> {
    let socket = match url.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => anyhow::bail!("{url} is no address of a mirror; it looks like https://mirror.example/packages"),
    };
    let trust = TlsTrust { web_pki: true, ..TlsTrust::default() };
    let endpoint = way.elsewhere(&socket, &trust).with_context(|| format!("the mirror {url}"))?;
    let path = endpoint.path().trim_end_matches('/').to_owned();
    Ok(Mirror { endpoint: Arc::new(endpoint), path })
}

#[cfg(test)]
mod tests;

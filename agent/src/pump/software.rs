//! What a pump runs, and how it comes to run something else: the shell between [`crate::device`], the display and whoever brings updates.

mod port;

use super::journal::Event;
use super::settings::Settings;
use super::{Pump, PumpError};
use crate::bundle::{Say, Standing, Step, Told};
use crate::clock;
use crate::device::direct::{self, Driven, Work};
use crate::device::disk::Folder;
use crate::device::factory::Factory;
use crate::device::hub::{Hub, TOLD, Unkept};
use crate::device::job::JobStage;
use crate::device::{Device, DeviceError, Doing, FactoryImage, Identity, Offered};
use crate::display;
use crate::files::put;
use crate::firmware::{self, Firmware, InvalidFirmware};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use port::{Moment, Port};
use serde_bytes::ByteBuf;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::identity::Sha256;
use wardlink_update::package::{InvalidName, Manufacturer};
use wardlink_update::report::State;
use wardlink_update::uptane::{Circumstances, Notification, Outcome, Postponed};

/// Where a pump's own end of the way to its gateway lies in its state directory.
const HUB_FOLDER: &str = "gateway";
/// Where the software lies in a pump's state directory.
const FOLDER: &str = "software";
/// How often a pump looks after its software.
pub(super) const LOOKED_AFTER: Duration = Duration::from_millis(200);
/// How often it looks whether something was put into its service port.
const PORT_LOOKED_AT: Duration = Duration::from_secs(1);
/// How often it says at least what it runs: well before a report is over.
const LAID_DOWN_ANEW: Duration = Duration::from_hours(12);
/// How many pieces of an image it takes before it does something else.
const PIECES_AT_ONCE: usize = 4;

/// What a pump is given beforehand about its software.
#[derive(Clone, Default)]
pub struct SoftwareSettings {
    /// Whom it trusts; none: it takes no updates.
    pub factory: Option<Arc<Factory>>,
    /// The image that it leaves the factory with; none: the built-in one.
    pub image: Option<(Firmware, FactoryImage)>,
    /// A folder in which updates are handed on to it.
    pub port: Option<PathBuf>,
    /// The address of the gateway that it connects to; the port is then the pump's own end of the way there.
    pub gateway: Option<String>,
    /// Whether it does without a gateway.
    pub is_direct: bool,
    /// Whether the pause between measurements is the image's.
    pub image_sets_telemetry: bool,
}

/// Why a pump cannot run its software.
#[derive(Debug, thiserror::Error)]
pub enum SoftwareError {
    /// The device's part.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The image that runs is none of this pump.
    #[error("the pump's image: {0}")]
    Firmware(#[from] InvalidFirmware),
    /// The caller's fault: a serial number, model or hardware that no package can name.
    #[error("the pump's {what} {why}: give it letters and digits")]
    Name {
        /// Of what.
        what: &'static str,
        /// Why not.
        why: InvalidName,
    },
}

/// What a pump has said of its software: what it runs, what came of updates, and how it stands with a set.
type Said = (State, Vec<Notification>, Option<Standing>);

/// A pump's software.
pub(super) struct Software {
    pub(super) driven: Driven,
    firmware: Firmware,
    port: Option<Port>,
    port_at: Instant,
    /// Whether the device has a session of its own.
    pub(super) is_direct: bool,
    /// Whether what lies in the port is this pump's copy of what its gateway has.
    is_copy: bool,
    /// What is shown, so that it is told when it changes.
    shown: Option<display::Update>,
    /// How many outcomes were told to the journal in this run: what nobody has taken yet is told again in the next.
    told: usize,
    /// What was laid down for the gateway last.
    laid_down: Option<Said>,
    /// When that was.
    laid_down_at: Instant,
    /// What is wrong, so that it is told once.
    trouble: Option<String>,
    /// The screen has said that the pump restarts.
    is_restarting: bool,
}

impl Software {
    /// Boots.
    pub(super) fn open(settings: &Settings, given: &SoftwareSettings) -> Result<Self, SoftwareError> {
        let identity = identity(settings, given)?;
        let disk = Folder::open(&settings.state.join(FOLDER)).map_err(DeviceError::Io)?;
        let image = match &given.image {
            Some((_, image)) => image.clone(),
            None => Firmware::built_in()?.1,
        };
        let hardware = identity.hardware.clone();
        let test = |bytes: &[u8], of: &_| firmware::self_test(bytes, of, &hardware);
        let device = Device::open(disk, identity, given.factory.as_deref(), image, test)?;
        let firmware = Firmware::parse(device.image())?;
        let port = settings.port().map(Port::new);
        Ok(Self {
            driven: Driven { device, doing: Doing::Idle, handover: None },
            firmware,
            port,
            port_at: Instant::now(),
            is_direct: given.is_direct,
            is_copy: given.gateway.is_some(),
            shown: None,
            told: 0,
            laid_down: None,
            laid_down_at: Instant::now(),
            trouble: None,
            is_restarting: false,
        })
    }

    pub(super) const fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// Whether there is something that an update can come from, or one on its way.
    pub(super) fn needs_looking_after(&self) -> bool {
        self.port.is_some() || self.is_direct || self.is_restarting || self.driven.device.job().is_some()
    }

    /// What the screen says of the software.
    pub(super) fn screen(&self) -> display::Software {
        display::Software {
            revision: self.firmware.revision.to_string(),
            greeting: self.firmware.greeting.as_ref().map(ToString::to_string),
            update: self.shown.clone(),
        }
    }

    /// Looks into the service port, and says whether it was time to. What cannot be taken there is tried again the next time.
    fn look_at_port(&mut self, cert_ca: Option<&Sha256>) -> Result<bool, DeviceError> {
        let is_due = self.port_at <= Instant::now();
        if is_due {
            self.port_at = Instant::now() + PORT_LOOKED_AT;
            self.take_what_changed(cert_ca)?;
        }
        Ok(is_due)
    }

    /// Takes what lies in the service port, if that has changed.
    fn take_what_changed(&mut self, cert_ca: Option<&Sha256>) -> Result<(), DeviceError> {
        let (Some(port), Some(trusted)) = (&mut self.port, self.driven.device.trusted()) else { return Ok(()) };
        let moment = Moment { site: cert_ca.copied(), now: clock::now(), instant: Instant::now() };
        let Some(handed) = port.changed(trusted, moment)? else { return Ok(()) };
        let identity = self.driven.device.identity();
        if let (Some(signed), Some(cert_ca)) = (&handed.director, cert_ca) {
            match wardlink_crypto::director::verify(signed, &identity.device, cert_ca, clock::now()) {
                Ok(root) => match self.driven.device.directed_by(&root) {
                    Err(DeviceError::Director(refused)) => tracing::warn!(%refused, "a director is not taken"),
                    other => other?,
                },
                Err(error) => tracing::warn!(%error, "a director is not taken"),
            }
        }
        let path = handed.path(&self.driven.device.state());
        match self.driven.device.offer(&handed.offer(path.as_ref()), clock::now().as_secs())? {
            Offered::Refused(refused) => tracing::warn!(%refused, "an update was refused"),
            // It is looked at again when the trial has ended.
            Offered::Busy => return Ok(()),
            Offered::Nothing | Offered::Accepted | Offered::TriedBefore => {}
        }
        port.taken(handed);
        Ok(())
    }

    /// Goes on with the update, as far as the service port has what is wanted, and as it says of the set that it belongs to.
    fn go_on(&mut self, at: &Circumstances) -> Result<Doing, DeviceError> {
        let doing = self.go_on_alone(at)?;
        let device = &mut self.driven.device;
        let Some(job) = device.job().filter(|job| job.is_of_a_set()) else { return Ok(doing) };
        let word = self.port.as_ref().and_then(Port::word);
        let word = word.filter(|word| word.path == job.path && word.directive == job.directive);
        // To go back is to restart as well: no therapy is interrupted by that which may not be.
        let is_held =
            matches!(job.stage, JobStage::OnTrial) && ((at.therapy_runs && !job.package.during_therapy) || !at.is_safe);
        match (word.map(|word| word.say), &doing) {
            (Some(Say::Commit), Doing::Prepared) => device.commit()?,
            (Some(Say::Settle), Doing::WaitsForSet) => device.settle()?,
            (Some(Say::Abort(_)), _) if is_held => return Ok(doing),
            (Some(Say::Abort(reason)), _) if device.abort(reason.as_str())? => return Ok(Doing::Restart),
            (Some(Say::Abort(_)), _) => {}
            _ => return Ok(doing),
        }
        device.go_on(at)
    }

    /// How it stands with a member of a set.
    fn standing(&self) -> Option<Standing> {
        let job = self.driven.device.job().filter(|job| job.is_of_a_set())?;
        let step = match &job.stage {
            JobStage::Prepared { is_committed: false, .. } if self.driven.doing == Doing::Prepared => Step::Prepared,
            // Also while it lies there, and the device cannot change over, such as for a therapy.
            JobStage::Waiting | JobStage::Receiving | JobStage::Prepared { is_committed: false, .. } => Step::Comes,
            JobStage::OnTrial if self.driven.doing == Doing::WaitsForSet => Step::Works,
            JobStage::Prepared { .. } | JobStage::OnTrial => Step::Tries,
        };
        Some(Standing { path: job.path.clone(), directive: job.directive, step })
    }

    fn go_on_alone(&mut self, at: &Circumstances) -> Result<Doing, DeviceError> {
        let before = self.driven.device.job().map(|job| job.retries);
        let mut taken = None;
        let doing = self.take_from_port(at, &mut taken)?;
        // A copy that is damaged is copied once more; what lies on a stick stays there.
        if let (Some(before), Some(job), Some(port), Some(taken)) =
            (before, self.driven.device.job(), &self.port, taken)
            && self.is_copy
            && before < job.retries
        {
            port.forget(&taken).map_err(DeviceError::Io)?;
        }
        Ok(doing)
    }

    /// Says which file of the port was taken from last.
    fn take_from_port(&mut self, at: &Circumstances, taken: &mut Option<PathBuf>) -> Result<Doing, DeviceError> {
        for _ in 0..PIECES_AT_ONCE {
            let doing = self.driven.device.go_on(at)?;
            let Some(port) = &self.port else { return Ok(doing) };
            match (&doing, self.driven.device.job()) {
                (Doing::WantsImage { path, position, .. }, Some(job)) => {
                    let Some(bytes) = port.image(path, &job.target, *position) else { return Ok(doing) };
                    *taken = Some(Port::place_of_image(path, &job.target));
                    self.driven.device.take_image(*position, &bytes, at.now)?;
                }
                (Doing::WantsAdded(added), _) => {
                    let hash = added.file.sha256;
                    let Some(bytes) = port.added(hash) else { return Ok(doing) };
                    *taken = Some(Port::place_of_added(hash));
                    self.driven.device.take_added(hash, &bytes, at.now)?;
                }
                _ => return Ok(doing),
            }
        }
        self.driven.device.go_on(at)
    }

    /// Whether the update waits for something that does not lie in the port.
    fn lacks_something(&self) -> bool {
        let Some(port) = &self.port else { return false };
        match (&self.driven.doing, self.driven.device.job()) {
            (Doing::WantsImage { path, position, .. }, Some(job)) => port.image(path, &job.target, *position).is_none(),
            (Doing::WantsAdded(added), Some(_)) => port.added(added.file.sha256).is_none(),
            _ => false,
        }
    }

    /// Boots the new image, or the old one where the new one does not work.
    fn restart(&mut self) -> Result<(), SoftwareError> {
        let hardware = self.driven.device.identity().hardware.clone();
        self.driven.device.restart(|bytes, of| firmware::self_test(bytes, of, &hardware))?;
        self.firmware = Firmware::parse(self.driven.device.image())?;
        Ok(())
    }

    /// What the display says of an update.
    fn update(&self, doing: &Doing) -> Option<display::Update> {
        let revision = self.driven.device.job().map(|job| job.package.post_revision.to_string());
        let ended = self.driven.device.ended();
        Some(match (doing, revision) {
            (Doing::Postponed(why), Some(revision)) => display::Update::Waits { revision, why: *why },
            (Doing::RetryAt(_), Some(revision)) => display::Update::Comes { revision, percent: 0 },
            (Doing::WantsImage { position, length, .. }, Some(revision)) => {
                let percent = position.saturating_mul(100).checked_div(*length).unwrap_or(0);
                display::Update::Comes { revision, percent: u8::try_from(percent).unwrap_or(100) }
            }
            (Doing::WantsAdded(_), Some(revision)) => display::Update::Comes { revision, percent: 100 },
            (Doing::Prepared | Doing::WaitsForSet, Some(revision)) => display::Update::WaitsForOthers { revision },
            (Doing::Restart, Some(revision)) => display::Update::Restarts { revision },
            _ => {
                let ended = ended?;
                let revision = ended.revision.to_string();
                match &ended.notification.outcome {
                    Outcome::Installed { .. } => display::Update::Installed { revision },
                    Outcome::Failed { reason } | Outcome::Refused { reason, .. } => {
                        display::Update::Failed { revision, reason: reason.to_string() }
                    }
                    Outcome::Corrupt => display::Update::Corrupt { revision },
                    Outcome::Begun | Outcome::Postponed(_) => return None,
                }
            }
        })
    }
}

fn identity(settings: &Settings, given: &SoftwareSettings) -> Result<Identity, SoftwareError> {
    let information = &settings.information;
    let name = |what| move |why| SoftwareError::Name { what, why };
    let manufacturer = given.factory.as_ref().map(|factory| factory.manufacturer.clone());
    let own = || "wardlink".parse::<Manufacturer>().map_err(name("manufacturer"));
    Ok(Identity {
        device: settings.device.clone(),
        manufacturer: manufacturer.map_or_else(own, Ok)?,
        model: information.model.parse().map_err(name("model"))?,
        serial_number: information.serial_number.parse().map_err(name("serial number"))?,
        hardware: information.hardware_id.parse().map_err(name("hardware"))?,
    })
}

impl Settings {
    /// The folder by which the pump and whoever brings it something talk.
    pub(super) fn port(&self) -> Option<PathBuf> {
        let given = self.software.as_ref()?;
        given.gateway.as_ref().map_or_else(|| given.port.clone(), |_| Some(self.state.join(HUB_FOLDER)))
    }
}

/// The way to the pump's gateway, as long as the pump runs.
pub(super) struct HubTask {
    unkept: watch::Receiver<Option<Unkept>>,
    task: JoinHandle<()>,
}

impl HubTask {
    /// What the gateway has and the pump cannot keep, whenever that is something else.
    pub(super) async fn unkept(hub: Option<&mut Self>) -> Option<Unkept> {
        let Some(hub) = hub else { return std::future::pending().await };
        if hub.unkept.changed().await.is_err() {
            return std::future::pending().await;
        }
        hub.unkept.borrow_and_update().clone()
    }
}

impl Drop for HubTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The device's own session, as long as the pump runs.
pub(super) struct Session {
    works: mpsc::Receiver<Work>,
    task: JoinHandle<()>,
}

impl Session {
    /// The next step that it has with the device; where there is no session, there is none.
    pub(super) async fn work(session: Option<&mut Self>) -> Option<Work> {
        match session {
            Some(session) => session.works.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    /// Begins the session of a pump that does without a gateway.
    pub(super) fn begin_session(&self) -> Option<Session> {
        self.settings.software.as_ref().filter(|given| given.is_direct)?;
        let (sender, works) = mpsc::channel(1);
        let task = tokio::spawn(direct::run(sender, self.membership.subscribe()));
        Some(Session { works, task })
    }

    /// Begins to carry letters to the pump's gateway, where it has one on the network.
    pub(super) fn begin_hub(&self) -> Result<Option<HubTask>, PumpError> {
        let address = self.settings.software.as_ref().and_then(|given| given.gateway.clone());
        let Some((address, folder)) = address.zip(self.settings.port()) else { return Ok(None) };
        let takes_updates = self.settings.software.as_ref().is_some_and(|given| given.factory.is_some());
        let hub = Hub::prepare(folder, address, takes_updates)?;
        let unkept = hub.unkept();
        Ok(Some(HubTask { unkept, task: tokio::spawn(hub.run(self.membership.subscribe())) }))
    }

    /// Says what of the gateway's files cannot be kept; an update that has no room is over.
    pub(super) fn not_kept(&mut self, unkept: Unkept) -> Result<(), PumpError> {
        let Unkept { message, is_full } = unkept;
        self.tell(Event::Error { message });
        let Some(software) = self.software.as_mut().filter(|software| is_full && software.lacks_something()) else {
            return Ok(());
        };
        match software.driven.device.has_no_room() {
            Ok(()) => Ok(()),
            Err(error) => Ok(self.wait_out(error)?),
        }
    }

    /// Lays down for the gateway what the pump runs, signed, and what came of its updates, where that has changed.
    fn report_to_gateway(&mut self) -> Result<(), DeviceError> {
        let Some(folder) = self.settings.port() else { return Ok(()) };
        // Whoever has a session of its own reports there.
        let reports = self.settings.software.as_ref().is_some_and(|given| given.gateway.is_some() && !given.is_direct);
        let Some(software) = self.software.as_mut().filter(|_| reports) else { return Ok(()) };
        let standing = software.standing();
        let device = &mut software.driven.device;
        let now = (device.state(), device.outcomes().to_vec(), standing);
        let is_new = software.laid_down_at.elapsed() < LAID_DOWN_ANEW;
        if is_new && software.laid_down.as_ref() == Some(&now) && folder.join(TOLD).exists() {
            return Ok(());
        }
        let other = |error: &dyn core::fmt::Display| DeviceError::Io(io::Error::other(error.to_string()));
        let key = self.key.to_pkcs8().map_err(|error| other(&error))?;
        let key = SigningKey::from_pkcs8_der(&key).map_err(|error| other(&error))?;
        // The counter is above that of every report before, also where the device was restored from an earlier state.
        let at = clock::now().as_secs();
        let report = ByteBuf::from(device.report(&key, at, at)?);
        let outcomes = now.1.iter().filter_map(|outcome| serde_json::to_vec(outcome).ok()).map(ByteBuf::from);
        // The newest count, where there are more than fit.
        let mut told = Told { report, outcomes: outcomes.collect(), standing: now.2.clone() };
        let bytes = loop {
            let bytes = told.encode().map_err(|error| other(&error))?;
            if bytes.len() <= Told::MAX_BYTES || told.outcomes.is_empty() {
                break bytes;
            }
            told.outcomes.remove(0);
        };
        put(&folder.join(TOLD), &bytes).map_err(DeviceError::Io)?;
        (software.laid_down, software.laid_down_at) = (Some(now), Instant::now());
        Ok(())
    }

    /// Lends the device for one step.
    pub(super) fn lend_device(&mut self, work: Work) {
        if let Some(software) = &mut self.software {
            work(&mut software.driven);
        }
    }

    /// How things stand at the pump.
    fn circumstances(&self) -> Circumstances {
        let infusion = self.reporter.as_ref().map(super::reporting::Reporter::infusion);
        Circumstances {
            now: clock::now().as_secs(),
            therapy_runs: infusion.is_some_and(crate::simulation::Infusion::runs),
            is_safe: infusion.is_none_or(|infusion| infusion.alarms().is_empty()),
            is_confirmed: false,
        }
    }

    /// Looks after the software: takes what was handed on, goes on with an update, restarts.
    pub(super) fn look_after_software(&mut self) -> Result<(), PumpError> {
        let at = self.circumstances();
        let cert_ca = self.pairing.as_ref().and_then(DevicePairing::pairing).map(|pairing| pairing.cert_ca);
        let Some(software) = &mut self.software else { return Ok(()) };
        let restarts = software.is_restarting;
        if core::mem::take(&mut software.is_restarting) {
            software.restart()?;
        }
        let looked = software.look_at_port(cert_ca.as_ref());
        let went = looked.and_then(|looked| Ok((looked, software.go_on(&at)?)));
        let doing = match went {
            Ok((looked, doing)) => {
                // Until then what is wrong with the port may still be.
                software.trouble.take_if(|_| looked);
                Some(doing)
            }
            Err(error) => {
                self.wait_out(error)?;
                None
            }
        };
        if restarts {
            self.booted();
        }
        if let Err(error) = self.report_to_gateway() {
            self.wait_out(error)?;
        }
        self.show_software(doing.as_ref());
        Ok(())
    }

    /// The disk may have room again, or be put right: the update stands where it stood. Whatever else is wrong ends the pump.
    fn wait_out(&mut self, error: DeviceError) -> Result<(), SoftwareError> {
        if !error.is_of_disk() {
            return Err(error.into());
        }
        let message = error.to_string();
        let told = self.software.as_mut().and_then(|software| software.trouble.replace(message.clone()));
        if told.as_ref() != Some(&message) {
            self.tell(Event::Error { message });
        }
        Ok(())
    }

    /// Says what runs now.
    pub(super) fn booted(&mut self) {
        let Some(software) = &self.software else { return };
        let firmware = software.firmware().clone();
        self.settings.information.firmware_version = firmware.revision.to_string();
        let given = self.settings.software.as_ref();
        if given.is_some_and(|given| given.image_sets_telemetry) {
            let mut telemetry = interval(Duration::from_millis(firmware.telemetry_ms));
            telemetry.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.times.telemetry = telemetry;
        }
        let screen = software.screen();
        self.screen.send_modify(|shown| shown.software = Some(screen));
        self.tell(Event::Booted { revision: firmware.revision });
    }

    /// Shows and tells how an update stands, where that has changed.
    fn show_software(&mut self, doing: Option<&Doing>) {
        let Some(software) = &mut self.software else { return };
        let mut told = Vec::new();
        let taken = software.driven.device.taken();
        let untold = software.driven.device.outcomes().iter().skip(software.told.saturating_sub(taken));
        // That it has begun is said as it is shown.
        for outcome in untold.filter(|outcome| outcome.outcome != Outcome::Begun) {
            told.push(Event::Update { path: outcome.path.clone(), outcome: outcome.outcome.clone() });
        }
        software.told = taken.saturating_add(software.driven.device.outcomes().len());
        if let Some(doing) = doing {
            software.driven.doing = doing.clone();
            software.is_restarting = *doing == Doing::Restart;
            let update = software.update(doing);
            if update != software.shown {
                software.shown.clone_from(&update);
                let screen = software.screen();
                self.screen.send_modify(|shown| shown.software = Some(screen));
                told.extend(update.map(|update| Event::Updating { update }));
            }
        }
        for event in told {
            self.tell(event);
        }
    }

    /// A person at the pump lets the update be installed.
    pub(super) fn confirm_update(&mut self) -> Result<(), PumpError> {
        let Some(software) = &mut self.software else { return Ok(()) };
        let waits = matches!(software.shown, Some(display::Update::Waits { why: Postponed::Confirmation, .. }));
        if !waits {
            return Ok(());
        }
        match software.driven.device.confirmed_by_person() {
            // What was shown has ended since: the screen says so in a moment.
            Ok(()) | Err(DeviceError::NotWanted(_)) => Ok(()),
            Err(error) => Ok(self.wait_out(error)?),
        }
    }

    /// The pump has left its site: nobody directs it any more.
    pub(super) fn leave_directing_site(&mut self) -> Result<(), PumpError> {
        let Some(software) = &mut self.software else { return Ok(()) };
        software.driven.device.leave_site().map_err(SoftwareError::from)?;
        Ok(())
    }
}

//! `wardlink pump`: a device that couples by itself and then sends what an infusion would. A gateway couples as it does
//! ([`crate::gateway`]), and has other things to do afterwards.
//!
//! The pairing's logic stands in `wardlink_pairing`; here its plan is followed: every state is stored before it is acted on, so
//! that the pump goes on after power or network loss at whatever step it was.

mod coupling;
pub mod journal;
mod membership;
mod orders;
mod recording;
mod reporting;
pub mod settings;
mod software;
mod trust;
mod waiting;

use crate::clock;
use crate::device::hub::HubError;
use crate::device::records::RecordsError;
use crate::display::{Notice, Phase, Screen};
use crate::link::{EndpointError, Link, LinkEvent, Ticket};
use crate::state::{Record, StateDirectory, StateError};
use coupling::{Access, Published, phase_of};
use journal::{Entry, Event};
pub use membership::{MemberKeys, Membership, kept_membership};
use orders::Ordered;
use recording::Recording;
use reporting::Reporter;
use settings::{Settings, Start};
use software::{HubTask, LOOKED_AFTER, Session, Software};
pub use software::{SoftwareError, SoftwareSettings};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
pub use trust::kept_channels;
use trust::{Leaving, Renewing, Trust};
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_pairing::decommission::DecommissionRefusal;
use wardlink_pairing::device::{DevicePairing, Refusal};
use wardlink_pairing::renewal::RenewalRefusal;
use wardlink_protocol::cbor::CborError;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::verification::Answer;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::SealError;
use wardlink_trust::wrap::WrapError;
use zeroize::Zeroizing;

/// Why a pump cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// An address or an anchor of the command.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The pairing could not be begun, stored or restored.
    #[error("the pairing cannot go on: {0}")]
    Pairing(#[from] Refusal),
    /// The stored static key.
    #[error("the stored key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// A report could not be protected.
    #[error("a report cannot be sent: {0}")]
    Seal(#[from] SealError),
    /// An answer about a key could not be made.
    #[error("a key cannot be acknowledged: {0}")]
    Wrap(#[from] WrapError),
    /// The renewal of the certificate could not be begun, stored or restored.
    #[error("the certificate cannot be renewed: {0}")]
    Renewal(#[from] RenewalRefusal),
    /// The receipt of a pump that wiped itself could not be made.
    #[error("the receipt cannot be made: {0}")]
    Decommission(#[from] DecommissionRefusal),
    /// A report could not be encoded.
    #[error("a report cannot be encoded: {0}")]
    Encode(#[from] CborError),
    /// What the pump runs.
    #[error(transparent)]
    Software(#[from] SoftwareError),
    /// The way to its gateway.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// What the pump stores of its data.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The caller's fault: the state belongs to another site.
    #[error(
        "this pump is paired with another site than the provisioning names; use another state directory, or remove this one to pair anew"
    )]
    ForeignSite,
}

impl PumpError {
    /// Whether a disk is at fault, which may take later what it does not take now.
    const fn is_of_disk(&self) -> bool {
        match self {
            Self::State(StateError::Io { .. }) | Self::Records(RecordsError::Io(_)) => true,
            Self::Software(SoftwareError::Device(error)) => error.is_of_disk(),
            _ => false,
        }
    }
}

/// How a pump's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to stop.
    Stopped,
    /// The control unit refused it, and it is to ask only once.
    Refused(RefusalReason),
    /// It wiped itself on an order, and its receipt is delivered.
    Decommissioned,
}

/// What a person can tell a pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The button on the device: couple now.
    Couple,
    /// The keys on the device: the control unit's answer.
    Answer(Answer),
    /// The button on the device: the update that waits may be installed.
    Install,
}

/// What the outside sees of a pump, and how it talks to it.
pub struct Handle {
    /// What it shows.
    pub screen: watch::Receiver<Screen>,
    /// Its buttons.
    pub orders: mpsc::Sender<Order>,
    /// Who it is at its site; none while it is not paired.
    pub membership: watch::Receiver<Option<Membership>>,
}

/// A pump.
pub struct Pump {
    settings: Settings,
    state: StateDirectory,
    key: PrivateKey,
    pairing: Option<DevicePairing>,
    stored: Zeroizing<Vec<u8>>,
    access: Access,
    link: Option<(Link, mpsc::Receiver<LinkEvent>)>,
    published: Option<Published>,
    reporter: Option<Reporter>,
    trust: Option<Trust>,
    ordered: Option<Ordered>,
    renewing: Option<Renewing>,
    software: Option<Software>,
    recording: Option<Recording>,
    leaving: Option<Leaving>,
    /// Whether it had left already when the power went.
    is_gone: bool,
    screen: watch::Sender<Screen>,
    membership: watch::Sender<Option<Membership>>,
    /// The phase that the journal knows.
    told: Option<Phase>,
    journal: mpsc::UnboundedSender<Entry>,
    orders: mpsc::Receiver<Order>,
    online: bool,
    outcome: Option<Outcome>,
    times: Times,
}

/// What a pump has stored of itself.
struct Stored {
    key: PrivateKey,
    pairing: Option<DevicePairing>,
    snapshot: Zeroizing<Vec<u8>>,
    leaving: Option<Leaving>,
    is_gone: bool,
}

impl Stored {
    fn read(state: &StateDirectory) -> Result<Self, PumpError> {
        let made = PrivateKey::make(&mut clock::rng()).to_pkcs8()?;
        let leaving: Option<Leaving> = state.read_value(Record::Decommission)?;
        let is_gone = leaving.as_ref().map(|leaving| leaving.is_over(state)).transpose()?.unwrap_or(false);
        // A pump that has left makes no key for itself any more.
        let key = PrivateKey::from_pkcs8(&if is_gone { made } else { state.static_key(|| made)? })?;
        let snapshot = state.read(Record::Pairing)?;
        let pairing = snapshot.as_ref().map(|snapshot| DevicePairing::restore(snapshot)).transpose()?;
        Ok(Self { key, pairing, snapshot: snapshot.unwrap_or_default(), leaving, is_gone })
    }
}

/// When something is to be done by itself.
struct Times {
    /// The pairing's deadline is looked at.
    check: Option<UnixMillis>,
    /// A refused message is published again.
    publish: Option<Instant>,
    /// The other credential is tried.
    turn: Option<Instant>,
    /// A new request is made.
    ask: Option<UnixMillis>,
    /// The pause before the next new request.
    pause: Duration,
    /// Refused reports are sent again.
    reports: Option<Instant>,
    /// The certificate is renewed, or asked for again.
    renew: Option<UnixMillis>,
    /// The disk, which took nothing, is tried again.
    disk: Option<Instant>,
    /// Measurements.
    telemetry: Interval,
    /// The software.
    software: Interval,
}

impl Pump {
    /// Opens the pump's state and prepares it; nothing is sent before [`Pump::run`].
    pub fn open(mut settings: Settings, journal: mpsc::UnboundedSender<Entry>) -> Result<(Self, Handle), PumpError> {
        let state = StateDirectory::open(&settings.state, &settings.device)?;
        let Stored { key, pairing, snapshot, leaving, is_gone } = Stored::read(&state)?;
        if let Some(kept) = pairing.as_ref().and_then(DevicePairing::pairing)
            && settings.cert_ca.is_some_and(|cert_ca| kept.cert_ca != cert_ca)
        {
            return Err(PumpError::ForeignSite);
        }
        let mut software = settings.software.as_ref().map(|given| Software::open(&settings, given)).transpose()?;
        let recording = software.as_mut().map(|software| software.begin_recording(&settings, &key)).transpose()?;
        if let Some(software) = &software {
            settings.information.firmware_version = software.firmware().revision.to_string();
        }
        let phase = match &pairing {
            Some(pairing) => phase_of(pairing.display()?, None),
            None if settings.start == Start::Manual => Phase::Idle,
            None => Phase::Requesting,
        };
        let screen = Screen {
            device: settings.device.clone(),
            model: settings.information.model.clone(),
            serial: settings.information.serial_number.clone(),
            phase,
            online: false,
            trouble: None,
            infusion: None,
            software: software.as_ref().map(Software::screen),
            notice: Notice::default(),
        };
        let (screen, watched) = watch::channel(screen);
        let (membership, of_site) = watch::channel(None);
        let (buttons, orders) = mpsc::channel(4);
        let mut telemetry = interval(settings.telemetry_every);
        telemetry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked_after = interval(LOOKED_AFTER);
        looked_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let times = Times {
            check: None,
            publish: None,
            turn: None,
            ask: None,
            pause: settings.retry_pause,
            reports: None,
            renew: None,
            disk: None,
            telemetry,
            software: looked_after,
        };
        let pump = Self {
            settings,
            state,
            key,
            pairing,
            stored: snapshot,
            access: Access::default(),
            link: None,
            published: None,
            reporter: None,
            trust: None,
            ordered: None,
            renewing: None,
            software,
            recording,
            leaving,
            is_gone,
            screen,
            membership,
            told: None,
            journal,
            orders,
            online: false,
            outcome: None,
            times,
        };
        Ok((pump, Handle { screen: watched, orders: buttons, membership: of_site }))
    }

    /// Couples and reports until `stop` changes, or the pump has reached its outcome.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Outcome, PumpError> {
        self.tell(Event::Starting);
        self.booted();
        let result = self.live(&mut stop).await;
        if let Err(error) = &result {
            self.tell(Event::Error { message: error.to_string() });
            self.screen.send_modify(|screen| screen.phase = Phase::Fault { message: error.to_string() });
        }
        if let Some((link, events)) = self.link.take() {
            drop(events);
            link.close().await;
        }
        result
    }

    async fn live(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Outcome, PumpError> {
        let mut went = self.begin();
        let mut session = self.begin_session();
        let mut hub = self.begin_hub()?;
        loop {
            if let Err(error) = went {
                self.wait_for_disk(error)?;
            }
            if let Some(outcome) = self.outcome {
                return Ok(outcome);
            }
            let (wake, is_ready) = (self.next_wake(), !self.waits_for_disk());
            went = tokio::select! {
                _ = stop.changed() => return Ok(Outcome::Stopped),
                Some(event) = next_event(self.link.as_mut()) => self.on_link(event),
                Some(order) = self.orders.recv(), if is_ready => match order {
                    Order::Couple => self.on_button(),
                    Order::Answer(answer) => self.enter(answer),
                    Order::Install => self.confirm_update(),
                },
                _ = self.times.telemetry.tick(), if self.reporter.is_some() => self.report(),
                _ = self.times.software.tick(), if self.software.as_ref().is_some_and(Software::needs_looking_after) => self.look_after_software(),
                () = Recording::tick(self.recording.as_mut()) => {
                    self.look_after_records();
                    Ok(())
                }
                Some(work) = Session::work(session.as_mut()) => {
                    self.lend_device(work);
                    Ok(())
                }
                Some(unkept) = HubTask::unkept(hub.as_mut()) => self.not_kept(unkept),
                () = sleep_until(wake) => self.on_time(),
            };
        }
    }

    /// Goes on with what is stored.
    fn begin(&mut self) -> Result<(), PumpError> {
        if self.is_gone {
            self.gone()
        } else if self.leaving.is_some() {
            self.leave()
        } else if self.pairing.is_none() && self.settings.start == Start::Auto {
            self.ask()
        } else {
            self.changed()
        }
    }

    fn on_link(&mut self, event: LinkEvent) -> Result<(), PumpError> {
        if self.waits_for_disk() {
            return self.on_link_meanwhile(&event);
        }
        match event {
            LinkEvent::Connected => {
                self.set_online(true, None);
                self.tell(Event::Connected);
                self.publish_again();
                self.begin_reporting()?;
                self.announce()?;
                self.publish_renewal();
                Ok(())
            }
            LinkEvent::Disconnected { error, again_in } => {
                let reason = error.to_string();
                self.set_online(false, Some(reason.clone()));
                let again_in_ms = u64::try_from(again_in.as_millis()).unwrap_or(u64::MAX);
                self.tell(Event::Disconnected { reason, again_in_ms });
                if error.is_refusal() { self.turned_away() } else { Ok(()) }
            }
            LinkEvent::SubscriptionRefused { .. } => self.turned_away(),
            LinkEvent::Subscribed { .. } => {
                self.let_in();
                Ok(())
            }
            LinkEvent::Message { topic, payload, stamp, receipt } => {
                self.receive(&topic, payload, stamp)?;
                if let Some((link, _)) = &self.link {
                    link.acknowledge(receipt);
                }
                Ok(())
            }
            LinkEvent::Delivered { ticket, .. } => self.delivered(ticket),
            LinkEvent::Refused { ticket, reason } => {
                tracing::warn!(%reason, "the bridge refused a message");
                self.refused(ticket)
            }
        }
    }

    fn on_button(&mut self) -> Result<(), PumpError> {
        let idle = self.pairing.is_none() || self.times.ask.is_some();
        if idle && self.leaving.is_none() { self.ask() } else { Ok(()) }
    }

    fn on_time(&mut self) -> Result<(), PumpError> {
        let (now, instant) = (clock::now(), Instant::now());
        if self.times.reports.is_some_and(|at| at <= instant) {
            self.times.reports = None;
            self.send_waiting();
        }
        if let Some(at) = self.times.disk {
            return if at <= instant { self.begin_anew() } else { Ok(()) };
        }
        if self.times.publish.is_some_and(|at| at <= instant) {
            self.times.publish = None;
            self.publish_again();
        }
        if self.times.turn.is_some_and(|at| at <= instant) {
            self.turn()?;
        }
        if self.times.ask.is_some_and(|at| at <= now) {
            self.ask()?;
        }
        if self.times.check.is_some_and(|at| at <= now) {
            self.check_deadline()?;
        }
        if self.times.renew.is_some_and(|at| at <= now) {
            self.renew()?;
        }
        if self.orders_leave_at().is_some_and(|at| at <= now) {
            self.show_orders();
        }
        self.erase_keys()
    }

    fn next_wake(&self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        if let Some(disk) = self.times.disk {
            return self.times.reports.map_or(disk, |reports| reports.min(disk));
        }
        let now = clock::now();
        let clocks = [self.times.check, self.times.ask, self.times.renew, self.erases_at(), self.orders_leave_at()]
            .into_iter()
            .flatten();
        let clocks = clocks.map(|at| Instant::now() + at.since(now));
        let instants = [self.times.publish, self.times.turn, self.times.reports].into_iter().flatten();
        clocks.chain(instants).fold(far, Instant::min)
    }

    fn delivered(&mut self, ticket: Ticket) -> Result<(), PumpError> {
        if self.published.as_ref().is_some_and(|published| published.ticket == ticket) {
            return self.step_delivered();
        }
        if self.renewal_delivered(ticket)? || self.receipt_delivered(ticket)? {
            return Ok(());
        }
        self.report_delivered(ticket)
    }

    fn refused(&mut self, ticket: Ticket) -> Result<(), PumpError> {
        if self.published.as_ref().is_some_and(|published| published.ticket == ticket) {
            return self.step_refused();
        }
        if self.renewal_refused(ticket) || self.receipt_refused(ticket) {
            return Ok(());
        }
        self.report_refused(ticket);
        Ok(())
    }

    fn set_online(&mut self, online: bool, trouble: Option<String>) {
        self.online = online;
        self.screen.send_modify(|screen| {
            screen.online = online;
            screen.trouble = trouble;
        });
    }

    /// Whoever reads the journal may have gone; the pump works on.
    fn tell(&self, event: Event) {
        let state = self.screen.borrow().phase.name();
        drop(self.journal.send(Entry { event, at: clock::now(), device: self.settings.device.clone(), state }));
    }

    /// Which pump this is.
    pub const fn device(&self) -> &Device {
        &self.settings.device
    }
}

/// The link's next event; a pump without a link waits for other things.
async fn next_event(link: Option<&mut (Link, mpsc::Receiver<LinkEvent>)>) -> Option<LinkEvent> {
    match link {
        Some((_, events)) => events.recv().await,
        None => std::future::pending().await,
    }
}

//! The pairings: messages, people and time reach the state machines of `wardlink_pairing`, and what these ask for is stored.

mod actions;
mod automatic;
mod people;
mod revocation;
mod settings;
mod store;

pub(super) use people::{Counted, Step, act, begin_verification, decide_verification};
pub(super) use revocation::{confirmed, end_all};
pub(super) use settings::{refuse_under, weigh_anew};

use super::{Outcome, Site, audit, classes, decommissioning, devices, keys, locks, renewals, revocations, secrets};
use crate::guard::Origin;
use actions::perform;
use serde_bytes::ByteBuf;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_pairing::control_unit::{Action, Arrived, ControlUnit, Refusal, Session, Signer, session_of};
use wardlink_pairing::device::NetworkAccess;
use wardlink_pairing::policy::Applicant;
use wardlink_protocol::Device;
use wardlink_protocol::api::{PairingView, ProblemKind};
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyFingerprint, SessionId, TrustLevel};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_trust::audit::{Act, Actor, Outcome as Went};

/// What the state machines need of the site, for one call.
struct Needs {
    chain: Vec<ByteBuf>,
    network: NetworkAccess,
    channels: Vec<ChannelKey>,
}

impl Needs {
    /// For calls that neither accept nor confirm.
    fn plain(site: &Site<'_>) -> Result<Self, Failure> {
        let network = NetworkAccess {
            broker_host: String::new(),
            tls_anchors: Vec::new(),
            web_pki: false,
            web_origin: String::new(),
            chain: Vec::new(),
        };
        Ok(Self { chain: site.authority.chain()?, network, channels: Vec::new() })
    }

    /// For acceptance, under the origin where the person met the control unit.
    fn accepting(site: &Site<'_>, origin: &Origin) -> Result<Self, Failure> {
        let network = NetworkAccess {
            broker_host: origin.host().to_owned(),
            tls_anchors: site.anchors.der(),
            web_pki: site.anchors.web_pki(),
            web_origin: origin.to_string(),
            chain: Vec::new(),
        };
        Ok(Self { network, ..Self::plain(site)? })
    }

    /// For calls that may confirm: with the keys of every channel that the device can get.
    fn confirming(site: &Site<'_>, device: &Device) -> Result<Self, Failure> {
        let channels = keys::given(site, device, TrustLevel::Full)?;
        Ok(Self { channels, ..Self::plain(site)? })
    }

    fn control_unit<'a>(&'a self, site: &'a Site<'_>, session: &Session) -> Result<ControlUnit<'a>, Failure> {
        Ok(ControlUnit {
            signer: Signer { key: site.authority.key()?, chain: &self.chain },
            ca: site.authority.issuing_for(session.accepted_at(), site.now)?,
            policy: site.rules.modes(),
            network: &self.network,
            channels: &self.channels,
        })
    }
}

/// Every pairing that people see.
pub(super) fn views(site: &Site<'_>) -> Result<Vec<PairingView>, Failure> {
    store::views(site)
}

/// One pairing as people see it.
pub(super) fn view_of(site: &Site<'_>, session: SessionId) -> Result<PairingView, Failure> {
    store::view_of(site, session)
}

/// Takes a message of T1 or T3. One that is the peer's fault is dropped, and logged; whoever asks on T1 without knowing how is not
/// heard for a while.
pub(super) fn take(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<(), Failure> {
    match message.topic.parse() {
        Ok(Topic::Command(_)) if keys::take_answer(site, message, outcome)? => return Ok(()),
        Ok(Topic::Command(_)) if decommissioning::take_receipt(site, message, outcome)? => return Ok(()),
        Ok(Topic::Renew(_)) => return renewals::take(site, message, outcome),
        _ => {}
    }
    if let Err(refusal) = follow(site, message, outcome)? {
        log!("site: message {} on {} does not count: {refusal}", message.sequence, message.topic);
        if matches!(refusal, Refusal::Message(_) | Refusal::Publisher) {
            outcome.blame(message);
        }
    }
    Ok(())
}

/// Follows a message to its session. The inner result is the peer's fault.
fn follow(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<Result<(), Refusal>, Failure> {
    let known = match session_of(&message.payload) {
        Ok(id) => store::find(site, id)?,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match (known, message.topic.parse()) {
        (Some(mut session), Ok(topic)) => {
            let needs = match topic {
                // Simple mode confirms without a person.
                Topic::Command(_) if is_simple(site, &session) => Needs::confirming(site, session.device())?,
                _ => Needs::plain(site)?,
            };
            let had_failed = session.has_failed();
            match session.receive(message, needs.control_unit(site, &session)?, site.now, &mut rng()) {
                Ok(actions) => step(site, &session, had_failed, actions, outcome).map(Ok),
                Err(refusal) if is_ours(refusal) => Err(Failure::internal(refusal)),
                Err(refusal) => Ok(Err(refusal)),
            }
        }
        (None, Ok(Topic::Register(_))) => arrive(site, message, outcome),
        _ => Ok(Err(Refusal::OutOfPlace)),
    }
}

/// A request of an unknown session (S2, S3). The inner result is the peer's fault.
fn arrive(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<Result<(), Refusal>, Failure> {
    let arrived = match Arrived::parse(message) {
        Ok(arrived) => arrived,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (device, id) = (arrived.origin().device.clone(), arrived.origin().secret.clone());
    if !classes::is_enabled(site.database, &device.client)? {
        log!("site: {device} asks, and its class is not enabled");
        return Ok(Ok(()));
    }
    let Some(found) = secrets::find(site, &id, &device)? else {
        log!("site: {device} asks under the access secret {id}, which does not count for it");
        outcome.blame(message);
        return Ok(Ok(()));
    };
    let paired = devices::find(site.database, &device)?;
    if paired.as_ref().is_some_and(|known| matches!(known.state, DeviceState::Locked | DeviceState::Revoked)) {
        revocations::note_attempts(site, &device, 1, message.accepted_at, outcome)?;
        return Ok(Err(Refusal::WrongState));
    }
    if !store::has_room(site)? {
        log!("site: too many pairings run; the request of {device} is dropped");
        return Ok(Ok(()));
    }
    let network = site.rules.network_of(&message.network);
    // Whoever was revoked has no trust to keep.
    let replaced = paired.as_ref().filter(|known| known.state != DeviceState::Unknown).map(|known| known.trust);
    let mut session = match arrived.open(&found.secret, network, replaced, site.rules.modes()) {
        Ok(session) => session,
        Err(refusal) => return Ok(Err(refusal)),
    };
    secrets::note_use(site, &id)?;
    let asking = audit::device(&device, session.key());
    outcome.notes.put(asking, Act::PairingRequested, &device, format!("access secret {id}"), Went::Begun);
    // A device that begins anew gives up what it asked before.
    for mut earlier in store::running(site, &device)? {
        if earlier.key() == session.key() && earlier.dismiss(site.now).is_ok() {
            store::hide(site, earlier.id(), outcome)?;
            store::put(site, &earlier, outcome)?;
        }
    }
    if locks::is_locked(site.database, &device)? {
        let needs = Needs::plain(site)?;
        let refused = session.refuse_locked(needs.control_unit(site, &session)?, site.now, &mut rng());
        return step(site, &session, false, refused.map_err(Failure::internal)?, outcome).map(Ok);
    }
    let applicant = Applicant { client: &device.client, network, own_secret: found.is_own };
    // Whose key is replaced is for a person to see.
    if paired.is_none() && automatic::accept(site, &session, applicant, outcome)? {
        return Ok(Ok(()));
    }
    step(site, &session, false, Vec::new(), outcome).map(Ok)
}

/// A device subscribed to its T2: what stands there is sent again.
pub(super) fn subscribed(
    site: &Site<'_>,
    device: &Device,
    key: KeyFingerprint,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    for session in store::running(site, device)? {
        perform(site, session.device_subscribed(key), outcome)?;
    }
    Ok(())
}

/// A pairing's time has come.
pub(super) fn handle_time(site: &Site<'_>, id: SessionId, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some(mut session) = store::find(site, id)? else { return Ok(()) };
    let (needs, had_failed) = (Needs::plain(site)?, session.has_failed());
    let actions = session.tick(needs.control_unit(site, &session)?, site.now, &mut rng()).map_err(Failure::internal)?;
    step(site, &session, had_failed, actions, outcome)
}

/// Stores a session's step: its state, what it asks of the bridge, and what people see. `had_failed` is whether its failure
/// has been counted before.
fn step(
    site: &Site<'_>,
    session: &Session,
    had_failed: bool,
    actions: Vec<Action>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let phase = store::put(site, session, outcome)?;
    let closing = |action: &Action| matches!(action, Action::Grant(grant) if grant.state == DeviceState::Closing);
    if actions.iter().any(closing) {
        let reason = session.view(site.rules.modes()).reason;
        let reason = reason.map(|reason| format!("{reason:?}").to_lowercase()).unwrap_or_default();
        outcome.notes.add(Actor::System, Act::PairingEnded, session.device(), reason);
    }
    perform(site, actions, outcome)?;
    if session.has_failed() && !had_failed {
        locks::count_failure(site, session.device(), outcome)?;
    }
    log!("site: pairing {} of {}: {phase:?}", session.id(), session.device());
    Ok(())
}

fn is_simple(site: &Site<'_>, session: &Session) -> bool {
    session.view(site.rules.modes()).mode == Some(Mode::PairingSimple)
}

/// Whether a refusal is our own fault.
const fn is_ours(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoChannels | Refusal::Certificate(_) | Refusal::Snapshot(_))
}

/// A refusal of what a person asked for.
fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::WrongState => ProblemKind::WrongState.into(),
        Refusal::Mode(_) => ProblemKind::ModeNotAllowed.into(),
        Refusal::Text => Failure::with_detail(ProblemKind::BadRequest, "The text is too long."),
        refusal => Failure::internal(refusal),
    }
}

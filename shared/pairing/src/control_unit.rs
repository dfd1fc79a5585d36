//! The control unit's side of a pairing: one [`Session`] for each request.
//!
//! Every call that changes the state returns what is to be done. The shell stores [`Session::snapshot`] together with these
//! [`Action`]s before it performs them, in their order; performing one twice does no harm. An attempt at verification takes two
//! calls, with the store in between: [`Session::begin_attempt`] counts, [`Session::decide`] compares.

use core::net::IpAddr;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::Header;
use wardlink_crypto::schedule::KID_ACCESS_DOWN;
use wardlink_crypto::x509::{IssuingCa, X509Error};
use wardlink_protocol::api::PairingView;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::{ChannelKey, ChannelName};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, SecretId, SessionId, Sha256, TrustLevel};
use wardlink_protocol::limits::{CLOSING_TIME, MAX_NOTE_BYTES, MAX_WRONG_ATTEMPTS};
use wardlink_protocol::pairing::{DeviceInformation, Mode, PairingRefused, RefusalReason, Status};
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::device::NetworkAccess;
use crate::message;
pub use crate::message::{MessageError, Signer};
use crate::policy::{ModeNotAllowed, Network, Policy};

mod acceptance;
mod attempt;
mod finish;
mod request;
mod state;
mod view;

pub(crate) use acceptance::CLOCK_SKEW;
pub use attempt::{Attempt, AttemptRefusal, Begun, PendingAttempt};
pub use request::{Arrived, session_of};

use state::{Ended, Secret, State};

/// The longest stored snapshot.
const MAX_SNAPSHOT_BYTES: usize = 256 * 1024;

/// What a session needs of the site.
#[derive(Clone, Copy)]
pub struct ControlUnit<'a> {
    /// Who signs for the control unit.
    pub signer: Signer<'a>,
    /// The issuing CA.
    pub ca: &'a IssuingCa,
    /// The site's rules.
    pub policy: &'a Policy,
    /// How devices reach the broker; its chain is not used.
    pub network: &'a NetworkAccess,
    /// The channels with their keys that this session's device may have; the session leaves out what asks for more trust.
    pub channels: &'a [ChannelKey],
}

/// What the shell is to do, after it stored the snapshot.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the bridge what a key may do from now on.
    Grant(KeyGrant),
    /// Publish a message at QoS 1. On T2 it is to be readable until another replaces it.
    Publish {
        /// The topic.
        topic: Topic,
        /// The whole COSE message.
        payload: Vec<u8>,
    },
    /// Remove T2, and what is stored there.
    RemoveTopic(Topic),
    /// Record the device: its pairing is finished.
    Paired(Box<PairedDevice>),
}

/// A grant, before the site's table gave it its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// Which key.
    pub key: KeyFingerprint,
    /// Which device the key belongs to.
    pub device: Device,
    /// How far it has come.
    pub state: DeviceState,
    /// The certificates that count.
    pub certificates: Vec<GrantedCertificate>,
    /// The second channels that the device has.
    pub channels: Vec<ChannelName>,
}

impl KeyGrant {
    /// The grant at this version of the site's table.
    pub fn at_version(self, version: u64) -> Grant {
        let Self { key, device, state, certificates, channels } = self;
        Grant { key, device, state, certificates, channels, access: ServiceAccess::default(), version }
    }
}

/// A device that has just been paired.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct PairedDevice {
    /// Which device.
    #[zeroize(skip)]
    pub device: Device,
    /// What it says of itself.
    #[zeroize(skip)]
    pub information: DeviceInformation,
    /// Its static key.
    #[zeroize(skip)]
    pub key: KeyFingerprint,
    /// Its final certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// The certificate's serial number.
    #[zeroize(skip)]
    pub serial: CertificateSerial,
    /// When the certificate ends.
    #[zeroize(skip)]
    pub certificate_ends: UnixMillis,
    /// What the person used: the code or the QR code; or simple.
    #[zeroize(skip)]
    pub mode: Mode,
    /// How far it is trusted.
    #[zeroize(skip)]
    pub trust: TrustLevel,
    /// Its channels, by falling priority, then by name.
    #[zeroize(skip)]
    pub channels: Vec<ChannelName>,
    /// Bed or location.
    #[zeroize(skip)]
    pub location: String,
    /// Who accepted it.
    #[zeroize(skip)]
    pub paired_by: String,
    /// When the pairing was finished.
    #[zeroize(skip)]
    pub paired_at: UnixMillis,
    /// `K_wrap`: under which later epochs of network keys are sent to it.
    #[serde(with = "serde_bytes")]
    pub wrap_key: [u8; 32],
}

/// Why the control unit does not follow a message or a call. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer's fault: the message is refused.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer's fault: the bridge's stamp names another publisher than the one that belongs to the session.
    #[error("the publisher does not belong to the session")]
    Publisher,
    /// The peer's fault: a message for another session or topic, or one that has no meaning now.
    #[error("the message has no meaning in this state")]
    OutOfPlace,
    /// The caller's fault: no longer, or not yet, possible.
    #[error("this is not possible in the pairing's state")]
    WrongState,
    /// The caller's fault: the mode is not allowed.
    #[error(transparent)]
    Mode(#[from] ModeNotAllowed),
    /// The caller's fault: a text that is too long.
    #[error("the text is too long")]
    Text,
    /// Our fault: there is no channel to give to the device.
    #[error("there is no channel for this device")]
    NoChannels,
    /// Our fault: a certificate that cannot be issued.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// Our fault: the snapshot is damaged.
    #[error("the stored state is damaged: {0}")]
    Snapshot(CborError),
}

/// What a person decided on acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The mode that the person asks for; none takes the proposed one.
    pub mode: Option<Mode>,
    /// Bed or location.
    pub location: String,
    /// The person's name.
    pub accepted_by: String,
}

/// The control unit's side of one pairing.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    id: SessionId,
    device: Device,
    information: DeviceInformation,
    key: KeyFingerprint,
    /// The static key, SEC1.
    static_point: ByteBuf,
    /// Ed, SEC1.
    device_ephemeral: ByteBuf,
    commitment: Sha256,
    /// Whether the device was given no CertCA, so that a person enters the answer at it.
    needs_answer: bool,
    request_hash: Sha256,
    /// The kind of network that the request came over: later changes of the policy don't change it.
    network: Network,
    address: Option<IpAddr>,
    /// The access secret of the request; none in snapshots of an earlier version.
    #[serde(default)]
    secret_id: Option<SecretId>,
    /// Whether the verification takes the end of the serial number, too.
    #[serde(default)]
    asks_serial: bool,
    /// The access key downwards, for command and refusal.
    down_key: Secret,
    /// How far the device is trusted by the pairing that this one replaces; T2 outlives an abort then.
    replaces: Option<TrustLevel>,
    location: String,
    accepted_by: Option<String>,
    requested_at: UnixMillis,
    accepted_at: Option<UnixMillis>,
    verifying_at: Option<UnixMillis>,
    confirmed_at: Option<UnixMillis>,
    ended_at: Option<UnixMillis>,
    /// When the present phase ends by itself.
    expires_at: Option<UnixMillis>,
    /// Every counted attempt, with its idempotency key.
    attempts: Vec<Attempt>,
    state: State,
}

impl Session {
    /// The state as bytes, to be stored before the actions are performed. They hold secrets.
    pub fn snapshot(&self) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        cbor::encode(self).map(Zeroizing::new).map_err(Refusal::Snapshot)
    }

    /// The state from a stored snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, Refusal> {
        cbor::unpack(snapshot, MAX_SNAPSHOT_BYTES).map_err(Refusal::Snapshot)
    }

    /// The session's id.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The device that asks.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The device's static key.
    pub const fn key(&self) -> KeyFingerprint {
        self.key
    }

    /// The access secret that the request was made under, as far as the snapshot knows it.
    pub const fn secret_id(&self) -> Option<&SecretId> {
        self.secret_id.as_ref()
    }

    /// Whether it waits for a person to accept it.
    pub const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Requested(_))
    }

    /// The policy has changed: a request that waits is weighed anew. Its kind of network and its end stay as they are.
    pub fn weigh(&mut self, policy: &Policy) {
        if self.is_waiting() {
            self.asks_serial = self.candidates(policy).iter().any(|choice| policy.asks(self.network, *choice));
        }
    }

    /// When [`Session::tick`] is to be called next.
    pub fn deadline(&self) -> Option<UnixMillis> {
        match &self.state {
            State::Ended(ended) => ended.closing_until,
            _ => self.expires_at,
        }
    }

    /// Whether nothing can happen any more: the shell may archive the session.
    pub fn is_over(&self) -> bool {
        match &self.state {
            State::Finished(_) => true,
            State::Ended(ended) => ended.closing_until.is_none(),
            _ => false,
        }
    }

    /// Whether it ended in a way that counts towards locking the identifier.
    pub fn has_failed(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.counts_as_failure)
    }

    /// When somebody accepted it; none before.
    pub const fn accepted_at(&self) -> Option<UnixMillis> {
        self.accepted_at
    }

    /// The pairing as people see it.
    pub fn view(&self, policy: &Policy) -> PairingView {
        view::view(self, policy)
    }

    /// Time has passed: expires what nobody answered in time, and removes T2 after the closing time.
    pub fn tick<R: CryptoRng>(
        &mut self,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        if !self.is_due(now) {
            return Ok(Vec::new());
        }
        let reason = match &mut self.state {
            State::Requested(_) => RefusalReason::RequestExpired,
            State::Commanded(_) | State::Verifying(_) => RefusalReason::VerificationExpired,
            State::Ended(ended) => {
                ended.closing_until = None;
                ended.refused = None;
                let mut actions = vec![Action::Grant(self.grant(DeviceState::Unknown, Vec::new(), Vec::new()))];
                if self.replaces.is_none() {
                    actions.push(Action::RemoveTopic(self.t2()));
                }
                return Ok(actions);
            }
            State::Confirmed(_) | State::Finished(_) => return Ok(Vec::new()),
        };
        self.end(control_unit.signer, reason, String::new(), now, rng)
    }

    /// A person rejects the request; `note` is what the device shows as the reason.
    pub fn reject<R: CryptoRng>(
        &mut self,
        control_unit: ControlUnit<'_>,
        note: String,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        match &self.state {
            State::Requested(_) => self.end(control_unit.signer, RefusalReason::Rejected, note, now, rng),
            _ => Err(Refusal::WrongState),
        }
    }

    /// The identifier is locked: the request is refused at once.
    pub fn refuse_locked<R: CryptoRng>(
        &mut self,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        match &self.state {
            State::Requested(_) => self.end(control_unit.signer, RefusalReason::Locked, String::new(), now, rng),
            _ => Err(Refusal::WrongState),
        }
    }

    /// A person cancels an accepted pairing, up to the confirmation.
    pub fn cancel<R: CryptoRng>(
        &mut self,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        match &self.state {
            State::Commanded(_) | State::Verifying(_) => {
                self.end(control_unit.signer, RefusalReason::Cancelled, String::new(), now, rng)
            }
            _ => Err(Refusal::WrongState),
        }
    }

    /// A person dismisses the request: it is forgotten, and the device is told nothing.
    pub fn dismiss(&mut self, now: UnixMillis) -> Result<(), Refusal> {
        if !matches!(self.state, State::Requested(_)) {
            return Err(Refusal::WrongState);
        }
        self.ended_at = Some(now);
        self.expires_at = None;
        self.state = State::Ended(Ended::default());
        Ok(())
    }

    /// The device subscribed to its T2: what stands there is sent again.
    pub fn device_subscribed(&self, key: KeyFingerprint) -> Vec<Action> {
        let stands = match &self.state {
            _ if key != self.key => None,
            State::Requested(_) | State::Finished(_) => None,
            State::Commanded(state) => Some(&state.command),
            State::Verifying(state) => Some(&state.commanded.command),
            State::Confirmed(state) => Some(&state.confirmation),
            State::Ended(ended) => ended.refused.as_ref(),
        };
        stands.map(|payload| self.publish_t2(payload)).into_iter().collect()
    }

    /// Takes a message of T1 or T3 that says it belongs to this session (S2, S7, S10).
    ///
    /// An error means that the message is not the session's; what is the session's and wrong ends it.
    pub fn receive<R: CryptoRng>(
        &mut self,
        stamped: &StampedMessage,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        if self.is_due(now) {
            return self.tick(control_unit, now, rng);
        }
        let topic: Topic = stamped.topic.parse().map_err(|_| Refusal::OutOfPlace)?;
        if topic == Topic::Register(self.device.client.clone()) {
            return self.receive_request_again(stamped, control_unit, now, rng);
        }
        if topic != Topic::Command(self.device.client.clone()) {
            return Err(Refusal::OutOfPlace);
        }
        let envelope = message::parse(&stamped.payload)?;
        if envelope.header().session != Some(self.id) {
            return Err(Refusal::OutOfPlace);
        }
        self.receive_on_t3(stamped, &envelope, control_unit, now, rng)
    }

    /// Ends the pairing: everything is rolled back, and for a while the device can read why.
    fn end<R: CryptoRng>(
        &mut self,
        signer: Signer<'_>,
        reason: RefusalReason,
        note: String,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(Refusal::Text);
        }
        let accepted = !matches!(self.state, State::Requested(_));
        let counts_as_failure = match reason {
            RefusalReason::WrongCode => true,
            RefusalReason::ProtocolViolation => accepted,
            _ => false,
        };
        let message = PairingRefused { status: Status::PairingRefused, session: self.id, reason, note: note.clone() };
        let header = Header::pairing(KID_ACCESS_DOWN, self.id);
        let refused =
            message::seal_signed(signer, &header, &self.down_key.to_content_key(), &self.t2(), &message, rng)?;
        let refused = ByteBuf::from(refused);
        let actions =
            vec![Action::Grant(self.grant(DeviceState::Closing, Vec::new(), Vec::new())), self.publish_t2(&refused)];
        self.ended_at = Some(now);
        self.expires_at = None;
        self.state = State::Ended(Ended {
            choice: view::choice(&self.state),
            reason: Some(reason),
            note,
            counts_as_failure,
            refused: Some(refused),
            closing_until: Some(now.after(CLOSING_TIME)),
        });
        Ok(actions)
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    fn t2(&self) -> Topic {
        Topic::Device(self.device.clone())
    }

    fn publish_t2(&self, payload: &[u8]) -> Action {
        Action::Publish { topic: self.t2(), payload: payload.to_vec() }
    }

    fn grant(&self, state: DeviceState, certificates: Vec<GrantedCertificate>, channels: Vec<ChannelName>) -> KeyGrant {
        KeyGrant { key: self.key, device: self.device.clone(), state, certificates, channels }
    }

    /// A right attempt costs none; one that is counted and not yet compared does.
    fn attempts_left(&self) -> u32 {
        let counted = self.attempts.iter().filter(|attempt| !attempt.is_right()).count();
        MAX_WRONG_ATTEMPTS.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX))
    }
}

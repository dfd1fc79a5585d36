//! The device's side of a pairing.
//!
//! The shell asks [`DevicePairing::plan`] what to do: as whom to connect, what to subscribe to, what to publish. After every
//! call that returned `Ok` it stores [`DevicePairing::snapshot`] before it follows the plan. Whatever the plan says to publish
//! is published again after each new connection, byte for byte the same.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{Header, Origin};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, KID_ACCESS_DOWN, KID_ACCESS_UP, PairingKeys};
use wardlink_crypto::x509::CertificationRequest;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::{ChannelKey, Direction};
use wardlink_protocol::identity::{SecretId, SessionId, Sha256, TrustLevel};
use wardlink_protocol::limits::{CLOSING_TIME, REQUEST_LIFETIME};
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, PairingRequest, RefusalReason, Status};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::verification::{Answer, VerificationCode, VerificationLink};
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::check::Check;
use crate::message::{self, MessageError};
use crate::policy::Choice;

mod answer;
mod command;
mod confirmation;

pub use answer::{AnswerResult, PendingAnswer};

/// The longest stored snapshot.
const MAX_SNAPSHOT_BYTES: usize = 256 * 1024;

/// What the device was given beforehand. The shell keeps it; it is not part of the snapshot.
#[derive(Clone, Copy)]
pub struct Provisioned<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its static key, made anew for each pairing.
    pub key: &'a PrivateKey,
    /// The access secret's id.
    pub secret_id: &'a SecretId,
    /// The access secret.
    pub secret: &'a AccessSecret,
    /// SHA-256 of the site's root certificate (CertCA); none where the hospital could not give it.
    pub cert_ca: Option<Sha256>,
    /// Without CertCA: whether a local setting lets the device pair without verification. The answer is entered even so.
    pub simple_without_cert_ca: bool,
}

/// Why the device does not follow a message or a call. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer's fault: the message is refused.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer's fault: a message for another session, or one that has no meaning now.
    #[error("the message has no meaning in this state")]
    OutOfPlace,
    /// The caller's fault: not possible in this state.
    #[error("this is not possible now")]
    WrongState,
    /// Our fault: the snapshot is damaged.
    #[error("the stored state is damaged: {0}")]
    Snapshot(CborError),
}

/// As whom the device connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// The bare static key.
    BareKey,
    /// A certificate for the static key, DER.
    Certificate(&'a [u8]),
}

/// What the shell is to do now, and to do again after each new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    /// As whom to connect.
    pub credential: Credential<'a>,
    /// Where to connect and whom to trust for it; none: as provisioned.
    pub network: Option<&'a NetworkAccess>,
    /// The root of the control unit for which the bridge must speak; none: nobody knows it yet, and any will do while the device pairs.
    pub root: Option<Sha256>,
    /// T2, to be subscribed to; before acceptance the bridge refuses, so try again with back-off.
    pub subscribe: Option<Topic>,
    /// What to publish, at QoS 1. Once the broker has acknowledged it, call [`DevicePairing::delivered`].
    pub publish: Option<(Topic, &'a [u8])>,
}

/// How the broker is reached from the command on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAccess {
    /// The name under which the broker is reached, with its port where it is not the usual one.
    pub broker_host: String,
    /// The certificates that count for TLS, DER.
    pub tls_anchors: Vec<ByteBuf>,
    /// Whether the public web PKI counts for TLS, too.
    pub web_pki: bool,
    /// The control unit's web origin.
    pub web_origin: String,
    /// The certificates above the device's own, up to and including the root, DER.
    pub chain: Vec<ByteBuf>,
}

/// What the device's display shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Display {
    /// "Coupling in progress": the request waits for a person.
    Requesting,
    /// What a person is to carry to the control unit; neither in simple mode.
    Verifying {
        /// The eight digits.
        code: Option<VerificationCode>,
        /// The QR code.
        link: Option<VerificationLink>,
        /// When the control unit gives up.
        expires_at: UnixMillis,
    },
    /// Verified at the control unit, which shows an answer: a person is to enter it at the device, which commits nothing before.
    Answering {
        /// Tries that are left.
        tries_left: u32,
        /// When the device gives up.
        expires_at: UnixMillis,
    },
    /// Verified and confirmed; the last message is on its way.
    Confirmed,
    /// "Connection successful".
    Paired,
    /// It ended without success.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// What the person wrote; may be empty.
        note: String,
    },
}

/// What a paired device keeps. It exists from PAIRING_CONFIRMED on, and nothing of the pairing counts before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Pairing {
    /// The final certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// How the broker is reached.
    #[zeroize(skip)]
    pub network: NetworkAccess,
    /// SHA-256 of the root certificate (CertCA).
    #[zeroize(skip)]
    pub cert_ca: Sha256,
    /// How far the device is trusted.
    #[zeroize(skip)]
    pub trust: TrustLevel,
    /// The channels that the device has, with their keys, by falling priority, then by name.
    pub channels: Vec<ChannelKey>,
    /// `K_wrap`: under which later epochs of network keys arrive.
    #[serde(with = "serde_bytes")]
    pub wrap_key: [u8; 32],
}

/// Step 1: the request is on its way.
#[derive(Clone, Serialize, Deserialize)]
struct Requesting {
    request: ByteBuf,
    nonce: Sha256,
    /// Ed, PKCS#8.
    ephemeral: ByteBuf,
    display: DisplayAbilities,
}

/// Step 3: the command was accepted, the answer is on its way, and a person verifies. Everything here is provisional.
#[derive(Clone, Serialize, Deserialize)]
struct Answered {
    command_hash: Sha256,
    /// The root of this pairing (CertCA): as provisioned, or pinned with the command.
    root: Sha256,
    /// For a device without CertCA: when it gives up.
    gives_up_at: Option<UnixMillis>,
    keys: PairingKeys,
    nonce: Sha256,
    choice: Choice,
    certificate: ByteBuf,
    network: NetworkAccess,
    expires_at: UnixMillis,
    verified: ByteBuf,
}

/// Step 4 at a device without CertCA: the confirmation came, and nothing of it counts before the right answer is entered.
#[derive(Clone, Serialize, Deserialize)]
struct Unanswered {
    confirmed: Confirmed,
    answer: Answer,
    /// Answers that were counted; each is counted, and stored so, before it is compared.
    counted: u32,
    gives_up_at: UnixMillis,
}

/// Step 5: confirmed and committed.
#[derive(Clone, Serialize, Deserialize)]
struct Confirmed {
    pairing: Pairing,
    finished: ByteBuf,
    delivered: bool,
}

#[derive(Clone, Serialize, Deserialize)]
enum State {
    Requesting(Requesting),
    Answered(Box<Answered>),
    Unanswered(Box<Unanswered>),
    Confirmed(Box<Confirmed>),
    Refused { reason: RefusalReason, note: String },
}

impl Drop for Requesting {
    fn drop(&mut self) {
        self.nonce.0.zeroize();
        self.ephemeral.zeroize();
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.nonce.0.zeroize();
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.answer.zeroize();
    }
}

/// The device's side of one pairing.
#[derive(Clone, Serialize, Deserialize)]
pub struct DevicePairing {
    device: Device,
    session: SessionId,
    started_at: UnixMillis,
    /// What it was provisioned with when it began: what is known once is never forgotten.
    cert_ca: Option<Sha256>,
    state: State,
    /// The certificate was refused: the reason may wait for the bare key.
    by_bare_key: bool,
}

impl DevicePairing {
    /// Begins a pairing (S2): draws the session, Nd and Ed, and makes the request.
    pub fn start<R: CryptoRng>(
        provisioned: Provisioned<'_>,
        information: DeviceInformation,
        attestation: Vec<ByteBuf>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Self, Refusal> {
        let device = provisioned.device.clone();
        let (mut session, mut nonce) = ([0; SessionId::LENGTH], [0; Sha256::LENGTH]);
        rng.fill_bytes(&mut session);
        rng.fill_bytes(&mut nonce);
        let (session, nonce) = (SessionId(session), Sha256(nonce));
        let ephemeral = PrivateKey::make(rng);
        let display = information.display;
        let csr = CertificationRequest::make(&device, provisioned.key).map_err(MessageError::from)?;
        let request = PairingRequest {
            status: Status::PairingRequest,
            information,
            csr: ByteBuf::from(csr),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
            commitment: schedule::derive_commitment(&session, &nonce).map_err(MessageError::from)?,
            attestation,
            needs_answer: provisioned.cert_ca.is_none(),
        };
        message::check_request(&request)?;
        let origin = Origin { secret: provisioned.secret_id.clone(), device: device.clone() };
        let header = Header { origin: Some(origin), ..Header::pairing(KID_ACCESS_UP, session) };
        let key = access_key(provisioned, Direction::Up, &session)?;
        let topic = Topic::Register(device.client.clone());
        let request = message::seal(&header, &key, &topic, &request, rng)?;
        let mut ephemeral = ephemeral.to_pkcs8().map_err(MessageError::from)?;
        let ephemeral = ByteBuf::from(core::mem::take(&mut *ephemeral));
        let state = State::Requesting(Requesting { request: ByteBuf::from(request), nonce, ephemeral, display });
        let cert_ca = provisioned.cert_ca;
        Ok(Self { device, session, started_at: now, cert_ca, state, by_bare_key: false })
    }

    /// The state as bytes, to be stored before the plan is followed. They hold secrets.
    pub fn snapshot(&self) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        cbor::encode(self).map(Zeroizing::new).map_err(Refusal::Snapshot)
    }

    /// The state from a stored snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, Refusal> {
        let mut restored: Self = cbor::unpack(snapshot, MAX_SNAPSHOT_BYTES).map_err(Refusal::Snapshot)?;
        restored.refuse_after_last_answer();
        Ok(restored)
    }

    /// The session.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// What the shell is to do.
    pub fn plan(&self) -> Plan<'_> {
        let t2 = Topic::Device(self.device.clone());
        let t3 = Topic::Command(self.device.client.clone());
        match &self.state {
            State::Requesting(state) => Plan {
                credential: Credential::BareKey,
                network: None,
                root: self.cert_ca,
                subscribe: Some(t2),
                publish: Some((Topic::Register(self.device.client.clone()), &state.request)),
            },
            State::Answered(state) if self.by_bare_key => Plan {
                credential: Credential::BareKey,
                network: Some(&state.network),
                root: Some(state.root),
                subscribe: Some(t2),
                publish: None,
            },
            State::Answered(state) => Plan {
                credential: Credential::Certificate(&state.certificate),
                network: Some(&state.network),
                root: Some(state.root),
                subscribe: Some(t2),
                publish: Some((t3, &state.verified)),
            },
            State::Unanswered(state) => Plan { publish: None, ..state.confirmed.plan(&self.device) },
            State::Confirmed(state) => state.plan(&self.device),
            State::Refused { .. } => Plan {
                credential: Credential::BareKey,
                network: None,
                root: self.cert_ca,
                subscribe: None,
                publish: None,
            },
        }
    }

    /// What the display shows.
    pub fn display(&self) -> Result<Display, Refusal> {
        Ok(match &self.state {
            State::Requesting(_) => Display::Requesting,
            State::Answered(state) => {
                let check = state.check(self.session, &self.device);
                let code = check.code().map_err(MessageError::from)?;
                let link = check.link().map_err(MessageError::from)?;
                Display::Verifying { code, link, expires_at: state.expires_at }
            }
            State::Unanswered(state) => {
                Display::Answering { tries_left: state.tries_left(), expires_at: state.gives_up_at }
            }
            State::Confirmed(state) if state.delivered => Display::Paired,
            State::Confirmed(_) => Display::Confirmed,
            State::Refused { reason, note } => Display::Refused { reason: *reason, note: note.clone() },
        })
    }

    /// What the device keeps of the pairing; none before PAIRING_CONFIRMED, and at a device without
    /// CertCA none before the right answer.
    pub fn pairing(&self) -> Option<&Pairing> {
        match &self.state {
            State::Confirmed(state) => Some(&state.pairing),
            _ => None,
        }
    }

    /// Erases the network keys and `K_wrap` of a finished pairing, once whoever follows their epochs has stored them elsewhere.
    /// Returns whether there were any.
    pub fn erase_keys(&mut self) -> bool {
        match &mut self.state {
            State::Confirmed(state) if state.delivered && !state.pairing.channels.is_empty() => {
                state.pairing.channels.zeroize();
                state.pairing.wrap_key.zeroize();
                true
            }
            _ => false,
        }
    }

    /// Whether the pairing is finished: confirmed, and PAIRING_FINISHED delivered.
    pub fn is_paired(&self) -> bool {
        matches!(&self.state, State::Confirmed(state) if state.delivered)
    }

    /// Takes a message that arrived on T2.
    pub fn receive<R: CryptoRng>(
        &mut self,
        provisioned: Provisioned<'_>,
        payload: &[u8],
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(), Refusal> {
        let envelope = message::parse(payload)?;
        if envelope.header().session != Some(self.session) {
            return Err(Refusal::OutOfPlace);
        }
        let next = match &self.state {
            State::Requesting(state) => self.receive_command(state, provisioned, &envelope, payload, now, rng)?,
            State::Answered(state) if envelope.header().kid == KID_ACCESS_DOWN => {
                self.receive_again(state, provisioned, &envelope, payload, now)?
            }
            State::Answered(state) => {
                Some(self.receive_confirmation(state, provisioned, &envelope, payload, now, rng)?)
            }
            // Confirmed is for good: a repeated confirmation changes nothing, and a refusal comes too late.
            State::Unanswered(_) | State::Confirmed(_) => None,
            State::Refused { .. } => return Err(Refusal::OutOfPlace),
        };
        match next {
            Some(next) => self.state = next,
            // The command still stands: the pairing goes on, and so does the certificate.
            None => self.by_bare_key = false,
        }
        Ok(())
    }

    /// The broker acknowledged what the plan said to publish.
    pub fn delivered(&mut self, topic: &Topic, payload: &[u8]) {
        let last = matches!(topic, Topic::Command(_));
        if let State::Confirmed(state) = &mut self.state
            && last
            && state.finished.as_slice() == payload
        {
            state.delivered = true;
        }
    }

    /// When [`DevicePairing::expire`] is to be called next.
    pub fn deadline(&self) -> Option<UnixMillis> {
        match &self.state {
            State::Requesting(_) => Some(self.started_at.after(REQUEST_LIFETIME).after(CLOSING_TIME)),
            State::Answered(state) => state.gives_up_at,
            State::Unanswered(state) => Some(state.gives_up_at),
            State::Confirmed(_) | State::Refused { .. } => None,
        }
    }

    /// Gives up a request that nobody answered: the control unit has forgotten it by now; without CertCA also a pairing of which
    /// nobody brought the answer. Returns whether the state changed.
    pub fn expire(&mut self, now: UnixMillis) -> bool {
        let due = self.deadline().is_some_and(|deadline| now >= deadline);
        if due {
            let reason = match self.state {
                State::Requesting(_) => RefusalReason::RequestExpired,
                _ => RefusalReason::VerificationExpired,
            };
            self.state = State::Refused { reason, note: String::new() };
        }
        due
    }

    /// The broker refused the credential of the plan, or the subscription to T2 with it.
    ///
    /// While the answer is out, this means that the control unit ended the pairing, and the bare key can still fetch the reason, so
    /// that the plan changes between the two; or that it knows nothing of it any more. As it may also have confirmed in the last
    /// moment, the device gives up only when the refusal comes after the end of the verification and of the closing time.
    pub fn refused_by_broker(&mut self, now: UnixMillis) {
        if let State::Answered(state) = &self.state {
            if now >= state.expires_at.after(CLOSING_TIME) {
                self.state = State::Refused { reason: RefusalReason::VerificationExpired, note: String::new() };
            } else {
                self.by_bare_key = !self.by_bare_key;
            }
        }
    }
}

impl Confirmed {
    fn plan(&self, device: &Device) -> Plan<'_> {
        let t3 = Topic::Command(device.client.clone());
        Plan {
            credential: Credential::Certificate(&self.pairing.certificate),
            network: Some(&self.pairing.network),
            root: Some(self.pairing.cert_ca),
            subscribe: Some(Topic::Device(device.clone())),
            publish: (!self.delivered).then_some((t3, &self.finished)),
        }
    }
}

impl Answered {
    fn check<'a>(&'a self, session: SessionId, device: &'a Device) -> Check<'a> {
        Check {
            keys: &self.keys,
            nonce: &self.nonce,
            session,
            device,
            choice: self.choice,
            origin: &self.network.web_origin,
        }
    }
}

fn access_key(
    provisioned: Provisioned<'_>,
    direction: Direction,
    session: &SessionId,
) -> Result<wardlink_crypto::cose::ContentKey, MessageError> {
    let Provisioned { device, secret_id, secret, .. } = provisioned;
    Ok(schedule::derive_access_key(secret, direction, secret_id, device, session)?)
}

/// A point of the curve, as messages carry it.
fn point(bytes: &[u8]) -> Result<PublicKey, MessageError> {
    Ok(PublicKey::from_point(bytes)?)
}

//! Step 1 at the control unit: a request arrives.

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{Encrypted, Header, Origin};
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::schedule::{self, KID_ACCESS_UP};
use wardlink_crypto::x509::CertificationRequest;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::{SessionId, TrustLevel};
use wardlink_protocol::pairing::{PairingRequest, RefusalReason, Status};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;

use super::state::{Requested, Secret, State};
use super::{Action, ControlUnit, Refusal, Session};
use crate::message::{self, MessageError};
use crate::policy::{Network, Policy};

/// The session that a message of T1 or T3 says it belongs to; by it the shell finds the [`Session`].
pub fn session_of(payload: &[u8]) -> Result<SessionId, Refusal> {
    message::parse(payload)?.header().session.ok_or(Refusal::Message(MessageError::Header))
}

/// A request of an unknown session, as it arrived on T1. Its origin says which access secret it needs.
pub struct Arrived<'a> {
    stamped: &'a StampedMessage,
    envelope: Encrypted,
    origin: Origin,
    session: SessionId,
}

impl<'a> Arrived<'a> {
    /// Reads the envelope; nothing of it is authentic yet.
    pub fn parse(stamped: &'a StampedMessage) -> Result<Self, Refusal> {
        let envelope = message::parse(&stamped.payload)?;
        let session = envelope.header().session.ok_or(MessageError::Header)?;
        let origin = envelope.header().origin.clone().ok_or(MessageError::Header)?;
        let topic = Topic::Register(origin.device.client.clone());
        if stamped.topic != topic.to_string() {
            return Err(Refusal::OutOfPlace);
        }
        Ok(Self { stamped, envelope, origin, session })
    }

    /// The session.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// Which access secret the request is under, and which device asks.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Opens the request with its access secret (S3). `replaces` says how far the device is trusted by the
    /// pairing that this one replaces, where there is one.
    pub fn open(
        self,
        secret: &AccessSecret,
        network: Network,
        replaces: Option<TrustLevel>,
        policy: &Policy,
    ) -> Result<Session, Refusal> {
        let Self { stamped, envelope, origin, session } = self;
        let derive = |direction| {
            schedule::derive_access_key(secret, direction, &origin.secret, &origin.device, &session)
                .map_err(MessageError::from)
        };
        let topic = Topic::Register(origin.device.client.clone());
        let header = Header { origin: Some(origin.clone()), ..Header::pairing(KID_ACCESS_UP, session) };
        let request: PairingRequest = message::open(&envelope, &header, &derive(Direction::Up)?, &topic)?;
        message::check_request(&request)?;
        let csr = CertificationRequest::parse(&request.csr).map_err(MessageError::from)?;
        if request.status != Status::PairingRequest || *csr.device() != origin.device {
            return Err(MessageError::Contradiction.into());
        }
        PublicKey::from_point(&request.ephemeral).map_err(MessageError::from)?;
        let key = csr.key().fingerprint().map_err(MessageError::from)?;
        let by_bare_key = Publisher::Key { key, device: origin.device.clone(), certificate: None };
        if stamped.publisher != by_bare_key {
            return Err(Refusal::Publisher);
        }
        let down_key = derive(Direction::Down)?;
        let mut opened = Session {
            id: session,
            device: origin.device,
            information: request.information,
            key,
            static_point: ByteBuf::from(csr.key().to_point()),
            device_ephemeral: request.ephemeral,
            commitment: request.commitment,
            needs_answer: request.needs_answer,
            request_hash: schedule::message_hash(&stamped.payload),
            network,
            address: stamped.network.address,
            secret_id: Some(origin.secret),
            asks_serial: false,
            down_key: Secret::new(&down_key).ok_or(MessageError::Contradiction)?,
            replaces,
            location: String::new(),
            accepted_by: None,
            requested_at: stamped.accepted_at,
            accepted_at: None,
            verifying_at: None,
            confirmed_at: None,
            ended_at: None,
            expires_at: Some(stamped.accepted_at.after(policy.request_lifetime)),
            attempts: Vec::new(),
            state: State::Requested(Requested { request: stamped.payload.clone() }),
        };
        opened.weigh(policy);
        Ok(opened)
    }
}

impl Session {
    /// The first request is pinned by its hash: the same bytes again change nothing, anything else ends the pairing.
    pub(super) fn receive_request_again<R: CryptoRng>(
        &mut self,
        stamped: &StampedMessage,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        // Whoever else holds the access secret may know the session; he cannot be its publisher.
        let by_bare_key = Publisher::Key { key: self.key, device: self.device.clone(), certificate: None };
        if stamped.publisher != by_bare_key {
            return Err(Refusal::Publisher);
        }
        if schedule::same(&schedule::message_hash(&stamped.payload), &self.request_hash) {
            return Ok(Vec::new());
        }
        if session_of(&stamped.payload)? != self.id {
            return Err(Refusal::OutOfPlace);
        }
        match &self.state {
            State::Requested(_) | State::Commanded(_) | State::Verifying(_) => {
                self.end(control_unit.signer, RefusalReason::ProtocolViolation, String::new(), now, rng)
            }
            _ => Err(Refusal::OutOfPlace),
        }
    }
}

//! How a service renews its certificate: before it ends, and afterwards too, with its static key, while nobody has revoked it.
//!
//! The exchange is that of a device's renewal, in one question and one answer: signed by the static key, signed by the control unit,
//! and a fresh `K_wrap` from fresh ephemeral keys. The same question gets the same answer. The old certificate and the old `K_wrap` end when the
//! service has shown that it has the new ones, by a question for keys or by asking to have the new certificate replaced; until then both
//! count, so that a lost answer locks nobody out.

use core::time::Duration;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, Header, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::x509::{Certificate, CertificationRequest};
use wardlink_protocol::identity::{CertificateSerial, DeviceIdentifier, KeyFingerprint, SessionId};
use wardlink_protocol::limits::MAX_ENROLMENT_MESSAGE_BYTES;
use wardlink_protocol::pairing::Status;
use wardlink_protocol::service::{ServiceAccess, ServiceRenewal};
use wardlink_protocol::{Device, UnixMillis, cbor};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Asked, Enrolled, EnrolledService, EnrolmentError, Exchange, Wanted};
use crate::message::MessageError;
use crate::renewal::RenewingControlUnit;

/// The AAD of SERVICE_RENEWAL.
const REQUEST_PLACE: &str = "wardlink service renewal";

/// A service that asks for a new certificate. It is stored before [`Renewing::request`] is sent, which can be sent again. It holds a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Renewing {
    #[zeroize(skip)]
    session: SessionId,
    #[zeroize(skip)]
    serial: CertificateSerial,
    /// Ed, PKCS#8.
    #[serde(with = "serde_bytes")]
    ephemeral: Vec<u8>,
    #[zeroize(skip)]
    request: ByteBuf,
}

impl Renewing {
    /// Asks: SERVICE_RENEWAL. `key` is the service's static key.
    pub fn begin<R: CryptoRng>(enrolled: &Enrolled, key: &PrivateKey, rng: &mut R) -> Result<Self, EnrolmentError> {
        let mut session = SessionId([0; SessionId::LENGTH]);
        rng.fill_bytes(&mut session.0);
        let ephemeral = PrivateKey::make(rng);
        let serial = Certificate::parse(&enrolled.certificate)?.serial();
        let message = ServiceRenewal {
            status: Status::ServiceRenewal,
            serial,
            csr: ByteBuf::from(CertificationRequest::make(&Device::service(enrolled.name.clone()), key)?),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
        };
        let kid = key.public().fingerprint().map_err(MessageError::from)?;
        let payload = cbor::encode(&message).map_err(MessageError::from)?;
        // The site knows the key by its fingerprint only: the certificate brings it.
        let chain = vec![enrolled.certificate.clone()];
        let header = Header { chain, ..Header::pairing(kid.as_bytes(), session) };
        let request = cose::sign(&header, key, REQUEST_PLACE.as_bytes(), &payload).map_err(MessageError::from)?;
        let mut ephemeral = ephemeral.to_pkcs8().map_err(MessageError::from)?;
        Ok(Self { session, serial, ephemeral: core::mem::take(&mut *ephemeral), request: ByteBuf::from(request) })
    }

    /// The whole COSE message for the control unit.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether it is for this certificate: another one was renewed meanwhile.
    pub fn is_of(&self, enrolled: &Enrolled) -> bool {
        Certificate::parse(&enrolled.certificate).is_ok_and(|certificate| certificate.serial() == self.serial)
    }

    /// Takes SERVICE_RENEWED; what the service is enrolled with from then on is stored before it is used.
    pub fn finish(
        &self,
        enrolled: &Enrolled,
        key: &PrivateKey,
        answer: &[u8],
        now: UnixMillis,
    ) -> Result<Enrolled, EnrolmentError> {
        let asked = Asked {
            exchange: Exchange::Renewal,
            session: self.session,
            request: &self.request,
            ephemeral: &self.ephemeral,
            name: &enrolled.name,
            id: enrolled.id,
            root: enrolled.root,
        };
        let (renewed, ends) = asked.accept(key, answer, now)?;
        let old = Certificate::parse(&enrolled.certificate)?;
        if ends <= old.validity().not_after {
            return Err(MessageError::Contradiction.into());
        }
        Ok(renewed)
    }
}

/// The certificate of a service that asks, as the site knows it. That the service is not revoked, the caller has checked.
#[derive(Clone, Copy)]
pub struct EnrolledOne<'a> {
    /// The certificate's serial number.
    pub serial: CertificateSerial,
    /// From when on it may be renewed.
    pub from: UnixMillis,
    /// What the service may read and write.
    pub access: &'a ServiceAccess,
}

/// From when on a certificate may be renewed that holds for `lifetime` and ends then: after half of its time.
pub fn renewable_from(ends: UnixMillis, lifetime: Duration) -> UnixMillis {
    UnixMillis(ends.0.saturating_sub(u64::try_from(lifetime.as_millis() / 2).unwrap_or(u64::MAX)))
}

/// Whose key a question is signed with, as it says, before anything of it is authentic.
pub fn asked_by(request: &[u8]) -> Option<KeyFingerprint> {
    let envelope = Signed::parse(request, MAX_ENROLMENT_MESSAGE_BYTES).ok()?;
    KeyFingerprint::try_from(envelope.header().kid.as_slice()).ok()
}

/// SERVICE_RENEWAL, as the service's static key has signed it.
pub struct Asking<'a> {
    name: &'a DeviceIdentifier,
    session: SessionId,
    request: &'a [u8],
    serial: CertificateSerial,
    /// The static key.
    key: PublicKey,
    /// Ed.
    ephemeral: ByteBuf,
}

impl<'a> Asking<'a> {
    /// Opens SERVICE_RENEWAL of the service with this name and this static key.
    pub fn open(name: &'a DeviceIdentifier, key: KeyFingerprint, request: &'a [u8]) -> Result<Self, EnrolmentError> {
        let envelope = Signed::parse(request, MAX_ENROLMENT_MESSAGE_BYTES).map_err(MessageError::from)?;
        let session = envelope.header().session.ok_or(MessageError::Header)?;
        let chain = envelope.header().chain.clone();
        let old = Certificate::parse(chain.first().ok_or(MessageError::Header)?)?;
        let expected = Header { chain, ..Header::pairing(key.as_bytes(), session) };
        // What the certificate says beside its key nobody has verified, and nobody believes.
        if *envelope.header() != expected || old.fingerprint()? != key {
            return Err(MessageError::Header.into());
        }
        let payload = envelope.verify(old.key(), REQUEST_PLACE.as_bytes()).map_err(MessageError::from)?;
        let message: ServiceRenewal = cbor::decode(payload, MAX_ENROLMENT_MESSAGE_BYTES).map_err(MessageError::from)?;
        let csr = CertificationRequest::parse(&message.csr).map_err(MessageError::from)?;
        let is_its_own = *csr.device() == Device::service(name.clone()) && csr.key() == old.key();
        if message.status != Status::ServiceRenewal || !is_its_own {
            return Err(MessageError::Contradiction.into());
        }
        let (serial, ephemeral) = (message.serial, message.ephemeral);
        Ok(Self { name, session, request, serial, key: *csr.key(), ephemeral })
    }

    /// The certificate that the service has, and wants to have replaced. Where it is the one that it was given last, the answer has arrived.
    pub const fn serial(&self) -> CertificateSerial {
        self.serial
    }

    /// Answers, where this is the service's certificate and its time has come.
    pub fn renew<R: CryptoRng>(
        &self,
        enrolled: EnrolledOne<'_>,
        control_unit: RenewingControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<EnrolledService, EnrolmentError> {
        if self.serial != enrolled.serial || now < enrolled.from {
            return Err(MessageError::Contradiction.into());
        }
        let wanted = Wanted {
            exchange: Exchange::Renewal,
            session: self.session,
            request: self.request,
            name: self.name,
            access: enrolled.access,
            key: &self.key,
            ephemeral: &self.ephemeral,
        };
        wanted.issue(control_unit, now, rng)
    }
}

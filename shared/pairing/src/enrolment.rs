//! How a server application ("service") comes to its certificate: a person makes it at the control unit, and carries a text to the
//! machine on which it runs.
//!
//! The text holds a random secret that counts once and for a short time, and the SHA-256 of the site's root. The service asks under
//! a key that is derived from the secret; the control unit keeps only that key. It answers with the certificate, signed, and both
//! derive `K_wrap` by the exchange of a pairing. Nobody who stands between, in TLS or instead of it, learns the secret, enrols in the
//! service's place, or enrols it elsewhere. The same request gets the same answer; any other finds the enrolment used.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{ContentKey, Encrypted, Header};
use wardlink_crypto::key::{PrivateKey, PublicKey, SharedSecret};
use wardlink_crypto::schedule::{self, KID_ENROLMENT, PairingKeys, derive_enrolment_key};
use wardlink_crypto::x509::{Certificate, CertificationRequest, Chain, Holder, Validity, X509Error};
use wardlink_protocol::identity::{CertificateSerial, DeviceIdentifier, KeyFingerprint, Purpose, SessionId, Sha256};
use wardlink_protocol::limits::MAX_ENROLMENT_MESSAGE_BYTES;
use wardlink_protocol::pairing::Status;
use wardlink_protocol::service::{EnrolmentTicket, ServiceAccess, ServiceEnrolled, ServiceEnrolment};
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::control_unit::CLOCK_SKEW;
use crate::message::{self, MessageError};
use crate::renewal::RenewingControlUnit;

pub mod renewal;

/// The AAD of SERVICE_ENROLMENT.
const REQUEST_PLACE: &str = "wardlink service enrolment";

/// What a service asks for a certificate by: the two differ in the words of their messages, and in nothing else that is answered.
#[derive(Clone, Copy)]
enum Exchange {
    Enrolment,
    Renewal,
}

impl Exchange {
    /// What the answer says that it is.
    const fn answered(self) -> Status {
        match self {
            Self::Enrolment => Status::ServiceEnrolled,
            Self::Renewal => Status::ServiceRenewed,
        }
    }

    /// The answer's AAD.
    const fn answer_place(self) -> &'static str {
        match self {
            Self::Enrolment => "wardlink service enrolled",
            Self::Renewal => "wardlink service renewed",
        }
    }

    /// `K_wrap`, from both secrets and both messages.
    fn wrap_key(self, secrets: &[SharedSecret; 2], request: &[u8], answer: &[u8]) -> Result<[u8; 32], MessageError> {
        let [first, second] = secrets;
        let keys = match self {
            Self::Enrolment => PairingKeys::derive_enrolment(first, second, request, answer),
            Self::Renewal => PairingKeys::derive_renewal(first, second, request, answer),
        };
        Ok(*keys?.wrap()?)
    }
}

/// Why an enrolment does not come about. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The peer's fault: the message is refused.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Our fault: a certificate that cannot be issued, or a request that cannot be made.
    #[error(transparent)]
    Certificate(#[from] X509Error),
}

/// A service that asks to be enrolled. It is stored before [`Enrolling::request`] is sent, which can be sent again. It holds secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Enrolling {
    #[zeroize(skip)]
    name: DeviceIdentifier,
    #[zeroize(skip)]
    id: SessionId,
    #[zeroize(skip)]
    root: Sha256,
    /// Ed, PKCS#8.
    #[serde(with = "serde_bytes")]
    ephemeral: Vec<u8>,
    #[zeroize(skip)]
    request: ByteBuf,
}

/// What a service is enrolled with. It holds a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// Its name.
    #[zeroize(skip)]
    pub name: DeviceIdentifier,
    /// Which enrolment.
    #[zeroize(skip)]
    pub id: SessionId,
    /// SHA-256 of the site's root certificate.
    #[zeroize(skip)]
    pub root: Sha256,
    /// Its certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// The certificates above it, up to and including the root, DER.
    #[zeroize(skip)]
    pub chain: Vec<ByteBuf>,
    /// What it may read and write.
    #[zeroize(skip)]
    pub access: ServiceAccess,
    /// `K_wrap`.
    #[serde(with = "serde_bytes")]
    pub wrap_key: [u8; 32],
}

impl Enrolled {
    /// Its certificate and those above it: what it signs with, for whoever knows only the root.
    pub fn whole_chain(&self) -> Vec<ByteBuf> {
        core::iter::once(&self.certificate).chain(&self.chain).cloned().collect()
    }
}

impl Enrolling {
    /// Asks: SERVICE_ENROLMENT. `key` is the service's static key.
    pub fn begin<R: CryptoRng>(
        ticket: &EnrolmentTicket,
        key: &PrivateKey,
        rng: &mut R,
    ) -> Result<Self, EnrolmentError> {
        let ephemeral = PrivateKey::make(rng);
        let message = ServiceEnrolment {
            status: Status::ServiceEnrolment,
            csr: ByteBuf::from(CertificationRequest::make(&Device::service(ticket.name.clone()), key)?),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
        };
        let sealing = derive_enrolment_key(&ticket.secret, &ticket.id, &ticket.name).map_err(MessageError::from)?;
        let header = Header::pairing(KID_ENROLMENT, ticket.id);
        let request = message::seal(&header, &ContentKey::A256(sealing), &REQUEST_PLACE, &message, rng)?;
        let mut ephemeral = ephemeral.to_pkcs8().map_err(MessageError::from)?;
        Ok(Self {
            name: ticket.name.clone(),
            id: ticket.id,
            root: ticket.root,
            ephemeral: core::mem::take(&mut *ephemeral),
            request: ByteBuf::from(request),
        })
    }

    /// Which enrolment it uses.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The whole COSE message for the control unit.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes SERVICE_ENROLLED: from the control unit of the site that the enrolment text names, for this request, this name and this key.
    pub fn finish(&self, key: &PrivateKey, answer: &[u8], now: UnixMillis) -> Result<Enrolled, EnrolmentError> {
        let asked = Asked {
            exchange: Exchange::Enrolment,
            session: self.id,
            request: &self.request,
            ephemeral: &self.ephemeral,
            name: &self.name,
            id: self.id,
            root: self.root,
        };
        Ok(asked.accept(key, answer, now)?.0)
    }
}

/// What a service has asked with, and who it is.
struct Asked<'a> {
    exchange: Exchange,
    /// Which exchange.
    session: SessionId,
    request: &'a [u8],
    /// Ed, PKCS#8.
    ephemeral: &'a [u8],
    name: &'a DeviceIdentifier,
    /// Which enrolment.
    id: SessionId,
    root: Sha256,
}

impl Asked<'_> {
    /// Takes the control unit's answer: what the service is enrolled with, and until when its certificate holds.
    fn accept(
        &self,
        key: &PrivateKey,
        answer: &[u8],
        now: UnixMillis,
    ) -> Result<(Enrolled, UnixMillis), EnrolmentError> {
        let place = self.exchange.answer_place();
        let verified = message::verify(answer, Some(self.session), &place, Some(&self.root), now)?;
        let message: ServiceEnrolled = verified.decode()?;
        let bound = schedule::same(&message.request_hash, &schedule::message_hash(self.request));
        if message.status != self.exchange.answered() || !bound || !message.access.is_reasonable() {
            return Err(MessageError::Contradiction.into());
        }
        let above: Vec<ByteBuf> = message.chain.iter().cloned().chain([verified.root_certificate.clone()]).collect();
        let chain: Vec<ByteBuf> = [message.certificate.clone()].into_iter().chain(above.iter().cloned()).collect();
        let chain = Chain::parse(&chain).map_err(MessageError::from)?;
        let certificate = chain.verify(&self.root, Purpose::Service, now).map_err(MessageError::from)?;
        let named = certificate.holder() == Some(&Holder::Service(self.name.to_string()));
        if !named || *certificate.key() != key.public() {
            return Err(MessageError::Contradiction.into());
        }
        let control_unit = PublicKey::from_point(&message.ephemeral).map_err(MessageError::from)?;
        let ephemeral = PrivateKey::from_pkcs8(self.ephemeral).map_err(MessageError::from)?;
        let secrets = [key.agree(&control_unit), ephemeral.agree(&control_unit)];
        let enrolled = Enrolled {
            name: self.name.clone(),
            id: self.id,
            root: self.root,
            certificate: message.certificate,
            chain: above,
            access: message.access,
            wrap_key: self.exchange.wrap_key(&secrets, self.request, answer)?,
        };
        Ok((enrolled, certificate.validity().not_after))
    }
}

/// A service that a person made, as the site knows it.
#[derive(Clone, Copy)]
pub struct AwaitedService<'a> {
    /// Its name.
    pub name: &'a DeviceIdentifier,
    /// Which enrolment counts.
    pub id: SessionId,
    /// The enrolment's key.
    pub key: &'a [u8; 32],
    /// What it may read and write.
    pub access: &'a ServiceAccess,
}

/// A service that has just been enrolled: everything is stored before the answer is given.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EnrolledService {
    /// SERVICE_ENROLLED, the whole COSE message.
    #[zeroize(skip)]
    pub answer: Vec<u8>,
    /// Its static key.
    #[zeroize(skip)]
    pub key: KeyFingerprint,
    /// Its certificate's serial number.
    #[zeroize(skip)]
    pub serial: CertificateSerial,
    /// When the certificate ends.
    #[zeroize(skip)]
    pub certificate_ends: UnixMillis,
    /// `K_wrap`.
    pub wrap_key: [u8; 32],
}

/// The enrolment for which a request was made, before anything of it is authentic.
pub fn enrolment_of(request: &[u8]) -> Option<SessionId> {
    Encrypted::parse(request, MAX_ENROLMENT_MESSAGE_BYTES).ok()?.header().session
}

/// Takes SERVICE_ENROLMENT. Whether the enrolment still counts, the caller has checked.
pub fn enrol<R: CryptoRng>(
    service: AwaitedService<'_>,
    request: &[u8],
    control_unit: RenewingControlUnit<'_>,
    now: UnixMillis,
    rng: &mut R,
) -> Result<EnrolledService, EnrolmentError> {
    let envelope = Encrypted::parse(request, MAX_ENROLMENT_MESSAGE_BYTES).map_err(MessageError::from)?;
    let header = Header::pairing(KID_ENROLMENT, service.id);
    let key = ContentKey::A256(Zeroizing::new(*service.key));
    let message: ServiceEnrolment = message::open(&envelope, &header, &key, &REQUEST_PLACE)?;
    let csr = CertificationRequest::parse(&message.csr).map_err(MessageError::from)?;
    if message.status != Status::ServiceEnrolment || *csr.device() != Device::service(service.name.clone()) {
        return Err(MessageError::Contradiction.into());
    }
    let wanted = Wanted {
        exchange: Exchange::Enrolment,
        session: service.id,
        request,
        name: service.name,
        access: service.access,
        key: csr.key(),
        ephemeral: &message.ephemeral,
    };
    wanted.issue(control_unit, now, rng)
}

/// A request that counts.
struct Wanted<'a> {
    exchange: Exchange,
    /// Which exchange.
    session: SessionId,
    request: &'a [u8],
    name: &'a DeviceIdentifier,
    access: &'a ServiceAccess,
    /// The service's static key.
    key: &'a PublicKey,
    /// Ed, as a point.
    ephemeral: &'a [u8],
}

impl Wanted<'_> {
    /// Issues the certificate, and answers: the same for an enrolment and a renewal. E is not needed after this.
    fn issue<R: CryptoRng>(
        &self,
        control_unit: RenewingControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<EnrolledService, EnrolmentError> {
        let service_ephemeral = PublicKey::from_point(self.ephemeral).map_err(MessageError::from)?;
        let validity = Validity::from_now(now, CLOCK_SKEW, control_unit.certificate_lifetime);
        let holder = Holder::Service(self.name.to_string());
        let certificate = control_unit.ca.issue(&holder, self.key, validity, rng)?;
        let ephemeral = PrivateKey::make(rng);
        let message = self.message(control_unit, &certificate, &ephemeral);
        let place = self.exchange.answer_place();
        let answer = message::sign(control_unit.signer, Some(self.session), &place, &message)?;
        let secrets = [ephemeral.agree(self.key), ephemeral.agree(&service_ephemeral)];
        let wrap_key = self.exchange.wrap_key(&secrets, self.request, &answer)?;
        Ok(EnrolledService {
            answer,
            key: certificate.fingerprint()?,
            serial: certificate.serial(),
            certificate_ends: certificate.validity().not_after,
            wrap_key,
        })
    }

    /// SERVICE_ENROLLED or SERVICE_RENEWED.
    fn message(
        &self,
        control_unit: RenewingControlUnit<'_>,
        certificate: &Certificate,
        ephemeral: &PrivateKey,
    ) -> ServiceEnrolled {
        ServiceEnrolled {
            status: self.exchange.answered(),
            request_hash: schedule::message_hash(self.request),
            certificate: certificate.to_bytes(),
            chain: control_unit.ca.chain_below_root(),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
            access: self.access.clone(),
        }
    }
}

//! The device's side of a renewal.

use core::time::Duration;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, Header, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, KID_DEVICE, PairingKeys, RenewalParties};
use wardlink_crypto::x509::{Certificate, CertificationRequest, Chain};
use wardlink_protocol::cbor;
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::limits::MAX_RENEWAL_MESSAGE_BYTES;
use wardlink_protocol::pairing::Status;
use wardlink_protocol::renewal::{CertificateRenewal, CertificateRenewed, RenewalFinished};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{MAX_SNAPSHOT_BYTES, RenewalRefusal};
use crate::message::{self, MessageError, Verified};

/// How long a device waits for the answer before it asks anew.
const ANSWER_LIFETIME: Duration = Duration::from_hours(1);

/// What a device needs for a renewal. The shell keeps it; it is not part of the snapshot.
#[derive(Clone, Copy)]
pub struct RenewingDevice<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its static key, which stays.
    pub key: &'a PrivateKey,
    /// Its certificate that is renewed, DER.
    pub certificate: &'a [u8],
    /// SHA-256 of the site's root certificate (CertCA).
    pub cert_ca: &'a Sha256,
}

/// What takes the place of the old certificate and the old `K_wrap`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Renewed {
    /// The new certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// The certificates above it, up to and including the root, DER.
    #[zeroize(skip)]
    pub chain: Vec<ByteBuf>,
    /// The new `K_wrap`. The old one counts beside it until RENEWAL_FINISHED is delivered.
    #[serde(with = "serde_bytes")]
    pub wrap_key: [u8; 32],
}

#[derive(Clone, Serialize, Deserialize)]
enum State {
    /// The request is on its way.
    Requested {
        request: ByteBuf,
        /// Ed, PKCS#8.
        ephemeral: ByteBuf,
    },
    /// The answer came: the new certificate is in use, and the confirmation is on its way.
    Answered {
        renewed: Box<Renewed>,
        /// SHA-256 of the answer: a repetition changes nothing.
        answer: Sha256,
        finished: ByteBuf,
        delivered: bool,
    },
}

/// A renewal at the device. The shell stores [`DeviceRenewal::snapshot`] after every call that returned `Ok`, before it follows
/// [`DeviceRenewal::publishes`]; that is published again after each new connection.
#[derive(Clone, Serialize, Deserialize)]
pub struct DeviceRenewal {
    session: SessionId,
    began_at: UnixMillis,
    state: State,
}

impl DeviceRenewal {
    /// Asks for a new certificate: CERTIFICATE_RENEWAL.
    pub fn begin<R: CryptoRng>(
        device: RenewingDevice<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Self, RenewalRefusal> {
        let mut session = [0; SessionId::LENGTH];
        rng.fill_bytes(&mut session);
        let session = SessionId(session);
        let ephemeral = PrivateKey::make(rng);
        let message = CertificateRenewal {
            status: Status::CertificateRenewal,
            serial: Certificate::parse(device.certificate)?.serial(),
            csr: ByteBuf::from(CertificationRequest::make(device.device, device.key)?),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
        };
        let kid = device.key.public().fingerprint().map_err(MessageError::from)?;
        let header = Header::pairing(kid.as_bytes(), session);
        let topic = Topic::Renew(device.device.client.clone()).to_string();
        let payload = cbor::encode(&message).map_err(MessageError::from)?;
        let request = cose::sign(&header, device.key, topic.as_bytes(), &payload).map_err(MessageError::from)?;
        let mut ephemeral = ephemeral.to_pkcs8().map_err(MessageError::from)?;
        let ephemeral = ByteBuf::from(core::mem::take(&mut *ephemeral));
        Ok(Self { session, began_at: now, state: State::Requested { request: ByteBuf::from(request), ephemeral } })
    }

    /// The state as bytes. They hold secrets.
    pub fn snapshot(&self) -> Result<Zeroizing<Vec<u8>>, RenewalRefusal> {
        cbor::encode(self).map(Zeroizing::new).map_err(RenewalRefusal::Snapshot)
    }

    /// The state from a stored snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, RenewalRefusal> {
        cbor::unpack(snapshot, MAX_SNAPSHOT_BYTES).map_err(RenewalRefusal::Snapshot)
    }

    /// What to publish on the topic for renewals, at QoS 1: the request with the old certificate, then the confirmation with the new
    /// one. Once the bridge has acknowledged it, call [`DeviceRenewal::delivered`].
    pub fn publishes(&self) -> Option<&[u8]> {
        match &self.state {
            State::Requested { request, .. } => Some(request),
            State::Answered { finished, delivered: false, .. } => Some(finished),
            State::Answered { delivered: true, .. } => None,
        }
    }

    /// What takes the place of the old certificate and `K_wrap`, from the answer on.
    pub fn renewed(&self) -> Option<&Renewed> {
        match &self.state {
            State::Requested { .. } => None,
            State::Answered { renewed, .. } => Some(renewed),
        }
    }

    /// Whether the confirmation was delivered: the old certificate and `K_wrap` can be erased, and this state with them.
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Answered { delivered: true, .. })
    }

    /// When the device asks anew, because no answer came.
    pub fn deadline(&self) -> Option<UnixMillis> {
        matches!(self.state, State::Requested { .. }).then(|| self.began_at.after(ANSWER_LIFETIME))
    }

    /// Whether a message on T2 is meant for this renewal.
    pub fn is_answer(&self, payload: &[u8]) -> bool {
        let session = |signed: Signed| signed.header().session;
        Signed::parse(payload, MAX_RENEWAL_MESSAGE_BYTES).is_ok_and(|signed| session(signed) == Some(self.session))
    }

    /// Takes CERTIFICATE_RENEWED, which arrived on T2.
    pub fn receive<R: CryptoRng>(
        &mut self,
        device: RenewingDevice<'_>,
        payload: &[u8],
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(), RenewalRefusal> {
        if payload.len() > MAX_RENEWAL_MESSAGE_BYTES {
            return Err(RenewalRefusal::OutOfPlace);
        }
        let (request, ephemeral) = match &self.state {
            State::Requested { request, ephemeral } => (request, ephemeral),
            State::Answered { answer, .. } if schedule::same(answer, &schedule::message_hash(payload)) => return Ok(()),
            State::Answered { .. } => return Err(RenewalRefusal::OutOfPlace),
        };
        let topic = Topic::Device(device.device.clone());
        let verified = message::verify(payload, Some(self.session), &topic, Some(device.cert_ca), now)?;
        let answer: CertificateRenewed = verified.decode()?;
        let bound = schedule::same(&answer.request_hash, &schedule::message_hash(request));
        if answer.status != Status::CertificateRenewed || !bound {
            return Err(MessageError::Contradiction.into());
        }
        let (certificate, chain) = check_certificate(device, &verified, &answer, now)?;
        let control_unit = PublicKey::from_point(&answer.ephemeral).map_err(MessageError::from)?;
        let ephemeral = PrivateKey::from_pkcs8(ephemeral).map_err(MessageError::from)?;
        let (first, second) = (device.key.agree(&control_unit), ephemeral.agree(&control_unit));
        let keys = PairingKeys::derive_renewal(&first, &second, request, payload).map_err(MessageError::from)?;
        let parties = RenewalParties {
            device: device.device.clone(),
            device_key: device.key.public().fingerprint().map_err(MessageError::from)?,
            control_unit_key: verified.signer.fingerprint()?,
            serial: certificate.serial(),
        };
        let mac = keys.renewal_confirmation(&parties).map_err(MessageError::from)?;
        let message = RenewalFinished { status: Status::RenewalFinished, mac };
        let header = Header::pairing(KID_DEVICE, self.session);
        let key = keys.device().map_err(MessageError::from)?;
        let topic = Topic::Renew(device.device.client.clone());
        let finished = message::seal(&header, &key, &topic, &message, rng)?;
        let wrap_key = *keys.wrap().map_err(MessageError::from)?;
        self.state = State::Answered {
            renewed: Box::new(Renewed { certificate: answer.certificate, chain, wrap_key }),
            answer: schedule::message_hash(payload),
            finished: ByteBuf::from(finished),
            delivered: false,
        };
        Ok(())
    }

    /// The bridge acknowledged what was published on the topic for renewals. Returns whether the renewal is finished with it.
    pub fn delivered(&mut self, payload: &[u8]) -> bool {
        match &mut self.state {
            State::Answered { finished, delivered, .. } if finished.as_slice() == payload => {
                *delivered = true;
                true
            }
            _ => false,
        }
    }
}

/// The new certificate is the device's own, from the same root, and ends later than the old one.
fn check_certificate(
    device: RenewingDevice<'_>,
    verified: &Verified,
    answer: &CertificateRenewed,
    now: UnixMillis,
) -> Result<(Certificate, Vec<ByteBuf>), RenewalRefusal> {
    // The root stands in the control unit's own chain, which was verified.
    let root = verified.root_certificate.clone();
    let above: Vec<ByteBuf> = answer.chain.iter().cloned().chain([root]).collect();
    let chain: Vec<ByteBuf> = [answer.certificate.clone()].into_iter().chain(above.iter().cloned()).collect();
    let chain = Chain::parse(&chain).map_err(MessageError::from)?;
    let certificate = chain.verify(device.cert_ca, device.device.purpose(), now).map_err(MessageError::from)?;
    let old = Certificate::parse(device.certificate)?;
    let own = certificate.device() == Some(device.device) && *certificate.key() == device.key.public();
    let later = certificate.validity().not_after > old.validity().not_after && certificate.serial() != old.serial();
    if own && later { Ok((certificate.clone(), above)) } else { Err(MessageError::Contradiction.into()) }
}

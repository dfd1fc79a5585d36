//! The control unit's side of a renewal.

use core::time::Duration;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{Encrypted, Header, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, KID_DEVICE, PairingKeys, RenewalParties};
use wardlink_crypto::x509::{Certificate, CertificationRequest, Holder, IssuingCa, Validity};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::grant::{DeviceState, GrantedCertificate};
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, SessionId, Sha256, TrustLevel};
use wardlink_protocol::limits::MAX_RENEWAL_MESSAGE_BYTES;
use wardlink_protocol::pairing::{DevicePaired, Status};
use wardlink_protocol::renewal::{CertificateRenewal, CertificateRenewed, RenewalFinished};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{MAX_SNAPSHOT_BYTES, RenewalRefusal, may_renew_from};
use crate::control_unit::{CLOCK_SKEW, KeyGrant};
use crate::message::{self, MessageError, Signer};

/// What a renewal needs of the site.
#[derive(Clone, Copy)]
pub struct RenewingControlUnit<'a> {
    /// Who signs for the control unit.
    pub signer: Signer<'a>,
    /// The issuing CA.
    pub ca: &'a IssuingCa,
    /// How long the new certificate holds.
    pub certificate_lifetime: Duration,
}

/// What the site knows of the device that asks.
#[derive(Clone, Copy)]
pub struct KnownDevice<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its static key.
    pub key: KeyFingerprint,
    /// Its certificate, DER.
    pub certificate: &'a [u8],
    /// How it stands: paired and expired ones renew.
    pub state: DeviceState,
    /// How far it is trusted.
    pub trust: TrustLevel,
    /// Its channels.
    pub channels: &'a [ChannelName],
}

/// What the shell is to do, after it stored the snapshot.
#[derive(Clone, PartialEq, Eq)]
pub enum RenewalAction {
    /// Tell the bridge what the key may do from now on.
    Grant(KeyGrant),
    /// Publish a message at QoS 1. On T2 it is published again when the device subscribes ([`Renewal::standing`]).
    Publish {
        /// The topic.
        topic: Topic,
        /// The whole COSE message.
        payload: Vec<u8>,
    },
    /// Replace certificate and `K_wrap` of the device, put the old certificate on the revocation list as superseded, and wrap for it
    /// under the new `K_wrap` whatever it has not stored.
    Renewed(Box<RenewedDevice>),
}

/// A device that has renewed its certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct RenewedDevice {
    /// Which device.
    #[zeroize(skip)]
    pub device: Device,
    /// The new certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// Its serial number.
    #[zeroize(skip)]
    pub serial: CertificateSerial,
    /// When it ends.
    #[zeroize(skip)]
    pub certificate_ends: UnixMillis,
    /// The certificate that it replaces.
    #[zeroize(skip)]
    pub replaces: CertificateSerial,
    /// The new `K_wrap`.
    #[serde(with = "serde_bytes")]
    pub wrap_key: [u8; 32],
}

/// The control unit's side of one device's renewal. A device has one at a time; a new request takes the place of an earlier one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Renewal {
    session: SessionId,
    device: Device,
    request_hash: Sha256,
    /// The whole COSE message.
    answer: ByteBuf,
    /// The control unit's key that signed it.
    signer: KeyFingerprint,
    keys: PairingKeys,
    certificate: ByteBuf,
    replaces: CertificateSerial,
    finished: bool,
}

impl Renewal {
    /// Takes a message from the topic for renewals. `before` is the device's renewal so far, if there is one. The device is the one
    /// that the bridge's stamp names.
    pub fn receive<R: CryptoRng>(
        before: Option<Self>,
        stamped: &StampedMessage,
        known: KnownDevice<'_>,
        control_unit: RenewingControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(Self, Vec<RenewalAction>), RenewalRefusal> {
        if !matches!(known.state, DeviceState::Paired | DeviceState::Expired) {
            return Err(RenewalRefusal::NotTrusted);
        }
        if stamped.topic != Topic::Renew(known.device.client.clone()).to_string() {
            return Err(RenewalRefusal::OutOfPlace);
        }
        if let Ok(envelope) = Encrypted::parse(&stamped.payload, MAX_RENEWAL_MESSAGE_BYTES) {
            return before.ok_or(RenewalRefusal::OutOfPlace)?.finish(&envelope, stamped, known, control_unit);
        }
        match before {
            // The same bytes again: the answer was lost.
            Some(before) if before.answers(&stamped.payload) => {
                let actions = before.standing().map(|(topic, payload)| RenewalAction::Publish { topic, payload });
                Ok((before, actions.into_iter().collect()))
            }
            _ => Self::answer(stamped, known, control_unit, now, rng),
        }
    }

    /// The state as bytes. They hold secrets.
    pub fn snapshot(&self) -> Result<Zeroizing<Vec<u8>>, RenewalRefusal> {
        cbor::encode(self).map(Zeroizing::new).map_err(RenewalRefusal::Snapshot)
    }

    /// The state from a stored snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, RenewalRefusal> {
        cbor::unpack(snapshot, MAX_SNAPSHOT_BYTES).map_err(RenewalRefusal::Snapshot)
    }

    /// What stands on the device's T2, until the device has confirmed.
    pub fn standing(&self) -> Option<(Topic, Vec<u8>)> {
        (!self.finished).then(|| (Topic::Device(self.device.clone()), self.answer.to_vec()))
    }

    /// Whether the device has confirmed.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    fn answers(&self, request: &[u8]) -> bool {
        schedule::same(&self.request_hash, &schedule::message_hash(request))
    }

    /// CERTIFICATE_RENEWAL: a new certificate for the same key, a fresh E, and the keys.
    fn answer<R: CryptoRng>(
        stamped: &StampedMessage,
        known: KnownDevice<'_>,
        control_unit: RenewingControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(Self, Vec<RenewalAction>), RenewalRefusal> {
        let old = Certificate::parse(known.certificate)?;
        check_publisher(stamped, known, old.serial())?;
        if now < may_renew_from(&old) {
            return Err(RenewalRefusal::TooEarly);
        }
        let (session, request) = open_request(stamped, known, &old)?;
        let device_ephemeral = PublicKey::from_point(&request.ephemeral).map_err(MessageError::from)?;
        let validity = Validity::from_now(now, CLOCK_SKEW, control_unit.certificate_lifetime);
        let holder = Holder::paired(known.device.clone());
        let certificate = control_unit.ca.issue(&holder, old.key(), validity, rng)?;
        let ephemeral = PrivateKey::make(rng);
        let request_hash = schedule::message_hash(&stamped.payload);
        let message = CertificateRenewed {
            status: Status::CertificateRenewed,
            request_hash,
            certificate: certificate.to_bytes(),
            chain: control_unit.ca.chain_below_root(),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
        };
        let topic = Topic::Device(known.device.clone());
        let answer = message::sign(control_unit.signer, Some(session), &topic, &message)?;
        let (first, second) = (ephemeral.agree(old.key()), ephemeral.agree(&device_ephemeral));
        let keys = PairingKeys::derive_renewal(&first, &second, &stamped.payload, &answer);
        let renewal = Self {
            session,
            device: known.device.clone(),
            request_hash,
            answer: ByteBuf::from(answer.clone()),
            signer: control_unit.signer.key.public().fingerprint().map_err(MessageError::from)?,
            keys: keys.map_err(MessageError::from)?,
            certificate: certificate.to_bytes(),
            replaces: old.serial(),
            finished: false,
        };
        // Both count until the device has confirmed; the old one only as far as its time goes.
        let actions = vec![
            RenewalAction::Grant(grant(known, &[&old, &certificate])),
            RenewalAction::Publish { topic, payload: answer },
        ];
        Ok((renewal, actions))
    }

    /// RENEWAL_FINISHED: the device holds the new keys and uses the new certificate.
    fn finish(
        mut self,
        envelope: &Encrypted,
        stamped: &StampedMessage,
        known: KnownDevice<'_>,
        control_unit: RenewingControlUnit<'_>,
    ) -> Result<(Self, Vec<RenewalAction>), RenewalRefusal> {
        let certificate = Certificate::parse(&self.certificate)?;
        check_publisher(stamped, known, certificate.serial())?;
        let key = self.keys.device().map_err(MessageError::from)?;
        let topic = Topic::Renew(known.device.client.clone());
        let header = Header::pairing(KID_DEVICE, self.session);
        let message: RenewalFinished = message::open(envelope, &header, &key, &topic)?;
        let parties = RenewalParties {
            device: self.device.clone(),
            device_key: known.key,
            control_unit_key: self.signer,
            serial: certificate.serial(),
        };
        let mac = self.keys.renewal_confirmation(&parties).map_err(MessageError::from)?;
        if message.status != Status::RenewalFinished || !schedule::same(&mac, &message.mac) {
            return Err(MessageError::Contradiction.into());
        }
        if self.finished {
            return Ok((self, Vec::new()));
        }
        let announcement = DevicePaired {
            status: Status::DevicePaired,
            device: self.device.clone(),
            certificate: self.certificate.clone(),
            purpose: self.device.purpose(),
            trust: known.trust,
        };
        let topic = Topic::Meta(self.device.client.clone());
        let payload = message::sign(control_unit.signer, None, &topic, &announcement)?;
        let renewed = RenewedDevice {
            device: self.device.clone(),
            certificate: self.certificate.clone(),
            serial: certificate.serial(),
            certificate_ends: certificate.validity().not_after,
            replaces: self.replaces,
            wrap_key: *self.keys.wrap().map_err(MessageError::from)?,
        };
        let actions = vec![
            RenewalAction::Grant(grant(known, &[&certificate])),
            RenewalAction::Publish { topic, payload },
            RenewalAction::Renewed(Box::new(renewed)),
        ];
        self.finished = true;
        Ok((self, actions))
    }
}

/// The control unit requires the device's key with the one certificate that belongs to the step.
fn check_publisher(
    stamped: &StampedMessage,
    known: KnownDevice<'_>,
    serial: CertificateSerial,
) -> Result<(), RenewalRefusal> {
    let expected = Publisher::Key {
        key: known.key,
        device: known.device.clone(),
        certificate: Some((serial, known.device.purpose())),
    };
    if stamped.publisher == expected { Ok(()) } else { Err(RenewalRefusal::Publisher) }
}

/// The static key signed it, for this device, this certificate and this topic.
fn open_request(
    stamped: &StampedMessage,
    known: KnownDevice<'_>,
    old: &Certificate,
) -> Result<(SessionId, CertificateRenewal), MessageError> {
    let envelope = Signed::parse(&stamped.payload, MAX_RENEWAL_MESSAGE_BYTES)?;
    let session = envelope.header().session.ok_or(MessageError::Header)?;
    if *envelope.header() != Header::pairing(known.key.as_bytes(), session) {
        return Err(MessageError::Header);
    }
    let payload = envelope.verify(old.key(), stamped.topic.as_bytes())?;
    let request: CertificateRenewal = cbor::decode(payload, MAX_RENEWAL_MESSAGE_BYTES)?;
    let csr = CertificationRequest::parse(&request.csr)?;
    let own = csr.device() == known.device && csr.key() == old.key() && request.serial == old.serial();
    let said = request.status == Status::CertificateRenewal;
    if own && said { Ok((session, request)) } else { Err(MessageError::Contradiction) }
}

fn grant(known: KnownDevice<'_>, certificates: &[&Certificate]) -> KeyGrant {
    let granted = |certificate: &&Certificate| GrantedCertificate {
        serial: certificate.serial(),
        purpose: known.device.purpose(),
        not_after: certificate.validity().not_after,
    };
    KeyGrant {
        key: known.key,
        device: known.device.clone(),
        state: DeviceState::Paired,
        certificates: certificates.iter().map(granted).collect(),
        channels: known.channels.to_vec(),
    }
}

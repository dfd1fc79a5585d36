//! The end of a device's service: the control unit orders it to wipe itself, and its last act is a signed receipt.
//!
//! The order names the static key: a device that has paired again since does not obey an old one. The device erases everything
//! but that key and its certificate, signs the receipt, and erases these two when the receipt is delivered.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, Header, Signed};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule;
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::{KeyFingerprint, SessionId, Sha256};
use wardlink_protocol::limits::MAX_RENEWAL_MESSAGE_BYTES;
use wardlink_protocol::pairing::Status;
use wardlink_protocol::renewal::{Decommission, Decommissioned, Wiped};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use crate::message::{self, MessageError, Signer};

/// What every device erases before it signs its receipt; each stands in the receipt, and beside it what else there was.
pub const ALWAYS_WIPED: [Wiped; 3] = [Wiped::NetworkKeys, Wiped::KeptMessages, Wiped::SiteSettings];

/// Why an order or a receipt does not count. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecommissionRefusal {
    /// The peer's fault: the message is refused.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer's fault: the order is for another pairing, or the receipt for another order.
    #[error("the message belongs to another order or pairing")]
    OutOfPlace,
    /// The peer's fault: the bridge's stamp names another publisher than the device with its certificate.
    #[error("the publisher is not the device")]
    Publisher,
    /// The peer's fault: the receipt leaves something out that had to be erased.
    #[error("the device has not erased everything")]
    Incomplete,
}

/// An order at the control unit, stored until its receipt came; it stands on the device's T2 until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which device.
    pub device: Device,
    /// Its static key.
    pub key: KeyFingerprint,
    /// When it was given.
    pub ordered_at: UnixMillis,
    /// The whole COSE message, to be published on T2.
    pub payload: ByteBuf,
}

/// A receipt that counts, with its bytes to be kept as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// When the device had erased everything, by its clock.
    pub wiped_at: UnixMillis,
    /// What it erased.
    pub wiped: Vec<Wiped>,
    /// The whole COSE message: signed by the device's static key.
    pub payload: ByteBuf,
}

impl Order {
    /// Gives the order: DECOMMISSION.
    pub fn give<R: CryptoRng>(
        device: Device,
        key: KeyFingerprint,
        signer: Signer<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Self, DecommissionRefusal> {
        let mut order = [0; SessionId::LENGTH];
        rng.fill_bytes(&mut order);
        let message = Decommission { status: Status::Decommission, order: SessionId(order), key, ordered_at: now };
        let payload = message::sign(signer, None, &Topic::Device(device.clone()), &message)?;
        Ok(Self { device, key, ordered_at: now, payload: ByteBuf::from(payload) })
    }

    /// Takes the receipt, which arrived on T3. `certificate` is the device's.
    pub fn receipt(&self, stamped: &StampedMessage, certificate: &Certificate) -> Result<Receipt, DecommissionRefusal> {
        let expected = Publisher::Key {
            key: self.key,
            device: self.device.clone(),
            certificate: Some((certificate.serial(), self.device.purpose())),
        };
        let topic = Topic::Command(self.device.client.clone()).to_string();
        let fingerprint = certificate.fingerprint().map_err(MessageError::from)?;
        if stamped.publisher != expected || stamped.topic != topic || fingerprint != self.key {
            return Err(DecommissionRefusal::Publisher);
        }
        let envelope = Signed::parse(&stamped.payload, MAX_RENEWAL_MESSAGE_BYTES).map_err(MessageError::from)?;
        let header = Header { kid: self.key.as_bytes().to_vec(), ..Header::default() };
        if *envelope.header() != header {
            return Err(MessageError::Header.into());
        }
        let payload = envelope.verify(certificate.key(), topic.as_bytes()).map_err(MessageError::from)?;
        let message: Decommissioned = cbor::decode(payload, MAX_RENEWAL_MESSAGE_BYTES).map_err(MessageError::from)?;
        let bound = schedule::same(&message.order_hash, &schedule::message_hash(&self.payload));
        if message.status != Status::Decommissioned || !bound {
            return Err(DecommissionRefusal::OutOfPlace);
        }
        if !ALWAYS_WIPED.iter().all(|wiped| message.wiped.contains(wiped)) {
            return Err(DecommissionRefusal::Incomplete);
        }
        Ok(Receipt { wiped_at: message.wiped_at, wiped: message.wiped, payload: stamped.payload.clone() })
    }
}

/// An order that the device has to obey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obeyed {
    /// SHA-256 of the whole order.
    order_hash: Sha256,
    /// When it was given, by the control unit's clock.
    pub ordered_at: UnixMillis,
}

/// Whether a message on T2 is an order: of everything that is signed only, it alone names no session.
pub fn is_order(payload: &[u8]) -> bool {
    Signed::parse(payload, MAX_RENEWAL_MESSAGE_BYTES).is_ok_and(|signed| signed.header().session.is_none())
}

/// Whether a message on T3 is a receipt: of everything there it alone is signed only.
pub fn is_receipt(payload: &[u8]) -> bool {
    Signed::parse(payload, MAX_RENEWAL_MESSAGE_BYTES).is_ok()
}

/// Checks an order at the device: signed by the control unit of its root, for this device and this key.
pub fn obey(
    payload: &[u8],
    device: &Device,
    key: &PrivateKey,
    cert_ca: &Sha256,
    now: UnixMillis,
) -> Result<Obeyed, DecommissionRefusal> {
    let verified = message::verify(payload, None, &Topic::Device(device.clone()), Some(cert_ca), now)?;
    let message: Decommission = verified.decode()?;
    let own = key.public().fingerprint().map_err(MessageError::from)?;
    if message.status != Status::Decommission || message.key != own {
        return Err(DecommissionRefusal::OutOfPlace);
    }
    Ok(Obeyed { order_hash: schedule::message_hash(payload), ordered_at: message.ordered_at })
}

impl Obeyed {
    /// Signs the receipt, DECOMMISSIONED, after everything in `wiped` was erased: to be published on T3.
    pub fn receipt(
        &self,
        device: &Device,
        key: &PrivateKey,
        wiped: Vec<Wiped>,
        now: UnixMillis,
    ) -> Result<Vec<u8>, DecommissionRefusal> {
        let message =
            Decommissioned { status: Status::Decommissioned, order_hash: self.order_hash, wiped_at: now, wiped };
        let kid = key.public().fingerprint().map_err(MessageError::from)?.as_bytes().to_vec();
        let header = Header { kid, ..Header::default() };
        let topic = Topic::Command(device.client.clone()).to_string();
        let payload = cbor::encode(&message).map_err(MessageError::from)?;
        Ok(cose::sign(&header, key, topic.as_bytes(), &payload).map_err(MessageError::from)?)
    }
}

//! Later epochs on their way to one device: wrapped at the control unit, taken in at the device, acknowledged.
//!
//! A new epoch travels on the device's T2 as `COSE_Encrypt0` under a key of its `K_wrap`, never under the old epoch. The AAD binds
//! topic, device, channel, id, algorithm and epoch, which stand in the protected header, so that the device refuses before it
//! opens anything. It stores what it took in before it answers on T3, under `K_wrap`'s other direction.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wardlink_crypto::cose::{self, Encrypted, EnvelopeError, Header};
use wardlink_crypto::schedule::{DerivationError, WrapKeys};
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::keys::{ChannelWithdrawn, HeldKey, KeyUpdate, KeysUpdated, WrappedFor};
use wardlink_protocol::limits::{MAX_CHANNELS_PER_DEVICE, MAX_KEY_MESSAGE_BYTES};
use wardlink_protocol::pairing::Status;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::epochs::Line;

mod keychain;

pub use keychain::{Keychain, Taken};

/// Why a wrapped key, or an answer to it, is refused or cannot be made. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The peer's fault: malformed, changed, or for another device, topic, channel, key, algorithm or epoch than it says.
    #[error("the key update does not open: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: under a `K_wrap` that this device does not have, or has no longer.
    #[error("the key update is under an unknown wrapping key")]
    UnknownWrapKey,
    /// The peer's fault: the header is not that of a key update.
    #[error("the header is not that of a key update")]
    Header,
    /// The peer's fault: the payload does not have the fields of this message.
    #[error("the key update is malformed: {0}")]
    Payload(#[from] CborError),
    /// The peer's fault: payload and header contradict each other.
    #[error("the key update contradicts itself")]
    Contradiction,
    /// The peer's fault, or a control unit that was restored from an earlier state: the epoch does not rise. The device answers
    /// with what it holds.
    #[error("the epoch does not rise")]
    EpochFalls,
    /// The peer's fault: more channels than a device has.
    #[error("there are more channels than a device has")]
    TooManyChannels,
    /// The peer's fault: the bridge's stamp names another publisher than this device with its certificate.
    #[error("the publisher is not the device")]
    Publisher,
    /// The caller's fault: the line was closed, or its key is not for this device.
    #[error("there is no key for this device")]
    NoKey,
    /// Our fault: a key that cannot be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
}

/// `K_wrap`, as it is stored. Erased from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct WrapKey(#[serde(with = "serde_bytes")] [u8; 32]);

impl WrapKey {
    /// Takes the 32 bytes that a pairing or a renewal gave.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The keys of one device under it.
    pub fn keys(&self, device: &Device) -> Result<WrapKeys, DerivationError> {
        WrapKeys::derive(&self.0, device)
    }
}

/// The AAD of a wrapped key: where it goes, to whom, and what is inside.
fn aad(topic: &Topic, device: &Device, wrapped: &WrappedFor, epoch: u64) -> Result<Vec<u8>, CborError> {
    cbor::encode(&(
        "wardlink key update",
        topic,
        &device.client,
        &device.identifier,
        &wrapped.channel,
        wrapped.kid,
        wrapped.algorithm,
        epoch,
    ))
}

fn header(keys: &WrapKeys, wrapped: WrappedFor, epoch: u64) -> Header {
    Header { kid: keys.id().as_bytes().to_vec(), epoch: Some(epoch), wrapped: Some(wrapped), ..Header::default() }
}

fn wrapped_for(key: &ChannelKey) -> WrappedFor {
    WrappedFor { channel: key.channel.name.clone(), kid: key.kid, algorithm: key.channel.algorithm }
}

fn seal<T: Serialize, R: CryptoRng>(
    device: &Device,
    keys: &WrapKeys,
    wrapped: WrappedFor,
    epoch: u64,
    payload: &T,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let aad = aad(&Topic::Device(device.clone()), device, &wrapped, epoch)?;
    let plaintext = Zeroizing::new(cbor::encode(payload)?);
    Ok(cose::seal(&header(keys, wrapped, epoch), keys.down(), &aad, &plaintext, rng)?)
}

/// Wraps the line's current key for one device: KEY_UPDATE, to be published on its T2.
pub fn wrap<R: CryptoRng>(line: &Line, device: &Device, keys: &WrapKeys, rng: &mut R) -> Result<Vec<u8>, WrapError> {
    let key = line.current().filter(|_| line.id().covers(device)).ok_or(WrapError::NoKey)?;
    let update = KeyUpdate { status: Status::KeyUpdate, key: key.clone(), previous_until: line.previous_until() };
    seal(device, keys, wrapped_for(key), key.epoch, &update, rng)
}

/// Tells a device that it has a channel no longer: CHANNEL_WITHDRAWN, to be published on its T2. `last` is the last key of the
/// channel that the device was given, `epoch` the highest that its line has had.
pub fn withdraw<R: CryptoRng>(
    last: &WrappedFor,
    epoch: u64,
    device: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let message = ChannelWithdrawn { status: Status::ChannelWithdrawn, channel: last.channel.clone(), epoch };
    seal(device, keys, last.clone(), epoch, &message, rng)
}

/// What the device says that it holds: KEYS_UPDATED, to be published on T3 after it was stored.
pub fn answer<R: CryptoRng>(
    held: Vec<HeldKey>,
    device: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let message = KeysUpdated { status: Status::KeysUpdated, keys: held };
    let header = Header { kid: keys.id().as_bytes().to_vec(), ..Header::default() };
    let aad = answer_aad(device)?;
    Ok(cose::seal(&header, keys.up(), &aad, &cbor::encode(&message)?, rng)?)
}

/// T3 is shared by the whole class: the AAD also names the device.
fn answer_aad(device: &Device) -> Result<Vec<u8>, CborError> {
    let topic = Topic::Command(device.client.clone());
    cbor::encode(&("wardlink keys updated", &topic, &device.client, &device.identifier))
}

/// Whether a message on T3 is a device's KEYS_UPDATED: of everything on T3 it alone names no session.
pub fn is_answer(payload: &[u8]) -> bool {
    let names_nothing = |header: &Header| header.session.is_none() && header.wrapped.is_none();
    Encrypted::parse(payload, MAX_KEY_MESSAGE_BYTES).is_ok_and(|envelope| names_nothing(envelope.header()))
}

/// Opens a device's answer. `key` is its static key, as it was paired.
pub fn open_answer(
    stamped: &StampedMessage,
    device: &Device,
    key: KeyFingerprint,
    keys: &WrapKeys,
) -> Result<Vec<HeldKey>, WrapError> {
    let by_device = matches!(
        &stamped.publisher,
        Publisher::Key { key: publisher, device: named, certificate: Some((_, purpose)) }
            if *publisher == key && named == device && *purpose == device.purpose()
    );
    if !by_device || stamped.topic != Topic::Command(device.client.clone()).to_string() {
        return Err(WrapError::Publisher);
    }
    let envelope = Encrypted::parse(&stamped.payload, MAX_KEY_MESSAGE_BYTES)?;
    if envelope.header().kid != keys.id().as_bytes() {
        return Err(WrapError::UnknownWrapKey);
    }
    if *envelope.header() != (Header { kid: keys.id().as_bytes().to_vec(), ..Header::default() }) {
        return Err(WrapError::Header);
    }
    let plaintext = envelope.open(keys.up(), &answer_aad(device)?)?;
    let message: KeysUpdated = cbor::decode(&plaintext, MAX_KEY_MESSAGE_BYTES)?;
    let fits = message.status == Status::KeysUpdated && (1..=MAX_CHANNELS_PER_DEVICE).contains(&message.keys.len());
    if fits { Ok(message.keys) } else { Err(WrapError::Contradiction) }
}

/// Whether a message on T2 is a key update or a withdrawal: it goes to [`Keychain::receive`].
pub fn is_update(payload: &[u8]) -> bool {
    Encrypted::parse(payload, MAX_KEY_MESSAGE_BYTES).is_ok_and(|envelope| envelope.header().wrapped.is_some())
}

/// Whether a message was sealed under this `K_wrap`, as its header says.
pub fn is_under(payload: &[u8], keys: &WrapKeys) -> bool {
    Encrypted::parse(payload, MAX_KEY_MESSAGE_BYTES).is_ok_and(|envelope| envelope.header().kid == keys.id().as_bytes())
}

/// The previous epoch counts until then, and not at all where that is past.
fn still(until: UnixMillis, now: UnixMillis) -> bool {
    now < until
}

#[cfg(test)]
mod tests;

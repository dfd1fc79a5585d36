//! The keys of a device's channel at the gateway that it is associated with (design, section 5): how the gateway comes to them, and by
//! which key either side seals and opens.
//!
//! The control unit seals them under the gateway's `K_wrap`, down, so that whoever carries them reads nothing; the AAD binds gateway,
//! device and channel. It notes for which devices it gave a gateway keys: they are replaced when the association ends, or the gateway's
//! rights. Both sides keep them, so that they go on while the site is away.

use core::fmt;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wardlink_crypto::cose::{self, Encrypted, Header};
use wardlink_crypto::schedule::WrapKeys;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::{ChannelKey, ChannelName};
use wardlink_protocol::keys::{AcceptedKey, AssociatedKeys};
use wardlink_protocol::limits::{MAX_ASSOCIATED_KEYS, MAX_CHANNEL_MESSAGE_BYTES, MAX_KEY_MESSAGE_BYTES};
use wardlink_protocol::pairing::Status;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::Zeroizing;

use crate::epochs::{Line, Standing};
use crate::wrap::{WrapError, WrapKey};

/// The keys of one channel of one device, as one side has them, the newest first. It holds secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelKeys(Vec<AcceptedKey>);

impl fmt::Debug for ChannelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|one| one.key.kid)).finish()
    }
}

impl ChannelKeys {
    /// Takes keys in any order.
    pub fn new(mut keys: Vec<AcceptedKey>) -> Self {
        keys.sort_by_key(|one| core::cmp::Reverse(one.key.epoch));
        Self(keys)
    }

    /// The newest epoch; 0 where there is no key.
    pub fn newest(&self) -> u64 {
        self.0.first().map_or(0, |newest| newest.key.epoch)
    }

    /// The key under which this side seals; none where the channel has ended.
    pub fn current(&self) -> Option<&ChannelKey> {
        self.0.first().filter(|newest| newest.until.is_none()).map(|newest| &newest.key)
    }

    /// The keys under which messages count now.
    pub fn accepted(&self, now: UnixMillis) -> Vec<ChannelKey> {
        let counts = |one: &&AcceptedKey| one.until.is_none_or(|until| now < until);
        self.0.iter().filter(counts).map(|one| one.key.clone()).collect()
    }

    /// Whether a message is under a later epoch than every one that is known here: its key is on its way to this side.
    pub fn await_key_of(&self, message: &[u8]) -> bool {
        Encrypted::parse(message, MAX_CHANNEL_MESSAGE_BYTES)
            .is_ok_and(|envelope| envelope.header().epoch.is_some_and(|epoch| epoch > self.newest()))
    }
}

fn header(keys: &WrapKeys) -> Header {
    Header { kid: keys.id().as_bytes().to_vec(), ..Header::default() }
}

fn aad(gateway: &Device, device: &Device, channel: &ChannelName) -> Result<Vec<u8>, CborError> {
    cbor::encode(&(
        "wardlink associated keys",
        &gateway.client,
        &gateway.identifier,
        &device.client,
        &device.identifier,
        channel,
    ))
}

/// Seals the keys of a device's channel for a gateway: those of `lines` under which the device's messages count now. None where there is
/// no key in force.
pub fn seal<R: CryptoRng>(
    lines: &[Line],
    device: &Device,
    channel: &ChannelName,
    gateway: &Device,
    keys: &WrapKeys,
    now: UnixMillis,
    rng: &mut R,
) -> Result<Option<Vec<u8>>, WrapError> {
    let belongs = |line: &&Line| line.id().channel == *channel && line.id().covers(device);
    let epochs = lines.iter().filter(belongs).flat_map(|line| line.epochs(now));
    let counting = epochs.filter_map(|(epoch, standing)| {
        let until = match standing {
            Standing::Current => None,
            Standing::Overlap(until) => Some(until),
            Standing::Ended(_) => return None,
        };
        Some(AcceptedKey { key: epoch.key.clone(), until })
    });
    let ChannelKeys(mut counting) = ChannelKeys::new(counting.collect());
    if counting.first().is_none_or(|newest| newest.until.is_some()) {
        return Ok(None);
    }
    counting.truncate(MAX_ASSOCIATED_KEYS);
    let message = AssociatedKeys { status: Status::AssociatedKeys, keys: counting };
    let plaintext = Zeroizing::new(cbor::encode(&message)?);
    let aad = aad(gateway, device, channel)?;
    Ok(Some(cose::seal(&header(keys), keys.down(), &aad, &plaintext, rng)?))
}

/// Opens what [`seal`] made. `wrap_keys` are those of the gateway that count: one, or two while a renewal is finished.
pub fn open(
    sealed: &[u8],
    device: &Device,
    channel: &ChannelName,
    gateway: &Device,
    wrap_keys: &[WrapKey],
) -> Result<ChannelKeys, WrapError> {
    let envelope = Encrypted::parse(sealed, MAX_KEY_MESSAGE_BYTES)?;
    for wrap_key in wrap_keys {
        let keys = wrap_key.keys(gateway)?;
        if envelope.header().kid != keys.id().as_bytes() {
            continue;
        }
        if *envelope.header() != header(&keys) {
            return Err(WrapError::Header);
        }
        let plaintext = envelope.open(keys.down(), &aad(gateway, device, channel)?)?;
        let message: AssociatedKeys = cbor::decode(&plaintext, MAX_KEY_MESSAGE_BYTES)?;
        let fits = message.status == Status::AssociatedKeys
            && message.keys.len() <= MAX_ASSOCIATED_KEYS
            && message.keys.iter().all(|one| one.key.channel.name == *channel);
        return if fits { Ok(ChannelKeys::new(message.keys)) } else { Err(WrapError::Contradiction) };
    }
    Err(WrapError::UnknownWrapKey)
}

#[cfg(test)]
mod tests;

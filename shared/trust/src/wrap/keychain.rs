//! The device's half: its channels with their keys, epoch after epoch.

use serde::{Deserialize, Serialize};
use wardlink_crypto::cose::{Encrypted, Header};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{ChannelKey, ChannelName};
use wardlink_protocol::keys::{AcceptedKey, ChannelWithdrawn, HeldKey, KeyUpdate, WrappedFor};
use wardlink_protocol::limits::{KEY_OVERLAP, MAX_CHANNELS_PER_DEVICE, MAX_CLOCK_SKEW, MAX_KEY_MESSAGE_BYTES};
use wardlink_protocol::pairing::Status;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use super::{WrapError, WrapKey, aad, still, wrapped_for};
use crate::associated::ChannelKeys;
use crate::epochs::KeyRefusal;

/// The most channels of which a device remembers the epoch, those that were withdrawn among them.
const MAX_REMEMBERED_CHANNELS: usize = 16 * MAX_CHANNELS_PER_DEVICE;

/// One channel at the device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    channel: ChannelName,
    /// The highest epoch that was seen, also of a channel that was withdrawn.
    epoch: u64,
    /// The key in force; none where the channel was withdrawn.
    current: Option<ChannelKey>,
    /// The key before, and until when messages under it count.
    previous: Option<(ChannelKey, UnixMillis)>,
}

/// What a key update changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A new epoch is in force: new messages go under it. What was sent under the epoch before since `previous_until`, by the
    /// bridge's time, does not count, and is to be sent again.
    Installed {
        /// The channel.
        channel: ChannelName,
        /// Until when the epoch before counts.
        previous_until: UnixMillis,
    },
    /// The channel is the device's no longer.
    Withdrawn(ChannelName),
    /// The device holds it already; the answer was lost, and is given again.
    Known(ChannelName),
}

impl Taken {
    /// The channel.
    pub const fn channel(&self) -> &ChannelName {
        match self {
            Self::Installed { channel, .. } | Self::Withdrawn(channel) | Self::Known(channel) => channel,
        }
    }
}

/// The device's channels with their keys. It holds secrets. The shell stores it durably before it uses or acknowledges what it
/// took in.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keychain {
    held: Vec<Held>,
}

impl Keychain {
    /// Begins with what PAIRING_CONFIRMED brought.
    pub fn from_pairing(channels: &[ChannelKey]) -> Self {
        let held = |key: &ChannelKey| Held {
            channel: key.channel.name.clone(),
            epoch: key.epoch,
            current: Some(key.clone()),
            previous: None,
        };
        Self { held: channels.iter().map(held).collect() }
    }

    /// The channels with the keys in force, by falling priority, then by name.
    pub fn channels(&self) -> Vec<&ChannelKey> {
        let mut channels: Vec<&ChannelKey> = self.held.iter().filter_map(|held| held.current.as_ref()).collect();
        channels.sort_by_cached_key(|key| (key.channel.priority, key.channel.name.clone()));
        channels
    }

    /// The keys under which messages on this channel are accepted, the newest first.
    pub fn accepted(&self, channel: &ChannelName, now: UnixMillis) -> Vec<ChannelKey> {
        let Some(held) = self.held.iter().find(|held| held.channel == *channel) else { return Vec::new() };
        let previous = held.previous.iter().filter(|(_, until)| still(*until, now)).map(|(key, _)| key);
        held.current.iter().chain(previous).cloned().collect()
    }

    /// The keys of a channel, for whoever else is at its other end than the bridge.
    pub fn keys(&self, channel: &ChannelName) -> ChannelKeys {
        let held = self.held.iter().filter(|held| held.channel == *channel);
        let keys = held.flat_map(|held| {
            let current = held.current.iter().map(|key| AcceptedKey { key: key.clone(), until: None });
            let previous =
                held.previous.iter().map(|(key, until)| AcceptedKey { key: key.clone(), until: Some(*until) });
            current.chain(previous)
        });
        ChannelKeys::new(keys.collect())
    }

    /// The key of a channel under which a message counts that the bridge stamped at `stamped_at`, by the kid and the epoch that it names.
    pub fn admit(
        &self,
        channel: &ChannelName,
        kid: &[u8],
        epoch: Option<u64>,
        stamped_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<&ChannelKey, KeyRefusal> {
        let held = self.held.iter().find(|held| held.channel == *channel).ok_or(KeyRefusal::Unknown)?;
        if stamped_at > now.after(MAX_CLOCK_SKEW) {
            return Err(KeyRefusal::Stamp);
        }
        if let Some(key) = held.current.as_ref().filter(|key| key.kid.as_bytes() == kid) {
            return Ok(key);
        }
        let previous = held.previous.iter().find(|(key, _)| key.kid.as_bytes() == kid);
        match previous {
            // What was stamped before a cut counts for nobody: a device cannot tell who of them was trusted on.
            Some((key, until)) if still(*until, now) && stamped_at < *until => Ok(key),
            Some(_) => Err(KeyRefusal::Retired),
            None if epoch.is_some_and(|epoch| epoch <= held.epoch) => Err(KeyRefusal::Retired),
            None => Err(KeyRefusal::Unknown),
        }
    }

    /// What the device holds of a channel, as it tells the control unit.
    pub fn held(&self, channel: &ChannelName) -> Option<HeldKey> {
        let held = self.held.iter().find(|held| held.channel == *channel)?;
        let kid = held.current.as_ref().map(|key| key.kid);
        Some(HeldKey { channel: channel.clone(), kid, epoch: held.epoch })
    }

    /// What the device holds of every channel that it has, as it says after each start.
    pub fn all_held(&self) -> Vec<HeldKey> {
        self.channels().into_iter().filter_map(|key| self.held(&key.channel.name)).collect()
    }

    /// The channel that a refused update was about, where the device has it: it answers with what it holds.
    pub fn channel_of(payload: &[u8]) -> Option<ChannelName> {
        let envelope = Encrypted::parse(payload, MAX_KEY_MESSAGE_BYTES).ok()?;
        envelope.header().wrapped.as_ref().map(|wrapped| wrapped.channel.clone())
    }

    /// Takes a message that [`super::is_update`] named. `wrap_keys` are those that count: one, or two while a renewal is finished.
    pub fn receive(
        &mut self,
        device: &Device,
        wrap_keys: &[WrapKey],
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<Taken, WrapError> {
        let envelope = Encrypted::parse(payload, MAX_KEY_MESSAGE_BYTES)?;
        let said = envelope.header();
        let (Some(wrapped), Some(epoch)) = (said.wrapped.clone(), said.epoch) else { return Err(WrapError::Header) };
        let only =
            Header { kid: said.kid.clone(), epoch: said.epoch, wrapped: said.wrapped.clone(), ..Header::default() };
        if *said != only {
            return Err(WrapError::Header);
        }
        let mut keys = None;
        for wrap_key in wrap_keys {
            let candidate = wrap_key.keys(device)?;
            if candidate.id().as_bytes() == said.kid.as_slice() {
                keys = Some(candidate);
            }
        }
        let keys = keys.ok_or(WrapError::UnknownWrapKey)?;
        let aad = aad(&Topic::Device(device.clone()), device, &wrapped, epoch)?;
        let plaintext = envelope.open(keys.down(), &aad)?;
        // Only what opened speaks for the control unit.
        if let Ok(update) = cbor::decode::<KeyUpdate>(&plaintext, MAX_KEY_MESSAGE_BYTES) {
            return self.install(&update, &wrapped, epoch, now);
        }
        let withdrawn: ChannelWithdrawn = cbor::decode(&plaintext, MAX_KEY_MESSAGE_BYTES)?;
        self.withdraw(&withdrawn, &wrapped, epoch)
    }

    fn install(
        &mut self,
        update: &KeyUpdate,
        wrapped: &WrappedFor,
        epoch: u64,
        now: UnixMillis,
    ) -> Result<Taken, WrapError> {
        let key = &update.key;
        if update.status != Status::KeyUpdate || wrapped_for(key) != *wrapped || key.epoch != epoch {
            return Err(WrapError::Contradiction);
        }
        let channel = key.channel.name.clone();
        // However late the update arrives, and whatever it says: the overlap is short.
        let until = update.previous_until.min(now.after(KEY_OVERLAP));
        let taken = Taken::Installed { channel: channel.clone(), previous_until: update.previous_until };
        let Some(held) = self.held.iter_mut().find(|held| held.channel == channel) else {
            let in_force = self.held.iter().filter(|held| held.current.is_some()).count();
            if in_force >= MAX_CHANNELS_PER_DEVICE || self.held.len() >= MAX_REMEMBERED_CHANNELS {
                return Err(WrapError::TooManyChannels);
            }
            self.held.push(Held { channel, epoch, current: Some(key.clone()), previous: None });
            return Ok(taken);
        };
        if held.current.as_ref() == Some(key) {
            return Ok(Taken::Known(channel));
        }
        // Epochs only rise.
        if epoch <= held.epoch {
            return Err(WrapError::EpochFalls);
        }
        // What is said of the epoch before is said of no earlier one: over an epoch that was missed, nothing overlaps.
        let is_next = held.epoch.checked_add(1) == Some(epoch);
        let taken = if is_next { taken } else { Taken::Installed { channel, previous_until: UnixMillis::default() } };
        held.epoch = epoch;
        let before = held.current.replace(key.clone()).filter(|_| is_next);
        held.previous = before.map(|key| (key, until)).filter(|(_, until)| still(*until, now));
        Ok(taken)
    }

    fn withdraw(&mut self, message: &ChannelWithdrawn, wrapped: &WrappedFor, epoch: u64) -> Result<Taken, WrapError> {
        let fits =
            message.status == Status::ChannelWithdrawn && message.channel == wrapped.channel && message.epoch == epoch;
        if !fits {
            return Err(WrapError::Contradiction);
        }
        let Some(held) = self.held.iter_mut().find(|held| held.channel == message.channel) else {
            // It is remembered, so that no earlier epoch comes after it.
            if self.held.len() >= MAX_REMEMBERED_CHANNELS {
                return Err(WrapError::TooManyChannels);
            }
            self.held.push(Held { channel: message.channel.clone(), epoch, current: None, previous: None });
            return Ok(Taken::Withdrawn(message.channel.clone()));
        };
        if held.current.is_none() && epoch <= held.epoch {
            return Ok(Taken::Known(message.channel.clone()));
        }
        // The epoch that ends may be the one that the device holds, and none above it.
        if epoch < held.epoch {
            return Err(WrapError::EpochFalls);
        }
        held.epoch = epoch;
        held.current = None;
        held.previous = None;
        Ok(Taken::Withdrawn(message.channel.clone()))
    }

    /// Erases earlier keys whose time is over. Returns whether something changed.
    pub fn tick(&mut self, now: UnixMillis) -> bool {
        let mut changed = false;
        for held in &mut self.held {
            if held.previous.as_ref().is_some_and(|(_, until)| !still(*until, now)) {
                held.previous = None;
                changed = true;
            }
        }
        changed
    }

    /// When [`Keychain::tick`] has something to erase.
    pub fn erases_at(&self) -> Option<UnixMillis> {
        self.held.iter().filter_map(|held| held.previous.as_ref()).map(|(_, until)| *until).min()
    }
}

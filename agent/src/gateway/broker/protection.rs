//! What the hub and a device say to each other, sealed under the device's keys of the channel `update` and signed inside
//! (`wardlink_trust::protect`): association gives the gateway these keys, and nothing counts here that is under no key of theirs.

use crate::clock;
use crate::gateway::store::{Associated, StoreError};
use crate::link::Identity;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::associated::ChannelKeys;
use wardlink_trust::{OpenError, Receivers, SealError, Sender};
use zeroize::Zeroizing;

/// Of how many devices that are the gateway's no longer it is remembered what has counted.
const MAX_REMEMBERED: usize = 1_000;

/// Why a message of a device is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Its key is on its way here.
    #[error("it is under a later key than the gateway has")]
    Awaits,
    /// It does not count.
    #[error(transparent)]
    Refused(#[from] OpenError),
}

/// Why nothing can be said to a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsaid {
    /// The gateway has no key of its channel.
    #[error("the gateway has no key of its channel")]
    NoKey,
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No run can be begun.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message that was read. It counts when [`Protection::count`] has heard that it was dealt with.
pub(super) struct Read {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    counted: Receivers,
}

struct OfDevice {
    key: PublicKey,
    keys: ChannelKeys,
}

/// The keys of the gateway's devices, and what has counted under them.
#[derive(Default)]
pub(super) struct Protection {
    devices: BTreeMap<Device, OfDevice>,
    counted: BTreeMap<Device, Receivers>,
    /// Of whom that is to be stored; none: to be forgotten.
    changed: BTreeSet<Device>,
    /// The gateway's runs, each under one key.
    senders: BTreeMap<Device, Sender>,
}

impl Protection {
    /// Begins with what has counted, as it was stored.
    pub(super) fn restore(&mut self, counted: BTreeMap<Device, Receivers>) {
        (self.counted, self.changed, self.senders) = (counted, BTreeSet::new(), BTreeMap::new());
    }

    /// Takes what the server has said of the devices; returns those of whom there are other keys than before.
    pub(super) fn learn(&mut self, devices: &[Associated]) -> Vec<Device> {
        let before = core::mem::take(&mut self.devices);
        let mut renewed = Vec::new();
        for one in devices {
            let Some(key) = one.key.as_ref().and_then(|key| PublicKey::from_spki(key).ok()) else { continue };
            if before.get(&one.device).is_none_or(|before| before.keys != one.keys) {
                renewed.push(one.device.clone());
            }
            self.devices.insert(one.device.clone(), OfDevice { key, keys: one.keys.clone() });
        }
        // Whoever comes again may have the same key still, which its class shares.
        let gone = self.counted.keys().filter(|one| !self.devices.contains_key(*one)).skip(MAX_REMEMBERED);
        let gone: Vec<Device> = gone.cloned().collect();
        for device in gone {
            self.counted.remove(&device);
            self.changed.insert(device);
        }
        self.senders.retain(|device, _| self.devices.contains_key(device));
        renewed
    }

    /// Whether something can be said to a device.
    pub(super) fn has_key(&self, device: &Device) -> bool {
        self.devices.get(device).is_some_and(|of| of.keys.current().is_some())
    }

    /// Reads a message on a device's topic, by the keys that counted when it came.
    pub(super) fn open(
        &self,
        device: &Device,
        topic: &Topic,
        message: &[u8],
        came_at: UnixMillis,
    ) -> Result<Read, Unread> {
        let of = self.devices.get(device).ok_or(OpenError::UnknownKey)?;
        if of.keys.await_key_of(message) {
            return Err(Unread::Awaits);
        }
        let mut counted = self.counted.get(device).cloned().unwrap_or_default();
        let signer = |chain: &[ByteBuf]| if chain.is_empty() { Ok(of.key) } else { Err(OpenError::Unsigned) };
        let opened = counted.open_certified(&of.keys.accepted(came_at), topic, message, signer)?;
        Ok(Read { plaintext: opened.plaintext, counted })
    }

    /// A message was dealt with: it counts no second time.
    pub(super) fn count(&mut self, device: &Device, read: Read) {
        self.counted.insert(device.clone(), read.counted);
        self.changed.insert(device.clone());
    }

    /// Whether something is to be stored.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has counted and is not stored yet; none for whom nothing is kept any more.
    pub(super) fn take_changed(&mut self) -> Vec<(Device, Option<Receivers>)> {
        let changed = core::mem::take(&mut self.changed);
        changed.into_iter().map(|device| (device.clone(), self.counted.get(&device).cloned())).collect()
    }

    /// Seals what the gateway says on a device's topic, signed by the gateway, with its certificates. `begin` gives the number of a new run,
    /// which is stored.
    pub(super) fn seal(
        &mut self,
        device: &Device,
        topic: Topic,
        plaintext: &[u8],
        (gateway, chain): (&Identity, &[ByteBuf]),
        begin: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<Vec<u8>, Unsaid> {
        let key = self.devices.get(device).and_then(|of| of.keys.current()).ok_or(Unsaid::NoKey)?;
        if self.senders.get(device).is_none_or(|sender| sender.kid() != key.kid) {
            let sender = Sender::begin(key, topic, begin()?, &mut clock::rng())?;
            self.senders.insert(device.clone(), sender);
        }
        let sender = self.senders.get_mut(device).ok_or(Unsaid::NoKey)?;
        Ok(sender.seal_certified(plaintext, &gateway.key, chain)?)
    }
}

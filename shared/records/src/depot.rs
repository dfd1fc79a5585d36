//! A gateway's store: what it has collected of its devices, until the server's receipt (figure 13; figure 9, 194 to 196).
//!
//! The gateway verifies each batch, keeps it as it was received, and sends it on. It does not judge chains: what came before may have gone
//! through another gateway. It only never holds two batches with the same numbers. When it is full it takes nothing more, and its
//! devices keep what they have; it deletes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardlink_crypto::schedule::same;
use wardlink_protocol::Device;

use crate::batch::Verified;
use crate::chain::FORK;
use crate::queue::{BatchKey, Held, NotHeld, Queue, Standing};
use crate::receipt::Receipt;

/// The step of a refusal because there is no room for now.
pub const FULL: &str = "store";

/// What a gateway holds. The shell stores it in one write with the bytes of the batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depot {
    capacity: u64,
    devices: BTreeMap<Device, Queue>,
}

/// A batch that the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is new: the shell stores its bytes under this key, and then answers the device.
    New(BatchKey),
    /// It is held already: the device is answered again.
    Again(BatchKey),
}

/// Why a gateway does not take a batch: the device keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The store is full.
    #[error("the gateway's store is full")]
    Full,
    /// The peer's fault: other records are held under the same numbers.
    #[error("number {at} of this chain is held with other records")]
    Fork {
        /// The first number that is held.
        at: u64,
    },
}

impl NotKept {
    /// The step that failed, as devices and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Full => FULL,
            Self::Fork { .. } => FORK,
        }
    }
}

impl Depot {
    /// An empty store of so many bytes.
    pub const fn new(capacity: u64) -> Self {
        Self { capacity, devices: BTreeMap::new() }
    }

    /// What the shell has stored: each batch as it was held. What was not answered is sent again.
    pub fn restore(capacity: u64, stored: impl IntoIterator<Item = (Device, Held)>) -> Self {
        let mut depot = Self::new(capacity);
        for (device, held) in stored {
            depot.devices.entry(device).or_default().insert(held);
        }
        depot.interrupted();
        depot
    }

    /// What is held of one device; none where nothing is.
    pub fn queue(&self, device: &Device) -> Option<&Queue> {
        self.devices.get(device)
    }

    /// Whether some batch was sent and not answered.
    pub fn is_under_way(&self) -> bool {
        self.devices.values().any(Queue::is_under_way)
    }

    /// Takes a verified batch; `bytes` is the length of its envelope.
    pub fn take(&mut self, batch: &Verified, bytes: u64) -> Result<Kept, NotKept> {
        self.hold(batch, bytes, self.capacity)
    }

    /// Holds verified batches, each with the length of its envelope, in the place of refused ones that say the same: signed anew they may be
    /// a little longer, and there is always room for them. Answers their keys.
    pub fn replace(
        &mut self,
        device: &Device,
        refused: &[BatchKey],
        batches: &[(Verified, u64)],
    ) -> Result<Vec<BatchKey>, NotKept> {
        for key in refused {
            self.discard(device, *key);
        }
        let hold = |(batch, bytes): &(Verified, u64)| match self.hold(batch, *bytes, u64::MAX)? {
            Kept::New(key) | Kept::Again(key) => Ok(key),
        };
        batches.iter().map(hold).collect()
    }

    fn hold(&mut self, batch: &Verified, bytes: u64, capacity: u64) -> Result<Kept, NotKept> {
        let found = batch.batch();
        let key = BatchKey { chain: found.chain(), first: found.first() };
        if let Some(held) = self.devices.get(found.device()).and_then(|queue| queue.overlapping(batch)) {
            let is_same = held.key == key && same(&held.hash, &batch.hash());
            return if is_same { Ok(Kept::Again(key)) } else { Err(NotKept::Fork { at: held.key.first }) };
        }
        if self.bytes().saturating_add(bytes) > capacity {
            return Err(NotKept::Full);
        }
        self.devices.entry(found.device().clone()).or_default().push(batch, bytes);
        Ok(Kept::New(key))
    }

    /// How many bytes of batches are held.
    pub fn bytes(&self) -> u64 {
        self.devices.values().map(Queue::bytes).fold(0, u64::saturating_add)
    }

    /// How many bytes fit.
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What is held of each device.
    pub fn devices(&self) -> impl Iterator<Item = (&Device, &Queue)> {
        self.devices.iter()
    }

    /// How many batches are to be sent.
    pub fn waiting(&self) -> usize {
        self.devices.values().map(Queue::waiting).sum()
    }

    /// What to send next. Devices that come later in the alphabet do not wait behind one whose batches are not answered.
    pub fn next(&self) -> Option<(&Device, &Held)> {
        self.devices.iter().find_map(|(device, queue)| Some((device, queue.next()?)))
    }

    /// What is held of one device, to note what was sent or refused.
    pub fn queue_mut(&mut self, device: &Device) -> Option<&mut Queue> {
        self.devices.get_mut(device)
    }

    /// The session has ended: what was not answered is sent again.
    pub fn interrupted(&mut self) {
        self.devices.values_mut().for_each(Queue::interrupted);
    }

    /// Takes a receipt that was opened, and answers which batches the shell deletes.
    pub fn receive(&mut self, receipt: &Receipt) -> Result<Vec<BatchKey>, NotHeld> {
        let queue = self.devices.get_mut(&receipt.device).ok_or(NotHeld::Device)?;
        let keys = queue.apply(receipt)?;
        self.devices.retain(|_, queue| !queue.is_empty());
        Ok(keys)
    }

    /// A person discards a batch that the server has refused; anything else is kept. Answers whether the shell deletes it.
    pub fn discard(&mut self, device: &Device, key: BatchKey) -> bool {
        let Some(queue) = self.devices.get_mut(device) else { return false };
        let is_refused = queue.iter().any(|held| held.key == key && matches!(held.standing, Standing::Refused(_)));
        if is_refused {
            queue.remove(&[key]);
            self.devices.retain(|_, queue| !queue.is_empty());
        }
        is_refused
    }
}

#[cfg(test)]
mod tests;

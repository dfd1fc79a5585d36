//! What a gateway holds of its devices' stored data until the server has it (Distribution, figures 7, 9 and 13): the shell around [`Depot`].
//!
//! A batch is taken when its device has signed it, and is durable before the device is told so. It goes only by a receipt that the site's
//! control unit has signed for exactly this batch or one that is chained to it, when a person discards what the server has refused, or when
//! the gateway itself has signed it and signs what it says anew. In memory stands what the store has, and never more: where the store fails,
//! both are read anew.

use super::store::records::HeldBatch;
use super::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::api::Held;
use wardlink_protocol::identity::{RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::Verified;
use wardlink_records::chain::{FORK, GAP};
use wardlink_records::check::check;
use wardlink_records::depot::{Depot, FULL, Kept};
use wardlink_records::exchange::{Downward, KeptBatch, RefusedBatch};
use wardlink_records::kind::Definitions;
use wardlink_records::queue::{BatchKey, NotHeld, Queue, Remedy, Standing};
use wardlink_records::receipt::{Receipt, ReceiptError};
use wardlink_records::sending::{Plan, Sending, Trigger};

/// How much a gateway holds of its devices' data, in bytes, unless it is told otherwise.
pub const STORED_BYTES: u64 = 256 * 1024 * 1024;
/// From this part of it on, in per cent, it is said that there is little room.
pub const NEARLY_FULL_PERCENT: u64 = 80;
/// The most refused batches that are shown one by one.
const MAX_SHOWN: usize = 50;

/// A batch that the server has refused, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Whose.
    pub device: Device,
    /// Which chain.
    pub chain: RecordChain,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// The step that failed.
    pub step: String,
    /// What the server said.
    pub reason: String,
}

/// What is held of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// Whose.
    pub device: Device,
    /// How many records.
    pub records: u64,
    /// In how many batches.
    pub batches: u64,
    /// How many of its values that are held here cannot be.
    pub impossible: u64,
}

/// How the stored data stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredStatus {
    /// How many records are held.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many bytes fit.
    pub capacity: u64,
    /// When the oldest batch was signed.
    pub oldest: Option<UnixMillis>,
    /// When the server last gave a receipt for some, in this run.
    pub receipted_at: Option<UnixMillis>,
    /// By device.
    pub devices: Vec<HeldStatus>,
    /// How many batches the server has refused.
    pub refused_batches: u64,
    /// What the server has refused: the first of them.
    pub refused: Vec<RefusedStatus>,
}

impl StoredStatus {
    /// How much it is in all, as the server is told.
    pub(super) const fn held(&self) -> Held {
        let &Self { records, bytes, capacity, oldest, refused_batches, .. } = self;
        Held { records, bytes, capacity, oldest, refused_batches }
    }

    /// Whether there is little room.
    pub const fn is_nearly_full(&self) -> bool {
        is_nearly_full(self.bytes, self.capacity)
    }
}

/// Whether so many bytes leave little room.
pub(super) const fn is_nearly_full(bytes: u64, capacity: u64) -> bool {
    bytes.saturating_mul(100) >= capacity.saturating_mul(NEARLY_FULL_PERCENT) && capacity > 0
}

/// What is held.
pub(super) struct Holdings {
    depot: Depot,
    rows: BTreeMap<(Device, BatchKey), HeldBatch>,
    pub(super) sending: Sending,
    definitions: Definitions,
    receipted_at: Option<UnixMillis>,
    /// Whether the last batch did not fit.
    is_full: bool,
    /// Whether it has changed what people are shown of it.
    has_changed: bool,
}

/// What came of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Receipted {
    /// So many batches of this device are deleted here.
    Deleted(Device, usize),
    /// It deletes nothing: it counts as none.
    Refused(ReceiptError),
    /// It deletes nothing: it is for something else.
    NotHeld(NotHeld),
}

impl Receipted {
    /// What is wrong where it deletes nothing; none where it came twice, or for what another gateway has.
    pub(super) fn trouble(&self) -> Option<String> {
        let (step, why) = match self {
            Self::Deleted(..) | Self::NotHeld(NotHeld::Batch | NotHeld::Device) => return None,
            Self::Refused(error) => (error.step(), error.to_string()),
            Self::NotHeld(not_held @ NotHeld::Other) => (not_held.step(), not_held.to_string()),
        };
        Some(format!("{step}: {why}; nothing is deleted"))
    }
}

impl Holdings {
    /// Reads what is held.
    pub(super) fn open(store: &Store, capacity: u64, plan: Plan, now: UnixMillis) -> Result<Self, StoreError> {
        let rows = store.held()?;
        let depot = Depot::restore(capacity, rows.iter().map(|(device, row)| (device.clone(), row.held.clone())));
        let rows = rows.into_iter().map(|(device, row)| ((device, row.held.key), row)).collect();
        Ok(Self {
            depot,
            rows,
            sending: Sending::new(plan, now),
            definitions: Definitions::default(),
            receipted_at: None,
            is_full: false,
            has_changed: true,
        })
    }

    /// Takes what came from a device that signs for itself, and says what it is told.
    pub(super) fn take(
        &mut self,
        store: &Store,
        device: &Device,
        key: &PublicKey,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Downward, StoreError> {
        let verified = match Verified::open(bytes, key, device) {
            Ok(verified) => verified,
            Err(error) => return Ok(refusal(None, error.step(), &error.to_string())),
        };
        self.keep(store, &verified, bytes, now, |_| Ok(()))
    }

    /// Holds a verified batch, in one step with `and`, and says what its device is told.
    pub(super) fn keep(
        &mut self,
        store: &Store,
        verified: &Verified,
        bytes: &[u8],
        now: UnixMillis,
        and: impl FnOnce(&super::store::Change<'_>) -> Result<(), StoreError>,
    ) -> Result<Downward, StoreError> {
        let found = verified.batch();
        let (device, length) = (found.device(), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let key = match self.depot.take(verified, length) {
            Ok(Kept::Again(key)) => key,
            Err(error) => {
                self.is_full |= error.step() == FULL;
                self.has_changed = true;
                let key = BatchKey { chain: found.chain(), first: found.first() };
                return Ok(refusal(Some(key), error.step(), &error.to_string()));
            }
            Ok(Kept::New(key)) => {
                let row = self.row(verified, key, now)?;
                store.change(|change| {
                    change.keep_batch(device, &row, bytes)?;
                    and(change)
                })?;
                (self.is_full, self.has_changed) = (false, true);
                self.rows.insert((device.clone(), key), row);
                key
            }
        };
        Ok(Downward::Kept(KeptBatch { key, hash: verified.hash() }))
    }

    /// The refused batches of a device's chain from this one on.
    pub(super) fn refused_from(&self, device: &Device, from: BatchKey) -> Vec<BatchKey> {
        let rows = self
            .rows
            .range((device.clone(), from)..)
            .take_while(|((of, key), _)| of == device && key.chain == from.chain);
        rows.filter(|(_, row)| matches!(row.held.standing, Standing::Refused(_))).map(|((_, key), _)| *key).collect()
    }

    /// What a device is to be told again: with which batch of each of its chains the server has other records.
    pub(super) fn forked(&self, device: &Device) -> Vec<RefusedBatch> {
        let mut forked: Vec<(BatchKey, RefusedBatch)> = Vec::new();
        let first = BatchKey { chain: RecordChain([0; RecordChain::LENGTH]), first: 0 };
        for ((_, key), row) in self.rows.range((device.clone(), first)..).take_while(|((of, _), _)| of == device) {
            let is_told = forked.last().is_some_and(|(before, _)| before.chain == key.chain);
            if let Standing::Refused(step) = &row.held.standing
                && step == FORK
                && !is_told
            {
                forked.push((*key, RefusedBatch::new(Some(*key), step, row.reason.as_deref().unwrap_or_default())));
            }
        }
        forked.into_iter().map(|(_, refused)| refused).collect()
    }

    /// What a device is to be told again: before which batch of each of its chains something is missing at the server that is not held here.
    pub(super) fn lacking(&self, device: &Device) -> Vec<RefusedBatch> {
        let mut chains = BTreeSet::new();
        let held = self.depot.queue(device).into_iter().flat_map(Queue::iter);
        let first = held.filter(|held| chains.insert(held.key.chain));
        first.filter(|held| held.standing == Standing::Later).map(|held| lacks(held.key)).collect()
    }

    /// Holds batches in the place of refused ones that say the same, in one step with `and`. There is always room for them.
    pub(super) fn replace(
        &mut self,
        store: &Store,
        device: &Device,
        refused: &[BatchKey],
        batches: &[(Verified, Vec<u8>)],
        now: UnixMillis,
        and: impl FnOnce(&super::store::Change<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let length = |bytes: &Vec<u8>| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let lengths: Vec<_> = batches.iter().map(|(verified, bytes)| (verified.clone(), length(bytes))).collect();
        let keys =
            self.depot.replace(device, refused, &lengths).map_err(|_| StoreError::Damaged("a device's chain"))?;
        let mut new = Vec::new();
        for (key, (verified, bytes)) in keys.into_iter().zip(batches) {
            new.push((self.row(verified, key, now)?, bytes));
        }
        for key in refused {
            self.rows.remove(&(device.clone(), *key));
        }
        store.change(|change| {
            refused.iter().try_for_each(|key| change.remove_batch(device, *key))?;
            new.iter().try_for_each(|(row, bytes)| change.keep_batch(device, row, bytes))?;
            and(change)
        })?;
        self.rows.extend(new.into_iter().map(|(row, _)| ((device.clone(), row.held.key), row)));
        (self.is_full, self.has_changed) = (false, true);
        Ok(())
    }

    fn row(&self, verified: &Verified, key: BatchKey, now: UnixMillis) -> Result<HeldBatch, StoreError> {
        let found = verified.batch();
        let queue = self.depot.queue(found.device());
        let held = queue.and_then(|queue| queue.iter().find(|held| held.key == key));
        let held = held.ok_or(StoreError::Damaged("a held batch"))?.clone();
        let impossible = found.records().filter(|(_, record)| check(record, &self.definitions, now).is_err());
        let impossible = u64::try_from(impossible.count()).unwrap_or(u64::MAX);
        Ok(HeldBatch { held, made_at: found.made_at(), impossible, reason: None })
    }

    /// Why to send now.
    pub(super) fn due(&self, now: UnixMillis) -> Option<Trigger> {
        self.sending.due(now, self.sendable())
    }

    /// What waits and is not held up by something else.
    fn sendable(&self) -> usize {
        if self.depot.next().is_some() { self.depot.waiting() } else { 0 }
    }

    /// The next batch to be sent: its bytes, as they were signed. It counts as sent.
    pub(super) fn next(&mut self, store: &Store) -> Result<Option<(Device, BatchKey, Vec<u8>)>, StoreError> {
        let Some((device, held)) = self.depot.next() else { return Ok(None) };
        let (device, key) = (device.clone(), held.key);
        let bytes = store.batch(&device, key)?;
        if let Some(queue) = self.depot.queue_mut(&device) {
            queue.sent(key);
        }
        Ok(Some((device, key, bytes)))
    }

    /// The session has ended, or another one begins: what was not answered is sent again.
    pub(super) fn interrupted(&mut self, now: UnixMillis, random: u64) {
        if self.depot.is_under_way() {
            self.sending.failed(now, random);
        }
        self.depot.interrupted();
    }

    /// What waits for earlier batches, which may have come by another way, and what got no receipt is sent once more.
    pub(super) fn try_again(&mut self) {
        self.depot.interrupted();
    }

    fn settle(&mut self, now: UnixMillis) {
        if self.sendable() == 0 && !self.depot.is_under_way() {
            self.sending.done(now);
        }
    }

    /// The server has refused a batch: it is kept apart. Answers what its device is told, where that has to do something.
    pub(super) fn refused(
        &mut self,
        store: &Store,
        (device, key): &(Device, BatchKey),
        (step, reason): (&str, &str),
        now: UnixMillis,
        random: u64,
    ) -> Result<Option<Downward>, StoreError> {
        let Some(queue) = self.depot.queue_mut(device) else { return Ok(None) };
        let refused = RefusedBatch::new(Some(*key), step, reason);
        let remedy = queue.refused(*key, &refused.step);
        let standings: Vec<_> = queue.iter().map(|held| (held.key, held.standing.clone())).collect();
        let mut changed = Vec::new();
        for (key, standing) in standings {
            let Some(row) = self.rows.get_mut(&(device.clone(), key)) else { continue };
            if matches!(standing, Standing::Refused(_)) && row.held.standing != standing {
                row.held.standing = standing;
                row.reason = Some(refused.reason.clone());
                changed.push(row.clone());
            }
        }
        store.change(|change| changed.iter().try_for_each(|row| change.set_held(device, row)))?;
        self.has_changed = true;
        if remedy == Remedy::TryLater {
            self.sending.failed(now, random);
        }
        self.settle(now);
        let is_lacking = self.lacking(device).iter().any(|of| of.key == Some(*key));
        Ok((remedy == Remedy::BeginAnew || is_lacking).then_some(Downward::Refused(refused)))
    }

    /// Takes a receipt: what it is for is deleted, in one step with `and`, and nothing else is.
    pub(super) fn receipt(
        &mut self,
        store: &Store,
        bytes: &[u8],
        root: &Sha256,
        now: UnixMillis,
        and: impl FnOnce(&super::store::Change<'_>, &Receipt) -> Result<(), StoreError>,
    ) -> Result<Receipted, StoreError> {
        let receipt = match Receipt::open(bytes, root) {
            Ok(receipt) => receipt,
            Err(error) => return Ok(Receipted::Refused(error)),
        };
        let keys = match self.depot.receive(&receipt) {
            Ok(keys) => keys,
            Err(not_held) => return Ok(Receipted::NotHeld(not_held)),
        };
        store.change(|change| {
            keys.iter().try_for_each(|key| change.remove_batch(&receipt.device, *key))?;
            and(change, &receipt)
        })?;
        for key in &keys {
            self.rows.remove(&(receipt.device.clone(), *key));
        }
        (self.receipted_at, self.is_full, self.has_changed) = (Some(now), false, true);
        self.settle(now);
        Ok(Receipted::Deleted(receipt.device, keys.len()))
    }

    /// What was refused is sent once more: everything, or what was refused at one of these steps.
    pub(super) fn retry(&mut self, store: &Store, at: Option<&[&str]>) -> Result<usize, StoreError> {
        let mut changed = Vec::new();
        for ((device, key), row) in &mut self.rows {
            let Standing::Refused(step) = &row.held.standing else { continue };
            if at.is_some_and(|at| !at.contains(&step.as_str())) {
                continue;
            }
            if self.depot.queue_mut(device).is_some_and(|queue| queue.retry(*key)) {
                (row.held.standing, row.reason) = (Standing::Waiting, None);
                changed.push((device.clone(), row.clone()));
            }
        }
        if !changed.is_empty() {
            store.change(|change| changed.iter().try_for_each(|(device, row)| change.set_held(device, row)))?;
            self.sending.ask(Trigger::Request);
            self.has_changed = true;
        }
        Ok(changed.len())
    }

    /// A person discards what the server has refused; anything else stays. Whether it did.
    pub(super) fn discard(&mut self, store: &Store, device: &Device, key: BatchKey) -> Result<bool, StoreError> {
        let is_discarded = self.depot.discard(device, key);
        if is_discarded {
            store.change(|change| change.remove_batch(device, key))?;
            self.rows.remove(&(device.clone(), key));
            (self.is_full, self.has_changed) = (false, true);
        }
        Ok(is_discarded)
    }

    /// Whether it is to be shown how it stands: it has changed since this was asked last.
    pub(super) const fn take_changed(&mut self) -> bool {
        core::mem::replace(&mut self.has_changed, false)
    }

    /// Whether a batch did not fit, and there has been no room since.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many batches the server has refused.
    pub(super) fn refused_batches(&self) -> usize {
        self.rows.values().filter(|row| matches!(row.held.standing, Standing::Refused(_))).count()
    }

    /// How many bytes are held, and how many fit.
    pub(super) fn room(&self) -> (u64, u64) {
        (self.depot.bytes(), self.depot.capacity())
    }

    /// How it stands.
    pub(super) fn status(&self) -> StoredStatus {
        let mut devices: BTreeMap<&Device, HeldStatus> = BTreeMap::new();
        let (mut refused, mut refused_batches) = (Vec::new(), 0_u64);
        for ((device, key), row) in &self.rows {
            let new = || HeldStatus { device: device.clone(), records: 0, batches: 0, impossible: 0 };
            let of = devices.entry(device).or_insert_with(new);
            let count = row.held.last.saturating_sub(key.first).saturating_add(1);
            of.records = of.records.saturating_add(count);
            of.batches = of.batches.saturating_add(1);
            of.impossible = of.impossible.saturating_add(row.impossible);
            if let Standing::Refused(step) = &row.held.standing {
                refused_batches = refused_batches.saturating_add(1);
                if refused.len() < MAX_SHOWN {
                    refused.push(RefusedStatus {
                        device: device.clone(),
                        chain: key.chain,
                        first: key.first,
                        last: row.held.last,
                        step: step.clone(),
                        reason: row.reason.clone().unwrap_or_default(),
                    });
                }
            }
        }
        StoredStatus {
            records: devices.values().map(|of| of.records).fold(0, u64::saturating_add),
            bytes: self.depot.bytes(),
            capacity: self.depot.capacity(),
            oldest: self.rows.values().map(|row| row.made_at).min(),
            receipted_at: self.receipted_at,
            devices: devices.into_values().collect(),
            refused_batches,
            refused,
        }
    }
}

/// What comes before this batch is asked for: another gateway may have lost what it had taken over.
fn lacks(key: BatchKey) -> RefusedBatch {
    RefusedBatch::new(Some(key), GAP, "what comes before it is not here")
}

fn refusal(key: Option<BatchKey>, step: &str, reason: &str) -> Downward {
    Downward::Refused(RefusedBatch::new(key, step, reason))
}

#[cfg(test)]
mod tests;

//! A device's stored data: from a record to a receipt (figure 7; figure 13, 273).
//!
//! Records wait until they are signed as a batch; batches until a receipt comes. The store is bounded. When it is full, what a gateway has
//! stored is deleted first, oldest first. When that is not enough, new records are not stored; how many, and from when to when, is the first
//! record after that, signed in the chain like any other, so that a loss is never silent.

use serde::{Deserialize, Serialize};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};

use crate::batch::{Batch, BatchError, Beginning, ChainEnd, Link, Reason};
use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_RECORD_BYTES, MAX_BATCH_RECORDS};
use crate::queue::{BatchKey, NotHeld, Queue, Standing};
use crate::receipt::Receipt;
use crate::record::{Content, Record, Unrecorded};

/// The smallest store, in bytes: one batch that is sent, and one that is filled.
pub const MIN_CAPACITY: u64 = 2 * MAX_BATCH_BYTES as u64;
/// What a batch's envelope takes beside its records.
const OVERHEAD: u64 = (MAX_BATCH_BYTES - MAX_BATCH_RECORD_BYTES) as u64;

/// A device's store. The shell keeps it with the batches' bytes, and writes both at once before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    device: Device,
    capacity: u64,
    chain: RecordChain,
    beginning: Beginning,
    /// The number of the next record to be signed.
    next: u64,
    /// The hash of the last batch; none where the chain has none.
    head: Option<Sha256>,
    pending: Vec<Record>,
    pending_bytes: u64,
    queue: Queue,
    unrecorded: Option<Unrecorded>,
}

/// Why a record is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The store is full. The loss is counted and will be told.
    #[error("the store is full: {} records could not be kept", .0.count)]
    Full(Unrecorded),
    /// The caller's fault: a record that cannot be encoded.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

impl Outbox {
    /// The store of a device that has never stored anything, or has lost what it had. `chain` is random.
    pub fn begin(device: Device, capacity: u64, chain: RecordChain, reason: Reason) -> Self {
        Self {
            device,
            capacity: capacity.max(MIN_CAPACITY),
            chain,
            beginning: Beginning { reason, before: None },
            next: 1,
            head: None,
            pending: Vec::new(),
            pending_bytes: 0,
            queue: Queue::default(),
            unrecorded: None,
        }
    }

    /// Whose it is.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The present chain.
    pub const fn chain(&self) -> RecordChain {
        self.chain
    }

    /// What is held.
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What is held, to note what was sent, handed over or refused.
    pub const fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// How many records wait to be signed.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether the pending records fill a batch.
    pub fn is_batch_full(&self) -> bool {
        self.pending.len() >= MAX_BATCH_RECORDS || self.pending_bytes >= MAX_BATCH_RECORD_BYTES as u64
    }

    /// What could not be kept since the last note of it.
    pub const fn unrecorded(&self) -> Option<&Unrecorded> {
        self.unrecorded.as_ref()
    }

    /// Stores a record. Answers which batches the shell deletes to make room: only ones that a gateway has stored.
    pub fn record(&mut self, record: Record) -> Result<Vec<BatchKey>, NotRecorded> {
        let note = self.unrecorded.as_ref().map(|span| Record {
            at: span.until,
            patient: None,
            content: Content::Unrecorded(span.clone()),
        });
        let new: Vec<Record> = note.into_iter().chain([record]).collect();
        let sizes = new.iter().map(|record| cbor::encode(record).map(|bytes| bytes.len() as u64));
        let size = sizes.sum::<Result<u64, CborError>>()?;
        let Some(freed) = self.make_room(size) else {
            let at = new.last().map(|record| record.at).unwrap_or_default();
            let span = self.unrecorded.get_or_insert(Unrecorded { count: 0, from: at, until: at });
            span.count = span.count.saturating_add(1);
            (span.from, span.until) = (span.from.min(at), span.until.max(at));
            return Err(NotRecorded::Full(span.clone()));
        };
        self.unrecorded = None;
        self.pending.extend(new);
        self.pending_bytes = self.pending_bytes.saturating_add(size);
        Ok(freed)
    }

    fn make_room(&mut self, size: u64) -> Option<Vec<BatchKey>> {
        let batches = (self.pending_bytes.saturating_add(size) / (MAX_BATCH_RECORD_BYTES as u64)).saturating_add(1);
        let wanted = self.pending_bytes.saturating_add(size).saturating_add(batches.saturating_mul(OVERHEAD));
        let mut used = self.queue.bytes();
        let mut freed = Vec::new();
        for held in self.queue.iter() {
            if used.saturating_add(wanted) <= self.capacity {
                break;
            }
            if held.standing == Standing::Handed {
                used = used.saturating_sub(held.bytes);
                freed.push(held.key);
            }
        }
        if used.saturating_add(wanted) > self.capacity {
            return None;
        }
        self.queue.remove(&freed);
        Some(freed)
    }

    /// Signs pending records, as many as fit into one batch. The shell stores the bytes and the changed store in one write, and only then sends.
    pub fn close(&mut self, key: &PrivateKey, now: UnixMillis) -> Result<Option<(BatchKey, Vec<u8>)>, BatchError> {
        let (mut count, mut size) = (0, 0);
        for record in self.pending.iter().take(MAX_BATCH_RECORDS) {
            let bytes = cbor::encode(record)?.len();
            if size + bytes > MAX_BATCH_RECORD_BYTES {
                break;
            }
            (count, size) = (count + 1, size + bytes);
        }
        let records: Vec<Record> = self.pending.iter().take(count).cloned().collect();
        if records.is_empty() {
            return Ok(None);
        }
        let link = self.head.map_or(Link::Begins(self.beginning), Link::Follows);
        let batch = Batch::new(self.device.clone(), self.chain, self.next, link, now, records)?;
        let (bytes, verified) = batch.sign(key)?;
        self.queue.push(&verified, bytes.len() as u64);
        let signed = BatchKey { chain: self.chain, first: self.next };
        self.next = verified.batch().last().saturating_add(1);
        self.head = Some(verified.hash());
        self.pending.drain(..count);
        self.pending_bytes = self.pending_bytes.saturating_sub(size as u64);
        Ok(Some((signed, bytes)))
    }

    /// Takes a receipt that was opened, and answers which batches the shell deletes.
    pub fn receive(&mut self, receipt: &Receipt) -> Result<Vec<BatchKey>, NotHeld> {
        if receipt.device != self.device {
            return Err(NotHeld::Device);
        }
        self.queue.apply(receipt)
    }

    /// Begins a new chain. `chain` is random. Where batches of the present chain are refused because it has gone on elsewhere, or because the
    /// key has changed, `from` is the first number of those and `again` their records, which the shell has read from the batches: they
    /// are signed anew. Answers which batches the shell deletes, in the write that stores the changed store.
    pub fn begin_anew(
        &mut self,
        chain: RecordChain,
        reason: Reason,
        from: Option<u64>,
        again: Vec<Record>,
    ) -> Result<Vec<BatchKey>, CborError> {
        let sizes = again.iter().map(|record| cbor::encode(record).map(|bytes| bytes.len() as u64));
        let size = sizes.sum::<Result<u64, CborError>>()?;
        let withdrawn = |first: u64| from.is_some_and(|from| first >= from);
        let mut end = self.head.map(|hash| ChainEnd { chain: self.chain, last: self.next.saturating_sub(1), hash });
        let mut keys = Vec::new();
        for held in self.queue.iter().filter(|held| held.key.chain == self.chain && withdrawn(held.key.first)) {
            if keys.is_empty() {
                // The chain ends before the first that is taken back; with that the chain before is the last one again.
                let before = |hash| ChainEnd { chain: self.chain, last: held.key.first.saturating_sub(1), hash };
                end = held.follows.map(before);
            }
            keys.push(held.key);
        }
        self.queue.remove(&keys);
        self.beginning = Beginning { reason, before: end.or(self.beginning.before) };
        (self.chain, self.next, self.head) = (chain, 1, None);
        self.pending.splice(0..0, again);
        self.pending_bytes = self.pending_bytes.saturating_add(size);
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;

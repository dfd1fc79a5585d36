//! What a device stores of its data until it is elsewhere (Distribution, figures 7 and 13, 273): the shell around [`Outbox`].
//!
//! One file says everything but the batches' bytes, and is replaced as a whole; each signed batch is a file of its own. A batch is durable
//! before the file names it, and goes after the file has forgotten it: a power loss at any step leaves all that was stored,
//! and nothing is sent that is not stored. What the disk has no room for stays in memory, within the store's bounds, and is written later.

use super::disk::{self, Disk, Name};
use sha2::{Digest as _, Sha256 as Hasher};
use std::io;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{BatchError, Reason, Sealed, Verified};
use wardlink_records::exchange::{KeptBatch, RefusedBatch};
use wardlink_records::limits::MAX_BATCH_BYTES;
use wardlink_records::outbox::{NotRecorded, Outbox};
use wardlink_records::queue::{BatchKey, Held, NotHeld, Queue, Remedy, Standing};
use wardlink_records::receipt::Receipt;
use wardlink_records::record::{Record, Unrecorded};

/// How much a device stores, in bytes: with a few hundred bytes for a minute, weeks.
pub const STORED_BYTES: u64 = 8 * 1024 * 1024;
/// The longest file that says how the store stands, in bytes.
const MAX_STORED_BYTES: u64 = 16 * 1024 * 1024;
/// What that file begins with; the SHA-256 of the rest and a line break follow.
const HEADER: &str = "wardlink-stored 1 ";

/// Why something cannot be stored now. What was stored before is not lost.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The disk's fault.
    #[error("stored data cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The disk's fault: a batch that is listed is not there, or is not what was written.
    #[error("a batch of stored data is damaged")]
    Damaged,
    /// Our fault: no batch can be made.
    #[error("stored data cannot be signed: {0}")]
    Batch(#[from] BatchError),
    /// Our fault: something that cannot be encoded.
    #[error("stored data cannot be written: {0}")]
    Cbor(#[from] CborError),
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is stored.
    Kept,
    /// The store is full: it is counted, and the count is the next record.
    Lost(Unrecorded),
}

/// What a device stores, on a disk.
pub struct Records<D> {
    disk: D,
    key: PrivateKey,
    outbox: Outbox,
    /// Whether the disk has what is in memory.
    is_written: bool,
    /// Batches that are forgotten, and whose files may still be there.
    gone: Vec<BatchKey>,
}

/// A batch that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which one.
    pub key: BatchKey,
    /// As it was signed.
    pub bytes: Vec<u8>,
}

impl<D: Disk> Records<D> {
    /// Opens the store, or makes one. `chain` is random; it is used where a chain has to begin: in a store that is new, or whose file is damaged.
    /// In a damaged one everything that is still signed there is stored anew, however much it is; what had been handed over may come twice,
    /// under another chain, of which a person is told. What was not signed yet is lost with the file, and what cannot be read is set aside
    /// under another name, for a person to look at.
    pub fn open(
        disk: D,
        device: Device,
        key: PrivateKey,
        capacity: u64,
        chain: RecordChain,
    ) -> Result<Self, RecordsError> {
        let begin = move |reason| Outbox::begin(device, capacity, chain, reason);
        let (outbox, was_there, is_lost) = match load(&disk)? {
            Loaded::Whole(outbox) => (*outbox, true, false),
            Loaded::Nothing => (begin(Reason::First), false, false),
            Loaded::Damaged => (begin(Reason::StoreLost), false, true),
        };
        let mut records = Self { disk, key, outbox, is_written: was_there, gone: Vec::new() };
        if is_lost {
            records.salvage()?;
        }
        records.flush()?;
        records.outbox.queue_mut().interrupted();
        records.retry_former()?;
        records.tidy()?;
        Ok(records)
    }

    /// The device has another key from now on.
    pub fn sign_with(&mut self, key: PrivateKey) {
        self.key = key;
    }

    /// What was refused because a former key had signed it is sent once more: with the present one.
    fn retry_former(&mut self) -> Result<(), RecordsError> {
        let is_refused =
            |held: &&Held| matches!(&held.standing, Standing::Refused(step) if *step == BatchError::Signer.step());
        let refused: Vec<BatchKey> = self.outbox.queue().iter().filter(is_refused).map(|held| held.key).collect();
        for key in refused {
            let bytes = disk::read(&self.disk, Name::Batch(key), limit())?.unwrap_or_default();
            if self.own(&bytes) == Err(BatchError::Signer) {
                self.outbox.queue_mut().retry(key);
            }
        }
        Ok(())
    }

    /// Stores anew what the batches on the disk say, and sets the damaged file aside.
    fn salvage(&mut self) -> Result<(), RecordsError> {
        let mut found = Vec::new();
        for name in self.disk.names()? {
            let Name::Batch(key) = name else { continue };
            let bytes = disk::read(&self.disk, name, limit())?.unwrap_or_default();
            match self.own(&bytes) {
                Ok(verified) => found.push((verified.batch().made_at(), key, verified.into_batch())),
                Err(_) => self.set_aside(key)?,
            }
        }
        found.sort_by_key(|(made_at, key, _)| (*made_at, *key));
        let again = found.into_iter().flat_map(|(_, _, batch)| batch.into_records()).collect();
        let chain = self.outbox.chain();
        self.outbox.begin_anew(chain, Reason::StoreLost, None, again)?;
        if let Some(bytes) = disk::read(&self.disk, Name::Stored, MAX_STORED_BYTES)? {
            disk::write(&mut self.disk, Name::DamagedStored, &bytes)?;
        }
        Ok(())
    }

    /// A batch that cannot be read gets another name, and stays.
    fn set_aside(&mut self, key: BatchKey) -> Result<(), RecordsError> {
        tracing::warn!(chain = %key.chain, first = key.first, "a batch of stored data is damaged: it is set aside");
        if self.disk.length(Name::Batch(key))?.is_some() {
            self.disk.rename(Name::Batch(key), Name::DamagedBatch(key))?;
            self.disk.sync_names()?;
        }
        Ok(())
    }

    /// Removes batches that are listed nowhere.
    fn tidy(&mut self) -> Result<(), RecordsError> {
        let held: Vec<BatchKey> = self.outbox.queue().iter().map(|held| held.key).collect();
        let is_stray = |name: &Name| match name {
            Name::Batch(key) => !held.contains(key),
            Name::NewStored => true,
            _ => false,
        };
        let stray: Vec<Name> = self.disk.names()?.into_iter().filter(is_stray).collect();
        for name in &stray {
            self.disk.remove(*name)?;
        }
        if !stray.is_empty() {
            self.disk.sync_names()?;
        }
        Ok(())
    }

    /// What is held, signed.
    pub const fn queue(&self) -> &Queue {
        self.outbox.queue()
    }

    /// How many records wait to be signed.
    pub fn pending(&self) -> usize {
        self.outbox.pending()
    }

    /// How many records, signed or not, are stored here.
    pub fn stored(&self) -> u64 {
        self.outbox.queue().records().saturating_add(u64::try_from(self.outbox.pending()).unwrap_or(u64::MAX))
    }

    /// How much is to be sent, in batches: what is not signed yet is one.
    pub fn waiting(&self) -> usize {
        self.outbox.queue().waiting().saturating_add(usize::from(self.outbox.pending() > 0))
    }

    /// What could not be kept since the last note of it.
    pub const fn unrecorded(&self) -> Option<&Unrecorded> {
        self.outbox.unrecorded()
    }

    /// Stores a record, durably: see [`Records::record_all`].
    pub fn record(&mut self, record: Record, now: UnixMillis) -> Result<Recorded, RecordsError> {
        self.record_all([record], now)
    }

    /// Stores records, durably, in one step. Where the disk fails, they are in memory, and are written with what comes next.
    pub fn record_all(
        &mut self,
        records: impl IntoIterator<Item = Record>,
        now: UnixMillis,
    ) -> Result<Recorded, RecordsError> {
        let mut recorded = Recorded::Kept;
        for record in records {
            match self.outbox.record(record) {
                Ok(freed) => self.gone.extend(freed),
                Err(NotRecorded::Full(span)) => recorded = Recorded::Lost(span),
                Err(NotRecorded::Cbor(error)) => return Err(error.into()),
            }
            self.is_written = false;
        }
        self.flush()?;
        if self.outbox.is_batch_full() {
            self.close(now)?;
        }
        Ok(recorded)
    }

    /// Signs everything that waits for it.
    pub fn close(&mut self, now: UnixMillis) -> Result<(), RecordsError> {
        self.flush()?;
        while self.outbox.pending() > 0 {
            let mut next = self.outbox.clone();
            let Some((key, bytes)) = next.close(&self.key, now)? else { break };
            disk::write(&mut self.disk, Name::Batch(key), &bytes)?;
            self.replace(next, Vec::new())?;
        }
        Ok(())
    }

    /// The next batch to be sent. It and what is before it are durable. One that is damaged is kept apart, and what comes after it in its
    /// chain is signed anew under `chain`, which is random: the server learns what is missing.
    pub fn next_batch(&mut self, chain: RecordChain) -> Result<Option<Outgoing>, RecordsError> {
        self.flush()?;
        while let Some(key) = self.outbox.queue().next().map(|held| held.key) {
            match self.batch(key) {
                Ok((bytes, _)) => return Ok(Some(Outgoing { key, bytes })),
                Err(RecordsError::Damaged) => self.keep_apart(key, chain)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A batch as it was signed, and opened. One that a former key of this device has signed is known by its hash, and is signed with the
    /// present key: what is signed twice is one and the same batch.
    fn batch(&self, key: BatchKey) -> Result<(Vec<u8>, Verified), RecordsError> {
        let held = self.outbox.queue().iter().find(|held| held.key == key).ok_or(RecordsError::Damaged)?;
        let bytes = disk::read(&self.disk, Name::Batch(key), limit())?.ok_or(RecordsError::Damaged)?;
        let opened = match self.own(&bytes) {
            Err(BatchError::Signer) => self.sign_again(&bytes, &held.hash),
            opened => opened.map(|verified| (bytes, verified)),
        };
        let (bytes, verified) = opened.map_err(|_| RecordsError::Damaged)?;
        if verified.hash() == held.hash { Ok((bytes, verified)) } else { Err(RecordsError::Damaged) }
    }

    /// Opens what this device has signed.
    fn own(&self, bytes: &[u8]) -> Result<Verified, BatchError> {
        Verified::open(bytes, &self.key.public(), self.outbox.device())
    }

    fn sign_again(&self, bytes: &[u8], hash: &Sha256) -> Result<(Vec<u8>, Verified), BatchError> {
        let stored = Sealed::parse(bytes)?.dangerous_open_by_hash(hash, self.outbox.device())?;
        stored.into_batch().sign(&self.key)
    }

    /// A damaged batch is not sent, and holds up nothing.
    fn keep_apart(&mut self, key: BatchKey, chain: RecordChain) -> Result<(), RecordsError> {
        tracing::warn!(chain = %key.chain, first = key.first, "a batch of stored data is damaged: it is kept apart");
        let mut next = self.outbox.clone();
        next.queue_mut().damaged(key);
        let after = next.queue().iter().find(|held| held.key == key).and_then(|held| held.last.checked_add(1));
        let mut gone = Vec::new();
        if let Some(first) = after.filter(|_| next.chain() == key.chain) {
            gone = self.sign_anew(&mut next, BatchKey { first, ..key }, chain, Reason::StoreLost)?;
        }
        self.replace(next, gone)
    }

    /// The records of the present chain from this number on are signed anew, under another chain. Answers which batches go then; those that
    /// are damaged are set aside.
    fn sign_anew(
        &mut self,
        next: &mut Outbox,
        from: BatchKey,
        chain: RecordChain,
        reason: Reason,
    ) -> Result<Vec<BatchKey>, RecordsError> {
        let is_from = |key: &BatchKey| key.chain == from.chain && key.first >= from.first;
        let keys: Vec<BatchKey> = next.queue().iter().map(|held| held.key).filter(is_from).collect();
        let mut again = Vec::new();
        for key in keys {
            match self.batch(key) {
                Ok((_, verified)) => again.extend(verified.into_batch().into_records()),
                Err(RecordsError::Damaged) => self.set_aside(key)?,
                Err(error) => return Err(error),
            }
        }
        Ok(next.begin_anew(chain, reason, Some(from.first), again)?)
    }

    /// How many batches are damaged, and kept apart.
    pub fn damaged(&self) -> usize {
        self.outbox.queue().iter().filter(|held| held.standing == Standing::Damaged).count()
    }

    /// The batch was sent.
    pub fn sent(&mut self, key: BatchKey) {
        self.outbox.queue_mut().sent(key);
    }

    /// What was not answered is sent again.
    pub fn interrupted(&mut self) {
        self.outbox.queue_mut().interrupted();
    }

    /// A gateway says that it has stored exactly this batch: it may go when there is no room, and goes with the server's receipt.
    pub fn kept(&mut self, kept: &KeptBatch) -> Result<bool, RecordsError> {
        let mut next = self.outbox.clone();
        let is_held = next.queue_mut().handed(kept.key, &kept.hash);
        if is_held {
            self.replace(next, Vec::new())?;
        }
        Ok(is_held)
    }

    /// A batch was refused. Where its chain has gone on elsewhere, a new one begins, and the records are signed anew; `chain` is random.
    pub fn refused(&mut self, refused: &RefusedBatch, chain: RecordChain) -> Result<Option<Remedy>, RecordsError> {
        let Some(key) = refused.key.filter(|key| self.outbox.queue().iter().any(|held| held.key == *key)) else {
            return Ok(None);
        };
        let mut next = self.outbox.clone();
        let remedy = next.queue_mut().refused(key, &refused.step);
        let mut gone = Vec::new();
        if remedy == Remedy::BeginAnew && self.outbox.chain() == key.chain {
            gone = self.sign_anew(&mut next, key, chain, Reason::Restored)?;
        }
        self.replace(next, gone)?;
        Ok(Some(remedy))
    }

    /// A person asks: what was refused is sent once more.
    pub fn retry(&mut self) -> Result<(), RecordsError> {
        let mut next = self.outbox.clone();
        let refused = |standing: &Standing| matches!(standing, Standing::Refused(_));
        let keys: Vec<BatchKey> =
            next.queue().iter().filter(|held| refused(&held.standing)).map(|held| held.key).collect();
        if keys.iter().filter(|key| next.queue_mut().retry(**key)).count() > 0 {
            self.replace(next, Vec::new())?;
        }
        Ok(())
    }

    /// Takes a receipt that was opened, and deletes exactly what it is for.
    pub fn receive(&mut self, receipt: &Receipt) -> Result<Result<usize, NotHeld>, RecordsError> {
        let mut next = self.outbox.clone();
        let keys = match next.receive(receipt) {
            Ok(keys) => keys,
            Err(not_held) => return Ok(Err(not_held)),
        };
        let count = keys.len();
        self.replace(next, keys)?;
        Ok(Ok(count))
    }

    /// Erases everything: the device has left its site. What comes later is another chain; `chain` is random. A disk without room for that
    /// hinders nothing: the data goes first, and needs none.
    pub fn erase(&mut self, capacity: u64, chain: RecordChain) -> Result<(), RecordsError> {
        let device = self.outbox.device().clone();
        self.outbox = Outbox::begin(device, capacity, chain, Reason::PairedAgain);
        (self.is_written, self.gone) = (false, Vec::new());
        // Batches that nothing lists would be stored anew after a power loss: what lists them goes last.
        let (last, first): (Vec<Name>, Vec<Name>) =
            self.disk.names()?.into_iter().partition(|name| *name == Name::Stored);
        for name in first.into_iter().filter(|name| is_data(*name)).chain(last) {
            if name == Name::Stored {
                self.disk.sync_names()?;
            }
            self.disk.remove(name)?;
        }
        self.disk.sync_names()?;
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "that a chain begins anew is written with what comes next");
        }
        Ok(())
    }

    /// Puts another state in the place of this one, durably; what is `gone` in it is removed only then.
    fn replace(&mut self, next: Outbox, gone: Vec<BatchKey>) -> Result<(), RecordsError> {
        if next != self.outbox || !self.is_written {
            store(&mut self.disk, &next)?;
            self.outbox = next;
            self.is_written = true;
            self.gone.extend(gone);
        }
        self.remove_gone()
    }

    /// Writes what is in memory, if the disk has not got it.
    fn flush(&mut self) -> Result<(), RecordsError> {
        if !self.is_written {
            store(&mut self.disk, &self.outbox)?;
            self.is_written = true;
        }
        self.remove_gone()
    }

    fn remove_gone(&mut self) -> Result<(), RecordsError> {
        if self.gone.is_empty() {
            return Ok(());
        }
        for key in core::mem::take(&mut self.gone) {
            self.disk.remove(Name::Batch(key))?;
        }
        Ok(self.disk.sync_names()?)
    }
}

/// Whether it has something of what was stored.
const fn is_data(name: Name) -> bool {
    matches!(name, Name::Stored | Name::NewStored | Name::DamagedStored | Name::Batch(_) | Name::DamagedBatch(_))
}

fn limit() -> u64 {
    u64::try_from(MAX_BATCH_BYTES).unwrap_or(u64::MAX)
}

enum Loaded {
    Whole(Box<Outbox>),
    Nothing,
    Damaged,
}

fn load(disk: &impl Disk) -> Result<Loaded, RecordsError> {
    if disk.length(Name::Stored)?.is_none() {
        // A batch is never there before the file that names it was.
        let is_emptied = disk.names()?.iter().any(|name| matches!(name, Name::Batch(_) | Name::DamagedBatch(_)));
        return Ok(if is_emptied { Loaded::Damaged } else { Loaded::Nothing });
    }
    let bytes = disk::read(disk, Name::Stored, MAX_STORED_BYTES)?.unwrap_or_default();
    let read = || {
        let rest = bytes.strip_prefix(HEADER.as_bytes())?;
        let (hash, rest) = rest.split_at_checked(2 * Sha256::LENGTH)?;
        let content = rest.strip_prefix(b"\n")?;
        if core::str::from_utf8(hash).ok()?.parse::<Sha256>().ok()? != hash_of(content) {
            return None;
        }
        cbor::unpack(content, content.len()).ok()
    };
    Ok(read().map_or(Loaded::Damaged, |outbox| Loaded::Whole(Box::new(outbox))))
}

fn store(disk: &mut impl Disk, outbox: &Outbox) -> Result<(), RecordsError> {
    let content = cbor::pack(outbox)?;
    let mut bytes = format!("{HEADER}{}\n", hash_of(&content)).into_bytes();
    bytes.extend(content);
    disk::write(disk, Name::NewStored, &bytes)?;
    disk.rename(Name::NewStored, Name::Stored)?;
    Ok(disk.sync_names()?)
}

fn hash_of(bytes: &[u8]) -> Sha256 {
    Sha256(Hasher::digest(bytes).into())
}

#[cfg(test)]
mod tests;

//! The stored data of devices that cannot sign, such as scales: the gateway reads it, chains it and signs for them (design, section 5).
//!
//! A passive device puts each value into a file of its own in the folder `stored` of its folder, whole (written beside and renamed), named so that
//! the names' order is that of time, such as by the milliseconds since 1970. The gateway stores it in its chain, and then deletes the file: every value comes
//! once, whenever the power goes.

use super::store::records::Spoken;
use super::store::{Store, StoreError};
use super::stored::Holdings;
use crate::files::{if_there, read_file};
use serde::Deserialize;
use sha2::{Digest as _, Sha256 as Hasher};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::identity::{PatientReference, RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{BatchError, Reason, Verified};
use wardlink_records::decimal::Decimal;
use wardlink_records::exchange::Downward;
use wardlink_records::name::{Choice, Instrument, Kind, Question, Text, Unit};
use wardlink_records::outbox::{NotRecorded, Outbox};
use wardlink_records::queue::BatchKey;
use wardlink_records::record::{Answer, Content, Measure, Record, Response};

/// Where a passive device puts its values.
const FOLDER: &str = "stored";
/// What the name of a value's file ends with; what cannot be read gets [`REFUSED`] behind it, and stays.
const VALUE: &str = ".json";
const REFUSED: &str = ".refused";
/// The longest file of a value, in bytes.
const MAX_VALUE_BYTES: u64 = 4 * 1024;
/// The most values that are taken at once: one batch.
const MAX_AT_ONCE: usize = 256;
/// How much of a device's data its chain knows of before the receipts, in bytes; what is held in all is bounded besides.
const CHAIN_BYTES: u64 = 1024 * 1024;

/// A value, as a passive device writes it: a measurement, or an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at: UnixMillis,
    patient: Option<PatientReference>,
    kind: Option<Kind>,
    value: Option<Decimal>,
    unit: Option<Unit>,
    instrument: Option<Instrument>,
    question: Option<Question>,
    choice: Option<Choice>,
    number: Option<Decimal>,
    text: Option<Text>,
}

/// What a file says; none where that is nothing that can be stored.
fn value(json: &[u8]) -> Option<Record> {
    let is: Written = serde_json::from_slice(json).ok()?;
    let response = match (is.choice, is.number, is.text) {
        (Some(choice), None, None) => Some(Response::Choice(choice)),
        (None, Some(number), None) => Some(Response::Number(number)),
        (None, None, Some(text)) => Some(Response::Text(text)),
        (None, None, None) => None,
        _ => return None,
    };
    let content = match (is.kind, is.value, is.unit, is.instrument, is.question, response) {
        (Some(kind), Some(value), Some(unit), None, None, None) => Content::Measure(Measure { kind, value, unit }),
        (None, None, None, Some(instrument), Some(question), Some(response)) => {
            Content::Answer(Answer { instrument, question, response })
        }
        _ => return None,
    };
    Some(Record { at: is.at, patient: is.patient, content })
}

/// Why nothing of a device can be taken now. Its values stay where they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSpoken {
    /// Our store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The device's folder.
    #[error("its folder: {0}")]
    Folder(#[from] io::Error),
    /// The gateway has no room.
    #[error("{0}")]
    Full(String),
    /// The device's fault: files that say nothing. They are set aside until a person has looked at them; the others are taken.
    #[error(
        "{0} files in its folder say nothing that can be stored: they are set aside there (…{REFUSED}); remove them when you have looked at them"
    )]
    Unreadable(usize),
    /// Our fault: no batch can be made.
    #[error("nothing can be signed for it: {0}")]
    Batch(#[from] BatchError),
}

/// For whom the gateway speaks.
pub(super) struct Speaker<'a> {
    pub(super) device: &'a Device,
    /// The device's folder.
    pub(super) folder: &'a Path,
    /// The gateway's key.
    pub(super) key: &'a PrivateKey,
    /// Random, should a chain begin.
    pub(super) chain: RecordChain,
}

impl Speaker<'_> {
    /// Begins the chain anew where the server has other records, and takes what the device has written: so many batches as are `left` to
    /// be taken, and everything where some are left after that.
    pub(super) fn speak(
        &self,
        store: &Store,
        stored: &mut Holdings,
        now: UnixMillis,
        left: &mut usize,
    ) -> Result<(), NotSpoken> {
        for from in stored.forked(self.device).into_iter().filter_map(|forked| forked.key) {
            self.begin_anew(store, stored, from, now)?;
        }
        while *left > 0 && self.take(store, stored, now)? > 0 {
            *left = left.saturating_sub(1);
        }
        match names(&self.folder.join(FOLDER), REFUSED)?.len() {
            0 => Ok(()),
            count => Err(NotSpoken::Unreadable(count)),
        }
    }

    /// Takes what the device has written, as one batch, in one step with what was read; says how many files that was, with those that are
    /// set aside.
    fn take(&self, store: &Store, stored: &mut Holdings, now: UnixMillis) -> Result<usize, NotSpoken> {
        let folder = self.folder.join(FOLDER);
        let names = names(&folder, VALUE)?;
        if names.is_empty() {
            return Ok(0);
        }
        let begin = || Spoken {
            outbox: Outbox::begin(self.device.clone(), CHAIN_BYTES, self.chain, Reason::First),
            read: Vec::new(),
        };
        let mut spoken = store.spoken(self.device)?.unwrap_or_else(begin);
        let before = core::mem::take(&mut spoken.read);
        let (mut unreadable, mut done) = (0, Vec::new());
        for name in names.into_iter().take(MAX_AT_ONCE) {
            let path = folder.join(&name);
            let Some(read) = read_file(&path, MAX_VALUE_BYTES)? else {
                set_aside(&folder, &name)?;
                unreadable += 1;
                continue;
            };
            let hash = Sha256(Hasher::digest(&read).into());
            if before.contains(&(name.clone(), hash)) {
                // It was stored, and the power went before it was deleted, or before that was durable.
                fs::remove_file(&path)?;
                continue;
            }
            let Some(record) = value(&read) else {
                set_aside(&folder, &name)?;
                unreadable += 1;
                continue;
            };
            match spoken.outbox.record(record) {
                Ok(_) => {}
                Err(NotRecorded::Full(_)) => return Err(NotSpoken::Full("its chain is full".to_owned())),
                Err(NotRecorded::Cbor(error)) => return Err(NotSpoken::Batch(error.into())),
            }
            spoken.read.push((name, hash));
            done.push(path);
            if spoken.outbox.is_batch_full() {
                break;
            }
        }
        // What is still there and was not looked at now, is not forgotten.
        spoken.read.extend(before.into_iter().filter(|(name, _)| fs::symlink_metadata(folder.join(name)).is_ok()));
        // What was deleted before may come back with a power loss, until this: only then it is forgotten.
        File::open(&folder)?.sync_all()?;
        if let Some(bytes) = self.sign(&mut spoken, now)? {
            let verified = self.open(&bytes)?;
            let kept = stored.keep(store, &verified, &bytes, now, |change| change.set_spoken(self.device, &spoken))?;
            if let Downward::Refused(refused) = kept {
                return Err(NotSpoken::Full(refused.reason));
            }
        }
        for path in &done {
            fs::remove_file(path)?;
        }
        Ok(done.len().saturating_add(unreadable))
    }

    /// Signs what waits, as one batch. The gateway itself holds it then: there is nobody to hand it over to.
    fn sign(&self, spoken: &mut Spoken, now: UnixMillis) -> Result<Option<Vec<u8>>, NotSpoken> {
        let Some((key, bytes)) = spoken.outbox.close(self.key, now)? else { return Ok(None) };
        let hash = self.open(&bytes)?.hash();
        spoken.outbox.queue_mut().handed(key, &hash);
        Ok(Some(bytes))
    }

    fn open(&self, bytes: &[u8]) -> Result<Verified, NotSpoken> {
        Ok(Verified::open(bytes, &self.key.public(), self.device)?)
    }

    /// The server has other records under the numbers from this batch on, because the gateway was restored from an older state: they are
    /// signed anew, under a new chain, and the refused ones go in the same step.
    fn begin_anew(
        &self,
        store: &Store,
        stored: &mut Holdings,
        from: BatchKey,
        now: UnixMillis,
    ) -> Result<(), NotSpoken> {
        let Some(mut spoken) = store.spoken(self.device)?.filter(|spoken| spoken.outbox.chain() == from.chain) else {
            return Ok(());
        };
        let refused = stored.refused_from(self.device, from);
        let mut again = Vec::new();
        for key in &refused {
            again.extend(self.open(&store.batch(self.device, *key)?)?.into_batch().into_records());
        }
        spoken.outbox.begin_anew(self.chain, Reason::Restored, Some(from.first), again).map_err(BatchError::Cbor)?;
        let mut batches = Vec::new();
        while let Some(bytes) = self.sign(&mut spoken, now)? {
            batches.push((self.open(&bytes)?, bytes));
        }
        Ok(stored
            .replace(store, self.device, &refused, &batches, now, |change| change.set_spoken(self.device, &spoken))?)
    }
}

/// The files whose names end so, in their order.
fn names(folder: &Path, end: &str) -> io::Result<Vec<String>> {
    let Some(entries) = if_there(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort_unstable();
    Ok(names)
}

/// What says nothing gets another name, and stays; nothing that was set aside before is lost by that.
fn set_aside(folder: &Path, name: &str) -> io::Result<()> {
    let numbered = (1..).map(|number: u32| format!("{name}.{number}{REFUSED}"));
    let mut names = core::iter::once(format!("{name}{REFUSED}")).chain(numbered).map(|name| folder.join(name));
    let free = names.find(|path| fs::symlink_metadata(path).is_err()).ok_or(ErrorKind::AlreadyExists)?;
    fs::rename(folder.join(name), free)
}

#[cfg(test)]
mod tests;

//! The record: everything that a device knows of its software, replaced as a whole.

use super::disk::{self, Disk, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest as _;
use std::io;
use wardlink_protocol::identity::Sha256;

/// The longest record, in bytes: roots, keys and an update under way, with room.
const MAX_RECORD_BYTES: u64 = 4_000_000;
/// What a record begins with; its SHA-256 and a line break follow.
const HEADER: &str = "wardlink-software 1 ";

/// Why there is no record to go on with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("the software's record cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Our fault, or the disk's: it is not what was written. It is never taken for an empty one.
    #[error("the software's record is damaged ({0}); the device has to go to its manufacturer's service")]
    Damaged(&'static str),
}

/// Reads the record; none before the first start.
pub(super) fn load<T: DeserializeOwned>(disk: &impl Disk) -> Result<Option<T>, StoreError> {
    if disk.length(Name::Record)?.is_none() {
        return Ok(None);
    }
    let bytes = disk::read(disk, Name::Record, MAX_RECORD_BYTES)?.ok_or(StoreError::Damaged("it is too long"))?;
    let text = String::from_utf8(bytes).map_err(|_| StoreError::Damaged("it is no text"))?;
    let rest = text.strip_prefix(HEADER).ok_or(StoreError::Damaged("another version of this program wrote it"))?;
    let (hash, json) = rest.split_once('\n').ok_or(StoreError::Damaged("it is cut short"))?;
    if hash != sha256(json.as_bytes()).to_string() {
        return Err(StoreError::Damaged("its check sum does not fit"));
    }
    serde_json::from_str(json).map(Some).map_err(|_| StoreError::Damaged("its fields are not the expected ones"))
}

/// Replaces the record: after a power loss it is this one or the one before, and when this returns, it is this one.
pub(super) fn store<T: Serialize>(disk: &mut impl Disk, record: &T) -> Result<(), StoreError> {
    let json = serde_json::to_string(record).map_err(io::Error::other)?;
    let text = format!("{HEADER}{}\n{json}", sha256(json.as_bytes()));
    disk::write(disk, Name::NewRecord, text.as_bytes())?;
    disk.rename(Name::NewRecord, Name::Record)?;
    Ok(disk.sync_names()?)
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::disk::model::{Loss, Model};
    use super::*;

    #[test]
    fn after_a_power_loss_the_record_is_the_old_one_or_the_new_one() {
        let mut before = Model::default();
        store(&mut before, &"old").unwrap();
        let mut whole = before.clone();
        store(&mut whole, &"new").unwrap();
        for steps in 0..=whole.steps - before.steps {
            let mut disk = before.powered_for(steps);
            let stored = store(&mut disk, &"new");
            for loss in Loss::all() {
                let found: String = load(&disk.after(loss)).unwrap().unwrap();
                assert!(found == "new" || (found == "old" && stored.is_err()), "step {steps}, {loss:?}");
            }
        }
    }

    #[test]
    fn a_damaged_record_is_never_taken_for_an_empty_one() {
        let mut whole = Model::default();
        assert_eq!(load::<String>(&whole).unwrap(), None);
        store(&mut whole, &"a record").unwrap();
        for length in 0..whole.bytes(Name::Record).unwrap().len() {
            let mut disk = whole.clone();
            disk.spoil(Name::Record, |bytes| bytes.truncate(length));
            assert!(matches!(load::<String>(&disk), Err(StoreError::Damaged(_))), "{length}");
        }
        for at in 0..whole.bytes(Name::Record).unwrap().len() {
            let mut disk = whole.clone();
            disk.spoil(Name::Record, |bytes| bytes[at] ^= 1);
            assert!(matches!(load::<String>(&disk), Err(StoreError::Damaged(_))), "{at}");
        }
    }
}

//! The stored data of a gateway's devices in its store: each batch as it was received, what the gateway knows of it beside, and the
//! chains of the devices for which it speaks.

use super::{Change, Store, StoreError, pack, unpack};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::outbox::Outbox;
use wardlink_records::queue::{BatchKey, Held};

/// Batches of stored data as they were signed, by device, chain and first number.
const BATCHES: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("batches");
/// How far each batch has come: CBOR, under the same key.
const HELD: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("held");
/// The chains of devices that do not sign: CBOR, by device.
const SPOKEN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("spoken");

type Key<'a> = (&'a str, &'a [u8], u64);

/// A batch that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::gateway) struct HeldBatch {
    pub(in crate::gateway) held: Held,
    /// When its device signed it, by its own clock.
    pub(in crate::gateway) made_at: UnixMillis,
    /// How many of its values cannot be, by what the gateway knows.
    pub(in crate::gateway) impossible: u64,
    /// What the server said about it when it was refused.
    pub(in crate::gateway) reason: Option<String>,
}

/// The chain of a device for which the gateway speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::gateway) struct Spoken {
    pub(in crate::gateway) outbox: Outbox,
    /// The files that were read last, with the hashes of what they said: those that are still there are not read again.
    pub(in crate::gateway) read: Vec<(String, Sha256)>,
}

pub(super) fn prepare(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(BATCHES)?;
    write.open_table(HELD)?;
    write.open_table(SPOKEN)?;
    Ok(())
}

impl Store {
    /// Everything that is held.
    pub(in crate::gateway) fn held(&self) -> Result<Vec<(Device, HeldBatch)>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(HELD)?;
        let mut held = Vec::new();
        for entry in table.iter()? {
            let (key, row) = entry?;
            let device = key.value().0.parse().map_err(|_| StoreError::Damaged("a device's name"))?;
            held.push((device, unpack(row.value(), "a held batch")?));
        }
        Ok(held)
    }

    /// A batch as it was signed.
    pub(in crate::gateway) fn batch(&self, device: &Device, key: BatchKey) -> Result<Vec<u8>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(BATCHES)?;
        let name = device.to_string();
        let bytes = table.get((name.as_str(), key.chain.0.as_slice(), key.first))?;
        Ok(bytes.ok_or(StoreError::Damaged("a batch"))?.value().to_vec())
    }

    /// The chain of a device for which the gateway speaks.
    pub(in crate::gateway) fn spoken(&self, device: &Device) -> Result<Option<Spoken>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(SPOKEN)?;
        let Some(row) = table.get(device.to_string().as_str())? else { return Ok(None) };
        unpack(row.value(), "a device's chain").map(Some)
    }
}

impl Change<'_> {
    /// Keeps a batch.
    pub(in crate::gateway) fn keep_batch(
        &self,
        device: &Device,
        held: &HeldBatch,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let (name, key) = (device.to_string(), held.held.key);
        self.write.open_table(BATCHES)?.insert((name.as_str(), key.chain.0.as_slice(), key.first), bytes)?;
        self.set_held(device, held)
    }

    /// How far a batch has come.
    pub(in crate::gateway) fn set_held(&self, device: &Device, held: &HeldBatch) -> Result<(), StoreError> {
        let (name, key) = (device.to_string(), held.held.key);
        let row = pack(held, "a held batch")?;
        self.write.open_table(HELD)?.insert((name.as_str(), key.chain.0.as_slice(), key.first), row.as_slice())?;
        Ok(())
    }

    /// Deletes a batch.
    pub(in crate::gateway) fn remove_batch(&self, device: &Device, key: BatchKey) -> Result<(), StoreError> {
        let name = device.to_string();
        let key = (name.as_str(), key.chain.0.as_slice(), key.first);
        self.write.open_table(BATCHES)?.remove(key)?;
        self.write.open_table(HELD)?.remove(key)?;
        Ok(())
    }

    /// The chain of a device for which the gateway speaks.
    pub(in crate::gateway) fn set_spoken(&self, device: &Device, spoken: &Spoken) -> Result<(), StoreError> {
        let row = pack(spoken, "a device's chain")?;
        self.write.open_table(SPOKEN)?.insert(device.to_string().as_str(), row.as_slice())?;
        Ok(())
    }
}

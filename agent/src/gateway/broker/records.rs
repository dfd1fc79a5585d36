//! The broker's records in a file of their own: what it says may leave only when this has them.

use crate::gateway::database;
use crate::gateway::store::StoreError;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;
use wardlink_bridge::storage::{Changes, RecordKey, Table};
use wardlink_protocol::{Device, cbor};
use wardlink_trust::Receivers;

/// Records, by the number of their table and their own two numbers.
const RECORDS: TableDefinition<'_, (u8, u64, u64), &[u8]> = TableDefinition::new("records");

/// What has counted of each device's messages, CBOR, by its name.
const COUNTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counted");
/// The number of the gateway's newest run on its devices' topics.
const RUNS: TableDefinition<'_, (), u64> = TableDefinition::new("runs");
/// The longest entry of [`COUNTED`], in bytes.
const MAX_COUNTED_BYTES: usize = 64 * 1024;

/// The file.
pub(super) struct Records {
    database: Database,
}

impl Records {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepared(database::open(path)?)
    }

    /// Opens it on another medium than a file.
    #[cfg(test)]
    pub(super) fn on(backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        Self::prepared(Database::builder().create_with_backend(backend)?)
    }

    fn prepared(database: Database) -> Result<Self, StoreError> {
        let write = database.begin_write()?;
        write.open_table(RECORDS)?;
        write.open_table(COUNTED)?;
        write.open_table(RUNS)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// All of them.
    pub(super) fn load(&self) -> Result<BTreeMap<RecordKey, Vec<u8>>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(RECORDS)?;
        let mut records = BTreeMap::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            let (table, major, minor) = key.value();
            if let Some(table) = Table::from_number(table) {
                records.insert(RecordKey { table, major, minor }, value.value().to_vec());
            }
        }
        Ok(records)
    }

    /// What has counted of each device's messages.
    pub(super) fn counted(&self) -> Result<BTreeMap<Device, Receivers>, StoreError> {
        let read = self.database.begin_read()?;
        let mut all = BTreeMap::new();
        for entry in read.open_table(COUNTED)?.iter()? {
            let (device, counted) = entry?;
            let device = device.value().parse().map_err(|_| StoreError::Damaged("the broker's file"))?;
            let counted = cbor::decode(counted.value(), MAX_COUNTED_BYTES);
            all.insert(device, counted.map_err(|_| StoreError::Damaged("the broker's file"))?);
        }
        Ok(all)
    }

    /// Begins a run: its number is above every one before, and not below `least`, by the time, so that it rises also where the file is a new one.
    pub(super) fn begin_run(&self, least: u64) -> Result<u64, StoreError> {
        let write = self.database.begin_write()?;
        let run = {
            let mut runs = write.open_table(RUNS)?;
            let before = runs.get(())?.map_or(0, |before| before.value());
            let run = before.saturating_add(1).max(least);
            runs.insert((), run)?;
            run
        };
        write.commit()?;
        Ok(run)
    }

    /// Stores changes, and what has counted with them, all or none: they are durable when this returns.
    pub(super) fn store(&self, changes: &Changes, counted: &[(Device, Option<Receivers>)]) -> Result<(), StoreError> {
        let encoded =
            |receivers: &Receivers| cbor::encode(receivers).map_err(|_| StoreError::Damaged("what has counted"));
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(COUNTED)?;
            for (device, counted) in counted {
                let name = device.to_string();
                match counted {
                    Some(counted) => drop(table.insert(name.as_str(), encoded(counted)?.as_slice())?),
                    None => drop(table.remove(name.as_str())?),
                }
            }
        }
        {
            let mut table = write.open_table(RECORDS)?;
            for (key, value) in changes {
                let number = (key.table.number(), key.major, key.minor);
                match value {
                    Some(value) => drop(table.insert(number, value.as_slice())?),
                    None => drop(table.remove(number)?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

//! The broker's records in a file of their own: what it says may leave only when this has them.

use crate::gateway::store::StoreError;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use wardlink_bridge::storage::{Changes, RecordKey, Table};

/// Records, by the number of their table and their own two numbers.
const RECORDS: TableDefinition<'_, (u8, u64, u64), &[u8]> = TableDefinition::new("records");

/// The file.
pub(super) struct Records {
    database: Database,
}

impl Records {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        drop(file.map_err(StoreError::of_file)?);
        let database = Database::builder().create(path)?;
        let write = database.begin_write()?;
        write.open_table(RECORDS)?;
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

    /// Stores changes, all or none: they are durable when this returns.
    pub(super) fn store(&self, changes: &Changes) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
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

//! The broker's records in SQLite: one table, whose values only the broker reads.

use std::collections::BTreeMap;
use wardlink_bridge::storage::{Changes, RecordKey, Table};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use worker::SqlStorageValue;

/// The schema, version by version.
pub(super) const VERSIONS: &[&str] = &["CREATE TABLE record (
        kind INTEGER NOT NULL,
        major INTEGER NOT NULL,
        minor INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (kind, major, minor)
    ) WITHOUT ROWID"];

/// The platform binds at most 100 parameters to a statement.
const MAX_PARAMETERS: usize = 100;
const PUT_ROW: &str = "(?, ?, ?, ?)";
const KEY_ROW: &str = "(?, ?, ?)";

/// All records.
pub(super) fn load(database: &Database) -> Result<BTreeMap<RecordKey, Vec<u8>>, Failure> {
    let mut records = BTreeMap::new();
    for mut row in database.rows("SELECT kind, major, minor, value FROM record", [])? {
        let kind: u64 = row.take()?;
        let (major, minor, value) = (row.take()?, row.take()?, row.take()?);
        if let Some(table) = u8::try_from(kind).ok().and_then(Table::from_number) {
            records.insert(RecordKey { table, major, minor }, value);
        }
    }
    Ok(records)
}

/// Stores changes: they are committed together, as there is no wait between them.
pub(super) fn store(database: &Database, changes: Changes) -> Result<(), Failure> {
    let mut puts = Vec::new();
    let mut deletions = Vec::new();
    for (key, value) in changes {
        let numbers = [u64::from(key.table.number()), key.major, key.minor].map(Column::into_value);
        match value {
            Some(value) => puts.extend(numbers.into_iter().chain([value.into_value()])),
            None => deletions.extend(numbers),
        }
    }
    in_rows(database, puts, PUT_ROW, |rows| format!("INSERT OR REPLACE INTO record VALUES {rows}"))?;
    in_rows(database, deletions, KEY_ROW, |rows| {
        format!("DELETE FROM record WHERE (kind, major, minor) IN (VALUES {rows})")
    })
}

/// Runs a statement over as many rows at a time as it can bind.
fn in_rows(
    database: &Database,
    values: Vec<SqlStorageValue>,
    row: &str,
    statement: impl Fn(String) -> String,
) -> Result<(), Failure> {
    let columns = row.matches('?').count();
    let mut values = values.into_iter();
    loop {
        let chunk: Vec<_> = values.by_ref().take(MAX_PARAMETERS / columns * columns).collect();
        if chunk.is_empty() {
            return Ok(());
        }
        let rows = vec![row; chunk.len() / columns].join(", ");
        database.run_with(&statement(rows), chunk)?;
    }
}

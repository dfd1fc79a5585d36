//! SQLite of a Durable Object, typed.
//!
//! What is sent after a write leaves only when the write is on disk. Writes between two waits reach the disk together, but an error takes none of
//! them back: what has to be whole or not at all is a [step](Database::step).

use crate::problem::Failure;
use core::cell::Cell;
use serde::{Serialize, de::DeserializeOwned};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{UnixMillis, cbor};
use worker::wasm_bindgen::{self, JsCast, JsValue, prelude::wasm_bindgen};
use worker::{SqlStorage, SqlStorageValue, State};

/// The longest stored record, in bytes: a row of the platform holds 2 MB.
const MAX_RECORD_BYTES: usize = 1024 * 1024;

// The greatest number of a column: the platform hands numbers over as JavaScript's.
pub use wardlink_protocol::limits::MAX_INTEGER;

#[wasm_bindgen]
extern "C" {
    /// The storage of an object, as far as the platform's crate does not bind it.
    type StepStorage;

    /// Commits what the function writes, or takes it back where the function throws.
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(this: &StepStorage, work: &mut dyn FnMut() -> Result<(), JsValue>) -> Result<(), JsValue>;
}

/// The database of one object.
pub struct Database {
    sql: SqlStorage,
    storage: Option<StepStorage>,
    /// The statements that lead from each version of the schema to the next.
    versions: &'static [&'static str],
    is_current: Cell<bool>,
    writes: Cell<u64>,
}

impl Database {
    /// Takes the object's database; [`Self::open`] brings its schema up to date.
    pub fn new(state: &State, versions: &'static [&'static str]) -> Self {
        let storage = state.as_raw().storage().ok().map(JsCast::unchecked_into);
        Self { sql: state.storage().sql(), storage, versions, is_current: Cell::new(false), writes: Cell::new(0) }
    }

    /// The database, with the newest schema.
    pub fn open(&self) -> Result<&Self, Failure> {
        if !self.is_current.get() {
            self.run("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)", [])?;
            let known = self.one::<u64, 0>("SELECT coalesce(max(version), 0) FROM schema", [])?.unwrap_or_default();
            for (version, statements) in (1..).zip(self.versions) {
                if version > known {
                    self.whole(|database| {
                        database.run(statements, [])?;
                        database.run("INSERT INTO schema (version) VALUES (?)", [version.into_value()])
                    })?;
                }
            }
            self.is_current.set(true);
            self.writes.set(0);
        }
        Ok(self)
    }

    /// One step: everything that `work` writes, or nothing of it where it fails.
    pub fn step<T>(&self, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.open()?.whole(work)
    }

    fn whole<T>(&self, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let storage = self.storage.as_ref().ok_or_else(|| Failure::internal("the object has no storage"))?;
        let (mut work, mut worked) = (Some(work), None);
        let committed = storage.transaction_sync(&mut || {
            worked = work.take().map(|work| work(self));
            // What is thrown only takes the writes back: the failure itself is answered below.
            if matches!(worked, Some(Ok(_))) { Ok(()) } else { Err(JsValue::NULL) }
        });
        match (worked, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(failure)), _) => Err(failure),
            (_, committed) => Err(Failure::internal(format!("a step is not committed: {committed:?}"))),
        }
    }

    /// Runs a statement that returns nothing.
    pub fn run<const N: usize>(&self, statement: &str, values: [SqlStorageValue; N]) -> Result<(), Failure> {
        self.run_with(statement, Vec::from(values))
    }

    /// Runs a statement with as many values as it has parameters.
    pub fn run_with(&self, statement: &str, values: Vec<SqlStorageValue>) -> Result<(), Failure> {
        let written = self.sql.exec(statement, values)?.rows_written();
        self.writes.set(self.writes.get().saturating_add(u64::from(written > 0)));
        Ok(())
    }

    /// How many statements that return nothing have written something since the schema was there: whoever changes something runs at least one.
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// All rows of a query.
    pub fn rows<const N: usize>(&self, query: &str, values: [SqlStorageValue; N]) -> Result<Vec<Row>, Failure> {
        self.rows_with(query, Vec::from(values))
    }

    /// All rows of a query with as many values as it has parameters.
    pub fn rows_with(&self, query: &str, values: Vec<SqlStorageValue>) -> Result<Vec<Row>, Failure> {
        let cursor = self.sql.exec(query, values)?;
        cursor.raw().map(|row| Ok(Row(row?.into_iter()))).collect()
    }

    /// The first row of a query.
    pub fn row<const N: usize>(&self, query: &str, values: [SqlStorageValue; N]) -> Result<Option<Row>, Failure> {
        Ok(self.rows(query, values)?.into_iter().next())
    }

    /// The first column of the first row of a query.
    pub fn one<T: Column, const N: usize>(
        &self,
        query: &str,
        values: [SqlStorageValue; N],
    ) -> Result<Option<T>, Failure> {
        self.row(query, values)?.map(|mut row| row.take()).transpose()
    }
}

/// One row, whose columns are taken from left to right.
pub struct Row(std::vec::IntoIter<SqlStorageValue>);

impl Row {
    /// The next column.
    pub fn take<T: Column>(&mut self) -> Result<T, Failure> {
        let value = self.0.next().and_then(T::from_value);
        value.ok_or_else(|| Failure::internal("a stored column is not of the expected type"))
    }

    /// The next column, which holds a record.
    pub fn take_record<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        read_record(&self.take::<Vec<u8>>()?)
    }
}

/// A record from the bytes of its column.
pub fn read_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    Ok(cbor::unpack(bytes, MAX_RECORD_BYTES)?)
}

/// A record as a column holds it.
pub fn record<T: Serialize>(value: &T) -> Result<SqlStorageValue, Failure> {
    Ok(SqlStorageValue::Blob(cbor::pack(value)?))
}

/// A text as a column holds it.
#[expect(clippy::needless_pass_by_value, reason = "names are handed over as they come")]
pub fn text(value: impl ToString) -> SqlStorageValue {
    SqlStorageValue::String(value.to_string())
}

/// A hash as a column holds it.
pub fn blob(hash: &Sha256) -> SqlStorageValue {
    SqlStorageValue::Blob(hash.0.to_vec())
}

/// A type that a column can hold.
pub trait Column: Sized {
    /// Reads it; none where the column holds something else.
    fn from_value(value: SqlStorageValue) -> Option<Self>;
    /// Writes it.
    fn into_value(self) -> SqlStorageValue;
}

impl Column for u64 {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        match value {
            SqlStorageValue::Integer(number) => number.try_into().ok(),
            _ => None,
        }
    }
    fn into_value(self) -> SqlStorageValue {
        SqlStorageValue::Integer(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl Column for bool {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        u64::from_value(value).map(|number| number != 0)
    }
    fn into_value(self) -> SqlStorageValue {
        u64::from(self).into_value()
    }
}

impl Column for UnixMillis {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        u64::from_value(value).map(Self)
    }
    fn into_value(self) -> SqlStorageValue {
        self.0.into_value()
    }
}

impl Column for String {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        match value {
            SqlStorageValue::String(text) => Some(text),
            _ => None,
        }
    }
    fn into_value(self) -> SqlStorageValue {
        SqlStorageValue::String(self)
    }
}

impl Column for Vec<u8> {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        match value {
            SqlStorageValue::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
    fn into_value(self) -> SqlStorageValue {
        SqlStorageValue::Blob(self)
    }
}

impl<T: Column> Column for Option<T> {
    fn from_value(value: SqlStorageValue) -> Option<Self> {
        match value {
            SqlStorageValue::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
    fn into_value(self) -> SqlStorageValue {
        self.map_or(SqlStorageValue::Null, T::into_value)
    }
}

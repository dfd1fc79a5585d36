//! Storage as values: what the shell writes before it sends, and what a broker is rebuilt from.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::cbor;

/// What a record holds. The numbers are written to storage: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// The number of the last step of the site that was carried out.
    Applied = 1,
    /// A topic's name and sequence number. Major: the topic's number.
    Topic = 2,
    /// A message. Major: its number.
    Message = 3,
    /// A session. Major: its number.
    Session = 4,
    /// A message that waits for a session. Major: the session's number; minor: the number within the session.
    Queue = 5,
    /// How far a session's queue has been sent. Major: the session's number.
    Cursor = 6,
    /// Something that the site has yet to be told. Major: its number.
    Notice = 7,
    /// The state of a connection that is too long for its attachment. Major: the connection's number.
    Connection = 8,
    /// A token that has counted. Major: its number.
    Token = 9,
    /// What a bare key has used of its budget of requests. Major: its number.
    KeyBudget = 10,
    /// What an address has used of its budget of requests. Major: its number.
    AddressBudget = 11,
    /// A piece of a begun packet. Major: the connection's number; minor: the piece's.
    Piece = 12,
}

impl Table {
    /// The table of a number, as read from storage.
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Applied,
            Self::Topic,
            Self::Message,
            Self::Session,
            Self::Queue,
            Self::Cursor,
            Self::Notice,
            Self::Connection,
            Self::Token,
            Self::KeyBudget,
            Self::AddressBudget,
            Self::Piece,
        ]
        .into_iter()
        .find(|table| table.number() == number)
    }

    /// The number in storage.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The address of a record. The numbers stay below 2^53, so that they pass through JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What it holds.
    pub table: Table,
    /// The first part of its number.
    pub major: u64,
    /// The second part of its number, 0 where there is none.
    pub minor: u64,
}

/// The changes of one batch: the new value, or none where the record goes.
pub type Changes = BTreeMap<RecordKey, Option<Vec<u8>>>;

/// Changes that have not been handed to the shell yet.
#[derive(Default)]
pub(crate) struct Journal {
    changes: Changes,
    /// Records that storage does not have: where one goes again before it was stored, nothing is left to do.
    unstored: BTreeSet<RecordKey>,
}

impl Journal {
    /// Writes a record.
    pub(crate) fn put<T: Serialize>(&mut self, table: Table, major: u64, minor: u64, value: &T) {
        self.changes.insert(RecordKey { table, major, minor }, Some(encode(value)));
    }

    /// Writes a record whose number was never used before.
    pub(crate) fn add<T: Serialize>(&mut self, table: Table, major: u64, minor: u64, value: &T) {
        self.unstored.insert(RecordKey { table, major, minor });
        self.put(table, major, minor, value);
    }

    /// Deletes a record.
    pub(crate) fn delete(&mut self, table: Table, major: u64, minor: u64) {
        let key = RecordKey { table, major, minor };
        if self.unstored.remove(&key) {
            self.changes.remove(&key);
        } else {
            self.changes.insert(key, None);
        }
    }

    pub(crate) fn take(&mut self) -> Changes {
        self.unstored.clear();
        core::mem::take(&mut self.changes)
    }
}

/// Encodes our own state as CBOR. These types have nothing that CBOR cannot carry; an empty value is ignored on rebuilding.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    cbor::pack(value).unwrap_or_default()
}

/// Decodes our own state; none where a record was damaged.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    cbor::unpack(bytes, bytes.len()).ok()
}

//! What goes on to an outside database (figure 4, 78; paragraph 0033): rows for PostgreSQL, each at least once, and counted once there.
//!
//! The shell gives every record that counts a position when it is stored, from 1, without gaps. An [`Outlet`] says which positions are to be sent, and
//! moves on when the database has confirmed them. What was sent and not confirmed is sent again; the key of a row is the record's own, so that a row that
//! is there already is passed over ([`INSERT`]).

use serde::{Deserialize, Serialize};
use wardlink_protocol::{Device, UnixMillis};

use crate::backoff::Backoff;
use crate::decimal::Billionths;
use crate::limits::MAX_OUTLET_ROWS;
use crate::record::{Content, Record, RecordId, Response};

/// The table that the outside database has to have. Times are milliseconds since 1970; `amount` is the value in the unit of its kind.
pub const TABLE: &str = "CREATE TABLE wardlink_records (
  device_class text NOT NULL,
  device_identifier text NOT NULL,
  chain text NOT NULL,
  sequence numeric(20) NOT NULL,
  measured_at bigint NOT NULL,
  received_at bigint NOT NULL,
  patient text,
  kind text,
  value numeric,
  unit text,
  amount numeric,
  instrument text,
  question text,
  choice text,
  number numeric,
  answer text,
  unrecorded numeric(20),
  PRIMARY KEY (device_class, device_identifier, chain, sequence)
)";

/// Writes one row; the parameters are those of [`row`], in PostgreSQL's text format. A row that is there already changes nothing.
pub const INSERT: &str = "INSERT INTO wardlink_records (device_class, device_identifier, chain, sequence, measured_at, received_at, \
     patient, kind, value, unit, amount, instrument, question, choice, number, answer, unrecorded) VALUES ($1, $2, $3, $4::numeric, \
     $5::bigint, $6::bigint, $7, $8, $9::numeric, $10, $11::numeric, $12, $13, $14, $15::numeric, $16, $17::numeric) \
     ON CONFLICT (device_class, device_identifier, chain, sequence) DO NOTHING";

/// Where the outside database keeps how far each service has come, in the same transaction as the rows.
pub const POSITIONS: &str = "CREATE TABLE wardlink_outlet (service text PRIMARY KEY, confirmed numeric(20) NOT NULL)";

/// How far a service has come.
pub const SELECT_POSITION: &str = "SELECT confirmed::text FROM wardlink_outlet WHERE service = $1";

/// A service has come so far; never back.
pub const UPDATE_POSITION: &str = "INSERT INTO wardlink_outlet (service, confirmed) VALUES ($1, $2::numeric)
     ON CONFLICT (service) DO UPDATE SET confirmed = greatest(wardlink_outlet.confirmed, excluded.confirmed)";

/// The number of a row's columns.
pub const COLUMNS: usize = 17;

/// One record as the parameters of [`INSERT`]; none is NULL. `amount` is its value in the unit of its kind, where it is a measure.
pub fn row(
    device: &Device,
    id: RecordId,
    record: &Record,
    amount: Option<Billionths>,
    received_at: UnixMillis,
) -> [Option<String>; COLUMNS] {
    let mut columns: [Option<String>; COLUMNS] = core::array::from_fn(|_| None);
    let [class, identifier, chain, sequence, measured, received, patient, rest @ ..] = &mut columns;
    let [kind, value, unit, in_kind, instrument, question, choice, number, answer, unrecorded] = rest;
    *class = Some(device.client.to_string());
    *identifier = Some(device.identifier.to_string());
    *chain = Some(id.chain.to_string());
    *sequence = Some(id.sequence.to_string());
    *measured = Some(record.at.0.to_string());
    *received = Some(received_at.0.to_string());
    *patient = record.patient.map(|patient| patient.to_string());
    match &record.content {
        Content::Measure(measure) => {
            *kind = Some(measure.kind.to_string());
            *value = Some(measure.value.to_string());
            *unit = Some(measure.unit.to_string());
            *in_kind = amount.map(|amount| amount.to_string());
        }
        Content::Answer(answered) => {
            *instrument = Some(answered.instrument.to_string());
            *question = Some(answered.question.to_string());
            match &answered.response {
                Response::Choice(chosen) => *choice = Some(chosen.to_string()),
                Response::Number(given) => *number = Some(given.to_string()),
                Response::Text(text) => *answer = Some(text.to_string()),
            }
        }
        Content::Unrecorded(span) => *unrecorded = Some(span.count.to_string()),
    }
    columns
}

/// One record that counts, as the server gives it to a service that sends it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FedRecord {
    /// Whose it is.
    pub device: Device,
    /// Which one.
    pub id: RecordId,
    /// The record.
    pub record: Record,
    /// Its value in the unit of its kind, where it is a measure.
    pub amount: Option<Billionths>,
    /// When it was received.
    pub received_at: UnixMillis,
}

impl FedRecord {
    /// The parameters of [`INSERT`].
    pub fn row(&self) -> [Option<String>; COLUMNS] {
        row(&self.device, self.id, &self.record, self.amount, self.received_at)
    }
}

/// What the server answers a service that asks for stored data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fed {
    /// The records that the service may have, of those after the position that it asked for.
    pub records: Vec<FedRecord>,
    /// The position up to which that is all.
    pub through: u64,
    /// The last position that is stored.
    pub last: u64,
}

/// How far an outside database has come. The shell stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outlet {
    /// The last position that the database has confirmed.
    confirmed: u64,
    backoff: Backoff,
}

/// Positions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The first.
    pub from: u64,
    /// The last.
    pub through: u64,
}

impl Outlet {
    /// The database says how far it has come.
    pub const fn resume(&mut self, confirmed: u64) {
        self.confirmed = confirmed;
    }

    /// What to send now, of what is stored up to position `last`; none where there is nothing, or a failure is waited for.
    pub fn due(&self, now: UnixMillis, last: u64) -> Option<Portion> {
        let from = self.confirmed.checked_add(1)?;
        if last < from || self.backoff.waits_until(now).is_some() {
            return None;
        }
        Some(Portion { from, through: last.min(self.confirmed.saturating_add(MAX_OUTLET_ROWS)) })
    }

    /// When to look again after a failure; none where it does not wait for one.
    pub fn waits_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.backoff.waits_until(now)
    }

    /// The database has committed every row of a portion. One that does not follow what was confirmed before changes nothing: it is old, or was made up.
    pub fn confirmed(&mut self, portion: Portion) -> bool {
        let follows = self.confirmed.checked_add(1) == Some(portion.from) && portion.through >= portion.from;
        if follows {
            self.confirmed = portion.through;
            self.backoff.reached();
        }
        follows
    }

    /// The database could not be reached, or did not commit: see [`Backoff::failed`].
    pub fn failed(&mut self, now: UnixMillis, random: u64) {
        self.backoff.failed(now, random);
    }

    /// How many rows are behind, of what is stored up to position `last`.
    pub const fn behind(&self, last: u64) -> u64 {
        last.saturating_sub(self.confirmed)
    }

    /// How often it has failed since it last succeeded.
    pub const fn failures(&self) -> u32 {
        self.backoff.failures()
    }
}

#[cfg(test)]
mod tests;

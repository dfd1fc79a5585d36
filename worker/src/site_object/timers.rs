//! What the site has to do later: a table, because the platform has one alarm.

use serde::{Deserialize, Serialize};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::{Device, UnixMillis};

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Timer {
    /// A pairing's present phase ends.
    Pairing(SessionId),
    /// A device's certificate ends.
    Certificate(Device),
    /// The bridge is asked again.
    Outbox,
    /// A channel's keys have been used for as long as its row allows.
    Rotation(ChannelName),
    /// New keys are on their way: the next slice of devices.
    Rekeying,
    /// Keys have ended for so long that nobody reads under them.
    Erasure,
    /// The CA outside is asked.
    Authority,
    /// An order that waits for its device ends.
    Orders,
}

/// Sets a timer, or moves it.
pub(super) fn set(database: &Database, timer: &Timer, due: UnixMillis) -> Result<(), Failure> {
    database.run("INSERT OR REPLACE INTO timers (what, due) VALUES (?, ?)", [record(timer)?, due.into_value()])
}

/// Sets a timer that is not to be later than it already is.
pub(super) fn set_by(database: &Database, timer: &Timer, due: UnixMillis) -> Result<(), Failure> {
    let known = due_at(database, timer)?;
    set(database, timer, known.map_or(due, |known| known.min(due)))
}

/// Takes a timer away.
pub(super) fn clear(database: &Database, timer: &Timer) -> Result<(), Failure> {
    database.run("DELETE FROM timers WHERE what = ?", [record(timer)?])
}

/// When a timer is due; none where it is not set.
pub(super) fn due_at(database: &Database, timer: &Timer) -> Result<Option<UnixMillis>, Failure> {
    database.one("SELECT due FROM timers WHERE what = ?", [record(timer)?])
}

/// The timers that are due, the earliest first.
pub(super) fn due(database: &Database, now: UnixMillis) -> Result<Vec<Timer>, Failure> {
    let rows = database.rows("SELECT what FROM timers WHERE due <= ? ORDER BY due", [now.into_value()])?;
    rows.into_iter().map(|mut row| row.take_record()).collect()
}

/// What was due is dealt with; a timer that was moved meanwhile stays.
pub(super) fn done(database: &Database, timer: &Timer, now: UnixMillis) -> Result<(), Failure> {
    database.run("DELETE FROM timers WHERE what = ? AND due <= ?", [record(timer)?, now.into_value()])
}

/// When the next timer is due.
pub(super) fn next(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    Ok(database.one::<Option<UnixMillis>, _>("SELECT min(due) FROM timers", [])?.flatten())
}

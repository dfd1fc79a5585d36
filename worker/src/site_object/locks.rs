//! Identifiers that failed too often: counted within a day, locked by the fifth failure, free when an administrator says so.

use super::{Outcome, Site, devices};
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_pairing::lockout::record_failure;
use wardlink_protocol::api::{LiveEvent, Lock};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::{Act, Actor};

/// Every lock, the newest first.
pub(super) fn all(database: &Database) -> Result<Vec<Lock>, Failure> {
    let query = "SELECT client, identifier, failed_at, locked_at FROM failures WHERE locked = 1
                 ORDER BY locked_at DESC, client, identifier";
    database.rows(query, [])?.into_iter().map(lock).collect()
}

fn lock(mut row: Row) -> Result<Lock, Failure> {
    let device = devices::take_name(&mut row)?;
    let failures: Vec<UnixMillis> = row.take_record()?;
    // The first version did not note it.
    let locked_at = row.take::<Option<_>>()?.or_else(|| failures.last().copied()).unwrap_or_default();
    Ok(Lock { device, locked_at, failures: u32::try_from(failures.len()).unwrap_or(u32::MAX) })
}

/// Counts a failed session of an identifier, which may lock it.
pub(super) fn count_failure(site: &Site<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    let query = "SELECT failed_at, locked FROM failures WHERE client = ? AND identifier = ?";
    let (mut failures, was_locked) = match site.database.row(query, devices::names(device))? {
        Some(mut row) => (row.take_record()?, row.take()?),
        None => (Vec::new(), false),
    };
    let locks = record_failure(&mut failures, site.now) && !was_locked;
    let [client, identifier] = devices::names(device);
    site.database.run(
        "INSERT INTO failures (client, identifier, failed_at, locked, locked_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (client, identifier) DO UPDATE SET failed_at = excluded.failed_at,
             locked = max(locked, excluded.locked), locked_at = coalesce(locked_at, excluded.locked_at)",
        [client, identifier, record(&failures)?, locks.into_value(), locks.then_some(site.now).into_value()],
    )?;
    if locks {
        log!("site: ALERT: {device} is locked after {} failed pairings", failures.len());
        let failures = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        let detail = format!("{failures} failed pairings within a day");
        outcome.notes.add(Actor::System, Act::IdentifierLocked, device, detail);
        let lock = Lock { device: device.clone(), locked_at: site.now, failures };
        outcome.people.push(LiveEvent::Locked { lock });
    }
    Ok(())
}

/// Whether an identifier is locked.
pub(super) fn is_locked(database: &Database, device: &Device) -> Result<bool, Failure> {
    let query = "SELECT locked FROM failures WHERE client = ? AND identifier = ?";
    Ok(database.one(query, devices::names(device))?.unwrap_or_default())
}

/// An administrator lifts the lock of an identifier; its failures are forgotten.
pub(super) fn lift(site: &Site<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    let was_locked = is_locked(site.database, device)?;
    site.database.run("DELETE FROM failures WHERE client = ? AND identifier = ?", devices::names(device))?;
    if was_locked {
        outcome.people.push(LiveEvent::Unlocked { device: device.clone() });
    }
    Ok(())
}

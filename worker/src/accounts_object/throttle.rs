//! How often somebody may try to sign in: counted per name and per address, durably, with growing pauses.

use core::time::Duration;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::UnixMillis;

/// Failures of one name that cost no pause.
const FREE_FOR_NAME: u64 = 5;
/// Failures of one address that cost no pause: a ward shares one.
const FREE_FOR_ADDRESS: u64 = 20;
/// The longest pause: long enough against guessing (NIST SP 800-63B section 5.2.2), short enough that nobody shuts others out.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Failures are forgotten after so long.
const MEMORY: Duration = Duration::from_hours(24);

/// Whose attempts are counted together.
pub(super) enum Subject {
    /// Those for a name, known or not.
    Name(String),
    /// Those from an address.
    Address(String),
}

impl Subject {
    fn key(&self) -> String {
        match self {
            Self::Name(name) => format!("name {name}"),
            Self::Address(address) => format!("address {address}"),
        }
    }

    /// The pause after so many failures in a row: it doubles.
    fn pause(&self, failures: u64) -> Duration {
        let free = match self {
            Self::Name(_) => FREE_FOR_NAME,
            Self::Address(_) => FREE_FOR_ADDRESS,
        };
        match failures.checked_sub(free) {
            None => Duration::ZERO,
            Some(beyond) => {
                let doublings = u32::try_from(beyond.min(16)).unwrap_or(16);
                Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
            }
        }
    }
}

/// Counts an attempt as a failure, before it is known to be one; refuses it where a pause is not over.
pub(super) fn count(database: &Database, subjects: &[Subject], now: UnixMillis) -> Result<(), Failure> {
    for subject in subjects {
        let query = "SELECT failures, last_at FROM attempts WHERE subject = ?";
        let Some(mut row) = database.row(query, [subject.key().into_value()])? else { continue };
        let (failures, last_at) = (row.take()?, row.take::<UnixMillis>()?);
        let end = last_at.after(subject.pause(failures));
        if now < end {
            return Err(Failure::too_many(end.since(now).as_secs().saturating_add(1)));
        }
    }
    for subject in subjects {
        database.run(
            "INSERT INTO attempts (subject, failures, last_at) VALUES (?, 1, ?)
             ON CONFLICT (subject) DO UPDATE SET failures = failures + 1, last_at = excluded.last_at",
            [subject.key().into_value(), now.into_value()],
        )?;
    }
    Ok(())
}

/// The attempt was no failure: the name begins anew, the address is given back this attempt only, so that one own account
/// does not pay for guessing at others.
pub(super) fn forgive(database: &Database, subjects: &[Subject]) -> Result<(), Failure> {
    subjects.iter().try_for_each(|subject| match subject {
        Subject::Name(_) => database.run("DELETE FROM attempts WHERE subject = ?", [subject.key().into_value()]),
        Subject::Address(_) => {
            database.run("UPDATE attempts SET failures = failures - 1 WHERE subject = ?", [subject.key().into_value()])
        }
    })
}

/// Forgets what is too old to count.
pub(super) fn forget_old(database: &Database, now: UnixMillis) -> Result<(), Failure> {
    let before = UnixMillis(now.0.saturating_sub(UnixMillis::default().after(MEMORY).0));
    database.run("DELETE FROM attempts WHERE last_at < ?", [before.into_value()])
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_PAUSE, Subject};
    use core::time::Duration;

    #[test]
    fn pauses_begin_after_the_free_failures_double_and_stay_bounded() {
        let name = Subject::Name("anna".into());
        let address = Subject::Address("192.0.2.1".into());
        assert_eq!(name.pause(4), Duration::ZERO);
        assert_eq!(name.pause(5), Duration::from_secs(1));
        assert_eq!(name.pause(8), Duration::from_secs(8));
        assert_eq!(address.pause(8), Duration::ZERO);
        assert_eq!(address.pause(21), Duration::from_secs(2));
        assert_eq!(name.pause(u64::MAX), LONGEST_PAUSE);
    }
}

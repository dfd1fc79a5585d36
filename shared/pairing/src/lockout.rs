//! Five failed sessions of one identifier in a day lock it; only an administrator lifts that.

use wardlink_protocol::UnixMillis;
use wardlink_protocol::limits::{LOCK_WINDOW, MAX_FAILED_SESSIONS};

/// Adds a failed session to those of an identifier, and forgets what no longer counts. Returns whether the identifier is to be locked.
pub fn record_failure(failures: &mut Vec<UnixMillis>, now: UnixMillis) -> bool {
    failures.retain(|failure| now.since(*failure) < LOCK_WINDOW);
    failures.push(now);
    failures.len() >= MAX_FAILED_SESSIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60;

    #[test]
    fn five_failures_within_a_day_lock() {
        let mut failures = Vec::new();
        let locked: Vec<bool> =
            (0..5).map(|hour| record_failure(&mut failures, UnixMillis::from_secs(hour * HOUR))).collect();
        assert_eq!(locked, [false, false, false, false, true]);
    }

    #[test]
    fn failures_of_the_day_before_do_not_count() {
        let mut failures = Vec::new();
        let locked: Vec<bool> =
            (0..8).map(|step| record_failure(&mut failures, UnixMillis::from_secs(step * 7 * HOUR))).collect();
        assert!(locked.iter().all(|locked| !locked));
        assert_eq!(failures.len(), 4);
    }
}

//! How long somebody waits who could not reach the other side.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;

use crate::limits::{FIRST_WAIT, LONGEST_WAIT};

/// The failures in a row, and until when to wait for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    failures: u32,
    until: Option<UnixMillis>,
}

impl Backoff {
    /// The other side was reached.
    pub const fn reached(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// The other side could not be reached, or did not answer. It is tried again after a time that doubles, and of which `random` (any number)
    /// takes away up to a half, so that not all come back at once.
    pub fn failed(&mut self, now: UnixMillis, random: u64) {
        let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let less = random % (millis / 2).max(1);
        self.until = Some(now.after(Duration::from_millis(millis - less)));
    }

    /// How often it has failed since it last succeeded.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when to wait; none where there is no reason to. Where a clock was set back, an end far away is none.
    pub fn waits_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.until.filter(|end| *end > now && end.since(now) <= LONGEST_WAIT)
    }
}

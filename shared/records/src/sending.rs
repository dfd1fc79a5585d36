//! When stored data is sent: because somebody polls or asks for it, on schedule, or on the sender's own initiative ([0043], [0055]).

use core::time::Duration;

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;

use crate::limits::{FIRST_WAIT, LONGEST_WAIT, MIN_INTERVAL};

/// When a device or a gateway sends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// So often, in seconds; at most every minute. None: no schedule.
    pub every_secs: Option<u64>,
    /// As soon as so many batches wait. None: not by their number.
    pub at_batches: Option<usize>,
}

/// Why something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The receiver asks, on its own schedule.
    Poll,
    /// A person at the server, or the server for one, asks.
    Request,
    /// Something urgent was recorded, or enough.
    OwnInitiative,
    /// It is time.
    Schedule,
}

/// What a sender remembers between two transmissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    plan: Plan,
    /// The last transmission, or the beginning of the schedule.
    last: UnixMillis,
    asked: Option<Trigger>,
    failures: u32,
    /// After a failure: not before.
    wait_until: Option<UnixMillis>,
}

impl Sending {
    /// Begins a schedule now.
    pub const fn new(plan: Plan, now: UnixMillis) -> Self {
        Self { plan, last: now, asked: None, failures: 0, wait_until: None }
    }

    /// Changes the plan.
    pub const fn replan(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Somebody asks, or something urgent was recorded: it is sent as soon as possible. Who asks is there: what failed before does not count.
    pub fn ask(&mut self, trigger: Trigger) {
        if matches!(trigger, Trigger::Poll | Trigger::Request) {
            (self.failures, self.wait_until) = (0, None);
        }
        self.asked = self.asked.max(Some(trigger));
    }

    fn every(&self) -> Option<Duration> {
        self.plan.every_secs.map(|secs| Duration::from_secs(secs).max(MIN_INTERVAL))
    }

    /// Why to send now; none where it is not time, or nothing waits.
    pub fn due(&self, now: UnixMillis, waiting: usize) -> Option<Trigger> {
        // Where a clock was set back, an end far away is none.
        let waits = self.wait_until.is_some_and(|end| end > now && end.since(now) <= LONGEST_WAIT);
        if waiting == 0 || waits {
            return None;
        }
        if self.asked.is_some() {
            return self.asked;
        }
        if self.plan.at_batches.is_some_and(|enough| waiting >= enough) {
            return Some(Trigger::OwnInitiative);
        }
        let is_time = |every| self.last > now || now.since(self.last) >= every;
        self.every().is_some_and(is_time).then_some(Trigger::Schedule)
    }

    /// When to look again, unless something happens before.
    pub fn next_at(&self, now: UnixMillis, waiting: usize) -> Option<UnixMillis> {
        if waiting == 0 {
            return None;
        }
        if self.due(now, waiting).is_some() {
            return Some(now);
        }
        let at_once = self.asked.is_some() || self.plan.at_batches.is_some_and(|enough| waiting >= enough);
        let scheduled = self.every().map(|every| self.last.after(every));
        let next = if at_once { Some(now) } else { scheduled };
        next.map(|next| next.max(self.wait_until.unwrap_or_default()).max(now))
    }

    /// Everything that waited was sent and answered.
    pub const fn done(&mut self, now: UnixMillis) {
        (self.last, self.asked, self.failures, self.wait_until) = (now, None, 0, None);
    }

    /// The other side could not be reached, or did not answer. It is tried again after a time that doubles, and of which `random` (any number) takes
    /// away up to a half, so that not all come back at once.
    pub fn failed(&mut self, now: UnixMillis, random: u64) {
        let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let less = random % (millis / 2).max(1);
        self.wait_until = Some(now.after(Duration::from_millis(millis - less)));
    }
}

#[cfg(test)]
mod tests;

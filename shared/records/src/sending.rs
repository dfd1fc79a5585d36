//! When stored data is sent: because somebody polls or asks for it, on schedule, or on the sender's own initiative (paragraphs 0043 and 0055).

use core::time::Duration;

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;

use crate::backoff::Backoff;
use crate::limits::MIN_INTERVAL;

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
    backoff: Backoff,
}

impl Sending {
    /// Begins a schedule now.
    pub fn new(plan: Plan, now: UnixMillis) -> Self {
        Self { plan, last: now, asked: None, backoff: Backoff::default() }
    }

    /// Changes the plan.
    pub const fn replan(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Somebody asks, or something urgent was recorded: it is sent as soon as possible. Who asks is there: what failed before does not count.
    pub fn ask(&mut self, trigger: Trigger) {
        if matches!(trigger, Trigger::Poll | Trigger::Request) {
            self.backoff.reached();
        }
        self.asked = self.asked.max(Some(trigger));
    }

    fn every(&self) -> Option<Duration> {
        self.plan.every_secs.map(|secs| Duration::from_secs(secs).max(MIN_INTERVAL))
    }

    /// Why to send now; none where it is not time, or nothing waits.
    pub fn due(&self, now: UnixMillis, waiting: usize) -> Option<Trigger> {
        if waiting == 0 || self.backoff.waits_until(now).is_some() {
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
        next.map(|next| next.max(self.backoff.waits_until(now).unwrap_or(now)).max(now))
    }

    /// Everything that waited was sent and answered.
    pub const fn done(&mut self, now: UnixMillis) {
        (self.last, self.asked) = (now, None);
        self.backoff.reached();
    }

    /// The other side could not be reached, or did not answer: see [`Backoff::failed`].
    pub fn failed(&mut self, now: UnixMillis, random: u64) {
        self.backoff.failed(now, random);
    }
}

#[cfg(test)]
mod tests;

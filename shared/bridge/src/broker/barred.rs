//! Keys that are locked or revoked and try to come back: refused, and told to the site.

use super::{Broker, Notice};
use crate::limits::ATTEMPT_INTERVAL;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::{Device, UnixMillis};

/// What a barred key has tried since the site was told.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    device: Device,
    count: u32,
    last: UnixMillis,
    /// When the site may be told again.
    tell_at: UnixMillis,
}

impl Broker {
    /// The holder of a barred key has proved that it holds it, and is refused.
    pub(super) fn note_barred(&mut self, device: Device, key: KeyFingerprint, now: UnixMillis) {
        let attempts =
            self.barred.entry(key).or_insert(Attempts { device, count: 0, last: now, tell_at: UnixMillis::default() });
        attempts.count = attempts.count.saturating_add(1);
        attempts.last = now;
        self.tell_attempts(now);
    }

    /// Tells the site of attempts: the first one of a key at once, those that follow together.
    pub(super) fn tell_attempts(&mut self, now: UnixMillis) {
        let mut notices = Vec::new();
        let mut next = None::<UnixMillis>;
        self.barred.retain(|key, attempts| {
            if attempts.tell_at <= now {
                if attempts.count == 0 {
                    return false;
                }
                let count = core::mem::take(&mut attempts.count);
                notices.push(Notice::Barred { device: attempts.device.clone(), key: *key, count, last: attempts.last });
                attempts.tell_at = now.after(ATTEMPT_INTERVAL);
            }
            next = Some(next.map_or(attempts.tell_at, |earlier| earlier.min(attempts.tell_at)));
            true
        });
        for notice in notices {
            self.notify(notice);
        }
        if let Some(time) = next {
            self.check_at(time);
        }
    }
}

//! Token buckets: so many at once, then one in so much time.

use crate::limits::MAX_BUCKETS;
use core::time::Duration;
use std::collections::BTreeMap;
use wardlink_protocol::UnixMillis;

/// Token buckets by name.
pub(crate) struct RateLimit<Name> {
    burst: u32,
    refill: Duration,
    /// When each bucket will be full again; full buckets need not be remembered.
    full_at: BTreeMap<Name, UnixMillis>,
}

impl<Name: Ord + Clone> RateLimit<Name> {
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, full_at: BTreeMap::new() }
    }

    /// Takes one token; false where there is none.
    pub(crate) fn take(&mut self, name: &Name, now: UnixMillis) -> bool {
        let full_at = self.full_at.get(name).copied().unwrap_or(now).max(now).after(self.refill);
        if full_at.since(now) > self.refill.saturating_mul(self.burst) {
            return false;
        }
        if self.full_at.len() >= MAX_BUCKETS && !self.full_at.contains_key(name) {
            self.forget(now);
        }
        self.full_at.insert(name.clone(), full_at);
        true
    }

    /// Forgets full buckets, and the fullest one where none is full.
    fn forget(&mut self, now: UnixMillis) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= MAX_BUCKETS {
            let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(name, _)| name.clone());
            if let Some(name) = fullest {
                self.full_at.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_and_then_refills() {
        let mut limit = RateLimit::new(3, Duration::from_secs(10));
        let start = UnixMillis::from_secs(1_000);
        assert_eq!((0..5).map(|_| limit.take(&'a', start)).collect::<Vec<_>>(), [true, true, true, false, false]);
        assert!(limit.take(&'b', start), "another name has its own bucket");
        assert!(!limit.take(&'a', start.after(Duration::from_secs(9))));
        assert!(limit.take(&'a', start.after(Duration::from_secs(10))));
        assert!(!limit.take(&'a', start.after(Duration::from_secs(10))));
    }

    #[test]
    fn buckets_are_bounded() {
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        for name in 0..MAX_BUCKETS + 10 {
            assert!(limit.take(&name, UnixMillis::from_secs(5)));
        }
        assert!(limit.full_at.len() <= MAX_BUCKETS);
    }
}

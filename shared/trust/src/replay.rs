//! A receiver's memory of one sender on one channel: which messages have already counted.

use crate::protect::Instance;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// How far behind the newest message one may still arrive.
pub const WINDOW: u64 = 1024;
const WINDOW_BYTES: usize = 128;

/// How many instances of one boot number are remembered. A sender draws a new boot number for each instance; more than one
/// instance of a boot number means that it was restored from a snapshot.
pub const MAX_INSTANCES: usize = 4;

/// Why a message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The peer's fault, or a resent message: it has counted already.
    #[error("the message has been received before")]
    Duplicate,
    /// The peer's fault: it is older than the window.
    #[error("the message is too old to tell whether it has been received before")]
    TooOld,
    /// The peer's fault: a boot number below one that was seen.
    #[error("the sender has started anew since this message")]
    LowerBoot,
    /// The peer's fault: more restored copies of the sender than are remembered.
    #[error("the sender was restored from a snapshot too often")]
    TooManyInstances,
}

/// The messages of one sender on one channel that have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayWindow {
    boot: u64,
    instances: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    instance: Instance,
    /// The counter after the newest message.
    next: u64,
    /// One bit for each of the last [`WINDOW`] counters, at the counter modulo the window.
    bits: ByteBuf,
}

impl Seen {
    fn new(instance: Instance) -> Self {
        Self { instance, next: 0, bits: ByteBuf::from(vec![0; WINDOW_BYTES]) }
    }

    fn slot(&mut self, counter: u64) -> Option<(&mut u8, u8)> {
        let place = usize::try_from(counter % WINDOW).ok()?;
        self.bits.get_mut(place / 8).map(|byte| (byte, 1 << (place % 8)))
    }

    fn check(&mut self, counter: u64) -> Result<(), ReplayError> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > WINDOW {
            return Err(ReplayError::TooOld);
        }
        match self.slot(counter) {
            Some((byte, bit)) if *byte & bit == 0 => Ok(()),
            _ => Err(ReplayError::Duplicate),
        }
    }

    /// Remembers a checked counter and answers how many messages before it are missing so far.
    fn insert(&mut self, counter: u64) -> u64 {
        let missing = counter.saturating_sub(self.next);
        if counter >= self.next {
            // A jump over the whole window clears every bit once.
            for skipped in self.next.max(counter.saturating_sub(WINDOW - 1))..counter {
                if let Some((byte, bit)) = self.slot(skipped) {
                    *byte &= !bit;
                }
            }
            self.next = counter.saturating_add(1);
        }
        if let Some((byte, bit)) = self.slot(counter) {
            *byte |= bit;
        }
        missing
    }
}

impl ReplayWindow {
    /// Tells whether a message would count, without remembering it. Called before the message is authentic.
    pub fn check(&self, boot: u64, instance: Instance, counter: u64) -> Result<(), ReplayError> {
        self.clone().accept(boot, instance, counter).map(drop)
    }

    /// Counts an authentic message and answers how many messages before it are missing so far.
    pub fn accept(&mut self, boot: u64, instance: Instance, counter: u64) -> Result<u64, ReplayError> {
        if boot < self.boot {
            return Err(ReplayError::LowerBoot);
        }
        if boot > self.boot {
            self.boot = boot;
            self.instances.clear();
        }
        if !self.instances.iter().any(|seen| seen.instance == instance) {
            if self.instances.len() >= MAX_INSTANCES {
                return Err(ReplayError::TooManyInstances);
            }
            self.instances.push(Seen::new(instance));
        }
        match self.instances.iter_mut().find(|seen| seen.instance == instance) {
            Some(seen) => {
                seen.check(counter)?;
                Ok(seen.insert(counter))
            }
            None => Err(ReplayError::TooManyInstances),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const A: Instance = Instance([1; 16]);
    const B: Instance = Instance([2; 16]);

    #[test]
    fn each_message_counts_once_and_gaps_are_told() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.accept(1, A, 0), Ok(0));
        assert_eq!(window.accept(1, A, 0), Err(ReplayError::Duplicate));
        assert_eq!(window.accept(1, A, 5), Ok(4));
        assert_eq!(window.accept(1, A, 3), Ok(0));
        assert_eq!(window.accept(1, A, 3), Err(ReplayError::Duplicate));
        assert_eq!(window.accept(1, A, 5 + WINDOW), Ok(WINDOW - 1));
        assert_eq!(window.accept(1, A, 5), Err(ReplayError::TooOld));
        assert_eq!(window.accept(1, A, 6), Ok(0));
    }

    #[test]
    fn an_earlier_boot_is_refused_and_a_restored_snapshot_is_kept_apart() {
        let mut window = ReplayWindow::default();
        window.accept(2, A, 9).unwrap();
        assert_eq!(window.accept(1, B, 0), Err(ReplayError::LowerBoot));
        assert_eq!(window.accept(2, B, 9), Ok(9));
        assert_eq!(window.accept(2, A, 9), Err(ReplayError::Duplicate));
        assert_eq!(window.accept(3, B, 0), Ok(0));
        assert_eq!(window.accept(2, A, 10), Err(ReplayError::LowerBoot));
        for other in 3..6 {
            window.accept(3, Instance([other; 16]), 0).unwrap();
        }
        assert_eq!(window.accept(3, Instance([6; 16]), 0), Err(ReplayError::TooManyInstances));
    }

    #[test]
    fn checking_remembers_nothing() {
        let mut window = ReplayWindow::default();
        window.accept(1, A, 0).unwrap();
        let before = window.clone();
        assert_eq!(window.check(7, B, 3), Ok(()));
        assert_eq!(window, before);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_everything_received(counters in prop::collection::vec(0_u64..4096, 1..400)) {
            let mut window = ReplayWindow::default();
            let mut model = BTreeSet::new();
            let mut next = 0;
            for counter in counters {
                let expected = if next > counter && next - counter > WINDOW {
                    Err(ReplayError::TooOld)
                } else if model.contains(&counter) {
                    Err(ReplayError::Duplicate)
                } else {
                    Ok(counter.saturating_sub(next))
                };
                prop_assert_eq!(window.accept(1, A, counter), expected);
                if expected.is_ok() {
                    model.insert(counter);
                    next = next.max(counter + 1);
                }
            }
        }
    }
}

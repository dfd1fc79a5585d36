//! One delivery of the outbox at a time, and waiting for it.

use super::turns::{Turn, Turns};
use core::cell::Cell;
use core::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether the outbox is being delivered, how far it has been, and who waits for that.
#[derive(Default)]
pub(super) struct Delivery {
    turns: Turns,
    delivered: Cell<u64>,
    failures: Cell<u32>,
}

impl Delivery {
    /// Takes the turn; none where a delivery is running.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        self.turns.take()
    }

    /// Waits until the turn that is taken ends; whether its delivery succeeded.
    pub(super) async fn turn_ends(&self) -> bool {
        self.turns.ended().await;
        self.failures.get() == 0
    }

    /// The bridge has carried out everything up to this entry.
    pub(super) fn note_success(&self, last: u64) {
        self.delivered.set(last);
        self.failures.set(0);
    }

    /// Up to where the bridge has carried out the outbox, as far as this instance knows. The next step's write removes these entries;
    /// a new instance delivers them again, which changes nothing.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// The bridge has not; returns the pause before the next attempt, which doubles.
    pub(super) fn note_failure(&self) -> Duration {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::Delivery;
    use core::time::Duration;

    #[test]
    fn pauses_double_and_stay_bounded() {
        let delivery = Delivery::default();
        let pauses: Vec<u64> = (0..7).map(|_| delivery.note_failure().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        delivery.note_success(7);
        assert_eq!(delivery.delivered(), 7);
        assert_eq!(delivery.note_failure(), Duration::from_secs(1));
    }
}

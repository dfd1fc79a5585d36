//! One delivery of the outbox at a time, and waiting for it.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether the outbox is being delivered, how far it has been, and who waits for that.
#[derive(Default)]
pub(super) struct Delivery {
    is_running: Cell<bool>,
    /// How many turns have ended.
    turns: Cell<u64>,
    delivered: Cell<u64>,
    failures: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to deliver; given back when it is dropped.
pub(super) struct Turn<'a>(&'a Delivery);

impl Delivery {
    /// Takes the turn; none where a delivery is running.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        (!self.is_running.replace(true)).then(|| Turn(self))
    }

    /// Waits until the turn that is taken ends; whether its delivery succeeded.
    pub(super) async fn turn_ends(&self) -> bool {
        let turns = self.turns.get();
        poll_fn(|context| {
            if self.turns.get() != turns {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
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

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
        self.0.turns.set(self.0.turns.get().wrapping_add(1));
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::Delivery;
    use core::time::Duration;

    #[test]
    fn only_one_delivers_at_a_time() {
        let delivery = Delivery::default();
        let turn = delivery.take_turn();
        assert!(turn.is_some());
        assert!(delivery.take_turn().is_none());
        drop(turn);
        assert!(delivery.take_turn().is_some());
    }

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

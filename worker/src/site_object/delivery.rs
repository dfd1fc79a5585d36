//! One delivery of the outbox at a time, and waiting for it.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether the outbox is being delivered, and who waits for that.
#[derive(Default)]
pub(super) struct Delivery {
    is_running: Cell<bool>,
    failures: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to deliver; given back when it is dropped.
pub(super) struct Turn<'a>(&'a Delivery);

impl Delivery {
    /// Takes the turn; none where a delivery is running, which will find what was stored before this call.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        (!self.is_running.replace(true)).then(|| Turn(self))
    }

    /// Waits until no delivery is running.
    pub(super) async fn idle(&self) {
        poll_fn(|context| {
            if !self.is_running.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The bridge has carried out an entry.
    pub(super) fn note_success(&self) {
        self.failures.set(0);
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
        delivery.note_success();
        assert_eq!(delivery.note_failure(), Duration::from_secs(1));
    }
}

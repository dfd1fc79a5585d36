//! Work that one does at a time, and waiting for whoever does it.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Whether somebody is at work, and who waits for that.
#[derive(Default)]
pub(super) struct Turns {
    is_running: Cell<bool>,
    /// How many turns have ended.
    ended: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to work; given back when it is dropped.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Takes the turn; none where somebody has it.
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        (!self.is_running.replace(true)).then(|| Turn(self))
    }

    /// Waits until the turn that is taken ends.
    pub(super) async fn ended(&self) {
        let ended = self.ended.get();
        poll_fn(|context| {
            if self.ended.get() != ended {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
        self.0.ended.set(self.0.ended.get().wrapping_add(1));
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn only_one_works_at_a_time() {
        let turns = Turns::default();
        let turn = turns.take();
        assert!(turn.is_some());
        assert!(turns.take().is_none());
        drop(turn);
        assert!(turns.take().is_some());
    }
}

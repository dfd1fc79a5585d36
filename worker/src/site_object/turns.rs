//! Work that one does at a time, and waiting for whoever does it.

use super::moments::Moments;
use core::cell::Cell;

/// Whether somebody is at work, and who waits for that.
#[derive(Default)]
pub(super) struct Turns {
    is_running: Cell<bool>,
    ended: Moments,
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
        self.ended.next().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
        self.0.ended.happen();
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

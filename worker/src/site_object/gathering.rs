//! Turns that are taken together: what is written in one go is one commit, and a commit costs more than a turn.

use super::moments::Moments;
use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use wardlink_edge::platform::now;
use wardlink_protocol::UnixMillis;
use worker::Delay;

/// Turns that follow one another faster than this are taken together.
const GATHERING: Duration = Duration::from_millis(2);

/// Whoever waits for the next turn.
#[derive(Default)]
pub(super) struct Gathering {
    taken_at: Cell<UnixMillis>,
    is_waiting: Cell<bool>,
    /// Turns that were taken together.
    rounds: Moments,
}

impl Gathering {
    /// Waits for the others of this moment. After a pause nobody else is to be waited for.
    pub(super) async fn join(&self) {
        if self.is_waiting.get() {
            return self.rounds.next().await;
        }
        if now().since(self.taken_at.get()) < GATHERING {
            self.is_waiting.set(true);
            Delay::from(GATHERING).await;
            self.is_waiting.set(false);
            // They go on before anything else happens, and so before the commit.
            self.rounds.happen();
        }
        self.taken_at.set(now());
    }
}

/// Lets those go first who can go on now.
pub(super) async fn let_others_go() {
    let mut has_waited = false;
    poll_fn(|context| {
        if core::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

//! Waiting for the next moment of something that happens again and again.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// How often it has happened, and who waits for the next time.
#[derive(Default)]
pub(super) struct Moments {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Moments {
    /// It happens: whoever waits goes on, before anything else does.
    pub(super) fn happen(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until it happens.
    pub(super) async fn next(&self) {
        let count = self.count.get();
        poll_fn(|context| {
            if self.count.get() != count {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

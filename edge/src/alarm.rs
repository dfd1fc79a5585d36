//! The alarm of a Durable Object. The platform has one for each: it is set for what is due first.

use crate::platform::now;
use crate::problem::Failure;
use core::cell::Cell;
use wardlink_protocol::UnixMillis;
use worker::{ScheduledTime, State};

/// For when the alarm is set, as far as this instance knows.
#[derive(Default)]
pub struct Alarm(Cell<Option<UnixMillis>>);

impl Alarm {
    /// It rings now.
    pub fn rings(&self) {
        self.0.set(None);
    }

    /// Sets it, unless it rings earlier.
    pub async fn set(&self, state: &State, due: UnixMillis) -> Result<(), Failure> {
        if self.0.get().is_some_and(|set| set <= due) {
            return Ok(());
        }
        // Before the wait: who comes meanwhile with something later changes nothing.
        self.0.set(Some(due));
        let set = state.storage().set_alarm(ScheduledTime::from(due.since(now()))).await;
        Ok(set.inspect_err(|_| self.0.set(None))?)
    }
}

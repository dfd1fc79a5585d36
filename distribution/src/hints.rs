//! Tells whoever looks at the web app that something is otherwise than before: it looks again (design, section 6).

use core::cell::Cell;
use core::time::Duration;
use wardlink_edge::messages::{Changed, DeskRequest};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::UnixMillis;
use worker::Env;

/// It is told at most so often: what comes sooner, whoever was told finds as it looks once more after that.
const PAUSE: Duration = Duration::from_secs(1);

/// What was told of an object's writes.
#[derive(Default)]
pub(crate) struct Hints {
    /// How many writes there were then.
    told: Cell<u64>,
    at: Cell<UnixMillis>,
}

impl Hints {
    /// Tells it, where something was written since. Where it cannot be told, every screen looks by itself, too.
    pub(crate) async fn tell(&self, env: &Env, database: &Database, what: Changed) {
        let (writes, now) = (database.writes(), now());
        if writes == self.told.get() || now < self.at.get().after(PAUSE) {
            return;
        }
        self.told.set(writes);
        self.at.set(now);
        if let Err(failure) = objects::call::<_, ()>(env, &DeskRequest::Changed(what)).await {
            log!("nobody is told that something has changed: {failure:?}");
        }
    }

    /// Does what nobody is told of.
    pub(crate) fn quietly<T>(
        &self,
        database: &Database,
        act: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let before = database.writes();
        let done = act(database);
        self.told.set(self.told.get().saturating_add(database.writes().saturating_sub(before)));
        done
    }
}

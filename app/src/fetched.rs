//! What a screen fetches and shows: while it comes, when it is there, when it is none, when it fails.

use core::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;

use crate::api::Failure;
use crate::app::{App, use_app};
use crate::live::Live;
use crate::ui::rows::{Identified, rows};
use crate::ui::{Loading, Trouble};

/// How often a screen that shows something under way looks again.
pub(crate) const REFRESH: Duration = Duration::from_secs(5);

/// Which answers count: questions are numbered, and no answer follows one to a later question.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    asked: u64,
    answered: u64,
}

impl Turns {
    /// Another question.
    const fn ask(&mut self) -> u64 {
        self.asked = self.asked.saturating_add(1);
        self.asked
    }

    /// Whether the answer to this question counts.
    const fn answer(&mut self, question: u64) -> bool {
        let counts = self.answered < question;
        if counts {
            self.answered = question;
        }
        counts
    }

    /// No question that was asked before counts any more.
    const fn forget(&mut self) {
        self.answered = self.asked;
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A person, who does something.
    Person,
    /// The page by itself.
    Page,
}

/// What the distribution server tells of as it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Catalog, releases, offers, outcomes, gateways.
    Updates,
    /// Stored data, rules, flags.
    Records,
}

impl What {
    /// What a path of the web API is about.
    fn at(path: &str) -> Self {
        let of_records = ["/records", "/rules", "/flags"];
        if of_records.iter().any(|prefix| path.starts_with(prefix)) { Self::Records } else { Self::Updates }
    }
}

/// What changes within so long after it was told is not told by itself.
const SETTLES: Duration = Duration::from_millis(1_200);

/// Looks again and again while the screen is shown and somebody may see it, and at once when it is seen again or the server says that something has changed.
pub(crate) fn watch(app: App, path: &str, look: impl Fn() + Copy + Send + Sync + 'static) {
    let what = What::at(path);
    let look = move || {
        if app.is_watched() {
            look();
        }
    };
    if let Ok(timer) = set_interval_with_handle(look, REFRESH) {
        on_cleanup(move || timer.clear());
    }
    let shown = window_event_listener_untyped("visibilitychange", move |_| look());
    on_cleanup(move || shown.remove());
    if let Some(live) = use_context::<Live>() {
        let changes = if what == What::Records { live.records } else { live.updates };
        let again = StoredValue::new(None::<TimeoutHandle>);
        let settle = move || {
            let _ = again.try_set_value(None);
            look();
        };
        Effect::new(move |known: Option<u64>| {
            let now = changes.get();
            // While it looks once more soon anyhow, it finds this, too.
            if known.is_some_and(|known| known != now) && again.with_value(Option::is_none) {
                untrack(look);
                again.set_value(set_timeout_with_handle(settle, SETTLES).ok());
            }
            now
        });
        on_cleanup(move || {
            if let Some(timer) = again.try_get_value().flatten() {
                timer.clear();
            }
        });
    }
    Effect::new(move |was_locked: Option<bool>| {
        let is_locked = app.lock.is_on();
        if was_locked == Some(true) && !is_locked {
            look();
        }
        is_locked
    });
}

/// A value of the web API. Screens that are gone hear of nothing more.
pub(crate) struct Fetched<T: Send + Sync + 'static> {
    /// What every screen shares.
    pub(crate) app: App,
    path: RwSignal<String>,
    turns: StoredValue<Turns>,
    /// The value, once it is known.
    pub(crate) value: RwSignal<Option<T>>,
    failure: RwSignal<Option<Failure>>,
}

impl<T: Send + Sync + 'static> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Fetched<T> {}

impl<T: DeserializeOwned + PartialEq + Send + Sync + 'static> Fetched<T> {
    /// Begins to fetch `/api/v1<path>`.
    pub(crate) fn start(path: impl Into<String>) -> Self {
        let fetched = Self {
            app: use_app(),
            path: RwSignal::new(path.into()),
            turns: StoredValue::new(Turns::default()),
            value: RwSignal::new(None),
            failure: RwSignal::new(None),
        };
        fetched.load();
        fetched
    }

    /// The same, and looks again while the screen is shown and somebody may see it: neither behind the lock nor in a page that is hidden,
    /// and at once when it is seen again. That keeps no session alive.
    pub(crate) fn follow(path: impl Into<String>) -> Self {
        Self::follow_while(path, |_| true)
    }

    /// The same, but for what is settled by what is known of it.
    pub(crate) fn follow_while(
        path: impl Into<String>,
        is_open: impl Fn(&T) -> bool + Copy + Send + Sync + 'static,
    ) -> Self {
        let fetched = Self::start(path);
        let look = move || {
            let is_open = fetched.value.try_with_untracked(|known| known.as_ref().is_none_or(is_open));
            if is_open == Some(true) {
                fetched.look(By::Page);
            }
        };
        fetched.path.with_untracked(|path| watch(fetched.app, path, look));
        fetched
    }

    /// Fetches it again.
    pub(crate) fn load(self) {
        // The screen may be gone by now.
        let _ = self.failure.try_set(None);
        self.look(By::Person);
    }

    /// Fetches something else from now on.
    pub(crate) fn ask(self, path: String) {
        self.path.set(path);
        self.turns.update_value(Turns::forget);
        self.load();
    }

    /// Knows this from now on, by the answer to another request. What was asked before does not count any more.
    pub(crate) fn learn(self, value: T) {
        // The screen may be gone by now.
        let _ = self.turns.try_update_value(Turns::forget);
        let _ = self.value.try_set(Some(value));
    }

    /// Changes what is known, by the answer to another request; the screen is drawn anew where the change says so. Where nothing is known
    /// yet, it is fetched.
    pub(crate) fn amend(self, change: impl FnOnce(&mut T) -> bool) {
        let _ = self.turns.try_update_value(Turns::forget);
        let is_known = self.value.try_maybe_update(|known| {
            let changed = known.as_mut().map(change);
            (changed.unwrap_or_default(), changed.is_some())
        });
        if is_known == Some(false) {
            self.load();
        }
    }

    fn look(self, by: By) {
        let Some(path) = self.path.try_get_untracked() else { return };
        let Some(question) = self.turns.try_update_value(Turns::ask) else { return };
        spawn_local(async move {
            let fetched = match by {
                By::Person => self.app.get::<T>(&path).await,
                By::Page => self.app.look(&path).await,
            };
            // A late answer to an earlier question is not shown, and a screen that is gone shows none.
            if self.turns.try_update_value(|turns| turns.answer(question)) != Some(true) {
                return;
            }
            match fetched {
                Ok(value) => {
                    self.failure.set(None);
                    if self.value.with_untracked(|known| known.as_ref() != Some(&value)) {
                        self.value.set(Some(value));
                    }
                }
                Err(failure) => self.failure.set(Some(failure)),
            }
        });
    }

    /// What went wrong, if anything did, with a way to try again.
    pub(crate) fn trouble(self) -> impl IntoView {
        view! { <Trouble failure=self.failure retry=Callback::new(move |()| self.load())/> }
    }

    /// Shows that it comes, until it is known or has failed.
    pub(crate) fn waiting(self) -> impl IntoView {
        move || {
            let is_waiting = self.value.with(Option::is_none) && self.failure.with(Option::is_none);
            is_waiting.then(|| view! { <div class="card"><Loading/></div> })
        }
    }
}

impl<T: DeserializeOwned + Identified> Fetched<Vec<T>> {
    /// A list of what `pick` leaves of it; each row stays in its place while it changes.
    pub(crate) fn rows<V: IntoView + 'static>(
        self,
        name: &'static str,
        pick: impl Fn(&T) -> bool + Copy + Send + Sync + 'static,
        row: impl Fn(T) -> V + Copy + Send + Sync + 'static,
    ) -> impl IntoView {
        let some = Memo::new(move |_| self.value.with(|list| list.iter().flatten().any(pick)));
        let picked = move || {
            let mut list = self.value.get().unwrap_or_default();
            list.retain(pick);
            list
        };
        move || {
            some.get().then(|| {
                view! {
                    <ul class="card rows" data-testid=name>
                        {rows(picked, row)}
                    </ul>
                }
            })
        }
    }

    /// Whether it is known and there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.value.with(|list| list.as_ref().is_some_and(Vec::is_empty))
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn no_answer_follows_one_to_a_later_question() {
        let mut turns = Turns::default();
        let (first, second, third) = (turns.ask(), turns.ask(), turns.ask());
        assert!(turns.answer(first));
        assert!(turns.answer(third));
        assert!(!turns.answer(second), "it is late");
        assert!(!turns.answer(third), "it came already");
        let fourth = turns.ask();
        assert!(turns.answer(fourth));
    }

    #[test]
    fn answers_to_what_is_not_asked_any_more_do_not_count() {
        let mut turns = Turns::default();
        let earlier = turns.ask();
        turns.forget();
        let later = turns.ask();
        assert!(!turns.answer(earlier));
        assert!(turns.answer(later));
    }
}

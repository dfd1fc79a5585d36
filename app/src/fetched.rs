//! What a screen fetches and shows: while it comes, when it is there, when it is none, when it fails.

use core::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{self, Failure};
use crate::app::{App, use_app};
use crate::ui::{Loading, Trouble};

/// How often a screen that shows something under way looks again.
const REFRESH: Duration = Duration::from_secs(5);

/// A value of the web API. Screens that are gone hear of nothing more.
pub(crate) struct Fetched<T: Send + Sync + 'static> {
    /// What every screen shares.
    pub(crate) app: App,
    path: RwSignal<String>,
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
            value: RwSignal::new(None),
            failure: RwSignal::new(None),
        };
        fetched.load();
        fetched
    }

    /// The same, and looks again while the screen is shown.
    pub(crate) fn follow(path: impl Into<String>) -> Self {
        let fetched = Self::start(path);
        if let Ok(timer) = set_interval_with_handle(move || fetched.look(), REFRESH) {
            on_cleanup(move || timer.clear());
        }
        fetched
    }

    /// Fetches it again.
    pub(crate) fn load(self) {
        self.failure.set(None);
        self.look();
    }

    /// Fetches something else from now on.
    pub(crate) fn ask(self, path: String) {
        self.path.set(path);
        self.load();
    }

    fn look(self) {
        let Some(path) = self.path.try_get_untracked() else { return };
        spawn_local(async move {
            let fetched = self.app.get::<T>(&path).await;
            // A late answer to an earlier question is not shown.
            if self.path.try_get_untracked() != Some(path) {
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

impl<T: DeserializeOwned + Serialize + Clone + PartialEq + Send + Sync + 'static> Fetched<Vec<T>> {
    /// A list of what `pick` leaves of it; a row that stays as it is, is not drawn anew.
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
                        <For each=picked key=|one| api::json(one) let:one>{row(one)}</For>
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

//! A button that saves what a screen shows the beginning of, as a file.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::file::download;
use super::icon;
use crate::api::Failure;
use crate::app::{App, use_app, use_text};

/// What tables are, for the browser.
pub(crate) const CSV: &str = "text/csv;charset=utf-8";

/// A file to be saved.
pub(crate) struct Saved {
    /// Its name.
    pub(crate) name: String,
    /// Its media type.
    pub(crate) media: &'static str,
    /// What stands in it.
    pub(crate) text: String,
    /// How many entries that is.
    pub(crate) entries: usize,
}

/// Collects a file, and saves it.
#[component]
pub(crate) fn Export<F, C>(
    /// The button's mark for tests.
    mark: &'static str,
    /// What stands on the button.
    words: &'static str,
    /// Fetches what stands in the file.
    collect: C,
) -> impl IntoView
where
    F: Future<Output = Result<Saved, Failure>> + 'static,
    C: Fn(App) -> F + 'static,
{
    let t = use_text();
    let app = use_app();
    let busy = RwSignal::new(false);
    let begin = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        let collected = collect(app);
        spawn_local(async move {
            match collected.await {
                Ok(Saved { name, media, text, entries }) => {
                    download(&name, media, &text);
                    app.notices.say(t.data_exported(entries));
                }
                Err(failure) => app.notices.failure(&failure, t),
            }
            let _ = busy.try_set(false);
        });
    };
    view! {
        <button type="button" class="button small quiet" data-testid=mark aria-disabled=move || busy.get().then_some("true") on:click=begin>
            {icon::download()} {words}
        </button>
    }
}

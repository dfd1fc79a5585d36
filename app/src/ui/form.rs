//! What the forms of dialogs share: sending, what went wrong with it, and the two answers.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::{Answer, Failure};
use crate::app::App;
use crate::ui::Trouble;
use crate::ui::dialog::CloseDialog;

/// Sends what a form asks for.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    /// Whether it is under way.
    pub(crate) busy: RwSignal<bool>,
    /// Why it had no success.
    pub(crate) failure: RwSignal<Option<Failure>>,
}

impl Sender {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Self {
        Self { busy: RwSignal::new(false), failure: RwSignal::new(None) }
    }

    /// Posts to `/api/v1<path>`, and tells `done` of the success. Nothing is sent while something is under way.
    pub(crate) fn send(self, app: App, path: String, body: Option<String>, done: impl FnOnce(Answer) + 'static) {
        self.send_by(Method::POST, app, path, body, done);
    }

    /// The same by PUT.
    pub(crate) fn put(self, app: App, path: String, body: Option<String>, done: impl FnOnce(Answer) + 'static) {
        self.send_by(Method::PUT, app, path, body, done);
    }

    fn send_by(
        self,
        method: Method,
        app: App,
        path: String,
        body: Option<String>,
        done: impl FnOnce(Answer) + 'static,
    ) {
        if self.begin() {
            spawn_local(async move {
                if let Some(answer) = self.end(app.send(method, &path, body).await) {
                    done(answer);
                }
            });
        }
    }

    /// Whether something may be sent: then it is under way from now on.
    pub(crate) fn begin(self) -> bool {
        if self.busy.get_untracked() {
            return false;
        }
        self.busy.set(true);
        self.failure.set(None);
        true
    }

    /// Says what goes wrong in a notice, where no form stands that could.
    pub(crate) fn say_failures(self, app: App) {
        Effect::new(move |_| {
            if let Some(failure) = self.failure.get() {
                app.notices.failure(&failure, app.language.get_untracked());
            }
        });
    }

    /// Nothing is under way any more; returns the success. The dialog may have been closed meanwhile.
    pub(crate) fn end<T>(self, outcome: Result<T, Failure>) -> Option<T> {
        let _ = self.busy.try_set(false);
        outcome.map_err(|failure| drop(self.failure.try_set(Some(failure)))).ok()
    }
}

/// What went wrong, and the two buttons of a question.
#[component]
pub(crate) fn Answers(
    /// Closes the dialog.
    close: CloseDialog,
    /// What sends the form.
    sender: Sender,
    /// The word for doing it.
    go: &'static str,
    /// The word for leaving it.
    keep: &'static str,
) -> impl IntoView {
    let busy = sender.busy;
    view! {
        <Trouble failure=sender.failure/>
        <div class="answers">
            <button type="button" class="button quiet" on:click=move |_| close.run()>{keep}</button>
            <button class="button" data-testid="confirm" aria-disabled=move || busy.get().then_some("true")>{go}</button>
        </div>
    }
}

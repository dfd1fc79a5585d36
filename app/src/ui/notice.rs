//! Short messages at the edge of the screen, some with one thing to do.

use core::time::Duration;

use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::Failure;
use crate::text::Language;
use crate::ui::icon;

/// How long a message stays.
const STAY: Duration = Duration::from_secs(7);

/// A message.
#[derive(Clone, Debug)]
struct Notice {
    id: u32,
    text: String,
    action: Option<(&'static str, Callback<()>)>,
}

/// The messages that are on the screen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notices {
    shown: RwSignal<Vec<Notice>>,
    next: StoredValue<u32>,
}

impl Notices {
    /// Shows a message for some seconds.
    pub(crate) fn say(self, text: impl Into<String>) {
        let id = self.add(text.into(), None);
        spawn_local(async move {
            sleep(STAY).await;
            self.remove(id);
        });
    }

    /// Shows a failure for some seconds.
    pub(crate) fn failure(self, failure: &Failure, t: Language) {
        let explained = failure.explain(t);
        self.say(format!("{} {}", explained.what, explained.advice));
    }

    /// Shows a message that can be undone, and returns after some seconds whether it was left standing.
    pub(crate) async fn offer_undo(self, text: String, undo: &'static str, undone: Callback<()>) -> bool {
        let open = StoredValue::new(true);
        let take_back = Callback::new(move |()| {
            open.set_value(false);
            undone.run(());
        });
        let id = self.add(text, Some((undo, take_back)));
        sleep(STAY).await;
        self.remove(id);
        open.try_get_value().unwrap_or(true)
    }

    fn add(self, text: String, action: Option<(&'static str, Callback<()>)>) -> u32 {
        let id = self.next.get_value();
        self.next.set_value(id.wrapping_add(1));
        self.shown.update(|shown| shown.push(Notice { id, text, action }));
        id
    }

    fn remove(self, id: u32) {
        self.shown.update(|shown| shown.retain(|notice| notice.id != id));
    }
}

/// The place where messages appear.
#[component]
pub(crate) fn NoticeArea(notices: Notices, close: &'static str) -> impl IntoView {
    view! {
        <div class="notices" role="status" aria-live="polite">
            <For each=move || notices.shown.get() key=|notice| notice.id let:notice>
                <div class="notice">
                    <span>{notice.text}</span>
                    {notice.action.map(|(label, act)| view! {
                        <button type="button" class="link" on:click=move |_| {
                            notices.remove(notice.id);
                            act.run(());
                        }>{label}</button>
                    })}
                    <button type="button" class="icon-button" aria-label=close on:click=move |_| notices.remove(notice.id)>
                        {icon::close()}
                    </button>
                </div>
            </For>
        </div>
    }
}

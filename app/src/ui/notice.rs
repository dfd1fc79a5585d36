//! Short messages at the edge of the screen, some with one thing to do.

use core::time::Duration;

use gloo_timers::future::sleep;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::Failure;
use crate::text::Language;
use crate::ui::{focus, focus_is_lost, icon};

/// How long a message stays.
const STAY: Duration = Duration::from_secs(7);

/// How long it stays after a person has left it.
const LEAVING: Duration = Duration::from_secs(2);

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
    /// Whether a person is at them: then they stay.
    held: StoredValue<bool>,
}

impl Notices {
    /// Shows a message for some seconds.
    pub(crate) fn say(self, text: impl Into<String>) {
        let id = self.add(text.into(), None);
        spawn_local(async move {
            self.stay().await;
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
        self.stay().await;
        self.remove(id);
        open.try_get_value().unwrap_or(true)
    }

    /// Waits some seconds, and as long as a person is at the messages.
    async fn stay(self) {
        sleep(STAY).await;
        while self.held.get_value() {
            sleep(LEAVING).await;
        }
    }

    fn add(self, text: String, action: Option<(&'static str, Callback<()>)>) -> u32 {
        let id = self.next.get_value();
        self.next.set_value(id.wrapping_add(1));
        self.shown.update(|shown| shown.push(Notice { id, text, action }));
        id
    }

    fn remove(self, id: u32) {
        let had_focus = has(".notices :focus");
        self.shown.update(|shown| shown.retain(|notice| notice.id != id));
        self.held.set_value(false);
        if had_focus {
            request_animation_frame(|| {
                if focus_is_lost() {
                    focus("h1");
                }
            });
        }
    }
}

fn has(selector: &str) -> bool {
    document().query_selector(selector).is_ok_and(|found| found.is_some())
}

/// The place where messages appear.
#[component]
pub(crate) fn NoticeArea(notices: Notices, close: &'static str) -> impl IntoView {
    view! {
        <div
            class="notices"
            role="status"
            on:pointerenter=move |_| notices.held.set_value(true)
            on:pointerleave=move |_| notices.held.set_value(false)
            // The mouse leaves the focus behind where it has pressed; only the keyboard stays there.
            on:focusin=move |_| notices.held.set_value(has(".notices :focus-visible"))
            on:focusout=move |_| notices.held.set_value(false)
        >
            <For each=move || notices.shown.get() key=|notice| notice.id let:notice>
                <div class="notice">
                    <span>{notice.text}</span>
                    {notice.action.map(|(label, act)| view! { <Action label=label act=Callback::new(move |()| {
                        notices.remove(notice.id);
                        act.run(());
                    })/> })}
                    <button type="button" class="icon-button" aria-label=close on:click=move |_| notices.remove(notice.id)>
                        {icon::close()}
                    </button>
                </div>
            </For>
        </div>
    }
}

/// The one thing to do with a message.
#[component]
fn Action(label: &'static str, act: Callback<()>) -> impl IntoView {
    let node = NodeRef::<html::Button>::new();
    Effect::new(move |_| {
        // What was pressed is gone from the screen: this takes its place.
        if let Some(button) = node.get().filter(|_| focus_is_lost()) {
            let _ = button.focus();
        }
    });
    view! { <button type="button" class="link" data-testid="undo" node_ref=node on:click=move |_| act.run(())>{label}</button> }
}

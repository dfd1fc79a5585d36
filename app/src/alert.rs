//! Alerts of the control unit itself: identifiers that were locked after too many failed pairings.
//!
//! They have no colour of an alarm: those belong to devices alone.

use leptos::prelude::*;
use wardlink_protocol::api::{Lock, Right};

use crate::app::{use_app, use_text};
use crate::clock;
use crate::live::Live;
use crate::pairing::shown_name;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::icon;

/// The locks, above every screen.
#[component]
pub(crate) fn Alerts() -> impl IntoView {
    let live: Live = expect_context();
    let ask = RwSignal::new(None);
    view! {
        <div class="alerts" role="alert">
            <For each=move || live.locks.get() key=|lock| (lock.device.clone(), lock.locked_at) let:lock>
                <Alert lock=lock ask=ask/>
            </For>
        </div>
        <Asking ask=ask/>
    }
}

#[component]
fn Alert(lock: Lock, ask: RwSignal<Option<Lock>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let name = shown_name(&lock.device);
    let label = t.lift_lock_of(&name);
    let device = lock.device.to_string();
    view! {
        <div class="alert" data-testid="lock" data-device=device.clone()>
            {icon::lock()}
            <div>
                <p><b>{t.locked_title(&name)}</b></p>
                <p>{t.locked_text(lock.failures, &clock::day_and_time(lock.locked_at, t))}</p>
                {(!app.may(Right::Unlock)).then(|| view! { <p>{t.locked_ask()}</p> })}
            </div>
            {app.may(Right::Unlock).then(|| view! {
                <button type="button" class="button small quiet" data-testid="lift" aria-label=label
                    on:click=move |_| ask.set(Some(lock.clone()))>{t.lift_lock()}</button>
            })}
        </div>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Lock>>) -> impl IntoView {
    let t = use_text();
    let title = move |lock: &Lock| t.lift_title(&shown_name(&lock.device));
    let content = move |lock: Lock, close: CloseDialog| view! { <LiftForm lock=lock close=close/> }.into_any();
    asking(ask, title, content)
}

#[component]
fn LiftForm(lock: Lock, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let live: Live = expect_context();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let device = lock.device.clone();
        sender.send(app, format!("/devices/{device}/unlock"), None, move |_| {
            app.notices.say(t.lifted(&shown_name(&device)));
            close.run();
            live.lift(&device);
        });
    };
    view! {
        <form class="stack" data-testid="lift-form" on:submit=submit>
            <p class="quiet">{t.lift_text()}</p>
            <Answers close=close sender=sender go=t.lift_lock() keep=t.keep_locked()/>
        </form>
    }
}

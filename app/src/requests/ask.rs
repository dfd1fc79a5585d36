//! What a person is asked before something happens to a pairing: mode and bed, a reason, a confirmation.

use leptos::prelude::*;
use wardlink_protocol::api::{Accept, PairingView, Reject};
use wardlink_protocol::limits::MAX_NOTE_BYTES;
use wardlink_protocol::pairing::Mode;

use crate::api;
use crate::app::{use_app, use_text};
use crate::pairing::{kind_of, mode_name, shown_name};
use crate::route::Route;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::form::{Answers, Sender};
use crate::ui::unique_id;

/// A question about a pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// How to pair it, and where it stands.
    Accept(PairingView),
    /// Why not.
    Reject(PairingView),
    /// Whether a running pairing shall end.
    Cancel(PairingView),
}

/// Shows the question, while there is one.
#[component]
pub(super) fn Asking(ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Accept(pairing) => t.accept_title(&shown_name(&pairing.device)),
        Ask::Reject(pairing) => t.reject_title(&shown_name(&pairing.device)),
        Ask::Cancel(pairing) => t.cancel_title(&shown_name(&pairing.device)),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Accept(pairing) => view! { <AcceptForm pairing=pairing close=close/> }.into_any(),
        Ask::Reject(pairing) => view! { <RejectForm pairing=pairing close=close/> }.into_any(),
        Ask::Cancel(pairing) => view! { <CancelForm pairing=pairing close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

/// What is wrong with a text that is stored with a pairing.
fn note_error(text: &str, t: Language) -> Option<String> {
    (text.len() > MAX_NOTE_BYTES).then(|| t.note_too_long(MAX_NOTE_BYTES))
}

#[component]
fn AcceptForm(pairing: PairingView, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let mode = RwSignal::new(pairing.modes.first().copied());
    let location = RwSignal::new(pairing.location.clone());
    let error = RwSignal::new(None);
    let sender = Sender::new();
    let session = pairing.session;
    let app = use_app();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let place = location.get_untracked().trim().to_owned();
        error.set(if place.is_empty() { Some(t.location_missing().to_owned()) } else { note_error(&place, t) });
        if error.with_untracked(Option::is_some) {
            return;
        }
        let body = api::json(&Accept { mode: mode.get_untracked(), location: place });
        sender.send(app, format!("/pairings/{session}/accept"), body, move |_| {
            close.run();
            go_to(&Route::Requests(Some(session)));
        });
    };
    let group = unique_id("mode");
    let modes = pairing.modes.iter().enumerate().map(|(index, &choice)| {
        view! {
            <Choice
                name=group.clone()
                label=mode_name(choice, t)
                hint=if index == 0 { proposed_hint(choice, t) } else { mode_hint(choice, t) }
                value=serde_json::to_string(&choice).unwrap_or_default().trim_matches('"').to_owned()
                chosen=Signal::derive(move || mode.get() == Some(choice))
                choose=Callback::new(move |()| mode.set(Some(choice)))
            />
        }
    });
    view! {
        <form class="stack" data-testid="accept-form" on:submit=submit novalidate>
            <p class="quiet">
                {t.kind_and_serial(&kind_of(&pairing.information), &pairing.information.serial_number)}
            </p>
            {pairing.replaces.then(|| view! { <p class="warn">{t.replaces()}</p> })}
            <Field label=t.location() value=location name="location" hint=t.location_hint() error=error focus=true/>
            <fieldset class="choices" data-testid="modes">
                <legend>{t.mode_question()}</legend>
                {modes.collect_view()}
            </fieldset>
            <Answers close=close sender=sender go=t.accept() keep=t.keep_waiting()/>
        </form>
    }
}

fn proposed_hint(mode: Mode, t: Language) -> &'static str {
    match mode {
        Mode::PairingSimple => t.mode_simple_proposed(),
        Mode::PairingCode | Mode::PairingQrcode => t.mode_proposed(),
    }
}

fn mode_hint(mode: Mode, t: Language) -> &'static str {
    match mode {
        Mode::PairingSimple => t.mode_simple_hint(),
        Mode::PairingCode => t.mode_code_hint(),
        Mode::PairingQrcode => t.mode_qr_hint(),
    }
}

fn go_to(route: &Route) {
    // A fragment of the same page is always a valid address.
    let _ = window().location().set_hash(&route.to_string());
}

#[component]
fn RejectForm(pairing: PairingView, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let note = RwSignal::new(String::new());
    let error = RwSignal::new(None);
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let note = note.get_untracked().trim().to_owned();
        error.set(note_error(&note, t));
        if error.with_untracked(Option::is_some) {
            return;
        }
        let body = api::json(&Reject { note });
        sender.send(app, format!("/pairings/{}/reject", pairing.session), body, move |_| close.run());
    };
    let suggestions = [t.reject_unknown(), t.reject_wrong_ward(), t.reject_in_repair()].map(str::to_owned).to_vec();
    view! {
        <form class="stack" data-testid="reject-form" on:submit=submit novalidate>
            <p class="quiet">{t.reject_text()}</p>
            <Field
                label=t.reject_reason()
                value=note
                name="note"
                hint=t.reject_reason_hint()
                error=error
                focus=true
                suggestions=suggestions
            />
            <Answers close=close sender=sender go=t.reject() keep=t.keep_waiting()/>
        </form>
    }
}

#[component]
fn CancelForm(pairing: PairingView, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        sender.send(app, format!("/pairings/{}/cancel", pairing.session), None, move |_| close.run());
    };
    view! {
        <form class="stack" data-testid="cancel-form" on:submit=submit>
            <p class="quiet">{t.cancel_text()}</p>
            <Answers close=close sender=sender go=t.cancel_pairing() keep=t.keep_pairing()/>
        </form>
    }
}

//! Ending the trust in devices, and what is seen of it afterwards.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::Device;
use wardlink_protocol::api::{Decommissioning, NewRevocation, Revocation, RevocationReason, Right};
use wardlink_protocol::limits::{MAX_NOTE_BYTES, MAX_REVOKED_AT_ONCE};

use crate::app::{App, use_app, use_text};
use crate::channels::KeyJobs;
use crate::pairing::shown_name;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::form::{Answers, Sender};
use crate::ui::{icon, unique_id};
use crate::{api, clock};

/// So many devices are named before the question; of more, only how many they are.
const NAMED: usize = 12;

/// A question about the trust in devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Why it ends.
    Revoke(Vec<Device>),
    /// Whether a revoked device may pair again.
    Reinstate(Device),
    /// Whether a device shall erase itself.
    Decommission(Device),
}

/// Shows the question, while there is one; `done` is told when devices were revoked.
#[component]
pub(super) fn Asking(ask: RwSignal<Option<Ask>>, #[prop(optional, into)] done: Option<Callback<()>>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Revoke(devices) => match devices.as_slice() {
            [device] => t.revoke_title(&shown_name(device)),
            devices => t.revoke_several_title(devices.len()),
        },
        Ask::Reinstate(device) => t.reinstate_title(&shown_name(device)),
        Ask::Decommission(device) => t.decommission_title(&shown_name(device)),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Revoke(devices) => view! { <RevokeForm devices=devices close=close done=done/> }.into_any(),
        Ask::Reinstate(device) => {
            let told = t.reinstated(&shown_name(&device));
            let (text, go, keep) = (t.reinstate_text(), t.reinstate(), t.keep_revoked());
            view! { <OrderForm device=device act="reinstate" text=text go=go keep=keep told=told close=close/> }
                .into_any()
        }
        Ask::Decommission(device) => {
            let told = t.decommission_told(&shown_name(&device));
            let (text, go, keep) = (t.decommission_text(), t.decommission_go(), t.cancel());
            view! { <OrderForm device=device act="decommission" text=text go=go keep=keep told=told close=close/> }
                .into_any()
        }
    };
    asking(ask, title, content)
}

fn reason_words(reason: RevocationReason, t: Language) -> (&'static str, &'static str) {
    match reason {
        RevocationReason::Lost => (t.reason_lost(), t.reason_lost_hint()),
        RevocationReason::Compromised => (t.reason_compromised(), t.reason_compromised_hint()),
        RevocationReason::Replaced => (t.reason_replaced(), t.reason_replaced_hint()),
        RevocationReason::Retired => (t.reason_retired(), t.reason_retired_hint()),
        RevocationReason::Other => (t.reason_other(), t.reason_other_hint()),
    }
}

/// What is wrong with a note under a reason.
fn note_error(note: &str, reason: RevocationReason, t: Language) -> Option<String> {
    if note.len() > MAX_NOTE_BYTES {
        return Some(t.note_too_long(MAX_NOTE_BYTES));
    }
    (reason == RevocationReason::Other && note.is_empty()).then(|| t.revoke_note_missing().to_owned())
}

#[component]
fn RevokeForm(devices: Vec<Device>, close: CloseDialog, done: Option<Callback<()>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let reason = RwSignal::new(RevocationReason::Lost);
    let (note, error) = (RwSignal::new(String::new()), RwSignal::new(None));
    let (sender, progress) = (Sender::new(), RwSignal::new(0_usize));
    let count = devices.len();
    let names: Vec<String> = devices.iter().take(NAMED).map(shown_name).collect();
    let more = count.saturating_sub(NAMED);
    // What was cut off before something went wrong is not asked for again.
    let left = StoredValue::new(devices);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (reason, note) = (reason.get_untracked(), note.get_untracked().trim().to_owned());
        error.set(note_error(&note, reason, t));
        if error.with_untracked(Option::is_some) || !sender.begin() {
            return;
        }
        spawn_local(async move {
            let outcome = revoke(app, left, reason, note, progress).await;
            if sender.end(outcome).is_some() {
                app.notices.say(t.revoked_now(count));
                close.run();
                if let Some(done) = done {
                    done.run(());
                }
            }
        });
    };
    let group = unique_id("reason");
    let reasons = RevocationReason::ALL.map(|choice| {
        let (label, hint) = reason_words(choice, t);
        view! {
            <Choice
                name=group.clone()
                label=label
                hint=hint
                value=format!("{choice:?}")
                chosen=Signal::derive(move || reason.get() == choice)
                choose=Callback::new(move |()| reason.set(choice))
            />
        }
    });
    view! {
        <form class="stack" data-testid="revoke-form" on:submit=submit novalidate>
            <p>{t.revoke_text()}</p>
            {(count > 1).then(|| view! {
                <p class="quiet">{t.revoke_list()} " " <span class="ident">{names.join(", ")}</span> {(more > 0).then(|| format!(" + {more}"))}</p>
            })}
            <fieldset class="choices" data-testid="reasons">
                <legend>{t.revoke_reason()}</legend>
                {reasons.into_iter().collect_view()}
            </fieldset>
            <Field label=t.revoke_note() value=note name="note" hint=t.revoke_note_hint() error=error/>
            <p class="waiting" role="status">
                {move || (count > MAX_REVOKED_AT_ONCE && sender.busy.get()).then(|| t.revoked_of(progress.get(), count))}
            </p>
            <Answers close=close sender=sender go=t.revoke() keep=t.keep_trust()/>
        </form>
    }
}

/// Revokes devices, as many at a time as the server takes.
async fn revoke(
    app: App,
    left: StoredValue<Vec<Device>>,
    reason: RevocationReason,
    note: String,
    progress: RwSignal<usize>,
) -> Result<(), api::Failure> {
    while let Some(devices) = left.try_with_value(|left| next(left)).filter(|devices| !devices.is_empty()) {
        let sent = devices.len();
        let body = api::json(&NewRevocation { devices, reason, note: note.clone() });
        app.send(Method::POST, "/revocations", body).await?;
        let _ = left.try_update_value(|left| left.drain(..sent.min(left.len())).count());
        let _ = progress.try_update(|done| *done += sent);
    }
    Ok(())
}

fn next(left: &[Device]) -> Vec<Device> {
    left.iter().take(MAX_REVOKED_AT_ONCE).cloned().collect()
}

/// What is ordered for one device with a single answer: `act` is the last part of the route, `told` what is said once it is done.
#[component]
fn OrderForm(
    device: Device,
    act: &'static str,
    text: &'static str,
    go: &'static str,
    keep: &'static str,
    told: String,
    close: CloseDialog,
) -> impl IntoView {
    let app = use_app();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let told = told.clone();
        sender.send(app, format!("/devices/{device}/{act}"), None, move |_| {
            app.notices.say(told);
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="order-form" on:submit=submit>
            <p>{text}</p>
            <Answers close=close sender=sender go=go keep=keep/>
        </form>
    }
}

/// How far a device is with erasing itself.
#[component]
pub(super) fn Erasing(device: Device, decommissioning: Decommissioning) -> impl IntoView {
    let t = use_text();
    let words = match decommissioning.received_at {
        Some(at) => t.decommission_done(&clock::day_and_time(at, t)),
        None => {
            t.decommission_ordered(&decommissioning.ordered_by, &clock::day_and_time(decommissioning.ordered_at, t))
        }
    };
    let receipt = decommissioning.received_at.map(|_| {
        let (address, name) =
            (format!("/api/v1/devices/{device}/receipt"), format!("{}-receipt.cose", device.identifier));
        view! { <p><a href=address download=name data-testid="receipt">{t.decommission_receipt()}</a></p> }
    });
    view! {
        <div class="trouble" data-testid="erasing">
            {icon::notice()}
            <div><strong>{words}</strong>{receipt}</div>
        </div>
    }
}

/// How a device was revoked, and what it has tried since.
#[component]
pub(super) fn Revoked(revocation: Revocation, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let (reason, _) = reason_words(revocation.reason, t);
    let reason =
        if revocation.note.is_empty() { reason.to_owned() } else { format!("{reason} · {}", revocation.note) };
    let cut = revocation.cut_at.map(|at| t.revoked_cut(&clock::day_and_time(at, t)));
    let attempts = match revocation.last_attempt {
        Some(at) => t.revoked_attempts(revocation.attempts, &clock::day_and_time(at, t)),
        None => t.revoked_no_attempts().to_owned(),
    };
    let label = t.reinstate_device(&shown_name(&revocation.device));
    let device = revocation.device;
    view! {
        <div class="trouble" data-testid="revoked">
            {icon::stop()}
            <div>
                <strong>{t.revoked_title()}</strong>
                <p>{reason}</p>
                <p>{t.revoked_by(&revocation.revoked_by, &clock::day_and_time(revocation.revoked_at, t))}</p>
                <p data-testid="cut">{cut.unwrap_or_else(|| t.revoked_cutting().to_owned())}</p>
                <p data-testid="attempts">{attempts}</p>
                {app.may(Right::Revoke).then(|| view! {
                    <button type="button" class="button small quiet" data-testid="reinstate" aria-label=label
                        on:click=move |_| ask.set(Some(Ask::Reinstate(device.clone())))>{t.reinstate()}</button>
                })}
            </div>
        </div>
        <KeyJobs/>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reason_needs_a_note_and_no_note_is_too_long() {
        let error = |note: &str, reason| note_error(note, reason, Language::English);
        assert_eq!(error("", RevocationReason::Lost), None);
        assert!(error("", RevocationReason::Other).is_some());
        assert_eq!(error("recalled", RevocationReason::Other), None);
        assert!(error(&"n".repeat(MAX_NOTE_BYTES + 1), RevocationReason::Lost).is_some());
    }
}

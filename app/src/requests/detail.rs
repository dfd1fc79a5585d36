//! One pairing: its five steps, the code field, what the device says of itself.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, PairingView, Right, VerifyAnswer};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;

use super::{Acts, Ask};
use crate::app::{use_app, use_text};
use crate::clock;
use crate::devices::ReducedTrust;
use crate::live::Live;
use crate::pairing::{Steps, is_open, kind_of, network_words};
use crate::route::Route;
use crate::ui::{Fact, Loading, icon};
use crate::verification::{AnswerToEnter, CodeForm, Remaining, Verifier, asked};

/// The id of the pane's heading, which takes the focus when the pane opens.
const TITLE: &str = "opened";

/// The pane of the opened pairing.
#[component]
pub(super) fn Detail(session: SessionId) -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let known = Memo::new(move |_| live.pairings.with(|pairings| pairings.contains_key(&session)));
    view! {
        <aside class="detail-pane" aria-label=t.detail_label() data-testid="detail">
            <a class="back" href=Route::Requests(None).to_string()>{icon::back()} {t.requests_nav()}</a>
            {move || match (known.get(), live.is_known.get()) {
                (true, _) => {
                    let pairing = live.pairings.with_untracked(|pairings| pairings.get(&session).cloned());
                    pairing.map(|pairing| view! { <DetailOf pairing=Signal::derive(move || pairing.get())/> }).into_any()
                }
                (false, false) => view! { <Loading/> }.into_any(),
                (false, true) => view! { <p class="quiet">{t.pairing_gone()}</p> }.into_any(),
            }}
        </aside>
    }
}

#[component]
fn DetailOf(pairing: Signal<PairingView>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let fixed = pairing.get_untracked();
    let phase = Memo::new(move |_| pairing.with(|pairing| pairing.phase));
    let place = move || pairing.with(|pairing| pairing.location.clone());
    let kind = kind_of(&fixed.information);
    let title = NodeRef::<leptos::html::H2>::new();
    Effect::new(move |_| {
        if let Some(title) = title.get() {
            // An element of the page can always take the focus.
            let _ = title.focus();
        }
    });
    view! {
        <div class="detail-head">
            <h2 class="ident" id=TITLE tabindex="-1" node_ref=title>{fixed.device.identifier.to_string()}</h2>
            <p class="quiet">{move || if place().is_empty() { kind.clone() } else { format!("{kind} · {}", place()) }}</p>
        </div>
        <Steps pairing=pairing/>
        <p class="visually-hidden" role="status">{move || crate::pairing::phase_name(phase.get(), t)}</p>
        {move || app.may(Right::Pair).then(|| view! { <NextAct pairing=pairing phase=phase/> })}
        <Facts pairing=pairing/>
    }
}

/// Where a phone finds its page.
fn address_for_phones() -> String {
    format!("{}/verify", window().location().host().unwrap_or_default())
}

/// What the pairing waits for.
#[component]
fn NextAct(pairing: Signal<PairingView>, phase: Memo<PairingPhase>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let live: Live = expect_context();
    let acts: Acts = expect_context();
    let typed = RwSignal::new(String::new());
    let session = pairing.with_untracked(|pairing| pairing.session);
    let answered = Callback::new(move |answer: VerifyAnswer| {
        if answer.result != wardlink_protocol::api::VerifyResult::Mistyped {
            typed.set(String::new());
        }
        live.put_pairing(answer.pairing);
    });
    let verifier = Verifier::new(app, answered);
    let ask = move |ask: fn(PairingView) -> Ask| acts.ask.set(Some(ask(pairing.get_untracked())));
    let answer = Memo::new(move |_| pairing.with(|pairing| pairing.answer.clone()));
    let takes_code = Memo::new(move |_| {
        pairing.with(|pairing| match pairing.mode {
            Some(Mode::PairingCode) => true,
            Some(Mode::PairingQrcode) => pairing.code_beside,
            Some(Mode::PairingSimple) | None => false,
        })
    });
    view! {
        {move || match phase.get() {
            PairingPhase::Waiting => view! {
                <div class="stack">
                    <button type="button" class="button" data-testid="accept-here" on:click=move |_| ask(Ask::Accept)>{t.accept()}</button>
                    <button type="button" class="button quiet" on:click=move |_| ask(Ask::Reject)>{t.reject()}</button>
                </div>
            }.into_any(),
            PairingPhase::Verifying => view! {
                {takes_code.get().then(|| view! { <CodeForm verifier=verifier session=session typed=typed asked=pairing.with_untracked(asked) takes_focus_from=TITLE/> })}
                <p class="by-phone">
                    {icon::phone()}
                    <span>
                        {t.verify_by_phone()} " "
                        <a href=format!("/verify#{session}") target="_blank" rel="noopener">{address_for_phones()}</a>
                    </span>
                </p>
                <Remaining pairing=pairing/>
            }.into_any(),
            _ => ().into_any(),
        }}
        <AnswerToEnter answer=answer/>
        {move || matches!(phase.get(), PairingPhase::Accepted | PairingPhase::Verifying).then(|| view! {
            <button type="button" class="link" data-testid="cancel" on:click=move |_| ask(Ask::Cancel)>{t.cancel_pairing()}</button>
        })}
        {move || super::is_reduced(pairing).then(|| view! { <ReducedTrust/> })}
        {move || (phase.get() == PairingPhase::Finished).then(|| view! {
            <a class="button" href=Route::Device(pairing.with_untracked(|pairing| pairing.device.clone())).to_string()>
                {t.open_device()}
            </a>
        })}
    }
}

#[component]
fn Facts(pairing: Signal<PairingView>) -> impl IntoView {
    let t = use_text();
    let fixed = pairing.get_untracked();
    let network = network_words(&fixed, t);
    let PairingView { device, information, key, requested_at, .. } = fixed;
    let ends = move || {
        pairing.with(|pairing| {
            pairing
                .expires_at
                .filter(|_| is_open(pairing.phase))
                .map(|end| clock::time_of_day(end, t))
                .unwrap_or_default()
        })
    };
    view! {
        <dl class="facts-list">
            <Fact name=t.class() value=device.client.to_string()/>
            <Fact name=t.serial() value=information.serial_number mono=true/>
            <Fact name=t.family() value=information.family/>
            <Fact name=t.firmware() value=information.firmware_version/>
            <Fact name=t.hardware() value=information.hardware_id/>
            <Fact name=t.key() value=key.short() mono=true/>
            <Fact name=t.network() value=network/>
            <Fact name=t.asked_at() value=clock::day_and_time(requested_at, t)/>
            {move || (!ends().is_empty()).then(|| view! { <Fact name=t.ends_at() value=ends()/> })}
        </dl>
    }
}

//! How it went, large and calm.

use leptos::prelude::*;
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::identity::SessionId;

use super::watch::Watch;
use super::{DeviceCard, Place};
use crate::app::use_text;
use crate::pairing::reason_text;
use crate::ui::{ScreenTitle, icon};
use crate::verification::AnswerToEnter;

/// The end of a verification.
#[component]
pub(super) fn Outcome(session: SessionId) -> impl IntoView {
    let t = use_text();
    let watch: Watch = expect_context();
    let place: Place = expect_context();
    let phase = Memo::new(move |_| watch.phase(session));
    let pairing = untrack(|| watch.pairing(session));
    let reason = pairing.as_ref().and_then(|pairing| pairing.reason);
    let reason = Memo::new(move |_| watch.pairing(session).and_then(|pairing| pairing.reason).or(reason));
    let title = Signal::derive(move || {
        match phase.get() {
            Some(PairingPhase::Finished) => t.outcome_connected(),
            Some(PairingPhase::Ended) => t.outcome_ended(),
            _ => t.outcome_verified(),
        }
        .to_owned()
    });
    let answer = Memo::new(move |_| watch.pairing(session).and_then(|pairing| pairing.answer));
    let text = move || match phase.get() {
        Some(PairingPhase::Finished) => t.outcome_connected_text().to_owned(),
        Some(PairingPhase::Ended) => format!("{} {}", reason_text(reason.get(), t), t.outcome_ended_text()),
        // The answer says what is to be done now.
        _ if answer.with(Option::is_some) => String::new(),
        _ => t.outcome_verified_text().to_owned(),
    };
    let is_ended = move || phase.get() == Some(PairingPhase::Ended);
    let word = move || match phase.get() {
        Some(PairingPhase::Finished) => "connected",
        Some(PairingPhase::Ended) => "ended",
        _ => "verified",
    };
    view! {
        <section class="outcome" class:ended=is_ended data-testid="result" data-result=word>
            <div class="outcome-mark">{move || if is_ended() { icon::stop().into_any() } else { icon::check().into_any() }}</div>
            <ScreenTitle text=title/>
            <p class="quiet" role="status">{text}</p>
            <AnswerToEnter answer=answer/>
        </section>
        {pairing.map(|pairing| view! { <DeviceCard pairing=pairing label=t.the_pump()/> })}
        <button type="button" class="button quiet" data-testid="next-pump" on:click=move |_| place.restart()>{t.next_pump()}</button>
    }
}

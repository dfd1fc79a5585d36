//! One chosen pump: camera and code field on the same screen.

use leptos::prelude::*;
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;

use super::scanned::{ScanBox, Scans};
use super::watch::Watch;
use super::{DeviceCard, Place};
use crate::app::{set_title, use_text};
use crate::verification::{CodeForm, Remaining, SerialForm, asked};

/// The screen of the chosen pump.
#[component]
pub(super) fn One(session: SessionId) -> impl IntoView {
    let t = use_text();
    let watch: Watch = expect_context();
    let place: Place = expect_context();
    set_title(t.verify_title());
    let others = Memo::new(move |_| watch.verifiable().len() > 1);
    let phase = Memo::new(move |_| watch.phase(session));
    let first = untrack(|| watch.pairing(session));
    let scans: Scans = expect_context();
    let shown = first.clone();
    let mode =
        Memo::new(move |_| watch.pairing(session).and_then(|pairing| Some((pairing.mode?, pairing.code_beside))));
    let takes_scan = move || matches!(mode.get(), Some((Mode::PairingQrcode, _)));
    let takes_code = move || matches!(mode.get(), Some((Mode::PairingCode, _) | (Mode::PairingQrcode, true)));
    first.map(|pairing| {
        let asked = asked(&pairing);
        let known = StoredValue::new(pairing);
        let pairing = Signal::derive(move || watch.pairing(session).unwrap_or_else(|| known.get_value()));
        view! {
            <h1 class="visually-hidden">{t.verify_title()}</h1>
            {shown.map(|pairing| view! { <DeviceCard pairing=pairing label=t.verify_this()/> })}
            {move || match phase.get() {
                Some(PairingPhase::Accepted) => view! { <p class="quiet" role="status">{t.step_answering_text()}</p> }.into_any(),
                _ => view! {
                    {takes_scan().then(|| view! { <ScanBox alone=!takes_code()/> })}
                    {(takes_scan() && takes_code()).then(|| view! { <p class="or">{t.or_type()}</p> })}
                    {takes_code().then(|| view! { <CodeForm verifier=scans.verifier session=session typed=place.typed asked=asked/> })}
                    {(asked > 0 && !takes_code()).then(|| view! { <SerialForm verifier=scans.verifier session=session asked=asked/> })}
                    <Remaining pairing=pairing/>
                }.into_any(),
            }}
            <Show when=move || others.get()>
                <button type="button" class="link" data-testid="other-pump" on:click=move |_| place.choose(None)>{t.other_pump()}</button>
            </Show>
        }
    })
}

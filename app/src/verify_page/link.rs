//! A code that the phone's own camera has read and opened as an address.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, VerificationProof};
use wardlink_protocol::verification::VerificationLink;

use super::scanned::Scans;
use super::watch::Watch;
use super::{DeviceCard, Place};
use crate::app::use_text;
use crate::ui::{ScreenTitle, Trouble, icon};
use crate::verification::{Remaining, SerialField, Standing, asked};

/// Shows the device, and verifies it only when a person says so.
#[component]
pub(super) fn ByLink(link: Option<VerificationLink>) -> impl IntoView {
    let t = use_text();
    let watch: Watch = expect_context();
    let place: Place = expect_context();
    let link = StoredValue::new(link);
    let session = link.with_value(|link| link.as_ref().map(|link| link.session));
    // The list of pairings changes every moment; this only when the code begins or ceases to be good.
    let is_good = Memo::new(move |_| {
        link.with_value(|link| {
            link.as_ref().is_some_and(|link| {
                watch.pairing(link.session).is_some_and(|pairing| {
                    pairing.device.identifier == link.identifier && pairing.phase == PairingPhase::Verifying
                })
            })
        })
    });
    let scans: Scans = expect_context();
    let verify = move |_| {
        if let Some(link) = link.get_value() {
            let asked = untrack(|| watch.pairing(link.session)).as_ref().map_or(0, asked);
            scans.verifier.submit(link.session, VerificationProof::Tag(link.tag), asked);
        }
    };
    let failure = Signal::derive(move || match scans.verifier.standing.get() {
        Standing::Failed(failure) => Some(failure),
        _ => None,
    });
    let waits =
        move || scans.verifier.standing.with(|standing| *standing == Standing::Waiting).then(|| t.verification_waits());
    let wrong = move || {
        scans.verifier.standing.with(|standing| matches!(standing, Standing::Wrong(_))).then(|| t.scanned_old())
    };
    move || {
        let pairing = session.and_then(|session| untrack(|| watch.pairing(session)));
        match pairing.filter(|_| is_good.get()) {
            None => view! {
                <ScreenTitle text=t.link_no_good()/>
                <p class="quiet" data-testid="refused-code">{t.link_no_good_text()}</p>
                <button type="button" class="button" on:click=move |_| place.restart()>{t.to_verification()}</button>
            }
            .into_any(),
            Some(pairing) => {
                let known = StoredValue::new(pairing.clone());
                let shown = Signal::derive(move || {
                    watch.pairing(known.with_value(|known| known.session)).unwrap_or_else(|| known.get_value())
                });
                let asked = asked(&pairing);
                view! {
                    <ScreenTitle text=t.link_title()/>
                    <DeviceCard pairing=pairing label=t.verify_this()/>
                    <p class="quiet">{t.link_text()}</p>
                    {(asked > 0).then(|| view! { <SerialField verifier=scans.verifier asked=asked/> })}
                    <button type="button" class="button large" data-testid="verify" on:click=verify
                        aria-disabled=move || scans.verifier.is_busy().then_some("true")>
                        {icon::check()} {move || if scans.verifier.is_busy() { t.verifying() } else { t.verify_this_pump() }}
                    </button>
                    <p class="waiting" role="status">{waits}</p>
                    <p class="error" role="alert">{wrong}</p>
                    <Trouble failure=failure/>
                    <Remaining pairing=shown/>
                }
                .into_any()
            }
        }
    }
}

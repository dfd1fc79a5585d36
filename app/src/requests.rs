//! The requests of devices: the live list, and one opened pairing beside it.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{PairingPhase, PairingView, Right};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;

use crate::app::{use_app, use_text};
use crate::format;
use crate::live::{Link, Live};
use crate::pairing::{is_open, kind_of, network_words, phase_class, phase_name, reason_text, shown_name};
use crate::route::Route;
use crate::ui::{Loading, ScreenTitle, icon};

mod ask;
mod detail;

use ask::{Ask, Asking};
use detail::Detail;

/// The most pairings that are shown after their end.
const ENDED_SHOWN: usize = 20;

/// What a person can do with a pairing from here.
#[derive(Clone, Copy)]
struct Acts {
    ask: RwSignal<Option<Ask>>,
    /// Sessions that are dismissed but can still be undone.
    dismissed: RwSignal<Vec<SessionId>>,
}

/// The screen.
#[component]
pub(crate) fn Requests(
    /// The opened pairing.
    #[prop(into)]
    opened: Signal<Option<SessionId>>,
) -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let acts = Acts { ask: RwSignal::new(None), dismissed: RwSignal::new(Vec::new()) };
    provide_context(acts);
    let open = Memo::new(move |_| ordered(live, acts, true));
    let ended = Memo::new(move |_| ordered(live, acts, false));
    let state = Memo::new(move |_| (live.is_known.get(), open.with(Vec::is_empty)));
    view! {
        <div class="split" class:has-detail=move || opened.get().is_some()>
            <section class="list-pane">
                <div class="screen-head">
                    <ScreenTitle text=t.requests_title()/>
                    <LinkWord/>
                </div>
                {move || match state.get() {
                    (false, _) => view! { <div class="card"><Loading/></div> }.into_any(),
                    (true, true) => view! { <Empty/> }.into_any(),
                    (true, false) => view! {
                        <ul class="card rows" data-testid="requests">
                            <For each=move || open.get() key=|session| *session let:session>
                                <Row session=session opened=opened/>
                            </For>
                        </ul>
                    }.into_any(),
                }}
                <p class="visually-hidden" role="status">
                    {move || open.with(|open| (!open.is_empty()).then(|| t.requests_wait(open.len())))}
                </p>
                <p class="tiny">{t.requests_end_by_themselves()}</p>
                <Show when=move || ended.with(|ended| !ended.is_empty())>
                    <h2 class="section-title">{t.lately()}</h2>
                    <ul class="card rows quiet-rows" data-testid="ended-requests">
                        <For each=move || ended.get() key=|session| *session let:session>
                            <Row session=session opened=opened/>
                        </For>
                    </ul>
                </Show>
            </section>
            {move || opened.get().map(|session| view! { <Detail session=session/> })}
            <Asking ask=acts.ask/>
        </div>
    }
}

/// The sessions in the order of the list: what needs a person first; then the older first. Of the ended ones, the newest first.
fn ordered(live: Live, acts: Acts, open: bool) -> Vec<SessionId> {
    let dismissed = acts.dismissed.get();
    let mut list: Vec<_> = live.pairings.with(|pairings| {
        let shown = pairings.iter().filter(|(session, _)| !dismissed.contains(session));
        let keyed = shown.map(|(session, pairing)| {
            pairing.with(|pairing| (pairing.phase, pairing.requested_at, pairing.ended_at, *session))
        });
        keyed.filter(|(phase, ..)| is_open(*phase) == open).collect()
    });
    if open {
        list.sort_by_key(|(phase, asked, _, session)| (urgency(*phase), *asked, *session));
    } else {
        list.sort_by_key(|(_, asked, ended, session)| core::cmp::Reverse((*ended, *asked, *session)));
        list.truncate(ENDED_SHOWN);
    }
    list.into_iter().map(|(.., session)| session).collect()
}

const fn urgency(phase: PairingPhase) -> u8 {
    match phase {
        PairingPhase::Verifying => 0,
        PairingPhase::Waiting => 1,
        PairingPhase::Accepted | PairingPhase::Confirmed => 2,
        PairingPhase::Finished | PairingPhase::Ended => 3,
    }
}

/// Whether the list is live, in a word.
#[component]
pub(crate) fn LinkWord() -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    move || match live.link.get() {
        Link::Connecting => view! { <span class="link-word">{t.connecting()}</span> },
        Link::Connected => view! { <span class="link-word live">{t.is_live()}</span> },
        Link::Lost => view! { <span class="link-word">{t.link_lost_word()}</span> },
    }
}

#[component]
fn Empty() -> impl IntoView {
    let t = use_text();
    view! {
        <div class="card empty" data-testid="no-requests">
            {icon::requests()}
            <p><b>{t.nothing_waits()}</b></p>
            <p>{t.nothing_waits_text()}</p>
        </div>
    }
}

/// One pairing of the list.
#[component]
fn Row(
    /// Which.
    session: SessionId,
    /// The opened one.
    opened: Signal<Option<SessionId>>,
) -> impl IntoView {
    let live: Live = expect_context();
    let known = live.pairings.with_untracked(|pairings| pairings.get(&session).cloned());
    known.map(|pairing| {
        let pairing = Signal::derive(move || pairing.get());
        view! { <RowOf pairing=pairing session=session opened=opened/> }
    })
}

#[component]
fn RowOf(pairing: Signal<PairingView>, session: SessionId, opened: Signal<Option<SessionId>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let phase = Memo::new(move |_| pairing.with(|pairing| pairing.phase));
    let fixed = pairing.get_untracked();
    let live: Live = expect_context();
    let rival = fixed.device.clone();
    let identifier = fixed.device.identifier.to_string();
    let age = move || match pairing.with(|pairing| pairing.ended_at) {
        Some(end) => t.ended_ago(&format::age(app.clock.since(end), t)),
        None => t.asked_ago(&format::age(app.clock.since(fixed.requested_at), t)),
    };
    let location = move || pairing.with(|pairing| pairing.location.clone());
    let reason = move || {
        let ended = pairing.with(|pairing| (pairing.phase == PairingPhase::Ended).then_some(pairing.reason));
        ended.map(|reason| view! { <span>{reason_text(reason, t)}</span> })
    };
    // What helps to decide; afterwards it only fills the list.
    let facts = [t.key_short(&fixed.key.short()), network_words(&fixed, t)];
    // Who has two requests under one name must look at both before one is accepted.
    let conflicts = Memo::new(move |_| {
        live.pairings.with(|pairings| {
            let rivals = |other: &&ArcRwSignal<PairingView>| {
                other.with(|other| {
                    other.device == rival && other.session != session && other.phase == PairingPhase::Waiting
                })
            };
            phase.get() == PairingPhase::Waiting && pairings.values().any(|other| rivals(&other))
        })
    });
    let facts = move || {
        let facts = is_open(phase.get()).then(|| facts.clone().map(|fact| view! { <span>{fact}</span> }));
        facts.map(|facts| facts.into_iter().collect_view())
    };
    view! {
        <li
            class="row"
            class:selected=move || opened.get() == Some(session)
            data-testid="request"
            data-device=fixed.device.to_string()
            data-session=session.to_string()
            data-phase=move || format!("{:?}", phase.get()).to_lowercase()
        >
            <div class="row-main">
                <h2>
                    <a class="row-link" href=Route::Requests(Some(session)).to_string()>
                        <span class="ident">{identifier}</span>
                    </a>
                    <small>{t.kind_and_firmware(&kind_of(&fixed.information), &fixed.information.firmware_version)}</small>
                </h2>
                <p class="tiny facts">
                    <span>{t.serial_short(&fixed.information.serial_number)}</span>
                    <span>{age}</span>
                    {facts}
                    {reason}
                    {move || (!location().is_empty()).then(|| view! { <span class="place">{location()}</span> })}
                </p>
                {move || conflicts.get().then(|| view! { <p class="tiny warn">{t.conflict()} " " {t.conflict_advice()}</p> })}
                {move || (fixed.replaces && is_open(phase.get())).then(|| view! { <p class="tiny warn">{t.replaces()}</p> })}
            </div>
            <RowActs pairing=pairing phase=phase/>
        </li>
    }
}

/// What can be done with a pairing of the list, or how it stands.
#[component]
fn RowActs(pairing: Signal<PairingView>, phase: Memo<PairingPhase>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let acts: Acts = expect_context();
    move || {
        let name = pairing.with_untracked(|pairing| shown_name(&pairing.device));
        let ask = move |ask: fn(PairingView) -> Ask| acts.ask.set(Some(ask(pairing.get_untracked())));
        match phase.get() {
            PairingPhase::Waiting if app.may(Right::Pair) => view! {
                <div class="acts">
                    <Dismiss pairing=pairing/>
                    <button
                        type="button"
                        class="button small quiet"
                        data-testid="reject"
                        aria-label=t.reject_device(&name)
                        on:click=move |_| ask(Ask::Reject)
                    >
                        {t.reject()}
                    </button>
                    <button
                        type="button"
                        class="button small"
                        data-testid="accept"
                        aria-label=t.accept_device(&name)
                        on:click=move |_| ask(Ask::Accept)
                    >
                        {t.accept()}
                    </button>
                </div>
            }
            .into_any(),
            ended @ (PairingPhase::Finished | PairingPhase::Ended) => view! {
                <div class="acts">
                    {app.may(Right::Pair).then(|| view! { <Dismiss pairing=pairing/> })}
                    {is_reduced(pairing).then(|| view! { <span class="chip">{t.trust_reduced()}</span> })}
                    <span class=phase_class(ended)>{phase_name(ended, t)}</span>
                </div>
            }
            .into_any(),
            phase => view! { <div class="acts"><span class=phase_class(phase)>{phase_name(phase, t)}</span></div> }
                .into_any(),
        }
    }
}

/// Whether the pairing made a device of reduced trust.
fn is_reduced(pairing: Signal<PairingView>) -> bool {
    pairing.with(|pairing| pairing.phase == PairingPhase::Finished && pairing.mode == Some(Mode::PairingSimple))
}

/// Takes a pairing off the list; for some seconds that can be undone, and only then it is sent.
#[component]
fn Dismiss(pairing: Signal<PairingView>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let acts: Acts = expect_context();
    let PairingView { session, device, .. } = pairing.get_untracked();
    let name = shown_name(&device);
    let label = t.dismiss_device(&name);
    let come_back = move || {
        // The screen may be gone by now.
        let _ = acts.dismissed.try_update(|dismissed| dismissed.retain(|known| *known != session));
    };
    let dismiss = move |_| {
        acts.dismissed.update(|dismissed| dismissed.push(session));
        let text = t.dismissed(&name);
        spawn_local(async move {
            let stands = app.notices.offer_undo(text, t.undo(), Callback::new(move |()| come_back())).await;
            if stands && let Err(failure) = app.send(Method::POST, &format!("/pairings/{session}/dismiss"), None).await
            {
                app.notices.failure(&failure, t);
                come_back();
            }
        });
    };
    view! {
        <button type="button" class="icon-button" data-testid="dismiss" aria-label=label.clone() title=label on:click=dismiss>
            {icon::close()}
        </button>
    }
}

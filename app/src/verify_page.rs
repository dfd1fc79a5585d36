//! The phone's page: which pump, scan or type, done.
//!
//! It is served at `/verify`, and at `/V/<token>` for a code that the phone's own camera has read. Opened that way it submits nothing by
//! itself: a person sees the device first and presses one button.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, PairingView, Right};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::verification::VerificationLink;

use crate::app::{App, Session, mount, use_app, use_text};
use crate::lock::LockNow;
use crate::session::SignedIn;
use crate::ui::notice::NoticeArea;
use crate::ui::preferences::FoldedPreferences;
use crate::ui::{Loading, ScreenTitle, Trouble, icon};

mod link;
mod one;
mod outcome;
mod scanned;
mod watch;

use link::ByLink;
use one::One;
use outcome::Outcome;
use scanned::{ScanBox, Scans};
use watch::Watch;

/// Draws the phone's page into `#app`.
pub fn start() {
    mount(crate::lock::Place::Hand, prepare, page);
}

/// What the phone was opened with.
#[derive(Clone, PartialEq, Eq)]
enum Entry {
    /// `/verify`.
    Plain,
    /// `/V/<token>`; none for a token that cannot be read.
    Link(Option<VerificationLink>),
}

/// Where the person is.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: RwSignal<Entry>,
    chosen: RwSignal<Option<SessionId>>,
    /// What is typed for the chosen pump; it outlives a lost connection and a new sign-in.
    typed: RwSignal<String>,
}

impl Place {
    /// Takes another pump, or none.
    fn choose(self, session: Option<SessionId>) {
        self.typed.set(String::new());
        self.chosen.set(session);
    }

    /// Goes back to the beginning.
    fn restart(self) {
        if self.entry.with_untracked(|entry| *entry != Entry::Plain) {
            if let Ok(history) = window().history() {
                // A path of the same origin is always a valid address.
                let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some("/verify"));
            }
            self.entry.set(Entry::Plain);
        }
        self.choose(None);
    }
}

fn prepare(app: App) {
    let location = window().location();
    let path = location.pathname().unwrap_or_default();
    let entry = match path.strip_prefix("/V/") {
        Some(token) => Entry::Link(VerificationLink::from_token(&origin(), token).ok()),
        None => Entry::Plain,
    };
    let wanted = location.hash().ok().and_then(|hash| hash.trim_start_matches('#').parse().ok());
    let place =
        Place { entry: RwSignal::new(entry), chosen: RwSignal::new(wanted), typed: RwSignal::new(String::new()) };
    let watch = Watch::start(app);
    provide_context(place);
    provide_context(watch);
    provide_context(Scans::start(app, watch, place));
}

/// The origin of this page: the only one whose codes it takes.
fn origin() -> String {
    window().location().origin().unwrap_or_default().to_ascii_lowercase()
}

fn page(app: App) -> impl IntoView {
    let t = use_text();
    view! {
        <SignedIn page=|| view! { <Phone/> }.into_any()/>
        <NoticeArea notices=app.notices close=t.close()/>
    }
}

#[component]
fn Phone() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let watch: Watch = expect_context();
    let place: Place = expect_context();
    let name = move || {
        app.session.with(|session| match session {
            Session::In(person) => person.name.clone(),
            _ => String::new(),
        })
    };
    let screen = Memo::new(move |_| screen(place, watch));
    view! {
        <header class="phone-head">
            <a class="brand" href="/" aria-label=t.to_control_unit()>{icon::mark()}</a>
            <span class="me" data-testid="me">{name}</span>
            <LockNow/>
            <button type="button" class="icon-button" data-testid="sign-out" aria-label=t.sign_out() on:click=move |_| app.sign_out()>
                {icon::leave()}
            </button>
        </header>
        <main class="phone">
            <div role="status">
                <Show when=move || watch.is_lost.get()>
                    <p class="banner" data-testid="connection-lost">{icon::notice()} <span>{t.link_lost_phone()}</span></p>
                </Show>
            </div>
            {move || if app.may(Right::Pair) { match screen.get() {
                Screen::Loading => view! { <h1 class="visually-hidden">{t.verify_title()}</h1><div class="card"><Loading/></div> }.into_any(),
                Screen::Failed => view! { <h1 class="visually-hidden">{t.verify_title()}</h1><Trouble failure=watch.failure retry=Callback::new(move |()| watch.refresh(app))/> }.into_any(),
                Screen::Link(link) => view! { <ByLink link=link/> }.into_any(),
                Screen::Choose => view! { <Choose/> }.into_any(),
                Screen::One(session) => view! { <One session=session/> }.into_any(),
                Screen::Outcome(session) => view! { <Outcome session=session/> }.into_any(),
            }} else {
                view! { <ScreenTitle text=t.verify_title()/><p class="quiet">{t.forbidden_advice()}</p> }.into_any()
            }}
        </main>
        <footer class="phone-foot"><FoldedPreferences/></footer>
    }
}

/// What the phone shows.
#[derive(Clone, PartialEq, Eq)]
enum Screen {
    Loading,
    Failed,
    Link(Option<VerificationLink>),
    Choose,
    One(SessionId),
    Outcome(SessionId),
}

fn screen(place: Place, watch: Watch) -> Screen {
    if watch.pairings.with(Option::is_none) {
        return if watch.failure.with(Option::is_some) { Screen::Failed } else { Screen::Loading };
    }
    if let Some(session) = place.chosen.get() {
        match watch.phase(session) {
            Some(PairingPhase::Accepted | PairingPhase::Verifying) if place.entry.get() == Entry::Plain => {
                return Screen::One(session);
            }
            Some(PairingPhase::Confirmed | PairingPhase::Finished | PairingPhase::Ended) => {
                return Screen::Outcome(session);
            }
            _ => {}
        }
    }
    match place.entry.get() {
        Entry::Link(link) => Screen::Link(link),
        Entry::Plain => Screen::Choose,
    }
}

/// The device that is being verified, first and large.
#[component]
fn DeviceCard(pairing: PairingView, label: &'static str) -> impl IntoView {
    let t = use_text();
    let information = &pairing.information;
    view! {
        <div class="card device-card" data-testid="device-card" data-device=pairing.device.to_string()>
            <span class="tiny">{label}</span>
            <b class="ident">{pairing.device.identifier.to_string()}</b>
            <span class="serial">{t.serial_short(&information.serial_number)}</span>
            <span class="quiet">{crate::pairing::kind_of(information)}</span>
            {(!pairing.location.is_empty()).then(|| view! { <span class="place">{pairing.location.clone()}</span> })}
        </div>
    }
}

/// The pumps that await verification; scanning chooses by itself.
#[component]
fn Choose() -> impl IntoView {
    let t = use_text();
    let watch: Watch = expect_context();
    let place: Place = expect_context();
    let waiting = Memo::new(move |_| watch.verifiable());
    // With one pump there is nothing to choose.
    Effect::new(move |_| {
        if let [only] = waiting.get().as_slice() {
            place.choose(Some(only.session));
        }
    });
    view! {
        <div class:empty=move || waiting.with(Vec::is_empty)>
            <Show when=move || waiting.with(Vec::is_empty)>{icon::phone()}</Show>
            <ScreenTitle text=Signal::derive(move || {
                if waiting.with(Vec::is_empty) { t.nothing_to_verify() } else { t.which_pump() }.to_owned()
            })/>
            <Show when=move || waiting.with(Vec::is_empty)>
                <p data-testid="nothing-to-verify">{t.nothing_to_verify_text()}</p>
            </Show>
        </div>
        <ul class="choose" data-testid="pumps">
            <For each=move || waiting.get() key=|pairing| pairing.session let:pairing>
                <li>
                    <button type="button" class="card device-card" data-testid="pump" data-device=pairing.device.to_string()
                        on:click=move |_| place.choose(Some(pairing.session))>
                        <b class="ident">{pairing.device.identifier.to_string()}</b>
                        <span class="serial">{t.serial_short(&pairing.information.serial_number)}</span>
                        {(!pairing.location.is_empty()).then(|| view! { <span class="place">{pairing.location.clone()}</span> })}
                    </button>
                </li>
            </For>
        </ul>
        <Show when=move || !waiting.with(Vec::is_empty)>
            <p class="or">{t.or_scan()}</p>
            <ScanBox alone=true/>
        </Show>
    }
}

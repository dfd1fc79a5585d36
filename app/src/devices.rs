//! The fleet, and one device with its live data.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::DeviceView;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;

use crate::alarm::AlarmBadge;
use crate::app::{use_app, use_text};
use crate::format;
use crate::live::{Live, LiveDevice};
use crate::pairing::{kind_of, shown_name};
use crate::requests::LinkWord;
use crate::route::Route;
use crate::text::Language;
use crate::ui::{Loading, ScreenTitle, icon};

mod detail;
mod figures;
mod orders;
mod revoke;
mod selection;

pub(crate) use detail::DeviceScreen;
use revoke::Asking;
use selection::{Selection, SelectionBar, is_revocable};

/// A device that was silent for longer than this many seconds is shown with its last message, not as online.
const SILENT_AFTER_SECS: u64 = 30;

/// The state in a word.
pub(crate) fn state_name(state: DeviceState, t: Language) -> &'static str {
    match state {
        DeviceState::Unknown => t.state_unknown(),
        DeviceState::Closing => t.state_closing(),
        DeviceState::Accepted | DeviceState::Certified | DeviceState::Confirmed => t.state_pairing(),
        DeviceState::Paired => t.state_paired(),
        DeviceState::Expired => t.state_expired(),
        DeviceState::Locked => t.state_locked(),
        DeviceState::Revoked => t.state_revoked(),
    }
}

const fn state_class(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Paired => "chip done",
        DeviceState::Accepted | DeviceState::Certified | DeviceState::Confirmed => "chip active",
        _ => "chip",
    }
}

pub(crate) fn trust_name(trust: TrustLevel, t: Language) -> &'static str {
    match trust {
        TrustLevel::Full => t.trust_full(),
        TrustLevel::Reduced => t.trust_reduced(),
    }
}

/// What reduced trust means, and how it is raised.
#[component]
pub(crate) fn ReducedTrust() -> impl IntoView {
    let t = use_text();
    view! {
        <div class="trouble" data-testid="reduced-trust">
            {icon::notice()}
            <div><strong>{t.trust_reduced()}</strong><p>{t.trust_reduced_text()}</p></div>
        </div>
    }
}

/// Whether a search finds a device: every word of it occurs somewhere in what identifies the device.
fn matches(device: &DeviceView, search: &str) -> bool {
    let information = &device.information;
    let text = [
        device.device.to_string().as_str(),
        &information.serial_number,
        &information.device_type,
        &information.model,
        &information.firmware_version,
        &device.location,
    ]
    .join("\n")
    .to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

/// Which devices are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    All,
    Paired,
    Revoked,
}

impl Shown {
    const ALL: [Self; 3] = [Self::All, Self::Paired, Self::Revoked];

    fn words(self, t: Language) -> &'static str {
        match self {
            Self::All => t.show_all(),
            Self::Paired => t.show_paired(),
            Self::Revoked => t.show_revoked(),
        }
    }

    fn holds(self, state: DeviceState) -> bool {
        match self {
            Self::All => true,
            Self::Paired => state == DeviceState::Paired,
            Self::Revoked => state == DeviceState::Revoked,
        }
    }
}

/// The fleet.
#[component]
pub(crate) fn Devices() -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let search = RwSignal::new(String::new());
    let shown = RwSignal::new(Shown::default());
    let found = Memo::new(move |_| {
        let (search, shown) = (search.get(), shown.get());
        live.devices.with(|devices| {
            // Its state moves a device from list to list; its measurements don't.
            let fits = |device: &LiveDevice| {
                shown.holds(device.state.get()) && device.view.with_untracked(|view| matches(view, &search))
            };
            let found = devices.iter().filter(|(_, device)| fits(device));
            found.map(|(device, _)| device.clone()).collect::<Vec<_>>()
        })
    });
    let (selection, ask) = (Selection::new(), RwSignal::new(None));
    let state = Memo::new(move |_| (live.is_known.get(), live.devices.with(std::collections::BTreeMap::is_empty)));
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.devices_title()/>
                <LinkWord/>
            </div>
            {move || match state.get() {
                (false, _) => view! { <div class="card"><Loading/></div> }.into_any(),
                (true, true) => view! {
                    <div class="card empty" data-testid="no-devices">
                        {icon::devices()}
                        <p><b>{t.no_devices()}</b></p>
                        <p>{t.no_devices_text()}</p>
                        <a class="button small" href=Route::Requests(None).to_string()>{t.requests_nav()}</a>
                    </div>
                }.into_any(),
                (true, false) => view! {
                    <label class="search">
                        {icon::search()}
                        <span class="visually-hidden">{t.search_label()}</span>
                        <input type="search" data-testid="search" placeholder=t.search_hint() prop:value=search
                            on:input:target=move |event| search.set(event.target().value())/>
                    </label>
                    <div class="list-tools">
                        <div class="switch" role="group" aria-label=t.show_label()>
                            {Shown::ALL.map(|choice| view! {
                                <button type="button" aria-pressed=move || (shown.get() == choice).to_string() on:click=move |_| shown.set(choice)>
                                    {choice.words(t)}
                                </button>
                            })}
                        </div>
                        <SelectionBar selection=selection found=found ask=ask/>
                    </div>
                    <p class="tiny" role="status">
                        {move || (!search.with(String::is_empty) || shown.get() != Shown::All).then(|| match found.with(Vec::len) {
                            0 => t.none_shown().to_owned(),
                            found => t.found(found),
                        })}
                    </p>
                    <Show when=move || found.with(|found| !found.is_empty())>
                        <ul class="card rows devices" data-testid="devices">
                            <For each=move || found.get() key=Clone::clone let:device>
                                <Row device=device selection=selection/>
                            </For>
                        </ul>
                    </Show>
                }.into_any(),
            }}
            <Asking ask=ask done=Callback::new(move |()| selection.end())/>
        </section>
    }
}

#[component]
fn Row(device: Device, selection: Selection) -> impl IntoView {
    let live: Live = expect_context();
    let known = live.devices.with_untracked(|devices| devices.get(&device).cloned());
    known.map(|known| view! { <RowOf device=device known=known selection=selection/> })
}

#[component]
fn RowOf(device: Device, known: LiveDevice, selection: Selection) -> impl IntoView {
    let t = use_text();
    let LiveDevice { view: signal, state: standing, history } = known;
    let standing = RwSignal::from(standing);
    let fixed = signal.get_untracked();
    let state = Memo::new({
        let signal = signal.clone();
        move |_| signal.with(|view| (view.state, view.trust, view.location.clone()))
    });
    let last_seen = Memo::new(move |_| signal.with(|view| view.last_seen));
    let alarm = Memo::new(move |_| history.with(|history| history.alarms().first().cloned()));
    let (chosen, chooses, label) = (device.clone(), device.clone(), t.select_device(&shown_name(&device)));
    let is_chosen = Memo::new(move |_| selection.holds(&chosen));
    let choosable = Memo::new(move |_| selection.is_on() && is_revocable(standing.get()));
    view! {
        <li class="row" class:selected=is_chosen data-testid="device" data-device=device.to_string()>
            <div class="row-main">
                <h2>
                    {move || choosable.get().then(|| {
                        let device = chooses.clone();
                        view! {
                            <input type="checkbox" class="pick" data-testid="pick" aria-label=label.clone() prop:checked=is_chosen
                                on:change:target=move |event| selection.set(device.clone(), event.target().checked())/>
                        }
                    })}
                    <a class="row-link" href=Route::Device(device.clone()).to_string()><span class="ident">{device.identifier.to_string()}</span></a>
                    <small>{t.kind_and_firmware(&kind_of(&fixed.information), &fixed.information.firmware_version)}</small>
                </h2>
                <p class="tiny facts">
                    <span>{t.serial_short(&fixed.information.serial_number)}</span>
                    <span class="place">{move || state.with(|(.., location)| location.clone())}</span>
                    <LastSeen at=last_seen state=standing/>
                </p>
            </div>
            <div class="acts">
                {move || alarm.get().map(|alarm| view! { <AlarmBadge kind=alarm.kind priority=alarm.priority/> })}
                {move || state.with(|(_, trust, _)| (*trust == TrustLevel::Reduced).then(|| view! {
                    <span class="chip">{t.trust_reduced()}</span>
                }))}
                <span class=move || state_class(state.with(|(state, ..)| *state))>{move || state_name(state.with(|(state, ..)| *state), t)}</span>
            </div>
        </li>
    }
}

/// Whether a device is heard, and when it was last.
#[component]
pub(crate) fn LastSeen(
    /// Its last message.
    #[prop(into)]
    at: Signal<Option<wardlink_protocol::UnixMillis>>,
    /// How far the device has come: one that is cut off is not online, however short ago that was.
    #[prop(into)]
    state: Signal<DeviceState>,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let is_online = Memo::new(move |_| {
        let is_fresh = at.get().is_some_and(|at| app.clock.since(at).as_secs() < SILENT_AFTER_SECS);
        is_fresh && state.get() != DeviceState::Revoked
    });
    let words = move || match at.get() {
        None => t.never_seen().to_owned(),
        Some(_) if is_online.get() => t.online().to_owned(),
        Some(at) => t.last_seen(&format::age(app.clock.since(at), t)),
    };
    view! { <span class="presence" class:online=is_online data-testid="presence">{words}</span> }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::pairing::tests::information;
    use wardlink_protocol::UnixMillis;
    use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint};
    use wardlink_protocol::pairing::Mode;

    #[test]
    fn a_search_finds_by_every_word_in_any_order() {
        let device = DeviceView {
            device: "infusion-pump/ip-204817".parse().unwrap(),
            information: information(),
            key: KeyFingerprint([1; 32]),
            state: DeviceState::Paired,
            trust: TrustLevel::Full,
            mode: Mode::PairingCode,
            location: "Ward 3B, bed 12".to_owned(),
            certificate: CertificateSerial([1; 16]),
            certificate_ends: UnixMillis(1),
            paired_at: UnixMillis(1),
            paired_by: "a nurse".to_owned(),
            channels: Vec::new(),
            last_seen: None,
            latest: Vec::new(),
            decommissioning: None,
            revocation: None,
        };
        for search in ["", "204817", "bed 12", "WARD pm2", "12 3b"] {
            assert!(matches(&device, search), "{search}");
        }
        for search in ["204818", "bed 13"] {
            assert!(!matches(&device, search), "{search}");
        }
    }
}

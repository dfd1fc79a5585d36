//! One device: alarms, measurements, events, and what it is.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::{DeviceView, LiveData, Right};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::report::{Content, TherapyEvent};

use super::figures::Figures;
use super::orders::{GiveOrder, Orders};
use super::revoke::{Ask, Asking, Erasing, Revoked};
use super::selection::is_revocable;
use super::{LastSeen, ReducedTrust, state_class, state_name, trust_name};
use crate::alarm::{AlarmBadge, kind_name};
use crate::app::{use_app, use_text};
use crate::live::{Live, LiveDevice};
use crate::pairing::{kind_of, mode_name, shown_name};
use crate::route::Route;
use crate::text::Language;
use crate::ui::{Fact, Loading, ScreenTitle, icon};
use crate::{clock, format};

/// The screen of one device.
#[component]
pub(crate) fn DeviceScreen(device: Device) -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let wanted = device.clone();
    let known = Memo::new(move |_| live.devices.with(|devices| devices.contains_key(&wanted)));
    view! {
        <section class="device-screen">
            <a class="back" href=Route::Devices.to_string()>{icon::back()} {t.devices_nav()}</a>
            {move || {
                let found = live.devices.with_untracked(|devices| devices.get(&device).cloned());
                match (found.filter(|_| known.get()), !live.is_known.get()) {
                    (Some(found), _) => view! { <Screen device=found/> }.into_any(),
                    (None, true) => view! { <div class="card"><Loading/></div> }.into_any(),
                    (None, false) => view! {
                        <ScreenTitle text=t.no_such_device()/>
                        <p class="quiet">{t.no_such_device_text()}</p>
                    }.into_any(),
                }
            }}
        </section>
    }
}

#[component]
fn Screen(device: LiveDevice) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let ask = RwSignal::new(None);
    let LiveDevice { view: signal, history, .. } = device;
    let fixed = signal.get_untracked();
    let kind = kind_of(&fixed.information);
    let head = Memo::new({
        let signal = signal.clone();
        move |_| signal.with(|view| (view.state, view.location.clone(), view.last_seen))
    });
    let is_reduced = Memo::new({
        let signal = signal.clone();
        move |_| signal.with(|view| view.trust == TrustLevel::Reduced && view.state == DeviceState::Paired)
    });
    let revocation = Memo::new({
        let signal = signal.clone();
        move |_| signal.with(|view| view.revocation.as_deref().cloned())
    });
    let decommissioning = Memo::new({
        let signal = signal.clone();
        move |_| signal.with(|view| view.decommissioning.clone())
    });
    let (name, named, erasing) = (shown_name(&fixed.device), fixed.device.clone(), fixed.device.clone());
    let revocable = move || app.may(Right::Revoke) && is_revocable(head.with(|(state, ..)| *state));
    let last_seen = Signal::derive(move || head.with(|(.., last_seen)| *last_seen));
    let alarms = {
        let history = history.clone();
        Memo::new(move |_| history.with(|history| history.alarms().to_vec()))
    };
    view! {
        <div class="screen-head">
            <div>
                <div class="ident-title"><ScreenTitle text=fixed.device.identifier.to_string()/></div>
                <p class="quiet">{move || head.with(|(_, location, _)| format!("{kind} · {location}"))}</p>
            </div>
            <div class="acts">
                <LastSeen at=last_seen state=Signal::derive(move || head.with(|(state, ..)| *state))/>
                {move || is_reduced.get().then(|| view! { <span class="chip">{t.trust_reduced()}</span> })}
                <span class=move || state_class(head.with(|(state, ..)| *state))>
                    {move || state_name(head.with(|(state, ..)| *state), t)}
                </span>
                <GiveOrder device=fixed.device.clone() can=Signal::derive(move || head.with(|(state, ..)| *state == DeviceState::Paired))/>
                {move || revocable().then(|| {
                    let (named, retired) = (named.clone(), named.clone());
                    view! {
                        <button type="button" class="button small quiet" data-testid="decommission" aria-label=t.decommission_device(&name)
                            on:click=move |_| ask.set(Some(Ask::Decommission(retired.clone())))>{t.decommission()}</button>
                        <button type="button" class="button small quiet" data-testid="revoke" aria-label=t.revoke_device(&name)
                            on:click=move |_| ask.set(Some(Ask::Revoke(vec![named.clone()])))>{t.revoke()}</button>
                    }
                })}
            </div>
        </div>
        {move || decommissioning.get().map(|decommissioning| view! {
            <Erasing device=erasing.clone() decommissioning=decommissioning/>
        })}
        {move || revocation.get().map(|revocation| view! { <Revoked revocation=revocation ask=ask/> })}
        {move || is_reduced.get().then(|| view! { <ReducedTrust/> })}
        <div class="alarms" role="status" aria-label=t.alarms()>
            {move || alarms.get().into_iter().map(|alarm| view! {
                <AlarmBadge kind=alarm.kind priority=alarm.priority/>
            }).collect_view()}
        </div>
        <Figures history=history.clone()/>
        <div class="two">
            <section>
                <h2 class="section-title">{t.events()}</h2>
                <Events history=history/>
            </section>
            <section>
                <h2 class="section-title">{t.about_device()}</h2>
                <Facts device=signal/>
            </section>
        </div>
        <Orders device=fixed.device/>
        <Asking ask=ask/>
    }
}

#[component]
fn Events(history: ArcRwSignal<crate::live::History>) -> impl IntoView {
    let t = use_text();
    let events = Memo::new(move |_| history.with(crate::live::History::events));
    view! {
        <div class="card">
            {move || events.with(Vec::is_empty).then(|| view! { <p class="quiet pad">{t.no_events()}</p> })}
            <ul class="events" data-testid="events">
                <For each=move || events.get() key=|event| (event.channel.clone(), event.sequence) let:event>
                    <Event event=event/>
                </For>
            </ul>
        </div>
    }
}

#[component]
fn Event(event: LiveData) -> impl IntoView {
    let t = use_text();
    let time = clock::time_of_day(event.accepted_at, t);
    let (text, detail) = match &event.report.content {
        Content::Alarm(alarm) => {
            let word = if alarm.active { t.alarm_began() } else { t.alarm_ended() };
            (kind_name(alarm.kind, t).to_owned(), word.to_owned())
        }
        Content::Therapy(therapy) => {
            let rate = format::millilitres(therapy.rate_ul_per_h, t);
            let volume = format::millilitres(therapy.volume_ul, t);
            (therapy_name(therapy.event, t).to_owned(), format!("{} · {rate} mL/h · {volume} mL", therapy.drug))
        }
        Content::Telemetry(_) | Content::Order(_) | Content::RefusedMessage(_) => return ().into_any(),
    };
    view! {
        <li>
            <time>{time}</time>
            <span><b>{text}</b>" "<span class="quiet">{detail}</span></span>
            <small class="tiny">{if event.signed { t.signed_by_device() } else { t.stamped_by_bridge() }}</small>
        </li>
    }
    .into_any()
}

fn therapy_name(event: TherapyEvent, t: Language) -> &'static str {
    match event {
        TherapyEvent::Started => t.therapy_started(),
        TherapyEvent::RateChanged => t.therapy_rate_changed(),
        TherapyEvent::Paused => t.therapy_paused(),
        TherapyEvent::Resumed => t.therapy_resumed(),
        TherapyEvent::Completed => t.therapy_completed(),
    }
}

/// What the device is; drawn anew only when one of these facts changes, not with each measurement.
#[component]
fn Facts(device: ArcRwSignal<DeviceView>) -> impl IntoView {
    let t = use_text();
    let facts =
        Memo::new(move |_| device.with(|device| DeviceView { last_seen: None, latest: Vec::new(), ..device.clone() }));
    move || {
        let device = facts.get();
        let channels: Vec<&str> = device.channels.iter().map(ChannelName::as_str).collect();
        let information = device.information;
        view! {
            <dl class="facts-list card pad" data-testid="device-facts">
                <Fact name=t.class() value=device.device.client.to_string()/>
                <Fact name=t.serial() value=information.serial_number mono=true/>
                <Fact name=t.family() value=information.family/>
                <Fact name=t.firmware() value=information.firmware_version/>
                <Fact name=t.hardware() value=information.hardware_id/>
                <Fact name=t.trust() value=trust_name(device.trust, t).to_owned()/>
                <Fact name=t.verified_by_mode() value=mode_name(device.mode, t).to_owned()/>
                <Fact name=t.paired_at() value=clock::day_and_time(device.paired_at, t)/>
                <Fact name=t.paired_by() value=device.paired_by/>
                <Fact name=t.key() value=device.key.short() mono=true/>
                <Fact name=t.certificate() value=format::groups(&device.certificate.to_string()) mono=true/>
                <Fact name=t.certificate_ends() value=clock::day_and_time(device.certificate_ends, t)/>
                <Fact name=t.channels() value=channels.join(", ")/>
            </dl>
        }
    }
}

//! Offering a release: to whom, when, and with which data of the site.

use std::collections::BTreeSet;

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogPage, NewOffer, OfferScope, OfferWhen, OfferedData, ReleaseView};

use super::file::{FileField, MAX_ADDED_BYTES};
use super::release_name;
use crate::api;
use crate::app::{use_app, use_text};
use crate::pages::Pages;
use crate::text::Language;
use crate::ui::dialog::CloseDialog;
use crate::ui::field::{Choice, Field};
use crate::ui::form::{Answers, Sender};
use crate::ui::{Loading, Trouble, icon, unique_id};

/// To whom it is offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Model,
    Class,
    Chosen,
}

/// When it is installed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Safe,
    Once,
    Window,
    Confirmed,
}

/// The form.
#[component]
pub(super) fn OfferForm(release: ReleaseView, close: CloseDialog, done: Callback<()>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let (to, at) = (RwSignal::new(To::Model), RwSignal::new(At::Safe));
    let chosen = RwSignal::new(BTreeSet::<Device>::new());
    let (from, until) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (library, settings) = (RwSignal::new(None::<String>), RwSignal::new(None::<String>));
    let (devices_error, window_error) = (RwSignal::new(None), RwSignal::new(None));
    let name = release_name(&release);
    let takes = |kind: &str| release.accepts.iter().any(|accepted| accepted == kind);
    let (takes_library, takes_settings) = (takes("drug_library"), takes("site_settings"));
    let (path, class, fitting) = (release.path.clone(), release.device_type.clone(), release.fitting);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let scope = match to.get_untracked() {
            To::Model => Some(OfferScope::Model),
            To::Class => Some(OfferScope::Class(class.clone())),
            To::Chosen => {
                let devices: Vec<Device> = chosen.get_untracked().into_iter().collect();
                (!devices.is_empty()).then_some(OfferScope::Devices(devices))
            }
        };
        devices_error.set(scope.is_none().then(|| t.offer_none_chosen()));
        let when = match at.get_untracked() {
            At::Safe => Some(OfferWhen::NextSafeMoment),
            At::Once => Some(OfferWhen::AtOnce),
            At::Confirmed => Some(OfferWhen::OnConfirmation),
            At::Window => window(&from.get_untracked(), &until.get_untracked(), app.clock.now_untracked().0 / 1000),
        };
        window_error.set(when.is_none().then(|| t.offer_window_wrong().to_owned()));
        let (Some(scope), Some(when)) = (scope, when) else { return };
        let data = [("drug_library", library.get_untracked()), ("site_settings", settings.get_untracked())];
        let added =
            data.into_iter().filter_map(|(kind, text)| Some(OfferedData { kind: kind.to_owned(), text: text? }));
        let body = api::json(&NewOffer { path: path.clone(), scope, when, added: added.collect() });
        let told = t.offer_made(&name);
        sender.send(app, "/offers".to_owned(), body, move |_| {
            app.notices.say(told);
            done.run(());
            close.run();
        });
    };
    let model = StoredValue::new(release.model.clone());
    view! {
        <form class="stack" data-testid="offer-form" on:submit=submit novalidate>
            <fieldset class="choices">
                <legend>{t.offer_to()}</legend>
                <Answer group="to" label=t.offer_model() hint=t.offer_model_hint(fitting) value="model" this=To::Model chosen=to/>
                <Answer group="to" label=t.offer_class() hint=t.offer_class_hint().to_owned() value="class" this=To::Class chosen=to/>
                <Answer group="to" label=t.offer_devices() hint=t.offer_devices_hint().to_owned() value="devices" this=To::Chosen chosen=to/>
            </fieldset>
            <Show when=move || to.get() == To::Chosen>
                <Devices model=model.get_value() chosen=chosen/>
            </Show>
            <p class="error" role="alert">{move || devices_error.get()}</p>
            <fieldset class="choices">
                <legend>{t.offer_when()}</legend>
                <Answer group="at" label=t.offer_safe() hint=t.offer_safe_hint().to_owned() value="safe" this=At::Safe chosen=at/>
                <Answer group="at" label=t.offer_confirmed() hint=t.offer_confirmed_hint().to_owned() value="confirmed" this=At::Confirmed chosen=at/>
                <Answer group="at" label=t.offer_window() hint=t.offer_window_hint().to_owned() value="window" this=At::Window chosen=at/>
                <Answer group="at" label=t.offer_at_once() hint=t.offer_at_once_hint().to_owned() value="once" this=At::Once chosen=at/>
            </fieldset>
            <Show when=move || at.get() == At::Window>
                <div class="stack">
                    <Field label=t.offer_from() value=from name="window-from" kind="datetime-local"/>
                    <Field label=t.offer_until() value=until name="window-until" kind="datetime-local" error=window_error/>
                </div>
            </Show>
            {(takes_library || takes_settings).then(|| view! {
                <fieldset class="stack">
                    <legend>{t.offer_added()}</legend>
                    <p class="hint">{t.offer_added_hint()}</p>
                    {takes_library.then(|| view! { <FileField label=t.offer_drug_library() name="drug-library" text=library most=MAX_ADDED_BYTES/> })}
                    {takes_settings.then(|| view! { <FileField label=t.offer_site_settings() name="site-settings" text=settings most=MAX_ADDED_BYTES/> })}
                </fieldset>
            })}
            <Answers close=close sender=sender go=t.offer_go() keep=t.cancel()/>
        </form>
    }
}

/// A maintenance window in the reader's own time, if it is one that has not ended: seconds since 1970.
fn window(from: &str, until: &str, now: u64) -> Option<OfferWhen> {
    let (from, until) = (seconds(from)?, seconds(until)?);
    (from < until && now < until).then_some(OfferWhen::Window { from, until })
}

/// The seconds of a local time as a browser's field has it, `2027-03-01T02:00`.
fn seconds(local: &str) -> Option<u64> {
    let millis = js_sys::Date::parse(local);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and whole")]
    (millis.is_finite() && millis > 0.0).then_some(millis as u64 / 1000)
}

/// One of several answers.
#[component]
fn Answer<T: Copy + PartialEq + Send + Sync + 'static>(
    group: &'static str,
    label: &'static str,
    hint: String,
    value: &'static str,
    this: T,
    chosen: RwSignal<T>,
) -> impl IntoView {
    let is_chosen = Signal::derive(move || chosen.get() == this);
    let choose = Callback::new(move |()| chosen.set(this));
    view! { <Choice name=group.to_owned() label=label hint=hint value=value.to_owned() chosen=is_chosen choose=choose/> }
}

/// The devices of the model, to choose from.
#[component]
fn Devices(model: String, chosen: RwSignal<BTreeSet<Device>>) -> impl IntoView {
    let t = use_text();
    let search = RwSignal::new(String::new());
    let path = move |search: &str| {
        let words = format!("{model} {search}");
        format!("/catalog?find={}", String::from(js_sys::encode_uri_component(words.trim())))
    };
    let known = Pages::<CatalogPage>::start(path(""));
    let ask = move |typed: String| {
        known.ask(path(&typed));
        search.set(typed);
    };
    let is_empty = known.is_empty();
    view! {
        <div class="stack" data-testid="offer-devices">
            <label class="search">
                {icon::search()}
                <span class="visually-hidden">{t.offer_find_device()}</span>
                <input type="search" data-testid="offer-find" placeholder=t.catalog_find_hint() prop:value=search
                    on:input:target=move |event| ask(event.target().value())/>
            </label>
            <Trouble failure=known.failure retry=Callback::new(move |()| known.load())/>
            <div class="picks">
                {known.each(move |entry| view! { <Pick entry=entry chosen=chosen t=t/> })}
                {known.further("offer-more")}
            </div>
            <Show when=move || is_empty.get() == Some(true)><p class="tiny" data-testid="offer-none">{t.offer_no_device()}</p></Show>
            <Show when=move || is_empty.get().is_none() && known.failure.with(Option::is_none)><Loading/></Show>
            <p class="tiny" role="status">{move || t.offer_chosen(chosen.with(BTreeSet::len))}</p>
        </div>
    }
}

#[component]
fn Pick(entry: wardlink_protocol::api::CatalogEntry, chosen: RwSignal<BTreeSet<Device>>, t: Language) -> impl IntoView {
    let id = unique_id("pick");
    let (device, changes) = (entry.device.clone(), entry.device.clone());
    let is_chosen = move || chosen.with(|chosen| chosen.contains(&device));
    let change = move |on: bool| {
        chosen.update(|chosen| {
            let _ = if on { chosen.insert(changes.clone()) } else { chosen.remove(&changes) };
        });
    };
    view! {
        <label class="choice" for=id.clone()>
            <input type="checkbox" id=id.clone() prop:checked=is_chosen on:change:target=move |event| change(event.target().checked())/>
            <span><b>{entry.device.identifier.to_string()}</b><small>{t.serial_short(&entry.serial_number)} " · " {entry.revision}</small></span>
        </label>
    }
}

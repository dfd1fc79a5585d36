//! The devices of one offer, and how far each of them is.

use leptos::prelude::*;
use wardlink_protocol::api::{OfferDevice, OfferDevices, OfferStanding, OfferView};

use super::releases::{scope_words, when_words};
use super::words::{Retries, detail_words};
use super::{added_words, name_of_path};
use crate::api;
use crate::app::use_text;
use crate::clock;
use crate::pages::Pages;
use crate::route::Route;
use crate::text::Language;
use crate::ui::tabs::Empty;
use crate::ui::{Fact, ScreenTitle, icon};

/// The screen.
#[component]
pub(crate) fn OfferScreen(id: u64) -> impl IntoView {
    let t = use_text();
    let known = Pages::<OfferDevices>::follow(format!("/offers/{id}/devices"));
    let is_empty = known.is_empty();
    let title = Signal::derive(move || {
        known.head.with(|offer| {
            offer.as_ref().map_or_else(|| t.offer_of("…"), |offer| t.offer_of(&name_of_path(&offer.path)))
        })
    });
    view! {
        <section class="device-screen list-pane wide">
            <a class="back" href=Route::Releases.to_string()>{icon::back()} {t.releases_title()}</a>
            <div class="screen-head"><ScreenTitle text=title/></div>
            {known.trouble()}
            {move || known.head.get().map(|offer| view! { <Facts offer=offer/> })}
            <Show when=move || is_empty.get() == Some(true)><Empty name="no-offer-devices" what=t.no_offer_devices() advice=t.no_offer_devices_text()/></Show>
            {known.list("offer-device-list", "card rows devices", |device| view! { <Row device=device/> })}
            {known.waiting()}
            {known.further("offer-devices-more")}
        </section>
    }
}

/// What is offered, to whom, and how many are how far.
#[component]
fn Facts(offer: OfferView) -> impl IntoView {
    let t = use_text();
    let made = t.offered_at_by(&clock::day_and_time(offer.made_at, t), &offer.made_by);
    let withdrawn = offer.withdrawn_at.map(|at| t.withdrawn_at(&clock::day_and_time(at, t)));
    view! {
        <section class="card pad">
            <dl class="facts-list" data-testid="offer-facts">
                <Fact name=t.offer_to_whom() value=scope_words(&offer.scope, t)/>
                <Fact name=t.offer_installs() value=when_words(offer.when, t)/>
                {(!offer.added.is_empty()).then(|| view! { <Fact name=t.offer_adds() value=added_words(&offer.added, t)/> })}
                <Fact name=t.offer_made_by() value=withdrawn.unwrap_or(made)/>
                <Fact name=t.outcome_installed() value=offer.installed.to_string()/>
                <Fact name=t.update_directed() value=offer.directed.to_string()/>
                <Fact name=t.update_postponed() value=offer.waiting.to_string()/>
                <Fact name=t.outcome_failed() value=offer.failed.to_string()/>
            </dl>
        </section>
    }
}

/// How far a device is, in a word and its style.
const fn standing_words(standing: OfferStanding, t: Language) -> (&'static str, &'static str) {
    match standing {
        OfferStanding::Directed => ("chip active", t.update_directed()),
        OfferStanding::Installing => ("chip active", t.update_installing()),
        OfferStanding::Waiting => ("chip", t.update_postponed()),
        OfferStanding::Retrying => ("chip active", t.update_retrying()),
        OfferStanding::Installed => ("chip done", t.outcome_installed()),
        OfferStanding::Failed => ("chip", t.outcome_failed()),
    }
}

#[component]
fn Row(device: OfferDevice) -> impl IntoView {
    let t = use_text();
    let OfferDevice { device, standing, detail, since, failures, retry_at } = device;
    let (style, word) = standing_words(standing, t);
    let standing = api::json(&standing).map(|word| word.trim_matches('"').to_owned());
    let detail = detail.filter(|detail| !detail.is_empty()).map(|detail| detail_words(&detail, t));
    let (route, name) = (Route::CatalogDevice(device.clone()), device.to_string());
    view! {
        <li class="row" data-testid="offer-device" data-device=name data-standing=standing>
            <div class="row-main">
                <h2><a class="row-link" href=route.to_string()><span class="ident">{device.identifier.to_string()}</span></a> <small>{device.client.to_string()}</small></h2>
                {since.map(|since| view! { <p class="tiny facts"><span>{t.offer_since(&clock::day_and_time(since, t))}</span></p> })}
                {detail.map(|detail| view! { <p class="tiny">{detail}</p> })}
                <Retries failures=failures retry_at=retry_at/>
            </div>
            <div class="acts"><span class=style>{word}</span></div>
        </li>
    }
}

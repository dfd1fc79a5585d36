//! Software for devices: what is released, what is offered to whom, and what becomes of it.

mod catalog;
mod device;
mod export;
mod file;
mod gateways;
mod manufacturers;
mod offer;
mod offered;
mod outcomes;
mod releases;
mod tokens;
mod upload;
mod words;

pub(crate) use catalog::CatalogScreen;
pub(crate) use device::CatalogDeviceScreen;
pub(crate) use gateways::GatewaysScreen;
pub(crate) use manufacturers::ManufacturersScreen;
pub(crate) use offered::OfferScreen;
pub(crate) use outcomes::OutcomesScreen;
pub(crate) use releases::ReleasesScreen;

use leptos::prelude::*;
use wardlink_protocol::api::{ReleaseView, UpdateState};

use crate::app::use_text;
use crate::route::Route;
use crate::text::Language;
use crate::ui::tabs::tabs;

/// The screens of updates.
#[component]
pub(crate) fn Tabs() -> impl IntoView {
    let t = use_text();
    let among = [
        (Route::Releases, t.releases_title()),
        (Route::Catalog, t.catalog_title()),
        (Route::Gateways, t.gateways_title()),
        (Route::Outcomes, t.outcomes_title()),
        (Route::Manufacturers, t.manufacturers_title()),
    ];
    tabs(t.updates_tabs(), among)
}

/// A release in a few words: model and revision.
fn release_name(release: &ReleaseView) -> String {
    format!("{} {}", release.model, release.revision)
}

/// The name of the package at a path, as far as the path tells it: its model and its file.
fn name_of_path(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (file, model) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    format!("{model} {stem}").trim().to_owned()
}

/// How an update stands, in a word and its style.
const fn update_words(state: UpdateState, t: Language) -> (&'static str, &'static str) {
    match state {
        UpdateState::Current => ("chip done", t.update_current()),
        UpdateState::Directed => ("chip active", t.update_directed()),
        UpdateState::Installing => ("chip active", t.update_installing()),
        UpdateState::Withheld => ("chip", t.update_withheld()),
        UpdateState::Postponed => ("chip", t.update_postponed()),
        UpdateState::Retrying => ("chip active", t.update_retrying()),
        UpdateState::SetAside => ("chip", t.update_set_aside()),
        UpdateState::Recalled => ("chip", t.update_recalled()),
    }
}

/// The kinds of data that the server adds, in words.
fn added_words(kinds: &[String], t: Language) -> String {
    let word = |kind: &String| match kind.as_str() {
        "drug_library" => t.drug_library().to_owned(),
        "site_settings" => t.site_settings().to_owned(),
        other => other.to_owned(),
    };
    kinds.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_model_and_file() {
        assert_eq!(name_of_path("acme/infusion-pump/PM2/1C.bin"), "PM2 1C");
        assert_eq!(name_of_path("acme/infusion-pump/PM2/1.9.10.bin"), "PM2 1.9.10");
        assert_eq!(name_of_path("1C"), "1C");
        assert_eq!(name_of_path(""), "");
    }

    #[test]
    fn data_that_is_added_has_its_words_and_unknown_kinds_stay() {
        let kinds = ["drug_library".to_owned(), "other".to_owned()];
        assert_eq!(added_words(&kinds, Language::English), "drug library, other");
    }
}

//! The fixed words of the server, in the reader's language. What manufacturers, devices and people have said stays as it is.

use leptos::prelude::*;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{CatalogChange, OutcomeView, words};

use crate::app::{use_app, use_text};
use crate::clock;
use crate::text::Language;

/// What a device waits for, or what of it went wrong.
pub(super) fn detail_words(detail: &str, t: Language) -> String {
    let known = match detail {
        "therapy" => t.waits_therapy(),
        "unsafe" => t.waits_unsafe(),
        "window" => t.waits_window(),
        "confirmation" => t.waits_confirmation(),
        "it is not updated through this gateway" => t.waits_association(),
        words::BEING_ENCRYPTED => t.waits_being_encrypted(),
        words::NOT_ENCRYPTED => t.waits_not_encrypted(),
        words::NO_KEY => t.waits_no_key(),
        words::OUT_OF_DATE => t.waits_out_of_date(),
        words::WINDOW_IS_OVER => t.waits_window_is_over(),
        words::IN_CONFLICT => t.catalog_conflict_title(),
        words::IS_SET_ASIDE => t.set_aside_title(),
        words::RESTS => t.waits_rest(),
        words::NOT_REPORTED => t.waits_report(),
        words::NOT_KNOWN => t.waits_unknown(),
        words::NOT_FITTING => t.waits_not_fitting(),
        other => {
            if let Some(why) = other.strip_prefix(words::DIRECTIVE_REFUSED) {
                return t.waits_directive_refused(why);
            }
            match other.strip_prefix("the atomic set needs ").and_then(|rest| rest.strip_suffix(" too")) {
                Some(member) => return t.waits_set(member),
                None => other,
            }
        }
    };
    known.to_owned()
}

/// What else was said of an outcome.
pub(super) fn outcome_detail(outcome: &OutcomeView, t: Language) -> String {
    match outcome.detail.rsplit_once(", release ") {
        Some((revision, counter)) if outcome.outcome == "installed" => t.outcome_release(revision, counter),
        _ => detail_words(&outcome.detail, t),
    }
}

/// A change of the catalog, in words.
pub(super) fn change_words(change: CatalogChange, t: Language) -> String {
    let what = match change.what.as_str() {
        "revision" => t.catalog_revision(),
        "reported" => t.changed_reported(),
        "gateway" => t.changed_gateway(),
        "inventory" => t.changed_inventory(),
        "conflict" => t.changed_conflict(),
        "patient" => t.catalog_patient(),
        "resumed" => t.changed_resumed(),
        "set aside" => t.update_set_aside(),
        "corrupt" => t.outcome_corrupt(),
        "refused" => t.outcome_refused(),
        "failed" => t.outcome_failed(),
        other => other,
    };
    match (change.from, change.to) {
        (Some(from), Some(to)) => t.catalog_change(what, &from, &to),
        // One that is over says what it was.
        (Some(from), None) => t.catalog_change(what, &from, t.changed_ended()),
        (None, Some(to)) if to.is_empty() => what.to_owned(),
        (None, Some(to)) => format!("{what}: {}", detail_words(&to, t)),
        (None, None) => what.to_owned(),
    }
}

/// How often in a row a device has failed, and when it is tried again; nothing where it has not.
#[component]
pub(super) fn Retries(failures: u64, retry_at: Option<UnixMillis>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let words = move || match retry_at.filter(|at| app.clock.now() < *at) {
        Some(at) => t.retried_at(&clock::hour_and_minute(at, t), failures),
        None => t.failures_in_a_row(failures),
    };
    (failures > 0).then(|| view! { <p class="tiny" data-testid="retries">{words}</p> })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(what: &str, from: Option<&str>, to: Option<&str>) -> String {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        change_words(CatalogChange { at: UnixMillis(0), what: what.to_owned(), from, to }, Language::German)
    }

    #[test]
    fn what_the_server_says_in_fixed_words_is_said_in_the_readers_language() {
        for word in [
            "therapy",
            "unsafe",
            "window",
            "confirmation",
            "it is not updated through this gateway",
            "the atomic set needs acme/scale/S1/spring too",
            words::BEING_ENCRYPTED,
            words::NOT_ENCRYPTED,
            words::NO_KEY,
            words::OUT_OF_DATE,
            words::WINDOW_IS_OVER,
            &format!("{}5.4.4.2: no", words::DIRECTIVE_REFUSED),
            words::IN_CONFLICT,
            words::IS_SET_ASIDE,
            words::RESTS,
            words::NOT_REPORTED,
            words::NOT_KNOWN,
            words::NOT_FITTING,
        ] {
            assert_ne!(detail_words(word, Language::German), word);
        }
        assert_eq!(detail_words("flash: no room", Language::German), "flash: no room");
    }

    #[test]
    fn the_history_is_told_in_the_readers_language() {
        assert_eq!(change("gateway", Some("gateway/a"), Some("gateway/b")), "Gateway: gateway/a → gateway/b");
        assert_eq!(change("set aside", None, None), "Ausgesetzt");
        assert_eq!(change("corrupt", None, Some("")), "Unterwegs beschädigt");
        assert_eq!(change("conflict", Some("gateway/b"), None), "Konflikt: gateway/b → beendet");
        assert_eq!(change("something new", None, Some("x")), "something new: x");
    }
}

//! Stored data of devices: what has arrived, what rules have found in it, and the rules.

mod arrived;
mod device;
mod export;
mod flags;
mod overview;
mod plot;
mod rules;

pub(crate) use arrived::Arrived;
pub(crate) use device::RecordsDeviceScreen;
pub(crate) use flags::FlagsScreen;
pub(crate) use overview::RecordsScreen;
pub(crate) use rules::RulesScreen;

use leptos::prelude::*;
use wardlink_protocol::api::{AskedRecords, FlagSeverity, RecordsSeries};

use crate::app::use_text;
use crate::route::Route;
use crate::text::Language;
use crate::ui::form::Sender;
use crate::ui::tabs::tabs;

/// The screens of stored data.
#[component]
fn Tabs() -> impl IntoView {
    let t = use_text();
    let among =
        [(Route::Records, t.records_title()), (Route::Flags, t.flags_title()), (Route::Rules, t.data_rules_title())];
    tabs(t.records_tabs(), among)
}

/// Asks for stored data now.
#[component]
pub(crate) fn AskNow(
    /// Where that is asked, such as `/records/infusion-pump/ip-1/ask`.
    path: String,
    /// Whose data, for who does not see the row.
    label: String,
) -> impl IntoView {
    let t = use_text();
    let app = crate::app::use_app();
    let sender = Sender::new();
    let ask = move |_| {
        sender.send(app, path.clone(), None, move |answer| {
            if let Ok(AskedRecords { gateways, told }) = answer.read() {
                app.notices.say(if told == gateways { t.asked_now() } else { t.asked_later() });
            }
        });
    };
    sender.say_failures(app);
    view! {
        <button type="button" class="button small quiet" data-testid="ask-now" aria-label=label
            aria-disabled=move || sender.busy.get().then_some("true") on:click=ask>{t.ask_now()}</button>
    }
}

/// How urgent a flag is, in a word and its style.
const fn severity_words(severity: FlagSeverity, t: Language) -> (&'static str, &'static str) {
    match severity {
        FlagSeverity::Information => ("chip", t.severity_information()),
        FlagSeverity::Warning => ("chip", t.severity_warning()),
        FlagSeverity::Critical => ("chip active", t.severity_critical()),
    }
}

/// A text that the server has in both languages.
fn either<'a>(english: &'a str, german: &'a str, t: Language) -> &'a str {
    match t {
        Language::English => english,
        Language::German => german,
    }
}

/// What people call a series.
fn series_name(series: &RecordsSeries, t: Language) -> String {
    either(&series.english, &series.german, t).to_owned()
}

/// A number as the language writes it.
fn number(text: &str, t: Language) -> String {
    text.replace('.', t.decimal_mark().encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_reader() {
        assert_eq!(number("37.50", Language::German), "37,50");
        assert_eq!(number("37.50", Language::English), "37.50");
        assert_eq!(either("Heart rate", "Herzfrequenz", Language::German), "Herzfrequenz");
    }
}

//! What became of every update (figure 12, 261 to 265), newest first.

use leptos::prelude::*;
use wardlink_protocol::api::OutcomeView;

use super::Tabs;
use super::export;
use super::words::outcome_detail;
use crate::app::use_text;
use crate::clock;
use crate::pages::Pages;
use crate::route::Route;
use crate::text::Language;
use crate::ui::ScreenTitle;
use crate::ui::export::Export;
use crate::ui::tabs::Empty;

/// The screen.
#[component]
pub(crate) fn OutcomesScreen() -> impl IntoView {
    let t = use_text();
    let known = Pages::<Vec<OutcomeView>>::follow("/outcomes".to_owned());
    let is_empty = known.is_empty();
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.outcomes_title()/>
                <Export mark="export-outcomes" words=t.export_csv() collect=export::outcomes/>
            </div>
            <Tabs/>
            <p class="quiet">{t.outcomes_text()}</p>
            {known.trouble()}
            {known.waiting()}
            <Show when=move || is_empty.get() == Some(true)><Empty name="no-outcomes" what=t.no_outcomes() advice=t.no_outcomes_text()/></Show>
            {known.list("outcomes", "card rows", |outcome| view! { <Row outcome=outcome/> })}
            {known.further("outcomes-more")}
        </section>
    }
}

fn words(outcome: &str, t: Language) -> (&'static str, String) {
    match outcome {
        "installed" => ("chip done", t.outcome_installed().to_owned()),
        "corrupt" => ("chip active", t.outcome_corrupt().to_owned()),
        "postponed" => ("chip", t.outcome_postponed().to_owned()),
        "refused" => ("chip", t.outcome_refused().to_owned()),
        "failed" => ("chip", t.outcome_failed().to_owned()),
        other => ("chip", other.to_owned()),
    }
}

#[component]
fn Row(outcome: OutcomeView) -> impl IntoView {
    let t = use_text();
    let (style, word) = words(&outcome.outcome, t);
    let route = Route::CatalogDevice(outcome.device.clone());
    let detail = outcome_detail(&outcome, t);
    view! {
        <li class="row" data-testid="outcome" data-outcome=outcome.outcome.clone()>
            <div class="row-main">
                <h2><a class="row-link" href=route.to_string()><span class="ident">{outcome.device.identifier.to_string()}</span></a> <small>{detail}</small></h2>
                <p class="tiny facts">
                    <span>{clock::day_and_time(outcome.at, t)}</span>
                    <span>{t.outcome_by(outcome.gateway.identifier.as_str(), outcome.directive)}</span>
                </p>
            </div>
            <div class="acts"><span class=style>{word}</span></div>
        </li>
    }
}

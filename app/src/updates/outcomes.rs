//! What became of every update (figure 12, 261 to 265), newest first.

use leptos::prelude::*;
use wardlink_protocol::api::OutcomeView;

use super::Tabs;
use super::export;
use super::words::outcome_detail;
use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::route::Route;
use crate::text::Language;
use crate::ui::ScreenTitle;
use crate::ui::export::Export;
use crate::ui::tabs::Empty;

/// The screen.
#[component]
pub(crate) fn OutcomesScreen() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let known = Fetched::<Vec<OutcomeView>>::follow("/outcomes");
    let older = RwSignal::new(Vec::<OutcomeView>::new());
    let ended = RwSignal::new(false);
    let all = move || {
        let newest = known.value.get().unwrap_or_default();
        let last = newest.last().map_or(u64::MAX, |outcome| outcome.id);
        let further = older.get().into_iter().filter(move |outcome| outcome.id < last);
        newest.into_iter().chain(further).collect::<Vec<_>>()
    };
    let more = move |_| {
        let Some(last) = untrack(all).last().map(|outcome| outcome.id) else { return };
        leptos::task::spawn_local(async move {
            match app.get::<Vec<OutcomeView>>(&format!("/outcomes?before={last}")).await {
                Ok(part) => {
                    let _ = ended.try_set(part.is_empty());
                    let _ = older.try_update(|older| older.extend(part));
                }
                Err(failure) => app.notices.failure(&failure, t),
            }
        });
    };
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
            <Show when=move || known.is_empty()><Empty name="no-outcomes" what=t.no_outcomes() advice=t.no_outcomes_text()/></Show>
            <Show when=move || known.value.with(|list| list.as_ref().is_some_and(|list| !list.is_empty()))>
                <ul class="card rows" data-testid="outcomes">
                    <For each=all key=|outcome| outcome.id let:outcome><Row outcome=outcome/></For>
                </ul>
                <Show when=move || !ended.get()>
                    <p><button type="button" class="button quiet" data-testid="outcomes-more" on:click=more>{t.catalog_more()}</button></p>
                </Show>
            </Show>
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

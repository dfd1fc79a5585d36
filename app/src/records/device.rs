//! What of one device is stored: its series as plots with their tables, its flags, and what does not count.

use core::time::Duration;
use leptos::prelude::*;
use wardlink_protocol::api::{
    FlagView, RecordsBeginning, RecordsDetail, RecordsDevice, RecordsPlot, RecordsSeries, Right, SetAsideRecord,
};
use wardlink_protocol::{Device, UnixMillis};

use super::export::{self, Kind};
use super::flags::flags;
use super::plot::Plot;
use super::{AskNow, number, series_name};
use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::format;
use crate::pages::Pages;
use crate::route::Route;
use crate::ui::export::Export;
use crate::ui::select::Select;
use crate::ui::{Fact, ScreenTitle, icon};

/// The spans of time to choose from, in hours.
const SPANS: [u64; 4] = [24, 7 * 24, 30 * 24, 365 * 24];
/// The span at first.
const FIRST_SPAN: u64 = 7 * 24;
/// Up to this span, everything that arrives is drawn at once.
const DRAWN_AT_ONCE: u64 = FIRST_SPAN;
/// A longer span is drawn anew once in this part of it at most: nobody would see the difference.
const REDRAWN_PART: u64 = 5_000;
/// What has just come is within the span, too, whatever the device's clock says.
const AHEAD: Duration = Duration::from_mins(5);

/// The screen.
#[component]
pub(crate) fn RecordsDeviceScreen(device: Device) -> impl IntoView {
    let t = use_text();
    let known = Fetched::<RecordsDetail>::follow(format!("/records/{device}"));
    let found = Pages::<Vec<FlagView>>::follow(format!("/flags?device={device}"));
    let may_ask = use_app().may(Right::ManageUpdates);
    let name = device.identifier.to_string();
    // What a person has chosen stays, whatever comes; what has come is drawn.
    let names = move |series: &RecordsSeries| (series.series.clone(), series_name(series, t));
    let series = Memo::new(move |_| {
        known.value.with(|detail| detail.iter().flat_map(|detail| &detail.series).map(names).collect::<Vec<_>>())
    });
    let arrived = Memo::new(move |_| known.value.with(|detail| detail.as_ref().map(|detail| detail.device.records)));
    let plotted = device.clone();
    let exported = device.clone();
    let saving = move |kind| {
        let device = exported.clone();
        move |app| export::collect(app, device.clone(), kind)
    };
    view! {
        <section class="device-screen list-pane wide">
            <a class="back" href=Route::Records.to_string()>{icon::back()} {t.records_title()}</a>
            <div class="screen-head">
                <ScreenTitle text=name.clone()/>
                <div class="acts">
                    {may_ask.then(|| view! { <AskNow path=format!("/records/{device}/ask") label=t.ask_now_of(&name)/> })}
                    <Export mark="export-csv" words=t.export_csv() collect=saving(Kind::Csv)/>
                    <Export mark="export-json" words=t.export_json() collect=saving(Kind::Json)/>
                </div>
            </div>
            {known.trouble()}
            {known.waiting()}
            {move || known.value.with(|detail| detail.as_ref().map(|detail| detail.device.clone())).map(|one| view! { <Facts one=one/> })}
            {move || {
                let series = series.get();
                (!series.is_empty()).then(|| view! { <SeriesPlot device=plotted.clone() series=series arrived=arrived/> })
            }}
            {found.trouble()}
            {flags(found, "device-flags")}
            {found.further("device-flags-more")}
            {move || known.value.with(|detail| detail.as_ref().map(|detail| (detail.set_aside.clone(), detail.beginnings.clone())))
                .map(|(set_aside, beginnings)| view! {
                    <div class="two">
                        <SetAside records=set_aside/>
                        <Beginnings beginnings=beginnings/>
                    </div>
                })}
        </section>
    }
}

#[component]
fn Facts(one: RecordsDevice) -> impl IntoView {
    let t = use_text();
    let mut missing: Vec<String> = one.missing.iter().map(|gap| t.gap_numbers(gap.from, gap.through)).collect();
    let shown = u64::try_from(missing.len()).unwrap_or(u64::MAX);
    missing.extend((one.missing_in_all > shown).then(|| t.gaps_more(one.missing_in_all.saturating_sub(shown))));
    view! {
        <section class="card pad">
            <dl class="facts-list" data-testid="records-facts">
                <Fact name=t.data_stored() value=t.data_records(one.records)/>
                <Fact name=t.data_last_at() value=clock::day_and_time(one.received_at, t)/>
                <Fact name=t.data_through() value=one.gateway.to_string()/>
                {(one.set_aside > 0).then(|| view! { <Fact name=t.set_aside_records() value=one.set_aside.to_string()/> })}
                {(!missing.is_empty()).then(|| view! { <Fact name=t.data_missing_name() value=missing.join(", ")/> })}
            </dl>
        </section>
    }
}

/// How long a plot of so many hours rests before more is drawn.
const fn rest(hours: u64) -> Duration {
    if hours > DRAWN_AT_ONCE { Duration::from_secs(hours * 3600 / REDRAWN_PART) } else { Duration::ZERO }
}

/// One series over a chosen time; drawn anew as more arrives, a long time more rarely.
#[component]
fn SeriesPlot(device: Device, series: Vec<(String, String)>, arrived: Memo<Option<u64>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let first = series.first().map(|(series, _)| series.clone()).unwrap_or_default();
    let (chosen, span) = (RwSignal::new(first), RwSignal::new(FIRST_SPAN.to_string()));
    let options = series.clone();
    let hours = |hours: u64| format::age(Duration::from_secs(hours * 3600), t);
    let spans: Vec<_> = SPANS.iter().map(|span| (span.to_string(), t.last_time(&hours(*span)))).collect();
    let time = move |hours: u64| {
        let until = app.clock.now_untracked().after(AHEAD);
        (UnixMillis(until.0.saturating_sub(hours * 3_600_000)), until)
    };
    let path = move |from: UnixMillis, until: UnixMillis| {
        format!("/records/{device}/plot?series={}&from={}&until={}", chosen.get_untracked(), from.0, until.0)
    };
    let (from, until) = time(FIRST_SPAN);
    let shown = RwSignal::new((from, until));
    let plot = Fetched::<RecordsPlot>::start(path(from, until));
    Effect::new(move |before: Option<(String, String)>| {
        // A memo that nobody reads tells of nothing.
        arrived.get();
        let now = (chosen.get(), span.get());
        let hours = now.1.parse().unwrap_or(FIRST_SPAN);
        let (time, drawn) = (time(hours), shown.get_untracked().1);
        let Some(before) = before else { return now };
        let is_other = before != now;
        if is_other {
            plot.value.set(None);
        }
        if is_other || time.1.since(drawn) >= rest(hours) {
            shown.set(time);
            plot.ask(path(time.0, time.1));
        }
        now
    });
    let name = move || {
        let chosen = chosen.get();
        series.iter().find(|(series, _)| *series == chosen).map(|(_, name)| name.clone()).unwrap_or_default()
    };
    view! {
        <section class="card pad stack" data-testid="series">
            <div class="pairs">
                <Select label=t.series_which() value=chosen name="series" options=options/>
                <Select label=t.series_time() value=span name="span" options=spans/>
            </div>
            {plot.trouble()}
            {plot.waiting()}
            {move || plot.value.get().map(|plot| {
                let (from, until) = shown.get_untracked();
                view! { <Plot plot=plot name=name() from=from until=until/> }
            })}
        </section>
    }
}

/// What does not count.
#[component]
fn SetAside(records: Vec<SetAsideRecord>) -> impl IntoView {
    let t = use_text();
    let rows = records.into_iter().map(|record| {
        let value = number(&record.value, t);
        let value = record.unit.map_or_else(|| value.clone(), |unit| format!("{value} {unit}"));
        let words = t.set_aside_line(&record.series, &value, &record.step);
        view! { <li data-testid="set-aside"><time>{clock::day_and_time(record.at, t)}</time><span>{words}</span></li> }
    });
    let rows = rows.collect_view();
    (!rows.is_empty()).then(|| view! {
        <section class="card"><h2 class="card-title">{t.set_aside_records()}</h2><p class="quiet pad">{t.set_aside_records_text()}</p><ul class="events">{rows}</ul></section>
    })
}

/// How the device's chains began.
#[component]
fn Beginnings(beginnings: Vec<RecordsBeginning>) -> impl IntoView {
    let t = use_text();
    let words = move |one: &RecordsBeginning| {
        let standing = match one.standing.as_str() {
            "begun" => t.chain_begun(),
            "outstanding" => t.chain_outstanding(),
            "unsure" => t.chain_unsure(),
            "conceded" => t.chain_conceded(),
            "filled" => t.chain_filled(),
            _ => return one.standing.clone(),
        };
        let reason = match one.reason.as_deref() {
            Some("first") => t.chain_first(),
            Some("paired_again") => t.chain_paired_again(),
            Some("store_lost") => t.chain_store_lost(),
            Some("restored") => t.chain_restored(),
            _ => return standing.to_owned(),
        };
        format!("{standing} {reason}")
    };
    let rows = beginnings.into_iter().map(|one| {
        view! { <li data-testid="beginning"><time>{clock::day_and_time(one.at, t)}</time><span>{words(&one)}</span></li> }
    });
    let rows = rows.collect_view();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="card"><h2 class="card-title">{t.chains_title()}</h2><ul class="events">{rows}</ul></section>
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{FIRST_SPAN, SPANS, rest};
    use core::time::Duration;

    #[test]
    fn a_short_time_is_drawn_at_once_and_a_year_every_two_hours_at_most() {
        assert_eq!((rest(24), rest(FIRST_SPAN)), (Duration::ZERO, Duration::ZERO));
        assert!(SPANS.iter().all(|span| rest(*span) < Duration::from_hours(2)));
        assert!(rest(30 * 24) > Duration::from_mins(8) && rest(365 * 24) > Duration::from_mins(100));
    }
}

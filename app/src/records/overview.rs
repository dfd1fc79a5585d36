//! Whose data has arrived, what waits, what was refused, and when it is asked for.

use leptos::prelude::*;
use wardlink_protocol::api::{
    ConcedeGap, RecordsDevice, RecordsGap, RecordsOutlet, RecordsSettings, RecordsView, RefusedRecords, Right, words,
};

use super::{AskNow, Tabs};
use crate::api;
use crate::app::{use_app, use_text};
use crate::clock;
use crate::format;
use crate::pages::Pages;
use crate::route::Route;
use crate::text::Language;
use crate::ui::ScreenTitle;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::rows::rows;
use crate::ui::select::Select;
use crate::ui::tabs::Empty;

/// The intervals to choose from, in minutes.
const INTERVALS: [u32; 5] = [5, 15, 60, 360, 1440];

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// How often the server asks by itself.
    Regularly(RecordsSettings),
    /// Whether missing records do not come.
    Concede(Box<RecordsGap>),
}

/// The screen.
#[component]
pub(crate) fn RecordsScreen() -> impl IntoView {
    let t = use_text();
    let known = Pages::<RecordsView>::follow("/records".to_owned());
    let is_empty = known.is_empty();
    let may = use_app().may(Right::ManageUpdates);
    let ask = RwSignal::new(None);
    let settings = move || known.head.with(|view| view.as_ref().map(|view| view.settings).unwrap_or_default());
    let regularly = move || match settings().every_minutes {
        Some(minutes) => t.asked_regularly(&interval(minutes, t)),
        None => t.asked_never().to_owned(),
    };
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.records_title()/>
                <Show when=move || may && known.head.with(Option::is_some)>
                    <button type="button" class="button small quiet" data-testid="regularly" on:click=move |_| ask.set(Some(Ask::Regularly(untrack(settings))))>{t.ask_regularly()}</button>
                </Show>
            </div>
            <Tabs/>
            <p class="quiet">{t.records_text()}</p>
            {known.trouble()}
            {known.waiting()}
            <Show when=move || is_empty.get() == Some(true)><Empty name="no-records" what=t.no_records() advice=t.no_records_text()/></Show>
            {known.list("records", "card rows devices", move |one| view! { <Row one=one may=may/> })}
            {known.further("records-more")}
            <Show when=move || known.head.with(Option::is_some)><p class="tiny" data-testid="regularly-words">{regularly}</p></Show>
            <Gaps known=known ask=ask may=may/>
            {move || known.head.with(|view| view.as_ref().map(|view| (view.refused.clone(), view.outlets.clone())))
                .map(|(refused, outlets)| view! {
                    <Outlets outlets=outlets/>
                    <Refused refused=refused/>
                })}
            <Asking ask=ask known=known/>
        </section>
    }
}

/// An interval in words.
fn interval(minutes: u32, t: crate::text::Language) -> String {
    format::age(core::time::Duration::from_secs(u64::from(minutes) * 60), t)
}

#[component]
fn Row(one: RecordsDevice, may: bool) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let name = one.device.identifier.to_string();
    let at = one.received_at;
    let gateway = one.gateway.identifier.to_string();
    let is_more = u64::try_from(one.missing.len()).is_ok_and(|shown| one.missing_in_all > shown);
    let missing: u64 = one.missing.iter().map(|gap| gap.through.saturating_sub(gap.from).saturating_add(1)).sum();
    let words = move || t.data_last(&format::age(app.clock.since(at), t), &gateway);
    let route = Route::RecordsDevice(one.device.clone());
    view! {
        <li class="row" data-testid="records-device" data-device=one.device.to_string()>
            <div class="row-main">
                <h2>
                    <a class="row-link" href=route.to_string()><span class="ident">{name.clone()}</span></a>
                    <small>{one.device.client.to_string()}</small>
                </h2>
                <p class="tiny facts">
                    <span>{t.data_records(one.records)}</span>
                    <span>{words}</span>
                    {(one.set_aside > 0).then(|| view! { <span>{t.data_set_aside(one.set_aside)}</span> })}
                </p>
                {(missing > 0).then(|| view! { <p class="tiny strong">{if is_more { t.data_missing_at_least(missing) } else { t.data_missing(missing) }}</p> })}
            </div>
            <div class="acts">
                {(one.flags > 0).then(|| view! { <span class="chip active">{t.data_flags(one.flags)}</span> })}
                {may.then(|| view! { <AskNow path=format!("/records/{}/ask", one.device) label=t.ask_now_of(&name)/> })}
            </div>
        </li>
    }
}

/// What waits because records before it are missing.
#[component]
fn Gaps(known: Pages<RecordsView>, ask: RwSignal<Option<Ask>>, may: bool) -> impl IntoView {
    let t = use_text();
    let gaps = move || known.head.with(|view| view.as_ref().map(|view| view.gaps.clone()).unwrap_or_default());
    let is_empty = Memo::new(move |_| known.head.with(|view| view.as_ref().is_none_or(|view| view.gaps.is_empty())));
    let hidden = move || {
        known.head.with(|view| {
            let view = view.as_ref()?;
            let hidden = view.gaps_in_all.saturating_sub(u64::try_from(view.gaps.len()).unwrap_or(u64::MAX));
            (hidden > 0).then(|| view! { <p class="tiny pad">{t.gaps_more(hidden)}</p> })
        })
    };
    view! {
        <Show when=move || !is_empty.get()>
            <section class="card" data-testid="gaps">
                <h2 class="card-title">{t.gaps_title()}</h2>
                <ul class="rows">{rows(gaps, move |gap| view! { <Gap gap=gap ask=ask may=may/> })}</ul>
                {hidden}
            </section>
        </Show>
    }
}

#[component]
fn Gap(gap: RecordsGap, ask: RwSignal<Option<Ask>>, may: bool) -> impl IntoView {
    let t = use_text();
    let name = gap.device.identifier.to_string();
    let label = t.concede_of(&name);
    let words = match &gap.conceded_by {
        Some(person) => t.gap_conceded(person),
        None => t.gap_waits(gap.gateway.identifier.as_str(), &clock::day_and_time(gap.at, t)),
    };
    let open = gap.conceded_by.is_none() && may;
    let (from, through) = (gap.expected, gap.found.saturating_sub(1));
    view! {
        <li class="row" data-testid="gap">
            <div class="row-main">
                <h3><span class="ident">{name}</span> <small>{t.gap_numbers(from, through)}</small></h3>
                <p class="tiny">{words}</p>
            </div>
            {open.then(|| view! {
                <div class="acts">
                    <button type="button" class="button small quiet" data-testid="concede" aria-label=label
                        on:click=move |_| ask.set(Some(Ask::Concede(Box::new(gap.clone()))))>{t.concede()}</button>
                </div>
            })}
        </li>
    }
}

/// Where data is sent on to.
#[component]
fn Outlets(outlets: Vec<RecordsOutlet>) -> impl IntoView {
    let t = use_text();
    let rows = outlets.into_iter().map(|outlet| {
        let behind = if outlet.behind == 0 { t.outlet_done().to_owned() } else { t.outlet_behind(outlet.behind) };
        view! { <li data-testid="outlet"><time>{clock::day_and_time(outlet.asked_at, t)}</time><span>{t.outlet_line(outlet.service.as_str(), &behind)}</span></li> }
    });
    let rows = rows.collect_view();
    (!rows.is_empty()).then(|| view! {
        <section class="card"><h2 class="card-title">{t.outlets_title()}</h2><ul class="events">{rows}</ul></section>
    })
}

/// Why a batch was refused, in the reader's language where the server has one answer only.
fn refused_words<'a>(step: &str, reason: &'a str, t: Language) -> &'a str {
    match step {
        "signature" if reason == words::UNKNOWN_SIGNER => t.refused_signature(),
        "association" => t.refused_association(),
        "rights" => t.refused_rights(),
        _ => reason,
    }
}

/// What was refused.
#[component]
fn Refused(refused: Vec<RefusedRecords>) -> impl IntoView {
    let t = use_text();
    let rows = refused.into_iter().map(|one| {
        let device =
            one.device.map_or_else(|| t.refused_of_nobody().to_owned(), |device| device.identifier.to_string());
        let reason = refused_words(&one.step, &one.reason, t);
        let words = t.refused_line(&device, one.gateway.identifier.as_str(), &one.step, reason);
        view! { <li data-testid="refused"><time>{clock::day_and_time(one.at, t)}</time><span>{words}</span></li> }
    });
    let rows = rows.collect_view();
    (!rows.is_empty()).then(|| view! {
        <section class="card"><h2 class="card-title">{t.refused_title()}</h2><ul class="events">{rows}</ul></section>
    })
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Pages<RecordsView>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Regularly(_) => t.ask_regularly().to_owned(),
        Ask::Concede(gap) => t.concede_title(gap.device.identifier.as_str()),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Regularly(settings) => view! { <RegularlyForm settings=settings known=known close=close/> }.into_any(),
        Ask::Concede(gap) => view! { <ConcedeForm gap=*gap known=known close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn RegularlyForm(settings: RecordsSettings, known: Pages<RecordsView>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let present = settings.every_minutes.map(|minutes| minutes.to_string()).unwrap_or_default();
    let value = RwSignal::new(present);
    let own = settings.every_minutes.filter(|minutes| !INTERVALS.contains(minutes));
    let intervals = INTERVALS.into_iter().chain(own).map(|minutes| (minutes.to_string(), interval(minutes, t)));
    let options = core::iter::once((String::new(), t.never().to_owned())).chain(intervals).collect::<Vec<_>>();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = api::json(&RecordsSettings { every_minutes: value.get_untracked().parse().ok() });
        sender.put(app, "/records/settings".to_owned(), body, move |_| {
            app.notices.say(t.regularly_saved());
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="regularly-form" on:submit=submit>
            <p>{t.regularly_text()}</p>
            <Select label=t.regularly_which() value=value name="every" options=options/>
            <Answers close=close sender=sender go=t.save() keep=t.cancel()/>
        </form>
    }
}

#[component]
fn ConcedeForm(gap: RecordsGap, known: Pages<RecordsView>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let numbers = t.gap_numbers(gap.expected, gap.found.saturating_sub(1));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = api::json(&ConcedeGap { chain: gap.chain, expected: gap.expected, found: gap.found });
        sender.send(app, format!("/records/{}/concede", gap.device), body, move |_| {
            app.notices.say(t.conceded());
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="concede-form" on:submit=submit>
            <p><b>{numbers}</b></p>
            <p>{t.concede_text()}</p>
            <Answers close=close sender=sender go=t.concede() keep=t.cancel()/>
        </form>
    }
}

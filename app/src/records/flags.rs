//! What rules have found, and who has seen it.

use leptos::prelude::*;
use wardlink_protocol::api::{FlagView, Right};

use super::{Tabs, either, severity_words};
use crate::app::{use_app, use_text};
use crate::clock;
use crate::pages::Pages;
use crate::route::Route;
use crate::ui::ScreenTitle;
use crate::ui::form::Sender;
use crate::ui::select::Switch;
use crate::ui::tabs::Empty;

/// The screen.
#[component]
pub(crate) fn FlagsScreen() -> impl IntoView {
    let t = use_text();
    let open = RwSignal::new(true);
    let path = |open: bool| format!("/flags?open={open}");
    let known = Pages::<Vec<FlagView>>::follow(path(true));
    let is_empty = known.is_empty();
    let change = Callback::new(move |on: bool| {
        open.set(on);
        known.ask(path(on));
    });
    view! {
        <section class="list-pane wide">
            <div class="screen-head"><ScreenTitle text=t.flags_title()/></div>
            <Tabs/>
            <p class="quiet">{t.flags_text()}</p>
            <Switch label=t.flags_open_only() name="open" on=open change=change/>
            {known.trouble()}
            {known.waiting()}
            <Show when=move || is_empty.get() == Some(true)><Empty name="no-flags" what=t.no_flags() advice=t.no_flags_text()/></Show>
            {flags(known, "flags")}
            {known.further("flags-more")}
        </section>
    }
}

/// The list of them.
pub(super) fn flags(known: Pages<Vec<FlagView>>, name: &'static str) -> impl IntoView {
    known.list(name, "card rows", move |flag| view! { <Row flag=flag known=known/> })
}

/// One flag.
#[component]
fn Row(flag: FlagView, known: Pages<Vec<FlagView>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let (style, word) = severity_words(flag.severity, t);
    let words = either(&flag.english, &flag.german, t).to_owned();
    let name = flag.device.identifier.to_string();
    let label = t.acknowledge_of(&words, &name);
    let path = format!("/flags/{}/acknowledge", flag.id);
    let acknowledge = move |_| {
        sender.send(app, path.clone(), None, move |_| {
            app.notices.say(t.acknowledged());
            known.load();
        });
    };
    sender.say_failures(app);
    let seen = match (&flag.acknowledged_at, &flag.acknowledged_by, &flag.withdrawn_at) {
        (_, _, Some(at)) => Some(t.flag_withdrawn(&clock::day_and_time(*at, t))),
        (Some(at), Some(person), None) => Some(t.flag_seen(person, &clock::day_and_time(*at, t))),
        _ => None,
    };
    let may = seen.is_none() && app.may(Right::AcknowledgeFlags);
    let route = Route::RecordsDevice(flag.device.clone());
    let patient = flag.patient.map(|patient| {
        let whole = patient.to_string();
        let short: String = whole.chars().take(8).collect();
        view! { <span class="mono" title=whole>{t.flag_patient(&short)}</span> }
    });
    view! {
        <li class="row" data-testid="flag" data-rule=flag.rule.clone()>
            <div class="row-main">
                <h2>{words} <small><a href=route.to_string()><span class="ident">{name}</span></a></small></h2>
                <p class="tiny facts">
                    <span>{t.flag_time(&clock::day_and_time(flag.from, t), &clock::day_and_time(flag.until, t))}</span>
                    <span>{t.flag_count(flag.count)}</span>
                    <span>{t.flag_rule(&flag.rule, flag.version)}</span>
                    {patient}
                </p>
                {seen.map(|seen| view! { <p class="tiny">{seen}</p> })}
            </div>
            <div class="acts">
                <span class=style>{word}</span>
                {may.then(|| view! {
                    <button type="button" class="button small" data-testid="acknowledge" aria-label=label
                        aria-disabled=move || sender.busy.get().then_some("true") on:click=acknowledge>{t.acknowledge()}</button>
                })}
            </div>
        </li>
    }
}

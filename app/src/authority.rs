//! The CA of the site: whose it is, until when its certificate holds, and what is wrong with it.

use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{AuthorityKind, AuthorityState, AuthorityTrouble, AuthorityView, Right};

use crate::app::use_text;
use crate::classes::Tabs;
use crate::clock;
use crate::fetched::{Fetched, REFRESH};
use crate::format::groups;
use crate::text::Language;
use crate::ui::{Fact, ScreenTitle, icon};

/// The CA of the site.
type Known = Fetched<AuthorityView>;

/// Follows it until it is in order.
fn follow() -> Known {
    Fetched::follow_while("/authority", |view: &AuthorityView| {
        view.state != AuthorityState::Ready || view.trouble.is_some()
    })
}

/// Asks the hospital's CA now.
fn ask_now(known: Known) {
    let app = known.app;
    spawn_local(async move {
        match app.post("/authority/ask", &()).await {
            Ok(answer) => {
                app.notices.say(app.language.get_untracked().authority_asked());
                if let Ok(view) = answer.read() {
                    known.learn(view);
                }
                sleep(REFRESH).await;
                known.load();
            }
            Err(failure) => app.notices.failure(&failure, app.language.get_untracked()),
        }
    });
}

/// Says on every screen that nothing can be paired, as long as that is so.
#[component]
pub(crate) fn NoCertificate() -> impl IntoView {
    let t = use_text();
    let known = follow();
    let is_shown = Memo::new(move |_| {
        known.value.with(|view| view.as_ref().is_some_and(|view| view.state != AuthorityState::Ready))
    });
    view! {
        <Show when=move || is_shown.get()>
            <p class="banner" data-testid="no-certificate">{icon::notice()} <span>{t.authority_banner()}</span></p>
        </Show>
    }
}

/// The screen.
#[component]
pub(crate) fn AuthorityScreen() -> impl IntoView {
    let t = use_text();
    let known = follow();
    view! {
        <section class="list-pane wide">
            <div class="screen-head"><ScreenTitle text=t.authority_title()/></div>
            <Tabs/>
            <p class="quiet">{t.authority_text()}</p>
            {known.trouble()}
            {known.waiting()}
            {move || known.value.get().map(|view| view! { <Card view=view known=known/> })}
        </section>
    }
}

#[component]
fn Card(view: AuthorityView, known: Known) -> impl IntoView {
    let t = use_text();
    let at = |time| clock::day_and_time(time, t);
    let title = match view.kind {
        AuthorityKind::BuiltIn => t.authority_built_in(),
        AuthorityKind::External => t.authority_external(),
    };
    let (style, state) = match view.state {
        AuthorityState::Ready => ("chip done", t.authority_ready()),
        AuthorityState::Waiting => ("chip", t.authority_waiting()),
        AuthorityState::Ended => ("chip", t.authority_ended()),
    };
    let trouble = view.trouble.map(|trouble| {
        let detail = view.detail.clone();
        view! {
            <div class="trouble" data-testid="authority-trouble">
                {icon::notice()}
                <div>
                    <strong>{trouble_words(trouble, t)}</strong>
                    {detail.map(|detail| view! { <p lang="en">{t.authority_in_words()} ": " {detail} "."</p> })}
                </div>
            </div>
        }
    });
    let approval =
        view.awaits_approval.then(|| view! { <p data-testid="authority-approval">{t.authority_approval()}</p> });
    let ends = view.ends_at.map(|time| t.authority_ends(&at(time))).unwrap_or_default();
    let facts = [
        (t.authority_root(), view.root_name.clone(), false),
        (t.authority_root_hash(), view.root.map(|root| groups(&root.to_string())), true),
        (t.authority_name(), view.name.as_ref().map(|name| format!("{name}, {ends}")), false),
        (t.authority_server(), view.server.clone(), true),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, value, mono)| value.map(|value| view! { <Fact name=name value=value mono=mono/> }));
    let times = [
        (view.earlier > 0).then(|| t.authority_earlier(view.earlier)),
        view.last_try.map(|time| t.authority_last_try(&at(time))),
        view.next_try.map(|time| t.authority_next_try(&at(time))),
    ];
    let times = times.into_iter().flatten().map(|text| view! { <span>{text}</span> }).collect_view();
    let may_ask = view.server.is_some() && known.app.may(Right::ChangePolicy);
    let ask = if view.trouble.is_none() && view.state == AuthorityState::Ready {
        t.authority_renew()
    } else {
        t.authority_ask()
    };
    view! {
        <div class="card pad stack" data-testid="authority" data-state=state>
            <div class="screen-head"><h2>{title}</h2><span class=style>{state}</span></div>
            {trouble}
            {approval}
            <dl class="facts-list">{facts.collect_view()}</dl>
            <p class="tiny facts">{times}</p>
            {may_ask.then(|| view! {
                <p><button type="button" class="button small quiet" data-testid="ask-authority" on:click=move |_| ask_now(known)>{ask}</button></p>
            })}
        </div>
    }
}

const fn trouble_words(trouble: AuthorityTrouble, t: Language) -> &'static str {
    match trouble {
        AuthorityTrouble::Configuration => t.authority_trouble_configuration(),
        AuthorityTrouble::Switched => t.authority_trouble_switched(),
        AuthorityTrouble::Unreachable => t.authority_trouble_unreachable(),
        AuthorityTrouble::Credentials => t.authority_trouble_credentials(),
        AuthorityTrouble::Answer => t.authority_trouble_answer(),
        AuthorityTrouble::Root => t.authority_trouble_root(),
        AuthorityTrouble::Algorithm => t.authority_trouble_algorithm(),
        AuthorityTrouble::Certificate => t.authority_trouble_certificate(),
        AuthorityTrouble::Bridge => t.authority_trouble_bridge(),
        AuthorityTrouble::Internal => t.authority_trouble_internal(),
    }
}

//! The rules that look at stored data, and their text.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{ProblemKind, Right, RuleView, RulesChange, RulesView};

use super::{Tabs, either, severity_words};
use crate::api::{self, Failure};
use crate::app::{App, use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::tabs::Empty;
use crate::ui::{ScreenTitle, icon, unique_id};

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// What the rules are from now on.
    Edit(Box<RulesView>),
}

/// The screen.
#[component]
pub(crate) fn RulesScreen() -> impl IntoView {
    let t = use_text();
    let known = Fetched::<RulesView>::follow("/rules");
    let may = use_app().may(Right::ChangeRules);
    let ask = RwSignal::new(None);
    let edit = move |_| ask.set(known.value.get_untracked().map(|rules| Ask::Edit(Box::new(rules))));
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.data_rules_title()/>
                <Show when=move || may && known.value.with(Option::is_some)>
                    <button type="button" class="button small" data-testid="edit-rules" on:click=edit>{t.edit_rules()}</button>
                </Show>
            </div>
            <Tabs/>
            <p class="quiet">{t.data_rules_text()}</p>
            {known.trouble()}
            {known.waiting()}
            {move || known.value.get().map(|rules| view! { <Shown rules=rules/> })}
            <Asking ask=ask known=known/>
        </section>
    }
}

#[component]
fn Shown(rules: RulesView) -> impl IntoView {
    let t = use_text();
    let changed = match (&rules.changed_at, &rules.changed_by) {
        (Some(at), Some(person)) => Some(t.rules_changed(rules.version, &clock::day_and_time(*at, t), person)),
        _ => None,
    };
    if rules.rules.is_empty() {
        return view! { <Empty name="no-rules" what=t.no_rules() advice=t.no_rules_text()/> }.into_any();
    }
    let rows = rules.rules.into_iter().map(|rule| view! { <Row rule=rule/> }).collect_view();
    view! {
        <ul class="card rows" data-testid="data-rules">{rows}</ul>
        {changed.map(|changed| view! { <p class="tiny">{changed}</p> })}
    }
    .into_any()
}

#[component]
fn Row(rule: RuleView) -> impl IntoView {
    let t = use_text();
    let (style, word) = severity_words(rule.severity, t);
    view! {
        <li class="row" data-testid="data-rule">
            <div class="row-main">
                <h2>{either(&rule.english, &rule.german, t).to_owned()}</h2>
                <p class="tiny facts"><span>{t.flag_rule(&rule.rule, rule.version)}</span><span class="mono">{rule.series}</span></p>
            </div>
            <div class="acts"><span class=style>{word}</span></div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Fetched<RulesView>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Edit(_) => t.edit_rules().to_owned(),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Edit(rules) => view! { <EditForm rules=*rules known=known close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn EditForm(rules: RulesView, known: Fetched<RulesView>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let (text, version) = (RwSignal::new(rules.text), rules.version);
    let met = RwSignal::new(None::<RulesView>);
    let id = unique_id("rules");
    let hint = format!("{id}-hint");
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if !sender.begin() {
            return;
        }
        let version = met.with_untracked(|met| met.as_ref().map_or(version, |present| present.version));
        let change = RulesChange { version, text: text.get_untracked() };
        spawn_local(async move {
            match put(app, &change).await {
                Ok(Saved::There) => {
                    let _ = sender.end(Ok(()));
                    app.notices.say(t.rules_saved());
                    known.load();
                    close.run();
                }
                Ok(Saved::Met(present)) => {
                    let _ = sender.end(Ok(()));
                    known.learn(present.clone());
                    // The dialog may have been closed meanwhile.
                    let _ = met.try_set(Some(present));
                }
                Err(failure) => drop(sender.end::<()>(Err(failure))),
            }
        });
    };
    view! {
        <form class="stack" data-testid="rules-form" on:submit=submit>
            <div class="field">
                <label for=id.clone()>{t.rules_as_json()}</label>
                <textarea id=id.clone() name="rules" class="mono" rows="14" spellcheck="false" autocapitalize="none" aria-describedby=hint.clone()
                    prop:value=text on:input:target=move |event| text.set(event.target().value())></textarea>
                <p class="hint" id=hint>{t.rules_hint()}</p>
            </div>
            <div role="alert">{move || met.get().map(|present| view! { <Met present=present/> })}</div>
            {move || met.get().map(|present| view! { <Present rules=present/> })}
            <Answers close=close sender=sender go=t.save() keep=t.cancel()/>
        </form>
    }
}

/// What became of rules that were sent.
enum Saved {
    /// They are in force.
    There,
    /// Somebody else has changed the rules meanwhile: to these.
    Met(RulesView),
}

/// Puts rules in force. Where somebody else has changed them meanwhile, they are fetched.
async fn put(app: App, change: &RulesChange) -> Result<Saved, Failure> {
    match app.send(Method::PUT, "/rules", api::json(change)).await {
        Ok(_) => Ok(Saved::There),
        Err(failure) if failure.kind() == Some(ProblemKind::Outdated) => app.get("/rules").await.map(Saved::Met),
        Err(failure) => Err(failure),
    }
}

/// Somebody else has changed the rules meanwhile.
#[component]
fn Met(present: RulesView) -> impl IntoView {
    let t = use_text();
    let by = present.changed_by.as_deref().unwrap_or_else(|| t.somebody());
    let at = present.changed_at.map(|at| clock::day_and_time(at, t)).unwrap_or_default();
    view! {
        <div class="trouble" data-testid="rules-met">
            {icon::notice()}
            <div><strong>{t.policy_met(by, &at)}</strong><p>{t.rules_met_text()}</p></div>
        </div>
    }
}

/// The text of the rules in force, to take from.
#[component]
fn Present(rules: RulesView) -> impl IntoView {
    let t = use_text();
    let id = unique_id("present");
    view! {
        <div class="field">
            <label for=id.clone()>{t.rules_present(rules.version)}</label>
            <textarea id=id class="mono" rows="8" readonly spellcheck="false" data-testid="present-rules" prop:value=rules.text></textarea>
        </div>
    }
}

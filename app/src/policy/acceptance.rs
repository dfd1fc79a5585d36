//! The rules of acceptance without a person: list in order, and the form of one.

use leptos::prelude::*;
use wardlink_protocol::api::{AcceptanceRule, Trust};
use wardlink_protocol::limits::{MAX_ACCEPTANCE_RULES, MAX_NOTE_BYTES};
use wardlink_protocol::network::Network;

use super::draft::consequences;
use super::networks::{FormAnswers, name_complaint};
use super::{Ask, PartHead, Rules};
use crate::app::{use_app, use_text};
use crate::classes;
use crate::ui::dialog::CloseDialog;
use crate::ui::field::{Choice, Field};
use crate::ui::select::{Select, Switch};
use crate::ui::{icon, unique_id};

/// The list.
#[component]
pub(super) fn Acceptance(rules: Rules, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let list = Memo::new(move |_| rules.part(|policy| policy.acceptance.clone()));
    let has_room = Memo::new(move |_| list.with(Vec::len) < MAX_ACCEPTANCE_RULES);
    let rows = move || {
        let list = list.get();
        let end = list.len();
        let rows = list.into_iter().enumerate();
        rows.map(|(index, rule)| {
            view! { <Row index=index is_last={index + 1 == end} rule=rule rules=rules ask=ask may_change=may_change/> }
        })
        .collect_view()
    };
    view! {
        <div class="card">
            <div class="pad stack">
                <PartHead title=t.policy_acceptance() text=t.policy_acceptance_text()/>
                <Show when=move || list.with(Vec::is_empty)><p>{t.policy_no_acceptance()}</p></Show>
            </div>
            <ol class="rows" data-testid="acceptance">{rows}</ol>
            {may_change.then(|| view! {
                <Show when=move || has_room.get()>
                    <div class="list-foot">
                        <button type="button" class="button small quiet" data-testid="add-rule"
                            on:click=move |_| ask.set(Some(Ask::Acceptance(None)))>{icon::add()} {t.policy_add_rule()}</button>
                    </div>
                </Show>
            })}
        </div>
    }
}

#[component]
fn Row(
    index: usize,
    is_last: bool,
    rule: AcceptanceRule,
    rules: Rules,
    ask: RwSignal<Option<Ask>>,
    may_change: bool,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let said = {
        let rule = rule.clone();
        move || {
            let has_secured = rules.trust() != Trust::None && rules.part(|policy| !policy.secured_networks.is_empty());
            let sentences =
                rules.part(|policy| rules.classes.with(|classes| consequences(&rule, policy, has_secured, classes, t)));
            sentences.into_iter().map(|sentence| view! { <p class="tiny">{sentence}</p> }).collect_view()
        }
    };
    let name = rule.name.clone();
    let remove = move |_| {
        rules.change(|policy| {
            if index < policy.acceptance.len() {
                policy.acceptance.remove(index);
            }
        });
        app.notices.say(t.removed(&name));
    };
    let swap = move |with: usize| {
        rules.change(|policy| {
            if index.max(with) < policy.acceptance.len() {
                policy.acceptance.swap(index, with);
            }
        });
    };
    view! {
        <li class="row" data-testid="rule">
            <div class="row-main">
                <h3>{format!("{}. {}", index + 1, rule.name)} <small>{rule.location.clone()}</small></h3>
                {said}
            </div>
            {may_change.then(|| view! {
                <div class="acts">
                    {(index > 0).then(|| view! {
                        <button type="button" class="icon-button" data-testid="up" aria-label=t.rule_up(&rule.name) title=t.rule_up(&rule.name)
                            on:click=move |_| swap(index - 1)>{icon::up()}</button>
                    })}
                    {(!is_last).then(|| view! {
                        <button type="button" class="icon-button" data-testid="down" aria-label=t.rule_down(&rule.name) title=t.rule_down(&rule.name)
                            on:click=move |_| swap(index + 1)>{icon::down()}</button>
                    })}
                    <button type="button" class="button small quiet" aria-label=t.change_named(&rule.name)
                        on:click=move |_| ask.set(Some(Ask::Acceptance(Some(index))))>{t.change_entry()}</button>
                    <button type="button" class="icon-button" data-testid="remove" aria-label=t.remove_named(&rule.name)
                        title=t.remove_named(&rule.name) on:click=remove>{icon::close()}</button>
                </div>
            })}
        </li>
    }
}

/// The form of one rule.
#[component]
pub(super) fn RuleForm(
    /// Which one is changed; none is a new one.
    index: Option<usize>,
    rules: Rules,
    close: CloseDialog,
) -> impl IntoView {
    let t = use_text();
    let known = index.and_then(|index| untrack(|| rules.part(|policy| policy.acceptance.get(index).cloned())));
    let known = known.unwrap_or_else(|| AcceptanceRule {
        name: String::new(),
        client: None,
        // The beginning is careful.
        network: Some(Network::Secured),
        own_secret: true,
        location: String::new(),
    });
    let (name, location) = (RwSignal::new(known.name), RwSignal::new(known.location));
    let client = RwSignal::new(known.client.map(String::from).unwrap_or_default());
    let (network, own_secret) = (RwSignal::new(known.network), RwSignal::new(known.own_secret));
    let (name_error, location_error) = (RwSignal::new(None), RwSignal::new(None));
    let typed = move || AcceptanceRule {
        name: name.get().trim().to_owned(),
        client: client.get().parse().ok(),
        network: network.get(),
        own_secret: own_secret.get(),
        location: location.get().trim().to_owned(),
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let rule = untrack(typed);
        name_error.set(name_complaint(&rule.name, t));
        location_error.set(if rule.location.is_empty() {
            Some(t.location_missing().to_owned())
        } else {
            (rule.location.len() > MAX_NOTE_BYTES).then(|| t.note_too_long(MAX_NOTE_BYTES))
        });
        if name_error.with_untracked(Option::is_some) || location_error.with_untracked(Option::is_some) {
            return;
        }
        rules.change(|policy| match index.and_then(|index| policy.acceptance.get_mut(index)) {
            Some(known) => *known = rule,
            None => policy.acceptance.push(rule),
        });
        close.run();
    };
    let options = untrack(|| rules.classes.with(|list| classes::options(list, t)));
    let options = core::iter::once((String::new(), t.every_class().to_owned())).chain(options).collect();
    let preview = move || {
        let has_secured = rules.trust() != Trust::None && rules.part(|policy| !policy.secured_networks.is_empty());
        let rule = typed();
        let sentences =
            rules.part(|policy| rules.classes.with(|classes| consequences(&rule, policy, has_secured, classes, t)));
        sentences.into_iter().map(|sentence| view! { <p>{sentence}</p> }).collect_view()
    };
    view! {
        <form class="stack" data-testid="rule-form" on:submit=submit novalidate>
            <Field label=t.rule_name() value=name name="rule-name" hint=t.rule_name_hint() error=name_error focus=true/>
            <Select label=t.rule_class() value=client name="rule-class" options=options/>
            <NetworkChoice network=network/>
            <Switch label=t.rule_own_secret() hint=t.rule_own_secret_hint() name="own-secret" on=own_secret
                change=Callback::new(move |on| own_secret.set(on))/>
            <Field label=t.rule_location() value=location name="rule-location" hint=t.rule_location_hint() error=location_error/>
            <div class="preview" role="status" data-testid="rule-preview">{preview}</div>
            <FormAnswers close=close is_new=index.is_none()/>
        </form>
    }
}

#[component]
fn NetworkChoice(network: RwSignal<Option<Network>>) -> impl IntoView {
    let t = use_text();
    let group = unique_id("network");
    let choices = [
        (Some(Network::Secured), t.rule_secured(), "secured"),
        (Some(Network::Untrusted), t.rule_only_untrusted(), "untrusted"),
        (None, t.rule_any_network(), "any"),
    ];
    let choices = choices.map(|(choice, label, value)| {
        view! {
            <Choice
                name=group.clone()
                label=label
                value=value.to_owned()
                chosen=Signal::derive(move || network.get() == choice)
                choose=Callback::new(move |()| network.set(choice))
            />
        }
    });
    view! { <fieldset class="choices"><legend>{t.rule_network()}</legend>{choices.into_iter().collect_view()}</fieldset> }
}

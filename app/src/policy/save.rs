//! Saving the rules: the bar while something is unsaved, the question before something gets weaker, another person's change.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::Trust;

use super::acceptance::RuleForm;
use super::draft::{Part, meaning};
use super::networks::NetworkForm;
use super::{Ask, Rules};
use crate::app::use_text;
use crate::clock;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::{Trouble, icon};

/// Says that something is unsaved, and saves it. Stronger rules are saved at once, weaker ones after a question.
#[component]
pub(super) fn SaveBar(rules: Rules, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let is_shown = Memo::new(move |_| rules.is_changed());
    let save = move |_| {
        let unreadable = rules.request_text.with_untracked(Option::is_some)
            || rules.verification_text.with_untracked(Option::is_some);
        if rules.busy.get_untracked() || unreadable {
            return;
        }
        if untrack(|| rules.weaker()).is_empty() {
            spawn_local(async move {
                if let Err(failure) = rules.save().await {
                    rules.refused.set(Some(failure));
                }
            });
        } else {
            ask.set(Some(Ask::Weaker));
        }
    };
    let refused = Signal::derive(move || rules.refused.get().filter(|_| ask.with(Option::is_none)));
    view! {
        <Trouble failure=refused/>
        <div role="status">
            <Show when=move || is_shown.get()>
                <div class="save-bar card" data-testid="save-bar">
                    <p><b>{t.policy_unsaved()}</b></p>
                    <div class="acts">
                        <button type="button" class="button small quiet" data-testid="discard" on:click=move |_| rules.discard()>{t.policy_discard()}</button>
                        <button type="button" class="button small" data-testid="save-policy"
                            aria-disabled=move || rules.busy.get().then_some("true") on:click=save>{t.policy_save()}</button>
                    </div>
                </div>
            </Show>
        </div>
    }
}

/// Somebody else has changed the rules meanwhile.
#[component]
pub(super) fn Met(rules: Rules) -> impl IntoView {
    let t = use_text();
    view! {
        <div role="alert">
            {move || rules.met.get().map(|met| {
                let by = met.by.unwrap_or_else(|| t.somebody().to_owned());
                let at = met.at.map(|at| clock::day_and_time(at, t)).unwrap_or_default();
                let parts: Vec<&str> = met.both.iter().map(|part| part.name(t)).collect();
                view! {
                    <div class="trouble" data-testid="policy-met">
                        {icon::notice()}
                        <div>
                            <strong>{t.policy_met(&by, &at)}</strong>
                            <p>{t.policy_met_text()}</p>
                            {(!parts.is_empty()).then(|| view! { <p class="warn">{t.policy_met_both(&parts.join(", "))}</p> })}
                        </div>
                    </div>
                }
            })}
        </div>
    }
}

/// The dialog of the screen.
#[component]
pub(super) fn Asking(rules: Rules, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| {
        String::from(match question {
            Ask::Network(None, _) => t.policy_add_network(),
            Ask::Network(Some(_), _) => t.policy_change_network(),
            Ask::Acceptance(None) => t.policy_add_rule(),
            Ask::Acceptance(Some(_)) => t.policy_change_rule(),
            Ask::Weaker => t.policy_weaker_title(),
        })
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Network(index, begin) => {
            view! { <NetworkForm index=index begin=begin rules=rules close=close/> }.into_any()
        }
        Ask::Acceptance(index) => view! { <RuleForm index=index rules=rules close=close/> }.into_any(),
        Ask::Weaker => view! { <Weaker rules=rules close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

/// What gets weaker, and what will be true afterwards.
#[component]
fn Weaker(rules: Rules, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let parts = untrack(|| rules.weaker()).into_iter().map(move |part: Part| {
        let detail = untrack(|| rules.compare(|before, after| part.new_in(before, after, t)));
        view! { <li><b>{part.name(t)}</b>{(!detail.is_empty()).then(|| format!(": {detail}"))}</li> }
    });
    let afterwards = untrack(|| {
        let tells_origins = rules.trust() != Trust::None;
        rules.part(|policy| rules.classes.with(|classes| meaning(policy, tells_origins, classes, t)))
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if rules.busy.get_untracked() {
            return;
        }
        spawn_local(async move {
            match rules.save().await {
                Ok(()) => close.run(),
                Err(failure) => rules.refused.set(Some(failure)),
            }
        });
    };
    view! {
        <form class="stack" data-testid="weaker-form" on:submit=submit>
            <p>{t.policy_weaker_text()}</p>
            <ul class="bullets">{parts.collect_view()}</ul>
            <p>{t.policy_after()}</p>
            <ul class="bullets quiet">{afterwards.into_iter().map(|sentence| view! { <li>{sentence}</li> }).collect_view()}</ul>
            <Trouble failure=rules.refused/>
            <div class="answers">
                <button type="button" class="button quiet" on:click=move |_| close.run()>{t.policy_go_on()}</button>
                <button class="button" data-testid="confirm" aria-disabled=move || rules.busy.get().then_some("true")>{t.policy_save_weaker()}</button>
            </div>
        </form>
    }
}

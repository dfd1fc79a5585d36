//! The rules of pairing: networks, least modes, the question for the serial number, waiting times, acceptance without a person.
//!
//! What is changed but not saved outlives the screen, and meets what somebody else has saved meanwhile.

use leptos::prelude::*;
use wardlink_protocol::api::{PolicyView, Right, SerialQuestion, Trust};
use wardlink_protocol::pairing::Mode;

use crate::app::{use_app, use_text};
use crate::clock;
use crate::text::Language;
use crate::ui::field::Choice;
use crate::ui::{Loading, ScreenTitle, Trouble, icon, unique_id};

mod acceptance;
mod draft;
mod minutes;
mod networks;
mod save;
mod state;

pub(crate) use state::Rules;

use draft::meaning;

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// A network: the one with this index, or a new one that begins like this.
    Network(Option<usize>, Option<wardlink_protocol::network::SecuredNetwork>),
    /// A rule of acceptance: the one with this index, or a new one.
    Acceptance(Option<usize>),
    /// Whether weaker rules shall be saved.
    Weaker,
}

/// The screen.
#[component]
pub(crate) fn Policy() -> impl IntoView {
    let t = use_text();
    let rules: Rules = expect_context();
    rules.load();
    let known = Memo::new(move |_| rules.view.with(Option::is_some));
    view! {
        <section class="list-pane wide">
            <ScreenTitle text=t.policy_title()/>
            <crate::classes::Tabs/>
            <Trouble failure=rules.failure retry=Callback::new(move |()| rules.load())/>
            {move || match known.get() {
                true => view! { <Known rules=rules/> }.into_any(),
                false if rules.failure.with(Option::is_some) => ().into_any(),
                false => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Known(rules: Rules) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let may_change = app.may(Right::ChangePolicy);
    let ask = RwSignal::new(None);
    let history = move || {
        let changed =
            rules.view.with(|view| view.as_ref().and_then(|view| view.changed_at.zip(view.changed_by.clone())));
        match changed {
            Some((at, by)) => t.policy_changed(&clock::day_and_time(at, t), &by),
            None => t.policy_unchanged().to_owned(),
        }
    };
    view! {
        <p class="quiet" data-testid="policy-history">
            {history} {(!may_change).then(|| view! { " " {t.policy_read_only()} })}
        </p>
        <save::Met rules=rules/>
        <NoTrust rules=rules/>
        <div class="settings">
            <fieldset class="stack" disabled=!may_change data-testid="policy">
                <networks::Networks rules=rules ask=ask may_change=may_change/>
                <Least rules=rules/>
                <Serial rules=rules/>
                <minutes::WaitingTimes rules=rules/>
                <acceptance::Acceptance rules=rules ask=ask may_change=may_change/>
            </fieldset>
            <Meaning rules=rules/>
        </div>
        <save::SaveBar rules=rules ask=ask/>
        <save::Asking rules=rules ask=ask/>
    }
}

/// Why no network is secured, and what to do.
#[component]
fn NoTrust(rules: Rules) -> impl IntoView {
    let t = use_text();
    let is_shown = Memo::new(move |_| rules.trust() == Trust::None);
    view! {
        <Show when=move || is_shown.get()>
            <div class="trouble" data-testid="no-trust">
                {icon::notice()}
                <div><strong>{t.policy_no_trust()}</strong><p>{t.policy_no_trust_text()}</p></div>
            </div>
        </Show>
    }
}

/// The rules in sentences, as they are and as they will be.
#[component]
fn Meaning(rules: Rules) -> impl IntoView {
    let t = use_text();
    let sentences = Memo::new(move |_| {
        let tells_origins = rules.trust() != Trust::None;
        rules.draft.with(|draft| {
            let draft = draft.as_ref()?;
            rules.classes.with(|classes| Some(meaning(draft, tells_origins, classes, t)))
        })
    });
    let title = move || if rules.is_changed() { t.policy_meaning_unsaved() } else { t.policy_meaning() };
    view! {
        <div class="card pad meaning" data-testid="meaning">
            <h2>{title}</h2>
            <ul>
                {move || sentences.get().unwrap_or_default().into_iter().map(|sentence| view! { <li>{sentence}</li> }).collect_view()}
            </ul>
        </div>
    }
}

/// The heading of a part of the rules and what it is about.
#[component]
fn PartHead(title: &'static str, #[prop(optional)] text: &'static str) -> impl IntoView {
    view! {
        <div class="part-head">
            <h2>{title}</h2>
            {(!text.is_empty()).then(|| view! { <p class="quiet">{text}</p> })}
        </div>
    }
}

const fn least_text(mode: Mode, t: Language) -> (&'static str, &'static str) {
    match mode {
        Mode::PairingSimple => (t.least_simple(), t.least_simple_hint()),
        Mode::PairingCode => (t.least_code(), t.least_code_hint()),
        Mode::PairingQrcode => (t.least_qr(), t.least_qr_hint()),
    }
}

/// The weakest modes.
#[component]
fn Least(rules: Rules) -> impl IntoView {
    let t = use_text();
    let secured: [Mode; 3] = [Mode::PairingSimple, Mode::PairingCode, Mode::PairingQrcode];
    let choices = |is_secured: bool| {
        let group = unique_id("least");
        let prefix = if is_secured { "secured" } else { "untrusted" };
        // Without verification nothing is paired on an untrusted network.
        let modes = secured.into_iter().filter(move |mode| is_secured || *mode != Mode::PairingSimple);
        modes
            .map(|mode| {
                let (label, hint) = least_text(mode, t);
                let chosen = Signal::derive(move || {
                    rules.part(|policy| {
                        mode == if is_secured { policy.least_on_secured } else { policy.least_on_untrusted }
                    })
                });
                let choose = Callback::new(move |()| {
                    rules.change(|policy| {
                        *(if is_secured { &mut policy.least_on_secured } else { &mut policy.least_on_untrusted }) =
                            mode;
                    });
                });
                let value = format!("{prefix}-{}", word(&mode));
                view! { <Choice name=group.clone() label=label hint=hint value=value chosen=chosen choose=choose/> }
            })
            .collect_view()
    };
    view! {
        <div class="card pad stack">
            <div class="two">
                <fieldset class="choices"><legend>{t.policy_least_secured()}</legend>{choices(true)}</fieldset>
                <fieldset class="choices"><legend>{t.policy_least_untrusted()}</legend>{choices(false)}</fieldset>
            </div>
            <p class="hint">{t.policy_least_text()}</p>
        </div>
    }
}

/// When the serial number is asked for.
#[component]
fn Serial(rules: Rules) -> impl IntoView {
    let t = use_text();
    let group = unique_id("serial");
    let questions = [
        (SerialQuestion::Never, t.serial_never()),
        (SerialQuestion::Untrusted, t.serial_untrusted()),
        (SerialQuestion::Always, t.serial_always()),
    ];
    let choices = questions.map(|(question, label)| {
        view! {
            <Choice
                name=group.clone()
                label=label
                value=format!("serial-{}", word(&question))
                chosen=Signal::derive(move || rules.part(|policy| policy.serial_question == question))
                choose=Callback::new(move |()| rules.change(|policy| policy.serial_question = question))
            />
        }
    });
    view! {
        <div class="card pad stack">
            <PartHead title=t.policy_serial() text=t.policy_serial_text()/>
            <fieldset class="choices three">
                <legend class="visually-hidden">{t.policy_serial()}</legend>
                {choices.into_iter().collect_view()}
            </fieldset>
        </div>
    }
}

/// A value's word in the API, for tests.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

/// Whether anybody tells this site where connections come from.
fn tells_origins(view: &PolicyView) -> bool {
    view.trust != Trust::None
}

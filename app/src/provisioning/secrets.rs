//! The access secrets: how they stand, making another, ending one.

use leptos::prelude::*;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{NewSecret, SecretState, SecretView};
use wardlink_protocol::limits::{MAX_SECRET_DAYS, MAX_TEXT_BYTES};

use super::Known;
use crate::app::{use_app, use_text};
use crate::clock;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::Field;
use crate::ui::form::{Answers, Sender};
use crate::ui::{Loading, Trouble, icon};

/// For how many days a new secret is good unless somebody says otherwise.
const USUAL_DAYS: u32 = 365;
/// A secret that ends within so many days is shown as such.
const SOON_DAYS: u64 = 30;
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Make,
    End(SecretView),
}

/// Whether a secret ends soon, and in how many days.
fn ends_in_days(secret: &SecretView, now: UnixMillis) -> Option<u64> {
    let left = secret.expires_at?.0.checked_sub(now.0)?;
    let days = left.div_ceil(DAY);
    (secret.state == SecretState::Active && days <= SOON_DAYS).then_some(days)
}

/// The lists: hospital-wide secrets first, those of single devices below, what no longer counts at the end of each.
#[component]
pub(super) fn Secrets(known: Known) -> impl IntoView {
    let t = use_text();
    let ask = RwSignal::new(None);
    let list = move |is_wide: bool| {
        let mut list: Vec<SecretView> = known.secrets.get().unwrap_or_default();
        list.retain(|secret| secret.device.is_none() == is_wide);
        list.sort_by_key(|secret| (secret.state != SecretState::Active, core::cmp::Reverse(secret.made_at)));
        list.into_iter().map(|secret| view! { <Secret secret=secret ask=ask/> }).collect_view()
    };
    let counts = Memo::new(move |_| {
        known.secrets.with(|list| {
            list.as_ref().map(|list| {
                let wide = list.iter().filter(|secret| secret.device.is_none()).count();
                (wide, list.len() - wide)
            })
        })
    });
    view! {
        <section class="stack">
            <div class="screen-head">
                <h2 class="section-title">{t.secrets_title()}</h2>
                <button type="button" class="button small quiet" data-testid="add-secret" on:click=move |_| ask.set(Some(Ask::Make))>
                    {icon::add()} {t.add_secret()}
                </button>
            </div>
            <Trouble failure=known.failure retry=Callback::new(move |()| known.load())/>
            {move || match counts.get() {
                Some((0, 0)) => view! { <div class="card empty" data-testid="secrets"><p>{t.no_secrets()}</p></div> }.into_any(),
                Some((_, single)) => view! {
                    <ul class="card rows" data-testid="secrets">{move || list(true)}</ul>
                    {(single > 0).then(|| view! {
                        <h3 class="section-title">{t.secrets_of_devices()}</h3>
                        <ul class="card rows" data-testid="device-secrets">{move || list(false)}</ul>
                    })}
                }.into_any(),
                None if known.failure.with(Option::is_some) => ().into_any(),
                None => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
            <Asking ask=ask known=known/>
        </section>
    }
}

#[component]
fn Secret(secret: SecretView, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let is_active = secret.state == SecretState::Active;
    let whose = match (&secret.device, secret.name.is_empty()) {
        (Some(device), _) => device.to_string(),
        (None, true) => t.hospital_wide().to_owned(),
        (None, false) => secret.name.clone(),
    };
    let end = match (secret.ended_at, secret.expires_at, secret.state) {
        (Some(at), ..) => t.secret_ended_at(&clock::day_and_time(at, t)),
        (None, Some(at), SecretState::Expired) => t.secret_expired_at(&clock::day_and_time(at, t)),
        (None, Some(at), _) => t.expires(&clock::day_and_time(at, t)),
        (None, None, _) => t.no_end().to_owned(),
    };
    let made = clock::day_and_time(secret.made_at, t);
    let made = secret.made_by.as_ref().map_or_else(|| t.made_at(&made), |by| t.made_at_by(&made, by));
    let used = match secret.used_at {
        Some(at) => t.secret_used(&clock::day_and_time(at, t)),
        None => t.secret_unused().to_owned(),
    };
    let (style, word) = match secret.state {
        SecretState::Active => ("chip done", t.secret_active()),
        SecretState::Expired => ("chip", t.secret_expired()),
        SecretState::Ended => ("chip", t.secret_ended()),
    };
    let (soon, id) = (secret.clone(), secret.id.to_string());
    let soon = Memo::new(move |_| ends_in_days(&soon, app.clock.now()));
    let label = t.end_secret_of(&id);
    view! {
        <li class="row" class:inactive=!is_active data-testid="secret" data-secret=id.clone() data-state=word>
            <div class="row-main">
                <h3>{whose} <small class="mono">{id.clone()}</small></h3>
                <p class="tiny facts"><span>{end}</span><span>{used}</span><span>{made}</span></p>
                {move || soon.get().map(|days| view! { <p class="tiny warn" data-testid="ends-soon">{t.secret_ends_soon(days)}</p> })}
            </div>
            <div class="acts">
                <span class=style>{word}</span>
                {is_active.then(|| view! {
                    <button type="button" class="button small quiet" data-testid="end-secret" aria-label=label
                        on:click=move |_| ask.set(Some(Ask::End(secret.clone())))>{t.end_secret()}</button>
                })}
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Known) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Make => t.add_secret().to_owned(),
        Ask::End(secret) => t.end_secret_title(secret.id.as_str()),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Make => view! { <MakeForm known=known close=close/> }.into_any(),
        Ask::End(secret) => view! { <EndForm secret=secret known=known close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

/// Sends a form, and closes its dialog when it is done.
fn send(known: Known, path: String, body: Option<String>, sender: Sender, close: CloseDialog) {
    sender.send(known.app, path, body, move |_| {
        known.load();
        close.run();
    });
}

#[component]
fn MakeForm(known: Known, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let (name, days) = (RwSignal::new(String::new()), RwSignal::new(USUAL_DAYS.to_string()));
    let (name_error, days_error) = (RwSignal::new(None), RwSignal::new(None));
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let name = name.get_untracked().trim().to_owned();
        let lifetime = days.get_untracked().trim().parse().ok().filter(|days| (1..=MAX_SECRET_DAYS).contains(days));
        name_error.set((name.len() > MAX_TEXT_BYTES).then(|| t.note_too_long(MAX_TEXT_BYTES)));
        days_error.set(lifetime.is_none().then(|| t.policy_minutes_invalid(1, MAX_SECRET_DAYS)));
        let (Some(lifetime_days), None) = (lifetime, name_error.get_untracked()) else { return };
        let body = crate::api::json(&NewSecret { name, lifetime_days });
        send(known, "/secrets".to_owned(), body, sender, close);
    };
    view! {
        <form class="stack" data-testid="secret-form" on:submit=submit novalidate>
            <p class="quiet">{t.add_secret_text()}</p>
            <Field label=t.secret_name() value=name name="secret-name" hint=t.secret_name_hint() error=name_error focus=true/>
            <Field label=t.secret_days() value=days name="days" hint=t.secret_days_hint() error=days_error/>
            <Answers close=close sender=sender go=t.make_secret() keep=t.cancel()/>
        </form>
    }
}

#[component]
fn EndForm(secret: SecretView, known: Known, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let sender = Sender::new();
    let text = if secret.device.is_some() { t.end_secret_text_device() } else { t.end_secret_text() };
    let used = secret.used_at.map(|at| t.secret_used(&clock::day_and_time(at, t)));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        send(known, format!("/secrets/{}/end", secret.id), None, sender, close);
    };
    view! {
        <form class="stack" data-testid="end-secret-form" on:submit=submit>
            <p>{text}</p>
            {used.map(|used| view! { <p class="quiet">{used}</p> })}
            <Answers close=close sender=sender go=t.end_secret() keep=t.cancel()/>
        </form>
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn secret(state: SecretState, expires_at: Option<u64>) -> SecretView {
        SecretView {
            id: "s-1".parse().unwrap(),
            name: String::new(),
            device: None,
            state,
            made_at: UnixMillis(0),
            made_by: None,
            expires_at: expires_at.map(UnixMillis),
            ended_at: None,
            used_at: None,
        }
    }

    #[test]
    fn an_active_secret_in_its_last_month_ends_soon() {
        let soon = |secret: &SecretView| ends_in_days(secret, UnixMillis(DAY));
        assert_eq!(soon(&secret(SecretState::Active, Some(31 * DAY))), Some(30));
        assert_eq!(soon(&secret(SecretState::Active, Some(31 * DAY + 1))), None);
        assert_eq!(soon(&secret(SecretState::Active, Some(DAY + 1))), Some(1));
        assert_eq!(soon(&secret(SecretState::Active, None)), None);
        assert_eq!(soon(&secret(SecretState::Ended, Some(2 * DAY))), None);
    }
}

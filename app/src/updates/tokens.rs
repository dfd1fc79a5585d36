//! The tokens under which a manufacturer publishes.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{MadePublishingToken, ManufacturerView, PublishingToken};

use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::ui::Trouble;
use crate::ui::clipboard;
use crate::ui::form::Sender;

/// What comes so soon after a press belongs to it, in milliseconds.
const DOUBLE_CLICK_MILLIS: f64 = 500.0;
/// How long it waits for the second press.
const ASKED_FOR: core::time::Duration = core::time::Duration::from_secs(5);

/// The tokens of one manufacturer, and making another.
#[component]
pub(super) fn Tokens(name: String, known: Fetched<Vec<ManufacturerView>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let made = RwSignal::new(None::<MadePublishingToken>);
    // A locked page holds no secret.
    Effect::new(move |_| {
        if app.lock.is_on() {
            made.set(None);
        }
    });
    let path = format!("/manufacturers/{name}/tokens");
    let another = {
        let path = path.clone();
        move |_| {
            sender.send(app, path.clone(), None, move |answer| match answer.read::<MadePublishingToken>() {
                Ok(token) => {
                    known.load();
                    if !app.lock.is_on_now() {
                        let _ = made.try_set(Some(token));
                    }
                }
                Err(failure) => drop(sender.failure.try_set(Some(failure))),
            });
        }
    };
    let revoke = Callback::new({
        let path = path.clone();
        move |id: u64| {
            sender.send(app, format!("{path}/{id}/revoke"), None, move |_| {
                app.notices.say(t.token_is_revoked());
                known.load();
            });
        }
    });
    let manufacturer = StoredValue::new(name);
    let tokens = Memo::new(move |_| {
        let of = |one: &&ManufacturerView| manufacturer.with_value(|name| one.manufacturer == *name);
        known.value.with(|list| list.iter().flatten().find(of).map(|one| one.tokens.clone())).unwrap_or_default()
    });
    let rows = move || tokens.get().into_iter().map(|token| view! { <Row token=token revoke=revoke/> }).collect_view();
    let site = window().location().origin().unwrap_or_default();
    let command = StoredValue::new(format!("wardlink release publish --server {site} --token-file token.txt"));
    let copy = move |_| {
        spawn_local(async move {
            let text = made.with_untracked(|made| made.as_ref().map(|made| made.token.clone())).unwrap_or_default();
            let is_copied = clipboard::put(&text).await;
            app.notices.say(if is_copied { t.token_copied() } else { t.service_not_copied() });
        });
    };
    view! {
        <div class="stack" data-testid="tokens-form">
            <p class="quiet">{t.tokens_text()}</p>
            {move || made.with(|made| made.as_ref().map(|made| made.token.clone())).map(|token| view! {
                <section class="preview" role="status" data-testid="token-made">
                    <p><b>{t.token_made()}</b> " " {t.token_made_text()}</p>
                    <p class="command mono token" data-testid="token">{token}</p>
                    <p class="quiet">{t.token_command()}</p>
                    <p class="command mono">{command.get_value()}</p>
                    <button type="button" class="button" data-testid="copy-token" on:click=copy>{t.token_copy()}</button>
                </section>
            })}
            {move || tokens.with(Vec::is_empty).then(|| view! { <p>{t.no_tokens()}</p> })}
            <ul class="rows plain">{rows}</ul>
            <Trouble failure=sender.failure/>
            <button type="button" class="button" class:quiet=move || made.with(Option::is_some) data-testid="make-token"
                aria-disabled=move || sender.busy.get().then_some("true") on:click=another>{t.make_token()}</button>
        </div>
    }
}

#[component]
fn Row(token: PublishingToken, revoke: Callback<u64>) -> impl IntoView {
    let t = use_text();
    let at = |time| clock::day_and_time(time, t);
    let used = token.used_at.map_or_else(|| t.token_unused().to_owned(), |time| t.token_used(&at(time)));
    let end = token.revoked_at.map(|time| view! { <span>{t.token_revoked_at(&at(time))}</span> });
    let id = token.id;
    // Nothing brings it back, and an upload under way ends: it takes two presses, and a double click is one.
    let asked_at = RwSignal::new(None::<f64>);
    let is_asked = move || asked_at.with(Option::is_some);
    let press = move |event: leptos::ev::MouseEvent| match asked_at.get_untracked() {
        Some(at) if event.time_stamp() - at < DOUBLE_CLICK_MILLIS => {}
        Some(_) => revoke.run(id),
        None => {
            asked_at.set(Some(event.time_stamp()));
            set_timeout(
                move || {
                    let _ = asked_at.try_set(None);
                },
                ASKED_FOR,
            );
        }
    };
    let words = move || if is_asked() { t.revoke_token_sure() } else { t.revoke_token() };
    let label = move || if is_asked() { t.revoke_token_sure_of(id) } else { t.revoke_token_of(id) };
    view! {
        <li class="row" class:inactive=token.revoked_at.is_some() data-testid="publishing-token">
            <div class="row-main">
                <h3>{t.token_line(id)}</h3>
                <p class="tiny facts"><span>{t.made_at_by(&at(token.made_at), &token.made_by)}</span><span>{used}</span>{end}</p>
            </div>
            {token.revoked_at.is_none().then(|| view! {
                <div class="acts">
                    <button type="button" class="button small" class:quiet=move || !is_asked() data-testid="revoke-token" aria-label=label
                        on:click=press>{words}</button>
                    <span class="visually-hidden" role="status">{move || is_asked().then(|| t.revoke_token_sure_of(id))}</span>
                </div>
            })}
        </li>
    }
}

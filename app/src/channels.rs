//! The channels: what travels how, under which keys, and what a change does.

use leptos::prelude::*;
use wardlink_protocol::api::{ChannelKeyState, ChannelsView, KeyJob, KeyJobReason, Right};
use wardlink_protocol::channel::{Channel, ContentAlgorithm, DataType, KeyScope, Priority, Qos};
use wardlink_protocol::identity::TrustLevel;

use crate::app::use_text;
use crate::clock;
use crate::fetched::Fetched;
use crate::live::Live;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::{ScreenTitle, icon};

mod edit;

/// Seconds of an hour.
const HOUR: u64 = 60 * 60;

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// How a channel is to be: the one that is, or a new one.
    Edit(Option<Channel>),
    /// Whether its devices shall get new keys.
    NewKeys(Channel),
}

/// The channels that are known.
type Channels = Fetched<ChannelsView>;

fn priority_word(priority: Priority, t: Language) -> &'static str {
    match priority {
        Priority::High => t.priority_high(),
        Priority::Medium => t.priority_medium(),
        Priority::Low => t.priority_low(),
    }
}

fn data_word(data: DataType, t: Language) -> &'static str {
    match data {
        DataType::Alarm => t.data_alarm(),
        DataType::Therapy => t.data_therapy(),
        DataType::Command => t.data_command(),
        DataType::Telemetry => t.data_telemetry(),
        DataType::Log => t.data_log(),
        DataType::Update => t.data_update(),
    }
}

fn qos_word(qos: Qos, t: Language) -> &'static str {
    match qos {
        Qos::AtLeastOnce => t.delivery_once(),
        Qos::AtMostOnce => t.delivery_lossy(),
    }
}

const fn algorithm_word(algorithm: ContentAlgorithm) -> &'static str {
    match algorithm {
        ContentAlgorithm::A128GCM => "AES-128-GCM",
        ContentAlgorithm::A256GCM => "AES-256-GCM",
    }
}

fn scope_word(scope: KeyScope, t: Language) -> &'static str {
    match scope {
        KeyScope::Class => t.scope_class(),
        KeyScope::Device => t.scope_device(),
    }
}

fn trust_word(trust: TrustLevel, t: Language) -> &'static str {
    match trust {
        TrustLevel::Reduced => t.trust_any(),
        TrustLevel::Full => t.trust_full_only(),
    }
}

/// A row in words, piece by piece.
fn facts(row: &Channel, t: Language) -> Vec<String> {
    let data: Vec<&str> = row.data_types.iter().map(|data| data_word(*data, t)).collect();
    let mut facts = vec![data.join(", "), qos_word(row.qos, t).to_owned(), algorithm_word(row.algorithm).to_owned()];
    facts.extend(row.signed.then(|| t.channel_signed_short().to_owned()));
    facts.extend(row.durable.then(|| t.channel_durable_short().to_owned()));
    facts.push(scope_word(row.scope, t).to_owned());
    facts.push(t.every_hours(row.rotation_secs / HOUR));
    facts.push(trust_word(row.trust, t).to_owned());
    facts
}

/// The screen.
#[component]
pub(crate) fn ChannelsScreen() -> impl IntoView {
    let t = use_text();
    let channels = Channels::start("/channels");
    let ask = RwSignal::new(None);
    let may_change = channels.app.may(Right::ChangeChannels);
    let history = move || {
        channels.value.with(|view| {
            let view = view.as_ref()?;
            Some(match view.changed_at.zip(view.changed_by.as_ref()) {
                Some((at, by)) => t.channels_changed(&clock::day_and_time(at, t), by),
                None => t.channels_unchanged().to_owned(),
            })
        })
    };
    let rows = move || {
        let view = channels.value.get();
        let rows = view.into_iter().flat_map(|view| view.channels.into_iter().zip(view.keys));
        rows.map(|(row, keys)| view! { <Row row=row keys=keys ask=ask may_change=may_change/> }).collect_view()
    };
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.channels_title()/>
                {may_change.then(|| view! {
                    <button type="button" class="button small" data-testid="add-channel" on:click=move |_| ask.set(Some(Ask::Edit(None)))>
                        {icon::add()} {t.add_channel()}
                    </button>
                })}
            </div>
            <crate::classes::Tabs/>
            <p class="quiet">{t.channels_text()} " " <span data-testid="channels-history">{history}</span></p>
            {channels.trouble()}
            <KeyJobs/>
            <Show when=move || channels.value.with(Option::is_some)>
                <ul class="card rows" data-testid="channels">{rows}</ul>
            </Show>
            {channels.waiting()}
            <Asking ask=ask channels=channels/>
        </section>
    }
}

#[component]
fn Row(row: Channel, keys: ChannelKeyState, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let made = match keys.rotated_at {
        Some(at) => t.keys_made_at(&clock::day_and_time(at, t)),
        None => t.no_keys_yet().to_owned(),
    };
    let next = keys.rotates_at.map(|at| t.keys_next(&clock::day_and_time(at, t)));
    let name = row.name.to_string();
    let (change_label, keys_label) = (t.change_channel_of(&name), t.new_keys_of(&name));
    let (for_change, for_keys) = (row.clone(), row.clone());
    view! {
        <li class="row" data-testid="channel" data-channel=name.clone()>
            <div class="row-main">
                <h2><span class="mono-name">{row.name.to_string()}</span> <small>{priority_word(row.priority, t)}</small></h2>
                <p class="tiny facts">{facts(&row, t).into_iter().map(|fact| view! { <span>{fact}</span> }).collect_view()}</p>
                <p class="tiny facts"><span>{made}</span>{next.map(|next| view! { <span>{next}</span> })}</p>
            </div>
            {may_change.then(|| view! {
                <div class="acts">
                    <button type="button" class="button small quiet" data-testid="new-keys" aria-label=keys_label
                        on:click=move |_| ask.set(Some(Ask::NewKeys(for_keys.clone())))>{t.new_keys()}</button>
                    <button type="button" class="button small quiet" data-testid="change-channel" aria-label=change_label
                        on:click=move |_| ask.set(Some(Ask::Edit(Some(for_change.clone()))))>{t.change_channel()}</button>
                </div>
            })}
        </li>
    }
}

/// New keys that are on their way, as it happens.
#[component]
pub(crate) fn KeyJobs() -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let reason = move |job: &KeyJob| match job.reason {
        KeyJobReason::Schedule => t.job_schedule(),
        KeyJobReason::ByHand => t.job_by_hand(),
        KeyJobReason::Policy => t.job_policy(),
        KeyJobReason::Revocation => t.job_revocation(),
        KeyJobReason::Restored => t.job_restored(),
    };
    view! {
        <div role="status">
            <Show when=move || !live.key_jobs.with(Vec::is_empty)>
                <div class="banner" data-testid="key-jobs">
                    {icon::key()}
                    <div>
                        <p><b>{t.key_jobs()}</b></p>
                        {move || live.key_jobs.get().into_iter().map(|job| view! {
                            <p>{format!("{}: {}", reason(&job), t.key_job(job.reached, job.devices))}</p>
                        }).collect_view()}
                    </div>
                </div>
            </Show>
        </div>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, channels: Channels) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Edit(None) => t.add_channel().to_owned(),
        Ask::Edit(Some(row)) => t.change_channel_of(row.name.as_str()),
        Ask::NewKeys(row) => t.new_keys_title(row.name.as_str()),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Edit(row) => view! { <edit::EditForm row=row channels=channels close=close/> }.into_any(),
        Ask::NewKeys(row) => view! { <NewKeysForm row=row channels=channels close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn NewKeysForm(row: Channel, channels: Channels, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let name = row.name.to_string();
        sender.send(channels.app, format!("/channels/{name}/rotate"), None, move |answer| {
            channels.app.notices.say(t.new_keys_made(&name));
            if let Ok(view) = answer.read() {
                channels.learn(view);
            }
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="new-keys-form" on:submit=submit>
            <p>{t.new_keys_text()}</p>
            <Answers close=close sender=sender go=t.make_keys() keep=t.cancel()/>
        </form>
    }
}

//! A channel is changed in two steps: how it is to be, and what that does to which devices.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wardlink_protocol::api::{ChannelsChange, ChannelsView};
use wardlink_protocol::channel::{Channel, ChannelName, ContentAlgorithm, DataType, KeyScope, Priority, Qos};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::limits::{MAX_ROTATION_SECS, MIN_ROTATION_SECS};
use wardlink_trust::policy::{Affected, ChannelChange, DATA_TYPES, Effect, Field as Changed, Preview};

use super::{Channels, HOUR, algorithm_word, data_word, priority_word, qos_word, scope_word, trust_word};
use crate::api;
use crate::app::use_text;
use crate::text::Language;
use crate::ui::Trouble;
use crate::ui::dialog::CloseDialog;
use crate::ui::field::Field;
use crate::ui::form::{Answers, Sender};
use crate::ui::select::{Select, Switch};

/// What a person has filled in.
#[derive(Clone, Copy)]
struct Draft {
    name: RwSignal<String>,
    priority: RwSignal<String>,
    data: RwSignal<Vec<DataType>>,
    qos: RwSignal<String>,
    algorithm: RwSignal<String>,
    scope: RwSignal<String>,
    trust: RwSignal<String>,
    hours: RwSignal<String>,
    signed: RwSignal<bool>,
    durable: RwSignal<bool>,
}

/// A value's word in the API.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

/// The value of a word that came from [`word`].
fn value<T: DeserializeOwned>(word: RwSignal<String>) -> Option<T> {
    serde_json::to_value(word.get_untracked()).and_then(serde_json::from_value).ok()
}

impl Draft {
    fn new(row: Option<&Channel>) -> Self {
        let text = |word: Option<String>, usual: &str| RwSignal::new(word.unwrap_or_else(|| usual.to_owned()));
        Self {
            name: text(row.map(|row| row.name.to_string()), ""),
            priority: text(row.map(|row| word(&row.priority)), &word(&Priority::Low)),
            data: RwSignal::new(row.map(|row| row.data_types.clone()).unwrap_or_default()),
            qos: text(row.map(|row| word(&row.qos)), &word(&Qos::AtLeastOnce)),
            algorithm: text(row.map(|row| word(&row.algorithm)), &word(&ContentAlgorithm::A256GCM)),
            scope: text(row.map(|row| word(&row.scope)), &word(&KeyScope::Class)),
            trust: text(row.map(|row| word(&row.trust)), &word(&TrustLevel::Full)),
            hours: text(row.map(|row| (row.rotation_secs / HOUR).to_string()), "24"),
            signed: RwSignal::new(row.is_none_or(|row| row.signed)),
            durable: RwSignal::new(row.is_some_and(|row| row.durable)),
        }
    }

    fn hours(self) -> Option<u64> {
        let hours = self.hours.get_untracked().trim().parse::<u64>().ok();
        hours.filter(|hours| (MIN_ROTATION_SECS / HOUR..=MAX_ROTATION_SECS / HOUR).contains(hours))
    }

    fn name(self) -> Option<ChannelName> {
        self.name.get_untracked().trim().parse().ok()
    }

    /// The row; none while something cannot be read.
    fn row(self) -> Option<Channel> {
        Some(Channel {
            name: self.name()?,
            priority: value(self.priority)?,
            data_types: self.data.get_untracked(),
            qos: value(self.qos)?,
            algorithm: value(self.algorithm)?,
            signed: self.signed.get_untracked(),
            scope: value(self.scope)?,
            durable: self.durable.get_untracked(),
            rotation_secs: self.hours()?.checked_mul(HOUR)?,
            trust: value(self.trust)?,
        })
    }
}

/// All rows with one of them changed, added or (none) removed.
fn changed(view: &ChannelsView, was: Option<&ChannelName>, row: Option<Channel>) -> ChannelsChange {
    let mut channels = view.channels.clone();
    let place = was.and_then(|was| channels.iter().position(|known| known.name == *was));
    match (place, row) {
        (Some(place), Some(row)) => channels.splice(place..=place, [row]).for_each(drop),
        (Some(place), None) => drop(channels.remove(place)),
        (None, Some(row)) => channels.push(row),
        (None, None) => {}
    }
    ChannelsChange { version: view.version, channels }
}

#[component]
pub(super) fn EditForm(row: Option<Channel>, channels: Channels, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let draft = Draft::new(row.as_ref());
    let was = StoredValue::new(row.map(|row| row.name));
    let is_new = was.with_value(Option::is_none);
    let shown = RwSignal::new(None::<(ChannelsChange, Preview)>);
    let (name_error, hours_error) = (RwSignal::new(None), RwSignal::new(None));
    let sender = Sender::new();
    let look = move |row: Option<Channel>| {
        let change = channels
            .value
            .with_untracked(|view| view.as_ref().map(|view| was.with_value(|was| changed(view, was.as_ref(), row))));
        let Some(change) = change.filter(|_| sender.begin()) else { return };
        spawn_local(async move {
            let answer = channels.app.send(Method::POST, "/channels/preview", api::json(&change)).await;
            let preview = answer.and_then(|answer| answer.read::<Preview>());
            if let Some(preview) = sender.end(preview) {
                let _ = shown.try_set(Some((change, preview)));
            }
        });
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        name_error.set(draft.name().is_none().then(|| t.channel_name_wrong().to_owned()));
        let (least, most) = (MIN_ROTATION_SECS / HOUR, MAX_ROTATION_SECS / HOUR);
        hours_error.set(draft.hours().is_none().then(|| t.channel_rotation_wrong(least, most)));
        if let Some(row) = draft.row() {
            look(Some(row));
        }
    };
    move || {
        match shown.get() {
        Some((change, preview)) => {
            let back = Callback::new(move |()| shown.set(None));
            view! { <Save change=change preview=preview channels=channels close=close back=back/> }.into_any()
        }
        None => view! {
            <form class="stack" data-testid="channel-form" on:submit=submit novalidate>
                {is_new.then(|| view! {
                    <Field label=t.channel_name() value=draft.name name="channel-name" hint=t.channel_name_hint() error=name_error focus=true/>
                })}
                <Data data=draft.data/>
                <Choices draft=draft/>
                <Field label=t.channel_rotation() value=draft.hours name="hours" error=hours_error/>
                <Switch label=t.channel_signed() name="signed" on=draft.signed change=Callback::new(move |on| draft.signed.set(on))/>
                <Switch label=t.channel_durable() name="durable" on=draft.durable change=Callback::new(move |on| draft.durable.set(on))/>
                {(!is_new).then(|| view! {
                    <button type="button" class="link" data-testid="remove-channel" on:click=move |_| look(None)>{t.remove_channel()}</button>
                })}
                <Answers close=close sender=sender go=t.preview_button() keep=t.cancel()/>
            </form>
        }.into_any(),
    }
    }
}

/// Which kinds of data a channel carries.
#[component]
fn Data(data: RwSignal<Vec<DataType>>) -> impl IntoView {
    let t = use_text();
    let switches = DATA_TYPES.map(|kind| {
        let change = Callback::new(move |on: bool| {
            data.update(|chosen| {
                chosen.retain(|known| *known != kind);
                if on {
                    chosen.push(kind);
                }
            });
        });
        let on = Signal::derive(move || data.with(|chosen| chosen.contains(&kind)));
        view! { <Switch label=data_word(kind, t) name="data" on=on change=change/> }
    });
    view! {
        <fieldset class="choices pairs">
            <legend>{t.channel_data()}</legend>
            {switches.into_iter().collect_view()}
        </fieldset>
    }
}

/// What is chosen among few words.
#[component]
fn Choices(draft: Draft) -> impl IntoView {
    let t = use_text();
    let priorities = [Priority::High, Priority::Medium, Priority::Low];
    let priorities = priorities.map(|priority| (word(&priority), priority_word(priority, t).to_owned())).to_vec();
    let qos = [Qos::AtLeastOnce, Qos::AtMostOnce].map(|qos| (word(&qos), qos_word(qos, t).to_owned())).to_vec();
    let algorithms = [ContentAlgorithm::A256GCM, ContentAlgorithm::A128GCM];
    let algorithms = algorithms.map(|algorithm| (word(&algorithm), algorithm_word(algorithm).to_owned())).to_vec();
    let scopes = [KeyScope::Class, KeyScope::Device];
    let scopes = scopes.map(|scope| (word(&scope), scope_word(scope, t).to_owned())).to_vec();
    let trusts = [TrustLevel::Full, TrustLevel::Reduced];
    let trusts = trusts.map(|trust| (word(&trust), trust_word(trust, t).to_owned())).to_vec();
    view! {
        <div class="pairs">
            <Select label=t.channel_priority() value=draft.priority name="priority" options=priorities/>
            <Select label=t.channel_delivery() value=draft.qos name="qos" options=qos/>
            <Select label=t.channel_cipher() value=draft.algorithm name="algorithm" options=algorithms/>
            <Select label=t.channel_scope() value=draft.scope name="scope" options=scopes/>
            <Select label=t.channel_trust() value=draft.trust name="trust" options=trusts/>
        </div>
    }
}

/// What a change does to one channel, in a sentence.
fn headline(change: &ChannelChange, t: Language) -> String {
    let name = change.channel.as_str();
    match (&change.before, &change.after) {
        (None, _) => t.preview_added(name),
        (_, None) => t.preview_removed(name),
        _ => {
            let fields: Vec<&str> = change.fields.iter().map(|field| field_word(*field, t)).collect();
            t.preview_changed(name, &fields.join(", "))
        }
    }
}

fn field_word(field: Changed, t: Language) -> &'static str {
    match field {
        Changed::Priority => t.channel_priority(),
        Changed::DataTypes => t.channel_data(),
        Changed::Qos => t.channel_delivery(),
        Changed::Algorithm => t.channel_cipher(),
        Changed::Signed => t.channel_signed_field(),
        Changed::Scope => t.channel_scope(),
        Changed::Durable => t.channel_durable_field(),
        Changed::Rotation => t.channel_rotation_field(),
        Changed::Trust => t.channel_trust(),
    }
}

fn effect(affected: &Affected, t: Language) -> String {
    let class = affected.client.as_str();
    match affected.effect {
        Effect::Gains => t.preview_gains(affected.devices, class),
        Effect::Loses => t.preview_loses(affected.devices, class),
        Effect::Rekeyed => t.preview_rekeyed(affected.devices, class),
    }
}

/// What a change does, and the button that does it.
#[component]
fn Save(
    change: ChannelsChange,
    preview: Preview,
    channels: Channels,
    close: CloseDialog,
    back: Callback<()>,
) -> impl IntoView {
    let t = use_text();
    let sender = Sender::new();
    let is_empty = preview.is_empty();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if is_empty {
            return close.run();
        }
        if !sender.begin() {
            return;
        }
        let body = api::json(&change);
        spawn_local(async move {
            let answer = channels.app.send(Method::PUT, "/channels", body).await;
            let view = answer.and_then(|answer| answer.read::<ChannelsView>());
            if let Some(view) = sender.end(view) {
                channels.learn(view);
                channels.app.notices.say(t.channels_saved().to_owned());
                close.run();
            }
        });
    };
    let touched = preview.changes.iter().any(|change| !change.affected.is_empty());
    let changes = preview.changes.iter().map(|change| {
        let effects = change.affected.iter().map(|affected| view! { <li>{effect(affected, t)}</li> }).collect_view();
        view! { <li><b>{headline(change, t)}</b><ul class="bullets">{effects}</ul></li> }
    });
    view! {
        <form class="stack" data-testid="channel-preview" on:submit=submit>
            <h3>{t.preview_title()}</h3>
            {is_empty.then(|| view! { <p>{t.preview_nothing()}</p> })}
            <ul class="bullets">{changes.collect_view()}</ul>
            {(!is_empty && !touched).then(|| view! { <p class="quiet">{t.preview_nobody()}</p> })}
            <Trouble failure=sender.failure/>
            <div class="answers">
                <button type="button" class="button quiet" data-testid="back" on:click=move |_| back.run(())>{t.preview_back()}</button>
                <button class="button" data-testid="confirm" aria-disabled=move || sender.busy.get().then_some("true")>
                    {if is_empty { t.close() } else { t.preview_save() }}
                </button>
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use wardlink_protocol::channel::default_channels;

    #[test]
    fn a_row_is_changed_in_its_place_added_at_the_end_or_removed() {
        let view = ChannelsView {
            version: 7,
            channels: default_channels(),
            changed_at: None,
            changed_by: None,
            keys: Vec::new(),
            jobs: Vec::new(),
        };
        let second = view.channels[1].clone();
        let longer = Channel { rotation_secs: HOUR, ..second.clone() };
        let change = changed(&view, Some(&second.name), Some(longer.clone()));
        assert_eq!((change.version, change.channels.len(), &change.channels[1]), (7, view.channels.len(), &longer));
        let new = Channel { name: "extra".parse().unwrap(), ..second.clone() };
        assert_eq!(changed(&view, None, Some(new.clone())).channels.last(), Some(&new));
        let fewer = changed(&view, Some(&second.name), None).channels;
        assert_eq!(fewer.len(), view.channels.len() - 1);
        assert!(!fewer.contains(&second));
    }
}

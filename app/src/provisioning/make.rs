//! Making a provisioning file: to save, or to print as a label. It is in the page only until somebody is done with it.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{NewProvisioning, SecretState};
use wardlink_protocol::identity::SecretId;
use wardlink_protocol::provisioning::Provisioning as File;
use wardlink_protocol::{ClientClass, DeviceIdentifier};
use zeroize::Zeroizing;

use super::Known;
use super::label::Label;
use crate::api::Failure;
use crate::app::{use_app, use_text};
use crate::classes;
use crate::ui::field::{Choice, Field};
use crate::ui::file::download;
use crate::ui::select::Select;
use crate::ui::{Loading, Trouble, icon, unique_id};

/// The form, and what it made.
#[component]
pub(super) fn Make(known: Known) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let ready = RwSignal::new(None::<Arc<File>>);
    // A locked page holds no secret.
    Effect::new(move |_| {
        if app.lock.is_on() {
            ready.set(None);
        }
    });
    let has_classes =
        Memo::new(move |_| known.classes.with(|list| list.as_ref().map(|list| classes::options(list, t).is_empty())));
    move || {
        match (ready.get(), has_classes.get()) {
        (Some(file), _) => view! { <Ready file=file ready=ready known=known/> }.into_any(),
        (None, Some(false)) => view! { <Form known=known ready=ready/> }.into_any(),
        (None, Some(true)) => view! { <div class="card empty"><p><b>{t.no_class_enabled()}</b></p><p>{t.no_class_enabled_text()}</p></div> }.into_any(),
        (None, None) if known.failure.with(Option::is_some) => ().into_any(),
        (None, None) => view! { <div class="card"><Loading/></div> }.into_any(),
    }
    }
}

/// The hospital-wide secrets that a file can carry, the newest first, with their names.
fn secret_options(known: Known, newest: &str) -> Vec<(String, String)> {
    let mut list = known.secrets.get_untracked().unwrap_or_default();
    list.retain(|secret| secret.device.is_none() && secret.state == SecretState::Active);
    list.sort_by_key(|secret| core::cmp::Reverse(secret.made_at));
    let name = |secret: &wardlink_protocol::api::SecretView| {
        if secret.name.is_empty() { secret.id.to_string() } else { format!("{} ({})", secret.name, secret.id) }
    };
    let options = list.iter().map(|secret| (secret.id.to_string(), name(secret)));
    core::iter::once((String::new(), newest.to_owned())).chain(options).collect()
}

#[component]
fn Form(known: Known, ready: RwSignal<Option<Arc<File>>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let options = untrack(|| known.classes.with(|list| classes::options(list.as_deref().unwrap_or_default(), t)));
    // What most of them are.
    let first = options.iter().find(|(client, _)| client == "infusion-pump").or(options.first());
    let class = RwSignal::new(first.map(|(client, _)| client.clone()).unwrap_or_default());
    let identifier = RwSignal::new(String::new());
    let secret = RwSignal::new(String::new());
    let for_one = RwSignal::new(true);
    let identifier_error = RwSignal::new(None);
    let failure = RwSignal::new(None);
    let busy = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let is_one = for_one.get_untracked();
        let one = identifier.get_untracked().trim().to_lowercase().parse::<DeviceIdentifier>();
        identifier_error.set((is_one && one.is_err()).then(|| t.invalid_name().to_owned()));
        let Ok(client) = class.get_untracked().parse::<ClientClass>() else { return };
        if busy.get_untracked() || identifier_error.with_untracked(Option::is_some) {
            return;
        }
        busy.set(true);
        failure.set(None);
        let wanted = NewProvisioning {
            client,
            identifier: one.ok().filter(|_| is_one),
            secret: secret.get_untracked().parse::<SecretId>().ok().filter(|_| !is_one),
        };
        spawn_local(async move {
            let answer = app.post("/provisioning", &wanted).await.and_then(|answer| answer.read::<File>());
            // The screen may be gone by now.
            let _ = busy.try_set(false);
            match answer {
                Ok(file) => {
                    drop(ready.try_set(Some(Arc::new(file))));
                    known.load();
                }
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    view! {
        <form class="card pad stack narrow" data-testid="provisioning-form" on:submit=submit novalidate>
            <Select label=t.class() value=class name="class" options=options/>
            <Scope for_one=for_one/>
            {move || if for_one.get() {
                view! { <Field label=t.identifier() value=identifier name="identifier" hint=t.identifier_hint() error=identifier_error/> }.into_any()
            } else {
                let options = secret_options(known, t.newest_secret());
                (options.len() > 2).then(|| view! { <Select label=t.which_secret() value=secret name="secret" options=options/> }).into_any()
            }}
            <Trouble failure=failure/>
            <button class="button" data-testid="make-file" aria-disabled=move || busy.get().then_some("true")>{icon::key()} {t.make_file()}</button>
        </form>
    }
}

#[component]
fn Scope(for_one: RwSignal<bool>) -> impl IntoView {
    let t = use_text();
    let group = unique_id("scope");
    let scopes = [
        (true, t.for_one_device(), t.for_one_device_hint(), "device"),
        (false, t.for_class(), t.for_class_hint(), "class"),
    ];
    let scopes = scopes.map(|(one, label, hint, value)| {
        view! {
            <Choice
                name=group.clone()
                label=label
                hint=hint
                value=value.to_owned()
                chosen=Signal::derive(move || for_one.get() == one)
                choose=Callback::new(move |()| for_one.set(one))
            />
        }
    });
    view! { <fieldset class="choices"><legend>{t.scope()}</legend>{scopes.into_iter().collect_view()}</fieldset> }
}

/// The made file: to save, to print, and to forget.
#[component]
fn Ready(file: Arc<File>, ready: RwSignal<Option<Arc<File>>>, known: Known) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let title = NodeRef::<leptos::html::H2>::new();
    Effect::new(move |_| {
        if let Some(title) = title.get() {
            // An element of the page can always take the focus.
            let _ = title.focus();
        }
    });
    let class =
        known.classes.with_untracked(|list| classes::name_of(&file.client, list.as_deref().unwrap_or_default(), t));
    let (name, id) = (file_name(&file), file.secret_id.clone());
    let ends = Signal::derive(move || {
        known
            .secrets
            .with(|list| list.iter().flatten().find(|secret| secret.id == id).and_then(|secret| secret.expires_at))
    });
    let saved = name.clone();
    // The last of them that goes wipes its memory.
    let to_save = file.clone();
    let save = move |_| match write(&to_save) {
        Ok(text) => {
            download(&saved, "application/json", &text);
            app.notices.say(t.file_ready(&saved));
        }
        Err(failure) => app.notices.failure(&failure, t),
    };
    let print = move |_| {
        // A browser that cannot print does nothing.
        let _ = window().print();
    };
    view! {
        <section class="card pad stack narrow" data-testid="ready">
            <h2 node_ref=title tabindex="-1">{t.file_made()}</h2>
            <p class="quiet">{t.file_is_secret()}</p>
            <Label file=file class=class ends=ends/>
            <div class="answers">
                <button type="button" class="button quiet" data-testid="print-label" on:click=print>{icon::printer()} {t.print_label()}</button>
                <button type="button" class="button" data-testid="save-file" on:click=save>{icon::download()} {t.save_file()}</button>
            </div>
            <p class="command mono">{format!("wardlink pump --provisioning {name}")}</p>
            <button type="button" class="link" data-testid="done" on:click=move |_| ready.set(None)>{t.file_done()}</button>
        </section>
    }
}

fn file_name(file: &File) -> String {
    match &file.identifier {
        Some(identifier) => format!("{}-{identifier}.json", file.client),
        None => format!("{}.json", file.client),
    }
}

fn write(file: &File) -> Result<Zeroizing<String>, Failure> {
    serde_json::to_string_pretty(file).map(Zeroizing::new).map_err(|_| Failure::Unreadable(200))
}

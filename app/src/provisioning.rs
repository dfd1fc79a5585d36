//! Provisioning files for devices, and the access secrets that are in use.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{NewProvisioning, SecretView};
use wardlink_protocol::provisioning::Provisioning as File;
use wardlink_protocol::{ClientClass, DeviceIdentifier};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, Url};

use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::clock;
use crate::ui::field::{Choice, Field};
use crate::ui::{Loading, ScreenTitle, Trouble, icon, unique_id};

/// The classes that a new site knows.
const CLASSES: [&str; 1] = ["infusion-pump"];

/// The screen.
#[component]
pub(crate) fn Provisioning() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let secrets = RwSignal::new(None);
    let failure = RwSignal::new(None);
    let load = Callback::new(move |()| {
        failure.set(None);
        spawn_local(async move {
            match app.get::<Vec<SecretView>>("/secrets").await {
                // The screen may be gone by now.
                Ok(list) => drop(secrets.try_set(Some(list))),
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    });
    load.run(());
    view! {
        <section class="list-pane wide">
            <ScreenTitle text=t.provisioning_title()/>
            <p class="quiet">{t.provisioning_text()}</p>
            <div class="two">
            <Make made=load/>
            <section>
            <h2 class="section-title">{t.secrets_title()}</h2>
            <Trouble failure=failure retry=load/>
            {move || match secrets.get() {
                Some(list) if list.is_empty() => view! { <div class="card empty"><p>{t.no_secrets()}</p></div> }.into_any(),
                Some(list) => view! {
                    <ul class="card rows" data-testid="secrets">
                        {list.into_iter().map(|secret| view! { <Secret secret=secret/> }).collect_view()}
                    </ul>
                }.into_any(),
                None if failure.with(Option::is_some) => ().into_any(),
                None => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
            </section>
            </div>
        </section>
    }
}

#[component]
fn Secret(secret: SecretView) -> impl IntoView {
    let t = use_text();
    let whose = secret.device.map_or_else(|| t.hospital_wide().to_owned(), |device| device.to_string());
    let end = match secret.expires_at {
        Some(at) => t.expires(&clock::day_and_time(at, t)),
        None => t.no_end().to_owned(),
    };
    view! {
        <li class="row" data-testid="secret">
            <div class="row-main">
                <h2><span class="mono">{secret.id.to_string()}</span> <small>{whose}</small></h2>
                <p class="tiny">{t.made_at(&clock::day_and_time(secret.made_at, t))} " · " {end}</p>
            </div>
        </li>
    }
}

/// Makes a file and hands it out.
#[component]
fn Make(made: Callback<()>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let class = RwSignal::new(CLASSES.first().copied().unwrap_or_default().to_owned());
    let identifier = RwSignal::new(String::new());
    let for_one = RwSignal::new(true);
    let (class_error, identifier_error) = (RwSignal::new(None), RwSignal::new(None));
    let failure = RwSignal::new(None);
    let ready = RwSignal::new(None::<String>);
    let busy = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let client = class.get_untracked().trim().parse::<ClientClass>();
        let one = identifier.get_untracked().trim().to_lowercase().parse::<DeviceIdentifier>();
        class_error.set(client.is_err().then(|| t.invalid_name().to_owned()));
        identifier_error.set((for_one.get_untracked() && one.is_err()).then(|| t.invalid_name().to_owned()));
        let Ok(client) = client else { return };
        if busy.get_untracked() || identifier_error.with_untracked(Option::is_some) {
            return;
        }
        busy.set(true);
        failure.set(None);
        ready.set(None);
        let wanted = NewProvisioning { client, identifier: one.ok().filter(|_| for_one.get_untracked()), secret: None };
        spawn_local(async move {
            let answer = make(app, &wanted).await;
            // The screen may be gone by now.
            let _ = busy.try_set(false);
            match answer {
                Ok((name, file)) => {
                    save_file(&name, &file);
                    drop(ready.try_set(Some(name)));
                    made.run(());
                }
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    let group = unique_id("scope");
    let scopes = [(true, t.for_one_device(), t.for_one_device_hint()), (false, t.for_class(), t.for_class_hint())];
    let scopes = scopes.map(|(one, label, hint)| {
        view! {
            <Choice
                name=group.clone()
                label=label
                hint=hint
                value=if one { "device".to_owned() } else { "class".to_owned() }
                chosen=Signal::derive(move || for_one.get() == one)
                choose=Callback::new(move |()| for_one.set(one))
            />
        }
    });
    view! {
        <form class="card pad stack narrow" data-testid="provisioning-form" on:submit=submit novalidate>
            <Field label=t.class() value=class name="class" error=class_error suggestions=CLASSES.map(str::to_owned).to_vec()/>
            <fieldset class="choices"><legend>{t.scope()}</legend>{scopes.into_iter().collect_view()}</fieldset>
            <Show when=move || for_one.get()>
                <Field label=t.identifier() value=identifier name="identifier" hint=t.identifier_hint() error=identifier_error/>
            </Show>
            <Trouble failure=failure/>
            <button class="button" data-testid="make-file" aria-disabled=move || busy.get().then_some("true")>
                {icon::download()} {t.make_file()}
            </button>
            <div role="status">
                {move || ready.get().map(|name| view! {
                    <p class="success">{icon::check()} <span>{t.file_ready(&name)}</span></p>
                    <p class="command mono">{format!("wardlink pump --provisioning {name}")}</p>
                    <p class="tiny">{t.file_is_secret()}</p>
                })}
            </div>
        </form>
    }
}

/// The file's name and its text.
async fn make(app: App, wanted: &NewProvisioning) -> Result<(String, String), Failure> {
    let file: File = app.post("/provisioning", wanted).await?.read()?;
    let text = serde_json::to_string_pretty(&file).map_err(|_| Failure::Unreadable(200))?;
    let name = match &file.identifier {
        Some(identifier) => format!("{}-{identifier}.json", file.client),
        None => format!("{}.json", file.client),
    };
    Ok((name, text))
}

/// Hands a file to the browser, as if a person had followed a link to it.
fn save_file(name: &str, text: &str) {
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let options = BlobPropertyBag::new();
    options.set_type("application/json");
    let Ok(blob) = Blob::new_with_str_sequence_and_options(&parts, &options) else { return };
    let Ok(address) = Url::create_object_url_with_blob(&blob) else { return };
    if let Some(link) = document().create_element("a").ok().and_then(|link| link.dyn_into::<HtmlAnchorElement>().ok()) {
        link.set_href(&address);
        link.set_download(name);
        link.click();
    }
    // The browser has taken the file; an address that is gone already is no loss.
    let _ = Url::revoke_object_url(&address);
}

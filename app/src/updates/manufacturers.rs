//! The manufacturers whose releases are taken in.

use leptos::prelude::*;
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::api::{InventoryPreview, KeepConfidential, ManufacturerView, NewManufacturer, Right};

use super::Tabs;
use super::file::{FileField, MAX_INVENTORY_BYTES, MAX_ROOT_BYTES};
use super::tokens::Tokens;
use crate::api;
use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::Field;
use crate::ui::form::{Answers, Sender};
use crate::ui::select::Switch;
use crate::ui::tabs::Empty;
use crate::ui::{ScreenTitle, icon};

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// Who it is, and its root.
    Add,
    /// Its publishing tokens.
    Tokens(Box<ManufacturerView>),
    /// Whether its packages are confidential from now on, or public again.
    Confidential(String, bool),
    /// Whether nothing more of it is taken in.
    End(String),
    /// Which inventory.
    Inventory,
}

/// The screen.
#[component]
pub(crate) fn ManufacturersScreen() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let known = Fetched::<Vec<ManufacturerView>>::follow("/manufacturers");
    let (may_change, may_import) = (app.may(Right::ManageManufacturers), app.may(Right::ManageUpdates));
    let ask = RwSignal::new(None);
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.manufacturers_title()/>
                <div class="acts">
                    {may_import.then(|| view! {
                        <button type="button" class="button small quiet" data-testid="inventory" on:click=move |_| ask.set(Some(Ask::Inventory))>{t.import_inventory()}</button>
                    })}
                    {may_change.then(|| view! {
                        <button type="button" class="button small" data-testid="add-manufacturer" on:click=move |_| ask.set(Some(Ask::Add))>{icon::add()} {t.add_manufacturer()}</button>
                    })}
                </div>
            </div>
            <Tabs/>
            <p class="quiet">{t.manufacturers_text()}</p>
            {known.trouble()}
            <Show when=move || known.is_empty()>
                <Empty name="no-manufacturers" what=t.no_manufacturers() advice=t.no_manufacturers_text()/>
            </Show>
            {known.rows("manufacturers", |_| true, move |one| view! { <Row one=one ask=ask may_change=may_change/> })}
            {known.waiting()}
            <Asking ask=ask known=known/>
        </section>
    }
}

#[component]
fn Row(one: ManufacturerView, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let at = move |time| clock::day_and_time(time, t);
    let hash: String = one.first_root.to_string().chars().take(16).collect();
    let published = match &one.published {
        Some(published) => t.manufacturer_published(&at(published.at), published.packages),
        None => t.manufacturer_silent().to_owned(),
    };
    let ends = one.published.as_ref().map(|published| published.ends_at);
    let over = move || {
        ends.map(|ends| {
            if ends <= app.clock.now() {
                view! { <p class="tiny strong">{t.manufacturer_over()}</p> }.into_any()
            } else {
                view! { <p class="tiny">{t.manufacturer_until(&at(ends))}</p> }.into_any()
            }
        })
    };
    let is_ended = one.ended_at.is_some();
    let (style, word) =
        if is_ended { ("chip", t.manufacturer_ended()) } else { ("chip done", t.manufacturer_active()) };
    let tokens = one.tokens.iter().filter(|token| token.revoked_at.is_none()).count();
    let name = one.manufacturer.clone();
    let (ends_label, tokens_label) = (t.end_manufacturer_of(&name), t.add_token_of(&name));
    let is_confidential = one.confidential;
    let (confidential_act, confidential_label) = if is_confidential {
        (t.manufacturer_make_public(), t.manufacturer_make_public_of(&name))
    } else {
        (t.manufacturer_keep_confidential(), t.manufacturer_keep_confidential_of(&name))
    };
    let (asks_end, asks_tokens, asks_confidential) = (name.clone(), one.clone(), name.clone());
    view! {
        <li class="row" class:inactive=is_ended data-testid="manufacturer" data-manufacturer=name.clone()>
            <div class="row-main">
                <h2>{name.clone()}</h2>
                <p class="tiny facts">
                    <span title=one.first_root.to_string() class="mono">{t.manufacturer_root_short(&hash, one.root_version)}</span>
                    <span>{published}</span>
                    <span>{t.publishing_tokens(tokens)}</span>
                    {is_confidential.then(|| view! { <span data-testid="confidential">{t.manufacturer_confidential()}</span> })}
                </p>
                {match one.ended_at {
                    Some(time) => view! { <p class="tiny">{t.manufacturer_ended_at(&at(time))}</p> }.into_any(),
                    None => over.into_any(),
                }}
            </div>
            <div class="acts">
                <span class=style>{word}</span>
                {(may_change && !is_ended).then(|| view! {
                    <button type="button" class="button small quiet" data-testid="tokens" aria-label=tokens_label
                        on:click=move |_| ask.set(Some(Ask::Tokens(Box::new(asks_tokens.clone()))))>{t.add_token()}</button>
                    <button type="button" class="button small quiet" data-testid="keep-confidential" aria-label=confidential_label
                        on:click=move |_| ask.set(Some(Ask::Confidential(asks_confidential.clone(), !is_confidential)))>{confidential_act}</button>
                    <button type="button" class="button small quiet" data-testid="end-manufacturer" aria-label=ends_label
                        on:click=move |_| ask.set(Some(Ask::End(asks_end.clone())))>{t.end_manufacturer()}</button>
                })}
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Fetched<Vec<ManufacturerView>>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Add => t.add_manufacturer().to_owned(),
        Ask::Tokens(one) => t.add_token_of(&one.manufacturer),
        Ask::Confidential(name, true) => t.manufacturer_keep_confidential_title(name),
        Ask::Confidential(name, false) => t.manufacturer_make_public_title(name),
        Ask::End(name) => t.end_manufacturer_title(name),
        Ask::Inventory => t.import_inventory().to_owned(),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Add => view! { <AddForm known=known close=close/> }.into_any(),
        Ask::Tokens(one) => view! { <Tokens name=one.manufacturer known=known/> }.into_any(),
        Ask::Confidential(name, confidential) => {
            view! { <ConfidentialForm name=name confidential=confidential known=known close=close/> }.into_any()
        }
        Ask::End(name) => view! { <EndForm name=name known=known close=close/> }.into_any(),
        Ask::Inventory => view! { <InventoryForm close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

/// A root is trusted when a person has compared its hash on another way.
#[component]
fn AddForm(known: Fetched<Vec<ManufacturerView>>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let name = RwSignal::new(String::new());
    let root = RwSignal::new(None::<String>);
    let compared = RwSignal::new(false);
    let (name_error, root_error) = (RwSignal::new(None), RwSignal::new(None));
    Effect::new(move |_| {
        root.track();
        compared.set(false);
    });
    let hash = move || root.with(|root| root.as_ref().map(|text| message_hash(text.as_bytes()).to_string()));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let manufacturer = name.get_untracked().trim().to_owned();
        name_error.set(manufacturer.is_empty().then(|| t.manufacturer_name_wrong().to_owned()));
        let problem = match root.with_untracked(Option::is_some) {
            false => Some(t.file_missing()),
            true if !compared.get_untracked() => Some(t.manufacturer_not_compared()),
            true => None,
        };
        root_error.set(problem);
        let (false, None, Some(root)) = (manufacturer.is_empty(), problem, root.get_untracked()) else { return };
        let told = t.manufacturer_added(&manufacturer);
        let body = api::json(&NewManufacturer { manufacturer, root });
        sender.send(app, "/manufacturers".to_owned(), body, move |_| {
            app.notices.say(told);
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="manufacturer-form" on:submit=submit novalidate>
            <p class="quiet">{t.no_manufacturers_text()}</p>
            <Field label=t.manufacturer_name() value=name name="manufacturer" hint=t.manufacturer_name_hint() error=name_error focus=true/>
            <FileField label=t.manufacturer_root() name="root" text=root most=MAX_ROOT_BYTES/>
            {move || hash().map(|hash| view! {
                <p class="command" data-testid="root-hash">{t.manufacturer_root_hash(&hash)}</p>
                <Switch label=t.manufacturer_compared() name="compared" on=compared change=Callback::new(move |on| compared.set(on))/>
            })}
            <p class="error" role="alert">{move || root_error.get()}</p>
            <Answers close=close sender=sender go=t.manufacturer_add_go() keep=t.cancel()/>
        </form>
    }
}

/// Who can read packages is decided knowingly.
#[component]
fn ConfidentialForm(
    name: String,
    confidential: bool,
    known: Fetched<Vec<ManufacturerView>>,
    close: CloseDialog,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let (text, go) = if confidential {
        (t.manufacturer_keep_confidential_text(), t.manufacturer_keep_confidential())
    } else {
        (t.manufacturer_make_public_text(), t.manufacturer_make_public())
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let told = if confidential { t.manufacturer_is_confidential(&name) } else { t.manufacturer_is_public(&name) };
        let body = api::json(&KeepConfidential { confidential });
        sender.send(app, format!("/manufacturers/{name}/confidential"), body, move |_| {
            app.notices.say(told);
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="confidential-form" on:submit=submit>
            <p>{text}</p>
            <Answers close=close sender=sender go=go keep=t.cancel()/>
        </form>
    }
}

#[component]
fn EndForm(name: String, known: Fetched<Vec<ManufacturerView>>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let told = t.manufacturer_is_ended(&name);
        sender.send(app, format!("/manufacturers/{name}/end"), None, move |_| {
            app.notices.say(told);
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="end-manufacturer-form" on:submit=submit>
            <p>{t.end_manufacturer_text()}</p>
            <Answers close=close sender=sender go=t.end_manufacturer() keep=t.cancel()/>
        </form>
    }
}

/// An inventory is looked at before it is imported.
#[component]
fn InventoryForm(close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let text = RwSignal::new(None::<String>);
    let preview = RwSignal::new(None::<InventoryPreview>);
    let missing = RwSignal::new(None);
    Effect::new(move |_| {
        text.track();
        preview.set(None);
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = text.get_untracked();
        missing.set(body.is_none().then(|| t.file_missing()));
        let Some(body) = body else { return };
        if preview.with_untracked(Option::is_none) {
            let asked = body.clone();
            sender.send(app, "/inventories/preview".to_owned(), Some(body), move |answer| match answer.read() {
                // Another file may have been chosen meanwhile.
                Ok(found) if text.try_get_untracked().flatten().as_ref() == Some(&asked) => {
                    drop(preview.try_set(Some(found)));
                }
                Ok(_) => {}
                Err(failure) => drop(sender.failure.try_set(Some(failure))),
            });
            return;
        }
        sender.send(app, "/inventories".to_owned(), Some(body), move |answer| {
            if let Ok(InventoryPreview { added, changed, .. }) = answer.read() {
                app.notices.say(t.inventory_imported(added + changed));
            }
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="inventory-form" on:submit=submit novalidate>
            <p class="quiet">{t.inventory_text()}</p>
            <FileField label=t.inventory_file() name="inventory" text=text most=MAX_INVENTORY_BYTES/>
            <p class="error" role="alert">{move || missing.get()}</p>
            {move || preview.get().map(|found| {
                let examples = found.examples.iter().map(|device| device.identifier.to_string()).collect::<Vec<_>>().join(", ");
                view! {
                    <div class="preview" role="status" data-testid="inventory-preview">
                        <p><b>{t.inventory_of(&found.manufacturer, found.version)}</b></p>
                        <p>{t.inventory_counts(found.devices, found.added, found.changed)}</p>
                        {(!examples.is_empty()).then(|| view! { <p class="tiny">{t.inventory_examples(&examples)}</p> })}
                    </div>
                }
            })}
            {move || {
                let go = if preview.with(Option::is_some) { t.inventory_go() } else { t.inventory_look() };
                view! { <Answers close=close sender=sender go=go keep=t.cancel()/> }
            }}
        </form>
    }
}

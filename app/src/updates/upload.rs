//! Uploading a release by hand: a manufacturer's repository from a folder, as from a stick, for who has no way to publish by itself.
//!
//! All of it is verified here, with the core of server, gateways and devices, before a byte leaves the browser.

mod folder;
mod sending;
mod verifying;

use folder::Folder;
use leptos::prelude::*;
use leptos::task::spawn_local;
use sending::send;
use verifying::{Refused, Verified, verify};
use wardlink_protocol::api::ManufacturerView;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlInputElement;

use crate::app::{use_app, use_text};
use crate::fetched::Fetched;
use crate::format;
use crate::text::Language;
use crate::ui::dialog::CloseDialog;
use crate::ui::form::Sender;
use crate::ui::select::Select;
use crate::ui::{Trouble, icon, unique_id};

/// How far something long is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    done: u64,
    total: u64,
}

impl Progress {
    fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
    }
}

/// What stands in the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A folder has to be chosen.
    Choosing,
    /// It is being verified.
    Verifying(Progress),
    /// It can be sent.
    Verified,
    /// It is being sent.
    Sending(Progress),
}

/// The form.
#[component]
pub(super) fn UploadForm(close: CloseDialog, done: Callback<()>) -> impl IntoView {
    let t = use_text();
    let makers = Fetched::<Vec<ManufacturerView>>::start("/manufacturers");
    let active = Memo::new(move |_| {
        let mut known = makers.value.get();
        if let Some(known) = &mut known {
            known.retain(|maker| maker.ended_at.is_none());
        }
        known
    });
    view! {
        {makers.trouble()}
        {makers.waiting()}
        {move || active.get().map(|makers| {
            if makers.is_empty() {
                return view! { <p data-testid="no-makers">{t.upload_nobody()}</p> }.into_any();
            }
            view! { <Form makers=makers close=close done=done/> }.into_any()
        })}
    }
}

#[component]
fn Form(makers: Vec<ManufacturerView>, close: CloseDialog, done: Callback<()>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let stage = RwSignal::new(Stage::Choosing);
    let refused = RwSignal::new(None::<String>);
    let verified = StoredValue::new_local(None::<Verified>);
    let first = makers.first().map(|maker| maker.manufacturer.clone()).unwrap_or_default();
    let chosen = RwSignal::new(first);
    let options =
        makers.iter().map(|maker| (maker.manufacturer.clone(), maker.manufacturer.clone())).collect::<Vec<_>>();
    let maker_of =
        move || makers.iter().find(|maker| chosen.with_untracked(|name| *name == maker.manufacturer)).cloned();
    let folder = StoredValue::new_local(None::<Folder>);
    // What is verified last counts: another choice ends what is still under way.
    let turn = StoredValue::new(0_u64);
    let begin = move || {
        let (Some(maker), Some(folder)) = (maker_of(), folder.get_value()) else { return };
        let this = turn.get_value().wrapping_add(1);
        turn.set_value(this);
        let is_over = move || turn.try_get_value() != Some(this);
        verified.set_value(None);
        refused.set(None);
        stage.set(Stage::Verifying(Progress::default()));
        spawn_local(async move {
            // A form that is gone wants no more of it.
            let tell = move |progress| !is_over() && stage.try_set(Stage::Verifying(progress)).is_none();
            let outcome = verify(app, &maker, folder, tell).await;
            if is_over() {
                return;
            }
            let (next, why) = match outcome {
                Ok(found) => {
                    let _ = verified.try_set_value(Some(found));
                    (Stage::Verified, None)
                }
                Err(Refused::Closed) => return,
                Err(why) => (Stage::Choosing, Some(why.explain(t))),
            };
            let _ = refused.try_set(why);
            let _ = stage.try_set(next);
        });
    };
    // Whose it is was changed: it is verified anew.
    Effect::new({
        let begin = begin.clone();
        move |was: Option<String>| {
            let now = chosen.get();
            if was.is_some_and(|was| was != now) {
                begin();
            }
            now
        }
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(found) = verified.get_value() else { return };
        if stage.get_untracked() != Stage::Verified || !sender.begin() {
            return;
        }
        spawn_local(async move {
            let tell = move |progress| stage.try_set(Stage::Sending(progress)).is_none();
            let _ = stage.try_set(Stage::Sending(Progress { done: 0, total: found.bytes() }));
            let outcome = send(app, &found, tell).await.transpose();
            let Some(outcome) = outcome else { return };
            match sender.end(outcome) {
                Some(published) => {
                    app.notices.say(t.upload_done(published.timestamp, &found.manufacturer, published.packages));
                    done.run(());
                    close.run();
                }
                None => drop(stage.try_set(Stage::Verified)),
            }
        });
    };
    let is_verified = move || stage.get() == Stage::Verified;
    view! {
        <form class="stack" data-testid="upload-form" on:submit=submit>
            <p>{t.upload_text()}</p>
            <Select label=t.catalog_manufacturer() value=chosen name="maker" options=options/>
            <FolderField chosen=Callback::new(move |found| {
                folder.set_value(Some(found));
                begin();
            })/>
            <p class="error" role="alert" data-testid="upload-refused">{move || refused.get()}</p>
            {move || match stage.get() {
                Stage::Verifying(progress) => Some(view! { <Bar words=t.upload_verifying() progress=progress/> }.into_any()),
                Stage::Sending(progress) => Some(view! { <Bar words=t.upload_sending() progress=progress/> }.into_any()),
                Stage::Verified => verified.get_value().map(|found| view! { <Found found=found/> }.into_any()),
                Stage::Choosing => None,
            }}
            <Trouble failure=sender.failure/>
            <div class="answers">
                <button type="button" class="button quiet" on:click=move |_| close.run()>{t.cancel()}</button>
                <button class="button" data-testid="confirm" aria-disabled=move || (!is_verified()).then_some("true")>{t.upload_go()}</button>
            </div>
        </form>
    }
}

/// A field for a whole folder.
#[component]
fn FolderField(chosen: Callback<Folder>) -> impl IntoView {
    let t = use_text();
    let id = unique_id("folder");
    let hint = format!("{id}-hint");
    view! {
        <div class="field">
            <label for=id.clone()>{t.upload_folder()}</label>
            <input id=id type="file" name="folder" class="file" multiple prop:webkitdirectory=true aria-describedby=hint.clone()
                on:click=move |event| {
                    // The same folder again is another choice: something in it may have been put right.
                    if let Some(input) = input_of(&event) {
                        input.set_value("");
                    }
                }
                on:change=move |event| {
                    if let Some(files) = input_of(&event).and_then(|input| input.files()) {
                        chosen.run(Folder::of(&files));
                    }
                }/>
            <p class="hint" id=hint>{t.upload_folder_hint()}</p>
        </div>
    }
}

fn input_of(event: &web_sys::Event) -> Option<HtmlInputElement> {
    event.target()?.dyn_into().ok()
}

/// How far it is.
#[component]
fn Bar(words: &'static str, progress: Progress) -> impl IntoView {
    let t = use_text();
    let Progress { done, total } = progress;
    let of = t.upload_progress(&format::bytes(done, t), &format::bytes(total, t));
    view! {
        <div class="progress-line" data-testid="upload-progress">
            <progress max=total.max(1).to_string() value=done.to_string() aria-label=words></progress>
            <span class="tiny">{words} " " {of}</span>
        </div>
    }
}

/// What was verified.
#[component]
fn Found(found: Verified) -> impl IntoView {
    let t = use_text();
    let summary = summary(&found, t);
    let rows = found.packages.iter().map(|package| view! { <li>{package.clone()}</li> }).collect_view();
    view! {
        <div class="stack" data-testid="upload-verified">
            <p>{icon::check()} <b>{t.upload_verified(&found.manufacturer)}</b></p>
            <p class="tiny">{summary}</p>
            <ul class="events short">{rows}</ul>
        </div>
    }
}

fn summary(found: &Verified, t: Language) -> String {
    t.upload_summary(found.packages.len(), found.files(), &format::bytes(found.bytes(), t))
}

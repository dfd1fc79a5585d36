//! A file that a person chooses, read as text.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;
use web_sys::HtmlInputElement;

use crate::app::use_text;
use crate::ui::unique_id;

/// The longest data that the server adds to an update, in bytes.
pub(super) const MAX_ADDED_BYTES: u32 = 1_000_000;
/// The longest root of a repository, in bytes.
pub(super) const MAX_ROOT_BYTES: u32 = 512_000;
/// The longest inventory, in bytes.
pub(super) const MAX_INVENTORY_BYTES: u32 = 5_000_000;

/// A field for a file of text.
#[component]
pub(super) fn FileField(
    /// What to choose.
    label: &'static str,
    /// Its name, for tests.
    name: &'static str,
    /// What the chosen file says.
    text: RwSignal<Option<String>>,
    /// The longest file, in bytes.
    most: u32,
) -> impl IntoView {
    let t = use_text();
    let id = unique_id("file");
    let error_id = format!("{id}-error");
    let error = RwSignal::new(None);
    let choose = move |input: HtmlInputElement| {
        text.set(None);
        error.set(None);
        let Some(file) = input.files().and_then(|files| files.get(0)) else { return };
        if file.size() > f64::from(most) {
            error.set(Some(t.file_too_long()));
            return;
        }
        spawn_local(async move {
            let read = JsFuture::from(file.text()).await.ok().and_then(|value| value.as_string());
            // The form may be gone by now.
            let _ = error.try_set(read.is_none().then(|| t.file_unreadable()));
            let _ = text.try_set(read);
        });
    };
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input id=id type="file" name=name accept=".json,application/json" class="file"
                aria-describedby=error_id.clone()
                on:change=move |event| {
                    if let Some(input) = event.target().and_then(|target| target.dyn_into().ok()) {
                        choose(input);
                    }
                }/>
            <p class="error" id=error_id role="alert">{move || error.get()}</p>
        </div>
    }
}

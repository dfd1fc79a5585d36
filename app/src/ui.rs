//! Parts that several screens are made of.

use core::sync::atomic::{AtomicU32, Ordering};

use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::api::Failure;
use crate::app::use_text;

pub(crate) mod clipboard;
pub(crate) mod code_field;
pub(crate) mod dialog;
pub(crate) mod export;
pub(crate) mod field;
pub(crate) mod file;
pub(crate) mod form;
pub(crate) mod icon;
pub(crate) mod notice;
pub(crate) mod preferences;
pub(crate) mod rows;
pub(crate) mod select;
pub(crate) mod tabs;

/// An id that no other element of the page has.
pub(crate) fn unique_id(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Gives the focus to the first element that the selector finds, so that nobody begins again at the top of the page.
pub(crate) fn focus(selector: &str) {
    let found = document().query_selector(selector).ok().flatten();
    if let Some(element) = found.and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok()) {
        // An element that cannot take it leaves it where it is.
        let _ = element.focus();
    }
}

/// Whether nothing has the focus: what had it is gone.
pub(crate) fn focus_is_lost() -> bool {
    document().active_element().is_none_or(|active| active.local_name() == "body")
}

/// The heading of a screen, which takes the focus when the screen appears, so that a screen reader reads it.
#[component]
pub(crate) fn ScreenTitle(#[prop(into)] text: Signal<String>) -> impl IntoView {
    let heading = NodeRef::<leptos::html::H1>::new();
    Effect::new(move |_| crate::app::set_title(&text.get()));
    Effect::new(move |_| {
        if let Some(heading) = heading.get() {
            // An element of the page can always take the focus.
            let _ = heading.focus();
        }
    });
    view! { <h1 node_ref=heading tabindex="-1">{move || text.get()}</h1> }
}

/// A failure: what happened, what to do, and a way to try again where there is one.
#[component]
pub(crate) fn Trouble(
    /// The failure, while there is one.
    #[prop(into)]
    failure: Signal<Option<Failure>>,
    /// Tries again.
    #[prop(optional, into)]
    retry: Option<Callback<()>>,
) -> impl IntoView {
    let t = use_text();
    view! {
        <div role="alert">
            {move || {
                failure.get().map(|failure| {
                    let explained = failure.explain(t);
                    view! {
                        <div class="trouble" data-testid="problem" data-kind=kind_word(&failure)>
                            {icon::notice()}
                            <div>
                                <strong>{explained.what}</strong>
                                <p>{explained.advice}</p>
                                {retry.map(|retry| view! {
                                    <button type="button" class="button small quiet" on:click=move |_| retry.run(())>
                                        {t.try_again()}
                                    </button>
                                })}
                            </div>
                        </div>
                    }
                })
            }}
        </div>
    }
}

/// The kind of a problem as the API names it, for tests and style.
fn kind_word(failure: &Failure) -> String {
    match failure.kind() {
        Some(kind) => serde_json::to_string(&kind).unwrap_or_default().trim_matches('"').to_owned(),
        None => "unreachable".to_owned(),
    }
}

/// A list or screen that is being fetched.
#[component]
pub(crate) fn Loading() -> impl IntoView {
    let t = use_text();
    view! {
        <div class="loading" role="status">
            <span class="visually-hidden">{t.loading()}</span>
            <i></i><i></i><i></i>
        </div>
    }
}

/// One line of a list of facts.
#[component]
pub(crate) fn Fact(
    /// What it is.
    name: &'static str,
    /// The value.
    #[prop(into)]
    value: Signal<String>,
    /// Whether the value is for comparing character by character.
    #[prop(optional)]
    mono: bool,
) -> impl IntoView {
    view! {
        <div class="fact">
            <dt>{name}</dt>
            <dd class:mono=mono>{move || value.get()}</dd>
        </div>
    }
}

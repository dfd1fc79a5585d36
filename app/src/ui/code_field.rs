//! The field for the eight digits that a device shows: one real input over eight drawn cells, so that pasting, the
//! caret and screen readers work as everywhere.

use leptos::html;
use leptos::prelude::*;

use crate::app::use_text;
use crate::code;
use crate::ui::unique_id;

/// The code field.
#[component]
pub(crate) fn CodeField(
    /// The digits in groups, as typed.
    value: RwSignal<String>,
    /// What is wrong with them.
    #[prop(into)]
    error: Signal<Option<String>>,
    /// Called when a person changes it.
    changed: Callback<()>,
    /// The id of an element from which it takes the focus over when it appears: who has just opened a pairing types next.
    takes_focus_from: &'static str,
) -> impl IntoView {
    let t = use_text();
    let id = unique_id("code");
    let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
    let node = NodeRef::<html::Input>::new();
    Effect::new(move |_| {
        let focused = document().active_element().is_some_and(|active| active.id() == takes_focus_from);
        if let Some(input) = node.get().filter(|_| focused && !takes_focus_from.is_empty()) {
            // An element of the page can always take the focus.
            let _ = input.focus();
        }
    });
    let on_input = move |_| {
        let Some(input) = node.get_untracked() else { return };
        let caret = input.selection_start().ok().flatten().and_then(|caret| usize::try_from(caret).ok());
        let text = input.value();
        let typed = code::group(&text, caret.unwrap_or(code::DIGITS * 2));
        input.set_value(&typed.text);
        let caret = u32::try_from(typed.caret).unwrap_or_default();
        // The range lies within the text.
        let _ = input.set_selection_range(caret, caret);
        value.set(typed.text);
        changed.run(());
    };
    let cell = move |index: usize| {
        let next = move || value.with(|text| code::digits(text)) == index;
        view! { <i class:next=next></i> }
    };
    let describes = format!("{error_id} {hint_id}");
    view! {
        <div class="field code-field">
            <label for=id.clone()>{t.code_label()}</label>
            <div class="code-cells">
                <div class="cells" aria-hidden="true">
                    {(0..4).map(cell).collect_view()}
                    <b></b>
                    {(4..8).map(cell).collect_view()}
                </div>
                <input
                    id=id
                    node_ref=node
                    data-testid="code"
                    type="text"
                    inputmode="numeric"
                    autocomplete="off"
                    pattern="[0-9 ]*"
                    maxlength="24"
                    prop:value=value
                    on:input=on_input
                    aria-invalid=move || error.with(Option::is_some).then_some("true")
                    aria-describedby=describes
                />
            </div>
            <p class="visually-hidden" id=hint_id>{t.code_hint()}</p>
            <p class="error" id=error_id role="alert">{move || error.get()}</p>
        </div>
    }
}

//! A field in which one of several words is chosen, and a switch.

use leptos::prelude::*;

use crate::ui::unique_id;

/// One of several words; for more of them than fit as [`super::field::Choice`]s.
#[component]
pub(crate) fn Select(
    /// What to choose.
    label: &'static str,
    /// The value that is chosen.
    value: RwSignal<String>,
    /// Its name, for tests.
    name: &'static str,
    /// The values and their words.
    options: Vec<(String, String)>,
) -> impl IntoView {
    let id = unique_id("select");
    let options = options.into_iter().map(|(option, words)| {
        let mine = option.clone();
        view! { <option value=option selected=move || value.with(|value| *value == mine)>{words}</option> }
    });
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <select id=id name=name prop:value=value on:change:target=move |event| value.set(event.target().value())>
                {options.collect_view()}
            </select>
        </div>
    }
}

/// Something that is on or off.
#[component]
pub(crate) fn Switch(
    /// What is on or off.
    #[prop(into)]
    label: String,
    /// More about it.
    #[prop(optional)]
    hint: &'static str,
    /// Its name, for tests.
    name: &'static str,
    /// Whether it is on.
    #[prop(into)]
    on: Signal<bool>,
    /// Switches it.
    change: Callback<bool>,
) -> impl IntoView {
    // It shows what is so: whoever asks for a change that is refused sees that nothing has changed.
    let switch = move |input: web_sys::HtmlInputElement| {
        change.run(input.checked());
        input.set_checked(on.get_untracked());
    };
    view! {
        <label class="choice">
            <input type="checkbox" name=name prop:checked=on on:change:target=move |event| switch(event.target())/>
            <span>
                <b>{label}</b>
                {(!hint.is_empty()).then(|| view! { <small>{hint}</small> })}
            </span>
        </label>
    }
}

//! Form fields with label, hint and error.

use leptos::html;
use leptos::prelude::*;

use crate::ui::unique_id;

/// A field of one line.
#[component]
pub(crate) fn Field(
    /// What to write into it.
    label: &'static str,
    /// What is written in it.
    value: RwSignal<String>,
    /// Its name, for tests and password managers.
    name: &'static str,
    /// The HTML type.
    #[prop(default = "text")]
    kind: &'static str,
    /// What a browser may fill in.
    #[prop(default = "off")]
    autocomplete: &'static str,
    /// More about it.
    #[prop(optional, into)]
    hint: Option<String>,
    /// What is wrong with it.
    #[prop(optional, into)]
    error: Signal<Option<String>>,
    /// Whether it takes the focus when it appears.
    #[prop(optional)]
    focus: bool,
    /// Words to choose from.
    #[prop(optional)]
    suggestions: Vec<String>,
) -> impl IntoView {
    let id = unique_id("field");
    let (hint_id, error_id, list_id) = (format!("{id}-hint"), format!("{id}-error"), format!("{id}-list"));
    let node = NodeRef::<html::Input>::new();
    Effect::new(move |_| {
        if let Some(input) = node.get().filter(|_| focus) {
            // An element of the page can always take the focus.
            let _ = input.focus();
        }
    });
    let described = {
        let (hint_id, error_id, has_hint) = (hint_id.clone(), error_id.clone(), hint.is_some());
        move || match (error.with(Option::is_some), has_hint) {
            (true, _) => Some(error_id.clone()),
            (false, true) => Some(hint_id.clone()),
            (false, false) => None,
        }
    };
    let list = (!suggestions.is_empty()).then(|| list_id.clone());
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input
                id=id
                node_ref=node
                type=kind
                name=name
                autocomplete=autocomplete
                autocapitalize="none"
                spellcheck="false"
                list=list.clone()
                prop:value=value
                on:input:target=move |event| value.set(event.target().value())
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-describedby=described
            />
            {list.map(|list| view! {
                <datalist id=list>
                    {suggestions.into_iter().map(|word| view! { <option value=word></option> }).collect_view()}
                </datalist>
            })}
            {hint.map(|hint| view! { <p class="hint" id=hint_id>{hint}</p> })}
            <p class="error" id=error_id role="alert">{move || error.get()}</p>
        </div>
    }
}

/// One of several answers.
#[component]
pub(crate) fn Choice(
    /// The name of the group.
    name: String,
    /// The words of the answer.
    #[prop(into)]
    label: String,
    /// More about it.
    #[prop(optional, into)]
    hint: String,
    /// The answer, for tests.
    value: String,
    /// Whether it is the chosen one.
    #[prop(into)]
    chosen: Signal<bool>,
    /// Chooses it.
    choose: Callback<()>,
) -> impl IntoView {
    view! {
        <label class="choice">
            <input type="radio" name=name value=value prop:checked=chosen on:change=move |_| choose.run(()) />
            <span>
                <b>{label}</b>
                {(!hint.is_empty()).then(|| view! { <small>{hint}</small> })}
            </span>
        </label>
    }
}

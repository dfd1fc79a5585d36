//! What the screens of one part of the app share: the way between them, and what they show where there is nothing.

use leptos::prelude::*;

use crate::route::Route;

/// The screens of one part, and which of them is shown.
pub(crate) fn tabs(label: &'static str, screens: impl IntoIterator<Item = (Route, &'static str)>) -> impl IntoView {
    let route: RwSignal<Route> = expect_context();
    let tabs = screens.into_iter().map(|(to, label)| {
        let address = to.to_string();
        view! { <a href=address aria-current=move || route.with(|route| *route == to).then_some("page")>{label}</a> }
    });
    view! { <nav class="tabs" aria-label=label>{tabs.collect_view()}</nav> }
}

/// Something of a list that is none yet: what it means, and what to do.
#[component]
pub(crate) fn Empty(
    /// Its name, for tests.
    name: &'static str,
    /// What is not there.
    what: &'static str,
    /// What to do.
    advice: &'static str,
) -> impl IntoView {
    view! { <div class="card empty" data-testid=name><p><b>{what}</b></p><p>{advice}</p></div> }
}

//! The configuration catalog (figure 2): what every device runs.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogEntry, CatalogPage, UpdateState};

use super::{Tabs, update_words};
use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::format;
use crate::route::Route;
use crate::text::Language;
use crate::ui::select::Select;
use crate::ui::tabs::Empty;
use crate::ui::{Loading, ScreenTitle, Trouble, icon};

/// How long typing has to rest before the catalog is searched.
const REST: core::time::Duration = core::time::Duration::from_millis(300);

/// Every state that a person can look for.
const STATES: [UpdateState; 7] = [
    UpdateState::SetAside,
    UpdateState::Retrying,
    UpdateState::Recalled,
    UpdateState::Withheld,
    UpdateState::Postponed,
    UpdateState::Directed,
    UpdateState::Current,
];

/// The part of the catalog that is known.
#[derive(Clone, Copy)]
struct Known {
    app: App,
    devices: RwSignal<Option<Vec<CatalogEntry>>>,
    total: RwSignal<u64>,
    next: RwSignal<Option<Device>>,
    failure: RwSignal<Option<Failure>>,
    find: RwSignal<String>,
    state: RwSignal<String>,
    /// Rises with each question, so that a late answer to an earlier one is not shown.
    asked: RwSignal<u32>,
}

impl Known {
    /// Asks for the first part, or for the one after what is known.
    fn load(self, further: bool) {
        self.failure.set(None);
        let after = self.next.get_untracked().filter(|_| further);
        self.asked.update(|asked| *asked = asked.wrapping_add(1));
        let asked = self.asked.get_untracked();
        let path = path(&self.find.get_untracked(), &self.state.get_untracked(), after.as_ref());
        leptos::task::spawn_local(async move {
            let answer = self.app.get::<CatalogPage>(&path).await;
            // The screen may be gone by now.
            if self.asked.try_get_untracked() != Some(asked) {
                return;
            }
            match answer {
                Ok(page) => {
                    self.total.set(page.total);
                    self.next.set(page.next);
                    self.devices.update(|devices| match devices {
                        Some(known) if after.is_some() => known.extend(page.devices),
                        devices => *devices = Some(page.devices),
                    });
                }
                Err(failure) => self.failure.set(Some(failure)),
            }
        });
    }
}

/// The path of a question.
fn path(find: &str, state: &str, after: Option<&Device>) -> String {
    let mut parts = Vec::new();
    let find = find.trim();
    parts.extend((!find.is_empty()).then(|| format!("find={}", js_sys::encode_uri_component(find))));
    parts.extend((!state.is_empty()).then(|| format!("update={state}")));
    parts.extend(after.map(|device| format!("after={device}")));
    if parts.is_empty() { "/catalog".to_owned() } else { format!("/catalog?{}", parts.join("&")) }
}

/// The word of a state in a question.
fn word(state: UpdateState) -> String {
    serde_json::to_string(&state).unwrap_or_default().trim_matches('"').to_owned()
}

/// The screen.
#[component]
pub(crate) fn CatalogScreen() -> impl IntoView {
    let t = use_text();
    let known = Known {
        app: use_app(),
        devices: RwSignal::new(None),
        total: RwSignal::new(0),
        next: RwSignal::new(None),
        failure: RwSignal::new(None),
        find: RwSignal::new(String::new()),
        state: RwSignal::new(String::new()),
        asked: RwSignal::new(0),
    };
    // A search begins when typing rests; another state at once.
    Effect::new(move |last: Option<String>| {
        let (state, typed) = (known.state.get(), known.find.get());
        if last.as_ref() != Some(&state) {
            known.load(false);
            return state;
        }
        set_timeout(
            move || {
                if known.find.try_get_untracked().as_ref() == Some(&typed) {
                    known.load(false);
                }
            },
            REST,
        );
        state
    });
    let options = core::iter::once((String::new(), t.catalog_all().to_owned()))
        .chain(STATES.map(|state| (word(state), update_words(state, t).1.to_owned())))
        .collect::<Vec<_>>();
    let is_asked = move || !(known.find.with(String::is_empty) && known.state.with(String::is_empty));
    view! {
        <section class="list-pane wide">
            <div class="screen-head"><ScreenTitle text=t.catalog_title()/></div>
            <Tabs/>
            <p class="quiet">{t.catalog_text()}</p>
            <div class="pairs">
                <label class="search">
                    {icon::search()}
                    <span class="visually-hidden">{t.catalog_find()}</span>
                    <input type="search" data-testid="catalog-find" placeholder=t.catalog_find_hint() prop:value=known.find
                        on:input:target=move |event| known.find.set(event.target().value())/>
                </label>
                <Select label=t.catalog_state() value=known.state name="update" options=options/>
            </div>
            <Trouble failure=known.failure retry=Callback::new(move |()| known.load(false))/>
            <p class="tiny" role="status">{move || known.devices.with(Option::is_some).then(|| t.catalog_found(known.total.get()))}</p>
            {move || match known.devices.with(|devices| devices.as_ref().map(Vec::is_empty)) {
                Some(true) if is_asked() => view! { <div class="card empty"><p><b>{t.no_catalog_found()}</b></p></div> }.into_any(),
                Some(true) => view! { <Empty name="no-catalog" what=t.no_catalog() advice=t.no_catalog_text()/> }.into_any(),
                Some(false) => view! {
                    <ul class="card rows devices" data-testid="catalog">
                        <For each=move || known.devices.get().unwrap_or_default() key=crate::api::json let:entry><Row entry=entry/></For>
                    </ul>
                }.into_any(),
                None if known.failure.with(Option::is_some) => ().into_any(),
                None => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
            <Show when=move || known.next.with(Option::is_some)>
                <p><button type="button" class="button quiet" data-testid="catalog-more" on:click=move |_| known.load(true)>{t.catalog_more()}</button></p>
            </Show>
        </section>
    }
}

/// When a device was reported last.
pub(super) fn reported(entry: &CatalogEntry, app: App, t: Language) -> String {
    match entry.reported_at {
        Some(at) => t.catalog_reported(&format::age(app.clock.since(at), t)),
        None => t.catalog_never().to_owned(),
    }
}

/// Through which gateway a device is updated.
fn through(entry: &CatalogEntry, t: Language) -> String {
    match &entry.gateway {
        Some(gateway) => t.catalog_by(gateway.identifier.as_str()),
        None => t.catalog_no_gateway().to_owned(),
    }
}

#[component]
fn Row(entry: CatalogEntry) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let (style, words) = update_words(entry.update, t);
    let detail = entry.detail.clone().map(|detail| view! { <p class="tiny">{detail}</p> });
    let conflict = entry.conflict.is_some().then(|| view! { <p class="tiny strong">{t.catalog_conflict_title()}</p> });
    let route = Route::CatalogDevice(entry.device.clone());
    let fixed = entry.clone();
    view! {
        <li class="row" data-testid="catalog-device" data-device=entry.device.to_string()>
            <div class="row-main">
                <h2>
                    <a class="row-link" href=route.to_string()><span class="ident">{entry.device.identifier.to_string()}</span></a>
                    <small>{format!("{} {}", entry.model, entry.revision)}</small>
                </h2>
                <p class="tiny facts">
                    <span>{t.serial_short(&entry.serial_number)}</span>
                    <span>{through(&entry, t)}</span>
                    <span>{move || reported(&fixed, app, t)}</span>
                </p>
                {conflict}
                {detail}
            </div>
            <div class="acts"><span class=style>{words}</span></div>
        </li>
    }
}

//! The configuration catalog (figure 2): what every device runs.

use leptos::prelude::*;
use wardlink_protocol::api::{CatalogEntry, CatalogPage, DeviceClass, GatewayView, UpdateState};

use super::export;
use super::words::{Retries, detail_words};
use super::{Tabs, update_words};
use crate::app::{App, use_app, use_text};
use crate::classes::all_options;
use crate::fetched::Fetched;
use crate::format;
use crate::pages::Pages;
use crate::route::Route;
use crate::text::Language;
use crate::ui::export::Export;
use crate::ui::select::Select;
use crate::ui::tabs::Empty;
use crate::ui::{ScreenTitle, icon};

/// How long typing has to rest before the catalog is searched.
const REST: core::time::Duration = core::time::Duration::from_millis(300);

/// Every state that a person can look for.
const STATES: [UpdateState; 8] = [
    UpdateState::SetAside,
    UpdateState::Retrying,
    UpdateState::Recalled,
    UpdateState::Withheld,
    UpdateState::Postponed,
    UpdateState::Directed,
    UpdateState::Installing,
    UpdateState::Current,
];

/// The word in a question for devices that two gateways report.
const IN_CONFLICT: &str = "conflict";

/// What a person asks for: an empty text asks for everything.
#[derive(Clone, Copy)]
struct Question {
    find: RwSignal<String>,
    state: RwSignal<String>,
    class: RwSignal<String>,
    gateway: RwSignal<String>,
}

impl Question {
    fn new() -> Self {
        let [find, state, class, gateway] = [(); 4].map(|()| RwSignal::new(String::new()));
        Self { find, state, class, gateway }
    }

    /// What is chosen and not typed.
    fn chosen(self) -> [String; 3] {
        [self.state.get(), self.class.get(), self.gateway.get()]
    }

    /// Whether not everything is asked for.
    fn is_asked(self) -> bool {
        [self.find, self.state, self.class, self.gateway].iter().any(|part| part.with(|part| !part.is_empty()))
    }

    fn path(self) -> String {
        let [find, state, class, gateway] =
            [self.find, self.state, self.class, self.gateway].map(|part| part.with_untracked(String::clone));
        let find = js_sys::encode_uri_component(find.trim()).into();
        path(&[("find", find), ("update", state), ("client", class), ("gateway", gateway)])
    }
}

/// The path of a question whose parts are encoded.
fn path(parts: &[(&str, String)]) -> String {
    let parts = parts.iter().filter(|(_, value)| !value.is_empty());
    let parts = parts.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
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
    let question = Question::new();
    let known = Pages::<CatalogPage>::follow(question.path());
    // A search begins when typing rests; another choice at once.
    Effect::new(move |last: Option<[String; 3]>| {
        let (chosen, typed) = (question.chosen(), question.find.get());
        match last {
            None => {}
            Some(last) if last != chosen => known.ask(question.path()),
            Some(_) => set_timeout(
                move || {
                    if question.find.try_get_untracked().as_ref() == Some(&typed) {
                        known.ask(question.path());
                    }
                },
                REST,
            ),
        }
        chosen
    });
    let is_empty = known.is_empty();
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.catalog_title()/>
                <Export mark="export-catalog" words=t.export_csv() collect=move |app| export::catalog(app, known.path())/>
            </div>
            <Tabs/>
            <p class="quiet">{t.catalog_text()}</p>
            <Filters question=question/>
            {known.trouble()}
            <p class="tiny" role="status">{move || known.head.get().map(|total| t.catalog_found(total))}</p>
            {move || (is_empty.get() == Some(true)).then(|| if question.is_asked() {
                view! { <div class="card empty"><p><b>{t.no_catalog_found()}</b></p></div> }.into_any()
            } else {
                view! { <Empty name="no-catalog" what=t.no_catalog() advice=t.no_catalog_text()/> }.into_any()
            })}
            {known.list("catalog", "card rows devices", |entry| view! { <Row entry=entry/> })}
            {known.waiting()}
            {known.further("catalog-more")}
        </section>
    }
}

/// What is looked for: by words, state, class and gateway.
#[component]
fn Filters(question: Question) -> impl IntoView {
    let t = use_text();
    let classes = Fetched::<Vec<DeviceClass>>::start("/classes");
    let gateways = Fetched::<Vec<GatewayView>>::start("/gateways");
    let everything = |words: &str| core::iter::once((String::new(), words.to_owned()));
    let states = everything(t.catalog_all())
        .chain([(IN_CONFLICT.to_owned(), t.catalog_in_conflict().to_owned())])
        .chain(STATES.map(|state| (word(state), update_words(state, t).1.to_owned())))
        .collect::<Vec<_>>();
    let classes = move || {
        let known = classes.value.with(|known| known.as_ref().map(|known| all_options(known, t))).unwrap_or_default();
        let options = everything(t.catalog_all_classes()).chain(known).collect::<Vec<_>>();
        view! { <Select label=t.catalog_class() value=question.class name="class" options=options/> }
    };
    let gateways = move || {
        let known = gateways.value.get().unwrap_or_default().into_iter().map(|known| known.gateway.to_string());
        let options = everything(t.catalog_all_gateways()).chain(known.map(|name| (name.clone(), name)));
        let options = options.collect::<Vec<_>>();
        view! { <Select label=t.catalog_gateway() value=question.gateway name="gateway" options=options/> }
    };
    view! {
        <label class="search">
            {icon::search()}
            <span class="visually-hidden">{t.catalog_find()}</span>
            <input type="search" data-testid="catalog-find" placeholder=t.catalog_find_hint() prop:value=question.find
                on:input:target=move |event| question.find.set(event.target().value())/>
        </label>
        <div class="pairs three">
            <Select label=t.catalog_state() value=question.state name="update" options=states/>
            {classes}
            {gateways}
        </div>
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
    let detail = entry.detail.clone().filter(|detail| !detail.is_empty());
    let detail = detail.map(|detail| view! { <p class="tiny">{detail_words(&detail, t)}</p> });
    let (failures, retry_at) = (entry.failures, entry.retry_at);
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
                <Retries failures=failures retry_at=retry_at/>
            </div>
            <div class="acts"><span class=style>{words}</span></div>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_only_what_is_asked_for() {
        let nothing = || String::new();
        assert_eq!(path(&[("find", nothing()), ("update", nothing())]), "/catalog");
        let parts = [("find", nothing()), ("update", IN_CONFLICT.to_owned()), ("gateway", "gateway/north".to_owned())];
        assert_eq!(path(&parts), "/catalog?update=conflict&gateway=gateway/north");
        assert_eq!(word(UpdateState::SetAside), "set-aside");
    }
}

//! The device classes: which there are, and whose devices may ask to join.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::ClientClass;
use wardlink_protocol::api::{Activity, DeviceClass, Placement, Right};
use wardlink_protocol::limits::MAX_TEXT_BYTES;

use crate::api::{self, Failure};
use crate::app::{use_app, use_text};
use crate::fetched::Fetched;
use crate::route::Route;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::tabs::tabs;
use crate::ui::{ScreenTitle, Trouble, icon, unique_id};

/// A class's name in the language of the reader.
fn name(class: &DeviceClass, t: Language) -> &str {
    match t {
        Language::English => &class.name,
        Language::German => &class.name_de,
    }
}

/// The name of a class; as it stands in topics where it has none.
pub(crate) fn name_of(client: &ClientClass, classes: &[DeviceClass], t: Language) -> String {
    let known = classes.iter().find(|class| class.client == *client);
    known.map_or_else(|| client.to_string(), |class| name(class, t).to_owned())
}

/// The classes whose devices may ask, as the options of a choice, by name.
pub(crate) fn options(classes: &[DeviceClass], t: Language) -> Vec<(String, String)> {
    by_name(classes.iter().filter(|class| class.enabled), t)
}

/// Every class, in the same way: devices that never ask stand in the catalog, too.
pub(crate) fn all_options(classes: &[DeviceClass], t: Language) -> Vec<(String, String)> {
    by_name(classes.iter(), t)
}

fn by_name<'a>(classes: impl Iterator<Item = &'a DeviceClass>, t: Language) -> Vec<(String, String)> {
    let mut options: Vec<_> = classes.map(|class| (class.client.to_string(), name(class, t).to_owned())).collect();
    options.sort_by_key(|(_, name)| name.to_lowercase());
    options
}

/// The screens of the site's rules.
#[component]
pub(crate) fn Tabs() -> impl IntoView {
    let t = use_text();
    let everybody =
        [(Route::Policy, t.policy_title()), (Route::Classes, t.classes_title()), (Route::Channels, t.channels_title())];
    let services = use_app().may(Right::ManageServices).then(|| (Route::Services, t.services_title()));
    let last = (Route::Authority, t.authority_title());
    tabs(t.policy_nav(), everybody.into_iter().chain(services).chain([last]))
}

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// What a new class is.
    New,
    /// What this one is from now on.
    Change(DeviceClass),
}

/// The classes that are known.
type Classes = Fetched<Vec<DeviceClass>>;

/// Makes or changes a class. The list is drawn anew only where `redraw`: who switches one after the other keeps the place.
async fn put(classes: Classes, class: DeviceClass, redraw: bool) -> Result<(), Failure> {
    let path = format!("/classes/{}", class.client);
    let answer = classes.app.send(Method::PUT, &path, api::json(&class)).await?;
    let stored = answer.read_unless_empty::<DeviceClass>()?.unwrap_or(class);
    classes.amend(|list| {
        match list.iter_mut().find(|known| known.client == stored.client) {
            Some(known) => *known = stored,
            None => list.push(stored),
        }
        redraw
    });
    Ok(())
}

/// The screen.
#[component]
pub(crate) fn ClassesScreen() -> impl IntoView {
    let t = use_text();
    let classes = Classes::start("/classes");
    let ask = RwSignal::new(None);
    let may_change = classes.app.may(Right::ChangeClasses);
    let rows = move || {
        let mut list = classes.value.get().unwrap_or_default();
        list.sort_by_key(|class| (!class.enabled, name(class, t).to_lowercase()));
        list.into_iter()
            .map(|class| view! { <Row class=class classes=classes ask=ask may_change=may_change/> })
            .collect_view()
    };
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.classes_title()/>
                {may_change.then(|| view! {
                    <button type="button" class="button small" data-testid="add-class" on:click=move |_| ask.set(Some(Ask::New))>
                        {icon::add()} {t.add_class()}
                    </button>
                })}
            </div>
            <Tabs/>
            <p class="quiet">{t.classes_text()}</p>
            {classes.trouble()}
            {move || match classes.value.with(|list| list.as_ref().map(Vec::is_empty)) {
                Some(true) => view! { <div class="card empty"><p><b>{t.no_classes()}</b></p></div> }.into_any(),
                Some(false) => view! { <ul class="card rows" data-testid="classes">{rows}</ul> }.into_any(),
                None => ().into_any(),
            }}
            {classes.waiting()}
            <Asking ask=ask classes=classes/>
        </section>
    }
}

#[component]
fn Row(class: DeviceClass, classes: Classes, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let shown = name(&class, t).to_owned();
    let kind = match class.activity {
        Activity::Active => t.class_active(),
        Activity::Passive => t.class_passive(),
    };
    let place = match class.placement {
        Placement::External => t.class_external(),
        Placement::Implanted => t.class_implanted(),
    };
    let on = RwSignal::new(class.enabled);
    let (to_change, to_switch, said) = (class.clone(), class.clone(), shown.clone());
    let switch = Callback::new(move |enabled: bool| {
        on.set(enabled);
        let wanted = DeviceClass { enabled, ..to_switch.clone() };
        let words = if enabled { t.class_switched_on(&said) } else { t.class_switched_off(&said) };
        spawn_local(async move {
            match put(classes, wanted, false).await {
                Ok(()) => app.notices.say(words),
                Err(failure) => {
                    app.notices.failure(&failure, t);
                    let _ = on.try_set(!enabled);
                }
            }
        });
    });
    view! {
        <li class="row" class:inactive=move || !on.get() data-testid="class" data-class=class.client.to_string()>
            <div class="row-main">
                <h2>{shown.clone()} <small class="mono">{class.client.to_string()}</small></h2>
                <p class="tiny facts"><span>{kind}</span><span>{place}</span></p>
            </div>
            <div class="acts">
                {if may_change {
                    view! {
                        <label class="toggle">
                            <input type="checkbox" role="switch" aria-label=t.class_may_ask(&shown) prop:checked=on
                                on:change:target=move |event| switch.run(event.target().checked())/>
                            <span aria-hidden="true">{move || if on.get() { t.class_enabled() } else { t.class_disabled() }}</span>
                        </label>
                        <button type="button" class="button small quiet" aria-label=t.change_named(&shown)
                            on:click=move |_| ask.set(Some(Ask::Change(DeviceClass { enabled: on.get_untracked(), ..to_change.clone() })))>{t.change_entry()}</button>
                    }.into_any()
                } else {
                    let (style, word) = if class.enabled { ("chip done", t.class_enabled()) } else { ("chip", t.class_disabled()) };
                    view! { <span class=style>{word}</span> }.into_any()
                }}
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, classes: Classes) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::New => t.add_class().to_owned(),
        Ask::Change(class) => t.class_change_title(name(class, t)),
    };
    let content = move |question: Ask, close: CloseDialog| {
        let class = match question {
            Ask::New => None,
            Ask::Change(class) => Some(class),
        };
        view! { <ClassForm class=class classes=classes close=close/> }.into_any()
    };
    asking(ask, title, content)
}

fn complaint(name: &str, t: Language) -> Option<String> {
    if name.is_empty() {
        Some(t.network_name_missing().to_owned())
    } else {
        (name.len() > MAX_TEXT_BYTES).then(|| t.note_too_long(MAX_TEXT_BYTES))
    }
}

/// The form of one class.
#[component]
fn ClassForm(class: Option<DeviceClass>, classes: Classes, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let known = class.clone();
    let text = |read: fn(&DeviceClass) -> String| RwSignal::new(class.as_ref().map(read).unwrap_or_default());
    let client = text(|class| class.client.to_string());
    let (english, german) = (text(|class| class.name.clone()), text(|class| class.name_de.clone()));
    let activity = RwSignal::new(class.as_ref().map_or(Activity::Active, |class| class.activity));
    let placement = RwSignal::new(class.as_ref().map_or(Placement::External, |class| class.placement));
    let (client_error, english_error, german_error) = (RwSignal::new(None), RwSignal::new(None), RwSignal::new(None));
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let is_new = class.is_none();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = client.get_untracked().trim().parse::<ClientClass>();
        let is_taken = |wanted: &ClientClass| {
            is_new && classes.value.with_untracked(|list| list.iter().flatten().any(|class| class.client == *wanted))
        };
        client_error.set(match &wanted {
            Err(_) => Some(t.invalid_name().to_owned()),
            Ok(wanted) => is_taken(wanted).then(|| t.class_taken().to_owned()),
        });
        let (name, name_de) = (english.get_untracked().trim().to_owned(), german.get_untracked().trim().to_owned());
        english_error.set(complaint(&name, t));
        german_error.set(complaint(&name_de, t));
        let errors = [client_error, english_error, german_error];
        let (Ok(client), false) = (wanted, busy.get_untracked()) else { return };
        if errors.iter().any(|error| error.with_untracked(Option::is_some)) {
            return;
        }
        busy.set(true);
        failure.set(None);
        let class = DeviceClass {
            client,
            name,
            name_de,
            activity: activity.get_untracked(),
            placement: placement.get_untracked(),
            enabled: known.as_ref().is_none_or(|class| class.enabled),
        };
        spawn_local(async move {
            let answer = put(classes, class, true).await;
            // The dialog may have been closed meanwhile.
            let _ = busy.try_set(false);
            match answer {
                Ok(()) => close.run(),
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    view! {
        <form class="stack" data-testid="class-form" on:submit=submit novalidate>
            {is_new.then(|| view! {
                <Field label=t.class_client() value=client name="client" hint=t.class_client_hint() error=client_error focus=true/>
            })}
            <Field label=t.class_name() value=english name="name" error=english_error focus=!is_new/>
            <Field label=t.class_name_de() value=german name="name-de" error=german_error/>
            <Kinds activity=activity placement=placement/>
            <Trouble failure=failure/>
            <div class="answers">
                <button type="button" class="button quiet" on:click=move |_| close.run()>{t.cancel()}</button>
                <button class="button" data-testid="confirm" aria-disabled=move || busy.get().then_some("true")>{t.save()}</button>
            </div>
        </form>
    }
}

/// Active or passive, implanted or external.
#[component]
fn Kinds(activity: RwSignal<Activity>, placement: RwSignal<Placement>) -> impl IntoView {
    let t = use_text();
    let (activities, placements) = (unique_id("activity"), unique_id("placement"));
    let active = [
        (Activity::Active, t.class_active(), t.class_active_hint(), "active"),
        (Activity::Passive, t.class_passive(), t.class_passive_hint(), "passive"),
    ];
    let active = active.map(|(kind, label, hint, value)| {
        view! {
            <Choice name=activities.clone() label=label hint=hint value=value.to_owned()
                chosen=Signal::derive(move || activity.get() == kind) choose=Callback::new(move |()| activity.set(kind))/>
        }
    });
    let placed = [
        (Placement::External, t.class_external(), t.class_external_hint(), "external"),
        (Placement::Implanted, t.class_implanted(), t.class_implanted_hint(), "implanted"),
    ];
    let placed = placed.map(|(place, label, hint, value)| {
        view! {
            <Choice name=placements.clone() label=label hint=hint value=value.to_owned()
                chosen=Signal::derive(move || placement.get() == place) choose=Callback::new(move |()| placement.set(place))/>
        }
    });
    view! {
        <fieldset class="choices"><legend>{t.class_activity()}</legend>{active.into_iter().collect_view()}</fieldset>
        <fieldset class="choices"><legend>{t.class_placement()}</legend>{placed.into_iter().collect_view()}</fieldset>
    }
}

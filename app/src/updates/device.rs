//! One device of the catalog: what it is, what happened to it, and through which gateway.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    AllowUpload, AssignPatient, Associate, CatalogChange, CatalogDevice, CatalogEntry, GatewayView, Right, UpdateState,
};
use wardlink_protocol::identity::PatientReference;

use super::catalog::reported;
use super::update_words;
use super::words::{Retries, change_words, detail_words};
use crate::api;
use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::route::Route;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::form::{Answers, Sender};
use crate::ui::select::Switch;
use crate::ui::{Fact, ScreenTitle, icon};
use crate::verification::random_bytes;

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// Through which gateway the device is updated.
    Move(Box<CatalogEntry>),
    /// Through which gateways its data may come, too.
    Uploads(Box<CatalogEntry>),
    /// For whom it is there.
    Patient(Box<CatalogEntry>),
}

/// The screen.
#[component]
pub(crate) fn CatalogDeviceScreen(device: Device) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let may = app.may(Right::ManageUpdates);
    let known = Fetched::<CatalogDevice>::follow(format!("/catalog/{device}"));
    let ask = RwSignal::new(None);
    let name = device.identifier.to_string();
    view! {
        <section class="device-screen list-pane wide">
            <a class="back" href=Route::Catalog.to_string()>{icon::back()} {t.catalog_title()}</a>
            <div class="screen-head"><ScreenTitle text=name/></div>
            {known.trouble()}
            {known.waiting()}
            {move || known.value.get().map(|shown| view! { <Shown shown=shown ask=ask may=may known=known/> })}
            <Asking ask=ask known=known/>
        </section>
    }
}

#[component]
fn Shown(shown: CatalogDevice, ask: RwSignal<Option<Ask>>, may: bool, known: Fetched<CatalogDevice>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let CatalogDevice { entry, history } = shown;
    let (style, words) = update_words(entry.update, t);
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| t.catalog_unknown().to_owned());
    let uploads = entry.uploads.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (moves, lets, assigns, fixed) = (entry.clone(), entry.clone(), entry.clone(), entry.clone());
    let patient = entry.patient.map_or_else(|| t.catalog_no_patient().to_owned(), |patient| patient.to_string());
    // Why it is set aside stands in the warning.
    let is_said = |detail: &String| !detail.is_empty() && entry.update != UpdateState::SetAside;
    let detail = entry.detail.clone().filter(is_said);
    let history_rows = history.iter().map(|change| view! { <Change change=change.clone()/> }).collect_view();
    view! {
        <p class="progress-line"><span class=style data-testid="update-state">{words}</span> <span class="tiny">{move || reported(&fixed, app, t)}</span></p>
        {detail.map(|detail| view! { <p class="tiny">{detail_words(&detail, t)}</p> })}
        <Retries failures=entry.failures retry_at=entry.retry_at/>
        {warnings(&entry, t)}
        {(entry.update == UpdateState::SetAside && may).then(|| view! { <Resume device=entry.device.clone() known=known/> })}
        <div class="two">
            <section class="card pad">
                <dl class="facts-list">
                    <Fact name=t.catalog_manufacturer() value=entry.manufacturer.clone()/>
                    <Fact name=t.catalog_model() value=format!("{} ({})", entry.model, entry.device.client)/>
                    <Fact name=t.catalog_serial() value=entry.serial_number.clone()/>
                    <Fact name=t.catalog_revision() value=entry.revision.clone()/>
                    <Fact name=t.catalog_hardware() value=entry.hardware.clone()/>
                    <Fact name=t.catalog_counter() value=or_unknown(entry.release_counter.map(|counter| counter.to_string()))/>
                    <Fact name=t.catalog_gateway() value=entry.gateway.as_ref().map_or_else(|| t.catalog_no_gateway().to_owned(), ToString::to_string)/>
                    {(!uploads.is_empty()).then(|| view! { <Fact name=t.catalog_uploads() value=uploads/> })}
                    <Fact name=t.catalog_patient() value=patient mono=entry.patient.is_some()/>
                    <Fact name=t.catalog_key() value=or_unknown(entry.factory_key.map(|key| key.to_string())) mono=true/>
                </dl>
                {may.then(|| view! {
                    <div class="acts start">
                        <button type="button" class="button small" data-testid="move" on:click=move |_| ask.set(Some(Ask::Move(Box::new(moves.clone()))))>{t.move_device()}</button>
                        <button type="button" class="button small quiet" data-testid="patient" on:click=move |_| ask.set(Some(Ask::Patient(Box::new(assigns.clone()))))>{t.assign_patient()}</button>
                        <button type="button" class="button small quiet" data-testid="uploads" on:click=move |_| ask.set(Some(Ask::Uploads(Box::new(lets.clone()))))>{t.uploads_device()}</button>
                    </div>
                })}
            </section>
            <section class="card">
                <h2 class="card-title">{t.catalog_history()}</h2>
                {if history.is_empty() {
                    view! { <p class="quiet pad">{t.catalog_history_empty()}</p> }.into_any()
                } else {
                    view! { <ul class="events" data-testid="history">{history_rows}</ul> }.into_any()
                }}
            </section>
        </div>
    }
}

/// What needs a person's eyes.
fn warnings(entry: &CatalogEntry, t: Language) -> impl IntoView + use<> {
    let conflict = entry.conflict.as_ref().map(|other| {
        let one = entry.gateway.as_ref().map_or_else(|| t.catalog_unknown().to_owned(), ToString::to_string);
        (t.catalog_conflict_title(), t.catalog_conflict_text(&one, &other.to_string()))
    });
    let attack = entry.attack.clone().map(|attack| (t.catalog_attack_title(), attack));
    let aside = (entry.update == UpdateState::SetAside).then(|| {
        let detail = entry.detail.clone().unwrap_or_default();
        (t.set_aside_title(), format!("{} {detail}", t.set_aside_text()))
    });
    [conflict, attack, aside].map(|warning| {
        warning.map(|(title, text)| {
            view! { <div class="trouble">{icon::notice()}<div><strong>{title}</strong><p>{text}</p></div></div> }
        })
    })
}

#[component]
fn Resume(device: Device, known: Fetched<CatalogDevice>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let resume = move |_| {
        sender.send(app, format!("/catalog/{device}/resume"), None, move |_| {
            app.notices.say(t.device_resumed());
            known.load();
        });
    };
    view! {
        <crate::ui::Trouble failure=sender.failure/>
        <p><button type="button" class="button" data-testid="resume" aria-disabled=move || sender.busy.get().then_some("true") on:click=resume>{t.resume_device()}</button></p>
    }
}

#[component]
fn Change(change: CatalogChange) -> impl IntoView {
    let t = use_text();
    let at = clock::day_and_time(change.at, t);
    view! { <li><time>{at}</time><span>{change_words(change, t)}</span></li> }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Fetched<CatalogDevice>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Move(entry) => t.move_title(entry.device.identifier.as_str()),
        Ask::Uploads(entry) => t.uploads_title(entry.device.identifier.as_str()),
        Ask::Patient(entry) => t.assign_patient_title(entry.device.identifier.as_str()),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Move(entry) => view! { <MoveForm entry=*entry known=known close=close/> }.into_any(),
        Ask::Uploads(entry) => view! { <Uploads entry=*entry known=known close=close/> }.into_any(),
        Ask::Patient(entry) => view! { <PatientForm entry=*entry known=known close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn MoveForm(entry: CatalogEntry, known: Fetched<CatalogDevice>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let gateways = Fetched::<Vec<GatewayView>>::start("/gateways");
    let chosen = RwSignal::new(entry.gateway.clone());
    let device = entry.device;
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(gateway) = chosen.get_untracked() else { return };
        let told = t.moved(gateway.identifier.as_str());
        let body = api::json(&Associate { gateway });
        sender.send(app, format!("/catalog/{device}/gateway"), body, move |_| {
            app.notices.say(told);
            known.load();
            close.run();
        });
    };
    let choices = move || {
        let list = gateways.value.get().unwrap_or_default().into_iter();
        list.filter(|one| one.lost_at.is_none()).map(|one| {
            let (this, choose) = (one.gateway.clone(), one.gateway.clone());
            let is_chosen = Signal::derive(move || chosen.with(|chosen| chosen.as_ref() == Some(&this)));
            let choose = Callback::new(move |()| chosen.set(Some(choose.clone())));
            let text = one.gateway.to_string();
            view! { <Choice name="gateway".to_owned() label=text.clone() value=text chosen=is_chosen choose=choose/> }
        })
        .collect_view()
    };
    view! {
        <form class="stack" data-testid="move-form" on:submit=submit>
            <p>{t.move_text()}</p>
            {gateways.trouble()}
            {gateways.waiting()}
            <Show when=move || gateways.is_empty()><p class="quiet">{t.no_gateway_to_choose()}</p></Show>
            <div class="choices" role="radiogroup">{choices}</div>
            <Answers close=close sender=sender go=t.move_go() keep=t.cancel()/>
        </form>
    }
}

/// A reference names nobody: the hospital's own system says whose it is.
#[component]
fn PatientForm(entry: CatalogEntry, known: Fetched<CatalogDevice>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let reference = RwSignal::new(entry.patient.map(|patient| patient.to_string()).unwrap_or_default());
    let wrong = RwSignal::new(None);
    let device = StoredValue::new(entry.device);
    let assign = move |patient: Option<PatientReference>| {
        let told = if patient.is_some() { t.patient_assigned() } else { t.patient_taken_away() };
        let path = format!("/catalog/{}/patient", device.get_value());
        sender.send(app, path, api::json(&AssignPatient { patient }), move |_| {
            app.notices.say(told);
            known.load();
            close.run();
        });
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let patient = reference.get_untracked().trim().to_ascii_lowercase().parse::<PatientReference>().ok();
        wrong.set(patient.is_none().then(|| t.patient_reference_wrong().to_owned()));
        if patient.is_some() {
            assign(patient);
        }
    };
    let draw = move |_| {
        reference.set(PatientReference(random_bytes()).to_string());
        wrong.set(None);
    };
    view! {
        <form class="stack" data-testid="patient-form" on:submit=submit novalidate>
            <p>{t.assign_patient_text()}</p>
            <Field label=t.patient_reference() value=reference name="patient" hint=t.patient_reference_hint() error=wrong focus=true/>
            <div class="acts start">
                <button type="button" class="button small quiet" data-testid="draw-patient" on:click=draw>{t.patient_draw()}</button>
                {entry.patient.is_some().then(|| view! {
                    <button type="button" class="button small quiet" data-testid="no-patient" aria-disabled=move || sender.busy.get().then_some("true") on:click=move |_| assign(None)>{t.patient_take_away()}</button>
                })}
            </div>
            <Answers close=close sender=sender go=t.patient_go() keep=t.cancel()/>
        </form>
    }
}

#[component]
fn Uploads(entry: CatalogEntry, known: Fetched<CatalogDevice>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let gateways = Fetched::<Vec<GatewayView>>::start("/gateways");
    let allowed = RwSignal::new(entry.uploads);
    let device = StoredValue::new(entry.device);
    let change = move |gateway: Device, is_on: bool| {
        let body = api::json(&AllowUpload { gateway: gateway.clone(), allowed: is_on });
        sender.send(app, format!("/catalog/{}/uploads", device.get_value()), body, move |_| {
            allowed.update(|allowed| {
                allowed.retain(|one| *one != gateway);
                allowed.extend(is_on.then_some(gateway));
            });
            known.load();
        });
    };
    let switches = move || {
        let list = gateways.value.get().unwrap_or_default().into_iter();
        // What was allowed to one that has no rights any more can be taken back.
        let is_choice =
            |one: &GatewayView| one.lost_at.is_none() || allowed.with_untracked(|it| it.contains(&one.gateway));
        list.filter(is_choice)
            .map(|one| {
                let (this, switched, label) = (one.gateway.clone(), one.gateway.clone(), one.gateway.to_string());
                let on = Signal::derive(move || allowed.with(|allowed| allowed.contains(&this)));
                let change = Callback::new(move |is_on| change(switched.clone(), is_on));
                view! { <Switch label=label name="upload" on=on change=change/> }
            })
            .collect_view()
    };
    view! {
        <div class="stack" data-testid="uploads-form">
            <p>{t.uploads_text()}</p>
            {gateways.trouble()}
            {gateways.waiting()}
            <Show when=move || gateways.is_empty()><p class="quiet">{t.no_gateway_to_choose()}</p></Show>
            {switches}
            <crate::ui::Trouble failure=sender.failure/>
            <button type="button" class="button" on:click=move |_| close.run()>{t.close()}</button>
        </div>
    }
}

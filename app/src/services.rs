//! Server applications: which there are, making another, revoking one.

use std::collections::BTreeSet;

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{ChannelsView, DeviceClass, MadeService, NewService, ServiceState, ServiceView};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::limits::MAX_SERVICE_CHANNELS;
use wardlink_protocol::service::{ChannelOfClass, ServiceAccess};
use wardlink_protocol::{ClientClass, DeviceIdentifier};

use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::classes::{Tabs, name_of, options};
use crate::clock;
use crate::text::Language;
use crate::ui::clipboard;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::Field;
use crate::ui::form::{Answers, Sender};
use crate::ui::select::Switch;
use crate::ui::{Loading, ScreenTitle, Trouble, icon};

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// What a new service may read and write.
    Make,
    /// Whether this one is out.
    Revoke(Box<ServiceView>),
}

/// What the screen knows.
#[derive(Clone, Copy)]
struct Known {
    app: App,
    services: RwSignal<Option<Vec<ServiceView>>>,
    classes: RwSignal<Vec<DeviceClass>>,
    channels: RwSignal<Vec<ChannelName>>,
    failure: RwSignal<Option<Failure>>,
}

impl Known {
    fn load(self) {
        self.failure.set(None);
        spawn_local(async move {
            // The screen may be gone by now.
            if let Err(refused) = self.fetch().await {
                let _ = self.failure.try_set(Some(refused));
            }
        });
    }

    async fn fetch(self) -> Result<(), Failure> {
        let classes = self.app.get("/classes").await?;
        let view: ChannelsView = self.app.get("/channels").await?;
        let services = self.app.get("/services").await?;
        let names = view.channels.into_iter().map(|channel| channel.name).collect();
        let _ = (self.classes.try_set(classes), self.channels.try_set(names));
        let _ = self.services.try_set(Some(services));
        Ok(())
    }
}

/// The screen.
#[component]
pub(crate) fn ServicesScreen() -> impl IntoView {
    let t = use_text();
    let known = Known {
        app: use_app(),
        services: RwSignal::new(None),
        classes: RwSignal::new(Vec::new()),
        channels: RwSignal::new(Vec::new()),
        failure: RwSignal::new(None),
    };
    let ask = RwSignal::new(None);
    known.load();
    let rows = move || {
        let mut list = known.services.get().unwrap_or_default();
        list.sort_by_key(|service| (service.state == ServiceState::Revoked, service.name.clone()));
        list.into_iter().map(|service| view! { <Row service=service known=known ask=ask/> }).collect_view()
    };
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.services_title()/>
                <button type="button" class="button small" data-testid="add-service" on:click=move |_| ask.set(Some(Ask::Make))>
                    {icon::add()} {t.add_service()}
                </button>
            </div>
            <Tabs/>
            <p class="quiet">{t.services_text()}</p>
            <Trouble failure=known.failure retry=Callback::new(move |()| known.load())/>
            {move || match known.services.with(|list| list.as_ref().map(Vec::is_empty)) {
                Some(true) => view! {
                    <div class="card empty" data-testid="no-services"><p><b>{t.no_services()}</b></p><p>{t.no_services_text()}</p></div>
                }.into_any(),
                Some(false) => view! { <ul class="card rows" data-testid="services">{rows}</ul> }.into_any(),
                None if known.failure.with(Option::is_some) => ().into_any(),
                None => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
            <Asking ask=ask known=known/>
        </section>
    }
}

/// What a service reads or writes, class by class.
fn words(of: &BTreeSet<ChannelOfClass>, classes: &[DeviceClass], t: Language) -> String {
    let clients: BTreeSet<&ClientClass> = of.iter().map(|each| &each.client).collect();
    let parts = clients.into_iter().map(|client| {
        let channels = of.iter().filter(|each| each.client == *client).map(|each| each.channel.to_string());
        format!("{}: {}", name_of(client, classes, t), channels.collect::<Vec<_>>().join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

const fn state_words(state: ServiceState, t: Language) -> (&'static str, &'static str) {
    match state {
        ServiceState::Waiting => ("chip", t.service_waiting()),
        ServiceState::Lapsed => ("chip", t.service_lapsed()),
        ServiceState::Active => ("chip done", t.service_active()),
        ServiceState::Expired => ("chip", t.service_expired()),
        ServiceState::Revoked => ("chip", t.service_revoked()),
    }
}

#[component]
fn Row(service: ServiceView, known: Known, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let name = service.name.to_string();
    let at = |time| clock::day_and_time(time, t);
    let classes = known.classes.get_untracked();
    let access = &service.access;
    let reads = (!access.reads.is_empty()).then(|| t.service_reads(&words(&access.reads, &classes, t)));
    let writes = (!access.writes.is_empty()).then(|| t.service_writes(&words(&access.writes, &classes, t)));
    let made = t.made_at_by(&at(service.made_at), &service.made_by);
    let end = match (service.state, service.certificate_ends) {
        (ServiceState::Revoked, _) => service
            .revoked_at
            .map(|time| t.service_revoked_at(&at(time), service.revoked_by.as_deref().unwrap_or_default())),
        (ServiceState::Waiting, _) => Some(t.service_waits_until(&at(service.enrolment_ends))),
        (ServiceState::Lapsed, _) => Some(t.service_lapsed_hint().to_owned()),
        (_, Some(time)) => Some(t.service_ends(&at(time))),
        (_, None) => None,
    };
    let seen = service.last_seen.map(|time| t.service_seen(&at(time)));
    let is_out = service.state == ServiceState::Revoked;
    let (style, word) = state_words(service.state, t);
    let label = t.revoke_service_of(&name);
    view! {
        <li class="row" class:inactive=is_out data-testid="service" data-service=name.clone() data-state=word>
            <div class="row-main">
                <h2 class="mono-name">{name.clone()}</h2>
                <p class="tiny">{reads} {writes}</p>
                <p class="tiny facts">{end.map(|end| view! { <span>{end}</span> })} {seen.map(|seen| view! { <span>{seen}</span> })} <span>{made}</span></p>
            </div>
            <div class="acts">
                <span class=style>{word}</span>
                {(!is_out).then(|| view! {
                    <button type="button" class="button small quiet" data-testid="revoke-service" aria-label=label
                        on:click=move |_| ask.set(Some(Ask::Revoke(Box::new(service.clone()))))>{t.revoke_service()}</button>
                })}
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Known) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Make => t.add_service().to_owned(),
        Ask::Revoke(service) => t.revoke_service_title(service.name.as_str()),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Make => view! { <Make known=known close=close/> }.into_any(),
        Ask::Revoke(service) => view! { <RevokeForm service=*service known=known close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

/// The form, and what it made. The enrolment text is in the page only until the dialog is closed.
#[component]
fn Make(known: Known, close: CloseDialog) -> impl IntoView {
    let made = RwSignal::new(None::<MadeService>);
    // A locked page holds no secret.
    Effect::new(move |_| {
        if known.app.lock.is_on() {
            made.set(None);
        }
    });
    move || match made.get() {
        Some(service) => view! { <Made made=service close=close/> }.into_any(),
        None => view! { <MakeForm known=known made=made close=close/> }.into_any(),
    }
}

/// Words that are chosen, and those that are not.
#[component]
fn Several(
    legend: &'static str,
    name: &'static str,
    options: Vec<(String, String)>,
    chosen: RwSignal<BTreeSet<String>>,
    /// Where what is chosen is chosen, too.
    #[prop(optional)]
    also: Option<RwSignal<BTreeSet<String>>>,
    /// More about it.
    #[prop(optional)]
    hint: &'static str,
) -> impl IntoView {
    let switches = options.into_iter().map(|(value, label)| {
        let (on, change) = (value.clone(), value);
        let change = Callback::new(move |is_on: bool| {
            if let Some(also) = also.filter(|_| is_on) {
                also.update(|also| {
                    also.insert(change.clone());
                });
            }
            chosen.update(|chosen| {
                if is_on {
                    chosen.insert(change.clone())
                } else {
                    chosen.remove(&change)
                };
            });
        });
        let on = Signal::derive(move || chosen.with(|chosen| chosen.contains(&on)));
        view! { <Switch label=label name=name on=on change=change/> }
    });
    view! { <fieldset class="choices several"><legend>{legend}</legend>{(!hint.is_empty()).then(|| view! { <p class="hint">{hint}</p> })}{switches.collect_view()}</fieldset> }
}

/// Every chosen channel of every chosen class.
fn product(channels: &BTreeSet<String>, classes: &BTreeSet<String>) -> BTreeSet<ChannelOfClass> {
    let of =
        |client: &str| {
            let client: ClientClass = client.parse().ok()?;
            Some(channels.iter().filter_map(move |channel| {
                Some(ChannelOfClass { channel: channel.parse().ok()?, client: client.clone() })
            }))
        };
    classes.iter().filter_map(|client| of(client)).flatten().collect()
}

#[component]
fn MakeForm(known: Known, made: RwSignal<Option<MadeService>>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let name = RwSignal::new(String::new());
    let (classes, reads, writes) =
        (RwSignal::new(BTreeSet::new()), RwSignal::new(BTreeSet::new()), RwSignal::new(BTreeSet::new()));
    let (name_error, access_error) = (RwSignal::new(None), RwSignal::new(None));
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let parsed = name.get_untracked().trim().to_lowercase().parse::<DeviceIdentifier>();
        name_error.set(parsed.is_err().then(|| t.invalid_name().to_owned()));
        let of = |channels: RwSignal<BTreeSet<String>>| product(&channels.get_untracked(), &classes.get_untracked());
        let access = ServiceAccess { reads: of(reads), writes: of(writes) };
        let fits = access.is_reasonable();
        access_error.set((!fits).then(|| t.service_access_wrong(MAX_SERVICE_CHANNELS)));
        let (Ok(name), true) = (parsed, fits) else { return };
        let body = crate::api::json(&NewService { name, access });
        sender.send(known.app, "/services".to_owned(), body, move |answer| match answer.read::<MadeService>() {
            Ok(service) => {
                known.load();
                if !known.app.lock.is_on_now() {
                    let _ = made.try_set(Some(service));
                }
            }
            Err(failure) => drop(sender.failure.try_set(Some(failure))),
        });
    };
    let enabled = known.classes.with_untracked(|list| options(list, t));
    // What most of them are.
    let usual = enabled.iter().find(|(client, _)| client == "infusion-pump").or(enabled.first());
    classes.set(usual.map(|(client, _)| client.clone()).into_iter().collect());
    let channels: Vec<(String, String)> =
        known.channels.with_untracked(|names| names.iter().map(|name| (name.to_string(), name.to_string())).collect());
    view! {
        <form class="stack" data-testid="service-form" on:submit=submit novalidate>
            <p class="quiet">{t.add_service_text()}</p>
            <Field label=t.service_name() value=name name="service-name" hint=t.service_name_hint() error=name_error focus=true/>
            <Several legend=t.service_classes() name="service-class" options=enabled chosen=classes/>
            <Several legend=t.service_reads_which() name="service-reads" options=channels.clone() chosen=reads/>
            <Several legend=t.service_writes_which() name="service-writes" options=channels chosen=writes also=reads hint=t.service_writes_hint()/>
            <p class="error" role="alert">{move || access_error.get()}</p>
            <Answers close=close sender=sender go=t.make_service() keep=t.cancel()/>
        </form>
    }
}

/// The enrolment text, to be taken along.
#[component]
fn Made(made: MadeService, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let title = NodeRef::<leptos::html::H3>::new();
    Effect::new(move |_| {
        if let Some(title) = title.get() {
            // An element of the page can always take the focus.
            let _ = title.focus();
        }
    });
    let ends = clock::day_and_time(made.service.enrolment_ends, t);
    let site = window().location().origin().unwrap_or_default();
    let command = format!("wardlink listen --site {site} --data-dir {}", made.service.name);
    let sending = made.service.access.writes.first().map(|to| {
        let (name, channel, client) = (&made.service.name, &to.channel, &to.client);
        format!("wardlink send --site {site} --data-dir {name} --channel {channel} {client}/… report")
    });
    let text = StoredValue::new(made);
    let copy = move |_| {
        spawn_local(async move {
            let text = text.try_with_value(|made| made.enrolment.clone()).unwrap_or_default();
            if clipboard::put(&text).await {
                app.notices.say(t.service_copied().to_owned());
            } else {
                app.notices.say(t.service_not_copied().to_owned());
            }
        });
    };
    view! {
        <section class="stack" data-testid="service-made">
            <h3 node_ref=title tabindex="-1">{t.service_made()}</h3>
            <p class="quiet">{t.service_made_text(&ends)}</p>
            <p class="command mono token" data-testid="enrolment">{text.with_value(|made| made.enrolment.clone())}</p>
            <p class="quiet">{t.service_command()}</p>
            <p class="command mono">{command}</p>
            {sending.map(|sending| view! { <p class="command mono">{sending}</p> })}
            <div class="answers">
                <button type="button" class="button quiet" data-testid="done" on:click=move |_| close.run()>{t.service_done()}</button>
                <button type="button" class="button" data-testid="copy-enrolment" on:click=copy>{t.service_copy()}</button>
            </div>
        </section>
    }
}

#[component]
fn RevokeForm(service: ServiceView, known: Known, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let sender = Sender::new();
    let name = service.name.to_string();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let told = t.service_revoked_now(&name);
        sender.send(known.app, format!("/services/{name}/revoke"), None, move |_| {
            known.app.notices.say(told);
            known.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="revoke-service-form" on:submit=submit>
            <p>{t.revoke_service_text()}</p>
            <Answers close=close sender=sender go=t.revoke_service() keep=t.cancel()/>
        </form>
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn every_chosen_channel_of_every_chosen_class_is_granted() {
        let granted = product(&set(&["alarm", "therapy"]), &set(&["infusion-pump", "scale"]));
        assert_eq!(granted.len(), 4);
        assert!(product(&set(&[]), &set(&["scale"])).is_empty() && product(&set(&["alarm"]), &set(&[])).is_empty());
        assert_eq!(words(&granted, &[], Language::English), "infusion-pump: alarm, therapy; scale: alarm, therapy");
    }
}

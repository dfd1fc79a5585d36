//! The gateways, and devices that do without one: which are connected, and what they are told.

use leptos::prelude::*;
use wardlink_protocol::api::{Broadcast, DeviceClass, GatewayView, Held, Pushed, RecordsGateway, Right};

use super::Tabs;
use crate::api;
use crate::app::{use_app, use_text};
use crate::classes::all_options;
use crate::fetched::Fetched;
use crate::format;
use crate::records::{Arrived, AskNow};
use crate::ui::ScreenTitle;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::select::Select;
use crate::ui::tabs::Empty;

/// From how much on little room is left, in percent.
const NEARLY_FULL_PERCENT: u64 = 80;

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// Which class is pushed to.
    Push,
}

/// The screen.
#[component]
pub(crate) fn GatewaysScreen() -> impl IntoView {
    let t = use_text();
    let known = Fetched::<Vec<GatewayView>>::follow("/gateways");
    let records = Fetched::<Vec<RecordsGateway>>::follow("/records/gateways");
    let may = use_app().may(Right::ManageUpdates);
    let ask = RwSignal::new(None);
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.gateways_title()/>
                {may.then(|| view! {
                    <button type="button" class="button small quiet" data-testid="push-class" on:click=move |_| ask.set(Some(Ask::Push))>{t.push_class()}</button>
                })}
            </div>
            <Tabs/>
            <p class="quiet">{t.gateways_text()}</p>
            {known.trouble()}
            <Show when=move || known.is_empty()><Empty name="no-gateways" what=t.no_gateways() advice=t.no_gateways_text()/></Show>
            {known.rows("gateways", |_| true, move |gateway| view! { <Row gateway=gateway may=may known=known records=records/> })}
            {known.waiting()}
            <Asking ask=ask/>
        </section>
    }
}

/// Whether there is little room at a gateway for what its devices record.
fn is_nearly_full(held: &Held) -> bool {
    held.bytes.saturating_mul(100) >= held.capacity.saturating_mul(NEARLY_FULL_PERCENT) && held.capacity > 0
}

#[component]
fn Row(
    gateway: GatewayView,
    may: bool,
    known: Fetched<Vec<GatewayView>>,
    records: Fetched<Vec<RecordsGateway>>,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let name = gateway.gateway.identifier.to_string();
    let label = t.push_gateway_of(&name);
    let (asks, asks_label) = (format!("/gateways/{}/ask", gateway.gateway), t.ask_now_of(&name));
    let path = format!("/gateways/{}/push", gateway.gateway);
    let (online, contact, is_lost) = (gateway.online, gateway.last_contact, gateway.lost_at.is_some());
    let words = move || match contact {
        _ if is_lost => t.gateway_lost().to_owned(),
        _ if online => t.gateway_connected().to_owned(),
        Some(at) => t.gateway_contact(&format::age(app.clock.since(at), t)),
        None => t.gateway_no_contact().to_owned(),
    };
    let directed = if gateway.directed > 0 {
        t.gateway_directed(gateway.directed, gateway.directive)
    } else {
        t.gateway_nothing().to_owned()
    };
    let refused = gateway.refused.as_ref().map(|why| view! { <p class="tiny strong">{t.gateway_refused(why)}</p> });
    let held = gateway.held.filter(|held| held.records > 0).map(|held| {
        let oldest = move || held.oldest.map(|oldest| t.gateway_holds_since(&format::age(app.clock.since(oldest), t)));
        view! { <span data-testid="held">{t.gateway_holds(held.records)} " " {oldest}</span> }
    });
    let left = gateway.held.filter(|held| held.refused_batches > 0 || is_nearly_full(held)).map(|held| {
        let why = if held.refused_batches > 0 {
            t.gateway_refused_data(held.refused_batches)
        } else {
            t.gateway_full().to_owned()
        };
        view! { <p class="tiny strong">{why}</p> }
    });
    let push = move |_| {
        sender.send(app, path.clone(), None, move |answer| {
            if let Ok(Pushed { gateways }) = answer.read() {
                app.notices.say(t.pushed(gateways));
            }
            known.load();
        });
    };
    sender.say_failures(app);
    view! {
        <li class="row" data-testid="gateway" data-gateway=gateway.gateway.to_string()>
            <div class="row-main">
                <h2><span class="ident">{name}</span> <small>{gateway.gateway.client.to_string()}</small></h2>
                <p class="tiny facts">
                    <span><span class="presence" class:online=online data-testid="presence">{words}</span></span>
                    <span>{t.gateway_devices(gateway.devices)}</span>
                    <span>{directed}</span>
                    <Arrived gateway=gateway.gateway.clone() known=records/>
                    {held}
                </p>
                {refused}
                {left}
            </div>
            {(may && !is_lost).then(|| view! {
                <div class="acts">
                    <AskNow path=asks label=asks_label/>
                    <button type="button" class="button small quiet" data-testid="push" aria-label=label
                        aria-disabled=move || sender.busy.get().then_some("true") on:click=push>{t.push_gateway()}</button>
                </div>
            })}
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Push => t.push_class().to_owned(),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Push => view! { <PushForm close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn PushForm(close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let classes = Fetched::<Vec<DeviceClass>>::start("/classes");
    let class = RwSignal::new("infusion-pump".to_owned());
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Ok(client) = class.get_untracked().parse() else { return };
        sender.send(app, "/gateways/push".to_owned(), api::json(&Broadcast { client }), move |answer| {
            if let Ok(Pushed { gateways }) = answer.read() {
                app.notices.say(t.pushed(gateways));
            }
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="push-form" on:submit=submit>
            <p>{t.push_class_text()}</p>
            {classes.trouble()}
            {classes.waiting()}
            {move || classes.value.get().map(|list| view! {
                <Select label=t.push_class_which() value=class name="push-class" options=all_options(&list, t)/>
            })}
            <Answers close=close sender=sender go=t.push_go() keep=t.cancel()/>
        </form>
    }
}

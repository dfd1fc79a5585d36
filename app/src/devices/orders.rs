//! Orders to one device: giving one, and how the last ones went.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::Device;
use wardlink_protocol::api::{NewOrder, OrderState, OrderView, Right};
use wardlink_protocol::limits::{MAX_INTERVAL_SECS, MAX_NOTE_BYTES, MIN_INTERVAL_SECS};
use wardlink_protocol::order::{OrderId, OrderRefusal, Task};

use crate::api::Failure;
use crate::app::{use_app, use_text};
use crate::live::{Link, Live};
use crate::pairing::shown_name;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::form::{Answers, Sender};
use crate::ui::{Trouble, unique_id};
use crate::verification::random_bytes;
use crate::{api, clock};

/// After so many seconds an order is not carried out any more.
const LIFETIME_SECS: u32 = 600;

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Report,
    Silence,
    Interval,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Message, Self::Report, Self::Silence, Self::Interval];

    fn words(self, t: Language) -> (&'static str, &'static str) {
        match self {
            Self::Message => (t.order_message(), t.order_message_hint()),
            Self::Report => (t.order_report(), t.order_report_hint()),
            Self::Silence => (t.order_silence(), t.order_silence_hint()),
            Self::Interval => (t.order_interval(), t.order_interval_hint()),
        }
    }

    /// The order, or what is wrong with what was written.
    fn task(self, text: &str, seconds: &str, t: Language) -> Result<Task, String> {
        let task = match self {
            Self::Message => Task::ShowMessage { text: text.trim().to_owned() },
            Self::Report => Task::ReportNow,
            Self::Silence => Task::PauseAlarmTone,
            Self::Interval => Task::SetInterval { seconds: seconds.trim().parse().unwrap_or_default() },
        };
        task.check().map_err(|_| match self {
            Self::Interval => t.order_seconds_wrong(MIN_INTERVAL_SECS, MAX_INTERVAL_SECS),
            _ => t.order_text_wrong(MAX_NOTE_BYTES),
        })?;
        Ok(task)
    }
}

/// An order in words.
fn task_words(task: &Task, t: Language) -> String {
    match task {
        Task::ShowMessage { text } => t.order_is_message(text),
        Task::ReportNow => t.order_report().to_owned(),
        Task::PauseAlarmTone => t.order_silence().to_owned(),
        Task::SetInterval { seconds } => t.order_is_interval(*seconds),
    }
}

/// How an order stands: the look, the word, and the sentence.
fn state_words(order: &OrderView, t: Language) -> (&'static str, &'static str, &'static str) {
    match order.state {
        OrderState::Waiting => ("chip", t.order_waiting(), t.order_waiting_text()),
        OrderState::Delivered => ("chip active", t.order_delivered(), t.order_delivered_text()),
        OrderState::Done => ("chip done", t.order_done(), t.order_done_text()),
        OrderState::Expired => ("chip", t.order_expired(), t.order_expired_text()),
        OrderState::Refused => {
            let why = match order.refusal {
                Some(OrderRefusal::NoAlarm) => t.order_no_alarm(),
                Some(OrderRefusal::Busy) => t.order_busy(),
                Some(OrderRefusal::Interrupted) => t.order_interrupted(),
                Some(OrderRefusal::OutOfRange) | None => t.order_out_of_range(),
            };
            ("chip", t.order_refused(), why)
        }
    }
}

/// The orders of a device, the newest first.
#[component]
pub(super) fn Orders(device: Device) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let live: Live = expect_context();
    let failure = RwSignal::new(None::<Failure>);
    let wanted = StoredValue::new(device.clone());
    let load = move || {
        failure.set(None);
        spawn_local(async move {
            let device = wanted.get_value();
            match app.get::<Vec<OrderView>>(&format!("/devices/{device}/orders")).await {
                Ok(orders) => live.know_orders(device, orders),
                // The screen may be gone by now.
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    // What was missed while the connection was lost is asked for again.
    Effect::new(move |_| {
        if live.link.get() == Link::Connected {
            load();
        }
    });
    let orders = Memo::new(move |_| live.orders.with(|known| known.get(&wanted.get_value()).cloned()));
    view! {
        <section class="stack">
            <h2 class="section-title">{t.orders_title()}</h2>
            <Trouble failure=failure retry=Callback::new(move |()| load())/>
            {move || orders.get().map(|orders| if orders.is_empty() {
                view! { <div class="card"><p class="quiet pad">{t.no_orders()}</p></div> }.into_any()
            } else {
                view! {
                    <ul class="card rows" data-testid="orders">
                        {orders.into_iter().map(|order| view! { <Row order=order/> }).collect_view()}
                    </ul>
                }.into_any()
            })}
        </section>
    }
}

#[component]
fn Row(order: OrderView) -> impl IntoView {
    let t = use_text();
    let (style, word, sentence) = state_words(&order, t);
    let time = clock::day_and_time(order.given_at, t);
    let given = if order.by_service {
        t.order_given_by_service(&time, &order.given_by)
    } else {
        t.order_given(&time, &order.given_by)
    };
    view! {
        <li class="row" data-testid="order" data-state=format!("{:?}", order.state).to_lowercase()>
            <div class="row-main">
                <h3 class="order-task">{task_words(&order.task, t)}</h3>
                <p class="tiny facts"><span>{given}</span> <span>{sentence}</span></p>
            </div>
            <div class="acts"><span class=style>{word}</span></div>
        </li>
    }
}

/// The button that gives a device an order, for those who may.
#[component]
pub(super) fn GiveOrder(
    device: Device,
    /// Whether the device can be told something now.
    #[prop(into)]
    can: Signal<bool>,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let ask = RwSignal::new(None::<Device>);
    let label = t.give_order_to(&shown_name(&device));
    let title = move |device: &Device| t.give_order_to(&shown_name(device));
    let content = move |device: Device, close: CloseDialog| view! { <Give device=device close=close/> }.into_any();
    view! {
        {move || (app.may(Right::Order) && can.get()).then(|| {
            let (device, label) = (device.clone(), label.clone());
            view! {
                <button type="button" class="button small quiet" data-testid="give-order" aria-label=label
                    on:click=move |_| ask.set(Some(device.clone()))>{t.give_order()}</button>
            }
        })}
        {asking(ask, title, content)}
    }
}

/// The form, and then how the order goes.
#[component]
fn Give(device: Device, close: CloseDialog) -> impl IntoView {
    let given = RwSignal::new(None::<OrderView>);
    move || match given.get() {
        Some(order) => view! { <Progress order=order close=close/> }.into_any(),
        None => view! { <Form device=device.clone() given=given close=close/> }.into_any(),
    }
}

#[component]
fn Form(device: Device, given: RwSignal<Option<OrderView>>, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let live: Live = expect_context();
    let kind = RwSignal::new(Kind::Message);
    let (text, seconds, error) = (RwSignal::new(String::new()), RwSignal::new("5".to_owned()), RwSignal::new(None));
    let sender = Sender::new();
    // The same order once more, where its answer was lost.
    let drawn = StoredValue::new(None::<(Task, OrderId)>);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let task = kind.get_untracked().task(&text.get_untracked(), &seconds.get_untracked(), t);
        error.set(task.as_ref().err().cloned());
        let Ok(task) = task else { return };
        let id = match drawn.get_value().filter(|(known, _)| *known == task) {
            Some((_, id)) => id,
            None => OrderId(random_bytes()),
        };
        drawn.set_value(Some((task.clone(), id)));
        let body = api::json(&NewOrder { id, task, lifetime_secs: LIFETIME_SECS });
        let path = format!("/devices/{device}/orders");
        if sender.begin() {
            spawn_local(async move {
                let answer = app.send(Method::POST, &path, body).await.and_then(|answer| answer.read::<OrderView>());
                if let Some(order) = sender.end(answer) {
                    live.put_order(order.clone());
                    let _ = given.try_set(Some(order));
                }
            });
        }
    };
    let group = unique_id("order");
    let kinds = Kind::ALL.map(|choice| {
        let (label, hint) = choice.words(t);
        view! {
            <Choice
                name=group.clone()
                label=label
                hint=hint
                value=format!("{choice:?}")
                chosen=Signal::derive(move || kind.get() == choice)
                choose=Callback::new(move |()| { error.set(None); kind.set(choice); })
            />
        }
    });
    view! {
        <form class="stack" data-testid="order-task-form" on:submit=submit novalidate>
            <p class="quiet">{t.give_order_text()}</p>
            <fieldset class="choices"><legend>{t.order_which()}</legend>{kinds.into_iter().collect_view()}</fieldset>
            {move || match kind.get() {
                Kind::Message => view! { <Field label=t.order_text() value=text name="order-text" error=error/> }.into_any(),
                Kind::Interval => view! { <Field label=t.order_seconds() value=seconds name="order-seconds" kind="number" error=error/> }.into_any(),
                Kind::Report | Kind::Silence => ().into_any(),
            }}
            <Answers close=close sender=sender go=t.order_send() keep=t.cancel()/>
        </form>
    }
}

/// How an order goes that was just given.
#[component]
fn Progress(order: OrderView, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let live: Live = expect_context();
    let given = StoredValue::new(order);
    let now = Memo::new(move |_| {
        let given = given.get_value();
        let same = |known: &&OrderView| known.is_same(&given);
        let known = live.orders.with(|known| known.get(&given.device).and_then(|list| list.iter().find(same).cloned()));
        known.unwrap_or(given)
    });
    let title = NodeRef::<leptos::html::H3>::new();
    Effect::new(move |_| {
        if let Some(title) = title.get() {
            // An element of the page can always take the focus.
            let _ = title.focus();
        }
    });
    view! {
        <section class="stack" data-testid="order-progress">
            <h3 node_ref=title tabindex="-1">{t.order_sent_title()}</h3>
            <p>{move || now.with(|order| task_words(&order.task, t))}</p>
            <p role="status" data-testid="order-state">
                {move || now.with(|order| {
                    let (style, word, sentence) = state_words(order, t);
                    view! { <span class=style>{word}</span> " " <span class="quiet">{sentence}</span> }
                })}
            </p>
            <div class="answers">
                <button type="button" class="button" data-testid="done" on:click=move |_| close.run()>{t.order_close()}</button>
            </div>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_to_fit_the_order() {
        let task = |kind: Kind, text, seconds| kind.task(text, seconds, Language::English);
        assert_eq!(task(Kind::Message, " Call 2104 ", ""), Ok(Task::ShowMessage { text: "Call 2104".to_owned() }));
        assert_eq!(task(Kind::Interval, "", " 30"), Ok(Task::SetInterval { seconds: 30 }));
        assert_eq!(task(Kind::Report, "", ""), Ok(Task::ReportNow));
        assert_eq!(task(Kind::Silence, "", ""), Ok(Task::PauseAlarmTone));
        for (kind, text, seconds) in [
            (Kind::Message, "  ", ""),
            (Kind::Interval, "", "0"),
            (Kind::Interval, "", "x"),
            (Kind::Interval, "", "901"),
        ] {
            assert!(task(kind, text, seconds).is_err(), "{kind:?} {text} {seconds}");
        }
    }
}

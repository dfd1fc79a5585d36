//! What a paired pump does about orders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod casing;
mod site;

use casing::{Casing, Running, reports_on};
use site::Site;
use std::time::Duration;
use wardlink_agent::pump::journal::Event;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::order::{NotTaken, OrderId, OrderRefusal, OrderResult, Task};
use wardlink_protocol::report::Content;

const LIFETIME: Duration = Duration::from_mins(10);

async fn coupled(site: &Site, casing: &Casing) -> Running {
    let mut pump = casing.power();
    site.accept().await;
    let code = pump.code().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump.paired().await;
    reports_on(site, "telemetry", 1).await;
    pump
}

/// What the site was told of an order, each once, in this order.
async fn told(site: &Site, order: OrderId) -> Vec<OrderResult> {
    let mut results = Vec::new();
    for (_, report) in site.reports().await {
        if let Content::Order(outcome) = report.content
            && outcome.order == order
            && !results.contains(&outcome.result)
        {
            results.push(outcome.result);
        }
    }
    results
}

async fn until_told(site: &Site, order: OrderId, result: OrderResult) -> Vec<OrderResult> {
    for _ in 0..2_000 {
        let results = told(site, order).await;
        if results.contains(&result) {
            return results;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never told {result:?}: {:?}", site.reports().await);
}

fn show(text: &str) -> Task {
    Task::ShowMessage { text: text.to_owned() }
}

#[tokio::test]
async fn an_order_is_taken_carried_out_and_both_are_said() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    site.listening().await;
    let order = site.give(show("Call 2104"), LIFETIME).await;
    pump.until(|event| matches!(event, Event::OrderTaken { order: taken, .. } if *taken == order)).await;
    assert_eq!(until_told(&site, order, OrderResult::Done).await, [OrderResult::Taken, OrderResult::Done]);
    assert_eq!(pump.screen().notice.message.as_deref(), Some("Call 2104"));
    // It is still there after a loss of power, and the order is not carried out again.
    pump.cut().await;
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Connected)).await;
    assert_eq!(pump.screen().notice.message.as_deref(), Some("Call 2104"));
    pump.stop().await;
}

#[tokio::test]
async fn an_interval_stays_over_a_loss_of_power_and_no_tone_is_paused_without_an_alarm() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    site.listening().await;
    let order = site.give(Task::SetInterval { seconds: 900 }, LIFETIME).await;
    until_told(&site, order, OrderResult::Done).await;
    let asked = site.give(Task::ReportNow, LIFETIME).await;
    until_told(&site, asked, OrderResult::Done).await;
    pump.cut().await;
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Connected)).await;
    pump.until(|event| matches!(event, Event::Sent { channel, .. } if channel.as_str() == "telemetry")).await;
    pump.silent_on("telemetry", Duration::from_millis(500)).await;
    let silence = site.give(Task::PauseAlarmTone, LIFETIME).await;
    if pump.screen().infusion.is_some_and(|infusion| infusion.alarms.is_empty()) {
        until_told(&site, silence, OrderResult::Refused(OrderRefusal::NoAlarm)).await;
        assert!(!pump.screen().notice.tone_paused);
    }
    pump.stop().await;
}

#[tokio::test]
async fn an_order_that_comes_too_late_is_not_carried_out() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    site.listening().await;
    pump.cut().await;
    let order = site.give(show("too late"), Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let pump = casing.power();
    assert_eq!(until_told(&site, order, OrderResult::Expired).await, [OrderResult::Expired]);
    assert_eq!(pump.screen().notice.message, None);
    pump.stop().await;
}

#[tokio::test]
async fn an_order_survives_every_loss_of_power_and_is_carried_out_once_at_most() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    site.listening().await;
    let mut running = Some(pump);
    for life in 0..25_u64 {
        let mut pump = match running.take() {
            Some(pump) => pump,
            None => casing.power(),
        };
        let order = site.give(show(&format!("number {life}")), LIFETIME).await;
        // Every life lasts a little longer than the last one, and ends somewhere in the middle.
        tokio::time::sleep(Duration::from_millis(life * 3)).await;
        let mut taken = pump.seen(|event| matches!(event, Event::OrderTaken { order: o, .. } if *o == order));
        pump.cut().await;
        let mut pump = casing.power();
        // What the control unit does when a device listens: it sends the order again.
        site.give_again(order).await;
        for _ in 0..2_000 {
            let results = told(&site, order).await;
            if results.iter().any(|result| *result != OrderResult::Taken) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        taken += pump.seen(|event| matches!(event, Event::OrderTaken { order: o, .. } if *o == order));
        let results = told(&site, order).await;
        assert!(taken <= 1, "life {life}: taken {taken} times: {results:?}");
        let ends: Vec<_> = results.iter().filter(|result| **result != OrderResult::Taken).collect();
        let fits = matches!(ends.as_slice(), [OrderResult::Done | OrderResult::Refused(OrderRefusal::Interrupted)]);
        assert!(fits, "life {life}: {results:?}");
        running = Some(pump);
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_by_somebody_is_refused_and_said_so() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    site.listening().await;
    let order = site.give(show("once"), LIFETIME).await;
    until_told(&site, order, OrderResult::Done).await;
    site.replay().await;
    let refused = pump.until(|event| matches!(event, Event::MessageRefused(_))).await;
    let Event::MessageRefused(refused) = refused else { unreachable!() };
    assert_eq!(refused.reason, NotTaken::Replayed);
    // The site is told.
    for _ in 0..2_000 {
        let reports = site.reports().await;
        if reports.iter().any(|(_, report)| report.content == Content::RefusedMessage(refused.clone())) {
            pump.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the site was never told");
}

#[tokio::test]
async fn an_order_under_an_epoch_that_was_cut_off_is_refused_and_under_the_new_one_carried_out() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    site.listening().await;
    let under_old = site.seal(show("old"), LIFETIME).await;
    site.cut_off("command", Duration::ZERO).await;
    pump.until(|event| matches!(event, Event::KeyUpdated { channel, .. } if channel.as_str() == "command")).await;
    site.send_down(under_old).await;
    let refused = pump.until(|event| matches!(event, Event::MessageRefused(_))).await;
    let Event::MessageRefused(refused) = refused else { unreachable!() };
    assert_eq!(refused.reason, NotTaken::OldEpoch);
    let order = site.give(show("new"), LIFETIME).await;
    until_told(&site, order, OrderResult::Done).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_whose_channel_for_orders_was_withdrawn_takes_none() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    site.listening().await;
    site.withdraw("command").await;
    pump.until(|event| matches!(event, Event::ChannelWithdrawn { channel } if channel.as_str() == "command")).await;
    let order = site.give(show("no"), LIFETIME).await;
    let refused = pump.until(|event| matches!(event, Event::MessageRefused(_))).await;
    let Event::MessageRefused(refused) = refused else { unreachable!() };
    assert_eq!(refused.reason, NotTaken::OldEpoch);
    assert_eq!(told(&site, order).await, []);
    pump.stop().await;
}

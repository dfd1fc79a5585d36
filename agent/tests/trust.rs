//! What a paired pump does when its keys change, its certificate ends, a channel is taken from it, or it is told to wipe itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod casing;
mod site;

use casing::{Casing, Running, reports_on};
use site::Site;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use wardlink_agent::pump::Outcome;
use wardlink_agent::pump::journal::Event;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::renewal::Wiped;
use wardlink_protocol::report::{Content, Report, TherapyEvent};

/// A pump whose code was typed: the rest goes by itself.
async fn verified(site: &Site, casing: &Casing) -> Running {
    let mut pump = casing.power();
    site.accept().await;
    let code = pump.code().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump
}

async fn coupled(site: &Site, casing: &Casing) -> Running {
    let mut pump = verified(site, casing).await;
    pump.paired().await;
    pump
}

async fn updated(pump: &mut Running, channel: &str) -> u64 {
    let event =
        pump.until(|event| matches!(event, Event::KeyUpdated { channel: c, .. } if c.as_str() == channel)).await;
    let Event::KeyUpdated { epoch, .. } = event else { unreachable!() };
    epoch
}

/// Waits until the site has so many reports that an infusion was started, and returns them: its rate may change at any time.
async fn starts(site: &Site, count: usize) -> Vec<Report> {
    let is_start =
        |report: &Report| matches!(&report.content, Content::Therapy(it) if it.event == TherapyEvent::Started);
    for _ in 0..1_000 {
        let reports = site.reports().await.into_iter().map(|(_, report)| report);
        let starts: Vec<_> = reports.filter(is_start).collect();
        if starts.len() >= count {
            return starts;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("fewer starts than {count}: {:?}", site.reports().await);
}

#[tokio::test]
async fn a_rotated_key_is_stored_acknowledged_and_used() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 2).await;
    for epoch in 2..4 {
        site.rotate("telemetry").await;
        assert_eq!(updated(&mut pump, "telemetry").await, epoch);
        site.stored("telemetry", epoch).await;
        let before = site.reports().await.len();
        reports_on(&site, "telemetry", before + 3).await;
    }
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_that_was_away_catches_up_and_loses_nothing() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 2).await;
    pump.cut().await;
    for _ in 0..3 {
        site.rotate("telemetry").await;
        site.rotate("therapy").await;
    }
    let mut pump = casing.power();
    while updated(&mut pump, "therapy").await < 4 {}
    site.stored("therapy", 4).await;
    site.stored("telemetry", 4).await;
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 2).await;
    // It survives another loss of power: what was stored is in force from the start.
    pump.cut().await;
    let pump = casing.power();
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 2).await;
    pump.stop().await;
}

#[tokio::test]
async fn what_was_sent_under_an_epoch_that_was_cut_off_comes_again_under_the_new_one() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    starts(&site, 1).await;
    // The cut lies before what the pump has said: it does not count for whoever reads it now.
    site.cut_off("therapy", Duration::from_secs(30)).await;
    assert_eq!(updated(&mut pump, "therapy").await, 2);
    let started = starts(&site, 2).await;
    assert_eq!(started[0], started[1], "the same event, protected anew");
    // A rotation with an overlap repeats nothing that was delivered.
    site.rotate("therapy").await;
    assert_eq!(updated(&mut pump, "therapy").await, 3);
    site.stored("therapy", 3).await;
    assert_eq!(starts(&site, 2).await.len(), 2);
    pump.stop().await;
}

#[tokio::test]
async fn a_fault_between_a_new_key_and_what_it_protects_anew_loses_nothing() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    starts(&site, 1).await;
    pump.until(|event| matches!(event, Event::Sent { channel, .. } if channel.as_str() == "telemetry")).await;
    // The new key can be stored, and what was kept under the old one not.
    let (outbox, aside) = (casing.state().join("outbox.cbor"), casing.state().join("aside"));
    std::fs::rename(&outbox, &aside).unwrap();
    std::fs::create_dir(&outbox).unwrap();
    site.cut_off("therapy", Duration::from_secs(30)).await;
    pump.until(|event| matches!(event, Event::Error { .. })).await;
    pump.cut().await;
    std::fs::remove_dir(&outbox).unwrap();
    std::fs::rename(&aside, &outbox).unwrap();
    let pump = casing.power();
    let started = starts(&site, 2).await;
    assert_eq!(started[0], started[1], "the same event, protected anew");
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_without_room_reports_takes_nothing_and_catches_up() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    reports_on(&site, "therapy", 1).await;
    pump.until(|event| matches!(event, Event::Sent { channel, .. } if channel.as_str() == "telemetry")).await;
    // No record can be written any more.
    let new =
        ["boot", "orders", "outbox", "pairing", "trust"].map(|name| casing.state().join(name).with_extension("new"));
    for path in &new {
        std::fs::create_dir(path).unwrap();
    }
    site.rotate("telemetry").await;
    pump.until(|event| matches!(event, Event::Error { .. })).await;
    assert!(pump.screen().trouble.is_some());
    site.cut().await;
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 20).await;
    let is_more = |event: &Event| matches!(event, Event::Error { .. } | Event::KeyUpdated { .. });
    assert_eq!(pump.seen(is_more), 0, "it is said once, and no key is taken that cannot be stored");
    for path in &new {
        std::fs::remove_dir(path).unwrap();
    }
    assert_eq!(updated(&mut pump, "telemetry").await, 2);
    site.stored("telemetry", 2).await;
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 3).await;
    assert!(pump.screen().trouble.is_none());
    assert_eq!(pump.stop().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_pump_whose_keys_are_gone_says_so_and_takes_none() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 1).await;
    pump.cut().await;
    std::fs::remove_file(casing.state().join("trust.cbor")).unwrap();
    let fault = casing.power().failed().await.to_string();
    assert!(fault.contains("trust.cbor") && fault.contains("missing"), "{fault}");
    assert!(!casing.state().join("trust.cbor").exists());
}

#[tokio::test]
async fn a_key_for_another_device_is_refused_and_said_so() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    site.tell(site.foreign_update().await).await;
    let Event::Error { message } = pump.until(|event| matches!(event, Event::Error { .. })).await else {
        unreachable!()
    };
    assert!(message.contains("unknown wrapping key"), "{message}");
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 2).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_control_unit_from_an_earlier_state_goes_above_what_the_pump_holds() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    for epoch in 2..5 {
        site.rotate("alarm").await;
        assert_eq!(updated(&mut pump, "alarm").await, epoch);
    }
    site.restore_keys("alarm").await;
    assert_eq!(updated(&mut pump, "alarm").await, 5);
    site.stored("alarm", 5).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_from_an_earlier_state_is_given_again_what_it_had_stored() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 1).await;
    site.rotate("telemetry").await;
    assert_eq!(updated(&mut pump, "telemetry").await, 2);
    site.stored("telemetry", 2).await;
    pump.cut().await;
    let file = casing.state().join("trust.cbor");
    let earlier = std::fs::read(&file).unwrap();
    let mut pump = casing.power();
    site.rotate("telemetry").await;
    assert_eq!(updated(&mut pump, "telemetry").await, 3);
    site.stored("telemetry", 3).await;
    pump.cut().await;
    std::fs::write(&file, earlier).unwrap();
    let mut pump = casing.power();
    assert_eq!(updated(&mut pump, "telemetry").await, 3);
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 2).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_withdrawn_channel_is_not_used_any_more() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 1).await;
    site.withdraw("telemetry").await;
    pump.until(|event| matches!(event, Event::ChannelWithdrawn { channel } if channel.as_str() == "telemetry")).await;
    // Also after it was started anew.
    pump.cut().await;
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Connected)).await;
    pump.silent_on("telemetry", Duration::from_millis(300)).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_the_keys_follow() {
    let site = Site::open().await;
    // It begins with the CA, a minute in the past: two thirds of its time are over in twenty to thirty seconds.
    site.certificates_hold(Duration::from_mins(1)).await;
    let casing = Casing::new(&site, &[]);
    let mut pump = verified(&site, &casing).await;
    pump.until(|event| matches!(event, Event::Confirmed)).await;
    site.certificates_hold(Duration::from_hours(1)).await;
    let renewed = pump.until(|event| matches!(event, Event::Renewed { .. })).await;
    let (serial, ends_at) = site.certificate().await;
    assert_eq!(renewed, Event::Renewed { serial, ends_at });
    // The next epoch comes under the new K_wrap.
    site.rotate("telemetry").await;
    assert_eq!(updated(&mut pump, "telemetry").await, 2);
    site.stored("telemetry", 2).await;
    // And it goes on with all of it after a loss of power.
    pump.cut().await;
    let pump = casing.power();
    let before = site.reports().await.len();
    reports_on(&site, "telemetry", before + 2).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_renewed_with_the_static_key() {
    let site = Site::open().await;
    site.certificates_hold(Duration::from_secs(2)).await;
    // It asks at once: its certificate begins with the CA, a minute in the past.
    site.renews(false).await;
    let casing = Casing::new(&site, &[]);
    let mut pump = verified(&site, &casing).await;
    pump.until(|event| matches!(event, Event::Confirmed)).await;
    while site.paired().await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pump.cut().await;
    let (_, ended_at) = site.certificate().await;
    while wardlink_agent::clock::now() <= ended_at {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.certificates_hold(Duration::from_hours(1)).await;
    site.renews(true).await;
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Renewed { .. })).await;
    assert!(site.certificate().await.1 > ended_at);
    reports_on(&site, "telemetry", 2).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_wipes_itself_and_proves_it() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 1).await;
    let state = casing.state();
    let files = || std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(files().iter().any(|name| name == "trust.cbor"));
    site.decommission().await;
    let receipt = site.receipt().await;
    assert_eq!(receipt.wiped, [Wiped::NetworkKeys, Wiped::KeptMessages, Wiped::SiteSettings]);
    assert_eq!(pump.ended().await, Outcome::Decommissioned);
    let mut left = files();
    left.sort();
    assert_eq!(left, ["boot.cbor", "device.cbor", "lock", "records", "software"]);
}

#[tokio::test]
async fn an_order_to_wipe_is_obeyed_over_a_loss_of_power_and_of_the_network() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = coupled(&site, &casing).await;
    pump.until(|event| matches!(event, Event::Sent { .. })).await;
    pump.cut().await;
    site.decommission().await;
    // Every start lives a little longer than the last one.
    for life in 1..200_u64 {
        let pump = casing.power();
        tokio::time::sleep(Duration::from_millis(life * 2)).await;
        if life % 3 == 0 && !pump.has_ended() {
            site.cut().await;
        }
        if let Some(outcome) = pump.cut_or_ended().await {
            assert_eq!(outcome, Outcome::Decommissioned);
            site.receipt().await;
            return;
        }
    }
    // The last start comes to the end, however far the others came.
    assert_eq!(casing.power().ended().await, Outcome::Decommissioned);
    site.receipt().await;
}

#[tokio::test]
async fn a_pump_that_lost_power_at_its_very_end_has_ended() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let pump = coupled(&site, &casing).await;
    reports_on(&site, "telemetry", 1).await;
    site.decommission().await;
    let record = casing.state().join("decommission.cbor");
    let mut last = Vec::new();
    while !pump.has_ended() {
        last = std::fs::read(&record).unwrap_or(last);
        // The record is there for a moment: it is looked for whenever the pump waits.
        tokio::task::yield_now().await;
    }
    assert_eq!(pump.ended().await, Outcome::Decommissioned);
    // As if the power had gone before the record of it went.
    std::fs::write(&record, last).unwrap();
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(casing.power().ended().await, Outcome::Decommissioned);
    let left = || std::fs::read_dir(casing.state()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        left().all(|name| name != "decommission.cbor" && name != "static-key.cbor"),
        "{:?}",
        left().collect::<Vec<_>>()
    );
}

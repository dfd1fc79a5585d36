//! A pump couples with a hospital, whatever is lost on the way: power at any step, the network at any step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod casing;
mod site;

use casing::{Casing, Line, Running, reports_on};
use clap::Parser;
use site::Site;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wardlink_agent::display::Phase;
use wardlink_agent::gateway::settings::GatewayArgs;
use wardlink_agent::pump::journal::Event;
use wardlink_agent::pump::{Order, Outcome, Pump, PumpError, kept_membership};
use wardlink_agent::state::{Record, StateDirectory};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder};
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::report::Content;
use wardlink_protocol::verification::Answer;
use wardlink_records::batch::Verified;

#[tokio::test]
async fn a_pump_couples_and_reports_under_the_network_keys() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    site.accept().await;
    let code = pump.code().await;
    assert!(
        matches!(&pump.screen.borrow().phase, Phase::Verifying { code: Some(shown), link: Some(_) } if *shown == code)
    );
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump.paired().await;
    reports_on(&site, "telemetry", 3).await;
    reports_on(&site, "therapy", 1).await;
    let reports = site.reports().await;
    let kinds_fit = reports.iter().all(|(channel, report)| match report.content {
        Content::Telemetry(_) => channel == "telemetry",
        Content::Therapy(_) => channel == "therapy",
        Content::Alarm(_) => channel == "alarm",
        Content::Order(_) | Content::RefusedMessage(_) => channel == "command",
    });
    assert!(kinds_fit, "{reports:?}");
    assert_eq!(site.paired().await, 1);
    assert_eq!(pump.stop().await, Outcome::Stopped);
}

#[tokio::test]
async fn power_may_fail_after_every_step() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Starting)).await;
    pump.cut().await;
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Requested { .. })).await;
    pump.cut().await;
    site.accept().await;
    let mut pump = casing.power();
    let code = pump.code().await;
    pump.cut().await;
    let mut pump = casing.power();
    assert_eq!(pump.code().await, code, "the code stays the same");
    pump.until(|event| matches!(event, Event::Verified)).await;
    pump.cut().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Confirmed)).await;
    pump.cut().await;
    let mut pump = casing.power();
    pump.paired().await;
    pump.cut().await;
    let pump = casing.power();
    reports_on(&site, "telemetry", 2).await;
    assert!(matches!(pump.screen.borrow().phase, Phase::Paired));
    assert_eq!(site.paired().await, 1);
    pump.stop().await;
}

#[tokio::test]
async fn power_may_fail_at_any_moment() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    // Every start lives a little longer than the last one, so that the cuts fall everywhere.
    let (mut accepted, mut verified, mut paired) = (false, false, false);
    for life in 1..120 {
        let mut pump = casing.power();
        tokio::time::sleep(Duration::from_millis(life * 3)).await;
        let phase = pump.screen.borrow().phase.clone();
        match phase {
            Phase::Paired => paired = site.paired().await == 1,
            Phase::Requesting if !accepted && life >= 10 => {
                site.accept().await;
                accepted = true;
            }
            Phase::Verifying { code: Some(code), .. } if !verified && life > 20 => {
                pump.until(|event| matches!(event, Event::Verified)).await;
                verified = site.verify(&code).await == VerifyResult::Verified;
            }
            _ => {}
        }
        pump.cut().await;
        if paired {
            break;
        }
    }
    // The last start comes to the end, however far the others came.
    let mut pump = casing.power();
    if !accepted {
        site.accept().await;
    }
    if !verified {
        let code = pump.code().await;
        assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    }
    reports_on(&site, "telemetry", 1).await;
    assert_eq!(site.paired().await, 1);
    pump.stop().await;
}

#[tokio::test]
async fn the_network_may_fail_after_every_step() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    pump.until(|event| matches!(event, Event::Requested { .. })).await;
    site.cut().await;
    site.accept().await;
    let code = pump.code().await;
    site.cut().await;
    pump.until(|event| matches!(event, Event::Verified)).await;
    site.cut().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump.until(|event| matches!(event, Event::Confirmed)).await;
    site.cut().await;
    pump.paired().await;
    site.cut().await;
    let before = site.reports().await.len();
    pump.until(|event| matches!(event, Event::Connected)).await;
    reports_on(&site, "telemetry", before + 3).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_rejected_pump_shows_the_reason_and_asks_again() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    site.reject("not on this ward").await;
    let refused = pump.until(|event| matches!(event, Event::Refused { .. })).await;
    let note = "not on this ward".to_owned();
    assert_eq!(refused, Event::Refused { reason: RefusalReason::Rejected, note: note.clone() });
    let shown = pump.screen.borrow().phase.clone();
    assert!(matches!(shown, Phase::Refused { note: shown, again_at: Some(_), .. } if shown == note));
    site.accept().await;
    let code = pump.code().await;
    site.verify(&code).await;
    pump.paired().await;
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_that_was_accepted_at_its_second_try_signs_its_data_with_its_present_key() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &["--record-ms", "10"]);
    let mut pump = casing.power();
    site.reject("not on this ward").await;
    pump.until(|event| matches!(event, Event::Refused { .. })).await;
    site.accept().await;
    let code = pump.code().await;
    site.verify(&code).await;
    pump.paired().await;
    let folder = casing.state().join("records");
    let batch = || {
        let mut files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("batch-"))
    };
    for _ in 0..2_000 {
        if batch().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pump.stop().await;
    let bytes = std::fs::read(batch().expect("it signs what it records")).unwrap();
    let state = StateDirectory::to_look_at(&casing.state());
    let key = PrivateKey::from_pkcs8(&state.read(Record::StaticKey).unwrap().unwrap()).unwrap();
    Verified::open(&bytes, &key.public(), &state.owner().unwrap().unwrap()).unwrap();
}

#[tokio::test]
async fn a_pump_with_a_button_waits_for_it() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &["--start", "manual"]);
    let mut pump = casing.power();
    assert_eq!(pump.event().await, Event::Starting);
    assert_eq!(pump.screen.borrow().phase, Phase::Idle);
    pump.orders.send(Order::Couple).await.unwrap();
    site.accept().await;
    let code = pump.code().await;
    // Once it couples, the button does nothing.
    pump.orders.send(Order::Couple).await.unwrap();
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump.paired().await;
    assert_eq!(site.paired().await, 1);
    pump.stop().await;
}

#[tokio::test]
async fn a_refused_pump_that_asks_once_ends() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &["--once"]);
    let pump = casing.power();
    site.reject("").await;
    assert_eq!(pump.task.await.unwrap().unwrap(), Outcome::Refused(RefusalReason::Rejected));
}

#[tokio::test]
async fn three_wrong_codes_reach_the_pump_that_is_connected_by_its_certificate() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    site.accept().await;
    pump.until(|event| matches!(event, Event::Verified)).await;
    for _ in 0..3 {
        assert_eq!(site.verify("0000 0000").await, VerifyResult::Wrong);
    }
    let refused = pump.until(|event| matches!(event, Event::Refused { .. })).await;
    assert_eq!(refused, Event::Refused { reason: RefusalReason::WrongCode, note: String::new() });
    assert_eq!(site.paired().await, 0);
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_of_another_site_says_so() {
    let site = Site::open().await;
    let casing = Casing::new(&site, &[]);
    let mut pump = casing.power();
    site.accept().await;
    let code = pump.code().await;
    site.verify(&code).await;
    pump.paired().await;
    pump.stop().await;
    let other = Site::open().await;
    let file = casing.folder.path().join("other.json");
    std::fs::write(&file, serde_json::to_vec(&other.provisioning()).unwrap()).unwrap();
    let state = casing.folder.path().join("state");
    let line = ["pump", "--provisioning", file.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let settings = Line::try_parse_from(line).unwrap().pump.settings().unwrap().remove(0);
    let opened = Pump::open(settings, mpsc::unbounded_channel().0);
    assert!(matches!(opened, Err(PumpError::ForeignSite)));
}

/// Lets a pump without CertCA be accepted and verified; returns the answer that the control unit shows.
async fn verified_without_cert_ca(site: &Site, pump: &mut Running) -> String {
    site.accept().await;
    let code = pump.code().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    assert_eq!(pump.until(|event| matches!(event, Event::Answer { .. })).await, Event::Answer { tries_left: 3 });
    site.answer().await
}

#[tokio::test]
async fn a_pump_without_cert_ca_couples_with_the_answer_and_keeps_the_root_for_good() {
    let site = Site::open().await;
    let casing = Casing::with(&site.provisioning_without_cert_ca(), &[]);
    let mut pump = casing.power();
    let answer: Answer = verified_without_cert_ca(&site, &mut pump).await.parse().unwrap();
    assert_eq!(pump.screen.borrow().phase, Phase::Answering { tries_left: 3 });
    let wrong = Answer::from_number(answer.to_string().parse::<u64>().unwrap() + 1);
    pump.orders.send(Order::Answer(wrong)).await.unwrap();
    let left = |left| move |event: &Event| *event == Event::Answer { tries_left: left };
    pump.until(left(2)).await;
    assert_eq!(site.paired().await, 0);
    // What was counted stays counted without power.
    pump.cut().await;
    let mut pump = casing.power();
    pump.until(left(2)).await;
    pump.orders.send(Order::Answer(answer)).await.unwrap();
    pump.paired().await;
    reports_on(&site, "telemetry", 2).await;
    assert_eq!(site.paired().await, 1);
    pump.stop().await;
    // The root was adopted: a provisioning file that names another one does not fit any more.
    let file = casing.folder.path().join("site.json");
    let other = Site::open().await;
    std::fs::write(&file, serde_json::to_vec(&other.provisioning()).unwrap()).unwrap();
    assert!(matches!(casing.open().map(drop), Err(PumpError::ForeignSite)));
    // Without one, the adopted root counts.
    std::fs::write(&file, serde_json::to_vec(&site.provisioning_without_cert_ca()).unwrap()).unwrap();
    let pump = casing.power();
    reports_on(&site, "telemetry", 4).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_pump_without_cert_ca_gives_up_after_three_wrong_answers_and_can_ask_again() {
    let site = Site::open().await;
    let casing = Casing::with(&site.provisioning_without_cert_ca(), &[]);
    let mut pump = casing.power();
    let answer = verified_without_cert_ca(&site, &mut pump).await;
    let wrong = Answer::from_number(answer.parse::<u64>().unwrap() + 1);
    for _ in 0..3 {
        pump.orders.send(Order::Answer(wrong)).await.unwrap();
    }
    let refused = pump.until(|event| matches!(event, Event::Refused { .. })).await;
    assert_eq!(refused, Event::Refused { reason: RefusalReason::WrongCode, note: String::new() });
    // It asks with another key, as the control unit takes the old one for confirmed.
    let answer = verified_without_cert_ca(&site, &mut pump).await;
    pump.orders.send(Order::Answer(answer.parse().unwrap())).await.unwrap();
    pump.paired().await;
    assert_eq!(site.paired().await, 1);
    pump.stop().await;
}

#[tokio::test]
async fn a_gateway_couples_as_a_gateway() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        gateway: GatewayArgs,
    }
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let provisioning = Provisioning { client: "gateway".parse().unwrap(), ..site.provisioning() };
    let (file, state) = (folder.path().join("site.json"), folder.path().join("state"));
    std::fs::write(&file, serde_json::to_vec(&provisioning).unwrap()).unwrap();
    let line = ["gateway", "--provisioning", file.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let (settings, _) = Line::try_parse_from(line).unwrap().gateway.settings().unwrap();
    let (journal, mut events) = mpsc::unbounded_channel();
    let way = Arc::clone(&settings.endpoint);
    let (pump, mut handle) = Pump::open(settings, journal).unwrap();
    assert!(handle.membership.borrow().is_none());
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(pump.run(stopped));
    site.accept().await;
    let code = loop {
        if let Event::Code { code, .. } = events.recv().await.unwrap().event {
            break code.unwrap();
        }
    };
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    let paired = tokio::time::timeout(Duration::from_secs(20), handle.membership.wait_for(Option::is_some));
    let member = paired.await.unwrap().unwrap().clone().unwrap();
    let certificate = Certificate::parse(member.identity.certificate.as_ref().unwrap()).unwrap();
    assert_eq!(certificate.holder(), Some(&Holder::Gateway(member.identity.device.clone())));
    stop.send_replace(true);
    assert_eq!(running.await.unwrap().unwrap(), Outcome::Stopped);
    assert!(site.reports().await.is_empty(), "a gateway runs no infusion");
    // What the doctor sees of it.
    let kept = kept_membership(&StateDirectory::to_look_at(&state), Some(&way)).unwrap().unwrap();
    assert_eq!(kept.identity.certificate, member.identity.certificate);
    assert_eq!(kept.endpoint.address(), member.endpoint.address());
}

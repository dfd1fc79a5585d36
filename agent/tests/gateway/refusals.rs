//! What is refused.

use crate::depot::{Depot, Inner, pumps};
use std::time::Duration;
use wardlink_agent::gateway::Order;
use wardlink_test_repository::hospital::{device, pump_package};
use wardlink_update::metadata::Expires;
use wardlink_update::uptane::Outcome;

/// What the server does wrong, and a word of the refusal.
type Wrong = (fn(&mut Inner), &'static str);

#[tokio::test]
async fn what_is_refused_is_told_once_with_its_step_and_nothing_is_installed() {
    let wrongs: [Wrong; 5] = [
        // A key that is not the server's.
        (
            |inner| {
                let orders = inner.orders();
                inner.hospital.version += 1;
                let directive = inner.hospital.directive(&orders);
                inner.hospital.publish(&directive, 1);
            },
            "5.4.4.2 step 3",
        ),
        // Another gateway's directive.
        (|inner| forged(inner, |signed| signed["custom"]["gateway"]["identifier"] = "ward-4".into()), "5.2.3.1"),
        // Whoever has stolen the server's key has other software.
        (
            |inner| {
                forged(inner, |signed| {
                    let targets = signed["targets"].as_object_mut().unwrap();
                    targets.values_mut().for_each(|target| target["length"] = 3.into());
                });
            },
            "5.4.4.2 step 10.2.1",
        ),
        // Another device's serial number.
        (
            |inner| {
                forged(inner, |signed| {
                    let targets = signed["targets"].as_object_mut().unwrap();
                    let serial = |target: &mut serde_json::Value| {
                        target["custom"]["assignments"][0]["serial_number"] = "other".into();
                    };
                    targets.values_mut().for_each(serial);
                });
            },
            "5.4.3.4 step 2",
        ),
        // A device that this gateway has nothing to do with.
        (
            |inner| {
                inner.hides = vec![device("infusion-pump/p2")];
                inner.direct_all();
            },
            "5.4.4.6 step 8",
        ),
    ];
    for (wrong, step) in wrongs {
        let depot = Depot::open().await;
        depot.direct(&pump_package());
        depot.with(wrong);
        let mut gateway = depot.power(&[]);
        gateway.trouble(step).await;
        depot
            .until("the refusal", |inner| {
                let told = inner.outcomes_of("gateway/ward-3");
                matches!(told.as_slice(), [Outcome::Refused { step: named, .. }] if named.to_string() == step)
                    .then_some(())
            })
            .await;
        gateway.handle.orders.send(Order::Ask).await.unwrap();
        depot.until("the word", |inner| (inner.asked == 1).then_some(())).await;
        gateway.trouble(step).await;
        assert_eq!(pumps().map(|pump| depot.runs(&pump.to_string())), [None, None], "{step}");
        depot.with(|inner| assert_eq!(inner.outcomes.len(), 1));
        gateway.stop().await;
    }
}

fn forged(inner: &mut Inner, change: impl FnOnce(&mut serde_json::Value)) {
    let orders = inner.orders();
    inner.hospital.direct_forged(&orders, change);
}

#[tokio::test]
async fn what_seems_to_have_ended_at_a_wrong_time_is_no_attack() {
    let depot = Depot::open().await;
    depot.with(|inner| {
        inner.behind = Some(Duration::from_hours(20 * 24));
        inner.hospital.images.timestamp_expires = Expires::at(1_700_000_000);
        inner.direct(&pump_package());
    });
    let mut gateway = depot.power(&["--poll-secs", "1"]);
    gateway.trouble("20 days ahead of the server's time").await;
    depot
        .until("the refusal, and a report after it", |inner| {
            (inner.outcomes_of("gateway/ward-3").len() == 1 && inner.reports.len() > 1).then_some(())
        })
        .await;
    let accused = |inner: &mut Inner| inner.reports.iter().any(|report| report.gateway.attack.is_some());
    assert!(!depot.with(accused));
    // The clock is set, which the next poll notices, also while the session stands: it has ended indeed.
    depot.with(|inner| inner.behind = Some(Duration::ZERO));
    depot.until("the accusation", |inner| accused(inner).then_some(())).await;
    gateway.until("no word of the clock", |status| status.troubles.iter().all(|one| one.what != "clock")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_of_another_site_is_told_nothing() {
    let depot = Depot::open().await;
    let other = Depot::open().await;
    let (chain, key) = other.with(|inner| (inner.chain.clone(), inner.server_key.clone()));
    depot.with(|inner| (inner.chain, inner.server_key) = (chain, key));
    let mut gateway = depot.power(&[]);
    gateway.trouble("the session is refused").await;
    depot.with(|inner| assert_eq!((inner.sessions, inner.reports.len()), (0, 0)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_root_that_was_given_beforehand_counts_before_the_servers_word() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let other = wardlink_test_repository::Repository::with_keys([21, 22, 23, 24]);
    std::fs::write(depot.path("root.json"), other.root()).unwrap();
    let given = format!("acme={}", depot.path("root.json").display());
    let mut gateway = depot.power(&["--manufacturer", &given]);
    gateway.trouble("5.4.4.2 step 7").await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
    // It stays so without the flag.
    let mut gateway = depot.power(&[]);
    gateway.trouble("5.4.4.2 step 7").await;
    gateway.stop().await;
}

/// Directs an image that its manufacturer has not made.
fn direct_another_image(inner: &mut Inner) {
    inner.direct(&pump_package());
    forged(inner, |signed| {
        let targets = signed["targets"].as_object_mut().unwrap();
        targets.values_mut().for_each(|target| target["length"] = 3.into());
    });
}

#[tokio::test]
async fn what_may_be_an_attack_is_reported_also_where_an_earlier_report_is_still_to_be_answered() {
    let depot = Depot::open().await;
    depot.with(|inner| inner.holds_reports = true);
    let mut gateway = depot.power(&[]);
    depot.until("a report", |inner| (inner.held_answers.len() == 1).then_some(())).await;
    depot.with(direct_another_image);
    depot.with(Inner::push_directive);
    gateway.trouble("5.4.4.2 step 10.2.1").await;
    depot.until("the refusal", |inner| (inner.outcomes.len() == 1).then_some(())).await;
    depot.release();
    let attack = |inner: &mut Inner| inner.reports.last()?.gateway.attack.as_ref().map(ToString::to_string);
    let noted = depot.until("the attack in a report", attack).await;
    assert!(noted.contains("5.4.4.2 step 10.2.1"), "{noted}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_may_be_an_attack_is_shown_until_the_server_knows_it() {
    let depot = Depot::open().await;
    depot.with(direct_another_image);
    depot.with(|inner| inner.holds_reports = true);
    let mut gateway = depot.power(&[]);
    gateway.trouble("5.4.4.2 step 10.2.1").await;
    gateway.cut().await;
    depot.with(Inner::go_down);
    let mut gateway = depot.power(&[]);
    gateway.until("no session", |status| status.troubles.iter().any(|trouble| trouble.what == "server")).await;
    gateway.trouble("5.4.4.2 step 10.2.1").await;
    // What is directed now is sound.
    depot.with(|inner| {
        inner.direct_all();
        (inner.is_down, inner.holds_reports) = (false, false);
    });
    depot.until("the attack in a report", |inner| inner.reports.last()?.gateway.attack.as_ref().map(drop)).await;
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

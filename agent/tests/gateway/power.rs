//! Power that fails, and disks without room.

use crate::depot::fault::Medium;
use crate::depot::{Depot, Inner, image_of, pumps};
use crate::next_package;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wardlink_agent::gateway::store::Store;
use wardlink_test_repository::hospital::pump_package;

#[tokio::test]
async fn power_may_fail_at_any_write_of_the_store() {
    let mut runs = 0;
    for writes in (0..).step_by(9) {
        let depot = Depot::open().await;
        depot.direct(&pump_package());
        let medium = Medium::default();
        medium.fails_after(writes);
        let before = medium.clone();
        let mut is_done = false;
        if let Some(gateway) = depot.power_on(move || Store::on(before.plug())) {
            for _ in 0..2_000 {
                is_done = depot.with(|inner| inner.outcomes.len() == 2 && inner.reports.len() > 1);
                if is_done || medium.is_off() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            gateway.cut().await;
        }
        medium.comes_back(writes % 2 == 0);
        let after = medium.clone();
        let gateway = depot.power_on(move || Store::on(after.plug())).expect("the store is whole");
        for pump in pumps() {
            depot.installed(&pump.to_string(), "1B").await;
            assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&pump_package())));
        }
        gateway.stop().await;
        runs += 1;
        if is_done {
            assert!(runs > 10, "the power never failed");
            return;
        }
    }
}

#[tokio::test]
async fn power_may_fail_at_any_moment() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let mut directed = 1;
    for life in 1..60 {
        let gateway = depot.power(&[]);
        tokio::time::sleep(Duration::from_millis(life * 4)).await;
        gateway.cut().await;
        if directed == 1 && depot.with(|inner| inner.outcomes.len() >= 2) {
            depot.direct(&next_package());
            directed = 2;
        }
        if depot.with(|inner| inner.outcomes.len() >= 4) {
            break;
        }
    }
    let gateway = depot.power(&[]);
    if directed == 1 {
        depot.installed("infusion-pump/p2", "1B").await;
        depot.direct(&next_package());
        depot.with(Inner::push_directive);
    }
    for pump in pumps() {
        depot.installed(&pump.to_string(), "1C").await;
        assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&next_package())));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_waited_out() {
    let depot = Depot::open().await;
    let medium = Medium::default();
    let opened = medium.clone();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let open = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Store::on(opened.plug())
    };
    let mut gateway = depot.power_on(open).unwrap();
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    medium.set_full(true);
    depot.direct(&pump_package());
    depot.with(Inner::push_directive);
    gateway.trouble("the disk is full").await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    // It is tried again and again, and shown all the while.
    let shown = || {
        let status = gateway.handle.status.borrow();
        status.troubles.iter().find(|trouble| trouble.why.contains("the disk is full")).map(|trouble| trouble.since)
    };
    let (since, before) = (shown(), tries.load(Ordering::Relaxed));
    while tries.load(Ordering::Relaxed) < before + 2 {
        assert_eq!(shown(), since);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shown(), since);
    medium.set_full(false);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_first_start_on_is_told_and_waited_out() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let medium = Medium::default();
    medium.set_full(true);
    let opened = medium.clone();
    let mut gateway = depot.power_on(move || Store::on(opened.plug())).expect("it is switched on all the same");
    gateway.trouble("the disk is full").await;
    medium.set_full(false);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

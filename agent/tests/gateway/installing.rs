//! When what has come is installed, and on which devices together.

use crate::depot::{Depot, Inner, Running, image_of, pumps};
use crate::next_package;
use wardlink_agent::gateway::Order;
use wardlink_agent::gateway::status::{Status, Waits};
use wardlink_protocol::limits::MAX_INTEGER;
use wardlink_test_repository::hospital::{device, gateway, pump_package, state};
use wardlink_update::director::{Added, When};
use wardlink_update::metadata::DelegatedPaths;
use wardlink_update::package::{AddedKind, BoundFile, Package};
use wardlink_update::uptane::{Outcome, Postponed};

/// What waits for a person.
fn waiting(status: &Status) -> Vec<Waits> {
    let waits = status.devices.iter().filter_map(|device| device.waits.clone());
    waits.filter(|waits| waits.why == Postponed::Confirmation).collect()
}

/// A person confirms what this directive offers to a device.
async fn confirm(gateway: &Running, name: &str, directive: u64) {
    gateway.handle.orders.send(Order::Confirm { device: device(name), directive }).await.unwrap();
}

/// A scale beside the pumps, and a set of packages for both of which neither is installed alone.
fn atomic_set(inner: &mut Inner) -> [Package; 2] {
    let scale = state("scale/s1", "S1", "1A");
    inner.hospital.associations.associate(scale.characteristics.device.clone(), gateway());
    inner.hospital.bound.present.push(scale);
    let mut pump = pump_package();
    let mut scale = Package {
        device_type: "scale".parse().unwrap(),
        model: "S1".parse().unwrap(),
        atomic: vec![pump.member()],
        ..pump_package()
    };
    scale.atomic = vec![pump.member()];
    pump.atomic = vec![scale.member()];
    let patterns = [&pump, &scale].map(|package| package.folder().pattern().unwrap()).to_vec();
    inner.hospital.images.author("targets").delegations[0].0.paths = DelegatedPaths::matching(patterns);
    [pump, scale]
}

const SET: [&str; 3] = ["infusion-pump/p1", "infusion-pump/p2", "scale/s1"];

#[tokio::test]
async fn an_atomic_set_is_installed_on_all_devices_or_on_none() {
    for fail in ["scale/s1=start", "infusion-pump/p2=prepare"] {
        let depot = Depot::open().await;
        let set = depot.with(atomic_set);
        depot.configure(&SET);
        depot.with(|inner| set.iter().for_each(|package| inner.hospital.release(package)));
        depot.with(|inner| {
            inner.hospital.images.bump();
            inner.direct_all();
        });
        let mut gateway = depot.power(&["--fail", fail]);
        depot
            .until("three failures", |inner| {
                let failed =
                    |told: &&wardlink_update::uptane::Notification| matches!(told.outcome, Outcome::Failed { .. });
                (inner.outcomes.iter().filter(failed).count() == 3).then_some(())
            })
            .await;
        assert_eq!(SET.map(|device| depot.runs(device)), [None, None, None], "{fail}");
        // Whoever stands before the gateway sees why, also while the server is away.
        let all_failed = |status: &Status| status.devices.iter().filter(|of| of.failed.is_some()).count() == SET.len();
        gateway.until("the reasons", all_failed).await;
        depot.with(|inner| {
            let states = inner.hospital.bound.present.iter();
            assert!(states.map(|state| state.characteristics.revision.to_string()).all(|revision| revision == "1A"));
            let (device, _) = fail.split_once('=').unwrap();
            assert!(inner.outcomes.iter().all(|told| format!("{:?}", told.outcome).contains(device)));
        });
        gateway.stop().await;
        // Nothing more happens under the same directive; a new one finds them sound.
        let mut gateway = depot.power(&[]);
        depot.until("a session", |inner| (inner.sessions == 2).then_some(())).await;
        depot.with(|inner| {
            inner.direct_all();
            inner.push_directive();
        });
        for device in SET {
            depot.installed(device, "1B").await;
        }
        gateway.until("no reasons", |status| status.devices.iter().all(|of| of.failed.is_none())).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_is_busy_or_waits_for_a_person_keeps_what_it_runs() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let busy = depot.busy("infusion-pump/p1");
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p2", "1B").await;
    depot
        .until("the word that it waits", |inner| {
            let outcomes = inner.outcomes_of("infusion-pump/p1");
            (outcomes == [Outcome::Postponed(Postponed::Therapy)]).then_some(())
        })
        .await;
    // Nobody hurries a device that may be treating somebody.
    let offered = |inner: &mut Inner, when| {
        let mut orders = inner.orders();
        orders[0].assignments.iter_mut().for_each(|assignment| assignment.when = when);
        inner.hospital.direct(&orders);
        inner.push_directive();
        inner.hospital.version
    };
    for when in [When::AtOnce, When::Window { from: 0, until: MAX_INTEGER }] {
        let version = depot.with(|inner| offered(inner, when));
        let waits = |status: &Status| {
            let waits = status.devices.iter().filter_map(|device| device.waits.as_ref());
            waits.into_iter().any(|waits| waits.directive == version && waits.why == Postponed::Therapy)
        };
        gateway.until("that it waits still", waits).await;
        assert_eq!(depot.runs("infusion-pump/p1"), None, "{when:?}");
    }
    std::fs::remove_file(&busy).unwrap();
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p1", "1B").await;

    depot.with(|inner| {
        inner.hospital.release(&next_package());
        inner.hospital.images.bump();
        let mut orders = inner.orders();
        orders[0].assignments.iter_mut().for_each(|assignment| assignment.when = When::OnConfirmation);
        inner.hospital.direct(&orders);
        inner.push_directive();
    });
    gateway.until("two that wait", |status| waiting(status).len() == 2).await;
    let shown = waiting(&gateway.handle.status.borrow())[0].clone();
    assert_eq!((shown.directive, shown.revision.as_str()), (depot.with(|inner| inner.hospital.version), "1C"));
    confirm(&gateway, "infusion-pump/p2", shown.directive).await;
    depot.installed("infusion-pump/p2", "1C").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&pump_package())));
    gateway.stop().await;
}

#[tokio::test]
async fn a_device_without_room_waits_and_holds_up_no_other_one() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let mut gateway = depot.power(&["--fail", "infusion-pump/p1=room"]);
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.trouble("infusion-pump/p1: there is no room").await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    depot.with(|inner| assert_eq!(inner.outcomes_of("infusion-pump/p1"), [], "it is not given up"));
    gateway.stop().await;
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_device_that_cannot_be_looked_at_holds_up_no_other_one() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.until("the end of the round", |status| status.directive_done == status.directive_heard).await;
    let record = depot.device_folder("infusion-pump/p1").join("record.json");
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    depot.direct(&next_package());
    depot.with(Inner::push_directive);
    depot.installed("infusion-pump/p2", "1C").await;
    let failed = |inner: &mut Inner| {
        let outcomes = inner.outcomes_of("infusion-pump/p1");
        matches!(outcomes.last(), Some(Outcome::Failed { reason }) if reason.as_str().contains("no file")).then_some(())
    };
    depot.until("the reason why the other one is not updated", failed).await;
    gateway.trouble("record.json is no file").await;
    depot.with(|inner| assert!(inner.outcomes_of("gateway/ward-3").is_empty(), "nothing is refused"));
    gateway.stop().await;
}

/// Directs the pumps' update with a file that the server adds.
fn direct_with(inner: &mut Inner, settings: &[u8]) {
    let package = Package { accepts: vec![AddedKind::SiteSettings], ..pump_package() };
    inner.hospital.release(&package);
    inner.hospital.images.bump();
    let path = package.folder().path("settings.json").unwrap();
    let added = Added { kind: AddedKind::SiteSettings, file: BoundFile::of(path.clone(), settings) };
    inner.added.insert(path.to_string(), settings.to_vec());
    let mut orders = inner.orders();
    orders[0].assignments.iter_mut().for_each(|assignment| assignment.added = vec![added.clone()]);
    inner.hospital.direct(&orders);
}

#[tokio::test]
async fn added_data_is_installed_with_the_update_or_neither_is() {
    let settings = br#"{"alarm_volume_percent":50,"language":"de","time_zone":"Europe/Berlin","version":1,"ward":"3"}"#;
    let depot = Depot::open().await;
    depot.with(|inner| direct_with(inner, settings));
    let gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    let written = std::fs::read(depot.device_folder("infusion-pump/p1").join("slot-b/site-settings.json")).unwrap();
    assert_eq!(written, settings);
    gateway.stop().await;

    let silent = String::from_utf8(settings.to_vec()).unwrap().replace("50", "0");
    let depot = Depot::open().await;
    depot.with(|inner| direct_with(inner, silent.as_bytes()));
    let gateway = depot.power(&[]);
    depot.both_failed().await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_verified_is_installed_while_the_server_is_away() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let busy = depot.busy("infusion-pump/p1");
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(Inner::go_down);
    gateway.until("no session", |status| !status.is_connected).await;
    std::fs::remove_file(&busy).unwrap();
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    let is_installed = |status: &wardlink_agent::gateway::status::Status| {
        let revisions = status.devices.iter().map(|device| device.state.characteristics.revision.to_string());
        revisions.into_iter().all(|revision| revision == "1B")
    };
    gateway.until("the update of both", is_installed).await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&pump_package())));
    depot.with(|inner| inner.is_down = false);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_window_that_closes_while_the_image_comes_is_kept() {
    let depot = Depot::open().await;
    let now = wardlink_agent::clock::now().as_secs();
    let until = now + 3;
    depot.with(|inner| {
        inner.hospital.release(&pump_package());
        inner.hospital.images.bump();
        let mut orders = inner.orders();
        orders[0].assignments.iter_mut().for_each(|of| of.when = When::Window { from: now - 60, until });
        inner.hospital.direct(&orders);
        inner.hold("/targets/", 0);
    });
    let gateway = depot.power(&[]);
    depot.holds().await;
    while wardlink_agent::clock::now().as_secs() < until {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    depot.release();
    for pump in pumps() {
        let pump = pump.to_string();
        let outcomes = depot.until("a word", |inner| Some(inner.outcomes_of(&pump)).filter(|told| !told.is_empty()));
        assert_eq!(outcomes.await, [Outcome::Postponed(Postponed::Window)]);
        assert_eq!(depot.runs(&pump), None);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_confirmation_is_for_what_was_shown_and_for_nothing_that_came_later() {
    let depot = Depot::open().await;
    let direct = |inner: &mut Inner| {
        let mut orders = inner.orders();
        orders[0].assignments.iter_mut().for_each(|assignment| assignment.when = When::OnConfirmation);
        inner.hospital.direct(&orders);
        inner.push_directive();
        inner.hospital.version
    };
    depot.with(|inner| {
        inner.hospital.release(&pump_package());
        inner.hospital.images.bump();
    });
    let first = depot.with(direct);
    let mut gateway = depot.power(&[]);
    let waits =
        |directive: u64| move |status: &Status| waiting(status).iter().any(|waits| waits.directive == directive);
    gateway.until("the first offer", waits(first)).await;
    let second = depot.with(direct);
    // Heard of, and not shown yet: what is confirmed is the first one, which does not count any more.
    confirm(&gateway, "infusion-pump/p1", first).await;
    gateway.until("the second offer", waits(second)).await;
    confirm(&gateway, "infusion-pump/p1", first).await;
    confirm(&gateway, "infusion-pump/p2", second).await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.until("the one that still waits", |status| waiting(status).len() == 1).await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_device_waited_for_is_not_shown_when_it_waits_for_something_else() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    for pump in pumps() {
        let folder = depot.device_folder(&pump.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("busy"), "").unwrap();
    }
    let mut gateway = depot.power(&[]);
    let waits = |status: &Status| status.devices.iter().filter(|device| device.waits.is_some()).count();
    gateway.until("two that wait", |status| waits(status) == 2).await;
    // The image has to come once more, and comes corrupt.
    for name in depot.cached() {
        std::fs::remove_file(depot.path("state").join("packages").join(name)).unwrap();
    }
    depot.with(|inner| inner.corrupt = true);
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    let is_corrupt = |inner: &mut Inner| {
        (inner.outcomes.iter().filter(|of| of.outcome == Outcome::Corrupt).count() == 2).then_some(())
    };
    depot.until("the word that it is corrupt", is_corrupt).await;
    gateway.until("what is shown then", |status| waits(status) == 0).await;
    gateway.stop().await;
}

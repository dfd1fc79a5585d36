//! The gateway's own program.

use crate::depot::{Depot, Inner, image_of};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::sync::watch;
use wardlink_agent::gateway::settings::Settings;
use wardlink_agent::gateway::status::Status;
use wardlink_agent::gateway::{Gateway, GatewayError, Order, own};
use wardlink_test_repository::hospital::{gateway as gateway_device, gateway_package};
use wardlink_update::director::When;
use wardlink_update::package::{Package, RevisionRange};
use wardlink_update::uptane::{Outcome, Postponed};

/// What the gateway is told to be, so that the hospital's packages fit it.
const OWN: [&str; 6] = ["--made-by", "acme", "--model", "RP", "--hardware", "B"];

/// An update of the gateway's own program.
fn own_package() -> Package {
    Package {
        pre_revision: RevisionRange::single(env!("CARGO_PKG_VERSION").parse().unwrap()),
        post_revision: "0.2".parse().unwrap(),
        ..gateway_package()
    }
}

/// A gateway that has got another program: it ends, to be started with it.
async fn updated(depot: &Depot, line: &[&str]) {
    let gateway = depot.power(line);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    depot.direct(&own_package());
    depot.with(Inner::push_directive);
    let ended = tokio::time::timeout(Duration::from_secs(20), gateway.task).await.expect("it goes on").unwrap();
    assert!(matches!(ended, Err(GatewayError::Restart)), "{ended:?}");
    depot.with(|inner| assert_eq!(inner.outcomes_of("gateway/ward-3"), [], "it has yet to prove itself"));
}

#[tokio::test]
async fn the_gateway_updates_itself_and_tells_so_when_the_new_program_has_reached_the_server() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    assert_eq!(own::choose(&depot.settings(&line)).unwrap(), None, "the factory's own");
    updated(&depot, &line).await;
    let program = own::choose(&depot.settings(&line)).unwrap().expect("the new program");
    assert_eq!(std::fs::read(&program).unwrap(), image_of(&own_package()));
    assert_eq!(std::fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    let gateway = depot.power(&line);
    depot
        .until("the word that it runs", |inner| {
            let told = inner.outcomes_of("gateway/ward-3");
            matches!(told.as_slice(), [Outcome::Installed { revision, .. }] if revision.to_string() == "0.2")
                .then_some(())
        })
        .await;
    depot
        .until("a report of it", |inner| {
            (inner.reports.last()?.gateway.characteristics.revision.to_string() == "0.2").then_some(())
        })
        .await;
    gateway.stop().await;
    for _ in 0..=own::MAX_STARTS {
        assert_eq!(own::choose(&depot.settings(&line)).unwrap().as_ref(), Some(&program), "it stays");
    }
}

#[tokio::test]
async fn a_start_on_trial_that_cannot_be_counted_is_a_start_all_the_same() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    updated(&depot, &line).await;
    // Nothing can be written there.
    std::fs::create_dir_all(programs.join("starts/in-the-way")).unwrap();
    for _ in 0..=own::MAX_STARTS {
        assert!(own::choose(&depot.settings(&line)).unwrap().is_some());
    }
}

#[tokio::test]
async fn a_program_that_does_not_come_up_is_taken_back_and_told() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    updated(&depot, &line).await;
    for _ in 0..own::MAX_STARTS {
        assert!(own::choose(&depot.settings(&line)).unwrap().is_some());
    }
    assert_eq!(own::choose(&depot.settings(&line)).unwrap(), None, "the factory's own again");
    let gateway = depot.power(&line);
    depot
        .until("the word that it failed", |inner| {
            let told = inner.outcomes_of("gateway/ward-3");
            matches!(told.as_slice(), [Outcome::Failed { .. }]).then_some(())
        })
        .await;
    depot.with(|inner| {
        let is = inner.reports.last().unwrap().gateway.characteristics.revision.to_string();
        assert_eq!(is, env!("CARGO_PKG_VERSION"));
    });
    gateway.stop().await;
}

/// A gateway that is not paired, until it ends.
async fn unpaired(settings: Settings) -> Result<(), GatewayError> {
    let (gateway, _handle) = Gateway::open(settings).unwrap();
    let ((_member, membership), (_stop, stopped)) = (watch::channel(None), watch::channel(false));
    tokio::time::timeout(Duration::from_secs(20), gateway.run(membership, stopped)).await.expect("it goes on")
}

#[tokio::test]
async fn a_trial_ends_in_time_where_the_gateway_is_not_paired_any_more() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    updated(&depot, &line).await;
    assert!(own::choose(&depot.settings(&line)).unwrap().is_some());
    let settings = Settings { trial: Duration::from_millis(300), ..depot.settings(&line) };
    let ended = unpaired(settings).await;
    assert!(matches!(ended, Err(GatewayError::Restart)), "{ended:?}");
    assert_eq!(own::choose(&depot.settings(&line)).unwrap(), None, "the factory's own again");
}

#[tokio::test]
async fn a_program_on_trial_goes_when_the_gateway_leaves_its_site() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    updated(&depot, &line).await;
    wardlink_agent::gateway::wipe(&depot.settings(&line)).unwrap();
    assert_eq!(own::choose(&depot.settings(&line)).unwrap(), None);
    // Nothing is left that would begin it anew.
    depot.with(|inner| inner.hospital.direct(&[]));
    let mut gateway = depot.power(&line);
    gateway.until("a round", |status| status.is_connected && status.directive_done > 0).await;
    assert_eq!(own::choose(&depot.settings(&line)).unwrap(), None);
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateways_own_program_is_shown_and_waits_for_a_person_like_a_devices() {
    let depot = Depot::open().await;
    let programs = depot.path("programs");
    let line = [&OWN[..], &["--programs", programs.to_str().unwrap()]].concat();
    let mut gateway = depot.power(&line);
    let revision = |status: &Status| Some(status.own.as_ref()?.state.characteristics.revision.to_string());
    gateway.until("its program", |status| revision(status).as_deref() == Some(env!("CARGO_PKG_VERSION"))).await;
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    depot.with(|inner| {
        inner.hospital.release(&own_package());
        inner.hospital.images.bump();
        let mut orders = inner.orders();
        let own = orders.iter_mut().filter(|order| order.package.device_type.to_string() == "gateway");
        own.for_each(|order| order.assignments[0].when = When::OnConfirmation);
        inner.hospital.direct(&orders);
        inner.push_directive();
    });
    gateway.until("what waits", |status| status.own.as_ref().is_some_and(|own| own.waits.is_some())).await;
    let waits = gateway.handle.status.borrow().own.as_ref().and_then(|own| own.waits.clone()).unwrap();
    assert_eq!((waits.why, waits.revision.as_str()), (Postponed::Confirmation, "0.2"));
    let device = gateway_device();
    gateway.handle.orders.send(Order::Confirm { device, directive: waits.directive }).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), gateway.task).await.expect("it goes on").unwrap();
    assert!(matches!(ended, Err(GatewayError::Restart)), "{ended:?}");
}

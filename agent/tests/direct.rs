//! A device without a gateway: the session with the distribution server, with itself as its only device.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;
mod process;
mod site;

use depot::Depot;
use depot::records::heart_rate;
use process::Process;
use site::Site;
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wardlink_agent::clock;
use wardlink_agent::device::direct::{Driven, Work, run};
use wardlink_agent::device::disk::Folder;
use wardlink_agent::device::factory::Factory;
use wardlink_agent::device::handover::{Handover, new_chain};
use wardlink_agent::device::records::{Records, STORED_BYTES};
use wardlink_agent::device::{Device, Doing, FactoryImage, Identity, Tested};
use wardlink_agent::firmware::{Firmware, Program, SelfTest};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::distribution::{FromServer, Numbered};
use wardlink_protocol::provisioning::Provisioning;
use wardlink_records::sending::Plan;
use wardlink_test_repository::hospital::{Hospital, OLD_IMAGE, device, gateway_package, image, pump_package, state};
use wardlink_update::package::{Package, ReleaseCounter};
use wardlink_update::uptane::{Circumstances, Outcome, Postponed};

const PUMP: &str = "infusion-pump/p1";

/// The hospital of a pump that is its own gateway.
async fn depot() -> Depot {
    depot_of(&pump_package(), &gateway_package()).await
}

/// The same with other packages.
async fn depot_of(pump: &Package, own: &Package) -> Depot {
    let depot = Depot::open().await;
    depot.made_by(pump, own);
    depot.with(|inner| {
        inner.me = device(PUMP);
        inner.hospital.bound.gateway = device(PUMP);
        inner.hospital.bound.present.truncate(1);
    });
    depot
}

/// Directs what matches to the pump itself.
fn direct(depot: &Depot) {
    depot.with(|inner| {
        let orders = inner.hospital.orders();
        assert!(!orders.is_empty());
        inner.hospital.direct(&orders);
    });
}

/// Releases a package with this image, and directs it.
fn release(depot: &Depot, package: &Package, image: &[u8]) {
    depot.with(|inner| {
        inner.hospital.release(package);
        let path = inner.hospital.path_of(package);
        inner.hospital.images.author("acme").files.insert(path, image.to_vec());
        inner.hospital.images.bump();
    });
    direct(depot);
}

fn factory(hospital: &Hospital, pump: &Package) -> Factory {
    let json = |bytes: &[u8]| Some(serde_json::from_slice(bytes).unwrap());
    Factory {
        version: 1,
        trust: wardlink_update::uptane::Trust::Both,
        manufacturer: pump.manufacturer.clone(),
        device_type: pump.device_type.clone(),
        model: pump.model.clone(),
        root: json(&hospital.images.root()),
        targets: json(&hospital.handed_delegator()),
    }
}

fn open(folder: &Path) -> Driven {
    open_as(folder, &pump_package(), &gateway_package())
}

fn open_as(folder: &Path, pump: &Package, own: &Package) -> Driven {
    let factory = factory(&Hospital::of(pump, own), pump);
    let is = state(PUMP, pump.model.as_str(), "1A").characteristics;
    let identity = Identity {
        device: is.device,
        manufacturer: pump.manufacturer.clone(),
        model: is.model,
        serial_number: is.serial_number,
        hardware: is.hardware,
    };
    let image = FactoryImage {
        bytes: OLD_IMAGE.to_vec(),
        revision: "1A".parse().unwrap(),
        release_counter: ReleaseCounter::new(1),
    };
    let disk = Folder::open(folder).unwrap();
    let device = Device::open(disk, identity, Some(&factory), image, |_, _| Tested::Passed).unwrap();
    Driven { device, doing: Doing::Idle, handover: None }
}

/// Drives the device and its session until it is so.
async fn drive(depot: &Depot, driven: &mut Driven, what: &str, until: impl Fn(&mut depot::Inner, &Driven) -> bool) {
    let (works, mut queue) = mpsc::channel::<Work>(1);
    let (_member, membership) = watch::channel(Some(depot.member()));
    let session = tokio::spawn(run(works, membership));
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while !depot.with(|inner| until(inner, driven)) {
        assert!(tokio::time::Instant::now() < patience, "waited in vain for {what}: {:?}", driven.device.outcomes());
        tokio::select! {
            Some(work) = queue.recv() => work(driven),
            _ = look.tick() => {
                let now = clock::now().as_secs();
                let at = Circumstances { now, therapy_runs: false, is_safe: true, is_confirmed: false };
                driven.doing = driven.device.go_on(&at).unwrap();
                if driven.doing == Doing::Restart {
                    driven.device.restart(|_, _| Tested::Passed).unwrap();
                }
            }
        }
    }
    session.abort();
}

fn has_installed(inner: &depot::Inner, revision: &str) -> bool {
    let installed =
        |outcome: Outcome| matches!(outcome, Outcome::Installed { revision: is, .. } if is.as_str() == revision);
    let reported =
        inner.reports.last().is_some_and(|report| report.gateway.characteristics.revision.as_str() == revision);
    reported && inner.outcomes_of(PUMP).into_iter().any(installed)
}

#[tokio::test]
async fn a_device_alone_learns_who_directs_installs_tells_and_reports() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    direct(&depot);
    drive(&depot, &mut driven, "the update", |inner, _| has_installed(inner, "1B")).await;
    assert_eq!(driven.device.image(), image(&pump_package()));
    assert!(driven.device.outcomes().is_empty(), "what was told and taken is not kept");
    // After a restart of the device, and a new session: nothing is told or installed twice.
    drop(driven);
    let mut driven = open(folder.path());
    let (reports, outcomes) = depot.with(|inner| (inner.reports.len(), inner.outcomes.len()));
    drive(&depot, &mut driven, "a report", |inner, _| inner.reports.len() > reports).await;
    assert_eq!(depot.with(|inner| inner.outcomes.len()), outcomes);
    assert_eq!(driven.device.image(), image(&pump_package()));
    // Counters rise, whatever happens in between.
    let counters: Vec<_> = depot.with(|inner| inner.reports.iter().map(|report| report.counter).collect());
    assert!(counters.is_sorted_by(|one, next| one < next), "{counters:?}");
}

#[tokio::test]
async fn names_of_makers_and_models_may_have_spaces_and_signs() {
    let maker = |package: Package| Package { manufacturer: "Acme Inc+Co".parse().unwrap(), ..package };
    let (pump, own) = (maker(pump_package()), maker(gateway_package()));
    let pump = Package { model: "PM 2+b".parse().unwrap(), ..pump };
    let depot = depot_of(&pump, &own).await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open_as(folder.path(), &pump, &own);
    direct(&depot);
    drive(&depot, &mut driven, "the update", |inner, _| has_installed(inner, "1B")).await;
    assert_eq!(driven.device.image(), image(&pump));
}

#[tokio::test]
async fn an_image_is_taken_as_it_comes_and_the_session_answers_meanwhile() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    let long: Vec<u8> = (0..200_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    release(&depot, &pump_package(), &long);
    depot.with(|inner| inner.hold("/targets/", 150_000));
    let is_asked = Cell::new(false);
    drive(&depot, &mut driven, "the update", |inner, driven| {
        let is_held = inner.hold.is_none() && inner.released < inner.holds;
        if is_held && !is_asked.replace(true) {
            inner.push(|number| FromServer::Report(Numbered { number, message: () }));
        }
        // What has come lies in the slot, and the server's word is answered, while the rest is still to come.
        let lies_there = matches!(driven.doing, Doing::WantsImage { position, .. } if position >= 131_072);
        if lies_there && !inner.answers.is_empty() {
            inner.released = inner.holds;
        }
        has_installed(inner, "1B")
    })
    .await;
    assert_eq!(driven.device.image(), long);
}

#[tokio::test]
async fn a_push_over_the_open_session_is_followed() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    drive(&depot, &mut driven, "a report", |inner, driven| {
        if inner.reports.len() == 1 && inner.hospital.version < 4 {
            let orders = inner.hospital.orders();
            inner.hospital.direct(&orders);
            inner.hospital.version = inner.hospital.version.max(4);
            inner.hospital.direct(&orders);
            inner.push_directive();
        }
        has_installed(inner, "1B") && driven.device.runs().revision.as_str() == "1B"
    })
    .await;
    assert_eq!(depot.with(|inner| inner.sessions), 1);
}

#[tokio::test]
async fn a_download_that_is_cut_off_is_gone_on_with() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    direct(&depot);
    depot.with(|inner| inner.cut_after = Some(20));
    drive(&depot, &mut driven, "the update", |inner, _| has_installed(inner, "1B")).await;
    depot.with(|inner| {
        let from: Vec<_> = inner.requests.iter().filter(|of| of.path.contains("/targets/")).map(|of| of.from).collect();
        assert_eq!(from, [None, Some(20)]);
    });
}

#[tokio::test]
async fn what_a_thief_of_the_servers_key_directs_is_refused_told_and_reported_as_an_attack() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    depot.with(|inner| {
        let orders = inner.hospital.orders();
        let path = orders[0].path.to_string();
        inner.hospital.direct_forged(&orders, |signed| signed["targets"][path.as_str()]["length"] = 5.into());
    });
    drive(&depot, &mut driven, "a report of the attack", |inner, _| {
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused { step, .. } if step.as_str() == "5.4.4.2 step 10.2.1");
        inner.outcomes_of(PUMP).iter().any(refused) && inner.reports.last().is_some_and(|report| report.gateway.attack.is_some())
    })
    .await;
    assert_eq!(driven.device.image(), OLD_IMAGE);
}

#[tokio::test]
async fn a_corrupt_image_is_told_and_not_installed() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    direct(&depot);
    depot.with(|inner| inner.corrupt = true);
    drive(&depot, &mut driven, "the outcome", |inner, _| inner.outcomes_of(PUMP).contains(&Outcome::Corrupt)).await;
    assert_eq!(driven.device.image(), OLD_IMAGE);
}

#[tokio::test]
async fn an_encrypted_image_that_does_not_open_is_told_and_one_that_does_is_installed() {
    let stranger = PrivateKey::make(&mut clock::rng()).public();
    // Damaged on its way, and sealed to another one's key.
    for (key, damage) in [(None, 1), (Some(stranger), 0)] {
        let depot = depot().await;
        let folder = tempfile::tempdir().unwrap();
        let mut driven = open(folder.path());
        depot.with(|inner| {
            let key = key.unwrap_or(inner.gateway_key.public());
            inner.direct_encrypted(&key, |file| *file.last_mut().unwrap() ^= damage);
        });
        let is_told = |inner: &mut depot::Inner, _: &Driven| inner.outcomes_of(PUMP).contains(&Outcome::Corrupt);
        drive(&depot, &mut driven, "the outcome", is_told).await;
        assert_eq!(driven.device.image(), OLD_IMAGE);
    }
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    depot.with(|inner| inner.direct_encrypted(&inner.gateway_key.public(), |_| ()));
    drive(&depot, &mut driven, "the update", |inner, _| has_installed(inner, "1B")).await;
}

/// The pump's own program.
fn power(folder: &Path) -> Process {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
    command.args(["pump", "--json", "--direct", "--serial", "45457", "--provisioning", &path("site.json")]);
    command.args(["--state", &path("state"), "--factory", &path("factory.json"), "--factory-image", &path("1A.bin")]);
    Process::start(&mut command)
}

fn program(revision: &str, counter: u32) -> Vec<u8> {
    let program = vec![7; 300_000];
    let firmware = Firmware {
        revision: revision.parse().unwrap(),
        release_counter: ReleaseCounter::new(counter).unwrap(),
        hardware: vec!["PM2-B".parse().unwrap()],
        greeting: None,
        telemetry_ms: 1_000,
        self_test: SelfTest::Passes,
        program: Program::of(&program),
    };
    firmware.to_bytes(&program).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pump_couples_waits_for_its_infusion_and_updates_itself_whenever_it_is_killed() {
    let site = Site::open().await;
    let (ca, chain, key) = site.authority().await;
    let depot = Depot::of(ca, chain, key).await;
    site.names_host(depot.address.clone()).await;
    depot.with(|inner| {
        inner.bridge = Some(site.host());
        inner.me = device(PUMP);
        inner.hospital.bound.gateway = device(PUMP);
        let mut present = state(PUMP, "PM2", "1A");
        present.characteristics.serial_number = "45457".parse().unwrap();
        present.characteristics.hardware = "PM2-B".parse().unwrap();
        inner.hospital.bound.present = vec![present];
    });
    let identifier = Some("p1".parse().unwrap());
    let provisioning = Provisioning { client: "infusion-pump".parse().unwrap(), identifier, ..site.provisioning() };
    let folder = depot.path("");
    std::fs::write(folder.join("site.json"), serde_json::to_vec(&provisioning).unwrap()).unwrap();
    std::fs::write(
        folder.join("factory.json"),
        serde_json::to_vec(&factory(&Hospital::new(), &pump_package())).unwrap(),
    )
    .unwrap();
    std::fs::write(folder.join("1A.bin"), program("1A", 1)).unwrap();

    let mut process = power(&folder);
    site.accept().await;
    let code = process.code().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    // Its infusion runs as soon as it is paired: what its manufacturer has not allowed meanwhile waits, and the server is told.
    let hardware = vec!["PM2-B".parse().unwrap()];
    let package = Package { hardware, ..pump_package() };
    release(&depot, &package, &program("1B", 2));
    depot.with(depot::Inner::push_directive);
    let waits = Outcome::Postponed(Postponed::Therapy);
    depot.until("the infusion to hold it up", |inner| inner.outcomes_of(PUMP).contains(&waits).then_some(())).await;
    drop(process);

    let counter = ReleaseCounter::new(3).unwrap();
    let package = Package { during_therapy: true, release_counter: counter, ..package };
    release(&depot, &package, &program("1B", 3));
    for life in 1..12 {
        let process = power(&folder);
        tokio::time::sleep(Duration::from_millis(life * 60)).await;
        drop(process);
    }
    let process = power(&folder);
    depot.until("the update", |inner| has_installed(inner, "1B").then_some(())).await;
    drop(process);
    let mut process = power(&folder);
    assert_eq!(process.said("booted", "revision").await, "1B");
    let installed = |outcome: &Outcome| matches!(outcome, Outcome::Installed { .. });
    assert_eq!(depot.with(|inner| inner.outcomes_of(PUMP)).iter().filter(|outcome| installed(outcome)).count(), 1);
}

#[tokio::test]
async fn a_device_alone_sends_its_stored_data_and_deletes_it_on_the_servers_receipt_alone() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    let key = depot.member().identity.key.clone();
    depot.with(|inner| inner.archive.knows(&key.public(), &device(PUMP)));
    let disk = Folder::open(&folder.path().join("records")).unwrap();
    let mut records = Records::open(disk, device(PUMP), key, STORED_BYTES, new_chain()).unwrap();
    for value in 60..63 {
        records.record(heart_rate(clock::now(), value), clock::now()).unwrap();
    }
    driven.handover = Some(Handover::new(records, Plan::default(), clock::now()));
    let stored = |driven: &Driven| driven.handover.as_ref().unwrap().records.stored();
    // The server asks; its receipt gets lost.
    depot.with(|inner| inner.loses_receipts = true);
    let wants = Cell::new(0);
    let asks = |inner: &mut depot::Inner| {
        wants.set(wants.get() + 1);
        if wants.get() % 50 == 0 {
            inner.push(|number| FromServer::Send(Numbered { number, message: Some(device(PUMP)) }));
        }
        inner.archive.values(&device(PUMP)).len() == 3
    };
    drive(&depot, &mut driven, "the values at the server", |inner, _| asks(inner)).await;
    assert_eq!(stored(&driven), 3);
    // The next session brings it, and every value is there once.
    depot.with(|inner| inner.loses_receipts = false);
    drive(&depot, &mut driven, "the receipt", |_, driven| stored(driven) == 0).await;
    depot.with(|inner| {
        assert_eq!(inner.archive.values(&device(PUMP)), ["60", "61", "62"]);
        assert_eq!(inner.archive.refused, [""; 0]);
    });
}

#[tokio::test]
async fn damaged_data_of_a_device_alone_holds_up_neither_its_updates_nor_the_rest_of_its_data() {
    let depot = depot().await;
    let folder = tempfile::tempdir().unwrap();
    let mut driven = open(folder.path());
    let key = depot.member().identity.key.clone();
    depot.with(|inner| inner.archive.knows(&key.public(), &device(PUMP)));
    let disk = Folder::open(&folder.path().join("records")).unwrap();
    let mut records = Records::open(disk, device(PUMP), key, STORED_BYTES, new_chain()).unwrap();
    for value in 60..63 {
        records.record(heart_rate(clock::now(), value), clock::now()).unwrap();
        records.close(clock::now()).unwrap();
    }
    let first = records.queue().iter().next().unwrap().key;
    std::fs::write(folder.path().join("records").join(format!("batch-{}-{}", first.chain, first.first)), "").unwrap();
    driven.handover = Some(Handover::new(records, Plan { every_secs: None, at_batches: Some(1) }, clock::now()));
    direct(&depot);
    drive(&depot, &mut driven, "the update and the data", |inner, _| {
        has_installed(inner, "1B") && inner.archive.values(&device(PUMP)).len() == 2
    })
    .await;
    assert_eq!(depot.with(|inner| inner.archive.values(&device(PUMP))), ["61", "62"]);
}

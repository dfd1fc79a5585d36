//! The gateway's program as a process: from its pairing to installed updates, killed at any point.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;
mod process;
mod site;

use depot::{Depot, Inner, image_of, pumps};
use process::Process;
use site::Site;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use wardlink_agent::mailbox::{Direction, Mailbox};
use wardlink_protocol::Device;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_test_repository::hospital::{gateway_package, pump_package};
use wardlink_update::package::{Package, ReleaseCounter, RevisionRange};
use wardlink_update::uptane::Outcome;

fn wardlink(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
    command.arg("gateway").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What the gateway is told to be, so that the hospital's packages fit it.
const OWN: [&str; 6] = ["--made-by", "acme", "--model", "RP", "--hardware", "B"];

fn run(folder: &Path) -> Process {
    run_with(folder, &[])
}

fn run_with(folder: &Path, flags: &[&str]) -> Process {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let arguments = ["run", "--json", "--provisioning", &path("site.json"), "--state", &path("state")];
    let more = ["--devices", &path("devices.json"), "--programs", &path("programs")];
    Process::start(wardlink(&arguments).args(more).args(OWN).args(flags))
}

/// A site with its server, and what its gateway is provisioned with.
async fn ward() -> (Site, Depot) {
    let site = Site::open().await;
    let (ca, chain, key) = site.authority().await;
    let depot = Depot::of(ca, chain, key).await;
    depot.with(|inner| inner.bridge = Some(site.host()));
    site.names_host(depot.address.clone()).await;
    let provisioning = Provisioning {
        client: "gateway".parse().unwrap(),
        identifier: Some("ward-3".parse().unwrap()),
        ..site.provisioning()
    };
    std::fs::write(depot.path("site.json"), serde_json::to_vec(&provisioning).unwrap()).unwrap();
    (site, depot)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_may_be_killed_at_any_point() {
    let (site, depot) = ward().await;
    let folder = depot.path("");

    // It is killed while it asks, and while its code is shown.
    drop(run(&folder));
    let mut process = run(&folder);
    site.accept().await;
    let shown = process.code().await;
    drop(process);
    let mut process = run(&folder);
    assert_eq!(process.code().await, shown);
    assert_eq!(site.verify(&shown).await, VerifyResult::Verified);
    drop(process);

    depot.direct(&pump_package());
    let next = Package {
        pre_revision: RevisionRange::single("1B".parse().unwrap()),
        post_revision: "1C".parse().unwrap(),
        release_counter: ReleaseCounter::new(3).unwrap(),
        ..pump_package()
    };
    let mut is_directed = false;
    for life in 1..40 {
        let process = run(&folder);
        tokio::time::sleep(Duration::from_millis(life * 15)).await;
        drop(process);
        if !is_directed && depot.with(|inner| inner.outcomes.len() >= 2 && inner.reports.len() >= 2) {
            depot.direct(&next);
            is_directed = true;
        }
        if depot.with(|inner| inner.outcomes.len() >= 4) {
            break;
        }
    }
    let process = run(&folder);
    if !is_directed {
        depot.installed("infusion-pump/p2", "1B").await;
        depot.direct(&next);
        depot.with(Inner::push_directive);
    }
    for pump in pumps() {
        depot.installed(&pump.to_string(), "1C").await;
        assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&next)));
    }
    let state = folder.join("state");
    let site_json = folder.join("site.json");
    let ask = |what: &str, more: &[&str]| {
        wardlink(&[what, "--json", "--state", state.to_str().unwrap()]).args(more).output().unwrap()
    };
    let status: serde_json::Value = serde_json::from_slice(&ask("status", &[]).stdout).unwrap();
    assert_eq!((&status["is_paired"], &status["manufacturers"]), (&true.into(), &serde_json::json!(["acme"])));
    let checks: serde_json::Value =
        serde_json::from_slice(&ask("doctor", &["--provisioning", site_json.to_str().unwrap()]).stdout).unwrap();
    let bad: Vec<_> = checks.as_array().unwrap().iter().filter(|check| check["verdict"] == "bad").collect();
    assert!(bad.is_empty(), "{bad:?}");
    drop(process);
}

/// The exit code of a process that ends by itself.
async fn code_of(process: &mut Process) -> Option<i32> {
    tokio::time::timeout(Duration::from_secs(20), ended(process)).await.expect("it goes on");
    process.0.try_wait().unwrap().unwrap().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_serve_ends_its_coupling_too() {
    let (_site, depot) = ward().await;
    let folder = depot.path("");
    std::fs::write(folder.join("bad.json"), "{}").unwrap();
    let given = format!("acme={}", folder.join("bad.json").display());
    let mut process = run_with(&folder, &["--manufacturer", &given]);
    assert_eq!(code_of(&mut process).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_site_has_left_is_gone_before_a_gateway_couples_and_stays_while_it_is_paired() {
    let (site, depot) = ward().await;
    let folder = depot.path("");
    let packages = folder.join("state/packages");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&packages).unwrap();
    // As after a power loss right behind the end of a pairing: a store, and an image.
    drop(wardlink_agent::gateway::store::Store::open(&folder.join("state/gateway.redb")).unwrap());
    std::fs::write(packages.join("old"), "an image").unwrap();
    let store = || std::fs::metadata(folder.join("state/gateway.redb")).unwrap().ino();
    let mut process = run(&folder);
    site.accept().await;
    let code = process.code().await;
    assert!(!packages.join("old").exists());
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    drop(process);
    let kept = store();
    std::fs::write(packages.join("kept"), "an image").unwrap();
    let reports = depot.with(|inner| inner.reports.len());
    let _process = run(&folder);
    depot.until("another report", |inner| (inner.reports.len() > reports).then_some(())).await;
    assert_eq!((store(), packages.join("kept").exists()), (kept, true));
}

/// Letters both ways at a port, and a folder of updates beside them.
fn port_with_letters(port: &Path) -> [Mailbox; 2] {
    let device: Device = "infusion-pump/p1".parse().unwrap();
    std::fs::create_dir_all(port.join("updates/infusion-pump/p1/targets")).unwrap();
    std::fs::write(port.join("updates/infusion-pump/p1/targets/1B.bin"), "a package").unwrap();
    std::fs::write(port.join("note"), "of somebody else").unwrap();
    [Direction::Up, Direction::Down].map(|direction| {
        let mailbox = Mailbox::new(port, &device, direction, 100);
        assert!(mailbox.put(b"a letter").unwrap());
        mailbox
    })
}

#[tokio::test]
async fn what_a_gateway_has_written_at_ports_that_were_named_goes_with_it_and_nothing_else() {
    let depot = Depot::open().await;
    let port = depot.path("ports");
    let [up, down] = port_with_letters(&port);
    let line = ["--ports", port.to_str().unwrap()];
    wardlink_agent::gateway::wipe(&depot.settings(&line)).unwrap();
    // At a port the device writes its letters itself.
    assert_eq!((up.count().unwrap(), down.count().unwrap()), (1, 0));
    assert!(!port.join("updates").exists() && port.join("note").exists());

    let [_up, _down] = port_with_letters(&port);
    let with_hub = [&line[..], &["--hub", "127.0.0.1:1"]].concat();
    wardlink_agent::gateway::wipe(&depot.settings(&with_hub)).unwrap();
    let left: Vec<_> = std::fs::read_dir(&port).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["note"]);
    // A port that is not there is not missed.
    std::fs::remove_dir_all(&port).unwrap();
    for line in [&line[..], &with_hub] {
        wardlink_agent::gateway::wipe(&depot.settings(line)).unwrap();
    }
}

#[test]
fn the_unit_names_this_program() {
    let unit = wardlink(&["unit", "--provisioning", "/etc/wardlink/g.json"]).output().unwrap();
    assert!(unit.status.success());
    let text = String::from_utf8(unit.stdout).unwrap();
    assert!(text.contains(&format!("ExecStart={} gateway run", env!("CARGO_BIN_EXE_wardlink"))), "{text}");
}

#[test]
fn a_gateway_that_is_not_there_has_no_status() {
    let folder = tempfile::tempdir().unwrap();
    let status =
        wardlink(&["status", "--state", folder.path().to_str().unwrap()]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8(status.stderr).unwrap().contains("is it the right --state?"));
}

/// Directs a program of the gateway's own, which is this script.
fn direct_program(inner: &mut Inner, from: &str, to: &str, counter: u32, script: &str) {
    let package = Package {
        pre_revision: RevisionRange::single(from.parse().unwrap()),
        post_revision: to.parse().unwrap(),
        release_counter: ReleaseCounter::new(counter).unwrap(),
        ..gateway_package()
    };
    inner.direct_image(&package, script.as_bytes());
    inner.push_directive();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_starts_its_new_program_and_goes_back_from_one_that_dies() {
    let (site, depot) = ward().await;
    let folder = depot.path("");
    let mut process = run(&folder);
    site.accept().await;
    let code = process.code().await;
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;

    let good = format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_wardlink"));
    depot.with(|inner| direct_program(inner, env!("CARGO_PKG_VERSION"), "0.2", 2, &good));
    let own = |inner: &Inner| inner.outcomes_of("gateway/ward-3");
    depot
        .until("the new program", |inner| {
            let told = own(inner);
            let runs = inner.reports.last()?.gateway.characteristics.revision.to_string() == "0.2";
            (matches!(told.as_slice(), [Outcome::Installed { .. }]) && runs).then_some(())
        })
        .await;

    depot.with(|inner| direct_program(inner, "0.2", "0.3", 3, "#!/bin/sh\nexit 1\n"));
    // Whoever watches over it starts it again each time.
    for _ in 0..20 {
        if depot.with(|inner| own(inner).len() > 1) {
            break;
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), ended(&mut process)).await;
        if ended.is_ok() {
            process = run(&folder);
        }
    }
    depot
        .until("the word that it failed", |inner| {
            let runs = inner.reports.last()?.gateway.characteristics.revision.to_string() == "0.2";
            (matches!(own(inner).as_slice(), [_, Outcome::Failed { .. }]) && runs).then_some(())
        })
        .await;
    drop(process);
}

async fn ended(process: &mut Process) {
    while process.0.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! A gateway between a server and its devices: whatever is wrong with the one, the other or the way between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;

use clap::Parser;
use depot::fault::Medium;
use depot::{Depot, Inner, image_of, pumps};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use wardlink_agent::gateway::settings::GatewayArgs;
use wardlink_agent::gateway::{GatewayError, Order, own, page};
use wardlink_agent::pump::Pump;
use wardlink_crypto::package::{ContentCode, Encoder, Sealed, seal_key};
use wardlink_protocol::distribution::{FromServer, Numbered};
use wardlink_test_repository::hospital::{device, gateway, gateway_package, pump_package, state};
use wardlink_update::director::{Added, When};
use wardlink_update::metadata::DelegatedPaths;
use wardlink_update::package::{
    AddedKind, BoundFile, Delta, DeltaFormat, Encrypted, Encryption, Package, Release, ReleaseCounter, RevisionRange,
    SealedKey,
};
use wardlink_update::uptane::{Outcome, Postponed};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// The release after the first one.
fn next_package() -> Package {
    Package {
        pre_revision: RevisionRange::single("1B".parse().unwrap()),
        post_revision: "1C".parse().unwrap(),
        release_counter: ReleaseCounter::new(3).unwrap(),
        ..pump_package()
    }
}

#[tokio::test]
async fn what_is_directed_is_fetched_installed_told_and_reported() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let gateway = depot.power(&[]);
    for pump in pumps() {
        depot.installed(&pump.to_string(), "1B").await;
        assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&pump_package())));
    }
    depot.with(|inner| {
        let images = inner.requests.iter().filter(|request| request.path.contains("/targets/"));
        assert_eq!(images.count(), 1, "one image for both");
        assert_eq!(inner.sessions, 1);
    });
    assert_eq!(depot.cached().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn the_server_pushes_over_the_open_session() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.direct(&pump_package());
    depot.with(Inner::push_directive);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(|inner| assert_eq!((inner.sessions, inner.answers.len()), (1, 1)));
    // A later release: what it replaces is deleted, in the cache and in the devices.
    depot.direct(&next_package());
    depot.with(Inner::push_directive);
    depot.installed("infusion-pump/p1", "1C").await;
    depot.installed("infusion-pump/p2", "1C").await;
    gateway.until("the end of the round", |status| status.directive_done == status.directive_heard).await;
    assert_eq!(depot.cached().len(), 1);
    for pump in pumps() {
        assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&next_package())));
        let slots = std::fs::read_dir(depot.device_folder(&pump.to_string())).unwrap();
        let slots = slots.filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(slots.count(), 1);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_report_is_sent_when_the_server_wants_one() {
    let depot = Depot::open().await;
    let gateway = depot.power(&[]);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    depot.push(|number| FromServer::Report(Numbered { number, message: () }));
    let counters = depot.until("another one", |inner| {
        let counters: Vec<_> = inner.reports.iter().map(|report| report.counter).collect();
        (counters.len() > 1).then_some(counters)
    });
    assert!(counters.await.is_sorted());
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.until("the word to look for updates", |inner| (inner.asked == 1).then_some(())).await;
    // Stored data is asked for: there is none.
    depot.push(|number| FromServer::Send(Numbered { number, message: None }));
    depot.until("an answer", |inner| (inner.answers.len() == 2).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_poll_is_one_conditional_request() {
    let depot = Depot::open().await;
    let gateway = depot.power(&["--poll-only", "--poll-secs", "1"]);
    let is_poll = |request: &depot::Requested| request.path.ends_with("timestamp.json") && request.bearer;
    depot
        .until("polls with nothing new", |inner| {
            let unchanged = inner.requests.iter().filter(|request| is_poll(request) && request.status == 304);
            (unchanged.count() >= 2).then_some(())
        })
        .await;
    depot.with(|inner| {
        assert_eq!(inner.sessions, 1, "no session for nothing");
        let last = inner.requests.last_chunk::<2>().unwrap();
        assert!(last.iter().all(|request| is_poll(request) && request.conditional), "{last:?}");
    });
    // What a poll finds is installed, and a session is there to tell.
    depot.direct(&pump_package());
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(|inner| assert!(inner.sessions > 1));
    gateway.stop().await;
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_where_it_was() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.cut_after = Some(10));
    let mut gateway = depot.power(&[]);
    gateway.trouble("connection").await;
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p1", "1B").await;
    depot.with(|inner| {
        let images: Vec<_> = inner.requests.iter().filter(|request| request.path.contains("/targets/")).collect();
        assert_eq!(images.last().unwrap().from, Some(10), "{images:?}");
    });
    gateway.stop().await;
}

#[tokio::test]
async fn a_corrupt_image_is_thrown_away_told_and_asked_for_later() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.corrupt = true);
    let gateway = depot.power(&[]);
    depot
        .until("the word that it is corrupt", |inner| {
            let told = pumps().iter().all(|pump| inner.outcomes_of(&pump.to_string()) == [Outcome::Corrupt]);
            told.then_some(())
        })
        .await;
    assert!(depot.cached().is_empty());
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    // It is asked for again after a minute, and not before; a new directive is a new word.
    depot.with(|inner| {
        inner.corrupt = false;
        inner.direct_all();
        inner.push_directive();
    });
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.stop().await;
}

#[tokio::test]
async fn outcomes_are_repeated_until_they_are_answered() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.loses_answers = true);
    let mut gateway = depot.power(&[]);
    depot.until("what became of it", |inner| (inner.outcomes.len() == 2).then_some(())).await;
    gateway.until("what waits", |status| status.outcomes_waiting == 2).await;
    gateway.cut().await;
    depot.with(|inner| {
        inner.loses_answers = false;
        inner.outcomes.clear();
    });
    let mut gateway = depot.power(&[]);
    depot.until("the same again", |inner| (inner.outcomes.len() == 2).then_some(())).await;
    gateway.until("an empty list", |status| status.outcomes_waiting == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_server_may_be_away() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.with(Inner::go_down);
    gateway.until("no session", |status| !status.is_connected && !status.troubles.is_empty()).await;
    depot.direct(&pump_package());
    tokio::time::sleep(Duration::from_millis(300)).await;
    depot.with(|inner| inner.is_down = false);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn packages_may_come_from_a_stick_or_a_mirror() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.has_no_images = true);
    let stick = depot.stick();
    let gateway = depot.power(&["--media", stick.to_str().unwrap()]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.stop().await;
    let mirror = format!("http://{}/mirror", depot.address);
    // What is on the stick is not what the manufacturer has signed: the mirror has it.
    depot.direct(&next_package());
    for (name, _) in depot.with(|inner| inner.images()) {
        let file = stick.join("acme/targets").join(&name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, b"something else").unwrap();
    }
    let gateway = depot.power(&["--media", stick.to_str().unwrap(), "--mirror", &mirror]);
    depot.installed("infusion-pump/p1", "1C").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&next_package())));
    gateway.stop().await;
}

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
        if let Some(gateway) = depot.power_on(move || before.open()) {
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
        let gateway = depot.power_on(move || after.open()).expect("the store is whole");
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
    let mut gateway = depot.power_on(move || opened.open()).unwrap();
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    medium.set_full(true);
    depot.direct(&pump_package());
    depot.with(Inner::push_directive);
    gateway.trouble("the disk is full").await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    medium.set_full(false);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
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
        let gateway = depot.power(&["--fail", fail]);
        depot
            .until("three failures", |inner| {
                let failed =
                    |told: &&wardlink_update::uptane::Notification| matches!(told.outcome, Outcome::Failed { .. });
                (inner.outcomes.iter().filter(failed).count() == 3).then_some(())
            })
            .await;
        assert_eq!(SET.map(|device| depot.runs(device)), [None, None, None], "{fail}");
        depot.with(|inner| {
            let states = inner.hospital.bound.present.iter();
            assert!(states.map(|state| state.characteristics.revision.to_string()).all(|revision| revision == "1A"));
            let (device, _) = fail.split_once('=').unwrap();
            assert!(inner.outcomes.iter().all(|told| format!("{:?}", told.outcome).contains(device)));
        });
        gateway.stop().await;
        // Nothing more happens under the same directive; a new one finds them sound.
        let gateway = depot.power(&[]);
        depot.until("a session", |inner| (inner.sessions == 2).then_some(())).await;
        depot.with(|inner| {
            inner.direct_all();
            inner.push_directive();
        });
        for device in SET {
            depot.installed(device, "1B").await;
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_is_busy_or_waits_for_a_person_keeps_what_it_runs() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let busy = depot.device_folder("infusion-pump/p1").join("busy");
    std::fs::create_dir_all(busy.parent().unwrap()).unwrap();
    std::fs::write(&busy, "").unwrap();
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p2", "1B").await;
    depot
        .until("the word that it waits", |inner| {
            let outcomes = inner.outcomes_of("infusion-pump/p1");
            (outcomes == [Outcome::Postponed(Postponed::Unsafe)]).then_some(())
        })
        .await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
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
    gateway
        .until("two that wait", |status| {
            let waits = |device: &&wardlink_agent::gateway::status::DeviceStatus| {
                device.postponed == Some(Postponed::Confirmation)
            };
            status.devices.iter().filter(waits).count() == 2
        })
        .await;
    gateway.handle.orders.send(Order::Confirm(device("infusion-pump/p2"))).await.unwrap();
    depot.installed("infusion-pump/p2", "1C").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&pump_package())));
    gateway.stop().await;
}

#[tokio::test]
async fn a_delta_is_applied_where_its_source_runs_and_a_useless_one_is_passed_over() {
    let depot = Depot::open().await;
    let old: Vec<u8> = (0..40_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut new = old.clone();
    new[1000] ^= 1;
    depot.with(|inner| inner.direct_image(&pump_package(), &old));
    let mut gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    let whole = |package: &Package| depot.with(|inner| inner.hospital.path_of(package).to_string());
    let asked_for = |name: String| {
        let name = name.rsplit('/').next().unwrap().to_owned();
        depot.with(|inner| inner.requests.iter().filter(|request| request.path.ends_with(&name)).count())
    };
    assert_eq!(asked_for(whole(&pump_package())), 1);
    let release = |inner: &mut Inner, from: (&Package, &[u8]), to: (&Package, &[u8]), delta: Vec<u8>| {
        let source = BoundFile::of(inner.hospital.path_of(from.0), from.1);
        let result = BoundFile::of(inner.hospital.path_of(to.0), to.1);
        let path = to.0.folder().path(&format!("{}.delta", to.0.post_revision)).unwrap();
        let custom = Release::Delta(Delta { format: DeltaFormat::Bsdiff, source, result });
        let author = inner.hospital.images.author("acme");
        author.files.insert(path.clone(), delta);
        author.customs.insert(path, serde_json::to_value(custom).unwrap());
        inner.direct_image(to.0, to.1);
        inner.push_directive();
    };
    let delta = wardlink_delta::make(&old, &new).unwrap();
    depot.with(|inner| release(inner, (&pump_package(), &old), (&next_package(), &new), delta));
    depot.installed("infusion-pump/p1", "1C").await;
    assert_eq!((asked_for(whole(&next_package())), depot.runs("infusion-pump/p2")), (0, Some(new.clone())));

    let last = Package {
        pre_revision: RevisionRange::single("1C".parse().unwrap()),
        post_revision: "1D".parse().unwrap(),
        release_counter: ReleaseCounter::new(4).unwrap(),
        ..pump_package()
    };
    depot.with(|inner| release(inner, (&next_package(), &new), (&last, &old), b"no delta".to_vec()));
    depot.installed("infusion-pump/p1", "1D").await;
    assert_eq!((asked_for(whole(&last)), depot.runs("infusion-pump/p1")), (1, Some(old)));
    gateway.until("the end of the round", |status| status.directive_done == status.directive_heard).await;
    assert_eq!(depot.cached().len(), 1);
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
    depot
        .until("two failures", |inner| {
            let failed = inner.outcomes.iter().filter(|told| matches!(&told.outcome, Outcome::Failed { .. }));
            (failed.count() == 2).then_some(())
        })
        .await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
}

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

/// Directs the pumps' update, encrypted to the gateway; the manufacturer's own is nowhere to be had.
fn direct_encrypted(inner: &mut Inner, change: impl FnOnce(&mut Vec<u8>)) {
    inner.has_no_images = true;
    inner.hospital.release(&pump_package());
    inner.hospital.images.bump();
    let image = image_of(&pump_package());
    let code = ContentCode::new([5; 16]);
    let mut encoder = Encoder::new(&code, [6; 16]).unwrap();
    let mut file = [encoder.push(&image).unwrap(), encoder.finish().unwrap()].concat();
    change(&mut file);
    let path = pump_package().folder().path("1B.enc").unwrap();
    let mut orders = inner.orders();
    let order = &mut orders[0];
    let of = Sealed {
        gateway: &gateway(),
        path: order.path.as_str(),
        sha256: order.target.hashes.0["sha256"].parse().unwrap(),
    };
    let key = inner.gateway_key.public();
    let sealed = seal_key(&code, &key, of, &mut wardlink_agent::clock::rng()).unwrap();
    order.encrypted = Some(Encrypted {
        gateway: gateway(),
        recipient: key.fingerprint().unwrap(),
        method: Encryption::Aes128Gcm,
        file: BoundFile::of(path.clone(), &file),
        key: SealedKey::new(sealed).unwrap(),
    });
    inner.added.insert(path.to_string(), file);
    inner.hospital.direct(&orders);
}

#[tokio::test]
async fn a_package_that_is_encrypted_to_the_gateway_is_decrypted_and_checked_as_ever() {
    let depot = Depot::open().await;
    depot.with(|inner| direct_encrypted(inner, |_| ()));
    let gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&pump_package())));
    gateway.stop().await;

    let depot = Depot::open().await;
    depot.with(|inner| direct_encrypted(inner, |file| *file.last_mut().unwrap() ^= 1));
    let gateway = depot.power(&[]);
    depot
        .until("two failures", |inner| {
            let failed = inner.outcomes.iter().filter(|told| matches!(&told.outcome, Outcome::Failed { .. }));
            (failed.count() == 2).then_some(())
        })
        .await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
}

/// Asks the status page.
async fn ask(address: std::net::SocketAddr, method: &str, path: &str, fields: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_page_shows_how_things_stand_and_only_its_own_buttons_work() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected).await;
    let folder = tempfile::tempdir().unwrap();
    let (coupling, _) = Line::try_parse_from(["gateway", "--secret-id", "a", "--secret", "AAECAwQFBgcICQoLDA0ODw"])
        .unwrap()
        .gateway
        .settings()
        .unwrap();
    let coupling = wardlink_agent::pump::settings::Settings { state: folder.path().join("state"), ..coupling };
    let (_pump, handle) = Pump::open(coupling, tokio::sync::mpsc::unbounded_channel().0).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shown = gateway.handle.clone();
    let serving = tokio::spawn(async move { page::serve(listener, shown, &handle).await });

    let page = ask(address, "GET", "/?lang=de", "").await;
    assert!(page.contains("infusion-pump/p1") && page.contains("verbunden"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(ask(address, "GET", "/status.json", "").await.contains("\"is_connected\":true"));
    assert!(ask(address, "GET", "/coupling", "").await.contains("display.js"));
    let pressed = |site: &'static str| ask(address, "POST", "/ask", site);
    assert!(pressed("Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n").await.starts_with("HTTP/1.1 403"));
    assert!(pressed("Content-Length: 0\r\n").await.starts_with("HTTP/1.1 403"));
    assert!(pressed("Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n").await.starts_with("HTTP/1.1 202"));
    depot.until("the word to look for updates", |inner| (inner.asked == 1).then_some(())).await;
    assert!(ask(address, "POST", "/confirm/../x", "Content-Length: 0\r\n").await.starts_with("HTTP/1.1 4"));
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, foreign.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    serving.abort();
    gateway.stop().await;
}

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

#[tokio::test]
async fn a_ticket_that_ends_is_replaced_by_the_next_sessions() {
    let depot = Depot::open().await;
    depot.with(|inner| inner.ticket_lasts = Duration::from_millis(500));
    let gateway = depot.power(&[]);
    depot.until("another session", |inner| (inner.sessions > 1).then_some(())).await;
    depot.direct(&pump_package());
    depot.installed("infusion-pump/p1", "1B").await;
    // One that the server has forgotten is not shown for long.
    depot.with(|inner| {
        inner.ticket_lasts = Duration::from_hours(1);
        inner.ticket = [8; 32];
        inner.direct(&next_package());
        inner.push_directive();
    });
    depot.installed("infusion-pump/p1", "1C").await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_verified_is_installed_while_the_server_is_away() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let busy = depot.device_folder("infusion-pump/p1").join("busy");
    std::fs::create_dir_all(busy.parent().unwrap()).unwrap();
    std::fs::write(&busy, "").unwrap();
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

//! Images: where they come from, and what may be wrong with them.

use crate::depot::{Depot, Inner, image_of, pumps};
use crate::next_package;
use std::fs;
use std::path::Path;
use wardlink_agent::gateway::Order;
use wardlink_test_repository::hospital::{gateway_package, pump_package};
use wardlink_update::package::{BoundFile, Delta, DeltaFormat, Package, Release, ReleaseCounter, RevisionRange};
use wardlink_update::uptane::Outcome;

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
async fn a_download_that_is_cut_off_goes_on_where_it_was() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.cut_after = Some(10));
    let mut gateway = depot.power(&[]);
    gateway.trouble("connection").await;
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p1", "1B").await;
    depot.with(|inner| assert_eq!(inner.asked_from(), [None, Some(10)]));
    gateway.stop().await;
}

/// What is on the stick is not what the manufacturer has signed.
fn spoil(depot: &Depot, stick: &Path) {
    for (name, _) in depot.with(|inner| inner.images()) {
        let file = stick.join("acme/targets").join(&name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, b"something else").unwrap();
    }
}

#[tokio::test]
async fn a_wrong_file_on_a_stick_leaves_what_a_download_has_brought() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let stick = depot.stick();
    spoil(&depot, &stick);
    depot.with(|inner| inner.cut_after = Some(10));
    let mut gateway = depot.power(&["--media", stick.to_str().unwrap()]);
    gateway.trouble("connection").await;
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p1", "1B").await;
    depot.with(|inner| assert_eq!(inner.asked_from(), [None, Some(10)]));
    gateway.stop().await;
}

#[tokio::test]
async fn a_mirror_that_answers_with_something_else_spoils_no_other_source() {
    for has_length in [true, false] {
        let depot = Depot::open().await;
        depot.direct(&pump_package());
        depot.with(|inner| inner.mirror_says = Some((b"<html>", has_length)));
        let mirror = format!("http://{}/mirror", depot.address);
        let gateway = depot.power(&["--mirror", &mirror]);
        depot.installed("infusion-pump/p1", "1B").await;
        depot.with(|inner| {
            assert!(inner.outcomes.iter().all(|told| told.outcome != Outcome::Corrupt));
            // What the mirror has said is no part of the image, or is found not to be.
            let expected: &[_] = if has_length { &[None, None] } else { &[None, Some(6), None] };
            assert_eq!(inner.asked_from(), expected);
        });
        gateway.stop().await;
    }
    // What the site has brought before stays.
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| (inner.cut_after, inner.mirror_says) = (Some(10), Some((&b"<html>"[..], true))));
    let mirror = format!("http://{}/mirror", depot.address);
    let gateway = depot.power(&["--mirror", &mirror]);
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(|inner| assert_eq!(inner.asked_from(), [None, None, Some(10), Some(10)]));
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
    let images = |inner: &mut Inner| inner.requests.iter().filter(|of| of.path.contains("/targets/")).count();
    let rounds = |inner: &mut Inner| inner.requests.iter().filter(|of| of.path.ends_with("timestamp.json")).count();
    let (before, looked) = (depot.with(images), depot.with(rounds));
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.until("another round", |inner| (rounds(inner) > looked).then_some(())).await;
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.until("the end of that round", |inner| (rounds(inner) > looked + 2).then_some(())).await;
    assert_eq!(depot.with(images), before, "it is asked for too early");
    depot.with(|inner| inner.corrupt = false);
    depot.direct_anew().await;
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
    // The stick has another file: the mirror has it.
    depot.direct(&next_package());
    spoil(&depot, &stick);
    let gateway = depot.power(&["--media", stick.to_str().unwrap(), "--mirror", &mirror]);
    depot.installed("infusion-pump/p1", "1C").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&next_package())));
    gateway.stop().await;
}

/// Directs what matches to one device alone.
fn direct_to(inner: &mut Inner, device: &str) {
    let mut orders = inner.orders();
    for order in &mut orders {
        order.assignments.retain(|of| of.device.to_string() == device);
    }
    inner.hospital.direct(&orders);
}

fn publish(inner: &mut Inner, package: &Package) {
    inner.hospital.release(package);
    inner.hospital.images.bump();
}

#[tokio::test]
async fn the_next_device_of_a_model_takes_what_was_fetched_for_the_first() {
    let depot = Depot::open().await;
    let images = |inner: &mut Inner| inner.requests.iter().filter(|of| of.path.contains("/targets/")).count();
    depot.configure(&["infusion-pump/p1"]);
    depot.with(|inner| {
        publish(inner, &pump_package());
        direct_to(inner, "infusion-pump/p1");
    });
    let gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.stop().await;
    // The first one is here no longer, and another one has come with something older, to which nothing is directed yet.
    depot.configure(&["infusion-pump/p2"]);
    let version = depot.with(|inner| {
        inner.hospital.direct(&[]);
        inner.hospital.version
    });
    let mut gateway = depot.power(&[]);
    gateway.until("the end of a round", |status| status.directive_done == version).await;
    assert_eq!((depot.cached().len(), depot.with(images)), (1, 1));
    depot.with(|inner| {
        direct_to(inner, "infusion-pump/p2");
        inner.push_directive();
    });
    depot.installed("infusion-pump/p2", "1B").await;
    assert_eq!(depot.with(images), 1, "it is not fetched again");
    // Nobody is left who runs something older: what is replaced goes.
    let version = depot.with(|inner| {
        publish(inner, &next_package());
        direct_to(inner, "infusion-pump/p2");
        inner.push_directive();
        inner.hospital.version
    });
    depot.installed("infusion-pump/p2", "1C").await;
    gateway.until("the end of the round", |status| status.directive_done == version).await;
    assert_eq!((depot.cached().len(), depot.with(images)), (1, 2));
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

#[tokio::test]
async fn a_package_that_is_encrypted_to_the_gateway_is_decrypted_and_checked_as_ever() {
    let depot = Depot::open().await;
    depot.with(|inner| inner.direct_encrypted(&inner.gateway_key.public(), |_| ()));
    let gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&pump_package())));
    gateway.stop().await;

    let depot = Depot::open().await;
    depot.with(|inner| inner.direct_encrypted(&inner.gateway_key.public(), |file| *file.last_mut().unwrap() ^= 1));
    let gateway = depot.power(&[]);
    depot.both_failed().await;
    assert_eq!(depot.runs("infusion-pump/p1"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn names_of_makers_and_models_may_have_spaces_and_signs() {
    let maker = |package: Package| Package { manufacturer: "Acme Inc+Co".parse().unwrap(), ..package };
    let pump = |package: Package| Package { model: "PM 2+b".parse().unwrap(), ..maker(package) };
    let depot = Depot::open().await;
    depot.made_by(&pump(pump_package()), &maker(gateway_package()));
    depot.direct(&pump(pump_package()));
    let gateway = depot.power(&[]);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    gateway.stop().await;
    // The same from a stick, as the release tool exports it, and from a mirror.
    depot.with(|inner| inner.has_no_images = true);
    depot.direct(&pump(next_package()));
    let stick = depot.stick();
    let gateway = depot.power(&["--media", stick.to_str().unwrap()]);
    depot.installed("infusion-pump/p1", "1C").await;
    depot.installed("infusion-pump/p2", "1C").await;
    gateway.stop().await;
    let last = Package {
        pre_revision: RevisionRange::single("1C".parse().unwrap()),
        post_revision: "1D".parse().unwrap(),
        release_counter: ReleaseCounter::new(4).unwrap(),
        ..pump(pump_package())
    };
    depot.direct(&last);
    let mirror = format!("http://{}/mirror", depot.address);
    let gateway = depot.power(&["--mirror", &mirror]);
    depot.installed("infusion-pump/p1", "1D").await;
    assert_eq!(depot.runs("infusion-pump/p1"), Some(image_of(&last)));
    gateway.stop().await;
}

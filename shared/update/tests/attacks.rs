//! The frozen attacks: each is refused at its step, and the file that was trusted before stays.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use wardlink_test_repository::attacks::ATTACKS;
use wardlink_test_repository::device_attacks::{DELIVERED, DEVICE_ATTACKS, ROTATION_ATTACKS};
use wardlink_test_repository::frozen::{
    Frozen, Listed, Refusal, Rotation, expected, read_delivered, read_device, read_gateway, trusted,
};
use wardlink_test_repository::gateway_attacks::GATEWAY_ATTACKS;
use wardlink_test_repository::hospital::pump_package;
use wardlink_update::uptane::{Delivery, Handed, follow_delegation, follow_roots, partial};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attacks")
}

#[test]
fn every_frozen_attack_is_refused_at_its_step_and_earlier_metadata_is_kept() {
    for attack in ATTACKS {
        let mut frozen = Frozen::read(&folder().join(attack.name)).unwrap();
        assert_eq!(frozen.expected, expected(&attack), "{}", attack.name);
        let before = trusted(&frozen.disk);
        let refusal = frozen.disk.find(&mut frozen.repository, &frozen.expected.target).unwrap_err();
        assert_eq!((refusal.step.0, refusal.file.as_str()), (attack.step, attack.file), "{}: {refusal}", attack.name);
        let after = trusted(&frozen.disk);
        // Step 5.3.8 stores a root before 5.3.10 asks for its time; 5.3.11 deletes what a revoked key signed.
        let is_changed = matches!(attack.name, "root-expired" | "timestamp-of-a-revoked-key");
        assert_eq!(before.get(attack.file) != after.get(attack.file), is_changed, "{}", attack.name);
    }
}

#[test]
fn every_folder_belongs_to_an_attack() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name();
        let on_clients = ATTACKS.iter().map(|attack| attack.name);
        let on_gateways = GATEWAY_ATTACKS.iter().map(|attack| attack.name);
        let on_devices = DEVICE_ATTACKS.iter().map(|attack| attack.name);
        let images = DELIVERED.iter().map(|delivered| delivered.name);
        let on_rotations = ROTATION_ATTACKS.iter().map(|attack| attack.name);
        let all = on_clients.chain(on_gateways).chain(on_devices).chain(on_rotations).chain(images);
        let mut all = all;
        assert!(all.any(|known| name == known), "{name:?}");
    }
}

/// The steps of TUF's workflow that refuse a file. 5.7.2 and 5.7.3 are the client's command's, in its own tests.
const TUF_STEPS: [&str; 21] = [
    "5.3.3", "5.3.4", "5.3.5", "5.3.10", "5.4.1", "5.4.2", "5.4.3.1", "5.4.3.2", "5.4.4", "5.5.1", "5.5.2", "5.5.3",
    "5.5.4", "5.5.5", "5.5.6", "5.6.1", "5.6.2", "5.6.3", "5.6.4", "5.6.5", "5.6.7.1",
];
/// Uptane's. 5.4.3.3 step 4 is that of a device that trusts the manufacturer alone, and 5.4.3.4 step 7 the image's own.
const UPTANE_STEPS: [&str; 27] = [
    "5.4.4.2 step 2",
    "5.4.4.2 step 3",
    "5.4.4.2 step 4",
    "5.4.4.2 step 5",
    "5.4.4.2 step 6",
    "5.4.4.2 step 7",
    "5.4.4.2 step 8",
    "5.4.4.2 step 9",
    "5.4.4.2 step 10",
    "5.4.4.2 step 10.1",
    "5.4.4.2 step 10.2.1",
    "5.4.4.2 step 10.2.2",
    "5.4.4.6 step 1",
    "5.4.4.6 step 3",
    "5.4.4.6 step 4",
    "5.4.4.6 step 5",
    "5.4.4.6 step 6",
    "5.4.4.6 step 7",
    "5.4.4.6 step 8",
    "5.4.4.7",
    "5.4.3.4 step 1",
    "5.4.3.4 step 2",
    "5.4.3.4 step 3",
    "5.4.3.4 step 4",
    "5.4.3.4 step 5",
    "5.4.3.4 step 6",
    "5.2.3.1",
];

#[test]
fn every_step_that_refuses_has_a_frozen_attack() {
    let tuf: BTreeSet<_> = ATTACKS.iter().map(|attack| attack.step).collect();
    assert_eq!(tuf, TUF_STEPS.into());
    let on_gateways = GATEWAY_ATTACKS.iter().map(|attack| attack.step);
    let on_devices = DEVICE_ATTACKS.iter().map(|attack| attack.step);
    let on_rotations = ROTATION_ATTACKS.iter().map(|attack| attack.step);
    let uptane: BTreeSet<_> = on_gateways.chain(on_devices).chain(on_rotations).collect();
    assert_eq!(uptane, UPTANE_STEPS.into());
}

#[test]
fn the_attacks_are_what_their_makers_make() {
    for attack in ATTACKS {
        let frozen = Frozen::read(&folder().join(attack.name)).unwrap();
        let (disk, repository) = attack.make();
        assert!(frozen.disk.0 == disk.0, "{}", attack.name);
        assert!(frozen.repository.files == repository.files, "{}", attack.name);
    }
}

#[test]
fn every_frozen_attack_on_a_gateway_is_refused_at_its_step() {
    for attack in GATEWAY_ATTACKS {
        let (expected, mut frozen) = read_gateway(&folder().join(attack.name)).unwrap();
        assert_eq!(expected, Refusal::at(attack.step, attack.repository), "{}", attack.name);
        let made = attack.make();
        assert_eq!(frozen.bound.present, made.bound.present, "{}", attack.name);
        assert!(frozen.known_director.0 == made.known_director.0, "{}", attack.name);
        assert!(frozen.known_images.0 == made.known_images.0, "{}", attack.name);
        assert!(frozen.director.files == made.director.files, "{}", attack.name);
        assert!(frozen.images.files == made.images.files, "{}", attack.name);
        let refused = frozen.run().expect_err(attack.name);
        assert_eq!((refused.step.0, refused.repository.to_string()), (attack.step, attack.repository.to_owned()));
    }
}

#[test]
fn every_frozen_attack_on_a_device_is_refused_at_its_step() {
    for attack in DEVICE_ATTACKS {
        let (expected, frozen) = read_device(&folder().join(attack.name)).unwrap();
        assert_eq!(expected, Refusal::at(attack.step, attack.repository), "{}", attack.name);
        let made = attack.make();
        assert!(frozen.server == made.server && frozen.manufacturer == made.manufacturer, "{}", attack.name);
        assert_eq!((&frozen.state, &frozen.provisioned, frozen.seen), (&made.state, &made.provisioned, made.seen));
        let (server, manufacturer) = (frozen.server.as_deref(), frozen.manufacturer.as_deref());
        let handed = Handed { server, manufacturer, path: None };
        let refused = partial(&frozen.provisioned, frozen.seen, &frozen.state, &handed, expected.now);
        let refused = refused.expect_err(attack.name);
        assert_eq!((refused.step.0, refused.repository.to_string()), (attack.step, attack.repository.to_owned()));
    }
}

#[test]
fn every_frozen_attack_on_a_rotation_is_refused_at_its_step() {
    for attack in ROTATION_ATTACKS {
        let (expected, frozen) = Rotation::read(&folder().join(attack.name)).unwrap();
        assert_eq!(expected, Refusal::at(attack.step, "images of acme"), "{}", attack.name);
        assert_eq!(frozen, Rotation::of(&attack), "{}", attack.name);
        let (_, delegator) = follow_roots(frozen.root, Vec::new(), expected.now).unwrap();
        let model = pump_package().folder();
        let followed =
            follow_delegation(&frozen.provisioned, frozen.seen, &model, &delegator, &frozen.targets, expected.now);
        assert_eq!(followed.expect_err(attack.name).step.0, attack.step, "{}", attack.name);
    }
}

#[test]
fn every_frozen_image_is_corrupt_in_its_way() {
    for delivered in DELIVERED {
        let (listed, bytes) = read_delivered(&folder().join(delivered.name)).unwrap();
        assert_eq!((&listed, &bytes), (&Listed::but(delivered.corrupt), &delivered.make()), "{}", delivered.name);
        let mut delivery = Delivery::new(&listed.target);
        let taken = bytes.chunks(16).try_for_each(|chunk| delivery.take(chunk));
        assert_eq!(taken.and_then(|()| delivery.finish()), Err(delivered.corrupt), "{}", delivered.name);
    }
}

//! Partial verification.

use wardlink_test_repository::device_attacks::{Bedside, DELIVERED, DEVICE_ATTACKS, Delivered};
use wardlink_test_repository::hospital::{Hospital, SERVER_KEY, atomic_pair, image, pump_package};
use wardlink_test_repository::{NOW, role};
use wardlink_update::limits::MAX_TARGETS_BYTES;
use wardlink_update::metadata::{Hashes, Target, TargetPath};
use wardlink_update::package::ReleaseCounter;
use wardlink_update::uptane::{
    Accepted, Attack, Cause, Corrupt, Delivery, Handed, HandedOn, Provisioned, Refused, Seen, Trust, partial,
};

fn verify_offer(bedside: &Bedside, path: Option<&TargetPath>) -> Result<Accepted, Refused> {
    let handed = Handed { server: bedside.server.as_deref(), manufacturer: bedside.manufacturer.as_deref(), path };
    partial(&bedside.provisioned, bedside.seen, &bedside.state, &handed, NOW)
}

fn verify(bedside: &Bedside) -> Result<Accepted, Refused> {
    verify_offer(bedside, None)
}

/// A hospital whose pumps are given their update, and the first of them.
fn offered(trust: Trust) -> (Hospital, Bedside) {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    let mut bedside = Bedside::of(&hospital);
    bedside.provisioned = hospital.provisioned(trust);
    (hospital, bedside)
}

#[test]
fn every_attack_is_refused_at_its_step() {
    for attack in DEVICE_ATTACKS {
        let refused = verify(&attack.make()).expect_err(attack.name);
        let found = (refused.step.0, refused.repository.to_string());
        assert_eq!(found, (attack.step, attack.repository.to_owned()), "{}: {refused}", attack.name);
    }
}

#[test]
fn a_device_installs_what_server_and_manufacturer_agree_on() {
    let (_, bedside) = offered(Trust::Both);
    let accepted = verify(&bedside).unwrap();
    let install = accepted.install.unwrap();
    assert_eq!((install.device, install.package), (bedside.state.characteristics.device.clone(), pump_package()));
    assert_eq!(accepted.seen, bedside.seen);
}

#[test]
fn what_a_gateway_hands_on_is_what_its_devices_accept() {
    let (mut hospital, bedside) = offered(Trust::Both);
    let (full, transactions) = hospital.verify().unwrap();
    for install in transactions.iter().flat_map(|transaction| &transaction.installs) {
        let HandedOn { server, manufacturer, delegator } = full.handed_on(install).unwrap();
        assert_eq!(delegator, hospital.known_images.0.targets[&role("targets")]);
        let handed = Handed { server: Some(server), manufacturer: Some(manufacturer), path: None };
        let state = hospital.bound.present.iter().find(|state| state.characteristics.device == install.device).unwrap();
        let accepted = partial(&bedside.provisioned, bedside.seen, state, &handed, NOW).unwrap().install.unwrap();
        assert_eq!(accepted, *install);
    }
    // Nothing is handed on that was not verified.
    let mut other = transactions[0].installs[0].clone();
    other.path = pump_package().folder().path("evil.bin").unwrap();
    assert_eq!(full.handed_on(&other), None);
}

#[test]
fn versions_that_were_seen_are_to_be_stored() {
    let (_, mut bedside) = offered(Trust::Both);
    let newest = bedside.seen;
    bedside.seen = Seen::default();
    assert_eq!(verify(&bedside).unwrap().seen, newest);
}

#[test]
fn who_is_provisioned_with_nothing_else_asks_for_the_manufacturer() {
    assert_eq!(Trust::default(), Trust::Both);
    let (_, bedside) = offered(Trust::Both);
    let mut json = serde_json::to_value(&bedside.provisioned).unwrap();
    json.as_object_mut().unwrap().remove("trust").unwrap();
    assert_eq!(serde_json::from_value::<Provisioned>(json).unwrap(), bedside.provisioned);
    let without = Bedside { manufacturer: None, ..bedside };
    assert_eq!(*verify(&without).unwrap_err().cause, Cause::Missing);
}

#[test]
fn a_source_without_provisioned_keys_is_trusted_by_nobody() {
    for trust in [Trust::Both, Trust::Server] {
        let (_, mut bedside) = offered(trust);
        bedside.provisioned.server = None;
        assert_eq!(*verify(&bedside).unwrap_err().cause, Cause::Signatures);
    }
    let (_, mut bedside) = offered(Trust::Both);
    bedside.provisioned.signer = None;
    assert_eq!(*verify(&bedside).unwrap_err().cause, Cause::Signatures);
}

#[test]
fn a_stolen_server_key_installs_only_where_the_server_alone_is_trusted() {
    let forge = |trust| {
        let (mut hospital, mut bedside) = offered(trust);
        let hash = Hashes::of(b"an evil program").0["sha256"].clone();
        hospital.direct_forged_order(|order| order["hashes"]["sha256"] = hash.into());
        bedside.server = Some(hospital.handed_server());
        verify(&bedside)
    };
    assert_eq!(forge(Trust::Both).unwrap_err().attack(), Some(Attack::MixAndMatch));
    assert!(forge(Trust::Server).unwrap().install.is_some());
    // Where the manufacturer alone is trusted, nobody even reads it.
    let (_, bedside) = offered(Trust::Manufacturer);
    let path = pump_package().folder().path("1B-2.bin").unwrap();
    let garbage = Bedside { server: Some(b"garbage".to_vec()), ..bedside };
    assert!(verify_offer(&garbage, Some(&path)).unwrap().install.is_some());
}

#[test]
fn a_stolen_manufacturer_key_alone_installs_nothing() {
    let mut hospital = Hospital::new();
    hospital.direct(&[]);
    let bedside = Bedside::of(&hospital);
    assert_eq!(verify(&bedside).unwrap().install, None);
}

#[test]
fn a_device_that_has_it_already_does_nothing() {
    let (_, mut bedside) = offered(Trust::Both);
    bedside.state.characteristics.revision = "1B".parse().unwrap();
    bedside.state.release_counter = ReleaseCounter::new(2);
    assert_eq!(verify(&bedside).unwrap().install, None);
}

#[test]
fn the_manufacturer_alone_is_asked_for_the_offered_package() {
    let (mut hospital, bedside) = offered(Trust::Manufacturer);
    let folder = pump_package().folder();
    let path = folder.path("1B-2.bin").unwrap();
    let refused = |bedside: &Bedside, path: Option<&TargetPath>| {
        let refused = verify_offer(bedside, path).unwrap_err();
        assert_eq!(refused.repository.to_string(), "images of acme");
        refused.step.0
    };
    assert_eq!(verify_offer(&bedside, Some(&path)).unwrap().install.unwrap().package, pump_package());
    assert_eq!(refused(&bedside, None), "5.4.3.3 step 4");
    assert_eq!(refused(&bedside, Some(&folder.path("none.bin").unwrap())), "5.4.4.2 step 10.1");
    let mut other = bedside.clone();
    other.state.characteristics.model = "PM3".parse().unwrap();
    assert_eq!(refused(&other, Some(&path)), "5.4.3.4 step 4");
    let mut older = bedside.clone();
    older.state.release_counter = ReleaseCounter::new(3);
    assert_eq!(refused(&older, Some(&path)), "5.4.3.4 step 5");
    let mut recalled = pump_package();
    recalled.recalled = Some(wardlink_update::package::Recall { reason: "it stops too early".parse().unwrap() });
    hospital.release(&recalled);
    hospital.images.bump();
    let recalled = Bedside { manufacturer: Some(hospital.handed_manufacturer()), ..bedside.clone() };
    assert_eq!(refused(&recalled, Some(&path)), "5.4.3.4 step 1");
    // A member of a set needs a director who sees the others.
    let [pump, _] = atomic_pair();
    hospital.release(&pump);
    hospital.images.bump();
    let member = Bedside { manufacturer: Some(hospital.handed_manufacturer()), ..bedside.clone() };
    assert_eq!(refused(&member, Some(&path)), "5.4.4.2 step 10");
    // A delta is no package, and another manufacturer's is not ours.
    hospital.release_delta(&pump_package());
    hospital.release(&pump_package());
    hospital.images.bump();
    let delta = Bedside { manufacturer: Some(hospital.handed_manufacturer()), ..bedside.clone() };
    assert_eq!(refused(&delta, Some(&folder.path("1A-1B.delta").unwrap())), "5.4.3.3 step 4");
    let mut stranger = bedside;
    stranger.provisioned.manufacturer = "other".parse().unwrap();
    let refused = verify_offer(&stranger, Some(&path)).unwrap_err();
    assert_eq!((refused.step.0, refused.repository.to_string()), ("5.4.3.4 step 4", "images of other".to_owned()));
}

#[test]
fn metadata_without_end_is_not_read() {
    let long = vec![b' '; usize::try_from(MAX_TARGETS_BYTES).unwrap() + 1];
    let (_, bedside) = offered(Trust::Both);
    let server = Bedside { server: Some(long.clone()), ..bedside.clone() };
    let manufacturer = Bedside { manufacturer: Some(long), ..bedside };
    for endless in [server, manufacturer] {
        let refused = verify(&endless).unwrap_err();
        assert_eq!((refused.step.0, refused.attack()), ("5.4.4.6 step 1", Some(Attack::EndlessData)));
    }
}

#[test]
fn what_nobody_signed_is_not_even_interpreted() {
    let (mut hospital, bedside) = offered(Trust::Both);
    hospital.direct_forged(&[], |signed| signed["delegations"] = serde_json::json!({}));
    let mut draft = wardlink_update::metadata::Draft::parse(&hospital.handed_server()).unwrap();
    draft.sign(wardlink_test_repository::public(SERVER_KEY).id(), &wardlink_test_repository::key(9));
    let forged = Bedside { server: Some(draft.to_bytes()), ..bedside };
    assert_eq!(*verify(&forged).unwrap_err().cause, Cause::Signatures);
}

#[test]
fn what_is_no_metadata_is_refused() {
    let (_, bedside) = offered(Trust::Both);
    for garbage in [&b""[..], b"{}", b"[[[[", b"{\"signed\":{},\"signed\":{}}"] {
        let server = Bedside { server: Some(garbage.to_vec()), ..bedside.clone() };
        assert_eq!(verify(&server).unwrap_err().step.0, "5.4.4.6 step 3");
        let manufacturer = Bedside { manufacturer: Some(garbage.to_vec()), ..bedside.clone() };
        assert_eq!(verify(&manufacturer).unwrap_err().step.0, "5.4.4.6 step 3");
    }
}

fn deliver(target: &Target, bytes: &[u8]) -> Result<(), Corrupt> {
    let mut delivery = Delivery::new(target);
    bytes.chunks(7).try_for_each(|chunk| delivery.take(chunk))?;
    delivery.finish()
}

#[test]
fn an_image_that_is_not_the_listed_one_is_corrupt() {
    let bytes = image(&pump_package());
    let target = Target { length: bytes.len().try_into().unwrap(), hashes: Hashes::of(&bytes), custom: None };
    assert_eq!(deliver(&target, &bytes), Ok(()));
    for Delivered { name, corrupt, .. } in DELIVERED {
        let delivered = DELIVERED.iter().find(|other| other.name == name).unwrap().make();
        assert_eq!(deliver(&target, &delivered), Err(corrupt), "{name}");
    }
    assert_eq!(Delivery::new(&target).left(), target.length);
}

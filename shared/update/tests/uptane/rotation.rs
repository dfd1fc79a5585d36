//! Keys that are rotated, as a device in partial verification learns them.

use wardlink_test_repository::device_attacks::{Bedside, ROTATION_ATTACKS};
use wardlink_test_repository::hospital::{Hospital, MANUFACTURER_KEY, SERVER_KEY, pump_package};
use wardlink_test_repository::{NOW, Repository, keys_of, known};
use wardlink_update::client::Command;
use wardlink_update::limits::MAX_TARGETS_BYTES;
use wardlink_update::uptane::{
    Accepted, Cause, Delegated, Handed, Provisioned, Refused, Rotated, Seen, Source, Trust, follow_delegation,
    follow_roots, partial,
};

/// The key that the manufacturer's role has next.
const NEXT_KEY: u8 = 41;

fn source(numbers: &[u8], threshold: usize) -> Source {
    Source { role: keys_of(numbers, threshold), keys: known(numbers.iter().copied()) }
}

fn follow(hospital: &Hospital, bedside: &Bedside) -> Result<Rotated, Refused> {
    let (_, delegator) = follow_roots(hospital.images.root(), Vec::new(), NOW).unwrap();
    let model = pump_package().folder();
    follow_delegation(&bedside.provisioned, bedside.seen, &model, &delegator, &hospital.handed_delegator(), NOW)
}

fn verify(bedside: &Bedside) -> Result<Accepted, Refused> {
    let handed =
        Handed { server: bedside.server.as_deref(), manufacturer: bedside.manufacturer.as_deref(), path: None };
    partial(&bedside.provisioned, bedside.seen, &bedside.state, &handed, NOW)
}

/// The manufacturer's role has these keys from now on, and signs with them.
fn rotate(hospital: &mut Hospital, keys: &[u8], threshold: usize) {
    hospital.images.redelegate("acme", keys, threshold);
    hospital.images.author("acme").version += 1;
    hospital.images.bump();
}

/// A hospital whose pumps are given their update, and the first of them.
fn offered() -> (Hospital, Bedside) {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    let bedside = Bedside::of(&hospital);
    (hospital, bedside)
}

#[test]
fn a_device_follows_the_rotated_keys_of_its_manufacturers_role() {
    let (mut hospital, mut bedside) = offered();
    let before = bedside.manufacturer.clone();
    rotate(&mut hospital, &[NEXT_KEY], 1);
    bedside.manufacturer = Some(hospital.handed_manufacturer());
    assert_eq!(*verify(&bedside).unwrap_err().cause, Cause::Signatures);

    let rotated = follow(&hospital, &bedside).unwrap();
    assert_eq!(rotated.provisioned.signer, Some(source(&[NEXT_KEY], 1)));
    let delegated = Delegated { version: hospital.images.author("targets").version, by: source(&[4], 1) };
    assert_eq!(rotated.provisioned.delegated, Some(delegated));
    (bedside.provisioned, bedside.seen) = (rotated.provisioned.clone(), rotated.seen);
    assert!(verify(&bedside).unwrap().install.is_some());
    // The same again changes nothing, and what the old key signed counts no more.
    assert_eq!(follow(&hospital, &bedside).unwrap(), rotated);
    bedside.manufacturer = before;
    assert_eq!(*verify(&bedside).unwrap_err().cause, Cause::Signatures);
}

#[test]
fn a_gateway_goes_on_with_the_rotated_keys_too() {
    let (mut hospital, _) = offered();
    rotate(&mut hospital, &[NEXT_KEY], 1);
    assert_eq!(hospital.run().unwrap().len(), 2);
}

#[test]
fn keys_never_come_back_by_older_metadata() {
    let (mut hospital, mut bedside) = offered();
    let older = hospital.handed_delegator();
    rotate(&mut hospital, &[NEXT_KEY], 1);
    bedside.provisioned = follow(&hospital, &bedside).unwrap().provisioned;
    let (_, delegator) = follow_roots(hospital.images.root(), Vec::new(), NOW).unwrap();
    let model = pump_package().folder();
    let again = follow_delegation(&bedside.provisioned, bedside.seen, &model, &delegator, &older, NOW);
    assert_eq!(again.unwrap_err().step.0, "5.4.4.6 step 4");
    // Nor does one that was never told a version follow anything.
    let untold = Provisioned { delegated: None, ..bedside.provisioned };
    let refused = follow_delegation(&untold, bedside.seen, &model, &delegator, &older, NOW).unwrap_err();
    assert_eq!((refused.step.0, *refused.cause), ("5.4.4.6 step 4", Cause::Missing));
}

#[test]
fn a_role_that_is_trusted_no_more_has_no_keys_until_it_is_trusted_again() {
    let (mut hospital, mut bedside) = offered();
    let delegation = hospital.images.author("targets").delegations.remove(0);
    hospital.images.bump();
    let rotated = follow(&hospital, &bedside).unwrap();
    assert_eq!((&rotated.provisioned.signer, rotated.seen), (&None, bedside.seen));
    bedside.provisioned = rotated.provisioned;
    assert_eq!(*verify(&bedside).unwrap_err().cause, Cause::Signatures);
    hospital.images.author("targets").delegations.push(delegation);
    hospital.images.bump();
    let rotated = follow(&hospital, &bedside).unwrap();
    assert_eq!(rotated.seen, bedside.seen);
    bedside.provisioned = rotated.provisioned;
    assert!(verify(&bedside).unwrap().install.is_some());
    // A role that is trusted for another model is not trusted for this one.
    let patterns = ["acme/infusion-pump/PM3/*"];
    hospital.images.author("targets").delegations.clear();
    hospital.images.delegate_all("targets", "acme", MANUFACTURER_KEY, &patterns, true);
    hospital.images.bump();
    assert_eq!(follow(&hospital, &bedside).unwrap().provisioned.signer, None);
}

#[test]
fn versions_begin_anew_only_where_nothing_that_was_seen_can_come_back() {
    let (_, bedside) = offered();
    let provisioned = |numbers: &[u8], threshold| Provisioned {
        signer: Some(source(numbers, threshold)),
        server: Some(source(numbers, threshold)),
        ..bedside.provisioned.clone()
    };
    let seen = Seen { server: u64::MAX, manufacturer: u64::MAX };
    let cases = [
        (&[1][..], &[2][..], 1, 0),
        (&[1], &[1, 2], 1, u64::MAX),
        (&[1, 2], &[2], 1, u64::MAX),
        (&[1, 2], &[2, 3], 2, 0),
        (&[1, 2, 3], &[2, 3, 4], 2, u64::MAX),
        (&[1, 2], &[1, 2], 2, u64::MAX),
    ];
    for (old, new, threshold, least) in cases {
        let (old, new) = (provisioned(old, threshold), source(new, threshold));
        let of_signer = Rotated::signer(&old, seen, new.clone());
        assert_eq!(of_signer.seen, Seen { manufacturer: least, ..seen }, "{old:?} {new:?}");
        assert_eq!(of_signer.provisioned, Provisioned { signer: Some(new.clone()), ..old.clone() });
        let of_server = Rotated::server(&old, seen, new.clone());
        assert_eq!(of_server.seen, Seen { server: least, ..seen }, "{old:?} {new:?}");
        assert_eq!(of_server.provisioned, Provisioned { server: Some(new), ..old });
    }
}

#[test]
fn a_thief_of_the_delegators_key_locks_nobody_out_once_root_names_another_one() {
    let (mut hospital, mut bedside) = offered();
    let first = hospital.images.root();
    hospital.images.redelegate("acme", &[SERVER_KEY], 1);
    hospital.images.author("targets").version = 1_000_000_000_000;
    hospital.images.bump();
    let rotated = follow(&hospital, &bedside).unwrap();
    (bedside.provisioned, bedside.seen) = (rotated.provisioned, rotated.seen);
    // Root takes the key away; the next versions are small ones again.
    hospital.images.keys.push(NEXT_KEY);
    hospital.images.roles.targets = keys_of(&[NEXT_KEY], 1);
    hospital.images.bump_root();
    hospital.images.author("targets").signers = vec![NEXT_KEY];
    hospital.images.author("targets").version = 7;
    hospital.images.redelegate("acme", &[MANUFACTURER_KEY], 1);
    hospital.images.bump();
    // Without the newer root nothing of it counts.
    assert_eq!(follow(&hospital, &bedside).unwrap_err().step.0, "5.4.4.6 step 3");
    let newer = vec![hospital.images.files["2.root.json"].clone()];
    let (_, delegator) = follow_roots(first, newer, NOW).unwrap();
    let (model, targets) = (pump_package().folder(), hospital.handed_delegator());
    let followed = follow_delegation(&bedside.provisioned, bedside.seen, &model, &delegator, &targets, NOW).unwrap();
    assert_eq!(followed.provisioned.signer, Some(source(&[MANUFACTURER_KEY], 1)));
    assert_eq!(followed.provisioned.delegated, Some(Delegated { version: 8, by: source(&[NEXT_KEY], 1) }));
}

#[test]
fn every_attack_on_a_rotation_is_refused_at_its_step() {
    for attack in ROTATION_ATTACKS {
        let (hospital, bedside) = attack.make();
        let refused = follow(&hospital, &bedside).expect_err(attack.name);
        let found = (refused.step.0, refused.repository.to_string());
        assert_eq!(found, (attack.step, "images of acme".to_owned()), "{}: {refused}", attack.name);
    }
}

#[test]
fn a_delegator_without_end_is_not_read() {
    let (_, bedside) = offered();
    let long = vec![b' '; usize::try_from(MAX_TARGETS_BYTES).unwrap() + 1];
    let (delegator, model) = (source(&[4], 1), pump_package().folder());
    let refused = follow_delegation(&bedside.provisioned, bedside.seen, &model, &delegator, &long, NOW).unwrap_err();
    assert_eq!((refused.step.0, *refused.cause), ("5.4.4.6 step 1", Cause::TooLong));
}

#[test]
fn a_device_follows_rotated_keys_of_the_server() {
    let mut director = Repository::with_keys([11, 12, 12, 12]);
    let first = director.root();
    director.keys.push(13);
    director.roles.targets = keys_of(&[13], 1);
    director.root_signers = vec![11];
    director.bump_root();
    let second = director.files["2.root.json"].clone();
    let (commands, followed) = follow_roots(first.clone(), vec![second.clone()], NOW).unwrap();
    assert!(matches!(commands.as_slice(), [Command::Store(_, stored)] if *stored == second));
    assert_eq!(followed, source(&[13], 1));
    let (commands, followed) = follow_roots(first.clone(), Vec::new(), NOW).unwrap();
    assert_eq!((commands, followed), (vec![], source(&[SERVER_KEY], 1)));
    director.root_signers = vec![12];
    director.bump_root();
    let forged = director.files["3.root.json"].clone();
    assert_eq!(follow_roots(first, vec![second, forged], NOW).map(drop).unwrap_err().step.0, "5.3.4");
}

#[test]
fn the_keys_of_a_root_are_a_source() {
    let hospital = Hospital::new();
    let root = wardlink_update::metadata::Signed::parse(&hospital.director.root()).unwrap().role;
    assert_eq!(Some(Source::of(&root)), hospital.provisioned(Trust::Both).server);
}

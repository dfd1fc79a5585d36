#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::device::factory::{FACTORY_VERSION, Factory};
use serde_bytes::ByteBuf;
use wardlink_test_repository::hospital::{DIRECTOR_ROOT_KEY, Hospital, SERVER_KEY, device, manufacturer};
use wardlink_test_repository::{NOW, keys_of, public};
use wardlink_update::key::KeyId;

fn trusted(hospital: &Hospital, trust: Trust) -> Trusted {
    let json = |bytes: &[u8]| Some(serde_json::from_slice(bytes).unwrap());
    factory(trust, json(&hospital.images.root()), json(&hospital.handed_delegator())).trusted().unwrap()
}

fn factory(trust: Trust, root: Option<serde_json::Value>, targets: Option<serde_json::Value>) -> Factory {
    let (device_type, model) = ("infusion-pump".parse().unwrap(), "PM2".parse().unwrap());
    Factory { version: FACTORY_VERSION, trust, manufacturer: manufacturer(), device_type, model, root, targets }
}

fn model() -> ModelFolder {
    factory(Trust::Both, None, None).folder()
}

fn given(root: Vec<u8>, issued_at: u64) -> DirectorRoot {
    let issued_at = UnixMillis::from_secs(issued_at);
    DirectorRoot { device: device("infusion-pump/p1"), issued_at, root: ByteBuf::from(root) }
}

fn key_ids(source: Option<&Source>) -> Vec<KeyId> {
    source.map(|source| source.keys.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn a_director_is_taken_once_and_never_replaced_by_an_older_word() {
    let hospital = Hospital::new();
    let fresh = trusted(&hospital, Trust::Both);
    let root = hospital.director.root();
    let known = fresh.directed_by(&given(root.clone(), NOW)).unwrap();
    assert_eq!(key_ids(known.provisioned.server.as_ref()), [public(SERVER_KEY).id()]);
    assert_eq!(known.directed_by(&given(root.clone(), NOW)).unwrap(), known);
    assert!(matches!(known.directed_by(&given(root.clone(), NOW - 1)), Err(DirectorRefused::Older)));
    // After it has left, the device begins anew.
    known.without_site().directed_by(&given(root, NOW - 1)).unwrap();
    assert_eq!(known.without_site(), fresh);
}

#[test]
fn a_directors_root_without_its_own_signatures_is_refused() {
    let mut hospital = Hospital::new();
    let fresh = trusted(&hospital, Trust::Both);
    hospital.director.root_signers = vec![SERVER_KEY];
    hospital.director.publish_root();
    let refused = fresh.directed_by(&given(hospital.director.root(), NOW));
    assert!(matches!(refused, Err(DirectorRefused::Signatures)));
    assert!(matches!(fresh.directed_by(&given(b"{}".to_vec(), NOW)), Err(DirectorRefused::Metadata(_))));
    let own = trusted(&hospital, Trust::Manufacturer);
    assert!(matches!(own.directed_by(&given(Hospital::new().director.root(), NOW)), Err(DirectorRefused::NotDirected)));
}

#[test]
fn the_directors_rotated_keys_are_followed_from_its_first_root() {
    let mut hospital = Hospital::new();
    let known = trusted(&hospital, Trust::Both).directed_by(&given(hospital.director.root(), NOW)).unwrap();
    let seen = Seen { server: 9, ..known.seen };
    let known = Trusted { seen, ..known };
    hospital.director.roles.targets = keys_of(&[33], 1);
    hospital.director.keys.push(33);
    hospital.director.bump_root();
    let second = hospital.director.files["2.root.json"].clone();
    let next = [second.clone()];
    let followed = known.follow(&News { director_roots: &next, ..News::default() }, &model(), NOW).unwrap();
    assert_eq!(key_ids(followed.provisioned.server.as_ref()), [public(33).id()]);
    assert_eq!((followed.seen.server, followed.root_versions()), (0, (Some(1), Some(2))));
    // It does not go back, and a forged one is refused at its step.
    let again = followed.follow(&News { director_roots: &next, ..News::default() }, &model(), NOW);
    assert_eq!(again.unwrap_err().step.0, "5.4.4.2 step 2");
    hospital.director.root_signers = vec![SERVER_KEY];
    hospital.director.bump_root();
    let forged = [hospital.director.files["3.root.json"].clone()];
    let refused = followed.follow(&News { director_roots: &forged, ..News::default() }, &model(), NOW);
    assert_eq!(refused.unwrap_err().step.0, "5.4.4.2 step 2");
    assert_ne!(DIRECTOR_ROOT_KEY, SERVER_KEY);
}

#[test]
fn the_manufacturers_rotated_keys_are_followed_through_root_and_delegation() {
    let mut hospital = Hospital::new();
    let known = trusted(&hospital, Trust::Both);
    let seen = Seen { manufacturer: 7, ..known.seen };
    let known = Trusted { seen, ..known };
    // Root names another key for the top-level targets, which name another one for the manufacturer's role.
    hospital.images.roles.targets = keys_of(&[40], 1);
    hospital.images.keys.push(40);
    hospital.images.bump_root();
    hospital.images.author("targets").signers = vec![40];
    hospital.images.redelegate("acme", &[41], 1);
    hospital.images.bump();
    let roots = [hospital.images.files["2.root.json"].clone()];
    let targets = hospital.handed_delegator();
    let news = News { image_roots: &roots, delegator: Some(&targets), ..News::default() };
    let followed = known.follow(&news, &model(), NOW).unwrap();
    assert_eq!(key_ids(followed.provisioned.signer.as_ref()), [public(41).id()]);
    assert_eq!((followed.seen.manufacturer, followed.root_versions().0), (0, Some(2)));
    // The same without the new root: the targets' key is unknown.
    let refused = known.follow(&News { delegator: Some(&targets), ..News::default() }, &model(), NOW);
    assert_eq!(refused.unwrap_err().step.0, "5.4.4.6 step 3");
    // Where the root comes first and the targets later, nothing is lost in between.
    let half = known.follow(&News { image_roots: &roots, ..News::default() }, &model(), NOW).unwrap();
    let later = half.follow(&News { delegator: Some(&targets), ..News::default() }, &model(), NOW).unwrap();
    assert_eq!(later, followed);
    // Older targets do not bring the old keys back.
    let old = Hospital::new().handed_delegator();
    let refused = followed.follow(&News { delegator: Some(&old), ..News::default() }, &model(), NOW);
    assert_eq!(refused.unwrap_err().step.0, "5.4.4.6 step 3");
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use wardlink_update::client::{Command, File};
use wardlink_update::metadata::RoleName;
use wardlink_update::uptane::Outcome;
use wardlink_update::uptane::Repository;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

#[test]
fn a_store_belongs_to_one_process() {
    let (folder, _store) = store();
    assert!(matches!(Store::open(&folder.path().join("store")), Err(StoreError::InUse)));
}

#[test]
fn counters_rise_over_restarts_and_above_what_was_seen() {
    let (folder, first) = store();
    assert_eq!([first.next_counter(0).unwrap(), first.next_counter(0).unwrap()], [1, 2]);
    drop(first);
    let again = Store::open(&folder.path().join("store")).unwrap();
    assert_eq!(again.next_counter(1).unwrap(), 3);
    assert_eq!(again.next_counter(7).unwrap(), 8, "it was restored from an earlier copy");
}

#[test]
fn the_first_root_of_a_repository_stays() {
    let (_folder, store) = store();
    let repository = Repository::Image("acme".parse().unwrap());
    assert_eq!(store.stored(&repository).unwrap(), None);
    assert!(store.trust(&repository, b"first").unwrap());
    assert!(!store.trust(&repository, b"second").unwrap());
    store.trust(&Repository::Image("acme-2".parse().unwrap()), b"other").unwrap();
    let role: RoleName = "acme".to_owned().try_into().unwrap();
    let commands = [
        Command::Store(File::Timestamp, b"time".to_vec()),
        Command::Store(File::Snapshot, b"snapshot".to_vec()),
        Command::Store(File::Targets(role.clone()), b"targets".to_vec()),
        Command::Delete(File::Timestamp),
    ];
    store.carry_out(&repository, &commands).unwrap();
    let stored = store.stored(&repository).unwrap().unwrap();
    assert_eq!((stored.root, stored.timestamp, stored.snapshot), (b"first".to_vec(), None, Some(b"snapshot".to_vec())));
    assert_eq!(stored.targets, [(role, b"targets".to_vec())].into());
    let names: Vec<_> = store.manufacturers().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["acme", "acme-2"]);
}

#[test]
fn what_is_told_stays_until_it_is_known_and_is_bounded() {
    let (_folder, store) = store();
    let told = |device: &str, number: u64| Notification {
        device: device.parse().unwrap(),
        directive: number,
        path: None,
        outcome: Outcome::Corrupt,
    };
    // One has said something, and another one makes up more than there is room for.
    let over = u64::try_from(MAX_OUTCOMES).unwrap() + 1;
    store.change(|change| change.tell(&told("scale/s2", 1))).unwrap();
    store.change(|change| (2..=over).try_for_each(|number| change.tell(&told("scale/s1", number)))).unwrap();
    let outcomes = store.outcomes(usize::MAX).unwrap();
    assert_eq!((outcomes.len(), outcomes[0].0, outcomes[1].0), (MAX_OUTCOMES, 1, 3));
    store.told(1).unwrap();
    let (number, bytes) = &store.outcomes(usize::MAX).unwrap()[0];
    assert_eq!((*number, serde_json::from_slice::<Notification>(bytes).unwrap()), (3, told("scale/s1", 3)));
}

#[test]
fn changes_happen_together_or_not_at_all() {
    let (_folder, store) = store();
    let failed = store.change(|change| {
        change.set(&Directives { heard: 5, done: 0, verified: 0 })?;
        Err::<(), _>(StoreError::Damaged("nothing"))
    });
    assert!(failed.is_err());
    assert_eq!(store.value::<Directives>().unwrap(), None);
}

#[test]
fn a_new_directive_begins_anew_with_a_device() {
    let (_folder, store) = store();
    let device: Device = "scale/s1".parse().unwrap();
    let work = Work { ended: true, retries: 3, ..Work::new(5) };
    store.change(|change| change.set_work(&device, &work)).unwrap();
    assert_eq!(store.work(&device, 5).unwrap(), work);
    assert_eq!(store.work(&device, 6).unwrap(), Work::new(6));
}

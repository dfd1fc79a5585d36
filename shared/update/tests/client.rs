//! The client against a repository in memory: what it accepts, and at which step it refuses what.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "client/delegations.rs"]
mod delegations;
#[path = "client/rotations.rs"]
mod rotations;

use wardlink_test_repository::{self as repository, Disk, NOW, Repository, keys_of, signed};
use wardlink_update::client::{Client, Fetched, Next, Refusal, Stored};
use wardlink_update::key::KeyId;
use wardlink_update::limits::{MAX_DELEGATIONS, MAX_ROOT_BYTES, MAX_ROOT_ROTATIONS, MAX_TIMESTAMP_BYTES};
use wardlink_update::metadata::{Expires, MetadataFile, Role, RoleName, Root, Signed, Snapshot, Timestamp};

/// A client that has seen the repository once.
fn acquainted() -> (Repository, Disk) {
    let mut repository = Repository::new();
    let mut disk = Disk::new(repository.root());
    disk.refresh(&mut repository).unwrap();
    (repository, disk)
}

#[track_caller]
fn assert_refused(result: Result<Client, Refusal>, step: &str, file: &str) {
    let refusal = result.map(drop).unwrap_err();
    assert_eq!((refusal.step.0, refusal.file.as_str()), (step, file), "{refusal}");
}

/// Refused at this step, and the earlier metadata stays.
#[track_caller]
fn assert_kept(repository: &mut Repository, disk: &mut Disk, step: &str, file: &str) {
    let before = disk.0.clone();
    assert_refused(disk.refresh(repository), step, file);
    assert_eq!(disk.0, before);
}

fn timestamp(disk: &Disk) -> Signed<Timestamp> {
    Signed::parse(disk.0.timestamp.as_deref().unwrap()).unwrap()
}

fn snapshot(disk: &Disk) -> Signed<Snapshot> {
    Signed::parse(disk.0.snapshot.as_deref().unwrap()).unwrap()
}

#[test]
fn a_new_client_asks_for_each_file_once_and_stores_it() {
    let mut repository = Repository::new();
    let mut disk = Disk::new(repository.root());
    let client = disk.refresh(&mut repository).unwrap();
    assert_eq!(repository.asked, ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    assert_eq!(client.targets().unwrap().version(), 1);
    assert_eq!(disk.0.timestamp.as_ref(), repository.files.get("timestamp.json"));
    assert_eq!(disk.0.targets.get(&RoleName::targets()), repository.files.get("1.targets.json"));
}

#[test]
fn nothing_new_is_one_question_for_root_and_one_for_timestamp() {
    let (mut repository, mut disk) = acquainted();
    disk.refresh(&mut repository).unwrap();
    assert_eq!(repository.asked, ["2.root.json", "timestamp.json"]);
}

#[test]
fn only_what_changed_is_asked_for() {
    let (mut repository, mut disk) = acquainted();
    repository.timestamp_version += 1;
    repository.snapshot_version += 1;
    repository.publish();
    disk.refresh(&mut repository).unwrap();
    assert_eq!(repository.asked, ["2.root.json", "timestamp.json", "2.snapshot.json"]);
}

#[test]
fn a_root_that_its_own_keys_did_not_sign_is_no_beginning() {
    let repository = Repository::new();
    let forged = String::from_utf8(repository.root()).unwrap().replace("\"version\":1", "\"version\":2");
    let stored = Stored { root: forged.into_bytes(), ..Stored::default() };
    assert_refused(Client::start(stored, NOW), "5.2", "root.json");
    assert_refused(Client::start(Stored::default(), NOW), "5.2", "root.json");
}

#[test]
fn every_root_is_followed_in_order() {
    let (mut repository, mut disk) = acquainted();
    for (old, new) in [(1, 5), (5, 6), (6, 7)] {
        repository.keys.push(new);
        repository.roles.root = keys_of(&[new], 1);
        repository.root_signers = vec![old, new];
        repository.bump_root();
    }
    let client = disk.refresh(&mut repository).unwrap();
    assert_eq!(client.root().version(), 4);
    assert_eq!(Some(&disk.0.root), repository.files.get("4.root.json"));
}

#[test]
fn a_root_needs_the_old_keys_and_its_own() {
    for signers in [vec![1], vec![5], vec![]] {
        let (mut repository, mut disk) = acquainted();
        repository.keys.push(5);
        repository.roles.root = keys_of(&[5], 1);
        repository.root_signers = signers;
        repository.bump_root();
        assert_kept(&mut repository, &mut disk, "5.3.4", "root.json");
    }
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let (mut repository, mut disk) = acquainted();
    repository.keys.push(5);
    repository.roles.root = keys_of(&[1, 5], 2);
    repository.root_signers = vec![1, 5];
    repository.bump_root();
    disk.refresh(&mut repository).unwrap();
    // The same key, once with another line end in its PEM, so that its id is another.
    let text = String::from_utf8(repository.files["2.root.json"].clone()).unwrap();
    let second = repository::public(5);
    let mut respelled = repository::public(1);
    respelled.keyval.public.push('\n');
    let (old_id, new_id) = (second.id().0, respelled.id().0);
    let escaped = |key: &wardlink_update::key::Key| serde_json::to_string(&key.keyval.public).unwrap();
    let text = text.replace(&old_id, &new_id).replace(&escaped(&second), &escaped(&respelled));
    let mut draft =
        wardlink_update::metadata::Draft::parse(text.replace("\"version\":2", "\"version\":3").as_bytes()).unwrap();
    draft.sign(repository::public(1).id(), &repository::key(1));
    draft.sign(respelled.id(), &repository::key(1));
    draft.sign(second.id(), &repository::key(5));
    repository.files.insert("3.root.json".to_owned(), draft.to_bytes());
    assert_refused(disk.refresh(&mut repository), "5.3.4", "root.json");
}

#[test]
fn a_root_of_another_version_than_its_name_is_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.root_version = 3;
    repository.publish_root();
    let skipped = repository.files.remove("3.root.json").unwrap();
    repository.files.insert("2.root.json".to_owned(), skipped);
    assert_kept(&mut repository, &mut disk, "5.3.5", "root.json");
    repository.files.insert("2.root.json".to_owned(), repository.root());
    assert_kept(&mut repository, &mut disk, "5.3.5", "root.json");
}

#[test]
fn an_endless_root_is_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.bump_root();
    let length = usize::try_from(MAX_ROOT_BYTES).unwrap();
    repository.files.get_mut("2.root.json").unwrap().resize(length + 1, b' ');
    assert_kept(&mut repository, &mut disk, "5.3.3", "root.json");
    repository.files.get_mut("2.root.json").unwrap().truncate(length);
    disk.refresh(&mut repository).unwrap();
}

#[test]
fn a_run_follows_no_more_roots_than_the_limit() {
    let (mut repository, mut disk) = acquainted();
    for _ in 0..=MAX_ROOT_ROTATIONS {
        repository.bump_root();
    }
    let client = disk.refresh(&mut repository).unwrap();
    assert_eq!(client.root().version(), 1 + u64::from(MAX_ROOT_ROTATIONS));
    // The next run goes on from there.
    let client = disk.refresh(&mut repository).unwrap();
    assert_eq!(client.root().version(), 2 + u64::from(MAX_ROOT_ROTATIONS));
}

#[test]
fn an_expired_root_is_stored_and_then_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.root_expires = Expires::at(NOW);
    repository.bump_root();
    assert_refused(disk.refresh(&mut repository), "5.3.10", "root.json");
    assert_eq!(Some(&disk.0.root), repository.files.get("2.root.json"));
    repository.root_expires = Expires::at(NOW + 1);
    repository.bump_root();
    disk.refresh(&mut repository).unwrap();
}

#[test]
fn a_rotated_key_makes_versions_begin_anew() {
    for rotate_timestamp in [true, false] {
        let (mut repository, mut disk) = acquainted();
        repository.timestamp_version = 90;
        repository.snapshot_version = 90;
        repository.author("targets").version = 90;
        repository.publish();
        disk.refresh(&mut repository).unwrap();
        repository.keys.push(5);
        if rotate_timestamp {
            repository.roles.timestamp = keys_of(&[5], 1);
            repository.timestamp_signers = vec![5];
        } else {
            repository.roles.snapshot = keys_of(&[5], 1);
            repository.snapshot_signers = vec![5];
        }
        repository.bump_root();
        repository.timestamp_version = 2;
        repository.snapshot_version = 2;
        repository.author("targets").version = 2;
        repository.publish();
        let client = disk.refresh(&mut repository).unwrap();
        assert_eq!(client.targets().unwrap().version(), 2);
    }
}

#[test]
fn a_timestamp_of_the_wrong_keys_is_refused() {
    for signers in [vec![], vec![3], vec![9]] {
        let (mut repository, mut disk) = acquainted();
        repository.timestamp_signers = signers;
        repository.bump();
        assert_kept(&mut repository, &mut disk, "5.4.2", "timestamp.json");
    }
}

#[test]
fn an_older_timestamp_is_refused_and_the_same_changes_nothing() {
    let (mut repository, mut disk) = acquainted();
    let first = repository.files["timestamp.json"].clone();
    repository.bump();
    disk.refresh(&mut repository).unwrap();
    let newest = repository.files.insert("timestamp.json".to_owned(), first).unwrap();
    assert_kept(&mut repository, &mut disk, "5.4.3.1", "timestamp.json");
    // The same version with other contents is not even looked at.
    repository.publish_timestamp(MetadataFile { version: 77, length: None, hashes: None });
    let before = disk.0.clone();
    disk.refresh(&mut repository).unwrap();
    assert_eq!(disk.0, before);
    assert_eq!(disk.0.timestamp, Some(newest));
}

#[test]
fn a_timestamp_that_lists_an_older_snapshot_is_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.bump();
    disk.refresh(&mut repository).unwrap();
    repository.timestamp_version += 1;
    repository.snapshot_version = 1;
    repository.publish();
    assert_kept(&mut repository, &mut disk, "5.4.3.2", "timestamp.json");
}

#[test]
fn an_expired_timestamp_is_refused_but_still_measures_age() {
    let (mut repository, mut disk) = acquainted();
    repository.timestamp_expires = Expires::at(NOW);
    repository.bump();
    assert_kept(&mut repository, &mut disk, "5.4.4", "timestamp.json");
    // Frozen: the repository shows what was seen before, after its end.
    repository.timestamp_expires = Expires::at(NOW + 10);
    repository.publish();
    disk.refresh(&mut repository).unwrap();
    assert_refused(disk.refresh_at(&mut repository, NOW + 10), "5.4.4", "timestamp.json");
    // A newer one is taken, after the end of the stored one; an older one is not.
    repository.timestamp_version = 1;
    repository.timestamp_expires = Expires::at(NOW + 100);
    repository.publish();
    assert_refused(disk.refresh_at(&mut repository, NOW + 10), "5.4.3.1", "timestamp.json");
    repository.timestamp_version = 9;
    repository.publish();
    disk.refresh_at(&mut repository, NOW + 10).unwrap();
    assert_eq!(timestamp(&disk).role.version(), 9);
}

#[test]
fn a_snapshot_has_the_listed_hash_and_version_and_keys() {
    let (mut repository, mut disk) = acquainted();
    repository.bump();
    let right = repository.files["2.snapshot.json"].clone();
    let mut changed = right.clone();
    changed.push(b' ');
    repository.files.insert("2.snapshot.json".to_owned(), changed);
    assert_refused(disk.refresh(&mut repository), "5.5.1", "snapshot.json");
    let mut same_length = right.clone();
    let last = same_length.iter().rposition(u8::is_ascii_hexdigit).unwrap();
    same_length[last] = if same_length[last] == b'0' { b'1' } else { b'0' };
    repository.files.insert("2.snapshot.json".to_owned(), same_length);
    assert_refused(disk.refresh(&mut repository), "5.5.2", "snapshot.json");
    repository.snapshot_signers = vec![4];
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.5.3", "snapshot.json");
    assert_eq!(snapshot(&disk).role.version(), 1);
}

#[test]
fn a_snapshot_of_another_version_than_listed_is_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.bump();
    repository.timestamp_version += 1;
    repository.publish_timestamp(MetadataFile { version: 3, length: None, hashes: None });
    let second = repository.files["2.snapshot.json"].clone();
    repository.files.insert("3.snapshot.json".to_owned(), second);
    assert_refused(disk.refresh(&mut repository), "5.5.4", "snapshot.json");
}

#[test]
fn a_snapshot_neither_forgets_nor_turns_back_targets() {
    let (mut repository, mut disk) = acquainted();
    repository.delegate("targets", "pumps", 5, "*", false);
    repository.bump();
    disk.refresh(&mut repository).unwrap();
    let pumps = repository.authors.remove(&repository::role("pumps")).unwrap();
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.5.5", "snapshot.json");
    repository.authors.insert(repository::role("pumps"), pumps);
    repository.author("targets").version = 0;
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.5.5", "snapshot.json");
}

#[test]
fn a_snapshot_lists_the_targets_also_for_a_new_client() {
    let (mut repository, mut old) = acquainted();
    let mut new = Disk::new(repository.root());
    repository.bump();
    let meta = [("other.json".to_owned(), MetadataFile { version: 1, length: None, hashes: None })].into();
    let snapshot = Snapshot::new(repository.snapshot_version, Expires::at(NOW + 60), meta);
    repository.publish_snapshot(&snapshot);
    for disk in [&mut old, &mut new] {
        assert_refused(disk.refresh(&mut repository), "5.5.5", "snapshot.json");
    }
}

#[test]
fn a_kind_of_key_that_nobody_knows_spoils_nothing() {
    let mut repository = Repository::new();
    let mut disk = Disk::new(repository.root());
    let unknown = serde_json::json!({
        "keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a@example.org", "issuer": "https://example.org"},
    });
    let id = KeyId("0".repeat(64));
    let mut root: Root = Signed::parse(&repository.root()).unwrap().role;
    root.keys.insert(id.clone(), serde_json::from_value(unknown).unwrap());
    let mut roles = root.roles.clone();
    roles.timestamp.keyids.push(id);
    let root = Root::new(2, Expires::at(NOW + 60), root.keys, roles);
    repository.files.insert("2.root.json".to_owned(), signed(&root, &[1]));
    assert_eq!(disk.refresh(&mut repository).unwrap().root().keys.len(), 5);
    assert_eq!(repository.asked, ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
}

#[test]
fn an_expired_snapshot_is_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.snapshot_expires = Expires::at(NOW);
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.5.6", "snapshot.json");
    assert_eq!(snapshot(&disk).role.version(), 1);
}

#[test]
fn a_stored_snapshot_counts_no_longer_after_its_end() {
    let (mut repository, mut disk) = acquainted();
    repository.snapshot_expires = Expires::at(NOW + 10);
    repository.timestamp_expires = Expires::at(NOW + 100);
    repository.bump();
    disk.refresh(&mut repository).unwrap();
    assert_refused(disk.refresh_at(&mut repository, NOW + 10), "5.5.6", "snapshot.json");
}

#[test]
fn targets_have_the_listed_hash_and_keys_and_time() {
    let (mut repository, mut disk) = acquainted();
    repository.bump();
    let right = repository.files["2.targets.json"].clone();
    repository.files.insert("2.targets.json".to_owned(), right[..right.len() - 1].to_vec());
    assert_refused(disk.refresh(&mut repository), "5.6.2", "targets.json");
    repository.author("targets").signers = vec![3];
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.6.3", "targets.json");
    repository.author("targets").signers = vec![4];
    repository.author("targets").expires = Expires::at(NOW);
    repository.bump();
    assert_refused(disk.refresh(&mut repository), "5.6.5", "targets.json");
}

#[test]
fn targets_of_another_version_than_listed_are_refused() {
    let (mut repository, mut disk) = acquainted();
    repository.bump();
    repository.timestamp_version += 1;
    repository.snapshot_version += 1;
    let listed = MetadataFile { version: 3, length: None, hashes: None };
    let meta = [("targets.json".to_owned(), listed)].into();
    let snapshot = Snapshot::new(repository.snapshot_version, repository.snapshot_expires, meta);
    repository.publish_snapshot(&snapshot);
    let second = repository.files["2.targets.json"].clone();
    repository.files.insert("3.targets.json".to_owned(), second);
    assert_refused(disk.refresh(&mut repository), "5.6.4", "targets.json");
}

#[test]
fn a_file_that_is_missing_or_endless_is_refused() {
    for (file, step) in [("timestamp.json", "5.4.1"), ("2.snapshot.json", "5.5.1"), ("2.targets.json", "5.6.1")] {
        let (mut repository, mut disk) = acquainted();
        repository.bump();
        let right = repository.files.remove(file).unwrap();
        let name = file.trim_start_matches("2.");
        assert_refused(disk.refresh(&mut repository), step, name);
        let endless = [right, vec![b' '; MAX_TIMESTAMP_BYTES.try_into().unwrap()]].concat();
        repository.files.insert(file.to_owned(), endless);
        assert_refused(disk.refresh(&mut repository), step, name);
    }
}

#[test]
fn no_more_is_read_of_a_file_than_its_limit_or_its_listed_length() {
    let most = |client: &Client| match client.next() {
        Next::Fetch(wanted) => wanted.max_bytes,
        next => panic!("{next:?}"),
    };
    for length in [None, Some(100_000_000), Some(3_000)] {
        let plain = |length| MetadataFile { version: 2, length, hashes: None };
        let mut repository = Repository::new();
        let mut client = Client::start(Disk::new(repository.root()).0, NOW).unwrap();
        let snapshot = Snapshot::new(2, Expires::at(NOW + 60), [("targets.json".to_owned(), plain(length))].into());
        repository.timestamp_version = 2;
        repository.publish_timestamp(plain(length));
        assert_eq!(most(&client), 512_000);
        client.receive(Fetched::Missing).unwrap();
        assert_eq!(most(&client), 16_384);
        client.receive(Fetched::Bytes(repository.files["timestamp.json"].clone())).unwrap();
        let listed = length.unwrap_or(u64::MAX);
        assert_eq!(most(&client), listed.min(2_000_000));
        if length.is_none() {
            client.receive(Fetched::Bytes(signed(&snapshot, &[3]))).unwrap();
            assert_eq!(most(&client), 5_000_000);
        }
    }
    assert_eq!((MAX_ROOT_ROTATIONS, MAX_DELEGATIONS), (256, 32));
}

#[test]
fn a_refused_client_asks_for_the_same_file_again() {
    let (mut repository, disk) = acquainted();
    repository.bump();
    let mut client = Client::start(disk.0, NOW).unwrap();
    client.receive(Fetched::Missing).unwrap();
    let Next::Fetch(wanted) = client.next() else { panic!("timestamp is wanted") };
    assert!(client.receive(Fetched::Bytes(b"{}".to_vec())).is_err());
    assert_eq!(client.next(), Next::Fetch(wanted.clone()));
    client.receive(repository.fetch(&wanted)).unwrap();
}

//! The search for a target.

use super::acquainted;
use wardlink_test_repository::{Disk, Repository, path, role};
use wardlink_update::limits::MAX_DELEGATIONS;
use wardlink_update::metadata::{Expires, Target};

/// Which delegated roles were asked for, in order.
fn visited(repository: &Repository) -> Vec<&str> {
    let delegated = repository.asked.iter().filter(|name| !name.contains("root") && !name.contains("timestamp"));
    let delegated = delegated.filter(|name| !name.contains("snapshot") && !name.ends_with("targets.json"));
    delegated.map(|name| name.trim_start_matches("1.").trim_end_matches(".json")).collect()
}

fn with_delegations(delegations: &[(&str, &str, &str, bool)]) -> (Repository, Disk) {
    let (mut repository, disk) = acquainted();
    for (delegator, name, pattern, terminating) in delegations {
        repository.delegate(delegator, name, 10, pattern, *terminating);
    }
    repository.bump();
    (repository, disk)
}

fn put(repository: &mut Repository, author: &str, target: &str, bytes: &[u8]) {
    repository.author(author).files.insert(path(target), bytes.to_vec());
}

#[test]
fn roles_are_visited_in_order_and_depth_first() {
    let delegations =
        [("targets", "a", "*", false), ("targets", "b", "*", false), ("a", "c", "*", false), ("a", "d", "*", false)];
    let (mut repository, mut disk) = with_delegations(&delegations);
    assert_eq!(disk.find(&mut repository, "nothing"), Ok(None));
    assert_eq!(visited(&repository), ["a", "c", "d", "b"]);
}

#[test]
fn a_terminating_delegation_ends_the_search_after_its_own_branch() {
    let delegations =
        [("targets", "a", "*", false), ("targets", "b", "*", false), ("a", "c", "*", true), ("c", "d", "*", false)];
    let (mut repository, mut disk) = with_delegations(&delegations);
    put(&mut repository, "b", "file", b"of b");
    repository.bump();
    assert_eq!(disk.find(&mut repository, "file"), Ok(None));
    assert_eq!(visited(&repository), ["a", "c", "d"]);
}

#[test]
fn a_cycle_is_walked_once() {
    let delegations = [("targets", "a", "*", false), ("a", "b", "*", false), ("b", "a", "*", false)];
    let (mut repository, mut disk) = with_delegations(&delegations);
    assert_eq!(disk.find(&mut repository, "nothing"), Ok(None));
    assert_eq!(visited(&repository), ["a", "b"]);
}

#[test]
fn only_roles_that_cover_the_path_are_asked() {
    let delegations = [("targets", "pumps", "pumps/*", false), ("targets", "scales", "scales/*", false)];
    let (mut repository, mut disk) = with_delegations(&delegations);
    put(&mut repository, "scales", "scales/one", b"right");
    // Nobody may name what was not delegated to it.
    put(&mut repository, "pumps", "scales/one", b"wrong");
    repository.bump();
    let found = disk.find(&mut repository, "scales/one").unwrap().unwrap();
    assert!(found.hashes.fit(b"right"));
    assert_eq!(visited(&repository), ["scales"]);
}

#[test]
fn the_first_role_that_names_the_target_counts() {
    let (mut repository, mut disk) = with_delegations(&[("targets", "a", "*", false), ("targets", "b", "*", false)]);
    put(&mut repository, "a", "file", b"of a");
    put(&mut repository, "b", "file", b"of b");
    repository.bump();
    let is_of = |found: Option<Target>, bytes: &[u8]| found.is_some_and(|target| target.hashes.fit(bytes));
    assert!(is_of(disk.find(&mut repository, "file").unwrap(), b"of a"));
    put(&mut repository, "targets", "file", b"of the top");
    repository.bump();
    assert!(is_of(disk.find(&mut repository, "file").unwrap(), b"of the top"));
}

#[test]
fn a_delegated_role_is_signed_by_the_keys_that_its_delegator_names() {
    let (mut repository, mut disk) = with_delegations(&[("targets", "a", "*", false)]);
    repository.author("a").signers = vec![4];
    repository.bump();
    let refusal = disk.find(&mut repository, "file").unwrap_err();
    assert_eq!((refusal.step.0, refusal.file.as_str()), ("5.6.7.1", "a.json"));
}

#[test]
fn stored_roles_are_verified_again_by_their_present_delegator() {
    let (mut repository, mut disk) = with_delegations(&[("targets", "a", "*", false)]);
    put(&mut repository, "a", "file", b"old");
    repository.bump();
    assert!(disk.find(&mut repository, "file").unwrap().is_some());
    assert!(disk.find(&mut repository, "file").unwrap().is_some());
    assert_eq!(visited(&repository), Vec::<&str>::new());
    // The delegator trusts another key now: what is stored counts no longer, though the snapshot still lists it.
    repository.author("targets").delegations.clear();
    repository.delegate("targets", "a", 11, "*", false);
    repository.bump();
    assert!(disk.find(&mut repository, "file").is_err());
    repository.author("a").signers = vec![11];
    repository.author("a").version += 1;
    repository.bump();
    assert!(disk.find(&mut repository, "file").unwrap().is_some());
}

#[test]
fn an_expired_delegated_role_is_refused() {
    let (mut repository, mut disk) = with_delegations(&[("targets", "a", "*", false)]);
    repository.author("a").expires = Expires::at(super::NOW);
    repository.bump();
    assert!(disk.find(&mut repository, "file").is_err());
    assert!(!disk.0.targets.contains_key(&role("a")));
}

#[test]
fn a_role_that_the_snapshot_does_not_list_cannot_be_downloaded() {
    let (mut repository, mut disk) = with_delegations(&[("targets", "a", "*", false)]);
    repository.authors.remove(&role("a"));
    let (mut fresh, other) = (Disk::new(repository.root()), repository.root());
    assert_eq!(fresh.0.root, other);
    repository.bump();
    assert!(fresh.find(&mut repository, "file").is_err());
    assert!(disk.find(&mut repository, "file").is_err());
}

#[test]
fn a_graph_that_is_too_large_is_left() {
    let (mut repository, mut disk) = acquainted();
    for number in 0..MAX_DELEGATIONS + 4 {
        repository.delegate("targets", &format!("role-{number:02}"), 10, "*", false);
    }
    let last = format!("role-{:02}", MAX_DELEGATIONS + 3);
    put(&mut repository, &last, "file", b"too far");
    repository.bump();
    assert_eq!(disk.find(&mut repository, "file"), Ok(None));
    assert_eq!(visited(&repository).len(), MAX_DELEGATIONS);
}

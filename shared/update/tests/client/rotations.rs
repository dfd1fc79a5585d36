//! Rotations of every kind: who has signed the next version, by whose keys, and whether that is enough.

use super::{assert_refused, repository};
use repository::{Disk, Repository, keys_of};
use wardlink_update::metadata::RoleName;

/// A root, or another role's keys: key numbers, how many have to sign, and who has.
struct Version(&'static [u8], usize, &'static [u8]);

fn root_with(repository: &mut Repository, Version(keys, threshold, signers): &Version) {
    repository.keys = [*keys, &[2, 3, 4], *signers].concat();
    repository.keys.sort_unstable();
    repository.keys.dedup();
    repository.roles.root = keys_of(keys, *threshold);
    repository.root_signers = signers.to_vec();
}

#[test]
fn roots_are_followed_through_rotations_of_every_kind() {
    const FIVE: &[u8] = &[10, 11, 12, 13, 14];
    const NEXT: &[u8] = &[10, 11, 13, 14, 15];
    const OTHERS: &[u8] = &[15, 16, 17, 18, 19];
    let right: [&[Version]; 9] = [
        &[Version(&[10], 1, &[10]), Version(&[11], 1, &[11, 10]), Version(&[11], 1, &[11])],
        // Signatures of others are no harm.
        &[Version(&[10], 1, &[12, 10, 13]), Version(&[11], 1, &[12, 11, 10, 13]), Version(&[11], 1, &[12, 11, 13])],
        &[Version(FIVE, 3, &[10, 12, 14]), Version(FIVE, 3, &[10, 14, 11]), Version(FIVE, 3, &[10, 11, 13])],
        &[Version(FIVE, 3, &[10, 12, 14]), Version(NEXT, 3, &[10, 14, 11])],
        &[Version(FIVE, 3, &[10, 12, 14]), Version(NEXT, 3, &[10, 12, 14, 15]), Version(NEXT, 3, &[10, 14, 15])],
        &[
            Version(FIVE, 3, &[10, 12, 14]),
            Version(OTHERS, 3, &[10, 12, 14, 15, 16, 17]),
            Version(OTHERS, 3, &[15, 16, 17]),
        ],
        &[Version(&[10, 11, 12], 1, &[10]), Version(&[10, 11, 12], 2, &[10, 11])],
        &[Version(&[10, 11, 12], 2, &[10, 11]), Version(&[10, 11, 12], 1, &[10, 11]), Version(&[10, 11, 12], 1, &[10])],
        &[Version(&[10], 1, &[10]), Version(&[10, 11], 2, &[10, 11])],
    ];
    let wrong: [&[Version]; 6] = [
        &[Version(&[10], 1, &[10]), Version(&[11], 1, &[11, 12, 13])],
        &[Version(&[10], 1, &[10]), Version(&[11], 1, &[10, 12, 13])],
        &[Version(FIVE, 3, &[10, 12, 14]), Version(NEXT, 3, &[10, 12, 14])],
        &[Version(FIVE, 3, &[10, 12, 14]), Version(NEXT, 3, &[10, 14, 15])],
        &[Version(&[10, 11, 12], 1, &[10]), Version(&[10, 11, 12], 2, &[11])],
        &[Version(&[10, 11, 12], 2, &[10, 11]), Version(&[10, 11, 12], 1, &[10])],
    ];
    for (index, (versions, is_right)) in
        right.map(|case| (case, true)).into_iter().chain(wrong.map(|case| (case, false))).enumerate()
    {
        let mut repository = Repository::new();
        root_with(&mut repository, &versions[0]);
        repository.publish_root();
        let mut disk = Disk::new(repository.root());
        for version in &versions[1..] {
            root_with(&mut repository, version);
            repository.bump_root();
        }
        let newest = if is_right { versions.len() } else { versions.len() - 1 };
        if is_right {
            assert!(disk.refresh(&mut repository).is_ok(), "{index}");
        } else {
            assert_refused(disk.refresh(&mut repository), "5.3.4", "root.json");
        }
        assert_eq!(disk.0.root, repository.files[&format!("{newest}.root.json")], "{index}");
    }
}

#[test]
fn the_other_roles_are_followed_through_rotations_of_every_kind() {
    const FIVE: &[u8] = &[10, 11, 12, 13, 14];
    let cases = [
        (Version(&[12], 1, &[12]), true),
        (Version(&[11], 1, &[13, 11, 14]), true),
        (Version(FIVE, 3, &[10, 12, 14]), true),
        (Version(FIVE, 3, &[11, 12, 13]), true),
        (Version(&[12], 1, &[11, 13, 14]), false),
        (Version(&[10, 11, 13, 14, 15], 3, &[10, 12, 14]), false),
        (Version(&[10, 11, 13, 14, 15], 3, &[10, 14]), false),
    ];
    for (Version(keys, threshold, signers), is_right) in cases {
        for (role, step) in [("timestamp", "5.4.2"), ("snapshot", "5.5.3"), ("targets", "5.6.3")] {
            let (mut repository, mut disk) = super::acquainted();
            repository.keys.extend(keys);
            let (of_role, of_signers) = match role {
                "timestamp" => (&mut repository.roles.timestamp, &mut repository.timestamp_signers),
                "snapshot" => (&mut repository.roles.snapshot, &mut repository.snapshot_signers),
                _ => {
                    let top = repository.authors.get_mut(&RoleName::targets()).unwrap();
                    (&mut repository.roles.targets, &mut top.signers)
                }
            };
            (*of_role, *of_signers) = (keys_of(keys, threshold), signers.to_vec());
            repository.bump_root();
            repository.bump();
            if is_right {
                assert!(disk.refresh(&mut repository).is_ok(), "{role} {keys:?} {signers:?}");
            } else {
                assert_refused(disk.refresh(&mut repository), step, &format!("{role}.json"));
            }
        }
    }
}

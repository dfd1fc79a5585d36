//! The frozen attacks: each is refused at its step, and the file that was trusted before stays.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use wardlink_test_repository::attacks::ATTACKS;
use wardlink_test_repository::frozen::{Frozen, expected, trusted};

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
        assert!(ATTACKS.iter().any(|attack| name == attack.name), "{name:?}");
    }
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

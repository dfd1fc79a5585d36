#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use std::os::unix::fs::MetadataExt;

fn device() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/state");
    (directory, path)
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    assert!(state.read(Record::Pairing).unwrap().is_none());
    state.write(Record::Pairing, b"first").unwrap();
    state.write(Record::Pairing, b"second").unwrap();
    drop(state);
    let state = StateDirectory::open(&path, &device()).unwrap();
    assert_eq!(state.read(Record::Pairing).unwrap().unwrap().as_slice(), b"second");
    state.remove(Record::Pairing).unwrap();
    state.remove(Record::Pairing).unwrap();
    assert!(state.read(Record::Pairing).unwrap().is_none());
}

#[test]
fn directory_and_files_are_for_the_owner_only() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    state.write(Record::StaticKey, b"secret").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
    fs::set_permissions(state.file(Record::StaticKey), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(state.read(Record::StaticKey), Err(StateError::OpenToOthers { expected: "600", .. })));
    drop(state);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(StateDirectory::open(&path, &device()), Err(StateError::OpenToOthers { expected: "700", .. })));
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let (_guard, path) = scratch();
    let first = StateDirectory::open(&path, &device()).unwrap();
    assert!(matches!(StateDirectory::open(&path, &device()), Err(StateError::InUse { .. })));
    drop(first);
    StateDirectory::open(&path, &device()).unwrap();
}

#[test]
fn a_directory_belongs_to_one_device() {
    let (_guard, path) = scratch();
    drop(StateDirectory::open(&path, &device()).unwrap());
    let other = "infusion-pump/pump-2".parse().unwrap();
    let error = StateDirectory::open(&path, &other).unwrap_err();
    assert!(matches!(error, StateError::ForeignDevice { .. }));
    assert!(error.to_string().contains("belongs to infusion-pump/pump-1, not to infusion-pump/pump-2"));
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    state.write(Record::Pairing, &[7; 40]).unwrap();
    let file = state.file(Record::Pairing);
    let good = fs::read(&file).unwrap();
    for length in 0..good.len() {
        fs::write(&file, &good[..length]).unwrap();
        assert!(matches!(state.read(Record::Pairing), Err(StateError::Damaged { .. })), "cut to {length}");
    }
    for index in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[index / 8] ^= 1 << (index % 8);
        fs::write(&file, &bytes).unwrap();
        assert!(
            matches!(state.read(Record::Pairing), Err(StateError::Damaged { .. } | StateError::Version { .. })),
            "bit {index}"
        );
    }
    fs::write(&file, &good).unwrap();
    assert!(state.read(Record::Pairing).unwrap().is_some());
}

#[test]
fn a_file_under_another_name_or_of_another_version_is_refused() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    state.write(Record::Pairing, b"x").unwrap();
    fs::copy(state.file(Record::Pairing), state.file(Record::StaticKey)).unwrap();
    assert!(matches!(state.read(Record::StaticKey), Err(StateError::Damaged { .. })));
    let newer = Envelope {
        version: VERSION + 1,
        record: "pairing".into(),
        sha256: ByteBuf::from(Sha256::digest(b"x").to_vec()),
        content: ByteBuf::from(b"x".to_vec()),
    };
    fs::write(state.file(Record::Pairing), cbor::encode(&newer).unwrap()).unwrap();
    assert!(matches!(state.read(Record::Pairing), Err(StateError::Version { found: 2, .. })));
}

#[test]
fn power_loss_in_the_middle_of_a_write_leaves_the_old_record() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    state.write(Record::Pairing, b"old and whole").unwrap();
    fs::write(state.file(Record::Pairing).with_extension("new"), [0; 300]).unwrap();
    assert_eq!(state.read(Record::Pairing).unwrap().unwrap().as_slice(), b"old and whole");
    state.write(Record::Pairing, b"new").unwrap();
    assert_eq!(state.read(Record::Pairing).unwrap().unwrap().as_slice(), b"new");
}

#[test]
fn boot_numbers_rise_and_the_static_key_is_made_once() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    assert_eq!((state.next_boot().unwrap(), state.next_boot().unwrap()), (1, 2));
    assert_eq!(state.static_key(|| Zeroizing::new(vec![1])).unwrap().as_slice(), [1]);
    drop(state);
    let state = StateDirectory::open(&path, &device()).unwrap();
    assert_eq!(state.next_boot().unwrap(), 3);
    assert_eq!(state.static_key(|| panic!("made again")).unwrap().as_slice(), [1]);
}

#[test]
fn a_lost_static_key_is_not_replaced_while_a_pairing_needs_it() {
    let (_guard, path) = scratch();
    let state = StateDirectory::open(&path, &device()).unwrap();
    state.write(Record::Pairing, b"paired").unwrap();
    assert!(matches!(
        state.static_key(|| Zeroizing::new(vec![1])),
        Err(StateError::Damaged { reason: "it is missing, while a pairing with it is stored", .. })
    ));
}

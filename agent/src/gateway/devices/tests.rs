#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use std::os::unix::fs::MetadataExt as _;
use wardlink_update::metadata::{Hashes, Target};
use wardlink_update::report::Image;

fn configured(directory: &Path) -> Configured {
    let line = serde_json::json!({
        "device": {"client": "scale", "identifier": "s1"}, "manufacturer": "acme", "model": "S1", "serial_number": "7",
        "revision": "1A", "hardware": "B", "directory": directory,
    });
    serde_json::from_value(line).unwrap()
}

/// A device that has come with an empty folder.
fn new(folder: &Path) -> Passive {
    fs::create_dir(folder).unwrap();
    Passive::new(configured(folder), None)
}

fn target(bytes: &[u8]) -> Target {
    Target { length: bytes.len() as u64, hashes: Hashes::of(bytes), custom: None }
}

/// What the device is after an update to this revision.
fn after(device: &Passive, revision: &str) -> State {
    let mut state = device.state().unwrap();
    state.characteristics.revision = revision.parse().unwrap();
    state.image = Some(Image { length: 3, sha256: Sha256(Hasher::digest(b"new").into()) });
    state
}

fn runs(device: &Passive) -> String {
    device.state().unwrap().characteristics.revision.to_string()
}

#[test]
fn a_device_runs_the_old_image_until_it_changes_over_and_goes_back_if_it_has_to() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = new(&folder.path().join("s1"));
    assert_eq!(runs(&device), "1A");
    let added = [(AddedKind::SiteSettings, b"{}".to_vec())];
    device.prepare(&image, &target(b"new"), &added, &[]).unwrap();
    assert_eq!(runs(&device), "1A");
    let next = after(&device, "1B");
    device.change_over(&next).unwrap();
    // Again, after a power loss.
    device.change_over(&next).unwrap();
    assert_eq!((runs(&device), fs::read(device.image().unwrap()).unwrap()), ("1B".to_owned(), b"new".to_vec()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o660;
    assert_eq!(mode(&folder.path().join("s1").join(RECORD)), mode(&image), "the group's, where the mask says so");
    assert!(device.image().unwrap().with_file_name("site-settings.json").exists());
    device.go_back().unwrap();
    device.go_back().unwrap();
    assert_eq!(runs(&device), "1A");
    device.change_over(&next).unwrap();
    device.keep().unwrap();
    device.go_back().unwrap();
    assert_eq!(runs(&device), "1B", "what counts stays");
    // Nothing was prepared: there is nothing to change over to.
    assert!(matches!(device.change_over(&after(&device, "1C")), Err(DeviceError::Damaged)));
    assert_eq!(runs(&device), "1B");
}

#[test]
fn an_image_of_which_the_power_has_left_a_part_is_not_run_and_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let parts: [Option<&[u8]>; 6] = [None, Some(b""), Some(b"n"), Some(b"ne"), Some(b"ne\0"), Some(b"new\0")];
    for (number, part) in parts.into_iter().enumerate() {
        let device = new(&folder.path().join(number.to_string()));
        device.prepare(&image, &target(b"new"), &[], &[]).unwrap();
        let (next, written) = (after(&device, "1B"), device.folder().join(Slot::B.folder()).join(IMAGE));
        match part {
            Some(part) => fs::write(written, part).unwrap(),
            None => fs::remove_file(written).unwrap(),
        }
        assert!(matches!(device.change_over(&next), Err(DeviceError::Damaged)), "{part:?}");
        assert_eq!(runs(&device), "1A");
        device.prepare(&image, &target(b"new"), &[], &[]).unwrap();
        device.change_over(&next).unwrap();
        assert_eq!(runs(&device), "1B");
    }
}

#[test]
fn an_image_that_is_not_the_listed_one_is_not_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = new(&folder.path().join("s1"));
    assert!(matches!(device.prepare(&image, &target(b"old"), &[], &[]), Err(DeviceError::Damaged)));
    let failing = Passive::new(configured(&folder.path().join("s1")), Some(FailAt::Prepare));
    assert!(matches!(failing.prepare(&image, &target(b"new"), &[], &[]), Err(DeviceError::Io(_))));
    assert_eq!(runs(&device), "1A");
}

#[test]
fn a_folder_that_is_not_there_is_neither_made_nor_taken_for_a_device_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = Passive::new(configured(&folder.path().join("s1")), None);
    assert!(matches!(device.state(), Err(DeviceError::Away)));
    assert!(matches!(device.prepare(&image, &target(b"new"), &[], &[]), Err(DeviceError::Away)));
    assert!(matches!(device.go_back(), Err(DeviceError::Away)));
    assert!(!device.folder().exists());
    fs::create_dir(device.folder()).unwrap();
    assert_eq!(runs(&device), "1A");
    device.prepare(&image, &target(b"new"), &[], &[]).unwrap();
    let next = after(&device, "1B");
    fs::remove_dir_all(device.folder()).unwrap();
    assert!(matches!(device.change_over(&next), Err(DeviceError::Away)));
    assert!(!device.folder().exists());
}

#[test]
fn added_data_goes_on_with_the_next_image_where_it_is_accepted_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    let device = new(&folder.path().join("s1"));
    let (settings, drugs) = (AddedKind::SiteSettings, AddedKind::DrugLibrary);
    let has = |kind| fs::read(device.image().unwrap().with_file_name(file_of(kind))).ok();
    let update = |bytes: &[u8], revision: &str, added: &[(AddedKind, Vec<u8>)], accepts: &[AddedKind]| {
        fs::write(&image, bytes).unwrap();
        device.prepare(&image, &target(bytes), added, accepts).unwrap();
        let mut next = after(&device, revision);
        next.image = Some(Image { length: 0, sha256: Sha256(Hasher::digest(bytes).into()) });
        device.change_over(&next).unwrap();
        device.keep().unwrap();
    };
    update(b"1", "1B", &[(settings, b"s1".to_vec()), (drugs, b"d1".to_vec())], &[drugs, settings]);
    update(b"2", "1C", &[], &[drugs, settings]);
    assert_eq!((has(settings), has(drugs)), (Some(b"s1".to_vec()), Some(b"d1".to_vec())));
    update(b"3", "1D", &[(drugs, b"d2".to_vec())], &[drugs, settings]);
    assert_eq!((has(settings), has(drugs)), (Some(b"s1".to_vec()), Some(b"d2".to_vec())));
    update(b"4", "1E", &[], &[settings]);
    assert_eq!((has(settings), has(drugs)), (Some(b"s1".to_vec()), None));
    // What cannot be read is not left out.
    let file = device.image().unwrap().with_file_name(file_of(settings));
    fs::write(&file, vec![0; usize::try_from(MAX_ADDED_BYTES).unwrap() + 1]).unwrap();
    assert!(matches!(device.prepare(&image, &target(b"4"), &[], &[settings]), Err(DeviceError::Io(_))));
}

#[test]
fn what_lies_in_its_slot_whole_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = new(&folder.path().join("s1"));
    let added = |text: &str| [(AddedKind::SiteSettings, text.as_bytes().to_vec())];
    let prepare = |added: &[(AddedKind, Vec<u8>)]| device.prepare(&image, &target(b"new"), added, &[]).unwrap();
    let slot = device.slot(Slot::B);
    let written = || fs::metadata(slot.join(IMAGE)).unwrap().ino();
    prepare(&added("s1"));
    let first = written();
    let kept = File::open(slot.join(IMAGE)).unwrap();
    prepare(&added("s1"));
    assert_eq!(written(), first);
    prepare(&added("s2"));
    assert_ne!(written(), first);
    assert_eq!(fs::read(slot.join(file_of(AddedKind::SiteSettings))).unwrap(), b"s2");
    drop(kept);
}

#[test]
fn nobody_goes_back_to_a_slot_that_was_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = new(&folder.path().join("s1"));
    device.prepare(&image, &target(b"new"), &[], &[]).unwrap();
    device.change_over(&after(&device, "1B")).unwrap();
    // It counts, and could not be noted in the device.
    assert!(device.is_on_trial().unwrap());
    device.prepare(&image, &target(b"new"), &[], &[]).unwrap();
    assert!(!device.is_on_trial().unwrap());
    device.go_back().unwrap();
    assert_eq!(runs(&device), "1B");
}

#[test]
fn of_what_cannot_be_prepared_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = new(&folder.path().join("s1"));
    device.prepare(&image, &target(b"old"), &[], &[]).unwrap_err();
    let longer = Target { length: 1 << 60, ..target(b"new") };
    assert!(matches!(device.prepare(&image, &longer, &[], &[]), Err(DeviceError::NoRoom)));
    assert_eq!(fs::read_dir(device.folder()).unwrap().count(), 0);
}

#[test]
fn a_record_that_is_damaged_is_told_and_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let device = Passive::new(configured(folder.path()), None);
    fs::write(folder.path().join(RECORD), b"{").unwrap();
    assert!(matches!(device.state(), Err(DeviceError::Record(_))));
    // One that is no file is not waited for either.
    fs::remove_file(folder.path().join(RECORD)).unwrap();
    let path = |name: &str| folder.path().join(name);
    crate::files::tests::put_no_files([&path(RECORD), &path("folder"), &path("link")]);
    assert!(matches!(device.state(), Err(DeviceError::Io(_))));
}

#[test]
fn a_list_names_each_device_and_each_folder_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("devices.json");
    let line = |client: &str, identifier: &str, directory: &str| {
        serde_json::json!({
            "device": {"client": client, "identifier": identifier}, "manufacturer": "acme", "model": "S1",
            "serial_number": "7", "revision": "1A", "hardware": "B", "directory": directory,
        })
    };
    let read_all = |lines: &[serde_json::Value]| {
        fs::write(&file, serde_json::to_vec(lines).unwrap()).unwrap();
        read(&file)
    };
    assert_eq!(read_all(&[line("scale", "s1", "/a"), line("scale", "s2", "/b")]).unwrap().len(), 2);
    assert!(read_all(&[line("scale", "s1", "/a"), line("scale", "s1", "/b")]).is_err());
    assert!(read_all(&[line("scale", "s1", "/a"), line("scale", "s2", "/a")]).is_err());
    assert!(read_all(&[line("gateway", "s1", "/a")]).is_err());
    assert!(read_all(&[serde_json::json!({"device": "scale"})]).is_err());
}

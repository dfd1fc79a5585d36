#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use wardlink_update::metadata::{Hashes, Target};
use wardlink_update::report::Image;

fn configured(directory: &Path) -> Configured {
    let line = serde_json::json!({
        "device": {"client": "scale", "identifier": "s1"}, "manufacturer": "acme", "model": "S1", "serial_number": "7",
        "revision": "1A", "hardware": "B", "directory": directory,
    });
    serde_json::from_value(line).unwrap()
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
    let device = Passive::new(configured(&folder.path().join("s1")), None);
    assert_eq!(runs(&device), "1A");
    let added = [("site-settings.json".to_owned(), b"{}".to_vec())];
    device.prepare(&image, &target(b"new"), &added).unwrap();
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
        let device = Passive::new(configured(&folder.path().join(number.to_string())), None);
        device.prepare(&image, &target(b"new"), &[]).unwrap();
        let (next, written) = (after(&device, "1B"), device.folder().join(Slot::B.folder()).join(IMAGE));
        match part {
            Some(part) => fs::write(written, part).unwrap(),
            None => fs::remove_file(written).unwrap(),
        }
        assert!(matches!(device.change_over(&next), Err(DeviceError::Damaged)), "{part:?}");
        assert_eq!(runs(&device), "1A");
        device.prepare(&image, &target(b"new"), &[]).unwrap();
        device.change_over(&next).unwrap();
        assert_eq!(runs(&device), "1B");
    }
}

#[test]
fn an_image_that_is_not_the_listed_one_is_not_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("new");
    fs::write(&image, b"new").unwrap();
    let device = Passive::new(configured(&folder.path().join("s1")), None);
    assert!(matches!(device.prepare(&image, &target(b"old"), &[]), Err(DeviceError::Damaged)));
    let failing = Passive::new(configured(&folder.path().join("s1")), Some(FailAt::Prepare));
    assert!(matches!(failing.prepare(&image, &target(b"new"), &[]), Err(DeviceError::Io(_))));
    assert_eq!(runs(&device), "1A");
}

#[test]
fn a_record_that_is_damaged_is_told_and_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let device = Passive::new(configured(folder.path()), None);
    fs::write(folder.path().join(RECORD), b"{").unwrap();
    assert!(matches!(device.state(), Err(DeviceError::Record(_))));
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

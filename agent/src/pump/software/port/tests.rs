#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::device::factory::Factory;
use crate::files::tests::put_no_files;
use wardlink_test_repository::hospital::{Hospital, gateway_package, image, pump_package};

/// What a pump of this package's model trusts when it leaves the factory.
fn trusted(hospital: &Hospital, pump: &Package) -> Trusted {
    let json = |bytes: &[u8]| Some(serde_json::from_slice(bytes).unwrap());
    let factory = Factory {
        version: 1,
        trust: Trust::Manufacturer,
        manufacturer: pump.manufacturer.clone(),
        device_type: pump.device_type.clone(),
        model: pump.model.clone(),
        root: json(&hospital.images.root()),
        targets: json(&hospital.handed_delegator()),
    };
    factory.trusted().unwrap()
}

fn now() -> Moment {
    Moment { site: None, now: UnixMillis(1_800_000_000_000), instant: Instant::now() }
}

#[test]
fn what_lies_there_is_looked_at_until_it_was_taken_and_whenever_it_may_be_judged_otherwise() {
    let hospital = Hospital::of(&pump_package(), &gateway_package());
    let trusted = trusted(&hospital, &pump_package());
    let folder = tempfile::tempdir().unwrap();
    let directive = folder.path().join("directive.json");
    let mut port = Port::new(folder.path().to_owned());
    let looks = |port: &mut Port, moment: Moment| port.changed(&trusted, moment).unwrap();
    let first = now();
    assert!(looks(&mut port, first).is_none());
    fs::write(&directive, "a directive").unwrap();
    assert!(looks(&mut port, first).is_some());
    let handed = looks(&mut port, first).expect("it could not be taken");
    port.taken(handed);
    assert!(looks(&mut port, first).is_none());
    let hour = Duration::from_hours(1);
    let later = Moment { now: first.now.after(hour), instant: first.instant + hour, ..first };
    assert!(looks(&mut port, later).is_none(), "time passes");
    for other in [
        Moment { site: Some(Sha256([1; Sha256::LENGTH])), ..later },
        Moment { now: later.now.after(hour), ..later },
        Moment { now: first.now, ..later },
    ] {
        assert!(looks(&mut port, other).is_some());
    }
    // The stick is pulled out, and put in again as it was.
    let aside = tempfile::tempdir().unwrap();
    fs::rename(&directive, aside.path().join("directive.json")).unwrap();
    assert!(looks(&mut port, later).is_none());
    fs::rename(aside.path().join("directive.json"), &directive).unwrap();
    assert!(looks(&mut port, later).is_some());
}

#[test]
fn an_export_is_read_whose_makers_and_models_names_have_spaces_and_signs() {
    let maker = |package: Package| Package { manufacturer: "Acme Inc+Co".parse().unwrap(), ..package };
    let (pump, own) = (maker(pump_package()), maker(gateway_package()));
    let pump = Package { model: "PM 2+b".parse().unwrap(), ..pump };
    let mut hospital = Hospital::of(&pump, &own);
    // As the release tool exports it: the names of roles are escaped in those of files, and the paths of targets are not.
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = (hospital.path_of(&pump), image(&pump));
    let target = hospital.images.author("Acme Inc+Co").targets()[&path].clone();
    let place = folder.path().join("targets").join(target.file_name(&path));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, &bytes).unwrap();
    fs::create_dir(folder.path().join("metadata")).unwrap();
    let version = hospital.images.author("Acme Inc+Co").version;
    let release = hospital.images.files[&format!("{version}.Acme Inc+Co.json")].clone();
    fs::write(folder.path().join(format!("metadata/{version}.Acme%20Inc%2BCo.json")), &release).unwrap();

    let mut port = Port::new(folder.path().to_owned());
    let handed = port.changed(&trusted(&hospital, &pump), now()).unwrap().expect("what is there");
    assert_eq!(handed.release, Some(release));
    assert_eq!(handed.path(hospital.pump()), Some(path.clone()));
    assert_eq!(port.image(&path, &target, 0), Some(bytes));
}

#[test]
fn what_is_no_file_on_a_stick_is_not_there_and_nothing_is_waited_for() {
    let (pump, own) = (pump_package(), gateway_package());
    let mut hospital = Hospital::of(&pump, &own);
    let path = hospital.path_of(&pump);
    let target = hospital.images.author(pump.manufacturer.as_str()).targets()[&path].clone();
    let folder = tempfile::tempdir().unwrap();
    let at = |place: &str| folder.path().join(place);
    for folder in ["metadata", "director", "added"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let image = folder.path().join(Port::place_of_image(&path, &target));
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    let added = Sha256([1; Sha256::LENGTH]);
    put_no_files([&at("directive.json"), &at("metadata/2.root.json"), &at("director-root.cose")]);
    put_no_files([&image, &at("metadata/9.targets.json"), &folder.path().join(Port::place_of_added(added))]);
    fs::write(at("metadata/something"), "").unwrap();

    let mut port = Port::new(folder.path().to_owned());
    assert!(port.changed(&trusted(&hospital, &pump), now()).unwrap().is_none());
    assert_eq!(port.image(&path, &target, 0), None);
    assert_eq!(port.added(added), None);
}

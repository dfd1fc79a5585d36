//! What is offered, and what becomes of it.

use super::bench::{Bench, calm, drugs, factory_image, identity, reason, settings, works};
use crate::device::disk::model::Model;
use crate::device::disk::{Disk as _, Name};
use crate::device::image::MAX_IMAGE_BYTES;
use crate::device::slots::{Installed, Slot};
use crate::device::trusted::News;
use crate::device::{DeltaRefused, Device, DeviceError, Doing, Offer, Offered, Tested};
use p256::ecdsa::SigningKey;
use wardlink_protocol::Device as DeviceName;
use wardlink_test_repository::NOW;
use wardlink_test_repository::device_attacks::DEVICE_ATTACKS;
use wardlink_test_repository::hospital::{OLD_IMAGE, gateway_package, image, pump_package};
use wardlink_test_repository::{key, public};
use wardlink_update::director::When;
use wardlink_update::key::Key;
use wardlink_update::metadata::Version;
use wardlink_update::package::{AddedKind, BoundFile, DeltaFormat, Package, Recall};
use wardlink_update::report::{DeviceReport, InvalidReport, Known};
use wardlink_update::uptane::{
    Attack, Circumstances, Corrupt, Handed, MAX_RETRIES, Outcome, Postponed, Shortcut, Trust,
};

fn accepted(bench: &Bench) -> Device<Model> {
    let mut pump = bench.pump();
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Accepted);
    pump
}

fn installed(bench: &Bench) -> Device<Model> {
    let mut pump = accepted(bench);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
    pump.restart(works).unwrap();
    pump
}

fn outcomes(pump: &Device<Model>) -> Vec<Outcome> {
    pump.outcomes().iter().map(|told| told.outcome.clone()).collect()
}

#[test]
fn an_update_is_installed_reported_and_its_predecessor_deleted() {
    let bench = Bench::new();
    let pump = installed(&bench);
    assert_eq!(pump.image(), image(&pump_package()));
    let state = pump.state();
    assert_eq!((state.characteristics.revision.as_str(), state.release_counter.unwrap().number()), ("1B", 2));
    assert_eq!(pump.outcomes()[0].outcome, Outcome::Begun);
    let told = &pump.outcomes()[1];
    assert_eq!(
        (told.directive, told.path.clone()),
        (bench.hospital.version, Some(bench.hospital.path_of(&pump_package())))
    );
    assert!(matches!(&told.outcome, Outcome::Installed { revision, .. } if revision.as_str() == "1B"));
    assert_eq!(pump.disk.names().unwrap(), [Name::Record, Name::Slot(Slot::B)]);
    // What was told is not told again; the same directive has nothing for it any more.
    let mut pump = pump;
    for told in pump.outcomes().to_vec() {
        pump.told(&told).unwrap();
    }
    assert!(pump.outcomes().is_empty());
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Nothing);
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Idle);
}

#[test]
fn the_replaced_image_stays_until_the_new_one_has_proved_itself() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    bench.serve(&mut pump, &calm()).unwrap();
    assert_eq!(pump.disk.bytes(Name::Slot(Slot::A)), Some(OLD_IMAGE));
    assert_eq!(pump.image(), OLD_IMAGE);
    let mut asked = 0;
    pump.restart(|bytes: &[u8], installed: &Installed| {
        asked += 1;
        assert_eq!((bytes, installed.revision.as_str()), (image(&pump_package()).as_slice(), "1B"));
        Tested::Failed("the motor does not turn".to_owned())
    })
    .unwrap();
    assert_eq!((asked, pump.image()), (1, OLD_IMAGE));
    assert_eq!(reason(&pump), "the motor does not turn");
    assert_eq!(pump.disk.names().unwrap(), [Name::Record, Name::Slot(Slot::A)]);
    // The same directive is not tried for ever; a new one is.
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::TriedBefore);
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Idle);
    let mut bench = bench;
    bench.direct(|_| ());
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Accepted);
}

#[test]
fn every_attack_on_a_device_is_refused_at_its_step_and_changes_nothing() {
    for attack in DEVICE_ATTACKS {
        let bedside = attack.make();
        let mut pump = Bench::new().pump();
        let mut next = pump.software.clone();
        let trusted = next.trusted.as_mut().unwrap();
        (trusted.provisioned, trusted.seen) = (bedside.provisioned.clone(), bedside.seen);
        let is = &bedside.state.characteristics;
        pump.identity.device = is.device.clone();
        pump.identity.hardware = is.hardware.clone();
        pump.identity.serial_number = is.serial_number.clone();
        next.slots.active.revision = is.revision.clone();
        next.slots.active.release_counter = bedside.state.release_counter;
        pump.store(next).unwrap();
        let before = pump.software.clone();
        let handed =
            Handed { server: bedside.server.as_deref(), manufacturer: bedside.manufacturer.as_deref(), path: None };
        let offered = pump.offer(&Offer { news: News::default(), handed }, NOW).unwrap();
        let Offered::Refused(refused) = offered else { panic!("{}: {offered:?}", attack.name) };
        assert_eq!(refused.step.0, attack.step, "{}", attack.name);
        assert!(reason(&pump).starts_with(attack.step), "{}: {}", attack.name, reason(&pump));
        // The server learns of the attack by the next report.
        assert_eq!(pump.state().attack.is_some(), refused.attack().is_some(), "{}", attack.name);
        assert_eq!((&pump.software.trusted, &pump.software.job), (&before.trusted, &None), "{}", attack.name);
        assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Idle);
    }
}

#[test]
fn a_refused_offer_does_not_end_an_update_on_its_way_but_a_recall_does() {
    let mut bench = Bench::new();
    let mut pump = accepted(&bench);
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { .. }));
    let refused = pump.offer(&Offer::default(), NOW).unwrap();
    assert!(matches!(refused, Offered::Refused(_)));
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { .. }));
    let recalled = Package { recalled: Some(Recall { reason: "a fault".parse().unwrap() }), ..pump_package() };
    let orders = bench.hospital.orders();
    bench.hospital.release(&recalled);
    bench.hospital.images.bump();
    bench.hospital.direct_forged(&orders, |signed| {
        for target in signed["targets"].as_object_mut().unwrap().values_mut() {
            target["custom"]["package"] = serde_json::to_value(&recalled).unwrap();
        }
    });
    assert!(matches!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Refused(_)));
    assert!(reason(&pump).starts_with("5.4.3.4 step 1"), "{}", reason(&pump));
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Idle);
    assert_eq!(pump.disk.bytes(Name::Slot(Slot::B)), None);
}

#[test]
fn a_directive_without_work_ends_an_update_that_has_not_switched() {
    let mut bench = Bench::new();
    let mut pump = accepted(&bench);
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { .. }));
    bench.hospital.direct(&[]);
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Nothing);
    assert_eq!((pump.go_on(&calm()).unwrap(), pump.image()), (Doing::Idle, OLD_IMAGE));
    assert_eq!(pump.disk.bytes(Name::Slot(Slot::B)), None);
}

#[test]
fn the_same_update_directed_anew_goes_on_where_it_was() {
    let mut bench = Bench::new();
    let mut pump = accepted(&bench);
    let Doing::WantsImage { position: 0, .. } = pump.go_on(&calm()).unwrap() else { panic!("nothing is wanted") };
    pump.take_image(0, &image(&pump_package())[..7], NOW).unwrap();
    bench.direct(|_| ());
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Accepted);
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { position: 7, .. }));
}

#[test]
fn nothing_is_done_before_its_moment() {
    let windowed = When::Window { from: NOW + 10, until: NOW + 20 };
    let at = |now| Circumstances { now, ..calm() };
    for (when, held, why, released) in [
        (When::AtOnce, Circumstances { therapy_runs: true, ..calm() }, Postponed::Therapy, calm()),
        (When::NextSafeMoment, Circumstances { is_safe: false, ..calm() }, Postponed::Unsafe, calm()),
        (windowed, at(NOW), Postponed::Window, at(NOW + 10)),
        (windowed, at(NOW + 20), Postponed::Window, at(NOW + 19)),
    ] {
        let bench = Bench::when(when);
        let mut pump = accepted(&bench);
        for _ in 0..3 {
            assert_eq!(pump.go_on(&held).unwrap(), Doing::Postponed(why));
        }
        assert_eq!(outcomes(&pump), [Outcome::Postponed(why)], "told once");
        assert_eq!(pump.disk.bytes(Name::Slot(Slot::B)), None);
        assert_eq!(bench.serve(&mut pump, &released).unwrap(), Doing::Restart);
    }
    // A therapy that begins on the way holds it up as well, and so does what the director would have at once.
    let bench = Bench::when(When::AtOnce);
    let mut pump = accepted(&bench);
    let therapy = Circumstances { therapy_runs: true, ..calm() };
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { .. }));
    pump.take_image(0, &image(&pump_package()), NOW).unwrap();
    assert_eq!(pump.go_on(&therapy).unwrap(), Doing::Postponed(Postponed::Therapy));
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Restart);
}

#[test]
fn that_it_is_written_is_told_each_time_that_it_begins_or_goes_on() {
    let bench = Bench::when(When::NextSafeMoment);
    let mut pump = accepted(&bench);
    let unsafe_now = Circumstances { is_safe: false, ..calm() };
    let mut told = Vec::new();
    let mut tells = |pump: &Device<Model>, more: &[Outcome]| {
        told.extend_from_slice(more);
        assert_eq!(outcomes(pump), told);
    };
    // It waits before it begins, and once more for the same while it is written.
    for _ in 0..2 {
        for _ in 0..2 {
            pump.go_on(&unsafe_now).unwrap();
        }
        tells(&pump, &[Outcome::Postponed(Postponed::Unsafe)]);
        for _ in 0..2 {
            pump.go_on(&calm()).unwrap();
        }
        tells(&pump, &[Outcome::Begun]);
    }
    let forged = vec![0; Bench::bytes(&pump).len()];
    let mut at = calm();
    for _ in 0..2 {
        pump.take_image(0, &forged, at.now).unwrap();
        let Doing::RetryAt(again) = pump.go_on(&at).unwrap() else { panic!("it is not asked for again") };
        at.now = again;
        pump.go_on(&at).unwrap();
        tells(&pump, &[Outcome::Corrupt, Outcome::Begun]);
    }
    assert_eq!(bench.serve(&mut pump, &at).unwrap(), Doing::Restart);
    pump.restart(works).unwrap();
    assert!(matches!(outcomes(&pump).last(), Some(Outcome::Installed { .. })));
}

#[test]
fn a_therapy_goes_on_beside_an_update_that_its_manufacturer_has_allowed() {
    let bench = Bench::with(&Package { during_therapy: true, ..pump_package() }, |order| {
        order.assignments.iter_mut().for_each(|assignment| assignment.when = When::AtOnce);
    });
    let mut pump = accepted(&bench);
    let therapy = Circumstances { therapy_runs: true, ..calm() };
    assert_eq!(bench.serve(&mut pump, &therapy).unwrap(), Doing::Restart);
}

#[test]
fn what_is_to_be_confirmed_waits_for_a_person_also_after_a_restart() {
    let bench = Bench::when(When::OnConfirmation);
    let mut pump = accepted(&bench);
    let claimed = Circumstances { is_confirmed: true, ..calm() };
    assert_eq!(pump.go_on(&claimed).unwrap(), Doing::Postponed(Postponed::Confirmation));
    pump.restart(works).unwrap();
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Postponed(Postponed::Confirmation));
    pump.confirmed_by_person().unwrap();
    pump.restart(works).unwrap();
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
    let mut idle = Bench::new().pump();
    assert!(matches!(idle.confirmed_by_person(), Err(DeviceError::NotWanted(_))));
}

#[test]
fn what_ended_while_it_waited_is_not_installed() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    pump.go_on(&calm()).unwrap();
    pump.take_image(0, &image(&pump_package()), NOW).unwrap();
    let late = Circumstances { now: NOW + 86_400, ..calm() };
    assert_eq!(pump.go_on(&late).unwrap(), Doing::Idle);
    assert!(reason(&pump).starts_with("5.4.4.6 step 5"), "{}", reason(&pump));
    assert_eq!(pump.image(), OLD_IMAGE);
}

#[test]
fn a_corrupt_image_is_asked_for_again_with_pauses_and_then_given_up() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    let mut forged = image(&pump_package());
    forged[5] ^= 1;
    let mut at = calm();
    for retry in 0..=MAX_RETRIES {
        assert!(matches!(pump.go_on(&at).unwrap(), Doing::WantsImage { position: 0, .. }));
        pump.take_image(0, &forged, at.now).unwrap();
        match pump.go_on(&at).unwrap() {
            Doing::RetryAt(again) => assert_eq!(again, at.now + (60 << retry)),
            Doing::Idle => assert_eq!(retry, MAX_RETRIES),
            other => panic!("{other:?}"),
        }
        pump.restart(works).unwrap();
        if let Doing::RetryAt(again) = pump.go_on(&at).unwrap() {
            at.now = again;
        }
    }
    assert!(outcomes(&pump).chunks(2).all(|pair| pair == [Outcome::Begun, Outcome::Corrupt]));
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::TriedBefore);
    assert_eq!(pump.image(), OLD_IMAGE);
}

#[test]
fn bytes_beyond_the_end_or_in_another_place_are_not_written() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    assert!(matches!(pump.take_image(0, b"early", NOW), Err(DeviceError::NotWanted(_))));
    pump.go_on(&calm()).unwrap();
    assert!(matches!(pump.take_image(1, b"gap", NOW), Err(DeviceError::NotWanted(_))));
    let endless = [image(&pump_package()), b"!".to_vec()].concat();
    pump.take_image(0, &endless, NOW).unwrap();
    assert_eq!(outcomes(&pump), [Outcome::Begun, Outcome::Corrupt]);
    assert_eq!(pump.disk.bytes(Name::Slot(Slot::B)), None);
}

#[test]
fn a_full_disk_fails_the_update_and_loses_nothing() {
    let bench = Bench::with_added(&[(AddedKind::SiteSettings, settings(1))]);
    let [hash] = bench.added.keys().copied().collect::<Vec<_>>()[..] else { panic!("one file") };
    for full in [Name::Slot(Slot::B), Name::Added(hash)] {
        let mut pump = accepted(&bench);
        pump.disk.full = vec![full];
        assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Idle);
        assert_eq!(reason(&pump), "the device's storage is full");
        assert_eq!(pump.disk.names().unwrap(), [Name::Record, Name::Slot(Slot::A)]);
        pump.restart(works).unwrap();
        assert_eq!(pump.image(), OLD_IMAGE);
    }
    // The same where there is no room for it on its way.
    let mut pump = accepted(&bench);
    assert!(matches!(pump.go_on(&calm()).unwrap(), Doing::WantsImage { .. }));
    pump.has_no_room().unwrap();
    assert_eq!((pump.go_on(&calm()).unwrap(), reason(&pump).as_str()), (Doing::Idle, "the device's storage is full"));
    // Where not even that can be stored, the update stands where it stood, and goes on when there is room.
    let mut pump = accepted(&bench);
    pump.disk.full = vec![Name::NewRecord];
    for _ in 0..2 {
        assert!(matches!(bench.serve(&mut pump, &calm()), Err(DeviceError::Store(_))));
    }
    pump.disk.full.clear();
    pump.restart(works).unwrap();
    assert_eq!(pump.image(), OLD_IMAGE);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
}

#[test]
fn where_the_start_of_a_trial_cannot_be_stored_what_has_proved_itself_runs_until_there_is_room() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
    pump.disk.full = vec![Name::NewRecord];
    let untried = |_: &[u8], _: &Installed| panic!("its start was not counted");
    pump.restart(untried).unwrap();
    assert_eq!((pump.image(), pump.runs().slot), (OLD_IMAGE, Slot::A));
    assert!(matches!(pump.go_on(&calm()), Err(DeviceError::Store(_))));
    // The same after another start.
    let mut pump = bench.open(pump.disk, untried).unwrap();
    assert_eq!(pump.image(), OLD_IMAGE);
    pump.disk.full.clear();
    let therapy = Circumstances { therapy_runs: true, ..calm() };
    assert_eq!(pump.go_on(&therapy).unwrap(), Doing::Postponed(Postponed::Therapy));
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Restart);
    // There is room for the count, and then none for what came of it.
    let mut disk = pump.disk.clone();
    disk.steps_left = Some(4);
    let mut trial = bench.open(&mut disk, works).unwrap();
    assert_eq!(trial.image(), OLD_IMAGE);
    assert!(trial.go_on(&calm()).is_err());
    pump.restart(works).unwrap();
    assert_eq!((pump.image(), pump.runs().slot), (image(&pump_package()).as_slice(), Slot::B));
}

#[test]
fn a_trial_that_could_not_be_counted_is_started_also_when_its_window_is_over() {
    let bench = Bench::when(When::Window { from: NOW, until: NOW + 20 });
    let mut pump = accepted(&bench);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
    pump.disk.full = vec![Name::NewRecord];
    pump.restart(works).unwrap();
    assert_eq!(pump.image(), OLD_IMAGE);
    pump.disk.full.clear();
    let over = Circumstances { now: NOW + 30, ..calm() };
    assert_eq!(
        pump.go_on(&Circumstances { therapy_runs: true, ..over }).unwrap(),
        Doing::Postponed(Postponed::Therapy)
    );
    assert_eq!(pump.go_on(&over).unwrap(), Doing::Restart);
    pump.restart(works).unwrap();
    assert_eq!(pump.image(), image(&pump_package()));
}

#[test]
fn an_image_that_no_slot_holds_is_not_begun() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    let mut next = pump.software.clone();
    next.job.as_mut().unwrap().target.length = MAX_IMAGE_BYTES + 1;
    pump.store(next).unwrap();
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Idle);
    assert!(reason(&pump).contains("longer than"), "{}", reason(&pump));
}

#[test]
fn added_data_is_installed_with_the_update_or_neither_is() {
    let files = [(AddedKind::DrugLibrary, drugs()), (AddedKind::SiteSettings, settings(1))];
    let bench = Bench::with_added(&files);
    let pump = installed(&bench);
    for (kind, bytes) in &files {
        assert_eq!(pump.added(*kind).unwrap().as_ref(), Some(bytes));
    }
    // Taken back, the device has neither.
    let mut pump = accepted(&bench);
    bench.serve(&mut pump, &calm()).unwrap();
    pump.restart(|_: &[u8], _: &Installed| Tested::Failed("no".to_owned())).unwrap();
    assert!(AddedKind::ALL.iter().all(|kind| pump.added(*kind).unwrap().is_none()));
    // Another file than the listed one is asked for again, as a corrupt image is.
    let mut pump = accepted(&bench);
    let Doing::WantsImage { .. } = pump.go_on(&calm()).unwrap() else { panic!("no image is wanted") };
    pump.take_image(0, &Bench::bytes(&pump), NOW).unwrap();
    let Doing::WantsAdded(added) = pump.go_on(&calm()).unwrap() else { panic!("no data is wanted") };
    pump.take_added(added.file.sha256, &settings(2), NOW).unwrap();
    assert_eq!(outcomes(&pump), [Outcome::Begun, Outcome::Corrupt]);
    // Data that its server should never have signed ends it.
    let silent = String::from_utf8(settings(1)).unwrap().replace(":70", ":0").into_bytes();
    let bench = Bench::with_added(&[(AddedKind::SiteSettings, silent)]);
    let mut pump = accepted(&bench);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Idle);
    assert!(reason(&pump).starts_with("figure 5B, 125"), "{}", reason(&pump));
    assert_eq!((pump.image(), pump.disk.names().unwrap().len()), (OLD_IMAGE, 2));
}

#[test]
fn a_delta_makes_the_same_image_and_what_does_not_is_fetched_whole() {
    let bench = Bench::new();
    let new = image(&pump_package());
    let path = |name: &str| pump_package().folder().path(name).unwrap();
    let shortcut = |delta: &[u8], source: &[u8]| Shortcut {
        file: BoundFile::of(path("1A-1B.delta"), delta),
        format: DeltaFormat::Bsdiff,
        source: BoundFile::of(path("1A.bin"), source),
    };
    // Images of a few lines have no delta that is smaller: what refuses it is the delta's own check.
    let mut pump = accepted(&bench);
    pump.go_on(&calm()).unwrap();
    let refused = pump.take_delta(&shortcut(b"no delta", OLD_IMAGE), b"no delta").unwrap();
    assert!(matches!(refused, Err(DeltaRefused::Apply(_))));
    let refused = pump.take_delta(&shortcut(b"a delta", OLD_IMAGE), b"other!!").unwrap();
    assert!(matches!(refused, Err(DeltaRefused::Corrupt(Corrupt::Hash))));
    let refused = pump.take_delta(&shortcut(b"a delta", &new), b"a delta").unwrap();
    assert!(matches!(refused, Err(DeltaRefused::Source)));
    assert_eq!(outcomes(&pump), [Outcome::Begun]);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
}

/// The pumps' update, as one of a set with the gateway's.
fn of_a_set() -> (Bench, Device<Model>) {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    let mut next = pump.software.clone();
    next.job.as_mut().unwrap().package.atomic = vec![gateway_package().member()];
    pump.store(next).unwrap();
    (bench, pump)
}

#[test]
fn a_member_of_a_set_changes_over_with_the_others_only() {
    let (bench, mut pump) = of_a_set();
    assert!(matches!(pump.commit(), Err(DeviceError::NotWanted(_))));
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Prepared);
    pump.restart(works).unwrap();
    assert_eq!((pump.go_on(&calm()).unwrap(), pump.image()), (Doing::Prepared, OLD_IMAGE));
    pump.commit().unwrap();
    assert_eq!(pump.go_on(&calm()).unwrap(), Doing::Restart);
    for _ in 0..5 {
        pump.restart(works).unwrap();
        assert_eq!(pump.go_on(&calm()).unwrap(), Doing::WaitsForSet);
        assert_eq!((pump.image(), outcomes(&pump)), (image(&pump_package()).as_slice(), vec![Outcome::Begun]));
        assert_eq!(pump.disk.bytes(Name::Slot(Slot::A)), Some(OLD_IMAGE));
    }
    pump.settle().unwrap();
    assert!(matches!(outcomes(&pump)[..], [Outcome::Begun, Outcome::Installed { .. }]));
    assert_eq!(pump.disk.bytes(Name::Slot(Slot::A)), None);
    assert!(matches!(pump.settle(), Err(DeviceError::NotWanted(_))));
}

#[test]
fn a_set_that_fails_elsewhere_is_given_up_here_too_at_every_stage() {
    let why = "gateway/ward-3 cannot";
    // Prepared: nothing has changed.
    let (bench, mut pump) = of_a_set();
    bench.serve(&mut pump, &calm()).unwrap();
    assert!(!pump.abort(why).unwrap());
    assert_eq!((pump.go_on(&calm()).unwrap(), reason(&pump).as_str()), (Doing::Idle, why));
    // Changed over, and working: it goes back.
    let (bench, mut pump) = of_a_set();
    bench.serve(&mut pump, &calm()).unwrap();
    pump.commit().unwrap();
    pump.go_on(&calm()).unwrap();
    pump.restart(works).unwrap();
    assert!(pump.abort(why).unwrap());
    pump.restart(works).unwrap();
    assert_eq!((pump.image(), reason(&pump).as_str()), (OLD_IMAGE, why));
    // What stands alone is nobody else's to end.
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    assert!(matches!(pump.abort(why), Err(DeviceError::NotWanted(_))));
}

#[test]
fn while_an_image_is_on_trial_nothing_else_is_begun() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    bench.serve(&mut pump, &calm()).unwrap();
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Busy);
}

#[test]
fn what_a_model_trusts_decides_whose_word_installs() {
    let mut bench = Bench::new();
    bench.trust = Trust::Manufacturer;
    let pump = installed(&bench);
    assert_eq!(pump.image(), image(&pump_package()));
    bench.trust = Trust::Server;
    let pump = installed(&bench);
    assert_eq!(pump.image(), image(&pump_package()));
    // A pump that knows no site is directed by nobody.
    bench.trust = Trust::Both;
    let mut stray = bench.open(Model::default(), works).unwrap();
    assert!(matches!(bench.offer_to(&mut stray, NOW).unwrap(), Offered::Refused(_)));
    assert!(stray.state().attack.is_some());
    let mut unprovisioned = Device::open(Model::default(), identity(), None, factory_image(), works).unwrap();
    assert!(matches!(bench.offer_to(&mut unprovisioned, NOW), Err(DeviceError::Unprovisioned)));
}

#[test]
fn a_stolen_server_key_installs_nothing_and_is_reported() {
    let mut bench = Bench::new();
    bench.hospital.direct_forged_order(|order| order["length"] = 5.into());
    let mut pump = bench.pump();
    let Offered::Refused(refused) = bench.offer_to(&mut pump, NOW).unwrap() else { panic!("it is accepted") };
    assert_eq!((refused.step.0, refused.attack()), ("5.4.4.2 step 10.2.1", Some(Attack::MixAndMatch)));
    assert!(pump.state().attack.unwrap().as_str().contains("10.2.1"));
    // What its server says next is taken again, and the attack was told.
    bench.direct(|_| ());
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Accepted);
    assert_eq!(pump.state().attack, None);
}

#[test]
fn whoever_offers_nonsense_does_not_drive_out_the_word_of_what_was_installed() {
    let bench = Bench::new();
    let mut pump = installed(&bench);
    for _ in 0..super::super::MAX_UNTOLD {
        let garbage = Handed { server: Some(b"garbage"), ..Handed::default() };
        pump.offer(&Offer::default(), NOW).unwrap();
        pump.offer(&Offer { news: News::default(), handed: garbage }, NOW).unwrap();
    }
    assert_eq!(pump.outcomes().len(), super::super::MAX_UNTOLD);
    assert!(matches!(pump.outcomes()[0].outcome, Outcome::Installed { .. }));
}

struct Server(Key, Version);

impl Known for Server {
    fn key(&self, _: &DeviceName) -> Option<Key> {
        Some(self.0.clone())
    }

    fn counter(&self, _: &DeviceName) -> Version {
        self.1
    }
}

#[test]
fn every_report_has_a_counter_of_its_own_whatever_happens() {
    let bench = Bench::new();
    let mut pump = bench.pump();
    let signer: SigningKey = key(77);
    let mut server = Server(public(77), 0);
    for seen in [0, 0, 41, 0] {
        let report = pump.report(&signer, seen, NOW).unwrap();
        let (state, counter) = DeviceReport::verify(&report, &server, NOW).unwrap();
        assert_eq!(state, pump.state());
        assert!(counter > server.1.max(seen));
        server.1 = counter;
        assert!(matches!(DeviceReport::verify(&report, &server, NOW), Err(InvalidReport::Replayed(_))));
        pump = bench.open(pump.disk, works).unwrap();
    }
    // What could not be stored is not sent.
    pump.disk.full = vec![Name::NewRecord];
    assert!(pump.report(&signer, 0, NOW).is_err());
}

#[test]
fn a_device_that_leaves_its_site_forgets_who_directs() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    pump.go_on(&calm()).unwrap();
    pump.leave_site().unwrap();
    assert_eq!((pump.go_on(&calm()).unwrap(), pump.image()), (Doing::Idle, OLD_IMAGE));
    assert!(matches!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Refused(_)));
    pump.directed_by(&bench.director_root(NOW - 5)).unwrap();
    assert_eq!(bench.offer_to(&mut pump, NOW).unwrap(), Offered::Accepted);
    // What the site has added goes with it; the program stays.
    let bench = Bench::with_added(&[(AddedKind::SiteSettings, settings(1))]);
    let mut pump = installed(&bench);
    pump.leave_site().unwrap();
    assert_eq!((pump.added(AddedKind::SiteSettings).unwrap(), pump.disk.names().unwrap().len()), (None, 2));
    pump.restart(works).unwrap();
    assert_eq!(pump.image(), image(&pump_package()));
}

#[test]
fn a_device_that_leaves_its_site_keeps_no_image_that_was_never_tested() {
    let bench = Bench::new();
    let mut pump = accepted(&bench);
    assert_eq!(bench.serve(&mut pump, &calm()).unwrap(), Doing::Restart);
    pump.leave_site().unwrap();
    pump.restart(|_: &[u8], _: &Installed| Tested::Failed("the motor does not turn".to_owned())).unwrap();
    assert_eq!((pump.image(), pump.runs().revision.as_str()), (OLD_IMAGE, "1A"));
    assert_eq!(pump.disk.names().unwrap(), [Name::Record, Name::Slot(Slot::A)]);
}

#[test]
fn a_damaged_image_is_never_run() {
    let bench = Bench::new();
    let mut pump = bench.pump();
    pump.disk.spoil(Name::Slot(Slot::A), |bytes| bytes[3] ^= 1);
    assert!(matches!(pump.restart(works), Err(DeviceError::ImageDamaged)));
    // On trial, it is taken back before anybody asks it anything.
    let mut pump = accepted(&bench);
    bench.serve(&mut pump, &calm()).unwrap();
    pump.disk.spoil(Name::Slot(Slot::B), |bytes| bytes.truncate(9));
    pump.restart(|_: &[u8], _: &Installed| panic!("it is run")).unwrap();
    assert_eq!(pump.image(), OLD_IMAGE);
    assert!(reason(&pump).contains("not what was written"), "{}", reason(&pump));
}

#[test]
fn a_device_keeps_the_factory_file_that_it_was_made_by() {
    let mut bench = Bench::new();
    let pump = bench.pump();
    bench.trust = Trust::Server;
    assert!(matches!(bench.open(pump.disk, works), Err(DeviceError::OtherFactory)));
}

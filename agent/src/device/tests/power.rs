//! The power goes, at every step.

use super::bench::{Bench, calm, drugs, settings, works};
use crate::device::disk::Name;
use crate::device::disk::model::{Loss, Model};
use crate::device::slots::{Installed, Slot};
use crate::device::{Device, DeviceError, Doing, Tested};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use wardlink_test_repository::NOW;
use wardlink_test_repository::hospital::{OLD_IMAGE, image, pump_package};
use wardlink_update::package::AddedKind;
use wardlink_update::uptane::Outcome;

fn added() -> Bench {
    Bench::with_added(&[(AddedKind::DrugLibrary, drugs()), (AddedKind::SiteSettings, settings(1))])
}

fn new_image() -> Vec<u8> {
    image(&pump_package())
}

/// A pump from its start to the end of its update, as long as there is power.
fn live(bench: &Bench, disk: &mut Model, test: &mut dyn FnMut(&[u8], &Installed) -> Tested) -> Result<(), DeviceError> {
    let mut pump = bench.open(disk, &mut *test)?;
    pump.directed_by(&bench.director_root(NOW))?;
    bench.offer_to(&mut pump, NOW)?;
    while bench.serve(&mut pump, &calm())? == Doing::Restart {
        pump.restart(&mut *test)?;
    }
    Ok(())
}

/// Whatever was left of a pump boots the old image or the new one, whole, with the data that belongs to it.
fn boots(bench: &Bench, disk: &mut Model) {
    let pump = bench.open(disk, works).expect("it boots");
    let has_data = AddedKind::ALL.map(|kind| pump.added(kind).unwrap().is_some());
    match pump.runs().revision.as_str() {
        "1A" => assert_eq!((pump.image(), has_data), (OLD_IMAGE, [false, false])),
        "1B" => assert_eq!((pump.image(), has_data), (new_image().as_slice(), [true, true])),
        other => panic!("{other}"),
    }
}

/// Whether the end of the update is stored.
fn is_told(bench: &Bench, disk: &Model) -> bool {
    let ended = |told: &Outcome| matches!(told, Outcome::Installed { .. } | Outcome::Failed { .. });
    let pump = bench.open(disk.after(Loss::all().next().unwrap()), works).unwrap();
    pump.outcomes().iter().any(|told| ended(&told.outcome))
}

/// The end of the update, however often the power went: it is installed, told once, and nothing else lies around.
fn is_installed(bench: &Bench, disk: &mut Model) {
    live(bench, disk, &mut works).unwrap();
    let names = crate::device::disk::Disk::names(disk).unwrap();
    let pump = bench.open(disk, works).unwrap();
    assert_eq!((pump.image(), pump.runs().slot), (new_image().as_slice(), Slot::B));
    let installed = |outcome: &Outcome| matches!(outcome, Outcome::Installed { .. });
    let told = pump.outcomes().iter().filter(|told| installed(&told.outcome)).count();
    let others = pump.outcomes().iter().filter(|told| told.outcome != Outcome::Begun).count();
    assert_eq!((told, others), (1, 1));
    let added: Vec<_> = bench.added.keys().map(|hash| Name::Added(*hash)).collect();
    assert_eq!(names, [vec![Name::Record, Name::Slot(Slot::B)], added].concat());
}

#[test]
fn after_a_power_loss_at_any_step_the_device_boots_one_image_whole_and_goes_on_to_the_end() {
    let bench = added();
    let mut whole = Model::default();
    live(&bench, &mut whole, &mut works).unwrap();
    is_installed(&bench, &mut whole.clone());
    assert!(whole.steps > 60, "{}", whole.steps);
    let mut seen = BTreeSet::new();
    for steps in 0..whole.steps {
        let mut disk = Model::default().powered_for(steps);
        // It ends well where only what is of no use any more could not be removed.
        let ended = live(&bench, &mut disk, &mut works);
        assert!(ended.is_err() || is_told(&bench, &disk), "the power is gone");
        for mut after in Loss::all().map(|loss| disk.after(loss)) {
            if !seen.insert(after.files()) {
                continue;
            }
            boots(&bench, &mut after.clone());
            is_installed(&bench, &mut after);
        }
    }
}

#[test]
fn a_release_that_fails_its_test_is_taken_back_whenever_the_power_goes() {
    let bench = added();
    let mut fails = |_: &[u8], _: &Installed| Tested::Failed("the motor does not turn".to_owned());
    let mut whole = Model::default();
    live(&bench, &mut whole, &mut fails).unwrap();
    let mut seen = BTreeSet::new();
    for steps in 0..whole.steps {
        let mut disk = Model::default().powered_for(steps);
        // It ends well where only what is of no use any more could not be removed.
        let ended = live(&bench, &mut disk, &mut fails);
        assert!(ended.is_err() || is_told(&bench, &disk), "the power is gone");
        for mut after in Loss::all().map(|loss| disk.after(loss)) {
            if !seen.insert(after.files()) {
                continue;
            }
            live(&bench, &mut after, &mut fails).unwrap();
            let pump = bench.open(&mut after, works).unwrap();
            assert_eq!((pump.image(), pump.runs().slot), (OLD_IMAGE, Slot::A), "step {steps}");
            assert!(matches!(pump.outcomes(), [.., told] if matches!(told.outcome, Outcome::Failed { .. })));
            assert!(pump.outcomes().iter().rev().skip(1).all(|told| told.outcome == Outcome::Begun));
        }
    }
}

#[test]
fn the_power_may_go_again_and_again() {
    let bench = added();
    let mut rng = StdRng::seed_from_u64(6);
    for _ in 0..25 {
        let mut disk = Model::default();
        for _ in 0..40 {
            disk.steps_left = Some(rng.random_range(0..25));
            let done = live(&bench, &mut disk, &mut works).is_ok();
            let losses: Vec<_> = Loss::all().collect();
            disk = disk.after(losses[rng.random_range(0..losses.len())]);
            boots(&bench, &mut disk);
            disk.steps_left = None;
            if done {
                break;
            }
        }
        is_installed(&bench, &mut disk);
    }
}

#[test]
fn an_image_that_takes_the_device_down_with_it_is_taken_back() {
    let bench = added();
    let mut disk = Model::default();
    let mut crashes = |_: &[u8], _: &Installed| Tested::Crashed;
    let mut starts = 0;
    while let Err(error) = live(&bench, &mut disk, &mut crashes) {
        assert!(matches!(error, DeviceError::Crashed), "{error}");
        starts += 1;
        assert!(starts <= crate::device::slots::TRIAL_BOOTS, "it is started for ever");
    }
    assert_eq!(starts, crate::device::slots::TRIAL_BOOTS);
    let pump: Device<_> = bench.open(&mut disk, works).unwrap();
    assert_eq!(pump.image(), OLD_IMAGE);
    assert_eq!(super::bench::reason(&pump), "it did not come up");
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const START: UnixMillis = UnixMillis(1_800_000_000_000);

/// Runs an infusion over the given gaps and checks after each that it is one that could be.
fn check(seed: u64, gaps: &[u64]) -> Result<BTreeMap<String, usize>, TestCaseError> {
    let mut infusion = Infusion::start(seed, START);
    let mut now = START;
    let mut active = BTreeSet::new();
    let mut flow = None;
    let mut counts = BTreeMap::new();
    let mut last: Option<Telemetry> = None;
    for gap in gaps {
        now.0 += gap;
        let happened = infusion.advance(now);
        let new_container =
            happened.iter().any(|content| matches!(content, Content::Therapy(t) if t.event == TherapyEvent::Started));
        for content in &happened {
            match content {
                Content::Alarm(alarm) => {
                    let name = format!("{:?}", alarm.kind);
                    prop_assert_eq!(alarm.active, !active.contains(&name), "alarms begin and end in turn");
                    if alarm.active {
                        active.insert(name.clone())
                    } else {
                        active.remove(&name)
                    };
                    *counts.entry(name).or_default() += 1;
                }
                Content::Therapy(therapy) => {
                    use TherapyEvent::{Completed, Paused, RateChanged, Resumed, Started};
                    let legal = match flow {
                        None | Some(Completed) => therapy.event == Started,
                        Some(Paused) => therapy.event == Resumed,
                        Some(_) => matches!(therapy.event, Paused | RateChanged | Completed),
                    };
                    prop_assert!(legal, "{:?} after {:?}", therapy.event, flow);
                    prop_assert!(therapy.rate_ul_per_h > 0 && therapy.volume_ul > 0);
                    flow = Some(therapy.event);
                    *counts.entry(format!("{:?}", therapy.event)).or_default() += 1;
                }
                _ => prop_assert!(false, "an infusion tells of itself alone"),
            }
        }
        let telemetry = infusion.telemetry();
        let running = !matches!(flow, Some(TherapyEvent::Paused | TherapyEvent::Completed));
        prop_assert_eq!(telemetry.rate_ul_per_h > 0, running);
        prop_assert!(telemetry.battery_percent <= 100 && telemetry.pressure_mmhg <= 600);
        if let (Some(last), false) = (&last, new_container) {
            prop_assert!(telemetry.infused_ul >= last.infused_ul, "nothing flows back");
            let volume = last.infused_ul + last.remaining_ul;
            prop_assert_eq!(telemetry.infused_ul + telemetry.remaining_ul, volume);
        }
        last = Some(telemetry);
    }
    Ok(counts)
}

proptest! {
    #[test]
    fn every_infusion_could_be_a_real_one(seed: u64, gaps in proptest::collection::vec(0u64..20_000, 1..400)) {
        check(seed, &gaps)?;
    }

    #[test]
    fn the_step_of_asking_changes_nothing(seed: u64, cuts in proptest::collection::vec(1u64..5_000, 1..50)) {
        let mut often = Infusion::start(seed, START);
        let mut once = Infusion::start(seed, START);
        let mut now = START;
        let mut events = Vec::new();
        for cut in cuts {
            now.0 += cut;
            events.extend(often.advance(now));
        }
        prop_assert_eq!(events, once.advance(now));
        prop_assert_eq!(often.telemetry(), once.telemetry());
    }
}

#[test]
fn a_day_on_many_pumps_brings_every_event_and_alarm() {
    let mut counts = BTreeMap::new();
    for seed in 0..6 {
        for (name, count) in check(seed, &vec![5_000; 17_280]).unwrap() {
            *counts.entry(name).or_insert(0) += count;
        }
    }
    for name in [
        "Started",
        "Paused",
        "Resumed",
        "RateChanged",
        "Completed",
        "DownstreamOcclusion",
        "AirInLine",
        "DoorOpen",
        "NearEnd",
    ] {
        assert!(counts.contains_key(name), "{name} is missing in {counts:?}");
    }
}

#[test]
fn the_rate_is_what_is_infused() {
    let mut infusion = Infusion::start(7, START);
    infusion.next_incident = UnixMillis(u64::MAX);
    let before = infusion.telemetry();
    let mut expected_nl = 0;
    let mut now = START;
    for _ in 0..400 {
        now.0 += STEP_MS;
        expected_nl += u64::from(infusion.rate_ul_per_h) * STEP_MS / 3600;
        infusion.advance(now);
    }
    let infused = u64::from(infusion.telemetry().infused_ul - before.infused_ul);
    assert!(infused.abs_diff(expected_nl / 1000) <= 1, "{infused} instead of {expected_nl} nl");
}

#[test]
fn a_computer_that_slept_does_not_make_up_for_the_night() {
    let mut infusion = Infusion::start(1, START);
    let before = infusion.telemetry();
    infusion.advance(UnixMillis(START.0 + 8 * MAX_GAP_MS));
    assert_eq!(infusion.telemetry(), before);
}

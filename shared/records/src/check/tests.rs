#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::record::{Answer, Measure, Unrecorded};
use crate::testing::{NOW, heart_rate, later};
use core::time::Duration;

fn at(record: &Record, at: UnixMillis) -> Record {
    Record { at, ..record.clone() }
}

#[test]
fn what_is_possible_counts_in_the_unit_of_its_kind() {
    let known = Definitions::default();
    let measure =
        Measure { kind: "heart-rate".parse().unwrap(), value: "1.5".parse().unwrap(), unit: "Hz".parse().unwrap() };
    let record = Record { content: Content::Measure(measure), ..heart_rate(0, "1") };
    let counted = check(&record, &known, NOW).unwrap();
    assert_eq!(counted, Counted::Number("90".parse::<crate::decimal::Decimal>().unwrap().billionths()));
}

#[test]
fn a_value_that_cannot_be_is_set_aside_with_its_step() {
    let known = Definitions::default();
    let with = |kind: &str, value: &str, unit: &str| {
        let measure =
            Measure { kind: kind.parse().unwrap(), value: value.parse().unwrap(), unit: unit.parse().unwrap() };
        Record { content: Content::Measure(measure), ..heart_rate(0, "1") }
    };
    for (record, step) in [
        (with("heart-rate", "401", "/min"), "range"),
        (with("heart-rate", "70", "mm[Hg]"), "unit"),
        (with("aura", "70", "/min"), "definition"),
    ] {
        assert_eq!(check(&record, &known, NOW).unwrap_err().step(), step);
    }
    let answer = |question: &str| Answer {
        instrument: "daily-wellbeing".parse().unwrap(),
        question: question.parse().unwrap(),
        response: Response::Choice("perhaps".parse().unwrap()),
    };
    for (question, step) in [("slept-well", "answer"), ("horoscope", "definition")] {
        let record = Record { content: Content::Answer(answer(question)), ..heart_rate(0, "1") };
        assert_eq!(check(&record, &known, NOW).unwrap_err().step(), step);
    }
}

#[test]
fn a_time_that_cannot_be_is_set_aside() {
    let (known, record) = (Definitions::default(), heart_rate(0, "70"));
    let edge = NOW.after(MAX_CLOCK_AHEAD);
    assert!(check(&at(&record, edge), &known, NOW).is_ok());
    assert_eq!(check(&at(&record, edge.after(Duration::from_millis(1))), &known, NOW), Err(SetAside::Future));
    let oldest = UnixMillis(NOW.0 - u64::try_from(MAX_RECORD_AGE.as_millis()).unwrap());
    assert!(check(&at(&record, oldest), &known, NOW).is_ok());
    assert_eq!(check(&at(&record, UnixMillis(oldest.0 - 1)), &known, NOW), Err(SetAside::Past));
    assert_eq!(check(&at(&record, UnixMillis(0)), &known, NOW).unwrap_err().step(), "time");
}

#[test]
fn a_note_of_missing_records_has_to_say_something() {
    let known = Definitions::default();
    let note = |count, from, until| Record {
        content: Content::Unrecorded(Unrecorded { count, from: later(from), until: later(until) }),
        ..heart_rate(0, "1")
    };
    assert_eq!(check(&note(3, 1, 1), &known, NOW), Ok(Counted::Unrecorded));
    assert_eq!(check(&note(0, 1, 1), &known, NOW), Err(SetAside::Span));
    assert_eq!(check(&note(3, 2, 1), &known, NOW).unwrap_err().step(), "note");
}

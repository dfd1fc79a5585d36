#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use crate::kind::Definitions;

mod evaluation;
mod reference;

/// One rule of each form, and one of choices.
const RULES: &str = r#"{"rules": [
  {"id": "tachycardia", "version": 2, "severity": "warning", "series": {"kind": "heart-rate"},
   "condition": {"threshold": {"above": "120", "unit": "/min"}},
   "message": {"en": "Heart rate above 120", "de": "Herzfrequenz über 120"}},
  {"id": "fast-for-long", "version": 1, "severity": "critical", "series": {"kind": "heart-rate"},
   "condition": {"duration": {"limit": {"above": "1.5", "unit": "Hz"}, "seconds": 600, "gap_seconds": 300}},
   "message": {"en": "Heart rate above 90 for ten minutes", "de": "Herzfrequenz zehn Minuten über 90"}},
  {"id": "rising", "version": 1, "severity": "warning", "series": {"kind": "heart-rate"},
   "condition": {"trend": {"rises": "30", "unit": "/min", "within_seconds": 3600}},
   "message": {"en": "Heart rate up by 30 within an hour", "de": "Herzfrequenz in einer Stunde um 30 gestiegen"}},
  {"id": "breathless", "version": 1, "severity": "information",
   "series": {"question": {"instrument": "daily-wellbeing", "question": "breathlessness"}},
   "condition": {"threshold": {"one_of": ["severe", "extreme"]}},
   "message": {"en": "Short of breath", "de": "Atemnot"}}
]}"#;

fn rules(text: &str) -> Rules {
    Rules::parse(text, &Definitions::default()).unwrap()
}

/// The first rule only, with another condition.
fn with(condition: &str) -> String {
    one("\"kind\": \"heart-rate\"", condition)
}

fn one(series: &str, condition: &str) -> String {
    format!(
        r#"{{"rules": [{{"id": "r", "version": 1, "severity": "warning", "series": {{{series}}},
        "condition": {{{condition}}}, "message": {{"en": "m", "de": "n"}}}}]}}"#
    )
}

fn flaw(text: &str) -> (&'static str, Flaw) {
    match Rules::parse(text, &Definitions::default()) {
        Err(InvalidRules::Rule { member, flaw, .. }) => (member, flaw),
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn rules_are_read_in_the_unit_of_their_series() {
    let rules = rules(RULES);
    let conditions: Vec<&Condition> = rules.iter().map(Rule::condition).collect();
    let number = |text: &str| text.parse::<crate::decimal::Decimal>().unwrap().billionths();
    assert_eq!(conditions[0], &Condition::Threshold(Limit::Above(number("120"))));
    let (lasts, gap) = (Duration::from_mins(10), Duration::from_mins(5));
    assert_eq!(conditions[1], &Condition::Duration { limit: Limit::Above(number("90")), lasts, gap });
    assert_eq!(conditions[2], &Condition::Rise { by: number("30"), within: Duration::from_hours(1) });
    let choices = ["severe", "extreme"].map(|choice| choice.parse().unwrap()).into();
    assert_eq!(conditions[3], &Condition::Threshold(Limit::OneOf(choices)));
    let first = rules.iter().next().unwrap();
    assert_eq!((first.id().as_str(), first.version(), first.severity()), ("tachycardia", 2, Severity::Warning));
    assert_eq!((first.english(), first.german()), ("Heart rate above 120", "Herzfrequenz über 120"));
}

#[test]
fn the_meaning_of_a_rule_is_frozen_and_changes_with_whatever_it_says() {
    let meaning = |text: &str| data_encoding::HEXLOWER.encode(&rules(text).iter().next().unwrap().meaning().unwrap().0);
    let text = with(r#""threshold": {"above": "120", "unit": "/min"}"#);
    assert_eq!(meaning(&text), "c5cc2630e7a3ee16694b014a20e25293f249b9c7413283b363ba602818538f5a");
    let others = [
        ("\"warning\"", "\"critical\""),
        ("heart-rate", "atrial-rate"),
        ("above", "below"),
        ("\"120\"", "\"120.1\""),
        ("\"m\"", "\"M\""),
        ("\"n\"", "\"N\""),
    ];
    for (old, new) in others {
        assert_ne!(meaning(&text.replace(old, new)), meaning(&text), "{new}");
    }
    for (old, new) in [("\"r\"", "\"q\""), ("\"version\": 1", "\"version\": 2"), ("\"120\"", "\"120.0\"")] {
        assert_eq!(meaning(&text.replace(old, new)), meaning(&text), "{new}");
    }
}

#[test]
fn a_change_of_temperature_is_not_shifted_by_the_zero_of_its_scale() {
    let text =
        one("\"kind\": \"body-temperature\"", r#""trend": {"falls": "3.6", "unit": "[degF]", "within_seconds": 60}"#);
    let by = "2".parse::<crate::decimal::Decimal>().unwrap().billionths();
    let expected = Condition::Fall { by, within: Duration::from_mins(1) };
    assert_eq!(rules(&text).iter().next().unwrap().condition(), &expected);
}

#[test]
fn what_does_not_parse_is_refused_with_its_place() {
    for (text, line, says) in [
        ("", 1, "the text ends too early"),
        ("{\"rules\": [\n  {\"id\": \"x\",\n", 3, "the text ends too early"),
        ("{\"rules\": [\n  {\"id\": 7}]}", 2, "invalid type: integer `7`"),
        ("{\"rules\": [],\n \"more\": 1}", 2, "unknown field `more`"),
        ("{\"rules\": [],\n \"rules\": []}", 2, "duplicate field `rules`"),
        ("{\"rules\": []} x", 1, "trailing characters"),
        (&RULES.replace("\"warning\"", "\"loud\""), 2, "unknown variant `loud`"),
        (&RULES.replace("\"above\": \"120\"", "\"above\": 120"), 3, "invalid type: integer `120`"),
        (&RULES.replace("\"120\"", "\"12o\""), 3, "this is no decimal number"),
        (&RULES.replace("\"threshold\": {\"above\"", "\"formula\": {\"above\""), 3, "unknown variant `formula`"),
        (&RULES.replace("\"gap_seconds\": 300", "\"gap_seconds\": -1"), 6, "invalid value: integer `-1`"),
        (&RULES.replace("\"tachycardia\"", "\"Tachy cardia\""), 2, "it has a character that is not allowed"),
    ] {
        match Rules::parse(text, &Definitions::default()) {
            Err(InvalidRules::Json { line: found, problem, .. }) => {
                assert!(problem.starts_with(says), "{problem}");
                assert_eq!(found, line, "{problem}");
            }
            other => panic!("{other:?}: {text}"),
        }
    }
}

#[test]
fn what_says_something_impossible_is_refused_with_its_rule() {
    let error = Rules::parse(&RULES.replace("\"rising\"", "\"tachycardia\""), &Definitions::default()).unwrap_err();
    assert_eq!(error.to_string(), "rule 3 (tachycardia), id: another rule has this name");
    let wellbeing =
        |question: &str| format!(r#""question": {{"instrument": "daily-wellbeing", "question": "{question}"}}"#);
    for (text, expected) in [
        (RULES.replace("\"version\": 2", "\"version\": 0"), ("version", Flaw::Version)),
        (one("\"kind\": \"aura\"", r#""threshold": {"above": "1"}"#), ("series", Flaw::Unknown)),
        (one(&wellbeing("luck"), r#""threshold": {"above": "1"}"#), ("series", Flaw::Unknown)),
        (with(r#""threshold": {}"#), ("condition", Flaw::Limit)),
        (with(r#""threshold": {"above": "1", "below": "2", "unit": "/min"}"#), ("condition", Flaw::Limit)),
        (with(r#""threshold": {"above": "1"}"#), ("condition", Flaw::UnitMissing)),
        (with(r#""threshold": {"above": "1", "unit": "kg"}"#), ("condition", Flaw::Unit)),
        (with(r#""threshold": {"above": "400", "unit": "/min"}"#), ("condition", Flaw::Idle)),
        (with(r#""threshold": {"above": "-1", "unit": "/min"}"#), ("condition", Flaw::Idle)),
        (with(r#""threshold": {"below": "0", "unit": "/min"}"#), ("condition", Flaw::Idle)),
        (with(r#""threshold": {"below": "400.1", "unit": "/min"}"#), ("condition", Flaw::Idle)),
        (with(r#""threshold": {"one_of": ["severe"]}"#), ("condition", Flaw::Form)),
        (one(&wellbeing("pain"), r#""threshold": {"above": "7", "unit": "1"}"#), ("condition", Flaw::UnitMissing)),
        (one(&wellbeing("remark"), r#""threshold": {"above": "7"}"#), ("condition", Flaw::Form)),
        (one(&wellbeing("tiredness"), r#""threshold": {"above": "7"}"#), ("condition", Flaw::Form)),
        (one(&wellbeing("tiredness"), r#""threshold": {"one_of": []}"#), ("condition", Flaw::Limit)),
        (one(&wellbeing("tiredness"), r#""threshold": {"one_of": ["very"]}"#), ("condition", Flaw::Choice)),
        (one(&wellbeing("slept-well"), r#""threshold": {"one_of": ["yes", "no"]}"#), ("condition", Flaw::Idle)),
        (
            one(&wellbeing("slept-well"), r#""threshold": {"one_of": ["no"], "unit": "1"}"#),
            ("condition", Flaw::UnitMissing),
        ),
        (RULES.replace("\"seconds\": 600", "\"seconds\": 0"), ("condition.duration.seconds", Flaw::Time)),
        (
            RULES.replace("\"gap_seconds\": 300", "\"gap_seconds\": 7776001"),
            ("condition.duration.gap_seconds", Flaw::Time),
        ),
        (
            RULES.replace("\"within_seconds\": 3600", "\"within_seconds\": 0"),
            ("condition.trend.within_seconds", Flaw::Time),
        ),
        (with(r#""trend": {"within_seconds": 1, "unit": "/min"}"#), ("condition.trend", Flaw::Limit)),
        (with(r#""trend": {"rises": "0", "within_seconds": 1, "unit": "/min"}"#), ("condition.trend", Flaw::Zero)),
        (with(r#""trend": {"falls": "-3", "within_seconds": 1, "unit": "/min"}"#), ("condition.trend", Flaw::Zero)),
        (with(r#""trend": {"falls": "401", "within_seconds": 1, "unit": "/min"}"#), ("condition.trend", Flaw::Idle)),
        (RULES.replace("\"Atemnot\"", "\" \""), ("message.de", Flaw::Message)),
        (RULES.replace("\"Short of breath\"", "\"Short\\nof breath\""), ("message.en", Flaw::Message)),
    ] {
        assert_eq!(flaw(&text), expected, "{text}");
    }
}

#[test]
fn sets_are_bounded() {
    let known = Definitions::default();
    let rule = |number: usize| {
        with(r#""threshold": {"above": "1", "unit": "/min"}"#)
            .trim_start_matches("{\"rules\": [")
            .trim_end_matches("]}")
            .replace("\"r\"", &format!("\"r{number}\""))
    };
    let set = |count: usize| format!("{{\"rules\": [{}]}}", (0..count).map(rule).collect::<Vec<_>>().join(","));
    assert_eq!(Rules::parse(&set(256), &known).unwrap().iter().count(), 256);
    assert_eq!(Rules::parse(&set(257), &known), Err(InvalidRules::TooMany));
    assert_eq!(Rules::parse(&" ".repeat(256 * 1024 + 1), &known), Err(InvalidRules::TooLong));
}

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn measure(kind: &str, value: &str, unit: &str) -> Measure {
    Measure { kind: kind.parse().unwrap(), value: value.parse().unwrap(), unit: unit.parse().unwrap() }
}

fn answer(question: &str, response: Response) -> Answer {
    Answer { instrument: "daily-wellbeing".parse().unwrap(), question: question.parse().unwrap(), response }
}

#[test]
fn a_possible_value_counts_in_any_unit_of_its_dimension() {
    let known = Definitions::default();
    for (kind, value, unit, expected) in [
        ("body-temperature", "98.6", "[degF]", "37"),
        ("body-temperature", "50", "Cel", "50"),
        ("heart-rate", "0", "/min", "0"),
        ("flow-rate", "33.333", "mL/min", "1999.98"),
        ("oxygen-saturation", "97", "%", "97"),
    ] {
        assert_eq!(known.measured(&measure(kind, value, unit)).unwrap().to_string(), expected);
    }
}

#[test]
fn what_cannot_be_does_not_count() {
    let known = Definitions::default();
    for (kind, value, unit, expected) in [
        ("body-temperature", "50.000000001", "Cel", Impossible::Range),
        ("heart-rate", "-1", "/min", Impossible::Range),
        ("heart-rate", "401", "{beat}/min", Impossible::Range),
        ("oxygen-saturation", "97", "1", Impossible::Range),
        ("glucose", "90", "mg/dL", Impossible::Unit),
        ("body-weight", "12", "stone", Impossible::Unit),
        ("mood", "1", "1", Impossible::Kind),
    ] {
        assert_eq!(known.measured(&measure(kind, value, unit)), Err(expected), "{kind} {value} {unit}");
    }
}

#[test]
fn an_answer_has_to_be_one_of_those_that_are_allowed() {
    let known = Definitions::default();
    let choice = |text: &str| Response::Choice(text.parse().unwrap());
    let number = |text: &str| Response::Number(text.parse().unwrap());
    let text = Response::Text("Slept badly.\nSonst gut.".parse().unwrap());
    for good in [answer("pain", number("10")), answer("tiredness", choice("severe")), answer("remark", text.clone())] {
        assert_eq!(known.answered(&good), Ok(()));
    }
    for (bad, expected) in [
        (answer("pain", number("10.1")), Impossible::Range),
        (answer("pain", choice("severe")), Impossible::Answer),
        (answer("tiredness", choice("some")), Impossible::Answer),
        (answer("tiredness", text), Impossible::Answer),
        (answer("remark", number("1")), Impossible::Answer),
        (answer("mood", number("1")), Impossible::Question),
    ] {
        assert_eq!(known.answered(&bad), Err(expected), "{bad:?}");
    }
}

#[test]
fn a_definition_that_allows_nothing_is_refused() {
    let mut known = Definitions::none();
    let definition = |unit: &str, least: &str, greatest: &str| KindDefinition {
        unit: unit.parse().unwrap(),
        least: least.parse().unwrap(),
        greatest: greatest.parse().unwrap(),
        english: "Girth".into(),
        german: "Umfang".into(),
    };
    let kind: Kind = "girth".parse().unwrap();
    assert_eq!(known.define(kind.clone(), definition("ell", "0", "1")), Err(InvalidDefinition::Unit));
    assert_eq!(known.define(kind.clone(), definition("cm", "2", "1.9")), Err(InvalidDefinition::Range));
    assert_eq!(known.define(kind.clone(), definition("cm", "2", "300")), Ok(()));
    assert!(known.measured(&measure("girth", "0.9", "m")).is_ok());
    assert_eq!(known.define(kind.clone(), definition("m", "0", "3")), Err(InvalidDefinition::UnitChanged));
    assert_eq!(known.define(kind, definition("cm", "2", "80")), Ok(()));
    assert_eq!(known.measured(&measure("girth", "0.9", "m")), Err(Impossible::Range));
    let (form, question): (Instrument, Question) = ("form".parse().unwrap(), "q1".parse().unwrap());
    let nothing = Allowed::Choices(BTreeSet::new());
    assert_eq!(known.ask(form.clone(), question.clone(), nothing), Err(InvalidDefinition::Choices));
    let backwards = Allowed::Number("1".parse().unwrap(), "0".parse().unwrap());
    assert_eq!(known.ask(form, question, backwards), Err(InvalidDefinition::Range));
    assert_eq!((known.kinds().count(), Definitions::default().kinds().count()), (1, 48));
}

#[test]
fn definitions_are_stored_and_read_again() {
    let (known, mut read) = (Definitions::default(), Definitions::none());
    for (kind, definition) in known.kinds() {
        let text = serde_json::to_string(definition).unwrap();
        read.define(kind.clone(), serde_json::from_str(&text).unwrap()).unwrap();
    }
    for (instrument, question, allowed) in known.questions() {
        let text = serde_json::to_string(allowed).unwrap();
        read.ask(instrument.clone(), question.clone(), serde_json::from_str(&text).unwrap()).unwrap();
    }
    assert_eq!(read, known);
    let unknown = r#"{"unit": "cm", "least": "0", "greatest": "1", "english": "a", "german": "b", "more": 1}"#;
    assert!(serde_json::from_str::<KindDefinition>(unknown).is_err());
}

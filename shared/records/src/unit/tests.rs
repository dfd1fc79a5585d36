#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::float_arithmetic, reason = "tests")]

use super::*;
use crate::decimal::Decimal;
use proptest::prelude::*;

fn converted(value: &str, from: &str, to: &str) -> Option<String> {
    let value = value.parse::<Decimal>().unwrap().billionths();
    convert(value, &from.parse().unwrap(), &to.parse().unwrap()).map(|value| value.to_string())
}

#[test]
fn values_are_converted_exactly_where_that_is_possible() {
    for (value, from, to, expected) in [
        ("98.6", "[degF]", "Cel", "37"),
        ("37.0", "Cel", "[degF]", "98.6"),
        ("0", "K", "Cel", "-273.15"),
        ("1", "mL/min", "mL/h", "60"),
        ("120", "mm[Hg]", "Pa", "15998.64"),
        ("5.55", "mmol/L", "umol/L", "5550"),
        ("1", "[lb_av]", "kg", "0.45359237"),
        ("12.5", "g/dL", "g/L", "125"),
        ("60", "Hz", "/min", "3600"),
        ("97", "%", "1", "0.97"),
    ] {
        assert_eq!(converted(value, from, to).as_deref(), Some(expected), "{value} {from} in {to}");
    }
}

#[test]
fn what_measures_something_else_or_is_not_understood_is_not_converted() {
    for (from, to) in
        [("mmol/L", "mg/dL"), ("kg", "m"), ("[iU]", "mg"), ("furlong", "m"), ("m", "furlong"), ("meq/L", "mmol/L")]
    {
        assert_eq!(converted("1", from, to), None, "{from} in {to}");
    }
    assert_eq!(converted("7", "furlong", "furlong").as_deref(), Some("7"));
    let most = Billionths(i128::MAX);
    assert_eq!(convert(most, &"kg".parse().unwrap(), &"mg".parse().unwrap()), None);
}

#[test]
fn a_half_is_rounded_to_the_even_number() {
    assert_eq!([5, 15, -5, -15, 14, 16, -16].map(|above| divide(above, 10)), [0, 2, 0, -2, 1, 2, -2].map(Some));
    assert_eq!((divide(1, 0), divide(1, -1)), (None, None));
}

#[test]
fn every_row_is_what_ucum_says() {
    for first in &UNITS {
        ucum::validate(first.code).unwrap();
        assert_eq!(UNITS.iter().filter(|row| row.code == first.code).count(), 1, "{}", first.code);
        // Arbitrary units, and logarithmic ones, are compared with nothing but themselves.
        let same = UNITS.iter().filter(|row| row.dimension == first.dimension && row.code != first.code);
        for second in same {
            assert!(ucum::is_comparable(first.code, second.code).unwrap(), "{} and {}", first.code, second.code);
            let ours = (37.5 + first.offset as f64 / SCALE as f64) * (first.times * second.over) as f64
                / (first.over * second.times) as f64
                - second.offset as f64 / SCALE as f64;
            let theirs = ucum::convert(37.5, first.code, second.code).unwrap();
            assert!(
                (ours - theirs).abs() <= theirs.abs() * 1e-9,
                "{} in {}: {ours}, {theirs}",
                first.code,
                second.code
            );
        }
    }
}

fn any_code() -> impl Strategy<Value = &'static str> {
    prop::sample::select(UNITS.iter().map(|row| row.code).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn there_and_back_changes_at_most_the_last_digit(mantissa in -999_999_999_i64..=999_999_999, places in 0..=6_u8,
        from in any_code(),
        to in any_code())
    {
        let (from, to): (Unit, Unit) = (from.parse().unwrap(), to.parse().unwrap());
        let value = Decimal::new(mantissa, places).unwrap().billionths();
        prop_assert_eq!(convert(value, &from, &to).is_some(), dimension(&from) == dimension(&to));
        if let Some(there) = convert(value, &from, &to) {
            let back = convert(there, &to, &from).unwrap();
            // One billionth of the other unit, in this one, half of it, and half a billionth of this one.
            let one = convert(Billionths(1), &to, &from).unwrap().0 - convert(Billionths(0), &to, &from).unwrap().0;
            prop_assert!((back.0 - value.0).abs() <= one.abs() / 2 + 1, "{} {}: {} {}", from, to, back, value);
        }
    }
}

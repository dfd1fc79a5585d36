#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;
use wardlink_protocol::cbor;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn a_decimal_keeps_the_digits_that_were_measured() {
    for text in ["0", "37.50", "-0.001", "999999999999999", "-999999.999999999", "0.000000000"] {
        assert_eq!(decimal(text).to_string(), text);
    }
    assert_ne!(decimal("37.50"), decimal("37.5"));
    assert_eq!(decimal("37.50").billionths(), decimal("37.5").billionths());
    assert!(decimal("-0.1").billionths() < decimal("0").billionths());
}

#[test]
fn what_is_no_decimal_is_refused() {
    for text in ["", "-", ".5", "5.", "01", "-0", "-0.0", "+1", "1e3", "1,5", " 1", "1.2.3", "NaN"] {
        assert_eq!(text.parse::<Decimal>(), Err(InvalidDecimal::Form), "{text}");
    }
    for text in ["1000000000000000", "0.0000000001", "99999999999999999999999999", "1234567.1234567890"] {
        assert_eq!(text.parse::<Decimal>(), Err(InvalidDecimal::Range), "{text}");
    }
}

#[test]
fn in_cbor_it_is_a_decimal_fraction() {
    let bytes = cbor::encode(&decimal("37.50")).unwrap();
    // RFC 8949 section 3.4.4: 4([-2, 3750]).
    assert_eq!(bytes, [0xc4, 0x82, 0x21, 0x19, 0x0e, 0xa6]);
    assert_eq!(cbor::decode(&bytes, 16), Ok(decimal("37.50")));
    // Without the tag, with a positive exponent, with ten places.
    for other in [
        vec![0x82, 0x21, 0x19, 0x0e, 0xa6],
        vec![0xc4, 0x82, 0x01, 0x19, 0x0e, 0xa6],
        vec![0xc4, 0x82, 0x29, 0x19, 0x0e, 0xa6],
        vec![0xc5, 0x82, 0x21, 0x19, 0x0e, 0xa6],
        vec![0xf9, 0x3c, 0x00],
    ] {
        assert!(cbor::decode::<Decimal>(&other, 16).is_err(), "{other:02x?}");
    }
}

#[test]
fn billionths_are_told_with_as_many_digits_as_it_takes() {
    for (text, short) in [("37.50", "37.5"), ("-0.001", "-0.001"), ("4.000000000", "4"), ("0.000000001", "0.000000001")]
    {
        assert_eq!(decimal(text).billionths().to_string(), short);
    }
    let bytes = cbor::encode(&Billionths(i128::MIN)).unwrap();
    assert_eq!(cbor::decode(&bytes, 64), Ok(Billionths(i128::MIN)));
}

proptest! {
    #[test]
    fn a_decimal_is_read_as_it_is_written(mantissa in -MAX_MANTISSA..=MAX_MANTISSA, places in 0..=MAX_PLACES) {
        let number = Decimal::new(mantissa, places).unwrap();
        prop_assert_eq!(number.to_string().parse(), Ok(number));
        let bytes = cbor::encode(&number).unwrap();
        prop_assert_eq!(cbor::decode(&bytes, 32), Ok(number));
        let json = serde_json::to_string(&number).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap(), number);
    }

    #[test]
    fn any_text_is_refused_or_read_as_it_stands(text in "-?[0-9]{0,12}(\\.[0-9]{0,10})?") {
        if let Ok(number) = text.parse::<Decimal>() {
            prop_assert_eq!(number.to_string(), text);
        }
    }
}

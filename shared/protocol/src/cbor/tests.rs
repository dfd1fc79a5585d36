#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;
use serde::Deserialize;

fn refused(bytes: &[u8]) -> CborError {
    decode::<Value>(bytes, 1024).err().unwrap()
}

#[test]
fn map_keys_are_sorted_by_their_encoding() {
    #[derive(Serialize)]
    struct Unsorted {
        zebra: u8,
        ant: u8,
        bee: u8,
    }
    let bytes = encode(&Unsorted { zebra: 1, ant: 2, bee: 3 }).unwrap();
    assert_eq!(bytes, b"\xa3\x63ant\x02\x63bee\x03\x65zebra\x01");
}

#[test]
fn another_encoding_of_the_same_value_is_refused() {
    // 23 in two bytes, an array of indefinite length, a text of indefinite length.
    for bytes in [&[0x18, 23][..], &[0x9f, 1, 0xff], &[0x7f, 0x61, b'a', 0xff]] {
        assert_eq!(refused(bytes), CborError::NotDeterministic);
    }
    // A map with its keys in another order, and one with a key twice.
    assert_eq!(refused(&[0xa2, 2, 0, 1, 0]), CborError::NotDeterministic);
    assert_eq!(refused(&[0xa2, 1, 0, 1, 0]), CborError::NotDeterministic);
    assert_eq!(refused(&[0x81, 0xa2, 1, 0, 1, 0]), CborError::NotDeterministic);
    // 1.0 as a double, where half a word is enough.
    assert_eq!(refused(&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]), CborError::NotDeterministic);
}

#[test]
fn trailing_bytes_are_refused() {
    assert_eq!(refused(&[1, 1]), CborError::NotDeterministic);
}

#[test]
fn cut_and_empty_input_is_refused() {
    assert_eq!(refused(&[]), CborError::Malformed);
    assert_eq!(refused(&[0x42, 1]), CborError::Malformed);
    assert_eq!(refused(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), CborError::Malformed);
}

#[test]
fn input_longer_than_the_limit_is_refused_before_it_is_looked_at() {
    assert_eq!(decode::<Value>(&[0xff; 11], 10).err(), Some(CborError::TooLong));
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
    assert!(decode::<Value>(&nested(MAX_CBOR_DEPTH - 1), 1024).is_ok());
    assert_eq!(refused(&nested(MAX_CBOR_DEPTH + 1)), CborError::Malformed);
    assert_eq!(refused(&nested(1000)), CborError::Malformed);
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Small {
        a: u8,
    }
    assert_eq!(decode::<Small>(b"\xa1\x61a\x01", 10), Ok(Small { a: 1 }));
    assert_eq!(decode::<Small>(b"\xa2\x61a\x01\x61b\x01", 10), Err(CborError::Shape));
    assert_eq!(decode::<Small>(b"\xa0", 10), Err(CborError::Shape));
    assert_eq!(decode::<Small>(b"\x01", 10), Err(CborError::Shape));
}

#[test]
fn a_field_in_a_form_that_only_the_decoder_takes_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lenient {
        a: serde_bytes::ByteBuf,
        m: crate::pairing::Mode,
    }
    let lenient = |bytes: &[u8]| (decode_lenient::<Lenient>(bytes, 64).is_ok(), decode::<Lenient>(bytes, 64).err());
    assert_eq!(lenient(b"\xa2\x61a\x41\x01\x61m\x6cpairing_code"), (true, None));
    // A tag, a variant as a map, and a field that nobody asked for.
    assert_eq!(lenient(b"\xa2\x61a\xc1\x41\x01\x61m\x6cpairing_code"), (true, Some(CborError::Shape)));
    assert_eq!(lenient(b"\xa2\x61a\x41\x01\x61m\xa1\x6cpairing_code\xf6"), (true, Some(CborError::Shape)));
    assert_eq!(lenient(b"\xa3\x61a\x41\x01\x61m\x6cpairing_code\x61n\x01"), (true, Some(CborError::Shape)));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-z]{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{0,4}", inner.clone(), 0..6)
                .prop_map(|map| Value::Map(map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect())),
            (0u64..100_000, inner).prop_filter_map("bignums are numbers", |(tag, inner)| {
                (tag != 2 && tag != 3).then(|| Value::Tag(tag, Box::new(inner)))
            }),
        ]
    })
}

#[test]
fn what_we_packed_is_one_whole_value_of_its_type() {
    let packed = pack(&("pump", 7_u8)).unwrap();
    assert_eq!(unpack::<(String, u8)>(&packed, packed.len()), Ok(("pump".to_owned(), 7)));
    assert_eq!(unpack::<(String, u8)>(&packed, packed.len() - 1), Err(CborError::TooLong));
    assert_eq!(unpack::<(String, u8)>(&packed[..packed.len() - 1], 9), Err(CborError::Malformed));
    assert_eq!(unpack::<(String, u8)>(&[packed.as_slice(), &[0]].concat(), 9), Err(CborError::NotDeterministic));
    assert_eq!(unpack::<(u8, u8)>(&packed, 9), Err(CborError::Shape));
}

proptest! {
    #[test]
    fn what_was_packed_or_encoded_is_unpacked(value in value()) {
        for bytes in [pack(&value).unwrap(), encode(&value).unwrap()] {
            let unpacked: Value = unpack(&bytes, bytes.len()).unwrap();
            prop_assert_eq!(encode(&unpacked).unwrap(), encode(&value).unwrap());
        }
    }

    #[test]
    fn what_was_encoded_is_accepted_and_encodes_the_same(value in value()) {
        let bytes = encode(&value).unwrap();
        let decoded: Value = decode(&bytes, 1 << 20).unwrap();
        prop_assert_eq!(encode(&decoded).unwrap(), bytes);
    }

    #[test]
    fn what_is_accepted_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = decode::<Value>(&bytes, 64) {
            prop_assert_eq!(encode(&value).unwrap(), bytes);
        }
    }
}

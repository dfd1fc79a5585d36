#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::cbor;
use proptest::prelude::*;

fn class(text: &str) -> Result<ClientClass, InvalidName> {
    text.parse()
}

#[test]
fn names_keep_their_alphabet_and_length() {
    for text in ["a", "0", "infusion-pump", "a-", "9--9", &"x".repeat(32)] {
        assert_eq!(class(text).unwrap().as_str(), text);
    }
    for text in ["", &"x".repeat(33)] {
        assert_eq!(class(text), Err(InvalidName::Length));
    }
    for text in ["-a", "A", "a b", "a/b", "a+", "#", "a_b", "ä", "a\0", "a\n"] {
        assert_eq!(class(text), Err(InvalidName::Character), "{text:?}");
    }
}

#[test]
fn reserved_words_are_no_names() {
    for text in ["register", "command", "meta", "data", "ctl", "renew"] {
        assert_eq!(class(text), Err(InvalidName::Reserved));
        assert_eq!(text.parse::<DeviceIdentifier>(), Err(InvalidName::Reserved));
    }
    assert!(class("registers").is_ok());
}

#[test]
fn a_decoded_name_is_a_checked_name() {
    let bytes = cbor::encode("Not Valid").unwrap();
    assert!(cbor::decode::<ClientClass>(&bytes, 64).is_err());
    assert!(serde_json::from_str::<DeviceIdentifier>("\"pump 1\"").is_err());
}

#[test]
fn fixed_bytes_are_bytes_in_cbor_and_hexadecimal_in_json() {
    let id = KeyId([0xab; 8]);
    assert_eq!(cbor::encode(&id).unwrap(), [&[0x48][..], &[0xab; 8]].concat());
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"abababababababab\"");
    assert!(cbor::decode::<KeyId>(&[0x41, 1], 64).is_err());
    assert!("ab".parse::<KeyId>().is_err());
    assert!("ABABABABABABABAB".parse::<KeyId>().is_err(), "one spelling only");
}

#[test]
fn a_fingerprint_has_a_short_form_for_people() {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&[0x7f, 0x3a, 0x91, 0xc0, 0x22, 0xde, 0x5a, 0x07]);
    assert_eq!(KeyFingerprint(bytes).short(), "7F3A 91C0 22DE 5A07");
}

proptest! {
    #[test]
    fn every_name_survives_text_cbor_and_json(text in "[a-z0-9][a-z0-9-]{0,31}") {
        let Ok(name) = class(&text) else {
            prop_assert!(RESERVED.contains(&text.as_str()));
            return Ok(());
        };
        prop_assert_eq!(name.to_string(), text);
        let bytes = cbor::encode(&name).unwrap();
        prop_assert_eq!(&cbor::decode::<ClientClass>(&bytes, 64).unwrap(), &name);
        let json = serde_json::to_string(&name).unwrap();
        prop_assert_eq!(&serde_json::from_str::<ClientClass>(&json).unwrap(), &name);
    }

    #[test]
    fn whatever_parses_is_within_the_alphabet(text in "\\PC{0,40}") {
        if let Ok(name) = class(&text) {
            prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        }
    }

    #[test]
    fn every_session_survives_text_cbor_and_json(bytes in any::<[u8; 16]>()) {
        let session = SessionId(bytes);
        prop_assert_eq!(session.to_string().parse::<SessionId>().unwrap(), session);
        prop_assert_eq!(cbor::decode::<SessionId>(&cbor::encode(&session).unwrap(), 64).unwrap(), session);
        let json = serde_json::to_string(&session).unwrap();
        prop_assert_eq!(serde_json::from_str::<SessionId>(&json).unwrap(), session);
    }
}

#[test]
fn a_certificate_is_for_what_its_holder_is() {
    for (device, purpose) in [
        ("infusion-pump/pump-1", Purpose::Device),
        ("gateway/ward-3", Purpose::Gateway),
        ("service/monitor", Purpose::Service),
        ("infusion-pump/gateway", Purpose::Device),
    ] {
        let device: Device = device.parse().unwrap();
        assert_eq!(device.purpose(), purpose, "{device}");
        assert_eq!(device.is_gateway(), purpose == Purpose::Gateway);
    }
}

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

/// QR code's alphanumeric mode (ISO/IEC 18004 section 7.4.4), of which a label needs these.
fn is_alphanumeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b':')
}

fn file() -> Provisioning {
    Provisioning {
        version: 1,
        client: "infusion-pump".parse().unwrap(),
        identifier: Some("pump-7".parse().unwrap()),
        broker: "wss://wardlink.example/mqtt".into(),
        secret_id: "device-0123456789ab".parse().unwrap(),
        secret: AccessSecret::new(vec![9; 32]).unwrap(),
        web_origin: "https://wardlink.example".into(),
        cert_ca_sha256: Some(Sha256([3; 32])),
        tls_anchors: Vec::new(),
        web_pki: true,
    }
}

fn refusal<T>(result: Result<T, LabelError>) -> Option<LabelError> {
    result.err()
}

#[test]
fn a_label_is_short_enough_to_scan() {
    let label = file().to_label().unwrap();
    assert!(is_alphanumeric(&label));
    // Version 12 with error correction M holds 419 characters, version 10 311 (ISO/IEC 18004 table 7).
    assert!(label.len() <= 311, "{} characters", label.len());
}

#[test]
fn root_certificates_are_left_out_only_where_cert_ca_vouches_for_them() {
    let private = Provisioning { tls_anchors: vec!["-----BEGIN".into()], web_pki: false, ..file() };
    let read = Provisioning::from_label(&private.to_label().unwrap()).ok().unwrap();
    assert!(read.tls_anchors.is_empty() && read.tls_is_deferred() && !private.tls_is_deferred());
    let unknown = Provisioning { cert_ca_sha256: None, ..private };
    assert_eq!(refusal(unknown.to_label()), Some(LabelError::Anchors));
    assert!(!file().tls_is_deferred());
}

#[test]
fn what_nobody_could_scan_has_no_label() {
    let long = Provisioning { web_origin: format!("https://{}", "a".repeat(600)), ..file() };
    assert_eq!(refusal(long.to_label()), Some(LabelError::TooLong));
    assert_eq!(refusal(Provisioning { version: 2, ..file() }.to_label()), Some(LabelError::Version));
}

#[test]
fn one_file_has_one_label() {
    let label = file().to_label().unwrap();
    let spelled_out = Content(
        file().client,
        file().identifier,
        Some(file().broker),
        file().secret_id,
        ByteBuf::from(vec![9; 32]),
        file().web_origin,
        file().cert_ca_sha256,
        true,
    );
    let spelled_out = format!("{PREFIX}{}", BASE32_NOPAD.encode(&cbor::encode(&spelled_out).unwrap()));
    for other in [spelled_out, label.to_lowercase(), format!(" {label}"), label.replace(":1:", ":2:")] {
        assert_eq!(refusal(Provisioning::from_label(&other)), Some(LabelError::Form), "{other}");
    }
}

#[test]
fn a_label_that_is_cut_short_or_has_a_weak_secret_is_none() {
    let label = file().to_label().unwrap();
    for length in 0..label.len() {
        assert_eq!(refusal(Provisioning::from_label(label.get(..length).unwrap())), Some(LabelError::Form));
    }
    let weak =
        Content(file().client, None, None, file().secret_id, ByteBuf::from(vec![9; 15]), file().web_origin, None, true);
    let weak = format!("{PREFIX}{}", BASE32_NOPAD.encode(&cbor::encode(&weak).unwrap()));
    assert_eq!(refusal(Provisioning::from_label(&weak)), Some(LabelError::Form));
}

proptest! {
    #[test]
    fn whatever_has_a_label_comes_back_from_it(
        identifier in prop::option::of("[a-z0-9][a-z0-9]{0,31}"),
        secret in prop::collection::vec(any::<u8>(), 16..=64),
        origin in "https?://[a-z.]{1,40}(:[0-9]{2,5})?",
        broker in prop::option::of("wss://[a-z.]{1,40}/mqtt"),
        cert_ca in prop::option::of(any::<[u8; 32]>()),
        web_pki: bool,
    ) {
        let file = Provisioning {
            identifier: identifier.map(|text| text.parse().unwrap()),
            broker: broker.unwrap_or_else(|| broker_of(&origin).unwrap()),
            secret: AccessSecret::new(secret).unwrap(),
            web_origin: origin,
            cert_ca_sha256: cert_ca.map(Sha256),
            web_pki,
            ..file()
        };
        let label = file.to_label().unwrap();
        prop_assert!(is_alphanumeric(&label));
        prop_assert!(Provisioning::from_label(&label).ok() == Some(file));
    }
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use ciborium::value::Value;
use coset::{CborSerializable, RegisteredLabel};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_protocol::identity::{KeyId, SessionId};
use wardlink_protocol::keys::WrappedFor;

const LIMIT: usize = 4096;
const TOPIC: &[u8] = b"ais/infusion-pump/pump-1";

fn key() -> ContentKey {
    ContentKey::A256(Zeroizing::new([7; 32]))
}

fn header() -> Header {
    let origin = Origin { secret: "hospital".parse().unwrap(), device: "infusion-pump/pump-1".parse().unwrap() };
    Header { origin: Some(origin), ..Header::pairing(b"access-up", SessionId([3; 16])) }
}

fn sealed() -> Vec<u8> {
    seal(&header(), &key(), TOPIC, b"hello", &mut StdRng::seed_from_u64(1)).unwrap()
}

/// An envelope as somebody else might make it.
fn forged(protected: coset::Header, unprotected: coset::Header) -> Vec<u8> {
    let iv: [u8; IV_BYTES] = protected.iv.clone().try_into().unwrap_or([0; IV_BYTES]);
    CoseEncrypt0Builder::new()
        .protected(protected)
        .unprotected(unprotected)
        .try_create_ciphertext(b"hello", TOPIC, |msg, aad| key().encrypt(&iv, Payload { msg, aad }))
        .unwrap()
        .build()
        .to_tagged_vec()
        .unwrap()
}

fn refused(bytes: &[u8]) -> EnvelopeError {
    Encrypted::parse(bytes, LIMIT).err().unwrap()
}

#[test]
fn an_envelope_opens_with_its_key_and_topic() {
    let envelope = Encrypted::parse(&sealed(), LIMIT).unwrap();
    assert_eq!(*envelope.header(), header());
    assert_eq!(*envelope.open(&key(), TOPIC).unwrap(), b"hello");
}

#[test]
fn an_envelope_does_not_open_on_another_topic_or_with_another_key() {
    let envelope = Encrypted::parse(&sealed(), LIMIT).unwrap();
    assert_eq!(envelope.open(&key(), b"ais/infusion-pump/pump-2"), Err(EnvelopeError::Authentication));
    let other = ContentKey::A256(Zeroizing::new([8; 32]));
    assert_eq!(envelope.open(&other, TOPIC), Err(EnvelopeError::Authentication));
    let short = ContentKey::A128(Zeroizing::new([7; 16]));
    assert_eq!(envelope.open(&short, TOPIC), Err(HeaderError::Algorithm.into()));
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = sealed();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let opened = Encrypted::parse(&changed, LIMIT).and_then(|envelope| envelope.open(&key(), TOPIC));
        assert!(opened.is_err(), "byte {index}");
    }
}

#[test]
fn over_long_trailing_and_cut_input_is_refused() {
    let bytes = sealed();
    assert_eq!(Encrypted::parse(&bytes, bytes.len() - 1).err(), Some(CborError::TooLong.into()));
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(matches!(refused(&trailing), EnvelopeError::Cbor(_)));
    for length in 0..bytes.len() {
        assert!(matches!(refused(&bytes[..length]), EnvelopeError::Cbor(_)), "length {length}");
    }
}

#[test]
fn an_unprotected_header_is_refused() {
    let unprotected = coset::HeaderBuilder::new().key_id(b"x".to_vec()).build();
    let bytes = forged(header().to_cose(Algorithm::A256GCM, &[1; 12]), unprotected);
    assert_eq!(refused(&bytes), HeaderError::Unprotected.into());
}

#[test]
fn critical_and_unknown_headers_are_refused() {
    let plain = || header().to_cose(Algorithm::A256GCM, &[1; 12]);
    let mut critical = plain();
    critical.crit = vec![RegisteredLabelWithPrivate::Assigned(HeaderParameter::Alg)];
    assert_eq!(refused(&forged(critical, coset::Header::default())), HeaderError::Critical.into());

    let mut unknown = plain();
    unknown.rest.push((Label::Int(-65599), Value::Null));
    assert_eq!(refused(&forged(unknown, coset::Header::default())), HeaderError::Unknown.into());

    let mut typed = plain();
    typed.content_type = Some(RegisteredLabel::Text("text/plain".into()));
    assert_eq!(refused(&forged(typed, coset::Header::default())), HeaderError::Unknown.into());
}

#[test]
fn missing_and_wrong_headers_are_refused() {
    let plain = || header().to_cose(Algorithm::A256GCM, &[1; 12]);
    let none = coset::Header::default;

    let mut short_iv = plain();
    short_iv.iv = vec![1; 11];
    assert_eq!(refused(&forged(short_iv, none())), HeaderError::Iv.into());

    let mut no_kid = plain();
    no_kid.key_id = Vec::new();
    assert_eq!(refused(&forged(no_kid, none())), HeaderError::Form.into());

    let mut other_suite = plain();
    other_suite.rest[0].1 = Value::from(2);
    assert_eq!(refused(&forged(other_suite, none())), HeaderError::Suite.into());

    let mut half_origin = plain();
    half_origin.rest.pop();
    assert_eq!(refused(&forged(half_origin, none())), HeaderError::Form.into());

    let mut signature = plain();
    signature.alg = Some(RegisteredLabelWithPrivate::Assigned(Algorithm::ES256));
    assert_eq!(refused(&forged(signature, none())), HeaderError::Algorithm.into());
}

#[test]
fn duplicate_keys_and_another_order_in_the_header_are_refused() {
    let mut swapped = header().to_cose(Algorithm::A256GCM, &[1; 12]);
    swapped.rest.swap(0, 1);
    assert_eq!(refused(&forged(swapped, coset::Header::default())), CborError::NotDeterministic.into());

    let mut protected = header().to_cose(Algorithm::A256GCM, &[1; 12]).to_vec().unwrap();
    // One entry more in the map's head, and the first entry (1: 3) twice.
    protected[0] += 1;
    protected.splice(1..1, [1, 3]);
    let envelope = Value::Tag(
        16,
        Box::new(Value::Array(vec![Value::Bytes(protected), Value::Map(Vec::new()), Value::Bytes(vec![0; 32])])),
    );
    assert!(Encrypted::parse(&cbor::encode(&envelope).unwrap(), LIMIT).is_err());
}

#[test]
fn a_signature_covers_header_topic_and_payload() {
    let mut rng = StdRng::seed_from_u64(1);
    let (key, other) = (PrivateKey::make(&mut rng), PrivateKey::make(&mut rng));
    let header = Header {
        chain: vec![ByteBuf::from(vec![1]), ByteBuf::from(vec![2])],
        ..Header::pairing(b"kid", SessionId([3; 16]))
    };
    let bytes = sign(&header, &key, TOPIC, b"hello").unwrap();
    let signed = Signed::parse(&bytes, LIMIT).unwrap();
    assert_eq!(*signed.header(), header);
    assert_eq!(signed.verify(&key.public(), TOPIC), Ok(&b"hello"[..]));
    assert_eq!(signed.verify(&other.public(), TOPIC), Err(EnvelopeError::Authentication));
    assert_eq!(signed.verify(&key.public(), b"ais/x/y"), Err(EnvelopeError::Authentication));
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let verified = Signed::parse(&changed, LIMIT).is_ok_and(|signed| signed.verify(&key.public(), TOPIC).is_ok());
        assert!(!verified, "byte {index}");
    }
}

#[test]
fn an_encrypted_message_is_no_signed_one() {
    assert!(matches!(Signed::parse(&sealed(), LIMIT).err(), Some(EnvelopeError::Structure)));
}

proptest! {
    #[test]
    fn whatever_was_sealed_opens(
        kid in prop::collection::vec(any::<u8>(), 1..32),
        session in prop::option::of(any::<[u8; 16]>()),
        counter in prop::option::of(any::<u64>()),
        epoch in prop::option::of(any::<u64>()),
        instance in prop::option::of(prop::collection::vec(any::<u8>(), 1..32)),
        wrapped in prop::option::of(any::<[u8; 8]>()),
        with_origin in any::<bool>(),
        short in any::<bool>(),
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
        aad in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let header = Header {
            kid,
            session: session.map(SessionId),
            origin: with_origin.then(|| header().origin).flatten(),
            chain: Vec::new(),
            counter,
            instance: instance.map(ByteBuf::from),
            epoch,
            wrapped: wrapped.map(|kid| WrappedFor {
                channel: "alarm".parse().unwrap(),
                kid: KeyId(kid),
                algorithm: if short { ContentAlgorithm::A128GCM } else { ContentAlgorithm::A256GCM },
            }),
        };
        let key = if short { ContentKey::A128(Zeroizing::new([7; 16])) } else { key() };
        let bytes = seal_with_iv(&header, &key, &[9; 12], &aad, &plaintext).unwrap();
        let envelope = Encrypted::parse(&bytes, LIMIT).unwrap();
        prop_assert_eq!(envelope.header(), &header);
        prop_assert_eq!(&*envelope.open(&key, &aad).unwrap(), &plaintext);
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Encrypted::parse(&bytes, LIMIT).is_err());
        prop_assert!(Signed::parse(&bytes, LIMIT).is_err());
    }
}

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limits::MAX_ANSWER_BYTES;
use crate::record::{Answer, Content, Response, Unrecorded};
use crate::testing::{FIRST, NOW, chain, heart_rate, key, later, open, patient, pump, records, signed};
use proptest::prelude::*;

#[test]
fn a_signed_batch_is_opened_with_its_numbers() {
    let (bytes, made) = signed(chain(1), 1, FIRST, records(3));
    let opened = open(&bytes).unwrap();
    assert_eq!(opened, made);
    assert_eq!((opened.batch().first(), opened.batch().last(), opened.batch().made_at()), (1, 3, NOW));
    let ids: Vec<u64> = opened.batch().records().map(|(id, _)| id.sequence).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(opened.into_batch().into_records(), records(3));
}

#[test]
fn a_batch_that_was_signed_twice_is_one_and_the_same() {
    let (first, second) = (signed(chain(1), 1, FIRST, records(2)), signed(chain(1), 1, FIRST, records(2)));
    assert_eq!(first.1.hash(), second.1.hash());
    let other = signed(chain(1), 1, FIRST, records(1));
    assert_ne!(first.1.hash(), other.1.hash());
}

#[test]
fn a_batch_of_a_former_key_is_known_by_its_hash() {
    let batch = || Batch::new(pump(1), chain(1), 1, FIRST, NOW, records(2)).unwrap();
    let (former, made) = batch().sign(&key(2)).unwrap();
    let sealed = Sealed::parse(&former).unwrap();
    let opened = sealed.dangerous_open_by_hash(&made.hash(), &pump(1)).unwrap();
    assert_eq!(opened, made);
    let (again, signed) = opened.into_batch().sign(&key(1)).unwrap();
    assert_eq!((open(&again).unwrap(), signed.hash()), (made.clone(), made.hash()));
    for (hash, device) in [(Sha256([1; 32]), pump(1)), (made.hash(), pump(2))] {
        assert_eq!(sealed.dangerous_open_by_hash(&hash, &device), Err(BatchError::Signer));
    }
}

#[test]
fn a_changed_byte_is_never_taken() {
    let (bytes, _) = signed(chain(1), 1, FIRST, records(1));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(open(&changed).is_err(), "byte {place}");
    }
    assert!(open(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn a_forged_device_is_refused() {
    let devices = [pump(1)];
    // Another key in the device's name.
    let forged = Batch::new(pump(1), chain(1), 1, FIRST, NOW, records(1)).unwrap().sign(&key(2)).unwrap().0;
    let sealed = Sealed::parse(&forged).unwrap();
    assert_eq!(sealed.open(Signer { key: &key(1).public(), devices: &devices }), Err(BatchError::Signer));
    // The device's key in another's name.
    let foreign = Batch::new(pump(2), chain(1), 1, FIRST, NOW, records(1)).unwrap().sign(&key(1)).unwrap().0;
    assert_eq!(open(&foreign), Err(BatchError::Signer));
    assert_eq!(BatchError::Signer.step(), "signature");
    // A signature over something else.
    let header = Header { kid: key(1).public().fingerprint().unwrap().as_bytes().to_vec(), ..Header::default() };
    let payload = cbor::encode(&Batch::new(pump(1), chain(1), 1, FIRST, NOW, records(1)).unwrap()).unwrap();
    let elsewhere = cose::sign(&header, &key(1), b"wardlink records receipt", &payload).unwrap();
    assert_eq!(open(&elsewhere), Err(BatchError::Envelope(EnvelopeError::Authentication)));
}

#[test]
fn a_gateway_signs_only_for_devices_that_cannot() {
    let scale: Device = "scale/s-1".parse().unwrap();
    let (gateway, own) = (key(9), [scale.clone()]);
    let sign =
        |device: Device| Batch::new(device, chain(1), 1, FIRST, NOW, records(1)).unwrap().sign(&gateway).unwrap().0;
    let signer = Signer { key: &gateway.public(), devices: &own };
    assert!(Sealed::parse(&sign(scale)).unwrap().open(signer).is_ok());
    assert_eq!(Sealed::parse(&sign(pump(1))).unwrap().open(signer), Err(BatchError::Signer));
}

#[test]
fn what_is_no_batch_is_not_made_and_not_read() {
    let make = |first, link, records| Batch::new(pump(1), chain(1), first, link, NOW, records).map(drop);
    let follows = Link::Follows(Sha256([1; 32]));
    assert_eq!(make(1, FIRST, vec![]), Err(BatchError::Count));
    assert_eq!(make(1, FIRST, records(MAX_BATCH_RECORDS as u64 + 1)), Err(BatchError::Count));
    assert_eq!(make(0, FIRST, records(1)), Err(BatchError::Numbers));
    assert_eq!(make(2, FIRST, records(1)), Err(BatchError::Numbers));
    assert_eq!(make(1, follows, records(1)), Err(BatchError::Numbers));
    assert_eq!(make(u64::MAX - 1, follows, records(1)), Err(BatchError::Numbers));
    assert_eq!(make(2, follows, records(1)), Ok(()));
    // Signed by the right key all the same.
    let header = Header { kid: key(1).public().fingerprint().unwrap().as_bytes().to_vec(), ..Header::default() };
    let sign =
        |batch: &Batch| cose::sign(&header, &key(1), BATCH_LABEL.as_bytes(), &cbor::encode(batch).unwrap()).unwrap();
    let good = Batch::new(pump(1), chain(1), 1, FIRST, NOW, records(1)).unwrap();
    assert!(open(&sign(&good)).is_ok());
    assert_eq!(open(&sign(&Batch { records: vec![], ..good.clone() })), Err(BatchError::Count));
    assert_eq!(open(&sign(&Batch { first: 2, ..good.clone() })), Err(BatchError::Numbers));
    let other = cose::sign(&header, &key(1), BATCH_LABEL.as_bytes(), &cbor::encode("batch").unwrap()).unwrap();
    assert_eq!(open(&other), Err(BatchError::Cbor(CborError::Shape)));
    let chained = Header { counter: Some(1), ..header.clone() };
    let other = cose::sign(&chained, &key(1), BATCH_LABEL.as_bytes(), &cbor::encode(&good).unwrap()).unwrap();
    assert_eq!(open(&other), Err(BatchError::Header));
}

#[test]
fn what_is_too_long_is_not_made_and_not_read() {
    let answer = Answer {
        instrument: "daily-wellbeing".parse().unwrap(),
        question: "remark".parse().unwrap(),
        response: Response::Text("x".repeat(MAX_ANSWER_BYTES).parse().unwrap()),
    };
    let long = vec![Record { at: NOW, patient: None, content: Content::Answer(answer) }; 60];
    let batch = Batch::new(pump(1), chain(1), 1, FIRST, NOW, long).unwrap();
    assert_eq!(batch.sign(&key(1)).map(drop), Err(BatchError::TooLong));
    let bytes = vec![0; MAX_BATCH_BYTES + 1];
    assert_eq!(Sealed::parse(&bytes).map(drop), Err(BatchError::Envelope(EnvelopeError::Cbor(CborError::TooLong))));
}

#[test]
fn a_full_batch_of_measurements_fits() {
    let (bytes, _) = signed(chain(1), 1, FIRST, records(MAX_BATCH_RECORDS as u64 / 2));
    assert!(bytes.len() < MAX_BATCH_BYTES, "{} bytes", bytes.len());
}

fn any_record() -> impl Strategy<Value = Record> {
    let name = || "[a-z0-9][a-z0-9-]{0,31}";
    let number = || {
        (-999_999_999_999_999_i64..=999_999_999_999_999, 0..=9_u8)
            .prop_map(|(mantissa, places)| crate::decimal::Decimal::new(mantissa, places).unwrap())
    };
    let measure = (name(), number(), "[!-~]{1,32}").prop_map(|(kind, value, unit)| {
        Content::Measure(crate::record::Measure { kind: kind.parse().unwrap(), value, unit: unit.parse().unwrap() })
    });
    let response = prop_oneof![
        number().prop_map(Response::Number),
        name().prop_map(|choice| Response::Choice(choice.parse().unwrap())),
        "\\PC{1,40}".prop_map(|text| Response::Text(text.parse().unwrap())),
    ];
    let answer = (name(), name(), response).prop_map(|(instrument, question, response)| {
        let (instrument, question) = (instrument.parse().unwrap(), question.parse().unwrap());
        Content::Answer(Answer { instrument, question, response })
    });
    let lost = any::<(u64, u64, u64)>().prop_map(|(count, from, until)| {
        Content::Unrecorded(Unrecorded { count, from: UnixMillis(from), until: UnixMillis(until) })
    });
    (any::<u64>(), any::<Option<u8>>(), prop_oneof![measure, answer, lost]).prop_map(|(at, whose, content)| Record {
        at: UnixMillis(at),
        patient: whose.map(patient),
        content,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_records_come_back_as_they_were_signed(some in prop::collection::vec(any_record(), 1..20), first in 2..1_000_000_u64) {
        let (bytes, made) = signed(chain(7), first, Link::Follows(Sha256([3; 32])), some.clone());
        let opened = open(&bytes).unwrap();
        prop_assert_eq!(&opened, &made);
        prop_assert_eq!(opened.into_batch().into_records(), some);
    }
}

#[test]
fn times_do_not_have_to_be_in_order() {
    let mixed = vec![heart_rate(9, "70"), heart_rate(3, "71")];
    let (bytes, _) = signed(chain(1), 1, FIRST, mixed);
    let opened = open(&bytes).unwrap();
    assert_eq!(opened.batch().records().map(|(_, record)| record.at).collect::<Vec<_>>(), [later(9), later(3)]);
}

//! The frozen vectors of `tests/vectors/records.json`: three batches of two chains, a receipt, rules, and the flags that they raise.
//!
//! `cargo test -p wardlink-records --lib -- --ignored write_the_record_vectors` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::Purpose;

use crate::batch::{Beginning, ChainEnd, Link, Reason, Sealed, Signer, Verified};
use crate::chain::{Chains, Continuity, StoredBatch, Taken};
use crate::check::check;
use crate::kind::Definitions;
use crate::receipt::Receipt;
use crate::record::{Answer, Content, Measure, Record, Response, Unrecorded};
use crate::rules::{Change, Evaluation, Flag, Rules, Seen};
use crate::testing::{FIRST, NOW, after, chain, key, later, patient, pump, signed, site};

const FROZEN: &str = include_str!("../../../tests/vectors/records.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/records.json");
const RULES: &str = r#"{"rules": [{"id": "fever", "version": 1, "severity": "warning", "series": {"kind": "body-temperature"}, "condition": {"threshold": {"above": "38.5", "unit": "Cel"}}, "message": {"en": "Fever", "de": "Fieber"}}]}"#;

fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn measure(seconds: u64, kind: &str, value: &str, unit: &str) -> Record {
    let (kind, value, unit) = (kind.parse().unwrap(), value.parse().unwrap(), unit.parse().unwrap());
    Record { at: later(seconds), patient: Some(patient(1)), content: Content::Measure(Measure { kind, value, unit }) }
}

fn answer(seconds: u64, question: &str, response: Response) -> Record {
    let (instrument, question) = ("daily-wellbeing".parse().unwrap(), question.parse().unwrap());
    let content = Content::Answer(Answer { instrument, question, response });
    Record { at: later(seconds), patient: Some(patient(1)), content }
}

fn batches() -> Vec<(Vec<u8>, Verified)> {
    let unrecorded = Unrecorded { count: 3, from: later(20), until: later(40) };
    let first = signed(
        chain(1),
        1,
        FIRST,
        vec![
            measure(0, "body-temperature", "37.50", "Cel"),
            measure(10, "body-temperature", "102.2", "[degF]"),
            Record { patient: None, ..measure(15, "flow-rate", "-0.5", "mL/h") },
        ],
    );
    let second = signed(
        chain(1),
        4,
        Link::Follows(first.1.hash()),
        vec![
            Record { at: later(40), patient: None, content: Content::Unrecorded(unrecorded) },
            answer(50, "pain", Response::Number("7".parse().unwrap())),
            answer(51, "tiredness", Response::Choice("severe".parse().unwrap())),
            answer(52, "remark", Response::Text("Schlecht geschlafen.\nBetter now.".parse().unwrap())),
        ],
    );
    let link = after(Reason::PairedAgain, &second.1);
    let third = signed(chain(2), 1, link, vec![measure(60, "body-temperature", "38.6", "Cel")]);
    vec![first, second, third]
}

fn stored(batches: &[Verified]) -> Vec<(StoredBatch, Continuity)> {
    let mut chains = Chains::default();
    let mut take = |batch: &Verified| {
        let known = Definitions::default();
        let set_aside =
            batch.batch().records().filter(|(_, record)| check(record, &known, later(100)).is_err()).count();
        match chains.take(batch, set_aside as u64, None).unwrap() {
            Taken::New(stored, continuity) => (stored, continuity),
            Taken::Again(stored) => panic!("{stored:?}"),
        }
    };
    batches.iter().map(&mut take).collect()
}

fn flags(batches: &[Verified]) -> Vec<Flag> {
    let known = Definitions::default();
    let rules = Rules::parse(RULES, &known).unwrap();
    let records = batches.iter().flat_map(|batch| batch.batch().records());
    let seen = records.filter_map(|(id, record)| {
        let counted = check(record, &known, later(100)).ok()?;
        Some(Seen { id, record, counted })
    });
    let raised = |change| match change {
        Change::Raised(flag) => flag,
        Change::Withdrawn(id) => panic!("{id:?}"),
    };
    Evaluation::default().feed(&rules, seen).into_iter().map(raised).collect()
}

fn generate() -> Value {
    let (envelopes, verified): (Vec<_>, Vec<_>) = batches().into_iter().unzip();
    let site = site(1, Purpose::ControlUnit);
    let kept = stored(&verified);
    let receipt = Receipt::of(pump(1), &kept[1].0, later(100));
    let batch = |(bytes, batch): (&Vec<u8>, &Verified)| {
        let decoded: Vec<Value> =
            batch.batch().records().map(|(id, record)| json!({ "sequence": id.sequence, "record": record })).collect();
        json!({ "envelope": hex(bytes), "payload_hash": batch.hash(), "chain": batch.batch().chain(), "records": decoded })
    };
    json!({
        "device": pump(1).to_string(),
        "device_key": hex(&key(1).public().to_spki().unwrap()),
        "received_at": later(100),
        "batches": envelopes.iter().zip(&verified).map(batch).collect::<Vec<_>>(),
        "stored": kept.iter().map(|(stored, _)| stored).collect::<Vec<_>>(),
        "continuity": kept.iter().map(|(_, continuity)| continuity).collect::<Vec<_>>(),
        "root": site.root,
        "receipt": receipt,
        "receipt_envelope": hex(&receipt.sign(&site.key, &site.chain).unwrap()),
        "rules": serde_json::from_str::<Value>(RULES).unwrap(),
        "flags": flags(&verified),
        "decimals": [["37.50", hex(&cbor::encode(&"37.50".parse::<crate::decimal::Decimal>().unwrap()).unwrap())],
                     ["-0.5", hex(&cbor::encode(&"-0.5".parse::<crate::decimal::Decimal>().unwrap()).unwrap())]],
    })
}

#[test]
#[ignore = "writes tests/vectors/records.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_record_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn stored_data_is_still_written_as_it_was_frozen() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
}

#[test]
fn a_server_takes_the_frozen_batches_and_flags_what_they_say() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let key = PublicKey::from_spki(&bytes(&frozen["device_key"])).unwrap();
    let devices = [frozen["device"].as_str().unwrap().parse().unwrap()];
    let signer = Signer { key: &key, devices: &devices };
    let opened: Vec<Verified> = frozen["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| Sealed::parse(&bytes(&batch["envelope"])).unwrap().open(signer).unwrap())
        .collect();
    for (batch, vector) in opened.iter().zip(frozen["batches"].as_array().unwrap()) {
        let (id, records): (Vec<_>, Vec<Value>) =
            batch.batch().records().map(|(id, record)| (id, serde_json::to_value(record).unwrap())).unzip();
        let expected: Vec<Value> =
            vector["records"].as_array().unwrap().iter().map(|one| one["record"].clone()).collect();
        assert_eq!((records, id[0].sequence), (expected, vector["records"][0]["sequence"].as_u64().unwrap()));
        assert_eq!(vector["payload_hash"].as_str().unwrap(), batch.hash().to_string());
    }
    let kept = stored(&opened);
    assert_eq!(
        serde_json::to_value(kept.iter().map(|(stored, _)| stored).collect::<Vec<_>>()).unwrap(),
        frozen["stored"]
    );
    assert_eq!(serde_json::to_value(flags(&opened)).unwrap(), frozen["flags"]);
    // The rate below nothing is stored, and does not count.
    assert_eq!(kept.iter().map(|(stored, _)| stored.set_aside).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn a_holder_opens_the_frozen_receipt() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let root = frozen["root"].as_str().unwrap().parse().unwrap();
    let receipt = Receipt::open(&bytes(&frozen["receipt_envelope"]), &root).unwrap();
    assert_eq!(serde_json::to_value(receipt).unwrap(), frozen["receipt"]);
}

#[test]
fn a_beginning_says_what_was_before() {
    let third = batches().remove(2).1;
    let second = batches().remove(1).1;
    let end = ChainEnd { chain: chain(1), last: 7, hash: second.hash() };
    assert_eq!(third.batch().link(), Link::Begins(Beginning { reason: Reason::PairedAgain, before: Some(end) }));
    assert_eq!(third.batch().made_at(), NOW);
}

//! The frozen vectors of `tests/vectors/trust.json`: wrapped keys with their answers, the keys of a gateway's device, and a short
//! audit log.
//!
//! `cargo test -p wardlink-trust --lib -- --ignored write_the_trust_vectors` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wardlink_crypto::cose::ContentKey;
use wardlink_protocol::api::Role;
use wardlink_protocol::identity::{KeyFingerprint, Sha256};
use wardlink_protocol::keys::WrappedFor;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, cbor};

use crate::associated;
use crate::audit::{self, Act, Actor, Draft, Head, Outcome, Record};
use crate::epochs::{Line, LineId, Why};
use crate::testing::{Counting, NOW, later, pump, row};
use crate::wrap::{Keychain, Taken, WrapKey, answer, withdraw, wrap};

const FROZEN: &str = include_str!("../../../tests/vectors/trust.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/trust.json");
const WRAP_KEY: [u8; 32] = [0x5a; 32];
const SITE: &str = "St. Elsewhere";

fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

fn content(key: &ContentKey) -> Value {
    match key {
        ContentKey::A128(key) => hex(&**key),
        ContentKey::A256(key) => hex(&**key),
    }
}

fn wrapped(channel: &str) -> Value {
    let mut rng = Counting(31);
    let device = pump(1);
    let keys = WrapKey::new(WRAP_KEY).keys(&device).unwrap();
    let mut line = Line::begin(LineId::of(&row(channel), &device), row(channel), 0, NOW, &mut rng).unwrap();
    let given = line.current().unwrap().clone();
    line.rotate(row(channel), Why::Schedule, later(60), &mut rng).unwrap();
    let key = line.current().unwrap().clone();
    let update = wrap(&line, &device, &keys, &mut rng).unwrap();
    let mut keychain = Keychain::from_pairing(core::slice::from_ref(&given));
    keychain.receive(&device, &[WrapKey::new(WRAP_KEY)], &update, later(61)).unwrap();
    let held = keychain.held(&key.channel.name).unwrap();
    let answered = answer(vec![held], &device, &keys, &mut rng).unwrap();
    let last = WrappedFor { channel: key.channel.name.clone(), kid: key.kid, algorithm: key.channel.algorithm };
    let withdrawn = withdraw(&last, line.highest(), &device, &keys, &mut rng).unwrap();
    json!({
        "device": device.to_string(),
        "wrap_key": hex(&WRAP_KEY),
        "wrap_id": keys.id(),
        "key_down": content(keys.down()),
        "key_up": content(keys.up()),
        "given": { "kid": given.kid, "epoch": given.epoch, "key": hex(&given.key) },
        "new": { "kid": key.kid, "epoch": key.epoch, "key": hex(&key.key), "algorithm": key.channel.algorithm },
        "previous_until": line.previous_until(),
        "t2": Topic::Device(device.clone()).to_string(),
        "key_update": hex(&update),
        "channel_withdrawn": hex(&withdrawn),
        "t3": Topic::Command(device.client).to_string(),
        "keys_updated": hex(&answered),
    })
}

/// A device's channel at its gateway.
fn given_to_gateway() -> Value {
    let mut rng = Counting(41);
    let (device, gateway): (_, Device) = (pump(1), "gateway/ward-3".parse().unwrap());
    let keys = WrapKey::new(WRAP_KEY).keys(&gateway).unwrap();
    let mut line = Line::begin(LineId::of(&row("update"), &device), row("update"), 0, NOW, &mut rng).unwrap();
    line.rotate(row("update"), Why::Schedule, later(60), &mut rng).unwrap();
    let (lines, channel) = (core::slice::from_ref(&line), row("update").name);
    let sealed = associated::seal(lines, &device, &channel, &gateway, &keys, later(61), &mut rng).unwrap().unwrap();
    json!({
        "gateway": gateway.to_string(),
        "device": device.to_string(),
        "wrap_key": hex(&WRAP_KEY),
        "wrap_id": keys.id(),
        "key_down": content(keys.down()),
        "epochs": line.epochs(later(61)).map(|(epoch, _)| json!({
            "kid": epoch.key.kid, "epoch": epoch.key.epoch, "key": hex(&epoch.key.key), "until": epoch.accepted_until,
        })).collect::<Vec<_>>(),
        "associated_keys": hex(&sealed),
    })
}

fn log() -> Vec<Value> {
    let actors = [
        Actor::System,
        Actor::Person { name: "Ada".into(), role: Role::Administrator },
        Actor::Device { device: pump(1), key: KeyFingerprint([7; 32]) },
        Actor::Rule { name: "pumps of ward 3".into() },
    ];
    let mut head = Head::beginning(SITE).unwrap();
    let mut lines = Vec::new();
    for (seconds, actor) in (0..).zip(actors) {
        let (subject, detail) = ("infusion-pump/p-00001".into(), "lost \"somewhere\"".into());
        let draft = Draft { actor, act: Act::DeviceRevoked, subject, detail, outcome: Outcome::Done };
        let (record, next) = head.append(draft, later(seconds)).unwrap();
        let line: Value = serde_json::from_str(&record.to_line().unwrap()).unwrap();
        lines.push(json!({ "line": line, "entry_cbor": hex(&cbor::encode(&record.entry).unwrap()) }));
        head = next;
    }
    lines
}

fn generate() -> Value {
    json!({
        "wrap": { "alarm": wrapped("alarm"), "telemetry": wrapped("telemetry") },
        "associated": given_to_gateway(),
        "audit": { "site": SITE, "beginning": Head::beginning(SITE).unwrap().hash, "entries": log() },
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
#[ignore = "writes tests/vectors/trust.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_trust_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn wraps_and_log_are_still_written_as_they_were_frozen() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
}

#[test]
fn a_device_takes_in_the_frozen_wraps() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    for channel in ["alarm", "telemetry"] {
        let vector = &frozen["wrap"][channel];
        let device = vector["device"].as_str().unwrap().parse().unwrap();
        let wrap_keys = [WrapKey::new(bytes(&vector["wrap_key"]).try_into().unwrap())];
        let mut keychain = Keychain::default();
        let update = bytes(&vector["key_update"]);
        assert!(matches!(keychain.receive(&device, &wrap_keys, &update, later(61)), Ok(Taken::Installed { .. })));
        let key = keychain.channels()[0].clone();
        assert_eq!(key.key.as_slice(), bytes(&vector["new"]["key"]));
        assert_eq!(key.kid.to_string(), vector["new"]["kid"].as_str().unwrap());
        let withdrawn = bytes(&vector["channel_withdrawn"]);
        assert!(matches!(keychain.receive(&device, &wrap_keys, &withdrawn, later(62)), Ok(Taken::Withdrawn(_))));
    }
}

#[test]
fn a_gateway_reads_the_frozen_keys_of_its_device() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let vector = &frozen["associated"];
    let [device, gateway] = ["device", "gateway"].map(|name| vector[name].as_str().unwrap().parse().unwrap());
    let wrap_keys = [WrapKey::new(bytes(&vector["wrap_key"]).try_into().unwrap())];
    let sealed = bytes(&vector["associated_keys"]);
    let keys = associated::open(&sealed, &device, &row("update").name, &gateway, &wrap_keys).unwrap();
    let accepted = keys.accepted(later(61));
    assert_eq!(accepted.len(), 2);
    for (key, frozen) in accepted.iter().zip(vector["epochs"].as_array().unwrap()) {
        assert_eq!(
            (key.key.as_slice(), key.epoch),
            (bytes(&frozen["key"]).as_slice(), frozen["epoch"].as_u64().unwrap())
        );
    }
}

#[test]
fn the_frozen_log_holds() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let entries = frozen["audit"]["entries"].as_array().unwrap();
    let records: Vec<Record> =
        entries.iter().map(|entry| Record::from_line(&entry["line"].to_string()).unwrap()).collect();
    let beginning = Head { sequence: 0, hash: frozen["audit"]["beginning"].as_str().unwrap().parse().unwrap() };
    let end = audit::verify(beginning, &records, &[]).unwrap();
    let last: Sha256 = entries.last().unwrap()["line"]["hash"].as_str().unwrap().parse().unwrap();
    assert_eq!((end.sequence, end.hash), (4, last));
    for (entry, record) in entries.iter().zip(&records) {
        assert_eq!(bytes(&entry["entry_cbor"]), cbor::encode(&record.entry).unwrap());
    }
}

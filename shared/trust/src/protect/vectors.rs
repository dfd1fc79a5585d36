//! The frozen vectors of `tests/vectors/channel.json`: messages on a signed and on an unsigned channel.
//!
//! `cargo test -p wardlink-trust --lib -- --ignored write_the_vectors` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use super::tests::site;
use super::*;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

const FROZEN: &str = include_str!("../../../../tests/vectors/channel.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/channel.json");
const BOOT: u64 = 7;
const PLAINTEXTS: [&str; 2] = ["first", "second"];

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn channel(name: &str) -> Value {
    let mut site = site(name);
    let mut sender = site.sender(BOOT);
    let content = match &sender.key {
        ContentKey::A128(key) => hex(&**key),
        ContentKey::A256(key) => hex(&**key),
    };
    let messages: Vec<String> =
        PLAINTEXTS.iter().map(|text| hex(&sender.seal(text.as_bytes(), &site.device).unwrap())).collect();
    json!({
        "topic": site.topic.to_string(),
        "network_key": hex(&site.key.key),
        "kid": site.key.kid.to_string(),
        "epoch": site.key.epoch,
        "algorithm": site.key.channel.algorithm,
        "signed": site.key.channel.signed,
        "device_pkcs8": hex(&site.device.to_pkcs8().unwrap()),
        "boot": BOOT,
        "random_bytes": hex(&sender.instance[8..]),
        "content_key": content,
        "plaintexts": PLAINTEXTS,
        "messages": messages,
    })
}

fn generate() -> Value {
    json!({ "alarm": channel("alarm"), "telemetry": channel("telemetry") })
}

#[test]
#[ignore = "writes tests/vectors/channel.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn the_sender_still_writes_what_was_frozen() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
}

#[test]
fn the_frozen_messages_are_read_from_their_network_key() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    for name in ["alarm", "telemetry"] {
        let site = site(name);
        let vector = &frozen[name];
        assert_eq!(hex(&site.key.key), vector["network_key"].as_str().unwrap());
        let mut receiver = Receiver::default();
        let messages = vector["messages"].as_array().unwrap();
        for (message, text) in messages.iter().zip(PLAINTEXTS) {
            let message = HEXLOWER.decode(message.as_str().unwrap().as_bytes()).unwrap();
            let opened = site.open(&mut receiver, &message).unwrap();
            assert_eq!(*opened.plaintext, text.as_bytes());
            assert_eq!(opened.signed, vector["signed"].as_bool().unwrap());
        }
        assert_eq!(messages.len(), PLAINTEXTS.len());
    }
}

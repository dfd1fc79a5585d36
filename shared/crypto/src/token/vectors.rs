//! The frozen vectors of `tests/vectors/token.json`: a token by bare key and one by certificate, with what they are made of.
//!
//! `cargo test -p wardlink-crypto --lib -- --ignored write_the_tokens` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use super::tests::{CLIENT, HOST, NOW, PURPOSE, certified_device, pump};
use super::*;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

const FROZEN: &str = include_str!("../../../../tests/vectors/token.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/token.json");

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

fn vector(token: &str) -> Value {
    let verified = verify(token.as_bytes(), PURPOSE).unwrap();
    json!({
        "header": part(token, 0),
        "claims": part(token, 1),
        "token": token,
        "once": verified.once.to_string(),
        "until_ms": verified.until.0,
    })
}

fn generate() -> Value {
    let mut device = certified_device();
    let bare = make(Shown::BareKey, &pump(), PURPOSE, &device.key, &mut device.rng).unwrap();
    let certified =
        make(Shown::Certificate(&device.chain[..2]), &pump(), PURPOSE, &device.key, &mut device.rng).unwrap();
    json!({
        "time_ms": NOW.0,
        "host": HOST,
        "client_id": CLIENT,
        "device": pump().to_string(),
        "device_pkcs8": HEXLOWER.encode(&device.key.to_pkcs8().unwrap()),
        "issuing_ca": HEXLOWER.encode(&device.chain[1]),
        "by_bare_key": vector(&bare),
        "by_certificate": vector(&certified),
    })
}

#[test]
#[ignore = "writes tests/vectors/token.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_tokens() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn the_frozen_tokens_are_made_and_verified() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
    for way in ["/by_bare_key", "/by_certificate"] {
        let vector = frozen.pointer(way).unwrap();
        let verified = verify(vector["token"].as_str().unwrap().as_bytes(), PURPOSE).unwrap();
        assert_eq!(verified.once.to_string(), vector["once"]);
        assert_eq!(verified.until.0, vector["until_ms"]);
    }
}

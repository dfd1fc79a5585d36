//! The frozen vectors of `tests/vectors/authentication.json`: a device and a bridge prove themselves to each other, by bare key and by certificate.
//!
//! `cargo test -p wardlink-crypto --lib -- --ignored write_the_vectors` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::tests::{CLIENT, pump};
use super::*;
use crate::testing::{HOST, NOW, Site};
use crate::x509::CertificationRequest;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

const FROZEN: &str = include_str!("../../../../tests/vectors/authentication.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/authentication.json");

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn exchange(site: &mut Site, identity: Identity, key: &PrivateKey) -> Value {
    let (client, hello) = ClientAuthentication::start(identity, CLIENT, HOST, &mut site.rng).unwrap();
    let (server, challenge) = ServerAuthentication::start(&hello, CLIENT, HOST, &mut site.rng).unwrap();
    let (_, proof) = client.prove(&challenge, key).unwrap();
    let acceptance = server.accept(&site.chain, &site.key).unwrap();
    json!({
        "hello": hex(&hello),
        "challenge": hex(&challenge),
        "proof": hex(&proof),
        "acceptance": hex(&acceptance),
        "signed_by_client": hex(&server.0.signed_bytes(CLIENT_LABEL).unwrap()),
        "signed_by_bridge": hex(&server.0.signed_bytes(SERVER_LABEL).unwrap()),
    })
}

fn generate() -> Value {
    let mut site = Site::new(1);
    let (key, certificate) = site.device();
    let bare_key = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let bare_key = exchange(&mut site, bare_key, &key);
    let identity = Identity::Certificate { certificate: certificate.to_bytes() };
    json!({
        "time_ms": NOW.0,
        "client_id": CLIENT,
        "host": HOST,
        "cert_ca_sha256": site.root().to_string(),
        "device_pkcs8": hex(&key.to_pkcs8().unwrap()),
        "control_unit_pkcs8": hex(&site.key.to_pkcs8().unwrap()),
        "csr": hex(&CertificationRequest::make(&pump(), &key).unwrap()),
        "by_bare_key": bare_key,
        "by_certificate": exchange(&mut site, identity, &key),
    })
}

#[test]
#[ignore = "writes tests/vectors/authentication.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn both_sides_still_write_what_was_frozen() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
}

#[test]
fn the_frozen_authentication_is_verified_from_its_bytes() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let bytes = |value: &Value| HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let root: Sha256 = frozen["cert_ca_sha256"].as_str().unwrap().parse().unwrap();
    let key = PrivateKey::from_pkcs8(&bytes(&frozen["device_pkcs8"])).unwrap().public();
    assert_eq!(CertificationRequest::parse(&bytes(&frozen["csr"])).unwrap().key(), &key);
    for way in ["by_bare_key", "by_certificate"] {
        let data = |name: &str| bytes(&frozen[way][name]);
        let hello: Hello = cbor::decode(&data("hello"), MAX_AUTHENTICATION_BYTES).unwrap();
        let challenge: Challenge = cbor::decode(&data("challenge"), MAX_AUTHENTICATION_BYTES).unwrap();
        let proof: Proof = cbor::decode(&data("proof"), MAX_AUTHENTICATION_BYTES).unwrap();
        let signed = |label: &str| {
            let (identity, client) = (&hello.identity, frozen["client_id"].as_str().unwrap());
            cbor::encode(&(label, identity, hello.nonce, challenge.nonce, client, &hello.host)).unwrap()
        };
        assert_eq!(signed("WARDLINK-ES256 client"), data("signed_by_client"));
        assert_eq!(signed("WARDLINK-ES256 server"), data("signed_by_bridge"));
        key.verify(&data("signed_by_client"), &proof.signature).unwrap();
        let acceptance: Acceptance = cbor::decode(&data("acceptance"), MAX_AUTHENTICATION_BYTES).unwrap();
        let chain = Chain::parse(&acceptance.chain).unwrap();
        let certificate = chain.verify(&root, Purpose::ControlUnit, NOW).unwrap();
        certificate.key().verify(&data("signed_by_bridge"), &acceptance.signature).unwrap();
    }
}

//! MQTT's enhanced authentication: each side's reader, in an exchange that is otherwise the frozen one.

use rand::SeedableRng;
use rand::rngs::StdRng;
use wardlink_crypto::authentication::{ClientAuthentication, ServerAuthentication};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::authentication::Hello;
use wardlink_protocol::cbor;
use wardlink_protocol::limits::MAX_AUTHENTICATION_BYTES;

use crate::vectors::Vectors;
use crate::{select, selected};

const WAYS: [&str; 2] = ["by_bare_key", "by_certificate"];

/// The first byte selects the way of the other messages and the message that is read.
pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let (way, message) = (WAYS[usize::from(selector % 2)], selector / 2);
    match message % 4 {
        0 => hello(bytes),
        1 => proof(way, bytes),
        2 => challenge(way, bytes),
        _ => acceptance(way, bytes),
    }
}

fn start(hello: &[u8]) -> Option<(ServerAuthentication, Vec<u8>)> {
    let vectors = Vectors::authentication();
    let (client_id, host) = (vectors.text("/client_id"), vectors.text("/host"));
    ServerAuthentication::start(hello, client_id, host, &mut StdRng::seed_from_u64(1)).ok()
}

fn hello(bytes: &[u8]) {
    let Some((exchange, challenge)) = start(bytes) else { return };
    assert!(bytes.len() <= MAX_AUTHENTICATION_BYTES && challenge.len() < 64);
    let stored = cbor::encode(&exchange).expect("an exchange");
    assert!(stored.len() < bytes.len() + 256, "what is kept is as long as what came");
    assert_eq!(cbor::decode::<ServerAuthentication>(&stored, stored.len()).as_ref(), Ok(&exchange));
    // A signature over another exchange proves nothing.
    let foreign = Vectors::authentication().bytes("/by_bare_key/proof");
    assert!(exchange.verify(&foreign).is_err());
}

/// The challenge is another than the frozen one, so that no proof fits, however it came about.
fn proof(way: &str, bytes: &[u8]) {
    let hello = Vectors::authentication().bytes(&format!("/{way}/hello"));
    let (exchange, _) = start(&hello).expect("a frozen Hello");
    assert!(exchange.verify(bytes).is_err(), "a proof fits without the key");
}

fn client(way: &str) -> (ClientAuthentication, PrivateKey) {
    let vectors = Vectors::authentication();
    let bytes = vectors.bytes(&format!("/{way}/hello"));
    let Hello { identity, host, .. } = cbor::decode(&bytes, MAX_AUTHENTICATION_BYTES).expect("a frozen Hello");
    let key = PrivateKey::from_pkcs8(&vectors.bytes("/device_pkcs8")).expect("a frozen key");
    let rng = &mut StdRng::seed_from_u64(1);
    let (client, _) = ClientAuthentication::start(identity, vectors.text("/client_id"), &host, rng).expect("a Hello");
    (client, key)
}

fn challenge(way: &str, bytes: &[u8]) {
    let (client, key) = client(way);
    if let Ok((_, proof)) = client.prove(bytes, &key) {
        assert!(proof.len() < 128);
    }
}

/// The client's nonce is another than the frozen one, so that no acceptance fits.
fn acceptance(way: &str, bytes: &[u8]) {
    let vectors = Vectors::authentication();
    let (client, key) = client(way);
    let challenge = vectors.bytes(&format!("/{way}/challenge"));
    let (proved, _) = client.prove(&challenge, &key).expect("a frozen challenge");
    let root = vectors.text("/cert_ca_sha256").parse().expect("a hash");
    let now = UnixMillis(vectors.number("/time_ms"));
    assert!(proved.finish(bytes, &root, now).is_err(), "an acceptance fits without the key");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let vectors = Vectors::authentication();
    let messages = ["hello", "proof", "challenge", "acceptance"];
    let seed = |(number, way): (usize, &str)| {
        let way = way.to_owned();
        messages
            .iter()
            .enumerate()
            .map(move |(message, name)| select(number + 2 * message, &vectors.bytes(&format!("/{way}/{name}"))))
            .collect::<Vec<_>>()
    };
    WAYS.into_iter().enumerate().flat_map(seed).collect()
}

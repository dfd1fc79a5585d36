//! The frozen vectors of `tests/vectors/enrolment.json`: one whole enrolment of a service, with every secret of the service.
//!
//! `cargo test -p wardlink-pairing --lib -- --ignored write_the_enrolment_vectors` writes the file anew, when the format changes on
//! purpose.

use super::World;
use crate::enrolment::Enrolling;
use crate::tests::site::START;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wardlink_crypto::cose::{ContentKey, Encrypted, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{PairingKeys, derive_enrolment_key, message_hash};
use wardlink_crypto::x509::{Certificate, CertificationRequest};
use wardlink_protocol::cbor;
use wardlink_protocol::service::{EnrolmentTicket, ServiceEnrolled, ServiceEnrolment};

const FROZEN: &str = include_str!("../../../../../tests/vectors/enrolment.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/enrolment.json");
const LIMIT: usize = 64 * 1024;

fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

/// Ed, which the service keeps to itself.
fn ephemeral(asking: &Enrolling) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Stored {
        ephemeral: serde_bytes::ByteBuf,
    }
    let stored: Stored = cbor::decode_lenient(&cbor::encode(asking).unwrap(), LIMIT).unwrap();
    stored.ephemeral.to_vec()
}

fn generate() -> Value {
    let mut world = World::new();
    let asking = world.ask();
    let answered = world.answer(asking.request()).unwrap();
    let enrolled = asking.finish(&world.key, &answered.answer, START).unwrap();
    json!({
        "now": START,
        "ticket": world.ticket.to_text().unwrap().as_str(),
        "enrolment_key": hex(&world.kept),
        "static_key_pkcs8": hex(&world.key.to_pkcs8().unwrap()),
        "ephemeral_pkcs8": hex(&ephemeral(&asking)),
        "snapshot": hex(&cbor::encode(&asking).unwrap()),
        "service_enrolment": hex(asking.request()),
        "service_enrolled": hex(&answered.answer),
        "wrap_key": hex(&enrolled.wrap_key),
    })
}

struct Frozen(Value);

impl Frozen {
    fn read() -> Self {
        Self(serde_json::from_str(FROZEN).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        HEXLOWER.decode(self.0[name].as_str().unwrap().as_bytes()).unwrap()
    }

    fn key(&self, name: &str) -> PrivateKey {
        PrivateKey::from_pkcs8(&self.bytes(name)).unwrap()
    }

    fn ticket(&self) -> EnrolmentTicket {
        self.0["ticket"].as_str().unwrap().parse().unwrap()
    }
}

#[test]
#[ignore = "writes tests/vectors/enrolment.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_enrolment_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn an_enrolment_is_still_written_as_it_was_frozen() {
    assert_eq!(generate(), Frozen::read().0);
}

#[test]
fn a_service_goes_on_from_the_frozen_snapshot_with_the_frozen_answer() {
    let frozen = Frozen::read();
    let asking: Enrolling = cbor::decode_lenient(&frozen.bytes("snapshot"), LIMIT).unwrap();
    assert_eq!(asking.request(), frozen.bytes("service_enrolment"));
    let enrolled = asking.finish(&frozen.key("static_key_pkcs8"), &frozen.bytes("service_enrolled"), START).unwrap();
    assert_eq!(enrolled.wrap_key.as_slice(), frozen.bytes("wrap_key"));
}

#[test]
fn the_derivations_of_an_enrolment_follow_from_its_frozen_messages_alone() {
    let frozen = Frozen::read();
    let (request, answer) = (frozen.bytes("service_enrolment"), frozen.bytes("service_enrolled"));
    let (ticket, key) = (frozen.ticket(), frozen.key("static_key_pkcs8"));
    let enrolment_key = derive_enrolment_key(&ticket.secret, &ticket.id, &ticket.name).unwrap();
    assert_eq!(enrolment_key.as_slice(), frozen.bytes("enrolment_key"));
    let sealed = Encrypted::parse(&request, LIMIT).unwrap();
    let plaintext = sealed.open(&ContentKey::A256(enrolment_key), b"wardlink service enrolment").unwrap();
    let said: ServiceEnrolment = cbor::decode(&plaintext, LIMIT).unwrap();
    assert_eq!(*CertificationRequest::parse(&said.csr).unwrap().key(), key.public());
    let envelope = Signed::parse(&answer, LIMIT).unwrap();
    let control_unit = Certificate::parse(&envelope.header().chain[0]).unwrap();
    let payload = envelope.verify(control_unit.key(), b"wardlink service enrolled").unwrap();
    let answered: ServiceEnrolled = cbor::decode(payload, LIMIT).unwrap();
    assert_eq!(answered.request_hash, message_hash(&request));
    let theirs = PublicKey::from_point(&answered.ephemeral).unwrap();
    let (first, second) = (key.agree(&theirs), frozen.key("ephemeral_pkcs8").agree(&theirs));
    let keys = PairingKeys::derive_enrolment(&first, &second, &request, &answer).unwrap();
    assert_eq!(keys.wrap().unwrap().as_slice(), frozen.bytes("wrap_key"));
}

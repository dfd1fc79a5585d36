//! The frozen vectors of `tests/vectors/pairing.json`: one whole pairing, with every secret.
//!
//! `cargo test -p wardlink-pairing --lib -- --ignored write_the_vectors` writes the file anew, when the format changes on purpose.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wardlink_crypto::cose::{self, ContentKey, Encrypted, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, PairingKeys, Parties};
use wardlink_crypto::x509::{Certificate, CertificationRequest, Chain};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::{Purpose, SessionId, Sha256};
use wardlink_protocol::pairing::{
    DevicePaired, Mode, PairingCommand, PairingConfirmed, PairingFinished, PairingRefused, PairingRequest,
    PairingVerified, RefusalReason,
};
use wardlink_protocol::provisioning::AccessSecret;

use super::site::{BOTH, Pair, fingerprint};
use crate::control_unit::Action;

const FROZEN: &str = include_str!("../../../../tests/vectors/pairing.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/pairing.json");
const LIMIT: usize = 64 * 1024;

fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

fn published(pair: &Pair) -> Value {
    let message = pair.published();
    json!({ "topic": message.topic, "message": hex(&message.payload) })
}

fn on_t2(pair: &Pair) -> Value {
    json!({ "topic": format!("ais/{}", pair.name), "message": hex(&pair.t2().unwrap()) })
}

/// Nd and Ed, which the device keeps to itself.
fn device_secrets(pair: &Pair) -> (Vec<u8>, Vec<u8>) {
    use wardlink_protocol::cbor::unpack;
    #[derive(serde::Deserialize)]
    struct Snapshot {
        state: BTreeMap<String, Requesting>,
    }
    #[derive(serde::Deserialize)]
    struct Requesting {
        nonce: Sha256,
        ephemeral: serde_bytes::ByteBuf,
    }
    let snapshot: Snapshot = unpack(&pair.pump.snapshot().unwrap(), LIMIT).unwrap();
    let state = &snapshot.state["Requesting"];
    (state.nonce.0.to_vec(), state.ephemeral.to_vec())
}

/// One whole pairing by the real machines, and a refusal of its twin.
fn generate() -> Value {
    let mut pair = Pair::requested(BOTH);
    let (nonce, ephemeral) = device_secrets(&pair);
    let request = published(&pair);
    let mut twin = pair.session.clone();
    pair.accept(Some(Mode::PairingQrcode));
    let command = on_t2(&pair);
    pair.deliver_t2();
    let (code, link) = pair.shown();
    let verified = published(&pair);
    pair.deliver_t3();
    let proof = pair.code();
    pair.verify(1, &proof);
    let confirmed = on_t2(&pair);
    pair.deliver_t2();
    let finished = published(&pair);
    pair.deliver_t3();
    let announced = pair.actions.iter().find_map(|action| match action {
        Action::Publish { topic, payload } if topic.to_string().starts_with("ais/meta/") => {
            Some(json!({ "topic": topic.to_string(), "message": hex(payload) }))
        }
        _ => None,
    });
    let actions = twin.reject(pair.site.control_unit(), "Not ours".into(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    let refused = on_t2(&pair);
    json!({
        "provisioned": {
            "device": pair.name.to_string(),
            "secret_id": pair.site.secret_id.to_string(),
            "access_secret": hex(pair.site.secret.as_bytes()),
            "cert_ca_sha256": pair.site.cert_ca().to_string(),
        },
        "secrets": {
            "device_static_pkcs8": hex(&pair.key.to_pkcs8().unwrap()),
            "device_ephemeral_pkcs8": hex(&ephemeral),
            "control_unit_pkcs8": hex(&pair.site.key.to_pkcs8().unwrap()),
            "nonce": hex(&nonce),
        },
        "time_ms": pair.now.0,
        "session": pair.session.id().to_string(),
        "shown": { "code": code, "link": link },
        "messages": {
            "pairing_request": request,
            "pairing_command": command,
            "pairing_verified": verified,
            "pairing_confirmed": confirmed,
            "pairing_finished": finished,
            "pairing_refused": refused,
            "device_paired": announced,
        },
    })
}

#[test]
#[ignore = "writes tests/vectors/pairing.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_vectors() {
    let mut vectors = generate();
    vectors["derived"] = read(&vectors);
    std::fs::write(PATH, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
}

#[test]
fn the_machines_still_write_what_was_frozen() {
    let mut frozen: Value = serde_json::from_str(FROZEN).unwrap();
    frozen.as_object_mut().unwrap().remove("derived");
    assert_eq!(generate(), frozen);
}

#[test]
fn the_frozen_pairing_is_read_from_its_secrets() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(read(&frozen), frozen["derived"]);
}

struct Vectors<'a>(&'a Value);

impl Vectors<'_> {
    fn text(&self, path: &str) -> &str {
        self.0.pointer(path).unwrap().as_str().unwrap()
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(path).as_bytes()).unwrap()
    }

    fn message(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let topic = self.text(&format!("/messages/{name}/topic")).as_bytes().to_vec();
        (topic, self.bytes(&format!("/messages/{name}/message")))
    }

    /// Opens a message, and seals its plaintext again: the same bytes come out.
    fn open(&self, name: &str, kid: &[u8], key: &ContentKey) -> Vec<u8> {
        let (topic, message) = self.message(name);
        let envelope = Encrypted::parse(&message, LIMIT).unwrap();
        assert_eq!(envelope.header().kid, kid);
        assert_eq!(envelope.header().session.unwrap().to_string(), self.text("/session"));
        let plaintext = envelope.open(key, &topic).unwrap();
        let sealed = cose::seal_with_iv(envelope.header(), key, envelope.iv(), &topic, &plaintext).unwrap();
        assert_eq!(sealed, message);
        plaintext.to_vec()
    }

    /// Verifies what the control unit signed, and signs it again: the same bytes come out.
    fn verify(&self, topic: &[u8], signed: &[u8]) -> Vec<u8> {
        let key = PrivateKey::from_pkcs8(&self.bytes("/secrets/control_unit_pkcs8")).unwrap();
        let envelope = Signed::parse(signed, LIMIT).unwrap();
        let now = wardlink_protocol::UnixMillis(self.0["time_ms"].as_u64().unwrap());
        let root = self.text("/provisioned/cert_ca_sha256").parse().unwrap();
        let chain = Chain::parse(&envelope.header().chain).unwrap();
        let certificate = chain.verify(&root, Purpose::ControlUnit, now).unwrap();
        let payload = envelope.verify(certificate.key(), topic).unwrap();
        assert_eq!(cose::sign(envelope.header(), &key, topic, payload).unwrap(), signed);
        payload.to_vec()
    }
}

fn content(key: &ContentKey) -> Value {
    match key {
        ContentKey::A128(key) => hex(&**key),
        ContentKey::A256(key) => hex(&**key),
    }
}

/// Reads the whole pairing as a second implementation would, from its secrets, and says everything that it derived.
fn read(vectors: &Value) -> Value {
    let v = Vectors(vectors);
    let device = v.text("/provisioned/device").parse().unwrap();
    let secret = AccessSecret::new(v.bytes("/provisioned/access_secret")).unwrap();
    let secret_id = v.text("/provisioned/secret_id").parse().unwrap();
    let session: SessionId = v.text("/session").parse().unwrap();
    let nonce = Sha256(v.bytes("/secrets/nonce").try_into().unwrap());
    let static_key = PrivateKey::from_pkcs8(&v.bytes("/secrets/device_static_pkcs8")).unwrap();
    let ephemeral = PrivateKey::from_pkcs8(&v.bytes("/secrets/device_ephemeral_pkcs8")).unwrap();
    let control_unit = PrivateKey::from_pkcs8(&v.bytes("/secrets/control_unit_pkcs8")).unwrap();
    let access = |direction| schedule::derive_access_key(&secret, direction, &secret_id, &device, &session).unwrap();
    let (up, down) = (access(Direction::Up), access(Direction::Down));

    let request_bytes = v.open("pairing_request", b"access-up", &up);
    let request: PairingRequest = cbor::decode(&request_bytes, LIMIT).unwrap();
    let commitment = schedule::derive_commitment(&session, &nonce).unwrap();
    assert_eq!(request.commitment, commitment);
    assert_eq!(CertificationRequest::parse(&request.csr).unwrap().key(), &static_key.public());
    assert_eq!(request.ephemeral, ephemeral.public().to_point());

    let (t2, command_message) = v.message("pairing_command");
    let command_signed = v.open("pairing_command", b"access-down", &down);
    let command_bytes = v.verify(&t2, &command_signed);
    let command: PairingCommand = cbor::decode(&command_bytes, LIMIT).unwrap();
    let request_message = v.message("pairing_request").1;
    assert_eq!(command.request_hash, schedule::message_hash(&request_message));
    assert_eq!(Certificate::parse(&command.certificate).unwrap().purpose(), Some(Purpose::Pairing));

    let peer = PublicKey::from_point(&command.ephemeral).unwrap();
    let (first, second) = (static_key.agree(&peer), ephemeral.agree(&peer));
    let keys = PairingKeys::derive(&first, &second, &request_message, &command_message).unwrap();
    let parties = Parties {
        device,
        device_key: fingerprint(&static_key),
        control_unit_key: fingerprint(&control_unit),
        device_ephemeral: request.ephemeral.to_vec(),
        control_unit_ephemeral: command.ephemeral.to_vec(),
    };
    let verified_bytes = v.open("pairing_verified", b"device", &keys.device().unwrap());
    let verified: PairingVerified = cbor::decode(&verified_bytes, LIMIT).unwrap();
    assert_eq!(verified.mac, keys.device_confirmation(&parties, Mode::PairingQrcode).unwrap());
    assert_eq!((verified.mode, verified.nonce), (Mode::PairingQrcode, nonce));

    let code = keys.code(&nonce, Mode::PairingQrcode).unwrap().to_string();
    assert_eq!(code, v.text("/shown/code"));
    let tag = keys.tag(&nonce, &session, &parties.device, &command.web_origin).unwrap();
    let link: wardlink_protocol::verification::VerificationLink = v.text("/shown/link").parse().unwrap();
    assert_eq!((link.tag, link.session), (tag, session));

    let confirmed_bytes = v.open("pairing_confirmed", b"control", &keys.control().unwrap());
    let confirmed: PairingConfirmed = cbor::decode(&confirmed_bytes, LIMIT).unwrap();
    let channel = &confirmed.channels[0];
    let finish_key = schedule::derive_finish_key(channel, &parties.device, &session).unwrap();
    let finished_bytes = v.open("pairing_finished", channel.kid.as_bytes(), &finish_key);
    let finished: PairingFinished = cbor::decode(&finished_bytes, LIMIT).unwrap();
    assert_eq!(finished.mac, keys.finish_mac(&v.message("pairing_confirmed").1).unwrap());

    let refused_signed = v.open("pairing_refused", b"access-down", &down);
    let refused: PairingRefused = cbor::decode(&v.verify(&t2, &refused_signed), LIMIT).unwrap();
    assert_eq!((refused.session, refused.reason), (session, RefusalReason::Rejected));
    let (t4, announced) = v.message("device_paired");
    let announced: DevicePaired = cbor::decode(&v.verify(&t4, &announced), LIMIT).unwrap();
    assert_eq!(announced.certificate, confirmed.certificate);

    json!({
        "access_key_up": content(&up),
        "access_key_down": content(&down),
        "commitment": commitment.to_string(),
        "z": hex(&[first.as_slice(), second.as_slice()].concat()),
        // The stored form is a CBOR byte string: two bytes of head, then PRK.
        "prk": hex(&cbor::encode(&keys).unwrap()[2..]),
        "k_device": content(&keys.device().unwrap()),
        "k_control": content(&keys.control().unwrap()),
        "k_wrap": hex(&*keys.wrap().unwrap()),
        "key_confirmation_mac": verified.mac.to_string(),
        "code": code,
        "qr_tag": tag.to_string(),
        "answer": keys.answer(&nonce).unwrap().to_string(),
        "finish_key": content(&finish_key),
        "finish_mac": finished.mac.to_string(),
        "plaintexts": {
            "pairing_request": hex(&request_bytes),
            "pairing_command_signed": hex(&command_signed),
            "pairing_command": hex(&command_bytes),
            "pairing_verified": hex(&verified_bytes),
            "pairing_confirmed": hex(&confirmed_bytes),
            "pairing_finished": hex(&finished_bytes),
        },
    })
}

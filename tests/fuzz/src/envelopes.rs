//! COSE envelopes: a header that is accepted has one encoding, and nothing opens with a key that did not make it.

use ciborium::Value;
use std::sync::LazyLock;
use wardlink_crypto::cose::{self, ContentKey, Encrypted, Signed, TAG_BYTES};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;

use crate::vectors::Vectors;

const LIMIT: usize = MAX_PAIRING_MESSAGE_BYTES;
const AAD: &[u8] = b"ais/infusion-pump/pump-1";

/// A key that made none of the inputs.
static FOREIGN: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::from_pkcs8(&Vectors::authentication().bytes("/device_pkcs8")).expect("a key"));

/// The protected header of an envelope, as it stands there.
fn protected(envelope: &[u8]) -> Option<Vec<u8>> {
    let Value::Tag(_, inner) = ciborium::from_reader(envelope).ok()? else { return None };
    inner.as_array()?.first()?.as_bytes().cloned()
}

pub(crate) fn run(input: &[u8]) {
    if let Ok(envelope) = Encrypted::parse(input, LIMIT) {
        let keys = [ContentKey::A128([1; 16].into()), ContentKey::A256([1; 32].into())];
        let sealed = keys.map(|key| {
            assert!(envelope.open(&key, AAD).is_err(), "opened with a foreign key");
            cose::seal_with_iv(envelope.header(), &key, envelope.iv(), AAD, b"").expect("a header that was read")
        });
        assert!(sealed.iter().any(|sealed| protected(sealed) == protected(input)), "the header has another encoding");
        assert!(sealed.iter().all(|sealed| sealed.len() <= input.len() + TAG_BYTES + 8));
    }
    if let Ok(envelope) = Signed::parse(input, LIMIT) {
        assert!(envelope.verify(&FOREIGN.public(), AAD).is_err(), "verified with a foreign key");
        let signed = cose::sign(envelope.header(), &FOREIGN, AAD, b"").expect("a header that was read");
        assert_eq!(protected(&signed), protected(input), "the header has another encoding");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (pairing, channel) = (Vectors::pairing(), Vectors::channel());
    let messages = [
        "pairing_request",
        "pairing_command",
        "pairing_verified",
        "pairing_confirmed",
        "pairing_finished",
        "pairing_refused",
        "device_paired",
    ];
    let mut seeds: Vec<Vec<u8>> =
        messages.iter().map(|name| pairing.bytes(&format!("/messages/{name}/message"))).collect();
    seeds.push(pairing.bytes("/derived/plaintexts/pairing_command_signed"));
    seeds.push(channel.bytes("/alarm/messages/0"));
    seeds.push(channel.bytes("/telemetry/messages/1"));
    seeds
}

//! JSON: what is accepted can be written, and reads the same again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wardlink_protocol::api::{
    Accept, Bootstrap, Credentials, LiveEvent, NewPerson, NewProvisioning, PairingView, PersonChange, Problem, Reject,
    Verify,
};
use wardlink_protocol::provisioning::{AccessSecret, MAX_SECRET_BYTES, MIN_SECRET_BYTES, Provisioning};

use crate::site::site;
use crate::vectors::Vectors;
use crate::{select, selected};

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("what was read can be written"), written);
    Some(value)
}

pub(crate) fn provisioning(input: &[u8]) {
    let Some(file) = read::<Provisioning>(input) else { return };
    assert!((MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&file.secret.as_bytes().len()));
    let anchors: usize = file.tls_anchors.iter().map(String::len).sum();
    assert!(file.broker.len() + file.web_origin.len() + anchors <= input.len(), "no text is longer than the file");
}

pub(crate) fn provisioning_seeds() -> Vec<Vec<u8>> {
    provisioning_files().iter().map(|file| serde_json::to_vec(file).expect("a file")).collect()
}

/// A long file and a short one.
pub(crate) fn provisioning_files() -> [Provisioning; 2] {
    let vectors = Vectors::pairing();
    let provisioning = Provisioning {
        version: 1,
        client: "infusion-pump".parse().expect("a class"),
        identifier: Some("pump-1".parse().expect("an identifier")),
        broker: "wss://wardlink.example/mqtt".into(),
        secret_id: "hospital".parse().expect("an id"),
        secret: AccessSecret::new(vectors.bytes("/provisioned/access_secret")).expect("a secret"),
        web_origin: "https://wardlink.example".into(),
        cert_ca_sha256: Some(vectors.text("/provisioned/cert_ca_sha256").parse().expect("a hash")),
        tls_anchors: vec!["-----BEGIN CERTIFICATE-----\n".into()],
        web_pki: true,
    };
    let shorter =
        Provisioning { identifier: None, cert_ca_sha256: None, tls_anchors: Vec::new(), ..provisioning.clone() };
    [provisioning, shorter]
}

fn body<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    drop(read::<T>(bytes));
}

const READERS: [fn(&[u8]); 11] = [
    body::<Bootstrap>,
    body::<Credentials>,
    body::<NewPerson>,
    body::<PersonChange>,
    body::<NewProvisioning>,
    body::<Accept>,
    body::<Reject>,
    body::<Verify>,
    body::<Problem>,
    body::<PairingView>,
    body::<LiveEvent>,
];

pub(crate) fn api(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    if let Some(reader) = READERS.get(usize::from(selector) % READERS.len()) {
        reader(bytes);
    }
}

pub(crate) fn api_seeds() -> Vec<Vec<u8>> {
    let site = site();
    let view = serde_json::to_value(site.verifying.view(&site.policy)).expect("a view");
    let session = site.verifying.id().to_string();
    let credentials = json!({ "name": "anna", "password": "correct horse battery" });
    let bodies: [(usize, Value); 14] = [
        (0, json!({ "token": "t0ken", "credentials": credentials })),
        (1, credentials.clone()),
        (2, json!({ "credentials": credentials, "role": "nurse" })),
        (3, json!({ "role": "auditor", "active": false, "password": "another long password" })),
        (4, json!({ "client": "infusion-pump", "identifier": "pump-1" })),
        (5, json!({ "mode": "pairing_qrcode", "location": "Bed 7" })),
        (6, json!({ "note": "Not ours" })),
        (7, json!({ "attempt": session, "proof": { "code": "6019 2781" } })),
        (7, json!({ "attempt": session, "proof": { "tag": session } })),
        (8, json!({ "type": "urn:wardlink:problem:forbidden", "kind": "forbidden", "title": "No", "status": 403 })),
        (9, view.clone()),
        (10, json!({ "event": "pairing", "pairing": view })),
        (10, json!({ "event": "snapshot", "now": 1, "pairings": [], "devices": [], "locks": [] })),
        (10, json!({ "event": "pairing-gone", "session": session })),
    ];
    bodies.iter().map(|(number, body)| select(*number, body.to_string().as_bytes())).collect()
}

//! The frozen vectors of `tests/vectors/renewal.json`: one whole renewal, and a decommissioning, with every secret of the device.
//!
//! `cargo test -p wardlink-pairing --lib -- --ignored write_the_renewal_vectors` writes the file anew, when the format changes on
//! purpose.

use super::{Fleet, published, renewed};
use crate::decommission::{ALWAYS_WIPED, Order, obey};
use crate::renewal::{DeviceRenewal, RenewingDevice};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wardlink_crypto::cose::{ContentKey, Encrypted, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{PairingKeys, RenewalParties, message_hash};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::renewal::{CertificateRenewal, CertificateRenewed, Decommissioned, RenewalFinished};
use wardlink_protocol::{Device, UnixMillis};

const FROZEN: &str = include_str!("../../../../../tests/vectors/renewal.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/renewal.json");
const LIMIT: usize = 64 * 1024;

fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

/// Ed, which the device keeps to itself.
fn ephemeral(renewal: &DeviceRenewal) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Snapshot {
        state: std::collections::BTreeMap<String, Requested>,
    }
    #[derive(serde::Deserialize)]
    struct Requested {
        ephemeral: serde_bytes::ByteBuf,
    }
    let snapshot: Snapshot = cbor::unpack(&renewal.snapshot().unwrap(), LIMIT).unwrap();
    snapshot.state["Requested"].ephemeral.to_vec()
}

fn generate() -> Value {
    let mut fleet = Fleet::due();
    let mut device = fleet.begin();
    let (snapshot, ephemeral) = (device.snapshot().unwrap(), ephemeral(&device));
    let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    let (site, actions) = fleet.take(None, &request).unwrap();
    let answer = published(&actions);
    fleet.answered(&mut device, &answer).unwrap();
    let finish = fleet.finish_of(&device);
    let (_, actions) = fleet.take(Some(site), &finish).unwrap();
    let wrap_key = renewed(&actions).unwrap().wrap_key;

    let (name, key, now) = (fleet.pair.name.clone(), fleet.paired.key, fleet.pair.now);
    let signer = fleet.pair.site.control_unit().signer;
    let order = Order::give(name.clone(), key, signer, now, &mut fleet.pair.rng).unwrap();
    let obeyed = obey(&order.payload, &name, &fleet.pair.key, &fleet.cert_ca(), now).unwrap();
    let receipt = obeyed.receipt(&name, &fleet.pair.key, ALWAYS_WIPED.to_vec(), now).unwrap();
    json!({
        "now": now,
        "device": name.to_string(),
        "static_key_pkcs8": hex(&fleet.pair.key.to_pkcs8().unwrap()),
        "ephemeral_pkcs8": hex(&ephemeral),
        "snapshot": hex(&snapshot),
        "certificate": hex(&fleet.paired.certificate),
        "cert_ca_sha256": fleet.cert_ca(),
        "renewal_topic": request.topic,
        "t2": format!("ais/{name}"),
        "certificate_renewal": hex(&request.payload),
        "certificate_renewed": hex(&answer),
        "renewal_finished": hex(&finish.payload),
        "wrap_key": hex(&wrap_key),
        "decommission": hex(&order.payload),
        "decommissioned": hex(&receipt),
    })
}

struct Frozen(Value);

impl Frozen {
    fn read() -> Self {
        Self(serde_json::from_str(FROZEN).unwrap())
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(name).as_bytes()).unwrap()
    }

    fn key(&self, name: &str) -> PrivateKey {
        PrivateKey::from_pkcs8(&self.bytes(name)).unwrap()
    }

    fn device(&self) -> Device {
        self.text("device").parse().unwrap()
    }

    fn root(&self) -> Sha256 {
        self.text("cert_ca_sha256").parse().unwrap()
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(self.0["now"].as_u64().unwrap())
    }
}

#[test]
#[ignore = "writes tests/vectors/renewal.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_renewal_vectors() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn a_renewal_is_still_written_as_it_was_frozen() {
    assert_eq!(generate(), Frozen::read().0);
}

#[test]
fn a_device_goes_on_from_the_frozen_snapshot_with_the_frozen_answer() {
    let frozen = Frozen::read();
    let (name, key, root) = (frozen.device(), frozen.key("static_key_pkcs8"), frozen.root());
    let certificate = frozen.bytes("certificate");
    let mut renewal = DeviceRenewal::restore(&frozen.bytes("snapshot")).unwrap();
    assert_eq!(renewal.publishes().unwrap(), frozen.bytes("certificate_renewal"));
    let device = RenewingDevice { device: &name, key: &key, certificate: &certificate, cert_ca: &root };
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(5);
    renewal.receive(device, &frozen.bytes("certificate_renewed"), frozen.now(), &mut rng).unwrap();
    assert_eq!(renewal.renewed().unwrap().wrap_key.as_slice(), frozen.bytes("wrap_key"));
}

#[test]
fn the_derivations_follow_from_the_frozen_messages_alone() {
    let frozen = Frozen::read();
    let (request, answer) = (frozen.bytes("certificate_renewal"), frozen.bytes("certificate_renewed"));
    let key = frozen.key("static_key_pkcs8");
    let signed = Signed::parse(&request, LIMIT).unwrap();
    let payload = signed.verify(&key.public(), frozen.text("renewal_topic").as_bytes()).unwrap();
    let said: CertificateRenewal = cbor::decode(payload, LIMIT).unwrap();
    assert_eq!(said.serial, Certificate::parse(&frozen.bytes("certificate")).unwrap().serial());
    let envelope = Signed::parse(&answer, LIMIT).unwrap();
    let issuer = Certificate::parse(&envelope.header().chain[0]).unwrap();
    let payload = envelope.verify(issuer.key(), frozen.text("t2").as_bytes()).unwrap();
    let answered: CertificateRenewed = cbor::decode(payload, LIMIT).unwrap();
    assert_eq!(answered.request_hash, message_hash(&request));

    let control_unit = PublicKey::from_point(&answered.ephemeral).unwrap();
    let (first, second) = (key.agree(&control_unit), frozen.key("ephemeral_pkcs8").agree(&control_unit));
    let keys = PairingKeys::derive_renewal(&first, &second, &request, &answer).unwrap();
    assert_eq!(keys.wrap().unwrap().as_slice(), frozen.bytes("wrap_key"));
    let finish = Encrypted::parse(&frozen.bytes("renewal_finished"), LIMIT).unwrap();
    let device_key: ContentKey = keys.device().unwrap();
    let plaintext = finish.open(&device_key, frozen.text("renewal_topic").as_bytes()).unwrap();
    let finish: RenewalFinished = cbor::decode(&plaintext, LIMIT).unwrap();
    let parties = RenewalParties {
        device: frozen.device(),
        device_key: key.public().fingerprint().unwrap(),
        control_unit_key: issuer.fingerprint().unwrap(),
        serial: Certificate::parse(&answered.certificate).unwrap().serial(),
    };
    assert_eq!(finish.mac, keys.renewal_confirmation(&parties).unwrap());
}

#[test]
fn the_frozen_order_is_obeyed_and_its_receipt_fits() {
    let frozen = Frozen::read();
    let (order, key) = (frozen.bytes("decommission"), frozen.key("static_key_pkcs8"));
    assert!(obey(&order, &frozen.device(), &key, &frozen.root(), frozen.now()).is_ok());
    let receipt = Signed::parse(&frozen.bytes("decommissioned"), LIMIT).unwrap_or_else(|_| panic!("a receipt"));
    let payload = receipt.verify(&key.public(), b"ais/command/infusion-pump").unwrap();
    let receipt: Decommissioned = cbor::decode(payload, LIMIT).unwrap();
    assert_eq!(receipt.order_hash, message_hash(&order));
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::testing::{HOST, NOW, Site};
use crate::x509::Holder;

pub(super) const CLIENT: &str = "pump-1-mqtt";

impl Site {
    pub(super) fn device(&mut self) -> (PrivateKey, Certificate) {
        self.holder(&Holder::Device(pump()))
    }

    /// The client's proof for this identity, and the bridge's side of it.
    fn exchange(&mut self, identity: Identity, key: &PrivateKey) -> (ProvedClient, ServerAuthentication, Vec<u8>) {
        let (client, hello) = ClientAuthentication::start(identity, CLIENT, HOST, &mut self.rng).unwrap();
        let (server, challenge) = ServerAuthentication::start(&hello, CLIENT, HOST, &mut self.rng).unwrap();
        let (client, proof) = client.prove(&challenge, key).unwrap();
        (client, server, proof)
    }
}

pub(super) fn pump() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

#[test]
fn a_bare_key_and_the_bridge_prove_themselves_to_each_other() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (client, server, proof) = site.exchange(identity, &key);
    let proved = server.verify(&proof).unwrap();
    assert_eq!(proved.key, key.public().fingerprint().unwrap());
    assert_eq!(proved.identity, ProvedIdentity::BareKey(pump()));
    assert_eq!(proved.verify_certificate(&[], NOW), Ok(()));
    let acceptance = server.accept(&site.chain, &site.key).unwrap();
    let certificate = client.finish(&acceptance, &site.root(), NOW).unwrap();
    assert_eq!(certificate.purpose(), Some(Purpose::ControlUnit));
}

#[test]
fn a_certificate_is_believed_from_the_sites_issuing_ca_only() {
    let (mut site, other) = (Site::new(1), Site::new(2));
    let (key, certificate) = site.device();
    let (_, server, proof) = site.exchange(Identity::Certificate { certificate: certificate.to_bytes() }, &key);
    let proved = server.verify(&proof).unwrap();
    assert_eq!(proved.identity, ProvedIdentity::Certificate(Box::new(certificate)));
    assert_eq!(proved.verify_certificate(&[site.ca.certificate().clone()], NOW), Ok(()));
    assert!(proved.verify_certificate(&[other.ca.certificate().clone()], NOW).is_err());
    assert!(proved.verify_certificate(&[site.ca.certificate().clone()], UnixMillis::from_secs(1_950_000_000)).is_err());
}

#[test]
fn a_proof_by_another_key_is_refused() {
    let mut site = Site::new(1);
    let ((key, certificate), (other, _)) = (site.device(), site.device());
    let (_, server, proof) = site.exchange(Identity::Certificate { certificate: certificate.to_bytes() }, &other);
    assert_eq!(server.verify(&proof), Err(AuthenticationError::Key(KeyError::BadSignature)));
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (_, server, proof) = site.exchange(identity, &other);
    assert_eq!(server.verify(&proof), Err(AuthenticationError::Key(KeyError::BadSignature)));
}

#[test]
fn a_proof_holds_for_its_own_challenge_client_id_and_host_only() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (client, hello) = ClientAuthentication::start(identity, CLIENT, HOST, &mut site.rng).unwrap();
    let (first, challenge) = ServerAuthentication::start(&hello, CLIENT, HOST, &mut site.rng).unwrap();
    let (second, _) = ServerAuthentication::start(&hello, CLIENT, HOST, &mut site.rng).unwrap();
    let (_, proof) = client.prove(&challenge, &key).unwrap();
    assert!(first.verify(&proof).is_ok());
    assert!(second.verify(&proof).is_err());
    let renamed = ServerAuthentication(Exchange { client_id: "another".into(), ..first.0 });
    assert!(renamed.verify(&proof).is_err());
}

#[test]
fn a_client_that_dialled_another_host_is_refused() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (_, hello) = ClientAuthentication::start(identity, CLIENT, "relay.example", &mut site.rng).unwrap();
    let refused = ServerAuthentication::start(&hello, CLIENT, HOST, &mut site.rng).err();
    assert_eq!(refused, Some(AuthenticationError::Host));
    assert!(ServerAuthentication::start(&hello, CLIENT, "Relay.Example", &mut site.rng).is_ok());
}

#[test]
fn a_bridge_of_another_site_or_without_the_control_units_certificate_is_refused() {
    let (mut site, other) = (Site::new(1), Site::new(2));
    let (key, certificate) = site.device();
    let identity = || ClientAuthentication::bare_key(&key, &pump()).unwrap();

    let (client, server, _) = site.exchange(identity(), &key);
    let foreign = server.accept(&other.chain, &other.key).unwrap();
    assert_eq!(client.finish(&foreign, &site.root(), NOW), Err(ChainError::Root.into()));

    let stolen = server.accept(&site.chain, &other.key).unwrap();
    assert_eq!(client.finish(&stolen, &site.root(), NOW), Err(AuthenticationError::Key(KeyError::BadSignature)));

    let mut device_chain = vec![certificate.to_bytes()];
    device_chain.extend(site.ca.chain());
    let device = server.accept(&device_chain, &key).unwrap();
    assert_eq!(client.finish(&device, &site.root(), NOW), Err(ChainError::Purpose.into()));
}

#[test]
fn an_acceptance_of_another_connection_is_refused() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = || ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (client, _, _) = site.exchange(identity(), &key);
    let (_, server, _) = site.exchange(identity(), &key);
    let acceptance = server.accept(&site.chain, &site.key).unwrap();
    assert!(client.finish(&acceptance, &site.root(), NOW).is_err());
}

#[test]
fn the_clients_signature_is_not_the_servers() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (_, server, proof) = site.exchange(identity, &key);
    let proof: Proof = cbor::decode(&proof, MAX_AUTHENTICATION_BYTES).unwrap();
    let bytes = server.0.signed_bytes(SERVER_LABEL).unwrap();
    assert!(key.public().verify(&bytes, &proof.signature).is_err());
}

#[test]
fn the_bridges_side_survives_being_stored() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = ClientAuthentication::bare_key(&key, &pump()).unwrap();
    let (_, server, proof) = site.exchange(identity, &key);
    let stored = cbor::encode(&server).unwrap();
    let again: ServerAuthentication = cbor::decode(&stored, 2048).unwrap();
    assert!(again.verify(&proof).is_ok());
}

#[test]
fn malformed_data_is_refused_at_every_step() {
    let mut site = Site::new(1);
    let (key, _) = site.device();
    let identity = || ClientAuthentication::bare_key(&key, &pump()).unwrap();
    assert!(ServerAuthentication::start(b"", CLIENT, HOST, &mut site.rng).is_err());
    let (client, _) = ClientAuthentication::start(identity(), CLIENT, HOST, &mut site.rng).unwrap();
    assert!(client.prove(&[0xa0], &key).is_err());
    let (client, server, _) = site.exchange(identity(), &key);
    assert!(server.verify(&[0xff; 10]).is_err());
    assert!(client.finish(&vec![0; 9000], &site.root(), NOW).is_err());
}

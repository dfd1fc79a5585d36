#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::key::PrivateKey;
use crate::x509::{Holder, IssuingCa, RootCa, Validity};
use data_encoding::HEXLOWER;
use rand::SeedableRng;
use rand::rngs::StdRng;

const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

struct Site {
    ca: IssuingCa,
    rng: StdRng,
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let validity = Validity { not_before: UnixMillis(0), not_after: UnixMillis::from_secs(1_900_000_000) };
        let root = RootCa::make("Root", validity, &mut rng).unwrap();
        let ca = root.make_issuing_ca("Issuing", validity, &mut rng).unwrap();
        Self { ca, rng }
    }

    /// The key of somebody of the site, and the chain up to CertCA.
    fn holder(&mut self, holder: &Holder) -> (PrivateKey, Vec<ByteBuf>) {
        let key = PrivateKey::make(&mut self.rng);
        let validity = self.ca.certificate().validity();
        let own = self.ca.issue(holder, &key.public(), validity, &mut self.rng).unwrap();
        let mut chain = vec![own.to_bytes()];
        chain.extend(self.ca.chain());
        (key, chain)
    }

    fn control_unit(&mut self) -> (PrivateKey, Vec<ByteBuf>) {
        self.holder(&Holder::ControlUnit("Site".into()))
    }

    fn cert_ca(&self) -> Sha256 {
        self.ca.root().sha256()
    }
}

fn pump() -> Device {
    "infusion-pump/p1".parse().unwrap()
}

fn given() -> DirectorRoot {
    DirectorRoot { device: pump(), issued_at: NOW, root: ByteBuf::from(b"{\"signed\":{}}".to_vec()) }
}

#[test]
fn a_device_takes_what_its_own_control_unit_has_signed_for_it() {
    let mut site = Site::new(1);
    let (key, chain) = site.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.cert_ca(), NOW).unwrap(), given());
}

#[test]
fn another_devices_root_is_refused() {
    let mut site = Site::new(1);
    let (key, chain) = site.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    let other = "infusion-pump/p2".parse().unwrap();
    assert_eq!(verify(&signed, &other, &site.cert_ca(), NOW), Err(DirectorRootError::Device(pump())));
}

#[test]
fn another_sites_control_unit_is_refused() {
    let (mut site, mut other) = (Site::new(1), Site::new(2));
    let (key, chain) = other.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.cert_ca(), NOW), Err(ChainError::Root.into()));
    // Nor does it count under the site's own chain.
    let (_, chain) = site.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.cert_ca(), NOW), Err(DirectorRootError::Header));
}

#[test]
fn a_device_or_gateway_of_the_site_directs_nobody() {
    let mut site = Site::new(1);
    for holder in [Holder::Device(pump()), Holder::Gateway("gateway/ward-3".parse().unwrap())] {
        let (key, chain) = site.holder(&holder);
        let signed = sign(&given(), &chain, &key).unwrap();
        assert_eq!(verify(&signed, &pump(), &site.cert_ca(), NOW), Err(ChainError::Purpose.into()));
    }
}

#[test]
fn an_ended_certificate_vouches_for_nobody() {
    let mut site = Site::new(1);
    let (key, chain) = site.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    let later = UnixMillis::from_secs(1_900_000_001);
    assert_eq!(verify(&signed, &pump(), &site.cert_ca(), later), Err(ChainError::Expired.into()));
}

#[test]
fn every_changed_byte_is_refused() {
    let mut site = Site::new(1);
    let (key, chain) = site.control_unit();
    let signed = sign(&given(), &chain, &key).unwrap();
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, &pump(), &site.cert_ca(), NOW).is_err(), "{at}");
    }
    assert!(verify(&signed[1..], &pump(), &site.cert_ca(), NOW).is_err());
}

#[test]
fn what_the_control_unit_signs_otherwise_is_no_directors_root() {
    let mut site = Site::new(1);
    let (key, chain) = site.control_unit();
    let kid = key.public().fingerprint().unwrap().as_bytes().to_vec();
    let header = Header { kid, chain, ..Header::default() };
    let signed = cose::sign(&header, &key, b"ais/infusion-pump/p1", &cbor::encode(&given()).unwrap()).unwrap();
    let refused = verify(&signed, &pump(), &site.cert_ca(), NOW);
    assert_eq!(refused, Err(EnvelopeError::Authentication.into()));
    let header = Header { counter: Some(1), ..header };
    let signed = cose::sign(&header, &key, AAD, &cbor::encode(&given()).unwrap()).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.cert_ca(), NOW), Err(DirectorRootError::Header));
}

#[test]
fn the_payload_is_frozen() {
    let frozen = concat!(
        "a364726f6f744d7b227369676e6564223a7b7d7d66646576696365a266636c69656e746d696e667573696f6e2d70756d70",
        "6a6964656e7469666965726270316969737375656",
        "45f61741b000001a3185c5000"
    );
    assert_eq!(HEXLOWER.encode(&cbor::encode(&given()).unwrap()), frozen);
}

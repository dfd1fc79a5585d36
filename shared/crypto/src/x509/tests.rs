#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::key::PrivateKey;
use core::time::Duration;
use der::{Decode, Encode};
use p256::ecdsa::DerSignature;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_protocol::Device;
use wardlink_protocol::identity::{Purpose, Sha256};
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, ToExtension};

const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

fn validity() -> Validity {
    Validity { not_before: UnixMillis::from_secs(1_700_000_000), not_after: UnixMillis::from_secs(1_900_000_000) }
}

fn pump() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

struct Site {
    root: RootCa,
    ca: IssuingCa,
    key: PrivateKey,
    rng: StdRng,
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let root = RootCa::make("Root", validity(), &mut rng).unwrap();
        let ca = root.make_issuing_ca("Issuing", validity(), &mut rng).unwrap();
        let key = PrivateKey::make(&mut rng);
        Self { root, ca, key, rng }
    }

    fn issue(&mut self, holder: &Holder) -> Certificate {
        self.ca.issue(holder, &self.key.public(), validity(), &mut self.rng).unwrap()
    }

    fn chain(&self, certificate: &Certificate) -> Vec<ByteBuf> {
        let mut chain = vec![certificate.to_bytes()];
        chain.extend(self.ca.chain());
        chain
    }

    fn hash(&self) -> Sha256 {
        self.root.certificate().sha256()
    }
}

fn verify(chain: &[ByteBuf], root: &Sha256, purpose: Purpose, now: UnixMillis) -> Result<Certificate, ChainError> {
    Chain::parse(chain)?.verify(root, purpose, now).cloned()
}

#[test]
fn every_kind_of_holder_gets_a_certificate_that_verifies_for_its_purpose_only() {
    let mut site = Site::new(1);
    let holders = [
        Holder::Pairing(pump()),
        Holder::Device(pump()),
        Holder::ControlUnit("Ward 3, \"East\" + West".into()),
        Holder::Gateway(pump()),
        Holder::Service("Recorder".into()),
    ];
    for holder in &holders {
        let certificate = site.issue(holder);
        assert_eq!(certificate.holder(), Some(holder));
        assert_eq!(*certificate.key(), site.key.public());
        for other in &holders {
            let verified = verify(&site.chain(&certificate), &site.hash(), other.purpose(), NOW);
            assert_eq!(verified.is_ok(), other == holder, "{holder:?} as {other:?}");
        }
        assert_eq!(Certificate::parse(certificate.der()).unwrap(), certificate);
    }
}

#[test]
fn a_certificate_holds_within_its_time_only() {
    let mut site = Site::new(1);
    let certificate = site.issue(&Holder::Device(pump()));
    let chain = site.chain(&certificate);
    let at = |now| verify(&chain, &site.hash(), Purpose::Device, now).map(drop);
    assert_eq!(at(validity().not_before), Ok(()));
    assert_eq!(at(validity().not_after), Ok(()));
    assert_eq!(at(UnixMillis(validity().not_before.0 - 1)), Err(ChainError::NotYetValid));
    assert_eq!(at(UnixMillis(validity().not_after.0 + 1)), Err(ChainError::Expired));
}

#[test]
fn a_certificate_ends_with_its_issuer() {
    let mut site = Site::new(1);
    let asked = Validity { not_before: UnixMillis(0), not_after: NOW.after(Duration::from_hours(24 * 36_500)) };
    let certificate = site.ca.issue(&Holder::Device(pump()), &site.key.public(), asked, &mut site.rng).unwrap();
    assert_eq!(certificate.validity(), validity());
}

#[test]
fn a_chain_to_another_root_is_refused() {
    let (mut site, other) = (Site::new(1), Site::new(2));
    let certificate = site.issue(&Holder::Device(pump()));
    let chain = site.chain(&certificate);
    assert_eq!(verify(&chain, &other.hash(), Purpose::Device, NOW), Err(ChainError::Root));
    // The right root at the end of a foreign chain.
    let mut mixed =
        vec![certificate.to_bytes(), other.ca.certificate().to_bytes(), other.root.certificate().to_bytes()];
    assert_eq!(verify(&mixed, &other.hash(), Purpose::Device, NOW), Err(ChainError::Issuer));
    mixed[2] = site.root.certificate().to_bytes();
    assert!(verify(&mixed, &site.hash(), Purpose::Device, NOW).is_err());
}

#[test]
fn a_ca_of_the_same_name_with_another_key_is_refused() {
    let (mut site, other) = (Site::new(1), Site::new(2));
    let certificate = site.issue(&Holder::Device(pump()));
    // Both sites call their CAs the same: only key identifier and signature tell them apart.
    let issuers = [other.ca.certificate().clone()];
    assert_eq!(certificate.verify_holder(&issuers, Purpose::Device, NOW), Err(ChainError::Issuer));
    let issuers = [other.ca.certificate().clone(), site.ca.certificate().clone()];
    assert_eq!(certificate.verify_holder(&issuers, Purpose::Device, NOW), Ok(&Holder::Device(pump())));
    assert_eq!(certificate.verify_holder(&issuers, Purpose::Pairing, NOW), Err(ChainError::Purpose));
}

#[test]
fn a_device_certificate_issues_nothing() {
    let mut site = Site::new(1);
    let device = site.issue(&Holder::Device(pump()));
    let below = site.issue(&Holder::ControlUnit("Impostor".into()));
    let chain =
        vec![below.to_bytes(), device.to_bytes(), site.ca.certificate().to_bytes(), site.root.certificate().to_bytes()];
    assert_eq!(verify(&chain, &site.hash(), Purpose::ControlUnit, NOW), Err(ChainError::NotAnAuthority));
}

#[test]
fn an_issuing_ca_makes_no_ca() {
    let mut site = Site::new(1);
    // A CA that the issuing CA signed although its path length is 0.
    let rogue_key = PrivateKey::make(&mut site.rng);
    let rogue = forge(&site, &rogue_key, |profile| profile.shape = profile::Shape::Authority { path_length: 0 });
    assert_eq!(rogue.verify_issued_by(site.ca.certificate(), NOW), Err(ChainError::PathLength));
    let rogue_ca = IssuingCa::restore(rogue_key, rogue.clone(), site.root.certificate().clone()).unwrap();
    let leaf = rogue_ca.issue(&Holder::Device(pump()), &site.key.public(), validity(), &mut site.rng).unwrap();
    let chain =
        vec![leaf.to_bytes(), rogue.to_bytes(), site.ca.certificate().to_bytes(), site.root.certificate().to_bytes()];
    assert_eq!(verify(&chain, &site.hash(), Purpose::Device, NOW), Err(ChainError::PathLength));
}

/// A certificate that the issuing CA signs although it should not.
fn forge(site: &Site, key: &PrivateKey, change: impl FnOnce(&mut profile::SiteProfile)) -> Certificate {
    Certificate::parse(&forge_with(site, key, change, &[])).unwrap()
}

fn forge_with(
    site: &Site,
    key: &PrivateKey,
    change: impl FnOnce(&mut profile::SiteProfile),
    extensions: &[Extension],
) -> Vec<u8> {
    let mut profile = profile::SiteProfile {
        issuer: site.ca.certificate().subject().clone(),
        issuer_key: Some(site.ca.certificate().key_identifier().to_vec()),
        subject: names::common_name("Rogue").unwrap(),
        shape: profile::Shape::Holder { purpose: Purpose::Service },
    };
    change(&mut profile);
    let serial = x509_cert::serial_number::SerialNumber::new(&[0x41; 16]).unwrap();
    let time = |time: UnixMillis| der::DateTime::from_unix_duration(Duration::from_millis(time.0)).unwrap().into();
    let validity = x509_cert::time::Validity::new(time(validity().not_before), time(validity().not_after));
    let spki = spki::SubjectPublicKeyInfoOwned::from_der(&key.public().to_spki().unwrap()).unwrap();
    let mut builder = CertificateBuilder::new(profile, serial, validity, spki).unwrap();
    for extension in extensions {
        builder.add_extension(extension.clone()).unwrap();
    }
    builder.build::<_, DerSignature>(site.ca.key()).unwrap().to_der().unwrap()
}

#[test]
fn unknown_extensions_are_refused_only_if_they_are_critical() {
    let site = Site::new(1);
    let extension = |critical| Extension {
        extn_id: der::oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1"),
        critical,
        extn_value: der::asn1::OctetString::new([5, 0]).unwrap(),
    };
    let harmless = forge_with(&site, &site.key, |_| {}, &[extension(false)]);
    assert!(Certificate::parse(&harmless).is_ok());
    let critical = forge_with(&site, &site.key, |_| {}, &[extension(true)]);
    assert_eq!(Certificate::parse(&critical), Err(X509Error::Profile));
}

#[test]
fn an_extension_twice_is_refused() {
    let site = Site::new(1);
    let usage = KeyUsage(KeyUsages::DigitalSignature.into());
    let subject = site.ca.certificate().subject();
    let twice = forge_with(&site, &site.key, |_| {}, &[usage.to_extension(subject, &[]).unwrap()]);
    assert_eq!(Certificate::parse(&twice), Err(X509Error::Profile));
}

#[test]
fn a_device_certificate_without_a_devices_name_is_refused() {
    let site = Site::new(1);
    let shape = profile::Shape::Holder { purpose: Purpose::Device };
    let nameless = forge_with(&site, &site.key, |profile| profile.shape = shape, &[]);
    assert_eq!(Certificate::parse(&nameless), Err(X509Error::Profile));
}

#[test]
fn chains_that_are_too_short_or_too_long_are_refused() {
    let mut site = Site::new(1);
    let certificate = site.issue(&Holder::Device(pump()));
    let chain = site.chain(&certificate);
    assert_eq!(Chain::parse(&chain[..1]).err(), Some(ChainError::Length));
    assert_eq!(Chain::parse(&[]).err(), Some(ChainError::Length));
    let five = vec![certificate.to_bytes(); 5];
    assert_eq!(Chain::parse(&five).err(), Some(ChainError::Length));
    // Without the root.
    assert!(verify(&chain[..2], &site.hash(), Purpose::Device, NOW).is_err());
}

#[test]
fn every_changed_byte_of_a_certificate_is_noticed() {
    let mut site = Site::new(1);
    let certificate = site.issue(&Holder::Device(pump()));
    let issuers = [site.ca.certificate().clone()];
    for index in 0..certificate.der().len() {
        let mut changed = certificate.der().to_vec();
        changed[index] ^= 1;
        let believed = Certificate::parse(&changed)
            .is_ok_and(|changed| changed.verify_holder(&issuers, Purpose::Device, NOW).is_ok());
        assert!(!believed, "byte {index}");
    }
}

#[test]
fn trailing_bytes_and_over_long_certificates_are_refused() {
    let mut site = Site::new(1);
    let mut der = site.issue(&Holder::Device(pump())).der().to_vec();
    der.push(0);
    assert_eq!(Certificate::parse(&der), Err(X509Error::Malformed));
    assert_eq!(Certificate::parse(&vec![0x30; 5000]), Err(X509Error::Malformed));
}

#[test]
fn a_certification_request_proves_its_key_and_names_its_device() {
    let site = Site::new(1);
    let der = CertificationRequest::make(&pump(), &site.key).unwrap();
    let request = CertificationRequest::parse(&der).unwrap();
    assert_eq!((request.device(), request.key()), (&pump(), &site.key.public()));
    for index in 0..der.len() {
        let mut changed = der.clone();
        changed[index] ^= 1;
        assert!(CertificationRequest::parse(&changed).is_err(), "byte {index}");
    }
}

#[test]
fn stored_authorities_come_back_with_their_own_key_only() {
    let site = Site::new(1);
    let key = PrivateKey::from_pkcs8(&site.ca.key().to_pkcs8().unwrap()).unwrap();
    let root = site.root.certificate().clone();
    assert!(IssuingCa::restore(key, site.ca.certificate().clone(), root.clone()).is_ok());
    assert!(IssuingCa::restore(site.key.clone(), site.ca.certificate().clone(), root.clone()).is_err());
    assert!(RootCa::restore(site.root.key().clone(), root.clone()).is_ok());
    assert!(RootCa::restore(site.key.clone(), root).is_err());
}

#[test]
fn names_that_are_empty_or_too_long_make_no_certificate() {
    let mut site = Site::new(1);
    for name in [String::new(), "x".repeat(65)] {
        let made = site.ca.issue(&Holder::Service(name), &site.key.public(), validity(), &mut site.rng);
        assert_eq!(made, Err(X509Error::Encode));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        prop_assert!(CertificationRequest::parse(&bytes).is_err());
    }

    #[test]
    fn every_device_name_survives_a_certificate(
        client in "[a-z0-9][a-z0-9-]{0,31}",
        identifier in "[a-z0-9][a-z0-9-]{0,31}",
    ) {
        let (Ok(client), Ok(identifier)) = (client.parse(), identifier.parse()) else { return Ok(()) };
        let device = Device { client, identifier };
        let mut site = Site::new(1);
        let certificate = site.issue(&Holder::Device(device.clone()));
        prop_assert_eq!(certificate.device(), Some(&device));
    }
}

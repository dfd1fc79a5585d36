#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::x509::{Chain, Holder, IssuingCa, Validity};
use core::time::Duration;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_protocol::Device;
use wardlink_protocol::identity::Purpose;
use x509_cert::request::CertReq;

/// OpenSSL made what is read here: `tests/vectors/est/make.sh`.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/vectors/est/", $name))
    };
}

const NOW: UnixMillis = UnixMillis::from_secs(1_900_000_000);

fn answer(text: &str) -> Vec<Vec<u8>> {
    read_certificates(text.as_bytes()).unwrap()
}

fn cacerts() -> Vec<Vec<u8>> {
    answer(vector!("cacerts"))
}

fn root() -> Sha256 {
    vector!("root.sha256").trim().parse().unwrap()
}

fn private(text: &str) -> PrivateKey {
    let lines: String = text.split_whitespace().collect();
    PrivateKey::from_pkcs8(&BASE64.decode(lines.as_bytes()).unwrap()).unwrap()
}

fn site_key() -> PrivateKey {
    private(vector!("site.pkcs8"))
}

fn certified(given: &[Vec<u8>], known: &[Vec<u8>]) -> Result<Vec<Certificate>, EnrolmentError> {
    certify(given, known, &site_key().public(), &root(), NOW)
}

fn issuing(key: PrivateKey, chain: &[Certificate]) -> IssuingCa {
    let [own, between @ .., root] = chain else { unreachable!("at least two") };
    IssuingCa::restore_below(key, own.clone(), between.to_vec(), root.clone()).unwrap()
}

/// What a device is given by such a CA, and how the device verifies it.
fn verify_device(ca: &IssuingCa) -> Result<(), ChainError> {
    let mut rng = StdRng::seed_from_u64(1);
    let device: Device = "infusion-pump/pump-1".parse().unwrap();
    let validity = Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24)) };
    let key = PrivateKey::make(&mut rng);
    let certificate = ca.issue(&Holder::Device(device), &key.public(), validity, &mut rng).unwrap();
    let chain: Vec<ByteBuf> = core::iter::once(certificate.to_bytes()).chain(ca.chain()).collect();
    Chain::parse(&chain)?.verify(&root(), Purpose::Device, NOW).map(drop)
}

#[test]
fn a_hospitals_root_certifies_the_site_and_devices_verify_up_to_it() {
    let chain = certified(&answer(vector!("site")), &cacerts()).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1].sha256(), root());
    assert_eq!((chain[0].name().as_str(), chain[1].name().as_str()), ("St. Elsewhere, site", "St. Elsewhere, Root"));
    assert_eq!(check_root(&cacerts(), &root()), Ok(()));
    let ca = issuing(site_key(), &chain);
    assert_eq!(verify_device(&ca), Ok(()));
    // The list of what is revoked is believed, too.
    let list = ca.issue_crl(1, &std::collections::BTreeMap::new(), NOW, NOW.after(Duration::from_hours(1))).unwrap();
    assert_eq!(list.verify(ca.certificate(), None, NOW), Ok(()));
}

#[test]
fn one_ca_may_stand_between_and_its_certificate_comes_with_either_answer() {
    let key = private(vector!("site-below.pkcs8"));
    let given = answer(vector!("site-below"));
    let all = cacerts();
    let chain = certify(&given, &all, &key.public(), &root(), NOW).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(verify_device(&issuing(key.clone(), &chain)), Ok(()));

    let (roots, between): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|der| Certificate::parse(der).unwrap().sha256() == root());
    let alone = certify(&given, &roots, &key.public(), &root(), NOW);
    assert_eq!(alone, Err(EnrolmentError::NoPath));
    let with = [given, between].concat();
    assert_eq!(certify(&with, &roots, &key.public(), &root(), NOW).unwrap(), chain);
}

#[test]
fn without_the_root_that_the_deployment_names_nothing_is_trusted() {
    let given = answer(vector!("site"));
    let elsewhere = vector!("rsa-root.sha256").trim().parse().unwrap();
    let refused = certify(&given, &cacerts(), &site_key().public(), &elsewhere, NOW);
    assert_eq!(refused, Err(EnrolmentError::Root));
    assert_eq!(certified(&given, &[]), Err(EnrolmentError::Root));
    assert_eq!(check_root(&cacerts(), &elsewhere), Err(EnrolmentError::Root));
}

#[test]
fn a_certificate_for_another_key_does_not_count() {
    let given = answer(vector!("site-below"));
    assert_eq!(certified(&given, &cacerts()), Err(EnrolmentError::NoCertificate));
}

#[test]
fn another_algorithm_on_the_way_is_named_as_the_reason() {
    let rsa = vector!("rsa-root.sha256").trim().parse().unwrap();
    let all = answer(vector!("rsa"));
    let refused = certify(&all, &all, &site_key().public(), &rsa, NOW);
    assert_eq!(refused, Err(EnrolmentError::Algorithm));
    // A P-256 root, but the certificate is signed by somebody with RSA.
    assert_eq!(certified(&all, &cacerts()), Err(EnrolmentError::Algorithm));
    let p384 = vector!("p384-root.sha256").trim().parse().unwrap();
    let refused = certify(&answer(vector!("site")), &answer(vector!("p384")), &site_key().public(), &p384, NOW);
    assert_eq!(refused, Err(EnrolmentError::Algorithm));
    assert!(EnrolmentError::Algorithm.to_string().contains("P-256"), "the refusal says what the CA has to be");
}

#[test]
fn a_critical_extension_that_devices_do_not_know_is_refused() {
    assert_eq!(certified(&answer(vector!("constrained")), &cacerts()), Err(EnrolmentError::Profile));
}

#[test]
fn a_certificate_that_holds_at_another_time_does_not_count() {
    let given = answer(vector!("site"));
    let at = |now| certify(&given, &cacerts(), &site_key().public(), &root(), now).err();
    assert_eq!(at(UnixMillis::from_secs(1_000_000_000)), Some(ChainError::NotYetValid.into()));
    assert_eq!(at(UnixMillis::from_secs(9_000_000_000)), Some(ChainError::Expired.into()));
}

/// A root of ours, and what it makes of the site's key.
struct Made {
    root: Vec<u8>,
    given: Vec<u8>,
}

impl Made {
    fn new(change: impl FnOnce(&mut BasicConstraints, &mut KeyUsage)) -> Self {
        use super::super::authority::RootCa;
        use spki::SubjectPublicKeyInfoOwned;
        use x509_cert::builder::profile::BuilderProfile;
        use x509_cert::builder::{CertificateBuilder, Result};
        use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
        use x509_cert::ext::{Extension, ToExtension};

        struct Profile(Name, Vec<u8>, BasicConstraints, KeyUsage);
        impl BuilderProfile for Profile {
            fn get_issuer(&self, _: &Name) -> Name {
                self.0.clone()
            }
            fn get_subject(&self) -> Name {
                common_name("Site").unwrap()
            }
            fn build_extensions(
                &self,
                _: spki::SubjectPublicKeyInfoRef<'_>,
                _: spki::SubjectPublicKeyInfoRef<'_>,
                tbs: &x509_cert::TbsCertificate,
            ) -> Result<Vec<Extension>> {
                let identifier = |bytes: &[u8]| der::asn1::OctetString::new(bytes).unwrap();
                let issuer = AuthorityKeyIdentifier { key_identifier: Some(identifier(&self.1)), ..Default::default() };
                let own = SubjectKeyIdentifier(identifier(&[7; 20]));
                Ok(vec![
                    (true, &self.2).to_extension(tbs.subject(), &[])?,
                    (true, &self.3).to_extension(tbs.subject(), &[])?,
                    (false, &own).to_extension(tbs.subject(), &[])?,
                    (false, &issuer).to_extension(tbs.subject(), &[])?,
                ])
            }
        }

        let mut rng = StdRng::seed_from_u64(3);
        let holds = Validity { not_before: UnixMillis(0), not_after: NOW.after(Duration::from_hours(9000)) };
        let root = RootCa::make("Root", holds, &mut rng).unwrap();
        let mut constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
        let mut usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
        change(&mut constraints, &mut usage);
        let top = root.certificate();
        let profile = Profile(top.subject().clone(), top.key_identifier().to_vec(), constraints, usage);
        let time = |time| super::super::authority::time(time).unwrap();
        let validity = x509_cert::time::Validity::new(time(holds.not_before), time(holds.not_after));
        let serial = x509_cert::serial_number::SerialNumber::new(&[5]).unwrap();
        let spki = SubjectPublicKeyInfoOwned::from_der(&site_key().public().to_spki().unwrap()).unwrap();
        let builder = CertificateBuilder::new(profile, serial, validity, spki).unwrap();
        let given = builder.build::<_, DerSignature>(root.key()).unwrap().to_der().unwrap();
        Self { root: top.der().to_vec(), given }
    }

    fn certify(self) -> Result<Vec<Certificate>, EnrolmentError> {
        let root = Sha256(sha2::Sha256::digest(&self.root).into());
        certify(&[self.given], &[self.root], &site_key().public(), &root, NOW)
    }
}

#[test]
fn only_a_ca_without_cas_below_that_signs_lists_is_taken() {
    assert!(Made::new(|_, _| {}).certify().is_ok());
    let longer = |length| Made::new(move |constraints, _| constraints.path_len_constraint = length).certify();
    assert_eq!(longer(Some(1)), Err(EnrolmentError::PathLength));
    assert_eq!(longer(None), Err(EnrolmentError::PathLength));
    let no_lists = Made::new(|_, usage| usage.0 = KeyUsages::KeyCertSign.into()).certify();
    assert_eq!(no_lists, Err(EnrolmentError::Usage));
    let no_ca = Made::new(|constraints, usage| {
        *constraints = BasicConstraints { ca: false, path_len_constraint: None };
        usage.0 = KeyUsages::DigitalSignature.into();
    });
    assert_eq!(no_ca.certify(), Err(EnrolmentError::NotAnAuthority));
}

#[test]
fn every_changed_byte_of_the_given_certificate_is_noticed() {
    let given = answer(vector!("site")).remove(0);
    for index in 0..given.len() {
        let mut changed = given.clone();
        changed[index] ^= 1;
        assert!(certified(&[changed], &cacerts()).is_err(), "byte {index}");
    }
}

#[test]
fn the_request_asks_for_a_ca_without_cas_below_and_a_renewal_keeps_the_name() {
    let key = site_key();
    let first = CertReq::from_der(&make_authority_request("Wardlink issuing CA", &key).unwrap()).unwrap();
    let text = format!("{:?}", first.info.attributes);
    assert!(text.contains("1.2.840.113549.1.9.14"), "an extension request: {text}");
    assert_eq!(first.info.subject, common_name("Wardlink issuing CA").unwrap());
    let chain = certified(&answer(vector!("site")), &cacerts()).unwrap();
    let second = CertReq::from_der(&make_renewal_request(&chain[0], &key).unwrap()).unwrap();
    assert_eq!(second.info.subject.to_string(), "CN=site,O=St. Elsewhere");
}

/// The same message with lengths that are not said beforehand, as Java's servers write it.
fn indefinite(message: &[u8]) -> Vec<u8> {
    let info = ContentInfo::from_der(message).unwrap();
    let fields = info.content.value();
    [&[0x30, 0x80][..], &info.content_type.to_der().unwrap(), &[0xa0, 0x80, 0x30, 0x80], fields, &[0; 6]].concat()
}

#[test]
fn an_answer_in_ber_is_read_as_well() {
    let lines: String = vector!("cacerts").split_whitespace().collect();
    let ber = indefinite(&BASE64.decode(lines.as_bytes()).unwrap());
    assert_eq!(read_certificates(BASE64.encode(&ber).as_bytes()), Ok(cacerts()));
}

#[test]
fn what_is_no_list_of_certificates_is_refused() {
    let read = |text: &str| read_certificates(text.as_bytes());
    assert_eq!(read("<html>"), Err(CertificatesError::Base64));
    assert_eq!(read(""), Err(CertificatesError::Malformed));
    assert_eq!(read("AAAA"), Err(CertificatesError::Malformed));
    assert_eq!(read(vector!("signed")), Err(CertificatesError::NotCertificates));
    assert_eq!(read(&"A".repeat(MAX_CERTIFICATES_BYTES + 4)), Err(CertificatesError::TooLong));
    let lines: String = vector!("cacerts").split_whitespace().collect();
    let message = BASE64.decode(lines.as_bytes()).unwrap();
    for length in 0..message.len() {
        assert!(read(&BASE64.encode(&message[..length])).is_err(), "cut after {length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_certificates(&bytes).is_err());
        prop_assert!(read_certificates(BASE64.encode(&bytes).as_bytes()).is_err());
        prop_assert!(certified(std::slice::from_ref(&bytes), std::slice::from_ref(&bytes)).is_err());
    }

    #[test]
    fn a_changed_answer_gives_no_other_ca(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let lines: String = vector!("site").split_whitespace().collect();
        let mut message = BASE64.decode(lines.as_bytes()).unwrap();
        let at = at.index(message.len());
        message[at] ^= flip;
        let read = read_certificates(BASE64.encode(&message).as_bytes());
        if let Ok(Ok(chain)) = read.map(|given| certified(&given, &cacerts())) {
            prop_assert_eq!(chain, certified(&answer(vector!("site")), &cacerts()).unwrap());
        }
    }
}

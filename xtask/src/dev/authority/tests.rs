use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Authority, SERVER_LIFETIME, Scope};
use crate::dev::network::Names;
use time::OffsetDateTime;

fn names(host: &str, addresses: &[&str]) -> Names {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Names { host: Some(host.to_owned()), addresses }
}

fn open(folder: &tempfile::TempDir, names: &Names) -> Authority {
    Authority::open(&folder.path().join("tls"), names).unwrap()
}

fn server(authority: &Authority, names: &Names) -> CertificateDer<'static> {
    let files = authority.issue(names).unwrap();
    CertificateDer::from_pem_file(files.certificate).unwrap()
}

/// Whether somebody who trusts the authority takes a certificate for a name.
fn counts(authority: &Authority, certificate: &CertificateDer<'_>, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
}

#[test]
fn a_server_counts_under_each_of_its_names_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let names = names("ward", &["192.168.1.20", "203.0.113.5", "fd00::2"]);
    let authority = open(&folder, &names);
    let certificate = server(&authority, &names);
    for name in ["192.168.1.20", "203.0.113.5", "fd00::2", "localhost", "127.0.0.1", "::1", "ward", "ward.local"] {
        assert!(counts(&authority, &certificate, name), "{name}");
    }
    for name in ["192.168.1.21", "other", "wardlink.example"] {
        assert!(!counts(&authority, &certificate, name), "{name}");
    }
}

#[test]
fn phones_take_the_servers_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let names = names("ward", &["192.168.1.20"]);
    let der = server(&open(&folder, &names), &names);
    let certificate = Certificate::from_der(&der).unwrap();
    let tbs = certificate.tbs_certificate();
    let [from, to] =
        [tbs.validity().not_before, tbs.validity().not_after].map(|time| time.to_unix_duration().as_secs());
    assert!(from < to && to <= from + 397 * 24 * 60 * 60);
    let (_, usage) = tbs.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    assert_eq!(usage.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.3.6.1.5.5.7.3.1"], "serverAuth");
    let (_, alternative) = tbs.get_extension::<x509_cert::ext::pkix::SubjectAltName>().unwrap().unwrap();
    let address = [192, 168, 1, 20];
    assert!(alternative.0.iter().any(|name| matches!(name, GeneralName::IpAddress(ip) if ip.as_bytes() == address)));
}

#[test]
fn a_stolen_authority_vouches_for_nobody_on_the_internet() {
    let folder = tempfile::tempdir().unwrap();
    let names = names("ward", &["192.168.1.20"]);
    let authority = open(&folder, &names);
    for (name, vouched) in
        [("10.1.2.3", true), ("printer.local", true), ("bank.example", false), ("203.0.113.5", false)]
    {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(authority.scope.authority().unwrap(), &authority.key);
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        assert_eq!(counts(&authority, certificate.der(), name), vouched, "{name}");
    }
}

#[test]
fn the_authority_is_kept_as_long_as_it_covers_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder, &names("ward", &["192.168.1.20"]));
    assert!(first.is_new());
    let moved = open(&folder, &names("ward", &["10.0.0.7"]));
    assert!(!moved.is_new());
    assert_eq!(first.fingerprint(), moved.fingerprint(), "another private address");
    let outside = open(&folder, &names("ward", &["203.0.113.5"]));
    assert!(outside.is_new());
    assert_ne!(first.fingerprint(), outside.fingerprint());
    let renamed = open(&folder, &names("theatre", &["10.0.0.7"]));
    assert!(renamed.is_new());
}

#[test]
fn an_authority_that_ends_before_its_servers_covers_nothing() {
    let names = names("ward", &["192.168.1.20"]);
    let now = OffsetDateTime::now_utc();
    let scope = Scope::of(&names, now);
    let end = scope.not_after().unwrap();
    assert!(scope.covers(&names, end - SERVER_LIFETIME * 2));
    assert!(!scope.covers(&names, end - SERVER_LIFETIME / 2));
}

#[test]
fn keys_are_for_their_owners_eyes_only() {
    let folder = tempfile::tempdir().unwrap();
    let names = names("ward", &["192.168.1.20"]);
    open(&folder, &names).issue(&names).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let tls = folder.path().join("tls");
    assert_eq!(mode(&tls), 0o700);
    for file in fs::read_dir(tls).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn loopback_and_private_addresses_need_no_name_of_their_own() {
    let addresses =
        ["127.0.0.2", "172.31.0.1", "169.254.3.4", "fe80::1", "fd12::1"].map(|a| a.parse::<IpAddr>().unwrap());
    let names = Names { host: None, addresses: addresses.to_vec() };
    assert!(Scope::of(&names, OffsetDateTime::now_utc()).addresses.is_empty());
}

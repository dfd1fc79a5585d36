//! X.509: certificates, requests, keys and chains. What is accepted has one encoding, and only what the CA issued is believed.

use serde_bytes::ByteBuf;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::x509::{Certificate, CertificationRequest, Chain};
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::limits::MAX_CHAIN_LENGTH;

use crate::site::{NOW, Site, site};
use crate::vectors::Vectors;
use crate::{select, selected};

const PURPOSES: [Purpose; 5] =
    [Purpose::Pairing, Purpose::Device, Purpose::ControlUnit, Purpose::Gateway, Purpose::Service];

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 5 {
        0 => certificate(bytes),
        1 => request(bytes),
        2 => chain(bytes),
        3 => key(bytes),
        _ => {
            if let Ok(key) = PrivateKey::from_pkcs8(bytes) {
                let written = key.to_pkcs8().expect("a key that was read");
                assert!(PrivateKey::from_pkcs8(&written).is_ok_and(|again| again.public() == key.public()));
            }
        }
    }
}

fn certificate(der: &[u8]) {
    let Ok(certificate) = Certificate::parse(der) else { return };
    assert_eq!(certificate.der(), der);
    let issuers = [site().ca.certificate().clone(), site().ca.root().clone()];
    let believed = PURPOSES.iter().any(|purpose| certificate.verify_holder(&issuers, *purpose, NOW).is_ok());
    assert!(
        !believed || site().issued.iter().any(|issued| issued.as_slice() == der),
        "a forged certificate is believed"
    );
    assert_eq!(certificate.purpose(), certificate.holder().map(wardlink_crypto::x509::Holder::purpose));
}

fn request(der: &[u8]) {
    let Ok(request) = CertificationRequest::parse(der) else { return };
    let device = request.device();
    assert_eq!(device.to_string().parse().as_ref(), Ok(device));
    assert!(request.key().fingerprint().is_ok());
}

fn key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki(bytes) {
        assert_eq!(key.to_spki().expect("a key that was read"), bytes);
    }
    if let Ok(key) = PublicKey::from_point(bytes) {
        assert_eq!(key.to_point(), bytes);
    }
}

/// Each certificate stands behind its length, two bytes.
fn chain(mut bytes: &[u8]) {
    let mut certificates = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (certificate, rest) = rest.split_at(length);
        certificates.push(ByteBuf::from(certificate));
        bytes = rest;
    }
    let Ok(chain) = Chain::parse(&certificates) else { return };
    assert!((1..=MAX_CHAIN_LENGTH).contains(&certificates.len()));
    let site: &Site = site();
    for purpose in PURPOSES {
        if let Ok(certificate) = chain.verify(&site.cert_ca(), purpose, NOW) {
            assert_eq!(certificate.purpose(), Some(purpose));
            assert!(site.issued.iter().any(|issued| issued.as_slice() == certificate.der()), "a forgery is believed");
        }
    }
}

fn joined(certificates: &[ByteBuf]) -> Vec<u8> {
    let with_length = |certificate: &ByteBuf| {
        let length = u16::try_from(certificate.len()).expect("a short certificate");
        [&length.to_be_bytes()[..], certificate].concat()
    };
    certificates.iter().flat_map(with_length).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    let mut seeds: Vec<Vec<u8>> = site.issued.iter().map(|certificate| select(0, certificate)).collect();
    seeds.push(select(0, site.ca.certificate().der()));
    seeds.push(select(0, site.ca.root().der()));
    seeds.push(select(1, &Vectors::authentication().bytes("/csr")));
    for issued in &site.issued {
        let chain: Vec<ByteBuf> = std::iter::once(issued.clone()).chain(site.ca.chain()).collect();
        seeds.push(select(2, &joined(&chain)));
    }
    let public = site.key.public();
    seeds.push(select(3, &public.to_spki().expect("a key")));
    seeds.push(select(3, &public.to_point()));
    seeds.push(select(4, &Vectors::authentication().bytes("/device_pkcs8")));
    seeds
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::testing::{LATE, NOW, Site};
use crate::x509::Holder;
use data_encoding::HEXLOWER;

fn pump() -> Device {
    "infusion-pump/p1".parse().unwrap()
}

fn given() -> DirectorRoot {
    DirectorRoot { device: pump(), issued_at: NOW, root: ByteBuf::from(b"{\"signed\":{}}".to_vec()) }
}

#[test]
fn a_device_takes_what_its_own_control_unit_has_signed_for_it() {
    let site = Site::new(1);
    let signed = sign(&given(), &site.chain, &site.key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.root(), NOW).unwrap(), given());
}

#[test]
fn another_devices_root_is_refused() {
    let site = Site::new(1);
    let signed = sign(&given(), &site.chain, &site.key).unwrap();
    let other = "infusion-pump/p2".parse().unwrap();
    assert_eq!(verify(&signed, &other, &site.root(), NOW), Err(DirectorRootError::Device(pump())));
}

#[test]
fn another_sites_control_unit_is_refused() {
    let (site, other) = (Site::new(1), Site::new(2));
    let signed = sign(&given(), &other.chain, &other.key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.root(), NOW), Err(ChainError::Root.into()));
    // Nor does it count under the site's own chain.
    let signed = sign(&given(), &site.chain, &other.key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.root(), NOW), Err(DirectorRootError::Header));
}

#[test]
fn a_device_or_gateway_of_the_site_directs_nobody() {
    let mut site = Site::new(1);
    for holder in [Holder::Device(pump()), Holder::Gateway("gateway/ward-3".parse().unwrap())] {
        let (key, certificate) = site.holder(&holder);
        let chain = [vec![certificate.to_bytes()], site.ca.chain()].concat();
        let signed = sign(&given(), &chain, &key).unwrap();
        assert_eq!(verify(&signed, &pump(), &site.root(), NOW), Err(ChainError::Purpose.into()));
    }
}

#[test]
fn an_ended_certificate_vouches_for_nobody() {
    let site = Site::new(1);
    let signed = sign(&given(), &site.chain, &site.key).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.root(), LATE), Err(ChainError::Expired.into()));
}

#[test]
fn every_changed_byte_is_refused() {
    let site = Site::new(1);
    let signed = sign(&given(), &site.chain, &site.key).unwrap();
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, &pump(), &site.root(), NOW).is_err(), "{at}");
    }
    assert!(verify(&signed[1..], &pump(), &site.root(), NOW).is_err());
}

#[test]
fn what_the_control_unit_signs_otherwise_is_no_directors_root() {
    let site = Site::new(1);
    let kid = site.key.public().fingerprint().unwrap().as_bytes().to_vec();
    let header = Header { kid, chain: site.chain.clone(), ..Header::default() };
    let signed = cose::sign(&header, &site.key, b"ais/infusion-pump/p1", &cbor::encode(&given()).unwrap()).unwrap();
    let refused = verify(&signed, &pump(), &site.root(), NOW);
    assert_eq!(refused, Err(EnvelopeError::Authentication.into()));
    let header = Header { counter: Some(1), ..header };
    let signed = cose::sign(&header, &site.key, AAD, &cbor::encode(&given()).unwrap()).unwrap();
    assert_eq!(verify(&signed, &pump(), &site.root(), NOW), Err(DirectorRootError::Header));
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

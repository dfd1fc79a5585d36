#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::{NOW, chain, key, later, pump, site};

fn stored() -> StoredBatch {
    StoredBatch { chain: chain(1), first: 5, last: 9, hash: Sha256([7; 32]), since: 1, set_aside: 2 }
}

#[test]
fn a_receipt_says_what_is_stored() {
    let site = site(1, Purpose::ControlUnit);
    let receipt = Receipt::of(pump(1), &stored(), NOW);
    let bytes = receipt.sign(&site.key, &site.chain).unwrap();
    assert_eq!(Receipt::open(&bytes, &site.root), Ok(receipt.clone()));
    assert_eq!((receipt.first, receipt.through, receipt.set_aside), (1, 9, 2));
}

#[test]
fn a_receipt_that_is_not_the_sites_is_refused() {
    let (ours, other) = (site(1, Purpose::ControlUnit), site(2, Purpose::ControlUnit));
    let receipt = Receipt::of(pump(1), &stored(), NOW);
    let bytes = receipt.sign(&other.key, &other.chain).unwrap();
    assert_eq!(Receipt::open(&bytes, &ours.root), Err(ReceiptError::Chain(ChainError::Root)));
    // Another key under the site's certificate.
    let bytes = receipt.sign(&other.key, &ours.chain).unwrap();
    assert_eq!(Receipt::open(&bytes, &ours.root), Err(ReceiptError::Envelope(EnvelopeError::Authentication)));
    // A device of the site.
    let device = site(1, Purpose::Device);
    let bytes = receipt.sign(&device.key, &device.chain).unwrap();
    assert_eq!(Receipt::open(&bytes, &device.root), Err(ReceiptError::Chain(ChainError::Purpose)));
    // Without a certificate.
    let bytes = receipt.sign(&ours.key, &[]).unwrap();
    assert!(matches!(Receipt::open(&bytes, &ours.root), Err(ReceiptError::Chain(_) | ReceiptError::Certificate(_))));
    // Signed when the certificate did not hold.
    let early = Receipt { signed_at: UnixMillis(NOW.0 - 1), ..receipt };
    let bytes = early.sign(&ours.key, &ours.chain).unwrap();
    assert!(matches!(Receipt::open(&bytes, &ours.root), Err(ReceiptError::Chain(_))));
}

#[test]
fn a_refusal_names_its_step() {
    let envelope = |error| ReceiptError::Envelope(error).step();
    assert_eq!(envelope(EnvelopeError::Authentication), "receipt: signature");
    assert_eq!(envelope(EnvelopeError::Structure), "receipt: form");
    assert_eq!(ReceiptError::Chain(ChainError::Root).step(), "receipt: certificate");
    assert_eq!(ReceiptError::Numbers.step(), "receipt: form");
}

#[test]
fn what_is_no_receipt_is_refused() {
    let site = site(1, Purpose::ControlUnit);
    let kid = |key: &PrivateKey| key.public().fingerprint().unwrap().as_bytes().to_vec();
    let sign = |header: &Header, label: &str, payload: &[u8]| {
        cose::sign(header, &site.key, label.as_bytes(), payload).unwrap()
    };
    let header = Header { kid: kid(&site.key), chain: site.chain.clone(), ..Header::default() };
    let payload = cbor::encode(&Receipt::of(pump(1), &stored(), NOW)).unwrap();
    assert!(Receipt::open(&sign(&header, RECEIPT_LABEL, &payload), &site.root).is_ok());
    let other = sign(&header, "wardlink record batch", &payload);
    assert_eq!(Receipt::open(&other, &site.root), Err(ReceiptError::Envelope(EnvelopeError::Authentication)));
    let other = sign(&Header { kid: kid(&key(5)), ..header.clone() }, RECEIPT_LABEL, &payload);
    assert_eq!(Receipt::open(&other, &site.root), Err(ReceiptError::Header));
    let other = sign(&Header { counter: Some(1), ..header.clone() }, RECEIPT_LABEL, &payload);
    assert_eq!(Receipt::open(&other, &site.root), Err(ReceiptError::Header));
    let other = sign(&header, RECEIPT_LABEL, &cbor::encode("receipt").unwrap());
    assert_eq!(Receipt::open(&other, &site.root), Err(ReceiptError::Cbor(CborError::Shape)));
    for (first, through) in [(0, 9), (10, 9)] {
        let receipt = Receipt { first, through, ..Receipt::of(pump(1), &stored(), NOW) };
        let bytes = receipt.sign(&site.key, &site.chain).unwrap();
        assert_eq!(Receipt::open(&bytes, &site.root), Err(ReceiptError::Numbers));
    }
}

#[test]
fn a_changed_byte_is_never_taken() {
    let site = site(1, Purpose::ControlUnit);
    let bytes = Receipt::of(pump(1), &stored(), later(5)).sign(&site.key, &site.chain).unwrap();
    for place in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[place] ^= 4;
        assert!(Receipt::open(&changed, &site.root).is_err(), "byte {place}");
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::exchange::KeptBatch;
use crate::queue::BatchKey;
use crate::testing::{NOW, Site, chain, pump, site};

fn kept() -> Downward {
    Downward::Kept(KeptBatch { key: BatchKey { chain: chain(1), first: 7 }, hash: Sha256([9; 32]) })
}

fn said(by: &Site) -> Vec<u8> {
    sign(&kept(), &pump(1), &by.key, &by.chain).unwrap()
}

#[test]
fn a_gateway_of_the_site_is_heard() {
    let gateway = site(1, Purpose::Gateway);
    assert_eq!(open(&said(&gateway), &pump(1), &gateway.root, NOW), Ok(kept()));
}

#[test]
fn nobody_else_says_that_data_is_kept() {
    let gateway = site(1, Purpose::Gateway);
    let elsewhere = site(2, Purpose::Gateway);
    assert!(matches!(open(&said(&elsewhere), &pump(1), &gateway.root, NOW), Err(SaidError::Chain(_))));
    for purpose in [Purpose::Device, Purpose::ControlUnit] {
        let other = site(1, purpose);
        assert!(matches!(open(&said(&other), &pump(1), &other.root, NOW), Err(SaidError::Chain(_))));
    }
    let word = said(&gateway);
    assert_eq!(open(&word, &pump(2), &gateway.root, NOW), Err(SaidError::Device(pump(1))));
    let after = UnixMillis(u64::MAX);
    assert!(matches!(open(&word, &pump(1), &gateway.root, after), Err(SaidError::Chain(_))));
    // Somebody with the gateway's certificates and another key.
    let forged = sign(&kept(), &pump(1), &elsewhere.key, &gateway.chain).unwrap();
    assert!(open(&forged, &pump(1), &gateway.root, NOW).is_err());
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let gateway = site(1, Purpose::Gateway);
    let word = said(&gateway);
    for at in 0..word.len() {
        let mut changed = word.clone();
        changed[at] ^= 1;
        assert!(open(&changed, &pump(1), &gateway.root, NOW).is_err(), "{at}");
    }
}

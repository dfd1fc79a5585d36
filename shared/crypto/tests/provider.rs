//! P-256 by another implementation, `ring`: what it computes counts, and it changes nothing of what is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use wardlink_crypto::key::{KeyError, POINT_BYTES, PrivateKey, PublicKey, SharedSecret};
use wardlink_crypto::provider::{self, Provider};
use wardlink_crypto::x509::{CertificationRequest, X509Error};
use wardlink_protocol::Device;

#[derive(Default)]
struct Ring {
    fails: AtomicBool,
    signed: AtomicUsize,
    verified: AtomicUsize,
}

impl Provider for Ring {
    fn sign(&self, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        if self.fails.load(Ordering::Relaxed) {
            return None;
        }
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &random).unwrap();
        self.signed.fetch_add(1, Ordering::Relaxed);
        Some(pair.sign(&random, message).unwrap().as_ref().to_vec())
    }

    fn verify(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        if self.fails.load(Ordering::Relaxed) {
            return None;
        }
        self.verified.fetch_add(1, Ordering::Relaxed);
        let point = &key[key.len() - POINT_BYTES..];
        Some(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok())
    }

    fn agree(&self, _secret: &[u8; 32], _peer: &[u8]) -> Option<SharedSecret> {
        None
    }
}

impl Ring {
    fn counts(&self) -> (usize, usize) {
        (self.signed.load(Ordering::Relaxed), self.verified.load(Ordering::Relaxed))
    }
}

/// One test, as a provider is installed once for the whole process.
#[test]
fn an_installed_provider_computes_and_refuses_what_the_crate_refuses() {
    let other_library: &Ring = Box::leak(Box::default());
    provider::install(other_library);
    let mut rng = StdRng::seed_from_u64(1);
    let (key, other) = (PrivateKey::make(&mut rng), PrivateKey::make(&mut rng));

    let signature = key.sign(b"message");
    assert_ne!(signature, key.sign(b"message"), "its nonce is random, the crate's is not");
    check_signature(&key.public(), &other.public(), &signature);
    assert_eq!(other_library.counts(), (2, 3));

    // Out of range, or of another length: nobody is asked.
    for refused in [&[0; 64][..], &[0xff; 64], &signature[..63], &[]] {
        assert_eq!(key.public().verify(b"message", refused), Err(KeyError::BadSignature));
    }
    assert_eq!(other_library.counts(), (2, 3));

    let device: Device = "infusion-pump/ip-1".parse().unwrap();
    let request = CertificationRequest::make(&device, &key).unwrap();
    assert_eq!(*CertificationRequest::parse(&request).unwrap().key(), key.public());
    let mut damaged = request;
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(CertificationRequest::parse(&damaged), Err(X509Error::Signature));
    assert_eq!(other_library.counts(), (3, 5));

    assert_eq!(key.agree(&other.public()), other.agree(&key.public()), "what it does not compute, the crate does");

    other_library.fails.store(true, Ordering::Relaxed);
    check_signature(&key.public(), &other.public(), &signature);
    check_signature(&key.public(), &other.public(), &key.sign(b"message"));
    assert_eq!(key.sign(b"message"), key.sign(b"message"), "by the crate");
    assert_eq!(other_library.counts(), (3, 5));
}

fn check_signature(key: &PublicKey, other: &PublicKey, signature: &[u8]) {
    assert_eq!(key.verify(b"message", signature), Ok(()));
    assert_eq!(key.verify(b"massage", signature), Err(KeyError::BadSignature));
    assert_eq!(other.verify(b"message", signature), Err(KeyError::BadSignature));
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[test]
fn keys_survive_their_encodings() {
    let key = PrivateKey::make(&mut StdRng::seed_from_u64(1));
    let again = PrivateKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
    assert_eq!(again.public(), key.public());
    let public = key.public();
    assert_eq!(PublicKey::from_spki(&public.to_spki().unwrap()).unwrap(), public);
    assert_eq!(PublicKey::from_point(&public.to_point()).unwrap(), public);
    assert_eq!(public.to_point().len(), POINT_BYTES);
}

#[test]
fn a_signature_holds_for_its_message_and_key_only() {
    let mut rng = StdRng::seed_from_u64(1);
    let (key, other) = (PrivateKey::make(&mut rng), PrivateKey::make(&mut rng));
    let signature = key.sign(b"message");
    assert_eq!(key.public().verify(b"message", &signature), Ok(()));
    assert_eq!(key.public().verify(b"massage", &signature), Err(KeyError::BadSignature));
    assert_eq!(other.public().verify(b"message", &signature), Err(KeyError::BadSignature));
    assert_eq!(key.public().verify(b"message", &signature[..63]), Err(KeyError::BadSignature));
    assert_eq!(key.public().verify(b"message", &[0; 64]), Err(KeyError::BadSignature));
}

#[test]
fn both_sides_agree() {
    let mut rng = StdRng::seed_from_u64(1);
    let (a, b) = (PrivateKey::make(&mut rng), PrivateKey::make(&mut rng));
    assert_eq!(a.agree(&b.public()), b.agree(&a.public()));
    assert_ne!(*a.agree(&b.public()), [0; 32]);
}

#[test]
fn points_off_the_curve_compressed_points_and_the_identity_are_refused() {
    let public = PrivateKey::make(&mut StdRng::seed_from_u64(1)).public();
    let mut point = public.to_point();
    point[40] ^= 1;
    assert_eq!(PublicKey::from_point(&point), Err(KeyError::InvalidKey));
    let mut compressed = public.to_point()[..33].to_vec();
    compressed[0] = 2;
    assert_eq!(PublicKey::from_point(&compressed), Err(KeyError::InvalidKey));
    assert_eq!(PublicKey::from_point(&[0]), Err(KeyError::InvalidKey));
    assert_eq!(PublicKey::from_point(&[4; 65]), Err(KeyError::InvalidKey));
}

#[test]
fn a_key_has_one_spelling() {
    let public = PrivateKey::make(&mut StdRng::seed_from_u64(1)).public();
    let mut spki = public.to_spki().unwrap();
    spki.push(0);
    assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::InvalidKey));
    assert!(PublicKey::from_spki(&[]).is_err());
    assert!(PrivateKey::from_pkcs8(&[0x30, 0]).is_err());
}

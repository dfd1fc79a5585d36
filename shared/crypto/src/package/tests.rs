#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

struct World {
    rng: StdRng,
    key: PrivateKey,
    gateway: Device,
    sealed: Vec<u8>,
}

const PATH: &str = "acme/infusion-pump/PM2/1B-2.bin";

fn of(gateway: &Device) -> Sealed<'_> {
    Sealed { gateway, path: PATH, sha256: Hash([3; 32]) }
}

fn world() -> World {
    let mut rng = StdRng::seed_from_u64(1);
    let key = PrivateKey::make(&mut rng);
    let gateway: Device = "gateway/ward-3".parse().unwrap();
    let code = ContentCode::new([8; 16]);
    let sealed = seal_key(&code, &key.public(), of(&gateway), &mut rng).unwrap();
    World { rng, key, gateway, sealed }
}

#[test]
fn a_content_key_reaches_its_gateway() {
    let World { key, gateway, sealed, .. } = world();
    assert_eq!(open_key(&sealed, &key, of(&gateway)).unwrap().as_bytes(), &[8; 16]);
    assert!(sealed.len() < 300, "{}", sealed.len());
}

#[test]
fn nobody_else_opens_it_and_it_is_for_no_other_file() {
    let World { mut rng, key, gateway, sealed } = world();
    let refused = |key: &PrivateKey, of| open_key(&sealed, key, of).err().unwrap();
    assert_eq!(refused(&PrivateKey::make(&mut rng), of(&gateway)), EnvelopeError::Authentication);
    let other: Device = "gateway/ward-4".parse().unwrap();
    assert_eq!(refused(&key, of(&other)), EnvelopeError::Authentication);
    assert_eq!(refused(&key, Sealed { path: "acme/x/y/z", ..of(&gateway) }), EnvelopeError::Authentication);
    assert_eq!(refused(&key, Sealed { sha256: Hash([4; 32]), ..of(&gateway) }), EnvelopeError::Authentication);
}

#[test]
fn every_change_is_refused() {
    let World { key, gateway, sealed, .. } = world();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(open_key(&changed, &key, of(&gateway)).is_err(), "byte {at}, bit {bit}");
        }
    }
    assert!(open_key(&[], &key, of(&gateway)).is_err());
    assert!(open_key(&[sealed.clone(), vec![0]].concat(), &key, of(&gateway)).is_err());
    assert!(open_key(&vec![0; 5000], &key, of(&gateway)).is_err());
}

#[test]
fn the_form_is_the_one_that_is_described() {
    let World { sealed, .. } = world();
    let envelope = CoseEncrypt::from_tagged_slice(&sealed).unwrap();
    let [recipient] = envelope.recipients.as_slice() else { panic!("one recipient") };
    assert!(envelope.unprotected.is_empty() && recipient.unprotected.is_empty());
    assert_eq!(recipient.ciphertext.as_deref().unwrap_or_default(), b"");
    let key = CoseKey::from_cbor_value(recipient.protected.header.rest[0].1.clone()).unwrap();
    assert_eq!(key.params.len(), 3);
}

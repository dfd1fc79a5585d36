#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use wardlink_protocol::channel::default_channels;
use wardlink_protocol::identity::KeyId;
use zeroize::Zeroizing;

fn secret(byte: u8) -> SharedSecret {
    Zeroizing::new([byte; 32])
}

fn keys(request: &[u8], command: &[u8]) -> PairingKeys {
    PairingKeys::derive(&secret(1), &secret(2), request, command).unwrap()
}

fn bytes(key: &ContentKey) -> Vec<u8> {
    match key {
        ContentKey::A128(key) => key.to_vec(),
        ContentKey::A256(key) => key.to_vec(),
    }
}

fn device() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

#[test]
fn every_key_of_a_pairing_is_another() {
    let keys = keys(b"request", b"command");
    let all = [
        keys.confirm().unwrap().to_vec(),
        bytes(&keys.device().unwrap()),
        bytes(&keys.control().unwrap()),
        keys.wrap().unwrap().to_vec(),
    ];
    for (index, key) in all.iter().enumerate() {
        assert!(all.iter().skip(index + 1).all(|other| other != key));
    }
}

#[test]
fn the_whole_transcript_is_in_every_key() {
    let one = bytes(&keys(b"request", b"command").device().unwrap());
    assert_ne!(one, bytes(&keys(b"request!", b"command").device().unwrap()));
    assert_ne!(one, bytes(&keys(b"request", b"command!").device().unwrap()));
    // The boundary between the two messages is in it, too.
    assert_ne!(one, bytes(&keys(b"requestc", b"ommand").device().unwrap()));
    let swapped = PairingKeys::derive(&secret(2), &secret(1), b"request", b"command").unwrap();
    assert_ne!(one, bytes(&swapped.device().unwrap()));
}

#[test]
fn the_access_key_is_bound_to_direction_secret_device_and_session() {
    let secret = AccessSecret::new(vec![7; 16]).unwrap();
    let derive = |direction, id: &str, device: &str, session| {
        let key = derive_access_key(
            &secret,
            direction,
            &id.parse().unwrap(),
            &device.parse().unwrap(),
            &SessionId([session; 16]),
        );
        bytes(&key.unwrap())
    };
    let one = derive(Direction::Up, "a", "pump/p1", 1);
    assert_eq!(one, derive(Direction::Up, "a", "pump/p1", 1));
    assert_ne!(one, derive(Direction::Down, "a", "pump/p1", 1));
    assert_ne!(one, derive(Direction::Up, "b", "pump/p1", 1));
    assert_ne!(one, derive(Direction::Up, "a", "pump/p2", 1));
    assert_ne!(one, derive(Direction::Up, "a", "pum/pp1", 1));
    assert_ne!(one, derive(Direction::Up, "a", "pump/p1", 2));
}

#[test]
fn code_tag_and_answer_depend_on_nonce_mode_session_and_origin() {
    let keys = keys(b"request", b"command");
    let (nonce, other) = (Sha256([1; 32]), Sha256([2; 32]));
    let code = |nonce, mode| keys.code(nonce, mode).unwrap().to_string();
    assert_ne!(code(&nonce, Mode::PairingCode), code(&other, Mode::PairingCode));
    assert_ne!(code(&nonce, Mode::PairingCode), code(&nonce, Mode::PairingQrcode));
    let tag = |session, origin| keys.tag(&nonce, &SessionId([session; 16]), &device(), origin).unwrap();
    assert_ne!(tag(1, "https://a.example"), tag(2, "https://a.example"));
    assert_ne!(tag(1, "https://a.example"), tag(1, "https://b.example"));
    assert!(keys.answer(&nonce).unwrap() != keys.answer(&other).unwrap());
}

#[test]
fn the_key_confirmation_covers_both_identities_both_ephemerals_and_the_mode() {
    let keys = keys(b"request", b"command");
    let parties = Parties {
        device: device(),
        device_key: KeyFingerprint([1; 32]),
        control_unit_key: KeyFingerprint([2; 32]),
        device_ephemeral: vec![3; 65],
        control_unit_ephemeral: vec![4; 65],
    };
    let one = keys.device_confirmation(&parties, Mode::PairingCode).unwrap();
    let changed = [
        Parties { device: "infusion-pump/pump-2".parse().unwrap(), ..parties.clone() },
        Parties { device_key: KeyFingerprint([9; 32]), ..parties.clone() },
        Parties { control_unit_key: KeyFingerprint([9; 32]), ..parties.clone() },
        Parties { device_ephemeral: vec![9; 65], ..parties.clone() },
        Parties { control_unit_ephemeral: vec![9; 65], ..parties.clone() },
    ];
    for parties in changed {
        assert!(!same(&one, &keys.device_confirmation(&parties, Mode::PairingCode).unwrap()));
    }
    assert!(!same(&one, &keys.device_confirmation(&parties, Mode::PairingQrcode).unwrap()));
    assert!(same(&one, &keys.device_confirmation(&parties, Mode::PairingCode).unwrap()));
}

#[test]
fn keys_survive_being_stored() {
    let keys = keys(b"request", b"command");
    let stored = cbor::encode(&keys).unwrap();
    let again: PairingKeys = cbor::decode(&stored, 64).unwrap();
    assert_eq!(bytes(&again.device().unwrap()), bytes(&keys.device().unwrap()));
}

#[test]
fn the_finish_key_is_bound_to_channel_device_and_session() {
    let channel = default_channels().remove(0);
    let key = ChannelKey { channel, kid: KeyId([1; 8]), epoch: 1, key: [5; 32] };
    let finish =
        |key: &ChannelKey, session| bytes(&derive_finish_key(key, &device(), &SessionId([session; 16])).unwrap());
    let mut next = key.clone();
    next.epoch = 2;
    assert_ne!(finish(&key, 1), finish(&key, 2));
    assert_ne!(finish(&key, 1), finish(&next, 1));
    assert_ne!(finish(&key, 1), key.key.to_vec());
}

#[test]
fn a_device_secret_is_its_own() {
    let master = AccessSecret::new(vec![7; 32]).unwrap();
    let (id, next) = ("device-1".parse().unwrap(), "device-2".parse().unwrap());
    let one = derive_device_secret(&master, &id, &device()).unwrap();
    let two = derive_device_secret(&master, &id, &"infusion-pump/pump-2".parse().unwrap()).unwrap();
    assert!(one != two && one != master);
    assert!(
        one != derive_device_secret(&master, &next, &device()).unwrap(),
        "a secret that was ended does not come back"
    );
    assert!(one == derive_device_secret(&master, &id, &device()).unwrap());
    assert_eq!(one.as_bytes().len(), 32);
}

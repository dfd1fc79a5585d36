//! The device's side of a pairing: what arrives on T2, sealed with the right keys and, where it is signed, signed.

use wardlink_crypto::cose::{self, Header};
use wardlink_crypto::key::PublicKey;
use wardlink_pairing::device::{DevicePairing, Display};
use wardlink_protocol::cbor;
use wardlink_protocol::limits::{MAX_CHANNELS_PER_DEVICE, MAX_NOTE_BYTES, MAX_PAIRING_MESSAGE_BYTES};
use wardlink_protocol::pairing::{PairingRefused, RefusalReason, Status};

use crate::site::{NOW, Site, rng, site};
use crate::{select, selected};

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let site = site();
    match selector % 6 {
        // A control unit that says something else: command or refusal.
        0 => drop(receive(&site.requesting, &site.command.with(&signed(site, bytes)).payload)),
        1 => drop(receive(&site.answered, &site.command.with(&signed(site, bytes)).payload)),
        2 => drop(receive(&site.answered, &site.confirmation.with(bytes).payload)),
        // Someone who has the access secret, but not the control unit's key.
        3 => {
            let answered = receive(&site.requesting, &site.command.with(bytes).payload).is_some();
            assert!(!answered || bytes == site.command_signed, "the signature of the control unit is not needed");
        }
        // Someone who has nothing.
        4 => {
            let answered = receive(&site.requesting, bytes).is_some();
            assert!(!answered || bytes == site.command.stamped.payload.as_slice(), "a foreign message is followed");
        }
        _ => {
            let known = [&site.command.stamped.payload, &site.confirmation.stamped.payload];
            let followed = receive(&site.answered, bytes).is_some();
            assert!(!followed || known.iter().any(|known| known.as_slice() == bytes), "a foreign message is followed");
        }
    }
}

/// The control unit signs these bytes as a message of the session.
fn signed(site: &Site, payload: &[u8]) -> Vec<u8> {
    let kid = site.signer.public().fingerprint().expect("a key").as_bytes().to_vec();
    let header = Header { chain: site.chain.clone(), ..Header::pairing(&kid, site.requesting.session()) };
    cose::sign(&header, &site.signer, site.command.stamped.topic.as_bytes(), payload).expect("an envelope")
}

/// The state after the message, if it was taken.
fn receive(pump: &DevicePairing, payload: &[u8]) -> Option<DevicePairing> {
    let site = site();
    let before = pump.snapshot().expect("a snapshot");
    let mut pump = pump.clone();
    let taken = pump.receive(site.provisioned(), payload, NOW, &mut rng()).is_ok();
    let stored = pump.snapshot().expect("a snapshot");
    assert!(taken || *stored == *before, "a refused message changed the device");
    check(&pump);
    taken.then_some(pump)
}

/// What has to hold in every state.
pub(crate) fn check(pump: &DevicePairing) {
    let stored = pump.snapshot().expect("a snapshot");
    let restored = DevicePairing::restore(&stored).expect("what was stored can be restored");
    assert!(*restored.snapshot().expect("a snapshot") == *stored);
    let shown = pump.display().expect("a display");
    if let Some((_, payload)) = pump.plan().publish {
        assert!(payload.len() <= MAX_PAIRING_MESSAGE_BYTES);
    }
    if let Display::Verifying { code, link, .. } = &shown {
        assert!(code.is_some() || link.is_some() || pump.plan().publish.is_some());
        assert!(link.as_ref().is_none_or(|link| link.to_string().len() < 512), "the QR code stays small");
    }
    if let Display::Refused { note, .. } = &shown {
        assert!(note.len() <= MAX_NOTE_BYTES, "a note has a length that fits a display");
    }
    if let Some(pairing) = pump.pairing() {
        let certificate = wardlink_crypto::x509::Certificate::parse(&pairing.certificate).expect("a certificate");
        let own: &PublicKey = certificate.key();
        assert!(*own == site().key.public() && certificate.device() == Some(&site().device));
        assert!((1..=MAX_CHANNELS_PER_DEVICE).contains(&pairing.channels.len()));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    let refused = PairingRefused {
        status: Status::PairingRefused,
        session: site.requesting.session(),
        reason: RefusalReason::Rejected,
        note: "Not ours".into(),
    };
    let refused = cbor::encode(&refused).expect("a refusal");
    let command = cose::Signed::parse(&site.command_signed, MAX_PAIRING_MESSAGE_BYTES).expect("a signed message");
    let aad = site.command.stamped.topic.as_bytes();
    let command = command.verify(&site.signer.public(), aad).expect("the control unit's message");
    vec![
        select(0, command),
        select(0, &refused),
        select(1, command),
        select(1, &refused),
        select(2, &site.confirmation.plaintext),
        select(3, &site.command_signed),
        select(4, &site.command.stamped.payload),
        select(5, &site.command.stamped.payload),
        select(5, &site.confirmation.stamped.payload),
    ]
}

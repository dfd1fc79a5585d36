//! The control unit's side of a pairing: what a device says on T1 and T3, sealed with the right keys.

use wardlink_pairing::control_unit::{Action, Arrived, Session, session_of};
use wardlink_pairing::policy::Network;
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::limits::{MAX_PAIRING_MESSAGE_BYTES, MAX_TEXT_BYTES};
use wardlink_protocol::stamp::StampedMessage;

use crate::site::{NOW, Sealed, rng, site};
use crate::{select, selected};

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let site = site();
    match selector % 7 {
        0 => request(&site.request.with(bytes)),
        1 => request(&site.request.with_payload(bytes)),
        2 => step(&site.commanded, &site.verified, &site.verified.with(bytes), PairingPhase::Verifying),
        3 => step(&site.commanded, &site.verified, &site.verified.with_payload(bytes), PairingPhase::Verifying),
        4 => step(&site.confirmed, &site.finish, &site.finish.with(bytes), PairingPhase::Finished),
        5 => step(&site.confirmed, &site.finish, &site.finish.with_payload(bytes), PairingPhase::Finished),
        // The session waits for a person: nothing that its device sends brings it on.
        _ => step(&site.verifying, &site.verified, &site.verified.with_payload(bytes), PairingPhase::Confirmed),
    }
}

/// Whoever knows the access secret sends a first request.
fn request(stamped: &StampedMessage) {
    let site = site();
    let Ok(arrived) = Arrived::parse(stamped) else { return };
    let session = arrived.session();
    assert_eq!(session_of(&stamped.payload).ok(), Some(session));
    let Ok(opened) = arrived.open(&site.secret, Network::Untrusted, None, &site.policy) else { return };
    let view = opened.view(&site.policy);
    let shown = &view.information;
    let texts = [&shown.device_type, &shown.family, &shown.model, &shown.serial_number, &shown.firmware_version];
    assert!(texts.iter().all(|text| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)));
    assert_eq!((opened.id(), opened.key(), view.phase), (session, site.fingerprint(), PairingPhase::Waiting));
    check_stored(&opened);
}

/// The session's device sends something: only the one right message brings the session to `goal`.
fn step(session: &Session, right: &Sealed, message: &StampedMessage, goal: PairingPhase) {
    let site = site();
    let mut session = session.clone();
    let before = session.view(&site.policy).phase;
    let answer = session.receive(message, site.control_unit(), NOW, &mut rng());
    let phase = session.view(&site.policy).phase;
    let is_right = message.payload == right.stamped.payload;
    if phase == goal {
        assert!(is_right && before != PairingPhase::Verifying, "a changed message ended the step well");
    }
    match answer {
        Err(_) => assert_eq!(phase, before, "a refused message changed the session"),
        Ok(actions) => {
            assert!(is_right || phase == before || phase == PairingPhase::Ended);
            assert!(actions.len() <= 4);
            for action in actions {
                if let Action::Publish { payload, .. } = action {
                    assert!(payload.len() <= MAX_PAIRING_MESSAGE_BYTES);
                }
            }
        }
    }
    check_stored(&session);
}

/// Every state that a message can bring about can be stored and restored.
pub(crate) fn check_stored(session: &Session) {
    let stored = session.snapshot().expect("a snapshot");
    let restored = Session::restore(&stored).expect("what was stored can be restored");
    assert!(*restored.snapshot().expect("a snapshot") == *stored);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    vec![
        select(0, &site.request.plaintext),
        select(1, &site.request.stamped.payload),
        select(2, &site.verified.plaintext),
        select(3, &site.verified.stamped.payload),
        select(4, &site.finish.plaintext),
        select(5, &site.finish.stamped.payload),
        select(6, &site.verified.stamped.payload),
    ]
}

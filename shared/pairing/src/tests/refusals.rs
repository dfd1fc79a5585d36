//! What is refused, and changes nothing.

use wardlink_crypto::cose::EnvelopeError;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::identity::{KeyFingerprint, Purpose};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::Publisher;

use super::site::{BOTH, Pair, information};
use crate::MessageError;
use crate::control_unit::{Acceptance, Arrived, Refusal};
use crate::device::{self, DevicePairing, Display};
use crate::policy::{ModeNotAllowed, Network};

#[test]
fn a_request_of_another_publisher_is_refused() {
    let pair = Pair::requested(BOTH);
    for change in 0..4 {
        let mut stamped = pair.published();
        let Publisher::Key { key, device, certificate } = &mut stamped.publisher else { panic!("a key") };
        match change {
            0 => *key = KeyFingerprint([9; 32]),
            1 => *device = "infusion-pump/pump-2".parse().unwrap(),
            2 => *certificate = Some((wardlink_protocol::identity::CertificateSerial([64; 16]), Purpose::Device)),
            _ => stamped.publisher = Publisher::ControlUnit,
        }
        let opened =
            Arrived::parse(&stamped).unwrap().open(&pair.site.secret, Network::Untrusted, None, &pair.site.policy);
        assert!(matches!(opened, Err(Refusal::Publisher)));
    }
}

#[test]
fn a_request_under_another_secret_is_refused() {
    let pair = Pair::requested(BOTH);
    let stamped = pair.published();
    let other = AccessSecret::new(vec![8; 16]).unwrap();
    let opened = Arrived::parse(&stamped).unwrap().open(&other, Network::Untrusted, None, &pair.site.policy);
    let expected = MessageError::Envelope(EnvelopeError::Authentication);
    assert!(matches!(opened, Err(Refusal::Message(error)) if error == expected));
}

#[test]
fn a_request_on_another_class_topic_is_refused() {
    let pair = Pair::requested(BOTH);
    let mut stamped = pair.published();
    stamped.topic = "ais/register/pill-dispenser".into();
    assert!(matches!(Arrived::parse(&stamped), Err(Refusal::OutOfPlace)));
}

#[test]
fn text_that_is_too_long_or_has_control_characters_makes_no_request() {
    let pair = Pair::requested(BOTH);
    for text in ["x".repeat(129), "line\nbreak".into()] {
        let mut said = information(BOTH);
        said.model = text;
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
        let made = DevicePairing::start(pair.provisioned(), said, Vec::new(), pair.now, &mut rng);
        assert!(matches!(made, Err(device::Refusal::Message(MessageError::Contradiction))));
    }
}

#[test]
fn a_mode_below_policy_is_refused() {
    let mut pair = Pair::requested(BOTH);
    let mode = Some(Mode::PairingSimple);
    let acceptance = Acceptance { mode, location: String::new(), accepted_by: String::new() };
    let refused = pair.session.accept(acceptance, pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(refused, Err(Refusal::Mode(ModeNotAllowed))));
}

#[test]
fn a_command_of_another_site_is_refused() {
    let mut pair = Pair::requested(BOTH);
    // The attacker knows the access secret, and has a control unit of his own.
    let mut attacker = Pair::requested_over(Network::Untrusted, BOTH, 2);
    let stamped = pair.published();
    attacker.session = Arrived::parse(&stamped)
        .unwrap()
        .open(&attacker.site.secret, Network::Untrusted, None, &attacker.site.policy)
        .unwrap();
    attacker.accept(None);
    let forged = attacker.t2().unwrap();
    assert!(matches!(pair.receive(&forged), Err(device::Refusal::Message(MessageError::Chain(_)))));
    assert!(pair.pump.display().unwrap() == Display::Requesting);
    // The right one is still taken.
    pair.accept(None);
    pair.deliver_t2();
    assert!(pair.shown().0.is_some());
}

#[test]
fn a_refusal_of_another_site_is_refused() {
    let mut pair = Pair::requested(BOTH);
    let mut attacker = Pair::requested_over(Network::Untrusted, BOTH, 2);
    let stamped = pair.published();
    attacker.session = Arrived::parse(&stamped)
        .unwrap()
        .open(&attacker.site.secret, Network::Untrusted, None, &attacker.site.policy)
        .unwrap();
    let actions =
        attacker.session.reject(attacker.site.control_unit(), String::new(), attacker.now, &mut attacker.rng).unwrap();
    attacker.actions.extend(actions);
    let forged = attacker.t2().unwrap();
    assert!(pair.receive(&forged).is_err());
    assert!(pair.pump.display().unwrap() == Display::Requesting);
}

#[test]
fn a_device_certificate_does_not_sign_commands() {
    let mut pair = Pair::requested(BOTH);
    // A paired device of the same site, which also knows the access secret, signs as if it were the control unit.
    let mut insider = Pair::requested(BOTH);
    let key = PrivateKey::make(&mut insider.rng);
    let name = "infusion-pump/insider".parse().unwrap();
    let validity = insider.site.ca.certificate().validity();
    let holder = wardlink_crypto::x509::Holder::Device(name);
    let own = pair.site.ca.issue(&holder, &key.public(), validity, &mut insider.rng).unwrap();
    insider.site.chain[0] = own.to_bytes();
    insider.site.key = key;
    insider.accept(None);
    let forged = insider.t2().unwrap();
    assert!(matches!(pair.receive(&forged), Err(device::Refusal::Message(MessageError::Chain(_)))));
}

#[test]
fn a_changed_message_is_refused_wherever_it_was_changed() {
    let mut pair = Pair::requested(BOTH);
    pair.accept(None);
    let command = pair.t2().unwrap();
    for index in (0..command.len()).step_by(41) {
        let mut changed = command.clone();
        changed[index] ^= 0x10;
        assert!(pair.receive(&changed).is_err(), "byte {index}");
    }
    assert!(pair.pump.display().unwrap() == Display::Requesting);
}

#[test]
fn a_message_of_another_session_is_refused() {
    let mut pair = Pair::requested(BOTH);
    let mut other = Pair::requested_over(Network::Untrusted, BOTH, 2);
    other.accept(None);
    let foreign = other.t2().unwrap();
    assert!(matches!(pair.receive(&foreign), Err(device::Refusal::OutOfPlace)));
}

#[test]
fn an_answer_by_another_certificate_is_refused_and_changes_nothing() {
    let mut pair = Pair::requested(BOTH);
    pair.accept(None);
    pair.deliver_t2();
    let mut stolen = pair.published();
    let Publisher::Key { certificate, .. } = &mut stolen.publisher else { panic!("a key") };
    *certificate = None;
    assert!(matches!(pair.take(&stolen), Err(Refusal::Publisher)));
    pair.deliver_t3();
    assert!(pair.session.view(&pair.site.policy).verifying_at.is_some());
}

#[test]
fn a_wrong_answer_of_the_sessions_own_device_ends_it() {
    let mut pair = Pair::requested(BOTH);
    pair.accept(None);
    pair.deliver_t2();
    let mut changed = pair.published();
    let last = changed.payload.len() - 1;
    changed.payload[last] ^= 1;
    pair.take(&changed).unwrap();
    assert_eq!(pair.session.view(&pair.site.policy).reason, Some(RefusalReason::ProtocolViolation));
    assert!(pair.session.has_failed());
}

#[test]
fn a_refusal_comes_too_late_after_the_confirmation() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let mut twin = pair.session.clone();
    let code = pair.code();
    pair.verify(1, &code);
    pair.deliver_t2();
    // The control unit's store is set back, and a person cancels.
    let actions = twin.cancel(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    pair.deliver_t2();
    assert!(pair.pump.display().unwrap() == Display::Confirmed);
}

#[test]
fn a_site_without_channels_confirms_nobody() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    pair.site.channels.clear();
    let code = pair.code();
    let Ok(crate::control_unit::Begun::Counted(pending)) =
        pair.session.begin_attempt(super::site::attempt(1), &code, None, pair.now)
    else {
        panic!("counted")
    };
    let refused = pair.session.decide(pending, pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(refused, Err(Refusal::NoChannels)));
}

#[test]
fn the_static_key_of_another_device_does_not_follow_the_command() {
    let mut pair = Pair::requested(BOTH);
    pair.accept(None);
    let command = pair.t2().unwrap();
    let other = PrivateKey::make(&mut pair.rng);
    let provisioned = pair.site.provisioned(&pair.name, &other, pair.cert_ca);
    let refused = pair.pump.receive(provisioned, &command, pair.now, &mut pair.rng);
    assert!(matches!(refused, Err(device::Refusal::Message(MessageError::Contradiction))));
}

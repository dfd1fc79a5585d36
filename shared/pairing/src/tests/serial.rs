//! The question for the end of the serial number (`SN-0042` in these tests), and policies that change meanwhile.

use core::time::Duration;
use wardlink_protocol::api::{PairingPhase, SerialQuestion, VerifyResult};
use wardlink_protocol::pairing::{DisplayAbilities, Mode, RefusalReason};

use super::site::{BOTH, Pair, attempt, information, stamped};
use crate::control_unit::{Acceptance, Arrived, AttemptRefusal, Refusal, Session};
use crate::device::DevicePairing;
use crate::policy::{ModeNotAllowed, Network};

const HIDDEN: &str = "SN-\u{2022}\u{2022}\u{2022}\u{2022}";

/// A request at a site that asks.
fn asked(network: Network, question: SerialQuestion) -> Pair {
    let mut pair = Pair::requested_over(network, BOTH, 1);
    pair.site.policy.serial_question = question;
    pair.session.weigh(&pair.site.policy);
    pair
}

/// A device that shows its code, at a site that asks.
fn verifying(mode: Mode) -> Pair {
    let mut pair = asked(Network::Untrusted, SerialQuestion::Untrusted);
    pair.accept(Some(mode));
    pair.deliver_t2();
    pair.deliver_t3();
    pair
}

fn shown(pair: &Pair) -> String {
    pair.session.view(&pair.site.policy).information.serial_number
}

#[test]
fn code_or_tag_and_the_end_of_the_serial_number_pair_together() {
    for mode in [Mode::PairingCode, Mode::PairingQrcode] {
        let mut pair = verifying(mode);
        assert!(pair.session.view(&pair.site.policy).asks_serial);
        assert_eq!(shown(&pair), HIDDEN);
        let proof = if mode == Mode::PairingCode { pair.code() } else { pair.tag() };
        assert_eq!(pair.verify_with(1, &proof, Some("0042")), VerifyResult::Verified);
        assert_eq!(shown(&pair), "SN-0042", "a verified device shows it");
        pair.finish();
        assert_eq!(pair.paired().unwrap().information.serial_number, "SN-0042");
    }
}

#[test]
fn a_wrong_end_counts_like_a_wrong_code_and_nobody_learns_which_it_was() {
    let mut pair = verifying(Mode::PairingCode);
    let (right, other) = (pair.code(), pair.foreign_code());
    let mut views = Vec::new();
    for (number, (proof, ending)) in (1..).zip([(&right, "0043"), (&other, "0042"), (&other, "0043")]) {
        let mut twin = Pair { session: pair.session.clone(), ..verifying(Mode::PairingCode) };
        assert_eq!(twin.verify_with(number, proof, Some(ending)), VerifyResult::Wrong);
        views.push(twin.session.view(&twin.site.policy));
    }
    assert!(views.windows(2).all(|pair| pair[0] == pair[1]));
    for number in 1..=3 {
        assert_eq!(pair.verify_with(number, &right, Some("9999")), VerifyResult::Wrong);
    }
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.phase, view.reason), (PairingPhase::Ended, Some(RefusalReason::WrongCode)));
    assert_eq!(view.information.serial_number, HIDDEN, "it stays hidden");
}

#[test]
fn a_missing_end_counts_as_no_attempt() {
    let mut pair = verifying(Mode::PairingCode);
    let right = pair.code();
    for ending in [None, Some(""), Some("42"), Some("SN-0042")] {
        let refused = pair.session.begin_attempt(attempt(1), &right, ending, pair.now);
        assert!(matches!(refused, Err(AttemptRefusal::SerialNeeded)));
    }
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 3);
    assert_eq!(pair.verify_with(1, &right, Some("0042")), VerifyResult::Verified);
}

#[test]
fn an_idempotency_key_stands_for_one_end() {
    let mut pair = verifying(Mode::PairingCode);
    let right = pair.code();
    assert_eq!(pair.verify_with(1, &right, Some("0043")), VerifyResult::Wrong);
    let reused = pair.session.begin_attempt(attempt(1), &right, Some("0042"), pair.now);
    assert!(matches!(reused, Err(AttemptRefusal::KeyReused)));
    assert_eq!(pair.verify_with(1, &right, Some("0043")), VerifyResult::Wrong, "a repetition counts once");
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 2);
}

#[test]
fn policy_and_network_say_whether_it_is_asked_for() {
    use SerialQuestion as Q;
    let asks =
        |network, question| asked(network, question).session.view(&asked(network, question).site.policy).asks_serial;
    assert!(!asks(Network::Untrusted, Q::Never));
    assert!(asks(Network::Untrusted, Q::Untrusted) && asks(Network::Untrusted, Q::Always));
    assert!(!asks(Network::Secured, Q::Untrusted) && asks(Network::Secured, Q::Always));
}

#[test]
fn what_nobody_verifies_is_not_asked_about() {
    let mut pair = asked(Network::Secured, SerialQuestion::Always);
    assert_eq!(shown(&pair), HIDDEN, "a person may still ask for the code");
    pair.accept(None);
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.mode, view.asks_serial), (Some(Mode::PairingSimple), false));
    assert_eq!(shown(&pair), "SN-0042");
}

#[test]
fn a_device_without_a_serial_number_is_not_verified_where_it_is_asked_for() {
    let mut pair = Pair::requested(BOTH);
    pair.site.policy.serial_question = SerialQuestion::Always;
    let open = |pair: &mut Pair, network, serial_number: &str| -> Session {
        let said = wardlink_protocol::pairing::DeviceInformation {
            serial_number: serial_number.into(),
            ..information(DisplayAbilities { digit_entry: false, ..BOTH })
        };
        let provisioned = pair.site.provisioned(&pair.name, &pair.key, pair.cert_ca);
        let pump = DevicePairing::start(provisioned, said, Vec::new(), pair.now, &mut pair.rng).unwrap();
        let message = stamped(&pump, &pair.name, &pair.key, pair.now);
        Arrived::parse(&message).unwrap().open(&pair.site.secret, network, None, &pair.site.policy).unwrap()
    };
    let mut untrusted = open(&mut pair, Network::Untrusted, " ");
    assert!(untrusted.view(&pair.site.policy).modes.is_empty());
    let acceptance = Acceptance { mode: None, location: "Bed 7".into(), accepted_by: "nurse".into() };
    let refused = untrusted.accept(acceptance, pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(refused, Err(Refusal::Mode(ModeNotAllowed))));
    let secured = open(&mut pair, Network::Secured, "");
    assert_eq!(secured.view(&pair.site.policy).modes, [Mode::PairingSimple]);
}

#[test]
fn a_new_policy_acts_on_requests_that_wait_and_on_no_others() {
    let mut pair = Pair::requested(BOTH);
    let ends = pair.session.view(&pair.site.policy).expires_at;
    pair.site.policy.serial_question = SerialQuestion::Always;
    pair.site.policy.least_on_untrusted = Mode::PairingQrcode;
    pair.site.policy.request_lifetime = Duration::from_mins(1);
    pair.session.weigh(&pair.site.policy);
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.modes.as_slice(), view.asks_serial), (&[Mode::PairingQrcode][..], true));
    assert_eq!((view.network, view.expires_at), (Network::Untrusted, ends));
    pair.accept(None);
    pair.site.policy.serial_question = SerialQuestion::Never;
    pair.session.weigh(&pair.site.policy);
    assert!(pair.session.view(&pair.site.policy).asks_serial, "what is accepted stays");
}

#[test]
fn a_rejected_request_keeps_its_serial_number_hidden() {
    let mut pair = asked(Network::Untrusted, SerialQuestion::Always);
    pair.session.reject(pair.site.control_unit(), String::new(), pair.now, &mut pair.rng).unwrap();
    assert_eq!(shown(&pair), HIDDEN);
}

//! Attempts at verification.

use core::time::Duration;
use wardlink_protocol::api::{PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::verification::{QrTag, VerificationCode};

use super::site::{BOTH, Pair, attempt};
use crate::control_unit::{AttemptRefusal, Begun, Refusal, Session};
use crate::device::Display;

fn wrong_code(number: u64) -> VerificationProof {
    VerificationProof::Code(VerificationCode::from_number(number).to_string())
}

impl Pair {
    /// Another code than the shown one.
    pub(super) fn foreign_code(&self) -> VerificationProof {
        let shown: String = self.shown().0.unwrap().chars().filter(char::is_ascii_digit).take(7).collect();
        wrong_code(shown.parse::<u64>().unwrap() + 1)
    }
}

#[test]
fn three_wrong_codes_end_the_pairing_and_the_device_shows_why() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let right = pair.code();
    assert_eq!(pair.verify(1, &wrong_code(1)), VerifyResult::Wrong);
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 2);
    assert_eq!(pair.verify(2, &wrong_code(2)), VerifyResult::Wrong);
    assert_eq!(pair.verify(3, &wrong_code(3)), VerifyResult::Wrong);
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.phase, view.reason), (PairingPhase::Ended, Some(RefusalReason::WrongCode)));
    assert!(pair.session.has_failed());
    let refused = pair.session.begin_attempt(attempt(4), &right, None, pair.now);
    assert!(matches!(refused, Err(AttemptRefusal::WrongState)));
    pair.deliver_t2();
    let shown = Display::Refused { reason: RefusalReason::WrongCode, note: String::new() };
    assert!(pair.pump.display().unwrap() == shown);
}

#[test]
fn the_third_attempt_may_still_be_right() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let right = pair.code();
    pair.verify(1, &wrong_code(1));
    pair.verify(2, &wrong_code(2));
    assert_eq!(pair.verify(3, &right), VerifyResult::Verified);
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 1, "a right attempt costs none");
}

#[test]
fn a_mistyped_digit_counts_as_no_attempt() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    for number in 1..20 {
        let mistyped = VerificationProof::Code("12345678".into());
        assert_eq!(pair.verify(number, &mistyped), VerifyResult::Mistyped);
    }
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 3);
}

#[test]
fn a_repeated_attempt_counts_once_and_has_the_same_answer() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    assert_eq!(pair.verify(1, &wrong_code(1)), VerifyResult::Wrong);
    assert_eq!(pair.verify(1, &wrong_code(1)), VerifyResult::Wrong);
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 2);
    let right = pair.code();
    assert_eq!(pair.verify(2, &right), VerifyResult::Verified);
    let count = pair.actions.len();
    assert_eq!(pair.verify(2, &right), VerifyResult::Verified);
    assert_eq!(pair.actions.len(), count);
}

#[test]
fn an_idempotency_key_stands_for_one_guess() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    pair.verify(1, &wrong_code(1));
    let reused = pair.session.begin_attempt(attempt(1), &wrong_code(2), None, pair.now);
    assert!(matches!(reused, Err(AttemptRefusal::KeyReused)));
}

#[test]
fn an_attempt_is_counted_before_it_is_compared() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    for number in 1..=3 {
        let begun =
            pair.session.begin_attempt(attempt(number), &wrong_code(u64::from(number)), None, pair.now).unwrap();
        assert!(matches!(begun, Begun::Counted(_)));
        // The power fails between the two calls.
        pair.session = Session::restore(&pair.session.snapshot().unwrap()).unwrap();
        assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 3 - u32::from(number));
    }
    let right = pair.code();
    let fourth = pair.session.begin_attempt(attempt(4), &right, None, pair.now);
    assert!(matches!(fourth, Err(AttemptRefusal::WrongState)));
    // The counted ones can still be decided, each with its own guess.
    assert_eq!(pair.verify(1, &wrong_code(1)), VerifyResult::Wrong);
}

#[test]
fn what_the_mode_does_not_show_is_not_taken() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let tag = VerificationProof::Tag(QrTag([0; 16]));
    let refused = pair.session.begin_attempt(attempt(1), &tag, None, pair.now);
    assert!(matches!(refused, Err(AttemptRefusal::NotShown)));

    let mut pair = Pair::requested(BOTH);
    pair.site.policy.least_on_untrusted = Mode::PairingQrcode;
    pair.accept(None);
    pair.deliver_t2();
    pair.deliver_t3();
    assert_eq!(pair.shown().0, None);
    let refused = pair.session.begin_attempt(attempt(1), &wrong_code(1), None, pair.now);
    assert!(matches!(refused, Err(AttemptRefusal::NotShown)));
}

#[test]
fn a_wrong_tag_counts() {
    let mut pair = Pair::verifying(Mode::PairingQrcode);
    let tag = VerificationProof::Tag(QrTag([0; 16]));
    assert_eq!(pair.verify(1, &tag), VerifyResult::Wrong);
    assert_eq!(pair.session.view(&pair.site.policy).attempts_left, 2);
}

#[test]
fn the_code_of_one_session_is_wrong_in_another() {
    let other = Pair::requested_over(crate::policy::Network::Untrusted, BOTH, 2);
    let mut other = other;
    other.accept(Some(Mode::PairingCode));
    other.deliver_t2();
    let foreign = other.code();
    let mut pair = Pair::verifying(Mode::PairingCode);
    assert_eq!(pair.verify(1, &foreign), VerifyResult::Wrong);
}

#[test]
fn verification_expires_and_rolls_everything_back() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let right = pair.code();
    pair.wait(Duration::from_mins(3));
    let late = pair.session.begin_attempt(attempt(1), &right, None, pair.now);
    assert!(matches!(late, Err(AttemptRefusal::WrongState)));
    let actions = pair.session.tick(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    let last = pair.grants().pop().unwrap();
    assert_eq!((last.state, last.certificates.len()), (DeviceState::Closing, 0));
    assert!(!pair.session.has_failed());
    pair.deliver_t2();
    let shown = Display::Refused { reason: RefusalReason::VerificationExpired, note: String::new() };
    assert!(pair.pump.display().unwrap() == shown);
}

#[test]
fn an_attempt_that_the_stored_session_did_not_count_is_not_decided() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let right = pair.code();
    let stored = pair.session.snapshot().unwrap();
    let Ok(Begun::Counted(pending)) = pair.session.begin_attempt(attempt(1), &right, None, pair.now) else {
        panic!("counted")
    };
    // The count was not stored, and the session comes back as it was before.
    pair.session = Session::restore(&stored).unwrap();
    let decided = pair.session.decide(pending, pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(decided, Err(Refusal::WrongState)));
    assert_eq!(pair.session.view(&pair.site.policy).phase, PairingPhase::Verifying);
}

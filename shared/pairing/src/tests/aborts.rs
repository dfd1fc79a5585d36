//! Every way that ends without success.

use core::time::Duration;
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::limits::{CLOSING_TIME, REQUEST_LIFETIME};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::topic::Topic;

use super::site::{BOTH, Pair, credential, fingerprint};
use crate::control_unit::{Action, Refusal};
use crate::device::Display;

impl Pair {
    fn tick(&mut self) {
        let actions = self.session.tick(self.site.control_unit(), self.now, &mut self.rng).unwrap();
        self.actions.extend(actions);
    }

    fn assert_refused(&self, reason: RefusalReason, note: &str) {
        assert!(self.pump.display().unwrap() == Display::Refused { reason, note: note.into() });
        let view = self.session.view(&self.site.policy);
        assert_eq!((view.phase, view.reason, view.note.as_str()), (PairingPhase::Ended, Some(reason), note));
    }
}

#[test]
fn a_rejected_device_reads_the_reason_for_sixty_seconds() {
    let mut pair = Pair::requested(BOTH);
    let actions = pair.session.reject(pair.site.control_unit(), "Not ours".into(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    assert_eq!(pair.granted_states(), [DeviceState::Closing]);
    pair.wait(Duration::from_secs(59));
    pair.tick();
    assert_eq!(pair.session.device_subscribed(fingerprint(&pair.key)).len(), 1);
    pair.deliver_t2();
    pair.assert_refused(RefusalReason::Rejected, "Not ours");
    assert!(!pair.session.is_over());
    pair.wait(Duration::from_secs(1));
    pair.tick();
    assert_eq!(pair.granted_states(), [DeviceState::Closing, DeviceState::Unknown]);
    assert!(pair.actions.last() == Some(&Action::RemoveTopic(Topic::Device(pair.name.clone()))));
    assert!(pair.session.is_over());
    assert!(pair.session.device_subscribed(fingerprint(&pair.key)).is_empty());
}

#[test]
fn a_request_expires_after_fifteen_minutes() {
    let mut pair = Pair::requested(BOTH);
    pair.wait(REQUEST_LIFETIME.checked_sub(Duration::from_millis(1)).unwrap());
    pair.tick();
    assert!(pair.actions.is_empty());
    pair.wait(Duration::from_millis(1));
    pair.tick();
    pair.deliver_t2();
    pair.assert_refused(RefusalReason::RequestExpired, "");
}

#[test]
fn an_expired_request_cannot_be_accepted() {
    let mut pair = Pair::requested(BOTH);
    pair.wait(REQUEST_LIFETIME);
    let acceptance =
        crate::control_unit::Acceptance { mode: None, location: String::new(), accepted_by: String::new() };
    let late = pair.session.accept(acceptance, pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(late, Err(Refusal::WrongState)));
}

#[test]
fn a_cancelled_pairing_rolls_back() {
    for steps in 0..3 {
        let mut pair = Pair::requested(BOTH);
        pair.accept(None);
        if steps > 0 {
            pair.deliver_t2();
        }
        if steps > 1 {
            pair.deliver_t3();
        }
        let actions = pair.session.cancel(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
        pair.actions.extend(actions);
        assert_eq!(pair.granted_states(), [DeviceState::Certified, DeviceState::Closing]);
        pair.deliver_t2();
        pair.assert_refused(RefusalReason::Cancelled, "");
        assert!(pair.pump.pairing().is_none());
    }
}

#[test]
fn a_confirmed_pairing_can_no_longer_be_cancelled_or_rejected() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    let cancelled = pair.session.cancel(pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(cancelled, Err(Refusal::WrongState)));
    let rejected = pair.session.reject(pair.site.control_unit(), String::new(), pair.now, &mut pair.rng);
    assert!(matches!(rejected, Err(Refusal::WrongState)));
    let locked = pair.session.refuse_locked(pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(matches!(locked, Err(Refusal::WrongState)));
    assert!(matches!(pair.session.dismiss(pair.now), Err(Refusal::WrongState)));
}

#[test]
fn a_locked_identifier_is_refused() {
    let mut pair = Pair::requested(BOTH);
    let actions = pair.session.refuse_locked(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    pair.deliver_t2();
    pair.assert_refused(RefusalReason::Locked, "");
}

#[test]
fn a_dismissed_request_is_over_and_the_device_is_told_nothing() {
    let mut pair = Pair::requested(BOTH);
    pair.session.dismiss(pair.now).unwrap();
    assert!(pair.session.is_over());
    assert_eq!(pair.session.deadline(), None);
    assert!(pair.session.device_subscribed(fingerprint(&pair.key)).is_empty());
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.phase, view.reason), (PairingPhase::Ended, None));
}

#[test]
fn a_device_gives_up_a_request_that_nobody_answered() {
    let mut pair = Pair::requested(BOTH);
    assert!(!pair.pump.expire(pair.now));
    pair.wait(REQUEST_LIFETIME + CLOSING_TIME);
    assert!(pair.pump.expire(pair.now));
    let shown = Display::Refused { reason: RefusalReason::RequestExpired, note: String::new() };
    assert!(pair.pump.display().unwrap() == shown);
}

#[test]
fn a_device_whose_certificate_is_refused_fetches_the_reason_with_its_bare_key() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let actions = pair.session.cancel(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    assert!(credential(&pair.pump).is_some());
    pair.pump.refused_by_broker(pair.now);
    assert_eq!(credential(&pair.pump), None);
    assert!(pair.pump.plan().publish.is_none());
    pair.deliver_t2();
    pair.assert_refused(RefusalReason::Cancelled, "");
}

#[test]
fn a_device_that_was_refused_by_mistake_goes_on_when_the_command_still_stands() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    pair.pump.refused_by_broker(pair.now);
    assert_eq!(credential(&pair.pump), None);
    pair.deliver_t2();
    assert!(credential(&pair.pump).is_some());
    assert!(pair.pump.plan().publish.is_some());
}

#[test]
fn a_device_gives_up_an_answered_pairing_only_when_the_broker_refuses_it_after_the_end() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    pair.pump.refused_by_broker(pair.now);
    pair.pump.refused_by_broker(pair.now);
    assert!(credential(&pair.pump).is_some());
    pair.wait(Duration::from_hours(1));
    assert!(!pair.pump.expire(pair.now));
    assert!(pair.shown().0.is_some());
    pair.pump.refused_by_broker(pair.now);
    let shown = Display::Refused { reason: RefusalReason::VerificationExpired, note: String::new() };
    assert!(pair.pump.display().unwrap() == shown);
}

#[test]
fn t2_of_a_device_that_is_paired_already_outlives_an_abort() {
    let pair = Pair::requested(BOTH);
    let stamped = pair.published();
    let arrived = crate::control_unit::Arrived::parse(&stamped).unwrap();
    let mut again = arrived
        .open(&pair.site.secret, crate::policy::Network::Untrusted, Some(TrustLevel::Full), &pair.site.policy)
        .unwrap();
    let mut rng = pair.rng;
    again.reject(pair.site.control_unit(), String::new(), pair.now, &mut rng).unwrap();
    let actions = again.tick(pair.site.control_unit(), pair.now.after(CLOSING_TIME), &mut rng).unwrap();
    assert!(actions.iter().all(|action| !matches!(action, Action::RemoveTopic(_))));
    assert!(again.view(&pair.site.policy).replaces);
}

#[test]
fn a_second_command_for_the_same_request_aborts_at_the_device() {
    let mut pair = Pair::requested(BOTH);
    let twin = pair.session.clone();
    pair.accept(None);
    pair.deliver_t2();
    let first = core::mem::replace(&mut pair.session, twin);
    pair.accept(None);
    pair.deliver_t2();
    let shown = Display::Refused { reason: RefusalReason::ProtocolViolation, note: String::new() };
    assert!(pair.pump.display().unwrap() == shown);
    drop(first);
}

#[test]
fn another_request_in_the_same_session_aborts() {
    let mut pair = Pair::requested(BOTH);
    let mut changed = pair.published();
    // The same session, the same publisher, another ciphertext: the last byte is of the tag.
    let last = changed.payload.len() - 1;
    changed.payload[last] ^= 1;
    pair.take(&changed).unwrap();
    pair.deliver_t2();
    pair.assert_refused(RefusalReason::ProtocolViolation, "");
    assert!(!pair.session.has_failed(), "nobody had accepted it yet");
}

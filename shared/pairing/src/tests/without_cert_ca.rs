//! The device that was given no CertCA: a person closes the circle with the answer.

use core::time::Duration;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::api::{PairingPhase, VerifyResult};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::ANSWER_LIFETIME;
use wardlink_protocol::pairing::{DisplayAbilities, Mode, RefusalReason};
use wardlink_protocol::verification::Answer;

use super::site::{BOTH, Pair, Site, stamped};
use crate::control_unit::{Acceptance, Action, Arrived, Session};
use crate::device::{self, AnswerResult, DevicePairing, Display};
use crate::message::MessageError;
use crate::policy::Network;

const NOTHING: DisplayAbilities = DisplayAbilities { code: false, qr: false, digit_entry: true };

impl Pair {
    /// A device without CertCA that waits for the answer.
    fn answering() -> Self {
        let mut pair = Self::requested_without_cert_ca(Network::Untrusted, BOTH);
        pair.accept(None);
        pair.deliver_t2();
        pair.deliver_t3();
        assert_eq!(pair.shown_answer(), None, "nobody has verified yet");
        let code = pair.code();
        assert_eq!(pair.verify(1, &code), VerifyResult::Verified);
        pair.deliver_t2();
        pair
    }

    /// What the control unit shows.
    fn shown_answer(&self) -> Option<Answer> {
        self.session.view(&self.site.policy).answer.map(|answer| answer.parse().unwrap())
    }

    fn other_answer(&self) -> Answer {
        let right: u64 = self.shown_answer().unwrap().to_string().parse().unwrap();
        Answer::from_number(right + 1)
    }

    fn enter(&mut self, answer: Answer) -> AnswerResult {
        let counted = self.pump.begin_answer(answer).unwrap();
        self.pump.decide_answer(counted).unwrap()
    }

    fn tries_left(&self) -> u32 {
        let Display::Answering { tries_left, .. } = self.pump.display().unwrap() else { panic!("no answer awaited") };
        tries_left
    }

    fn restart_device(&mut self) {
        self.pump = DevicePairing::restore(&self.pump.snapshot().unwrap()).unwrap();
    }

    /// Whether the device's storage knows these bytes.
    fn stores(&self, bytes: &[u8]) -> bool {
        self.pump.snapshot().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }

    fn assert_no_trace(&self, reason: RefusalReason) {
        assert!(self.pump.display().unwrap() == Display::Refused { reason, note: String::new() });
        assert!(self.pump.pairing().is_none());
        assert!(!self.stores(self.site.cert_ca().as_bytes()), "the hash of CertCA is left");
        assert!(!self.stores(self.site.ca.root().der()), "CertCA is left");
        assert!(!self.stores(&self.site.channels[0].key), "a network key is left");
        assert_eq!(self.pump.plan().root, None);
    }
}

#[test]
fn the_right_answer_commits_and_the_root_counts_from_then_on() {
    let mut pair = Pair::answering();
    assert!(pair.pump.pairing().is_none(), "nothing counts before the answer");
    assert!(pair.pump.plan().publish.is_none(), "PAIRING_FINISHED waits for the answer");
    pair.restart_both();
    let answer = pair.shown_answer().unwrap();
    assert_eq!(pair.enter(answer), AnswerResult::Right);
    pair.restart_both();
    assert_eq!(pair.pump.pairing().unwrap().cert_ca, pair.site.cert_ca());
    assert_eq!(pair.pump.plan().root, Some(pair.site.cert_ca()));
    pair.deliver_t3();
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.phase, view.answer), (PairingPhase::Finished, None));
}

#[test]
fn a_confirmation_that_comes_again_gives_no_new_tries() {
    let mut pair = Pair::answering();
    let wrong = pair.other_answer();
    assert_eq!(pair.enter(wrong), AnswerResult::Wrong);
    pair.deliver_t2();
    assert_eq!(pair.tries_left(), 2);
    assert!(pair.pump.pairing().is_none());
}

#[test]
fn the_third_wrong_answer_leaves_no_trace() {
    let mut pair = Pair::answering();
    let (right, wrong) = (pair.shown_answer().unwrap(), pair.other_answer());
    for left in [2, 1] {
        assert_eq!(pair.enter(wrong), AnswerResult::Wrong);
        assert_eq!(pair.tries_left(), left);
        assert!(pair.stores(pair.site.cert_ca().as_bytes()), "until then it is pinned");
    }
    assert_eq!(pair.enter(wrong), AnswerResult::Wrong);
    pair.assert_no_trace(RefusalReason::WrongCode);
    assert!(matches!(pair.pump.begin_answer(right), Err(device::Refusal::WrongState)));
}

#[test]
fn an_answer_is_counted_before_it_is_compared() {
    let mut pair = Pair::answering();
    let right = pair.shown_answer().unwrap();
    for left in [2, 1] {
        let _lost = pair.pump.begin_answer(right).unwrap();
        pair.restart_device();
        assert_eq!(pair.tries_left(), left);
    }
    let mut last = pair.pump.clone();
    let _lost = last.begin_answer(right).unwrap();
    assert!(last.begin_answer(right).is_err(), "there are three tries");
    pair.pump = last;
    pair.restart_device();
    pair.assert_no_trace(RefusalReason::WrongCode);
}

#[test]
fn an_answer_that_nobody_brings_leaves_no_trace() {
    let mut pair = Pair::answering();
    pair.wait(ANSWER_LIFETIME.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(!pair.pump.expire(pair.now));
    pair.wait(Duration::from_millis(1));
    assert!(pair.pump.expire(pair.now));
    pair.assert_no_trace(RefusalReason::VerificationExpired);
}

#[test]
fn a_refusal_before_the_confirmation_leaves_no_trace() {
    let mut pair = Pair::requested_without_cert_ca(Network::Untrusted, BOTH);
    pair.accept(None);
    pair.deliver_t2();
    assert!(pair.stores(pair.site.cert_ca().as_bytes()));
    let actions = pair.session.cancel(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.actions.extend(actions);
    pair.deliver_t2();
    pair.assert_no_trace(RefusalReason::Cancelled);
}

#[test]
fn simple_pairing_is_refused_unless_a_local_setting_allows_it() {
    let mut pair = Pair::requested_without_cert_ca(Network::Secured, NOTHING);
    pair.accept(Some(Mode::PairingSimple));
    let command = pair.t2().unwrap();
    let refused = pair.receive(&command);
    assert!(matches!(refused, Err(device::Refusal::Message(MessageError::SimpleWithoutCertCa))));
    assert!(pair.pump.display().unwrap() == Display::Requesting);

    pair.simple_without_cert_ca = true;
    pair.deliver_t2();
    pair.deliver_t3();
    pair.deliver_t2();
    assert!(pair.pump.pairing().is_none(), "the answer is entered even so");
    let answer = pair.shown_answer().unwrap();
    assert_eq!(pair.enter(answer), AnswerResult::Right);
}

#[test]
fn simple_pairing_is_not_proposed_to_a_device_that_can_show_more() {
    let modes = |pair: &Pair| pair.session.view(&pair.site.policy).modes;
    let pair = Pair::requested_without_cert_ca(Network::Secured, BOTH);
    assert_eq!(modes(&pair), [Mode::PairingCode, Mode::PairingQrcode]);
    let pair = Pair::requested_over(Network::Secured, BOTH, 1);
    assert_eq!(modes(&pair), [Mode::PairingSimple, Mode::PairingCode, Mode::PairingQrcode]);
}

#[test]
fn a_device_with_cert_ca_is_asked_for_no_answer() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    assert_eq!(pair.shown_answer(), None);
    let wrong = Answer::from_number(0);
    pair.deliver_t2();
    assert!(pair.pump.pairing().is_some());
    assert!(pair.pump.begin_answer(wrong).is_err());
}

/// A control unit of another site, which holds the access secret, accepts the device's request.
fn by_another_site(pair: &mut Pair) -> (Site, Session, Vec<u8>) {
    let site = Site::new(&mut pair.rng);
    let request = stamped(&pair.pump, &pair.name, &pair.key, pair.now);
    let arrived = Arrived::parse(&request).unwrap();
    let mut session = arrived.open(&site.secret, Network::Untrusted, None, &site.policy).unwrap();
    let acceptance = Acceptance { mode: Some(Mode::PairingCode), location: String::new(), accepted_by: String::new() };
    let actions = session.accept(acceptance, site.control_unit(), pair.now, &mut pair.rng).unwrap();
    let command = t2_of(&actions);
    (site, session, command)
}

fn t2_of(actions: &[Action]) -> Vec<u8> {
    let t2 = |action: &Action| if let Action::Publish { payload, .. } = action { Some(payload.clone()) } else { None };
    actions.iter().find_map(t2).unwrap()
}

#[test]
fn whoever_stands_between_has_another_answer() {
    let mut pair = Pair::requested_without_cert_ca(Network::Untrusted, BOTH);
    let (site, mut session, command) = by_another_site(&mut pair);
    pair.receive(&command).unwrap();
    let code = pair.code();
    // The person takes the code to the control unit, which knows nothing of this pairing.
    pair.accept(Some(Mode::PairingCode));
    let own_command = pair.t2().unwrap();
    assert!(pair.receive(&own_command).is_err(), "the root of the first command is pinned");
    // He confirms what he has the keys for.
    let verified = pair.published();
    session.receive(&verified, site.control_unit(), pair.now, &mut pair.rng).unwrap();
    let begun = session.begin_attempt(super::site::attempt(1), &code, None, pair.now).unwrap();
    let crate::control_unit::Begun::Counted(counted) = begun else { panic!("counted") };
    let (_, actions) = session.decide(counted, site.control_unit(), pair.now, &mut pair.rng).unwrap();
    pair.receive(&t2_of(&actions)).unwrap();
    assert!(pair.pump.pairing().is_none());
    let his: Answer = session.view(&site.policy).answer.unwrap().parse().unwrap();
    // The hospital's control unit shows the answer of another pairing, if any.
    let mut elsewhere = Pair::answering();
    let shown = elsewhere.shown_answer().unwrap();
    assert!(shown != his);
    assert_eq!(pair.enter(shown), AnswerResult::Wrong);
    assert!(pair.pump.pairing().is_none());
    assert_eq!(elsewhere.enter(shown), AnswerResult::Right);
}

#[test]
fn a_provisioned_hash_is_never_ignored() {
    // Whoever loses the provisioning later still knows what it began with.
    let mut pair = Pair::requested(BOTH);
    let (_, _, foreign) = by_another_site(&mut pair);
    pair.cert_ca = None;
    pair.restart_device();
    assert!(pair.receive(&foreign).is_err());
    pair.accept(None);
    pair.deliver_t2();
    assert_eq!(pair.pump.plan().root, Some(pair.site.cert_ca()));

    // Whoever learns it later checks by it, in each step.
    let mut pair = Pair::requested_without_cert_ca(Network::Untrusted, BOTH);
    let (_, _, foreign) = by_another_site(&mut pair);
    pair.cert_ca = Some(pair.site.cert_ca());
    assert!(pair.receive(&foreign).is_err());
    pair.cert_ca = None;
    pair.accept(None);
    pair.deliver_t2();
    pair.deliver_t3();
    let code = pair.code();
    pair.verify(1, &code);
    let confirmation = pair.t2().unwrap();
    pair.cert_ca = Some(Sha256([9; 32]));
    assert!(pair.receive(&confirmation).is_err());
    pair.cert_ca = Some(pair.site.cert_ca());
    pair.deliver_t2();
    assert!(pair.pump.pairing().is_none(), "the answer was promised");
}

#[test]
fn a_command_whose_chains_do_not_fit_together_is_refused() {
    let mut pair = Pair::requested_without_cert_ca(Network::Untrusted, BOTH);
    let other = Site::new(&mut pair.rng);
    let honest = core::mem::replace(&mut pair.site.chain, other.chain.clone());
    // Signed by a key that the chain does not name.
    let mut twin = pair.session.clone();
    let acceptance = || Acceptance { mode: None, location: String::new(), accepted_by: String::new() };
    let signed = twin.accept(acceptance(), pair.site.control_unit(), pair.now, &mut pair.rng);
    assert!(signed.is_err() || pair.receive(&t2_of(&signed.unwrap())).is_err());
    // Signed by one site, with certificates of another.
    pair.site.chain = other.chain.clone();
    let key = core::mem::replace(&mut pair.site.key, other.key.clone());
    let mut twin = pair.session.clone();
    let mixed = twin.accept(acceptance(), pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    assert!(pair.receive(&t2_of(&mixed)).is_err());
    // Signed by a device of the site.
    pair.site.key = PrivateKey::from_pkcs8(&pair.key.to_pkcs8().unwrap()).unwrap();
    let validity = pair.site.ca.certificate().validity();
    let holder = wardlink_crypto::x509::Holder::Device(pair.name.clone());
    let device = pair.site.ca.issue(&holder, &pair.key.public(), validity, &mut pair.rng).unwrap();
    pair.site.chain = [vec![device.to_bytes()], pair.site.ca.chain()].concat();
    let mut twin = pair.session.clone();
    let by_device = twin.accept(acceptance(), pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    assert!(pair.receive(&t2_of(&by_device)).is_err());
    assert!(pair.pump.display().unwrap() == Display::Requesting);
    (pair.site.key, pair.site.chain) = (key, honest);
    pair.accept(None);
    pair.deliver_t2();
}

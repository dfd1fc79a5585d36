//! The ways that end well.

use core::time::Duration;
use wardlink_crypto::x509::{Certificate, Chain};
use wardlink_protocol::api::{PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{Purpose, TrustLevel};
use wardlink_protocol::pairing::{DisplayAbilities, Mode};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::verification::VerificationLink;

use super::site::{BOTH, Pair, attempt, credential, fingerprint};
use crate::control_unit::{Action, Begun};
use crate::device::Display;
use crate::policy::Network;

impl Pair {
    pub(super) fn verify(&mut self, number: u8, proof: &VerificationProof) -> VerifyResult {
        self.verify_with(number, proof, None)
    }

    pub(super) fn verify_with(
        &mut self,
        number: u8,
        proof: &VerificationProof,
        serial_ending: Option<&str>,
    ) -> VerifyResult {
        match self.session.begin_attempt(attempt(number), proof, serial_ending, self.now).unwrap() {
            Begun::Counted(pending) => {
                let (result, actions) =
                    self.session.decide(pending, self.site.control_unit(), self.now, &mut self.rng).unwrap();
                self.actions.extend(actions);
                result
            }
            Begun::Repeated(result) => result,
            Begun::Mistyped => VerifyResult::Mistyped,
        }
    }

    pub(super) fn code(&self) -> VerificationProof {
        VerificationProof::Code(self.shown().0.unwrap())
    }

    pub(super) fn tag(&self) -> VerificationProof {
        let link: VerificationLink = self.shown().1.unwrap().parse().unwrap();
        VerificationProof::Tag(link.tag)
    }

    /// From the confirmation to the end.
    pub(super) fn finish(&mut self) {
        self.deliver_t2();
        self.deliver_t3();
        let plan = self.pump.plan();
        let (topic, payload) = plan.publish.map(|(topic, payload)| (topic, payload.to_vec())).unwrap();
        self.pump.delivered(&topic, &payload);
    }

    fn assert_paired(&self, mode: Mode, trust: TrustLevel) {
        assert!(self.pump.is_paired());
        assert!(self.pump.display().unwrap() == Display::Paired);
        let paired = self.paired().unwrap();
        let kept = self.pump.pairing().unwrap();
        assert_eq!((paired.mode, paired.trust, kept.trust), (mode, trust, trust));
        assert_eq!(paired.certificate, kept.certificate);
        assert!(paired.wrap_key == kept.wrap_key);
        let names: Vec<_> = kept.channels.iter().map(|key| key.channel.name.clone()).collect();
        assert_eq!(paired.channels, names);
        assert_eq!(self.session.view(&self.site.policy).phase, PairingPhase::Finished);
        assert!(self.session.is_over());
    }
}

#[test]
fn a_typed_code_pairs() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    assert_eq!(pair.shown().1, None, "in code mode there is no QR code");
    let code = pair.code();
    assert_eq!(pair.verify(1, &code), VerifyResult::Verified);
    pair.finish();
    pair.assert_paired(Mode::PairingCode, TrustLevel::Full);
}

#[test]
fn a_scanned_tag_pairs() {
    let mut pair = Pair::verifying(Mode::PairingQrcode);
    let tag = pair.tag();
    assert_eq!(pair.verify(1, &tag), VerifyResult::Verified);
    pair.finish();
    pair.assert_paired(Mode::PairingQrcode, TrustLevel::Full);
}

#[test]
fn the_code_beside_the_qr_code_pairs_and_is_what_was_used() {
    let mut pair = Pair::verifying(Mode::PairingQrcode);
    let code = pair.code();
    assert_eq!(pair.verify(1, &code), VerifyResult::Verified);
    pair.finish();
    assert_eq!(pair.session.view(&pair.site.policy).mode, Some(Mode::PairingQrcode), "the chosen mode stays");
    pair.assert_paired(Mode::PairingCode, TrustLevel::Full);
}

#[test]
fn simple_pairs_on_a_secured_network_with_reduced_trust_and_fewer_channels() {
    let mut pair = Pair::requested_over(Network::Secured, BOTH, 1);
    pair.accept(None);
    pair.deliver_t2();
    assert_eq!(pair.shown(), (None, None));
    pair.deliver_t3();
    pair.finish();
    pair.assert_paired(Mode::PairingSimple, TrustLevel::Reduced);
    let kept = pair.pump.pairing().unwrap();
    assert!(kept.channels.iter().all(|key| key.channel.name.as_str() != "command"));
}

#[test]
fn a_gateway_pairs_and_gets_a_gateways_certificate() {
    let mut pair = Pair::requested_as("gateway/ward-3");
    pair.accept(None);
    pair.deliver_t2();
    pair.deliver_t3();
    pair.finish();
    pair.assert_paired(Mode::PairingSimple, TrustLevel::Reduced);
    let certificate = Certificate::parse(&pair.pump.pairing().unwrap().certificate).unwrap();
    assert_eq!(certificate.holder(), Some(&wardlink_crypto::x509::Holder::Gateway(pair.name.clone())));
    let purposes: Vec<Vec<Purpose>> = pair
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Grant(grant) => Some(grant.certificates.iter().map(|granted| granted.purpose).collect()),
            _ => None,
        })
        .collect();
    let expected = [vec![Purpose::Pairing], vec![Purpose::Pairing, Purpose::Gateway], vec![Purpose::Gateway]];
    assert!(purposes.ends_with(&expected), "{purposes:?}");
}

#[test]
fn pairing_again_never_lowers_trust() {
    let pair = Pair::requested_over(Network::Secured, BOTH, 1);
    let stamped = pair.published();
    let modes = |replaces| {
        let arrived = crate::control_unit::Arrived::parse(&stamped).unwrap();
        let session = arrived.open(&pair.site.secret, Network::Secured, replaces, &pair.site.policy).unwrap();
        session.view(&pair.site.policy).modes
    };
    let all = [Mode::PairingSimple, Mode::PairingCode, Mode::PairingQrcode];
    assert_eq!(modes(None), all);
    assert_eq!(modes(Some(TrustLevel::Reduced)), all);
    assert_eq!(modes(Some(TrustLevel::Full)), [Mode::PairingCode, Mode::PairingQrcode]);
}

#[test]
fn both_sides_go_on_after_a_restart_at_every_step() {
    let mut pair = Pair::requested(BOTH);
    pair.restart_both();
    pair.accept(None);
    pair.restart_both();
    pair.deliver_t2();
    pair.restart_both();
    pair.deliver_t3();
    pair.restart_both();
    let code = pair.code();
    assert_eq!(pair.verify(1, &code), VerifyResult::Verified);
    pair.restart_both();
    pair.deliver_t2();
    pair.restart_both();
    pair.deliver_t3();
    let plan = pair.pump.plan();
    let (topic, payload) = plan.publish.map(|(topic, payload)| (topic, payload.to_vec())).unwrap();
    pair.pump.delivered(&topic, &payload);
    pair.restart_both();
    pair.assert_paired(Mode::PairingCode, TrustLevel::Full);
}

#[test]
fn rights_grow_step_by_step() {
    let mut pair = Pair::requested(BOTH);
    assert!(pair.grants().is_empty());
    assert_eq!(credential(&pair.pump), None);
    pair.accept(None);
    pair.deliver_t2();
    assert_eq!(credential(&pair.pump), Some(Purpose::Pairing));
    pair.deliver_t3();
    let code = pair.code();
    pair.verify(1, &code);
    pair.finish();
    assert_eq!(credential(&pair.pump), Some(Purpose::Device));

    let grants = pair.grants();
    assert_eq!(pair.granted_states(), [DeviceState::Certified, DeviceState::Confirmed, DeviceState::Paired]);
    let purposes: Vec<Vec<Purpose>> =
        grants.iter().map(|grant| grant.certificates.iter().map(|certificate| certificate.purpose).collect()).collect();
    let expected = [vec![Purpose::Pairing], vec![Purpose::Pairing, Purpose::Device], vec![Purpose::Device]];
    assert_eq!(purposes, expected);
    assert!(grants.iter().all(|grant| grant.key == fingerprint(&pair.key) && grant.device == pair.name));
    assert!(grants[0].channels.is_empty() && grants[1].channels.is_empty());
    assert_eq!(grants[2].channels.len(), 6);
}

#[test]
fn the_device_keeps_nothing_before_the_confirmation() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    assert!(pair.pump.pairing().is_none());
    let code = pair.code();
    pair.verify(1, &code);
    assert!(pair.pump.pairing().is_none());
    pair.deliver_t2();
    assert!(pair.pump.pairing().is_some());
    assert!(!pair.pump.is_paired());
}

#[test]
fn the_new_certificate_is_announced_on_t4_under_the_control_units_signature() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    pair.finish();
    let meta = Topic::Meta(pair.name.client.clone());
    let announced = pair.actions.iter().find_map(|action| match action {
        Action::Publish { topic, payload } if *topic == meta => Some(payload.clone()),
        _ => None,
    });
    let root = pair.site.cert_ca();
    let verified = crate::message::verify(&announced.unwrap(), None, &meta, Some(&root), pair.now).unwrap();
    let said: wardlink_protocol::pairing::DevicePaired = verified.decode().unwrap();
    assert_eq!(said.device, pair.name);
    assert_eq!(said.certificate, pair.pump.pairing().unwrap().certificate);
    let mut chain = vec![said.certificate];
    chain.extend(pair.site.ca.chain());
    let chain = Chain::parse(&chain).unwrap();
    assert!(chain.verify(&root, Purpose::Device, pair.now).is_ok());
}

#[test]
fn after_the_confirmation_nothing_expires() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    pair.wait(Duration::from_hours(12));
    assert_eq!(pair.session.deadline(), None);
    let actions = pair.session.tick(pair.site.control_unit(), pair.now, &mut pair.rng).unwrap();
    assert!(actions.is_empty());
    pair.finish();
    pair.assert_paired(Mode::PairingCode, TrustLevel::Full);
}

#[test]
fn what_stands_on_t2_is_sent_again_when_the_device_subscribes() {
    let mut pair = Pair::requested(BOTH);
    let key = fingerprint(&pair.key);
    assert!(pair.session.device_subscribed(key).is_empty());
    pair.accept(None);
    let again = pair.session.device_subscribed(key);
    assert!(again == pair.actions[1..]);
    let another = wardlink_protocol::identity::KeyFingerprint([1; 32]);
    assert!(pair.session.device_subscribed(another).is_empty());
}

#[test]
fn repetitions_of_every_message_change_nothing() {
    let mut pair = Pair::requested(BOTH);
    let request = pair.published();
    pair.take(&request).unwrap();
    assert!(pair.actions.is_empty());
    pair.accept(None);
    let command = pair.t2().unwrap();
    pair.deliver_t2();
    let shown = pair.shown();
    pair.receive(&command).unwrap();
    assert_eq!(pair.shown(), shown);
    let verified = pair.published();
    pair.take(&verified).unwrap();
    let count = pair.actions.len();
    pair.take(&verified).unwrap();
    pair.take(&request).unwrap();
    assert_eq!(pair.actions.len(), count);
    let code = pair.code();
    pair.verify(1, &code);
    let confirmation = pair.t2().unwrap();
    pair.deliver_t2();
    let kept = pair.pump.pairing().unwrap().clone();
    pair.receive(&confirmation).unwrap();
    assert!(pair.pump.pairing() == Some(&kept));
    let finished = pair.published();
    pair.take(&finished).unwrap();
    let count = pair.actions.len();
    pair.take(&finished).unwrap();
    assert_eq!(pair.actions.len(), count);
}

#[test]
fn a_device_without_qr_display_is_paired_by_code() {
    let mut pair = Pair::requested(DisplayAbilities { code: true, qr: false, digit_entry: false });
    pair.accept(None);
    assert_eq!(pair.session.view(&pair.site.policy).mode, Some(Mode::PairingCode));
    pair.deliver_t2();
    assert!(pair.shown().0.is_some());
}

#[test]
fn the_final_certificate_names_device_and_key() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    pair.finish();
    let certificate = Certificate::parse(&pair.paired().unwrap().certificate).unwrap();
    assert_eq!(certificate.device(), Some(&pair.name));
    assert_eq!(*certificate.key(), pair.key.public());
}

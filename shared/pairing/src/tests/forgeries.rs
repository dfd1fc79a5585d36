//! Messages under the right key that say something else than they should: each check, alone.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use wardlink_crypto::cose::{ContentKey, Encrypted, Header};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule::{self, KID_ACCESS_DOWN, KID_CONTROL, KID_DEVICE, PairingKeys};
use wardlink_crypto::x509::Holder;
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{Direction, Priority};
use wardlink_protocol::identity::{Sha256, TrustLevel};
use wardlink_protocol::pairing::{
    DisplayAbilities, Mode, PairingCommand, PairingConfirmed, PairingFinished, PairingRefused, PairingVerified,
    RefusalReason, Status,
};
use wardlink_protocol::topic::Topic;

use super::site::{BOTH, Pair};
use crate::control_unit::Refusal;
use crate::device::{self, Display};
use crate::message::{self, MessageError};

const LIMIT: usize = 64 * 1024;

impl Pair {
    /// The keys of the pairing, from what the device stored.
    fn keys(&self) -> PairingKeys {
        #[derive(serde::Deserialize)]
        struct Snapshot {
            state: BTreeMap<String, Answered>,
        }
        #[derive(serde::Deserialize)]
        struct Answered {
            keys: PairingKeys,
        }
        let snapshot: Snapshot = cbor::unpack(&self.pump.snapshot().unwrap(), LIMIT).unwrap();
        snapshot.state["Answered"].keys.clone()
    }

    fn t2_topic(&self) -> Topic {
        Topic::Device(self.name.clone())
    }

    fn t3_topic(&self) -> Topic {
        Topic::Command(self.name.client.clone())
    }

    /// Opens a message, changes what it says, and seals it again under the same key.
    fn rewritten<T: Serialize + DeserializeOwned>(
        &mut self,
        payload: &[u8],
        header: &Header,
        key: &ContentKey,
        topic: &Topic,
        change: impl FnOnce(&mut T),
    ) -> Vec<u8> {
        let envelope = Encrypted::parse(payload, LIMIT).unwrap();
        let mut said: T = message::open(&envelope, header, key, topic).unwrap();
        change(&mut said);
        message::seal(header, key, topic, &said, &mut self.rng).unwrap()
    }

    fn down_key(&self) -> ContentKey {
        let (site, session) = (&self.site, self.pump.session());
        schedule::derive_access_key(&site.secret, Direction::Down, &site.secret_id, &self.name, &session).unwrap()
    }

    /// The control unit's own command, with something else in it, signed by the control unit.
    fn other_command(&mut self, change: impl FnOnce(&mut PairingCommand)) -> Vec<u8> {
        let (key, topic, header) =
            (self.down_key(), self.t2_topic(), Header::pairing(KID_ACCESS_DOWN, self.pump.session()));
        let envelope = Encrypted::parse(&self.t2().unwrap(), LIMIT).unwrap();
        let inner = message::open_signed(&envelope, &header, &key, &topic).unwrap();
        let verified = message::verify(&inner, header.session, &topic, Some(&self.site.cert_ca()), self.now).unwrap();
        let mut command: PairingCommand = verified.decode().unwrap();
        change(&mut command);
        let signer = self.site.control_unit().signer;
        message::seal_signed(signer, &header, &key, &topic, &command, &mut self.rng).unwrap()
    }

    fn assert_command_refused(&mut self, change: impl FnOnce(&mut PairingCommand)) {
        let forged = self.other_command(change);
        assert!(matches!(self.receive(&forged), Err(device::Refusal::Message(_))));
        assert!(self.pump.display().unwrap() == Display::Requesting);
    }
}

fn accepted(display: DisplayAbilities) -> Pair {
    let mut pair = Pair::requested(display);
    pair.accept(None);
    pair
}

#[test]
fn a_command_for_another_request_is_refused() {
    accepted(BOTH).assert_command_refused(|command| command.request_hash = Sha256([1; 32]));
}

#[test]
fn a_command_with_another_devices_certificate_is_refused() {
    let mut pair = accepted(BOTH);
    let validity = pair.site.ca.certificate().validity();
    let holder = Holder::Pairing("infusion-pump/pump-2".parse().unwrap());
    let other = pair.site.ca.issue(&holder, &pair.key.public(), validity, &mut pair.rng).unwrap();
    pair.assert_command_refused(|command| command.certificate = other.to_bytes());
    let key = PrivateKey::make(&mut pair.rng);
    let holder = Holder::Pairing(pair.name.clone());
    let other = pair.site.ca.issue(&holder, &key.public(), validity, &mut pair.rng).unwrap();
    pair.assert_command_refused(|command| command.certificate = other.to_bytes());
    let holder = Holder::Device(pair.name.clone());
    let early = pair.site.ca.issue(&holder, &pair.key.public(), validity, &mut pair.rng).unwrap();
    pair.assert_command_refused(|command| command.certificate = early.to_bytes());
}

#[test]
fn a_command_in_a_mode_that_the_device_cannot_show_is_refused() {
    let mut pair = accepted(DisplayAbilities { code: true, qr: false, digit_entry: false });
    pair.assert_command_refused(|command| command.status = Status::PairingQrcode);
    pair.assert_command_refused(|command| command.status = Status::PairingVerified);
    pair.assert_command_refused(|command| command.code_beside = true);
}

#[test]
fn a_command_with_a_point_off_the_curve_or_without_names_is_refused() {
    let mut pair = accepted(BOTH);
    pair.assert_command_refused(|command| command.ephemeral[64] ^= 1);
    pair.assert_command_refused(|command| command.ephemeral = ByteBuf::from(vec![0]));
    pair.assert_command_refused(|command| command.broker_host.clear());
    pair.assert_command_refused(|command| command.web_origin = "x".repeat(200));
    pair.assert_command_refused(|command| command.chain.clear());
}

#[test]
fn a_refusal_for_another_session_is_refused() {
    let mut pair = accepted(BOTH);
    let (key, topic, header) =
        (pair.down_key(), pair.t2_topic(), Header::pairing(KID_ACCESS_DOWN, pair.pump.session()));
    let said = PairingRefused {
        status: Status::PairingRefused,
        session: super::site::attempt(9),
        reason: RefusalReason::Rejected,
        note: String::new(),
    };
    let signer = pair.site.control_unit().signer;
    let forged = message::seal_signed(signer, &header, &key, &topic, &said, &mut pair.rng).unwrap();
    let refused = pair.receive(&forged);
    assert!(matches!(refused, Err(device::Refusal::Message(MessageError::Contradiction))));
}

/// The session's own device answers with something else than it should: the pairing ends.
fn assert_answer_ends(change: impl FnOnce(&mut PairingVerified)) {
    let mut pair = accepted(BOTH);
    pair.deliver_t2();
    let (header, key, topic) =
        (Header::pairing(KID_DEVICE, pair.pump.session()), pair.keys().device().unwrap(), pair.t3_topic());
    let mut forged = pair.published();
    forged.payload = ByteBuf::from(pair.rewritten(&forged.payload.clone(), &header, &key, &topic, change));
    pair.take(&forged).unwrap();
    let view = pair.session.view(&pair.site.policy);
    assert_eq!((view.verifying_at, view.reason), (None, Some(RefusalReason::ProtocolViolation)));
}

#[test]
fn an_answer_that_does_not_open_the_commitment_ends_the_pairing() {
    assert_answer_ends(|answer| answer.nonce = Sha256([1; 32]));
}

#[test]
fn an_answer_without_key_confirmation_ends_the_pairing() {
    assert_answer_ends(|answer| answer.mac = Sha256([1; 32]));
}

#[test]
fn an_answer_in_another_mode_ends_the_pairing() {
    assert_answer_ends(|answer| answer.mode = Mode::PairingSimple);
    assert_answer_ends(|answer| answer.status = Status::PairingFinished);
}

/// The control unit confirms something else than it should: the device does not take it, and takes the right one afterwards.
fn assert_confirmation_refused(change: impl FnOnce(&mut Pair, &mut PairingConfirmed)) {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    let (header, key, topic) =
        (Header::pairing(KID_CONTROL, pair.pump.session()), pair.keys().control().unwrap(), pair.t2_topic());
    let right = pair.t2().unwrap();
    let envelope = Encrypted::parse(&right, LIMIT).unwrap();
    let mut said: PairingConfirmed = message::open(&envelope, &header, &key, &topic).unwrap();
    change(&mut pair, &mut said);
    let forged = message::seal(&header, &key, &topic, &said, &mut pair.rng).unwrap();
    assert!(matches!(pair.receive(&forged), Err(device::Refusal::Message(_))));
    assert!(pair.pump.pairing().is_none());
    pair.receive(&right).unwrap();
    assert!(pair.pump.pairing().is_some());
}

#[test]
fn a_confirmation_with_a_certificate_for_something_else_is_refused() {
    let issue = |pair: &mut Pair, holder: &Holder, key: &PrivateKey| {
        let validity = pair.site.ca.certificate().validity();
        pair.site.ca.issue(holder, &key.public(), validity, &mut pair.rng).unwrap().to_bytes()
    };
    assert_confirmation_refused(|pair, said| {
        let other = PrivateKey::make(&mut pair.rng);
        said.certificate = issue(pair, &Holder::Device(pair.name.clone()), &other);
    });
    assert_confirmation_refused(|pair, said| {
        let (holder, key) = (Holder::Device("infusion-pump/pump-2".parse().unwrap()), pair.key.clone());
        said.certificate = issue(pair, &holder, &key);
    });
    assert_confirmation_refused(|pair, said| {
        let key = pair.key.clone();
        said.certificate = issue(pair, &Holder::Pairing(pair.name.clone()), &key);
    });
}

#[test]
fn a_confirmation_whose_trust_or_channels_do_not_fit_is_refused() {
    assert_confirmation_refused(|_, said| said.trust = TrustLevel::Reduced);
    assert_confirmation_refused(|_, said| said.status = Status::PairingVerified);
    assert_confirmation_refused(|_, said| said.channels.clear());
    assert_confirmation_refused(|_, said| said.channels.reverse());
    assert_confirmation_refused(|_, said| {
        let first = said.channels[0].clone();
        said.channels.insert(0, first);
    });
    assert_confirmation_refused(|_, said| said.channels[1].kid = said.channels[0].kid);
    assert_confirmation_refused(|_, said| {
        // The last one has a lower priority, so that the order still fits.
        let name = said.channels[0].channel.name.clone();
        let last = said.channels.last_mut().unwrap();
        last.channel.name = name;
        said.channels.retain(|key| key.channel.priority != Priority::Low || key.channel.name.as_str() == "alarm");
    });
}

#[test]
fn a_finish_whose_mac_does_not_cover_the_confirmation_is_refused_and_the_right_one_is_taken() {
    let mut pair = Pair::verifying(Mode::PairingCode);
    let code = pair.code();
    pair.verify(1, &code);
    pair.deliver_t2();
    let channel = pair.pump.pairing().unwrap().channels[0].clone();
    let key = schedule::derive_finish_key(&channel, &pair.name, &pair.pump.session()).unwrap();
    let (header, topic) = (Header::pairing(channel.kid.as_bytes(), pair.pump.session()), pair.t3_topic());
    let right = pair.published();
    let changes: [fn(&mut PairingFinished); 2] =
        [|said| said.mac = Sha256([1; 32]), |said| said.status = Status::PairingVerified];
    for change in changes {
        let mut forged = right.clone();
        forged.payload = ByteBuf::from(pair.rewritten(&right.payload, &header, &key, &topic, change));
        assert!(matches!(pair.take(&forged), Err(Refusal::Message(MessageError::Contradiction))));
        assert!(pair.paired().is_none());
    }
    // Under another channel's key.
    let second = pair.pump.pairing().unwrap().channels[1].clone();
    let other = schedule::derive_finish_key(&second, &pair.name, &pair.pump.session()).unwrap();
    let other_header = Header::pairing(second.kid.as_bytes(), pair.pump.session());
    let envelope = Encrypted::parse(&right.payload, LIMIT).unwrap();
    let said: PairingFinished = message::open(&envelope, &header, &key, &topic).unwrap();
    let mut forged = right.clone();
    forged.payload = ByteBuf::from(message::seal(&other_header, &other, &topic, &said, &mut pair.rng).unwrap());
    assert!(matches!(pair.take(&forged), Err(Refusal::Message(MessageError::Header))));
    pair.take(&right).unwrap();
    assert!(pair.paired().is_some());
}

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::epochs::{LineId, Why};
use crate::testing::{Counting, NOW, later, pump, row};
use core::cmp::Ordering;
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::HeaderError;
use wardlink_protocol::channel::{Channel, ChannelName, ContentAlgorithm, KeyScope};
use wardlink_protocol::identity::{CertificateSerial, KeyId, Purpose};
use wardlink_protocol::limits::KEY_OVERLAP;
use wardlink_protocol::network::NetworkOrigin;

const SECRET: [u8; 32] = [3; 32];
const FINGERPRINT: KeyFingerprint = KeyFingerprint([7; 32]);

pub(super) struct World {
    pub(super) rng: Counting,
    pub(super) line: Line,
    pub(super) device: Device,
    pub(super) wrap: WrapKey,
    pub(super) chain: Keychain,
}

pub(super) fn world(channel: &str) -> World {
    let mut rng = Counting(11);
    let device = pump(1);
    let line = Line::begin(LineId::of(&row(channel), &device), row(channel), 0, NOW, &mut rng).unwrap();
    let chain = Keychain::from_pairing(core::slice::from_ref(line.current().unwrap()));
    World { rng, line, device, wrap: WrapKey::new(SECRET), chain }
}

impl World {
    pub(super) fn keys(&self) -> WrapKeys {
        self.wrap.keys(&self.device).unwrap()
    }

    fn rotate(&mut self, seconds: u64) {
        let row = self.line.current().unwrap().channel.clone();
        self.line.rotate(row, Why::Schedule, later(seconds), &mut self.rng).unwrap();
    }

    pub(super) fn update(&mut self) -> Vec<u8> {
        let keys = self.keys();
        wrap(&self.line, &self.device, &keys, &mut self.rng).unwrap()
    }

    fn receive(&mut self, message: &[u8], seconds: u64) -> Result<Taken, WrapError> {
        self.chain.receive(&self.device, core::slice::from_ref(&self.wrap), message, later(seconds))
    }

    fn channel(&self) -> ChannelName {
        self.line.id().channel.clone()
    }

    fn accepted(&self, seconds: u64) -> Vec<u64> {
        self.chain.accepted(&self.channel(), later(seconds)).iter().map(|key| key.epoch).collect()
    }

    /// Seals `payload` as the control unit would, with any header.
    fn seal_as<T: Serialize>(&mut self, wrapped: &WrappedFor, epoch: u64, payload: &T) -> Vec<u8> {
        let (device, keys) = (self.device.clone(), self.keys());
        seal(&device, &keys, wrapped.clone(), epoch, payload, &mut self.rng).unwrap()
    }
}

#[test]
fn a_new_epoch_is_taken_in_once_and_the_one_before_counts_for_the_overlap() {
    let mut world = world("alarm");
    world.rotate(100);
    let message = world.update();
    assert!(is_update(&message) && !is_answer(&message));
    let until = later(100 + KEY_OVERLAP.as_secs());
    let channel = world.channel();
    let installed = Taken::Installed { channel: channel.clone(), previous_until: until };
    assert_eq!(world.receive(&message, 101), Ok(installed));
    assert_eq!(world.accepted(102), [2, 1]);
    assert_eq!(world.accepted(100 + KEY_OVERLAP.as_secs()), [2]);
    assert_eq!(world.receive(&message, 103), Ok(Taken::Known(channel.clone())));
    let current = world.line.current().unwrap().clone();
    assert!(world.chain.channels() == [&current]);
    assert_eq!(world.chain.held(&channel), Some(HeldKey { channel, kid: Some(current.kid), epoch: 2 }));
    assert_eq!(world.chain.erases_at(), Some(until));
    assert!(!world.chain.tick(later(200)) && world.chain.tick(until));
    assert_eq!(world.chain.erases_at(), None);
}

#[test]
fn after_a_cut_the_device_takes_nothing_more_under_the_epoch_before() {
    let mut world = world("alarm");
    world.line.rotate(row("alarm"), Why::Cut(later(100)), later(101), &mut world.rng).unwrap();
    let message = world.update();
    let taken = world.receive(&message, 102).unwrap();
    assert_eq!(taken, Taken::Installed { channel: world.channel(), previous_until: later(100) });
    assert_eq!(world.accepted(102), [2]);
}

#[test]
fn over_an_epoch_that_was_missed_nothing_overlaps() {
    let mut world = world("alarm");
    // The second epoch cuts the first one off, and never arrives; the third overlaps with the second alone.
    world.line.rotate(row("alarm"), Why::Cut(later(100)), later(101), &mut world.rng).unwrap();
    world.rotate(102);
    let message = world.update();
    let taken = world.receive(&message, 103).unwrap();
    assert_eq!(taken, Taken::Installed { channel: world.channel(), previous_until: UnixMillis::default() });
    assert_eq!(world.accepted(103), [3]);
}

#[test]
fn a_withdrawal_that_comes_first_is_remembered() {
    let mut world = world("alarm");
    let mut rng = Counting(6);
    let line = Line::begin(LineId::of(&row("log"), &world.device), row("log"), 0, NOW, &mut rng).unwrap();
    let (update, last) = (wrap(&line, &world.device, &world.keys(), &mut rng).unwrap(), line.current().unwrap());
    let gone = withdraw(&wrapped_for(last), 1, &world.device, &world.keys(), &mut rng).unwrap();
    let channel = last.channel.name.clone();
    assert_eq!(world.receive(&gone, 1), Ok(Taken::Withdrawn(channel.clone())));
    assert_eq!(world.chain.held(&channel), Some(HeldKey { channel, kid: None, epoch: 1 }));
    assert_eq!(world.receive(&update, 2), Err(WrapError::EpochFalls));
}

#[test]
fn an_overlap_that_somebody_makes_long_is_short() {
    let mut world = world("alarm");
    world.rotate(1);
    let key = world.line.current().unwrap().clone();
    let update = KeyUpdate { status: Status::KeyUpdate, key: key.clone(), previous_until: UnixMillis(u64::MAX) };
    let message = world.seal_as(&wrapped_for(&key), 2, &update);
    world.receive(&message, 2).unwrap();
    assert_eq!(world.chain.erases_at(), Some(later(2 + KEY_OVERLAP.as_secs())));
}

#[test]
fn an_epoch_that_does_not_rise_is_refused() {
    let mut world = world("alarm");
    world.rotate(1);
    let second = world.update();
    world.rotate(2);
    let third = world.update();
    world.receive(&third, 3).unwrap();
    let before = world.chain.clone();
    assert_eq!(world.receive(&second, 4), Err(WrapError::EpochFalls));
    assert_eq!(Keychain::channel_of(&second), Some(world.channel()));
    // Another key under the same number.
    let mut other = world.line.current().unwrap().clone();
    other.kid = KeyId([1; 8]);
    let update = KeyUpdate { status: Status::KeyUpdate, key: other.clone(), previous_until: NOW };
    let forged = world.seal_as(&wrapped_for(&other), 3, &update);
    assert_eq!(world.receive(&forged, 5), Err(WrapError::EpochFalls));
    assert!(world.chain == before);
}

#[test]
fn a_wrap_for_another_device_does_not_open() {
    let mut world = world("alarm");
    world.rotate(1);
    let (other, wrap_key) = (pump(2), world.wrap.clone());
    // Even where two devices had the same K_wrap, each has its own keys under it.
    let keys = wrap_key.keys(&other).unwrap();
    let message = wrap(&world.line, &other, &keys, &mut world.rng).unwrap();
    assert_eq!(world.receive(&message, 2), Err(WrapError::UnknownWrapKey));
    // And the AAD names the device.
    let own = world.keys();
    let key = world.line.current().unwrap().clone();
    let update = KeyUpdate { status: Status::KeyUpdate, key: key.clone(), previous_until: NOW };
    let moved = seal(&other, &own, wrapped_for(&key), 2, &update, &mut world.rng).unwrap();
    assert_eq!(world.receive(&moved, 2), Err(EnvelopeError::Authentication.into()));
}

#[test]
fn a_wrap_under_another_k_wrap_is_refused_and_under_both_of_a_renewal_taken() {
    let mut world = world("alarm");
    world.rotate(1);
    let message = world.update();
    let renewed = WrapKey::new([4; 32]);
    let device = world.device.clone();
    let refused = world.chain.receive(&device, core::slice::from_ref(&renewed), &message, later(2));
    assert_eq!(refused, Err(WrapError::UnknownWrapKey));
    let both = [renewed, world.wrap.clone()];
    assert!(world.chain.receive(&device, &both, &message, later(2)).is_ok());
}

#[test]
fn a_header_that_names_another_channel_key_algorithm_or_epoch_than_the_payload_is_refused() {
    let mut world = world("alarm");
    world.rotate(1);
    let key = world.line.current().unwrap().clone();
    let update = KeyUpdate { status: Status::KeyUpdate, key: key.clone(), previous_until: NOW };
    let right = wrapped_for(&key);
    let wrong = [
        (WrappedFor { channel: "therapy".parse().unwrap(), ..right.clone() }, 2),
        (WrappedFor { kid: KeyId([0; 8]), ..right.clone() }, 2),
        (WrappedFor { algorithm: ContentAlgorithm::A128GCM, ..right.clone() }, 2),
        (right.clone(), 3),
    ];
    for (wrapped, epoch) in wrong {
        let message = world.seal_as(&wrapped, epoch, &update);
        assert_eq!(world.receive(&message, 2), Err(WrapError::Contradiction));
    }
    let status = KeyUpdate { status: Status::KeysUpdated, key, previous_until: NOW };
    let message = world.seal_as(&right, 2, &status);
    assert_eq!(world.receive(&message, 2), Err(WrapError::Contradiction));
}

#[test]
fn a_header_that_was_changed_outside_does_not_open() {
    let mut world = world("alarm");
    world.rotate(1);
    let (keys, key) = (world.keys(), world.line.current().unwrap().clone());
    let update = KeyUpdate { status: Status::KeyUpdate, key: key.clone(), previous_until: NOW };
    let right = wrapped_for(&key);
    let topic = Topic::Device(world.device.clone());
    let device = world.device.clone();
    let aad_of = |wrapped: &WrappedFor, epoch| aad(&topic, &device, wrapped, epoch).unwrap();
    let lied = WrappedFor { algorithm: ContentAlgorithm::A128GCM, ..right.clone() };
    let plaintext = cbor::encode(&update).unwrap();
    let foreign = [
        // The AAD of the truth under a header that lies, and the other way round.
        (header(&keys, lied.clone(), 2), aad_of(&right, 2)),
        (header(&keys, right.clone(), 2), aad_of(&lied, 2)),
        (header(&keys, right.clone(), 9), aad_of(&right, 2)),
        (header(&keys, right.clone(), 2), topic.to_string().into_bytes()),
    ];
    let messages: Vec<_> = foreign
        .iter()
        .map(|(header, aad)| cose::seal(header, keys.down(), aad, &plaintext, &mut Counting(1)).unwrap())
        .collect();
    for message in messages {
        assert_eq!(world.receive(&message, 2), Err(EnvelopeError::Authentication.into()));
    }
    // The other direction's key.
    let message =
        cose::seal(&header(&keys, right.clone(), 2), keys.up(), &aad_of(&right, 2), &plaintext, &mut Counting(1));
    assert_eq!(world.receive(&message.unwrap(), 2), Err(EnvelopeError::Authentication.into()));
    // A header that says more or less than a key update's.
    let more = Header { counter: Some(1), ..header(&keys, right.clone(), 2) };
    let less = Header { wrapped: None, ..header(&keys, right.clone(), 2) };
    for said in [more, less] {
        let message = cose::seal(&said, keys.down(), &aad_of(&right, 2), &plaintext, &mut Counting(1)).unwrap();
        assert_eq!(world.receive(&message, 2), Err(WrapError::Header));
    }
    assert!(matches!(world.receive(b"junk", 2), Err(WrapError::Envelope(EnvelopeError::Cbor(_)))));
}

#[test]
fn a_withdrawn_channel_is_gone_and_comes_back_only_above() {
    let mut world = world("command");
    world.rotate(1);
    let update = world.update();
    world.receive(&update, 1).unwrap();
    let (last, keys) = (wrapped_for(world.line.current().unwrap()), world.keys());
    let gone = withdraw(&last, 2, &world.device, &keys, &mut world.rng).unwrap();
    assert!(is_update(&gone));
    let channel = world.channel();
    assert_eq!(world.receive(&gone, 2), Ok(Taken::Withdrawn(channel.clone())));
    assert!(world.chain.channels().is_empty() && world.accepted(2).is_empty());
    assert_eq!(world.chain.held(&channel), Some(HeldKey { channel: channel.clone(), kid: None, epoch: 2 }));
    assert_eq!(world.receive(&gone, 3), Ok(Taken::Known(channel)));
    assert_eq!(world.receive(&update, 4), Err(WrapError::EpochFalls));
    world.rotate(5);
    let again = world.update();
    assert!(matches!(world.receive(&again, 6), Ok(Taken::Installed { .. })));
    assert_eq!(world.receive(&gone, 7), Err(WrapError::EpochFalls));
    // A withdrawal that contradicts its header.
    let last = wrapped_for(world.line.current().unwrap());
    let message = ChannelWithdrawn { status: Status::ChannelWithdrawn, channel: last.channel.clone(), epoch: 9 };
    let forged = world.seal_as(&last, 8, &message);
    assert_eq!(world.receive(&forged, 8), Err(WrapError::Contradiction));
}

#[test]
fn a_channel_that_the_device_did_not_have_is_added_up_to_the_limit() {
    let mut world = world("alarm");
    let mut rng = Counting(5);
    for number in 1..=MAX_CHANNELS_PER_DEVICE {
        let channel = Channel { name: format!("extra-{number}").parse().unwrap(), ..row("log") };
        let line = Line::begin(LineId::of(&channel, &world.device), channel, 0, NOW, &mut rng).unwrap();
        let message = wrap(&line, &world.device, &world.keys(), &mut rng).unwrap();
        let taken = world.receive(&message, 1);
        if number < MAX_CHANNELS_PER_DEVICE {
            assert!(matches!(taken, Ok(Taken::Installed { .. })));
        } else {
            assert_eq!(taken, Err(WrapError::TooManyChannels));
        }
    }
    // By falling priority, then by name.
    assert_eq!(world.chain.channels()[0].channel.name.as_str(), "alarm");
}

fn stamped(world: &World, payload: Vec<u8>) -> StampedMessage {
    StampedMessage {
        topic: Topic::Command(world.device.client.clone()).to_string(),
        payload: ByteBuf::from(payload),
        publisher: Publisher::Key {
            key: FINGERPRINT,
            device: world.device.clone(),
            certificate: Some((CertificateSerial([1; 16]), Purpose::Device)),
        },
        accepted_at: NOW,
        sequence: 1,
        network: NetworkOrigin::default(),
    }
}

#[test]
fn an_answer_reaches_the_control_unit_and_counts_only_from_the_device() {
    let mut world = world("alarm");
    let (channel, keys) = (world.channel(), world.keys());
    let held = vec![world.chain.held(&channel).unwrap()];
    let message = answer(held.clone(), &world.device, &keys, &mut world.rng).unwrap();
    assert!(is_answer(&message) && !is_update(&message));
    let genuine = stamped(&world, message.clone());
    let open = |stamped: &StampedMessage| open_answer(stamped, &world.device, FINGERPRINT, &keys);
    assert_eq!(open(&genuine), Ok(held));

    let publisher = |key, device: &Device, certificate| Publisher::Key { key, device: device.clone(), certificate };
    let serial = CertificateSerial([1; 16]);
    let wrong = [
        Publisher::ControlUnit,
        publisher(FINGERPRINT, &pump(2), Some((serial, Purpose::Device))),
        publisher(KeyFingerprint([8; 32]), &world.device, Some((serial, Purpose::Device))),
        publisher(FINGERPRINT, &world.device, Some((serial, Purpose::Pairing))),
        publisher(FINGERPRINT, &world.device, Some((serial, Purpose::Gateway))),
        publisher(FINGERPRINT, &world.device, None),
    ];
    for publisher in wrong {
        assert_eq!(open(&StampedMessage { publisher, ..genuine.clone() }), Err(WrapError::Publisher));
    }
    let moved = StampedMessage { topic: "ais/renew/infusion-pump".to_owned(), ..genuine.clone() };
    assert_eq!(open(&moved), Err(WrapError::Publisher));
    let foreign = WrapKey::new([9; 32]).keys(&world.device).unwrap();
    assert_eq!(open_answer(&genuine, &world.device, FINGERPRINT, &foreign), Err(WrapError::UnknownWrapKey));
    let mut changed = message;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(open(&stamped(&world, changed)), Err(EnvelopeError::Authentication.into()));
}

#[test]
fn an_answer_with_nothing_or_too_much_in_it_is_refused() {
    let mut world = world("alarm");
    let (keys, held) = (world.keys(), world.chain.held(&world.channel()).unwrap());
    for keys_held in [Vec::new(), vec![held; MAX_CHANNELS_PER_DEVICE + 1]] {
        let message = answer(keys_held, &world.device, &keys, &mut world.rng).unwrap();
        let refused = open_answer(&stamped(&world, message), &world.device, FINGERPRINT, &keys);
        assert_eq!(refused, Err(WrapError::Contradiction));
    }
    let header = Header { kid: keys.id().as_bytes().to_vec(), epoch: Some(1), ..Header::default() };
    let message = cose::seal(&header, keys.up(), b"", b"", &mut world.rng).unwrap();
    let refused = open_answer(&stamped(&world, message), &world.device, FINGERPRINT, &keys);
    assert_eq!(refused, Err(WrapError::Header));
}

#[test]
fn nothing_is_wrapped_for_a_foreign_device_or_from_a_closed_line() {
    let mut world = world("command");
    let keys = world.keys();
    assert_eq!(wrap(&world.line, &pump(2), &keys, &mut world.rng), Err(WrapError::NoKey));
    world.line.close(NOW);
    assert_eq!(wrap(&world.line, &world.device, &keys, &mut world.rng), Err(WrapError::NoKey));
}

#[test]
fn a_wrapping_header_with_an_unknown_algorithm_is_refused_before_anything_else() {
    use ciborium::Value;
    let mut world = world("alarm");
    let message = world.update();
    let mut envelope: Value = ciborium::from_reader(message.as_slice()).unwrap();
    let Value::Tag(16, inner) = &mut envelope else { panic!("no COSE_Encrypt0") };
    let Value::Array(parts) = &mut **inner else { panic!("no array") };
    let mut protected: Value = ciborium::from_reader(parts[0].as_bytes().unwrap().as_slice()).unwrap();
    let Value::Map(entries) = &mut protected else { panic!("no map") };
    let (_, wrapped) = entries.iter_mut().find(|(key, _)| *key == Value::from(-65545)).unwrap();
    let Value::Array(items) = wrapped else { panic!("no array") };
    items[2] = Value::from(10);
    parts[0] = Value::Bytes(cbor::encode(&protected).unwrap());
    let message = cbor::encode(&envelope).unwrap();
    let refused = world.receive(&message, 1);
    assert_eq!(refused, Err(EnvelopeError::Header(HeaderError::Algorithm).into()));
}

#[test]
fn the_keychain_is_what_it_was_after_it_was_stored() {
    let mut world = world("alarm");
    world.rotate(1);
    let update = world.update();
    world.receive(&update, 1).unwrap();
    let stored = cbor::encode(&world.chain).unwrap();
    assert!(cbor::decode::<Keychain>(&stored, stored.len()).unwrap() == world.chain);
    assert_eq!(world.line.current().unwrap().channel.scope, KeyScope::Class);
}

proptest! {
    #[test]
    fn a_changed_byte_never_opens(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut world = world("alarm");
        world.rotate(1);
        let mut message = world.update();
        let position = position.index(message.len());
        message[position] ^= change;
        let before = world.chain.clone();
        prop_assert!(world.receive(&message, 2).is_err());
        prop_assert!(world.chain == before);
    }

    #[test]
    fn whatever_the_order_of_arrival_the_highest_epoch_stays(order in prop::collection::vec(0..8_usize, 1..30)) {
        let mut world = world("alarm");
        let mut messages = Vec::new();
        for second in 1..=8 {
            world.rotate(second);
            messages.push(world.update());
        }
        let mut highest = 1;
        for index in order {
            let epoch = index as u64 + 2;
            let taken = world.receive(&messages[index], 20);
            let expected = match epoch.cmp(&highest) {
                Ordering::Greater => Ok(false),
                Ordering::Equal => Ok(true),
                Ordering::Less => Err(WrapError::EpochFalls),
            };
            prop_assert_eq!(taken.map(|taken| matches!(taken, Taken::Known(_))), expected);
            highest = highest.max(epoch);
            prop_assert_eq!(world.chain.channels()[0].epoch, highest);
        }
    }
}

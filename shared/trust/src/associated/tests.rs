#![allow(clippy::unwrap_used, reason = "tests may panic")]

use super::*;
use crate::epochs::{LineId, Why};
use crate::protect::Sender;
use crate::testing::{Counting, NOW, later, pump, row};
use wardlink_crypto::cose::EnvelopeError;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::channel::UPDATE_CHANNEL;
use wardlink_protocol::limits::KEY_OVERLAP;
use wardlink_protocol::topic::Topic;

struct World {
    rng: Counting,
    gateway: Device,
    wrap: WrapKey,
    line: Line,
}

fn channel() -> ChannelName {
    UPDATE_CHANNEL.parse().unwrap()
}

fn world() -> World {
    let mut rng = Counting(7);
    let line = Line::begin(LineId::of(&row("update"), &pump(1)), row("update"), 0, NOW, &mut rng).unwrap();
    World { rng, gateway: "gateway/ward-3".parse().unwrap(), wrap: WrapKey::new([3; 32]), line }
}

impl World {
    fn seal(&mut self, device: &Device, now: UnixMillis) -> Option<Vec<u8>> {
        let keys = self.wrap.keys(&self.gateway).unwrap();
        let lines = core::slice::from_ref(&self.line);
        seal(lines, device, &channel(), &self.gateway, &keys, now, &mut self.rng).unwrap()
    }

    fn open(&self, sealed: &[u8]) -> Result<ChannelKeys, WrapError> {
        open(sealed, &pump(1), &channel(), &self.gateway, core::slice::from_ref(&self.wrap))
    }
}

fn epochs(keys: &[ChannelKey]) -> Vec<u64> {
    keys.iter().map(|key| key.epoch).collect()
}

#[test]
fn a_gateway_seals_under_the_newest_key_and_opens_under_those_that_still_count() {
    let mut world = world();
    world.line.rotate(row("update"), Why::Schedule, later(60), &mut world.rng).unwrap();
    let sealed = world.seal(&pump(1), later(61)).unwrap();
    let keys = world.open(&sealed).unwrap();
    assert_eq!(keys.current().map(|key| key.epoch), Some(2));
    let overlap = later(60).after(KEY_OVERLAP);
    assert_eq!(epochs(&keys.accepted(UnixMillis(overlap.0 - 1))), [2, 1]);
    assert_eq!(epochs(&keys.accepted(overlap)), [2]);
    // What has ended is not given any more.
    let sealed = world.seal(&pump(1), overlap).unwrap();
    assert_eq!(epochs(&world.open(&sealed).unwrap().accepted(NOW)), [2]);
    // Nor is what was cut.
    world.line.rotate(row("update"), Why::Cut(later(61)), later(61), &mut world.rng).unwrap();
    let sealed = world.seal(&pump(1), later(61)).unwrap();
    assert_eq!(epochs(&world.open(&sealed).unwrap().accepted(later(61))), [3]);
}

#[test]
fn a_line_that_has_ended_and_one_of_another_device_give_nothing() {
    let mut world = world();
    assert!(world.seal(&pump(2), NOW).is_none());
    world.line.close(later(60));
    assert!(world.seal(&pump(1), later(1)).is_none());
}

#[test]
fn however_often_a_key_was_replaced_the_newest_ones_fit() {
    let mut world = world();
    for _ in 0..20 {
        world.line.rotate(row("update"), Why::ByHand, later(1), &mut world.rng).unwrap();
    }
    let sealed = world.seal(&pump(1), later(2)).unwrap();
    assert_eq!(epochs(&world.open(&sealed).unwrap().accepted(later(2))), [21, 20, 19, 18]);
}

#[test]
fn keys_are_for_one_gateway_and_one_device_and_under_a_known_wrapping_key() {
    let mut world = world();
    let sealed = world.seal(&pump(1), NOW).unwrap();
    let (other, wrap) = ("gateway/ward-4".parse().unwrap(), core::slice::from_ref(&world.wrap));
    assert_eq!(open(&sealed, &pump(1), &channel(), &other, wrap), Err(WrapError::UnknownWrapKey));
    let elsewhere = open(&sealed, &pump(2), &channel(), &world.gateway, wrap);
    assert_eq!(elsewhere, Err(WrapError::Envelope(EnvelopeError::Authentication)));
    let alarm = "alarm".parse().unwrap();
    let elsewhere = open(&sealed, &pump(1), &alarm, &world.gateway, wrap);
    assert_eq!(elsewhere, Err(WrapError::Envelope(EnvelopeError::Authentication)));
    let renewed = [WrapKey::new([4; 32]), world.wrap.clone()];
    assert_eq!(open(&sealed, &pump(1), &channel(), &world.gateway, &renewed), world.open(&sealed));
    assert_eq!(open(&sealed, &pump(1), &channel(), &world.gateway, &[]), Err(WrapError::UnknownWrapKey));
    for length in 0..sealed.len() {
        assert!(world.open(sealed.get(..length).unwrap()).is_err());
    }
}

#[test]
fn a_message_under_a_later_epoch_waits_for_its_key_and_one_under_an_earlier_one_does_not() {
    let mut world = world();
    let first = world.seal(&pump(1), NOW).unwrap();
    let first = world.open(&first).unwrap();
    let say = |keys: &ChannelKeys, rng: &mut Counting| {
        let topic = Topic::Data(channel(), pump(1));
        let mut sender = Sender::begin(keys.current().unwrap(), topic, 1, rng).unwrap();
        let signer = PrivateKey::make(rng);
        sender.seal(b"values", &signer).unwrap()
    };
    let early = say(&first, &mut world.rng);
    world.line.rotate(row("update"), Why::Cut(later(1)), later(1), &mut world.rng).unwrap();
    let second = world.seal(&pump(1), later(1)).unwrap();
    let second = world.open(&second).unwrap();
    let late = say(&second, &mut world.rng);
    assert!(first.await_key_of(&late) && !first.await_key_of(&early));
    assert!(!second.await_key_of(&late) && !second.await_key_of(&early));
    assert!(ChannelKeys::default().await_key_of(&early));
    assert!(!first.await_key_of(b"values"), "no message of a channel");
}

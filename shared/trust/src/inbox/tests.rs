#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::epochs::{LineId, Why};
use crate::protect::Sender;
use crate::replay::ReplayError;
use crate::testing::{Counting, NOW, later, pump, row};
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::identity::{CertificateSerial, Purpose};
use wardlink_protocol::limits::KEY_OVERLAP;
use wardlink_protocol::network::NetworkOrigin;

struct World {
    rng: Counting,
    line: Line,
    device: Device,
    key: PrivateKey,
    receiver: Receiver,
    boot: u64,
}

fn world(channel: &str) -> World {
    let mut rng = Counting(21);
    let device = pump(1);
    let line = Line::begin(LineId::of(&row(channel), &device), row(channel), 0, NOW, &mut rng).unwrap();
    let key = PrivateKey::make(&mut rng);
    World { rng, line, device, key, receiver: Receiver::default(), boot: 0 }
}

impl World {
    /// One message, stamped so many seconds later.
    fn message(&mut self, seconds: u64) -> StampedMessage {
        self.boot += 1;
        let topic = Topic::Data(self.line.id().channel.clone(), self.device.clone());
        let key = self.line.current().unwrap().clone();
        let payload =
            Sender::begin(&key, topic.clone(), self.boot, &mut self.rng).unwrap().seal(b"alarm", &self.key).unwrap();
        StampedMessage {
            topic: topic.to_string(),
            payload: ByteBuf::from(payload),
            publisher: Publisher::Key {
                key: self.key.public().fingerprint().unwrap(),
                device: self.device.clone(),
                certificate: Some((CertificateSerial([1; 16]), Purpose::Device)),
            },
            accepted_at: later(seconds),
            sequence: 1,
            network: NetworkOrigin::default(),
        }
    }

    fn open(&mut self, message: &StampedMessage, trusted: bool, seconds: u64) -> Result<(), Refused> {
        let key = self.key.public();
        let sender = KnownSender { device: &self.device, key: &key, trusted };
        open(&mut self.receiver, core::slice::from_ref(&self.line), sender, message, later(seconds)).map(drop)
    }

    fn rotate(&mut self, why: Why, seconds: u64) {
        let row = self.line.current().unwrap().channel.clone();
        self.line.rotate(row, why, later(seconds), &mut self.rng).unwrap();
    }
}

#[test]
fn a_message_counts_once() {
    for channel in ["alarm", "telemetry"] {
        let mut world = world(channel);
        let message = world.message(1);
        assert_eq!(world.open(&message, true, 2), Ok(()));
        let again = Refused::Open(OpenError::Replay(ReplayError::Duplicate));
        assert_eq!(world.open(&message, true, 2), Err(again));
        let (earlier, newer) = (world.message(3), world.message(3));
        assert_eq!(world.open(&newer, true, 4), Ok(()));
        let older = Refused::Open(OpenError::Replay(ReplayError::LowerBoot));
        assert_eq!(world.open(&earlier, true, 4), Err(older));
    }
}

#[test]
fn a_forged_or_foreign_stamp_is_refused() {
    let mut world = world("telemetry");
    let message = world.message(1);
    let key = world.key.public().fingerprint().unwrap();
    let foreign = PrivateKey::make(&mut world.rng).public().fingerprint().unwrap();
    let serial = CertificateSerial([1; 16]);
    let publisher = |key, device: &Device, certificate| Publisher::Key { key, device: device.clone(), certificate };
    let wrong = [
        Publisher::ControlUnit,
        publisher(foreign, &world.device, Some((serial, Purpose::Device))),
        publisher(key, &pump(2), Some((serial, Purpose::Device))),
        publisher(key, &world.device, Some((serial, Purpose::Pairing))),
        publisher(key, &world.device, Some((serial, Purpose::Service))),
        publisher(key, &world.device, Some((serial, Purpose::Gateway))),
        publisher(key, &world.device, None),
    ];
    for publisher in wrong {
        let forged = StampedMessage { publisher, ..message.clone() };
        assert_eq!(world.open(&forged, true, 2), Err(Refused::Publisher));
    }
    let early = StampedMessage { accepted_at: UnixMillis(NOW.0 - 61_000), ..message.clone() };
    assert_eq!(world.open(&early, true, 2), Err(KeyRefusal::Stamp.into()));
    let future = StampedMessage { accepted_at: later(100), ..message };
    assert_eq!(world.open(&future, true, 2), Err(KeyRefusal::Stamp.into()));
}

#[test]
fn a_message_on_another_topic_is_refused() {
    let mut world = world("telemetry");
    let message = world.message(1);
    for topic in [
        "ais/data/telemetry/infusion-pump/p-00002",
        "ais/ctl/telemetry/infusion-pump/p-00001",
        "ais/infusion-pump/p-00001",
        "junk",
    ] {
        let moved = StampedMessage { topic: topic.into(), ..message.clone() };
        assert_eq!(world.open(&moved, true, 2), Err(Refused::Topic));
    }
    // Another channel has other keys, and is not this line's.
    let moved = StampedMessage { topic: "ais/data/log/infusion-pump/p-00001".into(), ..message };
    assert_eq!(world.open(&moved, true, 2), Err(KeyRefusal::Unknown.into()));
}

#[test]
fn an_old_epoch_counts_for_the_overlap_and_after_a_cut_not_at_all() {
    let mut world = world("alarm");
    let messages: Vec<_> = (0..4).map(|_| world.message(1)).collect();
    let overlap = KEY_OVERLAP.as_secs();
    world.rotate(Why::Schedule, 10);
    let stamped = |index: usize, seconds| StampedMessage { accepted_at: later(seconds), ..messages[index].clone() };
    assert_eq!(world.open(&stamped(0, 10 + overlap - 1), true, 10 + overlap), Ok(()));
    assert_eq!(world.open(&stamped(1, 10 + overlap), true, 10 + overlap), Err(KeyRefusal::Retired.into()));
    world.rotate(Why::Cut(later(20)), 21);
    assert_eq!(world.open(&stamped(1, 20), true, 22), Err(KeyRefusal::Retired.into()));
    assert_eq!(world.open(&stamped(1, 19), false, 22), Err(KeyRefusal::Sender.into()));
    assert_eq!(world.open(&stamped(1, 19), true, 22), Ok(()), "no alarm of the others is lost");
    let new = world.message(23);
    assert_eq!(world.open(&new, true, 24), Ok(()));
}

#[test]
fn while_the_scope_changes_both_lines_count() {
    let mut world = world("telemetry");
    let (shared, key) = (world.line.clone(), world.key.public());
    let before = world.message(1);
    let own_row =
        wardlink_protocol::channel::Channel { scope: wardlink_protocol::channel::KeyScope::Device, ..row("telemetry") };
    let own = LineId::of(&own_row, &world.device);
    world.line = Line::begin(own, own_row, shared.highest(), later(5), &mut world.rng).unwrap();
    let after = world.message(6);
    let mut closing = shared;
    closing.close(later(100));
    let lines = [closing, world.line.clone()];
    let sender = KnownSender { device: &world.device, key: &key, trusted: true };
    for message in [before, after] {
        assert!(open(&mut world.receiver, &lines, sender, &message, later(7)).is_ok());
    }
}

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::epochs::{Line, LineId, Why};
use crate::protect::Sender;
use crate::testing::{Counting, NOW, later, pump, row};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::BTreeMap;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{IssuingCa, RootCa, Validity};
use wardlink_protocol::channel::Channel;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::order::Task;

/// Somebody who writes to the pump.
pub(super) struct Writer {
    pub(super) key: PrivateKey,
    pub(super) chain: Vec<ByteBuf>,
    pub(super) publisher: Publisher,
    pub(super) giver: Giver,
    boot: u64,
}

pub(super) struct World {
    pub(super) rng: Counting,
    ca: IssuingCa,
    pub(super) root: Sha256,
    pub(super) line: Line,
    keychain: Keychain,
    book: OrderBook,
    device: Device,
    sequence: u64,
}

fn validity() -> Validity {
    Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24 * 365)) }
}

fn world_with(channel: Channel) -> World {
    let mut rng = Counting(41);
    let root = RootCa::make("Root", validity(), &mut rng).unwrap();
    let ca = root.make_issuing_ca("CA", validity(), &mut rng).unwrap();
    let device = pump(1);
    let line = Line::begin(LineId::of(&channel, &device), channel, 0, NOW, &mut rng).unwrap();
    let keychain = Keychain::from_pairing(core::slice::from_ref(line.current().unwrap()));
    let root = root.certificate().sha256();
    World { rng, ca, root, line, keychain, book: OrderBook::default(), device, sequence: 0 }
}

pub(super) fn world() -> World {
    world_with(row("command"))
}

fn order(number: u8, ends: u64) -> Order {
    Order { id: OrderId([number; 16]), given_at: NOW, expires_at: later(ends), task: Task::ReportNow }
}

impl World {
    fn writer(&mut self, holder: &Holder) -> Writer {
        let key = PrivateKey::make(&mut self.rng);
        let certificate = self.ca.issue(holder, &key.public(), validity(), &mut self.rng).unwrap();
        let fingerprint = key.public().fingerprint().unwrap();
        let (publisher, giver) = match holder {
            Holder::Service(name) => {
                let device = Device::service(name.parse().unwrap());
                let certificate = Some((certificate.serial(), Purpose::Service));
                (Publisher::Key { key: fingerprint, device, certificate }, Giver::Service(fingerprint))
            }
            _ => (Publisher::ControlUnit, Giver::ControlUnit),
        };
        let chain = [vec![certificate.to_bytes()], self.ca.chain()].concat();
        Writer { key, chain, publisher, giver, boot: 0 }
    }

    pub(super) fn control_unit(&mut self) -> Writer {
        self.writer(&Holder::ControlUnit("St. Elsewhere".into()))
    }

    pub(super) fn service(&mut self) -> Writer {
        self.writer(&Holder::Service("desk".into()))
    }

    pub(super) fn topic(&self) -> Topic {
        Topic::Control(self.line.id().channel.clone(), self.device.clone())
    }

    pub(super) fn stamped(&mut self, writer: &Writer, payload: Vec<u8>, seconds: u64) -> StampedMessage {
        self.sequence += 1;
        StampedMessage {
            topic: self.topic().to_string(),
            payload: ByteBuf::from(payload),
            publisher: writer.publisher.clone(),
            accepted_at: later(seconds),
            sequence: self.sequence,
            network: NetworkOrigin::default(),
        }
    }

    pub(super) fn written(&mut self, writer: &mut Writer, what: &[u8]) -> Vec<u8> {
        writer.boot += 1;
        let key = self.line.current().unwrap().clone();
        let mut sender = Sender::begin(&key, self.topic(), writer.boot, &mut self.rng).unwrap();
        sender.seal_certified(what, &writer.key, &writer.chain).unwrap()
    }

    fn message(&mut self, writer: &mut Writer, order: &Order, seconds: u64) -> StampedMessage {
        let payload = self.written(writer, &cbor::encode(order).unwrap());
        self.stamped(writer, payload, seconds)
    }

    pub(super) fn receive(&mut self, message: &StampedMessage, seconds: u64) -> Received {
        self.book.receive(&self.keychain, &self.device, &self.root, message, later(seconds))
    }

    /// As a wrap would bring it.
    fn rotate(&mut self, why: Why, seconds: u64) {
        use crate::wrap::{WrapKey, wrap};
        let row = self.line.current().unwrap().channel.clone();
        self.line.rotate(row, why, later(seconds), &mut self.rng).unwrap();
        let wrap_key = WrapKey::new([3; 32]);
        let update = wrap(&self.line, &self.device, &wrap_key.keys(&self.device).unwrap(), &mut self.rng).unwrap();
        self.keychain.receive(&self.device, &[wrap_key], &update, later(seconds)).unwrap();
    }
}

fn settled(order: &Order, giver: Giver, result: OrderResult) -> Received {
    Received::Settled(OrderOutcome { order: order.id, giver, result })
}

#[test]
fn an_order_is_carried_out_once_whatever_is_sent_again() {
    let mut world = world();
    for (number, mut writer) in (0..).zip([world.control_unit(), world.service()]) {
        let order = order(number, 600);
        let message = world.message(&mut writer, &order, 1);
        assert_eq!(world.receive(&message, 2), Received::CarryOut(writer.giver, order.clone()));
        // The bridge delivers it again: its number says so. Somebody publishes it again: it has another one.
        assert_eq!(world.receive(&message, 2), Received::Again);
        let replayed = world.stamped(&writer, message.payload.to_vec(), 3);
        assert_eq!(world.receive(&replayed, 3), Received::Refused(NotTaken::Replayed));
        // Its giver sends it again, before and after it was carried out: the device says how it stands.
        let again = world.message(&mut writer, &order, 4);
        assert_eq!(world.receive(&again, 4), settled(&order, writer.giver, OrderResult::Taken));
        let outcome = OrderOutcome { order: order.id, giver: writer.giver, result: OrderResult::Done };
        world.book.settle(outcome);
        assert_eq!(world.book.unreported(), [outcome]);
        world.book.reported(outcome);
        assert_eq!(world.book.unreported(), []);
        let again = world.message(&mut writer, &order, 5);
        assert_eq!(world.receive(&again, 5), settled(&order, writer.giver, OrderResult::Done));
        assert_eq!(world.book.unreported(), [outcome], "the report may have been lost");
        world.book.reported(outcome);
    }
}

#[test]
fn two_givers_may_draw_the_same_id() {
    let mut world = world();
    let (mut control_unit, mut service) = (world.control_unit(), world.service());
    let order = order(1, 600);
    for writer in [&mut control_unit, &mut service] {
        let message = world.message(writer, &order, 1);
        assert_eq!(world.receive(&message, 1), Received::CarryOut(writer.giver, order.clone()));
    }
}

#[test]
fn after_its_end_an_order_is_not_carried_out_by_either_clock() {
    let mut world = world();
    let mut writer = world.control_unit();
    for (number, (stamped, now)) in (0..).zip([(599, 600), (600, 599), (700, 5)]) {
        let order = order(number, 600);
        let message = world.message(&mut writer, &order, stamped.min(now + 60));
        let stamped = StampedMessage { accepted_at: later(stamped.min(now + 60)), ..message };
        let expected = if stamped.accepted_at >= order.expires_at || later(now) >= order.expires_at {
            settled(&order, writer.giver, OrderResult::Expired)
        } else {
            Received::CarryOut(writer.giver, order)
        };
        assert_eq!(world.receive(&stamped, now), expected);
    }
    // A clock that goes back revives nothing.
    let order = order(9, 600);
    let message = world.message(&mut writer, &order, 1);
    assert_eq!(world.receive(&message, 601), settled(&order, writer.giver, OrderResult::Expired));
    let again = world.message(&mut writer, &order, 1);
    assert_eq!(world.receive(&again, 2), settled(&order, writer.giver, OrderResult::Expired));
}

#[test]
fn an_order_beyond_its_limits_is_refused_and_said_so() {
    let mut world = world();
    let mut writer = world.service();
    let far = Order { given_at: later(90_000), expires_at: later(90_600), ..order(1, 1) };
    let long = Order { expires_at: UnixMillis(u64::MAX), ..order(2, 1) };
    let text = Order { task: Task::ShowMessage { text: String::new() }, ..order(3, 600) };
    for order in [far, long, text] {
        let message = world.message(&mut writer, &order, 1);
        let refused = OrderResult::Refused(OrderRefusal::OutOfRange);
        assert_eq!(world.receive(&message, 2), settled(&order, writer.giver, refused));
    }
    let junk = world.written(&mut writer, b"junk");
    let junk = world.stamped(&writer, junk, 3);
    assert_eq!(world.receive(&junk, 3), Received::Refused(NotTaken::NoOrder));
}

#[test]
fn a_device_that_remembers_as_many_orders_as_it_can_takes_no_more_until_some_have_ended() {
    let mut world = world();
    let mut writer = world.control_unit();
    let number = |index: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        Order { id: OrderId(id), ..order(0, 600) }
    };
    for index in 0..MAX_KNOWN_ORDERS {
        let message = world.message(&mut writer, &number(index), 1);
        assert!(matches!(world.receive(&message, 1), Received::CarryOut(..)));
    }
    let one_more = number(MAX_KNOWN_ORDERS);
    let message = world.message(&mut writer, &one_more, 1);
    let busy = settled(&one_more, writer.giver, OrderResult::Refused(OrderRefusal::Busy));
    assert_eq!(world.receive(&message, 1), busy);
    world.book.unreported().into_iter().for_each(|outcome| world.book.reported(outcome));
    let later_one = Order { given_at: later(4_300), expires_at: later(4_400), ..number(MAX_KNOWN_ORDERS + 1) };
    let message = world.message(&mut writer, &later_one, 4_300);
    assert!(matches!(world.receive(&message, 4_301), Received::CarryOut(..)));
}

#[test]
fn however_many_orders_services_give_those_of_people_are_taken() {
    let mut world = world();
    let (mut first, mut second, mut people) = (world.service(), world.service(), world.control_unit());
    let number = |index: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        Order { id: OrderId(id), ..order(0, 600) }
    };
    for index in 0..MAX_KNOWN_SERVICE_ORDERS {
        let writer = if index % 2 == 0 { &mut first } else { &mut second };
        let message = world.message(writer, &number(index), 1);
        assert!(matches!(world.receive(&message, 1), Received::CarryOut(..)), "{index}");
    }
    for writer in [&mut first, &mut second] {
        let one_more = number(MAX_KNOWN_SERVICE_ORDERS);
        let message = world.message(writer, &one_more, 1);
        let busy = settled(&one_more, writer.giver, OrderResult::Refused(OrderRefusal::Busy));
        assert_eq!(world.receive(&message, 1), busy);
    }
    for index in MAX_KNOWN_SERVICE_ORDERS..MAX_KNOWN_ORDERS {
        let message = world.message(&mut people, &number(index), 1);
        assert!(matches!(world.receive(&message, 1), Received::CarryOut(..)), "{index}");
    }
}

#[test]
fn what_was_taken_when_the_power_went_is_not_carried_out_again() {
    let mut world = world();
    let mut writer = world.control_unit();
    let order = order(1, 600);
    let message = world.message(&mut writer, &order, 1);
    assert!(matches!(world.receive(&message, 1), Received::CarryOut(..)));
    let stored = cbor::pack(&world.book).unwrap();
    world.book = cbor::unpack(&stored, stored.len()).unwrap();
    world.book.resume();
    let interrupted = OrderResult::Refused(OrderRefusal::Interrupted);
    let outcome = OrderOutcome { order: order.id, giver: writer.giver, result: interrupted };
    assert_eq!(world.book.unreported(), [outcome]);
    assert_eq!(world.receive(&message, 2), Received::Again);
    let again = world.message(&mut writer, &order, 3);
    assert_eq!(world.receive(&again, 3), Received::Settled(outcome));
}

#[test]
fn a_message_for_another_device_on_another_channel_or_upwards_is_refused() {
    let mut world = world();
    let mut writer = world.control_unit();
    let message = world.message(&mut writer, &order(1, 600), 1);
    for (topic, reason) in [
        ("ais/ctl/command/infusion-pump/p-00002", NotTaken::Topic),
        ("ais/data/command/infusion-pump/p-00001", NotTaken::Topic),
        ("ais/infusion-pump/p-00001", NotTaken::Topic),
        ("junk", NotTaken::Topic),
        // The key is that of another channel.
        ("ais/ctl/alarm/infusion-pump/p-00001", NotTaken::UnknownKey),
    ] {
        let moved = StampedMessage { topic: topic.into(), ..message.clone() };
        assert_eq!(world.receive(&moved, 2), Received::Refused(reason), "{topic}");
    }
    // A key that serves two topics: the topic is in the key's derivation, in the AAD and in the signature.
    let shared = Channel { scope: wardlink_protocol::channel::KeyScope::Class, ..row("command") };
    let mut world = world_with(shared);
    let mut writer = world.control_unit();
    let message = world.message(&mut writer, &order(1, 600), 1);
    world.device = pump(2);
    let moved = StampedMessage { topic: world.topic().to_string(), ..message };
    assert_eq!(world.receive(&moved, 2), Received::Refused(NotTaken::Altered));
}

#[test]
fn nobody_writes_under_a_foreign_name_and_a_forged_stamp_is_refused() {
    let mut world = world();
    let (mut control_unit, mut service) = (world.control_unit(), world.service());
    let other = world.writer(&Holder::Service("archive".into()));
    let (by_unit, by_service) =
        (world.message(&mut control_unit, &order(1, 600), 1), world.message(&mut service, &order(2, 600), 1));
    let claim = |message: &StampedMessage, publisher: &Publisher| StampedMessage {
        publisher: publisher.clone(),
        ..message.clone()
    };
    // A service as the control unit, the control unit as a service, one service as another.
    for forged in [
        claim(&by_service, &control_unit.publisher),
        claim(&by_unit, &service.publisher),
        claim(&by_service, &other.publisher),
    ] {
        assert_eq!(world.receive(&forged, 2), Received::Refused(NotTaken::Sender));
    }
    // The right service under another name, serial number, or purpose.
    let Publisher::Key { key, device, certificate: Some((serial, _)) } = service.publisher.clone() else { panic!() };
    let wrong = [
        Publisher::Key { key, device: pump(1), certificate: Some((serial, Purpose::Service)) },
        Publisher::Key { key, device: device.clone(), certificate: Some((serial, Purpose::Device)) },
        Publisher::Key { key, device: device.clone(), certificate: None },
        Publisher::Key { key, device, certificate: Some((CertificateSerial([1; 16]), Purpose::Service)) },
    ];
    for publisher in wrong {
        assert_eq!(world.receive(&claim(&by_service, &publisher), 2), Received::Refused(NotTaken::Sender));
    }
    // A chain of another site, a certificate that has ended, none at all, and a signature by another key.
    let chain = service.chain.clone();
    let mut foreign = world_with(row("command"));
    foreign.rng = Counting(77);
    let root = RootCa::make("Elsewhere", validity(), &mut foreign.rng).unwrap();
    foreign.ca = root.make_issuing_ca("CA", validity(), &mut foreign.rng).unwrap();
    service.chain = foreign.service().chain;
    let elsewhere = world.message(&mut service, &order(3, 600), 1);
    assert_eq!(world.receive(&elsewhere, 2), Received::Refused(NotTaken::Sender));
    service.chain = Vec::new();
    let bare = world.message(&mut service, &order(3, 600), 1);
    assert_eq!(world.receive(&bare, 2), Received::Refused(NotTaken::Sender));
    service.chain = chain;
    let own = core::mem::replace(&mut service.key, PrivateKey::make(&mut world.rng));
    let forged = world.message(&mut service, &order(3, 600), 1);
    assert_eq!(world.receive(&forged, 2), Received::Refused(NotTaken::Unsigned));
    service.key = own;
    let year = 366 * 24 * 3600;
    let late = Order { given_at: later(year), expires_at: later(year + 600), ..order(3, 1) };
    let late = world.message(&mut service, &late, year);
    assert_eq!(world.receive(&late, year), Received::Refused(NotTaken::Sender));
    // What a forgery claimed has cost its victims nothing.
    assert!(matches!(world.receive(&by_service, 2), Received::CarryOut(..)));
    assert!(matches!(world.receive(&by_unit, 2), Received::CarryOut(..)));
}

#[test]
fn a_changed_an_older_and_a_misdated_message_are_refused() {
    let mut world = world();
    let mut writer = world.control_unit();
    let first = world.message(&mut writer, &order(1, 600), 1);
    let second = world.message(&mut writer, &order(2, 600), 1);
    let mut changed = second.clone();
    *changed.payload.last_mut().unwrap() ^= 1;
    assert_eq!(world.receive(&changed, 2), Received::Refused(NotTaken::Altered));
    let future = StampedMessage { accepted_at: later(100), ..second.clone() };
    assert_eq!(world.receive(&future, 2), Received::Refused(NotTaken::Stamp));
    assert!(matches!(world.receive(&second, 2), Received::CarryOut(..)));
    let replayed = world.stamped(&writer, first.payload.to_vec(), 3);
    assert_eq!(world.receive(&replayed, 3), Received::Refused(NotTaken::EarlierRun));
    // One run with many messages: one that is beyond the window.
    writer.boot += 1;
    let key = world.line.current().unwrap().clone();
    let mut sender = Sender::begin(&key, world.topic(), writer.boot, &mut world.rng).unwrap();
    let mut say = |number| {
        let order = cbor::encode(&order(number, 600)).unwrap();
        sender.seal_certified(&order, &writer.key, &writer.chain).unwrap()
    };
    let oldest = say(3);
    let newest = (0..crate::replay::WINDOW).map(|_| say(4)).last().unwrap();
    let newest = world.stamped(&writer, newest, 4);
    assert!(matches!(world.receive(&newest, 4), Received::CarryOut(..)));
    let oldest = world.stamped(&writer, oldest, 5);
    assert_eq!(world.receive(&oldest, 5), Received::Refused(NotTaken::TooOld));
}

#[test]
fn an_earlier_epoch_counts_for_the_overlap_and_after_a_cut_for_nobody() {
    let mut world = world();
    let mut writer = world.service();
    let messages: Vec<_> = (0..4).map(|number| world.message(&mut writer, &order(number, 3_600), 1)).collect();
    world.rotate(Why::Schedule, 10);
    assert!(matches!(world.receive(&messages[0], 11), Received::CarryOut(..)));
    assert_eq!(world.receive(&messages[1], 10 + 600), Received::Refused(NotTaken::OldEpoch), "too late");
    let late = StampedMessage { accepted_at: later(10 + 600), ..messages[2].clone() };
    assert_eq!(world.receive(&late, 10 + 590), Received::Refused(NotTaken::OldEpoch), "stamped too late");
    let under_second = world.message(&mut writer, &order(5, 3_600), 20);
    // A service is revoked: whatever it wrote before, and waits somewhere, counts no more.
    world.rotate(Why::Cut(later(30)), 30);
    assert_eq!(world.receive(&under_second, 31), Received::Refused(NotTaken::OldEpoch));
    assert_eq!(world.receive(&messages[3], 31), Received::Refused(NotTaken::OldEpoch));
    let mut unit = world.control_unit();
    let new = world.message(&mut unit, &order(6, 3_600), 32);
    assert!(matches!(world.receive(&new, 33), Received::CarryOut(..)));
}

#[test]
fn on_an_unsigned_channel_the_stamp_alone_names_the_giver() {
    let mut world = world_with(Channel { signed: false, ..row("command") });
    let mut writer = world.service();
    writer.chain = Vec::new();
    let message = world.message(&mut writer, &order(1, 600), 1);
    assert!(matches!(world.receive(&message, 2), Received::CarryOut(giver, _) if giver == writer.giver));
    let foreign = Publisher::Key {
        key: PrivateKey::make(&mut world.rng).public().fingerprint().unwrap(),
        device: pump(2),
        certificate: None,
    };
    let forged = world.message(&mut writer, &order(2, 600), 1);
    let forged = StampedMessage { publisher: foreign, ..forged };
    assert_eq!(world.receive(&forged, 2), Received::Refused(NotTaken::Sender));
}

#[test]
fn the_memory_of_givers_is_bounded() {
    let mut world = world();
    for number in 0..MAX_GIVERS + 3 {
        let mut writer = world.writer(&Holder::Service(format!("desk-{number}")));
        let number = u8::try_from(number).unwrap();
        let message = world.message(&mut writer, &order(number, 600), 1);
        assert!(matches!(world.receive(&message, 1), Received::CarryOut(..)));
    }
    assert_eq!(world.book.channels[0].1.0.len(), MAX_GIVERS);
}

/// What may happen on the way to a device.
#[derive(Clone, Debug)]
enum Step {
    /// A giver gives an order with this number, or sends it again.
    Give(bool, u8),
    /// A message that was sent before is delivered again, with its number or a new one.
    Deliver(prop::sample::Index, bool),
    /// The device is carried back to what it stored last, and starts.
    PowerLoss,
    /// A new epoch.
    Rotate,
    /// The order that is being carried out is done.
    Done,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0..6_u8).prop_map(|(unit, number)| Step::Give(unit, number)),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, new)| Step::Deliver(which, new)),
        2 => Just(Step::PowerLoss),
        1 => Just(Step::Rotate),
        2 => Just(Step::Done),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_order_is_carried_out_twice(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = world();
        let mut writers = [world.control_unit(), world.service()];
        let mut sent: Vec<StampedMessage> = Vec::new();
        let mut carried_out: BTreeMap<(Giver, OrderId), u32> = BTreeMap::new();
        let mut under_way = None;
        for (second, step) in (1..).zip(steps) {
            let message = match step {
                Step::Give(unit, number) => {
                    let writer = &mut writers[usize::from(unit)];
                    let message = world.message(writer, &order(number, 600), second);
                    sent.push(message.clone());
                    Some(message)
                }
                Step::Deliver(which, new) if !sent.is_empty() => {
                    let mut message = which.get(&sent).clone();
                    if new {
                        world.sequence += 1;
                        message.sequence = world.sequence;
                        message.accepted_at = later(second);
                    }
                    Some(message)
                }
                Step::Deliver(..) => None,
                Step::PowerLoss => {
                    // The book is stored before an order is carried out, so that nothing of it is lost.
                    let stored = cbor::pack(&world.book).unwrap();
                    world.book = cbor::unpack(&stored, stored.len()).unwrap();
                    world.book.resume();
                    under_way = None;
                    None
                }
                Step::Rotate => {
                    world.rotate(Why::ByHand, second);
                    None
                }
                Step::Done => {
                    if let Some((giver, order)) = under_way.take() {
                        world.book.settle(OrderOutcome { order, giver, result: OrderResult::Done });
                    }
                    None
                }
            };
            if let Some(message) = message
                && let Received::CarryOut(giver, order) = world.receive(&message, second)
            {
                *carried_out.entry((giver, order.id)).or_default() += 1;
                under_way = Some((giver, order.id));
            }
        }
        prop_assert!(carried_out.values().all(|times| *times == 1), "{carried_out:?}");
    }
}

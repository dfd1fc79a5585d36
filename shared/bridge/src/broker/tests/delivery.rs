//! PUBLISH both ways: stamps, windows, aliases, frames, storage.

use super::world::{Options, Shown, number, puback, publish, publish_with, subscribe, user_property};
use super::{Received, World, key};
use crate::limits::{
    MAX_CONTROL_UNIT_QUEUE, MAX_KEPT_BYTES, MAX_QUEUE, MAX_UNHEARD_BYTES, MAX_VOLATILE_QUEUE, RECEIVE_MAXIMUM,
    TOPIC_ALIAS_MAXIMUM,
};
use crate::storage::Table;
use crate::{Output, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::packet::{
    ContentType, MaximumPacketSize, MessageExpiryInterval, Properties, PropertyId, Qos, TopicAlias, UserProperty, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, PubackReasonCode};
use wardlink_protocol::stamp::{PUBLISHER_PROPERTY, SEQUENCE_PROPERTY, TIME_PROPERTY};

const PUMP: &str = "infusion-pump/pump-1";
const T2: &str = "ais/infusion-pump/pump-1";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";
const TELEMETRY: &str = "ais/data/telemetry/infusion-pump/pump-1";

fn ids(received: &[Received]) -> Vec<(u16, bool)> {
    let of = |packet: &Received| match packet {
        Received::Publish { id: Some(id), again, .. } => Some((*id, *again)),
        _ => None,
    };
    received.iter().filter_map(of).collect()
}

#[test]
fn subscribers_get_publisher_time_and_number() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    world.apply(&[], &[(T2, b"a"), (T2, b"b")], &[]);
    let received = world.take(id);
    for (packet, sequence) in received.iter().zip(["1", "2"]) {
        let Received::Publish { topic, properties, .. } = packet else { panic!() };
        assert_eq!(topic, T2);
        assert_eq!(user_property(properties, PUBLISHER_PROPERTY).as_deref(), Some("control-unit"));
        assert_eq!(user_property(properties, TIME_PROPERTY), Some(world.now.0.to_string()));
        assert_eq!(user_property(properties, SEQUENCE_PROPERTY).as_deref(), Some(sequence));
    }
}

#[test]
fn sequence_numbers_rise_per_topic_and_never_repeat() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.publish(id, ALARM, b"1");
    world.publish(id, TELEMETRY, b"other topic");
    world.publish(id, ALARM, b"2");
    world.rebuild();
    world.publish(id, ALARM, b"3");
    let numbers: Vec<u64> =
        world.for_site(Stream::Data).iter().filter(|message| message.topic == ALARM).map(|m| m.sequence).collect();
    assert_eq!(&numbers[..2], [1, 2]);
    assert!(numbers[2] > 2, "numbers that may have been used are not used again");
}

#[test]
fn the_control_unit_gets_messages_until_it_has_them() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.publish(id, ALARM, b"durable");
    world.send(id, &publish(TELEMETRY, b"volatile", None));
    let payloads = |world: &World| -> Vec<Vec<u8>> {
        world.for_site(Stream::Data).iter().map(|message| message.payload.to_vec()).collect()
    };
    assert_eq!(payloads(&world), [b"durable".to_vec(), b"volatile".to_vec()]);
    world.rebuild();
    assert_eq!(payloads(&world), [b"durable".to_vec()], "QoS 0 is in memory only");
    let (last, _) = world.broker.for_site(Stream::Data).unwrap();
    world.broker.site_has(Stream::Data, last);
    world.settle();
    world.rebuild();
    assert!(payloads(&world).is_empty());
    assert!(world.records.keys().all(|key| key.table != Table::Message));
}

#[test]
fn nothing_is_acknowledged_before_it_is_in_the_batch_to_be_stored() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.broker.received(id, &publish(ALARM, b"x", Some(3)), world.now, &mut world.rng);
    let batch = world.broker.flush(world.now);
    let stored = batch.changes.iter().any(|(key, value)| key.table == Table::Message && value.is_some());
    let acknowledged = batch.outputs.iter().any(|output| matches!(output, Output::Frame { .. }));
    assert!(stored && acknowledged);
}

#[test]
fn one_batch_is_one_frame_for_each_connection() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    let before = world.frames;
    let three =
        [publish(ALARM, b"1", Some(1)), publish(ALARM, b"2", Some(2)), subscribe(T2, Qos::AtLeastOnce)].concat();
    world.send(id, &three);
    assert_eq!(world.frames, before + 1);
    assert_eq!(world.take(id).len(), 3);
}

#[test]
fn packets_may_be_split_anywhere_even_over_a_rebuild() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let payload = vec![7; 20_000];
    let packet = publish(ALARM, &payload, Some(1));
    let (first, rest) = packet.split_at(13_000);
    world.send(id, &first[..2]);
    world.send(id, &first[2..]);
    assert!(world.records.keys().any(|key| key.table == Table::Piece), "too long for an attachment");
    world.rebuild();
    world.send(id, rest);
    assert_eq!(world.take(id), [Received::Puback(1, PubackReasonCode::Success)]);
    assert_eq!(world.for_site(Stream::Data)[0].payload.as_slice(), payload);
    assert!(world.records.keys().all(|key| key.table != Table::Piece));
}

#[test]
fn the_clients_window_is_kept_and_refilled() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let (id, _) = world.connect(&shown, &Options { receive_maximum: Some(2), ..Options::default() });
    world.subscribe(id, T2);
    let messages: Vec<(&str, &[u8])> = vec![(T2, b"1"), (T2, b"2"), (T2, b"3"), (T2, b"4")];
    world.apply(&[], &messages, &[]);
    assert_eq!(ids(&world.take(id)).len(), 2);
    world.rebuild();
    assert!(world.take(id).is_empty(), "a rebuilt object does not send again on a living connection");
    world.send(id, &puback(3));
    assert!(world.take(id).is_empty(), "an unknown packet id acknowledges nothing");
    world.send(id, &puback(2));
    let received = world.take(id);
    assert_eq!(ids(&received), [(3, false)], "out of order, and one more fits");
}

#[test]
fn unacknowledged_messages_are_sent_again_on_the_next_connection() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let narrow = Options { receive_maximum: Some(2), ..Options::default() };
    let (id, _) = world.connect(&shown, &narrow);
    world.subscribe(id, T2);
    world.apply(&[], &[(T2, b"1"), (T2, b"2"), (T2, b"3")], &[]);
    let first = ids(&world.take(id));
    assert_eq!(first.iter().map(|(_, again)| *again).collect::<Vec<_>>(), [false, false]);
    world.crash();
    let (id, _) = world.connect(&shown, &Options::default());
    let second = ids(&world.take(id));
    assert_eq!(second[..2], [(first[0].0, true), (first[1].0, true)], "the same packet ids, marked");
    assert!(!second[2].1, "the third was never sent");
}

#[test]
fn qos_0_subscribers_get_qos_0_while_they_are_there() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.send(id, &subscribe(T2, Qos::AtMostOnce));
    world.take(id);
    world.apply(&[], &[(T2, b"now")], &[]);
    let received = world.take(id);
    assert!(matches!(&received[..], [Received::Publish { id: None, .. }]));
    world.lose(id);
    world.apply(&[], &[(T2, b"later")], &[]);
    assert!(world.records.keys().all(|key| key.table != Table::Queue));
}

#[test]
fn properties_travel_but_nobody_stamps_for_the_bridge() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let forged: Properties = vec![
        ContentType::new("application/cbor").unwrap().into(),
        UserProperty::new(PUBLISHER_PROPERTY, "control-unit").unwrap().into(),
        UserProperty::new("ward", "3").unwrap().into(),
    ];
    world.send(id, &publish_with(ALARM, b"x", Some(1), forged));
    let stored = world.records.iter().find(|(key, _)| key.table == Table::Message).unwrap().1.clone();
    let contains = |needle: &[u8]| stored.windows(needle.len()).any(|bytes| bytes == needle);
    assert!(contains(b"application/cbor") && contains(b"ward"));
    assert!(!contains(PUBLISHER_PROPERTY.as_bytes()) && !contains(b"control-unit"));
}

#[test]
fn aliases_stand_for_topics_also_after_a_rebuild() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let alias = |number| vec![TopicAlias::new(number).unwrap().into()];
    world.send(id, &publish_with(ALARM, b"1", Some(1), alias(1)));
    world.rebuild();
    world.send(id, &publish_with("", b"2", Some(2), alias(1)));
    assert_eq!(world.for_site(Stream::Data).iter().filter(|message| message.topic == ALARM).count(), 2);
    world.take(id);
    world.send(id, &publish_with("", b"3", Some(3), alias(2)));
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::ProtocolError)], "never set");
    let (_, id) = world.paired(2, "infusion-pump/pump-2");
    world.send(id, &publish_with(ALARM, b"4", Some(4), alias(TOPIC_ALIAS_MAXIMUM + 1)));
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::TopicAliasInvalid)]);
}

#[test]
fn what_is_not_available_ends_the_connection_by_name() {
    let mut world = World::new();
    let retained = v5_0::Publish::builder().topic_name(ALARM).unwrap().retain(true).build().unwrap();
    let exactly = v5_0::Publish::builder().topic_name(ALARM).unwrap().qos(Qos::ExactlyOnce).packet_id(1);
    for (seed, packet, reason) in [
        (1, retained.to_continuous_buffer(), DisconnectReasonCode::RetainNotSupported),
        (2, exactly.build().unwrap().to_continuous_buffer(), DisconnectReasonCode::QosNotSupported),
        (3, vec![0x30, 0xff, 0xff, 0xff, 0x7f], DisconnectReasonCode::PacketTooLarge),
        (4, vec![0x32, 0x05, 0, 1, b'a', 0, 0], DisconnectReasonCode::ProtocolError),
        (5, vec![0x36, 0x05, 0, 1, b'a', 0, 1], DisconnectReasonCode::MalformedPacket),
        (6, vec![0x82, 0x02, 0, 0], DisconnectReasonCode::MalformedPacket),
    ] {
        let (_, id) = world.paired(seed, PUMP);
        world.send(id, &packet);
        assert_eq!(world.take(id), [Received::Disconnect(reason)], "packet {seed}");
    }
}

#[test]
fn a_client_that_sends_more_than_its_window_is_disconnected() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let many: Vec<u8> = (1..=RECEIVE_MAXIMUM + 1).flat_map(|number| publish(ALARM, b"x", Some(number))).collect();
    world.send(id, &many);
    assert_eq!(world.take(id).pop(), Some(Received::Disconnect(DisconnectReasonCode::ReceiveMaximumExceeded)));
}

#[test]
fn queues_are_bounded_and_old_messages_are_not_delivered() {
    let mut world = World::new();
    let (shown, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    world.lose(id);
    let messages: Vec<(&str, &[u8])> = vec![(T2, b"x"); MAX_QUEUE + 5];
    world.apply(&[], &messages, &[]);
    assert_eq!(world.records.keys().filter(|key| key.table == Table::Queue).count(), MAX_QUEUE);
    let (id, _) = world.connect(&shown, &Options::default());
    assert_eq!(world.deliveries(id).len(), MAX_QUEUE);
    assert!(world.records.keys().all(|key| key.table != Table::Queue && key.table != Table::Message));
}

#[test]
fn a_message_longer_than_the_client_takes_is_passed_over() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let id = world.open();
    let (client, hello) = wardlink_crypto::authentication::ClientAuthentication::start(
        shown.identity.clone(),
        "small",
        super::world::HOST,
        &mut world.rng,
    )
    .unwrap();
    let properties: Properties = vec![
        mqtt_protocol_core::mqtt::packet::AuthenticationMethod::new("WARDLINK-ES256").unwrap().into(),
        mqtt_protocol_core::mqtt::packet::AuthenticationData::new(hello).unwrap().into(),
        MaximumPacketSize::new(4_000).unwrap().into(),
    ];
    let packet = v5_0::Connect::builder().client_id("small").unwrap().props(properties).build().unwrap();
    world.send(id, &packet.to_continuous_buffer());
    let Received::Auth { data, .. } = world.take(id).remove(0) else { panic!() };
    let (_, proof) = client.prove(&data, &shown.key).unwrap();
    world.send(
        id,
        &super::world::auth(mqtt_protocol_core::mqtt::result_code::AuthReasonCode::ContinueAuthentication, &proof),
    );
    world.subscribe(id, T2);
    world.apply(&[], &[(T2, &[1; 5_000]), (T2, b"short")], &[]);
    assert_eq!(world.deliveries(id), [b"short"]);
}

#[test]
fn expiry_of_a_message_is_told_and_kept() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    let expiring: Properties = vec![MessageExpiryInterval::new(10).unwrap().into()];
    world.send(id, &publish_with("ais/register/infusion-pump", b"x", Some(1), expiring));
    let (_, bytes) = world.records.iter().find(|(key, _)| key.table == Table::Message).unwrap();
    let message: crate::log::Message = crate::storage::decode(bytes).unwrap();
    assert!(!message.is_expired(world.now.after(Duration::from_secs(9))));
    assert!(message.is_expired(world.now.after(Duration::from_secs(10))));
    let properties = message.delivered_properties(world.now.after(Duration::from_secs(4))).unwrap();
    assert_eq!(number(&properties, PropertyId::MessageExpiryInterval), Some(6));
}

#[test]
fn while_the_control_unit_is_away_qos_0_is_lost_first_and_then_publishers_wait() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.publish(id, ALARM, b"kept");
    for number in 0..MAX_VOLATILE_QUEUE + 10 {
        world.send(id, &publish(TELEMETRY, &number.to_be_bytes(), None));
    }
    let waiting = |world: &mut World| {
        let mut payloads = Vec::new();
        while let Some((last, messages)) = world.broker.for_site(Stream::Data) {
            payloads.extend(messages.into_iter().map(|message| message.payload.into_vec()));
            world.broker.site_has(Stream::Data, last);
        }
        payloads
    };
    let payloads = waiting(&mut world);
    assert_eq!(payloads.len(), MAX_VOLATILE_QUEUE);
    assert_eq!(payloads[0], b"kept");
    assert_eq!(payloads[1], 11_usize.to_be_bytes(), "the oldest are lost");

    let full: Vec<u8> = (1..=200).flat_map(|number| publish(ALARM, b"x", Some(number))).collect();
    for _ in 0..MAX_CONTROL_UNIT_QUEUE / 200 {
        world.send(id, &full);
    }
    world.take(id);
    assert_eq!(world.publish(id, ALARM, b"one too many"), PubackReasonCode::QuotaExceeded);
    assert_eq!(waiting(&mut world).len(), MAX_CONTROL_UNIT_QUEUE);
    assert_eq!(world.publish(id, ALARM, b"again"), PubackReasonCode::Success);
}

#[test]
fn what_is_kept_is_bounded_in_bytes_too() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let large = vec![0; 60_000];
    let mut taken = 0;
    while world.publish(id, ALARM, &large) == PubackReasonCode::Success {
        taken += large.len();
        assert!(taken < 2 * MAX_KEPT_BYTES, "never refused");
    }
    assert!(taken > MAX_KEPT_BYTES / 2);
    let (last, _) = world.broker.for_site(Stream::Data).unwrap();
    world.broker.site_has(Stream::Data, last);
    assert_eq!(world.publish(id, ALARM, &large), PubackReasonCode::Success);
}

#[test]
fn a_reader_that_does_not_read_loses_qos_0_and_no_qos_1() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let (id, _) = world.connect(&shown, &Options { receive_maximum: Some(1), ..Options::default() });
    let t4 = "ais/meta/infusion-pump";
    world.send(id, &subscribe(t4, Qos::AtMostOnce));
    world.subscribe(id, T2);
    let large = vec![0; 60_000];
    let sent = MAX_UNHEARD_BYTES / large.len() + 5;
    for _ in 0..sent {
        world.apply(&[], &[(t4, &large)], &[]);
    }
    let got = world.take(id).len();
    assert!(got < sent, "it was not heard for {MAX_UNHEARD_BYTES} bytes");
    world.apply(&[], &[(T2, b"1"), (T2, b"2")], &[]);
    assert_eq!(world.deliveries(id), [b"1", b"2"]);
    world.apply(&[], &[(t4, &large)], &[]);
    assert_eq!(world.take(id).len(), 1, "it was heard");
}

//! Rights at the broker: at every publication, subscription and delivery, and at once when they change.

use super::world::{Options, Shown};
use super::{Received, World, channel, device, grant, key};
use crate::limits::ATTEMPT_INTERVAL;
use crate::{Notice, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::packet::Qos;
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::stamp::Publisher;

const PUMP: &str = "infusion-pump/pump-1";
const T1: &str = "ais/register/infusion-pump";
const T2: &str = "ais/infusion-pump/pump-1";
const T4: &str = "ais/meta/infusion-pump";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";

#[test]
fn a_stranger_may_only_ask() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    assert_eq!(world.publish(id, T1, b"please"), PubackReasonCode::Success);
    for topic in ["ais/register/scale", T2, T4, ALARM, "ais/command/infusion-pump", "ais/renew/infusion-pump"] {
        assert_eq!(world.publish(id, topic, b"x"), PubackReasonCode::NotAuthorized, "{topic}");
    }
    for topic in ["elsewhere", "ais/register/infusion-pump/more", "ais/register/UPPER", "$SYS/x"] {
        assert_eq!(world.publish(id, topic, b"x"), PubackReasonCode::TopicNameInvalid, "{topic}");
    }
    for filter in [T1, T2, T4, ALARM, "ais/#", "#", "+/+/+"] {
        assert_eq!(world.subscribe(id, filter), SubackReasonCode::NotAuthorized, "{filter}");
    }
    assert_eq!(
        world.subscribe(id, "$share/group/ais/meta/infusion-pump"),
        SubackReasonCode::SharedSubscriptionsNotSupported
    );
    assert_eq!(world.subscribe(id, "ais/#/x"), SubackReasonCode::TopicFilterInvalid);
    let messages = world.for_site(Stream::Request);
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].payload.as_slice(), messages[0].sequence), (&b"please"[..], 1));
    assert_eq!(messages[0].network.address, Some("192.0.2.7".parse().unwrap()));
    let publisher =
        Publisher::Key { key: key(1).public().fingerprint().unwrap(), device: device(PUMP), certificate: None };
    assert_eq!(messages[0].publisher, publisher);
}

#[test]
fn a_paired_device_keeps_to_its_own_topics() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let (_, other) = world.paired(2, "infusion-pump/pump-2");
    for topic in ["ais/data/alarm/infusion-pump/pump-2", "ais/data/log/infusion-pump/pump-1", T1, T2, T4] {
        assert_eq!(world.publish(id, topic, b"x"), PubackReasonCode::NotAuthorized, "{topic}");
    }
    for filter in
        ["ais/infusion-pump/pump-2", "ais/infusion-pump/+", "ais/ctl/alarm/infusion-pump/pump-2", "ais/data/#"]
    {
        assert_eq!(world.subscribe(id, filter), SubackReasonCode::NotAuthorized, "{filter}");
    }
    for filter in [T2, T4, "ais/ctl/alarm/infusion-pump/pump-1"] {
        assert_eq!(world.subscribe(id, filter), SubackReasonCode::GrantedQos1, "{filter}");
    }
    world.subscribe(other, "ais/infusion-pump/pump-2");
    world.apply(&[], &[("ais/infusion-pump/pump-2", b"for pump 2"), (T2, b"for pump 1")], &[]);
    assert_eq!(world.deliveries(id), [b"for pump 1"]);
    assert_eq!(world.deliveries(other), [b"for pump 2"]);
}

#[test]
fn asking_for_too_much_is_told_once_and_waiting_for_t2_is_not() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::NotAuthorized);
    assert!(world.oversteps.is_empty(), "every device waits for its T2 so");
    assert_eq!(world.subscribe(id, "#"), SubackReasonCode::NotAuthorized);
    assert_eq!(world.publish(id, T2, b"x"), PubackReasonCode::NotAuthorized);
    let told: Vec<String> = world.oversteps.drain(..).map(|overstep| overstep.to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(PUMP) && told[0].ends_with("may not subscribe to what is not its own"), "{told:?}");
    let (_, other) = world.paired(2, "infusion-pump/pump-2");
    assert_eq!(world.publish(other, T2, b"x"), PubackReasonCode::NotAuthorized);
    let told: Vec<String> = world.oversteps.drain(..).map(|overstep| overstep.to_string()).collect();
    assert!(told[0].ends_with(&format!("may not publish on {T2}")), "{told:?}");
}

#[test]
fn revoked_device_receives_nothing_after_the_answer() {
    let mut world = World::new();
    let (shown, id) = world.paired(1, PUMP);
    let (_, other) = world.paired(2, "infusion-pump/pump-2");
    for (connection, topic) in [(id, T2), (id, T4), (other, T4)] {
        assert_eq!(world.subscribe(connection, topic), SubackReasonCode::GrantedQos1);
    }
    world.notices();
    // Queued and not yet sent: the revocation comes in the same moment.
    let revoked = grant(&key(1), PUMP, DeviceState::Revoked, 100, &[]);
    world.apply(&[revoked], &[(T4, b"news"), (T2, b"secret")], &[]);
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::NotAuthorized)]);
    assert!(world.closed.contains(&id));
    assert_eq!(world.deliveries(other), [b"news"]);
    assert_eq!(world.notices(), [Notice::Presence { device: device(PUMP), online: false }]);
    let (_, answer) = world.connect(&shown, &Options::default());
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Banned, .. }));
    assert!(world.records.values().all(|value| !value.windows(6).any(|bytes| bytes == b"secret")), "nothing is kept");
}

#[test]
fn revocation_clears_the_queue_of_a_device_that_is_away() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    world.lose(id);
    world.apply(&[], &[(T2, b"secret")], &[]);
    assert!(world.records.values().any(|value| value.windows(6).any(|bytes| bytes == b"secret")));
    world.apply(&[grant(&key(1), PUMP, DeviceState::Revoked, 100, &[])], &[], &[]);
    assert!(world.records.values().all(|value| !value.windows(6).any(|bytes| bytes == b"secret")));
}

#[test]
fn the_site_is_told_of_a_barred_key_that_tries_to_come_back() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    world.notices();
    world.apply(&[grant(&key(1), PUMP, DeviceState::Revoked, 100, &[])], &[], &[]);
    world.notices();
    let barred =
        |count, last| Notice::Barred { device: device(PUMP), key: key(1).public().fingerprint().unwrap(), count, last };
    // The first attempt is told at once, under whatever it proves itself; those that follow soon are told together.
    world.connect(&shown, &Options::default());
    let first = world.now;
    assert_eq!(world.notices(), [barred(1, first)]);
    world.connect(&Shown::bare(&key(1), PUMP), &Options::default());
    world.connect(&shown, &Options::default());
    assert_eq!(world.notices(), []);
    let last = world.now;
    world.wait(ATTEMPT_INTERVAL);
    assert_eq!(world.notices(), [barred(2, last)]);
    world.wait(ATTEMPT_INTERVAL);
    assert_eq!(world.notices(), [], "nothing happened since");
    // Whoever only names the key has not tried.
    let liar = Shown { key: key(2), ..Shown::bare(&key(1), PUMP) };
    world.connect(&liar, &Options::default());
    assert_eq!(world.notices(), []);
}

#[test]
fn locked_device_is_cut_too_and_comes_back_when_it_is_unlocked() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    world.apply(&[grant(&key(1), PUMP, DeviceState::Locked, 1, &[])], &[], &[]);
    assert!(world.closed.contains(&id));
    world.apply(&[grant(&key(1), PUMP, DeviceState::Unknown, 2, &[])], &[], &[]);
    world.client(&Shown::bare(&key(1), PUMP));
}

#[test]
fn losing_a_right_ends_subscription_and_queue_and_the_session_begins_anew() {
    let mut world = World::new();
    let shown = Shown::bare(&key(1), PUMP);
    world.apply(&[grant(&key(1), PUMP, DeviceState::Accepted, 1, &[])], &[], &[]);
    let (id, _) = world.connect(&shown, &Options { receive_maximum: Some(1), ..Options::default() });
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::GrantedQos1);
    assert_eq!(
        world.notices(),
        [Notice::Subscribed { device: device(PUMP), key: key(1).public().fingerprint().unwrap() }]
    );
    world.apply(&[], &[(T2, b"first"), (T2, b"second")], &[]);
    assert_eq!(world.take(id).len(), 1, "the window takes one");
    world.apply(&[grant(&key(1), PUMP, DeviceState::Unknown, 2, &[])], &[(T2, b"third")], &[]);
    world.send(id, &super::world::puback(1));
    assert!(world.deliveries(id).is_empty(), "neither what waited nor what came later");
    assert!(!world.closed.contains(&id), "it may still ask");
    world.apply(&[grant(&key(1), PUMP, DeviceState::Accepted, 3, &[])], &[(T2, b"fourth")], &[]);
    assert!(world.deliveries(id).is_empty(), "the subscription did not come back by itself");
    let (_, answer) = world.connect(&shown, &Options::default());
    assert!(matches!(answer, Received::Connack { present: false, .. }), "so that the client subscribes again");
}

#[test]
fn a_topic_that_ceases_to_exist_takes_its_messages_along() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    world.subscribe(id, T4);
    world.lose(id);
    world.apply(&[], &[(T2, b"gone"), (T4, b"kept")], &[]);
    world.apply(&[], &[(T2, b"also gone")], &[T2]);
    let kept =
        |needle: &[u8]| world.records.values().any(|value| value.windows(needle.len()).any(|bytes| bytes == needle));
    assert!(!kept(b"gone") && kept(b"kept"));
}

#[test]
fn an_older_grant_or_a_repeated_step_changes_nothing() {
    let mut world = World::new();
    world.apply(&[grant(&key(1), PUMP, DeviceState::Accepted, 5, &[])], &[], &[]);
    let id = world.client(&Shown::bare(&key(1), PUMP));
    world.apply(&[grant(&key(1), PUMP, DeviceState::Unknown, 4, &[])], &[], &[]);
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::GrantedQos1, "an older version");

    let step = |number| crate::Step {
        number,
        publish: vec![crate::ControlMessage {
            topic: T2.parse().unwrap(),
            payload: b"step".to_vec().into(),
            qos: wardlink_protocol::channel::Qos::AtLeastOnce,
        }],
        ..crate::Step::default()
    };
    for number in [3, 3, 2] {
        assert!(world.broker.apply(step(number), world.now));
        world.settle();
    }
    world.rebuild();
    assert!(world.broker.apply(step(3), world.now));
    world.settle();
    assert_eq!(world.deliveries(id), [b"step"], "once, also after rebuilding");
}

#[test]
fn a_class_that_is_switched_off_may_not_ask_and_its_accepted_devices_go_on() {
    let mut world = World::new();
    let (_, paired) = world.paired(1, PUMP);
    let accepted = world.client(&Shown::bare(&key(3), "infusion-pump/pump-3"));
    world.apply(&[grant(&key(3), "infusion-pump/pump-3", DeviceState::Certified, 5, &[])], &[], &[]);
    let stranger = world.client(&Shown::bare(&key(2), "infusion-pump/pump-2"));
    let switch = |world: &mut World, number, version, names: &[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let step = crate::Step { number, clients: Some(crate::Clients { version, names }), ..crate::Step::default() };
        assert!(world.broker.apply(step, world.now));
        world.settle();
    };
    switch(&mut world, 50, 3, &["scale"]);
    switch(&mut world, 51, 2, &["infusion-pump"]);
    assert!(!world.broker.knows(stranger), "it may do nothing any more");
    let (_, refused) = world.connect(&Shown::bare(&key(2), "infusion-pump/pump-2"), &Options::default());
    assert!(matches!(refused, Received::Connack { reason: ConnectReasonCode::NotAuthorized, .. }), "{refused:?}");
    assert_eq!(world.publish(paired, ALARM, b"x"), PubackReasonCode::Success);
    assert_eq!(world.subscribe(accepted, "ais/infusion-pump/pump-3"), SubackReasonCode::GrantedQos1);
    assert_eq!(world.publish(accepted, T1, b"again"), PubackReasonCode::NotAuthorized);
    switch(&mut world, 52, 4, &["infusion-pump"]);
    let again = world.client(&Shown::bare(&key(2), "infusion-pump/pump-2"));
    assert_eq!(world.publish(again, T1, b"please"), PubackReasonCode::Success);
}

#[test]
fn channels_that_are_taken_away_end_at_once() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let down = "ais/ctl/alarm/infusion-pump/pump-1";
    world.subscribe(id, down);
    let mut fewer = world.grants[0].clone();
    fewer.version = 50;
    fewer.channels = vec![channel("telemetry")];
    world.apply(&[fewer], &[(down, b"x")], &[]);
    assert!(world.deliveries(id).is_empty());
    assert_eq!(world.publish(id, ALARM, b"x"), PubackReasonCode::NotAuthorized);
    assert_eq!(world.publish(id, "ais/data/telemetry/infusion-pump/pump-1", b"x"), PubackReasonCode::Success);
}

#[test]
fn rights_are_asked_again_on_delivery() {
    let mut world = World::new();
    let short = world.certificate(&key(1), PUMP, Purpose::Device, Duration::from_mins(1));
    world.apply(&[grant(&key(1), PUMP, DeviceState::Paired, 1, &[&short])], &[], &[]);
    let shown = Shown::certificate(&key(1), &short);
    let (id, _) = world.connect(&shown, &Options { receive_maximum: Some(1), ..Options::default() });
    world.subscribe(id, T4);
    world.apply(&[], &[(T4, b"1"), (T4, b"2")], &[]);
    world.take(id);
    world.now = world.now.after(Duration::from_mins(2));
    world.send(id, &super::world::puback(1));
    assert!(world.deliveries(id).is_empty(), "the certificate has ended since");
}

#[test]
fn qos_2_subscriptions_get_qos_1() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.send(id, &super::world::subscribe(T2, Qos::ExactlyOnce));
    assert_eq!(world.take(id), [Received::Suback(vec![SubackReasonCode::GrantedQos1])]);
}

#[test]
fn a_connection_that_may_do_nothing_any_more_is_sent_away_and_keeps_its_session() {
    let mut world = World::new();
    let bare = key(1);
    let certificate = world.certificate(&bare, PUMP, Purpose::Pairing, Duration::from_hours(1));
    world.apply(&[grant(&bare, PUMP, DeviceState::Certified, 1, &[&certificate])], &[], &[]);
    let id = world.client(&Shown::bare(&bare, PUMP));
    world.apply(&[grant(&bare, PUMP, DeviceState::Confirmed, 2, &[&certificate])], &[], &[]);
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::NotAuthorized)]);
    let (id, answer) = world.connect(&Shown::certificate(&bare, &certificate), &Options::default());
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, present: true, .. }));
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::GrantedQos1);
}

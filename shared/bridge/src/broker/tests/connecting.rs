//! CONNECT, authentication, sessions, keep-alive.

use super::world::{HOST, Options, Shown, auth, connect, disconnect, number, publish, subscribe};
use super::{Received, World, device, grant, key};
use crate::Notice;
use crate::connection::Phase;
use crate::limits::{
    MAX_BEGUN_BYTES, MAX_CONNECTIONS_PER_ADDRESS, MAX_SESSIONS_PER_KEY, RECEIVE_MAXIMUM, SERVER_KEEP_ALIVE_SECS,
    TOPIC_ALIAS_MAXIMUM,
};
use core::time::Duration;
use mqtt_protocol_core::mqtt::packet::{Properties, PropertyId, Qos, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::Purpose;

const PUMP: &str = "infusion-pump/pump-1";
const T2: &str = "ais/infusion-pump/pump-1";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";
const HOUR: Duration = Duration::from_hours(1);

fn refusal(answer: &Received) -> ConnectReasonCode {
    match answer {
        Received::Connack { reason, .. } => *reason,
        other => panic!("no CONNACK but {other:?}"),
    }
}

fn present(answer: &Received) -> bool {
    matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, present: true, .. })
}

#[test]
fn connack_says_what_is_available() {
    let mut world = World::new();
    let options = Options { keep_alive: 0, expiry: 1_000, ..Options::default() };
    let (_, answer) = world.connect(&Shown::bare(&key(1), PUMP), &options);
    let Received::Connack { reason, present, properties } = answer else { panic!() };
    assert_eq!((reason, present), (ConnectReasonCode::Success, false));
    assert_eq!(number(&properties, PropertyId::MaximumQos), Some(1));
    assert_eq!(number(&properties, PropertyId::RetainAvailable), Some(0));
    assert_eq!(number(&properties, PropertyId::SharedSubscriptionAvailable), Some(0));
    assert_eq!(number(&properties, PropertyId::WildcardSubscriptionAvailable), None, "available unless said otherwise");
    assert_eq!(number(&properties, PropertyId::ReceiveMaximum), Some(u32::from(RECEIVE_MAXIMUM)));
    assert_eq!(number(&properties, PropertyId::TopicAliasMaximum), Some(u32::from(TOPIC_ALIAS_MAXIMUM)));
    assert_eq!(number(&properties, PropertyId::ServerKeepAlive), Some(u32::from(SERVER_KEEP_ALIVE_SECS)));
    assert_eq!(number(&properties, PropertyId::SessionExpiryInterval), Some(60), "nobody knows this key");
}

#[test]
fn wrong_proof_other_host_and_other_method_are_refused() {
    let mut world = World::new();
    let honest = Shown::bare(&key(1), PUMP);
    let (id, answer) = world.connect(&Shown { key: key(2), ..honest.clone() }, &Options::default());
    assert_eq!(refusal(&answer), ConnectReasonCode::NotAuthorized);
    assert!(world.closed.contains(&id));

    let (_, hello) = ClientAuthentication::start(honest.identity, "pump", "elsewhere.example", &mut world.rng).unwrap();
    let id = world.open();
    world.send(id, &connect(&Options::default(), &hello));
    assert_eq!(refusal(&world.take(id)[0]), ConnectReasonCode::NotAuthorized);

    let id = world.open();
    let plain = v5_0::Connect::builder().client_id("pump").unwrap().build().unwrap();
    world.send(id, &plain.to_continuous_buffer());
    assert_eq!(refusal(&world.take(id)[0]), ConnectReasonCode::BadAuthenticationMethod);
}

#[test]
fn a_recorded_proof_is_worth_nothing() {
    let mut world = World::new();
    let shown = Shown::bare(&key(1), PUMP);
    let (client, hello) = ClientAuthentication::start(shown.identity, "pump", HOST, &mut world.rng).unwrap();
    let first = world.open();
    world.send(first, &connect(&Options::default(), &hello));
    let Received::Auth { data, .. } = world.take(first).remove(0) else { panic!() };
    let (_, proof) = client.prove(&data, &shown.key).unwrap();
    let second = world.open();
    world.send(second, &connect(&Options::default(), &hello));
    world.take(second);
    world.send(second, &auth(AuthReasonCode::ContinueAuthentication, &proof));
    assert_eq!(refusal(&world.take(second)[0]), ConnectReasonCode::NotAuthorized);
}

#[test]
fn what_is_not_available_is_refused_by_name() {
    let mut world = World::new();
    let with_will = |qos, retain| {
        let builder = v5_0::Connect::builder().client_id("pump").unwrap();
        builder.will_message("ais/x", "gone", qos, retain).unwrap().build().unwrap().to_continuous_buffer()
    };
    let empty_id = v5_0::Connect::builder().client_id("").unwrap().build().unwrap().to_continuous_buffer();
    for (packet, reason) in [
        (with_will(Qos::ExactlyOnce, false), ConnectReasonCode::QosNotSupported),
        (with_will(Qos::AtLeastOnce, true), ConnectReasonCode::RetainNotSupported),
        (with_will(Qos::AtLeastOnce, false), ConnectReasonCode::ImplementationSpecificError),
        (empty_id, ConnectReasonCode::ClientIdentifierNotValid),
    ] {
        let id = world.open();
        world.send(id, &packet);
        assert_eq!(refusal(&world.take(id)[0]), reason);
        assert!(world.closed.contains(&id));
    }
    let id = world.open();
    world.send(id, b"\x10\x10\x00\x04MQTT\x03\x02\x00\x3c\x00\x04pump");
    assert_eq!(world.take(id), [Received::Older(vec![0x20, 2, 0, 1])], "an older MQTT is told in its own words");
    let id = world.open();
    world.send(id, b"\x10\x11\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x04pump");
    assert_eq!(refusal(&world.take(id)[0]), ConnectReasonCode::UnsupportedProtocolVersion, "and a newer one");
}

#[test]
fn keys_without_rights_do_not_connect() {
    let mut world = World::new();
    let (_, answer) = world.connect(&Shown::bare(&key(1), "toaster/t-1"), &Options::default());
    assert_eq!(refusal(&answer), ConnectReasonCode::NotAuthorized, "no such class");
    for (version, state, reason) in [
        (1, DeviceState::Revoked, ConnectReasonCode::Banned),
        (2, DeviceState::Locked, ConnectReasonCode::Banned),
        (3, DeviceState::Confirmed, ConnectReasonCode::NotAuthorized),
    ] {
        world.apply(&[grant(&key(2), PUMP, state, version, &[])], &[], &[]);
        let (_, answer) = world.connect(&Shown::bare(&key(2), PUMP), &Options::default());
        assert_eq!(refusal(&answer), reason, "{state:?}");
    }
    world.apply(&[grant(&key(3), PUMP, DeviceState::Accepted, 1, &[])], &[], &[]);
    let (_, answer) = world.connect(&Shown::bare(&key(3), "infusion-pump/pump-2"), &Options::default());
    assert_eq!(refusal(&answer), ConnectReasonCode::NotAuthorized, "the key belongs to another device");
}

#[test]
fn a_foreign_or_unlisted_certificate_does_not_connect() {
    let mut world = World::new();
    let mut elsewhere = World::new();
    elsewhere.rng.0 = 99;
    let stranger = World::certificate(&mut elsewhere, &key(4), PUMP, Purpose::Device, HOUR);
    let listed = world.certificate(&key(4), PUMP, Purpose::Device, HOUR);
    let unlisted = world.certificate(&key(4), PUMP, Purpose::Device, HOUR);
    world.apply(&[grant(&key(4), PUMP, DeviceState::Paired, 1, &[&listed])], &[], &[]);
    for (certificate, works) in [(&stranger, false), (&unlisted, false), (&listed, true)] {
        let (_, answer) = world.connect(&Shown::certificate(&key(4), certificate), &Options::default());
        assert_eq!(refusal(&answer) == ConnectReasonCode::Success, works);
    }
}

#[test]
fn an_expired_certificate_still_renews() {
    let mut world = World::new();
    let short = world.certificate(&key(1), PUMP, Purpose::Device, HOUR);
    world.apply(&[grant(&key(1), PUMP, DeviceState::Paired, 1, &[&short])], &[], &[]);
    let shown = Shown::certificate(&key(1), &short);
    let id = world.client(&shown);
    assert_eq!(world.publish(id, "ais/data/alarm/infusion-pump/pump-1", b"a"), PubackReasonCode::Success);
    world.now = world.now.after(2 * HOUR);
    assert_eq!(world.publish(id, "ais/data/alarm/infusion-pump/pump-1", b"b"), PubackReasonCode::NotAuthorized);
    let id = world.client(&shown);
    assert_eq!(world.publish(id, "ais/command/infusion-pump", b"c"), PubackReasonCode::NotAuthorized);
    assert_eq!(world.publish(id, "ais/renew/infusion-pump", b"d"), PubackReasonCode::Success);
}

#[test]
fn session_goes_on_after_reconnecting_and_ends_when_it_may() {
    let mut world = World::new();
    let (shown, id) = world.paired(1, PUMP);
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::GrantedQos1);
    world.send(id, &disconnect());
    world.apply(&[], &[(T2, b"while away")], &[]);
    let (id, answer) = world.connect(&shown, &Options::default());
    assert!(present(&answer));
    assert_eq!(world.deliveries(id), [b"while away"]);

    let clean = Options { clean_start: true, ..Options::default() };
    let (id, answer) = world.connect(&shown, &clean);
    assert!(!present(&answer), "a clean start forgets");
    world.apply(&[], &[(T2, b"nobody subscribed")], &[]);
    assert!(world.deliveries(id).is_empty());

    world.send(id, &disconnect());
    world.wait(Duration::from_secs(3_601));
    let (_, answer) = world.connect(&shown, &Options::default());
    assert!(!present(&answer), "the session ended after its hour");
}

#[test]
fn session_without_expiry_ends_with_its_connection() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let options = Options { expiry: 0, client_id: "brief", ..Options::default() };
    let (id, _) = world.connect(&shown, &options);
    world.lose(id);
    let (_, answer) = world.connect(&shown, &options);
    assert!(!present(&answer));
}

#[test]
fn the_newer_connection_takes_the_session_over() {
    let mut world = World::new();
    let (shown, old) = world.paired(1, PUMP);
    world.subscribe(old, T2);
    world.notices();
    let (new, answer) = world.connect(&shown, &Options::default());
    assert!(present(&answer));
    assert_eq!(world.take(old), [Received::Disconnect(DisconnectReasonCode::SessionTakenOver)]);
    assert!(world.closed.contains(&old));
    world.apply(&[], &[(T2, b"once")], &[]);
    assert_eq!(world.deliveries(new), [b"once"]);
    assert!(world.notices().is_empty(), "the device was there all the time");
}

#[test]
fn another_key_never_gets_the_session() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.subscribe(id, T2);
    let (_, answer) = world.connect(&Shown::bare(&key(9), PUMP), &Options::default());
    assert!(!present(&answer));
    assert!(!world.closed.contains(&id), "and does not disturb it");
}

#[test]
fn a_new_certificate_on_a_live_connection_changes_its_rights_at_once() {
    let mut world = World::new();
    let bare = key(1);
    let id = world.client(&Shown::bare(&bare, PUMP));
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::NotAuthorized);
    let certificate = world.certificate(&bare, PUMP, Purpose::Pairing, HOUR);
    world.apply(&[grant(&bare, PUMP, DeviceState::Certified, 1, &[&certificate])], &[], &[]);
    assert_eq!(world.subscribe(id, T2), SubackReasonCode::GrantedQos1);
    assert_eq!(world.publish(id, "ais/command/infusion-pump", b"x"), PubackReasonCode::NotAuthorized);

    let answer = world.authenticate_again(id, &Shown::certificate(&bare, &certificate), "pump");
    assert!(matches!(answer, Received::Auth { reason: AuthReasonCode::Success, .. }), "{answer:?}");
    assert_eq!(world.publish(id, "ais/command/infusion-pump", b"x"), PubackReasonCode::Success);
    assert_eq!(world.publish(id, "ais/register/infusion-pump", b"x"), PubackReasonCode::NotAuthorized);
    world.apply(&[], &[(T2, b"still subscribed")], &[]);
    assert_eq!(world.deliveries(id), [b"still subscribed"]);
}

#[test]
fn authenticating_again_survives_a_rebuild_and_needs_the_same_key() {
    let mut world = World::new();
    let bare = key(1);
    let id = world.client(&Shown::bare(&bare, PUMP));
    let certificate = world.certificate(&bare, PUMP, Purpose::Pairing, HOUR);
    world.apply(&[grant(&bare, PUMP, DeviceState::Certified, 1, &[&certificate])], &[], &[]);
    let shown = Shown::certificate(&bare, &certificate);
    let (client, hello) = ClientAuthentication::start(shown.identity, "pump", HOST, &mut world.rng).unwrap();
    world.send(id, &auth(AuthReasonCode::ReAuthenticate, &hello));
    let Received::Auth { data, .. } = world.take(id).remove(0) else { panic!() };
    world.rebuild();
    let (_, proof) = client.prove(&data, &bare).unwrap();
    world.send(id, &auth(AuthReasonCode::ContinueAuthentication, &proof));
    assert!(matches!(world.take(id)[0], Received::Auth { reason: AuthReasonCode::Success, .. }));

    let answer = world.authenticate_again(id, &Shown::bare(&key(2), PUMP), "pump");
    assert_eq!(answer, Received::Disconnect(DisconnectReasonCode::NotAuthorized));
    assert!(world.closed.contains(&id));
}

#[test]
fn connecting_survives_a_rebuild_between_challenge_and_proof() {
    let mut world = World::new();
    let shown = Shown::bare(&key(1), PUMP);
    let id = world.open();
    let (client, hello) = ClientAuthentication::start(shown.identity, "pump", HOST, &mut world.rng).unwrap();
    world.send(id, &connect(&Options::default(), &hello));
    let Received::Auth { data, .. } = world.take(id).remove(0) else { panic!() };
    world.rebuild();
    let (_, proof) = client.prove(&data, &shown.key).unwrap();
    world.send(id, &auth(AuthReasonCode::ContinueAuthentication, &proof));
    assert_eq!(refusal(&world.take(id)[0]), ConnectReasonCode::Success);
}

#[test]
fn nothing_but_authentication_is_heard_before_connack() {
    let mut world = World::new();
    let early: [Vec<u8>; 3] = [
        publish("ais/register/infusion-pump", b"x", Some(1)),
        subscribe(T2, Qos::AtLeastOnce),
        auth(AuthReasonCode::ContinueAuthentication, b"x"),
    ];
    for packet in &early {
        let id = world.open();
        world.send(id, packet);
        assert!(world.closed.contains(&id) && world.take(id).is_empty());
    }
    for packet in early.iter().take(2) {
        let id = world.open();
        let shown = Shown::bare(&key(1), PUMP);
        let (_, hello) = ClientAuthentication::start(shown.identity, "pump", HOST, &mut world.rng).unwrap();
        world.send(id, &connect(&Options::default(), &hello));
        world.take(id);
        world.send(id, packet);
        assert_eq!(refusal(&world.take(id)[0]), ConnectReasonCode::ProtocolError);
    }
    assert!(world.for_site(crate::Stream::Request).is_empty());
}

#[test]
fn silent_clients_are_disconnected() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let silent = world.open();
    world.wait(Duration::from_secs(21));
    assert!(world.closed.contains(&silent), "nothing was proved in time");
    world.wait(Duration::from_mins(1));
    assert!(!world.closed.contains(&id), "one and a half times 60 s");
    world.send(id, &v5_0::Pingreq::new().to_continuous_buffer());
    assert_eq!(world.take(id), [Received::Ping]);
    world.wait(Duration::from_secs(89));
    assert!(!world.closed.contains(&id));
    world.wait(Duration::from_secs(2));
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::KeepAliveTimeout)]);
}

#[test]
fn rebuilding_neither_forgets_that_a_client_is_silent_nor_cuts_one_that_is_not() {
    let mut world = World::new();
    let (_, silent) = world.paired(1, PUMP);
    let (_, alive) = world.paired(2, "infusion-pump/pump-2");
    for _ in 0..8 {
        world.now = world.now.after(Duration::from_secs(14));
        world.send(alive, &v5_0::Pingreq::new().to_continuous_buffer());
        world.rebuild();
        world.wait(Duration::ZERO);
    }
    assert!(world.closed.contains(&silent), "the object was rebuilt again and again in its 112 s of silence");
    world.now = world.now.after(Duration::from_mins(1));
    world.rebuild();
    world.wait(Duration::ZERO);
    assert!(!world.closed.contains(&alive), "its ping is due just now");
}

#[test]
fn begun_packets_are_bounded_on_all_connections_together() {
    let mut world = World::new();
    let packet = publish(ALARM, &vec![0; 70_000], Some(1));
    let begun = &packet[..70_000];
    let (shown, template) = world.paired(1, PUMP);
    let live = world.broker.connections[&template].live().unwrap().clone();
    // So many sessions would take long to open: the connections share one, by hand.
    for _ in 0..MAX_BEGUN_BYTES / begun.len() {
        let id = world.open();
        let connection = world.broker.connections.get_mut(&id).unwrap();
        connection.durable.phase = Phase::Live(live.clone());
        world.send(id, begun);
        assert!(world.broker.knows(id));
    }
    let id = world.client(&shown);
    world.send(id, begun);
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::ServerBusy)]);
}

#[test]
fn presence_of_paired_devices_is_told() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    let presence = |online| Notice::Presence { device: device(PUMP), online };
    assert_eq!(world.notices(), [presence(true)]);
    world.rebuild();
    assert!(world.notices().is_empty(), "a rebuilt object changes nothing");
    world.lose(id);
    assert_eq!(world.notices(), [presence(false)]);
    world.client(&Shown::bare(&key(2), PUMP));
    assert!(world.notices().is_empty(), "a bare key is no paired device");
}

#[test]
fn a_crash_is_told_as_absence() {
    let mut world = World::new();
    world.paired(1, PUMP);
    world.notices();
    world.crash();
    assert_eq!(world.notices(), [Notice::Presence { device: device(PUMP), online: false }]);
}

#[test]
fn sessions_of_one_key_are_bounded() {
    let mut world = World::new();
    let (shown, _) = world.paired(1, PUMP);
    let ids: [&'static str; MAX_SESSIONS_PER_KEY] = ["a", "b", "c", "d"];
    for (number, client_id) in ids.into_iter().enumerate() {
        let (_, answer) = world.connect(&shown, &Options { client_id, ..Options::default() });
        let full = number + 1 == MAX_SESSIONS_PER_KEY;
        let expected = if full { ConnectReasonCode::QuotaExceeded } else { ConnectReasonCode::Success };
        assert_eq!(refusal(&answer), expected, "session {number} beside the first one");
    }
}

#[test]
fn without_the_table_everybody_is_turned_away() {
    let mut world = World::new();
    let (shown, id) = world.paired(1, PUMP);
    world.broker = crate::Broker::default();
    let fresh = world.open();
    let (_, hello) = ClientAuthentication::start(shown.identity, "pump", HOST, &mut world.rng).unwrap();
    world.send(fresh, &connect(&Options::default(), &hello));
    let answers = world.take(fresh);
    assert_eq!(refusal(&answers[0]), ConnectReasonCode::ServerUnavailable);
    let none: Properties = Vec::new();
    assert!(matches!(&answers[0], Received::Connack { properties, .. } if *properties == none));
    assert!(!world.broker.knows(id));
    let step = crate::Step { number: 99, ..crate::Step::default() };
    assert!(!world.broker.apply(step, world.now), "and no step of the site is lost");
}

#[test]
fn connections_of_one_address_are_bounded() {
    let mut world = World::new();
    let open: Vec<_> = (0..MAX_CONNECTIONS_PER_ADDRESS).map(|_| world.open()).collect();
    assert!(world.closed.is_empty());
    let surplus = world.open();
    assert!(world.closed.contains(&surplus) && !world.broker.knows(surplus));
    world.lose(open[0]);
    let next = world.open();
    assert!(world.broker.knows(next));
}

#[test]
fn a_text_frame_is_no_mqtt() {
    let mut world = World::new();
    let (_, id) = world.paired(1, PUMP);
    world.broker.received_text(id, world.now);
    world.settle();
    assert_eq!(world.take(id), [Received::Disconnect(DisconnectReasonCode::ProtocolError)]);
}

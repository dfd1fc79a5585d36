//! MQTT 3.1.1, tokens, and client certificates that were proved in TLS.

use super::world::{HOST, Options, Shown, connect, disconnect, publish, subscribe};
use super::{Received, World, device, grant, key};
use crate::auth::CredentialError;
use crate::limits::{MAX_FIRST_PACKET_BYTES, MAX_TOKENS_PER_KEY, PIECE_BYTES};
use crate::storage::Table;
use crate::{Cause, ConnectionId, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder};
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry, SubOpts, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, PubackReasonCode};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::token::{self, TokenError};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::stamp::Publisher;

const PUMP: &str = "infusion-pump/pump-1";
const T1: &str = "ais/register/infusion-pump";
const T2: &str = "ais/infusion-pump/pump-1";
const T3: &str = "ais/command/infusion-pump";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";
const HOUR: Duration = Duration::from_hours(1);

const ACCEPTED: u8 = 0;
const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;

/// A client of MQTT 3.1.1.
struct Older<'a> {
    key: PrivateKey,
    certificate: Option<&'a Certificate>,
    client_id: &'a str,
    clean: bool,
}

impl<'a> Older<'a> {
    fn new(seed: u64, certificate: Option<&'a Certificate>) -> Self {
        Self { key: key(seed), certificate, client_id: "pump", clean: true }
    }

    fn token(&self, world: &mut World) -> Vec<u8> {
        let purpose = token::Purpose { host: HOST, client_id: self.client_id, now: world.now };
        let chain: Vec<_> = self.certificate.into_iter().map(Certificate::to_bytes).collect();
        let shown = if chain.is_empty() { token::Shown::BareKey } else { token::Shown::Certificate(&chain) };
        token::make(shown, &device(PUMP), purpose, &self.key, &mut world.rng).unwrap().into_bytes()
    }

    fn packet(&self, user_name: Option<&str>, password: Option<&[u8]>) -> Vec<u8> {
        let builder = v3_1_1::Connect::builder().client_id(self.client_id).unwrap();
        let mut builder = builder.clean_session(self.clean).keep_alive(60);
        if let Some(name) = user_name {
            builder = builder.user_name(name).unwrap();
        }
        if let Some(password) = password {
            builder = builder.password(password.to_vec()).unwrap();
        }
        builder.build().unwrap().to_continuous_buffer()
    }

    /// Connects with a new token; returns CONNACK's flag and code.
    fn connect(&self, world: &mut World) -> (ConnectionId, (bool, u8)) {
        let token = self.token(world);
        open(world, &self.packet(Some(""), Some(&token)))
    }

    fn connected(&self, world: &mut World) -> ConnectionId {
        let (id, (_, code)) = self.connect(world);
        assert_eq!(code, ACCEPTED, "{:?}", world.causes.get(&id));
        id
    }
}

fn open(world: &mut World, packet: &[u8]) -> (ConnectionId, (bool, u8)) {
    let id = world.open();
    (id, say_connect(world, id, packet))
}

fn say_connect(world: &mut World, id: ConnectionId, packet: &[u8]) -> (bool, u8) {
    world.older.insert(id);
    world.send(id, packet);
    match world.raw.remove(&id).as_deref() {
        Some([0x20, 2, present, code, rest @ ..]) => {
            assert_eq!(world.closed.contains(&id), *code != ACCEPTED);
            world.raw.insert(id, rest.to_vec());
            (*present == 1, *code)
        }
        other => panic!("no CONNACK of MQTT 3.1.1 but {other:?}"),
    }
}

fn older_publish(topic: &str, payload: &[u8], id: Option<u16>) -> Vec<u8> {
    let builder = v3_1_1::Publish::builder().topic_name(topic).unwrap().payload(payload);
    let builder = match id {
        Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id),
        None => builder.qos(Qos::AtMostOnce),
    };
    builder.build().unwrap().to_continuous_buffer()
}

fn older_subscribe(filter: &str) -> Vec<u8> {
    let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::ExactlyOnce)).unwrap();
    let packet = v3_1_1::Subscribe::builder().packet_id(5_u16).entries(vec![entry]).build().unwrap();
    packet.to_continuous_buffer()
}

/// The topics, payloads and packet ids that a client of MQTT 3.1.1 was sent.
fn published(bytes: &[u8]) -> Vec<(String, Vec<u8>, Option<u16>)> {
    let (mut cursor, mut builder, mut packets) = (Cursor::new(bytes), PacketBuilder::new(), Vec::new());
    while let PacketBuildResult::Complete(raw) = builder.feed(&mut cursor) {
        if raw.is_publish() {
            let packet = v3_1_1::Publish::parse(raw.flags(), raw.data_as_slice().into()).unwrap().0;
            let payload = packet.payload().as_slice().to_vec();
            packets.push((packet.topic_name().to_owned(), payload, packet.packet_id()));
        }
    }
    packets
}

fn paired(world: &mut World, seed: u64) -> Certificate {
    let certificate = world.certificate(&key(seed), PUMP, Purpose::Device, HOUR * 24);
    world.apply(&[grant(&key(seed), PUMP, DeviceState::Paired, seed, &[&certificate])], &[], &[]);
    certificate
}

#[test]
fn a_device_pairs_over_mqtt_3_1_1_as_far_as_the_bridge_has_to_do_with_it() {
    let mut world = World::new();
    let bare = Older { clean: false, ..Older::new(1, None) };
    let id = bare.connected(&mut world);
    world.send(id, &older_subscribe(T2));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x90, 3, 0, 5, 0x80], "T2 does not exist yet");
    world.send(id, &older_publish(T1, b"request", Some(1)));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x40, 2, 0, 1]);
    let requests = world.for_site(Stream::Request);
    let publisher =
        Publisher::Key { key: key(1).public().fingerprint().unwrap(), device: device(PUMP), certificate: None };
    assert_eq!((requests.len(), &requests[0].publisher), (1, &publisher), "stamped like any other");

    let provisional = world.certificate(&key(1), PUMP, Purpose::Pairing, HOUR);
    let certified = grant(&key(1), PUMP, DeviceState::Certified, 1, &[&provisional]);
    world.apply(&[certified], &[], &[]);
    world.send(id, &older_subscribe(T2));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x90, 3, 0, 5, 1], "QoS 2 is granted as QoS 1");
    world.apply(&[], &[(T2, b"command")], &[]);
    let got = published(&world.raw.remove(&id).unwrap());
    assert_eq!(got, [(T2.to_owned(), b"command".to_vec(), Some(1))]);

    // There is no other way to show the certificate than to come back.
    let certified = Older { clean: false, ..Older::new(1, Some(&provisional)) };
    let (id, answer) = certified.connect(&mut world);
    assert_eq!(answer, (true, ACCEPTED), "the session belongs to the key");
    let again = published(&world.raw.remove(&id).unwrap_or_default());
    assert_eq!(again, [(T2.to_owned(), b"command".to_vec(), Some(1))], "what was not acknowledged comes again");
    world.send(id, &[0x40, 2, 0, 1]);
    world.send(id, &older_publish(T3, b"verified", Some(2)));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x40, 2, 0, 2]);
    assert_eq!(world.for_site(Stream::Pairing).len(), 1);
    world.send(id, &[0xc0, 0]);
    assert_eq!(world.raw.remove(&id).unwrap(), [0xd0, 0]);
    world.send(id, &[0xe0, 0]);
    assert!(world.closed.contains(&id) && !world.causes.contains_key(&id), "the client took leave");
}

#[test]
fn a_token_counts_once_also_after_rebuilding() {
    let mut world = World::new();
    let client = Older::new(1, None);
    let token = client.token(&mut world);
    let packet = client.packet(Some(PUMP), Some(&token));
    assert_eq!(open(&mut world, &packet).1, (false, ACCEPTED));
    let replayed = Cause::Credential(CredentialError::Replayed);
    let (id, answer) = open(&mut world, &packet);
    assert_eq!((answer, &world.causes[&id]), ((false, NOT_AUTHORIZED), &replayed));
    world.rebuild();
    let (id, answer) = open(&mut world, &packet);
    assert_eq!((answer, &world.causes[&id]), ((false, NOT_AUTHORIZED), &replayed));
    world.crash();
    assert_eq!(open(&mut world, &packet).1, (false, NOT_AUTHORIZED));
    assert!(world.records.keys().any(|key| key.table == Table::Token));
    world.wait(token::TOKEN_LIFE + token::CLOCK_TOLERANCE + Duration::from_secs(2));
    assert!(
        !world.records.keys().any(|key| key.table == Table::Token),
        "it is forgotten when nobody takes it any more"
    );
    let (id, _) = open(&mut world, &packet);
    assert_eq!(world.causes[&id], Cause::Credential(CredentialError::Token(TokenError::Time)));
}

#[test]
fn tokens_that_are_remembered_are_bounded_per_key() {
    let mut world = World::new();
    let client = Older::new(1, None);
    for _ in 0..MAX_TOKENS_PER_KEY {
        client.connected(&mut world);
    }
    let (id, (_, code)) = client.connect(&mut world);
    assert_eq!((code, &world.causes[&id]), (3, &Cause::Credential(CredentialError::TooManyTokens)));
    Older::new(2, None).connected(&mut world);
}

#[test]
fn wrong_tokens_are_refused_in_the_words_of_mqtt_3_1_1() {
    let mut world = World::new();
    let (certificate, stranger) =
        (paired(&mut world, 1), World::of_site(8).certificate(&key(1), PUMP, Purpose::Device, HOUR));
    let client = Older::new(1, Some(&certificate));
    let refused = |world: &mut World, packet: &[u8]| {
        let (id, (_, code)) = open(world, packet);
        (code, world.causes[&id].clone())
    };
    let credential = |error: CredentialError| Cause::Credential(error);
    let plain = client.packet(None, None);
    assert_eq!(refused(&mut world, &plain), (BAD_USER_NAME_OR_PASSWORD, credential(CredentialError::Missing)));
    let junk = client.packet(Some(""), Some(b"secret"));
    let malformed = credential(CredentialError::Token(TokenError::Malformed));
    assert_eq!(refused(&mut world, &junk), (BAD_USER_NAME_OR_PASSWORD, malformed));
    let token = client.token(&mut world);
    let other_name = client.packet(Some("infusion-pump/pump-2"), Some(&token));
    assert_eq!(refused(&mut world, &other_name), (NOT_AUTHORIZED, credential(CredentialError::Contradiction)));
    let other_client = Older { client_id: "other", ..Older::new(1, None) }.packet(Some(""), Some(&token));
    let client_id = credential(CredentialError::Token(TokenError::ClientId));
    assert_eq!(refused(&mut world, &other_client), (NOT_AUTHORIZED, client_id));
    let foreign = Older::new(1, Some(&stranger)).token(&mut world);
    let (code, _) = refused(&mut world, &client.packet(Some(""), Some(&foreign)));
    assert_eq!(code, NOT_AUTHORIZED, "a certificate of another site");
    let service = world.certificate(&key(1), PUMP, Purpose::ControlUnit, HOUR);
    let of_control = Older::new(1, Some(&service)).token(&mut world);
    let (code, _) = refused(&mut world, &client.packet(Some(""), Some(&of_control)));
    assert_eq!(code, NOT_AUTHORIZED, "a certificate for another purpose");

    assert_eq!(open(&mut world, &client.packet(Some(PUMP), Some(&token))).1, (false, ACCEPTED), "nothing was used up");
    world.apply(&[grant(&key(1), PUMP, DeviceState::Revoked, 9, &[&certificate])], &[], &[]);
    let token = client.token(&mut world);
    let revoked = refused(&mut world, &client.packet(Some(""), Some(&token)));
    assert_eq!(revoked, (NOT_AUTHORIZED, Cause::Unwelcome(PUMP.parse().unwrap())));
}

#[test]
fn what_mqtt_3_1_1_has_no_word_for_ends_the_connection() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let client = Older::new(1, Some(&certificate));
    let retained = v3_1_1::Publish::builder().topic_name(ALARM).unwrap().qos(Qos::AtMostOnce).retain(true);
    let retained = retained.payload("x").build().unwrap().to_continuous_buffer();
    for (packet, reason) in [
        (older_publish("ais/data/alarm/infusion-pump/pump-2", b"x", Some(3)), DisconnectReasonCode::NotAuthorized),
        (older_publish("elsewhere", b"x", Some(3)), DisconnectReasonCode::TopicNameInvalid),
        (retained, DisconnectReasonCode::RetainNotSupported),
        (vec![0x34, 5, 0, 1, b'a', 0, 1], DisconnectReasonCode::QosNotSupported),
        (vec![0x38, 4, 0, 1, b'a', b'x'], DisconnectReasonCode::MalformedPacket),
        (vec![0x82, 6, 0, 1, 0, 1, b'a', 0x05], DisconnectReasonCode::MalformedPacket),
        (vec![0xf0, 0], DisconnectReasonCode::ProtocolError),
        (vec![0xe0, 1, 0], DisconnectReasonCode::MalformedPacket),
        (vec![0x32, 5, 0, 1, b'a', 0, 0], DisconnectReasonCode::MalformedPacket),
    ] {
        let id = client.connected(&mut world);
        world.send(id, &packet);
        assert!(world.closed.contains(&id), "{packet:?}");
        assert_eq!(world.causes[&id], Cause::Disconnected(reason), "{packet:?}");
        assert!(world.raw[&id].is_empty(), "no word: there is no DISCONNECT from the server");
    }
    let id = client.connected(&mut world);
    world.send(id, &older_publish("ais/data/alarm/infusion-pump/pump-2", b"x", None));
    assert!(!world.closed.contains(&id), "QoS 0 is dropped without a word, as in MQTT 5.0");
    assert!(world.for_site(Stream::Data).is_empty());
    world.send(id, &older_publish(ALARM, b"x", Some(7)));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x40, 2, 0, 7]);
}

#[test]
fn malformed_connects_of_mqtt_3_1_1_get_no_connack() {
    let mut world = World::new();
    let client = Older::new(1, None);
    let token = client.token(&mut world);
    let good = client.packet(Some(""), Some(&token));
    let level = good.iter().position(|byte| *byte == b'T').unwrap() + 2;
    assert_eq!(good[level - 1], b'T');
    for (flags, says) in [(0xc3, "reserved"), (0xca, "QoS of no will"), (0x42, "password without a name")] {
        let mut packet = good.clone();
        packet[level + 1] = flags;
        let id = world.open();
        world.older.insert(id);
        world.send(id, &packet);
        assert!(world.closed.contains(&id) && !world.raw.contains_key(&id), "{says}");
    }
    let will = v3_1_1::Connect::builder().client_id("pump").unwrap();
    let will = will.will_message(ALARM, "gone", Qos::AtLeastOnce, false).unwrap().build().unwrap();
    assert_eq!(open(&mut world, &will.to_continuous_buffer()).1, (false, NOT_AUTHORIZED));
    let nobody = v3_1_1::Connect::builder().client_id("").unwrap().clean_session(true).build().unwrap();
    assert_eq!(open(&mut world, &nobody.to_continuous_buffer()).1, (false, 2));
    assert_eq!(open(&mut world, &good).1, (false, ACCEPTED), "nobody else is harmed");
}

#[test]
fn a_session_is_taken_over_across_versions() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let old = Older { clean: false, ..Older::new(1, Some(&certificate)) };
    let first = old.connected(&mut world);
    world.send(first, &older_subscribe(T2));
    world.apply(&[], &[(T2, b"one")], &[]);
    let (second, answer) = world.connect(&Shown::certificate(&key(1), &certificate), &Options::default());
    assert!(
        matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, present: true, .. }),
        "{answer:?}"
    );
    assert_eq!(world.causes[&first], Cause::Disconnected(DisconnectReasonCode::SessionTakenOver));
    assert_eq!(world.deliveries(second), [b"one"]);
    let (third, answer) = old.connect(&mut world);
    assert_eq!((answer, world.closed.contains(&second)), ((true, ACCEPTED), true));
    world.rebuild();
    world.apply(&[], &[(T2, b"two")], &[]);
    let got = published(&world.raw.remove(&third).unwrap());
    assert_eq!(got.last().map(|(_, payload, _)| payload.as_slice()), Some(&b"two"[..]), "it is one of 3.1.1 still");
}

#[test]
fn a_certificate_that_tls_proved_is_enough_in_either_version() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let id = world.open_from(None, Some(&certificate));
    let client = Older::new(1, None);
    assert_eq!(say_connect(&mut world, id, &client.packet(None, None)), (false, ACCEPTED));
    world.send(id, &older_publish(ALARM, b"x", Some(1)));
    assert_eq!(world.raw.remove(&id).unwrap(), [0x40, 2, 0, 1]);

    let id = world.open_from(None, Some(&certificate));
    let plain = v5_0::Connect::builder().client_id("newer").unwrap().build().unwrap().to_continuous_buffer();
    world.send(id, &plain);
    let answer = world.take(id).remove(0);
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, .. }), "{answer:?}");
    assert_eq!(world.publish(id, ALARM, b"y"), PubackReasonCode::Success);
    assert!(matches!(world.for_site(Stream::Data)[1].publisher, Publisher::Key { certificate: Some(_), .. }));
    let again = world.authenticate_again(id, &Shown::certificate(&key(1), &certificate), "newer");
    assert_eq!(again, Received::Disconnect(DisconnectReasonCode::ProtocolError), "MQTT 5.0 section 4.12.1");
}

#[test]
fn a_certificate_that_tls_proved_is_verified_and_not_mixed() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let foreign = World::of_site(8).certificate(&key(1), PUMP, Purpose::Device, HOUR);
    let other = world.certificate(&key(2), "infusion-pump/pump-2", Purpose::Device, HOUR);
    world.apply(&[grant(&key(2), "infusion-pump/pump-2", DeviceState::Paired, 2, &[&other])], &[], &[]);
    let unlisted = world.certificate(&key(1), PUMP, Purpose::Pairing, HOUR);
    let control = world.certificate(&key(1), "Site", Purpose::ControlUnit, HOUR);
    let client = Older::new(1, Some(&certificate));
    let plain = client.packet(None, None);
    for (shown, says) in [(&foreign, "another site's"), (&control, "another purpose"), (&unlisted, "not granted")] {
        let id = world.open_from(None, Some(shown));
        assert_eq!(say_connect(&mut world, id, &plain), (false, NOT_AUTHORIZED), "{says}");
    }
    for shown in [&foreign, &other] {
        let token = client.token(&mut world);
        let id = world.open_from(None, Some(shown));
        let answer = say_connect(&mut world, id, &client.packet(Some(""), Some(&token)));
        assert_eq!(answer, (false, NOT_AUTHORIZED), "a token under somebody else's certificate");
        let id = world.open_from(None, Some(shown));
        let answer = world.authenticate(id, &Shown::certificate(&key(1), &certificate), &Options::default());
        assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::NotAuthorized, .. }), "{answer:?}");
    }
    let id = world.open_from(None, Some(&certificate));
    let answer = world.authenticate(id, &Shown::certificate(&key(1), &certificate), &Options::default());
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, .. }), "both say the same");
    world.wait(HOUR * 25);
    let id = world.open_from(None, Some(&certificate));
    assert_eq!(say_connect(&mut world, id, &plain), (false, ACCEPTED), "an ended certificate still says who it is");
    world.send(id, &older_publish(ALARM, b"x", Some(1)));
    assert!(world.closed.contains(&id), "and may only renew");
}

#[test]
fn a_token_is_not_taken_in_mqtt_5_0() {
    let mut world = World::new();
    let token = Older::new(1, None).token(&mut world);
    let packet = v5_0::Connect::builder().client_id("pump").unwrap().user_name("").unwrap().password(token).unwrap();
    let id = world.open();
    world.send(id, &packet.build().unwrap().to_continuous_buffer());
    let answer = world.take(id).remove(0);
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::BadAuthenticationMethod, .. }));
}

#[test]
fn a_bridge_without_its_table_answers_in_the_clients_version() {
    let mut world = World::new();
    let client = Older::new(1, None);
    let token = client.token(&mut world);
    world.broker = crate::Broker::default();
    assert_eq!(open(&mut world, &client.packet(Some(""), Some(&token))).1, (false, 3));
}

#[test]
fn a_client_of_mqtt_3_1_1_need_not_wait_for_connack() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let client = Older::new(1, Some(&certificate));
    let token = client.token(&mut world);
    let long = vec![7; 3 * MAX_FIRST_PACKET_BYTES];
    let (id, answer) =
        open(&mut world, &[client.packet(Some(""), Some(&token)), older_publish(ALARM, &long, Some(1))].concat());
    assert_eq!(answer, (false, ACCEPTED));
    assert_eq!(
        world.raw.remove(&id).unwrap(),
        [0x40, 2, 0, 1],
        "the long packet counts after CONNECT has proved who it is"
    );
    let id = world.open();
    world.older.insert(id);
    world.send(id, &older_publish(ALARM, &long, Some(1)));
    assert!(world.closed.contains(&id) && !world.raw.contains_key(&id));
}

#[test]
fn bytes_that_come_one_by_one_are_stored_once() {
    let mut world = World::new();
    let (shown, id) = world.paired(1, PUMP);
    let packet = publish(ALARM, &[7; 3 * PIECE_BYTES], Some(1));
    let mut written = 0;
    for byte in &packet[..packet.len() - 1] {
        world.broker.received(id, &[*byte], world.now, &mut world.rng);
        let batch = world.broker.flush(world.now);
        written += batch.changes.values().flatten().map(Vec::len).sum::<usize>();
        world.keep(batch);
    }
    assert!(written < 2 * packet.len(), "{written} bytes are written for {}", packet.len());
    let pieces = |world: &World| world.records.keys().filter(|key| key.table == Table::Piece).count();
    assert_eq!(pieces(&world), 3);
    world.rebuild();
    world.send(id, &packet[packet.len() - 1..]);
    assert_eq!(world.take(id), [Received::Puback(1, PubackReasonCode::Success)]);
    assert_eq!(world.for_site(Stream::Data)[0].payload.len(), 3 * PIECE_BYTES);
    assert_eq!(pieces(&world), 0);

    world.send(id, &packet[..packet.len() - 1]);
    assert_eq!(pieces(&world), 3);
    world.lose(id);
    assert_eq!(pieces(&world), 0, "what was begun goes with its connection");
    let id = world.client(&shown);
    world.send(id, &packet[..packet.len() - 1]);
    world.crash();
    assert_eq!(pieces(&world), 0, "also where the connection did not survive");
}

#[test]
fn a_length_that_is_wrong_is_noticed_before_its_bytes_arrive() {
    for bytes in [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &[0x30, 0xff, 0xff, 0xff, 0xff]] {
        let mut world = World::new();
        let (_, id) = world.paired(1, PUMP);
        for byte in bytes {
            world.send(id, &[*byte]);
        }
        assert!(world.closed.contains(&id), "{bytes:?}");
    }
}

#[test]
fn packets_of_one_version_are_none_of_the_other() {
    let mut world = World::new();
    let certificate = paired(&mut world, 1);
    let id = Older::new(1, Some(&certificate)).connected(&mut world);
    world.send(id, &disconnect());
    let was_fine = world.closed.contains(&id);
    let id = Older::new(1, Some(&certificate)).connected(&mut world);
    world.send(id, &subscribe(T2, Qos::AtLeastOnce));
    assert!(was_fine && world.closed.contains(&id), "the properties are no filter");
    let (_, hello) = {
        let identity = ClientAuthentication::bare_key(&key(1), &device(PUMP)).unwrap();
        ClientAuthentication::start(identity, "pump", HOST, &mut world.rng).unwrap()
    };
    let id = Older::new(1, Some(&certificate)).connected(&mut world);
    world.send(id, &connect(&Options::default(), &hello));
    assert!(world.closed.contains(&id), "CONNECT comes once");
}

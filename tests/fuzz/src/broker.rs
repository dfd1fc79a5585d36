//! The broker: any bytes on a connection, in any pieces, before and after its client has proved who it is.

use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Properties, Qos, SessionExpiryInterval, SubEntry, SubOpts,
    SubscriptionIdentifier, TopicAlias, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, DisconnectReasonCode};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use wardlink_bridge::auth::ControlUnit;
use wardlink_bridge::limits::MAX_PACKET_BYTES;
use wardlink_bridge::storage::RecordKey;
use wardlink_bridge::{Broker, Clients, ConnectionId, ControlMessage, Origin, Output, SiteTable, Step, Stream};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::token::{self, Shown};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::authentication::{Identity, METHOD};
use wardlink_protocol::channel::Qos as ChannelQos;
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::stamp::Publisher;

use crate::site::{NOW, Site, rng, site};
use crate::{select, selected};

const HOST: &str = "wardlink.example";
const CLIENT: &str = "pump-1-mqtt";
const ID: ConnectionId = ConnectionId(1);
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";
const T2: &str = "ais/infusion-pump/pump-1";
/// What the platform keeps with a WebSocket, at most.
const MAX_ATTACHMENT_BYTES: usize = 16 * 1024;

/// What a broker is rebuilt from.
#[derive(Clone, Default)]
struct Stored {
    records: BTreeMap<RecordKey, Vec<u8>>,
    attachments: BTreeMap<ConnectionId, Vec<u8>>,
}

/// A broker with its storage, and what it sent.
struct World {
    broker: Broker,
    stored: Stored,
    sent: Vec<u8>,
    closed: bool,
}

impl World {
    fn restore(stored: &Stored) -> Self {
        let broker = Broker::restore(stored.records.clone(), stored.attachments.values().cloned(), NOW);
        let mut world = Self { broker, stored: stored.clone(), sent: Vec::new(), closed: false };
        world.broker.set_table(table(), NOW);
        world
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.broker.received(ID, bytes, NOW, &mut rng());
    }

    fn settle(&mut self) {
        let batch = self.broker.flush(NOW);
        for (key, value) in batch.changes {
            match value {
                Some(value) => self.stored.records.insert(key, value),
                None => self.stored.records.remove(&key),
            };
        }
        for output in batch.outputs {
            match output {
                Output::Frame { bytes, .. } => self.sent.extend(bytes),
                Output::Attachment { connection, bytes } => {
                    assert!(bytes.len() <= MAX_ATTACHMENT_BYTES, "the platform keeps no longer attachment");
                    self.stored.attachments.insert(connection, bytes);
                }
                Output::Close { connection, .. } => {
                    self.stored.attachments.remove(&connection);
                    self.closed = true;
                }
            }
        }
    }

    /// The control unit says something to the device.
    fn publish(&mut self, number: u64) {
        let (topic, payload) = (T2.parse().expect("a topic"), ByteBuf::from(b"command".to_vec()));
        let publish = vec![ControlMessage { topic, payload, qos: ChannelQos::AtLeastOnce }];
        self.broker.apply(Step { number, publish, ..Step::default() }, NOW);
        self.settle();
    }
}

fn table() -> SiteTable {
    SiteTable {
        grants: vec![GRANT.clone()],
        clients: Clients { version: 1, names: [site().device.client.clone()].into() },
        control_unit: CONTROL_UNIT.clone(),
    }
}

static CONTROL_UNIT: LazyLock<ControlUnit> = LazyLock::new(|| {
    let site = site();
    let key = site.signer.to_pkcs8().expect("a key");
    ControlUnit::new(site.chain.clone(), &key, &[site.ca.certificate().to_bytes()]).expect("a control unit")
});

static GRANT: LazyLock<Grant> = LazyLock::new(|| grant(site()));

fn grant(site: &Site) -> Grant {
    let certificate = certificate(site);
    let purpose = certificate.purpose().expect("a purpose");
    let (serial, not_after) = (certificate.serial(), certificate.validity().not_after);
    Grant {
        key: site.fingerprint(),
        device: site.device.clone(),
        state: DeviceState::Paired,
        certificates: vec![GrantedCertificate { serial, purpose, not_after }],
        channels: vec!["alarm".parse().expect("a channel")],
        access: ServiceAccess::default(),
        version: 1,
    }
}

fn certificate(site: &Site) -> Certificate {
    Certificate::parse(&site.issued[1]).expect("the final certificate")
}

/// A connection at each of its stages: opened, asked for its proof, live with the bare key, live with the certificate, live in MQTT
/// 3.1.1 with both; and the proofs that it gave.
static STAGES: LazyLock<([Stored; 6], [Vec<u8>; 2])> = LazyLock::new(|| {
    let site = site();
    let mut opened = World::restore(&Stored::default());
    opened.broker.open(
        ID,
        Origin {
            network: NetworkOrigin { address: Some("192.0.2.7".parse().expect("an address")), marker: None },
            host: HOST.into(),
            client_certificate: None,
        },
        NOW,
    );
    opened.settle();
    let bare = ClientAuthentication::bare_key(&site.key, &site.device).expect("a key");
    let certificate = Identity::Certificate { certificate: site.issued[1].clone() };
    let [(asked, by_key, first), (_, by_certificate, second)] =
        [bare, certificate].map(|identity| connect_as(&opened.stored, identity));
    let chain = [site.issued[1].clone()];
    let [older_key, older_certificate] = [Shown::BareKey, Shown::Certificate(&chain)].map(|shown| {
        let mut world = World::restore(&opened.stored);
        world.receive(&older_connect(shown));
        world.settle();
        assert!(!world.closed, "the client is accepted");
        world.stored
    });
    ([opened.stored, asked, by_key, by_certificate, older_key, older_certificate], [first, second])
});

/// CONNECT of MQTT 3.1.1.
fn older_connect(shown: Shown<'_>) -> Vec<u8> {
    let site = site();
    let purpose = token::Purpose { host: HOST, client_id: CLIENT, now: NOW };
    let token = token::make(shown, &site.device, purpose, &site.key, &mut rng()).expect("a token");
    let builder = v3_1_1::Connect::builder().client_id(CLIENT).expect("an id").keep_alive(60).clean_session(false);
    let builder = builder.user_name("").expect("a name").password(token.into_bytes()).expect("a password");
    builder.build().expect("CONNECT").to_continuous_buffer()
}

/// What a client of MQTT 3.1.1 says.
fn older_talk() -> Vec<u8> {
    let entry = SubEntry::new(T2, SubOpts::new().set_qos(Qos::AtLeastOnce)).expect("a filter");
    let subscribe = v3_1_1::Subscribe::builder().packet_id(5_u16).entries(vec![entry]).build().expect("SUBSCRIBE");
    let publish = v3_1_1::Publish::builder().topic_name(ALARM).expect("a topic").payload("payload");
    let publish = publish.qos(Qos::AtLeastOnce).packet_id(7_u16).build().expect("PUBLISH");
    let unsubscribe = v3_1_1::Unsubscribe::builder().packet_id(6_u16).entries(vec![T2]).expect("a filter");
    let unsubscribe = unsubscribe.build().expect("UNSUBSCRIBE");
    [
        subscribe.to_continuous_buffer(),
        publish.to_continuous_buffer(),
        vec![0x40, 2, 0, 1],
        unsubscribe.to_continuous_buffer(),
        vec![0xc0, 0, 0xe0, 0],
    ]
    .concat()
}

/// The connection before and after the proof, and the proof.
fn connect_as(opened: &Stored, identity: Identity) -> (Stored, Stored, Vec<u8>) {
    let mut world = World::restore(opened);
    let (client, hello) = ClientAuthentication::start(identity, CLIENT, HOST, &mut rng()).expect("a Hello");
    world.receive(&connect(&hello));
    world.settle();
    let asked = world.stored.clone();
    let (packet, _) = v5_0::Auth::parse(&world.sent[2..]).expect("AUTH");
    let properties = packet.props().clone().expect("properties");
    let challenge = properties.iter().find_map(|property| match property {
        mqtt_protocol_core::mqtt::packet::Property::AuthenticationData(data) => Some(data.val().to_vec()),
        _ => None,
    });
    let (_, proof) = client.prove(&challenge.expect("a challenge"), &site().key).expect("a proof");
    let proof = auth(AuthReasonCode::ContinueAuthentication, &proof);
    world.receive(&proof);
    world.settle();
    assert!(!world.closed, "the client is accepted");
    (asked, world.stored, proof)
}

/// The first byte selects the stage, the second how long the pieces are.
pub(crate) fn run(input: &[u8]) {
    let Some((stage, rest)) = selected(input) else { return };
    let Some((step, stream)) = selected(rest) else { return };
    let stage = &STAGES.0[usize::from(stage % 6)];
    let mut whole = World::restore(stage);
    whole.receive(stream);
    whole.settle();
    check(&whole, stream);

    let mut pieces = World::restore(stage);
    for piece in stream.chunks(usize::from(step).max(1)) {
        pieces.receive(piece);
    }
    pieces.settle();
    check(&pieces, stream);
    assert_eq!(whole.closed, pieces.closed, "pieces do not matter");
    if !whole.closed {
        assert_eq!(whole.sent, pieces.sent, "pieces do not matter");
        assert!(messages(&whole) == messages(&pieces), "pieces do not matter");
        assert!(whole.stored.records == pieces.stored.records, "pieces do not matter");
    }

    // The object is rebuilt, the control unit speaks, and another piece arrives.
    let mut again = World::restore(&whole.stored);
    again.settle();
    again.publish(1);
    again.receive(stream.get(..stream.len() / 2).unwrap_or_default());
    again.settle();
    check(&again, stream);
}

fn messages(world: &World) -> Vec<wardlink_protocol::stamp::StampedMessage> {
    let streams = [Stream::Request, Stream::Pairing, Stream::Data];
    streams.iter().filter_map(|stream| world.broker.for_site(*stream)).flat_map(|(_, messages)| messages).collect()
}

/// Whatever a client sends: it publishes under its own name only, and an answer is not longer than what it answers.
fn check(world: &World, stream: &[u8]) {
    let site = site();
    for message in messages(world) {
        let Publisher::Key { key, device, .. } = &message.publisher else { panic!("a client is not the control unit") };
        assert!(*key == site.fingerprint() && *device == site.device, "a client has one name");
        let own = [ALARM, "ais/register/infusion-pump", "ais/command/infusion-pump", "ais/renew/infusion-pump"];
        assert!(own.contains(&message.topic.as_str()), "a device publishes on its own topics");
    }
    let stored: usize = world.stored.records.values().map(Vec::len).sum();
    assert!(world.sent.len() <= 2 * stream.len() + 4096, "{} bytes answer {}", world.sent.len(), stream.len());
    assert!(stored <= 8 * stream.len() + 8192, "{stored} bytes are kept of {}", stream.len());
    assert!(stream.len() > MAX_PACKET_BYTES || world.stored.attachments.len() <= 1);
}

/// Records of a site that was in use, each with its number before it.
pub(crate) fn stored() -> Vec<Vec<u8>> {
    let used = &*USED;
    let values = used.records.values().chain(used.attachments.values());
    values.enumerate().map(|(number, value)| select(number, value)).collect()
}

static USED: LazyLock<Stored> = LazyLock::new(|| {
    let mut world = World::restore(&STAGES.0[3]);
    for packet in [subscribe(T2), publish(ALARM, Some(7)), publish(ALARM, None)] {
        world.receive(&packet);
    }
    world.settle();
    world.publish(1);
    world.receive(&publish(ALARM, Some(8))[..9]);
    world.settle();
    world.stored
});

/// One record is damaged: the broker comes up, and goes on.
pub(crate) fn damaged(bytes: &[u8]) {
    let Some((number, bytes)) = selected(bytes) else { return };
    let mut stored = USED.clone();
    let values = stored.records.values_mut().chain(stored.attachments.values_mut());
    if let Some(value) = values.into_iter().nth(usize::from(number)) {
        *value = bytes.to_vec();
    }
    let mut world = World::restore(&stored);
    world.settle();
    world.receive(&publish(ALARM, Some(9)));
    world.publish(2);
    let end = world.broker.next_deadline().unwrap_or(NOW);
    world.broker.tick(end);
    world.settle();
}

fn connect(hello: &[u8]) -> Vec<u8> {
    let properties: Properties = vec![
        AuthenticationMethod::new(METHOD).expect("a method").into(),
        AuthenticationData::new(hello.to_vec()).expect("data").into(),
        SessionExpiryInterval::new(3600).expect("seconds").into(),
    ];
    let builder = v5_0::Connect::builder().client_id(CLIENT).expect("an id").keep_alive(60);
    builder.props(properties).build().expect("CONNECT").to_continuous_buffer()
}

fn auth(reason: AuthReasonCode, data: &[u8]) -> Vec<u8> {
    let properties: Properties = vec![
        AuthenticationMethod::new(METHOD).expect("a method").into(),
        AuthenticationData::new(data.to_vec()).expect("data").into(),
    ];
    v5_0::Auth::builder().reason_code(reason).props(properties).build().expect("AUTH").to_continuous_buffer()
}

fn publish_with(topic: &str, id: Option<u16>, properties: Properties) -> Vec<u8> {
    let builder = v5_0::Publish::builder().topic_name(topic).expect("a topic").payload("payload").props(properties);
    let builder = match id {
        Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id),
        None => builder.qos(Qos::AtMostOnce),
    };
    builder.build().expect("PUBLISH").to_continuous_buffer()
}

fn publish(topic: &str, id: Option<u16>) -> Vec<u8> {
    publish_with(topic, id, Vec::new())
}

fn subscribe(filter: &str) -> Vec<u8> {
    let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).expect("a filter");
    let identifier = SubscriptionIdentifier::new(7).expect("an identifier").into();
    let builder = v5_0::Subscribe::builder().packet_id(5_u16).entries(vec![entry]).props(vec![identifier]);
    builder.build().expect("SUBSCRIBE").to_continuous_buffer()
}

fn unsubscribe(filter: &str) -> Vec<u8> {
    let builder = v5_0::Unsubscribe::builder().packet_id(6_u16).entries(vec![filter]).expect("a filter");
    builder.build().expect("UNSUBSCRIBE").to_continuous_buffer()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    let identity = ClientAuthentication::bare_key(&site.key, &site.device).expect("a key");
    let (_, hello) = ClientAuthentication::start(identity, CLIENT, HOST, &mut rng()).expect("a Hello");
    let alias = |topic, number| publish_with(topic, Some(3), vec![TopicAlias::new(number).expect("an alias").into()]);
    let puback = v5_0::Puback::builder().packet_id(1_u16).build().expect("PUBACK").to_continuous_buffer();
    let leave = v5_0::Disconnect::builder().reason_code(DisconnectReasonCode::NormalDisconnection);
    let leave = leave.build().expect("DISCONNECT").to_continuous_buffer();
    let [by_key, _] = &STAGES.1;
    let talk = [
        subscribe(T2),
        alias(ALARM, 1),
        publish(ALARM, Some(7)),
        publish(ALARM, None),
        unsubscribe(T2),
        puback,
        vec![0xc0, 0],
        leave,
    ];
    let seed = |stage: usize, step: u8, stream: &[u8]| select(stage, &[&[step], stream].concat());
    vec![
        seed(0, 16, &connect(&hello)),
        seed(0, 1, &[0x10, 0x0c, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0]),
        seed(1, 5, by_key),
        seed(2, 7, &publish("ais/register/infusion-pump", Some(7))),
        seed(2, 7, &subscribe("ais/#")),
        seed(3, 3, &talk.concat()),
        seed(3, 3, &publish("ais/command/infusion-pump", Some(9))),
        seed(3, 9, &auth(AuthReasonCode::ReAuthenticate, &hello)),
        seed(0, 50, &older_connect(Shown::BareKey)),
        seed(0, 200, &[older_connect(Shown::Certificate(&[site.issued[1].clone()])), older_talk()].concat()),
        seed(4, 3, &older_talk()),
        seed(5, 3, &older_talk()),
    ]
}

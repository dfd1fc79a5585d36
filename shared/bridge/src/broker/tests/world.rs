//! A site, its broker, its storage and its clients.

use crate::auth::ControlUnit;
use crate::packet::{Delivery, Version};
use crate::storage::RecordKey;
use crate::{
    Batch, Broker, Cause, Clients, ConnectionId, ControlMessage, Notice, Origin, Output, Overstep, SiteTable, Step,
    Stream,
};
use core::convert::Infallible;
use core::time::Duration;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder};
use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Properties, Property, PropertyId, Qos as MqttQos, ReceiveMaximum,
    SessionExpiryInterval, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
};
use rand_core::{TryCryptoRng, TryRng};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::authentication::{Identity, METHOD};
use wardlink_protocol::channel::{ChannelName, Qos};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::{KeyFingerprint, Purpose};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::{Device, UnixMillis};

pub(super) const HOST: &str = "wardlink.example:8443";
const START: UnixMillis = UnixMillis::from_secs(1_800_000_000);

/// A random source that repeats itself: `SplitMix64`.
pub(super) struct Seeded(pub(super) u64);

impl TryRng for Seeded {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ (z >> 31))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.try_next_u64()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}

pub(super) fn device(text: &str) -> Device {
    text.parse().unwrap()
}

pub(super) fn channel(text: &str) -> ChannelName {
    text.parse().unwrap()
}

pub(super) fn key(seed: u64) -> PrivateKey {
    PrivateKey::make(&mut Seeded(seed))
}

/// A grant with the channels `alarm` and `telemetry`; its version is the time at which it was made up.
pub(super) fn grant(
    key: &PrivateKey,
    of: &str,
    state: DeviceState,
    version: u64,
    certificates: &[&Certificate],
) -> Grant {
    let listed = |certificate: &&Certificate| GrantedCertificate {
        serial: certificate.serial(),
        purpose: certificate.purpose().unwrap(),
        not_after: certificate.validity().not_after,
    };
    Grant {
        key: key.public().fingerprint().unwrap(),
        device: device(of),
        state,
        certificates: certificates.iter().map(listed).collect(),
        channels: vec![channel("alarm"), channel("telemetry")],
        access: ServiceAccess::default(),
        version,
    }
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Connack {
        reason: ConnectReasonCode,
        present: bool,
        properties: Properties,
    },
    Auth {
        reason: AuthReasonCode,
        data: Vec<u8>,
    },
    Puback(u16, PubackReasonCode),
    Suback(Vec<SubackReasonCode>),
    Unsuback,
    Publish {
        topic: String,
        payload: Vec<u8>,
        id: Option<u16>,
        again: bool,
        properties: Properties,
    },
    Ping,
    Disconnect(DisconnectReasonCode),
    /// CONNACK of MQTT 3.1.1, whole.
    Older(Vec<u8>),
}

fn read(bytes: &[u8]) -> Vec<Received> {
    if bytes.len() == 4 && bytes[0] == 0x20 && bytes[1] == 2 {
        return vec![Received::Older(bytes.to_vec())];
    }
    let mut cursor = Cursor::new(bytes);
    let mut builder = PacketBuilder::new();
    let mut packets = Vec::new();
    while let PacketBuildResult::Complete(raw) = builder.feed(&mut cursor) {
        let data = raw.data_as_slice();
        packets.push(match raw.packet_type() {
            2 => {
                let packet = v5_0::Connack::parse(data).unwrap().0;
                let properties = packet.props().clone();
                Received::Connack { reason: packet.reason_code(), present: packet.session_present(), properties }
            }
            3 => {
                let packet = v5_0::Publish::parse(raw.flags(), data.into()).unwrap().0;
                Received::Publish {
                    topic: packet.topic_name().to_owned(),
                    payload: packet.payload().as_slice().to_vec(),
                    id: packet.packet_id(),
                    again: packet.dup(),
                    properties: packet.props().clone(),
                }
            }
            4 => {
                let packet = v5_0::Puback::parse(data).unwrap().0;
                Received::Puback(packet.packet_id(), packet.reason_code().unwrap_or(PubackReasonCode::Success))
            }
            9 => Received::Suback(v5_0::Suback::parse(data).unwrap().0.reason_codes()),
            11 => Received::Unsuback,
            13 => Received::Ping,
            14 => Received::Disconnect(v5_0::Disconnect::parse(data).unwrap().0.reason_code().unwrap()),
            15 => {
                let packet = v5_0::Auth::parse(data).unwrap().0;
                let properties = packet.props().clone().unwrap();
                let data = crate::packet::bytes(&properties, PropertyId::AuthenticationData).unwrap_or_default();
                Received::Auth { reason: packet.reason_code().unwrap(), data: data.to_vec() }
            }
            other => panic!("the bridge sent a packet of type {other}"),
        });
    }
    assert_eq!(usize::try_from(cursor.position()).unwrap(), bytes.len(), "a frame holds whole packets");
    packets
}

/// What a client shows: its key, and a certificate or the device that it claims to be.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) key: PrivateKey,
    pub(super) identity: Identity,
}

impl Shown {
    pub(super) fn bare(key: &PrivateKey, of: &str) -> Self {
        Self { key: key.clone(), identity: ClientAuthentication::bare_key(key, &device(of)).unwrap() }
    }

    pub(super) fn certificate(key: &PrivateKey, certificate: &Certificate) -> Self {
        Self { key: key.clone(), identity: Identity::Certificate { certificate: certificate.to_bytes() } }
    }
}

/// How CONNECT is filled in.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) client_id: &'static str,
    pub(super) clean_start: bool,
    pub(super) expiry: u32,
    pub(super) receive_maximum: Option<u16>,
    pub(super) keep_alive: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { client_id: "pump", clean_start: false, expiry: 3_600, receive_maximum: None, keep_alive: 60 }
    }
}

pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: UnixMillis,
    pub(super) rng: Seeded,
    root: RootCa,
    pub(super) issuing: IssuingCa,
    control_unit: (Certificate, PrivateKey),
    pub(super) records: BTreeMap<RecordKey, Vec<u8>>,
    attachments: BTreeMap<ConnectionId, Vec<u8>>,
    received: BTreeMap<ConnectionId, Vec<Received>>,
    /// Connections of MQTT 3.1.1, whose frames are kept as they come.
    pub(super) older: BTreeSet<ConnectionId>,
    pub(super) raw: BTreeMap<ConnectionId, Vec<u8>>,
    pub(super) frames: usize,
    pub(super) closed: BTreeSet<ConnectionId>,
    /// Why connections were closed.
    pub(super) causes: BTreeMap<ConnectionId, Cause>,
    pub(super) grants: Vec<Grant>,
    /// What the log was told of clients that asked for too much.
    pub(super) oversteps: Vec<Overstep>,
    next_connection: u64,
    steps: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of_site(7)
    }

    /// Each site has a CA of its own.
    pub(super) fn of_site(seed: u64) -> Self {
        let mut rng = Seeded(seed);
        let year = Duration::from_hours(365 * 24);
        let validity = Validity { not_before: START, not_after: START.after(year * 2) };
        let root = RootCa::make("Test root", validity, &mut rng).unwrap();
        let issuing = root.make_issuing_ca("Test issuing CA", validity, &mut rng).unwrap();
        let control_key = PrivateKey::make(&mut rng);
        let control = Holder::ControlUnit("Test site".to_owned());
        let control = issuing.issue(&control, &control_key.public(), validity, &mut rng).unwrap();
        let mut world = Self {
            broker: Broker::default(),
            now: START.after(Duration::from_mins(1)),
            rng,
            root,
            issuing,
            control_unit: (control, control_key),
            records: BTreeMap::new(),
            attachments: BTreeMap::new(),
            received: BTreeMap::new(),
            older: BTreeSet::new(),
            raw: BTreeMap::new(),
            frames: 0,
            closed: BTreeSet::new(),
            causes: BTreeMap::new(),
            grants: Vec::new(),
            oversteps: Vec::new(),
            next_connection: 1,
            steps: 0,
        };
        world.give_table();
        world
    }

    /// A certificate for a device's key.
    pub(super) fn certificate(&mut self, key: &PrivateKey, of: &str, purpose: Purpose, life: Duration) -> Certificate {
        let holder = match purpose {
            Purpose::Pairing => Holder::Pairing(device(of)),
            Purpose::Device => Holder::Device(device(of)),
            Purpose::Gateway => Holder::Gateway(device(of)),
            Purpose::ControlUnit => Holder::ControlUnit(of.to_owned()),
            Purpose::Service => Holder::Service(of.to_owned()),
        };
        let validity = Validity { not_before: START, not_after: self.now.after(life) };
        self.issuing.issue(&holder, &key.public(), validity, &mut self.rng).unwrap()
    }

    fn give_table(&mut self) {
        let (certificate, key) = &self.control_unit;
        let chain = [vec![certificate.to_bytes()], self.issuing.chain()].concat();
        let issuers = [self.issuing.certificate().to_bytes()];
        let control_unit = ControlUnit::new(chain, &key.to_pkcs8().unwrap(), &issuers).unwrap();
        let names = ["infusion-pump", "scale"].map(|name| name.parse().unwrap());
        let clients = Clients { version: 1, names: names.into_iter().collect() };
        self.broker.set_table(SiteTable { grants: self.grants.clone(), clients, control_unit }, self.now);
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.broker.tick(self.now);
        self.settle();
    }

    /// Stores and delivers what the broker says.
    pub(super) fn settle(&mut self) {
        let batch = self.broker.flush(self.now);
        self.keep(batch);
    }

    pub(super) fn keep(&mut self, batch: Batch) {
        self.oversteps.extend(batch.oversteps);
        for (key, value) in batch.changes {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        for output in batch.outputs {
            match output {
                Output::Frame { connection, bytes } => {
                    self.frames += 1;
                    if self.older.contains(&connection) {
                        self.raw.entry(connection).or_default().extend(bytes);
                    } else {
                        self.received.entry(connection).or_default().extend(read(&bytes));
                    }
                }
                Output::Attachment { connection, bytes } => {
                    assert!(bytes.len() <= 16 * 1024, "the platform keeps no longer attachment");
                    self.attachments.insert(connection, bytes);
                }
                Output::Close { connection, cause, .. } => {
                    self.attachments.remove(&connection);
                    self.closed.insert(connection);
                    self.causes.extend(cause.map(|cause| (connection, cause)));
                }
            }
        }
    }

    /// The object is rebuilt: nothing of the broker survives but records and attachments.
    pub(super) fn rebuild(&mut self) {
        self.broker = Broker::restore(self.records.clone(), self.attachments.values().cloned(), self.now);
        self.give_table();
        self.settle();
    }

    /// The machine is switched off and on: the connections are gone too.
    pub(super) fn crash(&mut self) {
        self.attachments.clear();
        self.rebuild();
    }

    pub(super) fn apply(&mut self, grants: &[Grant], publish: &[(&str, &[u8])], remove: &[&str]) {
        self.steps += 1;
        let message = |(topic, payload): &(&str, &[u8])| ControlMessage {
            topic: topic.parse().unwrap(),
            payload: ByteBuf::from(*payload),
            qos: Qos::AtLeastOnce,
        };
        for grant in grants {
            self.grants.retain(|known| known.key != grant.key);
            self.grants.push(grant.clone());
        }
        let step = Step {
            number: self.steps,
            grants: grants.to_vec(),
            clients: None,
            remove_topics: remove.iter().map(|topic| topic.parse().unwrap()).collect(),
            publish: publish.iter().map(message).collect(),
        };
        assert!(self.broker.apply(step, self.now));
        self.settle();
    }

    pub(super) fn open(&mut self) -> ConnectionId {
        self.open_from(Some("192.0.2.7"), None)
    }

    /// A connection from that address, with the certificate whose key was proved in TLS.
    pub(super) fn open_from(&mut self, address: Option<&str>, certificate: Option<&Certificate>) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let origin = Origin {
            network: NetworkOrigin { address: address.map(|address| address.parse().unwrap()), marker: None },
            host: HOST.to_owned(),
            client_certificate: certificate.map(Certificate::to_bytes),
        };
        self.broker.open(id, origin, self.now);
        self.settle();
        id
    }

    /// The WebSocket is gone without a word.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.attachments.remove(&id);
        self.broker.closed(id, self.now);
        self.settle();
    }

    pub(super) fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.broker.received(id, bytes, self.now, &mut self.rng);
        self.settle();
    }

    pub(super) fn take(&mut self, id: ConnectionId) -> Vec<Received> {
        self.received.remove(&id).unwrap_or_default()
    }

    /// Opens a connection and proves who the client is; returns what CONNACK said too.
    pub(super) fn connect(&mut self, shown: &Shown, options: &Options) -> (ConnectionId, Received) {
        let id = self.open();
        let answer = self.authenticate(id, shown, options);
        (id, answer)
    }

    pub(super) fn authenticate(&mut self, id: ConnectionId, shown: &Shown, options: &Options) -> Received {
        let identity = shown.identity.clone();
        let (client, hello) = ClientAuthentication::start(identity, options.client_id, HOST, &mut self.rng).unwrap();
        self.send(id, &connect(options, &hello));
        let answer = self.take(id).remove(0);
        let Received::Auth { data, .. } = answer else { return answer };
        let (client, proof) = client.prove(&data, &shown.key).unwrap();
        self.send(id, &auth(AuthReasonCode::ContinueAuthentication, &proof));
        let mut answers = self.take(id);
        let answer = answers.remove(0);
        if let Received::Connack { reason: ConnectReasonCode::Success, properties, .. } = &answer {
            let acceptance = crate::packet::bytes(properties, PropertyId::AuthenticationData).unwrap();
            client.finish(acceptance, &self.root.certificate().sha256(), self.now).unwrap();
        }
        self.received.insert(id, answers);
        answer
    }

    /// Authenticates again on a live connection; the last answer tells how it went.
    pub(super) fn authenticate_again(&mut self, id: ConnectionId, shown: &Shown, client_id: &str) -> Received {
        let identity = shown.identity.clone();
        let (client, hello) = ClientAuthentication::start(identity, client_id, HOST, &mut self.rng).unwrap();
        self.send(id, &auth(AuthReasonCode::ReAuthenticate, &hello));
        let answer = self.take(id).remove(0);
        let Received::Auth { data, .. } = answer else { return answer };
        let (_, proof) = client.prove(&data, &shown.key).unwrap();
        self.send(id, &auth(AuthReasonCode::ContinueAuthentication, &proof));
        self.take(id).remove(0)
    }

    /// A connection that has to succeed.
    pub(super) fn client(&mut self, shown: &Shown) -> ConnectionId {
        let (id, answer) = self.connect(shown, &Options::default());
        assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Success, .. }), "{answer:?}");
        id
    }

    /// A paired device, connected with its certificate.
    pub(super) fn paired(&mut self, seed: u64, of: &str) -> (Shown, ConnectionId) {
        let key = key(seed);
        let certificate = self.certificate(&key, of, Purpose::Device, Duration::from_hours(30 * 24));
        self.apply(&[grant(&key, of, DeviceState::Paired, seed, &[&certificate])], &[], &[]);
        let shown = Shown::certificate(&key, &certificate);
        let id = self.client(&shown);
        (shown, id)
    }

    pub(super) fn publish(&mut self, id: ConnectionId, topic: &str, payload: &[u8]) -> PubackReasonCode {
        self.send(id, &publish(topic, payload, Some(9)));
        match self.take(id).pop() {
            Some(Received::Puback(9, reason)) => reason,
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, filter: &str) -> SubackReasonCode {
        self.send(id, &subscribe(filter, MqttQos::AtLeastOnce));
        match self.take(id).into_iter().find(|packet| matches!(packet, Received::Suback(_))) {
            Some(Received::Suback(reasons)) => reasons[0],
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    /// The payloads that a client was sent, acknowledged in order.
    pub(super) fn deliveries(&mut self, id: ConnectionId) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        loop {
            let received = self.take(id);
            if received.is_empty() {
                return payloads;
            }
            for packet in received {
                if let Received::Publish { payload, id: packet_id, .. } = packet {
                    payloads.push(payload);
                    if let Some(packet_id) = packet_id {
                        self.send(id, &puback(packet_id));
                    }
                }
            }
        }
    }

    /// The messages that wait for the control unit.
    pub(super) fn for_site(&self, stream: Stream) -> Vec<StampedMessage> {
        self.broker.for_site(stream).map(|(_, messages)| messages).unwrap_or_default()
    }

    /// The control unit takes the requests that wait, and finds these keys' to be junk.
    pub(super) fn take_requests(&mut self, junk: impl Fn(&KeyFingerprint) -> bool) -> Vec<StampedMessage> {
        let Some((last, messages)) = self.broker.for_site(Stream::Request) else { return Vec::new() };
        let keys: Vec<KeyFingerprint> = messages.iter().filter_map(key_of).filter(|key| junk(key)).collect();
        self.broker.blame(&keys, self.now);
        self.broker.site_has(Stream::Request, last);
        self.settle();
        messages
    }

    /// What the site is told; it is told once.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let notices: Vec<(u64, Notice)> =
            self.broker.notices().map(|(number, notice)| (number, notice.clone())).collect();
        for (number, _) in &notices {
            self.broker.site_knows(*number);
        }
        self.settle();
        notices.into_iter().map(|(_, notice)| notice).collect()
    }
}

/// The key that published a message.
pub(super) fn key_of(message: &StampedMessage) -> Option<KeyFingerprint> {
    match &message.publisher {
        Publisher::Key { key, .. } => Some(*key),
        Publisher::ControlUnit => None,
    }
}

pub(super) fn connect(options: &Options, hello: &[u8]) -> Vec<u8> {
    let mut properties: Properties = vec![
        AuthenticationMethod::new(METHOD).unwrap().into(),
        AuthenticationData::new(hello.to_vec()).unwrap().into(),
        SessionExpiryInterval::new(options.expiry).unwrap().into(),
    ];
    if let Some(maximum) = options.receive_maximum {
        properties.push(ReceiveMaximum::new(maximum).unwrap().into());
    }
    let builder = v5_0::Connect::builder().client_id(options.client_id).unwrap();
    let builder = builder.clean_start(options.clean_start).keep_alive(options.keep_alive).props(properties);
    builder.build().unwrap().to_continuous_buffer()
}

pub(super) fn auth(reason: AuthReasonCode, data: &[u8]) -> Vec<u8> {
    crate::packet::auth(reason, data).unwrap()
}

pub(super) fn publish(topic: &str, payload: &[u8], id: Option<u16>) -> Vec<u8> {
    publish_with(topic, payload, id, Vec::new())
}

pub(super) fn publish_with(topic: &str, payload: &[u8], id: Option<u16>, properties: Properties) -> Vec<u8> {
    let delivery = Delivery { packet_id: id, duplicate: false, properties };
    crate::packet::publish(Version::V5, topic, payload, delivery).unwrap()
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    crate::packet::puback(Version::V5, id, PubackReasonCode::Success).unwrap().unwrap()
}

pub(super) fn subscribe(filter: &str, qos: MqttQos) -> Vec<u8> {
    let entry = SubEntry::new(filter, SubOpts::new().set_qos(qos)).unwrap();
    let packet = v5_0::Subscribe::builder().packet_id(5_u16).entries(vec![entry]).props(Vec::new()).build().unwrap();
    packet.to_continuous_buffer()
}

pub(super) fn disconnect() -> Vec<u8> {
    crate::packet::disconnect(Version::V5, DisconnectReasonCode::NormalDisconnection).unwrap()
}

/// The value of a user property.
pub(super) fn user_property(properties: &Properties, name: &str) -> Option<String> {
    properties.iter().find_map(|property| match property {
        Property::UserProperty(pair) if pair.key() == name => Some(pair.val().to_owned()),
        _ => None,
    })
}

/// The number in a property.
pub(super) fn number(properties: &Properties, id: PropertyId) -> Option<u32> {
    let property = properties.iter().find(|property| property.id() == id)?;
    property.as_u32().or_else(|| property.as_u16().map(u32::from)).or_else(|| property.as_u8().map(u32::from))
}

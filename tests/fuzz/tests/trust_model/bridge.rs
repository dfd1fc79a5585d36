//! The bridge's real broker, and clients that try to read with whatever they have.

use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Properties, Property, Qos, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, DisconnectReasonCode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_bridge::auth::ControlUnit;
use wardlink_bridge::storage::RecordKey;
use wardlink_bridge::{Broker, Clients, ConnectionId, ControlMessage, Origin, Output, SiteTable, Step};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::key::PrivateKey;
use wardlink_pairing::control_unit::KeyGrant;
use wardlink_protocol::authentication::{Identity, METHOD};
use wardlink_protocol::channel::Qos as ChannelQos;
use wardlink_protocol::grant::{DeviceState, Grant};
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

const HOST: &str = "wardlink.example";
/// MQTT's types of packets (section 2.1.2).
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;
const AUTH: u8 = 15;
/// From here on SUBACK's codes say no (section 3.9.3).
const FIRST_REFUSAL: u8 = 0x80;

/// What a client shows: a bare key, or a certificate for one.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) key: PrivateKey,
    pub(crate) identity: Identity,
}

impl Shown {
    pub(crate) fn bare(key: &PrivateKey, device: &Device) -> Self {
        Self { key: key.clone(), identity: ClientAuthentication::bare_key(key, device).unwrap() }
    }

    pub(crate) fn certificate(key: &PrivateKey, certificate: &ByteBuf) -> Self {
        Self { key: key.clone(), identity: Identity::Certificate { certificate: certificate.clone() } }
    }
}

/// The broker with its storage, and the site's grants as the site numbers them.
pub(crate) struct Bridge {
    broker: Broker,
    control_unit: ControlUnit,
    rng: StdRng,
    now: UnixMillis,
    grants: BTreeMap<KeyFingerprint, Grant>,
    versions: u64,
    steps: u64,
    connections: u64,
    records: BTreeMap<RecordKey, Vec<u8>>,
    attachments: BTreeMap<ConnectionId, Vec<u8>>,
    received: BTreeMap<ConnectionId, Vec<u8>>,
    closed: BTreeSet<ConnectionId>,
}

impl Bridge {
    pub(crate) fn new(control_unit: ControlUnit, now: UnixMillis) -> Self {
        let mut bridge = Self {
            broker: Broker::default(),
            control_unit,
            rng: StdRng::seed_from_u64(11),
            now,
            grants: BTreeMap::new(),
            versions: 0,
            steps: 0,
            connections: 0,
            records: BTreeMap::new(),
            attachments: BTreeMap::new(),
            received: BTreeMap::new(),
            closed: BTreeSet::new(),
        };
        bridge.give_table();
        bridge
    }

    /// The site says what a key may do; its version is the next one.
    pub(crate) fn grant(&mut self, grant: Grant) {
        self.versions += 1;
        let grant = Grant { version: self.versions, ..grant };
        // As the site does it: a key that is unknown needs no row.
        if grant.state == DeviceState::Unknown {
            self.grants.remove(&grant.key);
        } else {
            self.grants.insert(grant.key, grant.clone());
        }
        self.step(Step { grants: vec![grant], ..Step::default() });
    }

    /// The same, where it comes from a state machine. One identifier has one live key: the others' rights end before the new ones count.
    pub(crate) fn give(&mut self, grant: KeyGrant) {
        if grant.state == DeviceState::Paired {
            let others = self.grants.values().filter(|known| known.device == grant.device && known.key != grant.key);
            let others: Vec<KeyFingerprint> = others.map(|known| known.key).collect();
            for other in others {
                self.set(other, &grant.device, DeviceState::Unknown);
            }
        }
        self.grant(grant.at_version(0));
    }

    /// A key has nothing from now on but what its state gives it.
    pub(crate) fn set(&mut self, key: KeyFingerprint, device: &Device, state: DeviceState) {
        let (certificates, channels, access) = (Vec::new(), Vec::new(), ServiceAccess::default());
        self.grant(Grant { key, device: device.clone(), state, certificates, channels, access, version: 0 });
    }

    /// A device's certificate has ended.
    pub(crate) fn expire(&mut self, key: KeyFingerprint) {
        if let Some(grant) = self.grants.get(&key).filter(|grant| grant.state == DeviceState::Paired).cloned() {
            self.grant(Grant { state: DeviceState::Expired, ..grant });
        }
    }

    fn step(&mut self, step: Step) {
        self.steps += 1;
        assert!(self.broker.apply(Step { number: self.steps, ..step }, self.now));
        self.settle();
    }

    pub(crate) fn set_time(&mut self, now: UnixMillis) {
        self.now = now;
        self.broker.tick(now);
        self.settle();
    }

    /// The object is rebuilt, and asks the site for its table.
    pub(crate) fn restart(&mut self) {
        self.broker = Broker::restore(self.records.clone(), self.attachments.values().cloned(), self.now);
        self.give_table();
        self.settle();
    }

    fn give_table(&mut self) {
        let clients = Clients { version: 1, names: ["infusion-pump".parse().unwrap()].into() };
        let grants = self.grants.values().cloned().collect();
        self.broker.set_table(SiteTable { grants, clients, control_unit: self.control_unit.clone() }, self.now);
    }

    fn settle(&mut self) {
        let batch = self.broker.flush(self.now);
        for (key, value) in batch.changes {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        for output in batch.outputs {
            match output {
                Output::Frame { connection, bytes } => self.received.entry(connection).or_default().extend(bytes),
                Output::Attachment { connection, bytes } => drop(self.attachments.insert(connection, bytes)),
                Output::Close { connection, .. } => {
                    self.attachments.remove(&connection);
                    self.closed.insert(connection);
                }
            }
        }
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.broker.received(id, bytes, self.now, &mut self.rng);
        self.settle();
    }

    /// The packets that a connection has got since it was last looked at: type and body.
    fn take(&mut self, id: ConnectionId) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = self.received.remove(&id).unwrap_or_default().into_iter();
        let mut packets = Vec::new();
        while let Some(first) = bytes.next() {
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = bytes.next().unwrap();
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            packets.push((first >> 4, bytes.by_ref().take(length).collect()));
        }
        packets
    }

    /// Connects, and proves who the client is; none where the bridge does not let it in.
    pub(crate) fn connect(&mut self, shown: &Shown) -> Option<ConnectionId> {
        self.connections += 1;
        let id = ConnectionId(self.connections);
        let network = NetworkOrigin { address: Some("192.0.2.7".parse().unwrap()), marker: None };
        self.broker.open(id, Origin { network, host: HOST.into(), client_certificate: None }, self.now);
        let client_id = format!("c{}", self.connections);
        let (client, hello) =
            ClientAuthentication::start(shown.identity.clone(), &client_id, HOST, &mut self.rng).unwrap();
        let connect = v5_0::Connect::builder().client_id(&client_id).unwrap().keep_alive(0).clean_start(true);
        self.send(id, &connect.props(authentication(&hello)).build().unwrap().to_continuous_buffer());
        let (AUTH, body) = self.take(id).into_iter().next()? else { return None };
        let (packet, _) = v5_0::Auth::parse(&body).unwrap();
        let challenge = packet.props().clone().unwrap().into_iter().find_map(|property| match property {
            Property::AuthenticationData(data) => Some(data.val().to_vec()),
            _ => None,
        });
        let (_, proof) = client.prove(&challenge.unwrap(), &shown.key).unwrap();
        let auth = v5_0::Auth::builder().reason_code(AuthReasonCode::ContinueAuthentication);
        self.send(id, &auth.props(authentication(&proof)).build().unwrap().to_continuous_buffer());
        let (CONNACK, body) = self.take(id).into_iter().next()? else { return None };
        let (packet, _) = v5_0::Connack::parse(&body).unwrap();
        (packet.reason_code() == ConnectReasonCode::Success).then_some(id)
    }

    /// Subscribes; for each filter, whether the bridge grants it.
    pub(crate) fn subscribe(&mut self, id: ConnectionId, filters: &[String]) -> Vec<bool> {
        let entry = |filter: &String| SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap();
        let entries: Vec<SubEntry> = filters.iter().map(entry).collect();
        let subscribe = v5_0::Subscribe::builder().packet_id(5_u16).entries(entries).build().unwrap();
        self.send(id, &subscribe.to_continuous_buffer());
        let suback = self.take(id).into_iter().find(|(kind, _)| *kind == SUBACK);
        let (packet, _) = v5_0::Suback::parse(&suback.expect("the bridge answers").1).unwrap();
        packet.reason_codes().into_iter().map(|code| (code as u8) < FIRST_REFUSAL).collect()
    }

    /// Connects, tries to read all this, and leaves. None where it is not let in.
    pub(crate) fn try_to_read(&mut self, shown: &Shown, filters: &[String]) -> Option<Vec<bool>> {
        let id = self.connect(shown)?;
        let granted = self.subscribe(id, filters);
        let leave = v5_0::Disconnect::builder().reason_code(DisconnectReasonCode::NormalDisconnection);
        self.send(id, &leave.build().unwrap().to_continuous_buffer());
        self.take(id);
        Some(granted)
    }

    /// The control unit says something; whether this connection gets it.
    pub(crate) fn hears(&mut self, id: ConnectionId, topic: &Topic) -> bool {
        self.take(id);
        let message =
            ControlMessage { topic: topic.clone(), payload: ByteBuf::from(b"word"), qos: ChannelQos::AtMostOnce };
        self.step(Step { publish: vec![message], ..Step::default() });
        self.take(id).into_iter().any(|(kind, _)| kind == PUBLISH)
    }

    /// The connection is gone without a word.
    pub(crate) fn lose(&mut self, id: ConnectionId) {
        self.attachments.remove(&id);
        self.broker.closed(id, self.now);
        self.settle();
    }

    pub(crate) fn is_closed(&self, id: ConnectionId) -> bool {
        self.closed.contains(&id)
    }
}

fn authentication(data: &[u8]) -> Properties {
    vec![AuthenticationMethod::new(METHOD).unwrap().into(), AuthenticationData::new(data.to_vec()).unwrap().into()]
}

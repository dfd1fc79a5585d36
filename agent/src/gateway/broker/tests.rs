#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::hub::{CLOSE_INTERNAL, Hub, Knowledge, NoOwner, STRANGER_REMEMBERED};
use super::outgoing::{Farewell, Out, Outgoing};
use super::records::Records;
use crate::clock;
use crate::gateway::store::{Associated, StoreError};
use crate::link::Identity;
use crate::mailbox::{Direction, MAX_LETTERS, Mailbox};
use crate::testing::{NOW, Site, later, pump};
use futures_util::FutureExt as _;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder};
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Property, Qos, SessionExpiryInterval, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, PubackReasonCode};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wardlink_bridge::{ConnectionId, Origin};
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Holder;
use wardlink_protocol::authentication::{Identity as Claim, METHOD};
use wardlink_protocol::channel::{ChannelKey, UPDATE_CHANNEL, default_channels};
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::keys::AcceptedKey;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::collector::MAX_SAID_BYTES;
use wardlink_records::exchange::MAX_UPWARD_BYTES;
use wardlink_trust::associated::ChannelKeys;
use wardlink_trust::{Receivers, Sender};

#[path = "../../../tests/depot/fault.rs"]
mod fault;

use fault::Medium;

const HOST: &str = "gateway.ward.example:8884";
const UP: &str = "ais/data/update/infusion-pump/p1";
const DOWN: &str = "ais/ctl/update/infusion-pump/p1";

/// A gateway's hub, and a pump of the site.
struct Ward {
    folder: tempfile::TempDir,
    site: Site,
    hub: Hub,
    gateway: (PrivateKey, Vec<ByteBuf>),
    pump: (PrivateKey, Vec<ByteBuf>),
    /// The epoch of the devices' keys at the gateway.
    epoch: u8,
    /// Whose own run it is on its topic.
    speaking: BTreeMap<String, (PrivateKey, Sender)>,
}

/// The key of every device's channel in that epoch.
fn channel_key(epoch: u8) -> ChannelKey {
    let channel = default_channels().into_iter().find(|row| row.name.as_str() == UPDATE_CHANNEL).unwrap();
    ChannelKey { channel, kid: KeyId([epoch; 8]), epoch: epoch.into(), key: [epoch; 32] }
}

fn channel_keys(epoch: u8) -> ChannelKeys {
    if epoch == 0 {
        return ChannelKeys::default();
    }
    ChannelKeys::new(vec![AcceptedKey { key: channel_key(epoch), until: None }])
}

fn sender(topic: &str, epoch: u8, run: u64) -> Sender {
    Sender::begin(&channel_key(epoch), topic.parse().unwrap(), run, &mut clock::rng()).unwrap()
}

/// What a client got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Connack(ConnectReasonCode),
    Puback(u16, PubackReasonCode),
    Publish(u16, Vec<u8>),
    Suback,
    Disconnect,
    Auth,
}

struct Client {
    id: ConnectionId,
    outgoing: Outgoing,
    /// What came with CONNACK.
    rest: Vec<Got>,
}

impl Client {
    /// What is next for it.
    fn next(&mut self) -> Option<Out> {
        self.outgoing.next().now_or_never()
    }

    /// Its next frame, also where its connection is closed then.
    fn frame(&mut self) -> Vec<u8> {
        match self.next() {
            Some(Out::Frame(frame)) => frame,
            Some(Out::End(Some(Farewell { mut frames, .. }))) => frames.remove(0),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// What it got, and how its connection was closed.
    fn take(&mut self) -> (Vec<Got>, Option<u16>) {
        let packets = |bytes: &[u8]| read(bytes).into_iter().map(|(got, _)| got);
        let mut got = core::mem::take(&mut self.rest);
        while let Some(out) = self.next() {
            match out {
                Out::Frame(bytes) => got.extend(packets(&bytes)),
                Out::End(Some(Farewell { frames, code })) => {
                    got.extend(frames.iter().flat_map(|bytes| packets(bytes)));
                    return (got, Some(code));
                }
                Out::End(None) => panic!("it ends without a word"),
            }
        }
        (got, None)
    }
}

/// The packets of a frame, with the method's data in them.
fn read(bytes: &[u8]) -> Vec<(Got, Vec<u8>)> {
    let (mut cursor, mut builder, mut packets) = (Cursor::new(bytes), PacketBuilder::new(), Vec::new());
    let data_of = |properties: &[Property]| {
        let data = properties.iter().find_map(|property| match property {
            Property::AuthenticationData(data) => Some(data.val().to_vec()),
            _ => None,
        });
        data.unwrap_or_default()
    };
    while let PacketBuildResult::Complete(raw) = builder.feed(&mut cursor) {
        let data = raw.data_as_slice();
        packets.push(match raw.packet_type() {
            2 => {
                let packet = v5_0::Connack::parse(data).unwrap().0;
                (Got::Connack(packet.reason_code()), data_of(packet.props()))
            }
            3 => {
                let packet = v5_0::Publish::parse(raw.flags(), data.into()).unwrap().0;
                (Got::Publish(packet.packet_id().unwrap(), packet.payload().as_slice().to_vec()), Vec::new())
            }
            4 => {
                let packet = v5_0::Puback::parse(data).unwrap().0;
                let reason = packet.reason_code().unwrap_or(PubackReasonCode::Success);
                (Got::Puback(packet.packet_id(), reason), Vec::new())
            }
            9 => (Got::Suback, Vec::new()),
            14 => (Got::Disconnect, Vec::new()),
            15 => (Got::Auth, data_of(v5_0::Auth::parse(data).unwrap().0.props().as_deref().unwrap_or_default())),
            other => panic!("a packet of type {other}"),
        });
    }
    packets
}

fn method(data: Vec<u8>) -> Vec<Property> {
    vec![AuthenticationMethod::new(METHOD).unwrap().into(), AuthenticationData::new(data).unwrap().into()]
}

fn hub_in(folder: &Path) -> Hub {
    let file = folder.join("broker.redb");
    hub_with(folder, move || Records::open(&file))
}

fn hub_with(folder: &Path, open_records: impl Fn() -> Result<Records, StoreError> + Send + 'static) -> Hub {
    Hub::new(open_records, folder.join("ports"), folder.join("sealed"))
}

impl Ward {
    fn open() -> Self {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::open());
        std::fs::create_dir(folder.path().join("ports")).unwrap();
        let hub = hub_in(folder.path());
        let (gateway, pump) = (site.gateway(), site.member(&Holder::Device(pump())));
        Self { folder, site, hub, gateway, pump, epoch: 1, speaking: BTreeMap::new() }
    }

    fn ports(&self) -> PathBuf {
        self.folder.path().join("ports")
    }

    fn knowledge(&self, counts: bool, devices: &[(Device, &PrivateKey)]) -> Knowledge {
        let associated = |(device, key): &(Device, &PrivateKey)| Associated {
            device: device.clone(),
            has_key: true,
            key: Some(ByteBuf::from(key.public().to_spki().unwrap())),
            updates: false,
            keys: channel_keys(self.epoch),
        };
        let (key, chain) = &self.gateway;
        let identity = Identity {
            key: key.clone(),
            device: "gateway/ward-3".parse().unwrap(),
            certificate: Some(chain[0].to_vec()),
            root: Some(self.site.root),
        };
        let (identity, issuers) = (Arc::new(identity), chain[1..].to_vec());
        Knowledge { identity, issuing: Vec::new(), issuers, devices: devices.iter().map(associated).collect(), counts }
    }

    fn know(&mut self, counts: bool, devices: &[(Device, PrivateKey)]) {
        for (device, key) in devices {
            let topic = format!("ais/data/update/{device}");
            let begin = || (key.clone(), sender(&topic, 1, 1));
            self.speaking.entry(topic.clone()).or_insert_with(begin);
        }
        let devices: Vec<_> = devices.iter().map(|(device, key)| (device.clone(), key)).collect();
        let known = self.knowledge(counts, &devices);
        self.hub.know(Some(&known), NOW).unwrap().unwrap();
    }

    fn associate(&mut self) {
        let devices = [(pump(), self.pump.0.clone())];
        self.know(true, &devices);
    }

    fn dial(&mut self) -> Client {
        let network = NetworkOrigin { address: Some("192.0.2.7".parse().unwrap()), marker: None };
        let origin = Origin { network, host: HOST.to_owned(), client_certificate: None };
        let (id, outgoing) = self.hub.open(origin, NOW).unwrap();
        Client { id, outgoing, rest: Vec::new() }
    }

    /// Connects as the pump; says what CONNACK said.
    fn connect(&mut self) -> (Client, ConnectReasonCode) {
        let mut client = self.dial();
        let claim = Claim::Certificate { certificate: self.pump.1[0].clone() };
        let (proving, hello) = ClientAuthentication::start(claim, "pump", HOST, &mut clock::rng()).unwrap();
        let mut properties = method(hello);
        properties.push(SessionExpiryInterval::new(3_600).unwrap().into());
        let connect = v5_0::Connect::builder().client_id("pump").unwrap().clean_start(false).keep_alive(60_u16);
        self.send(&client, &connect.props(properties).build().unwrap().to_continuous_buffer());
        let frame = client.frame();
        let (got, challenge) = read(&frame).remove(0);
        if let Got::Connack(reason) = got {
            return (client, reason);
        }
        let (proved, proof) = proving.prove(&challenge, &self.pump.0).unwrap();
        let auth = v5_0::Auth::builder().reason_code(AuthReasonCode::ContinueAuthentication).props(method(proof));
        self.send(&client, &auth.build().unwrap().to_continuous_buffer());
        let frame = client.frame();
        let mut packets = read(&frame);
        let (got, acceptance) = packets.remove(0);
        client.rest = packets.into_iter().map(|(got, _)| got).collect();
        let Got::Connack(reason) = got else { panic!("{got:?}") };
        if reason == ConnectReasonCode::Success {
            proved.finish_at_gateway(&acceptance, &self.site.root, NOW).unwrap();
        }
        (client, reason)
    }

    fn connected(&mut self) -> Client {
        let (client, reason) = self.connect();
        assert_eq!(reason, ConnectReasonCode::Success);
        client
    }

    fn send(&mut self, client: &Client, bytes: &[u8]) {
        self.hub.received(client.id, Some(bytes), NOW).unwrap();
    }

    /// Publishes what its device says on a topic, sealed and signed.
    fn publish(&mut self, client: &Client, topic: &str, said: &[u8], id: u16) {
        let (key, sender) = self.speaking.get_mut(topic).unwrap();
        let sealed = sender.seal(said, key).unwrap();
        self.publish_bytes(client, topic, &sealed, id);
    }

    fn publish_bytes(&mut self, client: &Client, topic: &str, payload: &[u8], id: u16) {
        self.send(client, &publication(topic, payload, id));
    }

    /// What the gateway says in the one message that came, as the pump reads it.
    fn said(&self, got: &[Got]) -> Vec<u8> {
        let [Got::Publish(_, payload)] = got else { panic!("{got:?}") };
        let (gateway, topic) = (self.gateway.0.public(), DOWN.parse().unwrap());
        let by_gateway = |chain: &[ByteBuf]| {
            assert_eq!(chain, self.gateway.1, "it shows its certificates");
            Ok(gateway)
        };
        let opened = Receivers::default().open_certified(&[channel_key(self.epoch)], &topic, payload, by_gateway);
        opened.unwrap().plaintext.to_vec()
    }

    fn listen(&mut self, client: &mut Client) {
        let entry = SubEntry::new(DOWN, SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap();
        let subscribe = v5_0::Subscribe::builder().packet_id(5_u16).entries(vec![entry]).build().unwrap();
        self.send(client, &subscribe.to_continuous_buffer());
        assert_eq!(client.take().0, [Got::Suback]);
    }

    fn up(&self) -> Mailbox {
        Mailbox::new(&self.ports(), &pump(), Direction::Up, MAX_UPWARD_BYTES)
    }

    fn down(&self) -> Mailbox {
        Mailbox::new(&self.ports(), &pump(), Direction::Down, MAX_SAID_BYTES)
    }

    /// The program ends and begins again.
    fn restart(&mut self) {
        // The file is opened by one only.
        self.hub = hub_in(Path::new("/nowhere"));
        self.hub = hub_in(self.folder.path());
    }
}

fn publication(topic: &str, payload: &[u8], id: u16) -> Vec<u8> {
    let publish = v5_0::Publish::builder().topic_name(topic).unwrap().qos(Qos::AtLeastOnce).packet_id(id);
    publish.payload(payload.to_vec()).build().unwrap().to_continuous_buffer()
}

fn letters(mailbox: &Mailbox) -> Vec<Vec<u8>> {
    mailbox.letters(MAX_LETTERS).unwrap().into_iter().map(|letter| letter.bytes).collect()
}

#[test]
fn what_a_device_publishes_is_a_letter_at_the_port_when_it_is_acknowledged() {
    let mut ward = Ward::open();
    ward.associate();
    let mut client = ward.connected();
    ward.publish(&client, UP, b"batch", 7);
    assert_eq!(client.take(), (vec![Got::Puback(7, PubackReasonCode::Success)], None));
    assert_eq!(letters(&ward.up()), [b"batch"]);
    // No port: it is acknowledged, as it is stored, and becomes a letter as soon as there is one, also after a restart.
    std::fs::remove_dir_all(ward.ports()).unwrap();
    ward.publish(&client, UP, b"second", 8);
    assert_eq!(client.take(), (vec![Got::Puback(8, PubackReasonCode::Success)], None));
    ward.restart();
    std::fs::create_dir(ward.ports()).unwrap();
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(letters(&ward.up()), [b"second"]);
}

#[test]
fn one_devices_folder_that_cannot_be_used_holds_up_nobody() {
    let mut ward = Ward::open();
    let other: Device = "infusion-pump/p2".parse().unwrap();
    let first = ward.pump.clone();
    let second = ward.site.member(&Holder::Device(other.clone()));
    ward.know(true, &[(pump(), first.0.clone()), (other.clone(), second.0.clone())]);
    let client = ward.connected();
    ward.pump = second;
    let neighbour = ward.connected();
    // No port: everything waits. Then somebody has put a file where the letters of the first pump would lie.
    std::fs::remove_dir_all(ward.ports()).unwrap();
    ward.publish(&neighbour, "ais/data/update/infusion-pump/p2", b"before", 1);
    ward.publish(&client, UP, b"lost", 7);
    ward.publish(&neighbour, "ais/data/update/infusion-pump/p2", b"behind", 2);
    assert!(!ward.ports().exists(), "a port is not made");
    let folder = ward.ports().join("records/infusion-pump/p1");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, "").unwrap();
    let up = Mailbox::new(&ward.ports(), &other, Direction::Up, MAX_UPWARD_BYTES);
    for _ in 0..3 {
        drop(ward.hub.tick(NOW).unwrap());
        assert_eq!(letters(&up), [b"before", b"behind"], "each once");
    }
    // The device sends again, and by now its folder can be used.
    std::fs::remove_file(&folder).unwrap();
    ward.publish(&client, UP, b"again", 8);
    assert_eq!((letters(&ward.up()), up.count().unwrap()), (vec![b"again".to_vec()], 2));
}

#[test]
fn letters_that_cannot_be_put_are_told_until_they_can() {
    let mut ward = Ward::open();
    ward.associate();
    let client = ward.connected();
    ward.hub.tick(NOW).unwrap().unwrap();
    // It can be read, and nothing can be written into it.
    let up = ward.ports().join("records/infusion-pump/p1/up");
    std::fs::create_dir_all(up.join(".new/x")).unwrap();
    ward.publish(&client, UP, b"lost", 7);
    for _ in 0..2 {
        let why = ward.hub.tick(NOW).unwrap().unwrap_err().to_string();
        assert!(why.starts_with("infusion-pump/p1: "), "{why}");
    }
    std::fs::remove_dir_all(&up).unwrap();
    ward.publish(&client, UP, b"again", 8);
    ward.hub.tick(NOW).unwrap().unwrap();
    // A port that is not there, as long as something waits for it.
    std::fs::remove_dir_all(ward.ports()).unwrap();
    ward.hub.tick(NOW).unwrap().unwrap();
    ward.publish(&client, UP, b"waits", 9);
    assert_eq!(ward.hub.tick(NOW).unwrap().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    std::fs::create_dir(ward.ports()).unwrap();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(letters(&ward.up()), [b"waits"]);
    // Whoever is not let in any more loses nothing here.
    std::fs::remove_dir_all(ward.ports()).unwrap();
    std::fs::create_dir_all(up.join(".new/x")).unwrap();
    ward.publish(&client, UP, b"lost", 10);
    ward.hub.tick(NOW).unwrap().unwrap_err();
    ward.know(true, &[]);
    ward.hub.tick(NOW).unwrap().unwrap();
}

#[test]
fn a_device_that_sends_more_than_is_taken_loses_only_its_own() {
    let mut ward = Ward::open();
    ward.associate();
    let client = ward.connected();
    for id in 1..=20 {
        ward.publish(&client, UP, &[0; 4], id);
    }
    ward.publish(&client, UP, &vec![0; MAX_UPWARD_BYTES + 1], 21);
    assert_eq!(ward.up().count().unwrap(), MAX_LETTERS);
    ward.up().clear().unwrap();
    ward.publish(&client, UP, b"later", 22);
    assert_eq!(letters(&ward.up()), [b"later"]);
}

#[test]
fn what_the_gateway_says_waits_until_the_device_listens_and_survives_a_restart() {
    let mut ward = Ward::open();
    ward.associate();
    assert!(ward.down().put(b"kept").unwrap());
    let mut client = ward.connected();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!((client.take().0, ward.down().count().unwrap()), (vec![], 1), "it does not listen");
    ward.listen(&mut client);
    assert_eq!(ward.hub.listening(NOW), [pump()]);
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.said(&client.take().0), b"kept");
    assert_eq!(ward.down().count().unwrap(), 0, "the broker has it");
    // It was not acknowledged: the next run sends it again.
    ward.restart();
    ward.associate();
    let mut client = ward.connected();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.said(&client.take().0), b"kept");
}

#[test]
fn a_device_that_acknowledges_nothing_is_told_no_more() {
    let mut ward = Ward::open();
    ward.associate();
    let mut client = ward.connected();
    ward.listen(&mut client);
    for _ in 0..4 {
        while ward.down().put(b"word").unwrap() {}
        ward.hub.tick(NOW).unwrap().unwrap();
    }
    assert_eq!((client.take().0.len(), ward.down().count().unwrap()), (MAX_LETTERS, MAX_LETTERS));
}

#[test]
fn who_is_turned_away_is_named_until_it_is_a_device_of_the_gateway_or_stays_away() {
    let mut ward = Ward::open();
    ward.know(true, &[]);
    assert_eq!(ward.connect().1, ConnectReasonCode::NotAuthorized);
    assert_eq!((ward.hub.strangers(NOW), ward.hub.take_refused()), (vec![pump()], true));
    ward.associate();
    assert_eq!(ward.hub.strangers(NOW), []);
    // It is another gateway's from now on: the site has said so, and need not be asked.
    ward.know(true, &[]);
    assert_eq!(ward.connect().1, ConnectReasonCode::Banned);
    assert_eq!((ward.hub.strangers(NOW), ward.hub.take_refused()), (vec![pump()], false));
    let late = NOW.after(STRANGER_REMEMBERED);
    assert_eq!((ward.hub.strangers(late), ward.hub.strangers(NOW)), (vec![], vec![]));
    // Of a gateway that is itself out of touch, its own devices are no strangers.
    ward.know(false, &[(pump(), ward.pump.0.clone())]);
    assert_eq!(ward.connect().1, ConnectReasonCode::NotAuthorized);
    assert_eq!(ward.hub.strangers(NOW), []);
}

#[test]
fn nobody_is_let_in_before_the_devices_are_known_nor_after_they_do_not_count() {
    let mut ward = Ward::open();
    assert_eq!(ward.connect().1, ConnectReasonCode::ServerUnavailable);
    ward.know(true, &[]);
    assert_eq!(ward.connect().1, ConnectReasonCode::NotAuthorized);
    let devices = [(pump(), ward.pump.0.clone())];
    for (counts, after) in [(false, &devices[..]), (true, &[])] {
        ward.know(true, &devices);
        let mut client = ward.connected();
        ward.listen(&mut client);
        ward.know(counts, after);
        let (got, closed) = client.take();
        assert_eq!(got, [Got::Disconnect], "{counts}");
        assert!(closed.is_some());
        assert_ne!(ward.connect().1, ConnectReasonCode::Success);
        assert_eq!(ward.hub.listening(NOW), []);
    }
    // What was said while it was not let in is still there.
    assert!(ward.down().put(b"kept").unwrap());
    ward.know(true, &devices);
    let mut client = ward.connected();
    ward.listen(&mut client);
    ward.hub.tick(NOW).unwrap().unwrap();
    assert!(matches!(&client.take().0[..], [Got::Publish(..)]));
}

#[test]
fn a_device_that_is_not_let_in_any_more_is_sent_nothing_of_what_waits() {
    // Some frames, as many as may wait, and more.
    for (waiting, is_told) in [(20, true), (64, true), (65, false)] {
        let mut ward = Ward::open();
        ward.associate();
        let mut client = ward.connected();
        client.rest.clear();
        for id in 1..=waiting {
            ward.publish(&client, UP, b"x", id);
        }
        ward.know(true, &[]);
        // It is in the middle of sending, and its client does not read.
        let sending = client.outgoing.unless_ended(core::future::pending::<()>()).now_or_never();
        let farewell = sending.unwrap().unwrap_err();
        assert_eq!(farewell.is_some(), is_told, "{waiting}");
        if let Some(Farewell { frames, .. }) = farewell {
            let [frame] = &frames[..] else { panic!("{frames:?}") };
            assert!(matches!(&read(frame)[..], [(Got::Disconnect, _)]));
        }
    }
}

#[test]
fn a_gateway_that_is_not_paired_any_more_ends_every_connection() {
    let mut ward = Ward::open();
    ward.associate();
    let mut client = ward.connected();
    assert!(matches!(ward.hub.know(None, NOW).unwrap(), Err(NoOwner::Nobody)));
    assert_eq!(client.take(), (vec![], Some(CLOSE_INTERNAL)));
    assert_eq!(ward.connect().1, ConnectReasonCode::ServerUnavailable);
    // Nor does one speak for itself whose certificate is of another CA, or has ended.
    let mut known = ward.knowledge(true, &[]);
    known.issuers = Site::open().gateway().1[1..].to_vec();
    assert!(matches!(ward.hub.know(Some(&known), NOW).unwrap(), Err(NoOwner::Chain(_))));
    let known = ward.knowledge(true, &[]);
    assert!(matches!(ward.hub.know(Some(&known), UnixMillis(NOW.0 * 2)).unwrap(), Err(NoOwner::Chain(_))));
    assert!(ward.hub.know(Some(&known), later(1)).unwrap().is_ok());
}

#[test]
fn without_its_records_the_hub_lets_nobody_in() {
    let mut ward = Ward::open();
    ward.hub = hub_in(Path::new("/nowhere"));
    let known = ward.knowledge(true, &[]);
    ward.hub.know(Some(&known), NOW).unwrap_err();
    ward.hub.tick(NOW).unwrap_err();
    let mut client = ward.dial();
    ward.hub.received(client.id, Some(&[0x10, 0]), NOW).unwrap();
    assert!(client.take().1.is_some());
}

#[test]
fn power_may_fail_at_any_write_of_the_records() {
    let said: [&[u8]; 3] = [b"first", b"second", b"third"];
    for writes in 0.. {
        let (mut ward, medium) = (Ward::open(), Medium::default());
        let records = |medium: &Medium| {
            let medium = medium.clone();
            move || Records::on(medium.plug())
        };
        ward.hub = hub_with(ward.folder.path(), records(&medium));
        ward.associate();
        let mut client = ward.connected();
        medium.fails_after(writes);
        let (key, sender) = ward.speaking.get_mut(UP).unwrap();
        let sealed = said.map(|said| sender.seal(said, key).unwrap());
        let mut acknowledged = 0;
        for (id, payload) in (1..).zip(&sealed) {
            let went_well = ward.hub.received(client.id, Some(&publication(UP, payload, id)), NOW).is_ok();
            assert!(went_well || medium.is_off());
            let (got, closed) = client.take();
            acknowledged += got.iter().filter(|got| matches!(got, Got::Puback(_, PubackReasonCode::Success))).count();
            if !went_well {
                // Nothing is said that is not stored.
                assert_eq!((got, closed), (vec![], Some(CLOSE_INTERNAL)));
                break;
            }
        }
        let was_off = medium.is_off();
        medium.comes_back(writes % 2 == 0);
        ward.hub = hub_with(ward.folder.path(), records(&medium));
        ward.associate();
        ward.hub.tick(NOW).unwrap().unwrap();
        let came = |ward: &Ward| {
            let mut came = letters(&ward.up());
            came.dedup();
            came
        };
        assert!(came(&ward).starts_with(&said[..acknowledged].iter().map(|said| said.to_vec()).collect::<Vec<_>>()));
        // Its device sends again what was not acknowledged.
        let mut client = ward.connected();
        for (id, payload) in (1..).zip(&sealed).skip(acknowledged) {
            ward.publish_bytes(&client, UP, payload, id);
        }
        let got = client.take().0;
        assert_eq!(got.len(), said.len() - acknowledged, "{got:?}");
        assert_eq!(came(&ward), said);
        if !was_off {
            assert!(writes > 10, "the power never failed");
            return;
        }
    }
}

#[test]
fn records_without_room_are_said_and_cost_nothing() {
    let (mut ward, medium) = (Ward::open(), Medium::default());
    let opened = medium.clone();
    ward.hub = hub_with(ward.folder.path(), move || Records::on(opened.plug()));
    ward.associate();
    let mut client = ward.connected();
    medium.set_full(true);
    let (key, sender) = ward.speaking.get_mut(UP).unwrap();
    let sealed = sender.seal(b"batch", key).unwrap();
    let refused = ward.hub.received(client.id, Some(&publication(UP, &sealed, 7)), NOW);
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert_eq!(client.take(), (vec![], Some(CLOSE_INTERNAL)));
    medium.set_full(false);
    ward.associate();
    let mut client = ward.connected();
    ward.publish_bytes(&client, UP, &sealed, 7);
    assert_eq!(client.take(), (vec![Got::Puback(7, PubackReasonCode::Success)], None));
    assert_eq!(letters(&ward.up()), [b"batch"]);
}

#[test]
fn whoever_has_connected_before_the_records_could_be_read_connects_anew() {
    let mut ward = Ward::open();
    let folder = ward.folder.path().join("later");
    ward.hub = hub_in(&folder);
    let mut client = ward.dial();
    ward.hub.tick(NOW).unwrap_err();
    assert_eq!(client.take(), (vec![], None));
    std::fs::create_dir(folder).unwrap();
    ward.associate();
    assert_eq!(client.take(), (vec![], Some(CLOSE_INTERNAL)));
    ward.hub.closed(client.id, NOW).unwrap();
    ward.connected();
}

#[test]
fn nothing_counts_that_is_not_under_the_devices_key_and_by_its_hand() {
    let mut ward = Ward::open();
    ward.associate();
    let client = ward.connected();
    let (own, other) = (ward.pump.0.clone(), PrivateKey::make(&mut clock::rng()));
    let of_gateway = ward.gateway.clone();
    let mut nobodys = channel_key(1);
    nobodys.kid = KeyId([7; 8]);
    let forged = [
        b"batch".to_vec(),
        // Of a holder of the key; of the gateway itself; for another device; under a key that nobody gave; of an epoch that has ended.
        sender(UP, 1, 2).seal(b"batch", &other).unwrap(),
        sender(UP, 1, 2).seal_certified(b"batch", &of_gateway.0, &of_gateway.1).unwrap(),
        sender("ais/data/update/infusion-pump/p2", 1, 2).seal(b"batch", &own).unwrap(),
        Sender::begin(&nobodys, UP.parse().unwrap(), 2, &mut clock::rng()).unwrap().seal(b"batch", &own).unwrap(),
    ];
    for (id, forged) in (1..).zip(&forged) {
        ward.publish_bytes(&client, UP, forged, id);
        assert_eq!(ward.up().count().unwrap(), 0, "{id}");
    }
    assert!(!ward.hub.take_refused(), "nothing of it waits for a key");
    // The same message counts once, also after a restart.
    let once = sender(UP, 1, 2).seal(b"once", &own).unwrap();
    for id in 11..=12 {
        ward.publish_bytes(&client, UP, &once, id);
    }
    ward.hub.tick(NOW).unwrap().unwrap();
    ward.restart();
    ward.associate();
    let client = ward.connected();
    ward.publish_bytes(&client, UP, &once, 13);
    // Nor does anything of an earlier run of the pump.
    let earlier = sender(UP, 1, 1).seal(b"earlier", &own).unwrap();
    ward.publish_bytes(&client, UP, &earlier, 14);
    assert_eq!(letters(&ward.up()), [b"once"]);
}

#[test]
fn what_is_under_a_later_key_waits_for_it_and_has_the_server_asked() {
    let mut ward = Ward::open();
    ward.associate();
    let client = ward.connected();
    let own = ward.pump.0.clone();
    let late = sender(UP, 2, 9).seal(b"late", &own).unwrap();
    ward.publish_bytes(&client, UP, &late, 7);
    assert!(ward.hub.take_refused());
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!((ward.up().count().unwrap(), ward.hub.take_refused()), (0, false));
    // It is there after a restart, too, before anything is known; the key comes with the list.
    ward.restart();
    drop(ward.hub.know(None, NOW).unwrap());
    ward.hub.tick(NOW).unwrap().unwrap();
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.up().count().unwrap(), 0);
    ward.epoch = 2;
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(letters(&ward.up()), [b"late"]);
    // However much somebody sends under keys that never come: it is bounded, and the newest of it is there.
    let client = ward.connected();
    let mut never = sender(UP, 3, 10);
    for id in 20..60 {
        let sealed = never.seal(&id.to_string().into_bytes(), &own).unwrap();
        ward.publish_bytes(&client, UP, &sealed, id);
    }
    ward.up().clear().unwrap();
    ward.epoch = 3;
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    let newest: Vec<_> = (44..60).map(|id: u16| id.to_string().into_bytes()).collect();
    assert_eq!(letters(&ward.up()), newest);
}

#[test]
fn nothing_that_was_acknowledged_is_dropped_before_the_devices_are_known() {
    let mut ward = Ward::open();
    ward.associate();
    let client = ward.connected();
    // There is no port, so that it stays at the broker.
    std::fs::remove_dir_all(ward.ports()).unwrap();
    ward.publish(&client, UP, b"kept", 7);
    std::fs::create_dir(ward.ports()).unwrap();
    ward.restart();
    drop(ward.hub.know(None, NOW).unwrap());
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.up().count().unwrap(), 0);
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(letters(&ward.up()), [b"kept"]);
}

#[test]
fn without_a_key_nothing_is_said_and_what_was_to_be_said_waits() {
    let mut ward = Ward::open();
    ward.epoch = 0;
    ward.associate();
    assert!(ward.down().put(b"kept").unwrap());
    let mut client = ward.connected();
    ward.listen(&mut client);
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!((client.take().0, ward.down().count().unwrap()), (vec![], 1));
    assert!(!ward.hub.has_key(&pump()));
    ward.epoch = 1;
    ward.associate();
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.said(&client.take().0), b"kept");
    // From the next epoch on, under that.
    ward.epoch = 2;
    ward.associate();
    assert!(ward.down().put(b"next").unwrap());
    ward.hub.tick(NOW).unwrap().unwrap();
    assert_eq!(ward.said(&client.take().0), b"next");
}

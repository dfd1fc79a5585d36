//! The broker of a gateway: its devices by association, both sides proved, and nobody else.

use super::world::{Options, Shown, auth, connect, user_property};
use super::{Received, World, channel, device, grant, key};
use crate::auth::ControlUnit;
use crate::{ConnectionId, ControlMessage, LocalTable, Step, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{
    AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
};
use serde_bytes::ByteBuf;
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::grant::{DeviceState, Grant};
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::stamp::{PUBLISHER_PROPERTY, Publisher};

const PUMP: &str = "infusion-pump/pump-1";
const UP: &str = "ais/data/update/infusion-pump/pump-1";
const DOWN: &str = "ais/ctl/update/infusion-pump/pump-1";
const MONTH: Duration = Duration::from_hours(30 * 24);

struct Ward {
    world: World,
    publisher: Publisher,
    /// What came with CONNACK.
    rest: Vec<Received>,
}

impl Ward {
    fn open() -> Self {
        let mut world = World::new();
        let gateway_key = key(90);
        let certificate = world.certificate(&gateway_key, "gateway/ward-3", Purpose::Gateway, MONTH);
        let publisher = Publisher::Key {
            key: gateway_key.public().fingerprint().unwrap(),
            device: device("gateway/ward-3"),
            certificate: Some((certificate.serial(), Purpose::Gateway)),
        };
        world.broker = crate::Broker::default();
        let mut ward = Self { world, publisher, rest: Vec::new() };
        ward.give(Vec::new(), &certificate);
        ward
    }

    fn give(&mut self, grants: Vec<Grant>, certificate: &wardlink_crypto::x509::Certificate) {
        let chain = [vec![certificate.to_bytes()], self.world.issuing.chain()].concat();
        let issuers = [self.world.issuing.certificate().to_bytes()];
        let gateway = ControlUnit::new(chain, &key(90).to_pkcs8().unwrap(), &issuers).unwrap();
        let table = LocalTable { grants, gateway, publisher: self.publisher.clone() };
        self.world.broker.set_local_table(table, self.world.now);
        self.world.settle();
    }

    fn associate(&mut self, grants: Vec<Grant>) {
        let certificate = self.world.certificate(&key(90), "gateway/ward-3", Purpose::Gateway, MONTH);
        self.give(grants, &certificate);
    }

    /// Connects, and checks the gateway in turn.
    fn connect(&mut self, shown: &Shown) -> (ConnectionId, Received) {
        let id = self.world.open();
        let identity = shown.identity.clone();
        let host = super::world::HOST;
        let (client, hello) = ClientAuthentication::start(identity, "pump", host, &mut self.world.rng).unwrap();
        self.world.send(id, &connect(&Options::default(), &hello));
        let answer = self.world.take(id).remove(0);
        let Received::Auth { data, .. } = answer else { return (id, answer) };
        let (client, proof) = client.prove(&data, &shown.key).unwrap();
        self.world.send(id, &auth(AuthReasonCode::ContinueAuthentication, &proof));
        self.rest = self.world.take(id);
        let answer = self.rest.remove(0);
        if let Received::Connack { reason: ConnectReasonCode::Success, properties, .. } = &answer {
            let acceptance = crate::packet::bytes(properties, PropertyId::AuthenticationData).unwrap();
            let root = self.world.issuing.root().sha256();
            let gateway = client.finish_at_gateway(acceptance, &root, self.world.now).unwrap();
            assert_eq!(gateway.device(), Some(&device("gateway/ward-3")));
            client.finish(acceptance, &root, self.world.now).unwrap_err();
        }
        (id, answer)
    }
}

fn associated(seed: u64, of: &str, state: DeviceState, version: u64) -> Grant {
    Grant { channels: vec![channel("update")], ..grant(&key(seed), of, state, version, &[]) }
}

fn refusal(answer: &Received) -> Option<ConnectReasonCode> {
    match answer {
        Received::Connack { reason, .. } => Some(*reason).filter(|reason| *reason != ConnectReasonCode::Success),
        _ => None,
    }
}

#[test]
fn a_device_that_is_associated_has_its_update_channel_and_checks_the_gateway() {
    let mut ward = Ward::open();
    let certificate = ward.world.certificate(&key(1), PUMP, Purpose::Device, MONTH);
    let shown = Shown::certificate(&key(1), &certificate);
    assert_eq!(refusal(&ward.connect(&shown).1), Some(ConnectReasonCode::NotAuthorized), "not associated yet");
    ward.associate(vec![associated(1, PUMP, DeviceState::Paired, 1)]);
    let (id, answer) = ward.connect(&shown);
    assert_eq!(refusal(&answer), None, "{answer:?}");
    let down = DOWN.parse().unwrap();
    assert_eq!(ward.world.broker.waiting_for(&down, ward.world.now), None);
    assert_eq!(ward.world.subscribe(id, DOWN), SubackReasonCode::GrantedQos1);
    assert_eq!(ward.world.broker.waiting_for(&down, ward.world.now), Some(0));
    assert_eq!(ward.world.publish(id, UP, b"batch"), PubackReasonCode::Success);
    assert_eq!(ward.world.for_site(Stream::Data).len(), 1);
    for topic in [
        "ais/data/update/infusion-pump/pump-2",
        "ais/data/alarm/infusion-pump/pump-1",
        DOWN,
        "ais/infusion-pump/pump-1",
        "ais/command/infusion-pump",
        "ais/renew/infusion-pump",
        "ais/register/infusion-pump",
    ] {
        assert_eq!(ward.world.publish(id, topic, b"x"), PubackReasonCode::NotAuthorized, "{topic}");
    }
    for filter in [UP, "ais/ctl/update/infusion-pump/pump-2", "ais/meta/infusion-pump", "#", "ais/ctl/update/+/+"] {
        assert_eq!(ward.world.subscribe(id, filter), SubackReasonCode::NotAuthorized, "{filter}");
    }
    // What the gateway says is stamped as the gateway's, and not as the control unit's.
    let payload = ByteBuf::from(b"kept");
    let publish = vec![ControlMessage { topic: down.clone(), payload, qos: Qos::AtLeastOnce }];
    let number = ward.world.broker.applied() + 1;
    assert!(ward.world.broker.apply(Step { number, publish, ..Step::default() }, ward.world.now));
    ward.world.settle();
    assert_eq!(ward.world.broker.waiting_for(&down, ward.world.now), Some(1), "not acknowledged");
    let received = ward.world.take(id);
    let Some(Received::Publish { payload, properties, .. }) = received.first() else { panic!("{received:?}") };
    assert_eq!(payload.as_slice(), b"kept");
    assert_eq!(user_property(properties, PUBLISHER_PROPERTY), Some(ward.publisher.to_string()));
}

#[test]
fn a_device_that_is_not_associated_any_more_is_cut_at_once() {
    let mut ward = Ward::open();
    let certificate = ward.world.certificate(&key(1), PUMP, Purpose::Device, MONTH);
    let shown = Shown::certificate(&key(1), &certificate);
    for (version, state) in [(1, DeviceState::Revoked), (3, DeviceState::Unknown)] {
        ward.associate(vec![associated(1, PUMP, DeviceState::Paired, version)]);
        let (id, answer) = ward.connect(&shown);
        assert_eq!(refusal(&answer), None, "{answer:?}");
        ward.associate(vec![associated(1, PUMP, state, version + 1)]);
        assert!(ward.world.closed.contains(&id), "{state:?}");
        assert_eq!(ward.world.take(id), [Received::Disconnect(DisconnectReasonCode::NotAuthorized)]);
        assert!(refusal(&ward.connect(&shown).1).is_some(), "{state:?}");
    }
}

#[test]
fn nobody_comes_with_less_than_a_certificate_of_the_site() {
    let mut ward = Ward::open();
    ward.associate(vec![associated(1, PUMP, DeviceState::Paired, 1)]);
    let bare = Shown::bare(&key(1), PUMP);
    assert_eq!(refusal(&ward.connect(&bare).1), Some(ConnectReasonCode::NotAuthorized));
    let foreign = World::of_site(8).certificate(&key(1), PUMP, Purpose::Device, MONTH);
    let (_, answer) = ward.connect(&Shown::certificate(&key(1), &foreign));
    assert_eq!(refusal(&answer), Some(ConnectReasonCode::NotAuthorized));
    let other = ward.world.certificate(&key(2), PUMP, Purpose::Device, MONTH);
    let (_, answer) = ward.connect(&Shown::certificate(&key(2), &other));
    assert_eq!(refusal(&answer), Some(ConnectReasonCode::NotAuthorized), "another key of the same name");
    // A certificate that was proved in TLS is not enough here: the gateway would prove nothing in turn.
    let certificate = ward.world.certificate(&key(1), PUMP, Purpose::Device, MONTH);
    let id = ward.world.open_from(None, Some(&certificate));
    let builder = mqtt_protocol_core::mqtt::packet::v5_0::Connect::builder().client_id("pump").unwrap();
    ward.world.send(id, &builder.clean_start(true).build().unwrap().to_continuous_buffer());
    let answer = ward.world.take(id).remove(0);
    assert_eq!(refusal(&answer), Some(ConnectReasonCode::BadAuthenticationMethod));
}

#[test]
fn a_message_survives_the_gateways_restart() {
    let mut ward = Ward::open();
    let grants = vec![associated(1, PUMP, DeviceState::Paired, 1)];
    ward.associate(grants.clone());
    let certificate = ward.world.certificate(&key(1), PUMP, Purpose::Device, MONTH);
    let shown = Shown::certificate(&key(1), &certificate);
    let (id, _) = ward.connect(&shown);
    assert_eq!(ward.world.subscribe(id, DOWN), SubackReasonCode::GrantedQos1);
    assert_eq!(ward.world.publish(id, UP, b"batch"), PubackReasonCode::Success);
    ward.world.lose(id);
    let publish =
        vec![ControlMessage { topic: DOWN.parse().unwrap(), payload: ByteBuf::from(b"kept"), qos: Qos::AtLeastOnce }];
    assert!(ward.world.broker.apply(Step { number: 1, publish, ..Step::default() }, ward.world.now));
    ward.world.settle();
    ward.world.broker = crate::Broker::restore(ward.world.records.clone(), [], ward.world.now);
    ward.associate(grants);
    assert_eq!(ward.world.broker.applied(), 1);
    assert_eq!(ward.world.for_site(Stream::Data)[0].payload.as_slice(), b"batch");
    let (_, answer) = ward.connect(&shown);
    assert!(matches!(answer, Received::Connack { present: true, .. }), "{answer:?}");
    let Some(Received::Publish { payload, .. }) = ward.rest.first() else { panic!("{:?}", ward.rest) };
    assert_eq!(payload.as_slice(), b"kept");
}

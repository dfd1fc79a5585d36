//! MQTT's packets, by `mqtt-protocol-core`: frames are cut into packets here, and answers become bytes. Inside, a client of MQTT 3.1.1
//! is one of 5.0 that says less; only this module knows the difference.

mod older;

use crate::limits::{RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, DecodeResult, MaximumPacketSize, MaximumQos, Properties, Property,
    PropertyId, Qos, ReceiveMaximum, RetainAvailable, ServerKeepAlive, SessionExpiryInterval,
    SharedSubscriptionAvailable, TopicAliasMaximum, VariableByteInteger, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
    UnsubackReasonCode,
};
use serde::{Deserialize, Serialize};
use wardlink_protocol::authentication::METHOD;

/// The type of CONNECT in a packet's first byte.
pub(crate) const CONNECT: u8 = 1;
/// Where CONNECT's protocol level stands: after the protocol's name.
const LEVEL_POSITION: usize = 6;
/// Where CONNECT's flags stand: after the level.
const FLAGS_POSITION: usize = 7;
const RESERVED_FLAG: u8 = 0b0000_0001;
const WILL_FLAG: u8 = 0b0000_0100;
const WILL_QOS_AND_RETAIN: u8 = 0b0011_1000;

/// Which MQTT a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    /// MQTT 3.1.1, or an older one that is refused in its words.
    Older,
    #[default]
    V5,
}

impl Version {
    /// The version of a CONNECT.
    pub(crate) fn of(raw: &RawPacket) -> Self {
        let level = raw.data_as_slice().get(LEVEL_POSITION).copied();
        if level.is_some_and(|level| level <= older::LEVEL) { Self::Older } else { Self::V5 }
    }
}

/// CONNECT, of whatever version.
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    /// In seconds.
    pub(crate) session_expiry: u32,
    /// Its QoS, and whether it is to be retained.
    pub(crate) will: Option<(Qos, bool)>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) properties: Properties,
}

/// A packet that a client may send.
pub(crate) enum Incoming {
    Connect(Box<Connect>),
    Publish(Box<v5_0::Publish>),
    Puback(u16),
    Subscribe(Box<v5_0::Subscribe>),
    Unsubscribe(Box<v5_0::Unsubscribe>),
    Ping,
    Disconnect(Box<v5_0::Disconnect>),
    Auth(Box<v5_0::Auth>),
}

/// Cuts bytes into packets, one by one: how long the next one may be, the packets before it decide.
pub(crate) struct Splitter<'a> {
    builder: PacketBuilder,
    cursor: Cursor<&'a [u8]>,
    taken: usize,
}

impl<'a> Splitter<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { builder: PacketBuilder::new(), cursor: Cursor::new(bytes), taken: 0 }
    }

    /// The next whole packet.
    pub(crate) fn next(&mut self, longest: usize) -> Result<Option<RawPacket>, MqttError> {
        self.builder.set_maximum_packet_size(u32::try_from(longest).unwrap_or(u32::MAX));
        match self.builder.feed(&mut self.cursor) {
            PacketBuildResult::Complete(packet) => {
                self.taken = usize::try_from(self.cursor.position()).map_err(|_| MqttError::PacketTooLarge)?;
                Ok(Some(packet))
            }
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(error) => Err(error),
        }
    }

    /// How many bytes the packets took. What follows is the beginning of a packet.
    pub(crate) const fn taken(&self) -> usize {
        self.taken
    }
}

/// Whether the packet at the beginning of `bytes` is whole, or wrong already: longer than `longest`, or of no length at all.
pub(crate) fn is_decided(bytes: &[u8], longest: usize) -> bool {
    match VariableByteInteger::decode_stream(bytes.get(1..).unwrap_or_default()) {
        DecodeResult::Ok(rest, taken) => {
            let length = usize::try_from(rest.to_u32()).unwrap_or(usize::MAX).saturating_add(1 + taken);
            bytes.len() >= length || length > longest
        }
        DecodeResult::Incomplete => false,
        DecodeResult::Err(_) => true,
    }
}

/// Reads a packet; the flags of its first byte are checked too (MQTT 5.0 section 2.1.3).
pub(crate) fn parse(packet: &RawPacket, version: Version) -> Result<Incoming, MqttError> {
    let flags_of_others = if matches!(packet.packet_type(), 8 | 10) { 0b0010 } else { 0 };
    if !packet.is_publish() && packet.flags() != flags_of_others {
        return Err(MqttError::MalformedPacket);
    }
    if packet.packet_type() == CONNECT {
        return connect(packet, version).map(Box::new).map(Incoming::Connect);
    }
    if version == Version::Older {
        return older::parse(packet);
    }
    let data = packet.data_as_slice();
    Ok(match packet.packet_type() {
        3 => {
            let (publish, _) = v5_0::Publish::parse(packet.flags(), data.into())?;
            Incoming::Publish(Box::new(publish))
        }
        4 => Incoming::Puback(packet.parse_exact(v5_0::Puback::parse)?.packet_id()),
        8 => Incoming::Subscribe(Box::new(packet.parse_exact(v5_0::Subscribe::parse)?)),
        10 => Incoming::Unsubscribe(Box::new(packet.parse_exact(v5_0::Unsubscribe::parse)?)),
        12 => packet.parse_exact(v5_0::Pingreq::parse).map(|_| Incoming::Ping)?,
        14 => Incoming::Disconnect(Box::new(packet.parse_exact(v5_0::Disconnect::parse)?)),
        15 => Incoming::Auth(Box::new(packet.parse_exact(v5_0::Auth::parse)?)),
        // Packets of QoS 2, which CONNACK said is not there, and packets that only a server sends.
        _ => return Err(MqttError::ProtocolError),
    })
}

fn connect(packet: &RawPacket, version: Version) -> Result<Connect, MqttError> {
    // MQTT 5.0 and 3.1.1, sections 3.1.2.3 and following.
    let flags = packet.data_as_slice().get(FLAGS_POSITION).copied().ok_or(MqttError::MalformedPacket)?;
    if flags & RESERVED_FLAG != 0 || (flags & WILL_FLAG == 0 && flags & WILL_QOS_AND_RETAIN != 0) {
        return Err(MqttError::MalformedPacket);
    }
    if version == Version::Older {
        return older::connect(packet);
    }
    let connect = packet.parse_exact(v5_0::Connect::parse)?;
    Ok(Connect {
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_start(),
        keep_alive: connect.keep_alive(),
        session_expiry: number(connect.props(), PropertyId::SessionExpiryInterval).unwrap_or(0),
        will: connect.will_flag().then(|| (connect.will_qos(), connect.will_retain())),
        user_name: connect.user_name().map(str::to_owned),
        password: connect.password().map(<[u8]>::to_vec),
        properties: connect.props().clone(),
    })
}

/// The reason that a DISCONNECT names for an error of the parser.
pub(crate) fn disconnect_reason(error: MqttError) -> DisconnectReasonCode {
    match error {
        MqttError::PacketTooLarge => DisconnectReasonCode::PacketTooLarge,
        MqttError::ProtocolError => DisconnectReasonCode::ProtocolError,
        MqttError::TopicFilterInvalid => DisconnectReasonCode::TopicFilterInvalid,
        MqttError::TopicNameInvalid => DisconnectReasonCode::TopicNameInvalid,
        _ => DisconnectReasonCode::MalformedPacket,
    }
}

/// The property of that kind.
pub(crate) fn property(properties: &[Property], id: PropertyId) -> Option<&Property> {
    properties.iter().find(|property| property.id() == id)
}

/// The number in the property of that kind.
pub(crate) fn number(properties: &[Property], id: PropertyId) -> Option<u32> {
    let property = property(properties, id)?;
    property.as_u32().or_else(|| property.as_u16().map(u32::from)).or_else(|| property.as_u8().map(u32::from))
}

/// The text in the property of that kind.
pub(crate) fn text(properties: &[Property], id: PropertyId) -> Option<&str> {
    property(properties, id)?.as_str()
}

/// The bytes in the property of that kind.
pub(crate) fn bytes(properties: &[Property], id: PropertyId) -> Option<&[u8]> {
    property(properties, id)?.as_bytes()
}

/// What an accepted client is told (MQTT 5.0 section 3.2.2.3).
pub(crate) struct Accepted<'a> {
    pub(crate) session_present: bool,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) keep_alive: Option<u16>,
    pub(crate) maximum_packet: u32,
    /// The bridge's part of the enhanced authentication, where there was one.
    pub(crate) acceptance: Option<&'a [u8]>,
}

/// CONNACK that accepts.
pub(crate) fn connack(version: Version, accepted: &Accepted<'_>) -> Result<Vec<u8>, MqttError> {
    if version == Version::Older {
        let packet = older::connack(accepted.session_present, ConnectReasonCode::Success);
        return packet.unwrap_or(Err(MqttError::ProtocolError));
    }
    let mut properties: Properties = vec![
        ReceiveMaximum::new(RECEIVE_MAXIMUM)?.into(),
        MaximumQos::new(1)?.into(),
        RetainAvailable::new(0)?.into(),
        MaximumPacketSize::new(accepted.maximum_packet)?.into(),
        TopicAliasMaximum::new(TOPIC_ALIAS_MAXIMUM)?.into(),
        SharedSubscriptionAvailable::new(0)?.into(),
    ];
    if let Some(acceptance) = accepted.acceptance {
        properties.push(AuthenticationMethod::new(METHOD)?.into());
        properties.push(AuthenticationData::new(acceptance.to_vec())?.into());
    }
    if let Some(expiry) = accepted.session_expiry {
        properties.push(SessionExpiryInterval::new(expiry)?.into());
    }
    if let Some(seconds) = accepted.keep_alive {
        properties.push(ServerKeepAlive::new(seconds)?.into());
    }
    let packet = v5_0::Connack::builder()
        .session_present(accepted.session_present)
        .reason_code(ConnectReasonCode::Success)
        .props(properties)
        .build()?;
    Ok(packet.to_continuous_buffer())
}

/// CONNACK that refuses; none where the client's version has no word for it.
pub(crate) fn connack_refusal(version: Version, reason: ConnectReasonCode) -> Option<Vec<u8>> {
    if version == Version::Older {
        return older::connack(false, reason)?.ok();
    }
    let packet = v5_0::Connack::builder().session_present(false).reason_code(reason).props(Vec::new()).build();
    packet.ok().map(|packet| packet.to_continuous_buffer())
}

/// AUTH with the bridge's part of the exchange (MQTT 5.0 section 4.12).
pub(crate) fn auth(reason: AuthReasonCode, data: &[u8]) -> Result<Vec<u8>, MqttError> {
    let properties: Properties =
        vec![AuthenticationMethod::new(METHOD)?.into(), AuthenticationData::new(data.to_vec())?.into()];
    Ok(v5_0::Auth::builder().reason_code(reason).props(properties).build()?.to_continuous_buffer())
}

/// PUBACK; a success is four bytes in both versions. None where the client's version has no word for a refusal.
pub(crate) fn puback(version: Version, packet_id: u16, reason: PubackReasonCode) -> Option<Result<Vec<u8>, MqttError>> {
    let builder = v5_0::Puback::builder().packet_id(packet_id);
    let builder = match (reason, version) {
        (PubackReasonCode::Success, _) => builder,
        (_, Version::V5) => builder.reason_code(reason),
        (_, Version::Older) => return None,
    };
    Some(builder.build().map(|packet| packet.to_continuous_buffer()))
}

/// SUBACK.
pub(crate) fn suback(version: Version, packet_id: u16, reasons: Vec<SubackReasonCode>) -> Result<Vec<u8>, MqttError> {
    if version == Version::Older {
        return older::suback(packet_id, reasons.into_iter().map(granted));
    }
    let packet = v5_0::Suback::builder().packet_id(packet_id).props(Vec::new()).reason_codes(reasons).build()?;
    Ok(packet.to_continuous_buffer())
}

/// The QoS that a SUBACK grants.
fn granted(reason: SubackReasonCode) -> Option<Qos> {
    match reason {
        SubackReasonCode::GrantedQos0 => Some(Qos::AtMostOnce),
        SubackReasonCode::GrantedQos1 => Some(Qos::AtLeastOnce),
        _ => None,
    }
}

/// UNSUBACK.
pub(crate) fn unsuback(
    version: Version,
    packet_id: u16,
    reasons: Vec<UnsubackReasonCode>,
) -> Result<Vec<u8>, MqttError> {
    if version == Version::Older {
        return older::unsuback(packet_id);
    }
    let packet = v5_0::Unsuback::builder().packet_id(packet_id).props(Vec::new()).reason_codes(reasons).build()?;
    Ok(packet.to_continuous_buffer())
}

/// PINGRESP, the same in both versions.
pub(crate) fn pingresp() -> Vec<u8> {
    v5_0::Pingresp::new().to_continuous_buffer()
}

/// DISCONNECT; MQTT 3.1.1 knows none from the server.
pub(crate) fn disconnect(version: Version, reason: DisconnectReasonCode) -> Option<Vec<u8>> {
    let packet = (version == Version::V5).then(|| v5_0::Disconnect::builder().reason_code(reason).build().ok());
    packet.flatten().map(|packet| packet.to_continuous_buffer())
}

/// What a PUBLISH to a subscriber carries beside topic and payload.
pub(crate) struct Delivery {
    /// None means QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) duplicate: bool,
    pub(crate) properties: Properties,
}

/// PUBLISH to a subscriber.
pub(crate) fn publish(version: Version, topic: &str, payload: &[u8], delivery: Delivery) -> Result<Vec<u8>, MqttError> {
    let Delivery { packet_id, duplicate, properties } = delivery;
    if version == Version::Older {
        return older::publish_to(topic, payload, packet_id, duplicate);
    }
    let builder = v5_0::Publish::builder().topic_name(topic)?.payload(payload).props(properties);
    let builder = match packet_id {
        Some(packet_id) => builder.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(duplicate),
        None => builder.qos(Qos::AtMostOnce),
    };
    Ok(builder.build()?.to_continuous_buffer())
}

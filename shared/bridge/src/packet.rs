//! MQTT 5.0 packets, by `mqtt-protocol-core`: frames are cut into packets here, and answers become bytes.

use crate::limits::{RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, MaximumPacketSize, MaximumQos, Properties, Property, PropertyId, Qos,
    ReceiveMaximum, RetainAvailable, ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    AuthReasonCode, ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    SubackReasonCode, UnsubackReasonCode,
};
use wardlink_protocol::authentication::METHOD;

/// A packet that a client may send.
pub(crate) enum Incoming {
    Connect(Box<v5_0::Connect>),
    Publish(Box<v5_0::Publish>),
    Puback(u16),
    Subscribe(Box<v5_0::Subscribe>),
    Unsubscribe(Box<v5_0::Unsubscribe>),
    Ping,
    Disconnect(Box<v5_0::Disconnect>),
    Auth(Box<v5_0::Auth>),
}

/// Cuts `bytes` into whole packets; the second part is how many bytes they took. What follows is the beginning of a packet.
pub(crate) fn split(bytes: &[u8], longest: usize) -> Result<(Vec<RawPacket>, usize), MqttError> {
    let mut builder = PacketBuilder::with_maximum_packet_size(u32::try_from(longest).unwrap_or(u32::MAX));
    let mut cursor = Cursor::new(bytes);
    let mut packets = Vec::new();
    let mut taken = 0;
    loop {
        match builder.feed(&mut cursor) {
            PacketBuildResult::Complete(packet) => {
                taken = usize::try_from(cursor.position()).map_err(|_| MqttError::PacketTooLarge)?;
                packets.push(packet);
            }
            PacketBuildResult::Incomplete => return Ok((packets, taken)),
            PacketBuildResult::Error(error) => return Err(error),
        }
    }
}

/// Reads a packet; the flags of its first byte are checked too (MQTT 5.0 section 2.1.3).
pub(crate) fn parse(packet: &RawPacket) -> Result<Incoming, MqttError> {
    let flags_of_others = if matches!(packet.packet_type(), 8 | 10) { 0b0010 } else { 0 };
    if !packet.is_publish() && packet.flags() != flags_of_others {
        return Err(MqttError::MalformedPacket);
    }
    let data = packet.data_as_slice();
    Ok(match packet.packet_type() {
        1 => Incoming::Connect(Box::new(packet.parse_exact(v5_0::Connect::parse)?)),
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
    pub(crate) acceptance: &'a [u8],
}

/// CONNACK that accepts.
pub(crate) fn connack(accepted: &Accepted<'_>) -> Result<Vec<u8>, MqttError> {
    let mut properties: Properties = vec![
        ReceiveMaximum::new(RECEIVE_MAXIMUM)?.into(),
        MaximumQos::new(1)?.into(),
        RetainAvailable::new(0)?.into(),
        MaximumPacketSize::new(accepted.maximum_packet)?.into(),
        TopicAliasMaximum::new(TOPIC_ALIAS_MAXIMUM)?.into(),
        SharedSubscriptionAvailable::new(0)?.into(),
        AuthenticationMethod::new(METHOD)?.into(),
        AuthenticationData::new(accepted.acceptance.to_vec())?.into(),
    ];
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

/// CONNACK that refuses.
pub(crate) fn connack_refusal(reason: ConnectReasonCode) -> Result<Vec<u8>, MqttError> {
    let packet = v5_0::Connack::builder().session_present(false).reason_code(reason).props(Vec::new()).build()?;
    Ok(packet.to_continuous_buffer())
}

/// CONNACK for a client that speaks an older MQTT, in its language.
pub(crate) fn connack_for_older_mqtt() -> Result<Vec<u8>, MqttError> {
    let packet = v3_1_1::Connack::builder()
        .session_present(false)
        .return_code(ConnectReturnCode::UnacceptableProtocolVersion)
        .build()?;
    Ok(packet.to_continuous_buffer())
}

/// AUTH with the bridge's part of the exchange (MQTT 5.0 section 4.12).
pub(crate) fn auth(reason: AuthReasonCode, data: &[u8]) -> Result<Vec<u8>, MqttError> {
    let properties: Properties =
        vec![AuthenticationMethod::new(METHOD)?.into(), AuthenticationData::new(data.to_vec())?.into()];
    Ok(v5_0::Auth::builder().reason_code(reason).props(properties).build()?.to_continuous_buffer())
}

/// PUBACK; a success is the short form of four bytes.
pub(crate) fn puback(packet_id: u16, reason: PubackReasonCode) -> Result<Vec<u8>, MqttError> {
    let builder = v5_0::Puback::builder().packet_id(packet_id);
    let builder = if reason == PubackReasonCode::Success { builder } else { builder.reason_code(reason) };
    Ok(builder.build()?.to_continuous_buffer())
}

/// SUBACK.
pub(crate) fn suback(packet_id: u16, reasons: Vec<SubackReasonCode>) -> Result<Vec<u8>, MqttError> {
    let packet = v5_0::Suback::builder().packet_id(packet_id).props(Vec::new()).reason_codes(reasons).build()?;
    Ok(packet.to_continuous_buffer())
}

/// UNSUBACK.
pub(crate) fn unsuback(packet_id: u16, reasons: Vec<UnsubackReasonCode>) -> Result<Vec<u8>, MqttError> {
    let packet = v5_0::Unsuback::builder().packet_id(packet_id).props(Vec::new()).reason_codes(reasons).build()?;
    Ok(packet.to_continuous_buffer())
}

/// PINGRESP.
pub(crate) fn pingresp() -> Vec<u8> {
    v5_0::Pingresp::new().to_continuous_buffer()
}

/// DISCONNECT.
pub(crate) fn disconnect(reason: DisconnectReasonCode) -> Result<Vec<u8>, MqttError> {
    Ok(v5_0::Disconnect::builder().reason_code(reason).build()?.to_continuous_buffer())
}

/// PUBLISH to a subscriber; no packet id means QoS 0.
pub(crate) fn publish(
    topic: &str,
    payload: &[u8],
    packet_id: Option<u16>,
    duplicate: bool,
    properties: Properties,
) -> Result<Vec<u8>, MqttError> {
    let builder = v5_0::Publish::builder().topic_name(topic)?.payload(payload).props(properties);
    let builder = match packet_id {
        Some(packet_id) => builder.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(duplicate),
        None => builder.qos(Qos::AtMostOnce),
    };
    Ok(builder.build()?.to_continuous_buffer())
}

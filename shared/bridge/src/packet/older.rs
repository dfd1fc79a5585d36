//! MQTT 3.1.1 (OASIS Standard, 29 October 2014): its packets are read as the ones of MQTT 5.0 that mean the same, and answers are
//! written as far as it has words for them.

use super::{Connect, Incoming};
use mqtt_protocol_core::mqtt::connection::RawPacket;
use mqtt_protocol_core::mqtt::packet::{MqttString, Qos, RetainHandling, SubEntry, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError, SubackReturnCode};

/// The protocol level (section 3.1.2.2).
pub(super) const LEVEL: u8 = 4;
/// Reads CONNECT.
pub(super) fn connect(raw: &RawPacket) -> Result<Connect, MqttError> {
    let connect = raw.parse_exact(v3_1_1::Connect::parse)?;
    let clean = connect.clean_session();
    Ok(Connect {
        client_id: connect.client_id().to_owned(),
        clean_start: clean,
        keep_alive: connect.keep_alive(),
        // Section 3.1.2.4: a session that is not clean has no end.
        session_expiry: if clean { 0 } else { u32::MAX },
        will: connect.will_flag().then(|| (connect.will_qos(), connect.will_retain())),
        user_name: connect.user_name().map(str::to_owned),
        password: connect.password().map(<[u8]>::to_vec),
        properties: Vec::new(),
    })
}

/// Reads any other packet.
pub(super) fn parse(raw: &RawPacket) -> Result<Incoming, MqttError> {
    Ok(match raw.packet_type() {
        3 => Incoming::Publish(Box::new(publish(raw)?)),
        4 => Incoming::Puback(raw.parse_exact(v3_1_1::Puback::parse)?.packet_id()),
        8 => Incoming::Subscribe(Box::new(subscribe(raw)?)),
        10 => {
            let unsubscribe = raw.parse_exact(v3_1_1::Unsubscribe::parse)?;
            let entries: Vec<&str> = unsubscribe.entries().iter().map(MqttString::as_str).collect();
            let builder = v5_0::Unsubscribe::builder().packet_id(unsubscribe.packet_id());
            Incoming::Unsubscribe(Box::new(builder.entries(entries)?.props(Vec::new()).build()?))
        }
        12 => raw.parse_exact(v3_1_1::Pingreq::parse).map(|_| Incoming::Ping)?,
        14 => {
            raw.parse_exact(v3_1_1::Disconnect::parse)?;
            Incoming::Disconnect(Box::new(v5_0::Disconnect::builder().build()?))
        }
        _ => return Err(MqttError::ProtocolError),
    })
}

fn publish(raw: &RawPacket) -> Result<v5_0::Publish, MqttError> {
    let (older, _) = v3_1_1::Publish::parse(raw.flags(), raw.data_as_slice().into())?;
    // Section 3.3.1.1.
    if older.qos() == Qos::AtMostOnce && older.dup() {
        return Err(MqttError::MalformedPacket);
    }
    let builder = v5_0::Publish::builder().topic_name(older.topic_name())?.payload(older.payload().clone());
    let builder = builder.qos(older.qos()).dup(older.dup()).retain(older.retain()).props(Vec::new());
    match older.packet_id() {
        Some(packet_id) => builder.packet_id(packet_id).build(),
        None => builder.build(),
    }
}

fn subscribe(raw: &RawPacket) -> Result<v5_0::Subscribe, MqttError> {
    let older = raw.parse_exact(v3_1_1::Subscribe::parse)?;
    // Section 3.8.3.1: the bits that became options are reserved.
    let has_options = |entry: &SubEntry| {
        let options = entry.sub_opts();
        options.nl() || options.rap() || options.rh() != RetainHandling::SendRetained
    };
    if older.entries().iter().any(has_options) {
        return Err(MqttError::MalformedPacket);
    }
    let builder = v5_0::Subscribe::builder().packet_id(older.packet_id());
    builder.entries(older.entries().clone()).props(Vec::new()).build()
}

/// CONNACK (section 3.2); none where the connection is only closed (sections 3.1.4 and 4.8).
pub(super) fn connack(session_present: bool, reason: ConnectReasonCode) -> Option<Result<Vec<u8>, MqttError>> {
    let code = match reason {
        ConnectReasonCode::Success => ConnectReturnCode::Accepted,
        ConnectReasonCode::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
        ConnectReasonCode::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
        ConnectReasonCode::ServerUnavailable | ConnectReasonCode::ServerBusy | ConnectReasonCode::QuotaExceeded => {
            ConnectReturnCode::ServerUnavailable
        }
        ConnectReasonCode::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
        ConnectReasonCode::MalformedPacket | ConnectReasonCode::ProtocolError | ConnectReasonCode::PacketTooLarge => {
            return None;
        }
        _ => ConnectReturnCode::NotAuthorized,
    };
    let packet = v3_1_1::Connack::builder().session_present(session_present).return_code(code).build();
    Some(packet.map(|packet| packet.to_continuous_buffer()))
}

/// SUBACK (section 3.9): one word for every refusal.
pub(super) fn suback(packet_id: u16, granted: impl Iterator<Item = Option<Qos>>) -> Result<Vec<u8>, MqttError> {
    let code = |granted| match granted {
        Some(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
        Some(_) => SubackReturnCode::SuccessMaximumQos1,
        None => SubackReturnCode::Failure,
    };
    let packet = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(granted.map(code).collect()).build()?;
    Ok(packet.to_continuous_buffer())
}

/// UNSUBACK (section 3.11).
pub(super) fn unsuback(packet_id: u16) -> Result<Vec<u8>, MqttError> {
    Ok(v3_1_1::Unsuback::builder().packet_id(packet_id).build()?.to_continuous_buffer())
}

/// PUBLISH to a subscriber: without properties, so without the stamp.
pub(super) fn publish_to(
    topic: &str,
    payload: &[u8],
    packet_id: Option<u16>,
    duplicate: bool,
) -> Result<Vec<u8>, MqttError> {
    let builder = v3_1_1::Publish::builder().topic_name(topic)?.payload(payload);
    let builder = match packet_id {
        Some(packet_id) => builder.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(duplicate),
        None => builder.qos(Qos::AtMostOnce),
    };
    Ok(builder.build()?.to_continuous_buffer())
}

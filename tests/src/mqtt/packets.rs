//! Single packets as bytes, for whoever sends them out of turn.

use anyhow::Result;
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry, SubOpts, v5_0};
use mqtt_protocol_core::mqtt::result_code::AuthReasonCode;

use super::{authentication, malformed};

/// CONNECT with these authentication data.
pub fn connect(client_id: &str, hello: &[u8]) -> Result<Vec<u8>> {
    let connect = v5_0::Connect::builder()
        .client_id(client_id)
        .and_then(|connect| connect.clean_start(true).props(authentication(hello.to_vec())?).build());
    Ok(connect.map_err(malformed)?.to_continuous_buffer())
}

/// PUBLISH with QoS 1.
pub fn publish(topic: &str, payload: &[u8], id: u16) -> Result<Vec<u8>> {
    let publish = v5_0::Publish::builder()
        .topic_name(topic)
        .and_then(|publish| publish.packet_id(id).qos(Qos::AtLeastOnce).payload(payload).build());
    Ok(publish.map_err(malformed)?.to_continuous_buffer())
}

/// SUBSCRIBE with QoS 1.
pub fn subscribe(filter: &str, id: u16) -> Result<Vec<u8>> {
    let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).map_err(malformed)?;
    let subscribe = v5_0::Subscribe::builder().packet_id(id).entries(vec![entry]).build();
    Ok(subscribe.map_err(malformed)?.to_continuous_buffer())
}

/// AUTH with which a client begins to authenticate again.
pub fn authenticate_again(data: &[u8]) -> Result<Vec<u8>> {
    let properties = authentication(data.to_vec()).map_err(malformed)?;
    let auth = v5_0::Auth::builder().reason_code(AuthReasonCode::ReAuthenticate).props(properties).build();
    Ok(auth.map_err(malformed)?.to_continuous_buffer())
}

//! MQTT packets on the wire, as they stand there.

use anyhow::{Context as _, Result, anyhow};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::v5_0::{Auth, Connect, Puback, Publish};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, MqttError};

const CONNECT: u8 = 1;
const PUBACK: u8 = 4;
const AUTH: u8 = 15;

/// One packet.
pub(super) struct Packet {
    bytes: Vec<u8>,
    raw: RawPacket,
    id: Option<u16>,
}

/// What a PUBLISH says.
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// QoS 1: the bridge answers when it is stored.
    pub(super) is_kept: bool,
}

/// Takes the whole packets from the front of `bytes`; what begins another one stays.
pub(super) fn split(bytes: &mut Vec<u8>) -> Result<Vec<Packet>> {
    let mut builder = PacketBuilder::new();
    let mut cursor = Cursor::new(bytes.as_slice());
    let mut packets = Vec::new();
    let mut taken = 0;
    loop {
        match builder.feed(&mut cursor) {
            PacketBuildResult::Complete(raw) => {
                let end = usize::try_from(cursor.position())?;
                let bytes = bytes.get(taken..end).context("a packet lies within what was read")?.to_vec();
                packets.push(Packet::new(bytes, raw)?);
                taken = end;
            }
            PacketBuildResult::Incomplete => break,
            PacketBuildResult::Error(error) => return Err(malformed(error)),
        }
    }
    bytes.drain(..taken);
    Ok(packets)
}

impl Packet {
    fn new(bytes: Vec<u8>, raw: RawPacket) -> Result<Self> {
        let id = if raw.is_publish() { parse_publish(&raw)?.packet_id() } else { None };
        Ok(Self { bytes, raw, id })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id with which the other side acknowledges this PUBLISH.
    pub(super) fn packet_id(&self) -> Option<u16> {
        self.id
    }

    /// Which PUBLISH this packet acknowledges.
    pub(super) fn puback(&self) -> Option<u16> {
        let is_puback = self.raw.packet_type() == PUBACK;
        is_puback.then(|| self.raw.parse_exact(Puback::parse).ok().map(|puback| puback.packet_id())).flatten()
    }

    /// The client id of a CONNECT.
    pub(super) fn connect(&self) -> Result<Option<String>> {
        if self.raw.packet_type() != CONNECT {
            return Ok(None);
        }
        Ok(Some(self.raw.parse_exact(Connect::parse).map_err(malformed)?.client_id().to_owned()))
    }

    /// Whether a client shows another certificate on a living connection.
    pub(super) fn begins_authentication_again(&self) -> Result<bool> {
        if self.raw.packet_type() != AUTH {
            return Ok(false);
        }
        let auth = self.raw.parse_exact(Auth::parse).map_err(malformed)?;
        Ok(auth.reason_code() == Some(AuthReasonCode::ReAuthenticate))
    }

    pub(super) fn publish(&self) -> Result<Option<Published>> {
        if !self.raw.is_publish() {
            return Ok(None);
        }
        let publish = parse_publish(&self.raw)?;
        Ok(Some(Published {
            topic: publish.topic_name().to_owned(),
            payload: publish.payload().as_slice().to_vec(),
            is_kept: publish.packet_id().is_some(),
        }))
    }
}

fn parse_publish(raw: &RawPacket) -> Result<Publish> {
    Ok(Publish::parse(raw.flags(), raw.data_as_slice().into()).map_err(malformed)?.0)
}

fn malformed(error: MqttError) -> anyhow::Error {
    anyhow!("no MQTT on the wire: {error:?}")
}

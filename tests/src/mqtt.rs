//! A bare MQTT client that asks the bridge for anything, allowed or not, and says what it answered.

pub mod packets;

use std::collections::VecDeque;
use std::net::TcpStream;

use anyhow::{Context as _, Result, anyhow, bail};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, GenericConnection};
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, GenericPacketTrait as _, Packet, Properties, Qos, SessionExpiryInterval,
    SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, MqttError};
use mqtt_protocol_core::mqtt::{Version, role};
use rand_core::UnwrapErr;
use serde_bytes::ByteBuf;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{Message, WebSocket};
use wardlink_crypto::authentication::{ClientAuthentication, ProvedClient};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;
use wardlink_protocol::authentication::{Identity, METHOD};

use crate::wait;

/// How long the bridge keeps a session that is to be resumed.
const SESSION_EXPIRY_SECS: u32 = 3600;

/// Who the client says that it is, and the key with which it proves it.
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    key: PrivateKey,
}

impl Credentials {
    /// A new key that claims to be a device.
    pub fn stranger(device: &str) -> Result<Self> {
        Self::bare_key(PrivateKey::make(&mut rng()), &device.parse().context("a device")?)
    }

    /// A key that claims to be a device.
    pub fn bare_key(key: PrivateKey, device: &Device) -> Result<Self> {
        Ok(Self { identity: ClientAuthentication::bare_key(&key, device)?, key })
    }

    /// A certificate and its key.
    pub fn certificate(key: PrivateKey, certificate: &[u8]) -> Self {
        Self { identity: Identity::Certificate { certificate: ByteBuf::from(certificate) }, key }
    }

    /// The same identity, proved with another key.
    #[must_use]
    pub fn with_key_of(self, other: &Self) -> Self {
        Self { key: other.key.clone(), ..self }
    }
}

/// What the bridge answered to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reason code (MQTT 5.0 section 2.4).
    Code(u8),
    /// The end of the connection.
    Closed,
}

impl Answer {
    /// Whether the bridge did not do what it was asked.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Code(code) => code >= 0x80,
            Self::Closed => true,
        }
    }
}

/// A connection to the bridge.
pub struct Mqtt {
    socket: WebSocket<TcpStream>,
    connection: GenericConnection<role::Client, u16>,
    received: VecDeque<Packet>,
    closed: bool,
}

impl Mqtt {
    /// Connects and authenticates; says why where the bridge refuses.
    pub fn connect(broker: &str, credentials: &Credentials, client_id: &str) -> Result<Result<Self, Answer>> {
        let authority = broker.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let host = authority.to_owned();
        Self::connect_for(broker, &host, credentials, client_id, true)
    }

    /// Connects to a session that the bridge has kept, or that it is to keep from now on.
    pub fn resume(broker: &str, credentials: &Credentials, client_id: &str) -> Result<Result<Self, Answer>> {
        let authority = broker.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let host = authority.to_owned();
        Self::connect_for(broker, &host, credentials, client_id, false)
    }

    /// Connects, signing for a host that may be another one than is dialled.
    pub fn connect_for(
        broker: &str,
        host: &str,
        credentials: &Credentials,
        client_id: &str,
        clean: bool,
    ) -> Result<Result<Self, Answer>> {
        let identity = credentials.identity.clone();
        let (client, hello) = ClientAuthentication::start(identity, client_id, host, &mut rng())?;
        let mut mqtt = Self::dial(broker)?;
        let mut properties = authentication(hello).map_err(malformed)?;
        if !clean {
            properties.push(SessionExpiryInterval::new(SESSION_EXPIRY_SECS).map_err(malformed)?.into());
        }
        let connect = v5_0::Connect::builder()
            .client_id(client_id)
            .and_then(|connect| connect.clean_start(clean).props(properties).build())
            .map_err(malformed)?;
        mqtt.send(connect.into())?;
        let challenge = match mqtt.next_packet()? {
            Some(Packet::V5_0Auth(auth)) => data(auth.props().as_ref()).context("the challenge is data")?,
            other => return Ok(Err(refusal(other)?)),
        };
        let (_, proof): (ProvedClient, _) = client.prove(&challenge, &credentials.key)?;
        let auth = v5_0::Auth::builder()
            .reason_code(AuthReasonCode::ContinueAuthentication)
            .props(authentication(proof).map_err(malformed)?)
            .build()
            .map_err(malformed)?;
        mqtt.send(auth.into())?;
        match mqtt.next_packet()? {
            Some(Packet::V5_0Connack(connack)) if connack.reason_code() == ConnectReasonCode::Success => Ok(Ok(mqtt)),
            other => Ok(Err(refusal(other)?)),
        }
    }

    /// Sends a CONNECT with these authentication data; says how the bridge refused them, and none where it went on.
    pub fn refusal_of_hello(broker: &str, hello: &[u8]) -> Result<Option<Answer>> {
        let mut mqtt = Self::dial(broker)?;
        let connect = v5_0::Connect::builder()
            .client_id("hello")
            .and_then(|connect| connect.clean_start(true).props(authentication(hello.to_vec())?).build())
            .map_err(malformed)?;
        mqtt.send(connect.into())?;
        match mqtt.next_packet()? {
            Some(Packet::V5_0Auth(_)) => Ok(None),
            other => Ok(Some(refusal(other)?)),
        }
    }

    /// Asks for a subscription with QoS 1.
    pub fn subscribe(&mut self, filter: &str) -> Result<Answer> {
        let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).map_err(malformed)?;
        let id = self.connection.acquire_packet_id().map_err(malformed)?;
        let subscribe = v5_0::Subscribe::builder().packet_id(id).entries(vec![entry]).build().map_err(malformed)?;
        self.send(subscribe.into())?;
        self.answer(|packet| match packet {
            Packet::V5_0Suback(suback) => suback.reason_codes().first().map(|code| *code as u8),
            _ => None,
        })
    }

    /// Publishes with QoS 1.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<Answer> {
        let id = self.connection.acquire_packet_id().map_err(malformed)?;
        let publish = v5_0::Publish::builder()
            .topic_name(topic)
            .and_then(|publish| publish.packet_id(id).qos(Qos::AtLeastOnce).payload(payload).build())
            .map_err(malformed)?;
        self.send(publish.into())?;
        self.answer(|packet| match packet {
            Packet::V5_0Puback(puback) => Some(puback.reason_code().map_or(0, |code| code as u8)),
            _ => None,
        })
    }

    /// The messages that the bridge sent before it answered a ping; none once it has closed the connection.
    pub fn messages(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        if !self.closed {
            self.send(v5_0::Pingreq::new().into())?;
            self.answer(|packet| matches!(packet, Packet::V5_0Pingresp(_)).then_some(0))?;
        }
        let packets = self.received.drain(..);
        Ok(packets
            .filter_map(|packet| match packet {
                Packet::V5_0Publish(publish) => {
                    Some((publish.topic_name().to_owned(), publish.payload().as_slice().to_vec()))
                }
                _ => None,
            })
            .collect())
    }

    /// Waits for the next message; none when the connection has ended.
    pub fn next_message(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        loop {
            match self.next_packet()? {
                None => return Ok(None),
                Some(Packet::V5_0Publish(publish)) => {
                    return Ok(Some((publish.topic_name().to_owned(), publish.payload().as_slice().to_vec())));
                }
                Some(_) => {}
            }
        }
    }

    /// Waits until the bridge ends the connection.
    pub fn wait_for_end(&mut self) -> Result<()> {
        while self.read()?.is_some() {}
        Ok(())
    }

    /// The WebSocket, for bytes that are no packets.
    pub fn into_socket(self) -> WebSocket<TcpStream> {
        self.socket
    }

    fn dial(broker: &str) -> Result<Self> {
        let mut request = broker.into_client_request()?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        let authority = broker.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(authority).context("the bridge does not answer")?;
        stream.set_read_timeout(Some(wait::LIMIT)).context("cannot limit reading")?;
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| anyhow!("no MQTT there: {error}"))?;
        let mut connection = GenericConnection::new(Version::V5_0);
        connection.set_auto_pub_response(true);
        Ok(Self { socket, connection, received: VecDeque::new(), closed: false })
    }

    fn send(&mut self, packet: Packet) -> Result<()> {
        let events = self.connection.send(packet);
        self.handle(events)
    }

    fn handle(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.closed |= self.socket.send(Message::binary(packet.to_continuous_buffer())).is_err();
                }
                Event::NotifyPacketReceived(packet) => self.received.push_back(packet),
                Event::NotifyError(error) => bail!("the bridge and the client speak differently: {error:?}"),
                Event::RequestClose => self.closed = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads one frame; none when the connection has ended.
    fn read(&mut self) -> Result<Option<()>> {
        if self.closed {
            return Ok(None);
        }
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => {
                let mut cursor = Cursor::new(bytes.as_ref());
                while cursor.position() < u64::try_from(bytes.len())? {
                    let events = self.connection.recv(&mut cursor);
                    self.handle(events)?;
                }
            }
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                self.closed = true;
                return Ok(None);
            }
            Ok(_) => {}
            Err(error) => bail!("the bridge neither answers nor closes: {error}"),
        }
        Ok(Some(()))
    }

    /// The next packet; none when the connection has ended.
    fn next_packet(&mut self) -> Result<Option<Packet>> {
        while self.received.is_empty() {
            if self.read()?.is_none() {
                break;
            }
        }
        Ok(self.received.pop_front())
    }

    /// Reads until a packet is the answer; messages before it are kept.
    fn answer(&mut self, read: impl Fn(&Packet) -> Option<u8>) -> Result<Answer> {
        loop {
            let found = self.received.iter().enumerate().find_map(|(at, packet)| Some((at, read(packet)?)));
            if let Some((at, code)) = found {
                self.received.remove(at);
                return Ok(Answer::Code(code));
            }
            if self.read()?.is_none() {
                return Ok(Answer::Closed);
            }
        }
    }
}

pub(crate) fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

fn authentication(data: Vec<u8>) -> Result<Properties, MqttError> {
    Ok(vec![AuthenticationMethod::new(METHOD)?.into(), AuthenticationData::new(data)?.into()])
}

fn data(properties: Option<&Properties>) -> Option<Vec<u8>> {
    use mqtt_protocol_core::mqtt::packet::Property;
    properties?.iter().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data.val().to_vec()),
        _ => None,
    })
}

fn refusal(packet: Option<Packet>) -> Result<Answer> {
    match packet {
        None => Ok(Answer::Closed),
        Some(Packet::V5_0Connack(connack)) => Ok(Answer::Code(connack.reason_code() as u8)),
        Some(Packet::V5_0Disconnect(disconnect)) => {
            Ok(disconnect.reason_code().map_or(Answer::Closed, |code| Answer::Code(code as u8)))
        }
        Some(packet) => bail!("unexpected answer: {packet:?}"),
    }
}

fn malformed(error: MqttError) -> anyhow::Error {
    anyhow!("the packet cannot be made: {error:?}")
}

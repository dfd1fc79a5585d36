//! One connection to the bridge: authentication, packets, keep-alive.

use super::LinkOptions;
use super::endpoint::{DialError, Endpoint, Socket};
use crate::clock;
use futures_util::{SinkExt, StreamExt};
use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Packet, Property, Qos, ReceiveMaximum, SessionExpiryInterval, SubEntry,
    SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, MqttError};
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{self, Message};
use wardlink_crypto::authentication::{AuthenticationError, ClientAuthentication, ProvedClient};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;
use wardlink_protocol::authentication::{Identity as Claim, METHOD};
use wardlink_protocol::identity::{KeyFingerprint, Sha256};
use wardlink_protocol::topic::{Topic, TopicFilter};

/// MQTT's keep-alive, in seconds. The bridge may ask for a longer one.
const KEEP_ALIVE_SECS: u16 = 60;
/// How long the bridge has to answer a ping, in milliseconds.
const PING_ANSWER_MS: u64 = 5_000;
/// How long authenticating anew may take.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(20);
/// How many QoS 1 messages the bridge may send before the device has dealt with the first.
const RECEIVE_MAXIMUM: u16 = 16;
/// How many QoS 1 messages the device has under way at most.
const MAX_IN_FLIGHT: u16 = 64;

/// Who the device is towards the bridge.
pub struct Identity {
    /// The static key.
    pub key: PrivateKey,
    /// Class and identifier.
    pub device: Device,
    /// The certificate, DER; none: the bare key.
    pub certificate: Option<Vec<u8>>,
    /// SHA-256 of the site's root certificate: the bridge must speak for its control unit. None only for a device that was given
    /// none, while it pairs: then any control unit will do.
    pub root: Option<Sha256>,
}

impl Identity {
    fn claim(&self) -> Result<Claim, AuthenticationError> {
        match &self.certificate {
            None => ClientAuthentication::bare_key(&self.key, &self.device),
            Some(certificate) => Ok(Claim::Certificate { certificate: ByteBuf::from(certificate.clone()) }),
        }
    }

    /// Verifies the bridge's proof. A gateway's broker proves that it is the gateway whose key was `shown` in TLS.
    fn believe(
        &self,
        endpoint: &Endpoint,
        shown: Option<KeyFingerprint>,
        client: &ProvedClient,
        acceptance: &[u8],
    ) -> Result<(), LinkError> {
        let now = clock::now();
        if let Some(gateways) = endpoint.gateways() {
            let gateway = client.finish_at_gateway(acceptance, gateways.root(), now)?;
            let key = gateway.fingerprint().map_err(AuthenticationError::from)?;
            return if shown == Some(key) { Ok(()) } else { Err(LinkError::Between) };
        }
        match &self.root {
            Some(root) => client.finish(acceptance, root, now)?,
            None => client.dangerous_finish_any_root(acceptance, now)?,
        };
        Ok(())
    }
}

/// Why a connection was not made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The bridge cannot be reached.
    #[error("the bridge cannot be reached: {0}")]
    Dial(#[from] DialError),
    /// It took too long.
    #[error("the bridge does not answer in time")]
    Timeout,
    /// The bridge refused the connection.
    #[error("the bridge refused the connection: {0}")]
    Refused(ConnectReasonCode),
    /// The bridge could not prove that it speaks for the control unit, or the device could not prove itself.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthenticationError),
    /// Somebody is between the device and the gateway: TLS ends elsewhere.
    #[error("TLS does not end at the gateway that proved itself")]
    Between,
    /// The bridge ended the connection.
    #[error("the bridge ended the connection: {0}")]
    Disconnected(DisconnectReasonCode),
    /// The bridge broke MQTT's rules, or we did.
    #[error("MQTT protocol error: {0}")]
    Mqtt(MqttError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// The connection ended.
    #[error("the connection ended")]
    Closed,
}

impl LinkError {
    /// Whether the bridge turned the device away as whom it came, and not for trouble of its own.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(ConnectReasonCode::NotAuthorized | ConnectReasonCode::Banned)
                | Self::Disconnected(DisconnectReasonCode::NotAuthorized)
        )
    }
}

impl From<MqttError> for LinkError {
    fn from(error: MqttError) -> Self {
        Self::Mqtt(error)
    }
}

impl From<tungstenite::Error> for LinkError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// What the device waits for while it authenticates anew.
enum Again {
    Challenge(ClientAuthentication, Arc<Identity>, Arc<Endpoint>),
    Acceptance(ProvedClient, Arc<Identity>, Arc<Endpoint>),
}

/// A connection on which both sides have proved who they are.
pub(super) struct Session {
    socket: Socket,
    /// The key that a gateway has shown in TLS.
    shown: Option<KeyFingerprint>,
    mqtt: mqtt::Connection<mqtt::role::Client>,
    outgoing: Vec<u8>,
    received: VecDeque<Packet>,
    ping_at: Option<Instant>,
    ping_lost_at: Option<Instant>,
    again: Option<(Again, Instant)>,
    failed: Option<MqttError>,
    closing: bool,
    /// Whether the bridge has kept the session of the last connection.
    pub(super) kept: bool,
    /// How many QoS 1 messages may be under way.
    pub(super) in_flight: usize,
}

impl Session {
    /// Connects and authenticates (MQTT 5.0 section 4.12).
    pub(super) async fn open(options: LinkOptions) -> Result<Self, LinkError> {
        let LinkOptions { endpoint, identity, client_id, session: kept_for } = options;
        let (socket, shown) = endpoint.dial(&identity).await?;
        let mut session = Self::new(socket, shown);
        let (client, hello) =
            ClientAuthentication::start(identity.claim()?, &client_id, endpoint.host(), &mut clock::rng())?;
        let mut properties = authentication(hello)?;
        properties.push(SessionExpiryInterval::new(u32::try_from(kept_for.as_secs()).unwrap_or(u32::MAX))?.into());
        properties.push(ReceiveMaximum::new(RECEIVE_MAXIMUM)?.into());
        let connect = v5_0::Connect::builder()
            .client_id(client_id.as_str())?
            .clean_start(false)
            .keep_alive(KEEP_ALIVE_SECS)
            .props(properties)
            .build()?;
        let challenge = match session.ask(connect).await? {
            Packet::V5_0Auth(auth) => authentication_data(auth.props().as_deref().unwrap_or_default())?,
            Packet::V5_0Connack(connack) => return Err(LinkError::Refused(connack.reason_code())),
            _ => return Err(LinkError::Mqtt(MqttError::ProtocolError)),
        };
        let (client, proof) = client.prove(&challenge, &identity.key)?;
        let auth = v5_0::Auth::builder()
            .reason_code(AuthReasonCode::ContinueAuthentication)
            .props(authentication(proof)?)
            .build()?;
        let Packet::V5_0Connack(connack) = session.ask(auth).await? else {
            return Err(LinkError::Mqtt(MqttError::ProtocolError));
        };
        if connack.reason_code() != ConnectReasonCode::Success {
            return Err(LinkError::Refused(connack.reason_code()));
        }
        identity.believe(&endpoint, session.shown, &client, &authentication_data(connack.props())?)?;
        session.kept = connack.session_present();
        let allowed = connack.props().iter().find_map(|property| match property {
            Property::ReceiveMaximum(maximum) => Some(maximum.val()),
            _ => None,
        });
        session.in_flight = usize::from(allowed.unwrap_or(u16::MAX).min(MAX_IN_FLIGHT));
        Ok(session)
    }

    fn new(socket: Socket, shown: Option<KeyFingerprint>) -> Self {
        let mut mqtt = mqtt::Connection::new(mqtt::Version::V5_0);
        mqtt.set_pingresp_recv_timeout(PING_ANSWER_MS);
        Self {
            socket,
            shown,
            mqtt,
            outgoing: Vec::new(),
            received: VecDeque::new(),
            ping_at: None,
            ping_lost_at: None,
            again: None,
            failed: None,
            closing: false,
            kept: false,
            in_flight: 0,
        }
    }

    /// Begins to authenticate as another identity.
    pub(super) fn authenticate_again(&mut self, options: &LinkOptions) -> Result<(), LinkError> {
        let identity = Arc::clone(&options.identity);
        let (client, hello) = ClientAuthentication::start(
            identity.claim()?,
            &options.client_id,
            options.endpoint.host(),
            &mut clock::rng(),
        )?;
        self.send_auth(AuthReasonCode::ReAuthenticate, hello)?;
        self.again = Some((
            Again::Challenge(client, identity, Arc::clone(&options.endpoint)),
            Instant::now() + AUTHENTICATION_TIMEOUT,
        ));
        Ok(())
    }

    /// Whether the device authenticates anew at this moment.
    pub(super) const fn is_authenticating(&self) -> bool {
        self.again.is_some()
    }

    /// Takes the bridge's next step in authenticating anew; says whether it was the last one.
    pub(super) fn continue_authentication(&mut self, auth: &v5_0::Auth) -> Result<bool, LinkError> {
        let data = authentication_data(auth.props().as_deref().unwrap_or_default())?;
        // A reason that is left away means success (MQTT 5.0 section 3.15.2.1).
        let reason = auth.reason_code().unwrap_or(AuthReasonCode::Success);
        match (self.again.take(), reason) {
            (Some((Again::Challenge(client, identity, endpoint), until)), AuthReasonCode::ContinueAuthentication) => {
                let (client, proof) = client.prove(&data, &identity.key)?;
                self.send_auth(AuthReasonCode::ContinueAuthentication, proof)?;
                self.again = Some((Again::Acceptance(client, identity, endpoint), until));
                Ok(false)
            }
            (Some((Again::Acceptance(client, identity, endpoint), _)), AuthReasonCode::Success) => {
                identity.believe(&endpoint, self.shown, &client, &data)?;
                Ok(true)
            }
            _ => Err(LinkError::Mqtt(MqttError::ProtocolError)),
        }
    }

    fn send_auth(&mut self, reason: AuthReasonCode, data: Vec<u8>) -> Result<(), LinkError> {
        self.send(v5_0::Auth::builder().reason_code(reason).props(authentication(data)?).build()?);
        Ok(())
    }

    async fn ask(&mut self, packet: impl Into<Packet>) -> Result<Packet, LinkError> {
        self.send(packet);
        loop {
            self.flush().await?;
            if let Some(packet) = self.receive().await? {
                return Ok(packet);
            }
        }
    }

    /// Queues a packet for [`Self::flush`].
    fn send(&mut self, packet: impl Into<Packet>) {
        let events = self.mqtt.send(packet.into());
        self.process(events);
    }

    /// Queues a message. With a packet id it is QoS 1, and one that the bridge may have seen already where `again` says so.
    pub(super) fn publish(
        &mut self,
        topic: &Topic,
        payload: &[u8],
        packet: Option<u16>,
        again: bool,
    ) -> Result<(), LinkError> {
        let publish = v5_0::Publish::builder().topic_name(topic.to_string())?.payload(payload.to_vec());
        let publish = match packet {
            None => publish.qos(Qos::AtMostOnce),
            Some(packet) => publish.qos(Qos::AtLeastOnce).packet_id(packet).dup(again),
        };
        self.send(publish.build()?);
        Ok(())
    }

    /// Takes a packet id: the given one, or a free one.
    pub(super) fn packet_id(&mut self, known: Option<u16>) -> Result<u16, LinkError> {
        match known {
            Some(packet) => self.mqtt.register_packet_id(packet).map(|()| packet).map_err(LinkError::from),
            None => self.mqtt.acquire_packet_id().map_err(LinkError::from),
        }
    }

    /// Queues a subscription at QoS 1; returns its packet id.
    pub(super) fn subscribe(&mut self, filter: &TopicFilter) -> Result<u16, LinkError> {
        let packet = self.packet_id(None)?;
        let entry = SubEntry::new(filter.as_str(), SubOpts::new().set_qos(Qos::AtLeastOnce))?;
        self.send(v5_0::Subscribe::builder().packet_id(packet).entries(vec![entry]).build()?);
        Ok(packet)
    }

    /// Queues the acknowledgement of a received message.
    pub(super) fn acknowledge(&mut self, packet: u16) -> Result<(), LinkError> {
        self.send(v5_0::Puback::builder().packet_id(packet).build()?);
        Ok(())
    }

    /// Sends what is queued, in one frame.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        if !self.outgoing.is_empty() {
            let frame = std::mem::take(&mut self.outgoing);
            self.socket.feed(Message::binary(frame)).await?;
        }
        self.socket.flush().await?;
        Ok(())
    }

    /// Waits for the next packet; none where only a timer fired. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<Option<Packet>, LinkError> {
        if let Some(packet) = self.received.pop_front() {
            return Ok(Some(packet));
        }
        if let Some(error) = self.failed.take() {
            return Err(LinkError::Mqtt(error));
        }
        if self.closing {
            return Err(LinkError::Closed);
        }
        tokio::select! {
            frame = self.socket.next() => match frame {
                Some(Ok(Message::Binary(bytes))) => self.take(&bytes),
                Some(Ok(Message::Text(_))) => return Err(LinkError::Mqtt(MqttError::ProtocolError)),
                Some(Ok(Message::Close(_))) | None => return Err(LinkError::Closed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            () = at(self.ping_at) => {
                self.ping_at = None;
                let events = self.mqtt.notify_timer_fired(TimerKind::PingreqSend);
                self.process(events);
            }
            () = at(self.ping_lost_at) => return Err(LinkError::Timeout),
            () = at(self.again.as_ref().map(|(_, until)| *until)) => return Err(LinkError::Timeout),
        }
        Ok(self.received.pop_front())
    }

    /// Takes leave: the bridge keeps the session.
    pub(super) async fn disconnect(mut self) -> Result<(), LinkError> {
        self.send(v5_0::Disconnect::builder().reason_code(DisconnectReasonCode::NormalDisconnection).build()?);
        self.flush().await?;
        self.socket.close(None).await?;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        while cursor.position() < length && self.failed.is_none() {
            let events = self.mqtt.recv(&mut cursor);
            self.process(events);
        }
    }

    fn process(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.outgoing.extend_from_slice(&mqtt::packet::GenericPacketTrait::to_continuous_buffer(&packet));
                }
                Event::NotifyPacketReceived(packet) => self.received.push_back(packet),
                Event::RequestTimerReset { kind, duration_ms } => {
                    let at = Instant::now() + Duration::from_millis(duration_ms);
                    match kind {
                        // The first ping without an answer counts, however often the device pings after it.
                        TimerKind::PingrespRecv => _ = self.ping_lost_at.get_or_insert(at),
                        _ => self.ping_at = Some(at),
                    }
                }
                Event::RequestTimerCancel(TimerKind::PingrespRecv) => self.ping_lost_at = None,
                Event::RequestTimerCancel(_) => self.ping_at = None,
                Event::NotifyError(error) => self.failed = self.failed.or(Some(error)),
                Event::RequestClose => self.closing = true,
                Event::NotifyPacketIdReleased(_) => {}
            }
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn authentication(data: Vec<u8>) -> Result<Vec<Property>, MqttError> {
    Ok(vec![AuthenticationMethod::new(METHOD)?.into(), AuthenticationData::new(data)?.into()])
}

/// The data of our method; another method is the bridge's fault (MQTT 5.0 section 4.12).
fn authentication_data(properties: &[Property]) -> Result<Vec<u8>, LinkError> {
    let ours =
        properties.iter().any(|property| matches!(property, Property::AuthenticationMethod(m) if m.val() == METHOD));
    let data = properties.iter().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data.val().to_vec()),
        _ => None,
    });
    data.filter(|_| ours).ok_or(LinkError::Mqtt(MqttError::BadAuthenticationMethod))
}

//! A bridge of a few rules, made from the server role of `mqtt-protocol-core` and the real authentication.

use super::super::LinkOptions;
use super::super::endpoint::Stream;
use super::*;
use futures_util::{SinkExt, StreamExt};
use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, GenericPacketTrait, Packet, Property, Qos as MqttQos, ReceiveMaximum,
    ServerKeepAlive, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, SubackReasonCode};
use serde_bytes::ByteBuf;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wardlink_crypto::authentication::{ProvedIdentity, ServerAuthentication};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::authentication::METHOD;
use wardlink_protocol::identity::Sha256;

/// What the bridge saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Connected { certificate: bool },
    Authenticated { certificate: bool },
    Subscribed { topic: String, granted: bool },
    Published { topic: String, payload: Vec<u8>, packet: Option<u16>, again: bool },
    Acknowledged,
    Pinged,
    Left,
    Gone,
}

/// What the bridge does; changed while it runs.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(super) struct Rules {
    pub(super) refuse_connections: u32,
    pub(super) refuse_subscriptions: u32,
    /// So many QoS 1 messages are seen, and then the connection breaks before their acknowledgement.
    pub(super) break_before_acknowledging: u32,
    pub(super) refuse_messages: bool,
    /// What a subscriber is sent at once.
    pub(super) greeting: Option<Vec<u8>>,
    pub(super) keep_session: bool,
    pub(super) keep_alive: Option<u16>,
    pub(super) silent_to_pings: bool,
    pub(super) foreign_key: bool,
    pub(super) receive_maximum: Option<u16>,
}

pub(super) struct Server {
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    pub(super) rules: Arc<Mutex<Rules>>,
    pub(super) address: String,
    pub(super) site: Arc<Site>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The site's CA and control unit.
pub(super) struct Site {
    root: RootCa,
    issuing: IssuingCa,
    key: PrivateKey,
    chain: Vec<ByteBuf>,
}

impl Site {
    fn make() -> Self {
        let mut rng = clock::rng();
        let root = RootCa::make("Test root", validity(), &mut rng).unwrap();
        let issuing = root.make_issuing_ca("Test CA", validity(), &mut rng).unwrap();
        let key = PrivateKey::make(&mut rng);
        let holder = Holder::ControlUnit("Test site".into());
        let certificate = issuing.issue(&holder, &key.public(), validity(), &mut rng).unwrap();
        let chain = [vec![certificate.to_bytes()], issuing.chain()].concat();
        Self { root, issuing, key, chain }
    }

    pub(super) fn root_hash(&self) -> Sha256 {
        self.root.certificate().sha256()
    }

    /// A certificate for the device's key.
    pub(super) fn certify(&self, key: &PrivateKey) -> Vec<u8> {
        let holder = Holder::Device(device());
        self.issuing.issue(&holder, &key.public(), validity(), &mut clock::rng()).unwrap().der().to_vec()
    }
}

fn validity() -> Validity {
    let now = clock::now();
    Validity { not_before: UnixMillis(now.0 - 60_000), not_after: UnixMillis(now.0 + 3_600_000) }
}

impl Server {
    pub(super) async fn start(rules: Rules) -> Self {
        Self::start_behind(rules, None).await
    }

    /// Starts a bridge behind TLS, with a certificate for `localhost`; returns its root, PEM.
    pub(super) async fn start_with_tls(rules: Rules) -> (Self, String) {
        let authority = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&authority).unwrap();
        let issuer = rcgen::Issuer::new(parameters, authority);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .unwrap();
        let mut server = Self::start_behind(rules, Some(TlsAcceptor::from(Arc::new(config)))).await;
        server.address = server.address.replace("ws://127.0.0.1", "wss://localhost");
        (server, root.pem())
    }

    async fn start_behind(rules: Rules, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut host = listener.local_addr().unwrap().to_string();
        if tls.is_some() {
            host = host.replace("127.0.0.1", "localhost");
        }
        let address = format!("ws://{}/mqtt", listener.local_addr().unwrap());
        let rules = Arc::new(Mutex::new(rules));
        let site = Arc::new(Site::make());
        let (seen, received) = mpsc::unbounded_channel();
        let accepting = (Arc::clone(&rules), Arc::clone(&site));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (rules, site) = accepting.clone();
                let stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let mut connection = Connection::accept(stream, rules, site, seen.clone(), host.clone()).await;
                connection.run().await;
                drop(seen.send(Seen::Gone));
            }
        });
        Self { seen: received, rules, address, site, task }
    }

    pub(super) async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(20), self.seen.recv()).await.expect("the bridge saw nothing").unwrap()
    }

    pub(super) fn options(&self, key: &PrivateKey) -> LinkOptions {
        LinkOptions {
            endpoint: Arc::new(Endpoint::new(&self.address, &TlsTrust::default()).unwrap()),
            identity: self.identity(key, None),
            client_id: "pump-1".into(),
            session: crate::link::SESSION,
        }
    }

    /// As [`Self::options`], with these certificates for TLS.
    pub(super) fn options_trusting(&self, key: &PrivateKey, anchors: &[String]) -> LinkOptions {
        let trust = TlsTrust::from_pem(anchors, false).unwrap();
        LinkOptions { endpoint: Arc::new(Endpoint::new(&self.address, &trust).unwrap()), ..self.options(key) }
    }

    pub(super) fn identity(&self, key: &PrivateKey, certificate: Option<Vec<u8>>) -> Arc<Identity> {
        Arc::new(Identity { key: key.clone(), device: device(), certificate, root: Some(self.site.root_hash()) })
    }
}

struct Connection {
    socket: WebSocketStream<Box<dyn Stream>>,
    mqtt: mqtt::Connection<mqtt::role::Server>,
    rules: Arc<Mutex<Rules>>,
    site: Arc<Site>,
    seen: mpsc::UnboundedSender<Seen>,
    host: String,
    client_id: String,
    authentication: Option<ServerAuthentication>,
    live: bool,
}

impl Connection {
    async fn accept(
        stream: Box<dyn Stream>,
        rules: Arc<Mutex<Rules>>,
        site: Arc<Site>,
        seen: mpsc::UnboundedSender<Seen>,
        host: String,
    ) -> Self {
        #[expect(clippy::result_large_err, reason = "the library's callback")]
        let with_subprotocol = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], "mqtt");
            assert_eq!(request.uri().path(), "/mqtt");
            response.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, with_subprotocol).await.unwrap();
        let mqtt = mqtt::Connection::new(mqtt::Version::V5_0);
        Self { socket, mqtt, rules, site, seen, host, client_id: String::new(), authentication: None, live: false }
    }

    async fn run(&mut self) {
        while let Some(Ok(frame)) = self.socket.next().await {
            let Message::Binary(bytes) = frame else { return };
            let mut cursor = Cursor::new(bytes.as_ref());
            while cursor.position() < bytes.len() as u64 {
                for event in self.mqtt.recv(&mut cursor) {
                    if let Event::NotifyPacketReceived(packet) = event
                        && !self.answer(packet).await
                    {
                        return;
                    }
                }
            }
        }
    }

    async fn send(&mut self, packet: impl Into<Packet>) {
        for event in self.mqtt.send(packet.into()) {
            if let Event::RequestSendPacket { packet, .. } = event {
                drop(self.socket.send(Message::binary(packet.to_continuous_buffer())).await);
            }
        }
    }

    async fn send_auth(&mut self, reason: AuthReasonCode, data: Vec<u8>) {
        self.send(v5_0::Auth::builder().reason_code(reason).props(properties(data)).build().unwrap()).await;
    }

    fn tell(&self, seen: Seen) {
        drop(self.seen.send(seen));
    }

    /// False ends the connection.
    async fn answer(&mut self, packet: Packet) -> bool {
        let rules = self.rules.lock().unwrap().clone();
        match packet {
            Packet::V5_0Connect(connect) => {
                self.client_id = connect.client_id().to_owned();
                let hello = data(connect.props());
                let (authentication, challenge) =
                    ServerAuthentication::start(&hello, &self.client_id, &self.host, &mut clock::rng()).unwrap();
                self.authentication = Some(authentication);
                self.send_auth(AuthReasonCode::ContinueAuthentication, challenge).await;
            }
            Packet::V5_0Auth(auth) if auth.reason_code() == Some(AuthReasonCode::ReAuthenticate) => {
                let hello = data(auth.props().as_deref().unwrap());
                let (authentication, challenge) =
                    ServerAuthentication::start(&hello, &self.client_id, &self.host, &mut clock::rng()).unwrap();
                self.authentication = Some(authentication);
                self.send_auth(AuthReasonCode::ContinueAuthentication, challenge).await;
            }
            Packet::V5_0Auth(auth) => return self.finish_authentication(&auth, &rules).await,
            Packet::V5_0Subscribe(subscribe) => {
                let granted = rules.refuse_subscriptions == 0;
                self.rules.lock().unwrap().refuse_subscriptions = rules.refuse_subscriptions.saturating_sub(1);
                let reason = if granted { SubackReasonCode::GrantedQos1 } else { SubackReasonCode::NotAuthorized };
                let suback = v5_0::Suback::builder().packet_id(subscribe.packet_id()).reason_codes(vec![reason]);
                self.send(suback.build().unwrap()).await;
                let topic = subscribe.entries()[0].topic_filter().to_owned();
                self.tell(Seen::Subscribed { topic: topic.clone(), granted });
                if let Some(greeting) = rules.greeting.filter(|_| granted) {
                    let packet = self.mqtt.acquire_packet_id().unwrap();
                    let publish = v5_0::Publish::builder().topic_name(topic).unwrap().qos(MqttQos::AtLeastOnce);
                    self.send(publish.packet_id(packet).payload(greeting).build().unwrap()).await;
                }
            }
            Packet::V5_0Publish(publish) => return self.published(&publish, &rules).await,
            Packet::V5_0Puback(_) => self.tell(Seen::Acknowledged),
            Packet::V5_0Pingreq(_) => {
                if !rules.silent_to_pings {
                    self.send(v5_0::Pingresp::builder().build().unwrap()).await;
                }
                self.tell(Seen::Pinged);
            }
            Packet::V5_0Disconnect(_) => {
                self.tell(Seen::Left);
                return false;
            }
            other => panic!("unexpected {other}"),
        }
        true
    }

    async fn finish_authentication(&mut self, auth: &v5_0::Auth, rules: &Rules) -> bool {
        let authentication = self.authentication.take().unwrap();
        let proof = data(auth.props().as_deref().unwrap());
        let proved = authentication.verify(&proof).unwrap();
        proved.verify_certificate(std::slice::from_ref(self.site.issuing.certificate()), clock::now()).unwrap();
        if rules.refuse_connections > 0 {
            self.rules.lock().unwrap().refuse_connections -= 1;
            let connack = v5_0::Connack::builder().session_present(false).reason_code(ConnectReasonCode::NotAuthorized);
            self.send(connack.build().unwrap()).await;
            return false;
        }
        let foreign = PrivateKey::make(&mut clock::rng());
        let key = if rules.foreign_key { &foreign } else { &self.site.key };
        let acceptance = authentication.accept(&self.site.chain, key).unwrap();
        let certificate = matches!(proved.identity, ProvedIdentity::Certificate(_));
        if self.live {
            self.send_auth(AuthReasonCode::Success, acceptance).await;
            self.tell(Seen::Authenticated { certificate });
            return true;
        }
        self.live = true;
        let mut props = properties(acceptance);
        if let Some(seconds) = rules.keep_alive {
            props.push(ServerKeepAlive::new(seconds).unwrap().into());
        }
        if let Some(maximum) = rules.receive_maximum {
            props.push(ReceiveMaximum::new(maximum).unwrap().into());
        }
        let connack = v5_0::Connack::builder()
            .session_present(rules.keep_session)
            .reason_code(ConnectReasonCode::Success)
            .props(props)
            .build();
        self.send(connack.unwrap()).await;
        self.tell(Seen::Connected { certificate });
        true
    }

    async fn published(&mut self, publish: &v5_0::Publish, rules: &Rules) -> bool {
        self.tell(Seen::Published {
            topic: publish.topic_name().to_owned(),
            payload: publish.payload().as_slice().to_vec(),
            packet: publish.packet_id(),
            again: publish.dup(),
        });
        let Some(packet) = publish.packet_id() else { return true };
        if rules.break_before_acknowledging > 0 {
            let left = rules.break_before_acknowledging - 1;
            self.rules.lock().unwrap().break_before_acknowledging = left;
            return left > 0;
        }
        let reason = if rules.refuse_messages { PubackReasonCode::NotAuthorized } else { PubackReasonCode::Success };
        self.send(v5_0::Puback::builder().packet_id(packet).reason_code(reason).build().unwrap()).await;
        true
    }
}

fn properties(data: Vec<u8>) -> Vec<Property> {
    vec![AuthenticationMethod::new(METHOD).unwrap().into(), AuthenticationData::new(data).unwrap().into()]
}

fn data(properties: &[Property]) -> Vec<u8> {
    properties
        .iter()
        .find_map(|property| match property {
            Property::AuthenticationData(data) => Some(data.val().to_vec()),
            _ => None,
        })
        .unwrap()
}

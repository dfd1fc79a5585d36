//! Where the bridge is, and how to reach it: WebSocket over TLS, or without TLS on loopback. A gateway's broker is always reached over TLS,
//! and identified by its certificate of the site ([`super::gateway`]).

use super::client_certificate;
use super::dangerous::{self, DangerousAnyServer};
use super::gateway::{SiteGateway, SiteGateways};
use super::proxy::Proxy;
use super::session::Identity;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use wardlink_protocol::identity::KeyFingerprint;

/// MQTT's subprotocol of WebSocket (MQTT 5.0 section 6).
pub(crate) const SUBPROTOCOL: &str = "mqtt";
/// Where a gateway's broker is at its host.
pub(crate) const GATEWAY_PATH: &str = "/mqtt";
/// The longest WebSocket message that is read, in bytes.
const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The caller's fault: not an address of this form.
    #[error("{0} is no broker address; it looks like wss://ais-broker/mqtt")]
    Address(String),
    /// The caller's fault: no TLS on a network.
    #[error("{0} is not on this machine: without TLS (ws://) only loopback is allowed, everywhere else wss://")]
    Insecure(String),
    /// The caller's fault: a gateway without TLS.
    #[error("{0} is no address of a gateway; it looks like wss://gateway.ward.example:8884")]
    Gateway(String),
    /// The caller's fault: a TLS anchor that is none.
    #[error("a TLS anchor is no certificate in PEM or DER")]
    Anchor,
    /// Our fault: the TLS library refused its own configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which certificates of servers count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Root certificates, DER.
    pub anchors: Vec<Vec<u8>>,
    /// Whether the public web PKI counts, too; it also counts where there is no anchor.
    pub web_pki: bool,
    /// Root certificates that count beside them, whatever the pairing names; DER.
    pub roots: Vec<Vec<u8>>,
    /// Any server counts. Only for a device that was given nothing to check one by, while it pairs.
    pub dangerous_any_server: bool,
}

impl TlsTrust {
    /// Reads anchors in PEM.
    pub fn from_pem(texts: &[String], web_pki: bool) -> Result<Self, EndpointError> {
        let mut anchors = Vec::new();
        for text in texts {
            let before = anchors.len();
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                anchors.push(certificate.map_err(|_| EndpointError::Anchor)?.to_vec());
            }
            if anchors.len() == before {
                return Err(EndpointError::Anchor);
            }
        }
        Ok(Self { anchors, web_pki, roots: Vec::new(), dangerous_any_server: false })
    }

    /// How a client checks servers by it.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, EndpointError> {
        if self.dangerous_any_server {
            return Ok(dangerous::client_config(Arc::new(DangerousAnyServer), rustls::DEFAULT_VERSIONS)?);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for anchor in self.anchors.iter().chain(&self.roots) {
            roots.add(CertificateDer::from(anchor.as_slice())).map_err(|_| EndpointError::Anchor)?;
        }
        if self.web_pki || self.anchors.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

/// A bridge's address with what is needed to reach it.
pub struct Endpoint {
    uri: Uri,
    name: String,
    port: u16,
    tls: Option<(ClientConfig, ServerName<'static>)>,
    any_server: bool,
    /// Root certificates that count everywhere, DER.
    roots: Vec<Vec<u8>>,
    proxy: Option<Proxy>,
    no_proxy: Vec<String>,
    /// Which gateways count, where it is one's broker.
    gateways: Option<Arc<SiteGateways>>,
}

/// What bytes go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
/// A WebSocket.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

impl Endpoint {
    /// Reads `wss://host[:port]/path`, or `ws://` on loopback.
    pub fn new(address: &str, trust: &TlsTrust) -> Result<Self, EndpointError> {
        let invalid = || EndpointError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        let (secure, usual_port) = match uri.scheme_str() {
            Some("wss") => (true, 443),
            Some("ws") => (false, 80),
            _ => return Err(invalid()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(invalid)?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(usual_port);
        if name.is_empty() {
            return Err(invalid());
        }
        if !secure && !is_loopback(&name) {
            return Err(EndpointError::Insecure(name));
        }
        // HTTP's Host leaves the usual port away (RFC 9110 section 4.2.1).
        let host =
            if port == usual_port { authority.host().to_owned() } else { format!("{}:{port}", authority.host()) };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = if secure { "wss" } else { "ws" };
        let uri = format!("{scheme}://{host}{path}").parse().map_err(|_| invalid())?;
        let tls = if secure {
            let server = ServerName::try_from(name.clone()).map_err(|_| invalid())?;
            Some((trust.client_config()?, server))
        } else {
            None
        };
        let (any_server, roots) = (trust.dangerous_any_server, trust.roots.clone());
        Ok(Self { uri, name, port, tls, any_server, roots, proxy: None, no_proxy: Vec::new(), gateways: None })
    }

    /// Reads `wss://host[:port]`, the address of a gateway's broker. It counts by its certificate of the site, in TLS and in MQTT, whatever
    /// its host is called; no proxy is asked, as it is near.
    pub fn of_gateway(address: &str, gateways: SiteGateways) -> Result<Self, EndpointError> {
        let invalid = || EndpointError::Gateway(address.to_owned());
        let host = address.strip_prefix("wss://").map(|rest| rest.trim_end_matches('/')).ok_or_else(invalid)?;
        if host.contains('/') {
            return Err(invalid());
        }
        let endpoint = Self::new(&format!("wss://{host}{GATEWAY_PATH}"), &TlsTrust::default())?;
        Ok(Self { gateways: Some(Arc::new(gateways)), ..endpoint })
    }

    /// Which gateways count, where this is one's broker.
    pub(super) fn gateways(&self) -> Option<&SiteGateways> {
        self.gateways.as_deref()
    }

    /// The same, through a proxy; hosts of `no_proxy` and connections without TLS go without it.
    #[must_use]
    pub fn through(self, proxy: Option<Proxy>, no_proxy: &[String]) -> Self {
        let no_proxy = no_proxy.iter().map(|host| host.trim().trim_start_matches('.').to_ascii_lowercase()).collect();
        Self { proxy, no_proxy, ..self }
    }

    /// The proxy on the way, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        let name = self.name.to_ascii_lowercase();
        let is_listed = |listed: &String| {
            *listed == "*"
                || name.strip_suffix(listed.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let listed = self.no_proxy.iter().filter(|listed| !listed.is_empty()).any(is_listed);
        self.proxy.as_ref().filter(|_| self.tls.is_some() && !listed)
    }

    /// The same way to another host, such as the one that the pairing command names.
    pub fn at_host(&self, host: &str, trust: &TlsTrust) -> Result<Self, EndpointError> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        self.elsewhere(&format!("{scheme}://{host}{path}"), trust)
    }

    /// Another address, by the same proxy and with the same additional roots.
    pub fn elsewhere(&self, address: &str, trust: &TlsTrust) -> Result<Self, EndpointError> {
        let trust = TlsTrust { roots: self.roots.clone(), ..trust.clone() };
        Ok(Self::new(address, &trust)?.through(self.proxy.clone(), &self.no_proxy))
    }

    /// The host's name, and the port.
    pub fn name_and_port(&self) -> (String, u16) {
        (self.name.clone(), self.port)
    }

    /// The path of the address.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Whether it takes whatever certificate the server shows.
    pub const fn takes_any_server(&self) -> bool {
        self.any_server
    }

    /// The host that is dialled, as in HTTP's Host field.
    pub fn host(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The whole address.
    pub fn address(&self) -> String {
        self.uri.to_string()
    }

    /// Connects to the bridge: WebSocket with the subprotocol `mqtt` (MQTT 5.0 section 6). Says which key a gateway has shown in TLS.
    pub(super) async fn dial(&self, identity: &Identity) -> Result<(Socket, Option<KeyFingerprint>), DialError> {
        let (stream, shown) = self.connect(identity).await?;
        Ok((self.upgrade(stream, None, SUBPROTOCOL, MAX_FRAME_BYTES).await?, shown))
    }

    /// Connects a WebSocket at a path of the same host, with this subprotocol, which the server has to take; no message is longer.
    pub(crate) async fn dial_at(
        &self,
        path: Option<&str>,
        protocol: &str,
        max_bytes: usize,
        identity: &Identity,
    ) -> Result<Socket, DialError> {
        let stream = self.open(identity).await?;
        self.upgrade(stream, path, protocol, max_bytes).await
    }

    async fn upgrade(
        &self,
        stream: Box<dyn Stream>,
        path: Option<&str>,
        protocol: &str,
        max_bytes: usize,
    ) -> Result<Socket, DialError> {
        let uri = match path {
            None => self.uri.clone(),
            Some(path) => {
                let scheme = if self.tls.is_some() { "wss" } else { "ws" };
                let uri = format!("{scheme}://{}{path}", self.host()).parse();
                uri.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no path of a URL"))?
            }
        };
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(protocol);
        let config = WebSocketConfig::default().max_message_size(Some(max_bytes)).max_frame_size(Some(max_bytes));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(socket)
    }

    /// Connects: TCP, TLS with the identity's certificate if the server asks for one.
    pub(crate) async fn open(&self, identity: &Identity) -> Result<Box<dyn Stream>, DialError> {
        self.connect(identity).await.map(|(stream, _)| stream)
    }

    async fn connect(&self, identity: &Identity) -> Result<(Box<dyn Stream>, Option<KeyFingerprint>), DialError> {
        let tcp = match self.proxy() {
            Some(proxy) => proxy.connect(&format!("{}:{}", self.uri.host().unwrap_or(&self.name), self.port)).await?,
            None => TcpStream::connect((self.name.as_str(), self.port)).await?,
        };
        tcp.set_nodelay(true)?;
        let Some((config, server)) = &self.tls else {
            let is_here = tcp.peer_addr()?.ip().is_loopback();
            return if is_here { Ok((Box::new(tcp), None)) } else { Err(DialError::NotLoopback) };
        };
        if let Some(gateways) = &self.gateways {
            let verifier = Arc::new(SiteGateway::of(gateways));
            let connector = TlsConnector::from(Arc::new(verifier.client_config()?));
            let stream = connector.connect(server.clone(), tcp).await?;
            return Ok((Box::new(stream), verifier.shown()));
        }
        Ok((Box::new(connector(config, identity)?.connect(server.clone(), tcp).await?), None))
    }
}

/// TLS for one connection. It resumes no session: a server could take it for the identity of that session.
fn connector(config: &ClientConfig, identity: &Identity) -> Result<TlsConnector, rustls::Error> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    if let Some(certificate) = client_certificate::offer(identity)? {
        config.client_auth_cert_resolver = certificate;
    }
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why the bridge cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network, or TLS.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server does not speak this over WebSocket there.
    #[error("no such WebSocket there: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// Our fault: the device's certificate and key don't fit TLS.
    #[error("the device's certificate cannot be offered: {0}")]
    Certificate(#[from] rustls::Error),
    /// A name of loopback that leads elsewhere.
    #[error("the name leads away from this machine, and there is no TLS")]
    NotLoopback,
}

impl From<tungstenite::Error> for DialError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Self::Io(error),
            error => Self::WebSocket(Box::new(error)),
        }
    }
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

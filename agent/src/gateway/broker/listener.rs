//! The sockets of the hub: TLS by the gateway's certificate, WebSocket at `/mqtt`, and nothing that is read before its turn.

use super::outgoing::{Farewell, Out};
use super::{LocalBroker, Shared, locked};
use crate::files::make_folder;
use crate::gateway::settings::HubSettings;
use crate::gateway::troubles::Source;
use crate::link::{GATEWAY_PATH, SUBPROTOCOL};
use crate::pump::Membership;
use core::convert::Infallible;
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, tungstenite};
use wardlink_bridge::{ConnectionId, Origin};
use wardlink_protocol::network::NetworkOrigin;

/// How often it looks for letters, and whether its devices' rights have changed.
const LOOKED_AT: Duration = Duration::from_millis(100);
/// When it is tried again to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// Connections at one time: a gateway has at most as many devices as a report names, and most are away.
const MAX_CONNECTIONS: usize = 512;
/// Connections from one address that have yet to prove whose they are, and from one network of IPv6 (a /64), of which one host can have every
/// address: whoever opens many without a key does not keep everybody out.
const MAX_UNPROVEN: usize = 64;
const MAX_UNPROVEN_OF_NETWORK: usize = 256;
/// How long TLS and WebSocket may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a device may take to read a frame.
const SENDING: Duration = Duration::from_secs(10);
/// The longest WebSocket message that is read, in bytes.
const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// HTTPS's port, which a Host field leaves away (RFC 9110 section 4.2.1).
const USUAL_PORT: u16 = 443;

const LISTENER: &str = "hub: address";

/// Listens as long as the gateway works.
pub(in crate::gateway) async fn run(
    shared: &Shared,
    broker: &Arc<LocalBroker>,
    given: &HubSettings,
    mut membership: watch::Receiver<Option<Membership>>,
) -> Infallible {
    let mut tick = interval(LOOKED_AT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // They end with this.
    let mut connections = JoinSet::new();
    let unproven = Unproven::default();
    let (mut listener, mut listen_at) = (None, Instant::now());
    loop {
        if listener.is_none() && listen_at <= Instant::now() {
            listener = listen(shared, broker, given).await;
            listen_at = Instant::now() + LISTEN_AGAIN;
        }
        tokio::select! {
            _ = tick.tick() => {
                while connections.try_join_next().is_some() {}
                let member = membership.borrow_and_update().clone();
                if let Err(error) = broker.look(shared, member.as_ref()) {
                    // The gateway itself waits until its store is right again.
                    tracing::warn!(%error, "the devices' rights cannot be read");
                }
                broker.tick(shared);
            }
            accepted = accept(listener.as_ref()), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((tcp, address)) => {
                    let Some(newcomer) = unproven.admit(address.ip()) else {
                        tracing::debug!(%address, "too many connections from there have proved nothing");
                        continue;
                    };
                    let names = listener.as_ref().map(|listening| Arc::clone(&listening.names)).unwrap_or_default();
                    let (broker, tls) = (Arc::clone(broker), listener.as_ref().map(|listening| listening.tls.clone()));
                    if let Some(tls) = tls {
                        connections.spawn(serve(broker, tls, tcp, newcomer, names));
                    }
                }
                Err(error) => {
                    // Such as too many open files: that passes.
                    tracing::warn!(%error, "a connection is not accepted");
                    tokio::time::sleep(LOOKED_AT).await;
                }
            },
        }
    }
}

/// How many connections have yet to prove whose they are: from each address, and from each network of IPv6.
#[derive(Clone, Default)]
struct Unproven(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One of them, as long as this is kept.
struct Newcomer {
    unproven: Unproven,
    address: IpAddr,
    counted: Vec<IpAddr>,
}

impl Unproven {
    /// Counts a new one; none where there are too many from there.
    fn admit(&self, address: IpAddr) -> Option<Newcomer> {
        let address = address.to_canonical();
        let network = match address {
            // No host has its network's own address (RFC 4291 section 2.6.1).
            IpAddr::V6(six) => Some(IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64))),
            IpAddr::V4(_) => None,
        };
        let mut counts = locked(&self.0);
        let is_full = |of: &IpAddr, most| counts.get(of).is_some_and(|count| *count >= most);
        if is_full(&address, MAX_UNPROVEN) || network.is_some_and(|network| is_full(&network, MAX_UNPROVEN_OF_NETWORK))
        {
            return None;
        }
        let counted: Vec<IpAddr> = core::iter::once(address).chain(network).collect();
        for of in &counted {
            *counts.entry(*of).or_default() += 1;
        }
        Some(Newcomer { unproven: self.clone(), address, counted })
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut counts = locked(&self.unproven.0);
        for of in &self.counted {
            if let Some(count) = counts.get_mut(of) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(of);
                }
            }
        }
    }
}

struct Listening {
    socket: TcpListener,
    tls: TlsAcceptor,
    names: Arc<[String]>,
}

async fn listen(shared: &Shared, broker: &Arc<LocalBroker>, given: &HubSettings) -> Option<Listening> {
    let bound = async {
        if let Some(ports) = &shared.settings.ports {
            make_folder(ports)?;
        }
        let socket = TcpListener::bind(given.address).await?;
        let address = socket.local_addr()?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(broker) as Arc<dyn rustls::server::ResolvesServerCert>);
        let names = names(given, address);
        locked(&broker.status).address = Some(address);
        io::Result::Ok(Listening { socket, tls: TlsAcceptor::from(Arc::new(config)), names })
    };
    match bound.await {
        Ok(listening) => {
            shared.troubles.works_again(Source::Hub, LISTENER);
            Some(listening)
        }
        Err(error) => {
            let why = format!("it cannot listen at {}: {error}; choose another --hub address", given.address);
            shared.troubles.find(Source::Hub, LISTENER, why);
            None
        }
    }
}

/// The hosts under which devices may dial the hub, as in HTTP's Host field: those that were given, or its address.
fn names(given: &HubSettings, address: SocketAddr) -> Arc<[String]> {
    let with_port = |name: &str| {
        let has_port =
            name.rsplit_once(':').is_some_and(|(host, port)| !host.ends_with(':') && port.parse::<u16>().is_ok());
        if has_port || address.port() == USUAL_PORT { name.to_owned() } else { format!("{name}:{}", address.port()) }
    };
    let names = given.names.iter().map(|name| with_port(name));
    if given.names.is_empty() {
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let local = address.ip().is_loopback().then(|| "localhost".to_owned());
        return core::iter::once(host).chain(local).map(|name| with_port(&name)).collect();
    }
    names.collect()
}

async fn accept(listener: Option<&Listening>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listening) => listening.socket.accept().await,
        None => core::future::pending().await,
    }
}

/// A connection that the broker knows; it learns of its end in any case.
struct Open {
    broker: Arc<LocalBroker>,
    id: ConnectionId,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.broker.closed(self.id);
    }
}

async fn serve(broker: Arc<LocalBroker>, tls: TlsAcceptor, tcp: TcpStream, newcomer: Newcomer, names: Arc<[String]>) {
    let address = newcomer.address;
    let (mut socket, host) = match timeout(HANDSHAKE, shake(&tls, tcp, &names)).await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => return tracing::debug!(%error, %address, "no connection comes about"),
        Err(_) => return,
    };
    let network = NetworkOrigin { address: Some(address), marker: None };
    let Some((id, mut outgoing)) = broker.open(Origin { network, host, client_certificate: None }) else { return };
    let (open, mut newcomer) = (Open { broker, id }, Some(newcomer));
    let farewell = loop {
        tokio::select! {
            // What is to be said goes first, and the end before anything more is said or heard.
            biased;
            out = outgoing.next() => match out {
                Out::Frame(bytes) => {
                    let sending = timeout(SENDING, socket.send(Message::binary(bytes)));
                    match outgoing.unless_ended(sending).await {
                        Ok(Ok(Ok(()))) => {}
                        Ok(_) => return,
                        Err(farewell) => break farewell,
                    }
                }
                Out::End(farewell) => break farewell,
            },
            frame = socket.next() => match frame {
                Some(Ok(Message::Binary(bytes))) => {
                    open.broker.received(id, Some(&bytes));
                    newcomer = newcomer.filter(|_| !open.broker.is_live(id));
                }
                Some(Ok(Message::Text(_))) => open.broker.received(id, None),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    };
    if let Some(farewell) = farewell {
        drop(timeout(SENDING, part(&mut socket, farewell)).await);
    }
}

/// Says the last words, and closes.
async fn part(
    socket: &mut WebSocketStream<TlsStream<TcpStream>>,
    Farewell { frames, code }: Farewell,
) -> Result<(), tungstenite::Error> {
    for frame in frames {
        socket.send(Message::binary(frame)).await?;
    }
    socket.close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() })).await
}

type Shaken = (WebSocketStream<TlsStream<TcpStream>>, String);

/// TLS, then WebSocket: at its path, with MQTT's subprotocol, under one of the hub's own names.
async fn shake(tls: &TlsAcceptor, tcp: TcpStream, names: &[String]) -> io::Result<Shaken> {
    tcp.set_nodelay(true)?;
    let stream = tls.accept(tcp).await?;
    let mut dialled = None;
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    let judge = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let refuse = |status| {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = status;
            refusal
        };
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let protocols = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
        if request.uri().path() != GATEWAY_PATH {
            return Err(refuse(StatusCode::NOT_FOUND));
        }
        if !protocols.split(',').any(|offered| offered.trim() == SUBPROTOCOL) {
            return Err(refuse(StatusCode::BAD_REQUEST));
        }
        let host = text(header::HOST).unwrap_or_default();
        // Whoever relays a device's connection dials under a name of ours; the device has signed the one that it dialled.
        if !names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return Err(refuse(StatusCode::MISDIRECTED_REQUEST));
        }
        dialled = Some(host.to_owned());
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_FRAME_BYTES)).max_frame_size(Some(MAX_FRAME_BYTES));
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, judge, Some(config)).await;
    let socket = socket.map_err(io::Error::other)?;
    let host = dialled.ok_or_else(|| io::Error::other("no host"))?;
    Ok((socket, host))
}

#[cfg(test)]
mod tests {
    use super::{MAX_UNPROVEN, MAX_UNPROVEN_OF_NETWORK, Unproven};

    #[test]
    fn who_opens_many_connections_keeps_only_himself_out() {
        let unproven = Unproven::default();
        let admit = |address: &str| unproven.admit(address.parse().unwrap());
        for (mine, also_mine, elsewhere) in
            [("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8:0::1", "2001:db8::2")]
        {
            let mut open: Vec<_> = (0..MAX_UNPROVEN).map(|_| admit(mine).unwrap()).collect();
            assert!(admit(mine).is_none() && admit(also_mine).is_none());
            assert!(admit(elsewhere).is_some());
            // Whoever has proved himself, or has gone, does not count any more.
            open.pop();
            assert!(admit(mine).is_some());
        }
        assert!(unproven.0.lock().unwrap().is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_have_a_limit_together() {
        let unproven = Unproven::default();
        let admit = |address: &str| unproven.admit(address.parse().unwrap());
        let open: Vec<_> =
            (0..MAX_UNPROVEN_OF_NETWORK).map(|host| admit(&format!("2001:db8::{:x}", host + 1)).unwrap()).collect();
        assert!(admit("2001:db8::ffff:1").is_none() && admit("2001:db8:0:1::1").is_some());
        drop(open);
        assert!(unproven.0.lock().unwrap().is_empty());
    }
}

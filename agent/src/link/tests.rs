#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server;

use super::*;
use crate::clock;
use server::{Rules, Seen, Server};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::{Device, UnixMillis};

fn device() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

fn t2() -> Topic {
    Topic::Device(device())
}

fn t1() -> Topic {
    topic("ais/register/infusion-pump")
}

async fn next(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("no event").unwrap()
}

async fn connected(events: &mut mpsc::Receiver<LinkEvent>) {
    loop {
        if matches!(next(events).await, LinkEvent::Connected) {
            return;
        }
    }
}

fn published(payload: &[u8], packet: u16, again: bool) -> Seen {
    Seen::Published { topic: t1().to_string(), payload: payload.to_vec(), packet: Some(packet), again }
}

#[tokio::test]
async fn both_sides_prove_themselves_and_leave_in_order() {
    let mut server = Server::start(Rules::default()).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (link, mut events) = Link::start(server.options(&key));
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    link.close().await;
    assert_eq!(server.next().await, Seen::Left);
}

#[tokio::test]
async fn a_bridge_that_cannot_speak_for_the_control_unit_is_not_believed() {
    let server = Server::start(Rules { foreign_key: true, ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (_link, mut events) = Link::start(server.options(&key));
    let event = next(&mut events).await;
    assert!(matches!(event, LinkEvent::Disconnected { error: LinkError::Authentication(_), .. }), "{event:?}");

    let server = Server::start(Rules::default()).await;
    let mut options = server.options(&key);
    let root = Some(wardlink_protocol::identity::Sha256([9; 32]));
    options.identity = Arc::new(Identity { key: key.clone(), device: device(), certificate: None, root });
    let (_link, mut events) = Link::start(options);
    let event = next(&mut events).await;
    assert!(matches!(event, LinkEvent::Disconnected { error: LinkError::Authentication(_), .. }), "{event:?}");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let mut server = Server::start(Rules { refuse_connections: 1, ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (_link, mut events) = Link::start(server.options(&key));
    let LinkEvent::Disconnected { error, .. } = next(&mut events).await else { panic!("not refused") };
    assert!(error.is_refusal(), "{error}");
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Gone);
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
}

#[tokio::test]
async fn it_subscribes_until_it_is_let() {
    let rules = Rules { refuse_subscriptions: 3, greeting: Some(b"command".to_vec()), ..Rules::default() };
    let mut server = Server::start(rules).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (link, mut events) = Link::start(server.options(&key));
    link.subscribe(t2());
    connected(&mut events).await;
    server.next().await;
    for granted in [false, false, false, true] {
        assert_eq!(server.next().await, Seen::Subscribed { topic: t2().to_string(), granted });
    }
    for _ in 0..3 {
        assert!(matches!(next(&mut events).await, LinkEvent::SubscriptionRefused { filter } if filter == t2().into()));
    }
    assert!(matches!(next(&mut events).await, LinkEvent::Subscribed { filter } if filter == t2().into()));
    let LinkEvent::Message { topic, payload, receipt, .. } = next(&mut events).await else { panic!("no message") };
    assert_eq!((topic, payload.as_slice()), (t2().to_string(), b"command".as_slice()));
    link.acknowledge(receipt);
    assert_eq!(server.next().await, Seen::Acknowledged);
}

#[tokio::test]
async fn a_message_without_acknowledgement_is_sent_again_under_its_number() {
    for keep_session in [true, false] {
        let rules = Rules { break_before_acknowledging: 2, keep_session, receive_maximum: Some(8), ..Rules::default() };
        let mut server = Server::start(rules).await;
        let key = PrivateKey::make(&mut clock::rng());
        let (mut link, mut events) = Link::start(server.options(&key));
        let first = link.publish(t1(), b"first".to_vec(), Qos::AtLeastOnce);
        let second = link.publish(t1(), b"second".to_vec(), Qos::AtLeastOnce);
        connected(&mut events).await;
        server.next().await;
        assert_eq!(server.next().await, published(b"first", 1, false));
        assert_eq!(server.next().await, published(b"second", 2, false));
        assert_eq!(server.next().await, Seen::Gone);
        connected(&mut events).await;
        assert_eq!(server.next().await, Seen::Connected { certificate: false });
        assert_eq!(server.next().await, published(b"first", 1, keep_session));
        assert_eq!(server.next().await, published(b"second", 2, keep_session));
        assert!(matches!(next(&mut events).await, LinkEvent::Delivered { ticket, .. } if ticket == first));
        assert!(matches!(next(&mut events).await, LinkEvent::Delivered { ticket, .. } if ticket == second));
    }
}

#[tokio::test]
async fn no_more_messages_are_under_way_than_the_bridge_takes() {
    let mut server = Server::start(Rules { receive_maximum: Some(2), ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (mut link, mut events) = Link::start(server.options(&key));
    for number in 0..20u8 {
        link.publish(t1(), vec![number], Qos::AtLeastOnce);
    }
    connected(&mut events).await;
    server.next().await;
    for number in 0..20u8 {
        let Seen::Published { payload, .. } = server.next().await else { panic!("no message") };
        assert_eq!(payload, [number], "in the order in which they were given");
        assert!(matches!(next(&mut events).await, LinkEvent::Delivered { .. }));
    }
}

#[tokio::test]
async fn a_refused_message_is_not_sent_again() {
    let mut server = Server::start(Rules { refuse_messages: true, ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (mut link, mut events) = Link::start(server.options(&key));
    let ticket = link.publish(t1(), b"no".to_vec(), Qos::AtLeastOnce);
    connected(&mut events).await;
    let event = next(&mut events).await;
    assert!(
        matches!(event, LinkEvent::Refused { ticket: refused, reason: PubackReasonCode::NotAuthorized } if refused == ticket)
    );
    server.rules.lock().unwrap().refuse_messages = false;
    let ticket = link.publish(t1(), b"yes".to_vec(), Qos::AtLeastOnce);
    assert!(matches!(next(&mut events).await, LinkEvent::Delivered { ticket: taken, .. } if taken == ticket));
    server.next().await;
    assert!(matches!(server.next().await, Seen::Published { payload, .. } if payload == b"no"));
    assert!(matches!(server.next().await, Seen::Published { payload, .. } if payload == b"yes"));
}

#[tokio::test]
async fn measurements_are_sent_once_or_not_at_all() {
    let mut server = Server::start(Rules { refuse_connections: 1, ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (mut link, mut events) = Link::start(server.options(&key));
    assert!(matches!(next(&mut events).await, LinkEvent::Disconnected { .. }));
    link.publish(t1(), b"lost".to_vec(), Qos::AtMostOnce);
    connected(&mut events).await;
    link.publish(t1(), b"now".to_vec(), Qos::AtMostOnce);
    assert_eq!(server.next().await, Seen::Gone);
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    let now = Seen::Published { topic: t1().to_string(), payload: b"now".to_vec(), packet: None, again: false };
    assert_eq!(server.next().await, now);
}

#[tokio::test]
async fn it_connects_anew_with_its_certificate_and_keeps_what_was_not_acknowledged() {
    let rules = Rules { break_before_acknowledging: u32::MAX, keep_session: true, ..Rules::default() };
    let mut server = Server::start(rules).await;
    let key = PrivateKey::make(&mut clock::rng());
    let options = server.options(&key);
    let (mut link, mut events) = Link::start(options.clone());
    link.subscribe(t2());
    connected(&mut events).await;
    server.next().await;
    assert!(matches!(server.next().await, Seen::Subscribed { .. }));
    link.publish(t1(), b"verified".to_vec(), Qos::AtLeastOnce);
    let Seen::Published { packet: Some(packet), again: false, .. } = server.next().await else { panic!("no message") };
    server.rules.lock().unwrap().break_before_acknowledging = 0;
    link.reconnect(options.endpoint, server.identity(&key, Some(server.site.certify(&key))));
    assert_eq!(server.next().await, Seen::Left);
    assert_eq!(server.next().await, Seen::Gone);
    assert_eq!(server.next().await, Seen::Connected { certificate: true });
    assert_eq!(server.next().await, published(b"verified", packet, true));
    assert!(matches!(server.next().await, Seen::Subscribed { granted: true, .. }));
}

#[tokio::test]
async fn it_takes_a_new_certificate_on_the_same_connection_before_it_sends_more() {
    let mut server = Server::start(Rules::default()).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (mut link, mut events) = Link::start(server.options(&key));
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    link.identify(server.identity(&key, Some(server.site.certify(&key))));
    link.publish(t1(), b"finished".to_vec(), Qos::AtLeastOnce);
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Authenticated { certificate: true });
    assert_eq!(server.next().await, published(b"finished", 1, false));
}

#[tokio::test]
async fn a_bridge_that_becomes_another_is_left() {
    let mut server = Server::start(Rules::default()).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (link, mut events) = Link::start(server.options(&key));
    connected(&mut events).await;
    server.next().await;
    server.rules.lock().unwrap().foreign_key = true;
    link.identify(server.identity(&key, Some(server.site.certify(&key))));
    let event = next(&mut events).await;
    assert!(matches!(event, LinkEvent::Disconnected { error: LinkError::Authentication(_), .. }), "{event:?}");
}

#[tokio::test]
async fn it_pings_as_the_bridge_asks_and_notices_silence() {
    let mut server = Server::start(Rules { keep_alive: Some(1), ..Rules::default() }).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (_link, mut events) = Link::start(server.options(&key));
    connected(&mut events).await;
    server.next().await;
    assert_eq!(server.next().await, Seen::Pinged);
    server.rules.lock().unwrap().silent_to_pings = true;
    let event = next(&mut events).await;
    assert!(matches!(event, LinkEvent::Disconnected { error: LinkError::Timeout, .. }), "{event:?}");
}

#[tokio::test]
async fn tls_is_trusted_under_the_provisioned_anchor_and_no_other() {
    let (mut server, root) = Server::start_with_tls(Rules::default()).await;
    let key = PrivateKey::make(&mut clock::rng());
    let (link, mut events) = Link::start(server.options_trusting(&key, &[root]));
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    link.close().await;

    let (_, foreign) = Server::start_with_tls(Rules::default()).await;
    for anchors in [vec![foreign], Vec::new()] {
        let (_link, mut events) = Link::start(server.options_trusting(&key, &anchors));
        let LinkEvent::Disconnected { error, .. } = next(&mut events).await else { panic!("it was trusted") };
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_link_goes_through_a_proxy_with_tls_from_end_to_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut server, root) = Server::start_with_tls(Rules::default()).await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let target = server.address.trim_start_matches("wss://").trim_end_matches("/mqtt").to_owned();
    let expected = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let between = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut request = vec![0; expected.len()];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let port = target.rsplit(':').next().unwrap().parse().unwrap();
        let mut there = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut stream, &mut there).await);
    });
    let key = PrivateKey::make(&mut clock::rng());
    let options = server.options_trusting(&key, std::slice::from_ref(&root));
    let trust = TlsTrust::from_pem(&[root], false).unwrap();
    let endpoint = Endpoint::new(&server.address, &trust).unwrap();
    let through = endpoint.through(Some(address.parse().unwrap()), &[]);
    let (link, mut events) = Link::start(LinkOptions { endpoint: Arc::new(through), ..options });
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    link.close().await;
    between.await.unwrap();
}

#[test]
fn listed_hosts_and_connections_without_tls_go_without_the_proxy() {
    let trust = TlsTrust::default();
    let proxy: Proxy = "http://proxy.example:3128".parse().unwrap();
    let goes_through = |address: &str, no_proxy: &[&str]| {
        let no_proxy: Vec<String> = no_proxy.iter().map(|host| (*host).to_owned()).collect();
        Endpoint::new(address, &trust).unwrap().through(Some(proxy.clone()), &no_proxy).proxy().is_some()
    };
    assert!(goes_through("wss://site.example/mqtt", &[]));
    assert!(goes_through("wss://site.example/mqtt", &["", "other.example", "ite.example"]));
    assert!(!goes_through("wss://site.example/mqtt", &["example"]));
    assert!(!goes_through("wss://site.example/mqtt", &[".example"]));
    assert!(!goes_through("wss://SITE.example/mqtt", &["site.example"]));
    assert!(!goes_through("wss://site.example/mqtt", &["*"]));
    assert!(!goes_through("ws://127.0.0.1/mqtt", &[]));
    let there = Endpoint::new("wss://site.example/mqtt", &trust).unwrap().through(Some(proxy), &[]);
    assert!(there.at_host("other.example", &trust).unwrap().proxy().is_some(), "also after the pairing");
}

#[tokio::test]
async fn without_cert_ca_an_unknown_bridge_is_taken_only_with_a_chain_that_fits_together() {
    let key = PrivateKey::make(&mut clock::rng());
    let any = TlsTrust { dangerous_any_server: true, ..TlsTrust::default() };
    let options = |server: &Server| {
        let identity = Identity { key: key.clone(), device: device(), certificate: None, root: None };
        let endpoint = Endpoint::new(&server.address, &any).unwrap();
        LinkOptions {
            endpoint: Arc::new(endpoint),
            identity: Arc::new(identity),
            client_id: device().to_string(),
            session: SESSION,
        }
    };
    let (mut server, _) = Server::start_with_tls(Rules::default()).await;
    let (link, mut events) = Link::start(options(&server));
    connected(&mut events).await;
    assert_eq!(server.next().await, Seen::Connected { certificate: false });
    link.close().await;

    let (server, _) = Server::start_with_tls(Rules { foreign_key: true, ..Rules::default() }).await;
    let (_link, mut events) = Link::start(options(&server));
    let event = next(&mut events).await;
    assert!(matches!(event, LinkEvent::Disconnected { error: LinkError::Authentication(_), .. }), "{event:?}");
}

#[test]
fn tls_is_missing_on_loopback_only() {
    let trust = TlsTrust::default();
    for address in
        ["ws://127.0.0.1:8787/mqtt", "ws://localhost:8787/mqtt", "ws://[::1]:8787/mqtt", "wss://ais-broker/mqtt"]
    {
        assert!(Endpoint::new(address, &trust).is_ok(), "{address}");
    }
    for address in ["ws://ais-broker/mqtt", "ws://192.168.1.4/mqtt", "ws://localhost.example/mqtt"] {
        assert!(matches!(Endpoint::new(address, &trust), Err(EndpointError::Insecure(_))), "{address}");
    }
    for address in ["", "mqtt://x/", "https://x/mqtt", "wss://", "wss://user@host/mqtt", "not an address"] {
        assert!(matches!(Endpoint::new(address, &trust), Err(EndpointError::Address(_))), "{address}");
    }
}

#[test]
fn the_host_is_the_one_that_http_names() {
    let trust = TlsTrust::default();
    for (address, host) in [
        ("wss://ais-broker/mqtt", "ais-broker"),
        ("wss://ais-broker:443/mqtt", "ais-broker"),
        ("wss://ais-broker:8443/mqtt", "ais-broker:8443"),
        ("ws://127.0.0.1:8787/mqtt", "127.0.0.1:8787"),
        ("ws://[::1]:80/mqtt", "[::1]"),
    ] {
        assert_eq!(Endpoint::new(address, &trust).unwrap().host(), host);
    }
    let endpoint = Endpoint::new("wss://ais-broker/mqtt", &trust).unwrap();
    assert_eq!(endpoint.at_host("bridge.example:444", &trust).unwrap().address(), "wss://bridge.example:444/mqtt");
    assert!(Endpoint::new("ws://localhost/mqtt", &trust).unwrap().at_host("elsewhere.example", &trust).is_err());
}

#[test]
fn an_anchor_that_is_none_is_refused() {
    assert!(matches!(TlsTrust::from_pem(&["nothing".into()], false), Err(EndpointError::Anchor)));
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let trust = TlsTrust::from_pem(&[torn], false).unwrap();
    assert!(matches!(Endpoint::new("wss://ais-broker/mqtt", &trust), Err(EndpointError::Anchor)));
}

//! The status page.

use crate::depot::Depot;
use clap::Parser;
use serde_bytes::ByteBuf;
use wardlink_agent::clock;
use wardlink_agent::gateway::page;
use wardlink_agent::gateway::settings::GatewayArgs;
use wardlink_agent::pump::Pump;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Asks the status page.
async fn ask(address: std::net::SocketAddr, method: &str, path: &str, fields: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_page_shows_how_things_stand_and_only_its_own_buttons_work() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected).await;
    let folder = tempfile::tempdir().unwrap();
    let (coupling, _) = Line::try_parse_from(["gateway", "--secret-id", "a", "--secret", "AAECAwQFBgcICQoLDA0ODw"])
        .unwrap()
        .gateway
        .settings()
        .unwrap();
    let coupling = wardlink_agent::pump::settings::Settings { state: folder.path().join("state"), ..coupling };
    let (_pump, handle) = Pump::open(coupling, tokio::sync::mpsc::unbounded_channel().0).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shown = gateway.handle.clone();
    let serving = tokio::spawn(async move { page::serve(listener, shown, &handle).await });

    let page = ask(address, "GET", "/?lang=de", "").await;
    assert!(page.contains("Software dieses Gateways") && page.contains(env!("CARGO_PKG_VERSION")), "{page}");
    assert!(page.contains("infusion-pump/p1") && page.contains("verbunden"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(ask(address, "GET", "/status.json", "").await.contains("\"is_connected\":true"));
    assert!(ask(address, "GET", "/coupling", "").await.contains("display.js"));
    let pressed = |site: &'static str| ask(address, "POST", "/ask", site);
    assert!(pressed("Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n").await.starts_with("HTTP/1.1 403"));
    assert!(pressed("Content-Length: 0\r\n").await.starts_with("HTTP/1.1 403"));
    assert!(pressed("Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n").await.starts_with("HTTP/1.1 202"));
    depot.until("the word to look for updates", |inner| (inner.asked == 1).then_some(())).await;
    let confirmed =
        |path: &'static str| ask(address, "POST", path, "Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n");
    assert!(confirmed("/confirm/infusion-pump/p1/7").await.starts_with("HTTP/1.1 202"));
    for path in ["/confirm/../x", "/confirm/infusion-pump/p1", "/confirm/infusion-pump/p1/x"] {
        assert!(confirmed(path).await.starts_with("HTTP/1.1 4"), "{path}");
    }
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, foreign.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_with_pumps_alone_shows_them_and_its_broker() {
    let depot = Depot::open().await;
    let key = PrivateKey::make(&mut clock::rng()).public().to_spki().unwrap();
    let pump: Device = "infusion-pump/p1".parse().unwrap();
    depot.with(|inner| inner.keys.insert(pump.clone(), ByteBuf::from(key)));
    depot.configure(&[]);
    let mut gateway = depot.power(&["--hub", "127.0.0.1:0"]);
    gateway
        .until("the pump, and the broker's address", |status| {
            let is_there = status.verifying.iter().any(|one| one.device == pump && one.is_listening == Some(false));
            is_there && status.devices.is_empty() && status.hub.as_ref().is_some_and(|hub| hub.address.is_some())
        })
        .await;
    let status = gateway.handle.status.borrow().clone();
    let lines = wardlink_agent::gateway::status::lines(&status).join("\n");
    assert!(lines.contains("device      infusion-pump/p1, has not said yet what it runs, not connected"), "{lines}");
    assert!(lines.contains("hub         at 127.0.0.1:"), "{lines}");
    gateway.stop().await;
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::display::Phase;
use crate::display::tests::{LINK, infusing, screen, verifying};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Site {
    address: SocketAddr,
    screens: Vec<watch::Sender<Screen>>,
    orders: Vec<mpsc::Receiver<Order>>,
}

async fn site(screens: Vec<Screen>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut senders, mut receivers, mut handles) = (Vec::new(), Vec::new(), Vec::new());
    for screen in screens {
        let (sender, watched) = watch::channel(screen);
        let (orders, received) = mpsc::channel(4);
        senders.push(sender);
        receivers.push(received);
        handles.push(Handle { screen: watched, orders, membership: watch::channel(None).1 });
    }
    tokio::spawn(async move { serve(listener, handles.into()).await });
    Site { address, screens: senders, orders: receivers }
}

impl Site {
    async fn send(&self, request: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host =
            if more.to_lowercase().contains("host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let text = format!("{request} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Head and body of the answer.
    async fn ask(&self, request: &str, more: &str) -> (String, Vec<u8>) {
        let mut answer = Vec::new();
        self.send(request, more).await.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
    }

    async fn text(&self, request: &str, more: &str) -> (String, String) {
        let (head, body) = self.ask(request, more).await;
        (head, String::from_utf8(body).unwrap())
    }
}

#[tokio::test]
async fn the_page_shows_code_and_qr_and_lets_nothing_foreign_in() {
    let site = site(vec![screen(verifying())]).await;
    let (head, body) = site.text("GET /", "").await;
    assert!(head.starts_with("http/1.1 200"));
    assert!(head.contains("content-security-policy: default-src 'none'"));
    for part in ["Coupling in progress", "4071 9326", "PM2 · 204817", "src=\"/qr.svg\"", "lang=\"en\""] {
        assert!(body.contains(part), "{part} is missing in\n{body}");
    }
    assert!(!body.contains("{{"), "a place was left empty");
    assert!(!body.contains("http:") && !body.contains("https:"), "no foreign assets");
    for path in ["/display.css", "/display.js"] {
        assert!(site.text(&format!("GET {path}"), "").await.0.starts_with("http/1.1 200"), "{path}");
    }
}

#[tokio::test]
async fn the_page_speaks_german_when_asked() {
    let site = site(vec![screen(Phase::Paired)]).await;
    assert!(site.text("GET /", "Accept-Language: de-DE,en;q=0.2\r\n").await.1.contains("Verbindung erfolgreich"));
    assert!(site.text("GET /?lang=de", "").await.1.contains("Verbindung erfolgreich"));
    assert!(site.text("GET /?lang=en", "Accept-Language: de\r\n").await.1.contains("Connection successful"));
    assert!(site.text("GET /state?lang=de", "").await.1.contains("Verbindung erfolgreich"));
}

#[tokio::test]
async fn state_is_json_that_follows_the_screen() {
    let site = site(vec![screen(verifying())]).await;
    let state = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let before = state(site.text("GET /state", "").await.1);
    assert_eq!(before["phase"], "verifying");
    assert_eq!(before["code"], "4071 9326");
    assert_eq!(before["link"], LINK);
    site.screens[0].send_replace(infusing());
    let after = state(site.text("GET /state", "").await.1);
    assert_eq!(after["phase"], "paired");
    assert_eq!(after["title"], "Connection successful");
    assert_eq!(after["code"], serde_json::Value::Null);
    assert_eq!(after["infusion"]["alarms"][0]["priority"], "high");
}

#[tokio::test]
async fn what_a_device_says_is_text_and_never_markup() {
    let site = site(vec![infusing()]).await;
    let (_, body) = site.text("GET /", "").await;
    assert!(body.contains("Heparin &lt;500&gt; IU/ml") && !body.contains("<500>"));
}

#[tokio::test]
async fn the_qr_code_is_there_only_while_it_is_shown() {
    let site = site(vec![screen(verifying())]).await;
    let (head, svg) = site.text("GET /qr.svg", "").await;
    assert!(head.contains("content-type: image/svg+xml") && head.contains("cache-control: no-store"));
    assert!(svg.contains("<svg") && svg.contains("#fff") && svg.contains("#000"));
    let (head, png) = site.ask("GET /qr.png", "").await;
    assert!(head.contains("content-type: image/png") && png.starts_with(b"\x89PNG"));
    site.screens[0].send_replace(screen(Phase::Paired));
    assert!(site.ask("GET /qr.svg", "").await.0.starts_with("http/1.1 404"));
    assert!(site.ask("GET /qr.png", "").await.0.starts_with("http/1.1 404"));
}

#[tokio::test]
async fn changes_arrive_as_events() {
    let site = site(vec![screen(Phase::Requesting)]).await;
    let mut stream = site.send("GET /events", "").await;
    let mut seen = String::new();
    let mut read_until = async |wanted: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(wanted) {
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
            let length = read.expect("nothing came").unwrap();
            assert!(length > 0, "the stream ended");
            seen.push_str(core::str::from_utf8(&buffer[..length]).unwrap());
        }
    };
    read_until("\"phase\":\"requesting\"").await;
    site.screens[0].send_replace(screen(verifying()));
    read_until("4071 9326").await;
}

#[tokio::test]
async fn loopback_answers_to_its_own_names_only() {
    let site = site(vec![screen(verifying())]).await;
    let port = site.address.port();
    for (host, status) in [
        (format!("localhost:{port}"), "200"),
        (format!("127.0.0.1:{port}"), "200"),
        (format!("[::1]:{port}"), "200"),
        (format!("evil.example:{port}"), "421"),
        (format!("localhost.evil.example:{port}"), "421"),
        (String::new(), "421"),
    ] {
        let (head, _) = site.ask("GET /state", &format!("Host: {host}\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{host}: {head}");
    }
}

#[tokio::test]
async fn only_the_page_itself_presses_the_button() {
    let mut site = site(vec![screen(Phase::Idle)]).await;
    for more in ["", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: none\r\n"] {
        assert!(site.ask("POST /couple", more).await.0.starts_with("http/1.1 403"));
    }
    assert!(site.orders[0].try_recv().is_err());
    assert!(site.ask("POST /couple", "Sec-Fetch-Site: same-origin\r\n").await.0.starts_with("http/1.1 202"));
    assert_eq!(site.orders[0].recv().await, Some(Order::Couple));
}

#[tokio::test]
async fn the_answer_is_entered_at_the_page_itself() {
    let mut site = site(vec![screen(Phase::Answering { tries_left: 3 })]).await;
    let page = site.text("GET /", "").await.1;
    assert!(page.contains("<form id=\"answer\" class=\"answer\" >"), "{page}");
    assert!(page.contains("Enter the four digits that the control unit shows."));
    let ask = async |fetched: &str, body: &str| {
        let head = format!("Sec-Fetch-Site: {fetched}\r\nContent-Length: {}\r\n", body.len());
        let mut stream = site.send("POST /answer", &head).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()[..12].to_owned()
    };
    assert_eq!(ask("cross-site", "4071").await, "HTTP/1.1 403");
    for text in ["", "407", "40711", "four"] {
        assert_eq!(ask("same-origin", text).await, "HTTP/1.1 422", "{text}");
    }
    assert_eq!(ask("same-origin", &"4".repeat(100)).await, "HTTP/1.1 413");
    assert_eq!(ask("same-origin", "4071").await, "HTTP/1.1 202");
    assert_eq!(site.orders[0].try_recv(), Ok(Order::Answer("4071".parse().unwrap())));
    assert!(site.orders[0].try_recv().is_err());
    site.screens[0].send_replace(screen(Phase::Finishing));
    assert!(site.text("GET /", "").await.1.contains("<form id=\"answer\" class=\"answer\" hidden>"));
}

#[tokio::test]
async fn several_pumps_stand_under_their_numbers() {
    let site = site(vec![screen(verifying()), screen(Phase::Paired)]).await;
    let (_, index) = site.text("GET /", "").await;
    assert!(index.contains("href=\"/1\"") && index.contains("href=\"/2\"") && index.contains("Connection successful"));
    assert!(site.text("GET /1", "").await.1.contains("src=\"/1/qr.svg\""));
    assert!(site.text("GET /1/state", "").await.1.contains("verifying"));
    assert!(site.text("GET /2/state", "").await.1.contains("paired"));
    assert!(site.ask("GET /3", "").await.0.starts_with("http/1.1 404"));
    assert!(site.ask("GET /state", "").await.0.starts_with("http/1.1 404"));
}

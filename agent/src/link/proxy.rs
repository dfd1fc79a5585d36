//! A way through an HTTP proxy (RFC 9110 section 9.3.6, CONNECT). It sees host and port; TLS goes through it from end to end.

use core::str::FromStr;
use data_encoding::BASE64;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;

/// The longest answer that is read of a proxy, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024;
/// The usual port of a proxy that names none.
const USUAL_PORT: u16 = 80;

/// An HTTP proxy.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    /// `Proxy-Authorization`, where it asks for a name and a password.
    authorization: Option<String>,
}

/// The caller's fault: an address that is no proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no address of an HTTP proxy; one looks like http://proxy.example:3128")]
pub struct InvalidProxy;

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let uri: Uri = text.parse().map_err(|_| InvalidProxy)?;
        if !matches!(uri.scheme_str(), Some("http") | None) {
            return Err(InvalidProxy);
        }
        let authority = uri.authority().ok_or(InvalidProxy)?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(InvalidProxy);
        }
        let authorization = user.map(|user| format!("Basic {}", BASE64.encode(user.as_bytes())));
        Ok(Self { host, port: authority.port_u16().unwrap_or(USUAL_PORT), authorization })
    }
}

impl Proxy {
    /// A connection through the proxy to `host`, which has its port.
    pub(super) async fn connect(&self, host: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let authorization = self.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let authorization = authorization.unwrap_or_default();
        let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = head(&mut stream).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('2') {
            Ok(stream)
        } else {
            let line = answer.lines().next().unwrap_or_default();
            Err(io::Error::other(format!("the proxy {}:{} does not let through: {line}", self.host, self.port)))
        }
    }

    /// Its host and port.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// Reads just the head of the answer: what comes after it belongs to the tunnel.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_ANSWER_BYTES {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn an_address_is_read_with_or_without_a_password() {
        let proxy: Proxy = "http://proxy.example:3128".parse().unwrap();
        assert_eq!((proxy.address(), &proxy.authorization), (("proxy.example", 3128), &None));
        let proxy: Proxy = "http://ward:secret@[::1]".parse().unwrap();
        assert_eq!(proxy.address(), ("::1", 80));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic d2FyZDpzZWNyZXQ="));
        for wrong in ["", "https://proxy.example", "socks5://proxy.example", "http://", "/proxy"] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
    }

    /// A proxy that answers this, and the request that it got.
    async fn asked(answer: &'static [u8]) -> (io::Result<Vec<u8>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy: Proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = head(&mut stream).await.unwrap();
            stream.write_all(answer).await.unwrap();
            request
        });
        let rest = async {
            let mut rest = Vec::new();
            proxy.connect("site.example:443").await?.read_to_end(&mut rest).await?;
            Ok(rest)
        };
        (rest.await, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_tunnel_begins_right_after_the_answer() {
        let (rest, request) = asked(b"HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\ninside").await;
        assert_eq!(rest.unwrap(), b"inside");
        assert_eq!(request, "CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n");
    }

    #[tokio::test]
    async fn what_a_proxy_refuses_is_told() {
        let (refused, _) = asked(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        assert!(refused.unwrap_err().to_string().contains("407 Proxy Authentication Required"));
        let (cut, _) = asked(b"HTTP/1.1 200").await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

//! Somebody between a client and the control unit who adds header fields to what the client says, and ends its TLS.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

/// The longest head of a request that is read, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A running relay. It ends with the value.
pub struct Relay {
    port: u16,
    _stop: oneshot::Sender<()>,
}

impl Relay {
    /// Stands before the worker on this port itself.
    pub fn before(worker: u16, fields: &[(&str, &str)]) -> Result<Self> {
        Self::open(worker, None, fields)
    }

    /// Passes on what comes to a port of this machine, with TLS or without, and adds fields to the first request of each connection.
    pub(super) fn open(port: u16, tls: Option<Arc<ClientConfig>>, fields: &[(&str, &str)]) -> Result<Self> {
        let listener = StdListener::bind("127.0.0.1:0").context("cannot listen")?;
        listener.set_nonblocking(true).context("cannot listen")?;
        let own = listener.local_addr().context("a listener has an address")?.port();
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let fields = Arc::from(fields.concat());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = listen(listener, port, tls, fields) => {}
                }
            });
        });
        Ok(Self { port: own, _stop: stop })
    }

    /// The MQTT bridge's address on this side.
    pub fn broker(&self) -> String {
        format!("ws://localhost:{}/mqtt", self.port)
    }
}

async fn listen(listener: StdListener, port: u16, tls: Option<Arc<ClientConfig>>, fields: Arc<str>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((client, _)) = listener.accept().await {
        let (tls, fields) = (tls.clone(), Arc::clone(&fields));
        tokio::spawn(async move {
            // Whoever loses the connection by that sees it as the network's fault.
            let _ = carry(client, port, tls, &fields).await;
        });
    }
}

async fn carry(mut client: TcpStream, port: u16, tls: Option<Arc<ClientConfig>>, fields: &str) -> Result<()> {
    let request = forged(&mut client, fields).await?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    match tls {
        None => {
            server.write_all(&request).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Some(tls) => {
            let name = ServerName::try_from("localhost").context("a name")?;
            let mut server = TlsConnector::from(tls).connect(name, server).await?;
            server.write_all(&request).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
    }
    Ok(())
}

/// Reads the head of a request, and puts the fields first in it.
async fn forged(client: &mut TcpStream, fields: &str) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        anyhow::ensure!(head.len() < MAX_HEAD_BYTES, "the request does not end");
        anyhow::ensure!(client.read_buf(&mut head).await? > 0, "the client has gone");
    }
    let line = head.windows(2).position(|end| end == b"\r\n").context("a request has lines")? + 2;
    head.splice(line..line, fields.bytes());
    Ok(head)
}

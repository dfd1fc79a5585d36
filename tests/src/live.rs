//! What changes, as the web app hears of it.

use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{HandshakeError, Message, WebSocket};
use wardlink_protocol::api::LiveEvent;

use crate::api::Api;
use crate::wait;

/// The WebSocket of a signed-in person.
#[derive(Debug)]
pub struct Live {
    socket: WebSocket<TcpStream>,
}

impl Live {
    /// Connects as the person of `api`, from the control unit's own page.
    pub fn connect(api: &Api) -> Result<Self> {
        Self::connect_from(api, api.origin())?.map_err(|status| anyhow!("the worker refused with {status}"))
    }

    /// Connects as the person of `api`, from a page of `origin`; says with which HTTP status the worker refused.
    pub fn connect_from(api: &Api, origin: &str) -> Result<Result<Self, u16>> {
        let authority = api.origin().trim_start_matches("http://");
        let mut request = format!("ws://{authority}/api/v1/live").into_client_request()?;
        request.headers_mut().insert(header::ORIGIN, HeaderValue::from_str(origin)?);
        if let Some(cookie) = api.cookie() {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_str(cookie)?);
        }
        let stream = TcpStream::connect(authority).context("the worker does not answer")?;
        stream.set_read_timeout(Some(wait::LIMIT)).context("cannot limit reading")?;
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Ok(Self { socket })),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => Ok(Err(response.status().as_u16())),
            Err(error) => Err(anyhow!("no WebSocket: {error}")),
        }
    }

    /// The next event.
    pub fn next_event(&mut self) -> Result<LiveEvent> {
        loop {
            match self.socket.read().context("the live connection ended")? {
                Message::Text(text) => {
                    return serde_json::from_str(&text).with_context(|| format!("no live event: {text}"));
                }
                Message::Close(frame) => bail!("the worker closed the live connection: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads events until one is what is looked for.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(LiveEvent) -> Option<T>) -> Result<T> {
        let started = Instant::now();
        while started.elapsed() < wait::LIMIT {
            let event = self.next_event().with_context(|| format!("waiting for {what}"))?;
            if let Some(found) = look(event) {
                return Ok(found);
            }
        }
        bail!("waited in vain for {what}")
    }

    /// Reads until the worker ends the connection.
    pub fn wait_for_end(mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < wait::LIMIT {
            match self.socket.read() {
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => bail!("the live connection neither went on nor was closed: {error}"),
            }
        }
        bail!("the live connection goes on")
    }
}

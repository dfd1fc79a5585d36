//! A WebSocket to the bridge on which a test decides every byte and every frame.

use std::collections::VecDeque;
use std::net::TcpStream;

use anyhow::{Context as _, Result, anyhow, bail};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{Message, WebSocket};

use crate::wait;

/// The host of a broker's address, with its port, as HTTP's Host field has it.
pub fn host_of(broker: &str) -> &str {
    broker.trim_start_matches("ws://").split('/').next().unwrap_or_default()
}

/// The WebSocket.
pub struct Raw {
    socket: WebSocket<TcpStream>,
    builder: PacketBuilder,
    received: VecDeque<RawPacket>,
}

impl Raw {
    /// Opens it.
    pub fn dial(broker: &str) -> Result<Self> {
        let mut request = broker.into_client_request()?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        let stream = TcpStream::connect(host_of(broker)).context("the bridge does not answer")?;
        stream.set_read_timeout(Some(wait::LIMIT)).context("cannot limit reading")?;
        stream.set_nodelay(true).context("cannot send at once")?;
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| anyhow!("no MQTT there: {error}"))?;
        Ok(Self { socket, builder: PacketBuilder::new(), received: VecDeque::new() })
    }

    /// Sends bytes as one frame; false where the connection has ended.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.send(Message::binary(bytes.to_vec())).is_ok()
    }

    /// Sends bytes in frames of that many.
    pub fn send_in_pieces(&mut self, bytes: &[u8], length: usize) -> bool {
        bytes.chunks(length).all(|piece| self.send(piece))
    }

    /// Sends a text frame, which is no MQTT.
    pub fn send_text(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// The next packet; none when the connection has ended.
    pub fn next_packet(&mut self) -> Result<Option<RawPacket>> {
        loop {
            if let Some(packet) = self.received.pop_front() {
                return Ok(Some(packet));
            }
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.cut(&bytes)?,
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) => bail!("the bridge neither answers nor closes: {error}"),
            }
        }
    }

    fn cut(&mut self, bytes: &[u8]) -> Result<()> {
        let mut cursor = Cursor::new(bytes);
        loop {
            match self.builder.feed(&mut cursor) {
                PacketBuildResult::Complete(packet) => self.received.push_back(packet),
                PacketBuildResult::Incomplete => return Ok(()),
                PacketBuildResult::Error(error) => bail!("the bridge sends no MQTT: {error:?}"),
            }
        }
    }
}

//! One WebSocket: how far its client has come, and what has to survive when the object is rebuilt around it.

use crate::limits::{
    MAX_ATTACHMENT_BYTES, MAX_FIRST_PACKET_BYTES, MAX_INFLIGHT, MAX_PACKET_BYTES, PIECE_BYTES, SERVER_KEEP_ALIVE_SECS,
};
use crate::packet::{self, CONNECT, Splitter, Version};
use crate::storage::{Journal, Table, decode, encode};
use core::time::Duration;
use mqtt_protocol_core::mqtt::connection::RawPacket;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use wardlink_crypto::authentication::ServerAuthentication;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::network::NetworkOrigin;

/// A connection, by a number that the shell draws: below 2^53 and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// What is known of a connection when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where the client is.
    pub network: NetworkOrigin,
    /// The host that was dialled, as in HTTP's Host field.
    pub host: String,
    /// The certificate whose key the client has proved in TLS, DER: set only where somebody is trusted to tell it. The broker
    /// verifies it.
    #[serde(default)]
    pub client_certificate: Option<ByteBuf>,
}

/// What CONNECT asked for (MQTT 5.0 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wishes {
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet: u32,
    pub(crate) keep_alive: u16,
    /// Whether enhanced authentication was asked for, so that it can be repeated (MQTT 5.0 section 4.12.1).
    pub(crate) enhanced: bool,
}

impl Wishes {
    /// The keep-alive in force, in seconds: the client's, unless it is none or too long.
    pub(crate) const fn keep_alive_secs(&self) -> u16 {
        let wished = self.keep_alive;
        if wished == 0 || wished > SERVER_KEEP_ALIVE_SECS { SERVER_KEEP_ALIVE_SECS } else { wished }
    }

    /// The keep-alive in force.
    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_alive_secs()))
    }

    /// How many QoS 1 messages may be unacknowledged at the client.
    pub(crate) fn window(&self) -> u16 {
        self.receive_maximum.min(MAX_INFLIGHT)
    }
}

/// How far a client has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// CONNECT is awaited.
    Opened,
    /// The client's proof is awaited.
    Authenticating { wishes: Wishes, exchange: Box<ServerAuthentication> },
    /// The client has proved who it is.
    Live(Live),
}

/// A client that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) session: u64,
    pub(crate) wishes: Wishes,
    /// An authentication that runs beside everything else (MQTT 5.0 section 4.12.1).
    pub(crate) again: Option<Box<ServerAuthentication>>,
}

impl Live {
    /// The longest packet that the client takes, in bytes.
    pub(crate) fn longest_delivery(&self) -> usize {
        usize::try_from(self.wishes.maximum_packet).unwrap_or(usize::MAX)
    }
}

/// What survives in the attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durable {
    pub(crate) origin: Origin,
    pub(crate) opened_at: UnixMillis,
    /// When the client was heard, at most a quarter of its keep-alive ago: often enough to notice that it has gone although the
    /// object was rebuilt, and seldom enough to cost nothing.
    pub(crate) heard_at: UnixMillis,
    pub(crate) phase: Phase,
    /// Which MQTT the client speaks, once CONNECT says it.
    pub(crate) version: Version,
    /// How many pieces of a begun packet stand in [`Table::Piece`].
    pieces: u64,
    /// What has arrived of it since.
    rest: ByteBuf,
    pub(crate) aliases: BTreeMap<u16, String>,
}

/// The bytes that stay with a WebSocket while the object sleeps.
#[derive(Serialize, Deserialize)]
enum Attachment {
    Inline(ConnectionId, Box<Durable>),
    /// The state stands in [`Table::Connection`].
    Stored(ConnectionId),
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) durable: Durable,
    /// The beginning of a packet whose rest has not arrived.
    begun: Vec<u8>,
    pub(crate) last_heard: UnixMillis,
    /// Bytes sent since the client was last heard.
    pub(crate) unheard_bytes: usize,
    /// QoS 1 messages of the client that this batch acknowledges.
    pub(crate) receiving: u16,
    /// Packets of this batch for the client.
    pub(crate) outgoing: Vec<Vec<u8>>,
    /// Whether the attachment has to be written.
    pub(crate) changed: bool,
    /// Whether storage has a record of this connection.
    stored: bool,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, origin: Origin, now: UnixMillis) -> Self {
        let durable = Durable {
            origin,
            opened_at: now,
            heard_at: now,
            phase: Phase::Opened,
            version: Version::default(),
            pieces: 0,
            rest: ByteBuf::new(),
            aliases: BTreeMap::new(),
        };
        Self { changed: true, ..Self::with(id, durable, false) }
    }

    fn with(id: ConnectionId, durable: Durable, stored: bool) -> Self {
        Self {
            id,
            begun: durable.rest.to_vec(),
            last_heard: durable.heard_at,
            durable,
            unheard_bytes: 0,
            receiving: 0,
            outgoing: Vec::new(),
            changed: false,
            stored,
        }
    }

    /// The client was heard.
    pub(crate) fn heard(&mut self, now: UnixMillis) {
        self.last_heard = now;
        self.unheard_bytes = 0;
        let keep_alive = self.live().map_or(Duration::ZERO, |live| live.wishes.keep_alive());
        if now.since(self.durable.heard_at) > keep_alive / 4 {
            self.durable.heard_at = now;
            self.changed = true;
        }
    }

    /// The client, once it has proved who it is.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.durable.phase {
            Phase::Live(live) => Some(live),
            _ => None,
        }
    }

    /// Learns from CONNECT which MQTT the client speaks.
    pub(crate) fn note_version_of(&mut self, raw: &RawPacket) {
        if self.durable.phase == Phase::Opened && raw.packet_type() == CONNECT {
            self.durable.version = Version::of(raw);
        }
    }

    /// The same, from a frame that may begin with CONNECT.
    pub(crate) fn note_version(&mut self, frame: &[u8]) {
        if let Ok(Some(first)) = Splitter::new(frame).next(self.longest_packet()) {
            self.note_version_of(&first);
        }
    }

    /// The longest packet that the client may send now.
    pub(crate) fn longest_packet(&self) -> usize {
        if self.live().is_some() { MAX_PACKET_BYTES } else { MAX_FIRST_PACKET_BYTES }
    }

    /// The beginning of a packet whose rest has not arrived.
    pub(crate) fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// Appends a frame to what was begun, and returns all of it once there is a packet to be read.
    pub(crate) fn continue_begun(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.changed = true;
        self.begun.extend_from_slice(frame);
        packet::is_decided(&self.begun, self.longest_packet()).then(|| core::mem::take(&mut self.begun))
    }

    /// Keeps the beginning of a packet, after what was begun before has been dealt with.
    pub(crate) fn begin(&mut self, rest: &[u8], journal: &mut Journal) {
        self.changed = true;
        self.forget_pieces(journal);
        self.begun = rest.to_vec();
    }

    /// Moves what was begun into storage, piece by piece, so that each byte is written there once however slowly it comes; the last
    /// piece stays with the attachment.
    fn keep_begun(&mut self, journal: &mut Journal) {
        let stored = usize::try_from(self.durable.pieces).unwrap_or(usize::MAX).saturating_mul(PIECE_BYTES);
        let mut rest = self.begun.get(stored..).unwrap_or_default();
        while let Some((piece, after)) = rest.split_at_checked(PIECE_BYTES) {
            journal.add(Table::Piece, self.id.0, self.durable.pieces, &ByteBuf::from(piece));
            self.durable.pieces += 1;
            rest = after;
        }
        self.durable.rest = ByteBuf::from(rest);
    }

    fn forget_pieces(&mut self, journal: &mut Journal) {
        for piece in 0..core::mem::take(&mut self.durable.pieces) {
            journal.delete(Table::Piece, self.id.0, piece);
        }
    }

    /// The bytes for the WebSocket's attachment; state that is too long goes to storage.
    pub(crate) fn attachment(&mut self, journal: &mut Journal) -> Vec<u8> {
        self.changed = false;
        self.keep_begun(journal);
        let inline = encode(&Attachment::Inline(self.id, Box::new(self.durable.clone())));
        if inline.len() <= MAX_ATTACHMENT_BYTES {
            self.forget_record(journal);
            return inline;
        }
        self.stored = true;
        journal.put(Table::Connection, self.id.0, 0, &self.durable);
        encode(&Attachment::Stored(self.id))
    }

    /// Deletes the record of state that was too long.
    fn forget_record(&mut self, journal: &mut Journal) {
        if core::mem::take(&mut self.stored) {
            journal.delete(Table::Connection, self.id.0, 0);
        }
    }

    /// Deletes everything that storage has of the connection.
    pub(crate) fn forget(&mut self, journal: &mut Journal) {
        self.forget_record(journal);
        self.forget_pieces(journal);
    }

    /// Takes back a connection from its attachment; `record` gives the state that was too long for it, `piece` the pieces of a begun
    /// packet by their number.
    pub(crate) fn restore(
        attachment: &[u8],
        record: impl FnOnce(ConnectionId) -> Option<Durable>,
        mut piece: impl FnMut(ConnectionId, u64) -> Option<ByteBuf>,
    ) -> Option<Self> {
        let mut connection = match decode(attachment)? {
            Attachment::Inline(id, durable) => Self::with(id, *durable, false),
            Attachment::Stored(id) => Self::with(id, record(id)?, true),
        };
        let id = connection.id;
        let pieces = (0..connection.durable.pieces).map(|number| piece(id, number)).collect::<Option<Vec<_>>>()?;
        let begun: Vec<u8> = pieces.into_iter().flat_map(ByteBuf::into_vec).collect();
        connection.begun = [begun, core::mem::take(&mut connection.begun)].concat();
        Some(connection)
    }
}

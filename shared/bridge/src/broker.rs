//! The broker: what happened goes in, batches come out.

mod barred;
mod connect;
mod ending;
mod grants;
mod handle;
mod overstep;
mod publish;
mod sessions;
mod subscribe;

pub use ending::Cause;
pub use grants::{Clients, ControlMessage, LocalTable, SiteTable, Step};
pub use overstep::{Overreach, Overstep};
pub use sessions::Notice;

use ending::{CLOSE_TRY_LATER, Closing};

use crate::connection::{Connection, ConnectionId, Durable, Origin, Phase};
use crate::limits::{
    AUTHENTICATION_TIME, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_CONTROL_UNIT_BATCH,
    MAX_CONTROL_UNIT_BATCH_BYTES, MAX_FRAME_BYTES,
};
use crate::log::{Log, Stream};
use crate::packet;
use crate::rate::Budgets;
use crate::session::{Session, SessionKey};
use crate::storage::{Changes, Journal, RecordKey, Table, decode};
use crate::subscriptions::Subscriptions;
use crate::tokens::Tokens;
use core::net::IpAddr;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::{Topic, TopicFilter};

/// Something for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One binary WebSocket frame; it may hold several packets.
    Frame {
        /// To whom.
        connection: ConnectionId,
        /// What.
        bytes: Vec<u8>,
    },
    /// The new bytes of the connection's attachment.
    Attachment {
        /// Whose.
        connection: ConnectionId,
        /// What.
        bytes: Vec<u8>,
    },
    /// The connection is closed; nothing follows.
    Close {
        /// Which.
        connection: ConnectionId,
        /// The WebSocket close code (RFC 6455 section 7.4).
        code: u16,
        /// Why, for the log; none where the client wanted it.
        cause: Option<Cause>,
    },
}

/// What the shell does next: it stores the changes, all or none, and only then lets the output leave, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// What to store.
    pub changes: Changes,
    /// What to send.
    pub outputs: Vec<Output>,
    /// What clients asked for and may not do: for the log.
    pub oversteps: Vec<Overstep>,
}

/// The broker of one site.
pub struct Broker {
    table: Option<grants::Rules>,
    applied: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    addresses: BTreeMap<IpAddr, usize>,
    /// Bytes of begun packets on all connections.
    begun_bytes: usize,
    sessions: BTreeMap<u64, Session>,
    owners: BTreeMap<SessionKey, u64>,
    next_session: u64,
    subscriptions: Subscriptions,
    log: Log,
    notices: BTreeMap<u64, Notice>,
    next_notice: u64,
    tokens: Tokens,
    budgets: Budgets,
    /// When something may have run out, at the earliest.
    next_check: Option<UnixMillis>,
    journal: Journal,
    /// Connections with something to send or to keep.
    changed: BTreeSet<ConnectionId>,
    /// Sessions that may have something to send.
    waiting: BTreeSet<u64>,
    /// Keys whose presence may have changed.
    moved: BTreeSet<KeyFingerprint>,
    /// Connections that are closed with this batch.
    closing: Vec<Closing>,
    /// Connections that have asked for what they may not do.
    overstepped: BTreeSet<ConnectionId>,
    /// What the log has not been told of them.
    oversteps: Vec<Overstep>,
    /// Keys that are barred and have tried to connect.
    barred: BTreeMap<KeyFingerprint, barred::Attempts>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            table: None,
            applied: 0,
            connections: BTreeMap::new(),
            addresses: BTreeMap::new(),
            begun_bytes: 0,
            sessions: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_session: 1,
            subscriptions: Subscriptions::default(),
            log: Log::default(),
            notices: BTreeMap::new(),
            next_notice: 1,
            tokens: Tokens::default(),
            budgets: Budgets::default(),
            next_check: None,
            journal: Journal::default(),
            changed: BTreeSet::new(),
            waiting: BTreeSet::new(),
            moved: BTreeSet::new(),
            closing: Vec::new(),
            overstepped: BTreeSet::new(),
            oversteps: Vec::new(),
            barred: BTreeMap::new(),
        }
    }
}

impl Broker {
    /// Rebuilds a broker from its records and the attachments of the connections that are open. It denies everything until
    /// [`Broker::set_table`].
    pub fn restore(
        records: BTreeMap<RecordKey, Vec<u8>>,
        attachments: impl IntoIterator<Item = Vec<u8>>,
        now: UnixMillis,
    ) -> Self {
        let mut broker = Self::default();
        let mut long_connections = BTreeMap::new();
        let mut pieces = BTreeMap::new();
        // In the order of the tables: messages before queues, sessions before both queues and cursors.
        for (key, bytes) in records {
            match key.table {
                Table::Applied => broker.applied = decode(&bytes).unwrap_or_default(),
                Table::Topic => broker.log.restore_topic(key.major, &bytes),
                Table::Message => broker.log.restore_message(key.major, &bytes),
                Table::Session => broker.restore_session(key.major, &bytes),
                Table::Queue => broker.restore_queue(key.major, key.minor, &bytes),
                Table::Cursor => {
                    if let Some(session) = broker.sessions.get_mut(&key.major) {
                        session.restore_cursor(&bytes);
                    }
                }
                Table::Notice => broker.restore_notice(key.major, &bytes),
                Table::Connection => {
                    if let Some(durable) = decode::<Durable>(&bytes) {
                        long_connections.insert(ConnectionId(key.major), durable);
                    }
                }
                Table::Token => broker.tokens.restore(key.major, &bytes),
                Table::KeyBudget => broker.budgets.restore_key(key.major, &bytes),
                Table::AddressBudget => broker.budgets.restore_address(key.major, &bytes),
                Table::Piece => {
                    pieces.insert((ConnectionId(key.major), key.minor), bytes);
                }
            }
        }
        for attachment in attachments {
            let restored = Connection::restore(
                &attachment,
                |id| long_connections.remove(&id),
                |id, number| decode(&pieces.remove(&(id, number))?),
            );
            if let Some(connection) = restored {
                broker.restore_connection(connection, now);
            }
        }
        for id in long_connections.into_keys() {
            broker.journal.delete(Table::Connection, id.0, 0);
        }
        for (id, number) in pieces.into_keys() {
            broker.journal.delete(Table::Piece, id.0, number);
        }
        broker.check_ends();
        broker.end_lost_connections(now);
        broker
    }

    /// Whether the site's table is known, so that anything is allowed at all.
    pub fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// The number of the last step that was carried out.
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// How many messages wait for those who are connected and listen to this topic, the slowest of them; none where nobody does.
    pub fn waiting_for(&self, topic: &Topic, now: UnixMillis) -> Option<usize> {
        let numbers = self.subscriptions.matching(&TopicFilter::from(topic)).into_iter();
        let sessions = numbers.filter_map(|number| self.sessions.get(&number));
        let listening =
            sessions.filter(|session| session.connection.is_some() && self.rights(session, now).may_read(topic));
        listening.map(|session| session.entries().count()).max()
    }

    /// Whether the connection is open here.
    pub fn knows(&self, id: ConnectionId) -> bool {
        self.connections.contains_key(&id)
    }

    /// Whether the client of a connection has proved who it is, and was let in.
    pub fn is_live(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| matches!(connection.durable.phase, Phase::Live(_)))
    }

    /// A WebSocket was accepted.
    pub fn open(&mut self, id: ConnectionId, origin: Origin, now: UnixMillis) {
        let from_there = origin.network.address.and_then(|address| self.addresses.get(&address)).copied();
        if self.connections.len() >= MAX_CONNECTIONS || from_there.unwrap_or(0) >= MAX_CONNECTIONS_PER_ADDRESS {
            let cause = Some(Cause::Overloaded);
            self.closing.push(Closing { id, packets: Vec::new(), code: CLOSE_TRY_LATER, cause });
            return;
        }
        self.check_at(now.after(AUTHENTICATION_TIME));
        self.insert_connection(Connection::new(id, origin, now));
        self.changed.insert(id);
    }

    fn insert_connection(&mut self, connection: Connection) {
        if let Some(address) = connection.durable.origin.network.address {
            *self.addresses.entry(address).or_default() += 1;
        }
        self.begun_bytes += connection.begun().len();
        self.connections.insert(connection.id, connection);
    }

    fn remove_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        let mut connection = self.connections.remove(&id)?;
        connection.forget(&mut self.journal);
        self.begun_bytes = self.begun_bytes.saturating_sub(connection.begun().len());
        self.changed.remove(&id);
        self.overstepped.remove(&id);
        if let Some(address) = connection.durable.origin.network.address
            && let Some(count) = self.addresses.get_mut(&address)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
        Some(connection)
    }

    /// Queues a packet for a connection; a packet that cannot be built ends it.
    fn send(&mut self, id: ConnectionId, packet: Result<Vec<u8>, MqttError>, now: UnixMillis) {
        match (packet, self.connections.get_mut(&id)) {
            (Ok(bytes), Some(connection)) => {
                connection.unheard_bytes = connection.unheard_bytes.saturating_add(bytes.len());
                connection.outgoing.push(bytes);
                self.changed.insert(id);
            }
            (Err(error), Some(_)) => self.disconnect(id, packet::disconnect_reason(error), now),
            (_, None) => {}
        }
    }

    /// Ends the gathering: what to store, and what to send then.
    pub fn flush(&mut self, now: UnixMillis) -> Batch {
        for session in core::mem::take(&mut self.waiting) {
            self.send_queued(session, now);
        }
        self.note_presence();
        let mut outputs = Vec::new();
        for id in core::mem::take(&mut self.changed) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.receiving = 0;
            gather(id, core::mem::take(&mut connection.outgoing), &mut outputs);
            if connection.changed {
                let bytes = connection.attachment(&mut self.journal);
                outputs.push(Output::Attachment { connection: id, bytes });
            }
        }
        for Closing { id: connection, packets, code, cause } in core::mem::take(&mut self.closing) {
            gather(connection, packets, &mut outputs);
            // A WebSocket that is still closing when the object is rebuilt belongs to nobody.
            outputs.push(Output::Attachment { connection, bytes: Vec::new() });
            outputs.push(Output::Close { connection, code, cause });
        }
        Batch { changes: self.journal.take(), outputs, oversteps: core::mem::take(&mut self.oversteps) }
    }

    /// The oldest messages of a stream that the control unit has not taken, and the number to give to
    /// [`Broker::site_has`]. To be asked only when the last batch is stored.
    pub fn for_site(&self, stream: Stream) -> Option<(u64, Vec<StampedMessage>)> {
        self.log.oldest(stream, MAX_CONTROL_UNIT_BATCH, MAX_CONTROL_UNIT_BATCH_BYTES)
    }

    /// Whether the control unit has yet to take messages of a stream.
    pub fn has_for_site(&self, stream: Stream) -> bool {
        self.log.waiting(stream) > 0
    }

    /// The control unit has dealt with everything up to `last`.
    pub fn site_has(&mut self, stream: Stream, last: u64) {
        self.log.taken(stream, last, &mut self.journal);
    }

    /// When [`Broker::tick`] is to be called, if nothing happens before.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.next_check
    }

    fn check_at(&mut self, time: UnixMillis) {
        self.next_check = Some(self.next_check.map_or(time, |earlier| earlier.min(time)));
    }
}

/// Packs packets into as few frames as their bound allows.
fn gather(connection: ConnectionId, packets: Vec<Vec<u8>>, outputs: &mut Vec<Output>) {
    let mut frame = Vec::new();
    for packet in packets {
        if !frame.is_empty() && frame.len() + packet.len() > MAX_FRAME_BYTES {
            outputs.push(Output::Frame { connection, bytes: core::mem::take(&mut frame) });
        }
        if frame.is_empty() {
            frame = packet;
        } else {
            frame.extend_from_slice(&packet);
        }
    }
    if !frame.is_empty() {
        outputs.push(Output::Frame { connection, bytes: frame });
    }
}

#[cfg(test)]
mod tests;

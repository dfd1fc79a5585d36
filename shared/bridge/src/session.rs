//! MQTT sessions: what outlives a connection (MQTT 5.0 section 4.1).

use crate::connection::ConnectionId;
use crate::limits::MAX_QUEUE;
use crate::rights::Principal;
use crate::storage::{Journal, Table, decode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::topic::TopicFilter;

/// Whose session it is: sessions belong to a key and a client id together, so that a new certificate keeps the session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SessionKey {
    pub(crate) key: KeyFingerprint,
    pub(crate) client_id: String,
}

/// How a subscription was asked for (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) identifier: Option<u32>,
}

/// A message that waits for the session, or for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) message: u64,
    pub(crate) identifier: Option<u32>,
}

/// The packet id follows from the number, so that sending needs no record of it.
pub(crate) fn packet_id(number: u64) -> u16 {
    u16::try_from(number.saturating_sub(1) % u64::from(u16::MAX)).unwrap_or(0) + 1
}

/// The part of a session that is one record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionState {
    pub(crate) owner: SessionKey,
    /// Who used the session last; what is delivered and queued depends on it.
    pub(crate) principal: Principal,
    /// How long it outlives its connection, in seconds.
    pub(crate) expiry_secs: u32,
    /// When it ends; none while it is connected.
    pub(crate) ends_at: Option<UnixMillis>,
    pub(crate) subscriptions: BTreeMap<TopicFilter, Subscription>,
    /// Whether the site was told that the device is there.
    pub(crate) present: bool,
    /// Whether rights were taken away, so that the next connection has to begin anew.
    pub(crate) curtailed: bool,
}

/// A session.
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) state: SessionState,
    pub(crate) connection: Option<ConnectionId>,
    queue: VecDeque<Entry>,
    next_number: u64,
    /// Entries with lower numbers were sent on some connection.
    sent_until: u64,
    /// Entries with lower numbers were sent on an earlier connection and not yet again on this one.
    resend_until: u64,
}

impl Session {
    pub(crate) fn new(id: u64, state: SessionState) -> Self {
        Self { id, state, connection: None, queue: VecDeque::new(), next_number: 1, sent_until: 1, resend_until: 1 }
    }

    /// Writes the session's record.
    pub(crate) fn save(&self, journal: &mut Journal) {
        journal.put(Table::Session, self.id, 0, &self.state);
    }

    /// Whether another message finds room.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUE
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What waits, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.queue.iter()
    }

    /// Queues a message of QoS 1.
    pub(crate) fn enqueue(&mut self, message: u64, identifier: Option<u32>, journal: &mut Journal) {
        let number = self.next_number;
        self.next_number += 1;
        self.queue.push_back(Entry { number, message, identifier });
        journal.add(Table::Queue, self.id, number, &(message, identifier));
    }

    /// The next entry to send, where fewer than `window` are unacknowledged, and whether it is a repetition.
    pub(crate) fn next_to_send(&mut self, window: u16, journal: &mut Journal) -> Option<(Entry, bool)> {
        let in_flight = self.queue.partition_point(|entry| entry.number < self.sent_until);
        let entry = *self.queue.get(in_flight)?;
        let oldest = self.queue.front()?.number;
        if in_flight >= usize::from(window) || entry.number - oldest >= u64::from(u16::MAX) {
            return None;
        }
        self.sent_until = entry.number + 1;
        journal.put(Table::Cursor, self.id, 0, &(self.sent_until, self.resend_until));
        Some((entry, entry.number < self.resend_until))
    }

    /// The client has the message with that packet id.
    pub(crate) fn acknowledge(&mut self, id: u16, journal: &mut Journal) -> Option<Entry> {
        let in_flight = self.queue.partition_point(|entry| entry.number < self.sent_until);
        let position = self.queue.iter().take(in_flight).position(|entry| packet_id(entry.number) == id)?;
        let entry = self.queue.remove(position)?;
        journal.delete(Table::Queue, self.id, entry.number);
        Some(entry)
    }

    /// A new connection: everything that is unacknowledged is sent again (MQTT 5.0 section 4.4).
    pub(crate) fn resume(&mut self, connection: ConnectionId, journal: &mut Journal) {
        self.connection = Some(connection);
        self.resend_until = self.sent_until;
        self.sent_until = self.queue.front().map_or(self.next_number, |entry| entry.number);
        journal.put(Table::Cursor, self.id, 0, &(self.sent_until, self.resend_until));
    }

    /// Drops the queued messages that `keep` does not want, and returns their numbers in the log.
    pub(crate) fn drop_entries(&mut self, keep: impl Fn(u64) -> bool, journal: &mut Journal) -> Vec<u64> {
        let mut dropped = Vec::new();
        let id = self.id;
        self.queue.retain(|entry| {
            let kept = keep(entry.message);
            if !kept {
                journal.delete(Table::Queue, id, entry.number);
                dropped.push(entry.message);
            }
            kept
        });
        dropped
    }

    /// Deletes every record of the session, and returns the log's numbers of what waited.
    pub(crate) fn delete(mut self, journal: &mut Journal) -> Vec<u64> {
        journal.delete(Table::Session, self.id, 0);
        journal.delete(Table::Cursor, self.id, 0);
        self.drop_entries(|_| false, journal)
    }

    /// Takes back the session from storage.
    pub(crate) fn restore(id: u64, bytes: &[u8]) -> Option<Self> {
        decode(bytes).map(|state| Self::new(id, state))
    }

    /// Takes back a queued message from storage, in the order of the numbers; returns its number in the log.
    pub(crate) fn restore_entry(&mut self, number: u64, bytes: &[u8]) -> Option<u64> {
        let (message, identifier) = decode(bytes)?;
        self.queue.push_back(Entry { number, message, identifier });
        self.next_number = number + 1;
        Some(message)
    }

    /// Takes back how far the queue was sent.
    pub(crate) fn restore_cursor(&mut self, bytes: &[u8]) {
        if let Some((sent_until, resend_until)) = decode::<(u64, u64)>(bytes) {
            self.sent_until = sent_until;
            self.resend_until = resend_until;
            self.next_number = self.next_number.max(sent_until).max(resend_until);
        }
    }
}

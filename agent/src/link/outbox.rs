//! QoS 1 messages on their way: kept until the bridge has acknowledged each (MQTT 5.0 section 4.4).

use std::collections::VecDeque;
use wardlink_protocol::topic::Topic;

/// Which message, within one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// A message that is not acknowledged yet.
pub(super) struct Message {
    pub(super) ticket: Ticket,
    pub(super) topic: Topic,
    pub(super) payload: Vec<u8>,
    /// Its packet id, once it was sent.
    pub(super) packet: Option<u16>,
}

/// All such messages, in the order in which they were given: those that were sent stand first.
#[derive(Default)]
pub(super) struct Outbox {
    messages: VecDeque<Message>,
    sent: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, ticket: Ticket, topic: Topic, payload: Vec<u8>) {
        self.messages.push_back(Message { ticket, topic, payload, packet: None });
    }

    /// The next message to be sent, while fewer than `limit` are unacknowledged.
    pub(super) fn next_unsent(&self, limit: usize) -> Option<&Message> {
        if self.sent < limit { self.messages.get(self.sent) } else { None }
    }

    /// The message of [`Self::next_unsent`] was sent with this packet id.
    pub(super) fn mark_sent(&mut self, packet: u16) {
        if let Some(message) = self.messages.get_mut(self.sent) {
            message.packet = Some(packet);
            self.sent += 1;
        }
    }

    /// The bridge answered the message with this packet id.
    pub(super) fn acknowledge(&mut self, packet: u16) -> Option<Ticket> {
        let index = self.messages.iter().take(self.sent).position(|message| message.packet == Some(packet))?;
        let message = self.messages.remove(index)?;
        self.sent -= 1;
        Some(message.ticket)
    }

    /// The connection is a new one: everything is to be sent again. A session that the bridge has kept knows messages by their
    /// packet ids, a new one does not.
    pub(super) fn start_again(&mut self, session_kept: bool) {
        self.sent = 0;
        if !session_kept {
            for message in &mut self.messages {
                message.packet = None;
            }
        }
    }

    /// The packet ids that are taken.
    pub(super) fn packets(&self) -> impl Iterator<Item = u16> {
        self.messages.iter().filter_map(|message| message.packet)
    }
}

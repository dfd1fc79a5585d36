//! What was accepted: sequence numbers per topic, and the messages that somebody still needs.

use crate::limits::{MAX_WAITING_REQUESTS, SEQUENCE_BLOCK};
use crate::rate::network_of;
use crate::storage::{Journal, Table, decode};
use core::net::IpAddr;
use mqtt_protocol_core::mqtt::packet::{MessageExpiryInterval, Property, UserProperty};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, VecDeque};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::stamp::{PUBLISHER_PROPERTY, Publisher, SEQUENCE_PROPERTY, StampedMessage, TIME_PROPERTY};
use wardlink_protocol::topic::Topic;

/// Which of the control unit's streams a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// T3 and renewal.
    Pairing,
    /// The second channels, from the devices up; and what services send down, so that the control unit knows of it.
    Data,
    /// T1, where anybody may ask: apart from what devices send whose key is known, so that nobody has to wait behind strangers.
    Request,
}

impl Stream {
    /// The stream that a topic belongs to, if the control unit reads it.
    pub(crate) fn of(topic: &Topic) -> Option<Self> {
        match topic {
            Topic::Register(_) => Some(Self::Request),
            Topic::Command(_) | Topic::Renew(_) => Some(Self::Pairing),
            Topic::Data(..) | Topic::Control(..) => Some(Self::Data),
            Topic::Device(_) | Topic::Meta(_) => None,
        }
    }
}

/// Topic, publisher and bookkeeping of one message, in bytes.
const MESSAGE_OVERHEAD: usize = 512;

/// A message as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) stamped: StampedMessage,
    pub(crate) qos: Qos,
    pub(crate) stream: Option<Stream>,
    pub(crate) expires_at: Option<UnixMillis>,
    /// The publisher's own properties that travel with the message, encoded as MQTT does.
    pub(crate) properties: ByteBuf,
}

impl Message {
    /// Whether it is too old to be delivered (MQTT 5.0 section 3.3.2.3.3).
    pub(crate) fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// What it takes to keep it, in bytes: what the publisher chose, and the rest roughly.
    fn bytes(&self) -> usize {
        self.stamped.payload.len() + self.properties.len() + MESSAGE_OVERHEAD
    }

    /// The properties that a subscriber gets: the publisher's, and the stamp.
    pub(crate) fn delivered_properties(&self, now: UnixMillis) -> Result<Vec<Property>, MqttError> {
        let mut properties = Vec::new();
        let mut rest: &[u8] = &self.properties;
        while !rest.is_empty() {
            let (property, taken) = Property::parse(rest)?;
            properties.push(property);
            rest = rest.get(taken..).unwrap_or_default();
        }
        if let Some(end) = self.expires_at {
            let seconds = u32::try_from(end.since(now).as_secs()).unwrap_or(u32::MAX);
            properties.push(MessageExpiryInterval::new(seconds)?.into());
        }
        let stamped = &self.stamped;
        properties.push(UserProperty::new(PUBLISHER_PROPERTY, stamped.publisher.to_string())?.into());
        properties.push(UserProperty::new(TIME_PROPERTY, stamped.accepted_at.0.to_string())?.into());
        properties.push(UserProperty::new(SEQUENCE_PROPERTY, stamped.sequence.to_string())?.into());
        Ok(properties)
    }
}

/// A topic's place in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TopicState {
    name: String,
    /// The next message gets this number; after rebuilding, the first that was never reserved.
    next: u64,
    /// Numbers below this are reserved in storage.
    reserved: u64,
}

/// A message and who needs it.
struct Kept {
    message: Message,
    /// Sessions whose queues have it.
    queues: usize,
    /// Whether the control unit has yet to take it.
    wanted: bool,
    /// Whether it is in storage.
    stored: bool,
}

/// The log.
#[derive(Default)]
pub(crate) struct Log {
    next_id: u64,
    next_topic: u64,
    topics: BTreeMap<String, (u64, TopicState)>,
    messages: BTreeMap<u64, Kept>,
    bytes: usize,
    pairing: VecDeque<u64>,
    data: VecDeque<u64>,
    requests: VecDeque<u64>,
    /// The request of each key that waits.
    request_of: BTreeMap<KeyFingerprint, u64>,
    /// How many requests wait from each address.
    requests_from: BTreeMap<Option<IpAddr>, usize>,
}

/// Whether a request on T1 is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is.
    Open,
    /// The same request waits already.
    Waiting,
    /// Not now.
    Closed,
}

/// Whose request a message is, and from where.
fn requester(stamped: &StampedMessage) -> Option<(KeyFingerprint, Option<IpAddr>)> {
    match &stamped.publisher {
        Publisher::Key { key, .. } => Some((*key, stamped.network.address.map(network_of))),
        Publisher::ControlUnit => None,
    }
}

impl Log {
    /// The next sequence number of `topic`.
    pub(crate) fn sequence(&mut self, topic: &str, journal: &mut Journal) -> u64 {
        if !self.topics.contains_key(topic) {
            self.next_topic += 1;
            let state = TopicState { name: topic.to_owned(), next: 1, reserved: 1 };
            self.topics.insert(topic.to_owned(), (self.next_topic, state));
        }
        let Some((number, state)) = self.topics.get_mut(topic) else { return 0 };
        let sequence = state.next;
        state.next += 1;
        if sequence >= state.reserved {
            state.reserved = sequence + SEQUENCE_BLOCK;
            journal.put(Table::Topic, *number, 0, state);
        }
        sequence
    }

    /// Adds a message that `queues` sessions need, and the control unit where it reads the topic. QoS 1 is stored.
    pub(crate) fn add(&mut self, message: Message, queues: usize, journal: &mut Journal) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let stored =
            message.qos == Qos::AtLeastOnce || matches!(message.stream, Some(Stream::Pairing | Stream::Request));
        if stored {
            journal.add(Table::Message, id, 0, &message);
        }
        self.insert(id, message, queues, stored);
        id
    }

    fn insert(&mut self, id: u64, message: Message, queues: usize, stored: bool) {
        match message.stream {
            Some(Stream::Pairing) => self.pairing.push_back(id),
            Some(Stream::Data) => self.data.push_back(id),
            Some(Stream::Request) => self.insert_request(id, &message.stamped),
            None => {}
        }
        let wanted = message.stream.is_some();
        self.bytes += message.bytes();
        self.messages.insert(id, Kept { message, queues, wanted, stored });
    }

    fn insert_request(&mut self, id: u64, stamped: &StampedMessage) {
        self.requests.push_back(id);
        if let Some((key, address)) = requester(stamped) {
            self.request_of.insert(key, id);
            *self.requests_from.entry(address).or_default() += 1;
        }
    }

    /// Whether a request of this key is taken: one at a time, and from each address no more than it leaves free to others (dynamic
    /// thresholds, Choudhury and Hahne 1998).
    pub(crate) fn admission(&self, key: &KeyFingerprint, address: Option<IpAddr>, payload: &[u8]) -> Admission {
        if let Some(waiting) = self.request_of.get(key).and_then(|id| self.message(*id)) {
            return if waiting.stamped.payload == payload { Admission::Waiting } else { Admission::Closed };
        }
        let from_there = self.requests_from.get(&address.map(network_of)).copied().unwrap_or(0);
        let free = MAX_WAITING_REQUESTS.saturating_sub(self.requests.len());
        if from_there < free { Admission::Open } else { Admission::Closed }
    }

    pub(crate) fn message(&self, id: u64) -> Option<&Message> {
        self.messages.get(&id).map(|kept| &kept.message)
    }

    /// One session less needs the message.
    pub(crate) fn release(&mut self, id: u64, journal: &mut Journal) {
        if let Some(kept) = self.messages.get_mut(&id) {
            kept.queues = kept.queues.saturating_sub(1);
            self.forget_unneeded(id, journal);
        }
    }

    fn forget_unneeded(&mut self, id: u64, journal: &mut Journal) {
        if !self.messages.get(&id).is_some_and(|kept| kept.queues == 0 && !kept.wanted) {
            return;
        }
        if let Some(kept) = self.messages.remove(&id) {
            self.bytes = self.bytes.saturating_sub(kept.message.bytes());
            if kept.stored {
                journal.delete(Table::Message, id, 0);
            }
        }
    }

    fn stream(&self, stream: Stream) -> &VecDeque<u64> {
        match stream {
            Stream::Pairing => &self.pairing,
            Stream::Data => &self.data,
            Stream::Request => &self.requests,
        }
    }

    /// The bytes of all messages that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages wait for the control unit.
    pub(crate) fn waiting(&self, stream: Stream) -> usize {
        self.stream(stream).len()
    }

    /// The oldest messages that wait for the control unit, with the number of the last one.
    pub(crate) fn oldest(&self, stream: Stream, most: usize, most_bytes: usize) -> Option<(u64, Vec<StampedMessage>)> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut last = 0;
        for id in self.stream(stream) {
            let Some(message) = self.message(*id) else { continue };
            bytes += message.stamped.payload.len();
            if messages.len() >= most || (bytes > most_bytes && !messages.is_empty()) {
                break;
            }
            messages.push(message.stamped.clone());
            last = *id;
        }
        (!messages.is_empty()).then_some((last, messages))
    }

    /// The control unit has everything up to the message `last`.
    pub(crate) fn taken(&mut self, stream: Stream, last: u64, journal: &mut Journal) {
        while let Some(id) = self.stream(stream).front().copied().filter(|id| *id <= last) {
            match stream {
                Stream::Pairing => self.pairing.pop_front(),
                Stream::Data => self.data.pop_front(),
                Stream::Request => self.pop_request(),
            };
            self.unwanted(id, journal);
        }
    }

    fn pop_request(&mut self) -> Option<u64> {
        let id = self.requests.pop_front()?;
        let requester = self.message(id).and_then(|message| requester(&message.stamped));
        if let Some((key, address)) = requester {
            self.request_of.remove(&key);
            if let Some(count) = self.requests_from.get_mut(&address) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.requests_from.remove(&address);
                }
            }
        }
        Some(id)
    }

    /// Loses the oldest message of the second channels that is not stored; false where there is none.
    pub(crate) fn lose_volatile(&mut self, journal: &mut Journal) -> bool {
        let position = self.data.iter().position(|id| self.messages.get(id).is_some_and(|kept| !kept.stored));
        let Some(id) = position.and_then(|position| self.data.remove(position)) else { return false };
        self.unwanted(id, journal);
        true
    }

    fn unwanted(&mut self, id: u64, journal: &mut Journal) {
        if let Some(kept) = self.messages.get_mut(&id) {
            kept.wanted = false;
        }
        self.forget_unneeded(id, journal);
    }

    /// Takes back a topic from storage. What was reserved may have been used, so that counting goes on after it.
    pub(crate) fn restore_topic(&mut self, number: u64, bytes: &[u8]) {
        if let Some(mut state) = decode::<TopicState>(bytes) {
            state.next = state.reserved;
            self.next_topic = self.next_topic.max(number);
            self.topics.insert(state.name.clone(), (number, state));
        }
    }

    /// Takes back a message from storage; its queues follow with [`Log::restore_reference`].
    pub(crate) fn restore_message(&mut self, id: u64, bytes: &[u8]) {
        if let Some(message) = decode::<Message>(bytes) {
            self.next_id = self.next_id.max(id);
            self.insert(id, message, 0, true);
        }
    }

    /// A session's queue has the message; false where it is gone.
    pub(crate) fn restore_reference(&mut self, id: u64) -> bool {
        self.messages.get_mut(&id).is_some_and(|kept| {
            kept.queues += 1;
            true
        })
    }
}

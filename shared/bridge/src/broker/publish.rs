//! PUBLISH in both directions, and PUBACK.

use super::Broker;
use super::grants::is_readable;
use crate::connection::ConnectionId;
use crate::limits::{
    MAX_CONTROL_UNIT_QUEUE, MAX_KEPT_BYTES, MAX_QUEUED_BYTES, MAX_READERS_BYTES, MAX_UNHEARD_BYTES, MAX_VOLATILE_QUEUE,
    RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM,
};
use crate::log::{Admission, Message, Stream};
use crate::packet::{self, Delivery, Version};
use crate::rights::Principal;
use crate::session::{Entry, Session};
use core::net::IpAddr;
use core::time::Duration;
use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::v5_0::Publish;
use mqtt_protocol_core::mqtt::packet::{Property, PropertyId, Qos as MqttQos, SubscriptionIdentifier};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError, PubackReasonCode};
use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::{Topic, TopicFilter};

/// User properties with this beginning are the bridge's own; a publisher's are dropped.
const OWN_PROPERTIES: &str = "wardlink-";

/// The first packet id is 1 (MQTT 5.0 section 2.2.1).
fn packet_id_of(publish: &Publish) -> Result<Option<u16>, DisconnectReasonCode> {
    match (publish.qos(), publish.packet_id()) {
        (MqttQos::ExactlyOnce, _) => Err(DisconnectReasonCode::QosNotSupported),
        (MqttQos::AtMostOnce, _) => Ok(None),
        (MqttQos::AtLeastOnce, Some(0) | None) => Err(DisconnectReasonCode::ProtocolError),
        (MqttQos::AtLeastOnce, id) => Ok(id),
    }
}

/// The reason for which a client is cut off that cannot be told of a refused message (MQTT 3.1.1 section 3.3.5).
const fn disconnect_reason(reason: PubackReasonCode) -> DisconnectReasonCode {
    match reason {
        PubackReasonCode::NotAuthorized => DisconnectReasonCode::NotAuthorized,
        PubackReasonCode::TopicNameInvalid => DisconnectReasonCode::TopicNameInvalid,
        PubackReasonCode::QuotaExceeded => DisconnectReasonCode::QuotaExceeded,
        _ => DisconnectReasonCode::ImplementationSpecificError,
    }
}

/// The publisher's properties that travel with the message (MQTT 5.0 section 3.3.2.3), encoded.
fn forwarded(properties: &[Property]) -> ByteBuf {
    let travels = |property: &&Property| match property {
        Property::PayloadFormatIndicator(_)
        | Property::ContentType(_)
        | Property::ResponseTopic(_)
        | Property::CorrelationData(_) => true,
        Property::UserProperty(pair) => !pair.key().starts_with(OWN_PROPERTIES),
        _ => false,
    };
    ByteBuf::from(properties.iter().filter(travels).flat_map(Property::to_continuous_buffer).collect::<Vec<u8>>())
}

impl Broker {
    pub(super) fn handle_publish(&mut self, id: ConnectionId, publish: &Publish, now: UnixMillis) {
        let packet_id = match packet_id_of(publish) {
            Ok(_) if publish.retain() => return self.disconnect(id, DisconnectReasonCode::RetainNotSupported, now),
            Ok(packet_id) => packet_id,
            Err(reason) => return self.disconnect(id, reason, now),
        };
        let topic = match self.topic_of(id, publish) {
            Ok(topic) => topic,
            Err(reason) => return self.disconnect(id, reason, now),
        };
        let reason = self.accept_message(id, publish, &topic, now);
        let Some(packet_id) = packet_id else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.receiving = connection.receiving.saturating_add(1);
            if connection.receiving > RECEIVE_MAXIMUM {
                return self.disconnect(id, DisconnectReasonCode::ReceiveMaximumExceeded, now);
            }
            match packet::puback(connection.durable.version, packet_id, reason) {
                Some(packet) => self.send(id, packet, now),
                None => self.disconnect(id, disconnect_reason(reason), now),
            }
        }
    }

    /// The topic's text, by name or by alias (MQTT 5.0 section 3.3.2.3.4).
    fn topic_of(&mut self, id: ConnectionId, publish: &Publish) -> Result<String, DisconnectReasonCode> {
        let name = publish.topic_name();
        let alias = packet::property(publish.props(), PropertyId::TopicAlias).and_then(PropertyValueAccess::as_u16);
        let connection = self.connections.get_mut(&id).ok_or(DisconnectReasonCode::UnspecifiedError)?;
        let Some(alias) = alias else {
            return if name.is_empty() { Err(DisconnectReasonCode::ProtocolError) } else { Ok(name.to_owned()) };
        };
        if alias == 0 || alias > TOPIC_ALIAS_MAXIMUM {
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        let aliases = &mut connection.durable.aliases;
        if name.is_empty() {
            return aliases.get(&alias).cloned().ok_or(DisconnectReasonCode::ProtocolError);
        }
        // An alias is kept only for a topic that exists here, so that aliases are short.
        if name.parse::<Topic>().is_err() {
            aliases.remove(&alias);
            connection.changed = true;
        } else if aliases.get(&alias).is_none_or(|known| known != name) {
            aliases.insert(alias, name.to_owned());
            connection.changed = true;
        }
        Ok(name.to_owned())
    }

    /// Checks, stamps and distributes a client's message.
    fn accept_message(
        &mut self,
        id: ConnectionId,
        publish: &Publish,
        topic: &str,
        now: UnixMillis,
    ) -> PubackReasonCode {
        let Ok(topic) = topic.parse::<Topic>() else { return PubackReasonCode::TopicNameInvalid };
        let Some((number, principal)) = self.publisher(id) else { return PubackReasonCode::NotAuthorized };
        let Some(rules) = &self.table else { return PubackReasonCode::NotAuthorized };
        let rights = rules.rights(&principal, now);
        if !rights.may_publish(&topic, |client| rules.is_configured(client)) {
            self.note_publish(id, principal, topic);
            return PubackReasonCode::NotAuthorized;
        }
        let network =
            self.connections.get(&id).map(|connection| connection.durable.origin.network.clone()).unwrap_or_default();
        let qos = if publish.qos() == MqttQos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let stream = Stream::of(&topic);
        if stream == Some(Stream::Request) {
            match self.admit_request(&principal.key, network.address, publish.payload().as_slice(), now) {
                Admission::Open => {}
                Admission::Waiting => return PubackReasonCode::Success,
                Admission::Closed => return PubackReasonCode::QuotaExceeded,
            }
        }
        if !self.has_room_for_site(stream, qos) {
            return PubackReasonCode::QuotaExceeded;
        }
        // A service may write to whatever device it names: a topic begins only where somebody listens.
        if matches!(topic, Topic::Control(..)) && self.subscriptions.matching(&TopicFilter::from(&topic)).is_empty() {
            return PubackReasonCode::NoMatchingSubscribers;
        }
        let text = topic.to_string();
        let stamped = StampedMessage {
            sequence: self.log.sequence(&text, &mut self.journal),
            topic: text,
            payload: ByteBuf::from(publish.payload().as_slice()),
            publisher: principal.publisher(),
            accepted_at: now,
            network,
        };
        let expiry = packet::number(publish.props(), PropertyId::MessageExpiryInterval);
        let expires_at = expiry.map(|seconds| now.after(Duration::from_secs(u64::from(seconds))));
        // Only the second channels have other readers than the control unit.
        let is_read = !matches!(stream, Some(Stream::Pairing | Stream::Request));
        let properties = if is_read { forwarded(publish.props()) } else { ByteBuf::new() };
        let message = Message { stamped, qos, stream, expires_at, properties };
        self.distribute(message, Some(number), now);
        PubackReasonCode::Success
    }

    fn publisher(&self, id: ConnectionId) -> Option<(u64, Principal)> {
        let number = self.connections.get(&id)?.live()?.session;
        self.sessions.get(&number).map(|session| (number, session.state.principal.clone()))
    }

    /// Bare keys ask on T1, and anybody can make keys: a key has one request waiting, and keys and addresses have their budgets.
    fn admit_request(
        &mut self,
        key: &KeyFingerprint,
        address: Option<IpAddr>,
        payload: &[u8],
        now: UnixMillis,
    ) -> Admission {
        if payload.len() > MAX_PAIRING_MESSAGE_BYTES {
            return Admission::Closed;
        }
        let admission = self.log.admission(key, address, payload);
        if admission == Admission::Open && !self.budgets.take(key, address, now, &mut self.journal) {
            return Admission::Closed;
        }
        admission
    }

    /// The control unit found that these keys sent junk on T1, such as requests under no access secret of the site.
    pub fn blame(&mut self, keys: &[KeyFingerprint], now: UnixMillis) {
        for key in keys {
            self.budgets.block(key, now, &mut self.journal);
        }
    }

    /// Whether the control unit's stream takes another message; QoS 0 makes room at its own cost.
    fn has_room_for_site(&mut self, stream: Option<Stream>, qos: Qos) -> bool {
        let Some(stream) = stream else { return true };
        let waiting = self.log.waiting(stream);
        if qos == Qos::AtMostOnce && stream == Stream::Data && waiting >= MAX_VOLATILE_QUEUE {
            return self.log.lose_volatile(&mut self.journal);
        }
        waiting < MAX_CONTROL_UNIT_QUEUE && self.log.bytes() < MAX_KEPT_BYTES
    }

    /// Gives a message to every session that wants and may read its topic, and to the control unit's stream.
    pub(super) fn distribute(&mut self, message: Message, from: Option<u64>, now: UnixMillis) {
        let Ok(topic) = message.stamped.topic.parse::<Topic>() else { return };
        // What clients send each other leaves room for what they have to tell the control unit.
        let most = if from.is_some() { MAX_READERS_BYTES } else { MAX_QUEUED_BYTES };
        let mut queues = Vec::new();
        for number in self.subscriptions.matching(&TopicFilter::from(&topic)) {
            let Some(session) = self.sessions.get(&number) else { continue };
            if !self.rights(session, now).may_read(&topic) {
                continue;
            }
            let Some((qos, identifier)) = wanted(session, &message.stamped.topic, from == Some(number)) else {
                continue;
            };
            match qos.min(message.qos) {
                Qos::AtMostOnce => self.deliver_now(number, &message, identifier, now),
                Qos::AtLeastOnce if session.has_room() && self.log.bytes() < most => {
                    queues.push((number, identifier));
                }
                // The queue is bounded: the newest message is lost to this reader.
                Qos::AtLeastOnce => {}
            }
        }
        if queues.is_empty() && message.stream.is_none() {
            return;
        }
        let id = self.log.add(message, queues.len(), &mut self.journal);
        for (number, identifier) in queues {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.enqueue(id, identifier, &mut self.journal);
                self.waiting.insert(number);
            }
        }
    }

    /// Delivers with QoS 0, if the session is connected and its client reads.
    fn deliver_now(&mut self, number: u64, message: &Message, identifier: Option<u32>, now: UnixMillis) {
        let Some(id) = self.sessions.get(&number).and_then(|session| session.connection) else { return };
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(live) = connection.live().filter(|_| connection.unheard_bytes < MAX_UNHEARD_BYTES) else { return };
        let packet = delivery(connection.durable.version, message, identifier, None, now);
        if fits(&packet, live.longest_delivery()) {
            self.send(id, packet, now);
        }
    }

    /// Sends what waits for a session, as far as its client's window allows.
    pub(super) fn send_queued(&mut self, number: u64, now: UnixMillis) {
        loop {
            let Some(session) = self.sessions.get_mut(&number) else { return };
            let Some(id) = session.connection else { return };
            let Some(connection) = self.connections.get(&id) else { return };
            let Some(live) = connection.live() else { return };
            let version = connection.durable.version;
            let window = live.wishes.window();
            let Some((entry, again)) = session.next_to_send(window, &mut self.journal) else { return };
            let packet_id = crate::session::packet_id(entry.number);
            let longest = live.longest_delivery();
            match self.delivery_of(number, version, &entry, (packet_id, again), now) {
                Some(packet) if fits(&packet, longest) => self.send(id, packet, now),
                // Too old, no longer allowed, or longer than the client takes: as if it had been delivered.
                _ => self.acknowledged(number, packet_id),
            }
        }
    }

    /// The packet for a queued message, if it is still wanted and its reader may still read it.
    fn delivery_of(
        &self,
        number: u64,
        version: Version,
        entry: &Entry,
        acknowledged: (u16, bool),
        now: UnixMillis,
    ) -> Option<Result<Vec<u8>, MqttError>> {
        let message = self.log.message(entry.message).filter(|message| !message.is_expired(now))?;
        let rights = self.rights(self.sessions.get(&number)?, now);
        (is_readable(&rights, message) && self.may_still_send(message))
            .then(|| delivery(version, message, entry.identifier, Some(acknowledged), now))
    }

    /// Whether whoever published a message still may. What a service sent to a device, and the device has yet to get, ends with the
    /// service's right to send it; what devices sent is judged by whoever reads it.
    fn may_still_send(&self, message: &Message) -> bool {
        let Publisher::Key { key, device, .. } = &message.stamped.publisher else { return true };
        if !device.is_service() {
            return true;
        }
        let grant = self.table.as_ref().and_then(|rules| rules.grant(key));
        grant.is_some_and(|grant| {
            let topic = message.stamped.topic.parse();
            grant.state == DeviceState::Paired && topic.is_ok_and(|topic| grant.access.may_publish(&topic))
        })
    }

    /// PUBACK: the client has the message.
    pub(super) fn acknowledged(&mut self, number: u64, packet_id: u16) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        if let Some(entry) = session.acknowledge(packet_id, &mut self.journal) {
            self.log.release(entry.message, &mut self.journal);
            self.waiting.insert(number);
        }
    }
}

fn delivery(
    version: Version,
    message: &Message,
    identifier: Option<u32>,
    acknowledged: Option<(u16, bool)>,
    now: UnixMillis,
) -> Result<Vec<u8>, MqttError> {
    let mut properties = match version {
        Version::V5 => message.delivered_properties(now)?,
        Version::Older => Vec::new(),
    };
    if let Some(identifier) = identifier {
        properties.push(SubscriptionIdentifier::new(identifier)?.into());
    }
    let (packet_id, again) = acknowledged.unzip();
    let delivery = Delivery { packet_id, duplicate: again.unwrap_or(false), properties };
    packet::publish(version, &message.stamped.topic, &message.stamped.payload, delivery)
}

/// Whether the client takes a packet of this length (MQTT 5.0 section 3.1.2.11.4); that one cannot be built, its connection tells.
fn fits(packet: &Result<Vec<u8>, MqttError>, longest: usize) -> bool {
    packet.as_ref().map_or(true, |bytes| bytes.len() <= longest)
}

/// With which QoS and subscription identifier a session wants a topic; none where it published the message itself and said so.
fn wanted(session: &Session, topic: &str, own: bool) -> Option<(Qos, Option<u32>)> {
    let matching = session.state.subscriptions.iter().filter(|(filter, _)| filter.matches(topic));
    matching
        .filter(|(_, subscription)| !(own && subscription.no_local))
        .map(|(_, subscription)| (subscription.qos, subscription.identifier))
        .max_by_key(|(qos, _)| *qos)
}

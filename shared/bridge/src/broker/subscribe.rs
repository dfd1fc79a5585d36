//! SUBSCRIBE and UNSUBSCRIBE.

use super::{Broker, Notice};
use crate::connection::ConnectionId;
use crate::limits::MAX_SUBSCRIPTIONS;
use crate::packet;
use crate::session::Subscription;
use mqtt_protocol_core::mqtt::packet::v5_0::{Subscribe, Unsubscribe};
use mqtt_protocol_core::mqtt::packet::{PropertyId, Qos as MqttQos, SubEntry};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, SubackReasonCode, UnsubackReasonCode};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::topic::{Topic, TopicFilter};

/// How a filter of a shared subscription begins (MQTT 5.0 section 4.8.2).
const SHARED: &str = "$share/";

impl Broker {
    pub(super) fn handle_subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe, now: UnixMillis) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(number) = connection.live().map(|live| live.session) else { return };
        let version = connection.durable.version;
        if subscribe.packet_id() == 0 {
            return self.disconnect(id, DisconnectReasonCode::ProtocolError, now);
        }
        let identifier = packet::number(subscribe.props(), PropertyId::SubscriptionIdentifier);
        let reasons: Vec<SubackReasonCode> =
            subscribe.entries().iter().map(|entry| self.subscribe(id, number, entry, identifier, now)).collect();
        if reasons.iter().any(SubackReasonCode::is_success)
            && let Some(session) = self.sessions.get(&number)
        {
            session.save(&mut self.journal);
        }
        self.send(id, packet::suback(version, subscribe.packet_id(), reasons), now);
    }

    fn subscribe(
        &mut self,
        id: ConnectionId,
        number: u64,
        entry: &SubEntry,
        identifier: Option<u32>,
        now: UnixMillis,
    ) -> SubackReasonCode {
        if entry.topic_filter().starts_with(SHARED) {
            return SubackReasonCode::SharedSubscriptionsNotSupported;
        }
        let Ok(filter) = entry.topic_filter().parse::<TopicFilter>() else {
            return SubackReasonCode::TopicFilterInvalid;
        };
        let Some(session) = self.sessions.get(&number) else { return SubackReasonCode::UnspecifiedError };
        if !self.rights(session, now).may_subscribe(&filter) {
            self.note_subscribe(id, session.state.principal.clone(), &filter);
            return SubackReasonCode::NotAuthorized;
        }
        let subscriptions = &session.state.subscriptions;
        if subscriptions.len() >= MAX_SUBSCRIPTIONS && !subscriptions.contains_key(&filter) {
            return SubackReasonCode::QuotaExceeded;
        }
        let options = entry.sub_opts();
        let (qos, reason) = match options.qos() {
            MqttQos::AtMostOnce => (Qos::AtMostOnce, SubackReasonCode::GrantedQos0),
            // QoS 2 is not available: the subscription is granted what is (MQTT 5.0 section 3.9.3).
            MqttQos::AtLeastOnce | MqttQos::ExactlyOnce => (Qos::AtLeastOnce, SubackReasonCode::GrantedQos1),
        };
        let subscription = Subscription { qos, no_local: options.nl(), identifier };
        let subscribed = filter.as_str().parse().ok().and_then(|topic| match topic {
            Topic::Device(device) => Some(Notice::Subscribed { device, key: session.state.owner.key }),
            Topic::Control(_, device) => Some(Notice::Listens { device, key: session.state.owner.key }),
            _ => None,
        });
        self.subscriptions.add(&filter, number);
        if let Some(session) = self.sessions.get_mut(&number) {
            session.state.subscriptions.insert(filter, subscription);
        }
        if let Some(notice) = subscribed {
            self.notify(notice);
        }
        reason
    }

    pub(super) fn handle_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe, now: UnixMillis) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(number) = connection.live().map(|live| live.session) else { return };
        let version = connection.durable.version;
        if unsubscribe.packet_id() == 0 {
            return self.disconnect(id, DisconnectReasonCode::ProtocolError, now);
        }
        let reasons: Vec<UnsubackReasonCode> =
            unsubscribe.entries().iter().map(|filter| self.unsubscribe(number, filter.as_str())).collect();
        if let Some(session) = self.sessions.get(&number) {
            session.save(&mut self.journal);
        }
        self.send(id, packet::unsuback(version, unsubscribe.packet_id(), reasons), now);
    }

    fn unsubscribe(&mut self, number: u64, filter: &str) -> UnsubackReasonCode {
        let Ok(filter) = filter.parse::<TopicFilter>() else { return UnsubackReasonCode::TopicFilterInvalid };
        let removed = self.sessions.get_mut(&number).and_then(|session| session.state.subscriptions.remove(&filter));
        if removed.is_none() {
            return UnsubackReasonCode::NoSubscriptionExisted;
        }
        self.subscriptions.remove(&filter, number);
        UnsubackReasonCode::Success
    }
}

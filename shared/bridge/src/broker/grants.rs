//! What the control unit says: the site's table, new grants, and what it publishes.

use super::Broker;
use crate::auth::ControlUnit;
use crate::connection::ConnectionId;
use crate::log::Message;
use crate::rights::{Principal, Rights, is_barred};
use crate::storage::Table;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::channel::Qos;
use wardlink_protocol::grant::Grant;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::{Topic, TopicFilter};
use wardlink_protocol::{ClientClass, UnixMillis};

/// Everything that the bridge has to know of the site.
pub struct SiteTable {
    /// What every known key may do; a key that is absent is unknown.
    pub grants: Vec<Grant>,
    /// The device classes whose devices may ask.
    pub clients: Clients,
    /// The control unit, for which the bridge speaks.
    pub control_unit: ControlUnit,
}

/// Everything that the broker of a gateway has to know: nobody pairs there, and each device has its second channels only.
pub struct LocalTable {
    /// What every known key may do; only `Paired` gives rights, and certificates need not be listed ([`Rights::at_gateway`]).
    pub grants: Vec<Grant>,
    /// The gateway, for which the broker speaks, in the place of the control unit, and the CAs whose certificates count.
    pub gateway: ControlUnit,
    /// The gateway, as it is stamped on what it publishes.
    pub publisher: Publisher,
}

/// The device classes whose devices may ask. Devices that are accepted or paired go on without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Rises with every change; a list with a lower version than the known one is out of date.
    pub version: u64,
    /// The classes.
    pub names: BTreeSet<ClientClass>,
}

/// The table as the broker asks it.
pub(super) struct Rules {
    grants: BTreeMap<KeyFingerprint, Grant>,
    clients: Clients,
    pub(super) control_unit: ControlUnit,
    /// Who publishes what the owner of this broker says, where that is a gateway.
    local: Option<Publisher>,
}

impl Rules {
    /// Whether this is a gateway's broker.
    pub(super) const fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// What a principal may do now.
    pub(super) fn rights<'a>(&'a self, principal: &'a Principal, now: UnixMillis) -> Rights<'a> {
        let grant = self.grant(&principal.key);
        if self.is_local() { Rights::at_gateway(principal, grant, now) } else { Rights::of(principal, grant, now) }
    }

    pub(super) fn grant(&self, key: &KeyFingerprint) -> Option<&Grant> {
        self.grants.get(key)
    }

    pub(super) fn is_configured(&self, client: &ClientClass) -> bool {
        self.clients.names.contains(client)
    }

    /// Takes the classes; false where newer ones are known.
    fn learn_clients(&mut self, clients: Clients) -> bool {
        let newer = self.clients.version < clients.version;
        if newer {
            self.clients = clients;
        }
        newer
    }

    /// Takes a grant; false where a newer one is known.
    fn learn(&mut self, grant: Grant) -> bool {
        let newer = self.grants.get(&grant.key).is_none_or(|known| known.version < grant.version);
        if newer {
            self.grants.insert(grant.key, grant);
        }
        newer
    }
}

/// Something that the control unit publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMessage {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: ByteBuf,
    /// How.
    pub qos: Qos,
}

/// One step of the control unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Rises from step to step; a repeated number does nothing.
    pub number: u64,
    /// New grants; one with a lower version than the known one of that key is out of date.
    pub grants: Vec<Grant>,
    /// The classes whose devices may ask from now on; none where that stays.
    pub clients: Option<Clients>,
    /// Topics that cease to exist, with their queued messages, before anything is published.
    pub remove_topics: Vec<Topic>,
    /// What the control unit publishes, after the grants count.
    pub publish: Vec<ControlMessage>,
}

impl Broker {
    /// Replaces everything that the bridge knows of the site; it acts at once on connections, subscriptions and queues. A grant that
    /// is newer than the table's stays, so that a table that was overtaken by a step gives no right back.
    pub fn set_table(&mut self, table: SiteTable, now: UnixMillis) {
        let SiteTable { grants, clients, control_unit } = table;
        self.replace_table(Rules { grants: BTreeMap::new(), clients, control_unit, local: None }, grants, now);
    }

    /// The same for the broker of a gateway.
    pub fn set_local_table(&mut self, table: LocalTable, now: UnixMillis) {
        let LocalTable { grants, gateway, publisher } = table;
        let (clients, local) = (Clients::default(), Some(publisher));
        self.replace_table(Rules { grants: BTreeMap::new(), clients, control_unit: gateway, local }, grants, now);
    }

    fn replace_table(&mut self, mut rules: Rules, grants: Vec<Grant>, now: UnixMillis) {
        for grant in grants {
            rules.learn(grant);
        }
        if let Some(old) = self.table.take() {
            rules.learn_clients(old.clients);
            for known in old.grants.into_values() {
                rules.learn(known);
            }
        }
        self.table = Some(rules);
        self.moved.extend(self.owners.keys().map(|owner| owner.key));
        self.enforce_all(now);
    }

    fn enforce_all(&mut self, now: UnixMillis) {
        let numbers: Vec<u64> = self.sessions.keys().copied().collect();
        for number in numbers {
            self.enforce(number, now);
        }
    }

    /// Carries out one step of the control unit. It is done when the next batch is stored and sent. False without the site's table:
    /// then nothing is done, and the step is to be repeated.
    pub fn apply(&mut self, step: Step, now: UnixMillis) -> bool {
        if !self.has_table() {
            return false;
        }
        if step.number <= self.applied {
            return true;
        }
        self.applied = step.number;
        self.journal.put(Table::Applied, 0, 0, &step.number);
        for grant in step.grants {
            self.learn(grant, now);
        }
        let changes =
            step.clients.zip(self.table.as_mut()).is_some_and(|(clients, rules)| rules.learn_clients(clients));
        if changes {
            self.enforce_all(now);
        }
        for topic in &step.remove_topics {
            self.remove_topic(topic);
        }
        for message in step.publish {
            self.publish_control(message, now);
        }
        true
    }

    fn learn(&mut self, grant: Grant, now: UnixMillis) {
        let key = grant.key;
        if self.table.as_mut().is_some_and(|rules| rules.learn(grant)) {
            self.moved.insert(key);
            for number in self.sessions_of(&key) {
                self.enforce(number, now);
            }
        }
    }

    /// Makes the rights of a session's principal count: at once, and for everything that it has.
    fn enforce(&mut self, number: u64, now: UnixMillis) {
        let Some(session) = self.sessions.get(&number) else { return };
        let grant = self.table.as_ref().and_then(|rules| rules.grant(&session.state.owner.key));
        if !is_barred(grant) {
            // Whoever may do nothing would not be let in, and has to come back as somebody else. The session stays.
            let rights = self.rights(session, now);
            let may_ask = |client: &ClientClass| self.table.as_ref().is_some_and(|rules| rules.is_configured(client));
            let idle = session.connection.filter(|_| !rights.is_welcome(may_ask));
            self.curtail(number, now);
            self.waiting.insert(number);
            if let Some(connection) = idle {
                self.bar(connection, now);
            }
            return;
        }
        if let Some(connection) = session.connection {
            self.bar(connection, now);
        }
        self.delete_session(number);
    }

    /// Cuts a connection: what was gathered for it in this batch is not sent.
    fn bar(&mut self, id: ConnectionId, now: UnixMillis) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.outgoing.clear();
        }
        self.disconnect(id, DisconnectReasonCode::NotAuthorized, now);
    }

    /// Takes away the subscriptions and queued messages that the session's principal may not read (any more).
    pub(super) fn curtail(&mut self, number: u64, now: UnixMillis) {
        let Some(session) = self.sessions.get(&number) else { return };
        let rights = self.rights(session, now);
        let lost: Vec<TopicFilter> =
            session.state.subscriptions.keys().filter(|filter| !rights.may_subscribe(filter)).cloned().collect();
        self.drop_subscriptions(number, &lost);
        self.drop_unreadable(number, now);
    }

    fn drop_subscriptions(&mut self, number: u64, lost: &[TopicFilter]) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        for filter in lost {
            session.state.subscriptions.remove(filter);
            self.subscriptions.remove(filter, number);
        }
        if !lost.is_empty() {
            // The client does not know: its next connection begins a new session.
            session.state.curtailed = true;
            session.save(&mut self.journal);
        }
    }

    fn drop_unreadable(&mut self, number: u64, now: UnixMillis) {
        let Some(mut session) = self.sessions.remove(&number) else { return };
        if !session.is_idle() {
            let rights = self.rights(&session, now);
            let unreadable: BTreeSet<u64> = session
                .entries()
                .map(|entry| entry.message)
                .filter(|id| !self.log.message(*id).is_some_and(|message| is_readable(&rights, message)))
                .collect();
            for message in session.drop_entries(|id| !unreadable.contains(&id), &mut self.journal) {
                self.log.release(message, &mut self.journal);
            }
        }
        self.sessions.insert(number, session);
    }

    /// A topic ceases to exist: subscriptions to it and queued messages on it go.
    fn remove_topic(&mut self, topic: &Topic) {
        let filter = TopicFilter::from(topic);
        for number in self.subscriptions.of(&filter) {
            self.drop_subscriptions(number, core::slice::from_ref(&filter));
            let Some(session) = self.sessions.get_mut(&number) else { continue };
            let log = &self.log;
            let other = |id| log.message(id).is_some_and(|message| message.stamped.topic != filter.as_str());
            for message in session.drop_entries(other, &mut self.journal) {
                self.log.release(message, &mut self.journal);
            }
        }
    }

    fn publish_control(&mut self, message: ControlMessage, now: UnixMillis) {
        let local = self.table.as_ref().and_then(|rules| rules.local.clone());
        let text = message.topic.to_string();
        let sequence = self.log.sequence(&text, &mut self.journal);
        let stamped = StampedMessage {
            topic: text,
            payload: message.payload,
            publisher: local.unwrap_or(Publisher::ControlUnit),
            accepted_at: now,
            sequence,
            network: NetworkOrigin::default(),
        };
        let message = Message { stamped, qos: message.qos, stream: None, expires_at: None, properties: ByteBuf::new() };
        self.distribute(message, None, now);
    }
}

/// Whether these rights cover a message's topic.
pub(super) fn is_readable(rights: &Rights<'_>, message: &Message) -> bool {
    message.stamped.topic.parse().is_ok_and(|topic: Topic| rights.may_read(&topic))
}

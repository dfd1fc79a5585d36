//! What the bridge has to carry out: stored in the same turn as the state that asks for it, delivered by number.

use serde_bytes::ByteBuf;
use wardlink_edge::messages::{Applied, Apply, BridgeRequest, Clients, ControlMessage};
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::channel::Qos;
use wardlink_protocol::grant::Grant;
use wardlink_protocol::topic::Topic;
use worker::Env;

/// The most entries that are delivered at a time.
const MAX_ENTRIES: u64 = 64;

/// What one step asks of the bridge.
#[derive(Default)]
pub(super) struct Step {
    grants: Vec<Grant>,
    clients: Option<Clients>,
    publish: Vec<ControlMessage>,
    remove_topics: Vec<Topic>,
}

impl Step {
    /// A grant counts.
    pub(super) fn grant(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// These are the classes whose devices may ask.
    pub(super) fn let_ask(&mut self, clients: Clients) {
        self.clients = Some(clients);
    }

    /// The control unit publishes, and the message arrives at least once.
    pub(super) fn publish(&mut self, topic: Topic, payload: Vec<u8>) {
        self.publish.push(ControlMessage { topic, payload: ByteBuf::from(payload), qos: Qos::AtLeastOnce });
    }

    /// A topic ceases to exist.
    pub(super) fn remove(&mut self, topic: Topic) {
        self.remove_topics.push(topic);
    }

    /// Stores the step, and forgets those up to `delivered`; returns its number, or none where it asks for nothing.
    pub(super) fn store(self, database: &Database, delivered: u64) -> Result<Option<u64>, Failure> {
        let Self { grants, clients, publish, remove_topics } = self;
        if grants.is_empty() && clients.is_none() && publish.is_empty() && remove_topics.is_empty() {
            return Ok(None);
        }
        database.run("DELETE FROM outbox WHERE number <= ?", [delivered.into_value()])?;
        // The number is the row's, so that it is written into the entry when it is read.
        let entry = Apply { number: 0, grants, clients, publish, remove_topics };
        let query = "INSERT INTO outbox (entry) VALUES (?) RETURNING number";
        database.one(query, [record(&entry)?])
    }
}

/// The oldest entries after `delivered`: as many as are delivered at a time.
pub(super) fn oldest(database: &Database, delivered: u64) -> Result<Vec<Apply>, Failure> {
    let query = "SELECT number, entry FROM outbox WHERE number > ? ORDER BY number LIMIT ?";
    let rows = database.rows(query, [delivered.into_value(), MAX_ENTRIES.into_value()])?;
    rows.into_iter().map(|mut row| Ok(Apply { number: row.take()?, ..row.take_record()? })).collect()
}

/// Delivers entries; returns the number of the last one. They are kept where the bridge does not say that they are carried out.
pub(super) async fn deliver(env: &Env, entries: Vec<Apply>) -> Result<u64, Failure> {
    let last = entries.last().map(|entry| entry.number).unwrap_or_default();
    let applied: Applied = objects::call(env, &BridgeRequest::Apply(entries)).await?;
    if applied.number < last {
        return Err(Failure::internal("the bridge answers for another entry"));
    }
    Ok(last)
}

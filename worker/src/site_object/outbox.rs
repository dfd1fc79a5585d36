//! What the bridge has to carry out: stored in the same turn as the state that asks for it, delivered by number.

use crate::messages::{Applied, Apply, BridgeRequest, Clients, ControlMessage};
use crate::objects;
use crate::problem::Failure;
use crate::storage::{Column, Database, record};
use serde_bytes::ByteBuf;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::grant::Grant;
use wardlink_protocol::topic::Topic;
use worker::Env;

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

    /// Stores the step; returns its number, or none where it asks for nothing.
    pub(super) fn store(self, database: &Database) -> Result<Option<u64>, Failure> {
        let Self { grants, clients, publish, remove_topics } = self;
        if grants.is_empty() && clients.is_none() && publish.is_empty() && remove_topics.is_empty() {
            return Ok(None);
        }
        // The number is the row's, so that it is written into the entry when it is read.
        let entry = Apply { number: 0, grants, clients, publish, remove_topics };
        let query = "INSERT INTO outbox (entry) VALUES (?) RETURNING number";
        database.one(query, [record(&entry)?])
    }
}

/// The entry that is next.
pub(super) fn first(database: &Database) -> Result<Option<Apply>, Failure> {
    let row = database.row("SELECT number, entry FROM outbox ORDER BY number LIMIT 1", [])?;
    row.map(|mut row| Ok(Apply { number: row.take()?, ..row.take_record()? })).transpose()
}

/// Delivers an entry; it is kept where the bridge does not say that it is carried out.
pub(super) async fn deliver(database: &Database, env: &Env, entry: Apply) -> Result<(), Failure> {
    let number = entry.number;
    let applied: Applied = objects::call(env, &BridgeRequest::Apply(entry)).await?;
    if applied.number < number {
        return Err(Failure::internal("the bridge answers for another entry"));
    }
    database.run("DELETE FROM outbox WHERE number <= ?", [number.into_value()])
}

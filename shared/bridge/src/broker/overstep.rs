//! Clients that ask for what their rights don't cover: refused where they ask, and told to the log.

use super::Broker;
use crate::connection::ConnectionId;
use crate::rights::Principal;
use core::fmt;
use wardlink_protocol::Device;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::topic::{Topic, TopicFilter};

/// Something that a client asked for and may not do: for the log. Each connection is told of once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overstep {
    /// Who the client claims or proves to be.
    pub device: Device,
    /// Its key.
    pub key: KeyFingerprint,
    /// What it asked for.
    pub what: Overreach,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overreach {
    /// To publish there.
    Publish(Topic),
    /// To subscribe to what is not its own; the filter is what it wrote.
    Subscribe,
}

impl fmt::Display for Overstep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (key {}) ", self.device, self.key.short())?;
        match &self.what {
            Overreach::Publish(topic) => write!(f, "may not publish on {topic}"),
            Overreach::Subscribe => f.write_str("may not subscribe to what is not its own"),
        }
    }
}

impl Broker {
    pub(super) fn note_publish(&mut self, id: ConnectionId, principal: Principal, topic: Topic) {
        self.note(id, principal, Overreach::Publish(topic));
    }

    /// A device tries its own T2 again and again until it is accepted: that is no overstep.
    pub(super) fn note_subscribe(&mut self, id: ConnectionId, principal: Principal, filter: &TopicFilter) {
        if Topic::Device(principal.device.clone()).to_string() != filter.as_str() {
            self.note(id, principal, Overreach::Subscribe);
        }
    }

    fn note(&mut self, id: ConnectionId, principal: Principal, what: Overreach) {
        if self.overstepped.insert(id) {
            self.oversteps.push(Overstep { device: principal.device, key: principal.key, what });
        }
    }
}

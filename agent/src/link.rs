//! The device's connection to the bridge: MQTT 5.0 over WebSocket (design, section 3).
//!
//! A [`Link`] is a task that connects, proves the device's identity and checks the bridge's (method `WARDLINK-ES256`), comes
//! back after every loss, subscribes until it is let, and sends each QoS 1 message until the bridge has acknowledged it.
//! Packets and protocol state come from `mqtt-protocol-core`.

mod backoff;
mod client_certificate;
mod dangerous;
mod endpoint;
mod gateway;
mod outbox;
mod proxy;
mod session;
mod task;
pub(crate) mod web;

pub(crate) use backoff::Backoff;
pub(crate) use endpoint::{DialError, GATEWAY_PATH, SUBPROTOCOL, Socket};
pub use endpoint::{Endpoint, EndpointError, TlsTrust};
pub(crate) use gateway::Revoked;
pub use gateway::{NoGateway, SiteGateways};
pub use outbox::Ticket;
pub use proxy::{InvalidProxy, Proxy};
pub use session::{Identity, LinkError};

use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::stamp::Publisher;
use wardlink_protocol::topic::{Topic, TopicFilter};

/// How many events wait for the device before the link stops reading.
const EVENTS: usize = 64;
/// How long the bridge keeps the session of somebody who is away, as a rule.
pub const SESSION: Duration = Duration::from_hours(24);

/// What happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected, or authenticated anew on the same connection: both sides have proved who they are.
    Connected,
    /// A subscription holds.
    Subscribed {
        /// The filter.
        filter: TopicFilter,
    },
    /// The bridge does not allow a subscription now. The link asks again by itself.
    SubscriptionRefused {
        /// The filter.
        filter: TopicFilter,
    },
    /// A message arrived. It is sent again until [`Link::acknowledge`] was called with its receipt.
    Message {
        /// The topic's text, as it came.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
        /// What the bridge says of it; none where it says nothing that can be read.
        stamp: Option<Stamp>,
        /// What acknowledges it.
        receipt: Receipt,
    },
    /// The bridge has stored a QoS 1 message.
    Delivered {
        /// Which.
        ticket: Ticket,
        /// Whether somebody reads it there.
        is_read: bool,
    },
    /// The bridge has refused a QoS 1 message; it is not sent again.
    Refused {
        /// Which.
        ticket: Ticket,
        /// Why.
        reason: PubackReasonCode,
    },
    /// The connection is gone, or was not made. The link tries again by itself.
    Disconnected {
        /// Why.
        error: LinkError,
        /// When it tries again.
        again_in: Duration,
    },
}

/// What the bridge puts on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who published it.
    pub publisher: Publisher,
    /// When the bridge accepted it.
    pub accepted_at: UnixMillis,
    /// Its number within the topic.
    pub sequence: u64,
}

/// What acknowledges a received message; worth nothing after its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    session: u64,
    packet: Option<u16>,
}

impl Receipt {
    /// Whether it is waited for: the message comes again, in another session, until it is acknowledged.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.packet.is_some()
    }
}

/// How to connect, and as whom.
#[derive(Clone)]
pub struct LinkOptions {
    /// Where the bridge is.
    pub endpoint: Arc<Endpoint>,
    /// Who the device is.
    pub identity: Arc<Identity>,
    /// MQTT's client id.
    pub client_id: String,
    /// How long the bridge keeps the session while the device is away; whole seconds.
    pub session: Duration,
}

enum Command {
    Publish { ticket: Ticket, topic: Topic, payload: Vec<u8>, qos: Qos },
    Subscribe(TopicFilter),
    Forget(TopicFilter),
    Acknowledge(Receipt),
    Identify(Arc<Identity>),
    Reconnect(Arc<Endpoint>, Arc<Identity>),
    Close,
}

/// A handle to a running link.
pub struct Link {
    commands: mpsc::UnboundedSender<Command>,
    next_ticket: u64,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts a link; it lives until it is closed or its handle is dropped.
    pub fn start(options: LinkOptions) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (commands, received_commands) = mpsc::unbounded_channel();
        let (events, received_events) = mpsc::channel(EVENTS);
        let task = tokio::spawn(task::Task::new(options, received_commands, events).run());
        (Self { commands, next_ticket: 1, task }, received_events)
    }

    /// Sends a message: QoS 0 if there is a connection now, QoS 1 until it is delivered or refused, over every loss.
    pub fn publish(&mut self, topic: Topic, payload: Vec<u8>, qos: Qos) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.order(Command::Publish { ticket, topic, payload, qos });
        ticket
    }

    /// Subscribes, now and on each new connection; while the bridge refuses, again and again with growing pauses. Calling it for
    /// a filter that is subscribed asks once more and begins with short pauses again.
    pub fn subscribe(&self, filter: impl Into<TopicFilter>) {
        self.order(Command::Subscribe(filter.into()));
    }

    /// Asks for a subscription no more, which the bridge has taken away.
    pub fn forget(&self, filter: impl Into<TopicFilter>) {
        self.order(Command::Forget(filter.into()));
    }

    /// Tells the bridge that a message is dealt with.
    pub fn acknowledge(&self, receipt: Receipt) {
        self.order(Command::Acknowledge(receipt));
    }

    /// Authenticates as another identity on the same connection (MQTT 5.0 section 4.12.1). What is not sent yet waits for it.
    pub fn identify(&self, identity: Arc<Identity>) {
        self.order(Command::Identify(identity));
    }

    /// Connects anew, there and as this identity. What was not acknowledged yet is sent again.
    pub fn reconnect(&self, endpoint: Arc<Endpoint>, identity: Arc<Identity>) {
        self.order(Command::Reconnect(endpoint, identity));
    }

    /// Takes leave of the bridge (DISCONNECT) and ends.
    pub async fn close(mut self) {
        self.order(Command::Close);
        if let Err(error) = (&mut self.task).await
            && error.is_panic()
        {
            tracing::error!(%error, "the link ended in disorder");
        }
    }

    /// A link that has ended takes no more orders: it ends only when the device wants it to.
    fn order(&self, command: Command) {
        drop(self.commands.send(command));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;

//! An MQTT broker without input or output, with the rights of Wardlink's devices.
//!
//! [`Broker`] is told what happened ([`Broker::open`], [`Broker::received`], [`Broker::closed`], [`Broker::apply`],
//! [`Broker::tick`]) and says what to do: [`Broker::flush`] returns one [`Batch`] of storage changes and of output that may
//! leave only when the changes are stored. So a PUBACK means that the message survives. Many events may lie between two
//! flushes; their writes are one batch, and packets for one connection share a frame. A broker is rebuilt from what was
//! stored and from the attachments of the connections ([`Broker::restore`]): memory is only a cache.
//!
//! QoS 0 and 1 (MQTT 5.0, OASIS Standard, 7 March 2019; MQTT 3.1.1, 29 October 2014); CONNACK says that QoS 2, retained messages and
//! shared subscriptions are not available. Who a client is, enhanced authentication, a token or TLS proves ([`auth`]); what it may do, the control unit's grants decide at
//! each publication, subscription and delivery ([`rights`]). Packets come from `mqtt-protocol-core`.
//!
//! Threats considered: hostile bytes (bounded, never a panic), clients that claim other identities, wildcards that widen rights,
//! rights that outlive a revocation in queues or subscriptions, floods (every count is bounded, see [`limits`]) and readers that
//! do not read.

pub mod auth;
mod broker;
mod connection;
pub mod limits;
mod log;
mod packet;
mod rate;
pub mod rights;
mod session;
pub mod storage;
mod subscriptions;
mod tokens;

pub use broker::{
    Batch, Broker, Cause, Clients, ControlMessage, LocalTable, Notice, Output, Overreach, Overstep, SiteTable, Step,
};
pub use connection::{ConnectionId, Origin};
pub use log::Stream;

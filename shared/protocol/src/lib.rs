//! The vocabulary that every part of Wardlink shares: identities, topics, messages, channels and limits.
//!
//! Bytes become a type once, here, and inside only the type travels. The crate parses and prints; it has no
//! behaviour, no clock, no randomness and no input or output. The wire format is described in
//! `docs/protocol.md`; step numbers (S1 to S10) are those of the coupling patent, US 12,386,998 B2.
//!
//! Threats considered: every parser here meets hostile bytes. Lengths are bounded by the constants in [`limits`],
//! CBOR is accepted in its one deterministic encoding only (see [`cbor`]), and secrets have no `Debug`.

pub mod api;
pub mod authentication;
mod bytes;
pub mod cbor;
pub mod channel;
pub mod distribution;
pub mod grant;
pub mod identity;
pub mod keys;
pub mod limits;
pub mod network;
pub mod order;
pub mod pairing;
pub mod provisioning;
pub mod renewal;
pub mod report;
pub mod service;
pub mod stamp;
pub mod time;
pub mod topic;
pub mod verification;

pub use identity::{ClientClass, Device, DeviceIdentifier};
pub use time::UnixMillis;

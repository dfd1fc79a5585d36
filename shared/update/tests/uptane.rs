//! Uptane over two repositories in memory: what a gateway and a device accept, and at which step they refuse what.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "uptane/agreement.rs"]
mod agreement;
#[path = "uptane/device.rs"]
mod device;
#[path = "uptane/gateway.rs"]
mod gateway;
#[path = "uptane/outcome.rs"]
mod outcome;
#[path = "uptane/rotation.rs"]
mod rotation;

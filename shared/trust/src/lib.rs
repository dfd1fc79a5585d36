//! Channels, keys and trust: who can read a message on a second channel, who wrote it, that it counts once, and when trust ends.
//!
//! [`policy`] says which channels there are and what a change of them does. [`epochs`] is the site's keyring: which keys there are,
//! who knows them, until when each counts, and what has to change when a device is trusted no longer. [`wrap`] brings a new key to
//! one device, and is the device's half of it; [`services`] brings keys to server applications, and [`associated`] to the gateway that a
//! device is associated with. [`inbox`] judges a message as the
//! bridge stamped it; [`orders`] does so for what is sent down to a device, and sees to it that an order is carried out once. [`audit`] is the
//! log.
//!
//! [`protect`] encrypts a message under a key that belongs to one network key, channel, direction, sender and instance of the
//! sender, and signs it inside where the channel asks for that; [`replay`] is the receiver's memory. The wire format and every
//! derivation stand in `docs/protocol.md`, "Messages on the second channels".
//!
//! Threats considered: a bridge or network that replays, reorders, drops or moves messages between topics; another holder of
//! the same class key that writes under a foreign name (stopped by the signature, and by the bridge's stamp where a channel
//! is not signed); a sender that was restored from an old snapshot (never the same nonce under the same key). The crate has no
//! clock, no randomness of its own and no input or output.

pub mod associated;
pub mod audit;
pub mod epochs;
pub mod inbox;
pub mod orders;
pub mod policy;
pub mod protect;
pub mod replay;
pub mod services;
pub mod wrap;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;

pub use protect::{OpenError, Opened, Receiver, Receivers, SealError, Sender};

//! The coupling method (US 12,386,998 B2): how a device and the control unit pair, as two state machines without I/O.
//!
//! What follows a pairing is here, too: [`renewal`] of the certificate, and the [`decommission`] of a device; and the [`enrolment`] of
//! server applications, which shares its exchange.
//!
//! [`device::DevicePairing`] runs on the device, [`control_unit::Session`] at the control unit, one for each request. Both take what
//! happened and the time, and change their state; the shell stores the snapshot **before** it acts on what they say. After a
//! restart it restores the last snapshot and goes on: every step can be repeated.
//!
//! Threats considered: someone who holds the hospital's access secret and carries, changes, repeats and invents messages. He is
//! stopped by the control unit's signature at the device, by the bridge's proof of the publisher's key, by the commitment and the
//! transcript in every key, and by what a person carries from the display to the control unit; attempts are counted before they
//! are compared. The messages and derivations are described in `docs/protocol.md`.

pub mod announcement;
pub mod check;
pub mod control_unit;
pub mod decommission;
pub mod device;
pub mod enrolment;
pub mod lockout;
mod message;
pub mod policy;
pub mod renewal;
mod serial;

pub use message::MessageError;

#[cfg(test)]
mod tests;

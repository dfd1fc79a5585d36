//! The native `wardlink` command, as a library that tests and benchmarks can drive, too.
//!
//! `wardlink listen` is a small server application: it reads the channels that it is granted ([`listen`]). `wardlink send` is another one,
//! which sends a device an order ([`send`]).
//! `wardlink pump` is a reference device: it couples with a control unit by `wardlink_pairing` and then sends what an infusion
//! would. The logic stands in the shared crates; this one moves bytes ([`link`]), keeps them ([`state`]) and shows them
//! ([`display`]).

pub mod bundle;
pub mod clock;
pub mod device;
pub mod display;
mod files;
pub mod firmware;
pub mod gateway;
pub mod link;
pub mod listen;
pub mod mailbox;
pub mod outlet;
pub mod printable;
pub mod provisioned;
pub mod pump;
pub mod release;
mod room;
pub mod send;
pub mod service;
pub mod simulation;
pub mod state;
pub mod tuf;

#[cfg(test)]
#[path = "../tests/depot/records.rs"]
mod records_archive;
#[cfg(test)]
mod testing;

//! Stored data: what devices measure and ask, from the device to the server, so that nothing is lost and nothing forged (Distribution,
//! figures 7, 9 and 13).
//!
//! A device keeps [`record`]s in its [`outbox`], signs them as [`batch`]es, each chained to the one before, and hands them to its gateway, which
//! keeps them in its [`depot`]; [`sending`] says when, and [`exchange`] what the two say to each other,
//! with [`collector`] where the way between them is not encrypted. The server opens a batch, judges its [`chain`], [`check`]s each record against
//! what is possible ([`kind`], [`mod@unit`]), stores it as it was received, and signs a [`receipt`]. Only for that a holder deletes, and exactly what the receipt is for.
//! [`rules`] flag conditions in what counts, [`plot`] shows it, and [`outlet`] sends it on to an outside database.
//!
//! The crate reads no clock, draws no random number and stores no byte: times and random ids are parameters, and what is to be stored or
//! deleted is a return value. The formats stand in `docs/distribution.md`, "Stored data".
//!
//! Threats considered: a gateway or network that forges, alters, drops, repeats or reorders batches, or makes up receipts; a device
//! that was restored from an older state, or lost its store; values that cannot be; clocks that are wrong; stores that are full. What the chain cannot
//! show is a device that never signs a record.

pub mod backoff;
pub mod batch;
pub mod chain;
pub mod check;
pub mod collector;
pub mod decimal;
pub mod depot;
pub mod exchange;
pub mod kind;
pub mod limits;
pub mod name;
pub mod outbox;
pub mod outlet;
pub mod plot;
pub mod queue;
pub mod receipt;
pub mod record;
pub mod rules;
pub mod sending;
pub mod unit;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;

//! Verification of software updates: TUF 1.0.34 and Uptane 2.1, as a manufacturer, a server, a gateway and a device need them.
//!
//! Nothing here reads a file, a clock or the network. The caller fetches bytes that it is asked for, gives the time, and stores
//! what it is told to; every refusal names the step of the specification that failed.
//!
//! A repository is followed with [`client`]; [`package`] is what its targets say, [`inventory`] and [`report`] what devices are and
//! run, [`repository`] a manufacturer's as a whole, [`catalog`] what fits them, [`director`] what a server orders, and [`uptane`] what a gateway and a device accept of it.
//!
//! Threats considered: everything that is fetched may come from an attacker, who may also hold some of the keys. Lengths are
//! bounded by [`limits`], JSON is read strictly ([`json`]), and a key counts once under however many ids it stands there.

pub mod catalog;
pub mod client;
pub mod director;
pub mod inventory;
pub mod json;
pub mod key;
pub mod limits;
pub mod metadata;
pub mod package;
pub mod report;
pub mod repository;
pub mod uptane;

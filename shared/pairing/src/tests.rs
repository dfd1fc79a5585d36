//! Both machines against each other, on virtual time and without a network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod aborts;
mod decommission;
mod enrolment;
mod flow;
mod forgeries;
mod model;
mod refusals;
mod renewal;
mod serial;
pub(crate) mod site;
mod vectors;
mod verification;
mod without_cert_ca;

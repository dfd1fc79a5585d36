//! Fuzz targets: one for each place where Wardlink reads what others wrote.
//!
//! A target takes bytes and panics when a promise is broken. None may panic by itself; beyond that each states what has to
//! hold, such as that whatever is accepted has one encoding, or that a changed message never ends a step well. Targets that
//! stand behind encryption seal the bytes with the right key first, so that what is tested is the reader and not the cipher.
//!
//! `cargo xtask fuzz TARGET` searches with libFuzzer, guided by coverage. The test `corpus` runs every target over its seeds
//! and its corpus, and over a fixed number of changed inputs; it needs nothing but Rust.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target tells by a panic what it found"
)]

mod audit;
mod authentication;
mod broker;
mod certificates;
mod channel;
mod control_unit;
mod crl;
mod delta;
mod device;
mod enrolment;
mod envelopes;
mod json;
mod keys;
mod messages;
mod records;
mod renewal;
mod site;
mod snapshots;
mod text;
mod token;
mod update;
mod uptane;
mod vectors;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Takes an input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many changed inputs the test `corpus` runs: slow targets take fewer.
    pub cases: u32,
}

/// Every target.
pub const TARGETS: [Target; 30] = [
    Target { name: "messages", run: messages::run, seeds: messages::seeds, cases: 4_000 },
    Target { name: "envelopes", run: envelopes::run, seeds: envelopes::seeds, cases: 2_000 },
    Target { name: "certificates", run: certificates::run, seeds: certificates::seeds, cases: 1_000 },
    Target { name: "enrolment", run: enrolment::run, seeds: enrolment::seeds, cases: 1_000 },
    Target { name: "authentication", run: authentication::run, seeds: authentication::seeds, cases: 1_000 },
    Target { name: "topics", run: text::topics, seeds: text::topic_seeds, cases: 4_000 },
    Target { name: "verification", run: text::verification, seeds: text::verification_seeds, cases: 4_000 },
    Target { name: "provisioning", run: json::provisioning, seeds: json::provisioning_seeds, cases: 4_000 },
    Target { name: "label", run: text::label, seeds: text::label_seeds, cases: 4_000 },
    Target { name: "api", run: json::api, seeds: json::api_seeds, cases: 4_000 },
    Target { name: "broker", run: broker::run, seeds: broker::seeds, cases: 600 },
    Target { name: "control-unit", run: control_unit::run, seeds: control_unit::seeds, cases: 400 },
    Target { name: "device", run: device::run, seeds: device::seeds, cases: 300 },
    Target { name: "channel", run: channel::run, seeds: channel::seeds, cases: 1_000 },
    Target { name: "keys", run: keys::run, seeds: keys::seeds, cases: 2_000 },
    Target { name: "renewal", run: renewal::run, seeds: renewal::seeds, cases: 400 },
    Target { name: "audit", run: audit::run, seeds: audit::seeds, cases: 2_000 },
    Target { name: "crl", run: crl::run, seeds: crl::seeds, cases: 1_000 },
    Target { name: "token", run: token::run, seeds: token::seeds, cases: 1_000 },
    Target { name: "snapshots", run: snapshots::run, seeds: snapshots::seeds, cases: 600 },
    Target { name: "delta", run: delta::run, seeds: delta::seeds, cases: 1_000 },
    Target { name: "update-metadata", run: update::metadata, seeds: update::metadata_seeds, cases: 4_000 },
    Target { name: "update-repository", run: update::repository, seeds: update::repository_seeds, cases: 400 },
    Target { name: "update-packages", run: uptane::packages, seeds: uptane::package_seeds, cases: 4_000 },
    Target { name: "update-directives", run: uptane::directives, seeds: uptane::directive_seeds, cases: 4_000 },
    Target { name: "update-reports", run: uptane::reports, seeds: uptane::report_seeds, cases: 1_000 },
    Target { name: "update-stolen-key", run: uptane::stolen_key, seeds: uptane::stolen_key_seeds, cases: 200 },
    Target { name: "records", run: records::envelopes, seeds: records::envelope_seeds, cases: 1_000 },
    Target { name: "record-rules", run: records::rules, seeds: records::rule_seeds, cases: 1_000 },
    Target { name: "record-queues", run: records::queues, seeds: records::queue_seeds, cases: 100 },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The first byte selects, the rest is the input.
fn selected(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(first, rest)| (*first, rest))
}

/// The input that selects `selector`.
fn select(selector: usize, rest: &[u8]) -> Vec<u8> {
    let selector = u8::try_from(selector).expect("few variants");
    [&[selector], rest].concat()
}

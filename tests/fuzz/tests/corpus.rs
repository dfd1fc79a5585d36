//! Runs every target over its seeds and its corpus, and over a fixed number of changed inputs: the same ones each time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::Path;
use wardlink_fuzz::Target;

/// Everything that is known to be interesting: what is valid, and what the search found.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    let mut inputs = (target.seeds)();
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    /// The rest of another input.
    Splice(Index, Index, Index),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (place(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (place(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        2 => (place(), 1..16_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (place(), 1..64_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => (place(), place(), place()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
        1 => place().prop_map(Change::Cut),
    ]
}

fn apply(change: &Change, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
    if input.is_empty() {
        return;
    }
    let length = input.len();
    match change {
        Change::Set(at, byte) => input[at.index(length)] = *byte,
        Change::Flip(at, bit) => input[at.index(length)] ^= 1 << bit,
        Change::Remove(at, count) => {
            let start = at.index(length);
            input.drain(start..(start + count).min(length));
        }
        Change::Insert(at, bytes) => {
            let start = at.index(length);
            input.splice(start..start, bytes.iter().copied());
        }
        Change::Repeat(at, count) => {
            let start = at.index(length);
            let again = input[start..(start + count).min(length)].to_vec();
            input.splice(start..start, again);
        }
        Change::Splice(at, other, from) => {
            let other = &inputs[other.index(inputs.len())];
            input.truncate(at.index(length));
            input.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
        Change::Cut(at) => input.truncate(at.index(length)),
    }
}

fn check(name: &str) {
    let target = wardlink_fuzz::target(name).unwrap();
    let inputs = inputs(&target);
    for input in &inputs {
        (target.run)(input);
    }
    let config = Config { cases: target.cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let changed = (any::<Index>(), prop::collection::vec(change(), 1..6)).prop_map(|(which, changes)| {
        let mut input = inputs[which.index(inputs.len())].clone();
        for change in &changes {
            apply(change, &mut input, &inputs);
        }
        input
    });
    let result = TestRunner::new_with_rng(config, rng).run(&changed, |input| {
        (target.run)(&input);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
}

macro_rules! targets {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_target_has_its_test() {
            let tested = [$($name),*];
            assert!(wardlink_fuzz::TARGETS.iter().all(|target| tested.contains(&target.name)));
        }
    };
}

targets! {
    api "api"
    audit "audit"
    authentication "authentication"
    broker "broker"
    certificates "certificates"
    channel "channel"
    control_unit "control-unit"
    crl "crl"
    delta "delta"
    device "device"
    enrolment "enrolment"
    envelopes "envelopes"
    keys "keys"
    label "label"
    messages "messages"
    provisioning "provisioning"
    record_queues "record-queues"
    record_rules "record-rules"
    records "records"
    renewal "renewal"
    snapshots "snapshots"
    token "token"
    topics "topics"
    update_directives "update-directives"
    update_metadata "update-metadata"
    update_packages "update-packages"
    update_reports "update-reports"
    update_repository "update-repository"
    update_stolen_key "update-stolen-key"
    verification "verification"
}

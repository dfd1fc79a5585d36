#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use bzip2::Compression;
use bzip2::write::BzEncoder;
use proptest::prelude::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A delta with these controls, by hand.
fn forged(controls: &[[i64; 3]], differences: &[u8], new: &[u8], length: i64) -> Vec<u8> {
    let sign_and_size = |number: i64| number.unsigned_abs() | if number < 0 { 1 << 63 } else { 0 };
    let bytes: Vec<u8> = controls.iter().flatten().flat_map(|number| sign_and_size(*number).to_le_bytes()).collect();
    let (controls, differences, new) = (packed(&bytes), packed(differences), packed(new));
    let lengths = [controls.len().try_into().unwrap(), differences.len().try_into().unwrap(), length]
        .map(|length| sign_and_size(length).to_le_bytes());
    [b"BSDIFF40".as_slice(), &lengths.concat(), &controls, &differences, &new].concat()
}

fn old() -> Vec<u8> {
    (0..20_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn applied(old: &[u8], delta: &[u8], length: u64) -> Result<Vec<u8>, ApplyError> {
    let mut made = Vec::new();
    let result = apply(old, delta, length, &mut made);
    assert!(made.len() as u64 <= length, "more is written than is listed");
    result.map(|()| made)
}

#[test]
fn a_small_change_has_a_small_delta() {
    let old = old();
    let mut new = old.clone();
    new.splice(30_000..30_010, b"an insertion".iter().copied());
    let delta = make(&old, &new).unwrap();
    assert!(delta.len() * 20 < new.len(), "{}", delta.len());
    assert_eq!(applied(&old, &delta, new.len() as u64).unwrap(), new);
}

#[test]
fn a_delta_that_is_not_smaller_is_neither_made_nor_applied() {
    let random = old();
    for (old, new) in [(&b"a"[..], &random[..1000]), (&random[..10], b"b"), (b"", &random), (&random, b"")] {
        assert!(matches!(make(old, new), Err(MakeError::NotSmaller { .. })));
    }
    let delta = forged(&[[0, 4, 0]], &[], b"abcd", 4);
    assert!(matches!(applied(b"x", &delta, 4), Err(ApplyError::NotSmaller)));
}

#[test]
fn a_delta_that_grows_without_limit_is_stopped_before_it_writes() {
    let old = old();
    let wanted = 100_000;
    // Four controls of 25,000 bytes are right; a million of them are not.
    let zeros = vec![0; 100_000];
    let right = forged(&[[25_000, 0, -25_000]; 4], &zeros, &[], wanted);
    assert_eq!(applied(&old, &right, 100_000).unwrap(), old[..25_000].repeat(4));
    let growing = forged(&vec![[25_000, 0, -25_000]; 1_000_000], &zeros, &[], wanted);
    assert!(matches!(applied(&old, &growing, 100_000), Err(ApplyError::Length { .. })));
    let idle = forged(&vec![[0, 0, 0]; 1_000_000], &zeros, &[], wanted);
    assert!(matches!(applied(&old, &idle, 100_000), Err(ApplyError::Damaged("it has too many controls"))));
}

#[test]
fn a_delta_for_another_length_is_refused() {
    let old = old();
    let zeros = vec![0; 50_000];
    let delta = forged(&[[50_000, 0, 0]], &zeros, &[], 50_000);
    for wrong in [49_999, 50_001] {
        assert!(matches!(applied(&old, &delta, wrong), Err(ApplyError::Length { .. })));
    }
    // The header and the controls disagree.
    let delta = forged(&[[50_000, 0, 0]], &zeros, &[], 50_001);
    assert!(matches!(applied(&old, &delta, 50_001), Err(ApplyError::Length { .. })));
    assert!(matches!(applied(&old, &delta, MAX_FILE_BYTES + 1), Err(ApplyError::TooLong)));
}

#[test]
fn a_control_that_leads_out_of_the_file_is_refused() {
    let old = vec![7; 1_000];
    let zeros = vec![0; 100_000];
    let max = i64::MAX;
    for controls in [
        vec![[1_001, 98_999, 0]],
        vec![[-1, 100_001, 0]],
        vec![[100_001, -1, 0]],
        vec![[max, max, max]],
        vec![[0, 0, -1], [0, 100_000, 0]],
        vec![[0, 0, max], [1, 99_999, 0]],
        vec![[500, 0, 501], [500, 99_000, 0]],
    ] {
        let delta = forged(&controls, &zeros, &zeros, 100_000);
        assert!(
            matches!(applied(&old, &delta, 100_000), Err(ApplyError::Damaged(_) | ApplyError::Length { .. })),
            "{controls:?}"
        );
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let old = old();
    let delta = forged(&[[50_000, 0, 0]], &vec![0; 50_000], &[], 50_000);
    assert!(applied(&old, &delta, 50_000).is_ok());
    let lie = |at: usize, number: u64| {
        let mut delta = delta.clone();
        delta[at..at + 8].copy_from_slice(&number.to_le_bytes());
        delta
    };
    for (at, number) in
        [(0, 0), (8, u64::MAX), (8, 1 << 62), (16, u64::MAX >> 1), (16, 1 << 63), (24, 1 << 63), (24, u64::MAX)]
    {
        assert!(applied(&old, &lie(at, number), 50_000).is_err(), "{at} {number}");
    }
    // Only what nobody needs may be missing: here, the empty stream of new bytes.
    let empty = packed(&[]).len();
    for end in 0..delta.len() {
        let made = applied(&old, &delta[..end], 50_000);
        assert!(made.is_err() || (end >= delta.len() - empty && made.unwrap() == old[..50_000]), "cut at {end}");
    }
}

#[test]
fn data_that_ends_early_is_refused() {
    let old = old();
    for delta in [
        forged(&[[50_000, 0, 0]], &vec![0; 49_999], &[], 50_000),
        forged(&[[0, 50_000, 0]], &[], &vec![0; 49_999], 50_000),
    ] {
        assert!(matches!(applied(&old, &delta, 50_000), Err(ApplyError::Io(_))));
    }
}

#[derive(Clone, Debug)]
struct Edit {
    at: prop::sample::Index,
    remove: usize,
    insert: Vec<u8>,
}

fn edit() -> impl Strategy<Value = Edit> {
    (any::<prop::sample::Index>(), 0..200_usize, prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(at, remove, insert)| Edit { at, remove, insert })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_a_delta_makes_is_the_new_file(edits in prop::collection::vec(edit(), 0..12), from in 0..60_000_usize) {
        let old = &old()[from..];
        let mut new = old.to_vec();
        for edit in &edits {
            let start = edit.at.index(new.len() + 1);
            let end = (start + edit.remove).min(new.len());
            new.splice(start..end, edit.insert.iter().copied());
        }
        let delta = make(old, &new).unwrap();
        prop_assert!(delta.len() < new.len());
        prop_assert_eq!(applied(old, &delta, new.len() as u64).unwrap(), new);
    }

    #[test]
    fn a_changed_delta_makes_no_more_than_is_listed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let old = old();
        let mut new = old.clone();
        new.splice(100..200, [1, 2, 3]);
        let mut delta = make(&old, &new).unwrap();
        for (at, byte) in changes {
            let at = at.index(delta.len());
            delta[at] = byte;
        }
        drop(applied(&old, &delta, new.len() as u64));
    }
}

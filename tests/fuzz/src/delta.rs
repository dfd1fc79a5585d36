//! Deltas: bytes as they come, and controls that are packed as a delta is, so that what is tested is what follows them.

use crate::{select, selected};
use bzip2::Compression;
use bzip2::write::BzEncoder;
use std::io::Write;

const CONTROL_BYTES: usize = 24;
/// The lengths of results that are asked for.
const MAX_RESULT_BYTES: u32 = 1 << 16;

/// The old file.
fn old() -> Vec<u8> {
    (0..1_024_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn new() -> Vec<u8> {
    let mut new = old();
    new.splice(1_000..1_004, b"inserted".iter().copied());
    new.drain(3_000..3_100);
    new
}

/// A result never has more bytes than were asked for, and exactly so many when all went well.
fn apply(old: &[u8], delta: &[u8], length: u64) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    let result = wardlink_delta::apply(old, delta, length, &mut made);
    assert!(made.len() as u64 <= length);
    result.ok().map(|()| {
        assert_eq!(made.len() as u64, length);
        made
    })
}

pub(crate) fn run(input: &[u8]) {
    let Some((selector, rest)) = selected(input) else { return };
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return };
    let length = u64::from(u32::from_le_bytes(*length) % MAX_RESULT_BYTES);
    if selector.is_multiple_of(2) {
        drop(apply(&old(), rest, length));
        return;
    }
    let Some((&count, rest)) = rest.split_first() else { return };
    let Some((controls, data)) = rest.split_at_checked(usize::from(count) * CONTROL_BYTES) else { return };
    let (differences, extra) = data.split_at(data.len() / 2);
    // Long streams of nothing cost little to send.
    let [differences, extra] = [differences, extra].map(|stream| [stream, &[0; 8_192]].concat());
    let delta = packed(controls, &differences, &extra, length);
    if let Some(made) = apply(&old(), &delta, length) {
        assert_eq!(made, simply(&old(), controls, &differences, &extra));
    }
}

fn packed(controls: &[u8], differences: &[u8], extra: &[u8], length: u64) -> Vec<u8> {
    let pack = |bytes: &[u8]| {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (controls, differences, extra) = (pack(controls), pack(differences), pack(extra));
    let lengths = [controls.len() as u64, differences.len() as u64, length].map(u64::to_le_bytes);
    [b"BSDIFF40".as_slice(), &lengths.concat(), &controls, &differences, &extra].concat()
}

/// What bsdiff's controls mean, in the plainest words. Panics where they mean nothing: such a delta was to be refused.
fn simply(old: &[u8], controls: &[u8], differences: &[u8], extra: &[u8]) -> Vec<u8> {
    let (mut at, mut made) = (0_usize, Vec::new());
    let (mut differences, mut extra) = (differences.iter(), extra.iter());
    for control in controls.chunks_exact(CONTROL_BYTES) {
        let number = |place: usize| {
            let number = u64::from_le_bytes(control[place..place + 8].try_into().unwrap());
            let size = i64::try_from(number & !(1 << 63)).unwrap();
            if number >> 63 == 0 { size } else { -size }
        };
        let (add, copy) = (usize::try_from(number(0)).unwrap(), usize::try_from(number(8)).unwrap());
        let sums = old[at..at + add].iter().zip(differences.by_ref()).map(|(byte, more)| byte.wrapping_add(*more));
        made.extend(sums);
        made.extend(extra.by_ref().take(copy));
        at = usize::try_from(i64::try_from(at + add).unwrap() + number(16)).unwrap();
    }
    made
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let delta = wardlink_delta::make(&old(), &new()).unwrap();
    let length = u32::try_from(new().len()).unwrap().to_le_bytes();
    let raw = select(0, &[&length, delta.as_slice()].concat());
    let control = |numbers: [i64; 3]| {
        let bytes = |number: i64| (number.unsigned_abs() | if number < 0 { 1 << 63 } else { 0 }).to_le_bytes();
        numbers.map(bytes).concat()
    };
    let by_hand = |length: u32, controls: &[[i64; 3]]| {
        let packed: Vec<u8> = controls.iter().flat_map(|numbers| control(*numbers)).collect();
        let count = u8::try_from(controls.len()).unwrap();
        select(1, &[&length.to_le_bytes(), &[count][..], &packed, b"differences and new bytes"].concat())
    };
    vec![
        raw,
        by_hand(6_000, &[[2_000, 10, -1_000], [3_000, 990, 0]]),
        by_hand(4_096, &[[0, 0, 4_000], [96, 4_000, -4_096]]),
        by_hand(60_000, &[[4_096, 0, -4_096]; 14]),
        by_hand(100, &[[0, 0, 0]; 200]),
    ]
}

//! What applying a delta takes of memory, whatever the delta says: measured in a process of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bzip2::Compression;
use bzip2::write::BzEncoder;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use wardlink_delta::{APPLY_BYTES, apply};

/// Names the delta's file to the process that is measured.
const FILE: &str = "WARDLINK_MEASURED_DELTA";
/// How many bytes each delta makes: far more than applying may take.
const RESULT_BYTES: i64 = 64 << 20;
/// How many bytes come of one control, where there are many.
const STEP: i64 = 64;

fn packed(bytes: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::best());
    bytes.for_each(|chunk| encoder.write_all(&chunk).unwrap());
    encoder.finish().unwrap()
}

fn zeros(count: i64) -> impl Iterator<Item = Vec<u8>> {
    (0..count >> 16).map(|_| vec![0; 1 << 16])
}

/// A delta of `count` equal controls: differences to the old file, new bytes, and where to go on in the old file.
fn delta(count: i64, [differences, new, seek]: [i64; 3]) -> Vec<u8> {
    let number = |value: i64| {
        let sign = if value < 0 { 1_u64 << 63 } else { 0 };
        (value.unsigned_abs() | sign).to_le_bytes()
    };
    let control: Vec<u8> = [differences, new, seek].into_iter().flat_map(number).collect();
    let controls = packed((0..count).map(|_| control.clone()));
    let [differences, new] = [differences, new].map(|each| packed(zeros(count * each)));
    let lengths = [controls.len(), differences.len()].map(|length| i64::try_from(length).unwrap());
    let header = [lengths[0], lengths[1], RESULT_BYTES].into_iter().flat_map(number);
    b"BSDIFF40".iter().copied().chain(header).chain(controls).chain(differences).chain(new).collect()
}

/// A figure of this process, in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What applying the delta in this file takes, in a process that has done nothing else.
fn measured(file: &OsStr) -> u64 {
    let (old, delta) = (vec![0; 1 << 16], fs::read(file).unwrap());
    let length = u64::try_from(RESULT_BYTES).unwrap();
    let before = memory("VmRSS");
    apply(&old, &delta, length, std::io::sink()).unwrap();
    memory("VmHWM").saturating_sub(before)
}

#[test]
fn applying_takes_little_memory_whatever_the_delta_makes() {
    if let Some(file) = std::env::var_os(FILE) {
        println!("measured {}", measured(&file));
        return;
    }
    let cases = [
        ("new bytes", delta(1, [0, RESULT_BYTES, 0])),
        ("differences", delta(1 << 10, [RESULT_BYTES >> 10, 0, -(RESULT_BYTES >> 10)])),
        ("many controls", delta(RESULT_BYTES / STEP, [0, STEP, 0])),
    ];
    for (case, delta) in cases {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{case}"));
        fs::write(&file, delta).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--nocapture", "--exact", "applying_takes_little_memory_whatever_the_delta_makes"]);
        let output = output.env(FILE, &file).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let bytes = told.lines().find_map(|line| line.split("measured ").nth(1)?.parse::<u64>().ok());
        let bytes = bytes.unwrap_or_else(|| panic!("{case}: {told}{}", String::from_utf8_lossy(&output.stderr)));
        println!("{case}: {bytes} bytes");
        // It takes the decoders' memory at least, so that the measurement measures.
        assert!((1_000_000..=APPLY_BYTES).contains(&bytes), "{case}: {bytes}");
    }
}

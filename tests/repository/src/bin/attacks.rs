//! Writes the frozen attacks: `cargo run -p wardlink-test-repository --bin attacks tests/attacks`.
//!
//! Keys, times and signatures are the same each time, so that nothing changes unless the formats do.

use std::io;
use std::path::PathBuf;
use wardlink_test_repository::frozen;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("tests/attacks"), PathBuf::from);
    frozen::write_all(&folder)
}

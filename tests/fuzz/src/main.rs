//! The program that libFuzzer drives; `cargo xtask fuzz` builds and starts it.
//!
//! `WARDLINK_FUZZ_TARGET` names the target, `WARDLINK_FUZZ_SEEDS` the folder that its seeds are written to. Without a target
//! the program prints the names of all.

#![no_main]

use std::sync::OnceLock;
use wardlink_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

#[expect(clippy::expect_used, reason = "a tool that says what is missing and ends")]
fn begin() {
    let Ok(name) = std::env::var("WARDLINK_FUZZ_TARGET") else {
        for target in wardlink_fuzz::TARGETS {
            println!("{}", target.name);
        }
        std::process::exit(0);
    };
    let target = *TARGET.get_or_init(|| wardlink_fuzz::target(&name).expect("a target of this name"));
    if let Some(folder) = std::env::var_os("WARDLINK_FUZZ_SEEDS").map(std::path::PathBuf::from) {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("the folder for seeds can be written");
        }
    }
}

libfuzzer_sys::fuzz_target!(init: begin(), |input: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(input);
    }
});

//! Times of the measured code in WebAssembly.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::artifacts;

/// Runs the measured code in Node with these arguments; see `measure.cjs`. `WARDLINK_MEASURE` names its module.
pub fn times(arguments: &[&str]) -> Result<Vec<Duration>> {
    let module = env::var_os("WARDLINK_MEASURE").context("WARDLINK_MEASURE names no module")?;
    let script = artifacts::in_checkout("tests/src/measure.cjs")?;
    let output = Command::new("node").arg(script).arg(module).args(arguments).output().context("Node does not run")?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let times: Vec<f64> = serde_json::from_slice(&output.stdout).context("times are a list")?;
    Ok(times.into_iter().map(|milliseconds| Duration::from_secs_f64(milliseconds / 1000.0)).collect())
}

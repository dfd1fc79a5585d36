//! Waiting until something is the case.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test counts as hanging: far more than it takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(45);
/// The pause between two looks at a condition that nothing announces.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks again and again until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > LIMIT {
            bail!("waited {} s in vain: {what}", LIMIT.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

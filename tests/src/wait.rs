//! Waiting until something is the case.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test counts as hanging: far more than it takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(45);
/// The pause between two looks at a condition that nothing announces.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks again and again until `look` finds something.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    within(LIMIT, what, look)
}

/// The same for what is much work.
pub fn patiently<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    within(4 * LIMIT, what, look)
}

/// The same for what takes as long as there is much of it.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain: {what}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

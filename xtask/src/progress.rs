//! Calm progress on stderr: one line when a step starts, one when it took noticeable time.

use std::time::{Duration, Instant};

/// A step that is under way.
#[derive(Debug)]
pub(crate) struct Step {
    started: Instant,
}

impl Step {
    /// Says what begins now.
    pub(crate) fn start(what: &str) -> Self {
        eprintln!("==> {what}");
        Self { started: Instant::now() }
    }

    /// Says how long it took, if a person could have noticed.
    pub(crate) fn done(self) {
        let elapsed = self.started.elapsed();
        if elapsed >= Duration::from_secs(1) {
            eprintln!("    done in {}", human(elapsed));
        }
    }
}

/// Writes a duration as a person says it.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

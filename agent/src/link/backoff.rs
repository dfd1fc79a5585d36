//! Growing pauses with jitter, so that a thousand pumps don't come back in the same instant.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Pauses that double up to a limit.
pub(super) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
    rng: StdRng,
}

impl Backoff {
    pub(super) fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, next: first, rng: StdRng::from_rng(&mut crate::clock::rng()) }
    }

    /// The next pause: between half of it and all of it.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.rng.random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.limit);
        pause
    }

    /// Begins with the short pause again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_are_never_all_alike() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let pauses: Vec<_> = (0..40).map(|_| backoff.pause()).collect();
        for (step, pause) in pauses.iter().enumerate() {
            let whole = Duration::from_millis(100 << step.min(10)).min(Duration::from_secs(2));
            assert!((whole / 2..=whole).contains(pause), "{pause:?} at step {step}");
        }
        assert!(pauses.windows(2).skip(5).any(|pair| pair[0] != pair[1]));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}

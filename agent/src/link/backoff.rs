//! Growing pauses with jitter, so that a thousand pumps don't come back in the same instant.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// How much longer each pause is than the one before.
const GROWTH: f64 = 1.5;

/// Pauses that grow up to a limit.
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
    rng: StdRng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, next: first, rng: StdRng::from_rng(&mut crate::clock::rng()) }
    }

    /// The next pause: between half of it and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.rng.random_range(0.5..=1.0));
        self.next = self.next.mul_f64(GROWTH).min(self.limit);
        pause
    }

    /// Begins with the short pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_are_never_all_alike() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let pauses: Vec<_> = (0..40).map(|_| backoff.pause()).collect();
        for (step, pause) in pauses.iter().enumerate() {
            let whole =
                Duration::from_secs_f64(0.1 * GROWTH.powi(i32::try_from(step).unwrap())).min(Duration::from_secs(2));
            // Rounding makes it longer or shorter by less than this.
            let rounding = Duration::from_micros(1);
            let lengths = (whole / 2).saturating_sub(rounding)..=whole + rounding;
            assert!(lengths.contains(pause), "{pause:?} at step {step}");
        }
        assert!(pauses.windows(2).skip(5).any(|pair| pair[0] != pair[1]));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}

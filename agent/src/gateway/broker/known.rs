//! What the hub was told last, and whether that is still how things are: asked ten times a second, without reading anything.

use crate::link::Identity;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;
use wardlink_crypto::x509::Validity;
use wardlink_protocol::UnixMillis;

/// When it is looked again whether a gateway that could not speak for itself now can.
const LOOKED_AGAIN: Duration = Duration::from_secs(1);

/// When the server was heard last, by the wall's clock and by one that nobody sets.
pub(super) struct Heard {
    at: Option<UnixMillis>,
    noticed: Instant,
}

impl Heard {
    /// It was never heard, as far as is known.
    pub(super) const fn never(noticed: Instant) -> Self {
        Self { at: None, noticed }
    }

    /// It was heard then, by what is stored; at this instant that is known.
    pub(super) fn learn(&mut self, at: Option<UnixMillis>, noticed: Instant) {
        if self.at != at {
            *self = Self { at, noticed };
        }
    }

    /// Whether it was ever heard.
    pub(super) const fn is_some(&self) -> bool {
        self.at.is_some()
    }

    /// Whether it was heard in time. A clock that is set back makes no day longer.
    pub(super) fn is_in_time(&self, offline: Duration, now: UnixMillis, instant: Instant) -> bool {
        self.at.is_some_and(|at| now.since(at) <= offline) && instant.saturating_duration_since(self.noticed) <= offline
    }
}

/// What was made to count.
pub(super) struct Told {
    /// Who the gateway was at its site.
    pub(super) identity: Option<Arc<Identity>>,
    /// Whether the server had been heard in time.
    pub(super) counts: bool,
    /// While its certificates hold; none where it could not speak for itself.
    pub(super) holds: Option<Validity>,
    /// When that was.
    pub(super) at: Instant,
}

impl Told {
    /// Whether all of that is still so.
    pub(super) fn is_still_so(
        &self,
        identity: Option<&Identity>,
        counts: bool,
        now: UnixMillis,
        instant: Instant,
    ) -> bool {
        let of = |identity: &Identity| (identity.certificate.clone(), identity.root, identity.device.clone());
        let is_same = self.identity.as_deref().map(of) == identity.map(of) && self.counts == counts;
        is_same
            && match self.holds {
                Some(holds) => (holds.not_before..=holds.not_after).contains(&now),
                // Such as by a clock that is wrong, and is set.
                None => identity.is_none() || instant.saturating_duration_since(self.at) < LOOKED_AGAIN,
            }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{NOW, later};
    use wardlink_crypto::key::PrivateKey;

    const OFFLINE: Duration = Duration::from_hours(24);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_set_back_makes_no_day_longer() {
        let began = Instant::now();
        let mut heard = Heard::never(began);
        assert!(!heard.is_in_time(OFFLINE, NOW, began));
        heard.learn(Some(NOW), began);
        let day = OFFLINE.as_secs();
        assert!(heard.is_in_time(OFFLINE, later(day), began + OFFLINE));
        assert!(!heard.is_in_time(OFFLINE, later(day + 1), began), "by the clock, as after a sleep");
        for set_back in [UnixMillis(0), UnixMillis(NOW.0 - 86_400_000), NOW, later(1)] {
            assert!(heard.is_in_time(OFFLINE, set_back, began + OFFLINE));
            // What is stored is read again, and says the same.
            heard.learn(Some(NOW), began + OFFLINE);
            assert!(!heard.is_in_time(OFFLINE, set_back, began + OFFLINE + SECOND), "{set_back:?}");
        }
        // The server is heard, by a clock that was set back.
        heard.learn(Some(UnixMillis(0)), began + OFFLINE * 2);
        assert!(!heard.is_in_time(OFFLINE, NOW, began + OFFLINE * 2), "it is set right again");
        assert!(heard.is_in_time(OFFLINE, UnixMillis(5), began + OFFLINE * 3));
        assert!(!heard.is_in_time(OFFLINE, UnixMillis(5), began + OFFLINE * 3 + SECOND));
    }

    #[test]
    fn what_was_told_is_told_again_only_where_something_is_otherwise() {
        let identity = |certificate: &[u8]| Identity {
            key: PrivateKey::make(&mut crate::clock::rng()),
            device: "gateway/ward-3".parse().unwrap(),
            certificate: Some(certificate.to_vec()),
            root: None,
        };
        let (one, began) = (identity(b"one"), Instant::now());
        let holds = Some(Validity { not_before: NOW, not_after: later(60) });
        let told = Told { identity: Some(Arc::new(identity(b"one"))), counts: true, holds, at: began };
        let far = began + OFFLINE;
        assert!(told.is_still_so(Some(&one), true, NOW, far) && told.is_still_so(Some(&one), true, later(60), far));
        assert!(!told.is_still_so(Some(&one), false, NOW, far), "the server was silent");
        assert!(!told.is_still_so(Some(&identity(b"two")), true, NOW, far), "renewed");
        assert!(!told.is_still_so(None, true, NOW, far), "not paired any more");
        assert!(!told.is_still_so(Some(&one), true, later(61), far), "ended");
        assert!(!told.is_still_so(Some(&one), true, UnixMillis(NOW.0 - 1), far), "not begun, by a clock that was set");
        let told = Told { holds: None, ..told };
        assert!(told.is_still_so(Some(&one), true, NOW, began) && !told.is_still_so(Some(&one), true, NOW, far));
        let told = Told { identity: None, ..told };
        assert!(told.is_still_so(None, true, NOW, far) && !told.is_still_so(Some(&one), true, NOW, began));
    }
}

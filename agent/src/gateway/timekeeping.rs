//! The clock against what the gateway knows of the time: the server's `Date` with each of its answers, and the moment at which it was heard last.
//!
//! Nobody has signed a `Date`. It makes nothing count, and ends nothing: it has people told, and while it differs, metadata that seems to have ended
//! is no sign of an attack.

use super::troubles::{Source, Troubles};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use wardlink_protocol::UnixMillis;

/// How far the clock may be from the server's: the certificates' tolerance, and what the whole seconds of a `Date` leave open.
const MAX_DIFFERENCE: Duration = Duration::from_secs(61);
/// How far the clock may have gone back since the server was heard before that is said.
const CLOCK_BACK: Duration = Duration::from_hours(1);
/// What the trouble is called.
const TROUBLE: &str = "clock";

/// How a clock differs from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not by more than it may.
    None,
    /// It is behind by so much.
    Behind(Duration),
    /// It is ahead by so much.
    Ahead(Duration),
}

/// The time that an HTTP answer tells (RFC 9110 section 6.6.1).
pub(super) fn told(date: &str) -> Option<UnixMillis> {
    let at = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(at.as_millis()).ok().map(UnixMillis)
}

/// The clock against the server's.
pub(super) fn compare(here: UnixMillis, server: UnixMillis) -> Difference {
    let (behind, ahead) = (server.since(here), here.since(server));
    if behind > MAX_DIFFERENCE {
        Difference::Behind(behind)
    } else if ahead > MAX_DIFFERENCE {
        Difference::Ahead(ahead)
    } else {
        Difference::None
    }
}

/// A time for people, roughly: it stays the same while nothing changes.
fn roughly(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes if minutes < 120 => format!("{} min", minutes.max(1)),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / (24 * 60)),
    }
}

/// A moment that has been, and what it was for people.
pub(super) type Past = (UnixMillis, &'static str);

/// What is known of the clock, the newest first.
struct State {
    /// By the server's last answer.
    by_date: Difference,
    /// By a moment that has been: how far the clock is behind, and what was then.
    by_past: Option<(Duration, &'static str)>,
}

/// What the gateway knows of its clock.
pub(super) struct Timekeeping {
    troubles: Arc<Troubles>,
    state: Mutex<State>,
}

impl Timekeeping {
    pub(super) fn new(troubles: Arc<Troubles>) -> Self {
        Self { troubles, state: Mutex::new(State { by_date: Difference::None, by_past: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the clock is in doubt.
    pub(super) fn is_in_doubt(&self) -> bool {
        let state = self.state();
        state.by_date != Difference::None || state.by_past.is_some()
    }

    /// An answer of the server has come. One that tells no time changes nothing.
    pub(super) fn dated(&self, date: &str, now: UnixMillis) {
        let Some(server) = told(date) else { return };
        let mut state = self.state();
        state.by_date = compare(now, server);
        if state.by_date == Difference::None {
            // What was kept may be from a time when the clock was ahead.
            state.by_past = None;
        }
        self.show(&state);
    }

    /// Compares the clock with the newest of these moments, which have been: a clock that is behind one has gone back.
    pub(super) fn been(&self, moments: impl IntoIterator<Item = Past>, now: UnixMillis) {
        let newest = moments.into_iter().max_by_key(|(at, _)| *at);
        let mut state = self.state();
        state.by_past = newest.map(|(at, what)| (at.since(now), what)).filter(|(behind, _)| *behind > CLOCK_BACK);
        if state.by_past.is_some() {
            // No answer has come since.
            state.by_date = Difference::None;
        }
        self.show(&state);
    }

    fn show(&self, state: &State) {
        let found = match (state.by_date, state.by_past) {
            (Difference::Behind(by), _) => Some((by, "behind the server's time")),
            (Difference::Ahead(by), _) => Some((by, "ahead of the server's time")),
            (Difference::None, past) => past,
        };
        match found {
            None => self.troubles.works(Source::Clock),
            Some((by, how)) => {
                let by = roughly(by);
                let why =
                    format!("it is {by} {how}: set it (NTP); certificates and signatures do not count at a wrong time");
                self.troubles.find(Source::Clock, TROUBLE, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const CONTACT: &str = "behind the last contact";

    fn shown(troubles: &Troubles) -> Option<String> {
        troubles.all().into_iter().map(|trouble| trouble.why).next()
    }

    fn at(secs: u64) -> UnixMillis {
        UnixMillis::from_secs(secs)
    }

    #[test]
    fn a_clock_is_compared_with_the_servers_word_and_the_trouble_ends_by_itself() {
        let (troubles, now) = (Arc::<Troubles>::default(), 784_111_777);
        let time = Timekeeping::new(Arc::clone(&troubles));
        time.dated(DATE, at(now));
        assert!(!time.is_in_doubt() && shown(&troubles).is_none());
        time.dated(DATE, at(now + 20 * 24 * 3_600));
        assert!(time.is_in_doubt());
        assert!(shown(&troubles).unwrap().contains("20 days ahead of the server's time"));
        time.dated("yesterday", at(now));
        assert!(time.is_in_doubt(), "that is no time");
        time.dated(DATE, at(now - 61 * 60));
        assert!(shown(&troubles).unwrap().contains("61 min behind the server's time"));
        time.dated(DATE, at(now + 60));
        assert!(!time.is_in_doubt() && shown(&troubles).is_none());
    }

    #[test]
    fn a_clock_that_has_gone_back_is_noticed_without_the_server() {
        let (troubles, now) = (Arc::<Troubles>::default(), at(1_800_000_000));
        let time = Timekeeping::new(Arc::clone(&troubles));
        for earlier in [None, Some(1_700_000_000), Some(1_800_000_060)] {
            time.been(earlier.map(|secs| (at(secs), CONTACT)), now);
            assert!(!time.is_in_doubt(), "{earlier:?}");
        }
        time.been([(at(1_700_000_000), "behind its certificate"), (at(1_800_010_000), CONTACT)], now);
        assert!(shown(&troubles).unwrap().contains("it is 2 h behind the last contact"));
        time.been([(at(1_800_010_000), CONTACT)], at(0));
        assert!(shown(&troubles).unwrap().contains("days behind the last contact"), "1970");
        // The clock was ahead when that was kept: the server says that it is right now.
        time.dated(DATE, at(784_111_777));
        assert!(!time.is_in_doubt() && shown(&troubles).is_none());
        // No answer has come since the clock has gone back.
        time.dated(DATE, at(784_111_777 + 3_600));
        time.been([(at(1_800_010_000), CONTACT)], at(0));
        time.been([(at(1_800_010_000), CONTACT)], at(1_800_010_000));
        assert!(!time.is_in_doubt());
    }
}

//! What does not work, until it does. Each trouble belongs to whoever has found it, and nobody else takes it back: what one round finds
//! the next one may take back, and no answer of the server does.

use super::status::Trouble;
use crate::clock;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who finds troubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Whoever runs the gateway: it cannot go on.
    Gateway,
    /// The clock.
    Clock,
    /// The way to the server.
    Server,
    /// What the server says when a session begins.
    Welcome,
    /// The server's answers to reports.
    Report,
    /// What is left out of reports.
    Unreported,
    /// What devices say of their software that verify for themselves.
    Told,
    /// A round of updates.
    Round,
    /// The records of devices.
    Record,
    /// Devices that cannot delete what they ran before.
    Replaced,
    /// Stored data, in all.
    Stored,
    /// Stored data of one device.
    Collected,
    /// The broker of the devices.
    Hub,
    /// Devices that are turned away at it.
    Strangers,
    /// The keys of the devices' channel to it, as the server gives them.
    Keys,
}

/// A moment: what is found later is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

struct Found {
    trouble: Trouble,
    turn: Turn,
}

#[derive(Default)]
struct State {
    found: BTreeMap<(Source, String), Found>,
    turn: Turn,
}

/// What does not work.
#[derive(Default)]
pub(super) struct Troubles(Mutex<State>);

impl Troubles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something does not work: it is shown until it does, with the time when that began.
    pub(super) fn find(&self, source: Source, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        let mut state = self.state();
        let key = (source, what.clone());
        let earlier = state.found.get(&key).map(|found| &found.trouble);
        if earlier.is_none_or(|earlier| earlier.why != why) {
            tracing::warn!(what, why, "trouble");
        }
        let since = earlier.map_or_else(clock::now, |earlier| earlier.since);
        let turn = state.turn;
        state.found.insert(key, Found { trouble: Trouble { what, why, since }, turn });
    }

    /// Everything works that this source looks at.
    pub(super) fn works(&self, source: Source) {
        self.state().found.retain(|(of, _), _| *of != source);
    }

    /// This works again.
    pub(super) fn works_again(&self, source: Source, what: &str) {
        self.state().found.retain(|(of, found), _| *of != source || found != what);
    }

    /// Whether this source has found something that does not work.
    pub(super) fn has(&self, source: Source) -> bool {
        self.state().found.keys().any(|(of, _)| *of == source)
    }

    /// A source begins to look at everything.
    pub(super) fn begin(&self) -> Turn {
        let mut state = self.state();
        state.turn = Turn(state.turn.0.saturating_add(1));
        state.turn
    }

    /// It has looked at everything: what it has not found again works.
    pub(super) fn end(&self, source: Source, began: Turn) {
        self.state().found.retain(|(of, _), found| *of != source || found.turn >= began);
    }

    /// What does not work, for people.
    pub(super) fn all(&self) -> Vec<Trouble> {
        self.state().found.values().map(|found| found.trouble.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(troubles: &Troubles) -> Vec<(String, String)> {
        troubles.all().into_iter().map(|trouble| (trouble.what, trouble.why)).collect()
    }

    fn pair(what: &str, why: &str) -> (String, String) {
        (what.to_owned(), why.to_owned())
    }

    #[test]
    fn what_a_source_finds_again_stays_and_the_rest_works() {
        let troubles = Troubles::default();
        let first = troubles.begin();
        troubles.find(Source::Round, "a", "1");
        troubles.find(Source::Round, "b", "1");
        troubles.end(Source::Round, first);
        let began = troubles.all().into_iter().map(|trouble| trouble.since).collect::<Vec<_>>();
        let second = troubles.begin();
        assert_eq!(troubles.all().len(), 2, "shown while it is looked at anew");
        troubles.find(Source::Round, "b", "2");
        troubles.end(Source::Round, second);
        assert_eq!(shown(&troubles), [pair("b", "2")]);
        assert_eq!(troubles.all().first().map(|trouble| trouble.since), began.last().copied(), "since it began");
    }

    #[test]
    fn nobody_takes_back_what_another_one_has_found() {
        let troubles = Troubles::default();
        troubles.find(Source::Welcome, "server", "a name");
        troubles.find(Source::Server, "server", "silence");
        let began = troubles.begin();
        troubles.works(Source::Server);
        troubles.end(Source::Round, began);
        troubles.works_again(Source::Record, "server");
        assert_eq!(shown(&troubles), [pair("server", "a name")]);
        assert!(troubles.has(Source::Welcome) && !troubles.has(Source::Server));
        troubles.works_again(Source::Welcome, "server");
        assert_eq!(shown(&troubles), []);
    }
}

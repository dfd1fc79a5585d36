//! The pairings, asked for again and again while somebody looks.

use core::time::Duration;

use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{PairingPhase, PairingView};
use wardlink_protocol::identity::SessionId;

use crate::api::Failure;
use crate::app::{App, Session};

/// The pause while nothing is expected.
const CALM: Duration = Duration::from_secs(2);
/// The pause while a device answers.
const BRISK: Duration = Duration::from_millis(400);

/// The pairings as the phone knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// All of them; none before the first answer.
    pub(super) pairings: RwSignal<Option<Vec<PairingView>>>,
    /// Whether the last question had no answer.
    pub(super) is_lost: RwSignal<bool>,
    /// Why there is no answer.
    pub(super) failure: RwSignal<Option<Failure>>,
}

impl Watch {
    /// Asks while somebody is signed in and looks, and forgets everything while the page is locked.
    pub(super) fn start(app: App) -> Self {
        let watch = Self { pairings: RwSignal::new(None), is_lost: RwSignal::new(false), failure: RwSignal::new(None) };
        let person =
            Memo::new(move |_| !app.lock.is_on() && app.session.with(|session| matches!(session, Session::In(_))));
        Effect::new(move |_| {
            if person.get() {
                watch.refresh(app);
            } else {
                watch.pairings.set(None);
            }
        });
        spawn_local(async move {
            loop {
                sleep(watch.pause()).await;
                if app.is_watched() && person.get_untracked() {
                    watch.take(app.look("/pairings").await);
                }
            }
        });
        watch
    }

    /// Asks now.
    pub(super) fn refresh(self, app: App) {
        spawn_local(async move { self.take(app.get("/pairings").await) });
    }

    fn take(self, answer: Result<Vec<PairingView>, Failure>) {
        match answer {
            Ok(pairings) => {
                self.is_lost.set(false);
                self.failure.set(None);
                if self.pairings.with_untracked(|known| known.as_ref() != Some(&pairings)) {
                    self.pairings.set(Some(pairings));
                }
            }
            Err(failure) => {
                self.is_lost.set(failure.is_passing());
                self.failure.set(Some(failure));
            }
        }
    }

    fn pause(self) -> Duration {
        let expects = |pairing: &PairingView| matches!(pairing.phase, PairingPhase::Accepted | PairingPhase::Confirmed);
        if self.pairings.with_untracked(|known| known.iter().flatten().any(expects)) { BRISK } else { CALM }
    }

    /// Learns a pairing from the answer to a request.
    pub(super) fn put(self, pairing: PairingView) {
        self.pairings.update(|known| {
            let known = known.get_or_insert_default();
            match known.iter_mut().find(|other| other.session == pairing.session) {
                Some(other) => *other = pairing,
                None => known.push(pairing),
            }
        });
    }

    /// One pairing.
    pub(super) fn pairing(self, session: SessionId) -> Option<PairingView> {
        self.pairings.with(|known| known.iter().flatten().find(|pairing| pairing.session == session).cloned())
    }

    /// The phase of one pairing.
    pub(super) fn phase(self, session: SessionId) -> Option<PairingPhase> {
        self.pairing(session).map(|pairing| pairing.phase)
    }

    /// The pairings that await verification, the older first.
    pub(super) fn verifiable(self) -> Vec<PairingView> {
        let mut list: Vec<PairingView> = self.pairings.with(|known| {
            known.iter().flatten().filter(|pairing| pairing.phase == PairingPhase::Verifying).cloned().collect()
        });
        list.sort_by_key(|pairing| (pairing.verifying_at, pairing.session));
        list
    }
}

//! What a scanned code means here: this page's origin, a pairing that waits, and the chosen pump, or it is refused with a reason.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, PairingView, VerificationProof, VerifyAnswer, VerifyResult};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::verification::VerificationLink;

use super::watch::Watch;
use super::{Place, origin};
use crate::app::{App, use_text};
use crate::pairing::shown_name;
use crate::scanner::Scanner;
use crate::text::Language;
use crate::ui::icon;
use crate::verification::{Standing, Verifier, asked};

/// Why a scanned text is not submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no code of a pairing.
    NoPairingCode,
    /// It is for another control unit, at this origin.
    ForeignOrigin(String),
    /// No pairing that waits has this session: the device shows, or showed, an older code.
    OldSession,
    /// It is the code of another pump than the chosen one.
    OtherDevice(String),
}

impl Refusal {
    fn text(&self, t: Language) -> String {
        match self {
            Self::NoPairingCode => t.scanned_no_pairing().to_owned(),
            Self::ForeignOrigin(origin) => t.scanned_foreign(origin),
            Self::OldSession => t.scanned_old().to_owned(),
            Self::OtherDevice(name) => t.scanned_other(name),
        }
    }
}

/// Decides what a scanned text is good for.
pub(super) fn judge(
    text: &str,
    own_origin: &str,
    pairings: &[PairingView],
    chosen: Option<SessionId>,
) -> Result<(SessionId, VerificationProof), Refusal> {
    let link: VerificationLink = text.parse().map_err(|_| Refusal::NoPairingCode)?;
    if link.origin != own_origin {
        return Err(Refusal::ForeignOrigin(link.origin));
    }
    let fits = |pairing: &&PairingView| {
        pairing.session == link.session
            && pairing.device.identifier == link.identifier
            && pairing.phase == PairingPhase::Verifying
    };
    let pairing = pairings.iter().find(fits).ok_or(Refusal::OldSession)?;
    match chosen {
        Some(chosen) if chosen != pairing.session => Err(Refusal::OtherDevice(shown_name(&pairing.device))),
        _ => Ok((pairing.session, VerificationProof::Tag(link.tag))),
    }
}

/// The scanning and verifying of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scans {
    pub(super) verifier: Verifier,
    pub(super) refusal: RwSignal<Option<Refusal>>,
    place: Place,
    /// What was answered already: one code is submitted once, however long the camera sees it.
    spent: StoredValue<String>,
    watch: Watch,
}

impl Scans {
    /// Made once for the page: what was submitted is answered, whatever the screen shows by then.
    pub(super) fn start(app: App, watch: Watch, place: Place) -> Self {
        let answered = Callback::new(move |answer: VerifyAnswer| {
            if answer.result == VerifyResult::Wrong {
                // The next code is typed from the beginning.
                place.typed.set(String::new());
            }
            let session = answer.pairing.session;
            watch.put(answer.pairing);
            if place.chosen.get_untracked() != Some(session) {
                place.chosen.set(Some(session));
            }
        });
        let scans = Self {
            verifier: Verifier::new(app, answered),
            refusal: RwSignal::new(None),
            place,
            spent: StoredValue::new(String::new()),
            watch,
        };
        Effect::new(move |_| {
            place.chosen.track();
            scans.refusal.set(None);
            scans.verifier.serial.set(String::new());
            if !untrack(|| scans.verifier.is_busy()) {
                scans.verifier.reset();
            }
        });
        scans
    }

    fn take(self, text: String) {
        let is_busy =
            self.verifier.standing.with_untracked(|standing| matches!(standing, Standing::Sending | Standing::Waiting));
        if is_busy || self.spent.with_value(|spent| *spent == text) {
            return;
        }
        let judged = self.watch.pairings.with_untracked(|known| {
            judge(&text, &origin(), known.as_deref().unwrap_or_default(), self.place.chosen.get_untracked())
        });
        match judged {
            Ok((session, proof)) => {
                self.spent.set_value(text);
                self.refusal.set(None);
                let asked = untrack(|| self.watch.pairing(session)).as_ref().map_or(0, asked);
                if asked > 0 && self.place.chosen.get_untracked() != Some(session) {
                    self.place.choose(Some(session));
                }
                self.verifier.submit(session, proof, asked);
            }
            Err(refusal) => self.refusal.set(Some(refusal)),
        }
    }
}

/// The camera, and why a code was refused.
#[component]
pub(super) fn ScanBox(
    /// Whether no code form stands beside it that says how the attempt goes.
    alone: bool,
) -> impl IntoView {
    let t = use_text();
    let scans: Scans = expect_context();
    let word = move || {
        scans.verifier.standing.with(|standing| match standing {
            Standing::Sending => Some(t.verifying()),
            Standing::Waiting => Some(t.verification_waits()),
            _ => None,
        })
    };
    view! {
        <Scanner found=Callback::new(move |text| scans.take(text))/>
        <div role="alert">
            {move || scans.refusal.get().map(|refusal| view! {
                <p class="trouble" data-testid="refused-code">{icon::notice()} <span>{refusal.text(t)}</span></p>
            })}
        </div>
        {alone.then(|| view! { <p class="waiting" role="status">{word}</p> })}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::pairing::tests::pairing;
    use wardlink_protocol::verification::QrTag;

    const ORIGIN: &str = "https://wardlink.example";

    fn code(origin: &str, session: u8, identifier: &str) -> String {
        VerificationLink {
            origin: origin.to_owned(),
            session: SessionId([session; 16]),
            tag: QrTag([9; 16]),
            identifier: identifier.parse().unwrap(),
        }
        .to_string()
    }

    fn judged(text: &str, chosen: Option<u8>) -> Result<SessionId, Refusal> {
        let mut ended = pairing(3, PairingPhase::Ended);
        ended.device = "infusion-pump/ip-3".parse().unwrap();
        let pairings = [pairing(1, PairingPhase::Verifying), pairing(2, PairingPhase::Verifying), ended];
        judge(text, ORIGIN, &pairings, chosen.map(|session| SessionId([session; 16]))).map(|(session, _)| session)
    }

    #[test]
    fn the_code_of_a_waiting_pump_is_submitted() {
        assert_eq!(judged(&code(ORIGIN, 1, "ip-1"), Some(1)), Ok(SessionId([1; 16])));
        assert_eq!(judged(&code(ORIGIN, 2, "ip-2"), None), Ok(SessionId([2; 16])));
    }

    #[test]
    fn a_foreign_origin_is_refused_even_for_a_known_session() {
        let foreign = Refusal::ForeignOrigin("https://evil.example".to_owned());
        assert_eq!(judged(&code("https://evil.example", 1, "ip-1"), Some(1)), Err(foreign));
        let port = Refusal::ForeignOrigin("https://wardlink.example:8443".to_owned());
        assert_eq!(judged(&code("https://wardlink.example:8443", 1, "ip-1"), Some(1)), Err(port));
        let plain = Refusal::ForeignOrigin("http://wardlink.example".to_owned());
        assert_eq!(judged(&code("http://wardlink.example", 1, "ip-1"), Some(1)), Err(plain));
    }

    #[test]
    fn an_old_or_ended_session_is_refused() {
        assert_eq!(judged(&code(ORIGIN, 8, "ip-1"), Some(1)), Err(Refusal::OldSession));
        assert_eq!(judged(&code(ORIGIN, 3, "ip-3"), None), Err(Refusal::OldSession));
    }

    #[test]
    fn a_session_with_another_name_is_refused() {
        assert_eq!(judged(&code(ORIGIN, 1, "ip-2"), None), Err(Refusal::OldSession));
    }

    #[test]
    fn the_code_of_another_pump_is_refused() {
        assert_eq!(judged(&code(ORIGIN, 2, "ip-2"), Some(1)), Err(Refusal::OtherDevice("IP-2".to_owned())));
    }

    #[test]
    fn any_other_text_is_no_pairing_code() {
        for text in
            ["", "https://wardlink.example/", "WIFI:S:ward;;", "javascript:/V/AAAA", "https://wardlink.example/V/!"]
        {
            assert_eq!(judged(text, None), Err(Refusal::NoPairingCode), "{text}");
        }
    }
}

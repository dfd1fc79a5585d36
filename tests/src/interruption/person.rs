//! A person with a list of requests, a keypad and a pump before them: does what is next, and does it again where no answer came.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wardlink_protocol::api::{PairingPhase, PairingView, VerificationProof};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::verification::VerificationLink;

use super::{Place, Run, Scenario};
use crate::api::{Api, new_attempt};
use crate::pump::{Event, is, text, wrong};
use crate::wire::Moment;

/// What a person knows.
pub(super) struct Person {
    scenario: Scenario,
    /// The code and the link that the pump shows.
    shown: Option<(String, Option<VerificationLink>)>,
    /// The pump has its command.
    pub(super) is_accepted: bool,
    /// The pump waits for the control unit's answer.
    asks_answer: bool,
    /// The attempt that is under way: its session, its key and what it brings, so that a repetition is one.
    attempt: Option<(SessionId, SessionId, VerificationProof)>,
    wrong_attempts: u64,
    /// What the pump said, by name.
    pub(super) paired: bool,
    pub(super) refused: Vec<String>,
}

impl Person {
    pub(super) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            shown: None,
            is_accepted: false,
            asks_answer: false,
            attempt: None,
            wrong_attempts: 0,
            paired: false,
            refused: Vec::new(),
        }
    }

    /// Looks at the pump.
    pub(super) fn see(&mut self, event: &Event) {
        if is(event, "code") {
            self.is_accepted = true;
            let link = text(event, "link").ok().and_then(|link| link.parse().ok());
            self.shown = text(event, "code").ok().map(|code| (code.to_owned(), link));
        } else if is(event, "answer") {
            self.asks_answer = true;
        } else if is(event, "paired") {
            self.paired = true;
        } else if is(event, "refused") {
            self.refused.extend(text(event, "reason").ok().map(str::to_owned));
            (self.shown, self.attempt) = (None, None);
        }
    }

    /// Whether this pairing is the one that is to end without success.
    fn gives_up(&self) -> bool {
        self.scenario.sessions() == 2 && self.refused.is_empty()
    }

    const fn mode(&self) -> Mode {
        match self.scenario {
            Scenario::Qr | Scenario::CodeBeside => Mode::PairingQrcode,
            Scenario::Simple => Mode::PairingSimple,
            _ => Mode::PairingCode,
        }
    }

    /// What the person brings next; the same as before where no answer came.
    fn attempt(&mut self, session: SessionId) -> Result<Option<(SessionId, VerificationProof)>> {
        if let Some((of, key, proof)) = &self.attempt
            && *of == session
        {
            return Ok(Some((*key, proof.clone())));
        }
        let Some((code, link)) = &self.shown else { return Ok(None) };
        let proof = match self.scenario {
            Scenario::Qr => VerificationProof::Tag(link.as_ref().context("the pump shows a QR code")?.tag),
            Scenario::WrongCode if self.gives_up() => {
                self.wrong_attempts += 1;
                wrong(code, self.wrong_attempts)
            }
            _ => VerificationProof::Code(code.clone()),
        };
        let key = new_attempt()?;
        self.attempt = Some((session, key, proof.clone()));
        Ok(Some((key, proof)))
    }

    fn verify(&mut self, nurse: &Api, session: SessionId) -> Result<()> {
        let Some((key, proof)) = self.attempt(session)? else { return Ok(()) };
        nurse.verify_again(session, key, proof)?;
        self.attempt = None;
        Ok(())
    }
}

impl Run<'_, '_> {
    /// Does what is next. True when the pump is paired and its data has arrived since the interruption.
    pub(super) fn step(&mut self) -> Result<bool> {
        let Some(pairing) = self.newest()? else { return Ok(false) };
        self.note_session(Some(pairing.session))?;
        let (session, nurse) = (pairing.session, self.bedside.nurse.clone());
        match pairing.phase {
            PairingPhase::Waiting if self.person.gives_up() && self.person.scenario == Scenario::Rejected => {
                nurse.reject(session, "not here")?;
            }
            PairingPhase::Waiting => drop(nurse.accept(session, self.person.mode())?),
            PairingPhase::Verifying if self.person.gives_up() && self.person.scenario == Scenario::Cancelled => {
                // What a thief takes is taken before.
                if self.provisional.is_some() {
                    nurse.act(session, "cancel")?;
                }
            }
            PairingPhase::Verifying => self.person.verify(&nurse, session)?,
            PairingPhase::Confirmed => self.enter_answer(&pairing)?,
            PairingPhase::Finished => return self.is_heard(&pairing),
            PairingPhase::Accepted | PairingPhase::Ended => {}
        }
        Ok(false)
    }

    fn newest(&self) -> Result<Option<PairingView>> {
        let pairings = self.bedside.nurse.pairings()?.into_iter();
        Ok(pairings
            .filter(|pairing| pairing.device == self.device && Some(pairing.session) != self.earlier)
            .max_by_key(|pairing| pairing.requested_at))
    }

    /// Enters the answer that the control unit shows, once the pump asks for it.
    fn enter_answer(&mut self, pairing: &PairingView) -> Result<()> {
        let Some(answer) = pairing.answer.as_deref().filter(|_| self.person.asks_answer) else { return Ok(()) };
        let is_here = self.interruption.place == Place::Keypad && !self.struck;
        match self.interruption.moment {
            Moment::Before if is_here => {}
            Moment::At(_) if is_here => {
                // The kill overtakes the keys or does not.
                let keypad = self.pump.keypad();
                let answer = answer.to_owned();
                std::thread::spawn(move || keypad.enter(&answer));
            }
            _ => self.pump.enter(answer)?,
        }
        self.person.asks_answer = false;
        if is_here {
            if let Moment::At(delay) = self.interruption.moment {
                std::thread::sleep(delay);
            }
            self.kill_by_hand();
            self.revive()?;
        }
        Ok(())
    }

    /// Whether data of the pump has been accepted since the pairing was finished and everybody lives.
    fn is_heard(&self, pairing: &PairingView) -> Result<bool> {
        let since = pairing.ended_at.max(self.revived_at).unwrap_or_default();
        let view = self.bedside.nurse.device(&self.device)?;
        let is_new = view.latest.iter().any(|data| data.accepted_at.since(since) > Duration::ZERO);
        Ok(self.person.paired && is_new)
    }
}

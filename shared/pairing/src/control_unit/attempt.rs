//! Attempts at verification: counted first, compared afterwards.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wardlink_crypto::schedule;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{VerificationProof, VerifyResult};
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::limits::MAX_WRONG_ATTEMPTS;
use wardlink_protocol::pairing::RefusalReason;

use super::state::State;
use super::{Action, ControlUnit, Refusal, Session};
use crate::check::{Check, Proof};
use crate::message::MessageError;
use crate::serial::SerialEnding;

/// A counted attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its idempotency key.
    key: SessionId,
    /// SHA-256 of what was brought, so that one key stands for one guess.
    proof: Sha256,
    /// How it went; none until it was compared.
    result: Option<VerifyResult>,
}

impl Attempt {
    /// Whether it was compared and matched.
    pub(super) fn is_right(&self) -> bool {
        self.result == Some(VerifyResult::Verified)
    }
}

/// An attempt that is counted. The session's snapshot has to be stored before it is decided.
#[must_use = "a counted attempt has to be decided, once the snapshot is stored"]
pub struct PendingAttempt {
    key: SessionId,
    proof: Proof,
    /// Where it is asked for.
    ending: Option<SerialEnding>,
}

/// What became of the first half of an attempt.
pub enum Begun {
    /// Counted: store the snapshot, then call [`Session::decide`].
    Counted(PendingAttempt),
    /// The same attempt was decided before, and this was its result.
    Repeated(VerifyResult),
    /// No code at all, or a mistyped digit. Not counted; nothing changed.
    Mistyped,
}

/// Why an attempt is not taken. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptRefusal {
    /// The person's fault, or bad luck: nothing is to be verified now.
    #[error("nothing is to be verified in the pairing's state")]
    WrongState,
    /// The person's fault: the device does not show this in its mode.
    #[error("the device does not show this in the chosen mode")]
    NotShown,
    /// The person's fault: the end of the serial number is asked for, and is missing or has another length.
    #[error("the last characters of the serial number are asked for")]
    SerialNeeded,
    /// The caller's fault: the idempotency key stands for another attempt.
    #[error("the idempotency key was used for another attempt")]
    KeyReused,
    /// Our fault: the proof cannot be encoded.
    #[error(transparent)]
    Encode(#[from] CborError),
}

impl Session {
    /// Counts an attempt. What a person brought is not looked at before the shell has stored the count. `serial_ending` counts
    /// where it is asked for.
    pub fn begin_attempt(
        &mut self,
        key: SessionId,
        proof: &VerificationProof,
        serial_ending: Option<&str>,
        now: UnixMillis,
    ) -> Result<Begun, AttemptRefusal> {
        let ending = if self.asks_serial {
            let read = serial_ending.and_then(|typed| SerialEnding::read(typed, &self.information.serial_number));
            Some(read.ok_or(AttemptRefusal::SerialNeeded)?)
        } else {
            None
        };
        let Ok(proof) = Proof::parse(proof) else { return Ok(Begun::Mistyped) };
        let said = ("wardlink attempt", &proof, ending.as_ref().map(SerialEnding::as_str));
        let hash = schedule::message_hash(&cbor::encode(&said)?);
        if let Some(known) = self.attempts.iter().find(|attempt| attempt.key == key) {
            return match known.result {
                _ if !schedule::same(&known.proof, &hash) => Err(AttemptRefusal::KeyReused),
                Some(result) => Ok(Begun::Repeated(result)),
                // Counted, but never compared: the power failed in between.
                None => Ok(Begun::Counted(PendingAttempt { key, proof, ending })),
            };
        }
        let State::Verifying(state) = &self.state else { return Err(AttemptRefusal::WrongState) };
        if self.is_due(now) || self.attempts_left() == 0 {
            return Err(AttemptRefusal::WrongState);
        }
        if !proof.is_shown_by(state.commanded.choice) {
            return Err(AttemptRefusal::NotShown);
        }
        self.attempts.push(Attempt { key, proof: hash, result: None });
        Ok(Begun::Counted(PendingAttempt { key, proof, ending }))
    }

    /// Compares a counted attempt, in constant time. A match confirms the pairing; the last wrong one ends it.
    pub fn decide<R: CryptoRng>(
        &mut self,
        attempt: PendingAttempt,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(VerifyResult, Vec<Action>), Refusal> {
        let PendingAttempt { key, proof, ending } = attempt;
        let State::Verifying(state) = &self.state else { return Err(Refusal::WrongState) };
        let undecided = |attempt: &Attempt| attempt.key == key && attempt.result.is_none();
        if self.is_due(now) || !self.attempts.iter().any(undecided) {
            return Err(Refusal::WrongState);
        }
        let state = (**state).clone();
        let check = Check {
            keys: &state.commanded.keys,
            nonce: &state.nonce,
            session: self.id,
            device: &self.device,
            choice: state.commanded.choice,
            origin: &state.commanded.origin,
        };
        let is_shown = check.matches(&proof).map_err(MessageError::from)?;
        // Both are compared, whatever the first says: nobody learns which of them was wrong.
        let matches = is_shown & self.is_serial(ending.as_ref());
        let result = if matches { VerifyResult::Verified } else { VerifyResult::Wrong };
        let wrong = self.attempts.len() >= usize::try_from(MAX_WRONG_ATTEMPTS).unwrap_or(0);
        let actions = if matches {
            self.confirm(&state.commanded, &state.nonce, proof.mode(), control_unit, now, rng)?
        } else if wrong {
            self.end(control_unit.signer, RefusalReason::WrongCode, String::new(), now, rng)?
        } else {
            Vec::new()
        };
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.key == key) {
            attempt.result = Some(result);
        }
        Ok((result, actions))
    }

    /// Whether this is the end of the serial number, where it is asked for.
    fn is_serial(&self, ending: Option<&SerialEnding>) -> bool {
        !self.asks_serial
            || SerialEnding::of(&self.information.serial_number)
                .zip(ending)
                .is_some_and(|(expected, ending)| expected.is_same(ending))
    }
}

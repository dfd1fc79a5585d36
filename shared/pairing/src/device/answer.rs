//! The answer that a person carries from the control unit to a device without CertCA: counted first, compared afterwards.
//!
//! Whoever stood between has other keys on each side, so that his answer is another one; he learns Nd too late to choose it.

use subtle::ConstantTimeEq;
use wardlink_protocol::limits::MAX_WRONG_ANSWERS;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::verification::Answer;

use super::{DevicePairing, Refusal, State, Unanswered};

/// An answer that is counted. The snapshot has to be stored before it is decided.
#[must_use = "a counted answer has to be decided, once the snapshot is stored"]
pub struct PendingAnswer(Answer);

/// How an answer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerResult {
    /// It matched: the pairing is committed.
    Right,
    /// It did not match. With the last one the pairing ended, and nothing of it is left.
    Wrong,
}

impl DevicePairing {
    /// Counts an answer that a person entered. It is not looked at before the shell has stored the count.
    pub fn begin_answer(&mut self, answer: Answer) -> Result<PendingAnswer, Refusal> {
        match &mut self.state {
            State::Unanswered(state) if state.tries_left() > 0 => {
                state.counted += 1;
                Ok(PendingAnswer(answer))
            }
            _ => Err(Refusal::WrongState),
        }
    }

    /// Compares a counted answer, in constant time. The right one commits the pairing with its CertCA; the last wrong one ends it.
    #[expect(clippy::needless_pass_by_value, reason = "what was counted once is compared once")]
    pub fn decide_answer(&mut self, answer: PendingAnswer) -> Result<AnswerResult, Refusal> {
        let PendingAnswer(answer) = answer;
        let State::Unanswered(state) = &self.state else { return Err(Refusal::WrongState) };
        if bool::from(state.answer.as_ascii().ct_eq(answer.as_ascii())) {
            self.state = State::Confirmed(Box::new(state.confirmed.clone()));
            return Ok(AnswerResult::Right);
        }
        self.refuse_after_last_answer();
        Ok(AnswerResult::Wrong)
    }

    /// Ends the pairing if no try is left; also where the power failed after the last one was counted.
    pub(super) fn refuse_after_last_answer(&mut self) {
        if matches!(&self.state, State::Unanswered(state) if state.tries_left() == 0) {
            self.state = State::Refused { reason: RefusalReason::WrongCode, note: String::new() };
        }
    }
}

impl Unanswered {
    pub(super) const fn tries_left(&self) -> u32 {
        MAX_WRONG_ANSWERS.saturating_sub(self.counted)
    }
}

//! What counts of a batch: each record is possible, and its time can be.
//!
//! A batch whose chain holds is taken whole, as it was signed: one wrong value must neither block what comes after it nor disappear. A record
//! that cannot be is refused for everything that looks at records: it is stored beside the step that failed, and goes to no rule, no plot and no outside database.
//! When a definition changes, the shell checks such records again.

use wardlink_protocol::UnixMillis;

use crate::decimal::Billionths;
use crate::kind::{Definitions, Impossible};
use crate::limits::{MAX_CLOCK_AHEAD, MAX_RECORD_AGE};
use crate::record::{Content, Record, Response};

/// Why a record is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetAside {
    /// The value cannot be.
    #[error(transparent)]
    Value(#[from] Impossible),
    /// Its time lies ahead: the device's clock is wrong.
    #[error("its time is in the future")]
    Future,
    /// Its time lies too far back: the device's clock is wrong.
    #[error("its time is too long ago")]
    Past,
    /// A span of time that ends before it begins, or of no records.
    #[error("the note of missing records cannot be")]
    Span,
}

impl SetAside {
    /// The step that failed, as people and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Value(Impossible::Kind | Impossible::Question) => "definition",
            Self::Value(Impossible::Unit) => "unit",
            Self::Value(Impossible::Range) => "range",
            Self::Value(Impossible::Answer) => "answer",
            Self::Future | Self::Past => "time",
            Self::Span => "note",
        }
    }
}

/// What a record that counts says, ready to be compared: in the unit of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted<'a> {
    /// A quantity in the unit of its kind, or a number that was answered.
    Number(Billionths),
    /// Another answer.
    Response(&'a Response),
    /// Records are missing here.
    Unrecorded,
}

/// Checks a record that is received at `now`.
pub fn check<'a>(record: &'a Record, known: &Definitions, now: UnixMillis) -> Result<Counted<'a>, SetAside> {
    if record.at > now.after(MAX_CLOCK_AHEAD) {
        return Err(SetAside::Future);
    }
    if now.since(record.at) > MAX_RECORD_AGE {
        return Err(SetAside::Past);
    }
    match &record.content {
        Content::Measure(measure) => Ok(Counted::Number(known.measured(measure)?)),
        Content::Answer(answer) => {
            known.answered(answer)?;
            Ok(match &answer.response {
                Response::Number(number) => Counted::Number(number.billionths()),
                response => Counted::Response(response),
            })
        }
        Content::Unrecorded(span) if span.count == 0 || span.from > span.until => Err(SetAside::Span),
        Content::Unrecorded(_) => Ok(Counted::Unrecorded),
    }
}

#[cfg(test)]
mod tests;

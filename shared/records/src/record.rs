//! One record of stored data: a quantity with its unit, or an answer to a question (paragraph 0033).

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::{PatientReference, RecordChain};

use crate::decimal::Decimal;
use crate::name::{Choice, Instrument, Kind, Question, Text, Unit};

/// One record. Its number is its place: that of the batch's first record, and how far behind that it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When it was measured or answered, by the device's clock.
    pub at: UnixMillis,
    /// Whose it is; none where the device does not know and, as it is stored, the catalog does not either.
    pub patient: Option<PatientReference>,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A physiological or technical measure.
    Measure(Measure),
    /// A quality-of-life answer.
    Answer(Answer),
    /// The device's store was full: records are missing here.
    Unrecorded(Unrecorded),
}

/// A quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// What was measured.
    pub kind: Kind,
    /// How much.
    pub value: Decimal,
    /// In which unit.
    pub unit: Unit,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The questionnaire.
    pub instrument: Instrument,
    /// The question.
    pub question: Question,
    /// What was answered.
    pub response: Response,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// One of several choices.
    Choice(Choice),
    /// A number, such as a place on a scale.
    Number(Decimal),
    /// Own words.
    Text(Text),
}

/// Records that a device could not keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unrecorded {
    /// How many.
    pub count: u64,
    /// The time of the first of them.
    pub from: UnixMillis,
    /// The time of the last of them.
    pub until: UnixMillis,
}

/// Which record of a device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordId {
    /// The chain.
    pub chain: RecordChain,
    /// Its number within the chain, from 1.
    pub sequence: u64,
}

/// What belongs together in a plot or a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Series {
    /// One kind of measurement.
    Kind(Kind),
    /// The answers to one question.
    Question(Instrument, Question),
}

impl Record {
    /// The series that it belongs to; none for a note that records are missing.
    pub fn series(&self) -> Option<Series> {
        match &self.content {
            Content::Measure(measure) => Some(Series::Kind(measure.kind.clone())),
            Content::Answer(answer) => Some(Series::Question(answer.instrument.clone(), answer.question.clone())),
            Content::Unrecorded(_) => None,
        }
    }
}

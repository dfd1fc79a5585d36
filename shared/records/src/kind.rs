//! What can be measured and asked: which values are possible at all.
//!
//! A range says what a device can technically measure in a living body. What lies outside is an error of the device, not an alarm:
//! conditions are for [`crate::rules`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::decimal::{Billionths, Decimal};
use crate::name::{Choice, Instrument, Kind, Question, Unit};
use crate::record::{Answer, Measure, Response};
use crate::unit::{convert, dimension};

mod defaults;

/// One kind of measurement. As it is written it counts only when [`Definitions::define`] takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindDefinition {
    /// The unit in which it is compared and shown; devices may send others of the same dimension.
    pub unit: Unit,
    /// The least possible value, in that unit.
    pub least: Decimal,
    /// The greatest possible value, in that unit.
    pub greatest: Decimal,
    /// What people call it, in English.
    pub english: String,
    /// What people call it, in German.
    pub german: String,
}

/// What may be answered to a question. As it is written it counts only when [`Definitions::ask`] takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// One of these.
    Choices(BTreeSet<Choice>),
    /// A number, both ends included.
    Number(Decimal, Decimal),
    /// Own words.
    Text,
}

/// Why a definition is refused. The caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// A unit that is not understood.
    #[error("the unit is not understood")]
    Unit,
    /// Another unit than before: states of rules, plots and rows would mix the two.
    #[error("the unit of a kind never changes: define another kind")]
    UnitChanged,
    /// A range without a value.
    #[error("the range's end lies before its beginning")]
    Range,
    /// A question without an answer.
    #[error("there is nothing to choose from")]
    Choices,
}

/// Why a value does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// A kind of measurement that nobody has defined.
    #[error("the kind of measurement is unknown")]
    Kind,
    /// A unit that is not understood, or that measures something else.
    #[error("the unit does not fit the kind of measurement")]
    Unit,
    /// A value that cannot be.
    #[error("the value is out of range")]
    Range,
    /// A question that nobody has defined.
    #[error("the question is unknown")]
    Question,
    /// An answer that is not one of the choices, or not of the right form.
    #[error("the answer is not one that the question allows")]
    Answer,
}

/// What a site knows of: kinds of measurement, and questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definitions {
    kinds: BTreeMap<Kind, KindDefinition>,
    questions: BTreeMap<(Instrument, Question), Allowed>,
}

impl Default for Definitions {
    /// Those of the patent's device classes and of infusion pumps, and a questionnaire of our own.
    fn default() -> Self {
        Self { kinds: defaults::kinds(), questions: defaults::questions() }
    }
}

impl Definitions {
    /// Knows of nothing.
    pub const fn none() -> Self {
        Self { kinds: BTreeMap::new(), questions: BTreeMap::new() }
    }

    /// Defines a kind of measurement, in place of what it was before; its unit stays.
    pub fn define(&mut self, kind: Kind, definition: KindDefinition) -> Result<(), InvalidDefinition> {
        dimension(&definition.unit).ok_or(InvalidDefinition::Unit)?;
        if definition.least.billionths() > definition.greatest.billionths() {
            return Err(InvalidDefinition::Range);
        }
        if self.kinds.get(&kind).is_some_and(|before| before.unit != definition.unit) {
            return Err(InvalidDefinition::UnitChanged);
        }
        self.kinds.insert(kind, definition);
        Ok(())
    }

    /// Defines a question, in place of what it was before.
    pub fn ask(
        &mut self,
        instrument: Instrument,
        question: Question,
        allowed: Allowed,
    ) -> Result<(), InvalidDefinition> {
        match &allowed {
            Allowed::Choices(choices) if choices.is_empty() => return Err(InvalidDefinition::Choices),
            Allowed::Number(least, greatest) if least.billionths() > greatest.billionths() => {
                return Err(InvalidDefinition::Range);
            }
            _ => {}
        }
        self.questions.insert((instrument, question), allowed);
        Ok(())
    }

    /// A kind of measurement.
    pub fn kind(&self, kind: &Kind) -> Option<&KindDefinition> {
        self.kinds.get(kind)
    }

    /// Every kind of measurement.
    pub fn kinds(&self) -> impl Iterator<Item = (&Kind, &KindDefinition)> {
        self.kinds.iter()
    }

    /// Every question.
    pub fn questions(&self) -> impl Iterator<Item = (&Instrument, &Question, &Allowed)> {
        self.questions.iter().map(|((instrument, question), allowed)| (instrument, question, allowed))
    }

    /// What may be answered to a question.
    pub fn question(&self, instrument: &Instrument, question: &Question) -> Option<&Allowed> {
        self.questions.get(&(instrument.clone(), question.clone()))
    }

    /// A measurement's value in the unit of its kind, if it is possible.
    pub fn measured(&self, measure: &Measure) -> Result<Billionths, Impossible> {
        let definition = self.kinds.get(&measure.kind).ok_or(Impossible::Kind)?;
        let value = convert(measure.value.billionths(), &measure.unit, &definition.unit).ok_or(Impossible::Unit)?;
        let possible = definition.least.billionths()..=definition.greatest.billionths();
        if possible.contains(&value) { Ok(value) } else { Err(Impossible::Range) }
    }

    /// Whether an answer is one of those that its question allows.
    pub fn answered(&self, answer: &Answer) -> Result<(), Impossible> {
        let allowed = self.question(&answer.instrument, &answer.question).ok_or(Impossible::Question)?;
        match (allowed, &answer.response) {
            (Allowed::Choices(choices), Response::Choice(choice)) if choices.contains(choice) => Ok(()),
            (Allowed::Text, Response::Text(_)) => Ok(()),
            (Allowed::Number(least, greatest), Response::Number(number)) => {
                let possible = least.billionths()..=greatest.billionths();
                if possible.contains(&number.billionths()) { Ok(()) } else { Err(Impossible::Range) }
            }
            _ => Err(Impossible::Answer),
        }
    }
}

#[cfg(test)]
mod tests;

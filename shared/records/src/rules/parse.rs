//! Rules as people write them: JSON, read strictly. An error says where it is.

use core::time::Duration;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::error::Category;

use super::{Condition, Limit, Rule, Rules, Severity};
use crate::decimal::{Billionths, Decimal};
use crate::kind::{Allowed, Definitions};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_RULE_CHOICES, MAX_RULE_TIME, MAX_RULES, MAX_RULES_BYTES};
use crate::name::{Choice, Instrument, Kind, Question, RuleId, Unit};
use crate::record::Series;
use crate::unit::convert;

/// Why rules are refused. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// More than is read.
    #[error("the rules are longer than {MAX_RULES_BYTES} bytes")]
    TooLong,
    /// No JSON, or a member that is missing, unknown or of the wrong form.
    #[error("line {line}, column {column}: {problem}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Too many rules.
    #[error("there are more than {MAX_RULES} rules")]
    TooMany,
    /// A rule that says something impossible.
    #[error("rule {number} ({id}), {member}: {flaw}")]
    Rule {
        /// Which rule, from 1.
        number: usize,
        /// Its name.
        id: RuleId,
        /// Which member.
        member: &'static str,
        /// What is wrong there.
        flaw: Flaw,
    },
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Two rules with one name.
    #[error("another rule has this name")]
    Twice,
    /// A version that is none.
    #[error("versions begin with 1")]
    Version,
    /// A kind of measurement, or a question, that nobody has defined.
    #[error("it is not known")]
    Unknown,
    /// Not exactly one limit.
    #[error("it takes exactly one of above, below and one_of")]
    Limit,
    /// A unit where none belongs, or none where one does.
    #[error("a number of a measurement has a unit, and other values have none")]
    UnitMissing,
    /// A unit that does not fit.
    #[error("the unit does not fit the kind of measurement")]
    Unit,
    /// A limit that no value, or every one, lies beyond.
    #[error("no possible value, or every one, lies beyond it")]
    Idle,
    /// A question that is not answered so.
    #[error("the question is not answered in this form")]
    Form,
    /// A choice that the question does not have.
    #[error("the question does not have this choice")]
    Choice,
    /// A change of nothing, or a negative one.
    #[error("it has to be more than 0")]
    Zero,
    /// A time of nothing, or one that is too long.
    #[error("it has to be 1 second to 90 days")]
    Time,
    /// A message that is empty or too long, or has control characters.
    #[error("it has to be one line of 1 to {MAX_MESSAGE_BYTES} bytes")]
    Message,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: RuleId,
    version: u32,
    severity: Severity,
    series: RawSeries,
    condition: RawCondition,
    message: RawMessage,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawSeries {
    Kind(Kind),
    Question(RawQuestion),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuestion {
    instrument: Instrument,
    question: Question,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawCondition {
    Threshold(RawLimit),
    Duration(RawDuration),
    Trend(RawTrend),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    above: Option<Decimal>,
    below: Option<Decimal>,
    one_of: Option<Vec<Choice>>,
    unit: Option<Unit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDuration {
    limit: RawLimit,
    seconds: u64,
    gap_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrend {
    rises: Option<Decimal>,
    falls: Option<Decimal>,
    unit: Option<Unit>,
    within_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage {
    en: String,
    de: String,
}

/// A member, and what is wrong with it.
type Found<T> = Result<T, (&'static str, Flaw)>;

impl Rules {
    /// Reads rules about what is defined. Either all of them count, or none.
    pub fn parse(text: &str, known: &Definitions) -> Result<Self, InvalidRules> {
        if text.len() > MAX_RULES_BYTES {
            return Err(InvalidRules::TooLong);
        }
        let raw: RawRules = serde_json::from_str(text).map_err(|error| json_error(&error))?;
        if raw.rules.len() > MAX_RULES {
            return Err(InvalidRules::TooMany);
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (place, raw) in raw.rules.into_iter().enumerate() {
            let id = raw.id.clone();
            let is_twice = rules.iter().any(|rule| rule.id == id);
            let read = if is_twice { Err(("id", Flaw::Twice)) } else { rule(raw, known) };
            let of = |(member, flaw)| InvalidRules::Rule { number: place + 1, id, member, flaw };
            rules.push(read.map_err(of)?);
        }
        Ok(Self(rules))
    }
}

fn json_error(error: &serde_json::Error) -> InvalidRules {
    let problem = match error.classify() {
        Category::Eof => "the text ends too early".to_owned(),
        Category::Syntax | Category::Data | Category::Io => {
            let text = error.to_string();
            // The place stands beside it.
            text.rsplit_once(" at line ").map_or(text.clone(), |(problem, _)| problem.to_owned())
        }
    };
    InvalidRules::Json { line: error.line(), column: error.column(), problem }
}

fn rule(raw: RawRule, known: &Definitions) -> Found<Rule> {
    if raw.version == 0 {
        return Err(("version", Flaw::Version));
    }
    let series = match raw.series {
        RawSeries::Kind(kind) => Series::Kind(kind),
        RawSeries::Question(RawQuestion { instrument, question }) => Series::Question(instrument, question),
    };
    let values = Values::of(&series, known).ok_or(("series", Flaw::Unknown))?;
    let condition = match raw.condition {
        RawCondition::Threshold(raw) => Condition::Threshold(limit(raw, &values)?),
        RawCondition::Duration(raw) => Condition::Duration {
            limit: limit(raw.limit, &values)?,
            lasts: time(raw.seconds).ok_or(("condition.duration.seconds", Flaw::Time))?,
            gap: time(raw.gap_seconds).ok_or(("condition.duration.gap_seconds", Flaw::Time))?,
        },
        RawCondition::Trend(raw) => trend(&raw, &values)?,
    };
    let (english, german) = (
        message(raw.message.en).ok_or(("message.en", Flaw::Message))?,
        message(raw.message.de).ok_or(("message.de", Flaw::Message))?,
    );
    Ok(Rule { id: raw.id, version: raw.version, severity: raw.severity, series, condition, english, german })
}

/// What the values of a series are.
enum Values<'a> {
    /// Quantities in this unit, within these bounds.
    Quantities(&'a Unit, Billionths, Billionths),
    /// Numbers within these bounds.
    Numbers(Billionths, Billionths),
    Choices(&'a BTreeSet<Choice>),
    Text,
}

impl<'a> Values<'a> {
    fn of(series: &Series, known: &'a Definitions) -> Option<Self> {
        Some(match series {
            Series::Kind(kind) => {
                let definition = known.kind(kind)?;
                Self::Quantities(&definition.unit, definition.least.billionths(), definition.greatest.billionths())
            }
            Series::Question(instrument, question) => match known.question(instrument, question)? {
                Allowed::Number(least, greatest) => Self::Numbers(least.billionths(), greatest.billionths()),
                Allowed::Choices(choices) => Self::Choices(choices),
                Allowed::Text => Self::Text,
            },
        })
    }

    /// A number in the unit of the series, with the series' bounds. A difference is not shifted by a unit's zero.
    fn number(
        &self,
        number: Decimal,
        unit: Option<&Unit>,
        is_difference: bool,
    ) -> Result<(Billionths, Billionths, Billionths), Flaw> {
        let number = number.billionths();
        match (self, unit) {
            (Self::Quantities(own, least, greatest), Some(unit)) => {
                let value = convert(number, unit, own).ok_or(Flaw::Unit)?;
                let zero = if is_difference { convert(Billionths(0), unit, own).ok_or(Flaw::Unit)?.0 } else { 0 };
                Ok((Billionths(value.0.saturating_sub(zero)), *least, *greatest))
            }
            (Self::Numbers(least, greatest), None) => Ok((number, *least, *greatest)),
            (Self::Quantities(..), None) | (Self::Numbers(..), Some(_)) => Err(Flaw::UnitMissing),
            (Self::Choices(_) | Self::Text, _) => Err(Flaw::Form),
        }
    }
}

fn limit(raw: RawLimit, values: &Values<'_>) -> Found<Limit> {
    const MEMBER: &str = "condition";
    let unit = raw.unit.as_ref();
    let flawed = |flaw| (MEMBER, flaw);
    match (raw.above, raw.below, raw.one_of) {
        (Some(above), None, None) => {
            let (limit, least, greatest) = values.number(above, unit, false).map_err(flawed)?;
            if limit < least || limit >= greatest { Err(flawed(Flaw::Idle)) } else { Ok(Limit::Above(limit)) }
        }
        (None, Some(below), None) => {
            let (limit, least, greatest) = values.number(below, unit, false).map_err(flawed)?;
            if limit <= least || limit > greatest { Err(flawed(Flaw::Idle)) } else { Ok(Limit::Below(limit)) }
        }
        (None, None, Some(choices)) => {
            let Values::Choices(allowed) = values else { return Err(flawed(Flaw::Form)) };
            if unit.is_some() {
                return Err(flawed(Flaw::UnitMissing));
            }
            if choices.is_empty() || choices.len() > MAX_RULE_CHOICES {
                return Err(flawed(Flaw::Limit));
            }
            let chosen: BTreeSet<Choice> = choices.into_iter().collect();
            if !chosen.is_subset(allowed) {
                return Err(flawed(Flaw::Choice));
            }
            if chosen == **allowed { Err(flawed(Flaw::Idle)) } else { Ok(Limit::OneOf(chosen)) }
        }
        _ => Err(flawed(Flaw::Limit)),
    }
}

fn trend(raw: &RawTrend, values: &Values<'_>) -> Found<Condition> {
    let ((Some(change), None) | (None, Some(change))) = (raw.rises, raw.falls) else {
        return Err(("condition.trend", Flaw::Limit));
    };
    let (by, least, greatest) =
        values.number(change, raw.unit.as_ref(), true).map_err(|flaw| ("condition.trend", flaw))?;
    if by <= Billionths(0) {
        return Err(("condition.trend", Flaw::Zero));
    }
    if by.0 > greatest.0.saturating_sub(least.0) {
        return Err(("condition.trend", Flaw::Idle));
    }
    let within = time(raw.within_seconds).ok_or(("condition.trend.within_seconds", Flaw::Time))?;
    Ok(if raw.rises.is_some() { Condition::Rise { by, within } } else { Condition::Fall { by, within } })
}

fn time(seconds: u64) -> Option<Duration> {
    let time = Duration::from_secs(seconds);
    (seconds > 0 && time <= MAX_RULE_TIME).then_some(time)
}

fn message(text: String) -> Option<String> {
    let is_line = !text.trim().is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.chars().any(char::is_control);
    is_line.then_some(text)
}

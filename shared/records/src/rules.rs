//! Rules: conditions that are looked for in what devices report (paragraph 0033).
//!
//! A rule has one of three forms: a value beyond a threshold, one that stays there for a time, and one that rises or falls by
//! so much within a time. It has a version, and says in two languages what it means. Which records caused a [`Flag`], and which version of the rule,
//! stands in the flag. Rules are decision support for people: they raise no alarm and steer no device.

use core::time::Duration;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{PatientReference, Sha256};

use crate::check::Counted;
use crate::decimal::Billionths;
use crate::name::{Choice, RuleId};
use crate::record::{RecordId, Response, Series};

mod evaluation;
mod parse;

pub use evaluation::{Change, Evaluation, Seen, State, StateId};
pub use parse::{Flaw, InvalidRules};

/// How urgent it is to look at a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Information,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

/// Which values a rule looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Above this, in the unit of the series.
    Above(Billionths),
    /// Below this, in the unit of the series.
    Below(Billionths),
    /// One of these answers.
    OneOf(BTreeSet<Choice>),
}

/// The form of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A value is beyond the limit.
    Threshold(Limit),
    /// Every value is beyond the limit for so long.
    Duration {
        /// The limit.
        limit: Limit,
        /// For how long, from the first value to the last.
        lasts: Duration,
        /// The longest time between two values: where nothing was measured for longer, it begins anew.
        gap: Duration,
    },
    /// A value lies so much above the least one of the time before.
    Rise {
        /// How much, in the unit of the series; more than 0.
        by: Billionths,
        /// Within which time.
        within: Duration,
    },
    /// A value lies so much below the greatest one of the time before.
    Fall {
        /// How much, in the unit of the series; more than 0.
        by: Billionths,
        /// Within which time.
        within: Duration,
    },
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    id: RuleId,
    version: u32,
    severity: Severity,
    series: Series,
    condition: Condition,
    english: String,
    german: String,
}

/// A set of rules, read by [`Rules::parse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rule {
    /// Its name, which is the same in every version.
    pub const fn id(&self) -> &RuleId {
        &self.id
    }

    /// Its version, from 1.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// How urgent its flags are.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// What it looks at.
    pub const fn series(&self) -> &Series {
        &self.series
    }

    /// What it looks for.
    pub const fn condition(&self) -> &Condition {
        &self.condition
    }

    /// What it means, in English.
    pub fn english(&self) -> &str {
        &self.english
    }

    /// What it means, in German.
    pub fn german(&self) -> &str {
        &self.german
    }

    /// The SHA-256 of everything that it says but its name and version: two rules with the same one raise the same flags.
    pub fn meaning(&self) -> Result<Sha256, CborError> {
        let Self { id: _, version: _, severity, series, condition, english, german } = self;
        Ok(message_hash(&cbor::encode(&(severity, series, condition, english, german))?))
    }
}

impl Rules {
    /// The rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

impl Limit {
    /// Whether a value lies beyond the limit.
    fn holds(&self, counted: &Counted<'_>) -> bool {
        match (self, counted) {
            (Self::Above(limit), Counted::Number(value)) => value > limit,
            (Self::Below(limit), Counted::Number(value)) => value < limit,
            (Self::OneOf(choices), Counted::Response(Response::Choice(choice))) => choices.contains(choice),
            _ => false,
        }
    }
}

/// Which flag it is: the rule with its version, and the record with which the condition began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagId {
    /// The rule.
    pub rule: RuleId,
    /// Its version.
    pub version: u32,
    /// The first record for which the condition held.
    pub first: RecordId,
}

/// A condition that was found in the records of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Which one.
    pub id: FlagId,
    /// How urgent it is.
    pub severity: Severity,
    /// Whose records they are.
    pub patient: Option<PatientReference>,
    /// The time of the first record for which the condition held.
    pub from: UnixMillis,
    /// The time of the last one so far.
    pub until: UnixMillis,
    /// For how many records it held.
    pub count: u64,
    /// The records that caused it: the first ones for which it held, and the last one. For a rise or fall, before those the one that the first is
    /// compared with.
    pub records: Vec<RecordId>,
}

#[cfg(test)]
mod tests;

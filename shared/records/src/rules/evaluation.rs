//! Rules are evaluated record by record, in the order of the records' times, whatever order they come in.
//!
//! For each rule and patient the newest records stay unsettled: [`LATENESS`] back from the newest time, and at most
//! [`MAX_UNSETTLED`] of them. One that comes late is put in its place, and flags that follow from it are raised, changed or withdrawn. So the
//! flags depend on the records alone, not on the order of their arrival. What is older is settled: a record that comes even later is judged by thresholds for
//! itself, and by the other two forms not at all; it is counted.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::{PatientReference, RecordChain};

use super::{Condition, Flag, FlagId, Rule, Rules};
use crate::check::Counted;
use crate::decimal::Billionths;
use crate::limits::{LATENESS, MAX_FLAG_RECORDS, MAX_LOOKBACK, MAX_RULE_STATES, MAX_UNSETTLED};
use crate::name::RuleId;
use crate::record::{Record, RecordId};

/// A record that counts.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which one.
    pub id: RecordId,
    /// The record.
    pub record: &'a Record,
    /// What [`crate::check::check`] says of it.
    pub counted: Counted<'a>,
}

/// What changed among the flags of a device. The shell applies it to what it has stored, in the same write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A flag is new, or there is more to it: it takes the place of the one with the same id.
    Raised(Flag),
    /// A late record shows that there is no such flag, or that it began with another record.
    Withdrawn(FlagId),
}

/// What the rules remember of one device. The shell stores what has [changed](Self::changed) in one write with the records that were fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The one that was used last stands last.
    states: Vec<State>,
    late: u64,
    /// Those that are new, other or no longer there since the evaluation was restored.
    changed: BTreeSet<StateId>,
}

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateId {
    /// The rule.
    pub rule: RuleId,
    /// The patient, where the device or the catalog knows.
    pub patient: Option<PatientReference>,
}

/// What one rule remembers of one patient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    rule: RuleId,
    version: u32,
    patient: Option<PatientReference>,
    settled: Settled,
    /// In the order of time.
    unsettled: Vec<Point>,
}

/// A value at its time. Two of the same time are ordered by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
struct Point {
    at: UnixMillis,
    id: RecordId,
    /// None where it is no number.
    value: Option<Billionths>,
    /// Whether it lies beyond the rule's limit.
    beyond: bool,
}

/// There are many of them: without the names of their fields.
type Packed = (UnixMillis, RecordChain, u64, Option<Billionths>, bool);

impl From<Packed> for Point {
    fn from((at, chain, sequence, value, beyond): Packed) -> Self {
        Self { at, id: RecordId { chain, sequence }, value, beyond }
    }
}

impl From<Point> for Packed {
    fn from(Point { at, id: RecordId { chain, sequence }, value, beyond }: Point) -> Self {
        (at, chain, sequence, value, beyond)
    }
}

/// What is left of the settled records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settled {
    /// The last of them.
    end: Option<(UnixMillis, RecordId)>,
    run: Option<Run>,
    /// For a trend: those that a later one may be compared with, each more extreme than the ones before it are.
    lookback: Vec<Point>,
}

/// Records in a row for which the condition holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// For a trend: what the first was compared with.
    against: Option<RecordId>,
    from: UnixMillis,
    until: UnixMillis,
    count: u64,
    /// At least one; at most [`MAX_FLAG_RECORDS`].
    first: Vec<RecordId>,
    last: RecordId,
}

impl Point {
    const fn key(&self) -> (UnixMillis, RecordId) {
        (self.at, self.id)
    }
}

impl Rules {
    /// Whose states these records concern: no others are looked at or changed when they are [fed](Evaluation::feed).
    pub fn concerned<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<StateId> {
        let of = |record: &Record| {
            let (series, patient) = (record.series(), record.patient);
            let rules = self.iter().filter(move |rule| series.as_ref() == Some(rule.series()));
            rules.map(move |rule| StateId { rule: rule.id.clone(), patient })
        };
        records.into_iter().flat_map(of).collect()
    }
}

impl Evaluation {
    /// Looks at records that are new, and answers what changes. States of rules that are no longer there, or have another version, are
    /// forgotten; the flags that they raised stay.
    pub fn feed<'a>(&mut self, rules: &Rules, records: impl IntoIterator<Item = Seen<'a>>) -> Vec<Change> {
        let is_there = |state: &State| rules.iter().any(|rule| rule.id == state.rule && rule.version == state.version);
        let (there, gone): (Vec<State>, Vec<State>) = self.states.drain(..).partition(is_there);
        self.states = there;
        self.forget(&gone);
        let records: Vec<Seen<'a>> = records.into_iter().collect();
        let mut changes = Vec::new();
        for rule in rules.iter() {
            let mut points: BTreeMap<Option<PatientReference>, Vec<Point>> = BTreeMap::new();
            for seen in records.iter().filter(|seen| seen.record.series().as_ref() == Some(rule.series())) {
                points.entry(seen.record.patient).or_default().push(point(rule, seen));
            }
            for (patient, points) in points {
                let mut state = self.take(rule, patient);
                let before = state.flags(rule);
                for point in points {
                    if !state.insert(point) {
                        self.late = self.late.saturating_add(1);
                        changes.extend(alone(rule, patient, &point).map(Change::Raised));
                    }
                }
                changes.extend(difference(before, state.flags(rule)));
                state.settle(rule);
                self.changed.insert(state.id());
                self.states.push(state);
            }
        }
        let over = self.states.len().saturating_sub(MAX_RULE_STATES);
        let over: Vec<State> = self.states.drain(..over).collect();
        self.forget(&over);
        changes
    }

    /// Goes on with what was stored: the states in the order in which they were used, and how many records came too late. Of the states, those
    /// that the records [concern](Rules::concerned) are enough; then the shell keeps to [`MAX_RULE_STATES`] in all.
    pub fn restore(states: Vec<State>, late: u64) -> Self {
        Self { states, late, changed: BTreeSet::new() }
    }

    /// What is to be stored since the evaluation was restored: the states that are new or other, in the order of use, behind all
    /// that stay as they are; and those that are forgotten.
    pub fn changed(&self) -> (Vec<&State>, Vec<&StateId>) {
        let kept: Vec<&State> = self.states.iter().filter(|state| self.changed.contains(&state.id())).collect();
        let there: BTreeSet<StateId> = kept.iter().map(|state| state.id()).collect();
        (kept, self.changed.iter().filter(|id| !there.contains(id)).collect())
    }

    /// How many records came too late to be put in their place, counted for each rule that looks at them.
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// What is remembered for each pair of rule and patient. The one that was used last stands last.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    fn forget(&mut self, states: &[State]) {
        self.changed.extend(states.iter().map(State::id));
    }

    fn take(&mut self, rule: &Rule, patient: Option<PatientReference>) -> State {
        let is_it = |state: &State| state.rule == rule.id && state.patient == patient;
        match self.states.iter().position(is_it) {
            Some(place) => self.states.remove(place),
            None => State {
                rule: rule.id.clone(),
                version: rule.version,
                patient,
                settled: Settled::default(),
                unsettled: Vec::new(),
            },
        }
    }
}

fn point(rule: &Rule, seen: &Seen<'_>) -> Point {
    let beyond = match &rule.condition {
        Condition::Threshold(limit) | Condition::Duration { limit, .. } => limit.holds(&seen.counted),
        Condition::Rise { .. } | Condition::Fall { .. } => false,
    };
    let value = match seen.counted {
        Counted::Number(value) => Some(value),
        Counted::Response(_) | Counted::Unrecorded => None,
    };
    Point { at: seen.record.at, id: seen.id, value, beyond }
}

/// What changes from some flags to others.
fn difference(mut before: BTreeMap<FlagId, Flag>, after: BTreeMap<FlagId, Flag>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, flag) in after {
        if before.remove(&id).as_ref() != Some(&flag) {
            changes.push(Change::Raised(flag));
        }
    }
    changes.extend(before.into_keys().map(Change::Withdrawn));
    changes
}

/// The flag of a record that came too late to have neighbours.
fn alone(rule: &Rule, patient: Option<PatientReference>, point: &Point) -> Option<Flag> {
    let is_beyond = matches!(rule.condition, Condition::Threshold(_)) && point.beyond;
    is_beyond.then(|| Run::new(point, None).flag(rule, patient)).flatten()
}

impl State {
    /// Whose it is.
    pub fn id(&self) -> StateId {
        StateId { rule: self.rule.clone(), patient: self.patient }
    }

    /// Puts a record in its place; false where that is settled.
    fn insert(&mut self, point: Point) -> bool {
        if self.settled.end.is_some_and(|end| point.key() <= end) {
            return false;
        }
        if let Err(place) = self.unsettled.binary_search_by_key(&point.key(), Point::key) {
            self.unsettled.insert(place, point);
        }
        true
    }

    /// The flags that are not settled.
    fn flags(&self, rule: &Rule) -> BTreeMap<FlagId, Flag> {
        let mut settled = self.settled.clone();
        let ended = self.unsettled.iter().filter_map(|point| settled.advance(rule, *point));
        let runs: Vec<Run> = ended.collect();
        let flags = runs.into_iter().chain(settled.run).filter_map(|run| run.flag(rule, self.patient));
        flags.map(|flag| (flag.id.clone(), flag)).collect()
    }

    /// Settles what is old, or too much. What it raised was told before.
    fn settle(&mut self, rule: &Rule) {
        let Some(newest) = self.unsettled.last().map(|point| point.at) else { return };
        let is_old = |point: &Point| newest.since(point.at) > LATENESS;
        let old = self.unsettled.iter().take_while(|point| is_old(point)).count();
        let over = self.unsettled.len().saturating_sub(MAX_UNSETTLED);
        for point in self.unsettled.drain(..old.max(over)) {
            self.settled.advance(rule, point);
            self.settled.end = Some(point.key());
        }
    }
}

impl Settled {
    /// Goes on to the next record; answers the run that it ends.
    fn advance(&mut self, rule: &Rule, point: Point) -> Option<Run> {
        let (holds, against) = match &rule.condition {
            Condition::Threshold(_) | Condition::Duration { .. } => (point.beyond, None),
            Condition::Rise { by, within } => self.compare(&point, *within, |value| value, *by),
            Condition::Fall { by, within } => {
                self.compare(&point, *within, |value| Billionths(value.0.saturating_neg()), *by)
            }
        };
        if !holds {
            return self.run.take();
        }
        let goes_on = match (&rule.condition, &self.run) {
            (Condition::Duration { gap, .. }, Some(run)) => point.at.since(run.until) <= *gap,
            (_, run) => run.is_some(),
        };
        match &mut self.run {
            Some(run) if goes_on => {
                run.extend(&point);
                None
            }
            run => run.replace(Run::new(&point, against)),
        }
    }

    /// Compares a value with the least of the time before, and remembers it for those that follow. For a fall, `turn` is the negative.
    fn compare(
        &mut self,
        point: &Point,
        within: Duration,
        turn: impl Fn(Billionths) -> Billionths,
        by: Billionths,
    ) -> (bool, Option<RecordId>) {
        let height = |point: &Point| point.value.map(&turn);
        let Some(value) = height(point) else { return (false, None) };
        let gone = self.lookback.iter().take_while(|old| point.at.since(old.at) > within).count();
        self.lookback.drain(..gone);
        let least = self.lookback.first().copied();
        let found = least.filter(|least| height(least).is_some_and(|least| value.0.saturating_sub(least.0) >= by.0));
        // Whoever is not lower than this one will never be the least again.
        while self.lookback.last().is_some_and(|last| height(last) >= Some(value)) {
            self.lookback.pop();
        }
        self.lookback.push(*point);
        if self.lookback.len() > MAX_LOOKBACK {
            self.thin();
        }
        (found.is_some(), found.map(|least| least.id))
    }

    /// Forgets the record that lies nearest behind another one, which is lower: a window may be as much shorter as the two lie apart.
    fn thin(&mut self) {
        let pairs = self.lookback.iter().zip(self.lookback.iter().skip(1));
        let nearest = pairs.enumerate().min_by_key(|(_, (before, after))| after.at.since(before.at));
        if let Some(place) = nearest.map(|(place, _)| place + 1) {
            self.lookback.remove(place);
        }
    }
}

impl Run {
    fn new(point: &Point, against: Option<RecordId>) -> Self {
        Self { against, from: point.at, until: point.at, count: 1, first: vec![point.id], last: point.id }
    }

    fn extend(&mut self, point: &Point) {
        (self.until, self.last, self.count) = (point.at, point.id, self.count.saturating_add(1));
        if self.first.len() < MAX_FLAG_RECORDS {
            self.first.push(point.id);
        }
    }

    /// The run as a flag, if it is long enough.
    fn flag(self, rule: &Rule, patient: Option<PatientReference>) -> Option<Flag> {
        if matches!(&rule.condition, Condition::Duration { lasts, .. } if self.until.since(self.from) < *lasts) {
            return None;
        }
        let Self { against, from, until, count, first, last } = self;
        let id = FlagId { rule: rule.id.clone(), version: rule.version, first: *first.first()? };
        let mut records: Vec<RecordId> = against.into_iter().chain(first).collect();
        if records.last() != Some(&last) {
            records.push(last);
        }
        Some(Flag { id, severity: rule.severity, patient, from, until, count, records })
    }
}

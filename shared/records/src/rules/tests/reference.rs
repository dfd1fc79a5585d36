//! What rules mean, in their plainest words: all records at once, in the order of their times, and every pair of them.

use super::*;
use crate::record::Record;
use std::collections::BTreeMap;

/// The flags of one patient's records, by the record with which each begins: how many, and from when to when.
pub(super) fn flags(
    rule: &Rule,
    records: &[(RecordId, Record, Billionths)],
) -> BTreeMap<RecordId, (u64, UnixMillis, UnixMillis)> {
    let mut sorted: Vec<_> = records.iter().map(|(id, record, value)| (record.at, *id, *value)).collect();
    sorted.sort_unstable();
    let holds = |place: usize| {
        let (at, _, value) = sorted[place];
        let before = || sorted[..place].iter().map(|(when, _, value)| (at.since(*when), *value));
        match rule.condition() {
            Condition::Threshold(limit) | Condition::Duration { limit, .. } => limit.holds(&Counted::Number(value)),
            Condition::Rise { by, within } => before().any(|(ago, old)| ago <= *within && value.0 - old.0 >= by.0),
            Condition::Fall { by, within } => before().any(|(ago, old)| ago <= *within && old.0 - value.0 >= by.0),
        }
    };
    let mut found = BTreeMap::new();
    let mut place = 0;
    while place < sorted.len() {
        let start = place;
        while place < sorted.len()
            && holds(place)
            && (place == start || goes_on(rule, sorted[place - 1].0, sorted[place].0))
        {
            place += 1;
        }
        if place == start {
            place += 1;
            continue;
        }
        let (from, until) = (sorted[start].0, sorted[place - 1].0);
        let is_long = !matches!(rule.condition(), Condition::Duration { lasts, .. } if until.since(from) < *lasts);
        if is_long {
            found.insert(sorted[start].1, ((place - start) as u64, from, until));
        }
    }
    found
}

fn goes_on(rule: &Rule, before: UnixMillis, at: UnixMillis) -> bool {
    !matches!(rule.condition(), Condition::Duration { gap, .. } if at.since(before) > *gap)
}

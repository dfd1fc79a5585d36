//! Which sessions want a topic.

use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::topic::TopicFilter;

/// Filters and the sessions that asked for them. Exact filters, which is what devices may use, are found at once.
#[derive(Default)]
pub(crate) struct Subscriptions {
    exact: BTreeMap<TopicFilter, BTreeSet<u64>>,
    wildcards: BTreeMap<TopicFilter, BTreeSet<u64>>,
}

impl Subscriptions {
    pub(crate) fn add(&mut self, filter: &TopicFilter, session: u64) {
        let filters = if filter.has_wildcard() { &mut self.wildcards } else { &mut self.exact };
        filters.entry(filter.clone()).or_default().insert(session);
    }

    pub(crate) fn remove(&mut self, filter: &TopicFilter, session: u64) {
        let filters = if filter.has_wildcard() { &mut self.wildcards } else { &mut self.exact };
        if let Some(sessions) = filters.get_mut(filter) {
            sessions.remove(&session);
            if sessions.is_empty() {
                filters.remove(filter);
            }
        }
    }

    /// The sessions whose filter is exactly `filter`.
    pub(crate) fn of(&self, filter: &TopicFilter) -> Vec<u64> {
        self.exact.get(filter).into_iter().flatten().copied().collect()
    }

    /// The sessions that want `topic`, each once.
    pub(crate) fn matching(&self, topic: &TopicFilter) -> BTreeSet<u64> {
        let wild = self.wildcards.iter().filter(|(filter, _)| filter.matches(topic.as_str()));
        let mut sessions: BTreeSet<u64> = wild.flat_map(|(_, sessions)| sessions.iter().copied()).collect();
        sessions.extend(self.exact.get(topic).into_iter().flatten());
        sessions
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn finds_exact_and_wildcard_filters_once_each() {
        let mut subscriptions = Subscriptions::default();
        let filter = |text: &str| text.parse::<TopicFilter>().unwrap();
        subscriptions.add(&filter("ais/meta/pump"), 1);
        subscriptions.add(&filter("ais/meta/+"), 1);
        subscriptions.add(&filter("ais/#"), 2);
        subscriptions.add(&filter("ais/meta/scale"), 3);
        assert_eq!(subscriptions.matching(&filter("ais/meta/pump")), BTreeSet::from([1, 2]));
        subscriptions.remove(&filter("ais/#"), 2);
        assert_eq!(subscriptions.matching(&filter("ais/meta/scale")), BTreeSet::from([1, 3]));
        assert_eq!(subscriptions.of(&filter("ais/meta/scale")), vec![3]);
    }
}

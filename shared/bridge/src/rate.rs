//! How many requests bare keys may send: token buckets, per key and per address, that survive the object.

use crate::limits::{ADDRESS_BURST, ADDRESS_REFILL, JUNK_BLOCK, KEY_BURST, KEY_REFILL, MAX_BUCKETS};
use crate::storage::{Journal, Table, decode};
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::KeyFingerprint;

/// Whom an address stands for: whoever has one of IPv6 has its whole network of 64 bits (RFC 6177).
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// The budgets of all bare keys and addresses.
pub(crate) struct Budgets {
    keys: Buckets<KeyFingerprint>,
    addresses: Buckets<IpAddr>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            keys: Buckets::new(Table::KeyBudget, KEY_BURST, KEY_REFILL),
            addresses: Buckets::new(Table::AddressBudget, ADDRESS_BURST, ADDRESS_REFILL),
        }
    }
}

impl Budgets {
    /// Takes one request from the budget of the key, and of its address where it is known; false where one of them is used up.
    pub(crate) fn take(
        &mut self,
        key: &KeyFingerprint,
        address: Option<IpAddr>,
        now: UnixMillis,
        journal: &mut Journal,
    ) -> bool {
        let address = address.map(network_of);
        if !self.keys.has(key, now) || !address.is_none_or(|address| self.addresses.has(&address, now)) {
            return false;
        }
        self.keys.take(key, now, journal);
        if let Some(address) = address {
            self.addresses.take(&address, now, journal);
        }
        true
    }

    /// The key sent junk: it is not heard for a while.
    pub(crate) fn block(&mut self, key: &KeyFingerprint, now: UnixMillis, journal: &mut Journal) {
        let full_at = now.after(JUNK_BLOCK).after(self.keys.whole());
        self.keys.set(key, full_at, now, journal);
    }

    /// Takes back a key's bucket from storage.
    pub(crate) fn restore_key(&mut self, number: u64, bytes: &[u8]) {
        self.keys.restore(number, bytes);
    }

    /// Takes back an address's bucket from storage.
    pub(crate) fn restore_address(&mut self, number: u64, bytes: &[u8]) {
        self.addresses.restore(number, bytes);
    }
}

/// Token buckets by name: so many at once, then one in so much time.
struct Buckets<Name> {
    table: Table,
    burst: u32,
    refill: Duration,
    /// When each bucket will be full again, and the number of its record; full buckets need not be remembered.
    full_at: BTreeMap<Name, (UnixMillis, u64)>,
    /// The same, the fullest first.
    fullest: BTreeSet<(UnixMillis, Name)>,
    last_number: u64,
}

impl<Name: Ord + Clone + Serialize + DeserializeOwned> Buckets<Name> {
    fn new(table: Table, burst: u32, refill: Duration) -> Self {
        Self { table, burst, refill, full_at: BTreeMap::new(), fullest: BTreeSet::new(), last_number: 0 }
    }

    /// How long an empty bucket takes to be full.
    fn whole(&self) -> Duration {
        self.refill.saturating_mul(self.burst)
    }

    /// When the bucket is full, if another token is taken.
    fn full_after(&self, name: &Name, now: UnixMillis) -> UnixMillis {
        self.full_at.get(name).map_or(now, |(full_at, _)| (*full_at).max(now)).after(self.refill)
    }

    /// Whether there is a token.
    fn has(&self, name: &Name, now: UnixMillis) -> bool {
        self.full_after(name, now).since(now) <= self.whole()
    }

    /// Takes one token.
    fn take(&mut self, name: &Name, now: UnixMillis, journal: &mut Journal) {
        self.set(name, self.full_after(name, now), now, journal);
    }

    fn set(&mut self, name: &Name, full_at: UnixMillis, now: UnixMillis, journal: &mut Journal) {
        let number = if let Some((before, number)) = self.full_at.get(name) {
            self.fullest.remove(&(*before, name.clone()));
            *number
        } else {
            self.make_room(now, journal);
            self.last_number + 1
        };
        journal.put(self.table, number, 0, &(name, full_at));
        self.insert(number, name.clone(), full_at);
    }

    fn insert(&mut self, number: u64, name: Name, full_at: UnixMillis) {
        self.last_number = self.last_number.max(number);
        self.fullest.insert((full_at, name.clone()));
        self.full_at.insert(name, (full_at, number));
    }

    /// Forgets full buckets, and the fullest one where there is no room: whoever used the least gains the least.
    fn make_room(&mut self, now: UnixMillis, journal: &mut Journal) {
        while let Some((full_at, name)) = self.fullest.first().cloned() {
            if full_at > now && self.full_at.len() < MAX_BUCKETS {
                return;
            }
            self.fullest.pop_first();
            if let Some((_, number)) = self.full_at.remove(&name) {
                journal.delete(self.table, number, 0);
            }
        }
    }

    fn restore(&mut self, number: u64, bytes: &[u8]) {
        if let Some((name, full_at)) = decode::<(Name, UnixMillis)>(bytes) {
            self.insert(number, name, full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const START: UnixMillis = UnixMillis::from_secs(1_000);

    fn buckets(burst: u32) -> (Buckets<u64>, Journal) {
        (Buckets::new(Table::KeyBudget, burst, Duration::from_secs(10)), Journal::default())
    }

    fn take(buckets: &mut Buckets<u64>, name: u64, now: UnixMillis, journal: &mut Journal) -> bool {
        let has = buckets.has(&name, now);
        if has {
            buckets.take(&name, now, journal);
        }
        has
    }

    #[test]
    fn bucket_gives_its_burst_and_then_refills() {
        let (mut limit, mut journal) = buckets(3);
        let mut take = |name, now| take(&mut limit, name, now, &mut journal);
        assert_eq!((0..5).map(|_| take(1, START)).collect::<Vec<_>>(), [true, true, true, false, false]);
        assert!(take(2, START), "another name has its own bucket");
        assert!(!take(1, START.after(Duration::from_secs(9))));
        assert!(take(1, START.after(Duration::from_secs(10))));
        assert!(!take(1, START.after(Duration::from_secs(10))));
    }

    #[test]
    fn buckets_are_bounded_and_the_emptiest_stay() {
        let (mut limit, mut journal) = buckets(2);
        assert!(take(&mut limit, u64::MAX, START, &mut journal) && take(&mut limit, u64::MAX, START, &mut journal));
        for name in 0..u64::try_from(MAX_BUCKETS).unwrap() + 10 {
            assert!(take(&mut limit, name, START, &mut journal));
        }
        assert!(limit.full_at.len() <= MAX_BUCKETS);
        assert_eq!(limit.full_at.len(), limit.fullest.len());
        let stored = journal.take().into_values().flatten().count();
        assert_eq!(stored, limit.full_at.len(), "storage has the same");
        assert!(!limit.has(&u64::MAX, START), "the one that used the most is still known");
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}

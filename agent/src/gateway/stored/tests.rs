#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gateway::store::StoreError;
use crate::records_archive::{Archive, heart_rate};
use crate::testing::{NOW, Site, chain, later, pump};
use wardlink_crypto::key::PrivateKey;
use wardlink_records::batch::Reason;
use wardlink_records::chain::GAP;
use wardlink_records::outbox::Outbox;
use wardlink_records::record::Record;

const PLAN: Plan = Plan { every_secs: Some(60), at_batches: Some(1) };

/// A gateway's store, a device and a server.
struct Bench {
    folder: tempfile::TempDir,
    store: Option<Store>,
    holdings: Holdings,
    site: Site,
    key: PrivateKey,
    outbox: Outbox,
    made: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let holdings = Holdings::open(&store, STORED_BYTES, PLAN, NOW).unwrap();
        let (mut site, key) = (Site::open(), PrivateKey::make(&mut crate::clock::rng()));
        site.archive.knows(&key.public(), &pump());
        let outbox = Outbox::begin(pump(), 1 << 20, chain(1), Reason::First);
        Self { folder, store: Some(store), holdings, site, key, outbox, made: 0 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// A signed batch of the device with one value.
    fn batch(&mut self) -> Vec<u8> {
        let at = self.made;
        self.batch_of(heart_rate(later(at), at))
    }

    fn batch_of(&mut self, record: Record) -> Vec<u8> {
        self.outbox.record(record).unwrap();
        self.made += 1;
        self.outbox.close(&self.key, NOW).unwrap().unwrap().1
    }

    fn take(&mut self, bytes: &[u8]) -> Result<KeptBatch, RefusedBatch> {
        let key = self.key.public();
        let store = self.store.as_ref().unwrap();
        match self.holdings.take(store, &pump(), &key, bytes, NOW).unwrap() {
            Downward::Kept(kept) => Ok(kept),
            Downward::Refused(refused) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self) -> Option<(Device, BatchKey, Vec<u8>)> {
        self.holdings.next(self.store.as_ref().unwrap()).unwrap()
    }

    fn receipt(&mut self, bytes: &[u8]) -> Receipted {
        let (store, root) = (self.store.as_ref().unwrap(), self.site.root);
        self.holdings.receipt(store, bytes, &root, NOW, |_, _| Ok(())).unwrap()
    }

    fn refused(&mut self, of: &(Device, BatchKey), step: &str) -> Option<Downward> {
        self.holdings.refused(self.store.as_ref().unwrap(), of, (step, "because"), NOW, 0).unwrap()
    }

    /// Another start.
    fn restart(&mut self) {
        self.store = None;
        let store = Store::open(&self.folder.path().join("store")).unwrap();
        self.holdings = Holdings::open(&store, STORED_BYTES, PLAN, NOW).unwrap();
        self.store = Some(store);
    }
}

#[test]
fn what_is_taken_is_held_over_a_restart_and_goes_with_its_receipt() {
    let mut bench = Bench::new();
    let batches = [bench.batch(), bench.batch()];
    for batch in &batches {
        bench.take(batch).unwrap();
    }
    bench.restart();
    let status = bench.holdings.status();
    assert_eq!((status.records, status.oldest, status.devices.len()), (2, Some(NOW), 1));
    assert_eq!(bench.holdings.due(NOW), Some(Trigger::OwnInitiative));
    let (device, _, bytes) = bench.next().unwrap();
    assert_eq!((device, &bytes), (pump(), &batches[0]));
    let receipt = bench.site.archive.take(&bytes, NOW).unwrap();
    assert_eq!(bench.receipt(&receipt), Receipted::Deleted(pump(), 1));
    let again = bench.receipt(&receipt);
    assert_eq!((again.trouble(), again), (None, Receipted::NotHeld(NotHeld::Batch)));
    bench.restart();
    assert_eq!((bench.holdings.status().records, bench.next().unwrap().2), (1, batches[1].clone()));
}

#[test]
fn a_duplicate_is_held_once_and_a_forged_or_forked_batch_not_at_all() {
    let mut bench = Bench::new();
    let good = bench.batch();
    let kept = bench.take(&good).unwrap();
    assert_eq!((bench.take(&good).unwrap(), bench.holdings.status().records), (kept, 1));
    // Signed by another, changed on the way, or in another device's name.
    let mut stranger = Bench::new();
    let forged = stranger.batch();
    assert_eq!(bench.take(&forged).unwrap_err().step, "signature");
    let mut changed = bench.batch();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(bench.take(&changed).unwrap_err().step, "signature");
    let other = "infusion-pump/p2".parse().unwrap();
    let mut outbox = Outbox::begin(other, 1 << 20, chain(1), Reason::First);
    outbox.record(heart_rate(NOW, 1)).unwrap();
    let (_, foreign) = outbox.close(&bench.key, NOW).unwrap().unwrap();
    assert_eq!(bench.take(&foreign).unwrap_err().step, "signature");
    assert_eq!(bench.take(b"nothing").unwrap_err().step, "form");
    // Other values under the same numbers: a device that was restored from an older state.
    let mut restored = Outbox::begin(pump(), 1 << 20, chain(1), Reason::First);
    restored.record(heart_rate(NOW, 99)).unwrap();
    let (_, other_history) = restored.close(&bench.key, NOW).unwrap().unwrap();
    assert_eq!(bench.take(&other_history).unwrap_err().step, FORK);
    assert_eq!(bench.holdings.status().records, 1);
}

#[test]
fn only_the_sites_receipt_for_exactly_this_deletes() {
    let mut bench = Bench::new();
    let (first, second) = (bench.batch(), bench.batch());
    bench.take(&first).unwrap();
    let mut elsewhere = Archive::new(PrivateKey::make(&mut crate::clock::rng()), bench.site.archive.chain.clone());
    elsewhere.knows(&bench.key.public(), &pump());
    let forged = elsewhere.take(&first, NOW).unwrap();
    let mut other_site = Site::open();
    other_site.archive.knows(&bench.key.public(), &pump());
    let foreign = other_site.archive.take(&first, NOW).unwrap();
    bench.site.archive.take(&first, NOW).unwrap();
    let later_one = bench.site.archive.take(&second, NOW).unwrap();
    assert_eq!(bench.receipt(&later_one), Receipted::NotHeld(NotHeld::Batch));
    for (receipt, step) in
        [(forged, "receipt: signature"), (foreign, "receipt: certificate"), (Vec::new(), "receipt: form")]
    {
        let received = bench.receipt(&receipt);
        assert!(matches!(received, Receipted::Refused(error) if error.step() == step), "{received:?}");
        assert!(received.trouble().is_some_and(|why| why.starts_with(step)));
    }
    // The server has other records under the same numbers.
    let mut restored = Outbox::begin(pump(), 1 << 20, chain(1), Reason::First);
    restored.record(heart_rate(NOW, 99)).unwrap();
    let (_, other_history) = restored.close(&bench.key, NOW).unwrap().unwrap();
    bench.site.archive.forgets(&pump());
    let other = bench.site.archive.take(&other_history, NOW).unwrap();
    let received = bench.receipt(&other);
    assert_eq!(received, Receipted::NotHeld(NotHeld::Other));
    assert!(received.trouble().is_some_and(|why| why.contains("other records")));
    assert_eq!(bench.holdings.status().records, 1);
    assert_eq!(bench.store().held().unwrap().len(), 1);
}

#[test]
fn what_the_server_refuses_is_kept_apart_shown_and_sent_again_only_when_somebody_says_so() {
    let mut bench = Bench::new();
    let batches = [bench.batch(), bench.batch()];
    for batch in &batches {
        bench.take(batch).unwrap();
    }
    let (device, key, _) = bench.next().unwrap();
    let of = (device, key);
    assert_eq!(bench.refused(&of, "signature"), None);
    bench.restart();
    let status = bench.holdings.status();
    assert_eq!((status.refused_batches, status.records), (1, 2));
    assert_eq!((status.refused[0].step.as_str(), status.refused[0].reason.as_str()), ("signature", "because"));
    assert_eq!((bench.next(), bench.holdings.due(NOW)), (None, None), "what follows it waits");
    let store = bench.store.as_ref().unwrap();
    assert_eq!(bench.holdings.retry(store, Some(&["rights"])).unwrap(), 0);
    assert_eq!(bench.holdings.retry(store, Some(&["signature"])).unwrap(), 1);
    assert_eq!((bench.next().unwrap().1, bench.holdings.status().refused_batches), (key, 0));
    // A fork is the device's to mend: it is told, and what is chained to it is refused with it.
    let told = bench.refused(&of, FORK);
    assert!(matches!(told, Some(Downward::Refused(refused)) if refused.key == Some(key) && refused.step == FORK));
    assert_eq!(bench.holdings.status().refused_batches, 2);
    let again = bench.holdings.forked(&pump());
    assert_eq!(again, [RefusedBatch::new(Some(key), FORK, "because")], "once for the whole chain");
    assert_eq!(bench.holdings.forked(&"scale/s1".parse().unwrap()), []);
    let (store, last) = (bench.store.as_ref().unwrap(), bench.holdings.refused_from(&pump(), key)[1]);
    assert!(!bench.holdings.discard(store, &"scale/s1".parse().unwrap(), key).unwrap());
    assert!(
        bench.holdings.discard(store, &pump(), key).unwrap() && bench.holdings.discard(store, &pump(), last).unwrap()
    );
    bench.restart();
    assert_eq!(bench.holdings.status().records, 0);
}

#[test]
fn a_gap_waits_for_what_comes_another_way() {
    let mut bench = Bench::new();
    let (first, second) = (bench.batch(), bench.batch());
    bench.take(&second).unwrap();
    let (device, key, bytes) = bench.next().unwrap();
    let refused = bench.site.archive.take(&bytes, NOW).unwrap_err();
    assert_eq!(refused.0, GAP);
    // The device may have it still, where another gateway has lost what it had taken over: it is asked for it, and again at every poll.
    let told = bench.refused(&(device.clone(), key), GAP);
    assert!(matches!(told, Some(Downward::Refused(refused)) if refused.key == Some(key) && refused.step == GAP));
    assert_eq!(bench.holdings.lacking(&device).iter().map(|of| of.key).collect::<Vec<_>>(), [Some(key)]);
    assert_eq!((bench.next(), bench.holdings.status().refused_batches), (None, 0));
    bench.site.archive.take(&first, NOW).unwrap();
    bench.holdings.try_again();
    assert_eq!(bench.holdings.lacking(&device), []);
    let (_, _, bytes) = bench.next().unwrap();
    let receipt = bench.site.archive.take(&bytes, NOW).unwrap();
    assert_eq!(bench.receipt(&receipt), Receipted::Deleted(pump(), 1));
}

#[test]
fn what_was_not_answered_is_sent_again_after_a_pause_that_a_request_ends() {
    let mut bench = Bench::new();
    let batch = bench.batch();
    bench.take(&batch).unwrap();
    bench.next().unwrap();
    assert_eq!((bench.next(), bench.holdings.due(NOW)), (None, None));
    bench.holdings.interrupted(NOW, 0);
    assert_eq!((bench.holdings.due(NOW), bench.holdings.due(later(60))), (None, Some(Trigger::OwnInitiative)));
    bench.holdings.sending.ask(Trigger::Request);
    assert_eq!(bench.holdings.due(NOW), Some(Trigger::Request));
    assert_eq!(bench.next().unwrap().2, batch);
}

#[test]
fn values_that_cannot_be_are_counted_and_sent_on() {
    let mut bench = Bench::new();
    let batch = bench.batch_of(heart_rate(NOW, 4000));
    bench.take(&batch).unwrap();
    assert_eq!(bench.holdings.status().devices[0].impossible, 1);
    let (_, _, bytes) = bench.next().unwrap();
    let receipt = bench.site.archive.take(&bytes, NOW).unwrap();
    assert!(!bench.site.archive.records[0].3, "it does not count there");
    assert_eq!(Receipt::open(&receipt, &bench.site.root).unwrap().set_aside, 1);
    assert_eq!(bench.receipt(&receipt), Receipted::Deleted(pump(), 1));
}

#[test]
fn a_full_store_takes_nothing_more_and_loses_nothing() {
    let mut bench = Bench::new();
    let batches: Vec<_> = (0..4).map(|_| bench.batch()).collect();
    let room = 2 * u64::try_from(batches.iter().map(Vec::len).max().unwrap()).unwrap();
    bench.holdings = Holdings::open(bench.store(), room, PLAN, NOW).unwrap();
    bench.take(&batches[0]).unwrap();
    assert!(!bench.holdings.status().is_nearly_full());
    bench.take(&batches[1]).unwrap();
    assert!(bench.holdings.status().is_nearly_full() && !bench.holdings.is_full());
    let refused = bench.take(&batches[2]).unwrap_err();
    assert_eq!((refused.step.as_str(), bench.holdings.is_full()), (FULL, true));
    assert_eq!((bench.holdings.status().records, bench.store().held().unwrap().len()), (2, 2));
    let receipt = bench.site.archive.take(&batches[0], NOW).unwrap();
    bench.receipt(&receipt);
    assert!(!bench.holdings.is_full());
    bench.take(&batches[2]).unwrap();
    // There is room also when a person discards something.
    assert_eq!(bench.take(&batches[3]).unwrap_err().step, FULL);
    let (device, key, _) = bench.next().unwrap();
    bench.refused(&(device.clone(), key), "signature");
    assert!(bench.holdings.is_full());
    assert!(bench.holdings.discard(bench.store.as_ref().unwrap(), &device, key).unwrap());
    assert!(!bench.holdings.is_full());
    bench.take(&batches[3]).unwrap();
}

#[test]
fn little_room_is_said_in_time() {
    for (percent, is_nearly) in [(0, false), (79, false), (80, true), (100, true)] {
        let status = StoredStatus { bytes: percent, capacity: 100, ..StoredStatus::default() };
        assert_eq!(status.is_nearly_full(), is_nearly, "{percent}");
    }
}

#[test]
fn what_cannot_be_stored_is_not_said_to_be_kept() {
    let mut bench = Bench::new();
    let batch = bench.batch();
    let verified = Verified::open(&batch, &bench.key.public(), &pump()).unwrap();
    let store = bench.store.as_ref().unwrap();
    let failed = bench.holdings.keep(store, &verified, &batch, NOW, |_| Err(StoreError::Full));
    assert!(matches!(failed, Err(StoreError::Full)));
    assert_eq!(store.held().unwrap(), [], "neither the batch nor what belongs to it");
    assert_eq!(bench.holdings.status().records, 0);
    // The gateway reads anew what it holds, and then takes it.
    bench.restart();
    assert_eq!((bench.holdings.room().0, bench.next()), (0, None));
    bench.take(&batch).unwrap();
    assert_eq!((bench.store().held().unwrap().len(), bench.next().unwrap().2), (1, batch));
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use crate::batch::Verified;
use crate::chain::{Continuity, FORK, StoredBatch, Taken};
use crate::queue::Remedy;
use crate::testing::{NOW, Reader, chain, heart_rate, key, later, open, pump, records};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A device with its disk.
struct Device1 {
    outbox: Outbox,
    disk: BTreeMap<BatchKey, Vec<u8>>,
}

impl Device1 {
    fn new(capacity: u64) -> Self {
        Self { outbox: Outbox::begin(pump(1), capacity, chain(1), Reason::First), disk: BTreeMap::new() }
    }

    fn record(&mut self, record: Record) -> Result<usize, NotRecorded> {
        let freed = self.outbox.record(record)?;
        Ok(self.delete(&freed))
    }

    fn delete(&mut self, keys: &[BatchKey]) -> usize {
        keys.iter().filter(|key| self.disk.remove(key).is_some()).count()
    }

    fn close(&mut self) -> Option<Verified> {
        let (signed, bytes) = self.outbox.close(&key(1), NOW).unwrap()?;
        let verified = open(&bytes).unwrap();
        self.disk.insert(signed, bytes);
        Some(verified)
    }

    /// Sends everything to a server that is there.
    fn send(&mut self, reader: &mut Reader) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        while let Some(next) = self.outbox.queue().next().map(|held| held.key) {
            let batch = open(&self.disk[&next]).unwrap();
            match reader.take(&batch) {
                Ok(Taken::New(stored, _) | Taken::Again(stored)) => {
                    let keys = self.outbox.receive(&Receipt::of(pump(1), &stored, NOW)).unwrap();
                    assert_eq!(self.delete(&keys), keys.len());
                }
                Err(refused) => remedies.push(self.outbox.queue_mut().refused(next, refused.step())),
            }
        }
        remedies
    }
}

#[test]
fn records_are_signed_sent_and_deleted_on_the_receipt() {
    let (mut device, mut reader) = (Device1::new(0), Reader::default());
    for record in records(5) {
        device.record(record).unwrap();
    }
    assert_eq!(device.outbox.pending(), 5);
    let batch = device.close().unwrap();
    assert_eq!((batch.batch().first(), batch.batch().last(), device.outbox.pending()), (1, 5, 0));
    assert!(device.close().is_none(), "nothing is pending");
    device.record(heart_rate(9, "70")).unwrap();
    assert_eq!(device.close().unwrap().batch().link(), Link::Follows(batch.hash()));
    device.send(&mut reader);
    assert!(device.outbox.queue().is_empty() && device.disk.is_empty());
    assert_eq!(reader.chains.stored(), 6);
}

#[test]
fn many_records_become_several_batches_that_each_fit() {
    let mut device = Device1::new(1_000_000);
    for record in records(1500) {
        device.record(record).unwrap();
    }
    assert!(device.outbox.is_batch_full());
    let batches: Vec<Verified> = core::iter::from_fn(|| device.close()).collect();
    assert_eq!(batches.iter().map(|batch| batch.batch().records().count()).sum::<usize>(), 1500);
    assert!(batches.len() > 2 && device.disk.values().all(|bytes| bytes.len() <= MAX_BATCH_BYTES));
}

#[test]
fn a_full_store_loses_new_records_only_and_says_so_in_the_chain() {
    let (mut device, mut reader) = (Device1::new(MIN_CAPACITY), Reader::default());
    let mut kept = 0;
    let lost = loop {
        match device.record(heart_rate(kept, "70")) {
            Ok(_) => kept += 1,
            Err(NotRecorded::Full(span)) => break span,
            Err(other) => panic!("{other}"),
        }
        if device.outbox.is_batch_full() {
            device.close();
        }
    };
    assert_eq!(lost, Unrecorded { count: 1, from: later(kept), until: later(kept) });
    device.record(heart_rate(kept + 9, "70")).unwrap_err();
    assert_eq!(device.outbox.unrecorded().unwrap().count, 2);
    // Nothing that was kept is gone.
    while device.close().is_some() {}
    device.send(&mut reader);
    assert_eq!(reader.chains.stored(), kept);
    // The first record after that is the note.
    device.record(heart_rate(kept + 10, "70")).unwrap();
    assert_eq!(device.outbox.unrecorded(), None);
    let batch = device.close().unwrap();
    let noted: Vec<_> = batch.batch().records().map(|(_, record)| record.content.clone()).collect();
    let expected = Unrecorded { count: 2, from: later(kept), until: later(kept + 9) };
    assert_eq!((noted.len(), &noted[0]), (2, &Content::Unrecorded(expected)));
}

#[test]
fn what_a_gateway_has_stored_makes_room_and_nothing_else_does() {
    let mut device = Device1::new(MIN_CAPACITY);
    let mut number = 0;
    let mut fill = |device: &mut Device1| {
        loop {
            match device.record(heart_rate(number, "70")) {
                Ok(0) => number += 1,
                other => break other,
            }
            if device.outbox.is_batch_full() {
                device.close();
            }
        }
    };
    fill(&mut device).unwrap_err();
    let (oldest, hash) = device.outbox.queue().iter().map(|held| (held.key, held.hash)).next().unwrap();
    assert!(device.outbox.queue_mut().handed(oldest, &hash));
    assert_eq!(fill(&mut device), Ok(1));
    assert!(!device.disk.contains_key(&oldest) && device.outbox.queue().iter().all(|held| held.key != oldest));
}

#[test]
fn a_receipt_for_another_device_deletes_nothing() {
    let mut device = Device1::new(0);
    device.record(heart_rate(1, "70")).unwrap();
    let batch = device.close().unwrap();
    let stored = StoredBatch { chain: chain(1), first: 1, last: 1, hash: batch.hash(), since: 1, set_aside: 0 };
    assert_eq!(device.outbox.receive(&Receipt::of(pump(2), &stored, NOW)), Err(NotHeld::Device));
    assert_eq!(device.outbox.receive(&Receipt::of(pump(1), &stored, NOW)).unwrap().len(), 1);
}

#[test]
fn a_restored_device_begins_anew_and_loses_nothing_that_it_has() {
    let (mut device, mut reader) = (Device1::new(0), Reader::default());
    device.record(heart_rate(1, "70")).unwrap();
    device.close();
    device.send(&mut reader);
    let snapshot = device.outbox.clone();
    device.record(heart_rate(2, "71")).unwrap();
    device.close();
    device.send(&mut reader);
    // The device is set back, and goes on.
    (device.outbox, device.disk) = (snapshot, BTreeMap::new());
    for rate in ["72", "73"] {
        device.record(heart_rate(3, rate)).unwrap();
        device.close();
    }
    assert_eq!(device.send(&mut reader), [Remedy::BeginAnew]);
    let again: Vec<Record> =
        device.disk.values().flat_map(|bytes| open(bytes).unwrap().into_batch().into_records()).collect();
    assert_eq!(again.len(), 2);
    let keys = device.outbox.begin_anew(chain(2), Reason::Restored, Some(2), again).unwrap();
    assert_eq!(device.delete(&keys), 2);
    let first = device.close().unwrap();
    let Link::Begins(beginning) = first.batch().link() else { panic!("a beginning") };
    assert_eq!((beginning.reason, beginning.before.unwrap().last), (Reason::Restored, 1));
    let taken = reader.take(&first).unwrap();
    assert!(matches!(taken, Taken::New(_, Continuity::Unsure(Reason::Restored))));
    assert_eq!(reader.chains.stored(), 4);
}

#[test]
fn a_device_that_is_paired_again_keeps_its_old_chain_beside_the_new_one() {
    let (mut device, mut reader) = (Device1::new(0), Reader::default());
    device.record(heart_rate(1, "70")).unwrap();
    device.close();
    assert_eq!(device.outbox.begin_anew(chain(2), Reason::PairedAgain, None, vec![]), Ok(vec![]));
    device.record(heart_rate(2, "70")).unwrap();
    device.close();
    assert_eq!(device.send(&mut reader), []);
    assert_eq!((reader.chains.stored(), reader.chains.missing()), (2, vec![]));
    // A chain without a batch leaves no trace.
    device.outbox.begin_anew(chain(3), Reason::PairedAgain, None, vec![]).unwrap();
    device.outbox.begin_anew(chain(4), Reason::PairedAgain, None, vec![]).unwrap();
    device.record(heart_rate(3, "70")).unwrap();
    let Link::Begins(beginning) = device.close().unwrap().batch().link() else { panic!("a beginning") };
    assert_eq!(beginning.before.unwrap().chain, chain(2));
}

#[test]
fn a_chain_whose_first_batch_is_taken_back_leaves_the_one_before_as_the_last() {
    let (mut device, mut reader) = (Device1::new(0), Reader::default());
    device.record(heart_rate(1, "70")).unwrap();
    device.close();
    device.send(&mut reader);
    device.outbox.begin_anew(chain(2), Reason::PairedAgain, None, vec![]).unwrap();
    device.record(heart_rate(2, "70")).unwrap();
    let refused = device.close().unwrap();
    let key = BatchKey { chain: chain(2), first: 1 };
    assert_eq!(device.outbox.queue_mut().refused(key, FORK), Remedy::BeginAnew);
    let again = refused.into_batch().into_records();
    assert_eq!(device.outbox.begin_anew(chain(3), Reason::Restored, Some(1), again), Ok(vec![key]));
    let Link::Begins(beginning) = device.close().unwrap().batch().link() else { panic!("a beginning") };
    assert_eq!(beginning.before.unwrap().chain, chain(1));
}

/// What happens to a device.
#[derive(Clone, Debug)]
enum Happens {
    Record,
    Close,
    Send,
    /// The receipt is lost on its way: all is sent again.
    SendInVain,
    Restart,
    PairAgain,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Record),
        3 => Just(Happens::Close),
        2 => Just(Happens::Send),
        2 => Just(Happens::SendInVain),
        2 => Just(Happens::Restart),
        1 => Just(Happens::PairAgain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_record_arrives_once(events in prop::collection::vec(happens(), 0..60)) {
        let (mut device, mut reader) = (Device1::new(MIN_CAPACITY), Reader::default());
        let (mut made, mut chains) = (0, 1);
        for event in events.into_iter().chain([Happens::Close, Happens::Send]) {
            match event {
                Happens::Record => {
                    device.record(heart_rate(made, "70")).unwrap();
                    made += 1;
                }
                Happens::Close => drop(device.close()),
                Happens::Send => drop(device.send(&mut reader)),
                Happens::SendInVain => {
                    if let Some(next) = device.outbox.queue().next().map(|held| held.key) {
                        reader.take(&open(&device.disk[&next]).unwrap()).unwrap();
                        device.outbox.queue_mut().sent(next);
                        device.outbox.queue_mut().interrupted();
                    }
                }
                Happens::Restart => {
                    let packed = cbor::pack(&device.outbox).unwrap();
                    device.outbox = cbor::unpack(&packed, packed.len()).unwrap();
                }
                Happens::PairAgain => {
                    chains += 1;
                    device.outbox.begin_anew(chain(chains), Reason::PairedAgain, None, vec![]).unwrap();
                }
            }
        }
        prop_assert!(device.outbox.queue().is_empty() && device.disk.is_empty());
        prop_assert_eq!((reader.chains.stored(), reader.chains.missing()), (made, vec![]));
    }
}

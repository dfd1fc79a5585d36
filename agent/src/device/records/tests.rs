#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::device::disk::model::{Loss, Model};
use crate::records_archive::{heart_rate, text};
use crate::testing::{NOW, Site, chain, later, pump};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_records::batch::Batch;
use wardlink_records::chain::FORK;
use wardlink_records::depot::FULL;
use wardlink_records::record::RecordId;

fn key() -> PrivateKey {
    PrivateKey::make(&mut crate::clock::rng())
}

fn names(disk: &Model) -> Vec<Name> {
    disk.files().into_iter().map(|(name, _)| name).collect()
}

fn open<'d>(disk: &'d mut Model, key: &PrivateKey) -> Result<Records<&'d mut Model>, RecordsError> {
    static NEXT: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(1);
    let next = NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    Records::open(disk, pump(), key.clone(), STORED_BYTES, chain(next))
}

/// Stores so many batches of one value each.
fn signed(records: &mut Records<&mut Model>, count: u64) {
    for at in 0..count {
        records.record(heart_rate(later(at), at), later(at)).unwrap();
        records.close(later(at)).unwrap();
    }
}

/// What lies there, signed or not, in its order, each with its number.
fn lies(records: &Records<&mut Model>, key: &PrivateKey) -> Vec<(RecordId, String)> {
    let mut found = Vec::new();
    let mut add = |batch: &Batch| found.extend(batch.records().map(|(id, record)| (id, text(record))));
    for held in records.queue().iter() {
        add(records.batch(held.key).unwrap().1.batch());
    }
    let mut pending = records.outbox.clone();
    while let Some((_, bytes)) = pending.close(key, NOW).unwrap() {
        add(Verified::open(&bytes, &key.public(), &pump()).unwrap().batch());
    }
    found
}

fn values(records: &Records<&mut Model>, key: &PrivateKey) -> Vec<String> {
    lies(records, key).into_iter().map(|(_, value)| value).collect()
}

/// Records, signs, hands over, takes receipts; `at` counts the values that are durable. As long as there is power.
fn live(disk: &mut Model, key: &PrivateKey, site: &mut Site, at: &mut u64) -> Result<(), RecordsError> {
    let mut records = open(disk, key)?;
    for _ in 0..3 {
        for _ in 0..2 {
            records.record(heart_rate(later(*at), *at), later(*at))?;
            *at += 1;
        }
        records.close(later(*at))?;
        while let Some(next) = records.next_batch(chain(150))? {
            records.sent(next.key);
            // Whoever says that it keeps the batch has it, whatever happens here.
            let receipt = site.archive.take(&next.bytes, later(*at)).unwrap();
            let held = records.queue().iter().find(|held| held.key == next.key).unwrap().hash;
            records.kept(&KeptBatch { key: next.key, hash: held })?;
            assert!(records.receive(&Receipt::open(&receipt, &site.root).unwrap())?.is_ok());
        }
    }
    Ok(())
}

#[test]
fn whenever_the_power_goes_every_value_arrives_once() {
    let key = key();
    let mut site = Site::open();
    site.archive.knows(&key.public(), &pump());
    let mut whole = Model::default();
    live(&mut whole, &key, &mut site, &mut 0).unwrap();
    assert_eq!(site.archive.values(&pump()), ["0", "1", "2", "3", "4", "5"]);
    assert!(whole.steps > 60, "{}", whole.steps);
    let mut seen = BTreeSet::new();
    for steps in 0..whole.steps {
        let mut disk = Model::default().powered_for(steps);
        let mut site = Site::open();
        site.archive.knows(&key.public(), &pump());
        let mut durable = 0;
        live(&mut disk, &key, &mut site, &mut durable).expect_err("the power is gone");
        for loss in Loss::all() {
            let mut after = disk.after(loss);
            if !seen.insert((durable, after.files())) {
                continue;
            }
            let arrived = site.archive.records.iter().map(|(_, id, record, _)| (*id, text(record)));
            let mut all: BTreeMap<RecordId, String> = BTreeMap::new();
            // What was handed over and is still held is the same under the same number; under another one it would count twice.
            for (id, value) in arrived.chain(lies(&open(&mut after, &key).unwrap(), &key)) {
                let known = all.entry(id).or_insert_with(|| value.clone());
                assert_eq!(*known, value, "step {steps}, {loss:?}");
            }
            let mut values: Vec<u64> = all.into_values().map(|value| value.parse().unwrap()).collect();
            values.sort_unstable();
            let count = u64::try_from(values.len()).unwrap();
            assert!((durable..=durable + 1).contains(&count), "step {steps}, {loss:?}: {durable} {values:?}");
            assert_eq!(values, (0..count).collect::<Vec<_>>(), "step {steps}, {loss:?}");
            assert!(after.files().iter().all(|(name, _)| *name != Name::NewStored && *name != Name::DamagedStored));
        }
    }
}

#[test]
fn it_goes_on_to_the_end_after_every_power_loss() {
    let key = key();
    let mut whole = Model::default();
    let mut site = Site::open();
    site.archive.knows(&key.public(), &pump());
    live(&mut whole, &key, &mut site, &mut 0).unwrap();
    for steps in (0..whole.steps).step_by(3) {
        let mut disk = Model::default().powered_for(steps);
        let mut site = Site::open();
        site.archive.knows(&key.public(), &pump());
        let mut at = 0;
        live(&mut disk, &key, &mut site, &mut at).expect_err("the power is gone");
        let mut disk = disk.after(Loss::all().nth(steps % 8).unwrap());
        // The value that was being written may be there, or not.
        let durable = at;
        at += 1;
        live(&mut disk, &key, &mut site, &mut at).unwrap();
        let arrived = site.archive.values(&pump());
        let once: BTreeSet<_> = arrived.iter().collect();
        assert_eq!(once.len(), arrived.len(), "step {steps}: {arrived:?}");
        let mut made = (0..durable).chain(durable + 1..at);
        assert!(made.all(|number| once.contains(&number.to_string())), "step {steps}: {arrived:?}");
        assert_eq!(site.archive.refused, [""; 0]);
        assert!(open(&mut disk, &key).unwrap().queue().is_empty());
    }
}

#[test]
fn nothing_is_deleted_but_by_a_receipt_for_exactly_that() {
    let key = key();
    let (mut site, mut other) = (Site::open(), Site::open());
    for site in [&mut site, &mut other] {
        site.archive.knows(&key.public(), &pump());
    }
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 4);
    let batches: Vec<_> = core::iter::from_fn(|| {
        let next = records.next_batch(chain(150)).unwrap()?;
        records.sent(next.key);
        Some(next)
    })
    .collect();
    assert_eq!((batches.len(), records.queue().waiting()), (4, 0));
    // A hand-over is for one batch, by its hash, and deletes nothing.
    let key_of = |place: usize| batches[place].key;
    assert!(!records.kept(&KeptBatch { key: key_of(0), hash: Sha256([1; 32]) }).unwrap());
    let hash = records.queue().iter().next().unwrap().hash;
    assert!(records.kept(&KeptBatch { key: key_of(0), hash }).unwrap());
    assert_eq!(records.stored(), 4);
    // Another signer's receipt is not even opened.
    let foreign = other.archive.take(&batches[0].bytes, NOW).unwrap();
    assert!(Receipt::open(&foreign, &site.root).is_err());
    let receipts: Vec<_> = batches.iter().map(|batch| site.archive.take(&batch.bytes, NOW).unwrap()).collect();
    let receipt = |place: usize| Receipt::open(&receipts[place], &site.root).unwrap();
    let elsewhere = Receipt { device: "infusion-pump/p2".parse().unwrap(), ..receipt(1) };
    assert_eq!(records.receive(&elsewhere).unwrap(), Err(NotHeld::Device));
    let something_else = Receipt { hash: Sha256([2; 32]), ..receipt(1) };
    assert_eq!(records.receive(&something_else).unwrap(), Err(NotHeld::Other));
    assert_eq!(records.stored(), 4);
    assert_eq!(records.receive(&receipt(1)).unwrap(), Ok(2));
    assert_eq!(records.receive(&receipt(1)).unwrap(), Err(NotHeld::Batch), "a second time");
    assert_eq!(records.stored(), 2);
    drop(records);
    let files = disk.files().into_iter().filter(|(name, _)| matches!(name, Name::Batch(_)));
    assert_eq!(files.count(), 2);
}

#[test]
fn a_full_store_says_how_much_is_missing_and_never_deletes_what_nobody_has() {
    let key = key();
    let mut disk = Model::default();
    let mut records = Records::open(&mut disk, pump(), key.clone(), 0, chain(200)).unwrap();
    let mut at = 0;
    let lost = loop {
        let recorded = records.record(heart_rate(later(at), at), later(at)).unwrap();
        records.close(later(at)).unwrap();
        at += 1;
        if let Recorded::Lost(span) = recorded {
            break span;
        }
    };
    assert_eq!(lost.count, 1);
    assert_eq!(records.stored(), at - 1);
    // What a gateway has may go, and the loss is told in the chain.
    let (first, hash) = records.queue().iter().next().map(|held| (held.key, held.hash)).unwrap();
    assert!(records.kept(&KeptBatch { key: first, hash }).unwrap());
    assert_eq!(records.record(heart_rate(later(at), at), later(at)).unwrap(), Recorded::Kept);
    assert!(records.unrecorded().is_none() && records.pending() == 2);
    assert!(records.queue().iter().all(|held| held.key != first));
}

#[test]
fn a_disk_without_room_loses_nothing_while_the_device_runs() {
    let key = key();
    let mut disk = Model::default();
    drop(open(&mut disk, &key).unwrap());
    disk.full.push(Name::NewStored);
    let mut records = Records::open(&mut disk, pump(), key.clone(), STORED_BYTES, chain(7)).unwrap();
    for at in 0..3 {
        assert!(matches!(records.record(heart_rate(later(at), at), later(at)), Err(RecordsError::Io(_))));
    }
    assert!(records.next_batch(chain(150)).is_err(), "nothing is sent that is not stored");
    records.disk.full.clear();
    records.record(heart_rate(later(3), 3), later(3)).unwrap();
    drop(records);
    let records = open(&mut disk, &key).unwrap();
    assert_eq!(values(&records, &key), ["0", "1", "2", "3"]);
}

#[test]
fn a_batch_whose_end_cannot_be_written_stays() {
    let key = key();
    let mut site = Site::open();
    site.archive.knows(&key.public(), &pump());
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 2);
    let next = records.next_batch(chain(150)).unwrap().unwrap();
    let receipt = site.archive.take(&next.bytes, NOW).unwrap();
    let receipt = Receipt::open(&receipt, &site.root).unwrap();
    records.disk.full.push(Name::NewStored);
    let refused = RefusedBatch::new(Some(next.key), FORK, "because");
    assert!(matches!(records.refused(&refused, chain(90)), Err(RecordsError::Io(_))));
    assert!(matches!(records.receive(&receipt), Err(RecordsError::Io(_))));
    records.disk.full.clear();
    // Whatever comes next removes nothing that is listed.
    records.record(heart_rate(later(2), 2), later(2)).unwrap();
    assert_eq!(values(&records, &key), ["0", "1", "2"]);
    assert_eq!(records.receive(&receipt).unwrap(), Ok(1));
    assert_eq!(values(&records, &key), ["1", "2"]);
}

#[test]
fn what_was_freed_stays_until_the_disk_has_forgotten_it() {
    let key = key();
    let mut disk = Model::default();
    let mut records = Records::open(&mut disk, pump(), key.clone(), 0, chain(201)).unwrap();
    let mut at = 0;
    while records.record(heart_rate(later(at), at), later(at)).unwrap() == Recorded::Kept {
        records.close(later(at)).unwrap();
        at += 1;
    }
    let (first, hash) = records.queue().iter().next().map(|held| (held.key, held.hash)).unwrap();
    let last = records.queue().iter().last().unwrap().key;
    assert!(records.kept(&KeptBatch { key: first, hash }).unwrap());
    records.disk.full.push(Name::NewStored);
    assert!(matches!(records.record(heart_rate(later(at), at), later(at)), Err(RecordsError::Io(_))));
    assert!(records.queue().iter().all(|held| held.key != first), "it has made room");
    // A word that changes nothing does not make the disk know more than it does.
    assert!(matches!(
        records.refused(&RefusedBatch::new(Some(last), FULL, "later"), chain(90)),
        Err(RecordsError::Io(_))
    ));
    assert!(records.disk.bytes(Name::Batch(first)).is_some());
    drop(records);
    let after = open(&mut disk, &key);
    assert!(after.is_ok_and(|records| records.queue().iter().all(|held| records.batch(held.key).is_ok())));
}

#[test]
fn a_damaged_store_begins_a_chain_that_says_so_and_stores_anew_what_is_signed() {
    let key = key();
    for spoil in [
        (|bytes: &mut Vec<u8>| bytes.truncate(9)) as fn(&mut Vec<u8>),
        |bytes| bytes[40] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 1,
    ] {
        let mut disk = Model::default();
        let mut records = open(&mut disk, &key).unwrap();
        signed(&mut records, 3);
        drop(records);
        disk.spoil(Name::Stored, spoil);
        let mut records = open(&mut disk, &key).unwrap();
        assert_eq!(values(&records, &key), ["0", "1", "2"]);
        records.close(NOW).unwrap();
        let next = records.next_batch(chain(150)).unwrap().unwrap();
        let opened = Verified::open(&next.bytes, &key.public(), &pump()).unwrap();
        let begins =
            |link| matches!(link, wardlink_records::batch::Link::Begins(begins) if begins.reason == Reason::StoreLost);
        assert!(begins(opened.batch().link()));
        drop(records);
        assert!(disk.bytes(Name::DamagedStored).is_some(), "a person may look at it");
    }
}

#[test]
fn what_cannot_be_read_in_a_damaged_store_is_set_aside_and_the_rest_is_stored_however_much_it_is() {
    let key = key();
    let mut disk = Model::default();
    let mut records = Records::open(&mut disk, pump(), key.clone(), STORED_BYTES, chain(202)).unwrap();
    let mut at = 0;
    // More than the smallest store holds, which the device has from now on.
    while records.queue().bytes() < wardlink_records::outbox::MIN_CAPACITY {
        let many = (0..400).map(|number| heart_rate(later(at), at * 400 + number));
        records.record_all(many, later(at)).unwrap();
        records.close(later(at)).unwrap();
        at += 1;
    }
    let damaged = records.queue().iter().nth(1).unwrap().key;
    let (made, lost) = (records.stored(), 400);
    drop(records);
    disk.spoil(Name::Batch(damaged), |bytes| bytes[60] ^= 1);
    disk.spoil(Name::Stored, |bytes| bytes.truncate(9));
    let records = Records::open(&mut disk, pump(), key.clone(), 0, chain(203)).unwrap();
    assert_eq!(records.stored(), made - lost);
    drop(records);
    let records = Records::open(&mut disk, pump(), key.clone(), 0, chain(204)).unwrap();
    assert_eq!(records.stored(), made - lost, "the same after another start");
    drop(records);
    assert!(disk.bytes(Name::DamagedBatch(damaged)).is_some(), "a person may look at it");
    assert_eq!(disk.files().iter().filter(|(name, _)| matches!(name, Name::Batch(_))).count(), 0);
    // Whoever leaves its site leaves nothing there.
    let mut records = open(&mut disk, &key).unwrap();
    records.erase(STORED_BYTES, chain(205)).unwrap();
    drop(records);
    assert_eq!(names(&disk), [Name::Stored]);
}

#[test]
fn a_damaged_batch_is_kept_apart_and_what_comes_after_it_goes_under_a_chain_that_says_so() {
    let key = key();
    let mut site = Site::open();
    site.archive.knows(&key.public(), &pump());
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 4);
    let damaged: Vec<_> = records.queue().iter().skip(1).take(2).map(|held| held.key).collect();
    drop(records);
    disk.spoil(Name::Batch(damaged[0]), |bytes| bytes[60] ^= 1);
    disk.remove(Name::Batch(damaged[1])).unwrap();
    let mut records = open(&mut disk, &key).unwrap();
    for _ in 0..2 {
        while let Some(next) = records.next_batch(chain(160)).unwrap() {
            records.sent(next.key);
            let receipt = site.archive.take(&next.bytes, NOW).unwrap();
            records.receive(&Receipt::open(&receipt, &site.root).unwrap()).unwrap().unwrap();
        }
        records.close(NOW).unwrap();
    }
    assert_eq!((site.archive.values(&pump()), records.damaged()), (vec!["0".to_owned(), "3".to_owned()], 1));
    // Nobody can send it, whoever asks.
    records.retry().unwrap();
    assert_eq!((records.next_batch(chain(161)).unwrap(), records.stored()), (None, 1));
    drop(records);
    assert!(disk.bytes(Name::Batch(damaged[0])).is_some(), "a person may look at it");
}

#[test]
fn a_damaged_batch_of_an_earlier_chain_holds_up_nothing() {
    let key = key();
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 4);
    let keys: Vec<_> = records.queue().iter().map(|held| held.key).collect();
    records.refused(&RefusedBatch::new(Some(keys[3]), FORK, "gone on elsewhere"), chain(170)).unwrap();
    drop(records);
    disk.spoil(Name::Batch(keys[1]), Vec::clear);
    let mut records = open(&mut disk, &key).unwrap();
    records.close(NOW).unwrap();
    let sent = core::iter::from_fn(|| {
        let next = records.next_batch(chain(171)).unwrap()?;
        records.sent(next.key);
        Some(next.key)
    });
    assert_eq!(sent.collect::<Vec<_>>(), [keys[0], keys[2], BatchKey { chain: chain(170), first: 1 }]);
    assert_eq!(records.damaged(), 1);
}

#[test]
fn a_refusal_is_answered_by_what_it_asks_for() {
    let key = key();
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 3);
    let second = records.queue().iter().nth(1).unwrap().key;
    let refused = |step: &str| RefusedBatch::new(Some(second), step, "because");
    assert_eq!(records.refused(&RefusedBatch::new(None, "form", "what?"), chain(90)).unwrap(), None);
    assert_eq!(records.refused(&refused(FULL), chain(90)).unwrap(), Some(Remedy::TryLater));
    assert_eq!(records.refused(&refused("signature"), chain(90)).unwrap(), Some(Remedy::TellSomebody));
    assert_eq!(records.queue().waiting(), 2);
    records.retry().unwrap();
    assert_eq!(records.queue().waiting(), 3);
    // The chain has gone on elsewhere: the same values, in their order, under a new chain.
    assert_eq!(records.refused(&refused(FORK), chain(91)).unwrap(), Some(Remedy::BeginAnew));
    assert_eq!((records.queue().records(), records.pending()), (1, 2));
    assert_eq!(values(&records, &key), ["0", "1", "2"]);
    records.close(NOW).unwrap();
    assert_eq!(records.queue().iter().last().unwrap().key, BatchKey { chain: chain(91), first: 1 });
    drop(records);
    let files = disk.files().into_iter().filter(|(name, _)| matches!(name, Name::Batch(_)));
    assert_eq!(files.count(), 2, "what was signed anew is gone");
}

#[test]
fn a_device_that_leaves_its_site_keeps_nothing_of_it() {
    let key = key();
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 3);
    records.erase(STORED_BYTES, chain(99)).unwrap();
    assert_eq!((records.stored(), records.waiting()), (0, 0));
    drop(records);
    assert_eq!(names(&disk), [Name::Stored]);
}

#[test]
fn a_device_that_leaves_its_site_erases_also_without_room_and_whenever_the_power_goes() {
    let key = key();
    let mut disk = Model::default();
    let mut records = open(&mut disk, &key).unwrap();
    signed(&mut records, 3);
    drop(records);
    let mut full = disk.clone();
    full.full = vec![Name::NewStored, Name::Stored];
    let mut records = open(&mut full, &key).unwrap();
    records.erase(STORED_BYTES, chain(99)).unwrap();
    records.disk.full.clear();
    records.record(heart_rate(later(3), 3), later(3)).unwrap();
    assert_eq!(values(&records, &key), ["3"]);
    drop(records);
    assert_eq!(names(&full), [Name::Stored]);
    for steps in 0.. {
        let mut powered = disk.powered_for(steps);
        let is_done = open(&mut powered, &key).and_then(|mut records| records.erase(STORED_BYTES, chain(99))).is_ok();
        let is_powered = powered.steps < steps;
        for loss in Loss::all() {
            let mut after = powered.after(loss);
            open(&mut after, &key).unwrap().erase(STORED_BYTES, chain(100)).unwrap();
            assert_eq!(names(&after), [Name::Stored], "{steps} {loss:?}");
        }
        if is_done && is_powered {
            return;
        }
    }
}

#[test]
fn what_a_former_key_has_signed_is_signed_with_the_present_one_and_no_value_is_lost() {
    let (former, key) = (key(), key());
    let mut site = Site::open();
    site.archive.knows(&key.public(), &pump());
    let mut disk = Model::default();
    let mut records = open(&mut disk, &former).unwrap();
    signed(&mut records, 2);
    // In two chains, and one of the batches was refused for its key already.
    let second = records.queue().iter().nth(1).unwrap().key;
    records.refused(&RefusedBatch::new(Some(second), FORK, "because"), chain(180)).unwrap();
    signed(&mut records, 2);
    let first = records.next_batch(chain(181)).unwrap().unwrap();
    records.sent(first.key);
    let error = site.archive.take(&first.bytes, NOW).unwrap_err();
    records.refused(&RefusedBatch::new(Some(first.key), &error.0, "because"), chain(181)).unwrap();
    let mut made = values(&records, &former);
    made.sort();
    drop(records);
    let mut records = open(&mut disk, &key).unwrap();
    while let Some(next) = records.next_batch(chain(182)).unwrap() {
        records.sent(next.key);
        let receipt = site.archive.take(&next.bytes, NOW).unwrap();
        records.receive(&Receipt::open(&receipt, &site.root).unwrap()).unwrap().unwrap();
    }
    assert_eq!((site.archive.values(&pump()), records.stored(), records.damaged()), (made, 0, 0));
}

#[test]
fn a_device_that_was_given_another_key_signs_with_it_from_then_on() {
    let (former, key) = (key(), key());
    let mut disk = Model::default();
    let mut records = open(&mut disk, &former).unwrap();
    signed(&mut records, 1);
    records.sign_with(key.clone());
    signed(&mut records, 1);
    while let Some(next) = records.next_batch(chain(183)).unwrap() {
        records.sent(next.key);
        assert!(Verified::open(&next.bytes, &key.public(), &pump()).is_ok());
    }
    assert_eq!((records.stored(), records.damaged()), (2, 0));
}

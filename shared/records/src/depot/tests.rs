#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::chain::{StoredBatch, Taken};
use crate::testing::{FIRST, NOW, Reader, chain, heart_rate, pump, run, signed};

const ROOM: u64 = 1000;

fn key(chain_number: u8, first: u64) -> BatchKey {
    BatchKey { chain: chain(chain_number), first }
}

fn receipt(batch: &Verified) -> Receipt {
    let mut reader = Reader::default();
    let (first, last) = (batch.batch().first(), batch.batch().last());
    let stored = StoredBatch { chain: batch.batch().chain(), first, last, hash: batch.hash(), since: 1, set_aside: 0 };
    if let Ok(Taken::New(same, _)) = reader.take(batch) {
        assert_eq!(same, stored);
    }
    Receipt::of(batch.batch().device().clone(), &stored, NOW)
}

#[test]
fn a_gateway_keeps_what_it_took_until_the_receipt() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 2));
    assert_eq!(depot.take(&batches[0], 100), Ok(Kept::New(key(1, 1))));
    assert_eq!(depot.take(&batches[1], 100), Ok(Kept::New(key(1, 3))));
    assert_eq!((depot.waiting(), depot.bytes(), depot.capacity()), (2, 200, ROOM));
    let (device, held) = depot.next().unwrap();
    assert_eq!((device, held.key), (&pump(1), key(1, 1)));
    assert_eq!(depot.receive(&receipt(&batches[1])), Ok(vec![key(1, 1), key(1, 3)]));
    assert_eq!((depot.next(), depot.devices().count()), (None, 0));
}

#[test]
fn a_duplicate_is_answered_again_and_held_once() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 1));
    depot.take(&batches[0], 100).unwrap();
    assert_eq!(depot.take(&batches[0], 100), Ok(Kept::Again(key(1, 1))));
    assert_eq!(depot.bytes(), 100);
}

#[test]
fn other_records_under_the_same_numbers_are_not_taken() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 2));
    depot.take(&batches[1], 100).unwrap();
    let other = |first, count| {
        let link = if first == 1 { FIRST } else { crate::batch::Link::Follows(batches[0].hash()) };
        signed(chain(1), first, link, vec![heart_rate(1, "99"); count]).1
    };
    for (first, count) in [(3, 2), (3, 1), (4, 1), (2, 2), (1, 3), (2, 9)] {
        assert_eq!(depot.take(&other(first, count), 100), Err(NotKept::Fork { at: 3 }), "{first} {count}");
    }
    assert_eq!(NotKept::Fork { at: 3 }.step(), FORK);
    assert!(depot.take(&other(1, 2), 100).is_ok() && depot.take(&other(5, 2), 100).is_ok());
}

#[test]
fn a_full_gateway_takes_nothing_more_and_deletes_nothing() {
    let (mut depot, batches) = (Depot::new(250), run(chain(1), FIRST, 3));
    depot.take(&batches[0], 100).unwrap();
    depot.take(&batches[1], 100).unwrap();
    let before = depot.clone();
    assert_eq!(depot.take(&batches[2], 100), Err(NotKept::Full));
    assert_eq!((&depot, NotKept::Full.step()), (&before, "store"));
    // What it has it says again.
    assert_eq!(depot.take(&batches[0], 100), Ok(Kept::Again(key(1, 1))));
    depot.receive(&receipt(&batches[0])).unwrap();
    assert!(depot.take(&batches[2], 100).is_ok());
}

#[test]
fn what_is_signed_anew_fits_always_and_only_in_the_place_of_what_was_refused() {
    let (mut depot, batches) = (Depot::new(200), run(chain(1), FIRST, 2));
    for batch in &batches {
        depot.take(batch, 100).unwrap();
    }
    depot.queue_mut(&pump(1)).unwrap().refused(key(1, 3), FORK);
    let anew = run(chain(2), FIRST, 2);
    let replaced = depot.replace(&pump(1), &[key(1, 1), key(1, 3)], &[(anew[0].clone(), 150)]);
    assert_eq!(replaced, Ok(vec![key(2, 1)]));
    let held: Vec<_> = depot.queue(&pump(1)).unwrap().iter().map(|held| held.key).collect();
    assert_eq!((held, depot.bytes()), (vec![key(1, 1), key(2, 1)], 250), "what waits is not replaced");
    assert_eq!(depot.take(&anew[1], 1), Err(NotKept::Full));
}

#[test]
fn a_receipt_for_something_else_deletes_nothing() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 2));
    depot.take(&batches[0], 100).unwrap();
    let before = depot.clone();
    let good = receipt(&batches[0]);
    for (other, expected) in [
        (Receipt { device: pump(2), ..good.clone() }, NotHeld::Device),
        (receipt(&batches[1]), NotHeld::Batch),
        (Receipt { chain: chain(2), ..good.clone() }, NotHeld::Batch),
        (Receipt { hash: batches[1].hash(), ..good.clone() }, NotHeld::Other),
    ] {
        assert_eq!(depot.receive(&other), Err(expected));
        assert_eq!(depot, before);
    }
    assert!(depot.receive(&good).is_ok());
}

#[test]
fn devices_do_not_wait_for_one_another() {
    let mut depot = Depot::new(ROOM);
    let other = crate::batch::Batch::new(pump(2), chain(2), 1, FIRST, NOW, vec![heart_rate(1, "70")]).unwrap();
    let other = other.sign(&crate::testing::key(1)).unwrap().1;
    let first = &run(chain(1), FIRST, 1)[0];
    depot.take(&other, 100).unwrap();
    depot.take(first, 100).unwrap();
    depot.queue_mut(&pump(1)).unwrap().sent(key(1, 1));
    assert_eq!(depot.next().unwrap().0, &pump(2));
    depot.queue_mut(&pump(2)).unwrap().refused(key(2, 1), "signature");
    assert_eq!(depot.next(), None);
    depot.interrupted();
    assert_eq!(depot.next().unwrap().0, &pump(1));
}

#[test]
fn only_what_was_refused_can_be_discarded() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 1));
    depot.take(&batches[0], 100).unwrap();
    assert!(!depot.discard(&pump(1), key(1, 1)) && !depot.discard(&pump(2), key(1, 1)));
    depot.queue_mut(&pump(1)).unwrap().refused(key(1, 1), "signature");
    assert!(!depot.discard(&pump(1), key(1, 2)) && depot.discard(&pump(1), key(1, 1)));
    assert_eq!((depot.bytes(), depot.devices().count()), (0, 0));
}

#[test]
fn what_was_stored_is_held_again_and_what_was_not_answered_is_sent_again() {
    let (mut depot, batches) = (Depot::new(ROOM), run(chain(1), FIRST, 3));
    for batch in &batches {
        depot.take(batch, 100).unwrap();
    }
    depot.queue_mut(&pump(1)).unwrap().sent(key(1, 1));
    depot.queue_mut(&pump(1)).unwrap().refused(key(1, 5), "signature");
    assert!(depot.is_under_way() && depot.queue(&pump(2)).is_none());
    let mut stored: Vec<_> = depot.queue(&pump(1)).unwrap().iter().map(|held| (pump(1), held.clone())).collect();
    stored.reverse();
    let again = Depot::restore(ROOM, stored);
    depot.interrupted();
    assert_eq!(again, depot);
    assert_eq!((again.waiting(), again.next().unwrap().1.key), (2, key(1, 1)));
}

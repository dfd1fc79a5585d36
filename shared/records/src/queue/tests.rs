#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::chain::{StoredBatch, Taken};
use crate::testing::{FIRST, NOW, Reader, chain, heart_rate, pump, run, signed};

fn queue(batches: &[Verified]) -> Queue {
    let mut queue = Queue::default();
    for batch in batches {
        queue.push(batch, 100);
    }
    queue
}

fn receipt(stored: &StoredBatch) -> Receipt {
    Receipt::of(pump(1), stored, NOW)
}

/// What a server says to these batches.
fn stored(batches: &[Verified]) -> Vec<StoredBatch> {
    let mut reader = Reader::default();
    for batch in batches {
        assert!(matches!(reader.take(batch), Ok(Taken::New(..))));
    }
    reader.stored
}

fn firsts(queue: &Queue) -> Vec<u64> {
    queue.iter().map(|held| held.key.first).collect()
}

#[test]
fn a_receipt_deletes_its_batch_and_those_before_it() {
    let batches = run(chain(1), FIRST, 4);
    let (mut queue, stored) = (queue(&batches), stored(&batches));
    let deleted = queue.apply(&receipt(&stored[2])).unwrap();
    assert_eq!(deleted.iter().map(|key| key.first).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!((firsts(&queue), queue.records(), queue.bytes()), (vec![7], 2, 100));
    assert_eq!(queue.apply(&receipt(&stored[2])), Err(NotHeld::Batch));
}

#[test]
fn a_receipt_for_something_else_deletes_nothing() {
    let batches = run(chain(1), FIRST, 3);
    let (mut queue, stored) = (queue(&batches), stored(&batches));
    let before = queue.clone();
    for (other, expected) in [
        (StoredBatch { chain: chain(2), ..stored[1] }, NotHeld::Batch),
        (StoredBatch { last: 3, ..stored[1] }, NotHeld::Batch),
        (StoredBatch { last: 8, ..stored[1] }, NotHeld::Batch),
        (StoredBatch { hash: Sha256([1; 32]), ..stored[1] }, NotHeld::Other),
        (StoredBatch { since: 4, ..stored[1] }, NotHeld::Other),
    ] {
        assert_eq!(queue.apply(&receipt(&other)), Err(expected), "{other:?}");
        assert_eq!(queue, before);
    }
    assert_eq!(
        [NotHeld::Device, NotHeld::Batch, NotHeld::Other].map(|error| error.step()),
        ["receipt: device", "receipt: batch", "receipt: batch"]
    );
}

#[test]
fn a_receipt_reaches_no_further_back_than_it_says_and_than_the_chain_holds() {
    let batches = run(chain(1), FIRST, 3);
    let mut later = queue(&batches);
    // The server has conceded what is before number 3.
    let conceded = StoredBatch { since: 3, ..stored(&batches)[2] };
    assert_eq!(later.apply(&receipt(&conceded)).unwrap().len(), 2);
    assert_eq!(firsts(&later), [1]);
    // What is held under number 1 is another history.
    let other = signed(chain(1), 1, FIRST, vec![heart_rate(1, "99"), heart_rate(2, "99")]).1;
    let mut forked = queue(&[other, batches[1].clone(), batches[2].clone()]);
    assert_eq!(forked.apply(&receipt(&stored(&batches)[2])).unwrap().len(), 2);
    assert_eq!(firsts(&forked), [1]);
}

#[test]
fn batches_are_sent_in_order_and_again_after_an_interruption() {
    let batches = run(chain(1), FIRST, 3);
    let mut queue = queue(&[batches[1].clone(), batches[0].clone(), batches[2].clone()]);
    let mut sent = Vec::new();
    while let Some(key) = queue.next().map(|held| held.key) {
        queue.sent(key);
        sent.push(key.first);
    }
    assert_eq!((sent, queue.waiting()), (vec![1, 3, 5], 0));
    queue.interrupted();
    assert_eq!((queue.next().unwrap().key.first, queue.waiting()), (1, 3));
}

#[test]
fn a_gap_at_the_server_makes_what_is_held_of_it_go_first() {
    let batches = run(chain(1), FIRST, 4);
    let (mut queue, stored) = (queue(&batches), stored(&batches));
    for batch in &batches {
        queue.sent(BatchKey { chain: chain(1), first: batch.batch().first() });
    }
    let third = BatchKey { chain: chain(1), first: 5 };
    assert_eq!(queue.refused(third, GAP), Remedy::SendEarlier);
    assert_eq!(queue.next().unwrap().key.first, 1);
    queue.apply(&receipt(&stored[1])).unwrap();
    assert_eq!(queue.next().unwrap().key.first, 5);
}

#[test]
fn what_is_held_up_by_a_gap_elsewhere_is_tried_again_in_the_next_session() {
    let batches = run(chain(1), FIRST, 4);
    // Another gateway has the first two.
    let mut queue = queue(&batches[2..]);
    assert_eq!(queue.refused(queue.next().unwrap().key, GAP), Remedy::SendEarlier);
    assert_eq!(queue.next(), None);
    // Another chain is not held up.
    queue.push(&run(chain(2), FIRST, 1)[0], 100);
    assert_eq!(queue.next().unwrap().key.chain, chain(2));
    queue.interrupted();
    assert_eq!(queue.next().unwrap().key, BatchKey { chain: chain(1), first: 5 });
}

#[test]
fn what_a_lost_gateway_had_taken_over_is_sent_once_more_when_the_next_one_misses_it() {
    let batches = run(chain(1), FIRST, 4);
    let mut queue = queue(&batches);
    let keys: Vec<_> = queue.iter().map(|held| held.key).collect();
    for (key, batch) in keys.iter().zip(&batches).take(3) {
        assert!(queue.handed(*key, &batch.hash()));
    }
    assert_eq!(queue.next().unwrap().key, keys[3]);
    // The next gateway has the third only.
    assert_eq!(queue.refused(keys[2], GAP), Remedy::SendEarlier);
    assert_eq!((queue.next().unwrap().key, queue.waiting()), (keys[0], 3));
    for (key, batch) in keys.iter().zip(&batches).take(2) {
        assert!(queue.handed(*key, &batch.hash()));
    }
    // What it has stays there, whatever is told of it, and holds up nothing that comes after it.
    for key in &keys[..2] {
        assert_eq!(queue.refused(*key, GAP), Remedy::SendEarlier);
    }
    assert!(queue.handed(keys[0], &batches[0].hash()));
    assert_eq!((queue.next().unwrap().key, queue.waiting()), (keys[3], 1));
    queue.apply(&receipt(&stored(&batches)[3])).unwrap();
    assert!(queue.is_empty());
}

#[test]
fn what_is_refused_is_kept_and_not_sent_again_by_itself() {
    for (step, remedy) in [(FORK, Remedy::BeginAnew), ("signature", Remedy::TellSomebody), ("", Remedy::TellSomebody)] {
        let mut queue = queue(&run(chain(1), FIRST, 2));
        let key = queue.next().unwrap().key;
        assert_eq!(queue.refused(key, step), remedy);
        queue.interrupted();
        assert_eq!((queue.next(), firsts(&queue)), (None, vec![1, 3]));
        assert!(queue.retry(key));
        assert_eq!(queue.next().unwrap().key, key);
        assert!(!queue.retry(key), "only what was refused");
    }
}

#[test]
fn what_is_damaged_is_never_sent_and_holds_up_nothing() {
    let batches = run(chain(1), FIRST, 3);
    let mut queue = queue(&batches);
    let keys: Vec<BatchKey> = queue.iter().map(|held| held.key).collect();
    queue.damaged(keys[0]);
    queue.sent(keys[1]);
    assert_eq!(queue.next().map(|held| held.key), Some(keys[2]));
    // Nobody can bring it back.
    assert_eq!((queue.refused(keys[1], GAP), queue.retry(keys[0])), (Remedy::SendEarlier, false));
    queue.interrupted();
    assert_eq!((queue.next().map(|held| held.key), queue.waiting()), (Some(keys[1]), 2));
    assert_eq!(queue.iter().next().unwrap().standing, Standing::Damaged);
}

#[test]
fn a_receiver_without_room_is_tried_again() {
    let mut queue = queue(&run(chain(1), FIRST, 2));
    let key = queue.next().unwrap().key;
    queue.sent(key);
    assert!(queue.is_under_way());
    assert_eq!(queue.refused(key, crate::depot::FULL), Remedy::TryLater);
    assert!(!queue.is_under_way());
    assert_eq!(queue.next().unwrap().key, key);
}

#[test]
fn what_is_chained_to_a_forked_batch_is_refused_with_it() {
    let mut queue = queue(&run(chain(1), FIRST, 3));
    queue.push(&run(chain(2), FIRST, 1)[0], 100);
    queue.refused(BatchKey { chain: chain(1), first: 3 }, FORK);
    let refused = queue.iter().filter(|held| held.standing == Standing::Refused(FORK.to_owned()));
    assert_eq!(
        refused.map(|held| (held.key.chain, held.key.first)).collect::<Vec<_>>(),
        [(chain(1), 3), (chain(1), 5)]
    );
}

#[test]
fn a_hand_over_is_for_exactly_one_batch() {
    let batches = run(chain(1), FIRST, 2);
    let mut queue = queue(&batches);
    let key = BatchKey { chain: chain(1), first: 1 };
    assert!(!queue.handed(key, &batches[1].hash()));
    assert!(!queue.handed(BatchKey { first: 2, ..key }, &batches[0].hash()));
    assert_eq!(queue.waiting(), 2);
    assert!(queue.handed(key, &batches[0].hash()));
    assert_eq!((queue.waiting(), queue.next().unwrap().key.first), (1, 3));
}

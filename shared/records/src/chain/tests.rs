#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use crate::batch::Beginning;
use crate::testing::{FIRST, Reader, after, chain, heart_rate, run, signed};
use proptest::prelude::*;
use wardlink_protocol::cbor;

fn continuity(taken: Result<Taken, Refused>) -> Continuity {
    match taken.unwrap() {
        Taken::New(_, continuity) => continuity,
        Taken::Again(stored) => panic!("{stored:?} was stored before"),
    }
}

#[test]
fn batches_in_order_are_taken() {
    let (mut reader, batches) = (Reader::default(), run(chain(1), FIRST, 3));
    assert_eq!(continuity(reader.take(&batches[0])), Continuity::Begun(Reason::First));
    for batch in &batches[1..] {
        assert_eq!(continuity(reader.take(batch)), Continuity::Whole);
    }
    assert_eq!((reader.chains.stored(), reader.chains.missing()), (6, vec![]));
    assert!(reader.stored.iter().all(|stored| stored.since == 1));
}

#[test]
fn a_duplicate_is_answered_by_the_same_receipt_and_changes_nothing() {
    let (mut reader, batches) = (Reader::default(), run(chain(1), FIRST, 3));
    for batch in &batches {
        reader.take(batch).unwrap();
    }
    for (batch, stored) in batches.iter().zip(reader.stored.clone()) {
        assert_eq!(reader.take(batch), Ok(Taken::Again(stored)));
    }
    assert_eq!(reader.stored.len(), 3);
}

#[test]
fn a_gap_is_refused_until_it_is_closed() {
    let (mut reader, batches) = (Reader::default(), run(chain(1), FIRST, 3));
    assert_eq!(reader.take(&batches[1]), Err(Refused::Gap { expected: 1, found: 3 }));
    reader.take(&batches[0]).unwrap();
    assert_eq!(reader.take(&batches[2]), Err(Refused::Gap { expected: 3, found: 5 }));
    assert_eq!(Refused::Gap { expected: 3, found: 5 }.step(), GAP);
    reader.take(&batches[1]).unwrap();
    reader.take(&batches[2]).unwrap();
}

#[test]
fn a_fork_is_refused() {
    let (mut reader, batches) = (Reader::default(), run(chain(1), FIRST, 2));
    reader.take(&batches[0]).unwrap();
    reader.take(&batches[1]).unwrap();
    // Another history under the same numbers.
    let (_, other) = signed(chain(1), 3, Link::Follows(batches[0].hash()), vec![heart_rate(9, "90")]);
    assert_eq!(reader.take(&other), Err(Refused::Fork { at: 3 }));
    // One that goes on from another history.
    let (_, next) = signed(chain(1), 5, Link::Follows(other.hash()), vec![heart_rate(9, "90")]);
    assert_eq!(reader.take(&next), Err(Refused::Fork { at: 4 }));
    // One that begins in the middle of a stored batch.
    let (_, within) = signed(chain(1), 4, Link::Follows(batches[0].hash()), vec![heart_rate(9, "90"); 3]);
    assert_eq!(reader.take(&within), Err(Refused::Fork { at: 4 }));
    // Another beginning.
    let (_, beginning) = signed(chain(1), 1, FIRST, vec![heart_rate(9, "90")]);
    assert_eq!(reader.take(&beginning), Err(Refused::Fork { at: 1 }));
    assert_eq!(Refused::Fork { at: 1 }.step(), FORK);
}

#[test]
fn a_new_chain_that_follows_the_end_of_the_old_one_shows_no_loss() {
    let (mut reader, old) = (Reader::default(), run(chain(1), FIRST, 2));
    reader.take(&old[0]).unwrap();
    reader.take(&old[1]).unwrap();
    let new = run(chain(2), after(Reason::PairedAgain, &old[1]), 1);
    assert_eq!(continuity(reader.take(&new[0])), Continuity::Begun(Reason::PairedAgain));
}

#[test]
fn what_is_missing_of_the_old_chain_is_told_and_may_still_come() {
    let (mut reader, old) = (Reader::default(), run(chain(1), FIRST, 3));
    reader.take(&old[0]).unwrap();
    let new = run(chain(2), after(Reason::StoreLost, &old[2]), 1);
    let missing = Missing { chain: chain(1), from: 3, through: 6 };
    assert_eq!(continuity(reader.take(&new[0])), Continuity::Outstanding(Reason::StoreLost, missing));
    assert_eq!(reader.chains.missing(), [missing]);
    reader.take(&old[1]).unwrap();
    assert_eq!(reader.chains.missing(), [Missing { from: 5, ..missing }]);
    reader.take(&old[2]).unwrap();
    assert_eq!(reader.chains.missing(), []);
}

#[test]
fn the_old_chain_may_come_wholly_after_the_new_one() {
    let (mut reader, old) = (Reader::default(), run(chain(1), FIRST, 2));
    let new = run(chain(2), after(Reason::PairedAgain, &old[1]), 2);
    let missing = Missing { chain: chain(1), from: 1, through: 4 };
    assert_eq!(continuity(reader.take(&new[0])), Continuity::Outstanding(Reason::PairedAgain, missing));
    reader.take(&old[0]).unwrap();
    reader.take(&new[1]).unwrap();
    reader.take(&old[1]).unwrap();
    assert_eq!((reader.chains.missing(), reader.chains.stored()), (vec![], 8));
}

#[test]
fn a_new_chain_cannot_hide_what_the_reader_knows() {
    let stored = |count: usize| {
        let (mut reader, old) = (Reader::default(), run(chain(1), FIRST, 3));
        for batch in &old[..count] {
            reader.take(batch).unwrap();
        }
        (reader, old)
    };
    // It claims to be the first, or to know of no other.
    for reason in [Reason::First, Reason::StoreLost] {
        let (mut reader, _) = stored(1);
        let link = Link::Begins(Beginning { reason, before: None });
        assert_eq!(continuity(reader.take(&run(chain(2), link, 1)[0])), Continuity::Unsure(reason));
    }
    // It knows less than the reader: it was restored.
    let (mut reader, old) = stored(3);
    let link = after(Reason::Restored, &old[1]);
    assert_eq!(continuity(reader.take(&run(chain(2), link, 1)[0])), Continuity::Unsure(Reason::Restored));
    // A restored device that ends where the reader ends may have lost what came after.
    let (mut reader, old) = stored(3);
    let link = after(Reason::Restored, &old[2]);
    assert_eq!(continuity(reader.take(&run(chain(2), link, 1)[0])), Continuity::Unsure(Reason::Restored));
    // Another end with the same number.
    let (mut reader, _) = stored(3);
    let end = ChainEnd { chain: chain(1), last: 6, hash: Sha256([9; 32]) };
    let link = Link::Begins(Beginning { reason: Reason::PairedAgain, before: Some(end) });
    assert_eq!(continuity(reader.take(&run(chain(2), link, 1)[0])), Continuity::Unsure(Reason::PairedAgain));
    // It passes over a chain in between, with the old chain's end or with one beyond.
    let (mut reader, old) = stored(3);
    reader.take(&run(chain(2), after(Reason::PairedAgain, &old[2]), 1)[0]).unwrap();
    let again = run(chain(3), after(Reason::PairedAgain, &old[2]), 1);
    assert_eq!(continuity(reader.take(&again[0])), Continuity::Unsure(Reason::PairedAgain));
    let (mut reader, old) = stored(2);
    reader.take(&run(chain(2), after(Reason::PairedAgain, &old[1]), 1)[0]).unwrap();
    let beyond = run(chain(3), after(Reason::StoreLost, &old[2]), 1);
    assert_eq!(continuity(reader.take(&beyond[0])), Continuity::Unsure(Reason::StoreLost));
    assert_eq!(reader.chains.missing(), [Missing { chain: chain(1), from: 5, through: 6 }]);
}

#[test]
fn a_chain_that_comes_after_its_successor_shows_no_loss_where_there_is_none() {
    let (mut reader, first) = (Reader::default(), run(chain(1), FIRST, 1));
    let second = run(chain(2), after(Reason::PairedAgain, &first[0]), 1);
    let third = run(chain(3), after(Reason::PairedAgain, &second[0]), 1);
    reader.take(&first[0]).unwrap();
    let missing = Missing { chain: chain(2), from: 1, through: 2 };
    assert_eq!(continuity(reader.take(&third[0])), Continuity::Outstanding(Reason::PairedAgain, missing));
    assert_eq!(continuity(reader.take(&second[0])), Continuity::Begun(Reason::PairedAgain));
    assert_eq!(reader.chains.missing(), []);
}

#[test]
fn a_chain_that_follows_itself_is_refused() {
    let mut reader = Reader::default();
    let end = ChainEnd { chain: chain(1), last: 1, hash: Sha256([9; 32]) };
    let link = Link::Begins(Beginning { reason: Reason::Restored, before: Some(end) });
    assert_eq!(reader.take(&run(chain(1), link, 1)[0]), Err(Refused::Circle));
}

#[test]
fn a_device_cannot_begin_chains_without_end() {
    let mut reader = Reader::default();
    let begin = |number: u8, low: u8| {
        let mut id = chain(number);
        id.0[1] = low;
        signed(id, 1, FIRST, vec![heart_rate(1, "70")]).1
    };
    for number in 0..=255 {
        reader.take(&begin(number, 1)).unwrap();
    }
    assert_eq!(reader.take(&begin(1, 2)), Err(Refused::TooManyChains));
    // Those that it has go on.
    let (first, id) = (begin(7, 1), begin(7, 1).batch().chain());
    reader.take(&signed(id, 2, Link::Follows(first.hash()), vec![heart_rate(2, "70")]).1).unwrap();
}

#[test]
fn a_conceded_gap_is_remembered_and_filled_when_it_comes_after_all() {
    let (mut reader, batches) = (Reader::default(), run(chain(1), FIRST, 5));
    reader.take(&batches[0]).unwrap();
    let missing = Missing { chain: chain(1), from: 3, through: 8 };
    assert_eq!(continuity(reader.concede(&batches[4])), Continuity::Conceded(missing));
    assert_eq!((reader.chains.missing(), reader.chains.stored()), (vec![missing], 4));
    // Receipts count from behind the gap.
    assert_eq!(reader.stored.last().unwrap().since, 9);
    assert_eq!(continuity(reader.take(&batches[2])), Continuity::Filled);
    assert_eq!(reader.stored.last().unwrap().since, 5);
    let parts = [Missing { through: 4, ..missing }, Missing { from: 7, ..missing }];
    assert_eq!(reader.chains.missing(), parts);
    reader.take(&batches[1]).unwrap();
    reader.take(&batches[3]).unwrap();
    assert_eq!((reader.chains.missing(), reader.chains.stored()), (vec![], 10));
    assert!(matches!(reader.take(&batches[3]), Ok(Taken::Again(_))));
}

#[test]
fn a_beginning_in_a_conceded_gap_still_tells_what_was_before() {
    let (mut reader, old) = (Reader::default(), run(chain(1), FIRST, 1));
    let new = run(chain(2), after(Reason::StoreLost, &old[0]), 2);
    reader.concede(&new[1]).unwrap();
    assert_eq!(continuity(reader.take(&new[0])), Continuity::Filled);
    assert_eq!(reader.chains.missing(), [Missing { chain: chain(1), from: 1, through: 2 }]);
    // Nothing to concede: judged as ever.
    assert!(matches!(
        reader.concede(&old[0]),
        Ok(Taken::New(_, Continuity::Begun(Reason::First) | Continuity::Unsure(_)))
    ));
    assert_eq!(reader.chains.missing(), []);
}

#[test]
fn gaps_are_bounded() {
    let mut reader = Reader::default();
    let at = |first| signed(chain(1), first, Link::Follows(Sha256([1; 32])), vec![heart_rate(1, "70")]).1;
    for number in 0..MAX_GAPS as u64 {
        reader.concede(&at(3 + number * 2)).unwrap();
    }
    assert_eq!(reader.concede(&at(1001)), Err(Refused::TooManyGaps));
    // Splitting one would make one more.
    assert_eq!(reader.take(&at(2)), Err(Refused::TooManyGaps));
}

#[test]
fn records_that_were_set_aside_are_counted() {
    let (mut chains, batches) = (Chains::default(), run(chain(1), FIRST, 2));
    for (batch, set_aside) in batches.iter().zip([2, 1]) {
        chains.take(batch, set_aside, None).unwrap();
    }
    assert_eq!(chains.set_aside(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Two chains, delivered in any order and as often as it takes, with restarts of the reader: everything is stored once.
    #[test]
    fn whatever_comes_in_whatever_order_everything_is_stored_once(order in prop::collection::vec(0..10_usize, 0..60)) {
        let old = run(chain(1), FIRST, 5);
        let new = run(chain(2), after(Reason::PairedAgain, &old[4]), 5);
        let all: Vec<&Verified> = old.iter().chain(&new).collect();
        let mut reader = Reader::default();
        for which in order.into_iter().chain(0..10) {
            match reader.take(all[which]) {
                Ok(_) | Err(Refused::Gap { .. }) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
            let packed = cbor::pack(&reader.chains).unwrap();
            reader.chains = cbor::unpack(&packed, packed.len()).unwrap();
        }
        prop_assert_eq!(reader.stored.len(), 10);
        prop_assert_eq!((reader.chains.stored(), reader.chains.missing()), (20, vec![]));
    }
}

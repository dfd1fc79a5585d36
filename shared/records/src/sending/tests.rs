#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limits::FIRST_WAIT;
use crate::testing::{NOW, later};

fn sending(every_secs: Option<u64>, at_batches: Option<usize>) -> Sending {
    Sending::new(Plan { every_secs, at_batches }, NOW)
}

#[test]
fn without_a_plan_it_sends_when_somebody_asks() {
    let mut sending = sending(None, None);
    assert_eq!((sending.due(later(1_000_000), 9), sending.next_at(NOW, 9)), (None, None));
    for trigger in [Trigger::Poll, Trigger::Request, Trigger::OwnInitiative] {
        sending.ask(trigger);
        assert_eq!((sending.due(NOW, 1), sending.next_at(NOW, 1)), (Some(trigger), Some(NOW)));
        assert_eq!((sending.due(NOW, 0), sending.next_at(NOW, 0)), (None, None), "there is nothing to send");
        sending.done(NOW);
        assert_eq!(sending.due(NOW, 1), None);
    }
}

#[test]
fn a_schedule_comes_round() {
    let mut sending = sending(Some(600), None);
    assert_eq!((sending.due(later(599), 1), sending.next_at(later(599), 1)), (None, Some(later(600))));
    assert_eq!(sending.due(later(600), 1), Some(Trigger::Schedule));
    sending.done(later(605));
    assert_eq!((sending.due(later(1204), 1), sending.due(later(1205), 1)), (None, Some(Trigger::Schedule)));
    // A clock that was set back does not hold it up.
    assert_eq!(sending.due(later(10), 1), Some(Trigger::Schedule));
    sending.replan(Plan { every_secs: Some(1), at_batches: None });
    sending.done(later(700));
    assert_eq!((sending.due(later(759), 1), sending.due(later(760), 1)), (None, Some(Trigger::Schedule)));
}

#[test]
fn enough_is_sent_on_its_own_initiative() {
    let sending = sending(Some(600), Some(3));
    assert_eq!((sending.due(later(1), 2), sending.due(later(1), 3)), (None, Some(Trigger::OwnInitiative)));
}

#[test]
fn failures_make_it_wait_longer_and_never_too_long() {
    let mut sending = sending(Some(60), Some(1));
    let mut now = NOW;
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        sending.failed(now, 0);
        let until = sending.next_at(now, 1).unwrap();
        assert_eq!((until.since(now), sending.due(now, 1)), (Duration::from_mins(minutes), None));
        assert!(sending.due(until, 1).is_some());
        now = until;
    }
    for random in [1, 29_999, 30_000, u64::MAX] {
        sending.done(now);
        sending.failed(now, random);
        let wait = sending.next_at(now, 1).unwrap().since(now);
        assert!(wait > FIRST_WAIT / 2 && wait <= FIRST_WAIT, "{wait:?}");
    }
}

#[test]
fn who_asks_is_there() {
    let mut sending = sending(None, None);
    sending.ask(Trigger::OwnInitiative);
    sending.failed(NOW, 0);
    assert_eq!(sending.due(NOW, 1), None);
    sending.ask(Trigger::Poll);
    assert_eq!(sending.due(NOW, 1), Some(Trigger::OwnInitiative));
    // A clock that was set back by a day does not hold it up either.
    sending.failed(later(86_400), 0);
    assert!(sending.due(NOW, 1).is_some());
}

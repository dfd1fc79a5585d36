use super::*;
use crate::check::check;
use crate::limits::{LATENESS, MAX_FLAG_RECORDS, MAX_LOOKBACK, MAX_UNSETTLED};
use crate::record::{Answer, Content, Record};
use crate::testing::{NOW, chain, heart_rate, later, patient};
use proptest::prelude::*;
use std::collections::BTreeMap;
use wardlink_protocol::cbor;

const fn id(sequence: u64) -> RecordId {
    RecordId { chain: chain(1), sequence }
}

/// A server's rules with the flags that it has stored, and what the rules remember.
struct Server {
    rules: Rules,
    evaluation: Evaluation,
    flags: BTreeMap<FlagId, Flag>,
    /// Each state with the number of its last use.
    stored: BTreeMap<StateId, (u64, Vec<u8>)>,
    uses: u64,
}

impl Server {
    fn new(text: &str) -> Self {
        let (evaluation, flags, stored) = (Evaluation::default(), BTreeMap::new(), BTreeMap::new());
        Self { rules: rules(text), evaluation, flags, stored, uses: 0 }
    }

    fn feed(&mut self, records: &[(RecordId, Record)]) -> usize {
        let known = Definitions::default();
        let seen = records.iter().map(|(id, record)| {
            // Times are judged elsewhere.
            let counted = check(record, &known, record.at).unwrap();
            Seen { id: *id, record, counted }
        });
        let changes = self.evaluation.feed(&self.rules, seen);
        let count = changes.len();
        for change in changes {
            match change {
                Change::Raised(flag) => drop(self.flags.insert(flag.id.clone(), flag)),
                Change::Withdrawn(id) => assert!(self.flags.remove(&id).is_some(), "a flag that was never raised"),
            }
        }
        count
    }

    /// Stores what has changed, and starts anew; how many states were written.
    fn restart(&mut self) -> usize {
        let (kept, gone) = self.evaluation.changed();
        for id in &gone {
            assert!(self.stored.remove(*id).is_some(), "a state that was never stored");
        }
        for state in &kept {
            self.uses += 1;
            self.stored.insert(state.id(), (self.uses, cbor::pack(state).unwrap()));
        }
        let count = kept.len();
        let mut stored: Vec<&(u64, Vec<u8>)> = self.stored.values().collect();
        stored.sort();
        let states = stored.iter().map(|(_, packed)| cbor::unpack::<State>(packed, packed.len()).unwrap()).collect();
        let restored = Evaluation::restore(states, self.evaluation.late());
        assert_eq!(restored.states(), self.evaluation.states());
        self.evaluation = restored;
        count
    }

    fn told(&self, rule: &str) -> Vec<(u64, u64)> {
        let of = self.flags.values().filter(|flag| flag.id.rule.as_str() == rule);
        of.map(|flag| (flag.id.first.sequence, flag.count)).collect()
    }
}

/// Heart rates, each so many seconds after the beginning, numbered from 1.
fn rates(some: &[(u64, u32)]) -> Vec<(RecordId, Record)> {
    (1..).zip(some).map(|(number, (at, rate))| (id(number), heart_rate(*at, &rate.to_string()))).collect()
}

#[test]
fn a_threshold_flags_the_records_beyond_it_once_for_each_run() {
    let mut server = Server::new(RULES);
    server.feed(&rates(&[(0, 120), (60, 121), (120, 130), (180, 110), (240, 125)]));
    assert_eq!(server.told("tachycardia"), [(2, 2), (5, 1)]);
    let flag = server.flags.values().find(|flag| flag.id.first == id(2)).unwrap();
    assert_eq!((flag.from, flag.until, flag.patient), (later(60), later(120), Some(patient(1))));
    assert_eq!((flag.records.as_slice(), flag.id.version), ([id(2), id(3)].as_slice(), 2));
}

#[test]
fn a_duration_flags_only_what_lasts_without_a_gap() {
    let mut server = Server::new(RULES);
    // Nine minutes; then a normal value; then ten minutes with a gap; then ten without.
    server.feed(&rates(&[(0, 91), (270, 95), (540, 99), (541, 90)]));
    assert_eq!(server.told("fast-for-long"), []);
    let mut more = rates(&[(1000, 91), (1301, 91), (1600, 91), (1700, 60), (2000, 91), (2300, 91), (2600, 91)]);
    for (id, _) in &mut more {
        id.sequence += 10;
    }
    server.feed(&more);
    assert_eq!(server.told("fast-for-long"), [(15, 3)]);
}

#[test]
fn a_trend_names_the_record_that_it_is_compared_with() {
    let mut server = Server::new(RULES);
    server.feed(&rates(&[(0, 60), (1800, 89), (3600, 90), (3700, 91), (7300, 120)]));
    // At 3,700 s the first is too long ago; at 7,300 s the one before has 29 less.
    assert_eq!(server.told("rising"), [(3, 1)]);
    let flag = server.flags.values().find(|flag| flag.id.rule.as_str() == "rising").unwrap();
    assert_eq!(flag.records, [id(1), id(3)]);
}

#[test]
fn a_fall_is_found_as_a_rise_is() {
    let mut server = Server::new(&with(r#""trend": {"falls": "30", "unit": "/min", "within_seconds": 3600}"#));
    server.feed(&rates(&[(0, 90), (100, 61), (200, 60), (300, 70), (3700, 40)]));
    assert_eq!(server.told("r"), [(3, 1), (5, 1)]);
}

#[test]
fn answers_are_flagged_too() {
    let mut server = Server::new(RULES);
    let answer = |number, choice: &str| {
        let answer = Answer {
            instrument: "daily-wellbeing".parse().unwrap(),
            question: "breathlessness".parse().unwrap(),
            response: Response::Choice(choice.parse().unwrap()),
        };
        (id(number), Record { content: Content::Answer(answer), ..heart_rate(number, "1") })
    };
    server.feed(&[answer(1, "none"), answer(2, "severe"), answer(3, "slight")]);
    assert_eq!(server.told("breathless"), [(2, 1)]);
}

#[test]
fn patients_are_not_mixed() {
    let mut server = Server::new(RULES);
    let mut mixed = rates(&[(0, 60), (60, 95), (120, 100)]);
    mixed[1].1.patient = Some(patient(2));
    mixed[2].1.patient = None;
    server.feed(&mixed);
    assert_eq!(server.told("rising"), []);
}

#[test]
fn a_late_record_raises_changes_and_withdraws() {
    let mut server = Server::new(RULES);
    let all = rates(&[(0, 130), (60, 130), (120, 130)]);
    server.feed(&[all[0].clone(), all[2].clone()]);
    assert_eq!(server.told("tachycardia"), [(1, 2)]);
    // A normal value in between makes two of one.
    server.feed(&[(id(9), heart_rate(60, "70"))]);
    assert_eq!(server.told("tachycardia"), [(1, 1), (3, 1)]);
    // One before makes the run begin earlier.
    server.feed(&[(id(8), heart_rate(90, "140"))]);
    assert_eq!(server.told("tachycardia"), [(1, 1), (8, 2)]);
    assert_eq!(server.feed(&[]), 0);
}

#[test]
fn what_is_too_late_is_judged_for_itself_and_counted() {
    let mut server = Server::new(RULES);
    let day = LATENESS.as_secs();
    server.feed(&rates(&[(0, 70), (day + 1, 70)]));
    server.feed(&[(id(7), heart_rate(0, "130")), (id(8), heart_rate(1, "130"))]);
    // Number 7 has the time of the one that is settled, and a higher number: it still has its place.
    assert_eq!(server.told("tachycardia"), [(7, 2)]);
    let mut server = Server::new(RULES);
    server.feed(&rates(&[(10, 70), (day + 11, 70)]));
    assert_eq!(server.evaluation.late(), 0);
    server.feed(&[(id(7), heart_rate(9, "130")), (id(8), heart_rate(8, "131"))]);
    assert_eq!(server.told("tachycardia"), [(7, 1), (8, 1)]);
    assert_eq!((server.told("rising"), server.evaluation.late()), (vec![], 6));
}

#[test]
fn another_version_of_a_rule_begins_anew_and_its_flags_stay() {
    let mut server = Server::new(RULES);
    server.feed(&rates(&[(0, 130)]));
    server.rules = rules(&RULES.replace("\"version\": 2", "\"version\": 3"));
    server.feed(&[(id(2), heart_rate(60, "130"))]);
    let versions: Vec<u32> =
        server.flags.keys().filter(|id| id.rule.as_str() == "tachycardia").map(|id| id.version).collect();
    assert_eq!((server.told("tachycardia"), versions), (vec![(1, 1), (2, 1)], vec![2, 3]));
}

#[test]
fn a_long_run_names_its_beginning_and_its_end() {
    let mut server = Server::new(RULES);
    let many: Vec<(u64, u32)> = (0..2000).map(|number| (number, 150)).collect();
    for part in rates(&many).chunks(300) {
        server.feed(part);
        server.restart();
    }
    assert_eq!(server.told("tachycardia"), [(1, 2000)]);
    let flag = server.flags.values().find(|flag| flag.id.rule.as_str() == "tachycardia").unwrap();
    assert_eq!((flag.records.len(), flag.records.last()), (MAX_FLAG_RECORDS + 1, Some(&id(2000))));
    let size = cbor::pack(server.evaluation.states()).unwrap().len();
    assert!(size < 3 * 70 * (MAX_UNSETTLED + MAX_LOOKBACK), "{size} bytes");
}

#[test]
fn a_slow_rise_over_many_records_is_still_found() {
    // Four values a minute that rise ever so slowly: more than are looked back on.
    let text = with(r#""trend": {"rises": "20", "unit": "/min", "within_seconds": 86400}"#);
    let mut server = Server::new(&text);
    let slowly = |number: u64| heart_rate(number * 15, &format!("{}.{:03}", 60 + number * 6 / 1000, number * 6 % 1000));
    let many: Vec<_> = (1..=4000).map(|number| (id(number), slowly(number))).collect();
    for part in many.chunks(500) {
        server.feed(part);
    }
    let (first, _) = server.told("r")[0];
    // 20/min are 3,334 records; looking back may be a little shorter.
    assert!((3334..3400).contains(&first), "{first}");
}

#[test]
fn states_are_bounded() {
    let mut server = Server::new(RULES);
    for number in 0..2000_u64 {
        let mut record = heart_rate(number, "70");
        let mut whose = patient(0);
        whose.0[..8].copy_from_slice(&number.to_be_bytes());
        record.patient = Some(whose);
        server.feed(&[(id(number), record)]);
        if number % 100 == 0 {
            server.restart();
        }
    }
    assert_eq!(server.evaluation.states().len(), crate::limits::MAX_RULE_STATES);
}

#[test]
fn a_record_changes_the_states_of_its_patient_only_and_what_is_forgotten_is_told() {
    let mut server = Server::new(RULES);
    let of = |number: u8, seconds| Record { patient: Some(patient(number)), ..heart_rate(seconds, "70") };
    server.feed(&[(id(1), of(1, 0)), (id(2), of(2, 0))]);
    // Three rules look at heart rates.
    assert_eq!(server.restart(), 6);
    server.feed(&[(id(3), of(1, 60))]);
    assert_eq!(server.restart(), 3);
    server.feed(&[]);
    assert_eq!((server.restart(), server.stored.len()), (0, 6));
    // Another version forgets what the one before knew, of the other patient as well.
    server.rules = rules(&RULES.replace("\"version\": 2", "\"version\": 3"));
    server.feed(&[(id(4), of(1, 120))]);
    assert_eq!((server.restart(), server.stored.len()), (3, 5));
}

/// Rates and answers of three patients and of nobody, over days.
fn of_several() -> impl Strategy<Value = Vec<(RecordId, Record)>> {
    let rate = prop::sample::select(vec![60, 92, 121, 130]);
    prop::collection::vec((0..40_u64, 0..4_u8, rate), 1..60).prop_map(|all| {
        let record = |(slot, whose, rate): (u64, u8, u32)| {
            let patient = (whose > 0).then(|| patient(whose));
            Record { patient, ..heart_rate(slot * 7200, &rate.to_string()) }
        };
        (1..).map(id).zip(all.into_iter().map(record)).collect()
    })
}

fn some_rates() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((0..40_u64, prop::sample::select(vec![60, 85, 92, 121, 130])), 1..40)
        .prop_map(|all| all.into_iter().map(|(slot, rate)| (slot * 120, rate)).collect())
}

fn compare(server: &Server, all: &[(RecordId, Record)]) -> Result<(), TestCaseError> {
    let known = Definitions::default();
    let valued: Vec<_> = all
        .iter()
        .map(|(id, record)| match check(record, &known, record.at).unwrap() {
            Counted::Number(value) => (*id, record.clone(), value),
            other => panic!("{other:?}"),
        })
        .collect();
    for rule in server.rules.iter().take(3) {
        let ours: BTreeMap<_, _> = server
            .flags
            .values()
            .filter(|flag| flag.id.rule == *rule.id())
            .map(|flag| (flag.id.first, (flag.count, flag.from, flag.until)))
            .collect();
        prop_assert_eq!(ours, reference::flags(rule, &valued), "{}", rule.id());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// In whatever order and portions records come, and however often the server starts anew: the flags are those that the plain words give.
    #[test]
    fn flags_depend_on_the_records_alone((some, order) in some_rates().prop_flat_map(|some| {
        let places: Vec<usize> = (0..some.len()).collect();
        (Just(some), Just(places).prop_shuffle())
    }), portion in 1..8_usize, twice in any::<bool>()) {
        let all = rates(&some);
        let mut server = Server::new(RULES);
        let shuffled: Vec<_> = order.iter().map(|place| all[*place].clone()).collect();
        for part in shuffled.chunks(portion) {
            server.feed(part);
            server.restart();
            if twice {
                prop_assert_eq!(server.feed(part), 0, "fed again, nothing changes");
            }
        }
        compare(&server, &all)?;
    }

    /// A server that restores nothing but the states that the next records concern raises the same flags, and stores the same.
    #[test]
    fn the_states_that_records_concern_are_all_that_they_need(all in of_several(), portion in 1..8_usize) {
        let (mut whole, mut frugal) = (Server::new(RULES), Server::new(RULES));
        for part in all.chunks(portion) {
            let concerned = frugal.rules.concerned(part.iter().map(|(_, record)| record));
            let states = frugal.stored.iter().filter(|(id, _)| concerned.contains(id));
            let states = states.map(|(_, (_, packed))| cbor::unpack(packed, packed.len()).unwrap()).collect();
            frugal.evaluation = Evaluation::restore(states, frugal.evaluation.late());
            frugal.feed(part);
            let (kept, gone) = frugal.evaluation.changed();
            prop_assert!(gone.is_empty() && kept.iter().all(|state| concerned.contains(&state.id())));
            for state in kept {
                frugal.uses += 1;
                frugal.stored.insert(state.id(), (frugal.uses, cbor::pack(state).unwrap()));
            }
            whole.feed(part);
            whole.restart();
        }
        prop_assert_eq!((&frugal.flags, &frugal.stored), (&whole.flags, &whole.stored));
        prop_assert_eq!(frugal.evaluation.late(), whole.evaluation.late());
    }

    /// In the order of time, over days, so that most of it is settled.
    #[test]
    fn settled_records_count_as_others_do(some in prop::collection::vec((1..30_000_u64, prop::sample::select(vec![60, 85, 92, 121, 130])), 1..80)) {
        let mut at = 0;
        let spread: Vec<(u64, u32)> = some.into_iter().map(|(after, rate)| { at += after; (at, rate) }).collect();
        let all = rates(&spread);
        let mut server = Server::new(RULES);
        for part in all.chunks(3) {
            server.feed(part);
            server.restart();
        }
        compare(&server, &all)?;
    }
}

#[test]
fn now_is_not_needed() {
    // The same records give the same flags, whenever they are fed.
    let all = rates(&[(0, 130), (60, 70)]);
    let (mut one, mut other) = (Server::new(RULES), Server::new(RULES));
    one.feed(&all);
    for record in &all {
        other.feed(core::slice::from_ref(record));
    }
    assert_eq!((&one.flags, &one.evaluation), (&other.flags, &other.evaluation));
    assert_eq!(one.flags.values().next().unwrap().from, NOW);
}

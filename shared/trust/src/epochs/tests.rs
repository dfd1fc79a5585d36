#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::testing::{Counting, NOW, later, pump, row};
use proptest::prelude::*;
use std::collections::BTreeSet;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::keys::HeldKey;

const OVERLAP: u64 = KEY_OVERLAP.as_secs();
const RETENTION: u64 = KEY_RETENTION.as_secs();

fn alarm() -> (Line, Counting) {
    let mut rng = Counting(1);
    let id = LineId::of(&row("alarm"), &pump(1));
    (Line::begin(id, row("alarm"), 0, NOW, &mut rng).unwrap(), rng)
}

fn kid(line: &Line) -> KeyId {
    line.current().unwrap().kid
}

fn admitted(line: &Line, kid: KeyId, seconds: u64) -> Result<u64, KeyRefusal> {
    line.admit(kid.as_bytes(), later(seconds), true, later(seconds)).map(|key| key.epoch)
}

#[test]
fn a_line_belongs_to_the_class_or_to_the_device() {
    let class = LineId::of(&row("alarm"), &pump(1));
    assert_eq!(class.to_string(), "alarm of infusion-pump");
    assert!(class.covers(&pump(2)) && !class.is_for_one_device());
    let own = LineId::of(&row("command"), &pump(1));
    assert_eq!(own.to_string(), "command of infusion-pump/p-00001");
    assert!(own.covers(&pump(1)) && !own.covers(&pump(2)));
    assert!(!class.covers(&"scale/p-00001".parse().unwrap()));
}

#[test]
fn the_epoch_before_counts_for_the_overlap_and_not_longer() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    line.rotate(row("alarm"), Why::Schedule, later(100), &mut rng).unwrap();
    let second = kid(&line);
    assert_eq!(line.current().unwrap().epoch, 2);
    assert_eq!(line.previous_until(), later(100 + OVERLAP));
    assert_eq!(admitted(&line, first, 100 + OVERLAP - 1), Ok(1));
    assert_eq!(admitted(&line, first, 100 + OVERLAP), Err(KeyRefusal::Retired));
    assert_eq!(admitted(&line, second, 100 + OVERLAP), Ok(2));
    // Read late, stamped in time.
    assert_eq!(line.admit(first.as_bytes(), later(200), true, later(9_000)).map(|key| key.epoch), Ok(1));
}

#[test]
fn after_a_cut_only_what_was_stamped_before_it_counts_and_only_from_trusted_senders() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    line.rotate(row("alarm"), Why::ByHand, later(50), &mut rng).unwrap();
    let second = kid(&line);
    line.rotate(row("alarm"), Why::Cut(later(100)), later(101), &mut rng).unwrap();
    for old in [first, second] {
        assert!(admitted(&line, old, 99).is_ok());
        assert_eq!(admitted(&line, old, 100), Err(KeyRefusal::Retired));
        let revoked = line.admit(old.as_bytes(), later(99), false, later(120));
        assert_eq!(revoked.err(), Some(KeyRefusal::Sender));
    }
    assert_eq!(admitted(&line, kid(&line), 102), Ok(3));
    let standings: Vec<_> = line.epochs(later(102)).map(|(_, standing)| standing).collect();
    assert_eq!(standings, [Standing::Current, Standing::Ended(later(100)), Standing::Ended(later(100))]);
}

#[test]
fn a_later_cut_never_reopens_an_earlier_one() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    line.rotate(row("alarm"), Why::Cut(later(100)), later(101), &mut rng).unwrap();
    line.rotate(row("alarm"), Why::Cut(later(500)), later(501), &mut rng).unwrap();
    line.rotate(row("alarm"), Why::Schedule, later(600), &mut rng).unwrap();
    assert_eq!(admitted(&line, first, 100), Err(KeyRefusal::Retired));
    assert_eq!(line.current().unwrap().epoch, 4);
}

#[test]
fn unknown_keys_forged_stamps_and_erased_keys_are_told_apart() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    assert_eq!(line.admit(&[9; 8], NOW, true, NOW).err(), Some(KeyRefusal::Unknown));
    let skew = MAX_CLOCK_SKEW.as_secs();
    let before = UnixMillis(NOW.0 - skew * 1000 - 1);
    assert_eq!(line.admit(first.as_bytes(), before, true, NOW).err(), Some(KeyRefusal::Stamp));
    assert_eq!(line.admit(first.as_bytes(), later(skew + 1), true, NOW).err(), Some(KeyRefusal::Stamp));
    assert!(line.admit(first.as_bytes(), later(skew), true, NOW).is_ok());

    line.rotate(row("alarm"), Why::Schedule, later(100), &mut rng).unwrap();
    let due = line.erases_at().unwrap();
    assert_eq!(due, later(100 + OVERLAP + RETENTION));
    assert!(!line.tick(UnixMillis(due.0 - 1)));
    assert!(line.tick(due) && line.erases_at().is_none());
    assert_eq!(line.admit(first.as_bytes(), later(101), true, due).err(), Some(KeyRefusal::Retired));
    let stored = wardlink_protocol::cbor::encode(&line).unwrap();
    assert!(wardlink_protocol::cbor::decode::<Line>(&stored, stored.len()).unwrap() == line);
}

#[test]
fn a_closed_line_has_no_key_and_can_be_begun_again_above() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    line.close(later(100));
    assert!(line.current().is_none() && line.due_at().is_none());
    assert!(admitted(&line, first, 99).is_ok());
    assert_eq!(admitted(&line, first, 100), Err(KeyRefusal::Retired));
    line.rotate(row("alarm"), Why::Policy, later(200), &mut rng).unwrap();
    assert_eq!(line.current().unwrap().epoch, 2);
    assert_eq!(admitted(&line, first, 150), Err(KeyRefusal::Retired));
}

#[test]
fn a_row_of_another_line_is_refused_and_ends_it_where_the_scope_changed() {
    let (mut line, mut rng) = alarm();
    let of_device = Channel { scope: KeyScope::Device, ..row("alarm") };
    for foreign in [row("therapy"), of_device.clone()] {
        assert_eq!(line.rotate(foreign, Why::Policy, NOW, &mut rng), Err(LineError::ForeignRow));
    }
    assert!(line.current().is_some());
    line.replace(Some(&of_device), Why::Policy, later(10), &mut rng).unwrap();
    assert!(line.current().is_none());
    // The device's own line begins above what its class had.
    let own = LineId::of(&of_device, &pump(1));
    let own = Line::begin(own, of_device, line.highest(), later(10), &mut rng).unwrap();
    assert_eq!(own.current().unwrap().epoch, 2);
    line.replace(None, Why::Cut(later(5)), later(20), &mut rng).unwrap();
    assert_eq!(admitted(&line, KeyId([0; 8]), 6), Err(KeyRefusal::Unknown));
}

#[test]
fn the_rotation_is_due_when_the_row_says_so() {
    let (line, _) = alarm();
    assert_eq!(line.due_at(), Some(later(row("alarm").rotation_secs)));
}

#[test]
fn the_number_of_epochs_stays_bounded() {
    let (mut line, mut rng) = alarm();
    let first = kid(&line);
    let many = MAX_READABLE_EPOCHS + MAX_RETIRED_EPOCHS;
    for second in 0..many as u64 {
        line.rotate(row("alarm"), Why::ByHand, later(second), &mut rng).unwrap();
    }
    assert_eq!(line.epochs.len(), MAX_READABLE_EPOCHS);
    assert_eq!(line.retired.len(), MAX_RETIRED_EPOCHS);
    assert_eq!(admitted(&line, first, 1), Err(KeyRefusal::Unknown));
    line.highest = u64::MAX;
    assert_eq!(line.rotate(row("alarm"), Why::ByHand, NOW, &mut rng), Err(LineError::UsedUp));
}

fn held(line: &Line, epoch: u64, kid: Option<KeyId>) -> HeldKey {
    HeldKey { channel: line.id().channel.clone(), kid, epoch }
}

#[test]
fn an_answer_counts_once_and_only_for_the_newest_key() {
    let (mut line, mut rng) = alarm();
    let mut knowledge = Knowledge::new(pump(1));
    let first = kid(&line);
    assert_eq!(knowledge.acknowledge(&held(&line, 1, Some(first))), Acknowledged::Foreign);
    assert!(knowledge.awaits(&line));
    assert!(knowledge.give(&line) && !knowledge.give(&line));
    assert!(knowledge.awaits(&line));
    assert_eq!(knowledge.acknowledge(&held(&line, 1, Some(first))), Acknowledged::Stored);
    assert_eq!(knowledge.acknowledge(&held(&line, 1, Some(first))), Acknowledged::Old);
    assert!(!knowledge.awaits(&line));
    line.rotate(row("alarm"), Why::Schedule, later(1), &mut rng).unwrap();
    assert!(knowledge.awaits(&line));
    assert!(knowledge.give(&line));
    assert_eq!(knowledge.acknowledge(&held(&line, 1, Some(first))), Acknowledged::Old);
    assert!(knowledge.awaits(&line));
    // A device that comes back from an earlier state is given again what it had stored.
    let second = kid(&line);
    assert_eq!(knowledge.acknowledge(&held(&line, 2, Some(second))), Acknowledged::Stored);
    assert!(!knowledge.awaits(&line));
    assert_eq!(knowledge.acknowledge(&held(&line, 1, Some(first))), Acknowledged::Behind);
    assert!(knowledge.awaits(&line) && !knowledge.give(&line));
}

#[test]
fn a_control_unit_from_an_earlier_state_goes_above_what_devices_hold() {
    let (mut line, mut rng) = alarm();
    let mut knowledge = Knowledge::new(pump(1));
    knowledge.give(&line);
    let other = Some(KeyId([9; 8]));
    assert_eq!(knowledge.acknowledge(&held(&line, 1, other)), Acknowledged::Ahead(1));
    assert_eq!(knowledge.acknowledge(&held(&line, 7, other)), Acknowledged::Ahead(7));
    assert_eq!(knowledge.acknowledge(&held(&line, 2 + MAX_EPOCH_LEAD, other)), Acknowledged::Foreign);
    line.rotate(row("alarm"), Why::Restored { above: 7 }, later(1), &mut rng).unwrap();
    assert_eq!(line.current().unwrap().epoch, 8);
    // Nobody can use the numbers up.
    line.rotate(row("alarm"), Why::Restored { above: u64::MAX }, later(2), &mut rng).unwrap();
    assert_eq!(line.current().unwrap().epoch, 8 + MAX_EPOCH_LEAD + 1);
}

#[test]
fn a_key_is_given_to_nobody_else() {
    let mut rng = Counting(1);
    let own = Line::begin(LineId::of(&row("command"), &pump(1)), row("command"), 0, NOW, &mut rng).unwrap();
    let mut other = Knowledge::new(pump(2));
    assert!(!other.give(&own) && !other.awaits(&own) && other.given().is_empty());
}

#[test]
fn a_revocation_replaces_every_key_that_the_device_knew() {
    let mut rng = Counting(1);
    let mut knowledge = Knowledge::new(pump(1));
    for name in ["alarm", "command", "telemetry"] {
        knowledge.give(&Line::begin(LineId::of(&row(name), &pump(1)), row(name), 0, NOW, &mut rng).unwrap());
    }
    let cut = later(10);
    let line = |name| LineId::of(&row(name), &pump(1));
    let actions = knowledge.revoke(cut);
    assert_eq!(
        actions,
        [
            Action::MakeKey { line: line("alarm"), why: Why::Cut(cut) },
            Action::CloseLine { line: line("command"), cut },
            Action::MakeKey { line: line("telemetry"), why: Why::Cut(cut) },
        ]
    );
    // A second revocation finds nothing to do.
    assert!(knowledge.revoke(later(20)).is_empty());
}

/// Runs a job over these devices in slices, and returns what it asked for.
fn run(job: &mut Rekeying, devices: &[Knowledge], size: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    while !job.is_finished() {
        let rest: Vec<_> = devices.iter().filter(|k| job.after().is_none_or(|after| k.device() > after)).collect();
        let slice = rest.into_iter().take(size);
        actions.extend(job.slice(slice.map(|knowledge| Recipient { trust: TrustLevel::Full, knowledge }), size));
        // The job survives a restart after each slice.
        let stored = wardlink_protocol::cbor::encode(&*job).unwrap();
        *job = wardlink_protocol::cbor::decode(&stored, stored.len()).unwrap();
    }
    actions
}

#[test]
fn ten_thousand_devices_are_reached_in_slices_each_once() {
    let devices: Vec<_> = (0..10_000).map(|number| Knowledge::new(pump(number))).collect();
    let class = pump(0).client;
    let rows = vec![row("alarm"), row("command")];
    let targets = rows.into_iter().map(Target::standing).collect();
    let mut job = Rekeying::begin(Why::ByHand, Some(class.clone()), targets, 10_000, NOW);
    let first = job.first_actions(&[class.clone(), "scale".parse().unwrap()]);
    let shared = LineId::of_class(&row("alarm").name, &class);
    assert_eq!(first, [Action::MakeKey { line: shared, why: Why::ByHand }]);
    let actions = run(&mut job, &devices, 100);
    let wrapped: BTreeSet<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::WrapFor { device, line } => Some((device.clone(), line.clone())),
            _ => None,
        })
        .collect();
    let made = actions.iter().filter(|action| matches!(action, Action::MakeKey { .. })).count();
    assert_eq!((wrapped.len(), made, actions.len()), (20_000, 10_000, 30_000));
    assert_eq!(job.progress(), Progress { devices: 10_000, reached: 10_000 });
}

#[test]
fn a_slice_that_is_offered_again_does_nothing_twice() {
    let devices: Vec<_> = (0..10).map(|number| Knowledge::new(pump(number))).collect();
    let recipients = || devices.iter().map(|knowledge| Recipient { trust: TrustLevel::Full, knowledge });
    let mut job = Rekeying::deliver(pump(0).client, vec![row("alarm")], Why::Cut(NOW), 10, NOW);
    assert!(job.first_actions(&[pump(0).client]).is_empty());
    assert_eq!(job.slice(recipients().take(5), 5).len(), 5);
    assert!(job.slice(recipients().take(5), 5).is_empty() && !job.is_finished());
    assert_eq!(job.slice(recipients().skip(5), 6).len(), 5);
    assert!(job.is_finished());
}

#[test]
fn a_job_ends_when_a_newer_one_does_all_that_is_left_of_it() {
    let class = pump(0).client;
    let targets = |names: &[&str]| names.iter().map(|name| Target::standing(row(name))).collect::<Vec<_>>();
    let rotation = |names| Rekeying::begin(Why::ByHand, None, targets(names), 10, NOW);
    let cut = |client: &str, name| Rekeying::deliver(client.parse().unwrap(), vec![row(name)], Why::Cut(NOW), 10, NOW);
    assert!(rotation(&["alarm"]).supersedes(&rotation(&["alarm"])));
    assert!(rotation(&["alarm", "log"]).supersedes(&rotation(&["alarm"])));
    assert!(cut(class.as_str(), "alarm").supersedes(&cut(class.as_str(), "alarm")));
    // After a revocation nobody waits behind others.
    assert!(!rotation(&["alarm"]).supersedes(&cut(class.as_str(), "alarm")));
    // Keys of single devices would not be made, or another class would be left out, or another channel.
    assert!(!cut(class.as_str(), "alarm").supersedes(&rotation(&["alarm"])));
    assert!(!cut("scale", "alarm").supersedes(&cut(class.as_str(), "alarm")));
    assert!(!rotation(&["alarm"]).supersedes(&rotation(&["alarm", "log"])));
    // What a change of policy withdraws, only that job knows.
    let policy = Rekeying::begin(Why::Policy, None, targets(&["alarm"]), 10, NOW);
    assert!(policy.supersedes(&rotation(&["alarm"])) && !rotation(&["alarm"]).supersedes(&policy));
    let mut under_way = rotation(&["alarm"]);
    let knowledge = Knowledge::new(pump(1));
    under_way.slice([Recipient { trust: TrustLevel::Full, knowledge: &knowledge }], 1);
    assert!(!rotation(&["alarm"]).supersedes(&under_way), "the last devices would wait for ever");
    assert!(cut("scale", "alarm").is_urgent() && !policy.is_urgent());
}

#[test]
fn devices_of_other_classes_and_of_less_trust_are_left_out() {
    let (mine, foreign) = (Knowledge::new(pump(1)), Knowledge::new("scale/s1".parse().unwrap()));
    let mut job = Rekeying::deliver(pump(0).client, vec![row("command")], Why::ByHand, 2, NOW);
    let reduced = Recipient { trust: TrustLevel::Reduced, knowledge: &mine };
    let other = Recipient { trust: TrustLevel::Full, knowledge: &foreign };
    assert!(job.slice([reduced, other], 9).is_empty());
}

#[test]
fn a_channel_that_is_removed_or_changes_its_scope_ends_its_keys() {
    let mut rng = Counting(1);
    let mut knowledge = Knowledge::new(pump(1));
    for name in ["alarm", "command"] {
        knowledge.give(&Line::begin(LineId::of(&row(name), &pump(1)), row(name), 0, NOW, &mut rng).unwrap());
    }
    let class = pump(1).client;
    let (alarm, command) = (row("alarm"), row("command"));
    let narrowed = Channel { scope: KeyScope::Device, ..alarm.clone() };
    let targets = vec![
        Target { channel: alarm.name.clone(), row: Some(narrowed.clone()), scope_before: Some(KeyScope::Class) },
        Target { channel: command.name.clone(), row: None, scope_before: Some(KeyScope::Device) },
    ];
    let mut job = Rekeying::begin(Why::Policy, None, targets, 1, NOW);
    let cut = later(OVERLAP);
    assert_eq!(
        job.first_actions(core::slice::from_ref(&class)),
        [Action::CloseLine { line: LineId::of_class(&alarm.name, &class), cut }]
    );
    let own = LineId::of(&narrowed, &pump(1));
    assert_eq!(
        run(&mut job, core::slice::from_ref(&knowledge), 5),
        [
            Action::MakeKey { line: own.clone(), why: Why::Policy },
            Action::WrapFor { device: pump(1), line: own },
            Action::CloseLine { line: LineId::of(&command, &pump(1)), cut },
            Action::Withdraw { device: pump(1), channel: command.name },
        ]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Rotate,
    Cut(u64),
    Close(u64),
    Wait(u64),
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Rotate),
        (0..900_u64).prop_map(Step::Cut),
        (0..900_u64).prop_map(Step::Close),
        (1..900_000_u64).prop_map(Step::Wait),
        Just(Step::Tick),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn epochs_rise_and_what_has_ended_never_counts_again(steps in steps()) {
        let (mut line, mut rng) = alarm();
        let mut seconds = 0;
        let mut highest = 1;
        let mut kids = BTreeSet::from([kid(&line)]);
        // What was refused at some stamp, and must stay so.
        let mut ended: BTreeSet<(KeyId, u64)> = BTreeSet::new();
        for step in steps {
            let now = later(seconds);
            match step {
                Step::Rotate => line.rotate(row("alarm"), Why::ByHand, now, &mut rng).unwrap(),
                Step::Cut(ago) => {
                    line.rotate(row("alarm"), Why::Cut(UnixMillis(now.0 - ago.min(seconds) * 1000)), now, &mut rng).unwrap();
                }
                Step::Close(ago) => line.close(UnixMillis(now.0 - ago.min(seconds) * 1000)),
                Step::Wait(more) => seconds += more,
                Step::Tick => drop(line.tick(now)),
            }
            if let Some(key) = line.current() {
                prop_assert!(key.epoch >= highest);
                prop_assert!(key.epoch == highest || kids.insert(key.kid), "a kid is used again");
                highest = key.epoch;
            }
            prop_assert!(line.epochs.windows(2).all(|pair| pair[0].key.epoch > pair[1].key.epoch));
            prop_assert!(line.epochs.iter().skip(1).all(|epoch| epoch.accepted_until.is_some()));
            for (kid, stamp) in &ended {
                prop_assert!(admitted(&line, *kid, *stamp).is_err(), "an epoch that ended counts again");
            }
            for kid in &kids {
                if admitted(&line, *kid, seconds).is_err() {
                    ended.insert((*kid, seconds));
                }
            }
        }
    }
}

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::epochs::{Action, LineId, Why};
use crate::testing::{NOW, row};
use proptest::prelude::*;

fn rows() -> Vec<Channel> {
    default_channels()
}

/// The default rows, one of them changed.
fn with(name: &str, change: impl FnOnce(&mut Channel)) -> Vec<Channel> {
    let mut rows = rows();
    change(rows.iter_mut().find(|row| row.name.as_str() == name).unwrap());
    rows
}

fn refused(rows: Vec<Channel>) -> PolicyError {
    ChannelPolicy::new(rows).unwrap_err()
}

fn name(text: &str) -> ChannelName {
    text.parse().unwrap()
}

#[test]
fn the_channels_that_a_site_begins_with_are_a_policy() {
    assert_eq!(ChannelPolicy::new(rows()), Ok(ChannelPolicy::default()));
}

#[test]
fn no_device_is_ever_left_without_a_channel_for_its_alarms() {
    let removed = rows().into_iter().filter(|row| row.name.as_str() != "alarm").collect();
    assert_eq!(refused(removed), PolicyError::NoAlarms(TrustLevel::Reduced));
    let verified_only = with("alarm", |row| row.trust = TrustLevel::Full);
    assert_eq!(refused(verified_only), PolicyError::NoAlarms(TrustLevel::Reduced));
    let repurposed = with("alarm", |row| row.data_types = vec![DataType::Log]);
    assert_eq!(refused(repurposed), PolicyError::NoAlarms(TrustLevel::Reduced));
    // Another channel may take them over.
    let mut moved = with("alarm", |row| row.data_types = vec![DataType::Therapy]);
    moved.iter_mut().find(|row| row.name.as_str() == "therapy").unwrap().data_types = vec![DataType::Alarm];
    assert!(ChannelPolicy::new(moved).is_ok());
}

#[test]
fn every_kind_of_data_is_carried_at_every_trust_but_orders_to_the_unverified() {
    for (channel, data_type) in [
        ("therapy", DataType::Therapy),
        ("telemetry", DataType::Telemetry),
        ("log", DataType::Log),
        ("update", DataType::Update),
    ] {
        let trust = TrustLevel::Reduced;
        let without = rows().into_iter().filter(|row| row.name.as_str() != channel).collect();
        assert_eq!(refused(without), PolicyError::NotCarried { data_type, trust });
        let verified_only = with(channel, |row| row.trust = TrustLevel::Full);
        assert_eq!(refused(verified_only), PolicyError::NotCarried { data_type, trust });
    }
    let without = rows().into_iter().filter(|row| row.name.as_str() != "command").collect();
    let (data_type, trust) = (DataType::Command, TrustLevel::Full);
    assert_eq!(refused(without), PolicyError::NotCarried { data_type, trust });
    assert!(ChannelPolicy::new(with("command", |row| row.trust = TrustLevel::Reduced)).is_ok());
}

#[test]
fn rows_that_contradict_themselves_are_refused() {
    assert_eq!(refused(Vec::new()), PolicyError::Count(0));
    let many = |count: usize| {
        let extra = |number| Channel { name: name(&format!("extra-{number}")), ..row("log") };
        rows().into_iter().chain((0..count).map(extra)).collect::<Vec<_>>()
    };
    assert!(ChannelPolicy::new(many(MAX_CHANNELS_PER_DEVICE - 6)).is_ok());
    assert_eq!(refused(many(MAX_CHANNELS_PER_DEVICE - 5)), PolicyError::Count(MAX_CHANNELS_PER_DEVICE + 1));
    assert_eq!(refused([rows(), vec![row("log")]].concat()), PolicyError::NameTwice(name("log")));
    assert_eq!(refused(with("log", |row| row.data_types.clear())), PolicyError::NoData(name("log")));
    let twice = with("log", |row| row.data_types.push(DataType::Log));
    assert_eq!(refused(twice), PolicyError::DataTwice(name("log")));
    for seconds in [0, MIN_ROTATION_SECS - 1, MAX_ROTATION_SECS + 1] {
        let error = PolicyError::Rotation { channel: name("alarm"), seconds };
        assert_eq!(refused(with("alarm", |row| row.rotation_secs = seconds)), error);
    }
    for seconds in [MIN_ROTATION_SECS, MAX_ROTATION_SECS] {
        assert!(ChannelPolicy::new(with("alarm", |row| row.rotation_secs = seconds)).is_ok());
    }
}

#[test]
fn what_must_arrive_and_what_must_be_genuine_is_so() {
    let lossy = |row: &mut Channel| row.qos = Qos::AtMostOnce;
    let unsigned = |row: &mut Channel| row.signed = false;
    let weak = |row: &mut Channel| row.algorithm = ContentAlgorithm::A128GCM;
    assert_eq!(refused(with("alarm", lossy)), PolicyError::AlarmsMayBeLost(name("alarm")));
    assert_eq!(refused(with("alarm", unsigned)), PolicyError::AlarmsUnsigned(name("alarm")));
    assert_eq!(refused(with("command", lossy)), PolicyError::OrdersMayBeLost(name("command")));
    assert!(ChannelPolicy::new(with("command", unsigned)).is_ok(), "each device has its own key");
    let shared = with("command", |row| (row.scope, row.signed) = (KeyScope::Class, false));
    assert_eq!(refused(shared), PolicyError::OrdersUnsigned(name("command")));
    for (channel, data_type) in [
        ("alarm", DataType::Alarm),
        ("therapy", DataType::Therapy),
        ("command", DataType::Command),
        ("update", DataType::Update),
    ] {
        assert_eq!(refused(with(channel, weak)), PolicyError::Algorithm { channel: name(channel), data_type });
    }
    assert_eq!(refused(with("log", lossy)), PolicyError::DurableButLossy(name("log")));
}

#[test]
fn every_refusal_tells_a_person_what_to_do() {
    let text = PolicyError::NoAlarms(TrustLevel::Reduced).to_string();
    assert_eq!(
        text,
        "no channel carries the alarms of devices with reduced trust; give one channel for alarms to every device"
    );
    let error = PolicyError::NotCarried { data_type: DataType::Telemetry, trust: TrustLevel::Full };
    assert_eq!(error.to_string(), "no channel carries measurements for devices with full trust");
}

#[test]
fn the_channel_is_chosen_by_kind_of_data_and_priority() {
    let urgent = Channel { name: name("alarm-red"), ..row("alarm") };
    let calm = Channel { name: name("alarm-low"), priority: Priority::Low, ..row("alarm") };
    let middle = Channel { name: name("alarm-mid"), priority: Priority::Medium, ..row("alarm") };
    let rest = || rows().into_iter().filter(|row| row.name.as_str() != "alarm");
    let chosen = |rows: Vec<Channel>, priority| {
        let policy = ChannelPolicy::new(rows).unwrap();
        policy.select(TrustLevel::Reduced, DataType::Alarm, priority).unwrap().name.to_string()
    };
    let all: Vec<_> = rest().chain([urgent.clone(), calm.clone(), middle.clone()]).collect();
    assert_eq!(chosen(all.clone(), Priority::High), "alarm-red");
    assert_eq!(chosen(all.clone(), Priority::Medium), "alarm-mid");
    assert_eq!(chosen(all, Priority::Low), "alarm-low");
    let no_middle: Vec<_> = rest().chain([urgent, calm.clone()]).collect();
    assert_eq!(chosen(no_middle, Priority::Medium), "alarm-red", "rather too urgent than not enough");
    assert_eq!(chosen(rest().chain([calm, middle]).collect(), Priority::High), "alarm-mid");
    let twins = rest().chain([row("alarm"), Channel { name: name("alarm-b"), ..row("alarm") }]).collect();
    assert_eq!(chosen(twins, Priority::High), "alarm", "by name where the priority is the same");
    let policy = ChannelPolicy::default();
    assert_eq!(policy.select(TrustLevel::Reduced, DataType::Command, Priority::High), None);
}

fn population() -> Vec<Population> {
    let group = |client: &str, trust, devices| Population { client: client.parse().unwrap(), trust, devices };
    vec![
        group("infusion-pump", TrustLevel::Full, 100),
        group("infusion-pump", TrustLevel::Reduced, 7),
        group("scale", TrustLevel::Full, 3),
    ]
}

fn preview(rows: Vec<Channel>) -> Preview {
    ChannelPolicy::default().preview(&ChannelPolicy::new(rows).unwrap(), &population())
}

fn effects(change: &ChannelChange) -> Vec<(String, TrustLevel, u64, Effect)> {
    change.affected.iter().map(|one| (one.client.to_string(), one.trust, one.devices, one.effect)).collect()
}

#[test]
fn a_policy_that_stays_changes_nothing() {
    let same = preview(rows());
    assert!(same.is_empty() && same.jobs(&population(), NOW).is_empty());
    assert_eq!((same.regranted, same.rekeyed), (0, 0));
    let mut shuffled = rows();
    shuffled.reverse();
    assert!(preview(shuffled).is_empty());
}

#[test]
fn a_changed_row_is_rekeyed_for_everybody_who_has_it() {
    let change = preview(with("telemetry", |row| row.algorithm = ContentAlgorithm::A256GCM));
    let [telemetry] = change.changes.as_slice() else { panic!("one change") };
    assert_eq!(
        (telemetry.fields.as_slice(), telemetry.rekey, telemetry.cut),
        ([Field::Algorithm].as_slice(), true, false)
    );
    assert_eq!(telemetry.affected.len(), 3);
    assert!(telemetry.affected.iter().all(|one| one.effect == Effect::Rekeyed));
    assert_eq!((change.regranted, change.rekeyed), (0, 110));
    let [job] = &change.jobs(&population(), NOW)[..] else { panic!("one job") };
    assert_eq!(job.why(), Why::Policy);
    let classes = Preview::classes(&population());
    let made: Vec<_> = job.first_actions(&classes);
    let expected = |client: &str| Action::MakeKey {
        line: LineId::of_class(&name("telemetry"), &client.parse().unwrap()),
        why: Why::Policy,
    };
    assert_eq!(made, [expected("infusion-pump"), expected("scale")]);
}

#[test]
fn what_only_the_control_unit_and_the_bridge_need_changes_without_a_key() {
    let change = preview(with("log", |row| (row.rotation_secs, row.durable) = (MIN_ROTATION_SECS, false)));
    let [log] = change.changes.as_slice() else { panic!("one change") };
    assert_eq!(log.fields, [Field::Durable, Field::Rotation]);
    assert!(!log.rekey && log.affected.is_empty() && change.jobs(&population(), NOW).is_empty());
}

#[test]
fn a_channel_that_asks_for_more_trust_is_cut_off_from_those_who_lose_it() {
    let mut rows = rows();
    rows.push(Channel { name: name("log-2"), ..row("log") });
    let before = ChannelPolicy::new(rows.clone()).unwrap();
    rows.iter_mut().find(|row| row.name.as_str() == "log-2").unwrap().trust = TrustLevel::Full;
    let change = before.preview(&ChannelPolicy::new(rows).unwrap(), &population());
    let [log] = change.changes.as_slice() else { panic!("one change") };
    assert!(log.rekey && log.cut);
    assert_eq!(
        effects(log),
        [
            ("infusion-pump".to_owned(), TrustLevel::Reduced, 7, Effect::Loses),
            ("infusion-pump".to_owned(), TrustLevel::Full, 100, Effect::Rekeyed),
            ("scale".to_owned(), TrustLevel::Full, 3, Effect::Rekeyed),
        ]
    );
    assert_eq!((change.regranted, change.rekeyed), (7, 103));
    assert_eq!(change.jobs(&population(), NOW)[0].why(), Why::Cut(NOW));
}

#[test]
fn channels_are_added_and_removed() {
    let mut next: Vec<_> = rows().into_iter().filter(|row| row.name.as_str() != "telemetry").collect();
    next.push(Channel { name: name("vitals"), ..row("telemetry") });
    let change = preview(next);
    let [added, removed] = change.changes.as_slice() else { panic!("two changes") };
    assert!(added.before.is_none() && !added.cut && added.affected.iter().all(|one| one.effect == Effect::Gains));
    assert!(removed.after.is_none() && removed.cut && removed.affected.iter().all(|one| one.effect == Effect::Loses));
    assert_eq!((change.regranted, change.rekeyed), (110, 110));
    let jobs = change.jobs(&population(), NOW);
    assert_eq!(jobs.iter().map(crate::epochs::Rekeying::why).collect::<Vec<_>>(), [Why::Policy, Why::Cut(NOW)]);
    let closes = Action::CloseLine { line: LineId::of_class(&name("telemetry"), &"scale".parse().unwrap()), cut: NOW };
    assert!(jobs[1].first_actions(&Preview::classes(&population())).contains(&closes));
}

#[test]
fn stored_rows_that_are_no_policy_are_not_read() {
    let stored = serde_json::to_value(ChannelPolicy::default()).unwrap();
    assert_eq!(serde_json::from_value::<ChannelPolicy>(stored.clone()).unwrap(), ChannelPolicy::default());
    let mut broken = stored;
    broken.as_array_mut().unwrap().clear();
    assert!(serde_json::from_value::<ChannelPolicy>(broken).is_err());
}

fn any_row() -> impl Strategy<Value = Channel> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let data = prop::collection::vec(prop::sample::select(DATA_TYPES.to_vec()), 0..3);
    (0..8_u8, 0..3_u8, data, flags).prop_map(
        |(number, priority, data_types, (qos, long, signed, scope, durable, full))| Channel {
            name: format!("c{number}").parse().unwrap(),
            priority: [Priority::High, Priority::Medium, Priority::Low][usize::from(priority)],
            data_types,
            qos: if qos { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            algorithm: if long { ContentAlgorithm::A256GCM } else { ContentAlgorithm::A128GCM },
            signed,
            scope: if scope { KeyScope::Class } else { KeyScope::Device },
            durable,
            rotation_secs: MIN_ROTATION_SECS,
            trust: if full { TrustLevel::Full } else { TrustLevel::Reduced },
        },
    )
}

proptest! {
    #[test]
    fn in_every_policy_alarms_have_a_channel_that_delivers(extra in prop::collection::vec(any_row(), 0..6), drop in 0..6_usize) {
        let mut all = rows();
        all.remove(drop);
        all.extend(extra);
        if let Ok(policy) = ChannelPolicy::new(all) {
            for trust in TRUST_LEVELS {
                for priority in [Priority::High, Priority::Medium, Priority::Low] {
                    let channel = policy.select(trust, DataType::Alarm, priority).unwrap();
                    prop_assert!(channel.trust <= trust && channel.qos == Qos::AtLeastOnce);
                    prop_assert!(channel.signed || channel.scope == KeyScope::Device);
                }
            }
        }
    }

    #[test]
    fn a_preview_names_everybody_whose_channels_change(drop in 0..6_usize, extra in prop::collection::vec(any_row(), 0..4)) {
        let mut all = rows();
        all.remove(drop);
        all.extend(extra);
        let Ok(next) = ChannelPolicy::new(all) else { return Ok(()) };
        let before = ChannelPolicy::default();
        let preview = before.preview(&next, &population());
        for trust in TRUST_LEVELS {
            let names = |policy: &ChannelPolicy| policy.rows_for(trust).map(|row| row.name.clone()).collect::<BTreeSet<_>>();
            let (had, has) = (names(&before), names(&next));
            for channel in had.symmetric_difference(&has) {
                let change = preview.changes.iter().find(|change| change.channel == *channel).unwrap();
                let effect = if has.contains(channel) { Effect::Gains } else { Effect::Loses };
                prop_assert!(change.affected.iter().any(|one| one.trust == trust && one.effect == effect));
                prop_assert!(change.rekey && (effect == Effect::Gains || change.cut));
            }
        }
    }
}

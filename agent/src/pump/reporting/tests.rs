use super::*;
use wardlink_protocol::channel::{Priority, default_channels};
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority};

#[test]
fn an_alarm_takes_the_channel_that_is_as_urgent_as_it_is() {
    let device: Device = "infusion-pump/ip-1".parse().unwrap();
    let usual = default_channels().into_iter().find(|channel| channel.name.as_str() == "alarm").unwrap();
    let calm = Channel { name: "calm".parse().unwrap(), priority: Priority::Low, ..usual.clone() };
    let key = |channel| ChannelKey { channel, kid: KeyId([1; KeyId::LENGTH]), epoch: 1, key: [7; 32] };
    let mut outlets: Vec<Outlet> =
        [calm, usual].into_iter().filter_map(|channel| Outlet::open(&key(channel), &device, 1).unwrap()).collect();
    let mut name_for = |priority| {
        let content = Content::Alarm(Alarm { kind: AlarmKind::NearEnd, priority, active: true });
        outlet_for(&mut outlets, &content).unwrap().channel.name.to_string()
    };
    assert_eq!(name_for(AlarmPriority::High), "alarm");
    assert_eq!(name_for(AlarmPriority::Medium), "alarm", "rather too urgent than not enough");
    assert_eq!(name_for(AlarmPriority::Low), "calm");
    let report = Report {
        measured_at: UnixMillis(1),
        content: Content::Telemetry(Infusion::start(1, UnixMillis(1)).telemetry()),
    };
    assert!(outlet_for(&mut outlets, &report.content).is_none(), "no channel carries measurements");
}

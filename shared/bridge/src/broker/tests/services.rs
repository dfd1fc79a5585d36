//! Services at the broker: they read and write what they are granted, and are cut off like devices.

use super::world::Shown;
use super::{Received, World, device, grant, key};
use crate::limits::MAX_READERS_BYTES;
use crate::{Notice, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, PubackReasonCode, SubackReasonCode};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::grant::{DeviceState, Grant};
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::service::{ChannelOfClass, ServiceAccess};

const DAY: Duration = Duration::from_hours(24);
const PUMP: &str = "infusion-pump/pump-1";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";
const ALARMS: &str = "ais/data/alarm/infusion-pump/+";
const CONTROL: &str = "ais/ctl/alarm/infusion-pump/pump-1";

fn of_class(channel: &str, client: &str) -> ChannelOfClass {
    ChannelOfClass { channel: channel.parse().unwrap(), client: client.parse().unwrap() }
}

/// A service that reads alarms of pumps, and writes on that channel where `writes`.
fn granted(certificate: &Certificate, state: DeviceState, version: u64, writes: bool) -> Grant {
    let alarms = of_class("alarm", "infusion-pump");
    let access =
        ServiceAccess { reads: [alarms.clone()].into(), writes: writes.then_some(alarms).into_iter().collect() };
    let listed: &[&Certificate] = if state == DeviceState::Paired { &[certificate] } else { &[] };
    Grant { access, channels: Vec::new(), ..grant(&key(9), "service/monitor", state, version, listed) }
}

fn world(writes: bool) -> (World, Shown, Certificate) {
    let mut world = World::new();
    let certificate = world.certificate(&key(9), "monitor", Purpose::Service, DAY);
    world.apply(&[granted(&certificate, DeviceState::Paired, 100, writes)], &[], &[]);
    let shown = Shown::certificate(&key(9), &certificate);
    (world, shown, certificate)
}

#[test]
fn a_service_reads_the_channels_of_the_classes_that_it_is_granted() {
    let (mut world, shown, _) = world(false);
    let (_, pump) = world.paired(1, PUMP);
    let (_, other) = world.paired(2, "scale/scale-1");
    let service = world.client(&shown);
    for filter in [ALARMS, ALARM, "ais/meta/infusion-pump"] {
        assert_eq!(world.subscribe(service, filter), SubackReasonCode::GrantedQos1, "{filter}");
    }
    for filter in [
        "#",
        "ais/#",
        "ais/data/#",
        "ais/data/+/infusion-pump/+",
        "ais/data/alarm/+/+",
        "ais/data/telemetry/infusion-pump/+",
        "ais/meta/+",
        "ais/meta/scale",
        "ais/infusion-pump/pump-1",
        "ais/service/monitor",
        "ais/register/infusion-pump",
        "ais/command/infusion-pump",
        "ais/renew/infusion-pump",
        CONTROL,
        "$SYS/#",
    ] {
        assert_eq!(world.subscribe(service, filter), SubackReasonCode::NotAuthorized, "{filter}");
    }
    assert_eq!(world.publish(pump, ALARM, b"one"), PubackReasonCode::Success);
    assert_eq!(world.publish(pump, "ais/data/telemetry/infusion-pump/pump-1", b"two"), PubackReasonCode::Success);
    assert_eq!(world.publish(other, "ais/data/alarm/scale/scale-1", b"three"), PubackReasonCode::Success);
    assert_eq!(world.deliveries(service), [b"one"], "once, though two filters match");
}

#[test]
fn a_service_writes_to_devices_where_it_is_granted_and_never_in_their_name() {
    let (mut world, shown, certificate) = world(true);
    let (_, pump) = world.paired(1, PUMP);
    assert_eq!(world.subscribe(pump, CONTROL), SubackReasonCode::GrantedQos1);
    let service = world.client(&shown);
    assert_eq!(world.publish(service, CONTROL, b"order"), PubackReasonCode::Success);
    let received = world.take(pump);
    let stamp = received.iter().find_map(|each| match each {
        Received::Publish { properties, .. } => super::world::user_property(properties, "wardlink-publisher"),
        _ => None,
    });
    let key = key(9).public().fingerprint().unwrap();
    assert_eq!(stamp, Some(format!("service/monitor {key} {} service", certificate.serial())));
    for topic in [
        ALARM,
        "ais/ctl/telemetry/infusion-pump/pump-1",
        "ais/ctl/alarm/scale/scale-1",
        "ais/register/infusion-pump",
        "ais/register/service",
        "ais/infusion-pump/pump-1",
        "ais/command/infusion-pump",
        "ais/command/service",
        "ais/renew/infusion-pump",
        "ais/renew/service",
        "ais/meta/infusion-pump",
    ] {
        assert_eq!(world.publish(service, topic, b"x"), PubackReasonCode::NotAuthorized, "{topic}");
    }
}

#[test]
fn a_service_that_reads_only_writes_nothing() {
    let (mut world, shown, _) = world(false);
    let service = world.client(&shown);
    assert_eq!(world.publish(service, CONTROL, b"x"), PubackReasonCode::NotAuthorized);
}

#[test]
fn a_revoked_service_is_cut_with_everything_that_waited_for_it() {
    let (mut world, shown, certificate) = world(false);
    let (_, pump) = world.paired(1, PUMP);
    let service = world.client(&shown);
    world.subscribe(service, ALARMS);
    world.publish(pump, ALARM, b"before");
    assert_eq!(world.deliveries(service), [b"before"]);
    world.apply(&[granted(&certificate, DeviceState::Revoked, 200, false)], &[], &[]);
    assert!(world.closed.contains(&service));
    world.take(service);
    world.publish(pump, ALARM, b"after");
    assert_eq!(world.deliveries(service), [] as [&[u8]; 0]);
    let (_, answer) = world.connect(&shown, &super::world::Options::default());
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::Banned, .. }), "{answer:?}");
    let barred = world
        .notices()
        .into_iter()
        .any(|notice| matches!(notice, Notice::Barred { device: named, .. } if named == device("service/monitor")));
    assert!(barred, "the site is told");
}

#[test]
fn a_revocation_drops_what_waits_for_a_service_that_is_away() {
    let (mut world, shown, certificate) = world(false);
    let (_, pump) = world.paired(1, PUMP);
    let service = world.client(&shown);
    world.subscribe(service, ALARMS);
    world.lose(service);
    world.publish(pump, ALARM, b"while it is away");
    world.apply(&[granted(&certificate, DeviceState::Revoked, 200, false)], &[], &[]);
    // Its name and key are let in again, as a person could not do: nothing is left of what waited.
    world.apply(&[granted(&certificate, DeviceState::Paired, 300, false)], &[], &[]);
    let service = world.client(&shown);
    assert_eq!(world.deliveries(service), [] as [&[u8]; 0]);
}

#[test]
fn a_bare_key_is_never_a_service() {
    let (mut world, _, certificate) = world(true);
    for version in [400, 500] {
        let (_, answer) = world.connect(&Shown::bare(&key(9), "service/monitor"), &super::world::Options::default());
        assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::NotAuthorized, .. }), "{answer:?}");
        world.apply(&[granted(&certificate, DeviceState::Paired, version, true)], &[], &[]);
    }
    let stranger = Shown::bare(&key(77), "service/other");
    let (_, answer) = world.connect(&stranger, &super::world::Options::default());
    assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::NotAuthorized, .. }), "{answer:?}");
}

#[test]
fn a_service_certificate_counts_for_its_own_name_key_and_purpose_only() {
    let (mut world, _, _) = world(false);
    // Another name, or a device's certificate for the same key: the grant names neither.
    let other = world.certificate(&key(9), "other", Purpose::Service, DAY);
    let as_device = world.certificate(&key(9), "service/monitor", Purpose::Device, DAY);
    let stranger = world.certificate(&key(10), "monitor", Purpose::Service, DAY);
    for shown in [
        Shown::certificate(&key(9), &other),
        Shown::certificate(&key(9), &as_device),
        Shown::certificate(&key(10), &stranger),
    ] {
        let (_, answer) = world.connect(&shown, &super::world::Options::default());
        assert!(matches!(answer, Received::Connack { reason: ConnectReasonCode::NotAuthorized, .. }), "{answer:?}");
    }
}

#[test]
fn a_service_whose_certificate_has_ended_gets_nothing_more() {
    let (mut world, shown, _) = world(false);
    let (_, pump) = world.paired(1, PUMP);
    let service = world.client(&shown);
    world.subscribe(service, ALARMS);
    world.now = world.now.after(DAY * 2);
    world.publish(pump, ALARM, b"too late");
    assert_eq!(world.deliveries(service), [] as [&[u8]; 0]);
}

#[test]
fn a_service_begins_no_topic_where_nobody_listens() {
    let (mut world, shown, _) = world(true);
    let service = world.client(&shown);
    for number in 0..3 {
        let topic = format!("ais/ctl/alarm/infusion-pump/nobody-{number}");
        assert_eq!(world.publish(service, &topic, b"x"), PubackReasonCode::NoMatchingSubscribers, "{topic}");
    }
    let (_, pump) = world.paired(1, PUMP);
    assert_eq!(world.subscribe(pump, CONTROL), SubackReasonCode::GrantedQos1);
    assert_eq!(world.publish(service, CONTROL, b"x"), PubackReasonCode::Success);
}

#[test]
fn a_reader_that_is_away_leaves_room_for_the_control_unit() {
    let (mut world, shown, _) = world(false);
    let (_, pump) = world.paired(1, PUMP);
    let service = world.client(&shown);
    world.subscribe(service, ALARMS);
    world.lose(service);
    let large = vec![0; 60_000];
    for _ in 0..2 * MAX_READERS_BYTES / large.len() {
        assert_eq!(world.publish(pump, ALARM, &large), PubackReasonCode::Success);
        while let Some((last, _)) = world.broker.for_site(Stream::Data) {
            world.broker.site_has(Stream::Data, last);
        }
    }
    assert_eq!(world.publish(pump, ALARM, b"still heard"), PubackReasonCode::Success);
}

#[test]
fn a_service_that_has_expired_is_let_go() {
    let (mut world, shown, certificate) = world(false);
    let service = world.client(&shown);
    world.subscribe(service, ALARMS);
    world.apply(&[granted(&certificate, DeviceState::Expired, 200, false)], &[], &[]);
    assert!(world.closed.contains(&service));
}

#[test]
fn what_a_service_sent_and_waits_ends_with_its_right_to_send_it() {
    for (state, access) in [(DeviceState::Revoked, true), (DeviceState::Expired, true), (DeviceState::Paired, false)] {
        let (mut world, shown, certificate) = world(true);
        let (shown_pump, pump) = world.paired(1, PUMP);
        assert_eq!(world.subscribe(pump, CONTROL), SubackReasonCode::GrantedQos1);
        world.lose(pump);
        let service = world.client(&shown);
        assert_eq!(world.publish(service, CONTROL, b"order"), PubackReasonCode::Success);
        world.apply(&[granted(&certificate, state, 200, access)], &[], &[]);
        let pump = world.client(&shown_pump);
        assert_eq!(world.deliveries(pump), [] as [&[u8]; 0], "{state:?}");
    }
}

#[test]
fn the_site_is_told_of_what_services_send_and_of_devices_that_listen() {
    let (mut world, shown, _) = world(true);
    let (_, pump) = world.paired(1, PUMP);
    assert_eq!(world.subscribe(pump, CONTROL), SubackReasonCode::GrantedQos1);
    let listens = |notice: &Notice| matches!(notice, Notice::Listens { device: named, .. } if *named == device(PUMP));
    assert!(world.notices().iter().any(listens));
    let service = world.client(&shown);
    assert_eq!(world.publish(service, CONTROL, b"order"), PubackReasonCode::Success);
    assert_eq!(world.deliveries(pump), [b"order"]);
    let (_, messages) = world.broker.for_site(Stream::Data).unwrap();
    assert_eq!(messages.iter().map(|message| message.topic.as_str()).collect::<Vec<_>>(), [CONTROL]);
}

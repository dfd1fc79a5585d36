#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::metadata::Draft;
use p256::ecdsa::SigningKey;
use std::collections::BTreeMap;

const NOW: u64 = 1_800_000_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

fn public(number: u8) -> Key {
    Key::ecdsa_p256(key(number).verifying_key()).unwrap()
}

/// A reader who knows the gateway and one pump, and the counters of their reports.
struct Reader(BTreeMap<Device, (u8, Version)>);

impl Known for Reader {
    fn key(&self, device: &Device) -> Option<Key> {
        self.0.get(device).map(|(number, _)| public(*number))
    }

    fn counter(&self, device: &Device) -> Version {
        self.0.get(device).map_or(0, |(_, counter)| *counter)
    }
}

fn reader() -> Reader {
    Reader([("gateway/ward-3".parse().unwrap(), (1, 4)), ("infusion-pump/p1".parse().unwrap(), (2, 7))].into())
}

fn state(device: &str) -> State {
    let characteristics = Characteristics {
        device: device.parse().unwrap(),
        manufacturer: "acme".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        serial_number: "45457".parse().unwrap(),
        revision: "1A".parse().unwrap(),
        hardware: "PM2-B".parse().unwrap(),
    };
    let image = Some(Image { length: 5, sha256: Sha256([9; 32]) });
    State { characteristics, image, release_counter: ReleaseCounter::new(2), attack: None }
}

fn signed<T: Role + Serialize>(role: &T, signer: u8) -> Vec<u8> {
    let mut draft = Draft::new(role).unwrap();
    draft.sign(public(signer).id(), &key(signer));
    draft.to_bytes()
}

fn pump(counter: Version, signer: u8) -> Reported {
    let report = DeviceReport::new(counter, Expires::at(NOW + 1), state("infusion-pump/p1"));
    Reported::Signed(serde_json::from_slice(&signed(&report, signer)).unwrap())
}

fn report(counter: Version, devices: Vec<Reported>) -> ConfigurationReport {
    ConfigurationReport::new(counter, Expires::at(NOW + 1), state("gateway/ward-3"), devices)
}

fn verify_at(bytes: &[u8], now: u64) -> Result<Configuration, InvalidReport> {
    ConfigurationReport::verify(bytes, &"gateway/ward-3".parse().unwrap(), &reader(), now)
}

fn verify(report: &ConfigurationReport) -> Result<Configuration, InvalidReport> {
    verify_at(&signed(report, 1), NOW)
}

fn device(text: &str) -> Device {
    text.parse().unwrap()
}

#[test]
fn a_report_says_what_the_gateway_and_its_devices_run() {
    let scale = Reported::Unsigned(state("scale/s1"));
    let configuration = verify(&report(5, vec![pump(8, 2), scale])).unwrap();
    assert_eq!((configuration.counter, &configuration.gateway), (5, &state("gateway/ward-3")));
    assert_eq!(configuration.devices, [(state("infusion-pump/p1"), Some(8)), (state("scale/s1"), None)]);
}

#[test]
fn a_report_counts_with_its_gateways_signature_only() {
    let honest = report(5, vec![pump(8, 2)]);
    let ward = device("gateway/ward-3");
    assert_eq!(verify_at(&signed(&honest, 2), NOW), Err(InvalidReport::Signature(ward.clone())));
    let other = device("gateway/ward-4");
    let refused = ConfigurationReport::verify(&signed(&honest, 1), &other, &reader(), NOW);
    assert_eq!(refused, Err(InvalidReport::Gateway(ward.clone())));
    let unknown = ConfigurationReport::verify(&signed(&honest, 1), &ward, &Reader(BTreeMap::new()), NOW);
    assert_eq!(unknown, Err(InvalidReport::Signature(ward)));
}

#[test]
fn a_report_that_was_seen_before_is_refused() {
    for counter in [1, 4] {
        assert_eq!(verify(&report(counter, vec![])), Err(InvalidReport::Replayed(device("gateway/ward-3"))));
    }
    let late = verify_at(&signed(&report(5, vec![]), 1), NOW + 1);
    assert_eq!(late, Err(InvalidReport::Expired(device("gateway/ward-3"))));
}

#[test]
fn the_newest_report_of_a_device_is_shown_again_and_an_older_one_counts_as_nothing() {
    let shown = verify(&report(5, vec![pump(7, 2)])).unwrap();
    assert_eq!((shown.devices, shown.unchanged), (vec![], vec![device("infusion-pump/p1")]));
    let older = verify(&report(5, vec![pump(6, 2)])).unwrap();
    assert_eq!((older.devices, older.unchanged), (vec![], vec![]));
    // Nobody shows it twice.
    assert_eq!(verify(&report(5, vec![pump(8, 2), pump(6, 2)])), Err(InvalidReport::Twice(device("infusion-pump/p1"))));
    // What was taken once may be over since; news may not.
    let at_the_end = |devices| {
        let later = ConfigurationReport::new(5, Expires::at(NOW + 9), state("gateway/ward-3"), devices);
        verify_at(&signed(&later, 1), NOW + 1)
    };
    assert_eq!(at_the_end(vec![pump(7, 2)]).unwrap().unchanged, [device("infusion-pump/p1")]);
    let over = at_the_end(vec![pump(8, 2)]).unwrap();
    assert_eq!((over.devices, over.left_out), (vec![], vec![InvalidReport::Expired(device("infusion-pump/p1"))]));
}

#[test]
fn what_a_device_has_signed_wrongly_is_left_out_and_nobody_else_answers_for_it() {
    let pump_itself = device("infusion-pump/p1");
    let mut padded = serde_json::to_value(pump(8, 2)).unwrap();
    padded["signed"]["signed"]["padding"] = " ".repeat(MAX_DEVICE_REPORT_BYTES).into();
    let padded: Reported = serde_json::from_value(padded).unwrap();
    let unreadable = Reported::Signed(serde_json::json!({"signatures": [], "signed": {}}));
    for (wrong, why) in [
        (pump(8, 1), Some(InvalidReport::Signature(pump_itself.clone()))),
        (pump(MAX_INTEGER + 1, 2), Some(InvalidReport::Counter(pump_itself))),
        (padded, Some(InvalidReport::DeviceLength)),
        (unreadable, None),
    ] {
        let scale = Reported::Unsigned(state("scale/s1"));
        let shown = verify(&report(5, vec![wrong, scale])).unwrap();
        assert_eq!(shown.devices, [(state("scale/s1"), None)]);
        assert_eq!(shown.left_out.len(), 1);
        assert!(why.is_none_or(|why| shown.left_out[0] == why), "{:?}", shown.left_out);
    }
    let highest = ConfigurationReport::new(MAX_INTEGER + 1, Expires::at(NOW + 1), state("gateway/ward-3"), vec![]);
    assert_eq!(verify(&highest), Err(InvalidReport::Counter(device("gateway/ward-3"))));
    let all = vec![b' '; MAX_DEVICE_REPORT_BYTES * MAX_REPORTED_DEVICES];
    assert!(all.len() < MAX_REPORT_BYTES, "what all devices say fits into a report");
}

#[test]
fn a_gateway_does_not_speak_for_a_device_that_has_a_key() {
    let pump_itself = device("infusion-pump/p1");
    let spoken_for = verify(&report(5, vec![Reported::Unsigned(state("infusion-pump/p1"))]));
    assert_eq!(spoken_for, Err(InvalidReport::Unsigned(pump_itself)));
}

#[test]
fn a_device_is_reported_once() {
    let scale = Reported::Unsigned(state("scale/s1"));
    let twice = verify(&report(5, vec![scale.clone(), scale]));
    assert_eq!(twice, Err(InvalidReport::Twice(device("scale/s1"))));
    let mut itself = reader();
    itself.0.remove(&device("infusion-pump/p1"));
    let gateway = DeviceReport::new(9, Expires::at(NOW + 1), state("gateway/ward-3"));
    let own = Reported::Signed(serde_json::from_slice(&signed(&gateway, 1)).unwrap());
    assert_eq!(verify(&report(5, vec![own])), Err(InvalidReport::Twice(device("gateway/ward-3"))));
}

#[test]
fn a_report_has_limits() {
    let scales =
        |count: usize| (0..count).map(|number| Reported::Unsigned(state(&format!("scale/s{number}")))).collect();
    assert!(verify(&report(5, scales(MAX_REPORTED_DEVICES))).is_ok());
    assert!(Draft::new(&report(5, scales(MAX_REPORTED_DEVICES + 1))).is_err());
    assert_eq!(verify_at(&vec![b' '; MAX_REPORT_BYTES + 1], NOW), Err(InvalidReport::Length));
    let long = vec![b' '; MAX_REPORT_BYTES + 1];
    assert_eq!(DeviceReport::verify(&long, &reader(), NOW), Err(InvalidReport::DeviceLength));
}

#[test]
fn what_is_no_report_is_refused() {
    let text = String::from_utf8(signed(&report(5, vec![pump(8, 2)]), 1)).unwrap();
    let changes = [
        ("\"configuration-report\"", "\"targets\""),
        ("\"serial_number\"", "\"serial\""),
        ("\"revision\":\"1A\"", "\"revision\":\"1a\""),
        ("\"signed\":{\"_type\":\"configuration-report\"", "\"other\":{\"_type\":\"configuration-report\""),
    ];
    for (old, new) in changes {
        assert!(text.contains(old), "{old}");
        assert!(matches!(verify_at(text.replace(old, new).as_bytes(), NOW), Err(InvalidReport::Metadata(_))), "{new}");
    }
}

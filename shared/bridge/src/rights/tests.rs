//! The table of the design, cell by cell: what is not named there is denied.

use super::*;
use wardlink_protocol::grant::GrantedCertificate;

const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);
const LATER: UnixMillis = UnixMillis::from_secs(1_800_000_001);
const EARLIER: UnixMillis = UnixMillis::from_secs(1_799_999_999);

const STATES: [DeviceState; 9] = [
    DeviceState::Unknown,
    DeviceState::Closing,
    DeviceState::Accepted,
    DeviceState::Certified,
    DeviceState::Confirmed,
    DeviceState::Paired,
    DeviceState::Expired,
    DeviceState::Locked,
    DeviceState::Revoked,
];

const PURPOSES: [Purpose; 5] =
    [Purpose::Pairing, Purpose::Device, Purpose::ControlUnit, Purpose::Gateway, Purpose::Service];

/// Every topic that concerns the device, and those of others, by what the table calls them.
const OWN: [(&str, &str); 8] = [
    ("T1", "ais/register/infusion-pump"),
    ("T2", "ais/infusion-pump/pump-1"),
    ("T3", "ais/command/infusion-pump"),
    ("T4", "ais/meta/infusion-pump"),
    ("renewal", "ais/renew/infusion-pump"),
    ("up", "ais/data/alarm/infusion-pump/pump-1"),
    ("down", "ais/ctl/alarm/infusion-pump/pump-1"),
    ("not given", "ais/data/log/infusion-pump/pump-1"),
];
const FOREIGN: [&str; 13] = [
    "ais/register/scale",
    "ais/infusion-pump/pump-2",
    "ais/scale/pump-1",
    "ais/command/scale",
    "ais/meta/scale",
    "ais/renew/scale",
    "ais/data/alarm/infusion-pump/pump-2",
    "ais/data/alarm/scale/pump-1",
    "ais/ctl/alarm/infusion-pump/pump-2",
    "ais/ctl/alarm/scale/pump-1",
    "ais/ctl/log/infusion-pump/pump-1",
    "ais/data/update/infusion-pump/pump-1",
    "ais/ctl/update/infusion-pump/pump-1",
];

fn serial(number: u8) -> CertificateSerial {
    CertificateSerial([number; 16])
}

fn principal(credential: Credential) -> Principal {
    Principal { key: KeyFingerprint([1; 32]), device: "infusion-pump/pump-1".parse().unwrap(), credential }
}

fn certified(purpose: Purpose, not_after: UnixMillis) -> Principal {
    principal(Credential::Certificate { serial: serial(7), purpose, not_after })
}

fn grant(state: DeviceState, certificates: Vec<GrantedCertificate>) -> Grant {
    Grant {
        key: KeyFingerprint([1; 32]),
        device: "infusion-pump/pump-1".parse().unwrap(),
        state,
        certificates,
        channels: vec!["alarm".parse().unwrap()],
        access: ServiceAccess::default(),
        version: 1,
    }
}

fn listed(purpose: Purpose) -> Vec<GrantedCertificate> {
    vec![GrantedCertificate { serial: serial(7), purpose, not_after: UnixMillis(u64::MAX) }]
}

/// Which topics may be published on, and which may be read, by their names in the table.
fn cells(principal: &Principal, grant: Option<&Grant>) -> (Vec<&'static str>, Vec<&'static str>) {
    let rights = Rights::of(principal, grant, NOW);
    let configured = |client: &ClientClass| ["infusion-pump", "scale"].contains(&client.as_str());
    let topic = |text: &str| text.parse::<Topic>().unwrap();
    for foreign in FOREIGN {
        assert!(!rights.may_publish(&topic(foreign), configured), "{principal:?} {grant:?} publishes on {foreign}");
        assert!(!rights.may_read(&topic(foreign)), "{principal:?} {grant:?} reads {foreign}");
    }
    let publish = OWN.iter().filter(|(_, text)| rights.may_publish(&topic(text), configured));
    let read = OWN.iter().filter(|(_, text)| rights.may_read(&topic(text)));
    (publish.map(|(name, _)| *name).collect(), read.map(|(name, _)| *name).collect())
}

type Cell = (&'static [&'static str], &'static [&'static str]);
const NOTHING: Cell = (&[], &[]);

#[test]
fn bare_key_has_the_rights_of_its_row() {
    for state in STATES {
        let expected: Cell = match state {
            DeviceState::Unknown | DeviceState::Paired | DeviceState::Expired => (&["T1"], &[]),
            DeviceState::Closing | DeviceState::Accepted | DeviceState::Certified => (&["T1"], &["T2"]),
            DeviceState::Confirmed | DeviceState::Locked | DeviceState::Revoked => NOTHING,
        };
        // Certificates that count for the key give its bare use nothing.
        for certificates in [vec![], listed(Purpose::Pairing), listed(Purpose::Device)] {
            let (publish, read) = cells(&principal(Credential::BareKey), Some(&grant(state, certificates)));
            assert_eq!((publish.as_slice(), read.as_slice()), expected, "{state:?}");
        }
    }
    let (publish, read) = cells(&principal(Credential::BareKey), None);
    assert_eq!((publish, read), (vec!["T1"], vec![]), "a key that nobody knows");
}

/// What a certificate of that purpose may do in that state.
fn expected_of(state: DeviceState, purpose: Purpose, expired: bool) -> Cell {
    const PAIR: Cell = (&["T3"], &["T2"]);
    const WORK: Cell = (&["T3", "renewal", "up"], &["T2", "T4", "down"]);
    const RENEW: Cell = (&["renewal"], &["T2"]);
    match (state, purpose, expired) {
        (DeviceState::Certified, Purpose::Pairing, false)
        | (DeviceState::Confirmed, Purpose::Pairing | Purpose::Device, _) => PAIR,
        (DeviceState::Paired, Purpose::Device, false) => WORK,
        (DeviceState::Paired, Purpose::Device, true) | (DeviceState::Expired, Purpose::Device, _) => RENEW,
        _ => NOTHING,
    }
}

#[test]
fn certificate_has_the_rights_of_its_row() {
    for state in STATES {
        for purpose in PURPOSES {
            for expired in [false, true] {
                let shown = certified(purpose, if expired { EARLIER } else { LATER });
                let (publish, read) = cells(&shown, Some(&grant(state, listed(purpose))));
                let expected = expected_of(state, purpose, expired);
                assert_eq!((publish.as_slice(), read.as_slice()), expected, "{state:?} {purpose:?} expired: {expired}");
            }
        }
    }
}

#[test]
fn certificate_counts_only_where_the_grant_lists_it() {
    for state in STATES {
        for purpose in PURPOSES {
            let shown = certified(purpose, LATER);
            let other_serial = vec![GrantedCertificate { serial: serial(8), purpose, not_after: LATER }];
            let other_purposes: Vec<_> =
                PURPOSES.into_iter().filter(|other| *other != purpose).flat_map(listed).collect();
            for certificates in [vec![], other_serial, other_purposes] {
                let (publish, read) = cells(&shown, Some(&grant(state, certificates)));
                assert_eq!((publish.as_slice(), read.as_slice()), NOTHING, "{state:?} {purpose:?}");
            }
            assert_eq!(cells(&shown, None), (vec![], vec![]), "without a grant: {purpose:?}");
        }
    }
}

#[test]
fn the_grant_can_end_a_certificate_before_it_ends_itself() {
    let certificates = vec![GrantedCertificate { serial: serial(7), purpose: Purpose::Device, not_after: EARLIER }];
    let (publish, read) = cells(&certified(Purpose::Device, LATER), Some(&grant(DeviceState::Paired, certificates)));
    assert_eq!((publish, read), (vec!["renewal"], vec!["T2"]));
}

#[test]
fn a_claim_that_differs_from_the_grant_is_worth_nothing() {
    for state in STATES {
        for other in ["infusion-pump/pump-2", "scale/pump-1"] {
            let claimed = Principal { device: other.parse().unwrap(), ..principal(Credential::BareKey) };
            let rights_of = grant(state, vec![]);
            assert!(Rights::of(&claimed, Some(&rights_of), NOW).row == Row::Nothing, "{state:?} {other}");
            let mut foreign_key = grant(state, listed(Purpose::Device));
            foreign_key.key = KeyFingerprint([2; 32]);
            assert!(Rights::of(&certified(Purpose::Device, LATER), Some(&foreign_key), NOW).row == Row::Nothing);
        }
    }
}

#[test]
fn a_class_that_is_not_configured_has_no_t1() {
    let shown = principal(Credential::BareKey);
    let topic = "ais/register/infusion-pump".parse().unwrap();
    assert!(!Rights::of(&shown, None, NOW).may_publish(&topic, |_| false));
}

#[test]
fn no_wildcard_widens_any_right() {
    let filters = [
        "#",
        "+",
        "+/#",
        "ais/#",
        "ais/+/+",
        "ais/infusion-pump/+",
        "ais/infusion-pump/#",
        "ais/+/pump-1",
        "ais/infusion-pump/pump-1/#",
        "ais/meta/+",
        "ais/meta/infusion-pump/#",
        "ais/ctl/+/infusion-pump/pump-1",
        "ais/ctl/alarm/infusion-pump/+",
        "ais/ctl/#",
        "$SYS/#",
    ];
    for state in STATES {
        for shown in
            [principal(Credential::BareKey), certified(Purpose::Pairing, LATER), certified(Purpose::Device, LATER)]
        {
            let grant = grant(state, [listed(Purpose::Pairing), listed(Purpose::Device)].concat());
            let rights = Rights::of(&shown, Some(&grant), NOW);
            for filter in filters {
                assert!(!rights.may_subscribe(&filter.parse().unwrap()), "{state:?} {shown:?} {filter}");
            }
            for (_, text) in OWN {
                let filter = text.parse::<TopicFilter>().unwrap();
                assert_eq!(rights.may_subscribe(&filter), rights.may_read(&text.parse().unwrap()), "{text}");
            }
        }
    }
}

#[test]
fn only_revoked_and_locked_keys_are_barred() {
    for state in STATES {
        let barred = matches!(state, DeviceState::Revoked | DeviceState::Locked);
        assert_eq!(is_barred(Some(&grant(state, vec![]))), barred, "{state:?}");
    }
    assert!(!is_barred(None));
}

#[test]
fn a_gateways_certificate_works_for_a_gateway_and_a_devices_does_not() {
    let gateway: Device = "gateway/ward-3".parse().unwrap();
    let topic: Topic = "ais/data/alarm/gateway/ward-3".parse().unwrap();
    let works = |device: &Device, purpose, shown| {
        let credential = Credential::Certificate { serial: serial(7), purpose: shown, not_after: LATER };
        let principal = Principal { device: device.clone(), ..principal(credential) };
        let grant = Grant { device: device.clone(), ..grant(DeviceState::Paired, listed(purpose)) };
        Rights::of(&principal, Some(&grant), NOW).may_publish(&topic, |_| true)
    };
    assert!(works(&gateway, Purpose::Gateway, Purpose::Gateway));
    assert!(!works(&gateway, Purpose::Device, Purpose::Device), "even where it is listed");
    assert!(!works(&gateway, Purpose::Gateway, Purpose::Device));
    assert!(!works(&gateway, Purpose::Service, Purpose::Service));
    let pump = principal(Credential::BareKey).device;
    let as_gateway = certified(Purpose::Gateway, LATER);
    assert!(
        Rights::of(&as_gateway, Some(&grant(DeviceState::Paired, listed(Purpose::Gateway))), NOW).row == Row::Nothing,
        "{pump}"
    );
}

#[test]
fn at_a_gateway_a_device_has_its_second_channels_and_nothing_else() {
    let configured = |_: &ClientClass| true;
    let topic = |text: &str| text.parse::<Topic>().unwrap();
    let cells = |principal: &Principal, grant: Option<&Grant>| {
        let rights = Rights::at_gateway(principal, grant, NOW);
        for foreign in FOREIGN {
            assert!(!rights.may_publish(&topic(foreign), configured) && !rights.may_read(&topic(foreign)), "{foreign}");
        }
        for filter in ["#", "ais/#", "ais/ctl/alarm/infusion-pump/+", "ais/ctl/+/infusion-pump/pump-1"] {
            assert!(!rights.may_subscribe(&filter.parse().unwrap()), "{filter}");
        }
        let publish = OWN.iter().filter(|(_, text)| rights.may_publish(&topic(text), configured));
        let read = OWN.iter().filter(|(_, text)| rights.may_read(&topic(text)));
        let cells: (Vec<_>, Vec<_>) = (publish.map(|(name, _)| *name).collect(), read.map(|(name, _)| *name).collect());
        assert_eq!(rights.is_welcome(configured), !cells.0.is_empty(), "who may do nothing may not connect");
        cells
    };
    for state in STATES {
        // No serial number is listed: the gateway knows none.
        let grant = grant(state, vec![]);
        for purpose in PURPOSES {
            let works = state == DeviceState::Paired && purpose == Purpose::Device;
            let expected: Cell = if works { (&["up"], &["down"]) } else { NOTHING };
            let (publish, read) = cells(&certified(purpose, LATER), Some(&grant));
            assert_eq!((publish.as_slice(), read.as_slice()), expected, "{state:?} {purpose:?}");
            assert_eq!(cells(&certified(purpose, EARLIER), Some(&grant)), (vec![], vec![]), "ended: {purpose:?}");
            assert_eq!(cells(&certified(purpose, LATER), None), (vec![], vec![]), "nobody's: {purpose:?}");
        }
        assert_eq!(cells(&principal(Credential::BareKey), Some(&grant)), (vec![], vec![]), "{state:?}");
        let shown = certified(Purpose::Device, LATER);
        let other = Principal { device: "infusion-pump/pump-2".parse().unwrap(), ..shown.clone() };
        assert_eq!(cells(&other, Some(&grant)), (vec![], vec![]), "another device's key");
        let other = Grant { key: KeyFingerprint([2; 32]), ..grant };
        assert_eq!(cells(&shown, Some(&other)), (vec![], vec![]), "another key");
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::catalog::Listed;
use crate::inventory::Characteristics;
use crate::key::Key;
use crate::metadata::{Draft, Hashes, RoleKeys, Snapshot, Targets, Timestamp};
use crate::package::{Encryption, RevisionRange, SealedKey};
use crate::report::State;
use p256::ecdsa::SigningKey;
use wardlink_protocol::identity::KeyFingerprint;

const NOW: u64 = 1_800_000_000;

fn gateway() -> Device {
    "gateway/ward-3".parse().unwrap()
}

fn package() -> Package {
    Package {
        manufacturer: "acme".parse().unwrap(),
        device_type: "infusion-pump".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        pre_revision: RevisionRange::single("1A".parse().unwrap()),
        post_revision: "1B".parse().unwrap(),
        hardware: vec!["B".parse().unwrap()],
        release_counter: ReleaseCounter::new(2).unwrap(),
        feature_set: "spring".parse().unwrap(),
        atomic: Vec::new(),
        sbom: None,
        provenance: None,
        accepts: vec![AddedKind::DrugLibrary],
        during_therapy: false,
        downgrade: None,
        recalled: None,
    }
}

fn path(name: &str) -> TargetPath {
    package().folder().path(name).unwrap()
}

fn target(length: u64) -> Target {
    Target { length, hashes: Hashes::of(b"an image"), custom: None }
}

fn assignment(device: &str) -> Assignment {
    Assignment {
        device: device.parse().unwrap(),
        serial_number: "45457".parse().unwrap(),
        hardware: "B".parse().unwrap(),
        release_counter: ReleaseCounter::new(2).unwrap(),
        delta: Some(BoundFile { length: 50, ..BoundFile::of(path("1A-1B.delta"), b"delta") }),
        added: vec![Added { kind: AddedKind::DrugLibrary, file: BoundFile::of(path("drugs"), b"drugs") }],
        when: When::Window { from: NOW, until: NOW + 60 },
    }
}

fn order(devices: &[&str]) -> Order {
    let assignments = devices.iter().map(|device| assignment(device)).collect();
    Order { path: path("1B.bin"), target: target(1_000), package: package(), assignments, encrypted: None }
}

fn associations(devices: &[&str]) -> Associations {
    let mut associations = Associations::default();
    for device in devices {
        associations.associate(device.parse().unwrap(), gateway());
    }
    associations
}

fn directive(orders: &[Order]) -> Result<Directive, InvalidDirective> {
    Directive::new(
        7,
        Expires::at(NOW + 10),
        &gateway(),
        orders,
        &associations(&["infusion-pump/p1", "infusion-pump/p2"]),
    )
}

fn bytes(directive: &Directive) -> Vec<u8> {
    Draft::new(directive).unwrap().to_bytes()
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[8; 32]).unwrap()
}

#[test]
fn a_directive_is_read_as_it_was_made() {
    let orders = [order(&["infusion-pump/p1", "infusion-pump/p2"])];
    let (_, directed) = Directive::parse(&bytes(&directive(&orders).unwrap())).unwrap();
    let expires = Expires::at(NOW + 10);
    assert_eq!(directed, Directed { version: 7, expires, gateway: gateway(), orders: orders.to_vec() });
    let (found, part) = directed.order_for(&"infusion-pump/p2".parse().unwrap()).unwrap();
    assert_eq!((found, part), (&orders[0], &orders[0].assignments[1]));
    assert_eq!(directed.order_for(&gateway()), None);
}

#[test]
fn a_directive_is_spelled_as_the_documentation_says() {
    let mut order = order(&["infusion-pump/p1"]);
    order.package.accepts.clear();
    order.assignments[0] =
        Assignment { delta: None, added: Vec::new(), when: When::AtOnce, ..assignment("infusion-pump/p1") };
    let text = String::from_utf8(bytes(&directive(&[order]).unwrap())).unwrap();
    let expected = concat!(
        r#"{"signatures":[],"signed":{"_type":"targets","#,
        r#""custom":{"directive":"install","gateway":{"client":"gateway","identifier":"ward-3"}},"#,
        r#""expires":"2027-01-15T08:00:10Z","spec_version":"1.0.34","targets":{"acme/infusion-pump/PM2/1B.bin":{"#,
        r#""custom":{"assignments":[{"device":{"client":"infusion-pump","identifier":"p1"},"hardware":"B","#,
        r#""release_counter":2,"serial_number":"45457","when":"at_once"}],"package":{"device_type":"infusion-pump","#,
        r#""feature_set":"spring","hardware":["B"],"manufacturer":"acme","model":"PM2","post_revision":"1B","#,
        r#""pre_revision":{"from":"1A","to":"1A"},"release_counter":2}},"hashes":{"sha256":"#,
        r#""HASH"},"length":1000}},"version":7}}"#,
    );
    assert_eq!(text, expected.replace("HASH", &Hashes::of(b"an image").0["sha256"]));
}

#[test]
fn a_directive_without_orders_says_that_there_is_nothing_to_do() {
    let text = String::from_utf8(bytes(&directive(&[]).unwrap())).unwrap();
    assert!(
        text.contains(r#""custom":{"directive":"nothing_to_do","gateway":{"client":"gateway","identifier":"ward-3"}}"#)
    );
    let (_, directed) = Directive::parse(text.as_bytes()).unwrap();
    assert_eq!((directed.gateway, directed.orders), (gateway(), vec![]));
    let silent = text.replace("nothing_to_do", "install");
    assert_eq!(Directive::parse(silent.as_bytes()).map(drop), Err(InvalidDirective::Empty));
    let full = String::from_utf8(bytes(&directive(&[order(&["infusion-pump/p1"])]).unwrap())).unwrap();
    let hidden = full.replace("\"directive\":\"install\"", "\"directive\":\"nothing_to_do\"");
    assert_eq!(Directive::parse(hidden.as_bytes()).map(drop), Err(InvalidDirective::Empty));
}

#[test]
fn a_directive_names_its_gateway_and_delegates_nothing() {
    let text = String::from_utf8(bytes(&directive(&[]).unwrap())).unwrap();
    let unnamed = text.replace(r#""gateway":{"client":"gateway","identifier":"ward-3"}"#, "\"more\":1");
    assert!(matches!(Directive::parse(unnamed.as_bytes()), Err(InvalidDirective::Metadata(_))));
    let delegating = text.replace(r#""targets":{}"#, r#""delegations":{"keys":{},"roles":[]},"targets":{}"#);
    assert_eq!(Directive::parse(delegating.as_bytes()).map(drop), Err(InvalidDirective::Delegations));
}

#[test]
fn a_device_of_another_gateway_is_given_nothing() {
    let stranger: Device = "infusion-pump/p3".parse().unwrap();
    let refused = directive(&[order(&["infusion-pump/p3"])]).map(drop);
    assert_eq!(refused, Err(InvalidDirective::Association(stranger)));
}

#[test]
fn a_device_is_given_one_order() {
    let mut second = order(&["infusion-pump/p1"]);
    second.path = path("again.bin");
    let twice = directive(&[order(&["infusion-pump/p1"]), second]).map(drop);
    assert_eq!(twice, Err(InvalidDirective::Twice("infusion-pump/p1".parse().unwrap())));
    let same_path = directive(&[order(&["infusion-pump/p1"]), order(&["infusion-pump/p2"])]).map(drop);
    assert!(matches!(same_path, Err(InvalidDirective::Order { .. })));
    for devices in [&["infusion-pump/p1", "infusion-pump/p1"][..], &["infusion-pump/p2", "infusion-pump/p1"], &[]] {
        let why = InvalidPackage::List("assignments");
        assert_eq!(directive(&[order(devices)]).map(drop), Err(InvalidDirective::Order { path: path("1B.bin"), why }));
    }
}

#[test]
fn an_assignment_agrees_with_its_package() {
    type Change = fn(&mut Order);
    let changes: [(Change, &str); 9] = [
        (|order| order.assignments[0].hardware = "C".parse().unwrap(), "it has other hardware"),
        (
            |order| order.assignments[0].release_counter = ReleaseCounter::new(3).unwrap(),
            "the release counter is another",
        ),
        (
            |order| order.assignments[0].delta.as_mut().unwrap().length = 1_000,
            "the delta is another model's, or not smaller",
        ),
        (
            |order| order.assignments[0].delta.as_mut().unwrap().path = "x.delta".to_owned().try_into().unwrap(),
            "the delta is another model's, or not smaller",
        ),
        (|order| order.package.accepts.clear(), "the package takes no such added data"),
        (|order| order.assignments[0].added[0].kind = AddedKind::SiteSettings, "the package takes no such added data"),
        (
            |order| order.assignments[0].added = vec![order.assignments[0].added[0].clone(); 2],
            "a kind of added data stands there twice, or out of order",
        ),
        (|order| order.assignments[0].added[0].file.length = MAX_ADDED_BYTES + 1, "the added data is too long"),
        (
            |order| order.assignments[0].when = When::Window { from: NOW, until: NOW },
            "the window ends before it begins",
        ),
    ];
    for (change, why) in changes {
        let mut wrong = order(&["infusion-pump/p1"]);
        change(&mut wrong);
        let expected = InvalidDirective::Assignment("infusion-pump/p1".parse().unwrap(), why);
        assert_eq!(directive(&[wrong]).map(drop), Err(expected));
    }
    let mut other_type = order(&["infusion-pump/p1"]);
    other_type.assignments[0].device = gateway();
    let expected = InvalidDirective::Assignment(gateway(), "it is of another type");
    assert_eq!(directive(&[other_type]).map(drop), Err(expected));
}

#[test]
fn a_package_that_lies_elsewhere_is_not_directed() {
    let mut moved = order(&["infusion-pump/p1"]);
    moved.path = "acme/infusion-pump/PM3/1B.bin".to_owned().try_into().unwrap();
    assert!(matches!(
        directive(&[moved]).map(drop),
        Err(InvalidDirective::Order { why: InvalidPackage::Path { .. }, .. })
    ));
}

#[test]
fn added_data_is_the_listed_file_and_of_its_kind() {
    let library = crate::package::DrugLibrary {
        version: 1.try_into().unwrap(),
        drugs: vec![crate::package::Drug {
            name: "Heparin".parse().unwrap(),
            concentration_ug_per_ml: 1_000.try_into().unwrap(),
            least_rate_ul_per_h: 0,
            most_rate_ul_per_h: 9_000,
            most_volume_ul: 50_000,
        }],
    };
    let bytes = library.to_bytes().unwrap();
    let added = Added { kind: AddedKind::DrugLibrary, file: BoundFile::of(path("drugs"), &bytes) };
    assert_eq!(added.check(&bytes), Ok(()));
    assert_eq!(added.check(&bytes[1..]), Err(InvalidAdded::Hash));
    let mislabelled = Added { kind: AddedKind::SiteSettings, ..added };
    assert!(matches!(mislabelled.check(&bytes), Err(InvalidAdded::Content(_))));
}

#[test]
fn nothing_unknown_is_read() {
    let mut order = order(&["infusion-pump/p1"]);
    let key = SealedKey::new(vec![1; 40]).unwrap();
    order.encrypted = Some(Encrypted { key, ..encrypted(1_038) });
    let text = String::from_utf8(bytes(&directive(&[order]).unwrap())).unwrap();
    assert!(Directive::parse(text.as_bytes()).is_ok());
    let places = [
        "\"assignments\":",
        "\"device\":{",
        "\"window\":{",
        "\"kind\":",
        "\"directive\":",
        "\"method\":",
        "\"from\":\"1A\"",
    ];
    for place in places {
        assert!(text.contains(place), "{place}");
        let more = match place.strip_suffix('{') {
            Some(_) => format!("{place}\"more\":1,"),
            None => format!("\"more\":1,{place}"),
        };
        assert!(Directive::parse(text.replacen(place, &more, 1).as_bytes()).is_err(), "{place}");
    }
}

/// The variant of the package of 1,000 bytes for our gateway, in a file of this length.
fn encrypted(length: u64) -> Encrypted {
    let file = BoundFile { length, ..BoundFile::of(path("1B.ward-3"), b"cipher") };
    let (recipient, key) = (KeyFingerprint([3; 32]), SealedKey::new(vec![1; 40]).unwrap());
    Encrypted { gateway: gateway(), recipient, method: Encryption::Aes128Gcm, file, key }
}

#[test]
fn an_encrypted_variant_is_of_this_package_for_this_gateway_and_no_longer_than_it_has_to_be() {
    let with =
        |encrypted: Encrypted| directive(&[Order { encrypted: Some(encrypted), ..order(&["infusion-pump/p1"]) }]);
    // RFC 8188: 21 bytes before the records, and 17 in each of them.
    for right in [1_001, 1_038] {
        assert!(with(encrypted(right)).is_ok(), "{right}");
    }
    let moved = |path: TargetPath| {
        let mut moved = encrypted(1_038);
        moved.file.path = path;
        moved
    };
    let wrong = [
        encrypted(1_000),
        encrypted(1_039),
        encrypted(u64::MAX),
        moved(path("1B.bin")),
        moved("acme/infusion-pump/PM3/1B.ward-3".to_owned().try_into().unwrap()),
        moved("1B.ward-3".to_owned().try_into().unwrap()),
        Encrypted { gateway: "gateway/ward-4".parse().unwrap(), ..encrypted(1_038) },
    ];
    for wrong in wrong {
        let refused = with(wrong.clone()).map(drop);
        assert!(matches!(refused, Err(InvalidDirective::Encrypted { .. })), "{wrong:?}: {refused:?}");
    }
}

#[test]
fn a_directive_has_no_more_devices_than_a_gateway_over_all_its_orders() {
    let order_of = |numbers: core::ops::Range<usize>, file: &str| {
        let names: Vec<_> = numbers.map(|number| format!("infusion-pump/p{number:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Order { path: path(file), ..order(&names) }
    };
    let directive = |all: &[Order]| {
        let devices = all.iter().flat_map(|order| &order.assignments).map(|part| part.device.to_string());
        let devices: Vec<_> = devices.collect();
        let associations = associations(&devices.iter().map(String::as_str).collect::<Vec<_>>());
        Directive::new(7, Expires::at(NOW + 10), &gateway(), all, &associations).map(drop)
    };
    let most = MAX_ASSIGNMENTS;
    assert_eq!(directive(&[order_of(0..200, "1B.bin"), order_of(200..most, "1C.bin")]), Ok(()));
    let found = most + 1;
    let refused = directive(&[order_of(0..200, "1B.bin"), order_of(200..found, "1C.bin")]);
    assert_eq!(refused, Err(InvalidDirective::TooMany { found }));
    assert_eq!(directive(&[order_of(0..found, "1B.bin")]), Err(InvalidDirective::TooMany { found }));
}

#[test]
fn picks_become_one_order_for_each_package() {
    let pick = |device: &str, with_delta: bool| {
        let characteristics = Characteristics {
            device: device.parse().unwrap(),
            manufacturer: "acme".parse().unwrap(),
            model: "PM2".parse().unwrap(),
            serial_number: "45457".parse().unwrap(),
            revision: "1A".parse().unwrap(),
            hardware: "B".parse().unwrap(),
        };
        let state = State { characteristics, image: None, release_counter: None, attack: None };
        let release = crate::package::Delta {
            format: crate::package::DeltaFormat::Bsdiff,
            source: BoundFile::of(path("1A.bin"), b"old"),
            result: BoundFile::of(path("1B.bin"), b"new"),
        };
        let delta = with_delta.then(|| Listed { path: path("1A-1B.delta"), target: target(50), release });
        Pick { state, package: Listed { path: path("1B.bin"), target: target(1_000), release: package() }, delta }
    };
    let picks = [pick("infusion-pump/p2", true), pick("infusion-pump/p1", false)];
    let orders = Order::of(&picks, |_| (When::NextSafeMoment, Vec::new()));
    assert_eq!(orders.len(), 1);
    let parts: Vec<_> =
        orders[0].assignments.iter().map(|part| (part.device.to_string(), part.delta.is_some())).collect();
    assert_eq!(parts, [("infusion-pump/p1".to_owned(), false), ("infusion-pump/p2".to_owned(), true)]);
    assert!(directive(&orders).is_ok());
}

#[test]
fn what_is_published_is_a_repository_that_any_client_reads() {
    let directive = directive(&[order(&["infusion-pump/p1"])]).unwrap();
    let ends = Ends { snapshot: Expires::at(NOW + 20), timestamp: Expires::at(NOW + 5) };
    let files = publish(&directive, ends, &key()).unwrap();
    let public = Key::ecdsa_p256(key().verifying_key()).unwrap();
    let role = RoleKeys { keyids: vec![public.id()], threshold: 1.try_into().unwrap() };
    let known = [(public.id(), public)].into();
    let targets: Signed<Targets> = Signed::parse(&files.targets).unwrap();
    let snapshot: Signed<Snapshot> = Signed::parse(&files.snapshot).unwrap();
    let timestamp: Signed<Timestamp> = Signed::parse(&files.timestamp).unwrap();
    assert!(targets.is_signed_by(&role, &known) && snapshot.is_signed_by(&role, &known));
    assert!(timestamp.is_signed_by(&role, &known));
    assert_eq!((targets.role.version(), snapshot.role.version(), timestamp.role.version()), (7, 7, 7));
    assert_eq!(targets.role.targets.len(), 1);
    assert_eq!(timestamp.role.snapshot(), &crate::metadata::MetadataFile::of(7, &files.snapshot));
}

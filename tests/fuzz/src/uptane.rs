//! Packages, directives, reports and inventories: what is accepted has one spelling, and a stolen key of the server installs only
//! what the manufacturer has signed.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use wardlink_protocol::identity::Device;
use wardlink_test_repository::device_attacks::Bedside;
use wardlink_test_repository::gateway_attacks::GATEWAY_ATTACKS;
use wardlink_test_repository::hospital::{
    Hospital, MANUFACTURER_KEY, atomic_pair, gateway, manufacturer, pump_package, state,
};
use wardlink_test_repository::{NOW, key, keys_of, known, path, public};
use wardlink_update::catalog::Associations;
use wardlink_update::client::Fetched;
use wardlink_update::director::Directive;
use wardlink_update::inventory::{Inventory, Record};
use wardlink_update::json::Json;
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, Hashes, Role, Target, TargetPath, Version};
use wardlink_update::package::{AddedKind, ModelFolder, Package, Release};
use wardlink_update::report::{ConfigurationReport, DeviceReport, Known, Reported};
use wardlink_update::uptane::{
    Full, Handed, Install, Next, Repository, Trust, follow_delegation, follow_roots, partial,
};

use crate::{select, selected};

/// Two pumps that are given their update, of an atomic set with the gateway's, with a delta.
static OFFERED: LazyLock<Hospital> = LazyLock::new(|| {
    let mut hospital = Hospital::new();
    hospital.release_delta(&pump_package());
    for package in atomic_pair() {
        hospital.release(&package);
    }
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    hospital
});

const PATHS: [&str; 4] = [
    "acme/infusion-pump/PM2/1B-2.bin",
    "acme/infusion-pump/PM2/1A-1B.delta",
    "acme/gateway/RP/1B-2.bin",
    "elsewhere.bin",
];

/// What a manufacturer says of a target; the first byte says where it lies, or which kind of added data it is.
pub(crate) fn packages(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let selector = usize::from(selector) % (PATHS.len() + AddedKind::ALL.len());
    let Some(at) = PATHS.get(selector) else {
        let _ = AddedKind::ALL[selector - PATHS.len()].check(bytes);
        return;
    };
    if Json::parse(bytes).is_err() {
        return;
    }
    let Ok(custom) = serde_json::from_slice(bytes) else { return };
    let at = path(at);
    let target = Target { length: 50, hashes: Hashes::of(b"an image"), custom: Some(custom) };
    let Ok(Some(release)) = Release::of(&at, &target) else { return };
    assert_eq!(release.to_custom(&at, &target).ok(), target.custom, "one spelling");
    let folder = ModelFolder::of(&at).expect("a package lies in a model's folder");
    if let Release::Package(package) = release {
        assert_eq!(package.folder(), folder);
        let is_back = package.post_revision < *package.pre_revision.from();
        assert_eq!(is_back, package.downgrade.is_some());
        assert!(!package.pre_revision.contains(&package.post_revision));
    }
}

pub(crate) fn package_seeds() -> Vec<Vec<u8>> {
    let mut hospital = OFFERED.clone();
    let targets = hospital.images.author("acme").targets();
    let custom = |at: &str| {
        let custom = targets.iter().find(|(path, _)| path.as_str() == at)?.1.custom.as_ref()?;
        serde_json::to_vec(custom).ok()
    };
    PATHS.iter().enumerate().filter_map(|(index, at)| Some(select(index, &custom(at)?))).collect()
}

/// A directive, as anybody may have written it: what is read can be made again, and says the same.
pub(crate) fn directives(input: &[u8]) {
    let Ok((signed, directed)) = Directive::parse(input) else { return };
    assert_eq!((signed.role.version(), signed.role.expires()), (directed.version, directed.expires));
    let devices: Vec<&Device> =
        directed.orders.iter().flat_map(|order| &order.assignments).map(|assignment| &assignment.device).collect();
    assert_eq!(devices.iter().collect::<BTreeSet<_>>().len(), devices.len(), "each device once");
    let mut associations = Associations::default();
    for device in devices {
        associations.associate(device.clone(), directed.gateway.clone());
    }
    let again = Directive::new(directed.version, directed.expires, &directed.gateway, &directed.orders, &associations);
    let draft = Draft::new(&again.expect("what was read can be made")).expect("and signed");
    assert_eq!(Directive::parse(&draft.to_bytes()).expect("and read").1, directed);
}

pub(crate) fn directive_seeds() -> Vec<Vec<u8>> {
    let mut hospital = OFFERED.clone();
    let full = hospital.handed_server();
    hospital.direct(&[]);
    vec![full, hospital.handed_server()]
}

/// Who reads reports: it knows the gateway and one pump.
struct Reader;

impl Known for Reader {
    fn key(&self, device: &Device) -> Option<Key> {
        match device.to_string().as_str() {
            "gateway/ward-3" => Some(public(1)),
            "infusion-pump/p1" => Some(public(2)),
            _ => None,
        }
    }

    fn counter(&self, _: &Device) -> Version {
        4
    }
}

/// The input as what is signed, with the signature of the right key; as it is, where it is no JSON.
fn sign(content: &[u8], signer: u8) -> Vec<u8> {
    let envelope = [b"{\"signatures\":[],\"signed\":".as_slice(), content, b"}"].concat();
    let Ok(mut draft) = Draft::parse(&envelope) else { return content.to_vec() };
    draft.sign(public(signer).id(), &key(signer));
    draft.to_bytes()
}

/// Reports and inventories; the first byte says which.
pub(crate) fn reports(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 3 {
        0 => {
            if let Ok((_, counter)) = DeviceReport::verify(&sign(bytes, 2), &Reader, NOW) {
                assert!(counter > 4);
            }
        }
        1 => {
            let verified = ConfigurationReport::verify(&sign(bytes, 1), &gateway(), &Reader, NOW);
            let Ok(configuration) = verified else { return };
            assert!(configuration.counter > 4);
            let states = || configuration.devices.iter().map(|(state, _)| &state.characteristics.device);
            let devices: BTreeSet<_> = states().chain([&configuration.gateway.characteristics.device]).collect();
            assert_eq!(devices.len(), configuration.devices.len() + 1, "each device once");
            // Nobody but the pump speaks for the pump.
            let is_pump = |device: &Device| device.to_string() == "infusion-pump/p1";
            assert!(
                configuration
                    .devices
                    .iter()
                    .all(|(state, counter)| { counter.is_some() || !is_pump(&state.characteristics.device) })
            );
        }
        _ => {
            let (role, keys) = (keys_of(&[MANUFACTURER_KEY], 1), known([MANUFACTURER_KEY]));
            let bytes = sign(bytes, MANUFACTURER_KEY);
            let Ok(inventory) = Inventory::verify(&bytes, &manufacturer(), &role, &keys, 1, NOW) else { return };
            let draft = Draft::new(&inventory).expect("what was read can be written").to_bytes();
            let again = wardlink_update::metadata::Signed::<Inventory>::parse(&draft).expect("and read");
            assert_eq!(again.role, inventory);
        }
    }
}

pub(crate) fn report_seeds() -> Vec<Vec<u8>> {
    let expires = Expires::at(NOW + 60);
    let pump = Draft::new(&DeviceReport::new(5, expires, state("infusion-pump/p1", "PM2", "1A"))).expect("a report");
    let envelope = sign(&pump.signed().to_json(), 2);
    let devices = vec![
        Reported::Signed(serde_json::from_slice(&envelope).expect("an envelope")),
        Reported::Unsigned(state("scale/s1", "W1", "1")),
    ];
    let report = ConfigurationReport::new(5, expires, state("gateway/ward-3", "RP", "1A"), devices);
    let report = Draft::new(&report).expect("a report");
    let record = |name| Record { characteristics: state(name, "PM2", "1A").characteristics, key: None };
    let records = vec![record("infusion-pump/p1"), record("infusion-pump/p2")];
    let inventory = Draft::new(&Inventory::new(3, expires, manufacturer(), records)).expect("an inventory");
    [pump, report, inventory]
        .iter()
        .enumerate()
        .map(|(index, draft)| select(index, &draft.signed().to_json()))
        .collect()
}

/// Every package that the manufacturer has signed, in this or any other hospital of the target.
fn is_signed(path: &TargetPath, target: &Target, package: &Package) -> bool {
    let mut hospital = OFFERED.clone();
    hospital.images.author("acme").targets().iter().any(|(at, named)| {
        let release = Release::of(at, named).ok().flatten();
        let is_package = matches!(release, Some(Release::Package(known)) if *known == *package);
        at == path && named.length == target.length && named.hashes == target.hashes && is_package
    })
}

fn check_install(install: &Install) {
    assert!(is_signed(&install.path, &install.target, &install.package), "nobody but the manufacturer gives an image");
    assert!(install.package.recalled.is_none());
}

/// Somebody has the server's key, and says what the input says (the first byte is even); or answers one question with the input.
pub(crate) fn stolen_key(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let mut hospital = OFFERED.clone();
    let forged = usize::from(selector / 2);
    if selector % 2 == 0 {
        if Json::parse(bytes).is_err() {
            return;
        }
        let Ok(signed) = serde_json::from_slice(bytes) else { return };
        hospital.direct_forged(&[], |whole| *whole = signed);
    }
    if let Ok(transactions) = run(&mut hospital, (selector % 2 == 1).then_some((forged, bytes))) {
        transactions.iter().flat_map(|transaction| &transaction.installs).for_each(check_install);
    }
    // Nor does it give a device other keys of its manufacturer.
    let bedside = Bedside::of(&OFFERED);
    let (_, delegator) = follow_roots(OFFERED.images.root(), Vec::new(), NOW).expect("a root");
    let model = pump_package().folder();
    if let Ok(rotated) = follow_delegation(&bedside.provisioned, bedside.seen, &model, &delegator, bytes, NOW) {
        assert!(rotated.provisioned.signer.is_none_or(|signer| Some(signer) == bedside.provisioned.signer));
    }
    // The same at the bedside, by default and with the manufacturer alone.
    let mut bedside = Bedside::of(&OFFERED);
    // The thief is free to choose the version, but the manufacturer's earlier metadata was seen.
    bedside.seen.server = 0;
    let server = if selector % 2 == 0 { hospital.handed_server() } else { bytes.to_vec() };
    let own = pump_package().folder().path("1B-2.bin").expect("a path");
    for trust in [Trust::Both, Trust::Manufacturer] {
        bedside.provisioned.trust = trust;
        for manufacturer in [bedside.manufacturer.as_deref(), Some(bytes)] {
            let handed = Handed { server: Some(&server), manufacturer, path: Some(&own) };
            let accepted = partial(&bedside.provisioned, bedside.seen, &bedside.state, &handed, NOW);
            if let Some(install) = accepted.ok().and_then(|accepted| accepted.install) {
                check_install(&install);
            }
        }
    }
}

fn run(
    hospital: &mut Hospital,
    forged: Option<(usize, &[u8])>,
) -> Result<Vec<wardlink_update::uptane::Transaction>, wardlink_update::uptane::Refused> {
    let images = [(manufacturer(), hospital.known_images.0.clone())].into();
    let mut full = Full::start(hospital.bound.clone(), hospital.known_director.0.clone(), images, NOW)?;
    // Roots, three top-level roles and one delegated one, of two repositories, for a handful of targets.
    for asked in 0..64 {
        match full.next() {
            Next::Fetch(of, wanted) => {
                let honest = match of {
                    Repository::Director => hospital.director.fetch(&wanted),
                    Repository::Image(_) => hospital.images.fetch(&wanted),
                };
                let answer = forged.filter(|(at, _)| *at == asked);
                full.receive(answer.map_or(honest, |(_, bytes)| Fetched::Bytes(bytes.to_vec())))?;
            }
            Next::Verified(transactions) => return Ok(transactions),
            Next::Refused => panic!("a run that was not refused is over"),
        }
    }
    panic!("the gateway asks without end");
}

pub(crate) fn stolen_key_seeds() -> Vec<Vec<u8>> {
    let server = |hospital: &Hospital| {
        let draft = Draft::parse(&hospital.handed_server()).expect("a directive");
        select(0, &draft.signed().to_json())
    };
    let is_forged = |name: &str| name.contains("stolen") || name.contains("package") || name.contains("device");
    let attacks = GATEWAY_ATTACKS.iter().filter(|attack| is_forged(attack.name)).map(|attack| server(&attack.make()));
    let answers = OFFERED.director.files.values().chain(OFFERED.images.files.values());
    let answers = answers.enumerate().map(|(index, bytes)| select(index * 2 % 24 + 1, bytes));
    [server(&OFFERED)].into_iter().chain(attacks).chain(answers).collect()
}

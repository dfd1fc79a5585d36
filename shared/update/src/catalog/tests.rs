#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::inventory::Characteristics;
use crate::metadata::{DelegatedPaths, Delegation, Delegations, Expires, Hashes, RoleKeys};
use crate::package::{BoundFile, DeltaFormat, Downgrade, ReleaseCounter, RevisionRange};
use crate::report::Image;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A pump's package: from one revision to another, as the release of this number.
fn package(from: &str, to: &str, post: &str, counter: u32) -> Package {
    Package {
        manufacturer: "acme".parse().unwrap(),
        device_type: "infusion-pump".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        pre_revision: RevisionRange::new(from.parse().unwrap(), to.parse().unwrap()).unwrap(),
        post_revision: post.parse().unwrap(),
        hardware: vec!["B".parse().unwrap()],
        release_counter: ReleaseCounter::new(counter).unwrap(),
        feature_set: format!("set {counter}").parse().unwrap(),
        atomic: Vec::new(),
        sbom: None,
        provenance: None,
        accepts: Vec::new(),
        during_therapy: false,
        downgrade: None,
        recalled: None,
    }
}

/// The same for a repeater, a gateway's model.
fn repeater(package: Package) -> Package {
    Package { device_type: "gateway".parse().unwrap(), model: "RP".parse().unwrap(), ..package }
}

fn image(package: &Package) -> Vec<u8> {
    format!("{} {} {}", package.folder(), package.post_revision, package.release_counter).into_bytes()
}

fn listed(package: &Package) -> (TargetPath, Target) {
    let bytes = image(package);
    let name = format!("{}-{}.bin", package.post_revision, package.release_counter);
    let path = package.folder().path(&name).unwrap();
    let target = Target { length: 1_000, hashes: Hashes::of(&bytes), custom: None };
    let custom = Release::Package(Box::new(package.clone())).to_custom(&path, &target).unwrap();
    (path, Target { custom: Some(custom), ..target })
}

/// The manufacturer's repository, with these targets in its top-level role.
fn repository(targets: impl IntoIterator<Item = (TargetPath, Target)>) -> Roles {
    let targets = Targets::new(1, Expires::at(1), targets.into_iter().collect(), None);
    [(RoleName::targets(), targets)].into()
}

fn of(targets: impl IntoIterator<Item = (TargetPath, Target)>) -> Result<Releases, InvalidPackage> {
    Releases::of([(&"acme".parse().unwrap(), &repository(targets))])
}

fn releases(packages: &[Package]) -> Releases {
    of(packages.iter().map(listed)).unwrap()
}

fn state(device: &str, model: &str, revision: &str, counter: u32) -> State {
    let characteristics = Characteristics {
        device: device.parse().unwrap(),
        manufacturer: "acme".parse().unwrap(),
        model: model.parse().unwrap(),
        serial_number: "45457".parse().unwrap(),
        revision: revision.parse().unwrap(),
        hardware: "B".parse().unwrap(),
    };
    State { characteristics, image: None, release_counter: ReleaseCounter::new(counter), attack: None }
}

fn pump(revision: &str, counter: u32) -> State {
    state("infusion-pump/p1", "PM2", revision, counter)
}

fn configuration(devices: Vec<State>) -> Configuration {
    let gateway = state("gateway/ward-3", "RP", "1", 1);
    Configuration {
        counter: 1,
        gateway,
        devices: devices.into_iter().map(|state| (state, None)).collect(),
        unchanged: vec![],
        left_out: vec![],
    }
}

/// Every device of the report is updated through its gateway.
fn ours(configuration: &Configuration) -> Associations {
    let mut associations = Associations::default();
    for (state, _) in &configuration.devices {
        let gateway = configuration.gateway.characteristics.device.clone();
        associations.associate(state.characteristics.device.clone(), gateway);
    }
    associations
}

fn pick(packages: &[Package], devices: Vec<State>) -> Picks {
    let configuration = configuration(devices);
    releases(packages).pick(&configuration, &ours(&configuration))
}

/// The device and the counter of each pick.
fn picked(picks: &Picks) -> Vec<(String, u32)> {
    let of =
        |pick: &Pick| (pick.state.characteristics.device.to_string(), pick.package.release.release_counter.number());
    picks.picks.iter().map(of).collect()
}

fn pump_gets(packages: &[Package], pump: State) -> Option<u32> {
    picked(&pick(packages, vec![pump])).first().map(|(_, counter)| *counter)
}

#[test]
fn a_device_is_given_the_highest_release_for_its_revision() {
    let some = [package("1A", "1A", "1B", 2), package("1A", "1B", "1C", 3), package("1C", "1C", "1D", 4)];
    assert_eq!(pump_gets(&some, pump("1A", 1)), Some(3));
    assert_eq!(pump_gets(&some, pump("1B", 2)), Some(3));
    assert_eq!(pump_gets(&some, pump("1C", 3)), Some(4));
    assert_eq!(pump_gets(&some, pump("1D", 4)), None);
    assert_eq!(pump_gets(&some, pump("1", 0)), None);
    // From the factory, without a counter.
    assert_eq!(pump_gets(&some, pump("1A", 0)), Some(3));
}

#[test]
fn a_release_for_another_manufacturers_type_model_or_hardware_is_not_given() {
    let some = [package("1A", "1A", "1B", 2)];
    let other_model = state("infusion-pump/p1", "PM3", "1A", 1);
    let other_type = state("scale/p1", "PM2", "1A", 1);
    let mut other_hardware = pump("1A", 1);
    other_hardware.characteristics.hardware = "C".parse().unwrap();
    let mut other_manufacturer = pump("1A", 1);
    other_manufacturer.characteristics.manufacturer = "other".parse().unwrap();
    for wrong in [other_model, other_type, other_hardware, other_manufacturer] {
        assert_eq!(pump_gets(&some, wrong), None);
    }
    assert_eq!(pump_gets(&some, pump("1A", 1)), Some(2));
}

#[test]
fn a_recalled_release_is_never_given_and_who_runs_it_is_named() {
    let recall = Recall { reason: "it stops too early".parse().unwrap() };
    let recalled = Package { recalled: Some(recall.clone()), ..package("1A", "1A", "1B", 3) };
    let some = [package("1A", "1A", "1AA", 2), recalled];
    assert_eq!(pump_gets(&some, pump("1A", 1)), Some(2));
    let picks = pick(&some, vec![pump("1B", 3)]);
    assert_eq!(picks.recalled, [("infusion-pump/p1".parse().unwrap(), recall)]);
    assert_eq!(picks.picks, []);
}

#[test]
fn a_device_goes_back_only_by_a_later_release_that_says_so() {
    let downgrade = Some(Downgrade { reason: "it stops too early".parse().unwrap() });
    let back = |counter| Package { downgrade: downgrade.clone(), ..package("1C", "1C", "1B", counter) };
    assert_eq!(pump_gets(&[back(4)], pump("1C", 3)), Some(4));
    for earlier in [2, 3] {
        assert_eq!(pump_gets(&[back(earlier)], pump("1C", 3)), None);
    }
    // Without the authorization it is no package, and spoils its repository.
    let unauthorized = Package { downgrade: None, ..back(4) };
    let (path, target) = listed(&back(4));
    let custom = serde_json::to_value(Release::Package(Box::new(unauthorized))).unwrap();
    assert!(of([(path, Target { custom: Some(custom), ..target })]).is_err());
}

#[test]
fn a_device_of_another_gateway_is_given_nothing() {
    let configuration = configuration(vec![pump("1A", 1)]);
    let releases = releases(&[package("1A", "1A", "1B", 2)]);
    let device: Device = "infusion-pump/p1".parse().unwrap();
    let mut associations = Associations::default();
    for elsewhere in [None, Some("gateway/ward-4")] {
        if let Some(gateway) = elsewhere {
            associations.associate(device.clone(), gateway.parse().unwrap());
        }
        let picks = releases.pick(&configuration, &associations);
        assert_eq!((picks.picks, picks.withheld), (vec![], vec![(device.clone(), Withheld::Association)]));
    }
}

#[test]
fn a_device_has_one_gateway_for_download_and_several_for_upload() {
    let device: Device = "infusion-pump/p1".parse().unwrap();
    let [one, other] = ["gateway/ward-3", "gateway/ward-4"].map(|text| text.parse::<Device>().unwrap());
    let mut associations = Associations::default();
    assert_eq!(associations.associate(device.clone(), one.clone()), None);
    assert_eq!(associations.associate(device.clone(), other.clone()), Some(one.clone()));
    assert_eq!(associations.gateway_of(&device), Some(&other));
    assert!(associations.may_upload(&device, &one) && associations.may_upload(&device, &other));
    let third = "gateway/ward-5".parse::<Device>().unwrap();
    assert!(!associations.may_upload(&device, &third));
    // Whoever may only upload for a device does not update it.
    associations.allow_upload(device.clone(), third.clone());
    assert!(associations.may_upload(&device, &third));
    assert_eq!(associations.gateway_of(&device), Some(&other));
    associations.remove(&device);
    assert_eq!(associations.gateway_of(&device), None);
    assert!(!associations.may_upload(&device, &other));
}

/// A release of pump and repeater that belongs together.
fn pair(counter: u32) -> [Package; 2] {
    let mut pump = package("1A", "1B", "1C", counter);
    let mut gateway = repeater(package("1", "1", "2", counter));
    pump.atomic = vec![gateway.member()];
    gateway.atomic = vec![pump.member()];
    [pump, gateway]
}

#[test]
fn an_atomic_set_is_given_whole() {
    let picks = pick(&pair(5), vec![pump("1A", 1), state("infusion-pump/p2", "PM2", "1B", 2)]);
    let all = [("gateway/ward-3", 5), ("infusion-pump/p1", 5), ("infusion-pump/p2", 5)];
    assert_eq!(picked(&picks), all.map(|(device, counter)| (device.to_owned(), counter)));
}

#[test]
fn an_atomic_set_with_a_missing_member_gives_nothing() {
    let [pump_part, gateway_part] = pair(5);
    let missing = |picks: &Picks, devices: &[&str]| {
        assert_eq!(picks.picks, []);
        let names: Vec<_> = picks.withheld.iter().map(|(device, _)| device.to_string()).collect();
        assert_eq!(names, devices);
        assert!(picks.withheld.iter().all(|(_, why)| matches!(why, Withheld::Incomplete(_))));
    };
    // No release for the other member; no device of it; a device that cannot take it; a set that the other does not know.
    missing(&pick(std::slice::from_ref(&pump_part), vec![pump("1A", 1)]), &["infusion-pump/p1"]);
    missing(&pick(&pair(5), vec![]), &["gateway/ward-3"]);
    let stuck = state("infusion-pump/p2", "PM2", "0", 1);
    missing(&pick(&pair(5), vec![pump("1A", 1), stuck]), &["gateway/ward-3", "infusion-pump/p1"]);
    let alone = Package { atomic: Vec::new(), ..gateway_part.clone() };
    let picks = pick(&[pump_part.clone(), alone], vec![pump("1A", 1)]);
    assert_eq!(picked(&picks), [("gateway/ward-3".to_owned(), 5)]);
    assert_eq!(picks.withheld.len(), 1);
    // One of the releases is recalled.
    let recalled = Package { recalled: Some(Recall { reason: "x".parse().unwrap() }), ..gateway_part };
    missing(&pick(&[pump_part.clone(), recalled], vec![pump("1A", 1)]), &["infusion-pump/p1"]);
    // Another manufacturer's gateway of the same model is no member.
    let mut configuration = configuration(vec![pump("1A", 1)]);
    configuration.gateway.characteristics.manufacturer = "other".parse().unwrap();
    missing(&releases(&pair(5)).pick(&configuration, &ours(&configuration)), &["infusion-pump/p1"]);
}

#[test]
fn a_member_that_is_installed_already_counts_and_is_named_again() {
    let picks = pick(&pair(5), vec![pump("1C", 5)]);
    let both = [("gateway/ward-3", 5), ("infusion-pump/p1", 5)];
    assert_eq!(picked(&picks), both.map(|(device, counter)| (device.to_owned(), counter)));
    // Nobody is still to be given anything: nothing is named.
    let mut configuration = configuration(vec![pump("1C", 5)]);
    configuration.gateway = state("gateway/ward-3", "RP", "2", 5);
    let picks = releases(&pair(5)).pick(&configuration, &ours(&configuration));
    assert_eq!((picks.picks, picks.withheld), (vec![], vec![]));
}

fn with_delta(source: &[u8], result: &Package, length: u64) -> (TargetPath, Target) {
    let folder = result.folder();
    let (path, target) = listed(result);
    let source = BoundFile::of(folder.path("source.bin").unwrap(), source);
    let result = BoundFile { length: target.length, ..BoundFile::of(path, &image(result)) };
    let delta = Release::Delta(Delta { format: DeltaFormat::Bsdiff, source, result });
    let path = folder.path(&format!("{length}.delta")).unwrap();
    let target = Target { length, hashes: Hashes::of(b"a delta"), custom: None };
    let custom = delta.to_custom(&path, &target).unwrap();
    (path, Target { custom: Some(custom), ..target })
}

#[test]
fn a_delta_is_offered_to_whom_has_its_source() {
    let newest = package("1A", "1B", "1C", 3);
    let targets = [
        listed(&newest),
        with_delta(b"old", &newest, 90),
        with_delta(b"old", &newest, 80),
        with_delta(b"x", &newest, 9),
    ];
    let releases = of(targets.clone()).unwrap();
    let deltas = |image: Option<&[u8]>| {
        let mut state = pump("1A", 1);
        state.image = image.map(|bytes| {
            let BoundFile { length, sha256, .. } = BoundFile::of(targets[0].0.clone(), bytes);
            Image { length, sha256 }
        });
        let configuration = configuration(vec![state]);
        let picks = releases.pick(&configuration, &ours(&configuration));
        assert_eq!(picks.picks[0].package.path, targets[0].0);
        picks.picks[0].delta.as_ref().map(|delta| delta.target.length)
    };
    assert_eq!(deltas(Some(b"old")), Some(80));
    assert_eq!(deltas(Some(b"older")), None);
    assert_eq!(deltas(None), None);
}

#[test]
fn what_a_release_binds_to_itself_is_there() {
    let folder = package("1A", "1A", "1B", 2).folder();
    let sbom = BoundFile::of(folder.path("1B.cdx.json").unwrap(), b"{}");
    let documented = Package { sbom: Some(sbom.clone()), ..package("1A", "1A", "1B", 2) };
    let (path, target) = listed(&documented);
    let with = |document: Option<Target>| {
        let document = document.map(|document| (sbom.path.clone(), document));
        of([(path.clone(), target.clone())].into_iter().chain(document)).map(drop)
    };
    assert_eq!(with(Some(sbom.target())), Ok(()));
    let unbound = Err(InvalidPackage::Unbound(sbom.path.clone()));
    assert_eq!(with(None), unbound);
    assert_eq!(with(Some(BoundFile::of(sbom.path.clone(), b"[]").target())), unbound);
    // The full package of a delta is always there.
    let (path, delta) = with_delta(b"old", &package("1A", "1A", "1B", 2), 90);
    let missing = of([(path, delta)]).map(drop);
    assert_eq!(missing, Err(InvalidPackage::Unbound(listed(&package("1A", "1A", "1B", 2)).0)));
}

/// A repository whose role `acme` names these targets, and is delegated to for these patterns.
fn delegated(patterns: &[&str], targets: impl IntoIterator<Item = (TargetPath, Target)>) -> Roles {
    let name: RoleName = "acme".to_owned().try_into().unwrap();
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned().try_into().unwrap()).collect();
    let keys = RoleKeys { keyids: Vec::new(), threshold: 1.try_into().unwrap() };
    let (terminating, paths) = (false, DelegatedPaths::matching(patterns));
    let roles = vec![Delegation { name: name.clone(), keys, terminating, paths }];
    let mut top = repository([]);
    top.get_mut(&RoleName::targets()).unwrap().delegations = Some(Delegations { keys: BTreeMap::new(), roles });
    let targets = Targets::new(1, Expires::at(1), targets.into_iter().collect(), None);
    top.into_iter().chain([(name, targets)]).collect()
}

#[test]
fn a_role_speaks_only_for_the_models_that_it_is_trusted_for() {
    let (acme, own) = ("acme".parse().unwrap(), package("1A", "1A", "1B", 2));
    let read = |roles: &Roles| Releases::of([(&acme, roles)]).map(|releases| releases.packages().len());
    assert_eq!(read(&delegated(&["acme/infusion-pump/PM2/*"], [listed(&own)])), Ok(1));
    let untrusted = Err(InvalidPackage::Untrusted(listed(&own).0));
    assert_eq!(read(&delegated(&["acme/infusion-pump/PM3/*"], [listed(&own)])), untrusted);
    // Nor does a role that nobody delegates to, or one that names what another role names.
    let mut nobody = delegated(&["acme/infusion-pump/PM2/*"], [listed(&own)]);
    nobody.get_mut(&RoleName::targets()).unwrap().delegations = None;
    assert_eq!(read(&nobody), untrusted);
    let mut twice = delegated(&["acme/infusion-pump/PM2/*"], [listed(&own)]);
    twice.get_mut(&RoleName::targets()).unwrap().targets = [listed(&own)].into();
    assert_eq!(read(&twice), untrusted);
    for wide in
        ["*", "acme/*/PM2/*", "acme/infusion-pump/*/*", "other/infusion-pump/PM2/*", "acme/infusion-pump/PM2/*.bin"]
    {
        let patterns = ["acme/infusion-pump/PM2/*", wide];
        let refused = Err(InvalidPackage::Delegation("acme".to_owned().try_into().unwrap()));
        assert_eq!(read(&delegated(&patterns, [listed(&own)])), refused, "{wide}");
    }
}

#[test]
fn each_repository_has_the_releases_of_its_own_manufacturer_only() {
    let (acme, other): (Manufacturer, Manufacturer) = ("acme".parse().unwrap(), "other".parse().unwrap());
    let own = package("1A", "1A", "1B", 2);
    let foreign = Package { manufacturer: other.clone(), ..package("1A", "1A", "1C", 3) };
    let both = repository([listed(&own), listed(&foreign)]);
    let counters = |of: &[(&Manufacturer, &Roles)]| -> Vec<u32> {
        let releases = Releases::of(of.iter().copied()).unwrap();
        releases.packages().iter().map(|listed| listed.release.release_counter.number()).collect()
    };
    assert_eq!(counters(&[(&acme, &both)]), [2]);
    assert_eq!(counters(&[(&other, &both)]), [3]);
    assert_eq!(counters(&[(&acme, &both), (&other, &repository([]))]), [2]);
    assert_eq!(counters(&[(&acme, &both), (&other, &both)]), [2, 3]);
}

fn some_packages() -> impl Strategy<Value = Vec<Package>> {
    let one = (0_u32..6, 0_u32..3, 1_u32..4, 1_u32..8, any::<[bool; 3]>());
    let one = one.prop_map(|(from, width, step, counter, [is_recalled, in_set, for_gateway])| {
        let revision = |number: u32| number.to_string();
        let mut package = package(&revision(from), &revision(from + width), &revision(from + width + step), counter);
        package.recalled = is_recalled.then(|| Recall { reason: "x".parse().unwrap() });
        package.feature_set = format!("set {}", counter % 2).parse().unwrap();
        if for_gateway {
            package = repeater(package);
        }
        if in_set {
            let other = if for_gateway {
                Package {
                    device_type: "infusion-pump".parse().unwrap(),
                    model: "PM2".parse().unwrap(),
                    ..package.clone()
                }
            } else {
                repeater(package.clone())
            };
            package.atomic = vec![other.member()];
        }
        package
    });
    prop::collection::vec(one, 0..12).prop_map(|mut packages| {
        // Only one file lies at a path.
        let mut paths = BTreeSet::new();
        packages.retain(|package| paths.insert(listed(package).0));
        packages
    })
}

proptest! {
    #[test]
    fn whatever_is_given_may_be_taken_and_nothing_better_was_there(
        packages in some_packages(),
        devices in prop::collection::vec((0_u32..8, 0_u32..8), 0..4),
    ) {
        let device = |(index, (revision, counter)): (usize, (u32, u32))| {
            state(&format!("infusion-pump/p{index}"), "PM2", &revision.to_string(), counter)
        };
        let devices: Vec<_> = devices.into_iter().enumerate().map(device).collect();
        let all: Vec<_> = devices.iter().cloned().chain([state("gateway/ward-3", "RP", "1", 1)]).collect();
        let picks = pick(&packages, devices);
        for pick in &picks.picks {
            let package = &pick.package.release;
            let is_part = package.is_installed_on(&pick.state) && !package.atomic.is_empty();
            prop_assert!(package.may_be_taken_by(&pick.state) || is_part);
            let is_better = |other: &&Package| {
                other.may_be_taken_by(&pick.state) && other.release_counter > package.release_counter
            };
            prop_assert!(!packages.iter().any(|other| is_better(&other)));
            // Whole sets only, across every device of each member.
            for member in &package.atomic {
                let of_member = |state: &&State| state.characteristics.models() == member.models();
                let members: Vec<_> = all.iter().filter(of_member).collect();
                prop_assert!(!members.is_empty());
                for state in members {
                    let is_given = |pick: &Pick| pick.state == *state && pick.package.release.member() == *member;
                    prop_assert!(picks.picks.iter().any(is_given));
                }
            }
        }
        for (device, _) in &picks.withheld {
            prop_assert!(!picks.picks.iter().any(|pick| pick.state.characteristics.device == *device));
        }
    }
}

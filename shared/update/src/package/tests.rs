#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::metadata::{DelegatedPaths, Delegation, Hashes, RoleKeys};
use proptest::prelude::*;
use wardlink_protocol::identity::{Device, KeyFingerprint, Sha256};

fn path(text: &str) -> TargetPath {
    text.to_owned().try_into().unwrap()
}

fn bound(text: &str) -> BoundFile {
    BoundFile::of(path(text), text.as_bytes())
}

fn package() -> Package {
    Package {
        manufacturer: "acme".parse().unwrap(),
        device_type: "infusion-pump".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        pre_revision: RevisionRange::new("1A".parse().unwrap(), "1B".parse().unwrap()).unwrap(),
        post_revision: "1C".parse().unwrap(),
        hardware: vec!["PM2-A".parse().unwrap(), "PM2-B".parse().unwrap()],
        release_counter: ReleaseCounter::new(3).unwrap(),
        feature_set: "spring 2027".parse().unwrap(),
        atomic: Vec::new(),
        sbom: Some(bound("acme/infusion-pump/PM2/1C.cdx.json")),
        provenance: Some(bound("acme/infusion-pump/PM2/1C.intoto.json")),
        accepts: Vec::new(),
        during_therapy: false,
        downgrade: None,
        recalled: None,
    }
}

fn target(length: u64) -> Target {
    Target { length, hashes: Hashes::of(b"an image"), custom: None }
}

const PATH: &str = "acme/infusion-pump/PM2/1C.bin";

/// Reads what a text says of the target at a path.
fn read(at: &str, custom: serde_json::Value) -> Result<Option<Release>, InvalidPackage> {
    Release::of(&path(at), &Target { custom: Some(custom), ..target(1_000) })
}

fn custom(package: Package) -> serde_json::Value {
    serde_json::to_value(Release::Package(Box::new(package))).unwrap()
}

#[track_caller]
fn assert_refused(change: impl FnOnce(&mut Package), expected: &InvalidPackage) {
    let mut changed = package();
    change(&mut changed);
    assert_eq!(read(PATH, custom(changed.clone())).unwrap_err(), *expected);
    // What could not be read is not written either.
    let release = Release::Package(Box::new(changed));
    assert_eq!(release.to_custom(&path(PATH), &target(1_000)).unwrap_err(), *expected);
}

#[test]
fn a_package_is_spelled_as_the_documentation_says() {
    let hash = |text: &str| bound(text).sha256.to_string();
    let expected = serde_json::json!({"package": {
        "manufacturer": "acme",
        "device_type": "infusion-pump",
        "model": "PM2",
        "pre_revision": {"from": "1A", "to": "1B"},
        "post_revision": "1C",
        "hardware": ["PM2-A", "PM2-B"],
        "release_counter": 3,
        "feature_set": "spring 2027",
        "sbom": {
            "path": "acme/infusion-pump/PM2/1C.cdx.json", "length": 34, "sha256": hash("acme/infusion-pump/PM2/1C.cdx.json"),
        },
        "provenance": {
            "path": "acme/infusion-pump/PM2/1C.intoto.json", "length": 37,
            "sha256": hash("acme/infusion-pump/PM2/1C.intoto.json"),
        },
    }});
    let release = Release::Package(Box::new(package()));
    assert_eq!(release.to_custom(&path(PATH), &target(1_000)).unwrap(), expected);
    assert_eq!(read(PATH, expected).unwrap(), Some(release));
}

#[test]
fn a_target_without_custom_is_no_package() {
    assert_eq!(Release::of(&path("acme/infusion-pump/PM2/1C.cdx.json"), &target(1)), Ok(None));
}

#[test]
fn a_package_lies_under_its_manufacturer_type_and_model() {
    for wrong in ["other/infusion-pump/PM2/1C.bin", "acme/gateway/PM2/1C.bin", "acme/infusion-pump/PM3/1C.bin"] {
        let refused = read(wrong, custom(package())).unwrap_err();
        assert_eq!(refused, InvalidPackage::Path { path: path(wrong), folder: package().folder() });
    }
    for wrong in
        ["1C.bin", "acme/infusion-pump/1C.bin", "acme/infusion-pump/PM2/x/1C.bin", "acme/Infusion pump/PM2/1C.bin"]
    {
        assert_eq!(read(wrong, custom(package())).unwrap_err(), InvalidPackage::Form(wrong.to_owned()));
    }
}

#[test]
fn nothing_unknown_is_read() {
    let changes: [fn(&mut serde_json::Value); 9] = [
        |custom| custom["more"] = 1.into(),
        |custom| custom["package"]["more"] = 1.into(),
        |custom| custom["package"]["pre_revision"]["more"] = 1.into(),
        |custom| custom["package"]["release_counter"] = 0.into(),
        |custom| custom["package"]["release_counter"] = (-1).into(),
        |custom| custom["package"]["model"] = "../PM2".into(),
        |custom| custom["package"]["post_revision"] = "v2".into(),
        |custom| custom["package"]["sbom"]["sha256"] = "00".into(),
        |custom| drop(custom["package"].as_object_mut().unwrap().remove("hardware")),
    ];
    for change in changes {
        let mut custom = custom(package());
        change(&mut custom);
        assert!(matches!(read(PATH, custom.clone()), Err(InvalidPackage::Json(_))), "{custom}");
    }
}

#[test]
fn what_goes_without_saying_is_not_said() {
    for (name, value) in
        [("during_therapy", false.into()), ("recalled", serde_json::Value::Null), ("atomic", [0; 0].into())]
    {
        let mut custom = custom(package());
        custom["package"][name] = value;
        let why = InvalidPackage::Contradiction("it says what goes without saying");
        assert_eq!(read(PATH, custom), Err(why), "{name}");
    }
}

#[test]
fn a_list_has_one_spelling_and_a_limit() {
    let hardware = InvalidPackage::List("hardware ids");
    assert_refused(|package| package.hardware.clear(), &hardware);
    assert_refused(|package| package.hardware.reverse(), &hardware);
    assert_refused(|package| package.hardware = vec!["A".parse().unwrap(); 2], &hardware);
    let many = |count: usize| (0..count).map(|number| format!("H{number:03}").parse().unwrap()).collect();
    assert_refused(|package| package.hardware = many(MAX_HARDWARE_IDS + 1), &hardware);
    let most = Package { hardware: many(MAX_HARDWARE_IDS), ..package() };
    assert!(read(PATH, custom(most)).is_ok());
    let kinds = InvalidPackage::List("kinds of added data");
    assert_refused(|package| package.accepts = vec![AddedKind::SiteSettings, AddedKind::DrugLibrary], &kinds);
}

fn member(number: usize) -> AtomicMember {
    let model = format!("R{number:03}").parse().unwrap();
    let (manufacturer, device_type) = ("acme".parse().unwrap(), "gateway".parse().unwrap());
    AtomicMember { manufacturer, device_type, model, feature_set: "spring 2027".parse().unwrap() }
}

#[test]
fn an_atomic_set_has_one_package_for_each_model() {
    let members = InvalidPackage::List("atomic members");
    assert_refused(|package| package.atomic = (0..=MAX_ATOMIC_MEMBERS).map(member).collect(), &members);
    assert_refused(|package| package.atomic = vec![member(1), member(0)], &members);
    let own = InvalidPackage::Contradiction("an atomic set has two packages for one model");
    assert_refused(|package| package.atomic = vec![package.member()], &own);
    let twice = ["autumn 2027", "spring 2027"];
    let twice = twice.map(|name| AtomicMember { feature_set: name.parse().unwrap(), ..member(1) });
    assert_refused(|package| package.atomic = twice.to_vec(), &own);
    // Two manufacturers may call a model the same.
    let other = AtomicMember { manufacturer: "other".parse().unwrap(), ..package().member() };
    assert!(read(PATH, custom(Package { atomic: vec![other], ..package() })).is_ok());
    let set = Package { atomic: (0..MAX_ATOMIC_MEMBERS).map(member).collect(), ..package() };
    assert!(read(PATH, custom(set)).is_ok());
}

#[test]
fn a_downgrade_has_its_authorization_and_nothing_else_has() {
    let rule = InvalidPackage::Contradiction("a downgrade, and nothing else, has its authorization");
    let downgrade = Some(Downgrade { reason: "an alarm is too quiet".parse().unwrap() });
    assert_refused(|package| package.post_revision = "1".parse().unwrap(), &rule);
    assert_refused(|package| package.downgrade.clone_from(&downgrade), &rule);
    let among = InvalidPackage::Contradiction("the post-revision lies among the pre-revisions");
    for within in ["1A", "1B"] {
        assert_refused(|package| package.post_revision = within.parse().unwrap(), &among);
    }
    let back = Package { post_revision: "1".parse().unwrap(), downgrade, ..package() };
    assert!(read(PATH, custom(back)).is_ok());
}

#[test]
fn documents_are_other_files_of_the_same_model() {
    let elsewhere = InvalidPackage::Contradiction("its documents lie in another model's folder");
    assert_refused(|package| package.sbom = Some(bound("acme/infusion-pump/PM3/1C.cdx.json")), &elsewhere);
    assert_refused(|package| package.provenance = Some(bound("1C.intoto.json")), &elsewhere);
    let one = InvalidPackage::Contradiction("its documents are one file");
    assert_refused(|package| package.provenance = package.sbom.clone(), &one);
    let own = InvalidPackage::Contradiction("a package is its own document");
    assert_refused(|package| package.sbom = Some(bound(PATH)), &own);
}

fn delta() -> Delta {
    let source = BoundFile { length: 1_000, ..bound("acme/infusion-pump/PM2/1B.bin") };
    Delta { format: DeltaFormat::Bsdiff, source, result: BoundFile { length: 1_001, ..bound(PATH) } }
}

fn read_delta(delta: Delta, at: &str) -> Result<Option<Release>, InvalidPackage> {
    read(at, serde_json::to_value(Release::Delta(delta)).unwrap())
}

#[test]
fn a_delta_is_smaller_and_stays_with_its_model() {
    let at = "acme/infusion-pump/PM2/1B-1C.delta";
    assert_eq!(read_delta(delta(), at).unwrap(), Some(Release::Delta(delta())));
    let mut large = delta();
    large.result.length = 1_000;
    let mut still = delta();
    still.source.sha256 = still.result.sha256;
    let mut foreign = delta();
    foreign.source.path = path("acme/infusion-pump/PM3/1B.bin");
    for (wrong, why) in [
        (large, "a delta is not smaller than the package that it gives"),
        (still, "a delta gives what it is applied to"),
        (foreign, "a delta leads to or from another model's folder"),
    ] {
        assert_eq!(read_delta(wrong, at), Err(InvalidPackage::Contradiction(why)));
    }
    let own = InvalidPackage::Contradiction("a delta leads to or from itself");
    assert_eq!(read_delta(delta(), PATH), Err(own));
    let elsewhere = InvalidPackage::Contradiction("a delta leads to or from another model's folder");
    assert_eq!(read_delta(delta(), "acme/infusion-pump/PM3/x.delta"), Err(elsewhere));
    let json = serde_json::json!({"delta": {"format": "bsdiff", "source": {}, "result": {}}});
    assert!(matches!(read(at, json), Err(InvalidPackage::Json(_))));
}

#[test]
fn a_bound_file_is_the_target_of_its_length_and_hash() {
    let file = BoundFile::of(path(PATH), b"an image");
    assert!(file.is(&target(8)));
    assert!(file.is(&file.target()));
    assert!(!file.is(&target(9)));
    assert!(!file.is(&Target { hashes: Hashes::of(b"another"), ..target(8) }));
    assert!(!file.is(&Target { hashes: Hashes([("sha512".to_owned(), "00".to_owned())].into()), ..target(8) }));
}

fn delegation(name: &str, patterns: &[&str]) -> Delegation {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned().try_into().unwrap()).collect();
    let keys = RoleKeys { keyids: Vec::new(), threshold: 1.try_into().unwrap() };
    let (name, paths) = (name.to_owned().try_into().unwrap(), DelegatedPaths::matching(patterns));
    Delegation { name, keys, terminating: true, paths }
}

#[test]
fn a_delegation_is_limited_to_the_manufacturers_own_models() {
    let folder = package().folder();
    let pattern = folder.pattern().unwrap();
    assert_eq!(pattern.as_str(), "acme/infusion-pump/PM2/*");
    assert!(pattern.fits(&path(PATH)) && !pattern.fits(&path("acme/infusion-pump/PM3/1C.bin")));
    let own = delegation("acme", &["acme/infusion-pump/PM2/*", "acme/infusion-pump/PM3/*"]);
    assert_eq!(ModelFolder::of_delegation(&own).unwrap()[0], folder);
    let too_wide: [&[&str]; 8] = [
        &[],
        &["*"],
        &["acme/*/*/*"],
        &["acme/infusion-pump/*/*"],
        &["acme/infusion-pump/PM?/*"],
        &["acme/infusion-pump/PM2/1C.bin"],
        &["other/infusion-pump/PM2/*"],
        &["acme/infusion-pump/PM2/*", "other/infusion-pump/PM2/*"],
    ];
    for patterns in too_wide {
        assert!(ModelFolder::of_delegation(&delegation("acme", patterns)).is_err(), "{patterns:?}");
    }
    let json = serde_json::json!({"name": "acme", "keyids": [], "threshold": 1, "path_hash_prefixes": ["00"]});
    assert!(ModelFolder::of_delegation(&serde_json::from_value(json).unwrap()).is_err());
}

#[test]
fn a_folder_gives_paths_in_itself_only() {
    let folder = package().folder();
    assert_eq!(folder.path("1C.bin").unwrap(), path(PATH));
    for wrong in ["", "..", "a/b", "../PM3/x"] {
        assert!(folder.path(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_safe_in_paths_and_patterns() {
    for good in ["a", "PM2", "F 1", "rev-b", "1.0", "a_b+c"] {
        assert!(good.parse::<Model>().is_ok(), "{good}");
    }
    let long = "a".repeat(MAX_NAME_BYTES + 1);
    for wrong in ["", ".", "..", " a", "a ", "a/b", "a\\b", "*", "PM?", "[a]", "a\0", "ä", "-a", "a.", long.as_str()] {
        assert!(wrong.parse::<Model>().is_err(), "{wrong}");
    }
    assert!("An alarm is too quiet (Größe 2)".parse::<Note>().is_ok());
    let long = "ä".repeat(MAX_NOTE_BYTES / 2 + 1);
    for wrong in ["", "  ", "two\nlines", long.as_str()] {
        assert!(wrong.parse::<Note>().is_err(), "{wrong}");
    }
}

#[test]
fn an_encrypted_variant_is_for_one_gateway_and_one_key() {
    let gateway: Device = "gateway/ward-3".parse().unwrap();
    let recipient = KeyFingerprint([1; 32]);
    let key = SealedKey::new(vec![7; 60]).unwrap();
    let (method, file) = (Encryption::Aes128Gcm, bound("acme/infusion-pump/PM2/1C.ward-3"));
    let variant = Encrypted { gateway: gateway.clone(), recipient, method, file, key };
    assert_eq!(variant.check_for(&gateway, &recipient), Ok(()));
    assert_eq!(variant.check_for(&gateway, &KeyFingerprint([2; 32])), Err(NotForUs::Key));
    let other: Device = "gateway/ward-4".parse().unwrap();
    assert_eq!(variant.check_for(&other, &recipient), Err(NotForUs::Gateway(gateway)));
    let text = serde_json::to_string(&variant).unwrap();
    assert_eq!(serde_json::from_str::<Encrypted>(&text).unwrap(), variant);
    assert!(SealedKey::new(Vec::new()).is_err() && SealedKey::new(vec![0; MAX_SEALED_KEY_BYTES + 1]).is_err());
}

fn drug(name: &str) -> Drug {
    Drug {
        name: name.parse().unwrap(),
        concentration_ug_per_ml: 1_000.try_into().unwrap(),
        least_rate_ul_per_h: 100,
        most_rate_ul_per_h: 90_000,
        most_volume_ul: 250_000,
    }
}

#[test]
fn added_data_is_typed_and_bounded() {
    let settings = SiteSettings {
        version: 1.try_into().unwrap(),
        language: "de".parse().unwrap(),
        time_zone: "Europe/Berlin".parse().unwrap(),
        ward: "Intensivstation".parse().unwrap(),
        alarm_volume_percent: 80,
    };
    let bytes = settings.to_bytes().unwrap();
    assert_eq!(SiteSettings::parse(&bytes).unwrap(), settings);
    assert_eq!(AddedKind::SiteSettings.check(&bytes), Ok(()));
    assert!(AddedKind::DrugLibrary.check(&bytes).is_err());
    for silent in [0, 101] {
        assert!(SiteSettings { alarm_volume_percent: silent, ..settings.clone() }.to_bytes().is_err());
    }
    let library = DrugLibrary { version: 4.try_into().unwrap(), drugs: vec![drug("Heparin"), drug("Morphin")] };
    let bytes = library.to_bytes().unwrap();
    assert_eq!(DrugLibrary::parse(&bytes).unwrap(), library);
    assert_eq!(AddedKind::DrugLibrary.check(&bytes), Ok(()));
    let with = |drugs| DrugLibrary { version: library.version, drugs }.to_bytes();
    assert!(with(Vec::new()).is_err() && with(vec![drug("Morphin"), drug("Heparin")]).is_err());
    assert!(with(vec![drug("Heparin"), drug("Heparin")]).is_err());
    assert!(with(vec![Drug { least_rate_ul_per_h: 90_001, ..drug("Heparin") }]).is_err());
    let limit = usize::try_from(MAX_ADDED_BYTES).unwrap();
    assert_eq!(DrugLibrary::parse(&vec![b' '; limit + 1]), Err(InvalidAdded::Length));
    assert!(matches!(DrugLibrary::parse(&bytes[1..]), Err(InvalidAdded::Content(_))));
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]([A-Za-z0-9 ._+-]{0,20}[A-Za-z0-9])?"
}

fn any_package() -> impl Strategy<Value = Package> {
    let hardware = prop::collection::btree_set(name(), 1..4);
    let text = (name(), name(), name(), hardware);
    (text, 1_u32.., 0_u32..50, any::<[bool; 5]>()).prop_map(|((maker, model, set, hardware), counter, first, flags)| {
        let [atomic, documents, during_therapy, back, recalled] = flags;
        let revision = |number: u32| format!("{number}.{}A", counter % 1_000).parse().unwrap();
        let mut package = Package {
            manufacturer: maker.parse().unwrap(),
            model: model.parse().unwrap(),
            pre_revision: RevisionRange::new(revision(first + 1), revision(first + 2)).unwrap(),
            post_revision: revision(if back { first } else { first + 3 }),
            hardware: hardware.iter().map(|name| name.parse().unwrap()).collect(),
            release_counter: ReleaseCounter::new(counter).unwrap(),
            feature_set: set.parse().unwrap(),
            atomic: if atomic { vec![member(1), member(2)] } else { Vec::new() },
            during_therapy,
            downgrade: back.then(|| Downgrade { reason: "because".parse().unwrap() }),
            recalled: recalled.then(|| Recall { reason: "because".parse().unwrap() }),
            ..package()
        };
        let folder = package.folder();
        let document = |name: &str| {
            Some(BoundFile { sha256: Sha256([counter.to_be_bytes()[3]; 32]), ..bound(&format!("{folder}/{name}")) })
        };
        package.sbom = document("sbom").filter(|_| documents);
        package.provenance = document("provenance").filter(|_| documents);
        package
    })
}

proptest! {
    #[test]
    fn a_package_is_read_as_it_is_written(package in any_package()) {
        let at = package.folder().path("image").unwrap();
        let release = Release::Package(Box::new(package));
        let custom = release.to_custom(&at, &target(5)).unwrap();
        let read = Release::of(&at, &Target { custom: Some(custom.clone()), ..target(5) }).unwrap().unwrap();
        prop_assert_eq!(&read, &release);
        prop_assert_eq!(read.to_custom(&at, &target(5)).unwrap(), custom);
    }
}

//! Full verification.

use serde_json::json;
use wardlink_test_repository::gateway_attacks::GATEWAY_ATTACKS;
use wardlink_test_repository::hospital::{
    Hospital, MANUFACTURER_KEY, OLD_IMAGE, SERVER_KEY, atomic_pair, gateway_package, image, pump_package, state,
};
use wardlink_test_repository::{NOW, Repository as Repo};
use wardlink_update::catalog::{Listed, Pick};
use wardlink_update::client::{Fetched, Stored};
use wardlink_update::director::{Order, When};
use wardlink_update::metadata::Expires;
use wardlink_update::package::{Encryption, InvalidPackage, Package, Release, ReleaseCounter};
use wardlink_update::report::State;
use wardlink_update::uptane::{Attack, Cause, Delivery, Full, Next, Refused, Repository};

/// The devices of each transaction.
fn devices(hospital: &mut Hospital) -> Vec<Vec<String>> {
    let transactions = hospital.run().unwrap();
    let names = |installs: &[wardlink_update::uptane::Install]| {
        installs.iter().map(|install| install.device.to_string()).collect()
    };
    transactions.iter().map(|transaction| names(&transaction.installs)).collect()
}

#[test]
fn every_attack_is_refused_at_its_step_and_nothing_is_installed() {
    for attack in GATEWAY_ATTACKS {
        let mut hospital = attack.make();
        let refused = hospital.run().expect_err(attack.name);
        let found = (refused.step.0, refused.repository.to_string());
        assert_eq!(found, (attack.step, attack.repository.to_owned()), "{}: {refused}", attack.name);
    }
}

#[test]
fn what_the_director_orders_and_the_manufacturer_signed_may_be_installed() {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    let transactions = hospital.run().unwrap();
    assert_eq!(transactions.len(), 2);
    let install = &transactions[0].installs[0];
    assert_eq!((install.device.to_string(), &install.package), ("infusion-pump/p1".to_owned(), &pump_package()));
    assert_eq!((install.when, &install.shortcut), (When::NextSafeMoment, &None));
    let mut delivery = Delivery::new(&install.target);
    delivery.take(&image(&pump_package())).unwrap();
    assert_eq!(delivery.finish(), Ok(()));
}

#[test]
fn nothing_to_do_asks_the_director_only() {
    let mut hospital = Hospital::new();
    hospital.images.asked.clear();
    hospital.director.asked.clear();
    assert_eq!(hospital.run(), Ok(vec![]));
    assert_eq!(hospital.images.asked, Vec::<String>::new());
    assert_eq!(hospital.director.asked, ["2.root.json", "timestamp.json"]);
}

#[test]
fn what_is_installed_already_ends_verification_at_the_director() {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    for state in hospital.bound.present.iter_mut().skip(1) {
        state.characteristics.revision = "1B".parse().unwrap();
        state.release_counter = ReleaseCounter::new(2);
    }
    hospital.images.asked.clear();
    assert_eq!(hospital.run(), Ok(vec![]));
    assert_eq!(hospital.images.asked, Vec::<String>::new());
}

#[test]
fn a_device_that_has_it_already_is_left_alone() {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    hospital.bound.present[1].characteristics.revision = "1B".parse().unwrap();
    hospital.bound.present[1].release_counter = ReleaseCounter::new(2);
    assert_eq!(devices(&mut hospital), [["infusion-pump/p2"]]);
}

#[test]
fn an_atomic_set_is_one_transaction_across_its_members() {
    let mut hospital = Hospital::new();
    for package in atomic_pair() {
        hospital.release(&package);
    }
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    assert_eq!(devices(&mut hospital), [["gateway/ward-3", "infusion-pump/p1", "infusion-pump/p2"]]);
    // After a power cut in the midst of it, the rest of the set is still installed.
    hospital.bound.present[0].characteristics.revision = "1B".parse().unwrap();
    hospital.bound.present[0].release_counter = ReleaseCounter::new(2);
    let orders = hospital.orders();
    hospital.direct(&orders);
    assert_eq!(devices(&mut hospital), [["infusion-pump/p1", "infusion-pump/p2"]]);
}

#[test]
fn packages_that_stand_alone_are_transactions_of_their_own() {
    let mut hospital = Hospital::new();
    hospital.release(&gateway_package());
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    assert_eq!(devices(&mut hospital), [["gateway/ward-3"], ["infusion-pump/p1"], ["infusion-pump/p2"]]);
}

#[test]
fn a_delta_is_a_shortcut_for_who_has_its_source() {
    let mut hospital = Hospital::new();
    hospital.release_delta(&pump_package());
    hospital.release(&pump_package());
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    // One pump's image is another one by now.
    hospital.bound.present[2].image = None;
    let transactions = hospital.run().unwrap();
    let shortcut = transactions[0].installs[0].shortcut.as_ref().unwrap();
    assert_eq!(shortcut.file.path.as_str(), "acme/infusion-pump/PM2/1A-1B.delta");
    assert_eq!(usize::try_from(shortcut.source.length).unwrap(), OLD_IMAGE.len());
    assert_eq!(transactions[1].installs[0].shortcut, None);
}

#[test]
fn a_delta_that_the_manufacturer_did_not_sign_is_refused() {
    let mut hospital = Hospital::new();
    hospital.release_delta(&pump_package());
    hospital.release(&pump_package());
    hospital.images.bump();
    let orders = hospital.orders();
    let path = orders[0].path.to_string();
    hospital.direct_forged(&orders, |signed| {
        signed["targets"][path.as_str()]["custom"]["assignments"][0]["delta"]["sha256"] = json!("e".repeat(64));
    });
    let refused = hospital.run().unwrap_err();
    assert_eq!((refused.step.0, refused.attack()), ("5.4.4.2 step 10.2.1", Some(Attack::MixAndMatch)));
}

#[test]
fn a_package_that_is_encrypted_to_this_gateway_is_accepted() {
    let mut hospital = Hospital::new();
    let gateway = json!({"client": "gateway", "identifier": "ward-3"});
    hospital.direct_forged_order(|order| {
        let length = Encryption::Aes128Gcm.max_bytes(order["length"].as_u64().unwrap());
        let file = json!({"path": "acme/infusion-pump/PM2/1B-2.ward-3", "length": length, "sha256": "0".repeat(64)});
        order["custom"]["encrypted"] = json!({
            "gateway": gateway, "recipient": "07".repeat(32), "method": "aes128gcm", "file": file, "key": "AAAA",
        });
    });
    let transactions = hospital.run().unwrap();
    let install = &transactions[0].installs[0];
    assert_eq!(install.encrypted.as_ref().unwrap().file.path.as_str(), "acme/infusion-pump/PM2/1B-2.ward-3");
    // The image itself is still the manufacturer's.
    let mut delivery = Delivery::new(&install.target);
    delivery.take(&image(&pump_package())).unwrap();
    assert_eq!(delivery.finish(), Ok(()));
    // A gateway without a key can read none.
    hospital.bound.key = None;
    assert_eq!(hospital.run().unwrap_err().step.0, "5.4.3.4 step 6");
}

#[test]
fn images_of_another_manufacturers_folder_are_not_its_to_name() {
    let mut hospital = Hospital::new();
    let mut foreign = pump_package();
    foreign.model = "PM9".parse().unwrap();
    hospital.release(&foreign);
    hospital.images.bump();
    for state in hospital.bound.present.iter_mut().skip(1) {
        state.characteristics.model = "PM9".parse().unwrap();
    }
    // The server would never order it: only if the manufacturer were trusted for the folder.
    let orders = hospital.orders_of(|images| {
        images.delegate("targets", "acme", MANUFACTURER_KEY, "acme/infusion-pump/PM9/*", true);
    });
    assert_eq!(orders.len(), 1);
    hospital.direct(&orders);
    let refused = hospital.run().unwrap_err();
    assert_eq!(refused.step.0, "5.4.4.2 step 10.1");
    assert!(matches!(*refused.cause, Cause::Unnamed(_)));
}

#[test]
fn a_delegation_that_is_wider_than_a_manufacturers_models_is_followed_nowhere() {
    for (name, pattern) in [("evil", "*/*/*/*"), ("evil", "evil/*/PM2/*"), ("acme", "acme/infusion-pump/PM*/*")] {
        let mut hospital = Hospital::new();
        let orders = hospital.orders();
        let top = hospital.images.author("targets");
        let key = if name == "evil" { SERVER_KEY } else { MANUFACTURER_KEY };
        top.delegations.retain(|(delegation, _)| delegation.name.as_str() != name);
        hospital.images.delegate("targets", name, key, pattern, false);
        hospital.images.bump();
        hospital.direct(&orders);
        let refused = hospital.run().unwrap_err();
        assert_eq!(
            (refused.step.0, refused.repository.to_string()),
            ("5.4.4.7", "images of acme".to_owned()),
            "{pattern}"
        );
        assert!(matches!(*refused.cause, Cause::Package(InvalidPackage::Delegation(_))), "{pattern}");
    }
    // Nor is one of a manufacturer's role to somebody else.
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.images.delegate("acme", "friend", SERVER_KEY, "acme/infusion-pump/PM2/*", false);
    hospital.images.author("acme").version += 1;
    hospital.images.bump();
    hospital.direct(&orders);
    assert_eq!(hospital.run().unwrap_err().step.0, "5.4.4.7");
}

#[test]
fn the_manufacturers_own_repository_is_followed_from_its_first_root() {
    let mut hospital = Hospital::new();
    hospital.known_images.0 = Stored { root: hospital.images.root(), ..Stored::default() };
    let orders = hospital.orders();
    hospital.direct(&orders);
    assert_eq!(devices(&mut hospital).len(), 2);
    let roles: Vec<_> = hospital.known_images.0.targets.keys().map(ToString::to_string).collect();
    assert_eq!(roles, ["acme", "targets"]);
}

#[test]
fn steps_of_the_image_repository_have_their_numbers() {
    type Change = fn(&mut Hospital);
    let changes: [(Change, &str, Option<Attack>); 4] = [
        (
            |hospital| {
                hospital.images.root_signers = vec![9];
                hospital.images.bump_root();
            },
            "5.4.4.2 step 6",
            Some(Attack::ArbitrarySoftware),
        ),
        (
            |hospital| {
                hospital.images.timestamp_version = 0;
                hospital.images.publish();
            },
            "5.4.4.2 step 7",
            None,
        ),
        (
            |hospital| {
                hospital.images.bump();
                let name = format!("{}.snapshot.json", hospital.images.snapshot_version);
                hospital.images.files.get_mut(&name).unwrap().push(b' ');
            },
            "5.4.4.2 step 8",
            Some(Attack::EndlessData),
        ),
        (
            |hospital| {
                hospital.images.author("targets").expires = Expires::at(NOW);
                hospital.images.bump();
            },
            "5.4.4.2 step 9",
            Some(Attack::Freeze),
        ),
    ];
    for (change, step, attack) in changes {
        let mut hospital = Hospital::new();
        change(&mut hospital);
        let orders = hospital.orders();
        hospital.direct(&orders);
        let refused = hospital.run().unwrap_err();
        let found = (refused.step.0, &refused.repository, refused.attack());
        assert_eq!(found, (step, &Repository::Image("acme".parse().unwrap()), attack), "{refused}");
    }
}

#[test]
fn a_refused_directive_is_not_stored_and_earlier_metadata_is_kept() {
    for attack in GATEWAY_ATTACKS.iter().filter(|attack| attack.step != "5.4.4.2 step 2") {
        let mut hospital = attack.make();
        let (director, images) = (hospital.known_director.0.clone(), hospital.known_images.0.clone());
        hospital.run().unwrap_err();
        assert_eq!(hospital.known_director.0.root, director.root, "{}", attack.name);
        if attack.repository == "director" {
            assert_eq!(hospital.known_director.0.targets, director.targets, "{}", attack.name);
            assert_eq!(hospital.known_images.0, images, "{}", attack.name);
        }
    }
}

#[test]
fn a_run_that_was_refused_is_over() {
    let attack = GATEWAY_ATTACKS.iter().find(|attack| attack.name == "gateway-stolen-server-key-other-image").unwrap();
    let mut hospital = attack.make();
    let images = [("acme".parse().unwrap(), hospital.known_images.0.clone())].into();
    let mut full = Full::start(hospital.bound.clone(), hospital.known_director.0.clone(), images, NOW).unwrap();
    let refused = loop {
        let Next::Fetch(of, wanted) = full.next() else { panic!("it ends with a refusal") };
        let fetched = match of {
            Repository::Director => hospital.director.fetch(&wanted),
            Repository::Image(_) => hospital.images.fetch(&wanted),
        };
        if let Err(refused) = full.receive(fetched) {
            break refused;
        }
    };
    assert_eq!(refused.attack(), Some(Attack::MixAndMatch));
    assert_eq!(full.next(), Next::Refused);
    assert!(full.receive(Fetched::Missing).unwrap().1.is_empty());
    assert_eq!(full.next(), Next::Refused);
}

#[test]
fn a_root_that_its_own_keys_did_not_sign_is_no_beginning() {
    let hospital = Hospital::new();
    let start = |director: Stored, images: Stored| {
        let images = [("acme".parse().unwrap(), images)].into();
        Full::start(hospital.bound.clone(), director, images, NOW).map(drop).unwrap_err().step.0
    };
    let (director, images) = (hospital.known_director.0.clone(), hospital.known_images.0.clone());
    assert_eq!(start(Stored::default(), images), "5.4.4.2 step 2");
    assert_eq!(start(director, Stored::default()), "5.4.4.2 step 6");
}

#[test]
fn keys_of_both_repositories_can_be_rotated() {
    let mut hospital = Hospital::new();
    for (repository, old) in [(&mut hospital.director, 11), (&mut hospital.images, 1)] {
        repository.keys.push(21);
        repository.roles.root = wardlink_test_repository::keys_of(&[21], 1);
        repository.root_signers = vec![old, 21];
        repository.bump_root();
    }
    let orders = hospital.orders();
    hospital.direct(&orders);
    assert_eq!(devices(&mut hospital).len(), 2);
    // A key of the server that its root names no longer directs nobody.
    hospital.director.keys.push(22);
    hospital.director.roles.timestamp = wardlink_test_repository::keys_of(&[22], 1);
    hospital.director.root_signers = vec![21];
    hospital.director.bump_root();
    hospital.version += 1;
    hospital.publish(&hospital.directive(&[]), SERVER_KEY);
    assert_eq!(hospital.run().unwrap_err().step.0, "5.4.4.2 step 3");
}

/// DESIGN's number for `updates.first_metadata_bytes`.
const FIRST_METADATA_BYTES: usize = 12_000;

#[test]
fn the_first_metadata_of_a_gateway_with_ten_devices_is_small() {
    let mut hospital = Hospital::new();
    for number in 3..=10 {
        let mut state = hospital.pump().clone();
        state.characteristics.device = format!("infusion-pump/p{number}").parse().unwrap();
        state.characteristics.serial_number = format!("S-p{number}").parse().unwrap();
        hospital.associations.associate(state.characteristics.device.clone(), hospital.bound.gateway.clone());
        hospital.bound.present.push(state);
    }
    hospital.known_images.0 = Stored { root: hospital.images.root(), ..Stored::default() };
    hospital.known_director.0 = Stored { root: hospital.director.root(), ..Stored::default() };
    hospital.release(&gateway_package());
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    hospital.images.asked.clear();
    hospital.director.asked.clear();
    assert_eq!(devices(&mut hospital).len(), 11);
    let sizes = |repository: &wardlink_test_repository::Repository| -> usize {
        repository.asked.iter().filter_map(|name| repository.files.get(name)).map(Vec::len).sum()
    };
    // With the first roots, which a gateway may be given with its provisioning.
    let roots = hospital.images.root().len() + hospital.director.root().len();
    let bytes = sizes(&hospital.images) + sizes(&hospital.director) + roots;
    println!("updates.first_metadata_bytes {bytes}");
    assert!(bytes <= FIRST_METADATA_BYTES, "{bytes}");
}

/// Another manufacturer's package for a model, with a repository of its own.
fn of_another(device_type: &str, model: &str) -> (Package, Repo) {
    let package = Package {
        manufacturer: "other".parse().unwrap(),
        device_type: device_type.parse().unwrap(),
        model: model.parse().unwrap(),
        ..pump_package()
    };
    let mut repository = Repo::with_keys([31, 32, 33, 34]);
    let path = package.folder().path("1B-2.bin").unwrap();
    let custom = serde_json::to_value(Release::Package(Box::new(package.clone()))).unwrap();
    let author = repository.author("targets");
    author.files.insert(path.clone(), image(&package));
    author.customs.insert(path, custom);
    repository.bump();
    (package, repository)
}

/// What the server orders of the other manufacturer's package for a device.
fn order_of(package: &Package, others: &mut Repo, device: State) -> Vec<Order> {
    let target = others.author("targets").targets().into_values().next().unwrap();
    let listed = Listed { path: package.folder().path("1B-2.bin").unwrap(), target, release: package.clone() };
    Order::of(&[Pick { state: device, package: listed, delta: None }], |_| (When::AtOnce, Vec::new()))
}

/// A gateway that trusts these manufacturers' repositories verifies: the devices that may install something.
fn verify_two(hospital: &mut Hospital, others: &mut Repo, trusted: &[&str]) -> Result<Vec<String>, Refused> {
    let all = [("acme", hospital.images.root()), ("other", others.root())];
    let stored = all.into_iter().filter(|(name, _)| trusted.contains(name));
    let images = stored.map(|(name, root)| (name.parse().unwrap(), Stored { root, ..Stored::default() })).collect();
    let mut full = Full::start(hospital.bound.clone(), hospital.known_director.0.clone(), images, NOW)?;
    loop {
        match full.next() {
            Next::Fetch(of, wanted) => {
                let fetched = match of {
                    Repository::Director => hospital.director.fetch(&wanted),
                    Repository::Image(of) if of.as_str() == "acme" => hospital.images.fetch(&wanted),
                    Repository::Image(_) => others.fetch(&wanted),
                };
                full.receive(fetched)?;
            }
            Next::Verified(transactions) => {
                let installs = transactions.iter().flat_map(|transaction| &transaction.installs);
                assert!(installs.clone().all(|install| full.handed_on(install).is_some()));
                return Ok(installs.map(|install| install.device.to_string()).collect());
            }
            Next::Refused => panic!("a run that was not refused is over"),
        }
    }
}

#[test]
fn each_manufacturer_speaks_for_its_own_packages() {
    let verify = |trusted: &[&str]| {
        let mut hospital = Hospital::new();
        let (package, mut others) = of_another("scale", "W1");
        let mut scale = state("scale/s1", "W1", "1A");
        scale.characteristics.manufacturer = "other".parse().unwrap();
        hospital.associations.associate(scale.characteristics.device.clone(), hospital.bound.gateway.clone());
        hospital.bound.present.push(scale.clone());
        let mut orders = hospital.orders();
        orders.extend(order_of(&package, &mut others, scale));
        hospital.direct(&orders);
        verify_two(&mut hospital, &mut others, trusted)
    };
    let devices = verify(&["acme", "other"]).unwrap();
    assert_eq!(devices, ["infusion-pump/p1", "infusion-pump/p2", "scale/s1"]);
    for (trusted, missing) in [("acme", "images of other"), ("other", "images of acme")] {
        let refused = verify(&[trusted]).unwrap_err();
        assert_eq!((refused.step.0, refused.repository.to_string()), ("5.4.4.2 step 10.1", missing.to_owned()));
        assert!(matches!(*refused.cause, Cause::NoRepository(_)));
    }
}

#[test]
fn a_trusted_manufacturer_does_not_supply_another_ones_model_of_the_same_name() {
    let mut hospital = Hospital::new();
    let (package, mut others) = of_another("infusion-pump", "PM2");
    let pump = hospital.pump().clone();
    let orders = order_of(&package, &mut others, pump);
    hospital.direct(&orders);
    let refused = verify_two(&mut hospital, &mut others, &["acme", "other"]).unwrap_err();
    assert_eq!((refused.step.0, refused.attack()), ("5.4.3.4 step 4", Some(Attack::Misdirection)));
    // The same order is right for that manufacturer's own pump.
    hospital.bound.present[1].characteristics.manufacturer = "other".parse().unwrap();
    assert_eq!(verify_two(&mut hospital, &mut others, &["acme", "other"]).unwrap(), ["infusion-pump/p1"]);
}

//! What a server picks and directs, a gateway accepts: all of it, and nothing else.

use proptest::prelude::*;
use wardlink_test_repository::hospital::{Hospital, gateway_package, manufacturer, pump_package, state};
use wardlink_update::catalog::Releases;
use wardlink_update::package::{Downgrade, Package, Recall, ReleaseCounter, Revision, RevisionRange};
use wardlink_update::report::Configuration;

fn revision(number: u32) -> Revision {
    number.to_string().parse().unwrap()
}

fn some_package() -> impl Strategy<Value = Package> {
    let numbers = (1_u32..4, 0_u32..3, 1_u32..3, 1_u32..6);
    (numbers, any::<[bool; 5]>()).prop_map(|((from, width, step, counter), flags)| {
        let [for_gateway, in_set, is_recalled, is_back, other_hardware] = flags;
        let base = |for_gateway| if for_gateway { gateway_package() } else { pump_package() };
        let set = format!("set {}", counter % 2).parse().unwrap();
        let mut package = Package { feature_set: set, ..base(for_gateway) };
        package.pre_revision = RevisionRange::new(revision(from), revision(from + width)).unwrap();
        package.post_revision = revision(if is_back { from.saturating_sub(step) } else { from + width + step });
        package.downgrade = is_back.then(|| Downgrade { reason: "it stops too early".parse().unwrap() });
        package.release_counter = ReleaseCounter::new(counter).unwrap();
        package.recalled =
            (is_recalled && counter == 5).then(|| Recall { reason: "it does not start".parse().unwrap() });
        if other_hardware && counter % 2 == 0 {
            package.hardware = vec!["C".parse().unwrap()];
        }
        if in_set {
            package.atomic = vec![Package { feature_set: package.feature_set.clone(), ..base(!for_gateway) }.member()];
        }
        package
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_a_server_directs_a_gateway_accepts(
        packages in prop::collection::vec(some_package(), 1..8),
        states in prop::collection::vec((0_u32..6, 0_u32..6), 3),
    ) {
        let mut hospital = Hospital::new();
        let author = hospital.images.author("acme");
        author.files.clear();
        author.customs.clear();
        for package in &packages {
            hospital.release(package);
        }
        hospital.images.bump();
        let names = [("gateway/ward-3", "RP"), ("infusion-pump/p1", "PM2"), ("infusion-pump/p2", "PM2")];
        for ((name, model), (number, counter)) in names.into_iter().zip(states) {
            let mut present = state(name, model, revision(number).as_str());
            present.release_counter = ReleaseCounter::new(counter);
            let place = hospital.bound.present.iter_mut().find(|old| old.characteristics.device == present.characteristics.device);
            *place.unwrap() = present;
        }
        let orders = hospital.orders();
        hospital.direct(&orders);
        let transactions = hospital.run();
        prop_assert!(transactions.is_ok(), "{}", transactions.unwrap_err());
        let mut installed: Vec<_> = transactions.unwrap().into_iter().flat_map(|transaction| transaction.installs).collect();
        installed.sort_by(|one, other| one.device.cmp(&other.device));

        let roles = hospital.images.roles();
        let mut present = hospital.bound.present.iter().cloned();
        let gateway = present.next().unwrap();
        let configuration = Configuration { counter: 1, gateway, devices: present.map(|state| (state, None)).collect(), unchanged: vec![], left_out: vec![], };
        let picks = Releases::of([(&manufacturer(), &roles)]).unwrap().pick(&configuration, &hospital.associations).picks;
        let mut expected: Vec<_> = picks.iter().filter(|pick| !pick.package.release.is_installed_on(&pick.state)).collect();
        expected.sort_by(|one, other| one.state.characteristics.device.cmp(&other.state.characteristics.device));
        prop_assert_eq!(installed.len(), expected.len());
        for (install, pick) in installed.iter().zip(expected) {
            prop_assert_eq!(&install.device, &pick.state.characteristics.device);
            prop_assert_eq!((&install.path, &install.package), (&pick.package.path, &pick.package.release));
        }
    }
}

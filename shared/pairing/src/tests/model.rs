//! Both machines under random operations, against a model of what may be: drops, duplicates, reorderings, restarts and lost power, a
//! person who makes mistakes of every kind but one, and an attacker.
//!
//! The attacker holds the access secret, reads everything, and can put what he likes before the device. Towards the control unit the
//! bridge stamps him with his own key. The one mistake that the person never makes is to take a code from elsewhere than the
//! device's display, or an answer from elsewhere than the control unit. Then the control unit never confirms another device, and the
//! device never follows another control unit; without CertCA it may begin to, but it commits nothing.

use proptest::prelude::*;

mod attacker;
mod world;

use world::World;

/// One thing that happens. The numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    DevicePublishes,
    DeviceSubscribes,
    DeviceLosesPower,
    DeviceStartsAgain,
    ArrivesAtControlUnit { which: usize, again: bool },
    ArrivesAtDevice { which: usize, again: bool },
    LostToControlUnit { which: usize },
    LostToDevice { which: usize },
    ControlUnitLosesPower,
    ArrivesButPowerFails { which: usize },
    PersonAccepts { which: usize, mode: usize },
    PersonRejects { which: usize },
    PersonCancels { which: usize },
    PersonTypesCode { which: usize, power_fails: bool },
    PersonMistypes { which: usize, number: u64 },
    PersonMisreadsSerial { which: usize },
    PersonScans { power_fails: bool },
    PersonAnswers { which: usize, power_fails: bool },
    PersonAnswersWrongly { number: u64 },
    TimePasses { seconds: u64 },
    BrokerRefusesDevice,
    AttackerRequests { same_session: bool },
    AttackerRewritesRequest { part: usize },
    AttackerPublishes,
    AttackerReads { which: usize },
    AttackerCommandsDevice { which: usize },
    AttackerConfirmsDevice,
    AttackerSealsAgain { which: usize },
    AttackerRepeats { which: usize, to_device: bool },
    AttackerChanges { which: usize, byte: usize, to_device: bool },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let which = || 0usize..8;
    let device = prop_oneof![
        6 => Just(O::DevicePublishes),
        5 => Just(O::DeviceSubscribes),
        2 => Just(O::DeviceLosesPower),
        1 => Just(O::DeviceStartsAgain),
        1 => Just(O::BrokerRefusesDevice),
    ];
    let network = prop_oneof![
        8 => (which(), any::<bool>()).prop_map(|(which, again)| O::ArrivesAtControlUnit { which, again }),
        8 => (which(), any::<bool>()).prop_map(|(which, again)| O::ArrivesAtDevice { which, again }),
        1 => which().prop_map(|which| O::LostToControlUnit { which }),
        1 => which().prop_map(|which| O::LostToDevice { which }),
        2 => Just(O::ControlUnitLosesPower),
        1 => which().prop_map(|which| O::ArrivesButPowerFails { which }),
    ];
    let person = prop_oneof![
        6 => (which(), 0usize..3).prop_map(|(which, mode)| O::PersonAccepts { which, mode }),
        1 => which().prop_map(|which| O::PersonRejects { which }),
        1 => which().prop_map(|which| O::PersonCancels { which }),
        6 => (which(), any::<bool>()).prop_map(|(which, power_fails)| O::PersonTypesCode { which, power_fails }),
        1 => (which(), any::<u64>()).prop_map(|(which, number)| O::PersonMistypes { which, number }),
        1 => which().prop_map(|which| O::PersonMisreadsSerial { which }),
        4 => any::<bool>().prop_map(|power_fails| O::PersonScans { power_fails }),
        4 => (which(), any::<bool>()).prop_map(|(which, power_fails)| O::PersonAnswers { which, power_fails }),
        1 => any::<u64>().prop_map(|number| O::PersonAnswersWrongly { number }),
        1 => (1u64..400).prop_map(|seconds| O::TimePasses { seconds }),
    ];
    let attacker = prop_oneof![
        2 => any::<bool>().prop_map(|same_session| O::AttackerRequests { same_session }),
        2 => (0usize..4).prop_map(|part| O::AttackerRewritesRequest { part }),
        3 => Just(O::AttackerPublishes),
        3 => which().prop_map(|which| O::AttackerReads { which }),
        2 => which().prop_map(|which| O::AttackerCommandsDevice { which }),
        2 => Just(O::AttackerConfirmsDevice),
        1 => which().prop_map(|which| O::AttackerSealsAgain { which }),
        2 => (which(), any::<bool>()).prop_map(|(which, to_device)| O::AttackerRepeats { which, to_device }),
        1 => (which(), any::<usize>(), any::<bool>())
            .prop_map(|(which, byte, to_device)| O::AttackerChanges { which, byte, to_device }),
    ];
    prop_oneof![3 => device, 4 => network, 4 => person, 3 => attacker]
}

/// A quarter of the usual number of cases, or of what `PROPTEST_CASES` asks for.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nobody_is_confirmed_or_followed_whom_the_person_did_not_verify(
        seed in any::<u64>(),
        knows_cert_ca in any::<bool>(),
        asks_serial in any::<bool>(),
        head_start in 0usize..5,
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let mut world = World::new(seed, knows_cert_ca, asks_serial);
        world.go_on_fairly(head_start);
        for operation in operations {
            world.apply(operation);
            world.check();
        }
        // Once the network is fair and the attacker has gone, the device is paired.
        world.become_fair();
        world.check();
    }
}

#[test]
fn the_model_reaches_a_pairing() {
    for (knows_cert_ca, asks_serial) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut world = World::new(1, knows_cert_ca, asks_serial);
        world.become_fair();
        world.check();
    }
}

//! The model test of channels, keys and revocation: devices pair, publish, are revoked, rotate, expire, renew, pair again, restart and
//! come back from old snapshots, services ask for keys and are revoked, in any order. After each step exactly the devices and services
//! that should read a channel can: which is tried by decrypting with everything that each of them ever knew, and by subscribing at the
//! bridge's real broker with every key and certificate that each of them ever had. And no nonce is ever used twice under one key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bridge;
mod pump;
mod service;
mod world;

use proptest::prelude::*;
use world::World;

/// How many devices there are.
const DEVICES: usize = 4;
/// How many services there are at most.
const SERVICES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// The device pairs, or pairs again; with verification or without.
    Pair(usize, bool),
    /// It publishes on one of its channels.
    Publish(usize, usize),
    /// It reads what stands on its T2, and answers.
    Read(usize),
    /// Somebody repeats a message that was published before.
    Replay(usize),
    Revoke(usize),
    /// An administrator lifts the revocation: the device may pair again.
    Lift(usize),
    Rotate(usize),
    /// So many seconds pass.
    Wait(u64),
    Renew(usize),
    /// The device goes on from what it stored last.
    Restart(usize),
    /// A copy of its state is made.
    Save(usize),
    /// Its state is replaced by that copy.
    Restore(usize),
    /// The control unit goes on from what it stored last.
    RestartSite,
    /// A service is made anew that reads a channel.
    MakeService(usize, usize),
    /// It asks for the keys of a channel of a device.
    Ask(usize, usize, usize),
    RevokeService(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let device = || 0..DEVICES;
    let step = prop_oneof![
        3 => (device(), any::<bool>()).prop_map(|(device, verified)| Step::Pair(device, verified)),
        8 => (device(), 0..6_usize).prop_map(|(device, channel)| Step::Publish(device, channel)),
        4 => device().prop_map(Step::Read),
        2 => any::<usize>().prop_map(Step::Replay),
        2 => device().prop_map(Step::Revoke),
        1 => device().prop_map(Step::Lift),
        2 => (0..6_usize).prop_map(Step::Rotate),
        3 => prop::sample::select(vec![1, 59, 599, 601, 86_400, 8 * 86_400]).prop_map(Step::Wait),
        2 => device().prop_map(Step::Renew),
        2 => device().prop_map(Step::Restart),
        1 => device().prop_map(Step::Save),
        2 => device().prop_map(Step::Restore),
        1 => Just(Step::RestartSite),
        2 => (0..SERVICES, 0..6_usize).prop_map(|(service, channel)| Step::MakeService(service, channel)),
        4 => (0..SERVICES, device(), 0..6_usize).prop_map(|(service, of, channel)| Step::Ask(service, of, channel)),
        2 => (0..SERVICES).prop_map(Step::RevokeService),
    ];
    prop::collection::vec(step, 1..40)
}

fn run(world: &mut World, step: &Step) {
    match *step {
        Step::Pair(device, verified) => world.pair(device, verified),
        Step::Publish(device, channel) => world.publish(device, channel),
        Step::Read(device) => world.read(device),
        Step::Replay(which) => world.replay(which),
        Step::Revoke(device) => world.revoke(device),
        Step::Lift(device) => world.lift(device),
        Step::Rotate(channel) => world.rotate(channel),
        Step::Wait(seconds) => world.wait(seconds),
        Step::Renew(device) => world.renew(device),
        Step::Restart(device) => world.with_pump(device, pump::Pump::restart),
        Step::Save(device) => world.with_pump(device, pump::Pump::save),
        Step::Restore(device) => world.with_pump(device, pump::Pump::restore),
        Step::RestartSite => world.restart_site(),
        Step::MakeService(service, channel) => world.make_service(service, channel),
        Step::Ask(service, device, channel) => world.ask(service, device, channel),
        Step::RevokeService(service) => world.revoke_service(service),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_those_who_should_read_a_channel_can(steps in steps()) {
        let mut world = World::new();
        for device in 0..DEVICES {
            world.pair(device, device % 2 == 0);
        }
        for step in &steps {
            run(&mut world, step);
            world.check_readers();
            world.check_subscribers();
        }
        // Whoever is trusted and comes back reads everything that it should.
        for device in 0..DEVICES {
            world.read(device);
        }
        world.check_readers();
        world.check_trusted_read_everything();
    }
}

#[test]
fn a_service_is_given_no_keys_of_a_device_that_does_not_have_the_channel() {
    let mut world = World::new();
    world.pair(1, false);
    for step in &[Step::MakeService(1, 1), Step::Ask(1, 1, 1), Step::RevokeService(1)] {
        run(&mut world, step);
        world.check_readers();
        world.check_subscribers();
    }
}

#[test]
fn a_known_walk_through_every_step() {
    let mut world = World::new();
    let steps = [
        Step::Pair(0, true),
        Step::Pair(1, false),
        Step::Publish(0, 0),
        Step::Publish(1, 2),
        Step::Save(0),
        Step::Rotate(0),
        Step::Publish(0, 0),
        Step::Read(0),
        Step::Publish(0, 0),
        Step::Restore(0),
        Step::Publish(0, 0),
        Step::Read(0),
        Step::Revoke(1),
        Step::Publish(1, 0),
        Step::Publish(0, 0),
        Step::Read(0),
        Step::Replay(0),
        Step::Wait(20 * 86_400),
        Step::Renew(0),
        Step::Renew(1),
        Step::Wait(40 * 86_400),
        Step::Publish(0, 0),
        Step::Renew(0),
        Step::Read(0),
        Step::Publish(0, 0),
        Step::Lift(1),
        Step::Pair(1, true),
        Step::Publish(1, 1),
        Step::RestartSite,
        Step::Restart(0),
        Step::Read(0),
        Step::Publish(0, 0),
        Step::Read(1),
        Step::MakeService(0, 1),
        Step::MakeService(1, 0),
        Step::Ask(0, 1, 1),
        Step::Ask(1, 0, 0),
        Step::Ask(1, 0, 1),
        Step::RevokeService(0),
        Step::Ask(0, 1, 1),
        Step::Read(1),
        Step::Publish(1, 1),
        Step::RevokeService(1),
        Step::Read(0),
        Step::Read(1),
        Step::Publish(0, 0),
    ];
    for step in &steps {
        run(&mut world, step);
        world.check_readers();
        world.check_subscribers();
    }
    world.check_trusted_read_everything();
    let (counted, refused) = world.tally();
    assert!(counted >= 5 && refused >= 3, "{counted} counted, {refused} refused");
    let (granted, denied, shut_out, heard) = world.bridge_tally();
    assert!(granted > 100 && denied > 1_000 && shut_out > 100 && heard > 20, "{granted} {denied} {shut_out} {heard}");
}

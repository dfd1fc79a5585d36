//! Hostile bytes: whatever arrives, in whatever pieces, nothing panics, and nobody gets a right by it.

use super::world::{HOST, Options, Seeded, Shown, auth, connect, publish, subscribe};
use super::{Received, World, key};
use crate::Stream;
use mqtt_protocol_core::mqtt::packet::Qos;
use mqtt_protocol_core::mqtt::result_code::AuthReasonCode;
use proptest::prelude::*;
use rand_core::Rng;
use wardlink_crypto::authentication::ClientAuthentication;

const PUMP: &str = "infusion-pump/pump-1";
const ALARM: &str = "ais/data/alarm/infusion-pump/pump-1";

/// Everything that a client can send, one valid packet of each kind.
fn corpus() -> Vec<Vec<u8>> {
    let identity = Shown::bare(&key(1), PUMP).identity;
    let (_, hello) = ClientAuthentication::start(identity, "pump", HOST, &mut Seeded(3)).unwrap();
    vec![
        connect(&Options::default(), &hello),
        auth(AuthReasonCode::ReAuthenticate, &hello),
        auth(AuthReasonCode::ContinueAuthentication, &[1; 70]),
        publish(ALARM, b"payload", Some(7)),
        publish(ALARM, b"payload", None),
        subscribe("ais/infusion-pump/pump-1", Qos::AtLeastOnce),
        super::world::puback(1),
        super::world::disconnect(),
        vec![0xc0, 0],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8), live in any::<bool>()) {
        let mut world = World::new();
        let id = if live { world.paired(1, PUMP).1 } else { world.open() };
        for frame in frames {
            world.send(id, &frame);
        }
        prop_assert!(world.for_site(Stream::Request).is_empty());
    }

    #[test]
    fn changed_packets_never_panic(seed in any::<u64>(), live in any::<bool>()) {
        let mut random = Seeded(seed);
        let mut world = World::new();
        let id = if live { world.paired(1, PUMP).1 } else { world.open() };
        for mut packet in corpus() {
            let changes = random.next_u64() % 4;
            for _ in 0..changes {
                let position = usize::try_from(random.next_u64()).unwrap() % packet.len();
                packet[position] = random.next_u64().to_le_bytes()[0];
            }
            if random.next_u64().is_multiple_of(5) {
                packet.truncate(usize::try_from(random.next_u64()).unwrap() % packet.len());
            }
            world.send(id, &packet);
        }
    }

    #[test]
    fn pieces_do_not_matter(sizes in prop::collection::vec(1_usize..40, 1..60), rebuild_at in 0_usize..60) {
        let mut world = World::new();
        let (_, id) = world.paired(1, PUMP);
        let stream: Vec<u8> = (1..=20_u16).flat_map(|number| publish(ALARM, &number.to_be_bytes(), Some(number))).collect();
        let mut rest = stream.as_slice();
        for (index, size) in sizes.iter().cycle().enumerate() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            world.send(id, piece);
            if index == rebuild_at {
                world.rebuild();
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let payloads: Vec<u16> = world.for_site(Stream::Data).iter()
            .map(|message| u16::from_be_bytes(message.payload.as_slice().try_into().unwrap())).collect();
        prop_assert_eq!(payloads, (1..=20).collect::<Vec<u16>>());
        prop_assert_eq!(world.take(id).iter().filter(|packet| matches!(packet, Received::Puback(..))).count(), 20);
    }

    #[test]
    fn damaged_storage_never_panics(seed in any::<u64>()) {
        let mut random = Seeded(seed);
        let mut world = World::new();
        let (_, id) = world.paired(1, PUMP);
        world.subscribe(id, "ais/infusion-pump/pump-1");
        world.publish(id, ALARM, b"x");
        world.apply(&[], &[("ais/infusion-pump/pump-1", b"y")], &[]);
        for value in world.records.values_mut() {
            if random.next_u64().is_multiple_of(2) && !value.is_empty() {
                let position = usize::try_from(random.next_u64()).unwrap() % value.len();
                value[position] = random.next_u64().to_le_bytes()[0];
            }
        }
        world.rebuild();
        world.send(id, &publish(ALARM, b"z", Some(1)));
    }
}

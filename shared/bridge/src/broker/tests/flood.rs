//! Floods on T1: who sends junk is heard little, and nobody else less for it.

use super::world::{Shown, key_of};
use super::{World, key};
use crate::limits::{JUNK_BLOCK, KEY_BURST, KEY_REFILL, MAX_CONTROL_UNIT_BATCH, MAX_WAITING_REQUESTS};
use crate::{ConnectionId, Stream};
use core::time::Duration;
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use std::collections::BTreeSet;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;

const PUMP: &str = "infusion-pump/pump-1";
const T1: &str = "ais/register/infusion-pump";
const SECOND: Duration = Duration::from_secs(1);

/// A bare key that comes from an address.
fn stranger(world: &mut World, seed: u64, address: Option<&str>) -> ConnectionId {
    let id = world.open_from(address, None);
    world.authenticate(id, &Shown::bare(&key(seed), PUMP), &super::world::Options::default());
    id
}

fn fingerprint(seed: u64) -> KeyFingerprint {
    key(seed).public().fingerprint().unwrap()
}

fn waiting(world: &World) -> usize {
    world.for_site(Stream::Request).len()
}

#[test]
fn a_key_has_one_request_waiting() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    assert_eq!(world.publish(id, T1, b"please"), PubackReasonCode::Success);
    assert_eq!(world.publish(id, T1, b"please"), PubackReasonCode::Success, "stored it is");
    assert_eq!(world.publish(id, T1, b"again"), PubackReasonCode::QuotaExceeded);
    world.rebuild();
    assert_eq!(world.publish(id, T1, b"again"), PubackReasonCode::QuotaExceeded);
    assert_eq!(waiting(&world), 1);
    assert_eq!(world.take_requests(|_| false).len(), 1);
    assert_eq!(world.publish(id, T1, b"again"), PubackReasonCode::Success);
    let long = vec![0; MAX_PAIRING_MESSAGE_BYTES + 1];
    let other = world.client(&Shown::bare(&key(2), PUMP));
    assert_eq!(world.publish(other, T1, &long), PubackReasonCode::QuotaExceeded, "no request is so long");
}

#[test]
fn a_key_has_a_budget_that_survives_rebuilding() {
    let mut world = World::new();
    let id = world.client(&Shown::bare(&key(1), PUMP));
    for number in 0..KEY_BURST {
        assert_eq!(world.publish(id, T1, &number.to_be_bytes()), PubackReasonCode::Success);
        world.take_requests(|_| false);
    }
    assert_eq!(world.publish(id, T1, b"more"), PubackReasonCode::QuotaExceeded);
    world.rebuild();
    assert_eq!(world.publish(id, T1, b"more"), PubackReasonCode::QuotaExceeded, "no fresh budget for free");
    world.now = world.now.after(KEY_REFILL);
    assert_eq!(world.publish(id, T1, b"more"), PubackReasonCode::Success);
}

#[test]
fn an_address_has_a_budget_that_survives_rebuilding() {
    let mut world = World::new();
    let mut refused = 0;
    for seed in 100..135 {
        let id = stranger(&mut world, seed, Some("2001:db8::1"));
        for number in 0..10_u8 {
            refused += usize::from(world.publish(id, T1, &[number]) == PubackReasonCode::QuotaExceeded);
            world.take_requests(|_| false);
        }
    }
    assert_eq!(refused, 50, "many keys of one address share its budget");
    world.rebuild();
    let neighbour = stranger(&mut world, 200, Some("2001:db8::2"));
    assert_eq!(world.publish(neighbour, T1, b"x"), PubackReasonCode::QuotaExceeded, "so do addresses of one network");
    let elsewhere = stranger(&mut world, 201, Some("2001:db8:0:1::1"));
    assert_eq!(world.publish(elsewhere, T1, b"x"), PubackReasonCode::Success);
}

#[test]
fn a_key_that_sent_junk_is_not_heard_for_a_while() {
    let mut world = World::new();
    let (junk, honest) = (fingerprint(1), world.client(&Shown::bare(&key(2), PUMP)));
    let id = world.client(&Shown::bare(&key(1), PUMP));
    world.publish(id, T1, b"junk");
    world.publish(honest, T1, b"please");
    assert_eq!(world.take_requests(|key| *key == junk).len(), 2);
    for _ in 0..2 {
        assert_eq!(world.publish(id, T1, b"junk again"), PubackReasonCode::QuotaExceeded);
        assert_eq!(world.publish(honest, T1, b"please"), PubackReasonCode::Success);
        world.rebuild();
    }
    world.now = world.now.after(JUNK_BLOCK.saturating_sub(SECOND));
    assert_eq!(world.publish(id, T1, b"junk again"), PubackReasonCode::QuotaExceeded);
    world.now = world.now.after(SECOND + KEY_REFILL);
    assert_eq!(world.publish(id, T1, b"better"), PubackReasonCode::Success);
}

#[test]
fn an_address_leaves_as_much_room_as_it_takes() {
    let mut world = World::new();
    let mut taken = 0;
    for seed in 0..u64::try_from(MAX_WAITING_REQUESTS).unwrap() {
        let id = stranger(&mut world, 1_000 + seed, None);
        let answer = world.publish(id, T1, b"junk");
        taken += usize::from(answer == PubackReasonCode::Success);
        world.lose(id);
    }
    assert_eq!(taken, MAX_WAITING_REQUESTS / 2);
    let id = world.client(&Shown::bare(&key(1), PUMP));
    assert_eq!(world.publish(id, T1, b"please"), PubackReasonCode::Success);
    let (_, paired) = world.paired(2, "infusion-pump/pump-2");
    assert_eq!(world.publish(paired, "ais/command/infusion-pump", b"finished"), PubackReasonCode::Success);
    assert_eq!(world.for_site(Stream::Pairing).len(), 1, "who is known does not wait behind strangers");
    assert_eq!(waiting(&world), MAX_CONTROL_UNIT_BATCH, "one request to the control unit is bounded");
}

/// Ten thousand junk requests against a hundred pumps that ask; every second the control unit takes one batch. Returns how many
/// seconds it took until every pump was heard, and how much junk the control unit had to look at.
fn flood(attackers: u64, address_of: fn(u64) -> Option<String>) -> (u32, usize) {
    const JUNK: u64 = 10_000;
    let mut world = World::new();
    let junk_keys: BTreeSet<KeyFingerprint> = (0..attackers).map(|seed| fingerprint(5_000 + seed)).collect();
    let mut attacking = Vec::new();
    for seed in 0..attackers {
        attacking.push(stranger(&mut world, 5_000 + seed, address_of(seed).as_deref()));
    }
    let pumps: Vec<ConnectionId> =
        (0..100).map(|seed| stranger(&mut world, seed, Some(&format!("192.0.2.{seed}")))).collect();
    let mut unheard: BTreeSet<usize> = (0..pumps.len()).collect();
    let (mut sent, mut junk, mut heard, mut seconds) = (0_u64, 0, BTreeSet::new(), 0);
    while heard.len() < pumps.len() || sent < JUNK {
        // The attackers are always first.
        for id in attacking.iter().cycle().take(2_000) {
            sent += 1;
            world.publish(*id, T1, &sent.to_be_bytes());
        }
        unheard.retain(|pump| world.publish(pumps[*pump], T1, b"please") != PubackReasonCode::Success);
        for message in world.take_requests(|key| junk_keys.contains(key)) {
            match key_of(&message).filter(|key| junk_keys.contains(key)) {
                Some(_) => junk += 1,
                None => heard.extend(key_of(&message)),
            }
        }
        seconds += u32::from(heard.len() < pumps.len());
        world.now = world.now.after(SECOND);
        assert!(seconds < 60, "{} pumps are not heard", pumps.len() - heard.len());
    }
    (seconds, junk)
}

#[test]
fn ten_thousand_junk_requests_of_one_key_are_one() {
    assert_eq!(flood(1, |_| Some("198.51.100.1".to_owned())), (0, 1));
}

#[test]
fn ten_thousand_junk_requests_from_one_address_delay_nobody() {
    let (seconds, junk) = flood(200, |_| Some("198.51.100.1".to_owned()));
    assert!(seconds <= 2 && junk <= 200, "{seconds} s, {junk} of junk");
}

#[test]
fn ten_thousand_junk_requests_from_many_addresses_delay_hardly_anybody() {
    let (seconds, junk) = flood(200, |seed| Some(format!("2001:db8:{seed}::1")));
    assert!(seconds <= 3 && junk <= 200, "{seconds} s, {junk} of junk");
}

#[test]
fn ten_thousand_junk_requests_from_unknown_addresses_delay_hardly_anybody() {
    let (seconds, junk) = flood(200, |_| None);
    assert!(seconds <= 3 && junk <= 200, "{seconds} s, {junk} of junk");
}

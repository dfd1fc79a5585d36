//! The order to wipe, and its receipt.

use super::renewal::Fleet;
use crate::decommission::{ALWAYS_WIPED, DecommissionRefusal, Order, Receipt, is_order, is_receipt, obey};
use crate::message::MessageError;
use proptest::prelude::*;
use wardlink_crypto::cose::EnvelopeError;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::ChainError;
use wardlink_protocol::Device;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::renewal::Wiped;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;

fn order(fleet: &mut Fleet) -> Order {
    let (name, key, now) = (fleet.pair.name.clone(), fleet.paired.key, fleet.pair.now);
    let signer = fleet.pair.site.control_unit().signer;
    Order::give(name, key, signer, now, &mut fleet.pair.rng).unwrap()
}

fn wiped() -> Vec<Wiped> {
    ALWAYS_WIPED.to_vec()
}

/// What the device answers, as the bridge stamps it.
fn obeyed(fleet: &Fleet, order: &Order, wiped: Vec<Wiped>) -> StampedMessage {
    let pair = &fleet.pair;
    let obeyed = obey(&order.payload, &pair.name, &pair.key, &fleet.cert_ca(), pair.now).unwrap();
    let receipt = obeyed.receipt(&pair.name, &pair.key, wiped, pair.now).unwrap();
    fleet.stamped(&Topic::Command(pair.name.client.clone()), &receipt, fleet.paired.serial)
}

#[test]
fn the_receipt_proves_that_the_device_obeyed() {
    let mut fleet = Fleet::new();
    let order = order(&mut fleet);
    assert!(is_order(&order.payload));
    let stamped = obeyed(&fleet, &order, [wiped(), vec![Wiped::StoredData]].concat());
    assert!(is_receipt(&stamped.payload));
    let receipt = order.receipt(&stamped, &fleet.certificate()).unwrap();
    let expected = Receipt {
        wiped_at: fleet.pair.now,
        wiped: [wiped(), vec![Wiped::StoredData]].concat(),
        payload: stamped.payload.clone(),
    };
    assert_eq!(receipt, expected);
    // Repeated, after its PUBACK was lost.
    assert_eq!(order.receipt(&stamped, &fleet.certificate()), Ok(expected));
}

#[test]
fn a_device_obeys_its_own_control_unit_only_and_only_for_this_pairing() {
    let mut fleet = Fleet::new();
    let order = order(&mut fleet);
    let again = PrivateKey::make(&mut fleet.pair.rng);
    let (pair, root) = (&fleet.pair, fleet.cert_ca());
    let chain_error = |error| DecommissionRefusal::from(MessageError::from(error));
    let foreign = obey(&order.payload, &pair.name, &pair.key, &Sha256([0; 32]), pair.now);
    assert_eq!(foreign, Err(chain_error(ChainError::Root)));
    let other: Device = "infusion-pump/pump-2".parse().unwrap();
    let moved = obey(&order.payload, &other, &pair.key, &root, pair.now);
    assert_eq!(moved, Err(MessageError::from(EnvelopeError::Authentication).into()));
    let paired_again = obey(&order.payload, &pair.name, &again, &root, pair.now);
    assert_eq!(paired_again, Err(DecommissionRefusal::OutOfPlace));
    for index in (0..order.payload.len()).step_by(23) {
        let mut changed = order.payload.to_vec();
        changed[index] ^= 1;
        assert!(obey(&changed, &pair.name, &pair.key, &root, pair.now).is_err(), "byte {index}");
    }
}

#[test]
fn a_receipt_of_somebody_else_for_another_order_or_with_gaps_does_not_count() {
    let mut fleet = Fleet::new();
    let (order, other) = (order(&mut fleet), order(&mut fleet));
    let certificate = fleet.certificate();
    let genuine = obeyed(&fleet, &order, wiped());
    assert_eq!(other.receipt(&genuine, &certificate), Err(DecommissionRefusal::OutOfPlace));
    for missing in 0..ALWAYS_WIPED.len() {
        let mut some = wiped();
        some.remove(missing);
        let stamped = obeyed(&fleet, &order, some);
        assert_eq!(order.receipt(&stamped, &certificate), Err(DecommissionRefusal::Incomplete));
    }
    let by_bare_key = Publisher::Key { key: fleet.paired.key, device: fleet.pair.name.clone(), certificate: None };
    for publisher in [Publisher::ControlUnit, by_bare_key] {
        let forged = StampedMessage { publisher, ..genuine.clone() };
        assert_eq!(order.receipt(&forged, &certificate), Err(DecommissionRefusal::Publisher));
    }
    let moved = StampedMessage { topic: "ais/renew/infusion-pump".into(), ..genuine.clone() };
    assert_eq!(order.receipt(&moved, &certificate), Err(DecommissionRefusal::Publisher));
    // Signed by another key under the right stamp.
    let foreign = PrivateKey::make(&mut fleet.pair.rng);
    let pair = &fleet.pair;
    let signed = obey(&order.payload, &pair.name, &pair.key, &fleet.cert_ca(), pair.now).unwrap();
    let forged = signed.receipt(&pair.name, &foreign, wiped(), pair.now).unwrap();
    let forged = StampedMessage { payload: forged.into(), ..genuine };
    assert_eq!(order.receipt(&forged, &certificate), Err(MessageError::Header.into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_changed_receipt_never_counts(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut fleet = Fleet::new();
        let order = order(&mut fleet);
        let mut stamped = obeyed(&fleet, &order, wiped());
        let position = position.index(stamped.payload.len());
        stamped.payload[position] ^= change;
        prop_assert!(order.receipt(&stamped, &fleet.certificate()).is_err());
    }
}

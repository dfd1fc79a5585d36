#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::metadata::Draft;
use p256::ecdsa::SigningKey;

const NOW: u64 = 1_800_000_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

fn public(number: u8) -> Key {
    Key::ecdsa_p256(key(number).verifying_key()).unwrap()
}

fn record(number: usize) -> Record {
    let characteristics = Characteristics {
        device: format!("infusion-pump/pump-{number:05}").parse().unwrap(),
        manufacturer: "acme".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        serial_number: format!("S{number}").parse().unwrap(),
        revision: "1A".parse().unwrap(),
        hardware: "PM2-B".parse().unwrap(),
    };
    let mut bytes = [7; 32];
    let number = u64::try_from(number).unwrap().to_be_bytes();
    bytes.iter_mut().zip(number).for_each(|(byte, digit)| *byte = digit);
    Record { characteristics, key: Some(KeyFingerprint(bytes)) }
}

fn inventory(devices: Vec<Record>) -> Inventory {
    Inventory::new(3, Expires::at(NOW + 1), "acme".parse().unwrap(), devices)
}

fn signed(inventory: &Inventory, signers: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(inventory).unwrap();
    for signer in signers {
        draft.sign(public(*signer).id(), &key(*signer));
    }
    draft.to_bytes()
}

fn verify(bytes: &[u8], manufacturer: &str, least: Version, now: u64) -> Result<Inventory, InvalidInventory> {
    let keys: BTreeMap<_, _> = [1, 2].map(|number| (public(number).id(), public(number))).into();
    let role = RoleKeys { keyids: keys.keys().cloned().collect(), threshold: 2.try_into().unwrap() };
    Inventory::verify(bytes, &manufacturer.parse().unwrap(), &role, &keys, least, now)
}

#[test]
fn an_inventory_of_the_manufacturers_keys_is_read() {
    let inventory = inventory(vec![record(1), record(2)]);
    assert_eq!(verify(&signed(&inventory, &[1, 2]), "acme", 3, NOW), Ok(inventory));
}

#[test]
fn an_inventory_is_spelled_as_the_documentation_says() {
    let text = String::from_utf8(signed(&inventory(vec![record(1)]), &[])).unwrap();
    let expected = concat!(
        r#"{"signatures":[],"signed":{"_type":"inventory","devices":[{"characteristics":{"#,
        r#""device":{"client":"infusion-pump","identifier":"pump-00001"},"hardware":"PM2-B","#,
        r#""manufacturer":"acme","model":"PM2","#,
        r#""revision":"1A","serial_number":"S1"},"key":"0000000000000001"#,
        r#"070707070707070707070707070707070707070707070707"}],"expires":"2027-01-15T08:00:01Z","#,
        r#""manufacturer":"acme","spec_version":"1.0.34","version":3}}"#,
    );
    assert_eq!(text, expected);
}

#[test]
fn an_inventory_is_refused_without_the_manufacturers_keys_after_its_time_and_when_it_is_older() {
    let honest = inventory(vec![record(1)]);
    for signers in [&[][..], &[1], &[1, 3]] {
        assert_eq!(verify(&signed(&honest, signers), "acme", 3, NOW), Err(InvalidInventory::Signatures));
    }
    let bytes = signed(&honest, &[1, 2]);
    assert_eq!(verify(&bytes, "other", 3, NOW), Err(InvalidInventory::Manufacturer("acme".parse().unwrap())));
    assert_eq!(verify(&bytes, "acme", 4, NOW), Err(InvalidInventory::Rollback { least: 4, found: 3 }));
    assert_eq!(verify(&bytes, "acme", 3, NOW + 1), Err(InvalidInventory::Expired(Expires::at(NOW + 1))));
    let altered = String::from_utf8(bytes).unwrap().replace("PM2-B", "PM2-C");
    assert_eq!(verify(altered.as_bytes(), "acme", 3, NOW), Err(InvalidInventory::Signatures));
    assert_eq!(verify(&vec![b' '; MAX_INVENTORY_BYTES + 1], "acme", 3, NOW), Err(InvalidInventory::Length));
}

#[test]
fn a_device_stands_in_an_inventory_once() {
    let mut same_serial = record(2);
    same_serial.characteristics.serial_number = record(1).characteristics.serial_number;
    let same_key = Record { key: record(1).key, ..record(2) };
    for wrong in [
        vec![record(2), record(1)],
        vec![record(1), record(1)],
        vec![record(1), same_serial],
        vec![record(1), same_key],
    ] {
        assert!(matches!(Draft::new(&inventory(wrong)), Err(InvalidMetadata::Contradiction(_))));
    }
    let mut of_another = record(1);
    of_another.characteristics.manufacturer = "other".parse().unwrap();
    let why = InvalidMetadata::Contradiction("an inventory has another manufacturer's device");
    assert_eq!(Draft::new(&inventory(vec![of_another])), Err(why));
    let without = |number| Record { key: None, ..record(number) };
    assert!(Draft::new(&inventory(vec![without(1), without(2)])).is_ok());
}

#[test]
fn an_inventory_has_a_limit() {
    let most: Vec<_> = (0..MAX_INVENTORY_DEVICES).map(record).collect();
    let bytes = signed(&inventory(most.clone()), &[1, 2]);
    assert!(verify(&bytes, "acme", 3, NOW).is_ok());
    let more = most.into_iter().chain([record(MAX_INVENTORY_DEVICES)]).collect();
    assert!(Draft::new(&inventory(more)).is_err());
}

#[test]
fn metadata_of_another_kind_is_no_inventory() {
    let bytes = signed(&inventory(vec![record(1)]), &[1, 2]);
    let text = String::from_utf8(bytes).unwrap();
    for (old, new) in [("\"inventory\"", "\"targets\""), ("\"key\"", "\"Key\""), ("\"model\"", "\"Model\"")] {
        let refused = verify(text.replace(old, new).as_bytes(), "acme", 3, NOW);
        assert!(matches!(refused, Err(InvalidInventory::Metadata(_))), "{new}");
    }
}

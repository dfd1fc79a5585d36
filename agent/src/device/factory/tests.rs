#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use serde_json::json;
use wardlink_test_repository::hospital::{Hospital, MANUFACTURER_KEY, manufacturer};
use wardlink_test_repository::{NOW, public};

fn factory(hospital: &Hospital) -> Value {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    json!({
        "version": 1,
        "manufacturer": "acme",
        "device_type": "infusion-pump",
        "model": "PM2",
        "root": json(&hospital.images.root()),
        "targets": json(&hospital.handed_delegator()),
    })
}

fn parse(value: &Value) -> Result<Factory, InvalidFactory> {
    Factory::parse(&serde_json::to_vec(value).unwrap())
}

#[test]
fn a_model_trusts_its_manufacturers_role_and_both_sources_unless_it_says_otherwise() {
    let trusted = parse(&factory(&Hospital::new())).unwrap().trusted().unwrap();
    assert_eq!((trusted.provisioned.trust, &trusted.provisioned.manufacturer), (Trust::Both, &manufacturer()));
    let signer = trusted.provisioned.signer.unwrap();
    assert_eq!(signer.keys.into_keys().collect::<Vec<_>>(), [public(MANUFACTURER_KEY).id()]);
    assert_eq!(trusted.provisioned.server, None);
}

#[test]
fn what_lies_in_the_file_counts_also_after_its_time() {
    let mut hospital = Hospital::new();
    hospital.images.root_expires = wardlink_update::metadata::Expires::at(NOW - 5);
    hospital.images.publish_root();
    hospital.images.author("targets").expires = wardlink_update::metadata::Expires::at(NOW - 5);
    hospital.images.publish();
    parse(&factory(&hospital)).unwrap();
}

#[test]
fn a_file_that_does_not_fit_together_is_refused() {
    let hospital = Hospital::new();
    let whole = factory(&hospital);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = whole.clone();
        change(&mut value);
        parse(&value).unwrap_err()
    };
    assert!(matches!(changed(&|file| file["version"] = 2.into()), InvalidFactory::Version(2)));
    assert!(matches!(changed(&|file| file["extra"] = 2.into()), InvalidFactory::Members(_)));
    assert!(matches!(changed(&|file| file["trust"] = "nobody".into()), InvalidFactory::Members(_)));
    for member in ["root", "targets"] {
        let without = changed(&|file| drop(file.as_object_mut().unwrap().remove(member)));
        assert!(matches!(without, InvalidFactory::Missing(_)), "{without}");
    }
    assert!(matches!(changed(&|file| file["root"]["signed"]["version"] = 9.into()), InvalidFactory::RootSignatures));
    assert!(matches!(changed(&|file| file["root"]["signatures"] = json!([])), InvalidFactory::RootSignatures));
    assert!(matches!(changed(&|file| file["targets"]["signatures"] = json!([])), InvalidFactory::Targets(_)));
    assert!(matches!(changed(&|file| file["targets"] = file["root"].clone()), InvalidFactory::Targets(_)));
    assert!(matches!(changed(&|file| file["model"] = "PM3".into()), InvalidFactory::NotDelegated(_)));
    assert!(matches!(changed(&|file| file["manufacturer"] = "other".into()), InvalidFactory::NotDelegated(_)));
    assert!(matches!(Factory::parse(b"{\"version\":1,\"version\":1}"), Err(InvalidFactory::Json(_))));
    let long = vec![b' '; usize::try_from(MAX_FACTORY_BYTES).unwrap() + 1];
    assert!(matches!(Factory::parse(&long), Err(InvalidFactory::TooLong)));
}

#[test]
fn who_trusts_the_server_alone_needs_nothing_of_the_manufacturer() {
    let file = json!({"version": 1, "trust": "server", "manufacturer": "acme", "device_type": "scale", "model": "S"});
    assert_eq!(parse(&file).unwrap().trusted().unwrap().provisioned.signer, None);
}

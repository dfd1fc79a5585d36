//! Attacks on a gateway: each begins with a gateway that knows both repositories, and changes what they answer next.

use crate::NOW;
use crate::hospital::{Hospital, SERVER_KEY, atomic_pair, gateway_package, pump_package};
use serde_json::{Value, json};
use wardlink_update::director::{Directive, MAX_ASSIGNMENTS};
use wardlink_update::metadata::{Draft, Expires};
use wardlink_update::package::{Encryption, Recall, ReleaseCounter, RevisionRange};

/// An attack, and where it has to fail.
#[derive(Clone, Copy, Debug)]
pub struct GatewayAttack {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The step of Uptane 2.1 that refuses it.
    pub step: &'static str,
    /// Whose metadata is refused.
    pub repository: &'static str,
    make: fn(&mut Hospital),
}

const DIRECTOR: &str = "director";
const IMAGES: &str = "images of acme";

const fn attack(
    name: &'static str,
    step: &'static str,
    repository: &'static str,
    make: fn(&mut Hospital),
) -> GatewayAttack {
    GatewayAttack { name, step, repository, make }
}

/// Every attack on a gateway that is frozen.
pub const GATEWAY_ATTACKS: [GatewayAttack; 44] = [
    // The director's own metadata.
    attack("gateway-director-root-of-the-wrong-key", "5.4.4.2 step 2", DIRECTOR, |hospital| {
        hospital.director.root_signers = vec![SERVER_KEY];
        hospital.director.bump_root();
    }),
    attack("gateway-director-timestamp-of-the-wrong-key", "5.4.4.2 step 3", DIRECTOR, |hospital| {
        hospital.version += 1;
        hospital.publish(&hospital.directive(&[]), 9);
    }),
    attack("gateway-directive-replayed", "5.4.4.2 step 3", DIRECTOR, |hospital| {
        let earlier = hospital.director.files["timestamp.json"].clone();
        let orders = hospital.orders();
        hospital.direct(&orders);
        assert_eq!(hospital.run().unwrap().len(), 2);
        hospital.director.files.insert("timestamp.json".to_owned(), earlier);
    }),
    attack("gateway-director-snapshot-altered", "5.4.4.2 step 4", DIRECTOR, |hospital| {
        hospital.direct(&[]);
        alter(&mut hospital.director.files, &format!("{}.snapshot.json", hospital.version));
    }),
    attack("gateway-directive-altered", "5.4.4.2 step 5", DIRECTOR, |hospital| {
        hospital.direct(&[]);
        alter(&mut hospital.director.files, &format!("{}.targets.json", hospital.version));
    }),
    attack("gateway-directive-expired", "5.4.4.2 step 5", DIRECTOR, |hospital| {
        hospital.version += 1;
        let (associations, expires) = (&hospital.associations, Expires::at(NOW));
        let directive = Directive::new(hospital.version, expires, &hospital.bound.gateway, &[], associations).unwrap();
        hospital.publish(&directive, SERVER_KEY);
    }),
    attack("gateway-directive-with-a-path-upwards", "5.4.4.2 step 5", DIRECTOR, |hospital| {
        move_order(hospital, "acme/infusion-pump/PM2/../../../passwd");
    }),
    attack("gateway-directive-of-another-kind", "5.4.4.2 step 5", DIRECTOR, |hospital| {
        hospital.direct_forged(&[], |signed| signed["_type"] = json!("snapshot"));
    }),
    // Directives that the server would not make, signed with its key.
    attack("gateway-directive-for-another-gateway", "5.2.3.1", DIRECTOR, |hospital| {
        hospital.direct_forged(&[], |signed| signed["custom"]["gateway"]["identifier"] = json!("ward-4"));
    }),
    attack("gateway-directive-that-says-nothing", "5.2.3.1", DIRECTOR, |hospital| {
        hospital.direct_forged(&[], |signed| signed["custom"]["directive"] = json!("install"));
    }),
    attack("gateway-directive-without-a-gateway", "5.4.4.6 step 3", DIRECTOR, |hospital| {
        hospital.direct_forged(&[], |signed| drop(signed.as_object_mut().unwrap().remove("custom")));
    }),
    attack("gateway-directive-that-delegates", "5.4.4.6 step 6", DIRECTOR, |hospital| {
        hospital.direct_forged(&[], |signed| signed["delegations"] = json!({"keys": {}, "roles": []}));
    }),
    attack("gateway-device-with-two-orders", "5.4.4.6 step 7", DIRECTOR, |hospital| {
        let orders = hospital.orders();
        let path = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            let order = signed["targets"][path.as_str()].clone();
            signed["targets"]["acme/infusion-pump/PM2/again.bin"] = order;
        });
    }),
    attack("gateway-device-that-is-not-here", "5.4.4.6 step 8", DIRECTOR, |hospital| {
        change_assignment(hospital, |part| part["device"]["identifier"] = json!("p1-elsewhere"));
    }),
    attack("gateway-order-for-another-serial-number", "5.4.3.4 step 2", DIRECTOR, |hospital| {
        change_assignment(hospital, |part| part["serial_number"] = json!("S-p2"));
    }),
    attack("gateway-package-for-other-hardware", "5.4.3.4 step 3", DIRECTOR, |hospital| {
        hospital.direct_forged_order(|order| {
            order["custom"]["package"]["hardware"] = json!(["C"]);
            for part in order["custom"]["assignments"].as_array_mut().unwrap() {
                part["hardware"] = json!("C");
            }
        });
    }),
    attack("gateway-package-for-another-model", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        let orders = hospital.orders();
        let path = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            let mut order = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
            order["custom"]["package"]["model"] = json!("PM3");
            signed["targets"]["acme/infusion-pump/PM3/1B-2.bin"] = order;
        });
    }),
    attack("gateway-package-for-another-type", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        let orders = hospital.orders();
        let path = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            let mut order = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
            order["custom"]["package"]["device_type"] = json!("scale");
            signed["targets"]["acme/scale/PM2/1B-2.bin"] = order;
        });
    }),
    attack("gateway-package-of-another-manufacturer-for-this-model", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        direct_as_of(hospital, "other");
    }),
    attack("gateway-package-in-another-models-folder", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        move_order(hospital, "acme/infusion-pump/PM3/1B-2.bin");
    }),
    attack("gateway-package-for-another-revision", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        let mut later = pump_package();
        later.pre_revision = RevisionRange::single("1B".parse().unwrap());
        later.post_revision = "1C".parse().unwrap();
        later.release_counter = ReleaseCounter::new(3).unwrap();
        hospital.release(&later);
        hospital.images.bump();
        for state in &mut hospital.bound.present {
            state.characteristics.revision = "1B".parse().unwrap();
            state.release_counter = ReleaseCounter::new(2);
        }
        let orders = hospital.orders();
        for state in &mut hospital.bound.present {
            state.characteristics.revision = "1A".parse().unwrap();
        }
        hospital.direct(&orders);
    }),
    attack("gateway-downgrade-without-authorization", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        hospital.direct_forged_order(|order| {
            order["custom"]["package"]["pre_revision"] = json!({"from": "1C", "to": "1C"});
        });
    }),
    attack("gateway-added-data-that-the-package-does-not-take", "5.4.3.4 step 4", DIRECTOR, |hospital| {
        let file = json!({"path": "acme/infusion-pump/PM2/drugs", "length": 9, "sha256": "0".repeat(64)});
        change_assignment(hospital, |part| part["added"] = json!([{"kind": "drug_library", "file": file}]));
    }),
    attack("gateway-release-that-is-older", "5.4.3.4 step 5", DIRECTOR, |hospital| {
        let orders = hospital.orders();
        hospital.direct(&orders);
        for state in &mut hospital.bound.present {
            state.release_counter = ReleaseCounter::new(3);
        }
    }),
    attack("gateway-package-encrypted-to-another-gateway", "5.4.3.4 step 6", DIRECTOR, |hospital| {
        encrypt(hospital, "ward-4", 7, 0);
    }),
    attack("gateway-package-encrypted-to-another-key", "5.4.3.4 step 6", DIRECTOR, |hospital| {
        encrypt(hospital, "ward-3", 8, 0);
    }),
    attack("gateway-package-encrypted-and-endless", "5.4.3.4 step 6", DIRECTOR, |hospital| {
        encrypt(hospital, "ward-3", 7, 1);
    }),
    attack("gateway-directive-with-too-many-devices", "5.4.4.6 step 8", DIRECTOR, |hospital| {
        hospital.direct_forged_order(|order| {
            let assignments = order["custom"]["assignments"].as_array_mut().unwrap();
            for number in 0..MAX_ASSIGNMENTS {
                let mut more = assignments[0].clone();
                more["device"]["identifier"] = json!(format!("q{number:03}"));
                assignments.push(more);
            }
        });
    }),
    attack("gateway-release-that-was-recalled", "5.4.3.4 step 1", DIRECTOR, |hospital| {
        let orders = hospital.orders();
        let recalled = Some(Recall { reason: "it stops too early".parse().unwrap() });
        hospital.release(&wardlink_update::package::Package { recalled, ..pump_package() });
        hospital.images.bump();
        let path = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            signed["targets"][path.as_str()]["custom"]["package"]["recalled"] = json!({"reason": "it stops too early"});
        });
    }),
    attack("gateway-atomic-set-with-a-missing-member", "5.4.4.2 step 10", DIRECTOR, |hospital| {
        release_pair(hospital);
        let orders = hospital.orders();
        let pumps_only: Vec<_> = orders.into_iter().filter(|order| order.package.model.as_str() == "PM2").collect();
        hospital.direct(&pumps_only);
    }),
    attack("gateway-atomic-set-without-one-device", "5.4.4.2 step 10", DIRECTOR, |hospital| {
        release_pair(hospital);
        let mut orders = hospital.orders();
        for order in &mut orders {
            order.assignments.truncate(1);
        }
        hospital.direct(&orders);
    }),
    // The server's key is stolen, and the manufacturer's is not.
    attack("gateway-stolen-server-key-unknown-image", "5.4.4.2 step 10.1", IMAGES, |hospital| {
        move_order(hospital, "acme/infusion-pump/PM2/evil.bin");
    }),
    attack("gateway-stolen-server-key-unknown-manufacturer", "5.4.4.2 step 10.1", "images of evil", |hospital| {
        direct_as_of(hospital, "evil");
        for state in &mut hospital.bound.present {
            state.characteristics.manufacturer = "evil".parse().unwrap();
        }
    }),
    attack("gateway-stolen-server-key-other-image", "5.4.4.2 step 10.2.1", IMAGES, |hospital| {
        hospital.direct_forged_order(|order| order["hashes"]["sha256"] = json!("e".repeat(64)));
    }),
    attack("gateway-stolen-server-key-other-length", "5.4.4.2 step 10.2.1", IMAGES, |hospital| {
        hospital.direct_forged_order(|order| order["length"] = json!(order["length"].as_u64().unwrap() + 1));
    }),
    attack("gateway-stolen-server-key-other-description", "5.4.4.2 step 10.2.2", IMAGES, |hospital| {
        hospital.direct_forged_order(|order| order["custom"]["package"]["during_therapy"] = json!(true));
    }),
    attack("gateway-delta-to-another-package", "5.4.4.2 step 10.2.2", IMAGES, |hospital| {
        let mut later = pump_package();
        later.release_counter = ReleaseCounter::new(3).unwrap();
        hospital.release(&later);
        hospital.release_delta(&pump_package());
        hospital.images.bump();
        let orders = hospital.orders();
        let delta =
            hospital.images.author("acme").targets().into_iter().find(|(path, _)| path.as_str().ends_with("delta"));
        let (path, target) = delta.unwrap();
        let file = json!({"path": path, "length": target.length, "sha256": target.hashes.0["sha256"]});
        let of = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            signed["targets"][of.as_str()]["custom"]["assignments"][0]["delta"] = file;
        });
    }),
    // The image repository.
    attack("gateway-images-that-were-never-released", "5.4.4.2 step 10.1", IMAGES, |hospital| {
        // The director is ahead of the images, which are those of before the release.
        hospital.release(&gateway_package());
        let orders = hospital.orders();
        hospital.direct(&orders);
    }),
    attack("gateway-images-of-the-wrong-key", "5.4.4.2 step 10.1", IMAGES, |hospital| {
        hospital.release(&gateway_package());
        hospital.images.author("acme").signers = vec![SERVER_KEY];
        hospital.images.bump();
        let orders = hospital.orders();
        hospital.direct(&orders);
    }),
    attack("gateway-delegation-that-is-too-wide", "5.4.4.7", IMAGES, |hospital| {
        hospital.images.delegate("targets", "evil", SERVER_KEY, "*/*/*/*", false);
        hospital.images.bump();
        let orders = hospital.orders_of(|images| {
            images.authors.remove(&crate::role("evil"));
            images.author("targets").delegations.pop();
        });
        hospital.direct(&orders);
    }),
    attack("gateway-images-root-of-the-wrong-key", "5.4.4.2 step 6", IMAGES, |hospital| {
        let orders = hospital.orders();
        hospital.direct(&orders);
        hospital.images.root_signers = vec![SERVER_KEY];
        hospital.images.bump_root();
    }),
    attack("gateway-images-targets-altered", "5.4.4.2 step 9", IMAGES, |hospital| {
        hospital.images.bump();
        let version = hospital.images.author("targets").version;
        alter(&mut hospital.images.files, &format!("{version}.targets.json"));
        let orders = hospital.orders();
        hospital.direct(&orders);
    }),
    attack("gateway-images-frozen", "5.4.4.2 step 7", IMAGES, |hospital| {
        hospital.images.timestamp_expires = Expires::at(NOW);
        hospital.images.bump();
        let orders = hospital.orders();
        hospital.direct(&orders);
    }),
    attack("gateway-images-mixed-in", "5.4.4.2 step 8", IMAGES, |hospital| {
        hospital.images.bump();
        alter(&mut hospital.images.files, &format!("{}.snapshot.json", hospital.images.snapshot_version));
        let orders = hospital.orders();
        hospital.direct(&orders);
    }),
];

impl GatewayAttack {
    /// The gateway before the attack, and what the repositories answer then.
    pub fn make(&self) -> Hospital {
        let mut hospital = Hospital::new();
        (self.make)(&mut hospital);
        hospital
    }
}

type Answers = std::collections::BTreeMap<String, Vec<u8>>;

fn alter(files: &mut Answers, name: &str) {
    let mut draft = Draft::parse(&files[name]).unwrap();
    draft.sign(crate::public(9).id(), &crate::key(9));
    files.insert(name.to_owned(), draft.to_bytes());
}

fn move_order(hospital: &mut Hospital, to: &str) {
    let orders = hospital.orders();
    let path = orders[0].path.to_string();
    hospital.direct_forged(&orders, |signed| {
        let order = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
        signed["targets"][to] = order;
    });
}

/// The pumps' update as if another manufacturer had made it, for a model that it calls the same.
fn direct_as_of(hospital: &mut Hospital, manufacturer: &str) {
    let orders = hospital.orders();
    let path = orders[0].path.to_string();
    hospital.direct_forged(&orders, |signed| {
        let mut order = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
        order["custom"]["package"]["manufacturer"] = json!(manufacturer);
        signed["targets"][format!("{manufacturer}/infusion-pump/PM2/1B-2.bin")] = order;
    });
}

fn change_assignment(hospital: &mut Hospital, change: impl FnOnce(&mut Value)) {
    hospital.direct_forged_order(|order| change(&mut order["custom"]["assignments"][0]));
}

fn release_pair(hospital: &mut Hospital) {
    for package in atomic_pair() {
        hospital.release(&package);
    }
    hospital.images.bump();
}

/// Encrypted to a gateway and its key, in a file that is longer than it can be by so many bytes.
fn encrypt(hospital: &mut Hospital, gateway: &str, key: u8, beyond: u64) {
    let recipient: String = format!("{key:02x}").repeat(32);
    let gateway = json!({"client": "gateway", "identifier": gateway});
    hospital.direct_forged_order(|order| {
        let length = Encryption::Aes128Gcm.max_bytes(order["length"].as_u64().unwrap()) + beyond;
        let file = json!({"path": "acme/infusion-pump/PM2/1B-2.enc", "length": length, "sha256": "0".repeat(64)});
        order["custom"]["encrypted"] =
            json!({"gateway": gateway, "recipient": recipient, "method": "aes128gcm", "file": file, "key": "AAAA"});
    });
}

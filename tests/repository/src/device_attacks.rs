//! Attacks on a device: what a gateway hands on, and images as they arrive.

use crate::hospital::{Hospital, MANUFACTURER_KEY, SERVER_KEY, atomic_pair, gateway_package, pump_package};
use crate::{NOW, hospital};
use serde_json::json;
use wardlink_update::director::Directive;
use wardlink_update::metadata::Expires;
use wardlink_update::package::ReleaseCounter;
use wardlink_update::report::State;
use wardlink_update::uptane::{Corrupt, Provisioned, Seen, Trust};

/// What stands around the device.
#[derive(Clone)]
pub struct Bedside {
    pub state: State,
    pub provisioned: Provisioned,
    pub seen: Seen,
    pub server: Option<Vec<u8>>,
    pub manufacturer: Option<Vec<u8>>,
}

impl Bedside {
    /// What the hospital's gateway hands on to the first pump.
    pub fn of(hospital: &Hospital) -> Self {
        Self {
            state: hospital.pump().clone(),
            provisioned: hospital.provisioned(Trust::default()),
            seen: Seen {
                server: hospital.version,
                manufacturer: hospital.images.authors[&crate::role("acme")].version,
            },
            server: Some(hospital.handed_server()),
            manufacturer: Some(hospital.handed_manufacturer()),
        }
    }
}

/// An attack, and where it has to fail.
#[derive(Clone, Copy, Debug)]
pub struct DeviceAttack {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The step of Uptane 2.1 that refuses it.
    pub step: &'static str,
    /// Whose metadata is refused.
    pub repository: &'static str,
    make: fn(&mut Hospital, &mut Bedside),
}

const DIRECTOR: &str = "director";
const IMAGES: &str = "images of acme";

const fn attack(
    name: &'static str,
    step: &'static str,
    repository: &'static str,
    make: fn(&mut Hospital, &mut Bedside),
) -> DeviceAttack {
    DeviceAttack { name, step, repository, make }
}

/// Every attack on a device that is frozen. It trusts server and manufacturer together, as is the default.
pub const DEVICE_ATTACKS: [DeviceAttack; 17] = [
    attack("device-directive-missing", "5.4.4.6 step 1", DIRECTOR, |_, bedside| bedside.server = None),
    attack("device-directive-of-the-wrong-key", "5.4.4.6 step 3", DIRECTOR, |hospital, bedside| {
        let orders = hospital.orders();
        hospital.publish(&hospital.directive(&orders), 9);
        bedside.server = Some(hospital.handed_server());
    }),
    attack("device-directive-that-was-seen-before", "5.4.4.6 step 4", DIRECTOR, |_, bedside| bedside.seen.server += 1),
    attack("device-directive-expired", "5.4.4.6 step 5", DIRECTOR, |hospital, bedside| {
        let (orders, expires) = (hospital.orders(), Expires::at(NOW));
        let (gateway, associations) = (&hospital.bound.gateway, &hospital.associations);
        let directive = Directive::new(hospital.version, expires, gateway, &orders, associations).unwrap();
        hospital.publish(&directive, SERVER_KEY);
        bedside.server = Some(hospital.handed_server());
    }),
    attack("device-directive-that-delegates", "5.4.4.6 step 6", DIRECTOR, |hospital, bedside| {
        hospital.direct_forged(&[], |signed| signed["delegations"] = json!({"keys": {}, "roles": []}));
        bedside.server = Some(hospital.handed_server());
    }),
    attack("device-order-for-other-hardware", "5.4.3.4 step 3", DIRECTOR, |_, bedside| {
        bedside.state.characteristics.hardware = "C".parse().unwrap();
    }),
    attack("device-order-for-another-serial-number", "5.4.3.4 step 2", DIRECTOR, |_, bedside| {
        bedside.state.characteristics.serial_number = "S-p9".parse().unwrap();
    }),
    attack("device-order-of-another-manufacturer", "5.4.3.4 step 4", DIRECTOR, |_, bedside| {
        bedside.provisioned.manufacturer = "other".parse().unwrap();
    }),
    attack("device-order-for-another-revision", "5.4.3.4 step 4", DIRECTOR, |_, bedside| {
        bedside.state.characteristics.revision = "1".parse().unwrap();
    }),
    attack("device-release-that-is-older", "5.4.3.4 step 5", DIRECTOR, |_, bedside| {
        bedside.state.release_counter = ReleaseCounter::new(3);
    }),
    attack("device-atomic-set-with-a-missing-member", "5.4.4.2 step 10", DIRECTOR, |hospital, bedside| {
        for package in atomic_pair() {
            hospital.release(&package);
        }
        hospital.images.bump();
        let orders = hospital.orders();
        let pumps_only: Vec<_> = orders.into_iter().filter(|order| order.package.model.as_str() == "PM2").collect();
        hospital.direct(&pumps_only);
        (bedside.server, bedside.manufacturer) = (Some(hospital.handed_server()), Some(hospital.handed_manufacturer()));
    }),
    attack("device-manufacturer-missing", "5.4.4.6 step 1", IMAGES, |_, bedside| bedside.manufacturer = None),
    attack("device-manufacturer-of-the-wrong-key", "5.4.4.6 step 3", IMAGES, |hospital, bedside| {
        hospital.images.author("acme").signers = vec![SERVER_KEY];
        hospital.images.bump();
        bedside.manufacturer = Some(hospital.handed_manufacturer());
    }),
    attack("device-manufacturer-rolled-back", "5.4.4.6 step 4", IMAGES, |_, bedside| bedside.seen.manufacturer += 1),
    attack("device-manufacturer-expired", "5.4.4.6 step 5", IMAGES, |hospital, bedside| {
        hospital.images.author("acme").expires = Expires::at(NOW);
        hospital.images.bump();
        bedside.manufacturer = Some(hospital.handed_manufacturer());
    }),
    attack("device-stolen-server-key-unknown-image", "5.4.4.2 step 10.1", IMAGES, |hospital, bedside| {
        let orders = hospital.orders();
        let path = orders[0].path.to_string();
        hospital.direct_forged(&orders, |signed| {
            let order = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
            signed["targets"]["acme/infusion-pump/PM2/evil.bin"] = order;
        });
        bedside.server = Some(hospital.handed_server());
    }),
    attack("device-stolen-server-key-other-image", "5.4.4.2 step 10.2.1", IMAGES, |hospital, bedside| {
        hospital.direct_forged_order(|order| order["hashes"]["sha256"] = json!("e".repeat(64)));
        bedside.server = Some(hospital.handed_server());
    }),
];

impl DeviceAttack {
    /// What the device is handed in the attack.
    pub fn make(&self) -> Bedside {
        let mut hospital = Hospital::new();
        let orders = hospital.orders();
        hospital.direct(&orders);
        let mut bedside = Bedside::of(&hospital);
        (self.make)(&mut hospital, &mut bedside);
        bedside
    }
}

/// An attack on a device that follows the rotated keys of its manufacturer's role, and where it has to fail.
#[derive(Clone, Copy, Debug)]
pub struct RotationAttack {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The step of Uptane 2.1 that refuses it.
    pub step: &'static str,
    make: fn(&mut Hospital),
}

/// Every such attack that is frozen. In each of them somebody names a key of his own for the manufacturer's role.
pub const ROTATION_ATTACKS: [RotationAttack; 5] = [
    RotationAttack {
        name: "rotation-of-the-wrong-key",
        step: "5.4.4.6 step 3",
        make: |hospital| hospital.images.author("targets").signers = vec![SERVER_KEY],
    },
    RotationAttack {
        name: "rotation-of-the-roles-own-key",
        step: "5.4.4.6 step 3",
        make: |hospital| hospital.images.author("targets").signers = vec![MANUFACTURER_KEY],
    },
    // `bump` makes version 1 of it.
    RotationAttack {
        name: "rotation-rolled-back",
        step: "5.4.4.6 step 4",
        make: |hospital| hospital.images.author("targets").version = 0,
    },
    RotationAttack {
        name: "rotation-expired",
        step: "5.4.4.6 step 5",
        make: |hospital| hospital.images.author("targets").expires = Expires::at(NOW),
    },
    RotationAttack {
        name: "rotation-that-is-too-wide",
        step: "5.4.4.7",
        make: |hospital| hospital.images.delegate("targets", "evil", SERVER_KEY, "*/*/*/*", false),
    },
];

impl RotationAttack {
    /// The repository in the attack, and a device that follows it.
    pub fn make(&self) -> (Hospital, Bedside) {
        let mut hospital = Hospital::new();
        let mut bedside = Bedside::of(&hospital);
        bedside.provisioned.delegated.as_mut().unwrap().version = hospital.images.author("targets").version;
        hospital.images.redelegate("acme", &[SERVER_KEY], 1);
        (self.make)(&mut hospital);
        hospital.images.bump();
        (hospital, bedside)
    }
}

/// An image that is not the listed one.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// What is wrong with it.
    pub corrupt: Corrupt,
    make: fn(&mut Vec<u8>),
}

/// Every such image that is frozen.
pub const DELIVERED: [Delivered; 4] = [
    Delivered { name: "package-altered", corrupt: Corrupt::Hash, make: |bytes| bytes[4] ^= 1 },
    Delivered { name: "package-cut-short", corrupt: Corrupt::TooShort, make: |bytes| bytes.truncate(20) },
    Delivered { name: "package-endless", corrupt: Corrupt::TooLong, make: |bytes| bytes.resize(20_000, b' ') },
    Delivered {
        name: "package-of-another-model",
        corrupt: Corrupt::Hash,
        make: |bytes| {
            let length = bytes.len();
            *bytes = hospital::image(&gateway_package());
            bytes.resize(length, b' ');
        },
    },
];

impl Delivered {
    /// What arrives instead of the pumps' update.
    pub fn make(&self) -> Vec<u8> {
        let mut bytes = hospital::image(&pump_package());
        (self.make)(&mut bytes);
        bytes
    }
}

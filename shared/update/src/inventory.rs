//! Inventories: signed initial records of devices, the manufacturer's entries of the configuration catalog (paragraph 0028).
//!
//! An inventory is an envelope like TUF's metadata, of type `inventory`, signed by a threshold of the keys of the manufacturer's role.

use crate::key::{Key, KeyId};
use crate::metadata::{Expires, InvalidMetadata, Role, RoleKeys, Signed, Version};
use crate::package::{HardwareId, Manufacturer, Model, ModelFolder, Revision, SerialNumber};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::identity::{Device, KeyFingerprint};

/// The longest inventory, in bytes.
pub const MAX_INVENTORY_BYTES: usize = 5_000_000;
/// The most devices of an inventory.
pub const MAX_INVENTORY_DEVICES: usize = 10_000;

/// The operational characteristics of a device or gateway (figure 2, 41 to 48).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Characteristics {
    /// Its type (its class) and its identifier.
    pub device: Device,
    /// Who made it: with its type, it says which model a model's name means.
    pub manufacturer: Manufacturer,
    /// Its model.
    pub model: Model,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Its software revision.
    pub revision: Revision,
    /// Its hardware.
    pub hardware: HardwareId,
}

impl Characteristics {
    /// Its model, as no other manufacturer's is called: where its packages lie.
    pub fn models(&self) -> ModelFolder {
        let (manufacturer, device_type, model) =
            (self.manufacturer.clone(), self.device.client.clone(), self.model.clone());
        ModelFolder { manufacturer, device_type, model }
    }
}

/// One device as it leaves the manufacturer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What it is.
    pub characteristics: Characteristics,
    /// The key that the manufacturer gave it, by which it proves its origin; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyFingerprint>,
}

/// What a manufacturer says of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    version: Version,
    expires: Expires,
    /// Who made them.
    pub manufacturer: Manufacturer,
    /// The devices, in ascending order of class and identifier; at most [`MAX_INVENTORY_DEVICES`].
    pub devices: Vec<Record>,
}

/// Why an inventory is refused. The peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInventory {
    /// It is too long.
    #[error("it is longer than {MAX_INVENTORY_BYTES} bytes")]
    Length,
    /// It is no inventory.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// Too few of the manufacturer's keys have signed it.
    #[error("not enough of the manufacturer's keys have signed it")]
    Signatures,
    /// It speaks for another manufacturer than the one whose keys have signed it.
    #[error("it is about devices of {0}")]
    Manufacturer(Manufacturer),
    /// Its time is over.
    #[error("it ended at {0}")]
    Expired(Expires),
    /// It is older than the one that was imported before.
    #[error("it has version {found}, and version {least} was expected at least")]
    Rollback {
        /// The least version that would do.
        least: Version,
        /// Its version.
        found: Version,
    },
}

impl Inventory {
    /// Makes an inventory. Each version says all that is known; later ones replace earlier ones.
    pub const fn new(version: Version, expires: Expires, manufacturer: Manufacturer, devices: Vec<Record>) -> Self {
        Self { version, expires, manufacturer, devices }
    }

    /// Reads an inventory and verifies it at this time, in seconds since 1970: signed by a threshold of the role's keys, for the
    /// manufacturer that the role is named after, not over, and not older than `least`.
    pub fn verify(
        bytes: &[u8],
        manufacturer: &Manufacturer,
        role: &RoleKeys,
        keys: &BTreeMap<KeyId, Key>,
        least: Version,
        now: u64,
    ) -> Result<Self, InvalidInventory> {
        if bytes.len() > MAX_INVENTORY_BYTES {
            return Err(InvalidInventory::Length);
        }
        let signed: Signed<Self> = Signed::parse(bytes)?;
        if !signed.is_signed_by(role, keys) {
            return Err(InvalidInventory::Signatures);
        }
        let inventory = signed.role;
        if inventory.manufacturer != *manufacturer {
            return Err(InvalidInventory::Manufacturer(inventory.manufacturer));
        }
        if inventory.version < least {
            return Err(InvalidInventory::Rollback { least, found: inventory.version });
        }
        if inventory.expires.is_over(now) {
            return Err(InvalidInventory::Expired(inventory.expires));
        }
        Ok(inventory)
    }
}

impl Role for Inventory {
    const TYPE: &'static str = "inventory";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        if self.devices.len() > MAX_INVENTORY_DEVICES {
            return Err(InvalidMetadata::Contradiction("an inventory has too many devices"));
        }
        let devices = || self.devices.iter().map(|record| &record.characteristics);
        if !devices().zip(devices().skip(1)).all(|(one, next)| one.device < next.device) {
            return Err(InvalidMetadata::Contradiction("an inventory's devices are not in ascending order, each once"));
        }
        if !devices().all(|of| of.manufacturer == self.manufacturer) {
            return Err(InvalidMetadata::Contradiction("an inventory has another manufacturer's device"));
        }
        let serials: BTreeSet<_> = devices().map(|of| (&of.device.client, &of.model, &of.serial_number)).collect();
        if serials.len() != self.devices.len() {
            return Err(InvalidMetadata::Contradiction("two devices of one model have the same serial number"));
        }
        let keys: Vec<_> = self.devices.iter().filter_map(|record| record.key).collect();
        if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            return Err(InvalidMetadata::Contradiction("two devices have the same key"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Which gateway serves which device (paragraph 0027).

use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::identity::Device;

/// The unique mapping for download (claim 1), and the mapping for upload (claim 7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Associations {
    /// By device, so that it cannot have two gateways.
    download: BTreeMap<Device, Device>,
    upload: BTreeMap<Device, BTreeSet<Device>>,
}

impl Associations {
    /// From now on the device is updated through this gateway, and through no other; gives the earlier one. Its data is uploaded
    /// through it, too.
    pub fn associate(&mut self, device: Device, gateway: Device) -> Option<Device> {
        self.allow_upload(device.clone(), gateway.clone());
        self.download.insert(device, gateway)
    }

    /// From now on the device's data may also come through this gateway.
    pub fn allow_upload(&mut self, device: Device, gateway: Device) {
        self.upload.entry(device).or_default().insert(gateway);
    }

    /// Forgets the device.
    pub fn remove(&mut self, device: &Device) {
        self.download.remove(device);
        self.upload.remove(device);
    }

    /// The gateway through which the device is updated.
    pub fn gateway_of(&self, device: &Device) -> Option<&Device> {
        self.download.get(device)
    }

    /// Whether the device's data may come through the gateway.
    pub fn may_upload(&self, device: &Device, gateway: &Device) -> bool {
        self.upload.get(device).is_some_and(|gateways| gateways.contains(gateway))
    }
}

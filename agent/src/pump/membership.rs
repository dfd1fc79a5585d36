//! Who a paired device is at its site, for what it does there beside the bridge.

use super::Pump;
use crate::link::{Endpoint, Identity};
use std::sync::Arc;
use wardlink_pairing::device::DevicePairing;

/// A paired device's place at its site.
#[derive(Clone)]
pub struct Membership {
    /// The device with its key, its certificate in force and the site's root.
    pub identity: Arc<Identity>,
    /// The site's host, and how to reach it.
    pub endpoint: Arc<Endpoint>,
}

impl Pump {
    /// Says who the device is now, where that is another one than before.
    pub(super) fn tell_membership(&mut self) {
        let now = self.member();
        self.membership.send_if_modified(|told| {
            let same = match (&now, &*told) {
                (None, None) => true,
                (Some(now), Some(told)) => {
                    now.identity.certificate == told.identity.certificate
                        && now.endpoint.address() == told.endpoint.address()
                }
                _ => false,
            };
            *told = now;
            !same
        });
    }

    fn member(&self) -> Option<Membership> {
        let pairing = self.pairing.as_ref().filter(|pairing| pairing.is_paired() && self.leaving.is_none())?;
        let kept = DevicePairing::pairing(pairing)?;
        let identity = Identity {
            key: self.key.clone(),
            device: self.settings.device.clone(),
            certificate: Some(self.renewed_certificate().unwrap_or_else(|| kept.certificate.to_vec())),
            root: Some(kept.cert_ca),
        };
        let endpoint = Arc::new(self.endpoint_of(&kept.network).ok()?);
        Some(Membership { identity: Arc::new(identity), endpoint })
    }
}

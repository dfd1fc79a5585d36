//! Who a paired device is at its site, for what it does there beside the bridge.

use super::trust::kept_certificate;
use super::{Pump, PumpError};
use crate::link::{Endpoint, Identity, TlsTrust};
use crate::state::{Record, StateDirectory};
use std::sync::Arc;
use wardlink_crypto::key::PrivateKey;
use wardlink_pairing::device::DevicePairing;

/// A paired device's place at its site.
#[derive(Clone)]
pub struct Membership {
    /// The device with its key, its certificate in force and the site's root.
    pub identity: Arc<Identity>,
    /// The site's host, and how to reach it.
    pub endpoint: Arc<Endpoint>,
}

/// Who a device that may or may not run is at its site, by what it has stored; none while it is not paired. `way` is how it was told to
/// reach the bridge before its pairing: by the same proxy and scheme it goes to the host that the pairing named.
pub fn kept_membership(state: &StateDirectory, way: Option<&Endpoint>) -> Result<Option<Membership>, PumpError> {
    let Some(snapshot) = state.read(Record::Pairing)? else { return Ok(None) };
    let pairing = DevicePairing::restore(&snapshot)?;
    let (Some(device), Some(key), Some(kept)) =
        (state.owner()?, state.read(Record::StaticKey)?, pairing.pairing().filter(|_| pairing.is_paired()))
    else {
        return Ok(None);
    };
    let network = &kept.network;
    let anchors = network.tls_anchors.iter().map(|anchor| anchor.to_vec()).collect();
    let trust = TlsTrust { anchors, web_pki: network.web_pki, ..TlsTrust::default() };
    let endpoint = match way {
        Some(way) => way.at_host(&network.broker_host, &trust)?,
        None => Endpoint::new(&format!("wss://{}/mqtt", network.broker_host), &trust)?,
    };
    let identity = Identity {
        key: PrivateKey::from_pkcs8(&key)?,
        device,
        certificate: Some(kept_certificate(state)?.unwrap_or_else(|| kept.certificate.to_vec())),
        root: Some(kept.cert_ca),
    };
    Ok(Some(Membership { identity: Arc::new(identity), endpoint: Arc::new(endpoint) }))
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

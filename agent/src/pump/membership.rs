//! Who a paired device is at its site, for what it does there beside the bridge.

use super::trust::kept_certificate;
use super::{Pump, PumpError};
use crate::link::{Endpoint, Identity, TlsTrust};
use crate::state::{Record, StateDirectory};
use std::sync::Arc;
use tokio::sync::watch;
use wardlink_crypto::key::PrivateKey;
use wardlink_pairing::device::DevicePairing;
use wardlink_trust::associated::ChannelKeys;
use wardlink_trust::wrap::WrapKey;

/// A paired device's place at its site.
#[derive(Clone)]
pub struct Membership {
    /// The device with its key, its certificate in force and the site's root.
    pub identity: Arc<Identity>,
    /// The site's host, and how to reach it.
    pub endpoint: Arc<Endpoint>,
    /// What it was given beside its certificate.
    pub keys: MemberKeys,
}

/// The keys of a paired device for what it does beside the bridge. They are replaced while its place stays the same.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemberKeys {
    /// Its `K_wrap`: one, or two while a renewal is finished.
    pub wrap: Vec<WrapKey>,
    /// Those of its channel `update`, on which it speaks with its gateway.
    pub update: ChannelKeys,
}

impl Membership {
    /// Whether this is the same place, by the same certificate.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.identity.certificate.clone(), one.endpoint.address().clone());
        place(self) == place(other)
    }

    /// Waits until the device is somewhere else than here, whatever keys it gets; an error where nobody says any more who it is.
    pub(crate) async fn ends(
        &self,
        membership: &mut watch::Receiver<Option<Self>>,
    ) -> Result<(), watch::error::RecvError> {
        let is_elsewhere = |now: &Option<Self>| now.as_ref().is_none_or(|now| !self.is_same_place(now));
        membership.wait_for(is_elsewhere).await.map(drop)
    }
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
    // Whoever only looks at it speaks with nobody.
    let keys = MemberKeys::default();
    Ok(Some(Membership { identity: Arc::new(identity), endpoint: Arc::new(endpoint), keys }))
}

impl Pump {
    /// Says who the device is now, where that is another one than before.
    pub(super) fn tell_membership(&mut self) {
        let now = self.member();
        self.membership.send_if_modified(|told| {
            let same = match (&now, &*told) {
                (None, None) => true,
                (Some(now), Some(told)) => now.is_same_place(told) && now.keys == told.keys,
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
        Some(Membership { identity: Arc::new(identity), endpoint, keys: self.member_keys() })
    }
}

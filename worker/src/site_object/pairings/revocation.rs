//! What the end of the trust in a device does to its pairings.

use super::super::devices::DeviceRecord;
use super::super::{Outcome, Site, grants};
use super::actions::withdraw;
use super::store;
use serde_bytes::ByteBuf;
use wardlink_edge::problem::Failure;
use wardlink_pairing::control_unit::Session;
use wardlink_protocol::Device;
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::pairing::Mode;

/// Whoever was given the site's keys under this name and has not finished: as if it were paired.
pub(in super::super) fn confirmed(site: &Site<'_>, device: &Device) -> Result<Vec<DeviceRecord>, Failure> {
    let mut confirmed = Vec::new();
    for session in store::running(site, device)? {
        let view = session.view(site.rules.modes());
        if !is_confirmed(site, &session) {
            continue;
        }
        let Some(grant) = grants::find(site.database, session.key())? else { continue };
        let Some(certificate) = grant.certificates.iter().find(|listed| listed.purpose == device.purpose()) else {
            continue;
        };
        confirmed.push(DeviceRecord {
            device: device.clone(),
            information: view.information,
            key: session.key(),
            state: DeviceState::Confirmed,
            trust: TrustLevel::Reduced,
            mode: view.mode.unwrap_or(Mode::PairingSimple),
            location: view.location,
            certificate: ByteBuf::new(),
            serial: certificate.serial,
            certificate_ends: certificate.not_after,
            paired_at: view.confirmed_at.unwrap_or(site.now),
            paired_by: view.accepted_by.unwrap_or_default(),
            channels: Vec::new(),
        });
    }
    Ok(confirmed)
}

/// Ends every pairing of a device without a word to it. Those that were confirmed keep their grant, which the caller replaces.
pub(in super::super) fn end_all(site: &Site<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    for session in store::running(site, device)? {
        store::archive(site, session.id())?;
        store::hide(site, session.id(), outcome)?;
        if !is_confirmed(site, &session) {
            withdraw(site, device, session.key(), outcome)?;
        }
    }
    Ok(())
}

fn is_confirmed(site: &Site<'_>, session: &Session) -> bool {
    session.view(site.rules.modes()).phase == PairingPhase::Confirmed
}

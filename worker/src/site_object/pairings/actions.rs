//! What the state machines ask for, carried out: grants, topics, devices, locks.

use super::super::timers::{self, Timer};
use super::super::{Outcome, Site, associations, audit, data, decommissioning, devices, grants, keys, renewals};
use super::store;
use devices::DeviceRecord;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_pairing::control_unit::{Action, KeyGrant, PairedDevice};
use wardlink_protocol::Device;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_trust::audit::Act;

/// Carries out the actions in their order. All of it is stored in this turn.
pub(super) fn perform(site: &Site<'_>, actions: Vec<Action>, outcome: &mut Outcome) -> Result<(), Failure> {
    for action in actions {
        match action {
            Action::Grant(grant) => give(site, grant, outcome)?,
            Action::Publish { topic, payload } => outcome.bridge.publish(topic, payload),
            Action::RemoveTopic(topic) => outcome.bridge.remove(topic),
            Action::Paired(paired) => take_in(site, &paired, outcome)?,
        }
    }
    Ok(())
}

fn give(site: &Site<'_>, grant: KeyGrant, outcome: &mut Outcome) -> Result<(), Failure> {
    match grant.state {
        DeviceState::Paired => end_other_keys(site, &grant.device, grant.key, outcome)?,
        // It is given keys now, of at most these channels, and may never say that it has them.
        DeviceState::Confirmed => keys::note_given(site, &grant.device, |_| true, false)?,
        _ => {}
    }
    let KeyGrant { key, device, state, certificates, channels } = grant;
    outcome.bridge.grant(grants::put(site.database, key, &device, state, certificates, channels)?);
    Ok(())
}

/// One identifier has one live key: the others' rights end before the new ones count.
fn end_other_keys(site: &Site<'_>, device: &Device, key: KeyFingerprint, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut others = Vec::new();
    for session in store::running(site, device)? {
        if session.key() != key {
            store::archive(site, session.id())?;
            others.push(session.key());
        }
    }
    others.extend(devices::find(site.database, device)?.map(|known| known.key).filter(|known| *known != key));
    if !others.is_empty() {
        // Whoever has the earlier key has what the gateway was given with its devices.
        associations::end(site, device, outcome)?;
    }
    for other in others {
        withdraw(site, device, other, outcome)?;
    }
    Ok(())
}

/// A key loses everything.
pub(super) fn withdraw(
    site: &Site<'_>,
    device: &Device,
    key: KeyFingerprint,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let nothing = grants::put(site.database, key, device, DeviceState::Unknown, Vec::new(), Vec::new())?;
    outcome.bridge.grant(nothing);
    Ok(())
}

/// The pairing is finished: the device is one of the site.
fn take_in(site: &Site<'_>, paired: &PairedDevice, outcome: &mut Outcome) -> Result<(), Failure> {
    let device = DeviceRecord {
        device: paired.device.clone(),
        information: paired.information.clone(),
        key: paired.key,
        state: DeviceState::Paired,
        trust: paired.trust,
        mode: paired.mode,
        location: paired.location.clone(),
        certificate: paired.certificate.clone(),
        serial: paired.serial,
        certificate_ends: paired.certificate_ends,
        paired_at: paired.paired_at,
        paired_by: paired.paired_by.clone(),
        channels: paired.channels.clone(),
    };
    devices::put(site.database, site.vault, &device, &paired.wrap_key)?;
    devices::note_seen(site.database, &device.device, site.now)?;
    data::forget_receivers(site.database, &device.device)?;
    renewals::forget(site, &device.device)?;
    decommissioning::forget(site.database, &device.device)?;
    keys::note_given(site, &device.device, |row| device.channels.contains(&row.name), true)?;
    timers::set(site.database, &Timer::Certificate(device.device.clone()), device.certificate_ends)?;
    log!("site: {} is paired, certificate {}", device.device, device.serial);
    let itself = audit::device(&device.device, device.key);
    outcome.notes.add(itself, Act::PairingFinished, &device.device, format!("certificate {}", device.serial));
    outcome.tell_of_device(site, &device.device)
}

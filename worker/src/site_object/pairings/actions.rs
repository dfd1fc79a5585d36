//! What the state machines ask for, carried out: grants, topics, devices, locks.

use super::super::timers::{self, Timer};
use super::super::{Outcome, Site, data, devices, grants};
use super::store;
use crate::platform::log;
use crate::problem::Failure;
use crate::storage::{Column, record};
use devices::DeviceRecord;
use wardlink_pairing::control_unit::{Action, KeyGrant, PairedDevice};
use wardlink_pairing::lockout::record_failure;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::{Device, UnixMillis};

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
    if grant.state == DeviceState::Paired {
        end_other_keys(site, &grant.device, grant.key, outcome)?;
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
    timers::set(site.database, &Timer::Certificate(device.device.clone()), device.certificate_ends)?;
    log!("site: {} is paired, certificate {}", device.device, device.serial);
    outcome.tell_of_device(site, &device.device)
}

/// Counts a failed session of an identifier, which may lock it.
pub(super) fn fail(site: &Site<'_>, device: &Device) -> Result<(), Failure> {
    let query = "SELECT failed_at FROM failures WHERE client = ? AND identifier = ?";
    let row = site.database.row(query, devices::names(device))?;
    let mut failures: Vec<UnixMillis> = row.map_or_else(|| Ok(Vec::new()), |mut row| row.take_record())?;
    let locked = record_failure(&mut failures, site.now);
    if locked {
        log!("site: ALERT: {device} is locked after {} failed pairings", failures.len());
    }
    let [client, identifier] = devices::names(device);
    site.database.run(
        "INSERT INTO failures (client, identifier, failed_at, locked) VALUES (?, ?, ?, ?)
         ON CONFLICT (client, identifier) DO UPDATE SET failed_at = excluded.failed_at,
             locked = max(locked, excluded.locked)",
        [client, identifier, record(&failures)?, locked.into_value()],
    )
}

/// Whether an identifier is locked; only an administrator lifts that.
pub(super) fn is_locked(site: &Site<'_>, device: &Device) -> Result<bool, Failure> {
    let query = "SELECT locked FROM failures WHERE client = ? AND identifier = ?";
    Ok(site.database.one(query, devices::names(device))?.unwrap_or_default())
}

/// An administrator lifts the lock of an identifier; its failures are forgotten.
pub(in super::super) fn unlock(site: &Site<'_>, device: &Device) -> Result<(), Failure> {
    site.database.run("DELETE FROM failures WHERE client = ? AND identifier = ?", devices::names(device))
}

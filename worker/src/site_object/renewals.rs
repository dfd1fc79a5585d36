//! Renewal of certificates: the device asks with its static key, and gets a new certificate and new wrapping keys.

use super::devices::{self, DeviceRecord};
use super::timers::{self, Timer};
use super::{Outcome, Site, audit, grants, keys, revocation_list};
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, record};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::renewal::{KnownDevice, Renewal, RenewalAction, RenewedDevice, RenewingControlUnit};
use wardlink_protocol::Device;
use wardlink_protocol::api::RevocationReason;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_trust::audit::Act;

/// Takes a message of the topic for renewals. One that is the peer's fault is dropped, and logged.
pub(super) fn take(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<(), Failure> {
    let Publisher::Key { device, key, .. } = &message.publisher else { return Ok(()) };
    let Some(known) = devices::find(site.database, device)?.filter(|known| known.key == *key) else {
        log!("site: {device} asks to renew, and is not paired with this key");
        return Ok(());
    };
    let chain = site.authority.chain()?;
    let control_unit = RenewingControlUnit {
        signer: Signer { key: site.authority.key()?, chain: &chain },
        ca: site.authority.issuing(site.now)?,
        certificate_lifetime: site.rules.modes().certificate_lifetime,
    };
    let asking = KnownDevice {
        device,
        key: known.key,
        certificate: &known.certificate,
        state: known.state,
        trust: known.trust,
        channels: &known.channels,
    };
    let before = find(site, device)?;
    match Renewal::receive(before, message, asking, control_unit, site.now, &mut rng()) {
        Ok((renewal, actions)) => {
            put(site, device, &renewal)?;
            actions.into_iter().try_for_each(|action| perform(site, &known, action, outcome))
        }
        Err(refusal) => {
            log!("site: message {} on {} does not count: {refusal}", message.sequence, message.topic);
            Ok(())
        }
    }
}

fn perform(site: &Site<'_>, known: &DeviceRecord, action: RenewalAction, outcome: &mut Outcome) -> Result<(), Failure> {
    match action {
        RenewalAction::Grant(grant) => {
            let (key, state) = (grant.key, grant.state);
            let put = grants::put(site.database, key, &grant.device, state, grant.certificates, grant.channels)?;
            outcome.bridge.grant(put);
            Ok(())
        }
        RenewalAction::Publish { topic, payload } => {
            outcome.bridge.publish(topic, payload);
            Ok(())
        }
        RenewalAction::Renewed(renewed) => replace(site, known, &renewed, outcome),
    }
}

/// The device has its new certificate: the old one is worth nothing any more.
fn replace(
    site: &Site<'_>,
    known: &DeviceRecord,
    renewed: &RenewedDevice,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let (device, database) = (&known.device, site.database);
    log!("site: {device} has renewed its certificate: {}", renewed.serial);
    let superseded = record(&None::<RevocationReason>)?;
    database.run(
        "INSERT OR IGNORE INTO revoked_certificates (serial, reason, revoked_at, ends_at) VALUES (?, ?, ?, ?)",
        [
            renewed.replaces.as_bytes().to_vec().into_value(),
            superseded,
            site.now.into_value(),
            known.certificate_ends.into_value(),
        ],
    )?;
    revocation_list::is_outdated(site)?;
    let now_known = DeviceRecord {
        certificate: renewed.certificate.clone(),
        serial: renewed.serial,
        certificate_ends: renewed.certificate_ends,
        state: DeviceState::Paired,
        ..known.clone()
    };
    devices::put(database, site.vault, &now_known, &renewed.wrap_key)?;
    timers::set(database, &Timer::Certificate(device.clone()), renewed.certificate_ends)?;
    let detail = format!("certificate {}", renewed.serial);
    outcome.notes.add(audit::device(device, known.key), Act::CertificateRenewed, device, detail);
    keys::send_missing(site, device, known.key, outcome)?;
    outcome.tell_of_device(site, device)
}

/// A device listens on its T2: an answer that it may have missed is sent again.
pub(super) fn subscribed(site: &Site<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    if let Some((topic, payload)) = find(site, device)?.and_then(|renewal| renewal.standing()) {
        outcome.bridge.publish(topic, payload);
    }
    Ok(())
}

/// The device pairs anew, or is revoked: what it was renewing is void.
pub(super) fn forget(site: &Site<'_>, device: &Device) -> Result<(), Failure> {
    site.database.run("DELETE FROM renewals WHERE client = ? AND identifier = ?", devices::names(device))
}

fn find(site: &Site<'_>, device: &Device) -> Result<Option<Renewal>, Failure> {
    let query = "SELECT state FROM renewals WHERE client = ? AND identifier = ?";
    let Some(sealed) = site.database.one::<Vec<u8>, _>(query, devices::names(device))? else { return Ok(None) };
    Renewal::restore(&site.vault.unseal(&place(device), &sealed)?).map(Some).map_err(Failure::internal)
}

fn put(site: &Site<'_>, device: &Device, renewal: &Renewal) -> Result<(), Failure> {
    let snapshot = renewal.snapshot().map_err(Failure::internal)?;
    let [client, identifier] = devices::names(device);
    site.database.run(
        "INSERT OR REPLACE INTO renewals (client, identifier, state) VALUES (?, ?, ?)",
        [client, identifier, site.vault.seal(&place(device), &snapshot)?.into_value()],
    )
}

fn place(device: &Device) -> String {
    format!("renewal of {device}")
}

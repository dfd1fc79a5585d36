//! Devices whose trust has ended: their rights, their certificates, and what they try afterwards (Coupling, column 1: "at any time").

use super::devices::{self, DeviceRecord};
use super::timers::{self, Timer};
use super::{Outcome, Site, gateways, grants, keys, pairings, rekeying, renewals, revocation_list};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_pairing::announcement;
use wardlink_pairing::control_unit::Signer;
use wardlink_protocol::api::{NewRevocation, Person, ProblemKind, Revocation, RevocationReason};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::CertificateSerial;
use wardlink_protocol::limits::{MAX_NOTE_BYTES, MAX_REVOKED_AT_ONCE};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::{Act, Actor, Outcome as Went};

/// What does not change of a revocation.
#[derive(Serialize, Deserialize)]
struct Record {
    serial_number: String,
    certificate: Option<CertificateSerial>,
    reason: RevocationReason,
    note: String,
    revoked_by: String,
    revoked_at: UnixMillis,
}

/// Attempts that follow one another faster than this are told together.
pub(super) const NOTING: Duration = Duration::from_secs(10);

const COLUMNS: &str = "client, identifier, record, cut_at, attempts, last_attempt";

/// Every device that is revoked, the newest first.
pub(super) fn all(database: &Database) -> Result<Vec<Revocation>, Failure> {
    let rows = database.rows(&format!("SELECT {COLUMNS} FROM revocations"), [])?;
    let mut all = rows.into_iter().map(revocation).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|one, other| (other.revoked_at, &one.device).cmp(&(one.revoked_at, &other.device)));
    Ok(all)
}

/// How a device was revoked; none where it is not.
pub(super) fn of(database: &Database, device: &Device) -> Result<Option<Revocation>, Failure> {
    let query = format!("SELECT {COLUMNS} FROM revocations WHERE client = ? AND identifier = ?");
    database.row(&query, devices::names(device))?.map(revocation).transpose()
}

fn revocation(mut row: Row) -> Result<Revocation, Failure> {
    let device = devices::take_name(&mut row)?;
    let Record { serial_number, certificate, reason, note, revoked_by, revoked_at } = row.take_record()?;
    Ok(Revocation {
        device,
        serial_number,
        certificate,
        reason,
        note,
        revoked_by,
        revoked_at,
        cut_at: row.take()?,
        attempts: row.take()?,
        last_attempt: row.take()?,
    })
}

/// A person ends the trust in devices: all of them, or none where one cannot be revoked.
pub(super) fn revoke(
    site: &Site<'_>,
    person: &Person,
    new: NewRevocation,
    outcome: &mut Outcome,
) -> Result<Vec<Device>, Failure> {
    let NewRevocation { devices: named, reason, note } = new;
    let refuse = |detail: String| Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    if named.is_empty() || named.len() > MAX_REVOKED_AT_ONCE {
        return refuse(format!("Name 1 to {MAX_REVOKED_AT_ONCE} devices."));
    }
    let note = note.trim().to_owned();
    if note.len() > MAX_NOTE_BYTES || note.chars().any(char::is_control) {
        return refuse(format!("The note has at most {MAX_NOTE_BYTES} bytes, without control characters."));
    }
    if reason == RevocationReason::Other && note.is_empty() {
        return refuse("Say in the note why.".to_owned());
    }
    let named: BTreeSet<Device> = named.into_iter().collect();
    let found = named.iter().map(|device| holders(site, device)).collect::<Result<Vec<_>, _>>()?;
    for holders in found {
        let Some(shown) = holders.first() else { continue };
        log!("site: person {} revokes {}: {reason:?}", person.id, shown.device);
        let record = Record {
            serial_number: shown.information.serial_number.clone(),
            certificate: Some(shown.serial),
            reason,
            note: note.clone(),
            revoked_by: person.name.clone(),
            revoked_at: site.now,
        };
        let why = format!("{reason:?} {note}").trim().to_lowercase();
        outcome.notes.by(Some(person), Act::DeviceRevoked, &shown.device, why);
        cut(site, &holders, shown, &record, outcome)?;
    }
    let named: Vec<Device> = named.into_iter().collect();
    rekeying::cut(site, &named, outcome)?;
    outcome.cuts = true;
    outcome.must_arrive = true;
    Ok(named)
}

/// A device has erased itself: it is revoked as out of service, in the name of whoever ordered that.
pub(super) fn retire(site: &Site<'_>, device: &Device, ordered_by: &str, outcome: &mut Outcome) -> Result<(), Failure> {
    if devices::find(site.database, device)?.is_some_and(|known| known.state == DeviceState::Revoked) {
        return Ok(());
    }
    let holders = holders(site, device)?;
    let Some(shown) = holders.first() else { return Ok(()) };
    let record = Record {
        serial_number: shown.information.serial_number.clone(),
        certificate: Some(shown.serial),
        reason: RevocationReason::Retired,
        note: String::new(),
        revoked_by: ordered_by.to_owned(),
        revoked_at: site.now,
    };
    cut(site, &holders, shown, &record, outcome)?;
    rekeying::cut(site, core::slice::from_ref(device), outcome)?;
    outcome.cuts = true;
    Ok(())
}

/// Who holds keys of the site under this name: the paired device, and whoever was given its keys and has not finished. The first is the
/// one that people see.
fn holders(site: &Site<'_>, device: &Device) -> Result<Vec<DeviceRecord>, Failure> {
    let refuse = |kind, what| Err(Failure::with_detail(kind, format!("{device} is {what}. Nothing was changed.")));
    let known = devices::find(site.database, device)?;
    if known.as_ref().is_some_and(|known| known.state == DeviceState::Revoked) {
        return refuse(ProblemKind::WrongState, "revoked already");
    }
    let paired = known.filter(|known| matches!(known.state, DeviceState::Paired | DeviceState::Expired));
    let holders: Vec<_> = paired.into_iter().chain(pairings::confirmed(site, device)?).collect();
    if holders.is_empty() { refuse(ProblemKind::NotFound, "not paired") } else { Ok(holders) }
}

/// Takes everything from a device: the rights of its keys, its certificates, its topic and whatever pairing of it is under way.
fn cut(
    site: &Site<'_>,
    holders: &[DeviceRecord],
    shown: &DeviceRecord,
    how: &Record,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let (database, device) = (site.database, &shown.device);
    // What it was given is looked up while it counts as paired.
    keys::put_knowledge(database, &keys::knowledge(site, device)?)?;
    pairings::end_all(site, device, outcome)?;
    for holder in holders {
        outcome.bridge.grant(grants::put(database, holder.key, device, DeviceState::Revoked, Vec::new(), Vec::new())?);
        let serial = holder.serial.as_bytes().to_vec().into_value();
        database.run(
            "INSERT OR REPLACE INTO revoked_certificates (serial, reason, revoked_at, ends_at) VALUES (?, ?, ?, ?)",
            [serial, record(&how.reason)?, how.revoked_at.into_value(), holder.certificate_ends.into_value()],
        )?;
    }
    outcome.bridge.remove(Topic::Device(device.clone()));
    let chain = site.authority.chain()?;
    let signer = Signer { key: site.authority.key()?, chain: &chain };
    let (topic, payload) = announcement::revoked(signer, device, how.revoked_at).map_err(Failure::internal)?;
    outcome.bridge.publish(topic, payload);
    // Its wrapping key is forgotten with its rights.
    devices::put(database, site.vault, &DeviceRecord { state: DeviceState::Revoked, ..shown.clone() }, &[])?;
    timers::clear(database, &Timer::Certificate(device.clone()))?;
    renewals::forget(site, device)?;
    revocation_list::is_outdated(site)?;
    gateways::close(database, device)?;
    let [client, identifier] = devices::names(device);
    database.run(
        "INSERT OR REPLACE INTO revocations (client, identifier, record) VALUES (?, ?, ?)",
        [client, identifier, record(how)?],
    )?;
    outcome.tell_of_device(site, device)
}

/// A person lets a revoked device ask to pair again. Its old certificate and rights stay gone; its old key may ask like any other.
pub(super) fn reinstate(
    site: &Site<'_>,
    person: &Person,
    device: &Device,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let known = devices::find(site.database, device)?.ok_or(ProblemKind::NotFound)?;
    if known.state != DeviceState::Revoked {
        let detail = format!("{device} is not revoked.");
        return Err(Failure::with_detail(ProblemKind::WrongState, detail));
    }
    log!("site: person {} lets {device} ask to pair again", person.id);
    site.database.run("DELETE FROM revocations WHERE client = ? AND identifier = ?", devices::names(device))?;
    for key in grants::revoked_keys(site.database, device)? {
        let unknown = grants::put(site.database, key, device, DeviceState::Unknown, Vec::new(), Vec::new())?;
        outcome.bridge.grant(unknown);
    }
    devices::set_state(site.database, device, DeviceState::Unknown)?;
    outcome.tell_of_device(site, device)
}

/// A revoked device tried to come back. A repetition of what was told changes nothing.
pub(super) fn note_attempts(
    site: &Site<'_>,
    device: &Device,
    count: u32,
    last: UnixMillis,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let Some(known) = of(site.database, device)? else { return Ok(()) };
    if known.last_attempt.is_some_and(|told| last <= told) {
        return Ok(());
    }
    let attempts = known.attempts.saturating_add(u64::from(count));
    let [client, identifier] = devices::names(device);
    site.database.run(
        "UPDATE revocations SET attempts = ?, last_attempt = ? WHERE client = ? AND identifier = ?",
        [attempts.into_value(), last.into_value(), client, identifier],
    )?;
    // Who tries without pause is counted, and fills no log.
    if known.last_attempt.is_none_or(|told| last.since(told) >= NOTING) {
        log!("site: ALERT: {device} is revoked and tries to come back ({attempts} times by now)");
        let detail = format!("{attempts} times by now");
        outcome.notes.put(Actor::System, Act::RevokedDeviceTried, device, detail, Went::Refused);
        outcome.tell_of_device(site, device)?;
    }
    Ok(())
}

/// The step of the outbox that cuts off what was just revoked.
pub(super) fn note_step(database: &Database, number: u64) -> Result<(), Failure> {
    database.run("UPDATE revocations SET step = ? WHERE step IS NULL", [number.into_value()])
}

/// The bridge has carried out the outbox up to `last`: returns the devices that it has cut off with that.
pub(super) fn note_cut(database: &Database, last: u64, now: UnixMillis) -> Result<Vec<Device>, Failure> {
    let query = "UPDATE revocations SET cut_at = ? WHERE cut_at IS NULL AND step <= ? RETURNING client, identifier";
    let rows = database.rows(query, [now.into_value(), last.into_value()])?;
    rows.into_iter().map(|mut row| devices::take_name(&mut row)).collect()
}

/// Whether the bridge has yet to cut somebody off.
pub(super) fn is_cutting(database: &Database) -> Result<bool, Failure> {
    Ok(database.one("SELECT EXISTS (SELECT 1 FROM revocations WHERE cut_at IS NULL)", [])?.unwrap_or_default())
}

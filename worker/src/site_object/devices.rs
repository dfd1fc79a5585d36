//! The devices of the site, and what they last said.

use super::{decommissioning, revocations};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_edge::vault::Vault;
use wardlink_protocol::api::{DeviceView, DevicesPage, LiveData, ProblemKind};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, TrustLevel};
use wardlink_protocol::pairing::{DeviceInformation, Mode};
use wardlink_protocol::{ClientClass, Device, UnixMillis};

/// The devices of one page.
const PAGE: usize = 1_000;

/// A paired device.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DeviceRecord {
    pub(super) device: Device,
    pub(super) information: DeviceInformation,
    pub(super) key: KeyFingerprint,
    pub(super) state: DeviceState,
    pub(super) trust: TrustLevel,
    pub(super) mode: Mode,
    pub(super) location: String,
    /// DER.
    pub(super) certificate: ByteBuf,
    pub(super) serial: CertificateSerial,
    pub(super) certificate_ends: UnixMillis,
    pub(super) paired_at: UnixMillis,
    pub(super) paired_by: String,
    /// By falling priority.
    pub(super) channels: Vec<ChannelName>,
}

/// Stores a device and the key under which it will be sent later epochs of its network keys.
pub(super) fn put(
    database: &Database,
    vault: &Vault,
    device: &DeviceRecord,
    wrapping_key: &[u8],
) -> Result<(), Failure> {
    let [client, identifier] = names(&device.device);
    database.run(
        "INSERT INTO devices (client, identifier, record, wrapping_key) VALUES (?, ?, ?, ?)
         ON CONFLICT (client, identifier) DO UPDATE SET record = excluded.record, wrapping_key = excluded.wrapping_key",
        [client, identifier, record(device)?, vault.seal(&wrapping_place(&device.device), wrapping_key)?.into_value()],
    )
}

/// Changes how far a device has come.
pub(super) fn set_state(database: &Database, device: &Device, state: DeviceState) -> Result<(), Failure> {
    let Some(known) = find(database, device)? else { return Ok(()) };
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET record = ? WHERE client = ? AND identifier = ?",
        [record(&DeviceRecord { state, ..known })?, client, identifier],
    )
}

/// Changes which channels a device has.
pub(super) fn set_channels(database: &Database, device: &Device, channels: Vec<ChannelName>) -> Result<(), Failure> {
    let Some(known) = find(database, device)? else { return Ok(()) };
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET record = ? WHERE client = ? AND identifier = ?",
        [record(&DeviceRecord { channels, ..known })?, client, identifier],
    )
}

/// How many devices of each class are trusted, about: without those that are revoked.
pub(super) fn counts(database: &Database) -> Result<BTreeMap<ClientClass, u64>, Failure> {
    let query = "SELECT client, count(*) - (SELECT count(*) FROM revocations WHERE revocations.client = devices.client)
                 FROM devices GROUP BY client";
    let count = |mut row: Row| Ok((row.take::<String>()?.parse().map_err(Failure::internal)?, row.take()?));
    database.rows(query, [])?.into_iter().map(count).collect()
}

/// The devices after one, in the order of class, then identifier; `count` of them at most.
pub(super) fn page(database: &Database, after: Option<&Device>, count: usize) -> Result<Vec<DeviceRecord>, Failure> {
    let [client, identifier] = after.map_or_else(|| ["", ""].map(|name| name.to_owned().into_value()), names);
    let query = "SELECT record FROM devices WHERE (client, identifier) > (?, ?) ORDER BY client, identifier LIMIT ?";
    let count = u64::try_from(count).unwrap_or(u64::MAX).into_value();
    database.rows(query, [client, identifier, count])?.into_iter().map(|mut row| row.take_record()).collect()
}

/// The key under which a device is sent later epochs of its network keys; none where it was forgotten.
pub(super) fn wrapping_key(database: &Database, vault: &Vault, device: &Device) -> Result<Option<[u8; 32]>, Failure> {
    let query = "SELECT wrapping_key FROM devices WHERE client = ? AND identifier = ?";
    let Some(sealed) = database.one::<Vec<u8>, _>(query, names(device))? else { return Ok(None) };
    Ok(vault.unseal(&wrapping_place(device), &sealed)?.as_slice().try_into().ok())
}

fn wrapping_place(device: &Device) -> String {
    format!("wrapping key of {device}")
}

/// One device.
pub(super) fn find(database: &Database, device: &Device) -> Result<Option<DeviceRecord>, Failure> {
    let row = database.row("SELECT record FROM devices WHERE client = ? AND identifier = ?", names(device))?;
    row.map(|mut row| row.take_record()).transpose()
}

/// Notes that something was heard of a device.
pub(super) fn note_seen(database: &Database, device: &Device, at: UnixMillis) -> Result<(), Failure> {
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET last_seen = max(coalesce(last_seen, 0), ?) WHERE client = ? AND identifier = ?",
        [at.into_value(), client, identifier],
    )
}

/// The device has come, or gone.
pub(super) fn note_presence(database: &Database, device: &Device, online: bool, at: UnixMillis) -> Result<(), Failure> {
    note_seen(database, device, at)?;
    let [client, identifier] = names(device);
    let statement = "UPDATE devices SET is_away = ? WHERE client = ? AND identifier = ?";
    database.run(statement, [(!online).into_value(), client, identifier])
}

/// Whether the device is away, as far as the bridge has told.
pub(super) fn is_away(database: &Database, device: &Device) -> Result<bool, Failure> {
    let query = "SELECT is_away FROM devices WHERE client = ? AND identifier = ?";
    Ok(database.one(query, names(device))?.unwrap_or_default())
}

/// Stores the newest report of its kind.
pub(super) fn put_latest(database: &Database, data: &LiveData) -> Result<(), Failure> {
    let [client, identifier] = names(&data.device);
    database.run(
        "INSERT OR REPLACE INTO latest (client, identifier, kind, accepted_at, record) VALUES (?, ?, ?, ?, ?)",
        [client, identifier, record(&data.report.content.data_type())?, data.accepted_at.into_value(), record(data)?],
    )
}

/// All devices as people see them.
pub(super) fn views(database: &Database) -> Result<Vec<DeviceView>, Failure> {
    let rows = database.rows("SELECT record, last_seen FROM devices ORDER BY client, identifier", [])?;
    rows.into_iter().map(|row| view(database, row)).collect()
}

/// Those after this one, as many as there are in one page.
pub(super) fn views_after(database: &Database, after: Option<&Device>) -> Result<DevicesPage, Failure> {
    let [client, identifier] = after.map_or_else(|| ["", ""].map(|name| name.to_owned().into_value()), names);
    let query = "SELECT record, last_seen FROM devices WHERE (client, identifier) > (?, ?)
                 ORDER BY client, identifier LIMIT ?";
    let limit = u64::try_from(PAGE + 1).unwrap_or(u64::MAX).into_value();
    let rows = database.rows(query, [client, identifier, limit])?.into_iter();
    let mut devices: Vec<DeviceView> = rows.map(|row| view(database, row)).collect::<Result<_, Failure>>()?;
    let more = devices.len() > PAGE;
    devices.truncate(PAGE);
    let next = devices.last().filter(|_| more).map(|last| last.device.clone());
    Ok(DevicesPage { devices, next })
}

/// One device as people see it.
pub(super) fn view_of(database: &Database, device: &Device) -> Result<DeviceView, Failure> {
    let query = "SELECT record, last_seen FROM devices WHERE client = ? AND identifier = ?";
    let row = database.row(query, names(device))?.ok_or(ProblemKind::NotFound)?;
    view(database, row)
}

fn view(database: &Database, mut row: Row) -> Result<DeviceView, Failure> {
    let known: DeviceRecord = row.take_record()?;
    let query = "SELECT record FROM latest WHERE client = ? AND identifier = ? ORDER BY accepted_at DESC";
    let latest = database.rows(query, names(&known.device))?.into_iter().map(|mut row| row.take_record());
    Ok(DeviceView {
        latest: latest.collect::<Result<_, _>>()?,
        revocation: match known.state {
            DeviceState::Revoked => revocations::of(database, &known.device)?.map(Box::new),
            _ => None,
        },
        decommissioning: decommissioning::view(database, &known.device)?,
        device: known.device,
        information: known.information,
        key: known.key,
        state: known.state,
        trust: known.trust,
        mode: known.mode,
        location: known.location,
        certificate: known.serial,
        certificate_ends: known.certificate_ends,
        paired_at: known.paired_at,
        paired_by: known.paired_by,
        channels: known.channels,
        last_seen: row.take()?,
    })
}

/// The device that the next two columns name.
pub(super) fn take_name(row: &mut Row) -> Result<Device, Failure> {
    let (client, identifier) = (row.take::<String>()?, row.take::<String>()?);
    format!("{client}/{identifier}").parse().map_err(Failure::internal)
}

/// Class and identifier, as two columns.
pub(super) fn names(device: &Device) -> [worker::SqlStorageValue; 2] {
    [device.client.to_string().into_value(), device.identifier.to_string().into_value()]
}

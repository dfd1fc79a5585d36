//! The devices of which something is stored.

use super::text;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_protocol::api::{MissingRecords, ProblemKind, RecordsDevice};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::chain::Chains;

const QUERY: &str = "SELECT device, records, set_aside, received_at, gateway, chains,
                         (SELECT count(*) FROM flags WHERE flags.device = devices.device
                          AND acknowledged_at IS NULL AND withdrawn_at IS NULL)
                     FROM devices";

/// The device in the next column.
pub(super) fn take_name(row: &mut Row) -> Result<Device, Failure> {
    row.take::<String>()?.parse().map_err(Failure::internal)
}

/// What is known of a device's chains.
pub(super) fn chains(database: &Database, device: &Device) -> Result<Chains, Failure> {
    let row = database.row("SELECT chains FROM devices WHERE device = ?", [text(device)])?;
    Ok(row.map(|mut row| row.take_record()).transpose()?.unwrap_or_default())
}

/// Stores a device's chains, and who brought the newest batch.
pub(super) fn put(
    database: &Database,
    device: &Device,
    chains: &Chains,
    gateway: &Device,
    now: UnixMillis,
) -> Result<(), Failure> {
    database.run(
        "INSERT OR REPLACE INTO devices (device, chains, records, set_aside, received_at, gateway) VALUES (?, ?, ?, ?, ?, ?)",
        [
            text(device),
            record(chains)?,
            chains.stored().into_value(),
            chains.set_aside().into_value(),
            now.into_value(),
            text(gateway),
        ],
    )
}

/// Every device.
pub(super) fn all(database: &Database) -> Result<Vec<RecordsDevice>, Failure> {
    database.rows(&format!("{QUERY} ORDER BY device"), [])?.into_iter().map(view).collect()
}

/// One device.
pub(super) fn find(database: &Database, device: &Device) -> Result<RecordsDevice, Failure> {
    let row = database.row(&format!("{QUERY} WHERE device = ?"), [text(device)])?;
    view(row.ok_or(ProblemKind::NotFound)?)
}

fn view(mut row: Row) -> Result<RecordsDevice, Failure> {
    let device = take_name(&mut row)?;
    let (records, set_aside, received_at) = (row.take()?, row.take()?, row.take()?);
    let gateway = take_name(&mut row)?;
    let chains: Chains = row.take_record()?;
    let missing = chains.missing().into_iter();
    let missing = missing.map(|gap| MissingRecords { chain: gap.chain, from: gap.from, through: gap.through });
    Ok(RecordsDevice {
        device,
        records,
        set_aside,
        received_at,
        gateway,
        missing: missing.collect(),
        flags: row.take()?,
    })
}

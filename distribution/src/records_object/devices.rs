//! The devices of which something is stored.

use super::text;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_protocol::api::{MissingRecords, ProblemKind, RecordsDevice, RecordsGateway};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::chain::Chains;

/// The devices of one page.
const PAGE: usize = 200;
/// The gateways that are shown.
const GATEWAYS: u64 = 500;
/// The parts of a device's chains that are shown as missing.
const MISSING: usize = 64;
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

/// Stores a device's chains, who brought the newest batch, and how many records came too late for some rules.
pub(super) fn put(
    database: &Database,
    device: &Device,
    (chains, late): (&Chains, u64),
    gateway: &Device,
    now: UnixMillis,
) -> Result<(), Failure> {
    database.run(
        "INSERT OR REPLACE INTO devices (device, chains, records, set_aside, received_at, gateway, late)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            text(device),
            record(chains)?,
            chains.stored().into_value(),
            chains.set_aside().into_value(),
            now.into_value(),
            text(gateway),
            late.into_value(),
        ],
    )
}

/// The devices after one, by name, and the last of them where there are more.
pub(super) fn page(
    database: &Database,
    after: Option<&Device>,
) -> Result<(Vec<RecordsDevice>, Option<Device>), Failure> {
    let after = after.map(ToString::to_string).unwrap_or_default();
    let query = format!("{QUERY} WHERE device > ? ORDER BY device LIMIT ?");
    let limit = u64::try_from(PAGE + 1).unwrap_or(u64::MAX);
    let rows = database.rows(&query, [text(after), limit.into_value()])?.into_iter();
    let mut devices = rows.map(view).collect::<Result<Vec<_>, _>>()?;
    let has_more = devices.len() > PAGE;
    devices.truncate(PAGE);
    let next = devices.last().filter(|_| has_more).map(|last| last.device.clone());
    Ok((devices, next))
}

/// Through which gateways data has come, those with the newest first.
pub(super) fn gateways(database: &Database) -> Result<Vec<RecordsGateway>, Failure> {
    let query = "SELECT gateway, count(*), max(received_at) AS newest FROM devices GROUP BY gateway
                 ORDER BY newest DESC, gateway LIMIT ?";
    let view = |mut row: Row| {
        let gateway = take_name(&mut row)?;
        Ok(RecordsGateway { gateway, devices: row.take()?, received_at: row.take()? })
    };
    database.rows(query, [GATEWAYS.into_value()])?.into_iter().map(view).collect()
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
    let missing = chains.missing();
    let missing_in_all = u64::try_from(missing.len()).unwrap_or(u64::MAX);
    let missing = missing.into_iter().take(MISSING);
    let missing = missing.map(|gap| MissingRecords { chain: gap.chain, from: gap.from, through: gap.through });
    Ok(RecordsDevice {
        device,
        records,
        set_aside,
        received_at,
        gateway,
        missing: missing.collect(),
        missing_in_all,
        flags: row.take()?,
    })
}

//! Batches that wait for others before them, and what a person concedes.

use super::{devices, note as audit, text};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{ConcedeGap, Person, ProblemKind, RecordsGap};
use wardlink_protocol::identity::RecordChain;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;

/// A batch was refused because others before it are missing.
pub(super) fn note(
    database: &Database,
    device: &Device,
    chain: RecordChain,
    (expected, found): (u64, u64),
    gateway: &Device,
    now: UnixMillis,
) -> Result<(), Failure> {
    database.run(
        "INSERT INTO gaps (device, chain, expected, found, gateway, at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (device, chain) DO UPDATE SET found = excluded.found, gateway = excluded.gateway, at = excluded.at,
             conceded_by = CASE WHEN expected = excluded.expected THEN conceded_by END, expected = excluded.expected",
        [text(device), text(chain), expected.into_value(), found.into_value(), text(gateway), now.into_value()],
    )
}

/// Whether a person has said that what should follow does not come.
pub(super) fn is_conceded(
    database: &Database,
    device: &Device,
    chain: RecordChain,
    expected: u64,
) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM gaps WHERE device = ? AND chain = ? AND expected = ? AND conceded_by IS NOT NULL)";
    Ok(database.one(query, [text(device), text(chain), expected.into_value()])?.unwrap_or_default())
}

/// A chain has come up to this number: what waited for it waits no longer.
pub(super) fn closed(database: &Database, device: &Device, chain: RecordChain, last: u64) -> Result<(), Failure> {
    let statement = "DELETE FROM gaps WHERE device = ? AND chain = ? AND found <= ? + 1";
    database.run(statement, [text(device), text(chain), last.into_value()])
}

/// A person says that missing records do not come: what waits is taken when it is sent again.
pub(super) fn concede(database: &Database, person: &Person, device: &Device, gap: &ConcedeGap) -> Result<(), Failure> {
    let statement =
        "UPDATE gaps SET conceded_by = ? WHERE device = ? AND chain = ? AND expected = ? AND conceded_by IS NULL
                     RETURNING found";
    let values = [text(&person.name), text(device), text(gap.chain), gap.expected.into_value()];
    let found: u64 = database.one(statement, values)?.ok_or(ProblemKind::WrongState)?;
    let detail = format!("records {} to {} of {}", gap.expected, found.saturating_sub(1), gap.chain);
    audit(database, person, Act::GapConceded, &device.to_string(), detail)
}

/// Everything that waits.
pub(super) fn all(database: &Database) -> Result<Vec<RecordsGap>, Failure> {
    let query = "SELECT device, chain, expected, found, gateway, at, conceded_by FROM gaps ORDER BY device, chain";
    let view = |mut row: Row| {
        Ok(RecordsGap {
            device: devices::take_name(&mut row)?,
            chain: row.take::<String>()?.parse().map_err(Failure::internal)?,
            expected: row.take()?,
            found: row.take()?,
            gateway: devices::take_name(&mut row)?,
            at: row.take()?,
            conceded_by: row.take()?,
        })
    };
    database.rows(query, [])?.into_iter().map(view).collect()
}

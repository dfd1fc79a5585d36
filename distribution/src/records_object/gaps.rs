//! Batches that wait for others before them, and what a person concedes.

use super::{devices, note as audit, text};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{ConcedeGap, Person, ProblemKind, RecordsGap};
use wardlink_protocol::identity::RecordChain;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;

/// The most chains of one device that are remembered to wait.
pub(super) const MAX_GAPS: u64 = 64;
/// The most that are shown of all devices.
const SHOWN: u64 = 256;
/// What is conceded is not enough where records that are found later are missing, too.
const QUERY: &str =
    "SELECT device, chain, expected, found, gateway, at, CASE WHEN conceded >= found THEN conceded_by END
                     FROM gaps";

/// A batch was refused because others before it are missing. False where so many chains of its device wait that this one is not remembered.
pub(super) fn note(
    database: &Database,
    device: &Device,
    chain: RecordChain,
    (expected, found): (u64, u64),
    gateway: &Device,
    now: UnixMillis,
) -> Result<bool, Failure> {
    if !has_room(database, device, chain)? {
        return Ok(false);
    }
    database.run(
        "INSERT INTO gaps (device, chain, expected, found, gateway, at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (device, chain) DO UPDATE SET found = excluded.found, gateway = excluded.gateway, at = excluded.at,
             conceded_by = CASE WHEN expected = excluded.expected THEN conceded_by END,
             conceded = CASE WHEN expected = excluded.expected THEN conceded END, expected = excluded.expected",
        [text(device), text(chain), expected.into_value(), found.into_value(), text(gateway), now.into_value()],
    )?;
    Ok(true)
}

/// Whether a chain has a place among those of its device that wait. One that a person has conceded, and that has not been tried for longest, makes room: it is
/// noted anew if it comes.
fn has_room(database: &Database, device: &Device, chain: RecordChain) -> Result<bool, Failure> {
    let query = "SELECT count(*) FROM gaps WHERE device = ? AND chain <> ?";
    let others: u64 = database.one(query, [text(device), text(chain)])?.unwrap_or_default();
    if others < MAX_GAPS {
        return Ok(true);
    }
    let statement = "DELETE FROM gaps WHERE device = ?1 AND chain = (SELECT chain FROM gaps
                         WHERE device = ?1 AND chain <> ?2 AND conceded >= found ORDER BY at, chain LIMIT 1) RETURNING chain";
    Ok(database.one::<String, _>(statement, [text(device), text(chain)])?.is_some())
}

/// Whether a person has said that what is missing before this number does not come.
pub(super) fn is_conceded(
    database: &Database,
    device: &Device,
    chain: RecordChain,
    (expected, found): (u64, u64),
) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM gaps WHERE device = ? AND chain = ? AND expected = ? AND conceded >= ?)";
    let values = [text(device), text(chain), expected.into_value(), found.into_value()];
    Ok(database.one(query, values)?.unwrap_or_default())
}

/// A chain has come up to this number: what waited for it waits no longer.
pub(super) fn closed(database: &Database, device: &Device, chain: RecordChain, last: u64) -> Result<(), Failure> {
    let statement = "DELETE FROM gaps WHERE device = ? AND chain = ? AND found <= ? + 1";
    database.run(statement, [text(device), text(chain), last.into_value()])
}

/// A person says that missing records do not come: what waits is taken when it is sent again. Where more is missing than the person saw, nothing is conceded.
pub(super) fn concede(database: &Database, person: &Person, device: &Device, gap: &ConcedeGap) -> Result<(), Failure> {
    let statement = "UPDATE gaps SET conceded_by = ?, conceded = found
                     WHERE device = ? AND chain = ? AND expected = ? AND found <= ? AND coalesce(conceded, 0) < found RETURNING found";
    let [expected, found] = [gap.expected, gap.found].map(Column::into_value);
    let values = [text(&person.name), text(device), text(gap.chain), expected, found];
    let found: u64 = database.one(statement, values)?.ok_or(ProblemKind::WrongState)?;
    let detail = format!("records {} to {} of {}", gap.expected, found.saturating_sub(1), gap.chain);
    audit(database, person, Act::GapConceded, &device.to_string(), detail)
}

/// What of a device waits.
pub(super) fn of(database: &Database, device: &Device) -> Result<Vec<RecordsGap>, Failure> {
    let query = format!("{QUERY} WHERE device = ? ORDER BY chain");
    database.rows(&query, [text(device)])?.into_iter().map(view).collect()
}

/// What waits: what was tried last comes first, after what nobody has conceded. And how many there are.
pub(super) fn newest(database: &Database) -> Result<(Vec<RecordsGap>, u64), Failure> {
    let query = format!("{QUERY} ORDER BY coalesce(conceded, 0) >= found, at DESC, device, chain LIMIT ?");
    let gaps = database.rows(&query, [SHOWN.into_value()])?.into_iter().map(view);
    let count = database.one("SELECT count(*) FROM gaps", [])?.unwrap_or_default();
    Ok((gaps.collect::<Result<_, _>>()?, count))
}

fn view(mut row: Row) -> Result<RecordsGap, Failure> {
    Ok(RecordsGap {
        device: devices::take_name(&mut row)?,
        chain: row.take::<String>()?.parse().map_err(Failure::internal)?,
        expected: row.take()?,
        found: row.take()?,
        gateway: devices::take_name(&mut row)?,
        at: row.take()?,
        conceded_by: row.take()?,
    })
}

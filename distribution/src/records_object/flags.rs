//! What rules have found, and who has seen it.

use super::{devices, note, rules, series, text};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, MAX_INTEGER, Row, record};
use wardlink_protocol::api::{FLAGS_PAGE, FlagView, Person, ProblemKind};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::rules::{Change, Flag, FlagId, Rules};
use wardlink_trust::audit::Act;

const QUERY: &str = "SELECT id, device, series, english, german, record, raised_at, acknowledged_at, acknowledged_by,
                         withdrawn_at FROM flags";

fn name(id: &FlagId) -> String {
    format!("{}/{}/{}/{}", id.rule, id.version, id.first.chain, id.first.sequence)
}

/// What has changed among a device's flags. One that grows stays acknowledged.
pub(super) fn apply(
    database: &Database,
    device: &Device,
    rules: &Rules,
    changes: Vec<Change>,
    now: UnixMillis,
) -> Result<(), Failure> {
    for change in changes {
        match change {
            Change::Raised(flag) => {
                let rule = rules.iter().find(|rule| *rule.id() == flag.id.rule);
                let rule = rule.ok_or_else(|| Failure::internal("a flag is raised by a rule that is not in force"))?;
                database.run(
                    "INSERT INTO flags (device, flag, series, english, german, record, raised_at) VALUES (?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT (device, flag) DO UPDATE SET record = excluded.record, withdrawn_at = NULL",
                    [
                        text(device),
                        text(name(&flag.id)),
                        text(series::word(rule.series())),
                        text(rule.english()),
                        text(rule.german()),
                        record(&flag)?,
                        now.into_value(),
                    ],
                )?;
            }
            Change::Withdrawn(id) => {
                let statement = "UPDATE flags SET withdrawn_at = ? WHERE device = ? AND flag = ?";
                database.run(statement, [now.into_value(), text(device), text(name(&id))])?;
            }
        }
    }
    Ok(())
}

/// A page of flags, the newest first.
pub(super) fn page(
    database: &Database,
    device: Option<&Device>,
    open: bool,
    before: Option<u64>,
) -> Result<Vec<FlagView>, Failure> {
    // Each has an index of its own, which a condition that may count or not would leave unused.
    let of = if device.is_some() { "device = ?" } else { "? IS NULL" };
    let those = if open { "acknowledged_at IS NULL AND withdrawn_at IS NULL" } else { "TRUE" };
    let query = format!("{QUERY} WHERE {of} AND {those} AND id < ? ORDER BY id DESC LIMIT ?");
    let device = device.map(ToString::to_string).into_value();
    let limit = u64::try_from(FLAGS_PAGE).unwrap_or(u64::MAX);
    let values = [device, before.unwrap_or(MAX_INTEGER).into_value(), limit.into_value()];
    database.rows(&query, values)?.into_iter().map(view).collect()
}

/// A person has seen a flag.
pub(super) fn acknowledge(database: &Database, person: &Person, id: u64) -> Result<FlagView, Failure> {
    let query = format!("{QUERY} WHERE id = ?");
    let find = || database.row(&query, [id.into_value()])?.map(view).transpose();
    let flag = find()?.ok_or(ProblemKind::NotFound)?;
    if flag.acknowledged_at.is_some() {
        return Err(ProblemKind::WrongState.into());
    }
    let statement = "UPDATE flags SET acknowledged_at = ?, acknowledged_by = ? WHERE id = ?";
    database.run(statement, [now().into_value(), text(&person.name), id.into_value()])?;
    let detail = format!("{} version {}", flag.rule, flag.version);
    note(database, person, Act::FlagAcknowledged, &flag.device.to_string(), detail)?;
    Ok(find()?.ok_or(ProblemKind::NotFound)?)
}

fn view(mut row: Row) -> Result<FlagView, Failure> {
    let (id, device) = (row.take()?, devices::take_name(&mut row)?);
    let (series, english, german) = (row.take()?, row.take()?, row.take()?);
    let flag: Flag = row.take_record()?;
    Ok(FlagView {
        id,
        device,
        patient: flag.patient,
        rule: flag.id.rule.to_string(),
        version: flag.id.version,
        series,
        severity: rules::severity(flag.severity),
        english,
        german,
        from: flag.from,
        until: flag.until,
        count: flag.count,
        raised_at: row.take()?,
        acknowledged_at: row.take()?,
        acknowledged_by: row.take()?,
        withdrawn_at: row.take()?,
    })
}

//! Services that send stored data on to outside databases (figure 4, 78), and how far each has come.

use super::{devices, text};
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::RecordsOutlet;
use wardlink_protocol::identity::RecordChain;
use wardlink_protocol::{ClientClass, DeviceIdentifier, cbor};
use wardlink_records::decimal::Billionths;
use wardlink_records::limits::MAX_OUTLET_ROWS;
use wardlink_records::outlet::{Fed, FedRecord};
use wardlink_records::record::{Content, Record, RecordId};

/// For how long after its last question a service is shown.
const SHOWN: Duration = Duration::from_hours(30 * 24);

/// Gives a service what comes after a position, of the classes that it may have data of.
pub(super) fn feed(
    database: &Database,
    service: &DeviceIdentifier,
    after: u64,
    classes: &[ClientClass],
) -> Result<ByteBuf, Failure> {
    let last: Option<Option<u64>> = database.one("SELECT max(position) FROM records", [])?;
    let last = last.flatten().unwrap_or_default();
    // Whoever comes from elsewhere begins nowhere.
    let after = after.min(last);
    database.run(
        "INSERT OR REPLACE INTO outlets (service, confirmed, asked_at) VALUES (?, ?, ?)",
        [text(service), after.into_value(), now().into_value()],
    )?;
    let query = "SELECT device, chain, sequence, received_at, amount, record FROM records
                 WHERE position > ? ORDER BY position LIMIT ?";
    let rows = database.rows(query, [after.into_value(), MAX_OUTLET_ROWS.into_value()])?;
    let through = after.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let mut records = rows.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
    records.retain(|record| classes.contains(&record.device.client));
    Ok(ByteBuf::from(cbor::encode(&Fed { records, through, last })?))
}

fn record(mut row: Row) -> Result<FedRecord, Failure> {
    let device = devices::take_name(&mut row)?;
    let chain: RecordChain = row.take::<String>()?.parse().map_err(Failure::internal)?;
    let id = RecordId { chain, sequence: row.take()? };
    let received_at = row.take()?;
    let amount = row.take::<Option<String>>()?.map(|amount| amount.parse()).transpose().map_err(Failure::internal)?;
    let record: Record = row.take_record()?;
    let amount = amount.map(Billionths::new).filter(|_| matches!(record.content, Content::Measure(_)));
    Ok(FedRecord { device, id, record, amount, received_at })
}

/// The services that have asked lately: one that was revoked goes with the time.
pub(super) fn all(database: &Database) -> Result<Vec<RecordsOutlet>, Failure> {
    let query = "SELECT service, coalesce((SELECT max(position) FROM records), 0) - confirmed, asked_at FROM outlets
                 WHERE asked_at >= ? ORDER BY service";
    let since = now().0.saturating_sub(u64::try_from(SHOWN.as_millis()).unwrap_or(u64::MAX));
    let view = |mut row: Row| {
        let service = row.take::<String>()?.parse().map_err(Failure::internal)?;
        Ok(RecordsOutlet { service, behind: row.take()?, asked_at: row.take()? })
    };
    database.rows(query, [since.into_value()])?.into_iter().map(view).collect()
}

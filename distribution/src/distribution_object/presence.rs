//! Whether gateways are there (figure 6, polled; figure 8, 176): when each was heard last, what it holds, and who is asked what it runs, because it
//! was silent or has not reported for a while.

use super::{DistributionObject, text};
use core::time::Duration;
use wardlink_edge::messages::GatewayRequest;
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::Held;
use wardlink_protocol::{Device, UnixMillis};

/// After so long without a word it is asked whether a gateway is there.
const SILENT: Duration = Duration::from_mins(10);
/// After so long without a report one is asked for.
const REPORTED: Duration = Duration::from_hours(1);
/// How often that is looked at, while a session stands.
const LOOKED_AFTER: Duration = Duration::from_mins(5);
/// How long who was asked has to answer.
const PATIENCE: Duration = Duration::from_mins(4);
/// The most gateways that are asked at once.
const BATCH: u64 = 100;

impl DistributionObject {
    /// Asks gateways that were silent, or have not reported for a while, what they run; the session of one that does not answer is ended.
    pub(super) async fn look_after(&self) -> Result<(), Failure> {
        let database = self.database.open()?;
        let [silent, reported, patience] = [SILENT, REPORTED, PATIENCE].map(|ago| before(now(), ago).into_value());
        let query = "SELECT gateway, last_contact <= ?1 AND coalesce(inquired_at, 0) > last_contact FROM gateways
                     WHERE online = 1 AND (last_contact <= ?1 OR coalesce(reported_at, 0) <= ?2)
                         AND coalesce(inquired_at, 0) <= ?3
                     ORDER BY inquired_at LIMIT ?4";
        for mut row in database.rows(query, [silent, reported, patience, BATCH.into_value()])? {
            let gateway: Device = row.take::<String>()?.parse().map_err(Failure::internal)?;
            let has_not_answered: bool = row.take()?;
            if let Err(failure) = self.look_at(&gateway, has_not_answered).await {
                log!("distribution: {gateway} is looked after later: {failure:?}");
            }
        }
        Ok(())
    }

    async fn look_at(&self, gateway: &Device, has_not_answered: bool) -> Result<(), Failure> {
        let database = self.database.open()?;
        let query = "SELECT last_contact FROM gateways WHERE gateway = ?";
        let last_contact: Option<UnixMillis> = database.one(query, [text(gateway)])?;
        let is_there = if has_not_answered {
            log!("distribution: {gateway} does not answer");
            objects::tell_gateway::<()>(&self.env, gateway, &GatewayRequest::Silent).await?;
            false
        } else {
            self.inquire(gateway).await?
        };
        if !is_there {
            // Who has come meanwhile is there.
            let statement = "UPDATE gateways SET online = 0 WHERE gateway = ? AND last_contact IS ?";
            database.run(statement, [text(gateway), last_contact.into_value()])?;
        }
        Ok(())
    }

    /// Asks a gateway what it runs; false where no session is open.
    pub(super) async fn inquire(&self, gateway: &Device) -> Result<bool, Failure> {
        let is_told = objects::tell_gateway(&self.env, gateway, &GatewayRequest::Inquire).await?;
        if is_told {
            let statement = "UPDATE gateways SET inquired_at = ? WHERE gateway = ?";
            self.database.open()?.run(statement, [now().into_value(), text(gateway)])?;
        }
        Ok(is_told)
    }
}

/// A gateway was heard: it polled, or has said something in its session.
pub(super) fn heard(database: &Database, gateway: &Device, in_session: bool) -> Result<(), Failure> {
    let statement = "UPDATE gateways SET last_contact = ?, online = max(online, ?) WHERE gateway = ?";
    database.run(statement, [now().into_value(), in_session.into_value(), text(gateway)])
}

/// What a gateway holds of stored data.
pub(super) fn holds(database: &Database, gateway: &Device, held: Held) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(&held)?.into_value();
    database.run("UPDATE gateways SET held = ? WHERE gateway = ?", [bytes, text(gateway)])
}

/// When gateways are looked after next; none where no session is open.
pub(super) fn next_due(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM gateways WHERE online = 1)";
    let is_open = database.one::<bool, 0>(query, [])?.unwrap_or_default();
    Ok(is_open.then(|| now().after(LOOKED_AFTER)))
}

fn before(time: UnixMillis, ago: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

//! Asking for stored data (figure 9, 193): because a person wants it now, or time and again.

use super::{RecordsObject, note, text};
use core::time::Duration;
use wardlink_edge::messages::{DistributionRequest, GatewayRequest};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::{AskedRecords, Person, ProblemKind, RecordsSettings};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;

/// The longest time between two rounds: a week.
const MAX_MINUTES: u32 = 7 * 24 * 60;
/// How often a gateway that is not connected is tried.
const TRY_EVERY: Duration = Duration::from_mins(1);
/// For how long it is tried.
const TRY_FOR: Duration = Duration::from_hours(24);

/// When the server asks by itself.
pub(super) fn settings(database: &Database) -> Result<RecordsSettings, Failure> {
    let minutes: Option<Option<u64>> = database.one("SELECT every_minutes FROM asking", [])?;
    Ok(RecordsSettings { every_minutes: minutes.flatten().and_then(|minutes| minutes.try_into().ok()) })
}

/// A person says when the server asks by itself.
pub(super) fn set_settings(
    database: &Database,
    person: &Person,
    settings: RecordsSettings,
) -> Result<RecordsSettings, Failure> {
    if settings.every_minutes.is_some_and(|minutes| minutes == 0 || minutes > MAX_MINUTES) {
        let detail = format!("every_minutes has to be 1 to {MAX_MINUTES}.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    database.run(
        // The first round is now.
        "INSERT OR REPLACE INTO asking (one, every_minutes, asked_at) VALUES (1, ?, 0)",
        [settings.every_minutes.map(u64::from).into_value()],
    )?;
    let detail =
        settings.every_minutes.map_or_else(|| "never".to_owned(), |minutes| format!("every {minutes} minutes"));
    note(database, person, Act::RecordsAsked, "all gateways", detail)?;
    Ok(settings)
}

/// A person wants a device's data now.
pub(super) async fn ask_device(
    object: &RecordsObject,
    person: &Person,
    device: &Device,
) -> Result<AskedRecords, Failure> {
    let request = DistributionRequest::Uploaders(Some(device.clone()));
    let gateways: Vec<Device> = objects::call(&object.env, &request).await?;
    if gateways.is_empty() {
        let detail = "This device's data may come through no gateway.";
        return Err(Failure::with_detail(ProblemKind::NotFound, detail));
    }
    note(object.database.open()?, person, Act::RecordsAsked, &device.to_string(), "")?;
    let mut told = 0;
    for gateway in &gateways {
        // Its own data: whatever it has.
        let of = (gateway != device).then_some(device);
        told += u64::from(ask(object, gateway, of).await?);
    }
    Ok(AskedRecords { gateways: u64::try_from(gateways.len()).unwrap_or(u64::MAX), told })
}

/// A person wants everything that a gateway holds.
pub(super) async fn ask_gateway(
    object: &RecordsObject,
    person: &Person,
    gateway: &Device,
) -> Result<AskedRecords, Failure> {
    let known: Vec<Device> = objects::call(&object.env, &DistributionRequest::Uploads(gateway.clone())).await?;
    if known.is_empty() {
        return Err(Failure::with_detail(ProblemKind::NotFound, "No device's data may come through it."));
    }
    note(object.database.open()?, person, Act::RecordsAsked, &gateway.to_string(), "")?;
    Ok(AskedRecords { gateways: 1, told: u64::from(ask(object, gateway, None).await?) })
}

/// Asks a gateway. Who is not connected is asked later.
async fn ask(object: &RecordsObject, gateway: &Device, of: Option<&Device>) -> Result<bool, Failure> {
    let names = || [text(gateway), text(of.map(ToString::to_string).unwrap_or_default())];
    let [name, device] = names();
    object.database.open()?.run(
        "INSERT OR IGNORE INTO asks (gateway, device, since) VALUES (?, ?, ?)",
        [name, device, now().into_value()],
    )?;
    let is_told = match objects::tell_gateway(&object.env, gateway, &GatewayRequest::Send(of.cloned())).await {
        Ok(is_told) => is_told,
        Err(failure) => {
            log!("records: {gateway} is asked again: {failure:?}");
            false
        }
    };
    if is_told {
        object.database.open()?.run("DELETE FROM asks WHERE gateway = ? AND device = ?", names())?;
    }
    Ok(is_told)
}

/// What a gateway that has just connected is asked for; it counts as told.
pub(super) fn wanted(database: &Database, gateway: &Device) -> Result<Vec<Option<Device>>, Failure> {
    let rows = database.rows("DELETE FROM asks WHERE gateway = ? RETURNING device", [text(gateway)])?;
    rows.into_iter().map(|mut row| Ok(row.take::<String>()?.parse().ok())).collect()
}

/// Asks those again who were not connected.
pub(super) async fn tell_waiting(object: &RecordsObject) -> Result<(), Failure> {
    let database = object.database.open()?;
    database.run("DELETE FROM asks WHERE since <= ?", [before(TRY_FOR).into_value()])?;
    for mut row in database.rows("SELECT gateway, device FROM asks", [])? {
        let (gateway, device): (String, String) = (row.take()?, row.take()?);
        let gateway: Device = gateway.parse().map_err(Failure::internal)?;
        ask(object, &gateway, device.parse().ok().as_ref()).await?;
    }
    Ok(())
}

/// Asks every connected gateway, when it is time.
pub(super) async fn ask_when_due(object: &RecordsObject) -> Result<(), Failure> {
    let database = object.database.open()?;
    if round(database)?.is_none_or(|due| due > now()) {
        return Ok(());
    }
    database.run("UPDATE asking SET asked_at = ?", [now().into_value()])?;
    let gateways: Vec<Device> = objects::call(&object.env, &DistributionRequest::Uploaders(None)).await?;
    for gateway in &gateways {
        ask(object, gateway, None).await?;
    }
    Ok(())
}

/// When the next round is; none where the server never asks by itself.
fn round(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let query = "SELECT every_minutes, asked_at FROM asking WHERE every_minutes IS NOT NULL";
    let row = database.row(query, [])?;
    row.map(|mut row| {
        let minutes: u64 = row.take()?;
        Ok(row.take::<UnixMillis>()?.after(Duration::from_secs(minutes.saturating_mul(60))))
    })
    .transpose()
}

/// When there is something to ask.
pub(super) fn next(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let waits: Option<bool> = database.one("SELECT EXISTS (SELECT 1 FROM asks)", [])?;
    let again = waits.unwrap_or_default().then(|| now().after(TRY_EVERY));
    Ok(again.into_iter().chain(round(database)?).min())
}

/// So long ago.
fn before(time: Duration) -> UnixMillis {
    UnixMillis(now().0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

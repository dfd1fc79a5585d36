//! Asking for stored data (figure 9, 193): because a person wants it now, or time and again.

use super::{RecordsObject, devices, note, text};
use core::time::Duration;
use wardlink_edge::messages::{DistributionRequest, GatewayRequest, Wanted};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{AskedRecords, Person, ProblemKind, RecordsSettings};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;

/// The longest time between two rounds: a week.
const MAX_MINUTES: u32 = 7 * 24 * 60;
/// How often the object of a gateway that does not answer is tried.
const TRY_EVERY: Duration = Duration::from_mins(1);
/// For how long a gateway is asked that is not connected.
const KEPT: Duration = Duration::from_hours(24);

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
    let asks = object.database.step(|database| {
        note(database, person, Act::RecordsAsked, &device.to_string(), "")?;
        // Its own data: whatever it has.
        let of = |gateway: &Device| (gateway != device).then(|| device.clone());
        gateways.iter().map(|gateway| Ask::put(database, gateway, of(gateway))).collect::<Result<Vec<_>, _>>()
    })?;
    let mut told = 0;
    for ask in &asks {
        told += u64::from(ask.tell(object).await?);
    }
    Ok(AskedRecords { gateways: u64::try_from(asks.len()).unwrap_or(u64::MAX), told })
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
    let ask = object.database.step(|database| {
        note(database, person, Act::RecordsAsked, &gateway.to_string(), "")?;
        Ask::put(database, gateway, None)
    })?;
    Ok(AskedRecords { gateways: 1, told: u64::from(ask.tell(object).await?) })
}

/// What a gateway is asked for, until it was told.
struct Ask {
    number: u64,
    gateway: Device,
    /// None: everything.
    of: Option<Device>,
}

impl Ask {
    /// Stores that a gateway is to be asked. What was asked for before is asked for anew, with its whole time.
    fn put(database: &Database, gateway: &Device, of: Option<Device>) -> Result<Self, Failure> {
        let (gateway, now) = (gateway.clone(), now());
        database.run("DELETE FROM asks WHERE since <= ?", [before(now, KEPT).into_value()])?;
        let name = of.as_ref().map(ToString::to_string).unwrap_or_default();
        let number = database.one(
            "INSERT OR REPLACE INTO asks (gateway, device, since, is_due) VALUES (?, ?, ?, 1) RETURNING number",
            [text(&gateway), text(name), now.into_value()],
        )?;
        let number = number.ok_or_else(|| Failure::internal("a request has no number"))?;
        Ok(Self { number, gateway, of })
    }

    /// Reads number, gateway and device.
    fn take(mut row: Row) -> Result<Self, Failure> {
        let (number, gateway, of) = (row.take()?, devices::take_name(&mut row)?, row.take::<String>()?);
        let of = if of.is_empty() { None } else { Some(of.parse().map_err(Failure::internal)?) };
        Ok(Self { number, gateway, of })
    }

    /// Asks a gateway that is connected; true where it is.
    async fn tell(&self, object: &RecordsObject) -> Result<bool, Failure> {
        let Self { number, gateway, of } = self;
        let request = GatewayRequest::Send(of.clone());
        let is_told = match objects::tell_gateway(&object.env, gateway, &request).await {
            Ok(is_told) => is_told,
            Err(failure) => {
                log!("records: {gateway} is asked again: {failure:?}");
                return Ok(false);
            }
        };
        let database = object.database.open()?;
        if is_told {
            told(database, &[*number])?;
        } else {
            database.run("UPDATE asks SET is_due = 0 WHERE number = ?", [number.into_value()])?;
        }
        Ok(is_told)
    }
}

/// What a gateway that has just connected is asked for. It stays until that was told.
pub(super) fn wanted(database: &Database, gateway: &Device) -> Result<Vec<Wanted>, Failure> {
    let query = "SELECT number, gateway, device FROM asks WHERE gateway = ? AND since > ? ORDER BY number";
    let rows = database.rows(query, [text(gateway), before(now(), KEPT).into_value()])?;
    let wanted = |row| Ask::take(row).map(|Ask { number, of, .. }| Wanted { number, of });
    rows.into_iter().map(wanted).collect()
}

/// A gateway was asked for these.
pub(super) fn told(database: &Database, numbers: &[u64]) -> Result<(), Failure> {
    numbers.iter().try_for_each(|number| database.run("DELETE FROM asks WHERE number = ?", [number.into_value()]))
}

/// Asks the gateways whose objects have not yet said whether they are connected.
pub(super) async fn tell_due(object: &RecordsObject) -> Result<(), Failure> {
    let query = "SELECT number, gateway, device FROM asks WHERE is_due = 1 AND since > ? ORDER BY number";
    for row in object.database.open()?.rows(query, [before(now(), KEPT).into_value()])? {
        Ask::take(row)?.tell(object).await?;
    }
    Ok(())
}

/// Asks every connected gateway, when it is time.
pub(super) async fn ask_when_due(object: &RecordsObject) -> Result<(), Failure> {
    if round(object.database.open()?)?.is_none_or(|due| due > now()) {
        return Ok(());
    }
    let gateways: Vec<Device> = objects::call(&object.env, &DistributionRequest::Uploaders(None)).await?;
    // The round was there when all that it asks for is stored: none is lost.
    object.database.step(|database| {
        database.run("UPDATE asking SET asked_at = ?", [now().into_value()])?;
        gateways.iter().try_for_each(|gateway| Ask::put(database, gateway, None).map(drop))
    })
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
    let query = "SELECT EXISTS (SELECT 1 FROM asks WHERE is_due = 1 AND since > ?)";
    let is_due: Option<bool> = database.one(query, [before(now(), KEPT).into_value()])?;
    let again = is_due.unwrap_or_default().then(|| now().after(TRY_EVERY));
    Ok(again.into_iter().chain(round(database)?).min())
}

/// So long before.
fn before(now: UnixMillis, time: Duration) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

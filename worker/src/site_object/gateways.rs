//! Who may have a session with the distribution server, and the end of such sessions.

use super::{Site, devices, locks};
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_crypto::x509::Certificate;
use wardlink_edge::messages::{Admission, GatewayRequest};
use wardlink_edge::objects;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::Device;
use wardlink_protocol::grant::DeviceState;

/// When a gateway's object is told again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// With what the session of a device is authenticated: one that is paired, not locked, and whose earlier session has not yet to be closed.
pub(super) fn admit(site: &Site<'_>, device: &Device) -> Result<Option<Admission>, Failure> {
    let database = site.database;
    let known = devices::find(database, device)?.filter(|known| known.state == DeviceState::Paired);
    let query = "SELECT closing FROM gateway_sessions WHERE client = ? AND identifier = ?";
    let is_closing = database.one::<bool, _>(query, devices::names(device))? == Some(true);
    let is_locked = locks::all(database)?.iter().any(|lock| lock.device == *device);
    let Some(known) = known.filter(|_| !is_closing && !is_locked) else {
        log!("site: a session of {device} with the distribution server is refused");
        return Ok(None);
    };
    database
        .run("INSERT OR IGNORE INTO gateway_sessions (client, identifier) VALUES (?, ?)", devices::names(device))?;
    let key = site.authority.key()?.to_pkcs8().map_err(Failure::internal)?;
    Ok(Some(Admission {
        holder: known.key,
        issuing: site.authority.issuers().map(|issuing| issuing.certificate().to_bytes()).collect(),
        chain: site.authority.chain()?,
        key: key.to_vec(),
    }))
}

/// The keys of paired devices.
pub(super) fn keys(database: &Database, named: &[Device]) -> Result<Vec<Option<ByteBuf>>, Failure> {
    let key = |device: &Device| {
        let known = devices::find(database, device)?.filter(|known| known.state == DeviceState::Paired);
        let Some(known) = known else { return Ok(None) };
        let certificate = Certificate::parse(&known.certificate).map_err(Failure::internal)?;
        Ok(Some(ByteBuf::from(certificate.key().to_spki().map_err(Failure::internal)?)))
    };
    named.iter().map(key).collect()
}

/// A device has lost its rights: its session has to be closed, if it may have one.
pub(super) fn close(database: &Database, device: &Device) -> Result<(), Failure> {
    let statement = "UPDATE gateway_sessions SET closing = 1 WHERE client = ? AND identifier = ?";
    database.run(statement, devices::names(device))
}

/// Whether a session has yet to be closed.
pub(super) fn is_closing(database: &Database) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM gateway_sessions WHERE closing = 1)";
    Ok(database.one::<bool, 0>(query, [])?.unwrap_or_default())
}

/// Has the sessions closed that have to be; false where an object does not answer.
pub(super) async fn close_revoked(env: &worker::Env, database: &Database) -> Result<bool, Failure> {
    let rows = database.rows("SELECT client, identifier FROM gateway_sessions WHERE closing = 1", [])?;
    let mut all = true;
    for mut row in rows {
        let device = devices::take_name(&mut row)?;
        match objects::tell_gateway(env, &device, &GatewayRequest::Close).await {
            Ok(()) => database.run(
                "DELETE FROM gateway_sessions WHERE client = ? AND identifier = ? AND closing = 1",
                devices::names(&device),
            )?,
            Err(failure) => {
                log!("site: the session of {device} is to be closed again: {failure:?}");
                all = false;
            }
        }
    }
    Ok(all)
}

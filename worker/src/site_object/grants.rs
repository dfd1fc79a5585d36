//! What each key may do, as the bridge is told.

use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::Device;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::service::ServiceAccess;

/// Stores what a key may do from now on, under the next version. A key that is unknown again needs no row: the bridge is told,
/// and a bridge that begins anew does not know it.
pub(super) fn put(
    database: &Database,
    key: KeyFingerprint,
    device: &Device,
    state: DeviceState,
    certificates: Vec<GrantedCertificate>,
    channels: Vec<ChannelName>,
) -> Result<Grant, Failure> {
    let access = ServiceAccess::default();
    store(database, Grant { key, device: device.clone(), state, certificates, channels, access, version: 0 })
}

/// Stores what a service may do from now on, under the next version.
pub(super) fn put_service(
    database: &Database,
    key: KeyFingerprint,
    service: &Device,
    certificates: Vec<GrantedCertificate>,
    access: ServiceAccess,
) -> Result<Grant, Failure> {
    let (state, channels) = (DeviceState::Paired, Vec::new());
    store(database, Grant { key, device: service.clone(), state, certificates, channels, access, version: 0 })
}

fn store(database: &Database, grant: Grant) -> Result<Grant, Failure> {
    let version = database.one("UPDATE versions SET newest = newest + 1 RETURNING newest", [])?;
    let version: u64 = version.ok_or_else(|| Failure::internal("the version of the grants is missing"))?;
    let grant = Grant { version, ..grant };
    if grant.state == DeviceState::Unknown {
        database.run("DELETE FROM grants WHERE key = ?", [column(grant.key)])?;
    } else {
        database.run(
            "INSERT OR REPLACE INTO grants (key, version, record) VALUES (?, ?, ?)",
            [column(grant.key), version.into_value(), record(&grant)?],
        )?;
    }
    Ok(grant)
}

/// What a key may do; none where it is unknown.
pub(super) fn find(database: &Database, key: KeyFingerprint) -> Result<Option<Grant>, Failure> {
    let row = database.row("SELECT record FROM grants WHERE key = ?", [column(key)])?;
    row.map(|mut row| row.take_record()).transpose()
}

/// The keys of a device that are revoked.
pub(super) fn revoked_keys(database: &Database, device: &Device) -> Result<Vec<KeyFingerprint>, Failure> {
    let (_, grants) = table(database)?;
    let revoked = grants.into_iter().filter(|grant| grant.state == DeviceState::Revoked && grant.device == *device);
    Ok(revoked.map(|grant| grant.key).collect())
}

/// Everything that the bridge has to know, and its version.
pub(super) fn table(database: &Database) -> Result<(u64, Vec<Grant>), Failure> {
    let version = database.one("SELECT newest FROM versions", [])?.unwrap_or_default();
    let rows = database.rows("SELECT record FROM grants ORDER BY version", [])?;
    Ok((version, rows.into_iter().map(|mut row| row.take_record()).collect::<Result<_, _>>()?))
}

fn column(key: KeyFingerprint) -> worker::SqlStorageValue {
    key.as_bytes().to_vec().into_value()
}

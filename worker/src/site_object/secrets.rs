//! The access secrets: hospital-wide ones, and one of its own for each device that was given one.

use super::Site;
use super::vault::Vault;
use crate::guard::Origin;
use crate::platform::{log, rng};
use crate::problem::Failure;
use crate::storage::{Column, Database, Row};
use core::time::Duration;
use data_encoding::HEXLOWER;
use rand_core::Rng;
use wardlink_crypto::schedule::derive_device_secret;
use wardlink_protocol::api::{NewProvisioning, ProblemKind, SecretState, SecretView};
use wardlink_protocol::identity::SecretId;
use wardlink_protocol::provisioning::{AccessSecret, Provisioning};
use wardlink_protocol::{ClientClass, Device, UnixMillis};
use zeroize::Zeroizing;

/// How long a secret lets devices ask.
const LIFETIME: Duration = Duration::from_hours(365 * 24);
/// A hospital-wide secret is given out no longer when it ends so soon: a new one is made.
const REPLACEMENT_TIME: Duration = Duration::from_hours(30 * 24);
const SECRET_BYTES: usize = 32;
/// The version of the provisioning file's format.
const FILE_VERSION: u32 = 1;

/// Makes a provisioning file.
pub(super) fn provision(site: &Site<'_>, new: NewProvisioning, origin: &Origin) -> Result<Provisioning, Failure> {
    let &Site { database, vault, authority, anchors, now } = site;
    if !is_class(database, &new.client)? {
        return Err(Failure::with_detail(ProblemKind::BadRequest, "This device class is not configured here."));
    }
    let (secret_id, secret) = match &new.identifier {
        None => hospital_secret(database, vault, now)?,
        Some(identifier) => {
            let device = Device { client: new.client.clone(), identifier: identifier.clone() };
            device_secret(database, vault, &device, now)?
        }
    };
    Ok(Provisioning {
        version: FILE_VERSION,
        client: new.client,
        identifier: new.identifier,
        broker: origin.broker(),
        secret_id,
        secret,
        web_origin: origin.to_string(),
        cert_ca_sha256: Some(authority.issuing().root().sha256()),
        tls_anchors: anchors.pem(),
        web_pki: anchors.web_pki(),
    })
}

/// The secret that a request from `device` was made under; none where the id is unknown, expired, or another device's.
pub(super) fn find(
    database: &Database,
    vault: &Vault,
    id: &SecretId,
    device: &Device,
    now: UnixMillis,
) -> Result<Option<AccessSecret>, Failure> {
    let query = "SELECT device, secret, expires_at FROM access_secrets WHERE id = ?";
    let Some(mut row) = database.row(query, [id.to_string().into_value()])? else { return Ok(None) };
    let (owner, sealed, expires_at) =
        (row.take::<Option<String>>()?, row.take::<Option<Vec<u8>>>()?, row.take::<Option<UnixMillis>>()?);
    if expires_at.is_some_and(|end| end <= now) || owner.is_some_and(|owner| owner != device.to_string()) {
        return Ok(None);
    }
    match sealed {
        Some(sealed) => Ok(Some(secret(&vault.unseal(&place(id), &sealed)?)?)),
        None => Ok(Some(derive_device_secret(&master(database, vault)?, device).map_err(Failure::internal)?)),
    }
}

/// All secrets, the newest first, without the secrets.
pub(super) fn all(database: &Database, now: UnixMillis) -> Result<Vec<SecretView>, Failure> {
    let query = "SELECT id, device, made_at, expires_at FROM access_secrets ORDER BY made_at DESC, id";
    let view = |mut row: Row| {
        let id = row.take::<String>()?.parse().map_err(Failure::internal)?;
        let device = row.take::<Option<String>>()?.map(|text| text.parse()).transpose().map_err(Failure::internal)?;
        let (made_at, expires_at) = (row.take()?, row.take::<Option<UnixMillis>>()?);
        let state = if expires_at.is_some_and(|end| end <= now) { SecretState::Expired } else { SecretState::Active };
        let name = String::new();
        Ok(SecretView { id, name, device, state, made_at, made_by: None, expires_at, ended_at: None, used_at: None })
    };
    database.rows(query, [])?.into_iter().map(view).collect()
}

/// The configured device classes.
pub(super) fn classes(database: &Database) -> Result<Vec<ClientClass>, Failure> {
    let rows = database.rows("SELECT name FROM classes ORDER BY name", [])?;
    rows.into_iter().map(|mut row| row.take::<String>()?.parse().map_err(Failure::internal)).collect()
}

/// Whether the class is configured.
pub(super) fn is_class(database: &Database, client: &ClientClass) -> Result<bool, Failure> {
    Ok(classes(database)?.contains(client))
}

/// The newest hospital-wide secret; makes one where there is none that lasts.
fn hospital_secret(database: &Database, vault: &Vault, now: UnixMillis) -> Result<(SecretId, AccessSecret), Failure> {
    let query = "SELECT id, secret FROM access_secrets WHERE device IS NULL AND expires_at > ?
                 ORDER BY expires_at DESC LIMIT 1";
    if let Some(mut row) = database.row(query, [now.after(REPLACEMENT_TIME).into_value()])? {
        let id: SecretId = row.take::<String>()?.parse().map_err(Failure::internal)?;
        let secret = secret(&vault.unseal(&place(&id), &row.take::<Vec<u8>>()?)?)?;
        return Ok((id, secret));
    }
    let id = make_id("hospital")?;
    let bytes = draw();
    let sealed = vault.seal(&place(&id), bytes.as_ref())?;
    add(database, &id, None, Some(sealed), now)?;
    Ok((id, secret(bytes.as_ref())?))
}

/// The device's own secret. Asked for again, it is the same, and lasts anew.
fn device_secret(
    database: &Database,
    vault: &Vault,
    device: &Device,
    now: UnixMillis,
) -> Result<(SecretId, AccessSecret), Failure> {
    let secret = derive_device_secret(&master(database, vault)?, device).map_err(Failure::internal)?;
    let query = "SELECT id FROM access_secrets WHERE device = ?";
    if let Some(id) = database.one::<String, _>(query, [device.to_string().into_value()])? {
        database.run(
            "UPDATE access_secrets SET expires_at = ? WHERE id = ?",
            [now.after(LIFETIME).into_value(), id.clone().into_value()],
        )?;
        return Ok((id.parse().map_err(Failure::internal)?, secret));
    }
    let id = make_id("device")?;
    add(database, &id, Some(device), None, now)?;
    Ok((id, secret))
}

fn add(
    database: &Database,
    id: &SecretId,
    device: Option<&Device>,
    sealed: Option<Vec<u8>>,
    now: UnixMillis,
) -> Result<(), Failure> {
    log!("site: made the access secret {id}");
    database.run(
        "INSERT INTO access_secrets (id, device, secret, made_at, expires_at) VALUES (?, ?, ?, ?, ?)",
        [
            id.to_string().into_value(),
            device.map(Device::to_string).into_value(),
            sealed.into_value(),
            now.into_value(),
            now.after(LIFETIME).into_value(),
        ],
    )
}

/// What devices' own secrets are derived from.
fn master(database: &Database, vault: &Vault) -> Result<AccessSecret, Failure> {
    const PLACE: &str = "master of the devices' access secrets";
    if let Some(sealed) = database.one::<Vec<u8>, _>("SELECT secret FROM secret_master", [])? {
        return secret(&vault.unseal(PLACE, &sealed)?);
    }
    let bytes = draw();
    database.run("INSERT INTO secret_master (secret) VALUES (?)", [vault.seal(PLACE, bytes.as_ref())?.into_value()])?;
    secret(bytes.as_ref())
}

fn place(id: &SecretId) -> String {
    format!("access secret {id}")
}

fn secret(bytes: &[u8]) -> Result<AccessSecret, Failure> {
    AccessSecret::new(bytes.to_vec()).map_err(Failure::internal)
}

fn draw() -> Zeroizing<[u8; SECRET_BYTES]> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    rng().fill_bytes(bytes.as_mut());
    bytes
}

fn make_id(kind: &str) -> Result<SecretId, Failure> {
    let mut bytes = [0; 6];
    rng().fill_bytes(&mut bytes);
    format!("{kind}-{}", HEXLOWER.encode(&bytes)).parse().map_err(Failure::internal)
}

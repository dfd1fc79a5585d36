//! The access secrets: hospital-wide ones, and one of its own for each device that was given one.

mod provisioning;

pub(super) use provisioning::provision;

use super::Site;
use core::time::Duration;
use data_encoding::HEXLOWER;
use rand_core::Rng;
use wardlink_crypto::schedule::derive_device_secret;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_edge::vault::Vault;
use wardlink_protocol::api::{NewSecret, Person, ProblemKind, SecretState, SecretView};
use wardlink_protocol::identity::SecretId;
use wardlink_protocol::limits::{MAX_SECRET_DAYS, MAX_TEXT_BYTES};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::{Device, UnixMillis};
use zeroize::Zeroizing;

/// How long a secret lets devices ask, unless a person says otherwise.
const LIFETIME: Duration = Duration::from_hours(365 * 24);
const DAY: Duration = Duration::from_hours(24);
/// How exactly the last use is noted: every request would cost a write otherwise.
const USE_RESOLUTION: Duration = Duration::from_mins(1);
const SECRET_BYTES: usize = 32;

const COLUMNS: &str = "id, name, device, made_at, made_by, expires_at, ended_at, used_at";

/// The secret that a request was made under.
pub(super) struct Found {
    pub(super) secret: AccessSecret,
    /// Whether it is the device's own.
    pub(super) is_own: bool,
}

/// Finds the secret for a request of `device`; none where the id is unknown, over, or another device's.
pub(super) fn find(site: &Site<'_>, id: &SecretId, device: &Device) -> Result<Option<Found>, Failure> {
    let Some(view) = view_of(site, id)? else { return Ok(None) };
    if view.state != SecretState::Active || view.device.as_ref().is_some_and(|owner| owner != device) {
        return Ok(None);
    }
    let secret = match &view.device {
        Some(owner) => derive(site, id, owner)?,
        None => stored(site.database, site.vault, id)?,
    };
    Ok(Some(Found { secret, is_own: view.device.is_some() }))
}

/// Notes that a device proved to hold the secret.
pub(super) fn note_use(site: &Site<'_>, id: &SecretId) -> Result<(), Failure> {
    let earlier = super::authority::before(site.now, USE_RESOLUTION);
    site.database.run(
        "UPDATE secrets SET used_at = ? WHERE id = ? AND coalesce(used_at, 0) <= ?",
        [site.now.into_value(), id.to_string().into_value(), earlier.into_value()],
    )
}

/// All secrets, the newest first, without the secrets.
pub(super) fn all(site: &Site<'_>) -> Result<Vec<SecretView>, Failure> {
    let query = format!("SELECT {COLUMNS} FROM secrets ORDER BY made_at DESC, id");
    site.database.rows(&query, [])?.into_iter().map(|row| view(row, site.now)).collect()
}

fn view_of(site: &Site<'_>, id: &SecretId) -> Result<Option<SecretView>, Failure> {
    let query = format!("SELECT {COLUMNS} FROM secrets WHERE id = ?");
    site.database.row(&query, [id.to_string().into_value()])?.map(|row| view(row, site.now)).transpose()
}

fn view(mut row: Row, now: UnixMillis) -> Result<SecretView, Failure> {
    let id = row.take::<String>()?.parse().map_err(Failure::internal)?;
    let name = row.take()?;
    let device = row.take::<Option<String>>()?.map(|text| text.parse()).transpose().map_err(Failure::internal)?;
    let (made_at, made_by) = (row.take()?, row.take()?);
    let (expires_at, ended_at, used_at) = (row.take::<Option<UnixMillis>>()?, row.take()?, row.take()?);
    let state = state_of(expires_at, ended_at, now);
    Ok(SecretView { id, name, device, state, made_at, made_by, expires_at, ended_at, used_at })
}

fn state_of(expires_at: Option<UnixMillis>, ended_at: Option<UnixMillis>, now: UnixMillis) -> SecretState {
    match (ended_at, expires_at) {
        (Some(_), _) => SecretState::Ended,
        (None, Some(end)) if end <= now => SecretState::Expired,
        _ => SecretState::Active,
    }
}

/// A person makes a hospital-wide secret.
pub(super) fn make(site: &Site<'_>, person: &Person, new: NewSecret) -> Result<SecretView, Failure> {
    let NewSecret { name, lifetime_days } = new;
    if name.len() > MAX_TEXT_BYTES || name.chars().any(char::is_control) {
        let detail = format!("The name has at most {MAX_TEXT_BYTES} bytes, without control characters.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    if !(1..=MAX_SECRET_DAYS).contains(&lifetime_days) {
        let detail = format!("A secret lasts 1 to {MAX_SECRET_DAYS} days.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    add(site, None, name, Some(person), DAY.saturating_mul(lifetime_days))
}

/// A person ends a secret: nobody asks under it any more. Ending it again changes nothing.
pub(super) fn end(site: &Site<'_>, person: &Person, id: &SecretId) -> Result<SecretView, Failure> {
    site.database.run(
        "UPDATE secrets SET ended_at = coalesce(ended_at, ?) WHERE id = ?",
        [site.now.into_value(), id.to_string().into_value()],
    )?;
    let ended = view_of(site, id)?.ok_or(ProblemKind::NotFound)?;
    log!("site: person {} ends the access secret {id}", person.id);
    Ok(ended)
}

/// Adds a secret: a device's own, which is derived, or a hospital-wide one, which is drawn.
fn add(
    site: &Site<'_>,
    device: Option<&Device>,
    name: String,
    person: Option<&Person>,
    lifetime: Duration,
) -> Result<SecretView, Failure> {
    let id = make_id(if device.is_some() { "device" } else { "hospital" })?;
    let sealed = match device {
        Some(_) => None,
        None => Some(site.vault.seal(&place(&id), draw().as_ref())?),
    };
    site.database.run(
        "INSERT INTO secrets (id, name, device, secret, made_at, made_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            id.to_string().into_value(),
            name.into_value(),
            device.map(Device::to_string).into_value(),
            sealed.into_value(),
            site.now.into_value(),
            person.map(|person| person.name.clone()).into_value(),
            site.now.after(lifetime).into_value(),
        ],
    )?;
    log!("site: made the access secret {id}");
    view_of(site, &id)?.ok_or_else(|| Failure::internal("a secret that was just made is missing"))
}

/// A hospital-wide secret.
fn stored(database: &Database, vault: &Vault, id: &SecretId) -> Result<AccessSecret, Failure> {
    let sealed: Option<Option<Vec<u8>>> =
        database.one("SELECT secret FROM secrets WHERE id = ?", [id.to_string().into_value()])?;
    let sealed = sealed.flatten().ok_or_else(|| Failure::internal("a hospital-wide secret is missing"))?;
    secret(&vault.unseal(&place(id), &sealed)?)
}

/// A device's own secret.
fn derive(site: &Site<'_>, id: &SecretId, device: &Device) -> Result<AccessSecret, Failure> {
    derive_device_secret(&master(site.database, site.vault)?, id, device).map_err(Failure::internal)
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

#[cfg(test)]
mod tests {
    use super::{SecretState, UnixMillis, state_of};

    #[test]
    fn a_secret_counts_until_its_time_or_a_person_ends_it() {
        let at = |seconds| Some(UnixMillis::from_secs(seconds));
        let now = UnixMillis::from_secs(10);
        assert_eq!(state_of(at(11), None, now), SecretState::Active);
        assert_eq!(state_of(None, None, now), SecretState::Active);
        assert_eq!(state_of(at(10), None, now), SecretState::Expired);
        assert_eq!(state_of(at(11), at(9), now), SecretState::Ended);
        assert_eq!(state_of(at(9), at(8), now), SecretState::Ended);
    }
}

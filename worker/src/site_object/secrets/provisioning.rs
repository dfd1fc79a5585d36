//! Provisioning files: which secret goes into one.

use super::{COLUMNS, LIFETIME, add, derive, stored, view, view_of};
use crate::guard::Origin;
use crate::site_object::{Site, classes};
use core::time::Duration;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Column;
use wardlink_protocol::Device;
use wardlink_protocol::api::{NewProvisioning, Person, ProblemKind, SecretState};
use wardlink_protocol::identity::SecretId;
use wardlink_protocol::provisioning::{AccessSecret, FILE_VERSION, Provisioning};

/// A hospital-wide secret is given out no longer, unless it is asked for, when it ends so soon: a new one is made.
const REPLACEMENT_TIME: Duration = Duration::from_hours(30 * 24);

/// Makes a provisioning file.
pub(in crate::site_object) fn provision(
    site: &Site<'_>,
    person: Option<&Person>,
    new: NewProvisioning,
    origin: &Origin,
) -> Result<Provisioning, Failure> {
    let NewProvisioning { client, identifier, secret } = new;
    if !classes::is_enabled(site.database, &client)? {
        return Err(Failure::with_detail(ProblemKind::BadRequest, "Devices of this class may not ask here."));
    }
    let (secret_id, secret) = match (&identifier, secret) {
        (Some(_), Some(_)) => {
            let detail = "A file for one device has the device's own secret.";
            return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
        }
        (Some(identifier), None) => {
            let device = Device { client: client.clone(), identifier: identifier.clone() };
            device_secret(site, person, &device)?
        }
        (None, Some(id)) => chosen(site, id)?,
        (None, None) => newest(site, person)?,
    };
    Ok(Provisioning {
        version: FILE_VERSION,
        client,
        identifier,
        broker: origin.broker(),
        secret_id,
        secret,
        web_origin: origin.to_string(),
        cert_ca_sha256: Some(site.authority.root()),
        tls_anchors: site.anchors.pem(),
        web_pki: site.anchors.web_pki(),
    })
}

/// The hospital-wide secret that a person chose.
fn chosen(site: &Site<'_>, id: SecretId) -> Result<(SecretId, AccessSecret), Failure> {
    let view = view_of(site, &id)?.filter(|view| view.device.is_none()).ok_or(ProblemKind::NotFound)?;
    if view.state != SecretState::Active {
        return Err(Failure::with_detail(ProblemKind::WrongState, "Devices may not ask under this secret any more."));
    }
    let secret = stored(site.database, site.vault, &id)?;
    Ok((id, secret))
}

/// The newest hospital-wide secret; makes one where there is none that lasts.
fn newest(site: &Site<'_>, person: Option<&Person>) -> Result<(SecretId, AccessSecret), Failure> {
    let query = "SELECT id FROM secrets WHERE device IS NULL AND ended_at IS NULL AND expires_at > ?
                 ORDER BY made_at DESC, id LIMIT 1";
    let known = site.database.one::<String, _>(query, [site.now.after(REPLACEMENT_TIME).into_value()])?;
    let id = match known {
        Some(id) => id.parse().map_err(Failure::internal)?,
        None => add(site, None, String::new(), person, LIFETIME)?.id,
    };
    let secret = stored(site.database, site.vault, &id)?;
    Ok((id, secret))
}

/// The device's own secret. Asked for again, it is the same, and lasts anew; once it is over, there is another one.
fn device_secret(
    site: &Site<'_>,
    person: Option<&Person>,
    device: &Device,
) -> Result<(SecretId, AccessSecret), Failure> {
    let query =
        format!("SELECT {COLUMNS} FROM secrets WHERE device = ? AND ended_at IS NULL ORDER BY made_at DESC LIMIT 1");
    let known = site.database.row(&query, [device.to_string().into_value()])?;
    let known = known.map(|row| view(row, site.now)).transpose()?;
    let id = match known.filter(|view| view.state == SecretState::Active) {
        Some(view) => {
            log!("site: the access secret {} lasts anew", view.id);
            site.database.run(
                "UPDATE secrets SET expires_at = ? WHERE id = ?",
                [site.now.after(LIFETIME).into_value(), view.id.to_string().into_value()],
            )?;
            view.id
        }
        None => add(site, Some(device), String::new(), person, LIFETIME)?.id,
    };
    let secret = derive(site, &id, device)?;
    Ok((id, secret))
}

//! The list of revoked certificates (RFC 5280 section 5), signed by the issuing CA, for whoever asks.

use super::Site;
use crate::problem::Failure;
use crate::storage::{Column, Row, record};
use core::time::Duration;
use std::collections::BTreeMap;
use wardlink_crypto::x509::{Revocation, RevocationReason};
use wardlink_protocol::api::RevocationReason as Why;
use wardlink_protocol::identity::CertificateSerial;
use wardlink_protocol::limits::MAX_CRL_ENTRIES;
use worker::Response;

/// A newer list follows within this time, also where nothing was revoked.
const LIFETIME: Duration = Duration::from_hours(24);
/// A list is made anew so long before it ends.
const RENEWAL_TIME: Duration = Duration::from_hours(12);

/// The newest list, DER: made anew where something was revoked since, or where it ends soon.
pub(super) fn answer(site: &Site<'_>) -> Result<Response, Failure> {
    let stored = site.database.row("SELECT der, renew_at FROM revocation_list", [])?;
    let stored = stored.map(|mut row| Ok::<_, Failure>((row.take::<Vec<u8>>()?, row.take()?))).transpose()?;
    let der = match stored {
        Some((der, renew_at)) if site.now < renew_at => der,
        _ => issue(site)?,
    };
    let response = Response::from_bytes(der)?;
    response.headers().set("Content-Type", "application/pkix-crl")?;
    Ok(response)
}

/// Something was revoked: the next list is a new one.
pub(super) fn is_outdated(site: &Site<'_>) -> Result<(), Failure> {
    site.database.run("UPDATE revocation_list SET renew_at = 0", [])
}

fn issue(site: &Site<'_>) -> Result<Vec<u8>, Failure> {
    // A certificate that has ended by itself needs no list.
    site.database.run("DELETE FROM revoked_certificates WHERE ends_at < ?", [site.now.into_value()])?;
    // Where there are more than a list holds, those stay whose devices are trusted no longer, and of them the newest: certificates
    // that were replaced are refused here in any case.
    let query = "SELECT serial, reason, revoked_at FROM revoked_certificates
                 ORDER BY reason = ?, revoked_at DESC, serial LIMIT ?";
    let most = u64::try_from(MAX_CRL_ENTRIES).map_err(Failure::internal)?;
    let rows = site.database.rows(query, [record(&None::<Why>)?, most.into_value()])?;
    let revoked: BTreeMap<_, _> = rows.into_iter().map(entry).collect::<Result<_, Failure>>()?;
    let number = site.database.one("SELECT number FROM revocation_list", [])?.unwrap_or(0_u64).saturating_add(1);
    let list = site.authority.issuing().issue_crl(number, &revoked, site.now, site.now.after(LIFETIME));
    let der = list.map_err(Failure::internal)?.der().to_vec();
    site.database.run(
        "INSERT OR REPLACE INTO revocation_list (one, number, renew_at, der) VALUES (1, ?, ?, ?)",
        [number.into_value(), site.now.after(RENEWAL_TIME).into_value(), der.clone().into_value()],
    )?;
    Ok(der)
}

fn entry(mut row: Row) -> Result<(CertificateSerial, Revocation), Failure> {
    let serial = CertificateSerial::try_from(row.take::<Vec<u8>>()?.as_slice()).map_err(Failure::internal)?;
    let reason = match row.take_record::<Option<Why>>()? {
        Some(Why::Lost | Why::Compromised) => RevocationReason::KeyCompromise,
        Some(Why::Retired) => RevocationReason::CessationOfOperation,
        Some(Why::Other) => RevocationReason::PrivilegeWithdrawn,
        // Another device or another certificate of the same one.
        Some(Why::Replaced) | None => RevocationReason::Superseded,
    };
    Ok((serial, Revocation { reason, revoked_at: row.take()? }))
}

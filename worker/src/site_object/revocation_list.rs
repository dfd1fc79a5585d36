//! The list of revoked certificates (RFC 5280 section 5), signed by the issuing CA, for whoever asks.

use super::Site;
use core::time::Duration;
use std::collections::BTreeMap;
use wardlink_crypto::x509::{IssuingCa, Revocation, RevocationReason};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Row, record};
use wardlink_protocol::api::{ProblemKind, RevocationReason as Why};
use wardlink_protocol::identity::CertificateSerial;
use wardlink_protocol::limits::MAX_CRL_ENTRIES;
use worker::Response;

/// A newer list follows within this time, also where nothing was revoked.
const LIFETIME: Duration = Duration::from_hours(24);
/// A list is made anew so long before it ends.
const RENEWAL_TIME: Duration = Duration::from_hours(12);

/// The newest list, DER, of the issuing CA whose key identifier this is; none is the one that issues now. Made anew where something was
/// revoked since, or where it ends soon.
pub(super) fn answer(site: &Site<'_>, issuer: Option<&[u8]>) -> Result<Response, Failure> {
    let mut issuers = site.authority.issuers();
    let issuing = match issuer {
        None => Some(site.authority.issuing(site.now)?),
        Some(key) => issuers.find(|issuing| issuing.certificate().key_identifier() == key),
    };
    let issuing = issuing.ok_or(ProblemKind::NotFound)?;
    let query = "SELECT der, renew_at FROM revocation_lists WHERE issuer = ?";
    let stored = site.database.row(query, [issuing.certificate().key_identifier().to_vec().into_value()])?;
    let stored = stored.map(|mut row| Ok::<_, Failure>((row.take::<Vec<u8>>()?, row.take()?))).transpose()?;
    let der = match stored {
        Some((der, renew_at)) if site.now < renew_at => der,
        _ => issue(site, issuing)?,
    };
    let response = Response::from_bytes(der)?;
    response.headers().set("Content-Type", "application/pkix-crl")?;
    Ok(response)
}

/// Something was revoked: the next lists are new ones.
pub(super) fn is_outdated(site: &Site<'_>) -> Result<(), Failure> {
    site.database.run("UPDATE revocation_lists SET renew_at = 0", [])
}

/// Every list names every revoked certificate of the site, whichever of its CAs issued it: their numbers are drawn from one space, so that
/// none is ever another's.
fn issue(site: &Site<'_>, issuing: &IssuingCa) -> Result<Vec<u8>, Failure> {
    // A certificate that has ended by itself needs no list.
    site.database.run("DELETE FROM revoked_certificates WHERE ends_at < ?", [site.now.into_value()])?;
    // Where there are more than a list holds, those stay whose devices are trusted no longer, and of them the newest: certificates
    // that were replaced are refused here in any case.
    let query = "SELECT serial, reason, revoked_at FROM revoked_certificates
                 ORDER BY reason = ?, revoked_at DESC, serial LIMIT ?";
    let most = u64::try_from(MAX_CRL_ENTRIES).map_err(Failure::internal)?;
    let rows = site.database.rows(query, [record(&None::<Why>)?, most.into_value()])?;
    let revoked: BTreeMap<_, _> = rows.into_iter().map(entry).collect::<Result<_, Failure>>()?;
    let number = site.database.one::<Option<u64>, 0>("SELECT max(number) FROM revocation_lists", [])?;
    let number = number.flatten().unwrap_or_default().saturating_add(1);
    let list = issuing.issue_crl(number, &revoked, site.now, site.now.after(LIFETIME));
    let der = list.map_err(Failure::internal)?.der().to_vec();
    site.database.run(
        "INSERT OR REPLACE INTO revocation_lists (issuer, number, renew_at, der) VALUES (?, ?, ?, ?)",
        [
            issuing.certificate().key_identifier().to_vec().into_value(),
            number.into_value(),
            site.now.after(RENEWAL_TIME).into_value(),
            der.clone().into_value(),
        ],
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

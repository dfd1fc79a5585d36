//! Renewal of a service's certificate: the new one counts beside the old one until the service has used it.

use super::{Enrolled, ServiceRecord, column, wrapping_place};
use crate::site_object::timers::{self, Timer};
use crate::site_object::{Outcome, Site, audit, grants, revocation_list};
use wardlink_crypto::schedule::message_hash;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, read_record, record};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::enrolment::EnrolledService;
use wardlink_pairing::enrolment::renewal::{Asking, EnrolledOne, asked_by, renewable_from};
use wardlink_pairing::renewal::RenewingControlUnit;
use wardlink_protocol::Device;
use wardlink_protocol::api::{ProblemKind, RevocationReason};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::{DeviceIdentifier, KeyFingerprint, Purpose};
use wardlink_trust::audit::Act;
use wardlink_trust::wrap::WrapKey;

/// A service that has been given a certificate, and asks anew in place of using it, waits for this part of a certificate's time: each that
/// it does not use stands in the revocation list until its end.
const PAUSE_PART: u32 = 1_000;

const fn granted(enrolled: &Enrolled) -> GrantedCertificate {
    GrantedCertificate { serial: enrolled.certificate, purpose: Purpose::Service, not_after: enrolled.ends }
}

/// A service asks for a new certificate, also after the old one has ended. The same question again gets the same answer, until the service
/// has used what it was given, or half of that certificate's time is over: a later one serves it better.
pub(in crate::site_object) fn renew(
    site: &Site<'_>,
    request: &[u8],
    outcome: &mut Outcome,
) -> Result<Vec<u8>, Failure> {
    let refused = || {
        let detail = "This service is not enrolled here, is revoked, or its certificate is not to be renewed yet.";
        Failure::with_detail(ProblemKind::Forbidden, detail)
    };
    let key = asked_by(request).ok_or_else(refused)?;
    let is_its_own =
        |grant: &Grant| grant.device.is_service() && matches!(grant.state, DeviceState::Paired | DeviceState::Expired);
    let grant = grants::find(site.database, key)?.filter(is_its_own).ok_or_else(refused)?;
    let name = grant.device.identifier;
    let query = "SELECT record, next, renewal_hash, renewal_answer FROM services WHERE name = ?";
    let mut row = site.database.row(query, [column(&name)])?.ok_or_else(refused)?;
    let mut known: ServiceRecord = row.take_record()?;
    if known.revoked.is_some() || known.enrolled.as_ref().is_none_or(|enrolled| enrolled.key != key) {
        return Err(refused());
    }
    let next = row.take::<Option<Vec<u8>>>()?.map(|next| read_record::<Enrolled>(&next)).transpose()?;
    let (hash, answer): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.take()?, row.take()?);
    // It connects as soon as it has the answer.
    outcome.must_arrive = true;
    let serves = next.as_ref().is_some_and(|next| site.now < renewable_from(next.ends, site.service_lifetime));
    let is_the_same = hash.as_deref() == Some(message_hash(request).as_bytes().as_slice());
    if let Some(answer) = answer.filter(|_| serves && is_the_same) {
        return Ok(answer);
    }
    let asking = Asking::open(&name, key, request).map_err(|error| {
        log!("site: a request to renew the certificate of the service {name} does not count: {error}");
        refused()
    })?;
    if next.as_ref().is_some_and(|next| next.certificate == asking.serial()) {
        known = adopt(site, &name, known, outcome)?;
    }
    let enrolled = known.enrolled.as_ref().ok_or_else(refused)?;
    let chain = site.authority.chain()?;
    let control_unit = RenewingControlUnit {
        signer: Signer { key: site.authority.key()?, chain: &chain },
        ca: site.authority.issuing(site.now)?,
        certificate_lifetime: site.service_lifetime,
    };
    // A question about one that was replaced is refused below, and not put off.
    let unused = next.as_ref().filter(|next| next.certificate != enrolled.certificate);
    if let Some(unused) = unused.filter(|_| asking.serial() == enrolled.certificate) {
        let left = unused.ends.since(site.now) + site.service_lifetime / PAUSE_PART;
        if let Some(pause) = left.checked_sub(site.service_lifetime).filter(|pause| !pause.is_zero()) {
            return Err(Failure::too_many(pause.as_secs()));
        }
    }
    let from = renewable_from(enrolled.ends, site.service_lifetime);
    let of_it = EnrolledOne { serial: enrolled.certificate, from, access: &known.access };
    let renewed = asking.renew(of_it, control_unit, site.now, &mut rng()).map_err(|error| {
        log!("site: the service {name} is given no new certificate: {error}");
        refused()
    })?;
    // One that it was given, and does not have, never counts again.
    if let Some(unused) = unused {
        supersede(site, unused)?;
    }
    give(site, &name, key, request, &known, &renewed, outcome)?;
    Ok(renewed.answer.clone())
}

/// The new certificate and the new keys count beside those that the service has.
fn give(
    site: &Site<'_>,
    name: &DeviceIdentifier,
    key: KeyFingerprint,
    request: &[u8],
    known: &ServiceRecord,
    renewed: &EnrolledService,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let next = Enrolled { key, certificate: renewed.serial, ends: renewed.certificate_ends };
    let service = Device::service(name.clone());
    let both = known.enrolled.iter().chain([&next]).map(granted).collect();
    outcome.bridge.grant(grants::put_service(site.database, key, &service, both, known.access.clone())?);
    let wrap_id = WrapKey::new(renewed.wrap_key).keys(&service).map_err(Failure::internal)?.id();
    site.database.run(
        "UPDATE services SET next = ?, next_wrap_id = ?, next_wrapping_key = ?, renewal_hash = ?, renewal_answer = ?
         WHERE name = ?",
        [
            record(&next)?,
            wrap_id.as_bytes().to_vec().into_value(),
            site.vault.seal(&wrapping_place(name), &renewed.wrap_key)?.into_value(),
            message_hash(request).as_bytes().to_vec().into_value(),
            renewed.answer.clone().into_value(),
            column(name),
        ],
    )?;
    timers::set(site.database, &Timer::Certificate(service), renewed.certificate_ends)?;
    log!("site: the service {name} is given a new certificate: {}", renewed.serial);
    Ok(())
}

/// A certificate that another one has replaced is worth nothing any more.
fn supersede(site: &Site<'_>, old: &Enrolled) -> Result<(), Failure> {
    site.database.run(
        "INSERT OR IGNORE INTO revoked_certificates (serial, reason, revoked_at, ends_at) VALUES (?, ?, ?, ?)",
        [
            old.certificate.as_bytes().to_vec().into_value(),
            record(&None::<RevocationReason>)?,
            site.now.into_value(),
            old.ends.into_value(),
        ],
    )?;
    revocation_list::is_outdated(site)
}

/// A service has shown that it has its new certificate and its new keys: what was before ends, and no answer has to be given again.
pub(super) fn adopt(
    site: &Site<'_>,
    name: &DeviceIdentifier,
    known: ServiceRecord,
    outcome: &mut Outcome,
) -> Result<ServiceRecord, Failure> {
    let query = "SELECT next FROM services WHERE name = ? AND next IS NOT NULL";
    let Some(mut row) = site.database.row(query, [column(name)])? else { return Ok(known) };
    let next: Enrolled = row.take_record()?;
    let service = Device::service(name.clone());
    let grant = grants::put_service(site.database, next.key, &service, vec![granted(&next)], known.access.clone())?;
    outcome.bridge.grant(grant);
    known.enrolled.as_ref().map_or(Ok(()), |old| supersede(site, old))?;
    let detail = format!("certificate {}", next.certificate);
    outcome.notes.add(audit::device(&service, next.key), Act::CertificateRenewed, name, detail);
    log!("site: the service {name} has renewed its certificate: {}", next.certificate);
    let known = ServiceRecord { enrolled: Some(next), ..known };
    site.database.run(
        "UPDATE services SET record = ?, wrap_id = next_wrap_id, wrapping_key = next_wrapping_key,
         next = NULL, next_wrap_id = NULL, next_wrapping_key = NULL, renewal_hash = NULL, renewal_answer = NULL,
         request_hash = NULL, answer = NULL WHERE name = ?",
        [record(&known)?, column(name)],
    )?;
    Ok(known)
}

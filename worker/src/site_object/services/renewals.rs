//! Renewal of a service's certificate: the new one counts beside the old one until the service has used it.

use super::{Enrolled, ServiceRecord, column, wrapping_place};
use crate::site_object::timers::{self, Timer};
use crate::site_object::{Outcome, Site, audit, grants, revocation_list};
use wardlink_crypto::schedule::message_hash;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, record};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::enrolment::renewal::{EnrolledOne, asked_by, renew as renewed_by, renewable_from};
use wardlink_pairing::renewal::RenewingControlUnit;
use wardlink_protocol::Device;
use wardlink_protocol::api::{ProblemKind, RevocationReason};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::{DeviceIdentifier, Purpose};
use wardlink_trust::audit::Act;
use wardlink_trust::wrap::WrapKey;

const fn granted(enrolled: &Enrolled) -> GrantedCertificate {
    GrantedCertificate { serial: enrolled.certificate, purpose: Purpose::Service, not_after: enrolled.ends }
}

/// A service asks for a new certificate, also after the old one has ended. The same question again gets the same answer.
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
    let query = "SELECT record, renewal_hash, renewal_answer FROM services WHERE name = ?";
    let mut row = site.database.row(query, [column(&name)])?.ok_or_else(refused)?;
    let known: ServiceRecord = row.take_record()?;
    let (hash, answer): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.take()?, row.take()?);
    let enrolled = known.enrolled.as_ref().filter(|enrolled| known.revoked.is_none() && enrolled.key == key);
    let enrolled = enrolled.ok_or_else(refused)?;
    // It connects as soon as it has the answer.
    outcome.must_arrive = true;
    if let Some(answer) = answer.filter(|_| hash.as_deref() == Some(message_hash(request).as_bytes().as_slice())) {
        return Ok(answer);
    }
    let chain = site.authority.chain()?;
    let control_unit = RenewingControlUnit {
        signer: Signer { key: site.authority.key()?, chain: &chain },
        ca: site.authority.issuing(site.now)?,
        certificate_lifetime: site.service_lifetime,
    };
    let from = renewable_from(enrolled.ends, site.service_lifetime);
    let asking = EnrolledOne { name: &name, key, serial: enrolled.certificate, from, access: &known.access };
    let renewed = renewed_by(asking, request, control_unit, site.now, &mut rng()).map_err(|error| {
        log!("site: the service {name} is given no new certificate: {error}");
        refused()
    })?;
    let next = Enrolled { key, certificate: renewed.serial, ends: renewed.certificate_ends };
    let service = Device::service(name.clone());
    let both = vec![granted(enrolled), granted(&next)];
    outcome.bridge.grant(grants::put_service(site.database, key, &service, both, known.access.clone())?);
    let wrap_id = WrapKey::new(renewed.wrap_key).keys(&service).map_err(Failure::internal)?.id();
    site.database.run(
        "UPDATE services SET next = ?, next_wrap_id = ?, next_wrapping_key = ?, renewal_hash = ?, renewal_answer = ?
         WHERE name = ?",
        [
            record(&next)?,
            wrap_id.as_bytes().to_vec().into_value(),
            site.vault.seal(&wrapping_place(&name), &renewed.wrap_key)?.into_value(),
            message_hash(request).as_bytes().to_vec().into_value(),
            renewed.answer.clone().into_value(),
            column(&name),
        ],
    )?;
    timers::set(site.database, &Timer::Certificate(service), renewed.certificate_ends)?;
    log!("site: the service {name} is given a new certificate: {}", renewed.serial);
    Ok(renewed.answer.clone())
}

/// A service has shown that it has its new keys: what was before ends.
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
    if let Some(old) = &known.enrolled {
        site.database.run(
            "INSERT OR IGNORE INTO revoked_certificates (serial, reason, revoked_at, ends_at) VALUES (?, ?, ?, ?)",
            [
                old.certificate.as_bytes().to_vec().into_value(),
                record(&None::<RevocationReason>)?,
                site.now.into_value(),
                old.ends.into_value(),
            ],
        )?;
        revocation_list::is_outdated(site)?;
    }
    let detail = format!("certificate {}", next.certificate);
    outcome.notes.add(audit::device(&service, next.key), Act::CertificateRenewed, name, detail);
    log!("site: the service {name} has renewed its certificate: {}", next.certificate);
    let known = ServiceRecord { enrolled: Some(next), ..known };
    site.database.run(
        "UPDATE services SET record = ?, wrap_id = next_wrap_id, wrapping_key = next_wrapping_key,
         next = NULL, next_wrap_id = NULL, next_wrapping_key = NULL WHERE name = ?",
        [record(&known)?, column(name)],
    )?;
    Ok(known)
}

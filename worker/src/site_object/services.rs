//! Server applications ("services"): made by a person, enrolled by a text that counts once, given keys when they ask, and revoked.

mod renewals;

use super::revocations::NOTING;
use super::timers::{self, Timer};
use super::{Outcome, Site, audit, channels, classes, grants, keys, rekeying, revocation_list};
use core::time::Duration;
use rand_core::Rng;
pub(super) use renewals::renew;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_crypto::schedule::{WrapKeys, derive_enrolment_key, message_hash};
use wardlink_edge::messages::RecordsRequest;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Row, read_record, record};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::enrolment::{self, AwaitedService, EnrolledService};
use wardlink_pairing::renewal::RenewingControlUnit;
use wardlink_protocol::api::{
    MadeService, NewService, Person, ProblemKind, RevocationReason, ServiceState, ServiceView,
};
use wardlink_protocol::channel::UPDATE_CHANNEL;
use wardlink_protocol::grant::{DeviceState, GrantedCertificate};
use wardlink_protocol::identity::{CertificateSerial, DeviceIdentifier, KeyFingerprint, Purpose, SessionId};
use wardlink_protocol::limits::{ENROLMENT_LIFETIME, MAX_SERVICE_CHANNELS, MAX_SERVICES, MAX_WRONG_ENROLMENTS};
use wardlink_protocol::service::{ChannelOfClass, EnrolmentTicket, KnownDevice, ServiceAccess};
use wardlink_protocol::{ClientClass, Device, UnixMillis};
use wardlink_trust::audit::{Act, Actor, Outcome as Went};
use wardlink_trust::services as trust;
use wardlink_trust::wrap::{WrapError, WrapKey};
use worker::Env;

/// How long a service's certificate holds, unless it is renewed before.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// The deployment's variable that says otherwise, in seconds.
const CERTIFICATE_VARIABLE: &str = "SERVICE_CERTIFICATE_SECS";
/// How exactly it is noted when a service asked for keys last.
const SEEN_RESOLUTION: Duration = Duration::from_mins(1);

/// What of a service is no secret.
#[derive(Clone, Serialize, Deserialize)]
struct ServiceRecord {
    access: ServiceAccess,
    made_at: UnixMillis,
    made_by: String,
    enrolment_ends: UnixMillis,
    enrolled: Option<Enrolled>,
    revoked: Option<(UnixMillis, String)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Enrolled {
    key: KeyFingerprint,
    certificate: CertificateSerial,
    ends: UnixMillis,
}

impl ServiceRecord {
    fn state(&self, wrong: u64, now: UnixMillis) -> ServiceState {
        match (&self.revoked, &self.enrolled) {
            (Some(_), _) => ServiceState::Revoked,
            (None, Some(enrolled)) if enrolled.ends <= now => ServiceState::Expired,
            (None, Some(_)) => ServiceState::Active,
            (None, None) if self.enrolment_ends <= now || wrong >= u64::from(MAX_WRONG_ENROLMENTS) => {
                ServiceState::Lapsed
            }
            (None, None) => ServiceState::Waiting,
        }
    }

    /// As it is with the certificate that it was given last, which counts beside the one that it is known to have.
    fn with(self, next: Option<Vec<u8>>) -> Result<Self, Failure> {
        let next = next.map(|next| read_record(&next)).transpose()?;
        Ok(Self { enrolled: next.or(self.enrolled), ..self })
    }
}

/// How long certificates of services hold in this deployment.
pub(super) fn lifetime(env: &Env) -> Duration {
    let said = env.var(CERTIFICATE_VARIABLE).ok().and_then(|seconds| seconds.to_string().parse().ok());
    said.map_or(CERTIFICATE_LIFETIME, Duration::from_secs)
}

const COLUMNS: &str = "name, record, wrong, last_seen, next";

/// All services, by name.
pub(super) fn all(site: &Site<'_>) -> Result<Vec<ServiceView>, Failure> {
    let rows = site.database.rows(&format!("SELECT {COLUMNS} FROM services ORDER BY name"), [])?;
    rows.into_iter().map(|row| view(row, site.now)).collect()
}

fn view_of(site: &Site<'_>, name: &DeviceIdentifier) -> Result<Option<ServiceView>, Failure> {
    let row = site.database.row(&format!("SELECT {COLUMNS} FROM services WHERE name = ?"), [column(name)])?;
    row.map(|row| view(row, site.now)).transpose()
}

fn view(mut row: Row, now: UnixMillis) -> Result<ServiceView, Failure> {
    let name = take_name(&mut row)?;
    let record: ServiceRecord = row.take_record()?;
    let (wrong, last_seen) = (row.take()?, row.take()?);
    let record = record.with(row.take()?)?;
    let state = record.state(wrong, now);
    let (revoked_at, revoked_by) = record.revoked.unzip();
    Ok(ServiceView {
        name,
        access: record.access,
        state,
        made_at: record.made_at,
        made_by: record.made_by,
        enrolment_ends: record.enrolment_ends,
        key: record.enrolled.as_ref().map(|enrolled| enrolled.key),
        certificate: record.enrolled.as_ref().map(|enrolled| enrolled.certificate),
        certificate_ends: record.enrolled.as_ref().map(|enrolled| enrolled.ends),
        last_seen,
        revoked_at,
        revoked_by,
    })
}

/// A person makes a service. Its enrolment text is in the answer and nowhere else.
pub(super) fn make(
    site: &Site<'_>,
    person: &Person,
    new: NewService,
    outcome: &mut Outcome,
) -> Result<MadeService, Failure> {
    let NewService { name, access } = new;
    check_access(site, &access)?;
    let known = all(site)?;
    let counts = |view: &&ServiceView| view.state != ServiceState::Revoked && view.name != name;
    let trusted = |view: &&ServiceView| matches!(view.state, ServiceState::Active | ServiceState::Expired);
    if known.iter().filter(trusted).any(|view| view.name == name) {
        return Err(Failure::with_detail(
            ProblemKind::NameTaken,
            format!("Revoke {name} first, or choose another name."),
        ));
    }
    if known.iter().filter(counts).count() >= MAX_SERVICES {
        let detail = format!("A site has at most {MAX_SERVICES} services. Revoke one that is not needed.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    let mut ticket = EnrolmentTicket { name, id: SessionId([0; 16]), secret: [0; 32], root: site.authority.root() };
    rng().fill_bytes(&mut ticket.id.0);
    rng().fill_bytes(&mut ticket.secret);
    let key = derive_enrolment_key(&ticket.secret, &ticket.id, &ticket.name).map_err(Failure::internal)?;
    let new = ServiceRecord {
        access,
        made_at: site.now,
        made_by: person.name.clone(),
        enrolment_ends: site.now.after(ENROLMENT_LIFETIME),
        enrolled: None,
        revoked: None,
    };
    site.database.run(
        "INSERT OR REPLACE INTO services (name, record, enrolment, enrolment_key) VALUES (?, ?, ?, ?)",
        [
            column(&ticket.name),
            record(&new)?,
            ticket.id.as_bytes().to_vec().into_value(),
            site.vault.seal(&enrolment_place(&ticket.name), key.as_slice())?.into_value(),
        ],
    )?;
    log!("site: person {} makes the service {}", person.id, ticket.name);
    outcome.notes.by(Some(person), Act::ServiceMade, &ticket.name, describe(&new.access));
    let enrolment = ticket.to_text().map_err(Failure::internal)?.to_string();
    let service = view_of(site, &ticket.name)?.ok_or_else(|| Failure::internal("a new service is missing"))?;
    Ok(MadeService { service, enrolment })
}

/// Channels and classes have to be there.
fn check_access(site: &Site<'_>, access: &ServiceAccess) -> Result<(), Failure> {
    let refuse = |detail: String| Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    if !access.is_reasonable() {
        return refuse(format!("A service reads and writes 1 to {MAX_SERVICE_CHANNELS} channels of classes."));
    }
    let (policy, known) = (channels::policy(site.database)?, classes::all(site.database)?);
    for each in access.keys() {
        if policy.row(&each.channel).is_none() || known.iter().all(|class| class.client != each.client) {
            return refuse(format!("There is no channel {} of {}.", each.channel, each.client));
        }
    }
    Ok(())
}

/// What the log says of a service.
fn describe(access: &ServiceAccess) -> String {
    let list = |of: &BTreeSet<ChannelOfClass>| {
        of.iter().map(|each| format!("{}/{}", each.channel, each.client)).collect::<Vec<_>>().join(" ")
    };
    format!("reads: {}; writes: {}", list(&access.reads), list(&access.writes))
}

/// A service asks to be enrolled. The answer is the same whatever is wrong; the same request again gets the same answer.
pub(super) fn enrol(site: &Site<'_>, request: &[u8], outcome: &mut Outcome) -> Result<Vec<u8>, Failure> {
    let refused = || {
        let detail = "The enrolment text is wrong, was used, or its time is over. Make the service anew.";
        Failure::with_detail(ProblemKind::WrongToken, detail)
    };
    let id = enrolment::enrolment_of(request).ok_or_else(refused)?;
    let query = "SELECT name, record, wrong, enrolment_key, request_hash, answer FROM services WHERE enrolment = ?";
    let row = site.database.row(query, [id.as_bytes().to_vec().into_value()])?;
    let Some(mut row) = row else {
        log!("site: somebody asks to be enrolled as a service, under no enrolment of this site");
        return Err(refused());
    };
    let name = take_name(&mut row)?;
    let known: ServiceRecord = row.take_record()?;
    let (wrong, sealed): (u64, Option<Vec<u8>>) = (row.take()?, row.take()?);
    let (hash, answer): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.take()?, row.take()?);
    if site.now < known.enrolment_ends
        && known.revoked.is_none()
        && let Some(answer) = answer.filter(|_| hash.as_deref() == Some(message_hash(request).as_bytes().as_slice()))
    {
        // It connects as soon as it has the answer.
        outcome.must_arrive = true;
        return Ok(answer);
    }
    let Some(sealed) = sealed.filter(|_| known.state(wrong, site.now) == ServiceState::Waiting) else {
        log!("site: the enrolment of the service {name} does not count any more");
        return Err(refused());
    };
    let key = site.vault.unseal(&enrolment_place(&name), &sealed)?;
    let key: &[u8; 32] = key.as_slice().try_into().map_err(Failure::internal)?;
    let service = AwaitedService { name: &name, id, key, access: &known.access };
    let chain = site.authority.chain()?;
    let control_unit = RenewingControlUnit {
        signer: Signer { key: site.authority.key()?, chain: &chain },
        ca: site.authority.issuing(site.now)?,
        certificate_lifetime: site.service_lifetime,
    };
    match enrolment::enrol(service, request, control_unit, site.now, &mut rng()) {
        // A key has one grant: nobody becomes a service with what is a device's, or was revoked.
        Ok(enrolled) if grants::find(site.database, enrolled.key)?.is_some() => {
            log!("site: a request to enrol the service {name} does not count: its key is known here");
            Err(refused())
        }
        Ok(enrolled) => {
            admit(site, &name, known, request, &enrolled, outcome)?;
            Ok(enrolled.answer.clone())
        }
        Err(error) => {
            log!("site: a request to enrol the service {name} does not count: {error}");
            site.database.run("UPDATE services SET wrong = wrong + 1 WHERE name = ?", [column(&name)])?;
            outcome.notes.put(Actor::System, Act::ServiceEnrolled, &name, "wrong enrolment text", Went::Refused);
            Err(refused())
        }
    }
}

/// The service has its certificate: its enrolment is used up, and it may read and write from now on.
fn admit(
    site: &Site<'_>,
    name: &DeviceIdentifier,
    known: ServiceRecord,
    request: &[u8],
    enrolled: &EnrolledService,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let service = Device::service(name.clone());
    let wrap_id = WrapKey::new(enrolled.wrap_key).keys(&service).map_err(Failure::internal)?.id();
    let (serial, ends) = (enrolled.serial, enrolled.certificate_ends);
    let certificates = vec![GrantedCertificate { serial, purpose: Purpose::Service, not_after: ends }];
    let grant = grants::put_service(site.database, enrolled.key, &service, certificates, known.access.clone())?;
    outcome.bridge.grant(grant);
    let now_known =
        ServiceRecord { enrolled: Some(Enrolled { key: enrolled.key, certificate: serial, ends }), ..known };
    site.database.run(
        "UPDATE services SET record = ?, enrolment_key = NULL, request_hash = ?, answer = ?, wrap_id = ?, wrapping_key = ?
         WHERE name = ?",
        [
            record(&now_known)?,
            message_hash(request).as_bytes().to_vec().into_value(),
            enrolled.answer.clone().into_value(),
            wrap_id.as_bytes().to_vec().into_value(),
            site.vault.seal(&wrapping_place(name), &enrolled.wrap_key)?.into_value(),
            column(name),
        ],
    )?;
    timers::set(site.database, &Timer::Certificate(service.clone()), ends)?;
    log!("site: the service {name} is enrolled: certificate {serial}");
    let detail = format!("certificate {serial}");
    outcome.notes.add(audit::device(&service, enrolled.key), Act::ServiceEnrolled, name, detail);
    // It connects as soon as it has the answer.
    outcome.must_arrive = true;
    Ok(())
}

/// A question that counts, and who asks it.
struct Question<T> {
    asked: T,
    name: DeviceIdentifier,
    service: Device,
    known: ServiceRecord,
    wrap_keys: WrapKeys,
}

fn refused(detail: &str) -> Failure {
    Failure::with_detail(ProblemKind::Forbidden, detail)
}

/// Opens a question of a service that is enrolled, and trusted now.
fn open_question<T>(
    site: &Site<'_>,
    question: &[u8],
    outcome: &mut Outcome,
    open: impl FnOnce(&[u8], &Device, &WrapKeys) -> Result<T, WrapError>,
) -> Result<Question<T>, Failure> {
    let stranger = || refused("This service is not enrolled here, its certificate has ended, or it is revoked.");
    let wrap_id = trust::asked_under(question).ok_or_else(stranger)?;
    let asked_under = || wrap_id.as_bytes().to_vec().into_value();
    let query = "SELECT name, record, wrapping_key, 0 FROM services WHERE wrap_id = ?
                 UNION ALL SELECT name, record, next_wrapping_key, 1 FROM services WHERE next_wrap_id = ?";
    let row = site.database.row(query, [asked_under(), asked_under()])?;
    let mut row = row.ok_or_else(stranger)?;
    let name = take_name(&mut row)?;
    let mut known: ServiceRecord = row.take_record()?;
    let key = site.vault.unseal(&wrapping_place(&name), &row.take::<Vec<u8>>()?)?;
    let service = Device::service(name.clone());
    let key = WrapKey::new(key.as_slice().try_into().map_err(Failure::internal)?);
    let wrap_keys = key.keys(&service).map_err(Failure::internal)?;
    let asked = open(question, &service, &wrap_keys).map_err(|error| {
        log!("site: a question of the service {name} does not count: {error}");
        stranger()
    })?;
    if row.take::<bool>()? {
        known = renewals::adopt(site, &name, known, outcome)?;
    }
    if known.state(0, site.now) != ServiceState::Active {
        return Err(stranger());
    }
    Ok(Question { asked, name, service, known, wrap_keys })
}

/// Stored data is asked for: of the classes whose `update` channel the service reads.
pub(super) fn ask_for_records(
    site: &Site<'_>,
    question: &[u8],
    outcome: &mut Outcome,
) -> Result<RecordsRequest, Failure> {
    let Question { asked, name, known, .. } = open_question(site, question, outcome, trust::open_records_question)?;
    let reads = known.access.reads.iter().filter(|each| each.channel.as_str() == UPDATE_CHANNEL);
    let classes: Vec<ClientClass> = reads.map(|each| each.client.clone()).collect();
    if classes.is_empty() {
        return Err(refused("This service is not granted stored data: it reads no update channel."));
    }
    note_seen(site, &name)?;
    Ok(RecordsRequest::Feed { service: name, after: asked.after, classes })
}

/// Gives what was asked for, if the service is trusted still.
pub(super) fn give_records(
    site: &Site<'_>,
    question: &[u8],
    fed: &[u8],
    outcome: &mut Outcome,
) -> Result<Vec<u8>, Failure> {
    let Question { service, wrap_keys, .. } = open_question(site, question, outcome, trust::open_records_question)?;
    trust::answer_records(question, fed, &service, &wrap_keys, &mut rng()).map_err(Failure::internal)
}

/// A service asks for keys: it gets those of its channels, and no others.
pub(super) fn give_keys(site: &Site<'_>, question: &[u8], outcome: &mut Outcome) -> Result<Vec<u8>, Failure> {
    let Question { asked, name, service, known, wrap_keys } =
        open_question(site, question, outcome, trust::open_question)?;
    if !known.access.has_keys(&asked.channel, &asked.device) {
        log!("site: the service {name} asks for keys that it is not granted: {} of {}", asked.channel, asked.device);
        return Err(refused("This service is not granted these keys."));
    }
    note_seen(site, &name)?;
    let lines = keys::lines(site, &asked.channel, &asked.device)?;
    let device = super::devices::find(site.database, &asked.device)?;
    // A cut comes by the devices that work, on the channels that they have.
    let has_channel = device.as_ref().is_some_and(|device| {
        let works = matches!(device.state, DeviceState::Paired | DeviceState::Expired);
        works && device.channels.contains(&asked.channel)
    });
    let device = device
        .map(|device| KnownDevice { certificate: device.certificate, trusted: device.state == DeviceState::Paired });
    trust::answer(question, &asked, (lines, has_channel), device, &service, &wrap_keys, &mut rng())
        .map_err(Failure::internal)
}

/// Whether a service is trusted now, and this is its key.
pub(super) fn is_active(site: &Site<'_>, name: &DeviceIdentifier, key: KeyFingerprint) -> Result<bool, Failure> {
    let row = site.database.row("SELECT record, next FROM services WHERE name = ?", [column(name)])?;
    let Some(mut row) = row else { return Ok(false) };
    let known = row.take_record::<ServiceRecord>()?.with(row.take()?)?;
    let is_its_own = known.enrolled.as_ref().is_some_and(|enrolled| enrolled.key == key);
    Ok(is_its_own && known.state(0, site.now) == ServiceState::Active)
}

fn note_seen(site: &Site<'_>, name: &DeviceIdentifier) -> Result<(), Failure> {
    let earlier = super::authority::before(site.now, SEEN_RESOLUTION);
    site.database.run(
        "UPDATE services SET last_seen = ? WHERE name = ? AND coalesce(last_seen, 0) <= ?",
        [site.now.into_value(), column(name), earlier.into_value()],
    )
}

/// A person revokes a service: its rights, its certificate, its wrapping key, and every key that it could have asked for.
pub(super) fn revoke(
    site: &Site<'_>,
    person: &Person,
    name: &DeviceIdentifier,
    outcome: &mut Outcome,
) -> Result<ServiceView, Failure> {
    let row = site.database.row("SELECT record FROM services WHERE name = ?", [column(name)])?;
    let known: ServiceRecord = row.ok_or(ProblemKind::NotFound)?.take_record()?;
    if known.revoked.is_some() {
        // Whoever asks again is told so once the cut has arrived.
        outcome.must_arrive = true;
        return Err(Failure::with_detail(ProblemKind::WrongState, format!("{name} is revoked already.")));
    }
    log!("site: person {} revokes the service {name}", person.id);
    outcome.notes.by(Some(person), Act::ServiceRevoked, name, describe(&known.access));
    // From here on it is answered nothing more.
    site.database.run(
        "UPDATE services SET enrolment_key = NULL, answer = NULL, wrap_id = NULL, wrapping_key = NULL,
         next_wrap_id = NULL, next_wrapping_key = NULL, renewal_answer = NULL WHERE name = ?",
        [column(name)],
    )?;
    if let Some(enrolled) = &known.enrolled {
        let service = Device::service(name.clone());
        let (database, nothing) = (site.database, Vec::new());
        let revoked = grants::put(database, enrolled.key, &service, DeviceState::Revoked, nothing, Vec::new())?;
        outcome.bridge.grant(revoked);
        let query = "SELECT next FROM services WHERE name = ? AND next IS NOT NULL";
        let next =
            site.database.row(query, [column(name)])?.map(|mut row| row.take_record::<Enrolled>()).transpose()?;
        for certificate in core::iter::once(enrolled).chain(&next) {
            site.database.run(
                "INSERT OR REPLACE INTO revoked_certificates (serial, reason, revoked_at, ends_at) VALUES (?, ?, ?, ?)",
                [
                    certificate.certificate.as_bytes().to_vec().into_value(),
                    record(&Some(RevocationReason::Other))?,
                    site.now.into_value(),
                    certificate.ends.into_value(),
                ],
            )?;
        }
        revocation_list::is_outdated(site)?;
        rekeying::cut_service(site, &known.access, outcome)?;
        outcome.must_arrive = true;
    }
    let revoked = ServiceRecord { revoked: Some((site.now, person.name.clone())), ..known };
    site.database.run("UPDATE services SET record = ? WHERE name = ?", [record(&revoked)?, column(name)])?;
    view_of(site, name)?.ok_or_else(|| ProblemKind::NotFound.into())
}

/// A service's certificate has ended: nothing is left of its rights, and a connection that it has is closed.
pub(super) fn expire(site: &Site<'_>, service: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    let query = "SELECT record, next FROM services WHERE name = ?";
    let row = site.database.row(query, [column(&service.identifier)])?;
    let Some(mut row) = row else { return Ok(()) };
    // One that it was given and never used has ended, too, or its time comes.
    let known = row.take_record::<ServiceRecord>()?.with(row.take()?)?;
    let Some(enrolled) = known.enrolled.as_ref().filter(|_| known.state(0, site.now) == ServiceState::Expired) else {
        return Ok(());
    };
    log!("site: the certificate of {service} has ended");
    outcome.notes.add(Actor::System, Act::CertificateExpired, service, "");
    let nothing = Vec::new();
    let expired = grants::put(site.database, enrolled.key, service, DeviceState::Expired, nothing, Vec::new())?;
    outcome.bridge.grant(expired);
    Ok(())
}

/// A revoked service tried to come back.
pub(super) fn note_attempts(
    site: &Site<'_>,
    service: &Device,
    count: u32,
    last: UnixMillis,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let name = || column(&service.identifier);
    let row = site.database.row("SELECT attempts, last_attempt FROM services WHERE name = ?", [name()])?;
    let Some(mut row) = row else { return Ok(()) };
    let (attempts, told): (u64, Option<UnixMillis>) = (row.take()?, row.take()?);
    if told.is_some_and(|told| last <= told) {
        return Ok(());
    }
    let attempts = attempts.saturating_add(u64::from(count));
    site.database.run(
        "UPDATE services SET attempts = ?, last_attempt = ? WHERE name = ?",
        [attempts.into_value(), last.into_value(), name()],
    )?;
    // Who tries without pause is counted, and fills no log.
    if told.is_none_or(|told| last.since(told) >= NOTING) {
        log!("site: ALERT: {service} is revoked and tries to come back ({attempts} times by now)");
        let detail = format!("{attempts} times by now");
        outcome.notes.put(Actor::System, Act::RevokedDeviceTried, service, detail, Went::Refused);
    }
    Ok(())
}

fn take_name(row: &mut Row) -> Result<DeviceIdentifier, Failure> {
    row.take::<String>()?.parse().map_err(Failure::internal)
}

fn column(name: &DeviceIdentifier) -> worker::SqlStorageValue {
    name.to_string().into_value()
}

fn enrolment_place(name: &DeviceIdentifier) -> String {
    format!("enrolment of the service {name}")
}

fn wrapping_place(name: &DeviceIdentifier) -> String {
    format!("wrapping key of the service {name}")
}

#[cfg(test)]
mod tests {
    use super::{Enrolled, ServiceRecord, ServiceState, UnixMillis};
    use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint};
    use wardlink_protocol::service::ServiceAccess;

    #[test]
    fn an_enrolment_counts_until_its_time_or_too_many_wrong_ones_and_a_service_until_its_certificate_or_a_person_ends_it()
     {
        let at = UnixMillis::from_secs;
        let waiting = ServiceRecord {
            access: ServiceAccess::default(),
            made_at: at(0),
            made_by: String::new(),
            enrolment_ends: at(10),
            enrolled: None,
            revoked: None,
        };
        assert_eq!(waiting.state(4, at(9)), ServiceState::Waiting);
        assert_eq!(waiting.state(5, at(9)), ServiceState::Lapsed);
        assert_eq!(waiting.state(0, at(10)), ServiceState::Lapsed);
        let (key, certificate) = (KeyFingerprint([1; 32]), CertificateSerial([2; 16]));
        let enrolled = ServiceRecord { enrolled: Some(Enrolled { key, certificate, ends: at(20) }), ..waiting };
        assert_eq!(enrolled.state(5, at(19)), ServiceState::Active);
        assert_eq!(enrolled.state(0, at(20)), ServiceState::Expired);
        let revoked = ServiceRecord { revoked: Some((at(15), String::new())), ..enrolled };
        assert_eq!(revoked.state(0, at(16)), ServiceState::Revoked);
    }
}

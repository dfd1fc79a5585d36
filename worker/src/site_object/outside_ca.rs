//! The hospital's CA, over EST (RFC 7030): it certifies the site's issuing CA, and is not asked for anything else.
//!
//! The site makes a key, asks with it until it is answered, believes the answer only where it leads to the root that the deployment names,
//! tells the bridge, and issues from then on. Well before that certificate ends it does the same again, with a new key.

use super::authority::{Authority, Issuing, Trouble};
use super::timers::{self, Timer};
use super::{Site, SiteObject, classes, grants};
use crate::est::{Enrolled, EstError, EstServer, Misconfigured};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::rc::Rc;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{
    Certificate, EnrolmentError, IssuingCa, Validity, certify, check_root, make_authority_request, make_renewal_request,
};
use wardlink_edge::messages::BridgeRequest;
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_edge::vault::Vault;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{AuthorityKind, AuthorityState, AuthorityTrouble, AuthorityView, Person, ProblemKind};
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;

/// The name that the site asks for; the hospital's CA may give it another one.
const NAME: &str = "Wardlink issuing CA";
/// The wait after the first failure; it doubles from failure to failure.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// The longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_hours(1);
/// A new certificate is asked for when a third of the old one's time is left, and no more than this.
const LONGEST_LEAD: Duration = Duration::from_hours(365 * 24);
/// The shortest time between two certificates that the site asks for by itself, however short they last.
const SHORTEST_LIFE: Duration = Duration::from_hours(1);

/// How far the CA outside has been asked.
#[derive(Serialize, Deserialize)]
struct Progress {
    root: Sha256,
    /// The request that waits for its certificate, PKCS#10: the same one is sent until it is answered (RFC 7030 section 4.2.3).
    request: Option<ByteBuf>,
    awaits_approval: bool,
    /// Whether a person wants a new certificate although the old one lasts.
    asked: bool,
    failures: u32,
    last_try: Option<UnixMillis>,
    next_try: UnixMillis,
    trouble: Option<Trouble>,
}

/// The issuing CAs that the CA outside has certified.
pub(super) struct Certified {
    /// The one that issues now.
    pub(super) issuing: Option<Issuing>,
    /// Those before it that have not ended, the newest first.
    pub(super) earlier: Vec<Issuing>,
}

/// What one attempt came to.
enum Step {
    /// The site issues under a new CA.
    Active,
    /// Somebody has to approve.
    Later(Duration),
    /// There is nothing to ask.
    Idle,
}

/// The root that was chosen when the site first met its CA outside.
pub(super) fn root(database: &Database) -> Result<Option<Sha256>, Failure> {
    Ok(find(database)?.map(|progress| progress.root))
}

/// Begins with the CA that has this root, unless that was done; returns when it is to be asked next.
pub(super) fn begin(database: &Database, root: Sha256, now: UnixMillis) -> Result<UnixMillis, Failure> {
    if let Some(known) = find(database)? {
        return Ok(known.next_try);
    }
    log!("site: the hospital's CA with the root {root} is asked to certify this site");
    let progress = Progress {
        root,
        request: None,
        awaits_approval: false,
        asked: false,
        failures: 0,
        last_try: None,
        next_try: now,
        trouble: None,
    };
    database.run("INSERT INTO enrolment (one, record) VALUES (1, ?)", [record(&progress)?])?;
    Ok(now)
}

/// Reads the issuing CAs. Those that have ended are forgotten, except for the one that issues. `arrived`: one that counts already, although
/// the bridge does not know it yet.
pub(super) fn certified(
    database: &Database,
    vault: &Vault,
    arrived: Option<u64>,
    now: UnixMillis,
) -> Result<Certified, Failure> {
    let newest = "SELECT max(number) FROM issuing_cas WHERE known = 1";
    let query = format!("DELETE FROM issuing_cas WHERE known = 1 AND ends_at < ? AND number < ({newest})");
    database.run(&query, [now.into_value()])?;
    let query = "SELECT number, chain, key, since FROM issuing_cas WHERE known = 1 OR number = ? ORDER BY number DESC";
    let mut all = database.rows(query, [arrived.into_value()])?.into_iter().map(|row| restore(vault, row, now));
    let issuing = all.next().transpose()?;
    Ok(Certified { issuing, earlier: all.collect::<Result<_, _>>()? })
}

fn restore(vault: &Vault, mut row: Row, now: UnixMillis) -> Result<Issuing, Failure> {
    let number = row.take()?;
    let chain: Vec<ByteBuf> = row.take_record()?;
    let key = vault.unseal(&place(number), &row.take::<Vec<u8>>()?)?;
    let key = PrivateKey::from_pkcs8(&key).map_err(Failure::internal)?;
    let since = row.take::<Option<UnixMillis>>()?.unwrap_or(now);
    let parse = |der: &ByteBuf| Certificate::parse(der).map_err(Failure::internal);
    let chain: Vec<Certificate> = chain.iter().map(parse).collect::<Result<_, _>>()?;
    let [own, between @ .., root] = chain.as_slice() else {
        return Err(Failure::internal("a stored chain is too short"));
    };
    let ca = IssuingCa::restore_below(key, own.clone(), between.to_vec(), root.clone()).map_err(Failure::internal)?;
    Ok(Issuing { ca, since })
}

/// The certificate that the bridge does not know yet.
fn arrived(site: &Site<'_>) -> Result<Option<u64>, Failure> {
    site.database.one("SELECT number FROM issuing_cas WHERE known = 0 ORDER BY number DESC LIMIT 1", [])
}

fn place(number: u64) -> String {
    format!("key of the issuing CA {number}")
}

const REQUEST_PLACE: &str = "key of the next issuing CA";

fn find(database: &Database) -> Result<Option<Progress>, Failure> {
    let row = database.row("SELECT record FROM enrolment", [])?;
    row.map(|mut row| row.take_record()).transpose()
}

/// When the CA outside is asked for the certificate that follows one.
fn renews_at(validity: Validity, now: UnixMillis) -> UnixMillis {
    let lead = (validity.not_after.since(validity.not_before) / 3).min(LONGEST_LEAD);
    super::authority::before(validity.not_after, lead).max(now.after(SHORTEST_LIFE))
}

impl Progress {
    fn put(&self, database: &Database) -> Result<(), Failure> {
        database.run("UPDATE enrolment SET record = ?", [record(self)?])?;
        timers::set(database, &Timer::Authority, self.next_try)
    }

    /// The request and its key; made where there is none.
    fn request(&mut self, site: &Site<'_>) -> Result<(ByteBuf, PrivateKey), Failure> {
        let sealed: Option<Vec<u8>> = site.database.one::<Option<_>, 0>("SELECT key FROM enrolment", [])?.flatten();
        if let (Some(request), Some(sealed)) = (&self.request, sealed) {
            let key = PrivateKey::from_pkcs8(&site.vault.unseal(REQUEST_PLACE, &sealed)?).map_err(Failure::internal)?;
            return Ok((request.clone(), key));
        }
        let key = PrivateKey::make(&mut rng());
        let request = match site.authority.issuers().next() {
            Some(current) => make_renewal_request(current.certificate(), &key),
            None => make_authority_request(NAME, &key),
        };
        let request = ByteBuf::from(request.map_err(Failure::internal)?);
        let sealed = site.vault.seal(REQUEST_PLACE, &key.to_pkcs8().map_err(Failure::internal)?)?;
        site.database.run("UPDATE enrolment SET key = ?", [sealed.into_value()])?;
        self.request = Some(request.clone());
        self.put(site.database)?;
        Ok((request, key))
    }

    fn forget_request(&mut self, database: &Database) -> Result<(), Failure> {
        (self.request, self.awaits_approval) = (None, false);
        database.run("UPDATE enrolment SET key = NULL", [])
    }
}

impl SiteObject {
    /// Goes on with the CA outside: asks it, or tells the bridge what it gave. What fails is tried again.
    pub(super) async fn go_on_with_ca(&self) -> Result<(), Failure> {
        let site = self.site()?;
        let (Some(server), Some(mut progress)) = (site.authority.server(), find(site.database)?) else {
            return Ok(());
        };
        progress.last_try = Some(site.now);
        let step = self.ask_ca(&site, server, &mut progress).await;
        let Some(next) = find(site.database)? else { return Ok(()) };
        if next.asked && !progress.asked && !matches!(step, Ok(Step::Active)) {
            // Meanwhile a person wants it to be asked anew.
            return self.set_alarm(&site).await;
        }
        let (wait, trouble) = match step {
            Ok(Step::Active | Step::Idle) => {
                let lasts = self.site()?.authority.issuers().next().map(|ca| ca.certificate().validity());
                progress.asked = false;
                let renews_at = lasts.map_or_else(now, |lasts| renews_at(lasts, now()));
                (renews_at.since(now()), None)
            }
            Ok(Step::Later(wait)) => {
                log!(
                    "site: the hospital's CA has the request, and somebody has to approve it; it is asked again in {} s",
                    wait.as_secs()
                );
                progress.awaits_approval = true;
                (wait, None)
            }
            Err(trouble) => {
                let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(progress.failures)).min(LONGEST_RETRY);
                log!(
                    "site: the hospital's CA has not certified this site: {}; it is asked again in {} s",
                    trouble.1,
                    wait.as_secs()
                );
                (wait, Some(trouble))
            }
        };
        progress.failures = if trouble.is_some() { progress.failures.saturating_add(1) } else { 0 };
        progress.trouble = trouble;
        progress.next_try = now().after(wait);
        progress.put(site.database)?;
        self.set_alarm(&site).await
    }

    async fn ask_ca(&self, site: &Site<'_>, server: &EstServer, progress: &mut Progress) -> Result<Step, Trouble> {
        if arrived(site).map_err(internal)?.is_none() {
            let current = site.authority.issuers().next().map(|ca| ca.certificate().validity());
            let is_due = current.is_none_or(|lasts| renews_at(lasts, lasts.not_before) <= now());
            if !is_due && !progress.asked && progress.request.is_none() {
                return Ok(Step::Idle);
            }
            let (request, key) = progress.request(site).map_err(internal)?;
            let known = server.certificates().await.map_err(|error| trouble_of(&error))?;
            // Nothing is sent to somebody else's CA.
            check_root(&known, &progress.root).map_err(refused)?;
            let given = match server.enrol(&request, current.is_some()).await.map_err(|error| trouble_of(&error))? {
                Enrolled::Given(given) => given,
                Enrolled::Later(wait) => return Ok(Step::Later(wait)),
            };
            let chain = certify(&given, &known, &key.public(), &progress.root, now()).map_err(refused)?;
            store(site, &chain, &key).and_then(|()| progress.forget_request(site.database)).map_err(internal)?;
            progress.put(site.database).map_err(internal)?;
        }
        self.take_over(site).await.map_err(untold)?;
        Ok(Step::Active)
    }

    /// The bridge learns of the new CA, and then the site issues under it.
    async fn take_over(&self, site: &Site<'_>) -> Result<(), Failure> {
        let Some(number) = arrived(site)? else { return Ok(()) };
        let server = EstServer::open(&self.env).map_err(Failure::internal)?;
        let next =
            Authority::open_outside(site.database, site.vault, site.authority.root(), server, Some(number), now())?;
        let (version, grants) = grants::table(site.database)?;
        let table = next.table(version, grants, classes::clients(site.database)?)?;
        objects::call::<_, ()>(&self.env, &BridgeRequest::Table(Box::new(table))).await?;
        site.database.run(
            "UPDATE issuing_cas SET known = 1, since = ? WHERE number = ?",
            [now().into_value(), number.into_value()],
        )?;
        let detail = next.issuers().next().map(|ca| {
            let ends = ca.certificate().validity().not_after.as_secs();
            format!("{} certified by {}, until {ends}", ca.certificate().sha256(), ca.root().sha256())
        });
        let detail = detail.unwrap_or_default();
        log!("site: the issuing CA {detail}");
        self.authority.replace(Some(Rc::new(next)));
        self.turn(|site, outcome| {
            outcome.notes.by(None, Act::AuthorityChanged, &site.authority.root(), detail);
            Ok(())
        })
        .await
    }
}

fn store(site: &Site<'_>, chain: &[Certificate], key: &PrivateKey) -> Result<(), Failure> {
    let Some(own) = chain.first() else { return Err(Failure::internal("an empty chain")) };
    let newest: Option<u64> = site.database.one::<Option<u64>, 0>("SELECT max(number) FROM issuing_cas", [])?.flatten();
    let number = newest.unwrap_or_default().saturating_add(1);
    let chain_bytes: Vec<ByteBuf> = chain.iter().map(Certificate::to_bytes).collect();
    let sealed = site.vault.seal(&place(number), &key.to_pkcs8().map_err(Failure::internal)?)?;
    site.database.run(
        "INSERT INTO issuing_cas (number, chain, key, ends_at) VALUES (?, ?, ?, ?)",
        [number.into_value(), record(&chain_bytes)?, sealed.into_value(), own.validity().not_after.into_value()],
    )
}

/// Our own failure: the log gets the cause.
#[expect(clippy::needless_pass_by_value, reason = "errors are handed over as they come")]
fn internal(failure: Failure) -> Trouble {
    log!("site: the CA outside cannot be asked: {failure:?}");
    (AuthorityTrouble::Internal, "something went wrong at the control unit; its log says what".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over as they come")]
fn untold(failure: Failure) -> Trouble {
    log!("site: the bridge does not take the new CA yet: {failure:?}");
    (AuthorityTrouble::Bridge, "the bridge does not take the new certificate yet".to_owned())
}

fn refused(error: EnrolmentError) -> Trouble {
    let kind = match error {
        EnrolmentError::Root => AuthorityTrouble::Root,
        EnrolmentError::Algorithm => AuthorityTrouble::Algorithm,
        _ => AuthorityTrouble::Certificate,
    };
    (kind, error.to_string())
}

fn trouble_of(error: &EstError) -> Trouble {
    let kind = match error {
        EstError::Unreachable(_) => AuthorityTrouble::Unreachable,
        EstError::Credentials(_) => AuthorityTrouble::Credentials,
        EstError::Redirected(_) | EstError::Status(_) | EstError::MediaType(_) | EstError::Certificates(_) => {
            AuthorityTrouble::Answer
        }
    };
    (kind, error.to_string())
}

/// A person wants the CA outside to be asked now: for what it has not given, or for a new certificate. A request that waits for its
/// approval stays the same; any other is made anew, with a new key.
pub(super) fn ask(site: &Site<'_>, person: &Person) -> Result<AuthorityView, Failure> {
    let (Some(_), Some(mut progress)) = (site.authority.server(), find(site.database)?) else {
        return Err(Failure::with_detail(ProblemKind::WrongState, "This site asks no CA outside."));
    };
    log!("site: person {} wants the hospital's CA to be asked now", person.id);
    if !progress.awaits_approval {
        progress.forget_request(site.database)?;
    }
    (progress.asked, progress.failures, progress.next_try) = (true, 0, site.now);
    progress.put(site.database)?;
    view(site)
}

/// The CA, as people see it.
pub(super) fn view(site: &Site<'_>) -> Result<AuthorityView, Failure> {
    let Site { authority, .. } = site;
    let progress = find(site.database)?;
    let mut issuers = authority.issuers();
    let issuing = issuers.next();
    let trouble = authority.trouble().cloned().or(progress.as_ref().and_then(|progress| progress.trouble.clone()));
    let (trouble, detail) = trouble.unzip();
    let asked = progress.filter(|_| authority.server().is_some());
    Ok(AuthorityView {
        kind: authority.kind(),
        state: authority.state(site.now),
        root: Some(authority.root()),
        root_name: issuing.map(|ca| ca.root().name()),
        name: issuing.map(|ca| ca.certificate().name()),
        ends_at: issuing.map(|ca| ca.certificate().validity().not_after),
        earlier: u32::try_from(issuers.count()).unwrap_or(u32::MAX),
        server: authority.server().map(|server| server.address().to_owned()),
        last_try: asked.as_ref().and_then(|progress| progress.last_try),
        next_try: asked.as_ref().map(|progress| progress.next_try),
        awaits_approval: asked.is_some_and(|progress| progress.awaits_approval),
        trouble,
        detail,
    })
}

/// The same where the deployment's variables let no CA be chosen.
pub(super) fn misconfigured(why: Misconfigured) -> AuthorityView {
    AuthorityView {
        kind: AuthorityKind::External,
        state: AuthorityState::Waiting,
        root: None,
        root_name: None,
        name: None,
        ends_at: None,
        earlier: 0,
        server: None,
        last_try: None,
        next_try: None,
        awaits_approval: false,
        trouble: Some(AuthorityTrouble::Configuration),
        detail: Some(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis::from_secs(1_800_000_000);

    fn days(days: u64) -> Duration {
        Duration::from_hours(24 * days)
    }

    fn renews_after(life: Duration, now: UnixMillis) -> Duration {
        renews_at(Validity { not_before: START, not_after: START.after(life) }, now).since(START)
    }

    #[test]
    fn a_new_certificate_is_asked_for_when_a_third_of_the_time_is_left_and_a_year_at_most() {
        assert_eq!(renews_after(days(720), START), days(480));
        assert_eq!(renews_after(days(3_650), START), days(3_285));
    }

    #[test]
    fn certificates_that_last_for_minutes_are_not_asked_for_all_the_time() {
        assert_eq!(renews_after(Duration::from_mins(3), START), SHORTEST_LIFE);
        let late = START.after(days(700));
        assert_eq!(renews_after(days(720), late), days(700) + SHORTEST_LIFE, "it is due, and was just asked for");
    }
}

//! Who signs for the site: the built-in CA, or an issuing CA that a CA outside has certified (`super::outside_ca`), and the control unit's
//! own certificate.

use super::outside_ca::{self, Certified};
use super::{audit, timers};
use crate::est::{EstServer, Misconfigured};
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_edge::messages::{BridgeTable, Clients};
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_edge::vault::Vault;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{AuthorityKind, AuthorityState, AuthorityTrouble, ProblemKind};
use wardlink_protocol::grant::Grant;
use wardlink_protocol::identity::Sha256;
use zeroize::Zeroizing;

const YEAR: Duration = Duration::from_hours(365 * 24);
const ROOT_YEARS: u32 = 20;
const ISSUING_YEARS: u32 = 10;
const CONTROL_UNIT_YEARS: u32 = 5;
/// The control unit's certificate is made anew so long before it ends.
const RENEWAL_TIME: Duration = Duration::from_hours(90 * 24);
/// Certificates begin a little earlier than they are made, for devices whose clock is late.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

const ROOT: &str = "root";
const ISSUING: &str = "issuing";
const CONTROL_UNIT: &str = "control-unit";

/// What is wrong with the CA, and the same in technical words.
pub(super) type Trouble = (AuthorityTrouble, String);

/// Who signs for the site.
pub(super) struct Authority {
    root: Sha256,
    kind: AuthorityKind,
    /// None until the CA outside has certified the site.
    signing: Option<Signing>,
    /// The issuing CAs before, until they end, the newest first: their certificates count, and they sign their lists of revoked ones.
    earlier: Vec<Issuing>,
    /// The CA outside, where it is asked.
    server: Option<EstServer>,
    trouble: Option<Trouble>,
}

/// An issuing CA.
pub(super) struct Issuing {
    pub(super) ca: IssuingCa,
    /// From when on it issues.
    pub(super) since: UnixMillis,
}

/// The issuing CA, and the control unit's certificate by it.
struct Signing {
    issuing: Issuing,
    certificate: Certificate,
    key: PrivateKey,
}

/// Which CA a site has chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    BuiltIn,
    Outside(Sha256),
}

impl Authority {
    /// Reads the site's authority, or makes it as the deployment says.
    pub(super) fn open(
        database: &Database,
        vault: &Vault,
        configured: Result<Option<EstServer>, Misconfigured>,
        now: UnixMillis,
    ) -> Result<Self, Failure> {
        let built_in = load(database, vault, ROOT)?.map(|(_, root)| root.sha256());
        let outside = outside_ca::root(database)?;
        let stored = outside.map(Choice::Outside).or(built_in.map(|_| Choice::BuiltIn));
        let (choice, server, trouble) = match (configured, stored) {
            (Ok(server), stored) => {
                let wanted = server.as_ref().map_or(Choice::BuiltIn, |server| Choice::Outside(server.root()));
                match stored {
                    Some(stored) if stored != wanted && is_used(database)? => {
                        (stored, None, Some((AuthorityTrouble::Switched, switched(stored, wanted))))
                    }
                    Some(stored) if stored != wanted => {
                        audit::keep_name(database, outside.or(built_in))?;
                        forget(database)?;
                        (wanted, server, None)
                    }
                    _ => (wanted, server, None),
                }
            }
            (Err(wrong), Some(stored)) => (stored, None, Some((AuthorityTrouble::Configuration, wrong.to_string()))),
            (Err(wrong), None) => {
                log!("site: no CA can be chosen: {wrong}");
                return Err(Failure::with_detail(ProblemKind::Unavailable, format!("{wrong}.")));
            }
        };
        if let Some((_, why)) = &trouble {
            log!("site: the CA stays as it is: {why}");
        }
        let authority = match choice {
            Choice::BuiltIn => Self::open_built_in(database, vault, now)?,
            Choice::Outside(root) => Self::open_outside(database, vault, root, server, None, now)?,
        };
        Ok(Self { trouble, ..authority })
    }

    fn open_built_in(database: &Database, vault: &Vault, now: UnixMillis) -> Result<Self, Failure> {
        let issuing = match (load(database, vault, ROOT)?, load(database, vault, ISSUING)?) {
            (Some((_, root)), Some((key, certificate))) => {
                IssuingCa::restore(key, certificate, root).map_err(Failure::internal)?
            }
            (None, None) => make_issuing(database, vault, now)?,
            _ => return Err(Failure::internal("half of the site's CA is missing")),
        };
        let root = issuing.root().sha256();
        let issuing = Issuing { ca: issuing, since: UnixMillis::default() };
        let signing = Some(Signing::open(database, vault, issuing, now)?);
        Ok(Self { root, kind: AuthorityKind::BuiltIn, signing, earlier: Vec::new(), server: None, trouble: None })
    }

    /// Reads the authority under a CA outside. `arrived`: the issuing CA that counts already, although the bridge does not know it yet.
    pub(super) fn open_outside(
        database: &Database,
        vault: &Vault,
        root: Sha256,
        server: Option<EstServer>,
        arrived: Option<u64>,
        now: UnixMillis,
    ) -> Result<Self, Failure> {
        let due = outside_ca::begin(database, root, now)?;
        if server.is_some() {
            timers::set_by(database, &timers::Timer::Authority, due)?;
        }
        let Certified { issuing, earlier } = outside_ca::certified(database, vault, arrived, now)?;
        let signing = issuing.map(|issuing| Signing::open(database, vault, issuing, now)).transpose()?;
        Ok(Self { root, kind: AuthorityKind::External, signing, earlier, server, trouble: None })
    }

    /// The CA outside, where it is to be asked.
    pub(super) const fn server(&self) -> Option<&EstServer> {
        self.server.as_ref()
    }

    /// Whose the root is.
    pub(super) const fn kind(&self) -> AuthorityKind {
        self.kind
    }

    /// What is wrong with the deployment, if something is.
    pub(super) const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether it can issue.
    pub(super) fn state(&self, now: UnixMillis) -> AuthorityState {
        match &self.signing {
            None => AuthorityState::Waiting,
            Some(signing) if signing.issuing.ca.certificate().validity().not_after < now => AuthorityState::Ended,
            Some(_) => AuthorityState::Ready,
        }
    }

    /// The CA that signs devices' certificates.
    pub(super) fn issuing(&self, now: UnixMillis) -> Result<&IssuingCa, Failure> {
        if self.state(now) == AuthorityState::Ended {
            let detail = "The certificate that the hospital's CA gave this site has ended.";
            return Err(Failure::with_detail(ProblemKind::Unavailable, detail));
        }
        Ok(&self.signing()?.issuing.ca)
    }

    /// The same for a pairing that was accepted at this time: the device was given the chain of the CA that issued then.
    pub(super) fn issuing_for(&self, accepted_at: Option<UnixMillis>, now: UnixMillis) -> Result<&IssuingCa, Failure> {
        let present = self.issuing(now)?;
        let issued_then = |issuing: &&Issuing| accepted_at.is_some_and(|accepted| issuing.since <= accepted);
        let all = self.signing.iter().map(|signing| &signing.issuing).chain(&self.earlier);
        Ok(all.into_iter().find(issued_then).map_or(present, |issuing| &issuing.ca))
    }

    /// The CA that signs now, if there is one, and those before it.
    pub(super) fn issuers(&self) -> impl Iterator<Item = &IssuingCa> {
        self.signing.iter().map(|signing| &signing.issuing).chain(&self.earlier).map(|issuing| &issuing.ca)
    }

    /// The control unit's key.
    pub(super) fn key(&self) -> Result<&PrivateKey, Failure> {
        Ok(&self.signing()?.key)
    }

    /// The SHA-256 of the root's certificate.
    pub(super) const fn root(&self) -> Sha256 {
        self.root
    }

    /// The control unit's certificate and all above it, the root last.
    pub(super) fn chain(&self) -> Result<Vec<ByteBuf>, Failure> {
        let Signing { issuing, certificate, .. } = self.signing()?;
        Ok(core::iter::once(certificate.to_bytes()).chain(issuing.ca.chain()).collect())
    }

    fn signing(&self) -> Result<&Signing, Failure> {
        self.signing.as_ref().ok_or_else(|| {
            let detail = "The hospital's CA has not certified this site yet: nothing can be paired until it has.";
            Failure::with_detail(ProblemKind::Unavailable, detail)
        })
    }

    /// What the bridge has to know.
    pub(super) fn table(&self, version: u64, grants: Vec<Grant>, clients: Clients) -> Result<BridgeTable, Failure> {
        let key = self.key()?.to_pkcs8().map_err(Failure::internal)?;
        Ok(BridgeTable {
            version,
            grants,
            issuing: self.issuers().map(|issuing| issuing.certificate().to_bytes()).collect(),
            control_unit_chain: self.chain()?,
            control_unit_key: key.to_vec(),
            clients,
        })
    }
}

impl Signing {
    /// The control unit's certificate has to be of this CA, and to last for a while, unless the CA itself does not.
    fn open(database: &Database, vault: &Vault, issuing: Issuing, now: UnixMillis) -> Result<Self, Failure> {
        let ca = &issuing.ca;
        let ca_ends = ca.certificate().validity().not_after;
        let serves = |certificate: &Certificate| {
            let ends = certificate.validity().not_after;
            let is_of_it = certificate.verify_issued_by(ca.certificate(), now.min(ca_ends)).is_ok();
            is_of_it && (ends > now.after(RENEWAL_TIME) || ends >= ca_ends)
        };
        let known = load(database, vault, CONTROL_UNIT)?.filter(|(_, certificate)| serves(certificate));
        let (key, certificate) = match known {
            Some(known) => known,
            None => make_control_unit(database, vault, ca, now)?,
        };
        Ok(Self { issuing, certificate, key })
    }
}

/// Whether anything was issued under the CA, or is about to be.
fn is_used(database: &Database) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM devices) OR EXISTS (SELECT 1 FROM services)
                 OR EXISTS (SELECT 1 FROM revoked_certificates) OR EXISTS (SELECT 1 FROM pairings WHERE running = 1)";
    Ok(database.one(query, [])?.unwrap_or_default())
}

/// Nothing was issued yet: the site chooses anew.
fn forget(database: &Database) -> Result<(), Failure> {
    log!("site: the CA is chosen anew, as nothing was issued yet");
    let tables = ["authority", "enrolment", "issuing_cas", "revocation_lists"];
    tables.into_iter().try_for_each(|table| database.run(&format!("DELETE FROM {table}"), []))
}

fn switched(stored: Choice, wanted: Choice) -> String {
    let name = |choice| match choice {
        Choice::BuiltIn => "the built-in CA".to_owned(),
        Choice::Outside(root) => format!("the CA with the root {root}"),
    };
    let (stored, wanted) = (name(stored), name(wanted));
    format!(
        "devices or services were given certificates by {stored}, and the deployment now names {wanted}: put the variables EST_URL and \
         EST_ROOT_SHA256 back, or begin a new site with empty storage and pair anew"
    )
}

fn make_issuing(database: &Database, vault: &Vault, now: UnixMillis) -> Result<IssuingCa, Failure> {
    let root = RootCa::make("Wardlink root CA", years(now, ROOT_YEARS), &mut rng()).map_err(Failure::internal)?;
    let issuing = root
        .make_issuing_ca("Wardlink issuing CA", years(now, ISSUING_YEARS), &mut rng())
        .map_err(Failure::internal)?;
    store(database, vault, ROOT, root.key(), root.certificate())?;
    store(database, vault, ISSUING, issuing.key(), issuing.certificate())?;
    log!("site: made the CA {}", root.certificate().sha256());
    Ok(issuing)
}

fn make_control_unit(
    database: &Database,
    vault: &Vault,
    issuing: &IssuingCa,
    now: UnixMillis,
) -> Result<(PrivateKey, Certificate), Failure> {
    let key = PrivateKey::make(&mut rng());
    let holder = Holder::ControlUnit("Wardlink control unit".to_owned());
    let certificate =
        issuing.issue(&holder, &key.public(), years(now, CONTROL_UNIT_YEARS), &mut rng()).map_err(Failure::internal)?;
    store(database, vault, CONTROL_UNIT, &key, &certificate)?;
    log!("site: made the control unit's certificate {}", certificate.serial());
    Ok((key, certificate))
}

fn years(now: UnixMillis, years: u32) -> Validity {
    Validity::from_now(now, CLOCK_SKEW, YEAR.saturating_mul(years))
}

/// The time `duration` before `now`.
pub(super) fn before(now: UnixMillis, duration: Duration) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(UnixMillis::default().after(duration).0))
}

fn place(part: &str) -> String {
    format!("key of the {part}")
}

fn load(database: &Database, vault: &Vault, part: &str) -> Result<Option<(PrivateKey, Certificate)>, Failure> {
    let query = "SELECT key, certificate FROM authority WHERE part = ?";
    let Some(mut row) = database.row(query, [part.to_owned().into_value()])? else { return Ok(None) };
    let key = vault.unseal(&place(part), &row.take::<Vec<u8>>()?)?;
    let key = PrivateKey::from_pkcs8(&key).map_err(Failure::internal)?;
    let certificate = Certificate::parse(&row.take::<Vec<u8>>()?).map_err(Failure::internal)?;
    Ok(Some((key, certificate)))
}

fn store(
    database: &Database,
    vault: &Vault,
    part: &str,
    key: &PrivateKey,
    certificate: &Certificate,
) -> Result<(), Failure> {
    let key: Zeroizing<Vec<u8>> = key.to_pkcs8().map_err(Failure::internal)?;
    database.run(
        "INSERT OR REPLACE INTO authority (part, certificate, key) VALUES (?, ?, ?)",
        [
            part.to_owned().into_value(),
            certificate.der().to_vec().into_value(),
            vault.seal(&place(part), &key)?.into_value(),
        ],
    )
}

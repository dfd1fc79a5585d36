//! The director's keys (figure 4, 74; figure 8, 171): made once at the first need, or installed before it. Its root, and the one sequence
//! of versions.

use core::num::NonZeroUsize;
use core::time::Duration;
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey;
use wardlink_crypto::key::PrivateKey;
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_edge::vault::Vault;
use wardlink_protocol::api::ProblemKind;
use wardlink_update::director::{Directive, Ends, Files, publish};
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, RoleKeys, Root, TopLevel};
use worker::Env;
use zeroize::Zeroizing;

/// Secrets with keys that were made elsewhere: PKCS#8 DER in base64url, for the root and for everything else.
const ROOT_SECRET: &str = "DIRECTOR_ROOT_KEY";
const SECRET: &str = "DIRECTOR_KEY";
const ROOT_PLACE: &str = "director's root key";
const PLACE: &str = "director's key";
/// The root counts for ten years.
const ROOT_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long directives and snapshots count.
const LIFETIME: Duration = Duration::from_hours(90 * 24);
/// How long a timestamp counts: a gateway that was kept from newer ones notices then.
const TIMESTAMP_LIFETIME: Duration = Duration::from_hours(14 * 24);
/// A gateway is matched, and its directive signed, anew so long after that was signed, whether or not it says anything else.
const RENEWAL: Duration = Duration::from_hours(7 * 24);
/// The deployment's variable that says otherwise, in seconds: at least one, and at most [`RENEWAL`], so that no timestamp ends before.
const RENEWAL_VARIABLE: &str = "DIRECTIVE_RENEWAL_SECS";

/// Signs directives.
pub(super) struct Director {
    key: SigningKey,
    root: Vec<u8>,
}

impl Director {
    /// Reads the keys, or makes them.
    pub(super) fn open(env: &Env, database: &Database) -> Result<Self, Failure> {
        let vault = Vault::open(env)?;
        if let Some(mut row) = database.row("SELECT root, key FROM director", [])? {
            let root = row.take()?;
            let key = vault.unseal(PLACE, &row.take::<Vec<u8>>()?)?;
            return Ok(Self { key: SigningKey::from_pkcs8_der(&key).map_err(Failure::internal)?, root });
        }
        let (root_key, key) = (installed_or_made(env, ROOT_SECRET)?, installed_or_made(env, SECRET)?);
        let sign = SigningKey::from_pkcs8_der(&root_key).map_err(Failure::internal)?;
        let online = SigningKey::from_pkcs8_der(&key).map_err(Failure::internal)?;
        let root = make_root(&sign, &online)?;
        database.run(
            "INSERT INTO director (one, root, root_key, key) VALUES (1, ?, ?, ?)",
            [
                root.clone().into_value(),
                vault.seal(ROOT_PLACE, &root_key)?.into_value(),
                vault.seal(PLACE, &key)?.into_value(),
            ],
        )?;
        log!("distribution: made the director's root");
        Ok(Self { key: online, root })
    }

    /// The first root of every gateway's director repository.
    pub(super) fn root(&self) -> &[u8] {
        &self.root
    }

    /// Signs a directive and what stands around it.
    pub(super) fn publish(&self, directive: &Directive) -> Result<Files, Failure> {
        let ends = Ends { snapshot: expires(LIFETIME), timestamp: expires(TIMESTAMP_LIFETIME) };
        publish(directive, ends, &self.key).map_err(Failure::internal)
    }
}

/// Whether directives can be signed: fails, for people to read, where the keys have yet to be taken from secrets that are none.
pub(super) fn check(env: &Env, database: &Database) -> Result<(), Failure> {
    if database.row("SELECT 1 FROM director", [])?.is_some() {
        return Ok(());
    }
    for name in [ROOT_SECRET, SECRET] {
        installed(env, name).map_err(|why| {
            let detail = format!(
                "No gateway has a session, and nothing can be directed: {why}. Install this secret as PKCS#8 in base64url, or take it away."
            );
            Failure::with_detail(ProblemKind::Unavailable, detail)
        })?;
    }
    Ok(())
}

/// The next version, which no directive had before.
pub(super) fn next_version(database: &Database) -> Result<u64, Failure> {
    let version = database.one("UPDATE director SET version = version + 1 RETURNING version", [])?;
    version.ok_or_else(|| Failure::internal("there is no director"))
}

/// How long after it was signed a directive is signed anew in this deployment.
pub(super) fn renewal(env: &Env) -> Duration {
    let said = env.var(RENEWAL_VARIABLE).ok().and_then(|seconds| seconds.to_string().parse().ok());
    said.map_or(RENEWAL, |seconds| Duration::from_secs(seconds).clamp(Duration::from_secs(1), RENEWAL))
}

/// Until when a directive counts that is signed now.
pub(super) fn directive_ends() -> Expires {
    expires(LIFETIME)
}

fn expires(lifetime: Duration) -> Expires {
    Expires::at(now().after(lifetime).as_secs())
}

fn installed_or_made(env: &Env, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match installed(env, name).map_err(Failure::internal)? {
        Some(der) => Ok(der),
        None => PrivateKey::make(&mut rng()).to_pkcs8().map_err(Failure::internal),
    }
}

/// The key that was installed under this name, where one was; or what is wrong with it.
fn installed(env: &Env, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let Ok(secret) = env.secret(name) else { return Ok(None) };
    let text = Zeroizing::new(secret.to_string());
    let der = BASE64URL_NOPAD.decode(text.as_bytes()).map(Zeroizing::new);
    let der = der.map_err(|_| format!("{name} is not base64url"))?;
    PrivateKey::from_pkcs8(&der).map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(der))
}

fn make_root(root: &SigningKey, online: &SigningKey) -> Result<Vec<u8>, Failure> {
    let key = |key: &SigningKey| Key::ecdsa_p256(key.verifying_key()).map_err(Failure::internal);
    let (root_key, online_key) = (key(root)?, key(online)?);
    let role = |key: &Key| RoleKeys { keyids: vec![key.id()], threshold: NonZeroUsize::MIN };
    let roles = TopLevel {
        root: role(&root_key),
        timestamp: role(&online_key),
        snapshot: role(&online_key),
        targets: role(&online_key),
    };
    let id = root_key.id();
    let keys = [(id.clone(), root_key), (online_key.id(), online_key)].into();
    let mut draft = Draft::new(&Root::new(1, expires(ROOT_LIFETIME), keys, roles)).map_err(Failure::internal)?;
    draft.sign(id, root);
    Ok(draft.to_bytes())
}

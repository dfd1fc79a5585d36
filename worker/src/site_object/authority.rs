//! The built-in CA and the control unit's own certificate, made at first start.

use crate::messages::{BridgeTable, Clients};
use crate::platform::{log, rng};
use crate::problem::Failure;
use crate::storage::{Column, Database};
use crate::vault::Vault;
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::UnixMillis;
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

/// Who signs for the site.
pub(super) struct Authority {
    issuing: IssuingCa,
    certificate: Certificate,
    key: PrivateKey,
}

impl Authority {
    /// Reads the site's authority, or makes it.
    pub(super) fn open(database: &Database, vault: &Vault, now: UnixMillis) -> Result<Self, Failure> {
        let issuing = match (load(database, vault, ROOT)?, load(database, vault, ISSUING)?) {
            (Some((_, root)), Some((key, certificate))) => {
                IssuingCa::restore(key, certificate, root).map_err(Failure::internal)?
            }
            (None, None) => make_issuing(database, vault, now)?,
            _ => return Err(Failure::internal("half of the site's CA is missing")),
        };
        let known = load(database, vault, CONTROL_UNIT)?
            .filter(|(_, certificate)| certificate.validity().not_after > now.after(RENEWAL_TIME));
        let (key, certificate) = match known {
            Some(known) => known,
            None => make_control_unit(database, vault, &issuing, now)?,
        };
        Ok(Self { issuing, certificate, key })
    }

    /// The CA that signs devices' certificates.
    pub(super) const fn issuing(&self) -> &IssuingCa {
        &self.issuing
    }

    /// The control unit's key.
    pub(super) const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The SHA-256 of the root's certificate.
    pub(super) fn root(&self) -> Sha256 {
        self.issuing.root().sha256()
    }

    /// The control unit's certificate and all above it, the root last.
    pub(super) fn chain(&self) -> Vec<ByteBuf> {
        core::iter::once(self.certificate.to_bytes()).chain(self.issuing.chain()).collect()
    }

    /// What the bridge has to know.
    pub(super) fn table(&self, version: u64, grants: Vec<Grant>, clients: Clients) -> Result<BridgeTable, Failure> {
        let key = self.key.to_pkcs8().map_err(Failure::internal)?;
        Ok(BridgeTable {
            version,
            grants,
            issuing: vec![self.issuing.certificate().to_bytes()],
            control_unit_chain: self.chain(),
            control_unit_key: key.to_vec(),
            clients,
        })
    }
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
    Validity { not_before: before(now, CLOCK_SKEW), not_after: now.after(YEAR.saturating_mul(years)) }
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

//! TUF metadata (TUF 1.0.34, section 4): the signed envelope and the four top-level roles.

mod draft;
mod path;
mod role;
mod targets;
mod time;

pub use draft::Draft;
pub use path::{PathPattern, TargetPath};
pub use role::{RoleKeys, RoleName};
pub use targets::{DelegatedPaths, Delegation, Delegations, Target, TargetCheck, Targets};
pub use time::Expires;

use crate::json::{InvalidJson, Json};
use crate::key::{Key, KeyId};
use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;

/// The metadata file's version, which only rises.
pub type Version = u64;

/// Why bytes are no metadata of a role. All are the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// It is not the JSON that the role needs.
    #[error(transparent)]
    Json(#[from] InvalidJson),
    /// It is metadata of another role.
    #[error("it is {found} metadata, not {wanted}")]
    Type {
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// It follows a specification that we don't know.
    #[error("it follows version {0} of the specification, not version 1")]
    Specification(String),
    /// One key id has several signatures.
    #[error("the key {0} has two signatures")]
    DuplicateSignature(KeyId),
    /// A version number is zero.
    #[error("it has version 0")]
    Version,
    /// Something contradicts itself.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// By which key.
    pub keyid: KeyId,
    /// Hexadecimal; empty where a signer has not signed yet.
    pub sig: String,
}

/// A role's metadata, with the bytes that are signed. The envelope itself is kept as it was received by whoever stores it.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    /// What it says.
    pub role: T,
    /// The canonical form of what it says, unknown members included.
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
}

/// What the metadata of each role has.
pub trait Role: DeserializeOwned {
    /// The word in `_type`.
    const TYPE: &'static str;

    /// The file's version.
    fn version(&self) -> Version;

    /// Until when it counts.
    fn expires(&self) -> Expires;

    /// What the types alone cannot hold.
    fn check(&self) -> Result<(), InvalidMetadata> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    signatures: Vec<Signature>,
    signed: T,
}

#[derive(Deserialize)]
struct Common {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
}

impl<T: Role> Signed<T> {
    /// Reads an envelope. Nothing of it is trusted yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidMetadata> {
        let json = Json::parse(bytes)?;
        let signed = json.member("signed").ok_or(InvalidMetadata::Contradiction("it has no member \"signed\""))?;
        // The types are built from one value: code that reads each of them from bytes is large.
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(InvalidJson::new)?;
        let common: Envelope<Common> = typed(&value)?;
        if common.signed.kind != T::TYPE {
            return Err(InvalidMetadata::Type { wanted: T::TYPE, found: common.signed.kind });
        }
        if common.signed.spec_version.split('.').next() != Some("1") {
            return Err(InvalidMetadata::Specification(common.signed.spec_version));
        }
        for (index, signature) in common.signatures.iter().enumerate() {
            if common.signatures.iter().take(index).any(|earlier| earlier.keyid == signature.keyid) {
                return Err(InvalidMetadata::DuplicateSignature(signature.keyid.clone()));
            }
        }
        let Envelope { signatures, signed: role } = typed::<Envelope<T>>(&value)?;
        if role.version() == 0 {
            return Err(InvalidMetadata::Version);
        }
        role.check()?;
        Ok(Self { role, canonical: signed.to_canonical(), signatures })
    }

    /// Whether a threshold of the role's keys has signed. A key counts once, under however many ids it stands there.
    pub fn is_signed_by(&self, role: &RoleKeys, keys: &BTreeMap<KeyId, Key>) -> bool {
        let mut signers = Vec::new();
        for signature in self.signatures.iter().filter(|signature| role.keyids.contains(&signature.keyid)) {
            let Some(verifier) = keys.get(&signature.keyid).and_then(Key::verifier) else { continue };
            let fingerprint = verifier.fingerprint();
            if !signers.contains(&fingerprint) && verifier.verify(&self.canonical, &signature.sig) {
                signers.push(fingerprint);
            }
        }
        signers.len() >= role.threshold.get()
    }

    /// The canonical bytes that signatures are made over.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

/// Reads a value that [`Json::parse`] has accepted.
fn typed<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, InvalidMetadata> {
    T::deserialize(value).map_err(|error| InvalidJson::new(error).into())
}

/// The root role (section 4.3): which keys count for the top-level roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    version: Version,
    expires: Expires,
    /// Whether files of other roles are named by their version, and targets by their hash.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Every key that a role names.
    pub keys: BTreeMap<KeyId, Key>,
    /// The keys of the top-level roles.
    pub roles: TopLevel,
}

/// The keys of the top-level roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopLevel {
    /// Of root itself.
    pub root: RoleKeys,
    /// Of timestamp.
    pub timestamp: RoleKeys,
    /// Of snapshot.
    pub snapshot: RoleKeys,
    /// Of the top-level targets.
    pub targets: RoleKeys,
}

impl Root {
    /// Makes the role's metadata, for a repository with consistent snapshots.
    pub const fn new(version: Version, expires: Expires, keys: BTreeMap<KeyId, Key>, roles: TopLevel) -> Self {
        Self { version, expires, consistent_snapshot: true, keys, roles }
    }
}

impl Role for Root {
    const TYPE: &'static str = "root";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        let TopLevel { root, timestamp, snapshot, targets } = &self.roles;
        [root, timestamp, snapshot, targets].into_iter().try_for_each(RoleKeys::check)
    }
}

/// What timestamp and snapshot say of a metadata file (section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataFile {
    /// Its version.
    pub version: Version,
    /// Its length, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
}

/// Hashes of a file by algorithm, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hashes(pub BTreeMap<String, String>);

impl Hashes {
    /// The SHA-256 of the bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(BTreeMap::from([("sha256".to_owned(), HEXLOWER.encode(&Sha256::digest(bytes)))]))
    }

    /// Whether the bytes have every hash whose algorithm we know, and at least one is known.
    pub fn fit(&self, bytes: &[u8]) -> bool {
        self.are(&Sha256::digest(bytes), &Sha512::digest(bytes))
    }

    fn are(&self, sha256: &[u8], sha512: &[u8]) -> bool {
        let mut known = 0_usize;
        let fits = self.0.iter().all(|(algorithm, hash)| {
            let actual = match algorithm.as_str() {
                "sha256" => HEXLOWER.encode(sha256),
                "sha512" => HEXLOWER.encode(sha512),
                _ => return true,
            };
            known = known.saturating_add(1);
            hash.eq_ignore_ascii_case(&actual)
        });
        fits && known > 0
    }

    pub(crate) fn check(&self) -> Result<(), InvalidMetadata> {
        let is_hash = |hash: &String| !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !self.0.is_empty() && self.0.values().all(is_hash) {
            return Ok(());
        }
        Err(InvalidMetadata::Contradiction("its hashes are no hashes"))
    }
}

impl MetadataFile {
    /// A file as it is listed: its version, length and hash.
    pub fn of(version: Version, bytes: &[u8]) -> Self {
        Self { version, length: u64::try_from(bytes.len()).ok(), hashes: Some(Hashes::of(bytes)) }
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        if self.version == 0 || self.length == Some(0) {
            return Err(InvalidMetadata::Contradiction("it lists a file of version or length 0"));
        }
        self.hashes.as_ref().map_or(Ok(()), Hashes::check)
    }
}

/// The timestamp role (section 4.6): which snapshot is the newest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timestamp {
    version: Version,
    expires: Expires,
    meta: TimestampMeta,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TimestampMeta {
    #[serde(rename = "snapshot.json")]
    snapshot: MetadataFile,
}

impl Timestamp {
    /// Makes the role's metadata.
    pub const fn new(version: Version, expires: Expires, snapshot: MetadataFile) -> Self {
        Self { version, expires, meta: TimestampMeta { snapshot } }
    }

    /// The newest snapshot.
    pub const fn snapshot(&self) -> &MetadataFile {
        &self.meta.snapshot
    }
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        self.snapshot().check()
    }
}

/// The snapshot role (section 4.4): which targets metadata belongs together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    version: Version,
    expires: Expires,
    /// Every targets metadata file, by its name, such as `targets.json`.
    pub meta: BTreeMap<String, MetadataFile>,
}

impl Snapshot {
    /// Makes the role's metadata.
    pub const fn new(version: Version, expires: Expires, meta: BTreeMap<String, MetadataFile>) -> Self {
        Self { version, expires, meta }
    }

    /// What it says of a targets role's file.
    pub fn file(&self, role: &RoleName) -> Option<&MetadataFile> {
        self.meta.get(&role.file())
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        self.meta.values().try_for_each(MetadataFile::check)
    }
}

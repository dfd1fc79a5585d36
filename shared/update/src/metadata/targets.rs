//! The targets role and its delegations (TUF section 4.5).

use super::{Expires, Hashes, InvalidMetadata, PathPattern, Role, RoleKeys, RoleName, TargetPath, Version};
use crate::key::{Key, KeyId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;
use wardlink_protocol::identity::Sha256 as Hash;

/// The targets role: which files may be installed, and who may say so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    version: Version,
    expires: Expires,
    /// The files.
    pub targets: BTreeMap<TargetPath, Target>,
    /// Who else may name files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its length, in bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// What the repository's owner says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<serde_json::Value>,
}

impl Target {
    /// The file's name at a repository with consistent snapshots (TUF section 5.7.3): one of its hashes stands before it.
    pub fn file_name(&self, path: &TargetPath) -> String {
        let known = ["sha256", "sha512"].into_iter().find_map(|algorithm| self.hashes.0.get(algorithm));
        known.or_else(|| self.hashes.0.values().next()).map_or_else(|| path.to_string(), |hash| path.with_hash(hash))
    }

    /// Its SHA-256; none where it is listed without.
    pub fn sha256(&self) -> Option<Hash> {
        self.hashes.0.get("sha256")?.to_ascii_lowercase().parse().ok()
    }
}

/// A file that is compared with its target while it is read.
pub struct TargetCheck<'a> {
    target: &'a Target,
    length: u64,
    sha256: Sha256,
    sha512: Sha512,
}

impl<'a> TargetCheck<'a> {
    /// Begins with no bytes.
    pub fn new(target: &'a Target) -> Self {
        Self { target, length: 0, sha256: Sha256::new(), sha512: Sha512::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.sha256.update(bytes);
        self.sha512.update(bytes);
    }

    /// Whether it was the whole file: its length, every hash whose algorithm we know, and at least one.
    pub fn finish(self) -> bool {
        let (sha256, sha512) = (self.sha256.finalize(), self.sha512.finalize());
        self.length == self.target.length && self.target.hashes.are(&sha256, &sha512)
    }
}

/// Whom a targets role trusts for which paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delegations {
    /// The keys of the delegated roles.
    pub keys: BTreeMap<KeyId, Key>,
    /// The roles, in order of priority.
    pub roles: Vec<Delegation>,
}

/// One delegated role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delegation {
    /// Its name.
    pub name: RoleName,
    /// Its keys and threshold.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Whether nobody after it is asked for the paths that it covers.
    #[serde(default)]
    pub terminating: bool,
    /// For which paths it is trusted.
    #[serde(flatten)]
    pub paths: DelegatedPaths,
}

/// For which paths a delegated role is trusted. Exactly one of the two has to be there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelegatedPaths {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<PathPattern>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_hash_prefixes: Option<Vec<String>>,
}

impl DelegatedPaths {
    /// The paths that fit one of the patterns.
    pub const fn matching(patterns: Vec<PathPattern>) -> Self {
        Self { paths: Some(patterns), path_hash_prefixes: None }
    }

    /// The patterns, where paths are delegated by patterns.
    pub fn patterns(&self) -> &[PathPattern] {
        self.paths.as_deref().unwrap_or_default()
    }

    /// Whether the path is one of them.
    pub fn cover(&self, path: &TargetPath) -> bool {
        match (&self.paths, &self.path_hash_prefixes) {
            (Some(patterns), None) => patterns.iter().any(|pattern| pattern.fits(path)),
            (None, Some(prefixes)) => {
                let hash = path.hash();
                prefixes.iter().any(|prefix| hash.starts_with(prefix.as_str()))
            }
            _ => false,
        }
    }
}

impl Targets {
    /// Makes the role's metadata.
    pub const fn new(
        version: Version,
        expires: Expires,
        targets: BTreeMap<TargetPath, Target>,
        delegations: Option<Delegations>,
    ) -> Self {
        Self { version, expires, targets, delegations }
    }

    /// The roles that it delegates to, in order of priority.
    pub fn delegated(&self) -> impl Iterator<Item = &Delegation> {
        self.delegations.iter().flat_map(|delegations| &delegations.roles)
    }
}

impl Role for Targets {
    const TYPE: &'static str = "targets";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        self.targets.values().try_for_each(|target| target.hashes.check())?;
        let Some(delegations) = &self.delegations else { return Ok(()) };
        for (index, role) in delegations.roles.iter().enumerate() {
            role.keys.check()?;
            if role.paths.paths.is_some() == role.paths.path_hash_prefixes.is_some() {
                return Err(InvalidMetadata::Contradiction("a delegation has not exactly one kind of paths"));
            }
            if matches!(role.name.as_str(), "root" | "timestamp" | "snapshot" | "targets") {
                return Err(InvalidMetadata::Contradiction("a delegation has the name of a top-level role"));
            }
            if delegations.roles.iter().take(index).any(|earlier| earlier.name == role.name) {
                return Err(InvalidMetadata::Contradiction("a role is delegated to twice"));
            }
        }
        Ok(())
    }
}

//! Roles: their names and their keys.

use super::InvalidMetadata;
use crate::key::{Fingerprint, Key, KeyId, Verifier};
use core::fmt;
use core::num::NonZeroUsize;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest name of a role, in bytes.
const MAX_ROLE_NAME_BYTES: usize = 200;

/// The name of a targets role, as delegations spell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

impl RoleName {
    /// The top-level targets role.
    pub fn targets() -> Self {
        Self("targets".to_owned())
    }

    /// The metadata's file name in snapshots: `<name>.json`.
    pub fn file(&self) -> String {
        format!("{}.json", self.0)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoleName {
    type Error = InvalidMetadata;
    fn try_from(text: String) -> Result<Self, InvalidMetadata> {
        if text.is_empty() || text.len() > MAX_ROLE_NAME_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidMetadata::Contradiction("a role has no acceptable name"));
        }
        Ok(Self(text))
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys of a role, and how many of them have to sign (TUF section 4.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The ids of its keys.
    pub keyids: Vec<KeyId>,
    /// How many different keys have to sign.
    pub threshold: NonZeroUsize,
}

impl RoleKeys {
    pub(super) fn check(&self) -> Result<(), InvalidMetadata> {
        let is_twice = |(index, id): (usize, &KeyId)| self.keyids.iter().take(index).any(|earlier| earlier == id);
        if self.keyids.iter().enumerate().any(is_twice) {
            return Err(InvalidMetadata::Contradiction("a role names a key twice"));
        }
        Ok(())
    }

    /// Whether a key of this role counts no longer in `newer`.
    pub(crate) fn has_lost_a_key(
        &self,
        keys: &BTreeMap<KeyId, Key>,
        newer: &Self,
        newer_keys: &BTreeMap<KeyId, Key>,
    ) -> bool {
        !self.fingerprints(keys).is_subset(&newer.fingerprints(newer_keys))
    }

    /// How many keys of this role still count in `newer`.
    pub(crate) fn kept_keys(
        &self,
        keys: &BTreeMap<KeyId, Key>,
        newer: &Self,
        newer_keys: &BTreeMap<KeyId, Key>,
    ) -> usize {
        self.fingerprints(keys).intersection(&newer.fingerprints(newer_keys)).count()
    }

    fn fingerprints(&self, keys: &BTreeMap<KeyId, Key>) -> BTreeSet<Fingerprint> {
        let of = |id| keys.get(id).and_then(Key::verifier).as_ref().map(Verifier::fingerprint);
        self.keyids.iter().filter_map(of).collect()
    }
}

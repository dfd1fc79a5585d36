//! Files that a package names.

use crate::metadata::{Hashes, Target, TargetPath};
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Sha256;

/// A file by its path, length and hash: another target, bound so that nobody can put something else in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundFile {
    /// Its path among the targets.
    pub path: TargetPath,
    /// Its length, in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

impl BoundFile {
    /// The file at this path with these bytes.
    pub fn of(path: TargetPath, bytes: &[u8]) -> Self {
        use sha2::Digest;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { path, length, sha256: Sha256(sha2::Sha256::digest(bytes).into()) }
    }

    /// The same as a target's length and hash, against which a download is checked.
    pub fn target(&self) -> Target {
        let hashes = Hashes([("sha256".to_owned(), self.sha256.to_string())].into());
        Target { length: self.length, hashes, custom: None }
    }

    /// Whether the target is this file: its length and its SHA-256, which has to be there.
    pub fn is(&self, target: &Target) -> bool {
        let has_hash = |hash: &String| hash.eq_ignore_ascii_case(&self.sha256.to_string());
        target.length == self.length && target.hashes.0.get("sha256").is_some_and(has_hash)
    }
}

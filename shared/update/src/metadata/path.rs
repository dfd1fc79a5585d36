//! Where targets are, and which of them a delegation covers.

use super::InvalidMetadata;
use core::fmt;
use data_encoding::HEXLOWER;
use glob::Pattern;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The path of a target under the repository's targets: relative, with `/` between its parts, without `.`, `..` or empty ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetPath(String);

impl TargetPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the path, hexadecimal, as `path_hash_prefixes` begin.
    pub(crate) fn hash(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.0.as_bytes()))
    }

    /// The path of the file at a repository with consistent snapshots: the hash stands before its last part.
    pub fn with_hash(&self, hash: &str) -> String {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{hash}.{name}"),
            None => format!("{hash}.{}", self.0),
        }
    }
}

impl TryFrom<String> for TargetPath {
    type Error = InvalidMetadata;
    fn try_from(text: String) -> Result<Self, InvalidMetadata> {
        let is_part = |part: &str| !matches!(part, "" | "." | "..");
        let is_plain = |letter: char| !letter.is_control() && letter != '\\';
        if text.len() > MAX_PATH_BYTES || !text.split('/').all(is_part) || !text.chars().all(is_plain) {
            return Err(InvalidMetadata::Contradiction("a target has no acceptable path"));
        }
        Ok(Self(text))
    }
}

impl From<TargetPath> for String {
    fn from(path: TargetPath) -> Self {
        path.0
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A shell-style pattern of paths (TUF section 4.5): `*`, `?` and `[…]` stay within one part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    text: String,
    parts: Vec<Pattern>,
}

impl PathPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path fits.
    pub fn fits(&self, path: &TargetPath) -> bool {
        let parts: Vec<&str> = path.0.split('/').collect();
        parts.len() == self.parts.len() && self.parts.iter().zip(parts).all(|(pattern, part)| pattern.matches(part))
    }
}

impl TryFrom<String> for PathPattern {
    type Error = InvalidMetadata;
    fn try_from(text: String) -> Result<Self, InvalidMetadata> {
        if text.len() > MAX_PATH_BYTES {
            return Err(InvalidMetadata::Contradiction("a pattern of paths is too long"));
        }
        let parts: Result<Vec<_>, _> = text.split('/').map(|part| Pattern::new(&single_stars(part))).collect();
        let parts = parts.map_err(|_| InvalidMetadata::Contradiction("a pattern of paths cannot be read"))?;
        Ok(Self { text, parts })
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.text
    }
}

/// Within one part, several stars are one; the library gives `**` a meaning of its own.
fn single_stars(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for letter in part.chars() {
        if letter != '*' || !text.ends_with('*') {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        let pattern: PathPattern = pattern.to_owned().try_into().unwrap();
        pattern.fits(&path.to_owned().try_into().unwrap())
    }

    #[test]
    fn a_star_stays_within_its_part() {
        assert!(fits("*", "readme"));
        assert!(!fits("*", "doc/readme"));
        assert!(fits("releases/*/*.zip", "releases/x/v1.zip"));
        assert!(!fits("releases/*", "releases/x/v1.zip"));
        assert!(fits("**", "readme"));
        assert!(!fits("**", "doc/readme"));
        assert!(fits("pump-?.bin", "pump-2.bin"));
        assert!(fits("pump-[12].bin", "pump-2.bin"));
        assert!(!fits("pump-[12].bin", "pump-3.bin"));
    }

    #[test]
    fn a_path_leads_nowhere_else() {
        let refused = ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\\..\\b", "a\nb", "a\0"];
        for path in refused {
            assert!(TargetPath::try_from(path.to_owned()).is_err(), "{path:?}");
        }
        for path in ["a", "a/b.zip", "..a", "a..", "ä b/%2e%2e"] {
            assert!(TargetPath::try_from(path.to_owned()).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn the_hash_stands_before_the_name() {
        let path = |text: &str| TargetPath::try_from(text.to_owned()).unwrap();
        assert_eq!(path("a/b/c.zip").with_hash("00ff"), "a/b/00ff.c.zip");
        assert_eq!(path("c.zip").with_hash("00ff"), "00ff.c.zip");
    }
}

//! A package encrypted to one gateway's key (paragraphs 0030 and 0032): what the director says of it, and what a gateway checks.

use super::{BoundFile, InvalidPackage, ModelFolder};
use crate::metadata::{Target, TargetPath};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wardlink_protocol::identity::{Device, KeyFingerprint};

/// The longest sealed content key, in bytes.
pub const MAX_SEALED_KEY_BYTES: usize = 1024;
/// The length of an encrypted file's records, in bytes: what a gateway has to keep in memory (RFC 8188 section 2, `rs`).
pub const ENCRYPTED_RECORD_BYTES: u64 = 65_536;
/// What stands before the records (RFC 8188 section 2.1): the salt, the length of a record, and the length of a key id, which is
/// empty: the key is in the directive.
pub const ENCRYPTED_HEADER_BYTES: u64 = 16 + 4 + 1;
/// What a record has beyond its content: AES-GCM's tag, and the delimiter (RFC 8188 section 2).
pub const ENCRYPTED_RECORD_OVERHEAD_BYTES: u64 = 16 + 1;

/// How the image is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Records of AES-128-GCM (RFC 8188), each of [`ENCRYPTED_RECORD_BYTES`], so that no more than one has to be kept in memory.
    Aes128Gcm,
}

impl Encryption {
    /// How long an encrypted file is at most, whose content has this length: its records are full, but for the last one, which may
    /// be empty.
    pub const fn max_bytes(self, content: u64) -> u64 {
        let Self::Aes128Gcm = self;
        let full = ENCRYPTED_RECORD_BYTES.saturating_sub(ENCRYPTED_RECORD_OVERHEAD_BYTES);
        let records = (content / full).saturating_add(1);
        content
            .saturating_add(ENCRYPTED_HEADER_BYTES)
            .saturating_add(records.saturating_mul(ENCRYPTED_RECORD_OVERHEAD_BYTES))
    }
}

/// The content key, sealed to the recipient: a COSE_Encrypt message (RFC 9052 section 5.1), opened by whoever has the key.
/// Base64url in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(Vec<u8>);

impl SealedKey {
    /// Takes 1 to [`MAX_SEALED_KEY_BYTES`] bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidPackage> {
        if (1..=MAX_SEALED_KEY_BYTES).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(InvalidPackage::Contradiction("a sealed key is empty or too long"))
        }
    }

    /// The message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SealedKey({} bytes)", self.0.len())
    }
}

impl Serialize for SealedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Self::new(bytes).map_err(D::Error::custom)
    }
}

/// The variant of a package that one gateway can read. The package itself stays what the manufacturer signed: after decryption its
/// length and hashes are checked as ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypted {
    /// The gateway that can read it.
    pub gateway: Device,
    /// Its key: SHA-256 of the SubjectPublicKeyInfo.
    pub recipient: KeyFingerprint,
    /// How it is encrypted.
    pub method: Encryption,
    /// The encrypted file, as it is downloaded.
    pub file: BoundFile,
    /// The content key.
    pub key: SealedKey,
}

/// The server's fault: the encrypted variant is for somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForUs {
    /// It is for another gateway.
    #[error("it is encrypted to the gateway {0}")]
    Gateway(Device),
    /// It is encrypted to a key that this gateway has not, or has no more.
    #[error("it is encrypted to another key of this gateway")]
    Key,
}

impl Encrypted {
    /// Whether it may be the variant of this target, which lies in this folder, for the gateway that is directed: otherwise why not.
    pub(crate) fn check(
        &self,
        gateway: &Device,
        folder: &ModelFolder,
        path: &TargetPath,
        target: &Target,
    ) -> Result<(), &'static str> {
        if self.gateway != *gateway {
            return Err("it is for another gateway than the directive");
        }
        if !folder.contains(&self.file.path) || self.file.path == *path {
            return Err("it is the package itself, or lies in another model's folder");
        }
        // What is read of it is bounded by what the manufacturer signed.
        if self.file.length <= target.length || self.file.length > self.method.max_bytes(target.length) {
            return Err("it is not as long as the package is when it is encrypted");
        }
        Ok(())
    }

    /// Whether this gateway, with this key, is the one that can read it. Afterwards [`Encrypted::file`] is checked as it is
    /// downloaded, and the package's own target as it is decrypted.
    pub fn check_for(&self, gateway: &Device, key: &KeyFingerprint) -> Result<(), NotForUs> {
        if self.gateway != *gateway {
            return Err(NotForUs::Gateway(self.gateway.clone()));
        }
        if self.recipient == *key { Ok(()) } else { Err(NotForUs::Key) }
    }
}

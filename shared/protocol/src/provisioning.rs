//! What a device is given beforehand: the provisioning file, or the same as a printed label.

mod label;

pub use label::LabelError;

use crate::identity::{ClientClass, DeviceIdentifier, SecretId, Sha256};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The DNS name of the broker for a device that was not told one (Coupling, requirements of a device).
pub const FALLBACK_BROKER: &str = "wss://ais-broker/mqtt";
/// The shortest access secret: 128 bits.
pub const MIN_SECRET_BYTES: usize = 16;
/// The longest access secret.
pub const MAX_SECRET_BYTES: usize = 64;
/// The version of the provisioning file's format.
pub const FILE_VERSION: u32 = 1;

/// The hospital's access secret, which lets a device ask to join, and nothing more. Base64url in JSON.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct AccessSecret(Vec<u8>);

/// Why bytes are no access secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, written in base64url")]
pub struct InvalidSecret;

impl AccessSecret {
    /// Takes 16 to 64 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidSecret) }
    }

    /// The bytes, for key derivation only.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl core::str::FromStr for AccessSecret {
    type Err = InvalidSecret;
    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        Self::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidSecret)?)
    }
}

impl Serialize for AccessSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for AccessSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The provisioning file, JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioning {
    /// The format's version: [`FILE_VERSION`].
    pub version: u32,
    /// The class that the file is for.
    pub client: ClientClass,
    /// The one device that the file is for; none where the device chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<DeviceIdentifier>,
    /// The broker's address: `wss://host[:port]/mqtt`, or `ws://` on loopback.
    pub broker: String,
    /// The access secret's id.
    pub secret_id: SecretId,
    /// The access secret.
    pub secret: AccessSecret,
    /// The control unit's web origin: the one that QR codes name.
    pub web_origin: String,
    /// SHA-256 of the site's root certificate (CertCA), DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_ca_sha256: Option<Sha256>,
    /// Root certificates for TLS, PEM; none where only the public web PKI counts.
    #[serde(default)]
    pub tls_anchors: Vec<String>,
    /// Whether the public web PKI counts for TLS, too.
    #[serde(default)]
    pub web_pki: bool,
}

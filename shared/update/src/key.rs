//! Public keys and signatures of TUF metadata (TUF section 4.2.2).
//!
//! We sign with `ecdsa-sha2-nistp256` only; Ed25519 and RSA-PSS are verified too, as other repositories use them: by crates (feature
//! `software`), or by the platform ([`install`]).

mod foreign;

pub use foreign::{Ed25519Key, Platform, RsaKey, install};

use crate::json::Json;
use core::fmt;
use data_encoding::HEXLOWER_PERMISSIVE;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The id of a key, as metadata spells it. Which key it stands for says only the metadata that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Such as `ecdsa`.
    pub keytype: String,
    /// Such as `ecdsa-sha2-nistp256`.
    pub scheme: String,
    /// Where the public key is.
    pub keyval: KeyValue,
}

/// The value of a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Hexadecimal for Ed25519, PEM (RFC 7468) of a SubjectPublicKeyInfo otherwise. Empty in a kind of key that has something else
    /// there: such a key verifies nothing, and spoils no metadata that names it beside others.
    #[serde(default)]
    pub public: String,
}

/// SHA-256 of the key's material and scheme: the same key has the same fingerprint under whatever id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// A key that can verify.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// `ecdsa-sha2-nistp256` (FIPS 186-5), signatures in DER.
    EcdsaP256(p256::ecdsa::VerifyingKey),
    /// `ed25519` (RFC 8032).
    Ed25519(Ed25519Key),
    /// `rsassa-pss-sha256` (RFC 8017 section 8.1).
    RsaPss(RsaKey),
}

impl Key {
    /// A P-256 key, as our own repositories name it.
    pub fn ecdsa_p256(key: &p256::ecdsa::VerifyingKey) -> Result<Self, p256::pkcs8::spki::Error> {
        let public = key.to_public_key_pem(LineEnding::LF)?;
        let scheme = "ecdsa-sha2-nistp256".to_owned();
        Ok(Self { keytype: "ecdsa".to_owned(), scheme, keyval: KeyValue { public } })
    }

    /// The P-256 key of a SubjectPublicKeyInfo in DER, such as a device's certificate has it; none where it is no such key.
    pub fn of_spki(der: &[u8]) -> Option<Self> {
        Self::ecdsa_p256(&p256::ecdsa::VerifyingKey::from_public_key_der(der).ok()?).ok()
    }

    /// The id that TUF's tools give the key: SHA-256 of its canonical form, hexadecimal.
    pub fn id(&self) -> KeyId {
        let text = |text: &str| Json::Text(text.to_owned());
        let object = |members: &[(&str, Json)]| {
            Json::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
        };
        let keyval = object(&[("public", text(&self.keyval.public))]);
        let key = object(&[("keytype", text(&self.keytype)), ("scheme", text(&self.scheme)), ("keyval", keyval)]);
        KeyId(HEXLOWER_PERMISSIVE.encode(&Sha256::digest(key.to_canonical())))
    }

    /// The key, ready to verify; none where its kind is unknown or its value is no such key, so that its signatures don't count.
    pub fn verifier(&self) -> Option<Verifier> {
        let public = self.keyval.public.as_str();
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                p256::ecdsa::VerifyingKey::from_public_key_pem(public).ok().map(Verifier::EcdsaP256)
            }
            ("ed25519", "ed25519") => {
                let bytes = HEXLOWER_PERMISSIVE.decode(public.as_bytes()).ok()?;
                Ed25519Key::new(bytes.try_into().ok()?).map(Verifier::Ed25519)
            }
            ("rsa", "rsassa-pss-sha256") => RsaKey::from_pem(public).map(Verifier::RsaPss),
            _ => None,
        }
    }
}

impl Verifier {
    /// Which key this is.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        match self {
            Self::EcdsaP256(key) => {
                hash.update(b"ecdsa-sha2-nistp256");
                hash.update(key.to_sec1_point(true));
            }
            Self::Ed25519(key) => {
                hash.update(b"ed25519");
                hash.update(key.as_bytes());
            }
            Self::RsaPss(key) => {
                hash.update(b"rsassa-pss-sha256");
                hash.update(key.modulus());
                hash.update(key.exponent());
            }
        }
        Fingerprint(hash.finalize().into())
    }

    /// Whether the signature, as metadata spells it, is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()) else { return false };
        match self {
            Self::EcdsaP256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::DerSignature::from_bytes(&signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            Self::Ed25519(key) => key.verify(message, &signature),
            Self::RsaPss(key) => key.verify(message, &signature),
        }
    }
}

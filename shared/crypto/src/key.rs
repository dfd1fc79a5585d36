//! P-256 keys: the device's static key, ephemeral keys, and the keys of the control unit and its CA.

use std::sync::OnceLock;

use p256::ecdh::diffie_hellman;
use p256::ecdsa::signature::{self, Keypair, Signer, Verifier};
use p256::ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier};
use wardlink_protocol::identity::KeyFingerprint;
use zeroize::Zeroizing;

use crate::provider::{self, Provider};

/// The length of an ES256 signature: r and s (RFC 9053 section 2.1).
pub const SIGNATURE_BYTES: usize = 64;
/// The length of an uncompressed SEC1 point.
pub const POINT_BYTES: usize = 65;

/// Why a key or a signature is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The peer's fault: no P-256 key in the expected encoding, or not a point of the curve.
    #[error("this is not a P-256 key")]
    InvalidKey,
    /// The peer's fault: the signature does not fit.
    #[error("the signature does not fit")]
    BadSignature,
    /// Our fault: a key that cannot be encoded.
    #[error("the key cannot be encoded")]
    Encode,
}

/// A private key with its public key, which costs a multiplication to derive. Erased from memory when it is dropped.
#[derive(Clone)]
pub struct PrivateKey {
    key: SigningKey,
    /// For the platform, which takes no other form; another multiplication to encode.
    pkcs8: OnceLock<Zeroizing<Vec<u8>>>,
}

/// A public key: a point of the curve that is not the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(p256::PublicKey);

/// What ECDH gives: the x coordinate, for key derivation only.
pub type SharedSecret = Zeroizing<[u8; 32]>;

impl PrivateKey {
    /// Draws a new key.
    pub fn make<R: CryptoRng>(rng: &mut R) -> Self {
        Self::from(SigningKey::from(p256::SecretKey::generate_from_rng(rng)))
    }

    /// Reads PKCS#8 DER (RFC 5958).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_der(der).map(Self::from).map_err(|_| KeyError::InvalidKey)
    }

    /// Writes PKCS#8 DER (RFC 5958).
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.key.to_pkcs8_der().map(|document| document.to_bytes()).map_err(|_| KeyError::Encode)
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().into())
    }

    /// Signs with ES256: ECDSA with SHA-256. The nonce is the deterministic one of RFC 6979, or the platform's.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.signature(message).to_bytes().into()
    }

    fn signature(&self, message: &[u8]) -> Signature {
        let by_platform = |provider: &dyn Provider| Signature::from_der(&provider.sign(self.encoded()?, message)?).ok();
        provider::ask(by_platform).unwrap_or_else(|| self.key.sign(message))
    }

    /// PKCS#8 DER, made once.
    fn encoded(&self) -> Option<&[u8]> {
        if self.pkcs8.get().is_none() {
            // Where another thread was faster, its bytes are the same.
            drop(self.pkcs8.set(self.to_pkcs8().ok()?));
        }
        self.pkcs8.get().map(|encoded| encoded.as_slice())
    }

    /// Computes the ECDH shared secret with `peer` (SP 800-56A rev. 3 section 5.7.1.2).
    pub fn agree(&self, peer: &PublicKey) -> SharedSecret {
        let by_platform = |provider: &dyn Provider| {
            let secret = Zeroizing::new(self.key.to_bytes().into());
            provider.agree(&secret, &peer.to_point())
        };
        provider::ask(by_platform).unwrap_or_else(|| {
            let secret = diffie_hellman(self.key.as_nonzero_scalar(), peer.0.as_affine());
            Zeroizing::new((*secret.raw_secret_bytes()).into())
        })
    }
}

impl From<SigningKey> for PrivateKey {
    fn from(key: SigningKey) -> Self {
        Self { key, pkcs8: OnceLock::new() }
    }
}

/// X.509's encoding of a signature (RFC 5758 section 3.2), for the builders of certificates.
impl Signer<DerSignature> for PrivateKey {
    fn try_sign(&self, message: &[u8]) -> Result<DerSignature, signature::Error> {
        Ok(self.signature(message).to_der())
    }
}

impl Keypair for PrivateKey {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        *self.key.verifying_key()
    }
}

impl DynSignatureAlgorithmIdentifier for PrivateKey {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        self.key.signature_algorithm_identifier()
    }
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo (RFC 5480).
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let key = Self(p256::PublicKey::from_public_key_der(der).map_err(|_| KeyError::InvalidKey)?);
        // One encoding only: the fingerprint names the key, not a spelling of it.
        if key.to_spki()? == der { Ok(key) } else { Err(KeyError::InvalidKey) }
    }

    /// Writes a DER SubjectPublicKeyInfo (RFC 5480).
    pub fn to_spki(&self) -> Result<Vec<u8>, KeyError> {
        self.0.to_public_key_der().map(der::Document::into_vec).map_err(|_| KeyError::Encode)
    }

    /// Reads an uncompressed SEC1 point, 65 bytes.
    pub fn from_point(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != POINT_BYTES {
            return Err(KeyError::InvalidKey);
        }
        p256::PublicKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::InvalidKey)
    }

    /// Writes an uncompressed SEC1 point, 65 bytes.
    pub fn to_point(&self) -> Vec<u8> {
        self.0.to_sec1_point(false).as_bytes().to_vec()
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Result<KeyFingerprint, KeyError> {
        Ok(KeyFingerprint(Sha256::digest(self.to_spki()?).into()))
    }

    /// Verifies an ES256 signature: r and s, 64 bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.check(message, &Signature::from_slice(signature).map_err(|_| KeyError::BadSignature)?)
    }

    /// Verifies an ECDSA signature in X.509's encoding (RFC 5758 section 3.2).
    pub(crate) fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.check(message, &Signature::from_der(signature).map_err(|_| KeyError::BadSignature)?)
    }

    /// r and s are in their range, and the key is a point of the curve: that is checked here, whoever computes.
    fn check(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        let by_platform =
            |provider: &dyn Provider| provider.verify(&self.to_spki().ok()?, message, signature.to_der().as_bytes());
        let fits = provider::ask(by_platform)
            .unwrap_or_else(|| VerifyingKey::from(&self.0).verify(message, signature).is_ok());
        if fits { Ok(()) } else { Err(KeyError::BadSignature) }
    }
}

#[cfg(test)]
mod tests;

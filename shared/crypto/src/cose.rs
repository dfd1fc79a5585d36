//! COSE envelopes (RFC 9052, RFC 9053): `COSE_Encrypt0` and `COSE_Sign1`, each with its tag.
//!
//! Everything about a message stands in the protected header, and the unprotected header is empty. Only the one
//! deterministic encoding is accepted; critical headers, and private labels that the profile does not know, are refused.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use coset::iana::{Algorithm, EnumI64, HeaderParameter};
use coset::{
    CoseEncrypt0, CoseEncrypt0Builder, CoseSign1, CoseSign1Builder, Label, ProtectedHeader, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};
use rand_core::CryptoRng;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::ContentAlgorithm;
use zeroize::Zeroizing;

use crate::key::{PrivateKey, PublicKey, SIGNATURE_BYTES};

mod header;
pub use header::{Header, HeaderError, Origin, SUITE};

/// The length of an AES-GCM nonce, in bytes.
pub const IV_BYTES: usize = 12;
/// The length of an AES-GCM tag, in bytes.
pub const TAG_BYTES: usize = 16;

/// Why an envelope is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The peer's fault: not well-formed, not deterministic, or too long.
    #[error("the envelope is malformed: {0}")]
    Cbor(#[from] CborError),
    /// The peer's fault: not the expected COSE structure.
    #[error("the envelope does not have the expected structure")]
    Structure,
    /// The peer's fault: a header that the profile does not allow.
    #[error("the envelope's header is refused: {0}")]
    Header(#[from] HeaderError),
    /// The peer's fault: changed, made with another key, or for another topic.
    #[error("the envelope does not open with this key")]
    Authentication,
    /// Our fault: an envelope that cannot be made.
    #[error("the envelope cannot be made")]
    Encode,
}

/// A key for content, bound to its algorithm. Erased from memory when it is dropped.
#[derive(Clone)]
pub enum ContentKey {
    /// AES-128-GCM.
    A128(Zeroizing<[u8; 16]>),
    /// AES-256-GCM.
    A256(Zeroizing<[u8; 32]>),
}

impl ContentKey {
    /// The key's algorithm.
    pub const fn algorithm(&self) -> ContentAlgorithm {
        match self {
            Self::A128(_) => ContentAlgorithm::A128GCM,
            Self::A256(_) => ContentAlgorithm::A256GCM,
        }
    }

    const fn cose_algorithm(&self) -> Algorithm {
        match self {
            Self::A128(_) => Algorithm::A128GCM,
            Self::A256(_) => Algorithm::A256GCM,
        }
    }

    pub(crate) fn encrypt(&self, iv: &[u8; IV_BYTES], payload: Payload<'_, '_>) -> Result<Vec<u8>, EnvelopeError> {
        match self {
            Self::A128(key) => Aes128Gcm::new(&(**key).into()).encrypt(&(*iv).into(), payload),
            Self::A256(key) => Aes256Gcm::new(&(**key).into()).encrypt(&(*iv).into(), payload),
        }
        .map_err(|_| EnvelopeError::Encode)
    }

    pub(crate) fn decrypt(&self, iv: &[u8; IV_BYTES], payload: Payload<'_, '_>) -> Result<Vec<u8>, EnvelopeError> {
        match self {
            Self::A128(key) => Aes128Gcm::new(&(**key).into()).decrypt(&(*iv).into(), payload),
            Self::A256(key) => Aes256Gcm::new(&(**key).into()).decrypt(&(*iv).into(), payload),
        }
        .map_err(|_| EnvelopeError::Authentication)
    }
}

/// Encrypts `plaintext` with a fresh random IV (`COSE_Encrypt0`, RFC 9052 section 5.2). `aad` is the topic.
pub fn seal<R: CryptoRng>(
    header: &Header,
    key: &ContentKey,
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, EnvelopeError> {
    let mut iv = [0; IV_BYTES];
    rng.fill_bytes(&mut iv);
    seal_with_iv(header, key, &iv, aad, plaintext)
}

/// Encrypts `plaintext` under an IV that the caller never uses again with this key.
pub fn seal_with_iv(
    header: &Header,
    key: &ContentKey,
    iv: &[u8; IV_BYTES],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let protected = header.to_cose(key.cose_algorithm(), iv);
    CoseEncrypt0Builder::new()
        .protected(protected)
        .try_create_ciphertext(plaintext, aad, |msg, aad| key.encrypt(iv, Payload { msg, aad }))?
        .build()
        .to_tagged_vec()
        .map_err(|_| EnvelopeError::Encode)
}

/// An encrypted message whose header was read. Nothing of it is authentic before [`Encrypted::open`] succeeds.
pub struct Encrypted {
    header: Header,
    algorithm: Algorithm,
    iv: [u8; IV_BYTES],
    envelope: CoseEncrypt0,
}

impl Encrypted {
    /// Reads at most `limit` bytes.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        cbor::check(bytes, limit)?;
        let envelope = CoseEncrypt0::from_tagged_slice(bytes).map_err(|_| EnvelopeError::Structure)?;
        if !envelope.unprotected.is_empty() {
            return Err(HeaderError::Unprotected.into());
        }
        let algorithm = algorithm_of(&envelope.protected)?;
        if !matches!(algorithm, Algorithm::A128GCM | Algorithm::A256GCM) {
            return Err(HeaderError::Algorithm.into());
        }
        let iv = envelope.protected.header.iv.as_slice().try_into().map_err(|_| HeaderError::Iv)?;
        let header = Header::from_cose(&envelope.protected)?;
        Ok(Self { header, algorithm, iv, envelope })
    }

    /// What the header says, not yet authentic: by its kid and its ids the caller selects the key.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The IV of the header, not yet authentic.
    pub fn iv(&self) -> &[u8; IV_BYTES] {
        &self.iv
    }

    /// Decrypts; on success header, topic and plaintext are authentic.
    pub fn open(&self, key: &ContentKey, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        if self.algorithm != key.cose_algorithm() {
            return Err(HeaderError::Algorithm.into());
        }
        let no_content = || EnvelopeError::Structure;
        self.envelope
            .decrypt_ciphertext(aad, no_content, |msg, aad| key.decrypt(&self.iv, Payload { msg, aad }))
            .map(Zeroizing::new)
    }
}

/// Signs `payload` (`COSE_Sign1`, RFC 9052 section 4.2) with ES256. `aad` is the topic.
pub fn sign(header: &Header, key: &PrivateKey, aad: &[u8], payload: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    CoseSign1Builder::new()
        .protected(header.to_cose(Algorithm::ES256, &[]))
        .payload(payload.to_vec())
        .create_signature(aad, |bytes| key.sign(bytes).to_vec())
        .build()
        .to_tagged_vec()
        .map_err(|_| EnvelopeError::Encode)
}

/// A signed message whose header was read. Nothing of it is authentic before [`Signed::verify`] succeeds.
pub struct Signed {
    header: Header,
    envelope: CoseSign1,
}

impl Signed {
    /// Reads at most `limit` bytes.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        cbor::check(bytes, limit)?;
        let envelope = CoseSign1::from_tagged_slice(bytes).map_err(|_| EnvelopeError::Structure)?;
        if !envelope.unprotected.is_empty() {
            return Err(HeaderError::Unprotected.into());
        }
        if algorithm_of(&envelope.protected)? != Algorithm::ES256 {
            return Err(HeaderError::Algorithm.into());
        }
        if !envelope.protected.header.iv.is_empty() {
            return Err(HeaderError::Iv.into());
        }
        if envelope.signature.len() != SIGNATURE_BYTES || envelope.payload.is_none() {
            return Err(EnvelopeError::Structure);
        }
        let header = Header::from_cose(&envelope.protected)?;
        Ok(Self { header, envelope })
    }

    /// What the header says, not yet authentic: by its kid or its chain the caller selects the key.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, whoever has signed it: for a caller that knows it by something else.
    pub fn dangerous_payload(&self) -> Result<&[u8], EnvelopeError> {
        self.envelope.payload.as_deref().ok_or(EnvelopeError::Structure)
    }

    /// Verifies the signature; the payload that it returns is authentic, and so is the header.
    pub fn verify(&self, key: &PublicKey, aad: &[u8]) -> Result<&[u8], EnvelopeError> {
        self.envelope
            .verify_signature(aad, |signature, bytes| key.verify(bytes, signature))
            .map_err(|_| EnvelopeError::Authentication)?;
        self.dangerous_payload()
    }
}

/// The algorithm that a header names, after the checks that every profile shares.
fn algorithm_of(protected: &ProtectedHeader) -> Result<Algorithm, EnvelopeError> {
    let header = &protected.header;
    // The header is a CBOR text inside a byte string: it needs its own check for the deterministic encoding.
    let bytes = protected.original_data.as_deref().ok_or(EnvelopeError::Structure)?;
    cbor::check(bytes, bytes.len())?;
    if !header.crit.is_empty() {
        return Err(HeaderError::Critical.into());
    }
    let foreign =
        header.content_type.is_some() || !header.partial_iv.is_empty() || !header.counter_signatures.is_empty();
    if foreign {
        return Err(HeaderError::Unknown.into());
    }
    match &header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => Ok(*algorithm),
        _ => Err(HeaderError::Algorithm.into()),
    }
}

/// The label of the certificate chain in a header (RFC 9360 section 2).
fn chain_label() -> Label {
    Label::Int(HeaderParameter::X5Chain.to_i64())
}

#[cfg(test)]
mod tests;

//! A chain from a certificate up to and including the root.

use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::{Purpose, Sha256};
use wardlink_protocol::limits::MAX_CHAIN_LENGTH;

use super::{Certificate, Holder, Kind, X509Error};

/// Why a chain is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The peer's fault: a certificate that is none, or not in the profile.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: no certificate, no root, or too many.
    #[error("the chain has the wrong length")]
    Length,
    /// The peer's fault: it ends in another root.
    #[error("the chain ends in an unknown root")]
    Root,
    /// The peer's fault: names or key identifiers do not fit together.
    #[error("the certificate is of another issuer")]
    Issuer,
    /// The peer's fault: the issuer is no CA.
    #[error("the issuer is no CA")]
    NotAnAuthority,
    /// The peer's fault: more CAs below a CA than it may have.
    #[error("a CA stands where none may stand")]
    PathLength,
    /// The peer's fault: a signature does not fit.
    #[error("a certificate's signature does not fit")]
    Signature,
    /// The peer's fault, or a wrong clock: the certificate begins later.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// The peer's fault, or a wrong clock: the certificate has ended.
    #[error("the certificate has expired")]
    Expired,
    /// The peer's fault: the certificate is for something else.
    #[error("the certificate is for another purpose")]
    Purpose,
}

/// A chain: the holder's certificate, its issuing CA, and so on up to and including the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Vec<Certificate>);

impl Chain {
    /// Reads a chain, the holder's certificate first, the root last.
    pub fn parse(chain: &[ByteBuf]) -> Result<Self, ChainError> {
        if !(2..=MAX_CHAIN_LENGTH).contains(&chain.len()) {
            return Err(ChainError::Length);
        }
        let certificates = chain.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        Ok(Self(certificates))
    }

    /// The certificates, the root last.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// Verifies the whole chain against the SHA-256 of the root, for one purpose, at one time; returns the holder's certificate.
    pub fn verify(&self, root: &Sha256, purpose: Purpose, now: UnixMillis) -> Result<&Certificate, ChainError> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return Err(ChainError::Length) };
        if last.sha256() != *root {
            return Err(ChainError::Root);
        }
        if first.purpose() != Some(purpose) {
            return Err(ChainError::Purpose);
        }
        for (below, pair) in self.0.windows(2).enumerate() {
            let [certificate, issuer] = pair else { return Err(ChainError::Length) };
            certificate.verify_issued_by(issuer, now)?;
            // RFC 5280 section 6.1.4 (l), (m): CAs below this one, the holder not counted.
            match issuer.kind() {
                Kind::Authority { path_length, .. } if path_length.is_none_or(|most| usize::from(most) >= below) => {}
                _ => return Err(ChainError::PathLength),
            }
        }
        // The root is trusted by its hash; that it signed itself shows that it is a root.
        if last.verify_issued_by(last, now).is_err() {
            return Err(ChainError::Root);
        }
        Ok(first)
    }

    /// Verifies that the chain fits together and is for this purpose, whatever root it ends in: who made it up, nobody knows.
    ///
    /// Only a device that was given no CertCA uses it, while it pairs; a person closes the circle. Returns the holder's
    /// certificate and the root's SHA-256, to be pinned.
    pub fn dangerous_verify_any_root(
        &self,
        purpose: Purpose,
        now: UnixMillis,
    ) -> Result<(&Certificate, Sha256), ChainError> {
        let root = self.0.last().ok_or(ChainError::Length)?.sha256();
        Ok((self.verify(&root, purpose, now)?, root))
    }

    /// As [`Chain::verify`], with what the caller wants to know of the holder.
    pub fn verify_holder(&self, root: &Sha256, purpose: Purpose, now: UnixMillis) -> Result<&Holder, ChainError> {
        self.verify(root, purpose, now)?.holder().ok_or(ChainError::Purpose)
    }
}

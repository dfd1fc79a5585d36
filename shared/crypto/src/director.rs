//! How a device comes to trust the distribution server of its site: the director's first root, signed by the control unit.
//!
//! The control unit signs it for one device; its chain stands in the header and ends in CertCA, which the device has from its pairing. A
//! relay that changes it, keeps it for another device, or shows another site's, is refused. That none is taken which is older than
//! what the device has, the device has to see: it stores [`DirectorRoot::issued_at`].

use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::distribution::DirectorRoot;
use wardlink_protocol::identity::{Device, Purpose, Sha256};
use wardlink_protocol::limits::MAX_DIRECTOR_ROOT_BYTES;

use crate::cose::{self, EnvelopeError, Header, Signed};
use crate::key::{KeyError, PrivateKey};
use crate::x509::{Chain, ChainError, X509Error};

/// What the signature is bound to: it counts as nothing else that the control unit signs.
const AAD: &[u8] = b"wardlink director root";

/// Why a director's root is refused, or cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectorRootError {
    /// The peer's fault: not a signed message, or not signed by whom it names.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: a certificate that is not acceptable.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: signed by somebody who does not speak for the site.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault: a header that has other members than it should.
    #[error("the header is not that of a director's root")]
    Header,
    /// The peer's fault: the payload is not what comes here.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] CborError),
    /// The peer's fault, or a relay's: it is another device's.
    #[error("it is for {0}")]
    Device(Device),
    /// Our fault: the control unit's own key and certificate do not fit together.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs a director's root for a device. `chain` is the control unit's certificate up to and including CertCA, `key` its key.
pub fn sign(root: &DirectorRoot, chain: &[ByteBuf], key: &PrivateKey) -> Result<Vec<u8>, DirectorRootError> {
    let kid = key.public().fingerprint()?.as_bytes().to_vec();
    let header = Header { kid, chain: chain.to_vec(), ..Header::default() };
    Ok(cose::sign(&header, key, AAD, &cbor::encode(root)?)?)
}

/// Verifies that the control unit of the site whose CertCA has this SHA-256 has signed it for this device.
pub fn verify(
    bytes: &[u8],
    device: &Device,
    cert_ca: &Sha256,
    now: UnixMillis,
) -> Result<DirectorRoot, DirectorRootError> {
    let envelope = Signed::parse(bytes, MAX_DIRECTOR_ROOT_BYTES)?;
    let chain = Chain::parse(&envelope.header().chain)?;
    let signer = chain.verify(cert_ca, Purpose::ControlUnit, now)?;
    let kid = signer.fingerprint()?.as_bytes().to_vec();
    if *envelope.header() != (Header { kid, chain: envelope.header().chain.clone(), ..Header::default() }) {
        return Err(DirectorRootError::Header);
    }
    let root: DirectorRoot = cbor::decode(envelope.verify(signer.key(), AAD)?, MAX_DIRECTOR_ROOT_BYTES)?;
    if root.device == *device { Ok(root) } else { Err(DirectorRootError::Device(root.device)) }
}

#[cfg(test)]
mod tests;

//! What a gateway says to a device over a way that is not encrypted between the two, such as a port: signed, so that nobody else tells a
//! device that its data is kept (figure 13, 272 to 274).
//!
//! The device lets go of what a gateway holds when it needs the room, and of nothing else before the server's receipt. So the word
//! [`Downward::Kept`] has to be a gateway's of its own site. It is no secret, and has no number: whoever writes at the port can say once
//! more what a gateway has said to this device, and nothing else. That deletes nothing: [`Downward::Kept`] names its batch by the hash, and
//! a receipt says what it is for. A refusal that is said once more can hold up a batch that the device still has, until a gateway asks for
//! it in somebody's name.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, EnvelopeError, Header, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::x509::{Chain, ChainError, X509Error};
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{Purpose, Sha256};
use wardlink_protocol::{Device, UnixMillis};

use crate::exchange::{Downward, MAX_DOWNWARD_BYTES};
use crate::limits::MAX_RECEIPT_BYTES;

/// The external AAD of what a gateway says.
const COLLECTOR_LABEL: &str = "wardlink records collector";
/// The longest signed message, in bytes: beside what it says, mostly certificates.
pub const MAX_SAID_BYTES: usize = MAX_DOWNWARD_BYTES + MAX_RECEIPT_BYTES;

/// What a gateway says to one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// To whom.
    pub device: Device,
    /// What: a [`Downward`], encoded.
    pub message: ByteBuf,
}

/// Why a gateway's word does not count, or cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaidError {
    /// The peer's fault: no envelope, or a forged one.
    #[error("the message is refused: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: not from a gateway of this site.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault: a certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: signed, but no message.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The peer's fault: the header says something else.
    #[error("the header is not that of a gateway's word")]
    Header,
    /// The peer's fault, or a relay's: it is for another device.
    #[error("it is for {0}")]
    Device(Device),
    /// Our fault: a key that cannot be named.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs (`COSE_Sign1`) what a gateway says to a device. `chain` is the gateway's certificate and those above, up to and including the root, DER.
pub fn sign(message: &Downward, device: &Device, key: &PrivateKey, chain: &[ByteBuf]) -> Result<Vec<u8>, SaidError> {
    let kid = key.public().fingerprint()?.as_bytes().to_vec();
    let header = Header { kid, chain: chain.to_vec(), ..Header::default() };
    let said = Said { device: device.clone(), message: ByteBuf::from(message.encode()?) };
    Ok(cose::sign(&header, key, COLLECTOR_LABEL.as_bytes(), &cbor::encode(&said)?)?)
}

/// Opens what a gateway of the site with this root says to this device.
pub fn open(bytes: &[u8], device: &Device, root: &Sha256, now: UnixMillis) -> Result<Downward, SaidError> {
    let envelope = Signed::parse(bytes, MAX_SAID_BYTES)?;
    let chain = Chain::parse(&envelope.header().chain)?;
    let signer = chain.verify(root, Purpose::Gateway, now)?;
    let kid = signer.fingerprint()?.as_bytes().to_vec();
    if *envelope.header() != (Header { kid, chain: envelope.header().chain.clone(), ..Header::default() }) {
        return Err(SaidError::Header);
    }
    let said: Said = cbor::decode(envelope.verify(signer.key(), COLLECTOR_LABEL.as_bytes())?, MAX_SAID_BYTES)?;
    if said.device != *device {
        return Err(SaidError::Device(said.device));
    }
    Ok(Downward::decode(&said.message)?)
}

#[cfg(test)]
mod tests;

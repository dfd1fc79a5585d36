//! Receipts: what the control unit signs when data is stored, and what a holder may delete then (figure 9, 196).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, EnvelopeError, Header, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::x509::{Chain, ChainError, X509Error};
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{Purpose, RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};

use crate::chain::StoredBatch;
use crate::limits::MAX_RECEIPT_BYTES;

/// The external AAD of a receipt.
const RECEIPT_LABEL: &str = "wardlink records receipt";

/// What is stored: the batch with this hash, and every batch before it down to `first`, each as its follower names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Whose records.
    pub device: Device,
    /// Which chain.
    pub chain: RecordChain,
    /// The number of the first record of the chain that it is for.
    pub first: u64,
    /// The number of the last record that it is for.
    pub through: u64,
    /// The hash of the batch that ends there.
    pub hash: Sha256,
    /// How many records of the chain up to there are stored and do not count, because they cannot be.
    pub set_aside: u64,
    /// When it was signed.
    pub signed_at: UnixMillis,
}

/// Why a receipt does not count, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The peer's fault: no envelope of a receipt, or a forged one.
    #[error("the receipt is refused: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: not from the control unit of this site.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault: a certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: signed, but no receipt.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The peer's fault: the header says something else than a receipt's.
    #[error("the header is not that of a receipt")]
    Header,
    /// The peer's fault: numbers that cannot be.
    #[error("the numbers of the receipt cannot be")]
    Numbers,
    /// Our fault: a key that cannot be named.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl ReceiptError {
    /// The step that failed, as holders and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Envelope(EnvelopeError::Authentication) => "receipt: signature",
            Self::Chain(_) | Self::Certificate(_) => "receipt: certificate",
            _ => "receipt: form",
        }
    }
}

impl Receipt {
    /// What is to be said of a stored batch: the same each time that it is received, but for the time.
    pub const fn of(device: Device, stored: &StoredBatch, now: UnixMillis) -> Self {
        let StoredBatch { chain, last, hash, since, set_aside, .. } = *stored;
        Self { device, chain, first: since, through: last, hash, set_aside, signed_at: now }
    }

    /// Signs (`COSE_Sign1`), after everything is stored. `chain` is the control unit's certificate and those above, up to and including
    /// the root, DER.
    pub fn sign(&self, key: &PrivateKey, chain: &[ByteBuf]) -> Result<Vec<u8>, ReceiptError> {
        let kid = key.public().fingerprint()?.as_bytes().to_vec();
        let header = Header { kid, chain: chain.to_vec(), ..Header::default() };
        Ok(cose::sign(&header, key, RECEIPT_LABEL.as_bytes(), &cbor::encode(self)?)?)
    }

    /// Opens a receipt. The chain has to lead to the root with this SHA-256, and to hold when the receipt was signed. What it is for is
    /// still to be compared with what is held.
    pub fn open(bytes: &[u8], root: &Sha256) -> Result<Self, ReceiptError> {
        let envelope = Signed::parse(bytes, MAX_RECEIPT_BYTES)?;
        let chain = Chain::parse(&envelope.header().chain)?;
        let first = chain.certificates().first().ok_or(ChainError::Length)?;
        let payload = envelope.verify(first.key(), RECEIPT_LABEL.as_bytes())?;
        let receipt: Self = cbor::decode(payload, MAX_RECEIPT_BYTES)?;
        let signer = chain.verify(root, Purpose::ControlUnit, receipt.signed_at)?;
        let kid = signer.fingerprint()?.as_bytes().to_vec();
        if *envelope.header() != (Header { kid, chain: envelope.header().chain.clone(), ..Header::default() }) {
            return Err(ReceiptError::Header);
        }
        if receipt.first == 0 || receipt.first > receipt.through {
            return Err(ReceiptError::Numbers);
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests;

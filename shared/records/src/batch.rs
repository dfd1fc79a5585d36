//! Batches: what a device signs of its stored data, each chained to the one before (figures 7 and 13).
//!
//! A batch is `COSE_Sign1` under the key of the device; where a device cannot sign, under that of its gateway. What chains batches is
//! the SHA-256 of the payload and not that of the envelope, so that a batch that was signed twice is one and the same.

use serde::{Deserialize, Serialize};
use wardlink_crypto::cose::{self, EnvelopeError, Header, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey, PublicKey};
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{KeyFingerprint, RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};

use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use crate::record::{Record, RecordId};

/// The external AAD of a batch.
const BATCH_LABEL: &str = "wardlink record batch";

/// Why a device begins a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has never stored anything.
    First,
    /// It was paired again, and has another key, or is at another site.
    PairedAgain,
    /// Its store was damaged or emptied.
    StoreLost,
    /// It was told that its chain had gone on elsewhere: it was restored from an older state.
    Restored,
}

/// The end of a chain, as far as the device knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainEnd {
    /// Which chain.
    pub chain: RecordChain,
    /// The number of its last record.
    pub last: u64,
    /// The hash of its last batch.
    pub hash: Sha256,
}

/// How a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// Why.
    pub reason: Reason,
    /// The end of the device's chain before; none where it knows of none.
    pub before: Option<ChainEnd>,
}

/// What a batch is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nothing: it is the first of its chain.
    Begins(Beginning),
    /// The batch with this hash.
    Follows(Sha256),
}

/// A batch, before it is signed or after it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    device: Device,
    chain: RecordChain,
    first: u64,
    link: Link,
    made_at: UnixMillis,
    records: Vec<Record>,
}

/// Why a batch is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The peer's fault: no envelope of a batch, or one that is forged.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: signed by another key than the device's.
    #[error("the batch is not signed by the key of its device")]
    Signer,
    /// The peer's fault: the header says something else than a batch's.
    #[error("the header is not that of a batch")]
    Header,
    /// The peer's fault: signed, but no batch.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The peer's fault, or the caller's: no records, or too many.
    #[error("a batch has 1 to {MAX_BATCH_RECORDS} records")]
    Count,
    /// The peer's fault, or the caller's: numbers from 0, or beyond what can be counted; a beginning that is not number 1.
    #[error("the numbers of the records cannot be")]
    Numbers,
    /// The caller's fault: the batch is longer than others would read.
    #[error("the batch is longer than {MAX_BATCH_BYTES} bytes")]
    TooLong,
    /// Our fault: a key that cannot be named.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl BatchError {
    /// The step that failed, as senders and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Envelope(EnvelopeError::Authentication) | Self::Signer => "signature",
            _ => "form",
        }
    }
}

impl Batch {
    /// Takes what belongs into a batch.
    pub fn new(
        device: Device,
        chain: RecordChain,
        first: u64,
        link: Link,
        made_at: UnixMillis,
        records: Vec<Record>,
    ) -> Result<Self, BatchError> {
        let batch = Self { device, chain, first, link, made_at, records };
        batch.check()?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), BatchError> {
        if self.records.is_empty() || self.records.len() > MAX_BATCH_RECORDS {
            return Err(BatchError::Count);
        }
        // There is always a next number.
        self.first.checked_add(MAX_BATCH_RECORDS as u64).ok_or(BatchError::Numbers)?;
        if self.first == 0 || (self.first == 1) != matches!(self.link, Link::Begins(_)) {
            return Err(BatchError::Numbers);
        }
        Ok(())
    }

    /// Whose records they are.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Which chain.
    pub const fn chain(&self) -> RecordChain {
        self.chain
    }

    /// The number of the first record.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the last record.
    pub fn last(&self) -> u64 {
        self.first.saturating_add(self.records.len() as u64).saturating_sub(1)
    }

    /// What it is chained to.
    pub const fn link(&self) -> Link {
        self.link
    }

    /// When it was signed, by the device's clock.
    pub const fn made_at(&self) -> UnixMillis {
        self.made_at
    }

    /// The records with their ids.
    pub fn records(&self) -> impl Iterator<Item = (RecordId, &Record)> {
        (self.first..).zip(&self.records).map(|(sequence, record)| (RecordId { chain: self.chain, sequence }, record))
    }

    /// The records alone, to be stored anew under another chain.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Signs the batch.
    pub fn sign(self, key: &PrivateKey) -> Result<(Vec<u8>, Verified), BatchError> {
        let payload = cbor::encode(&self)?;
        let header = Header { kid: key.public().fingerprint()?.as_bytes().to_vec(), ..Header::default() };
        let bytes = cose::sign(&header, key, BATCH_LABEL.as_bytes(), &payload)?;
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(BatchError::TooLong);
        }
        Ok((bytes, Verified { hash: message_hash(&payload), batch: self }))
    }
}

/// A batch as it was received. Nothing of it is authentic before [`Sealed::open`] succeeds.
pub struct Sealed {
    envelope: Signed,
    signer: KeyFingerprint,
}

/// For whom a key signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The key.
    pub key: &'a PublicKey,
    /// A device has only itself here; a gateway also those of its devices that have no key.
    pub devices: &'a [Device],
}

/// A batch whose signature counts, with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    batch: Batch,
    hash: Sha256,
}

impl Sealed {
    /// Reads at most [`MAX_BATCH_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let envelope = Signed::parse(bytes, MAX_BATCH_BYTES)?;
        let kid = envelope.header().kid.as_slice();
        let signer = KeyFingerprint::try_from(kid).map_err(|_| BatchError::Header)?;
        if *envelope.header() != (Header { kid: kid.to_vec(), ..Header::default() }) {
            return Err(BatchError::Header);
        }
        Ok(Self { envelope, signer })
    }

    /// Whose signature it claims to have: by this the caller looks for the key.
    pub const fn signer(&self) -> KeyFingerprint {
        self.signer
    }

    /// Verifies the signature and reads the batch.
    pub fn open(&self, signer: Signer<'_>) -> Result<Verified, BatchError> {
        if signer.key.fingerprint()? != self.signer {
            return Err(BatchError::Signer);
        }
        let payload = self.envelope.verify(signer.key, BATCH_LABEL.as_bytes())?;
        read(payload, signer.devices)
    }

    /// Reads the batch by the hash that whoever holds it has stored beside it, whichever key has signed it: that of a device may have changed.
    pub fn dangerous_open_by_hash(&self, hash: &Sha256, device: &Device) -> Result<Verified, BatchError> {
        let verified = read(self.envelope.dangerous_payload()?, core::slice::from_ref(device))?;
        if verified.hash == *hash { Ok(verified) } else { Err(BatchError::Signer) }
    }
}

/// Reads a batch of one of these devices.
fn read(payload: &[u8], devices: &[Device]) -> Result<Verified, BatchError> {
    let batch: Batch = cbor::decode(payload, MAX_BATCH_BYTES)?;
    if !devices.contains(&batch.device) {
        return Err(BatchError::Signer);
    }
    batch.check()?;
    Ok(Verified { hash: message_hash(payload), batch })
}

impl Verified {
    /// Reads a batch of this device that has to be signed with this key.
    pub fn open(bytes: &[u8], key: &PublicKey, device: &Device) -> Result<Self, BatchError> {
        Sealed::parse(bytes)?.open(Signer { key, devices: core::slice::from_ref(device) })
    }

    /// The batch.
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// SHA-256 of its payload: what the next batch is chained to, and what a receipt names.
    pub const fn hash(&self) -> Sha256 {
        self.hash
    }

    /// The batch alone.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
mod tests;

//! What a device and who collects its stored data say to each other on the `update` channel, each message encrypted there (figure 13, 272 to 274).
//!
//! The collector polls with [`Downward::Send`], or the device begins by itself: it sends one batch after another, and each is answered. In a gateway's
//! session with the server the same is said in that session's own messages (`wardlink_protocol::distribution`).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::Sha256;

use crate::limits::{MAX_BATCH_BYTES, MAX_REASON_BYTES, MAX_RECEIPT_BYTES};
use crate::queue::BatchKey;
use crate::sending::Trigger;

/// The longest message up, in bytes.
pub const MAX_UPWARD_BYTES: usize = MAX_BATCH_BYTES + 64;
/// The longest message down, in bytes.
pub const MAX_DOWNWARD_BYTES: usize = MAX_RECEIPT_BYTES + 64;

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upward {
    /// A signed batch, as the device stores it.
    Batch(ByteBuf),
}

/// What the collector says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downward {
    /// Everything that waits is wanted.
    Send(Trigger),
    /// The batch is stored at the gateway, which sends it on.
    Kept(KeptBatch),
    /// The batch is refused: the device keeps it.
    Refused(RefusedBatch),
    /// The server's receipt, as the server signed it.
    Receipt(ByteBuf),
}

/// Which batch a gateway has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptBatch {
    /// Which one.
    pub key: BatchKey,
    /// Its hash: exactly this one.
    pub hash: Sha256,
}

/// Which batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedBatch {
    /// Which one; none where it could not be read.
    pub key: Option<BatchKey>,
    /// The step that failed: see [`crate::queue::Remedy::of`].
    pub step: String,
    /// What is wrong, for people.
    pub reason: String,
}

impl RefusedBatch {
    /// A refusal, with a reason that is not too long.
    pub fn new(key: Option<BatchKey>, step: &str, reason: &str) -> Self {
        let bounded = |text: &str| {
            let mut kept = String::new();
            let clean = text.chars().map(|character| if character.is_control() { ' ' } else { character });
            for character in clean {
                if kept.len() + character.len_utf8() > MAX_REASON_BYTES {
                    break;
                }
                kept.push(character);
            }
            kept
        };
        Self { key, step: bounded(step), reason: bounded(reason) }
    }
}

impl Upward {
    /// Writes the message.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Reads at most [`MAX_UPWARD_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_UPWARD_BYTES)
    }
}

impl Downward {
    /// Writes the message.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Reads at most [`MAX_DOWNWARD_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let message = cbor::decode(bytes, MAX_DOWNWARD_BYTES)?;
        match &message {
            Self::Refused(refused) if refused.step.len().max(refused.reason.len()) > MAX_REASON_BYTES => {
                Err(CborError::TooLong)
            }
            _ => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests;

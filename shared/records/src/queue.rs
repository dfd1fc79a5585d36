//! What a device or a gateway holds of batches until a receipt says that they are stored.
//!
//! Nothing here is deleted without a receipt, but what a person discards after the server has refused it. The shell keeps the bytes of each
//! batch under its [`BatchKey`], and the queue, in one write with what changes it.

use serde::{Deserialize, Serialize};
use wardlink_crypto::schedule::same;
use wardlink_protocol::identity::{RecordChain, Sha256};

use crate::batch::{Link, Verified};
use crate::chain::{FORK, GAP};
use crate::depot::FULL;
use crate::receipt::Receipt;

/// How much of a refusal's step is kept.
const MAX_STEP_CHARS: usize = 64;

/// Under which key the shell keeps the bytes of a device's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchKey {
    /// The chain.
    pub chain: RecordChain,
    /// The number of the first record.
    pub first: u64,
}

/// How far a held batch has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is to be sent.
    Waiting,
    /// It was sent in this session, and nothing has come back yet.
    Sent,
    /// A gateway has stored it, and will send it on.
    Handed,
    /// The server lacks what comes before it: it waits until that has arrived.
    Later,
    /// It was refused at this step, and is not sent again by itself.
    Refused(String),
    /// Its holder cannot read it any more: it is never sent. What comes after it is, so that the receiver learns what is missing.
    Damaged,
}

/// A batch that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Its key.
    pub key: BatchKey,
    /// The number of its last record.
    pub last: u64,
    /// Its hash.
    pub hash: Sha256,
    /// The hash of the batch before; none where it begins its chain.
    pub follows: Option<Sha256>,
    /// Its length, in bytes.
    pub bytes: u64,
    /// How far it has come.
    pub standing: Standing,
}

/// What a refusal asks of the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// What comes before it is sent first.
    SendEarlier,
    /// The device begins a new chain, and stores the batch's records anew.
    BeginAnew,
    /// The receiver has no room for now: it is sent again after a pause.
    TryLater,
    /// A person looks at it; until then it is kept.
    TellSomebody,
}

impl Remedy {
    /// What a refusal at this step asks for.
    pub fn of(step: &str) -> Self {
        match step {
            GAP => Self::SendEarlier,
            FORK => Self::BeginAnew,
            FULL => Self::TryLater,
            _ => Self::TellSomebody,
        }
    }
}

/// Why a receipt deletes nothing: it is for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// The peer's fault: another device's.
    #[error("the receipt is for another device")]
    Device,
    /// It is for a batch that is not held, or not any more.
    #[error("the receipt is for a batch that is not held")]
    Batch,
    /// The peer's fault: other records are stored under these numbers.
    #[error("the receipt is for other records under the same numbers")]
    Other,
}

impl NotHeld {
    /// The step that failed, as holders and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Device => "receipt: device",
            Self::Batch | Self::Other => "receipt: batch",
        }
    }
}

/// The batches of one device, each chain in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Queue(Vec<Held>);

impl Queue {
    /// Everything that is held, as it is to be sent.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.0.iter()
    }

    /// How many bytes the batches have.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|held| held.bytes).fold(0, u64::saturating_add)
    }

    /// How many records are held.
    pub fn records(&self) -> u64 {
        let of = |held: &Held| held.last.saturating_sub(held.key.first).saturating_add(1);
        self.0.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, batch: &Verified, bytes: u64) {
        let found = batch.batch();
        let key = BatchKey { chain: found.chain(), first: found.first() };
        let follows = match found.link() {
            Link::Begins(_) => None,
            Link::Follows(hash) => Some(hash),
        };
        self.insert(Held { key, last: found.last(), hash: batch.hash(), follows, bytes, standing: Standing::Waiting });
    }

    /// Puts a batch in its place within its chain.
    pub(crate) fn insert(&mut self, held: Held) {
        let key = held.key;
        let later = |held: &Held| held.key.chain == key.chain && held.key.first > key.first;
        let place = self.0.iter().position(later).unwrap_or(self.0.len());
        self.0.insert(place, held);
    }

    /// The held batch that has some of the same numbers.
    pub(crate) fn overlapping(&self, batch: &Verified) -> Option<&Held> {
        let found = batch.batch();
        let overlaps = |held: &&Held| {
            held.key.chain == found.chain() && held.key.first <= found.last() && found.first() <= held.last
        };
        self.0.iter().find(overlaps)
    }

    fn find(&mut self, key: BatchKey) -> Option<&mut Held> {
        self.0.iter_mut().find(|held| held.key == key)
    }

    /// What to send next: of each chain only what nothing before it holds up.
    pub fn next(&self) -> Option<&Held> {
        let is_free = |(place, held): &(usize, &Held)| {
            let stops = |before: &Held| {
                before.key.chain == held.key.chain && matches!(before.standing, Standing::Later | Standing::Refused(_))
            };
            held.standing == Standing::Waiting && !self.0.iter().take(*place).any(stops)
        };
        self.0.iter().enumerate().find(is_free).map(|(_, held)| held)
    }

    /// Whether some batch was sent and not answered.
    pub fn is_under_way(&self) -> bool {
        self.0.iter().any(|held| held.standing == Standing::Sent)
    }

    /// How many batches are to be sent.
    pub fn waiting(&self) -> usize {
        self.0.iter().filter(|held| held.standing == Standing::Waiting).count()
    }

    /// The batch was sent.
    pub fn sent(&mut self, key: BatchKey) {
        if let Some(held) = self.find(key) {
            held.standing = Standing::Sent;
        }
    }

    /// The session has ended: what was not answered is sent again, and what waited for earlier ones is tried again.
    pub fn interrupted(&mut self) {
        for held in &mut self.0 {
            if matches!(held.standing, Standing::Sent | Standing::Later) {
                held.standing = Standing::Waiting;
            }
        }
    }

    /// A gateway says that it has stored exactly this batch. Anything else changes nothing.
    pub fn handed(&mut self, key: BatchKey, hash: &Sha256) -> bool {
        let held = self.find(key).filter(|held| same(&held.hash, hash));
        let is_held = held.is_some();
        if let Some(held) = held {
            held.standing = Standing::Handed;
        }
        is_held
    }

    /// A batch was refused at this step: it is kept, and the answer says what has to happen.
    pub fn refused(&mut self, key: BatchKey, step: &str) -> Remedy {
        let remedy = Remedy::of(step);
        let refused = Standing::Refused(step.chars().take(MAX_STEP_CHARS).collect());
        for held in self.0.iter_mut().filter(|held| held.key.chain == key.chain) {
            if held.key == key {
                held.standing = match remedy {
                    // Whoever has it already keeps it.
                    Remedy::SendEarlier if held.standing == Standing::Handed => Standing::Handed,
                    Remedy::SendEarlier => Standing::Later,
                    Remedy::TryLater => Standing::Waiting,
                    Remedy::BeginAnew | Remedy::TellSomebody => refused.clone(),
                };
            } else if remedy == Remedy::BeginAnew && held.key.first > key.first && held.standing != Standing::Damaged {
                // It is chained to what was refused.
                held.standing = refused.clone();
            } else if remedy == Remedy::SendEarlier && held.key.first < key.first && held.standing != Standing::Damaged
            {
                held.standing = Standing::Waiting;
            }
        }
        remedy
    }

    /// Its holder cannot read the batch.
    pub fn damaged(&mut self, key: BatchKey) {
        if let Some(held) = self.find(key) {
            held.standing = Standing::Damaged;
        }
    }

    /// A person says that a refused batch is to be sent once more.
    pub fn retry(&mut self, key: BatchKey) -> bool {
        let held = self.find(key).filter(|held| matches!(held.standing, Standing::Refused(_)));
        held.map(|held| held.standing = Standing::Waiting).is_some()
    }

    /// Deletes exactly what a receipt is for, and answers what the shell deletes.
    pub(crate) fn apply(&mut self, receipt: &Receipt) -> Result<Vec<BatchKey>, NotHeld> {
        let ends = |held: &&Held| held.key.chain == receipt.chain && held.last == receipt.through;
        let last = self.0.iter().find(ends).ok_or(NotHeld::Batch)?;
        if !same(&last.hash, &receipt.hash) || last.key.first < receipt.first {
            return Err(NotHeld::Other);
        }
        let mut keys = vec![last.key];
        let mut after = last;
        let before = |after: &Held| {
            let precedes = |held: &&Held| {
                held.key.chain == receipt.chain
                    && held.last.checked_add(1) == Some(after.key.first)
                    && held.key.first >= receipt.first
                    && after.follows.is_some_and(|hash| same(&hash, &held.hash))
            };
            self.0.iter().find(precedes)
        };
        while let Some(held) = before(after) {
            keys.push(held.key);
            after = held;
        }
        self.remove(&keys);
        // What came after it is missing nothing any more.
        for held in self.0.iter_mut().filter(|held| held.key.chain == receipt.chain) {
            if held.standing == Standing::Later {
                held.standing = Standing::Waiting;
            }
        }
        keys.reverse();
        Ok(keys)
    }

    pub(crate) fn remove(&mut self, keys: &[BatchKey]) {
        self.0.retain(|held| !keys.contains(&held.key));
    }
}

#[cfg(test)]
mod tests;

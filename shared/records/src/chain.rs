//! The reader's memory of one device: which batches are stored, and what is missing.
//!
//! A batch counts when it follows the last one of its chain, or begins a chain. One that was taken before is taken again and changes
//! nothing. Everything else is refused, and what is refused stays with the sender. A new chain ends no older one: what the device or a
//! gateway still holds of that may come later. The end of the chain before, which the device signs with each beginning, tells what is missing.

use serde::{Deserialize, Serialize};
use wardlink_crypto::schedule::same;
use wardlink_protocol::identity::{RecordChain, Sha256};

use crate::batch::{Batch, Beginning, ChainEnd, Link, Reason, Verified};
use crate::limits::{MAX_CHAINS, MAX_GAPS};

/// The step of a refusal because of missing batches.
pub const GAP: &str = "chain: gap";
/// The step of a refusal because of other records under the same numbers.
pub const FORK: &str = "chain: fork";

/// A batch as the reader has stored it: what the shell keeps beside its bytes, by chain and first number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredBatch {
    /// The chain.
    pub chain: RecordChain,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// Its hash.
    pub hash: Sha256,
    /// The number from which the chain is stored without a gap up to this batch.
    pub since: u64,
    /// How many records of the chain were set aside, up to this batch and with it.
    pub set_aside: u64,
}

/// A batch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new: the shell stores it, with the changed [`Chains`], and then signs a receipt.
    New(StoredBatch, Continuity),
    /// It was stored before: nothing changes, and the same receipt is signed.
    Again(StoredBatch),
}

/// What the reader can say about what came before a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// It follows what is stored.
    Whole,
    /// It begins a chain, and all of the chain before is stored.
    Begun(Reason),
    /// It begins a chain, and records of the chain before are still to come.
    Outstanding(Reason, Missing),
    /// It begins a chain, and nobody can say what the device stored in between and lost: a person is told.
    Unsure(Reason),
    /// It fills a gap, or part of one, that a person had conceded.
    Filled,
    /// A person conceded that what was before it does not come.
    Conceded(Missing),
}

/// Records that are not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The chain.
    pub chain: RecordChain,
    /// The number of the first.
    pub from: u64,
    /// The number of the last.
    pub through: u64,
}

/// Why a batch is refused: the sender keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// Batches before it are missing. The sender sends those first; where nobody has them any more, a person concedes the gap.
    #[error("records from number {expected} on are missing before number {found}")]
    Gap {
        /// The number that should follow.
        expected: u64,
        /// The number of the batch.
        found: u64,
    },
    /// Other records are stored under these numbers, or before them. The device begins a new chain.
    #[error("number {at} of this chain is another record: the chain has gone on elsewhere")]
    Fork {
        /// The first number that differs.
        at: u64,
    },
    /// The device has begun too many chains. A person looks at the device.
    #[error("the device has begun {MAX_CHAINS} chains")]
    TooManyChains,
    /// A chain that claims to follow itself.
    #[error("the chain before cannot be this one")]
    Circle,
    /// A person has conceded too many gaps of this chain.
    #[error("{MAX_GAPS} gaps of this chain are conceded already")]
    TooManyGaps,
}

impl Refused {
    /// The step that failed, as senders and logs name it.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Gap { .. } => GAP,
            Self::Fork { .. } => FORK,
            Self::TooManyChains | Self::Circle | Self::TooManyGaps => "chain",
        }
    }
}

/// Every chain of one device, in the order in which the reader learnt of them. The shell stores it with each batch, in one write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chains(Vec<Chain>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    id: RecordChain,
    /// The number after the last that is stored.
    next: u64,
    /// The hash of the last batch; none where none is stored.
    head: Option<Sha256>,
    /// From where the chain is stored without a gap up to `head`.
    since: u64,
    set_aside: u64,
    /// The last number, as a later chain says.
    claimed: Option<u64>,
    /// Conceded gaps, in ascending order.
    gaps: Vec<Gap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    from: u64,
    through: u64,
}

impl Chain {
    const fn new(id: RecordChain) -> Self {
        Self { id, next: 1, head: None, since: 1, set_aside: 0, claimed: None, gaps: Vec::new() }
    }

    fn append(&mut self, batch: &Verified, set_aside: u64) -> StoredBatch {
        self.set_aside = self.set_aside.saturating_add(set_aside);
        self.next = batch.batch().last().saturating_add(1);
        self.head = Some(batch.hash());
        self.stored(batch, self.since)
    }

    fn stored(&self, batch: &Verified, since: u64) -> StoredBatch {
        let (first, last) = (batch.batch().first(), batch.batch().last());
        StoredBatch { chain: self.id, first, last, hash: batch.hash(), since, set_aside: self.set_aside }
    }

    /// Takes a batch that lies in a conceded gap.
    fn fill(&mut self, batch: &Verified, set_aside: u64) -> Result<StoredBatch, Refused> {
        let (first, last) = (batch.batch().first(), batch.batch().last());
        let holds = |gap: &Gap| gap.from <= first && last <= gap.through;
        let place = self.gaps.iter().position(holds).ok_or(Refused::Fork { at: first })?;
        // A gap may become two.
        if self.gaps.len() >= MAX_GAPS {
            return Err(Refused::TooManyGaps);
        }
        let gap = self.gaps.remove(place);
        let rest = [
            Gap { from: gap.from, through: first.saturating_sub(1) },
            Gap { from: last.saturating_add(1), through: gap.through },
        ];
        let rest = rest.into_iter().filter(|gap| gap.from <= gap.through);
        self.gaps.splice(place..place, rest);
        self.set_aside = self.set_aside.saturating_add(set_aside);
        Ok(self.stored(batch, first))
    }
}

impl Chains {
    /// Judges a verified batch. `set_aside` is how many of its records do not count ([`crate::check`]); `stored` what is stored under
    /// its chain and first number. After a refusal nothing has changed.
    pub fn take(&mut self, batch: &Verified, set_aside: u64, stored: Option<StoredBatch>) -> Result<Taken, Refused> {
        let found = batch.batch();
        let Some(chain) = self.0.iter_mut().find(|chain| chain.id == found.chain()) else {
            return self.begin(batch, set_aside);
        };
        if found.first() > chain.next {
            return Err(Refused::Gap { expected: chain.next, found: found.first() });
        }
        if found.first() < chain.next {
            return match stored {
                Some(stored) if same(&stored.hash, &batch.hash()) => Ok(Taken::Again(stored)),
                Some(_) => Err(Refused::Fork { at: found.first() }),
                // No batch begins there: it lies in a conceded gap, or cuts what is stored otherwise.
                None => self.fill(batch, set_aside),
            };
        }
        if let Link::Begins(_) = found.link() {
            // The chain was known only from what a later one says of it.
            return self.begin(batch, set_aside);
        }
        match (found.link(), chain.head) {
            (Link::Follows(before), Some(head)) if same(&before, &head) => {
                Ok(Taken::New(chain.append(batch, set_aside), Continuity::Whole))
            }
            _ => Err(Refused::Fork { at: chain.next.saturating_sub(1) }),
        }
    }

    /// Takes a batch that lies in a conceded gap.
    fn fill(&mut self, batch: &Verified, set_aside: u64) -> Result<Taken, Refused> {
        let id = batch.batch().chain();
        let before = match batch.batch().link() {
            Link::Begins(Beginning { before, .. }) => before,
            Link::Follows(_) => None,
        };
        if before.is_some_and(|end| end.chain == id) {
            return Err(Refused::Circle);
        }
        let new = before.map(|end| end.chain).filter(|id| !self.0.iter().any(|chain| chain.id == *id));
        if new.is_some() && self.0.len() >= MAX_CHAINS {
            return Err(Refused::TooManyChains);
        }
        let chain =
            self.0.iter_mut().find(|chain| chain.id == id).ok_or(Refused::Fork { at: batch.batch().first() })?;
        let stored = chain.fill(batch, set_aside)?;
        if let Some(id) = new {
            self.0.insert(0, Chain::new(id));
        }
        self.claim(before);
        Ok(Taken::New(stored, Continuity::Filled))
    }

    /// Remembers what a chain says of the end of the one before it.
    fn claim(&mut self, end: Option<ChainEnd>) {
        for chain in self.0.iter_mut().filter(|chain| end.is_some_and(|end| end.chain == chain.id)) {
            chain.claimed = chain.claimed.max(end.map(|end| end.last));
        }
    }

    /// Takes the first batch of a chain.
    fn begin(&mut self, batch: &Verified, set_aside: u64) -> Result<Taken, Refused> {
        let found = batch.batch();
        let Link::Begins(beginning) = found.link() else {
            return Err(Refused::Gap { expected: 1, found: found.first() });
        };
        let before = beginning.before;
        if before.is_some_and(|end| end.chain == found.chain()) {
            return Err(Refused::Circle);
        }
        let is_known = |chains: &[Chain], id| chains.iter().any(|chain: &Chain| chain.id == id);
        // The chain before is remembered, too, even if nothing of it has come.
        let new = [Some(found.chain()), before.map(|end| end.chain)];
        let new: Vec<RecordChain> = new.into_iter().flatten().filter(|id| !is_known(&self.0, *id)).collect();
        if self.0.len() + new.len() > MAX_CHAINS {
            return Err(Refused::TooManyChains);
        }
        let continuity = self.continuity(beginning.reason, found);
        // The chain before comes first: the newest is the last.
        self.0.extend(new.into_iter().rev().map(Chain::new));
        self.claim(before);
        let chain = self.0.iter_mut().find(|chain| chain.id == found.chain());
        let stored = chain.map(|chain| chain.append(batch, set_aside)).ok_or(Refused::TooManyChains)?;
        Ok(Taken::New(stored, continuity))
    }

    /// What a beginning says about what was before, by what the reader itself knows.
    fn continuity(&self, reason: Reason, batch: &Batch) -> Continuity {
        let Link::Begins(beginning) = batch.link() else { return Continuity::Whole };
        // Where a later chain has told of this one, only those before it. Those that are only known by name have no end that could be compared.
        let earlier = self.0.iter().take_while(|chain| chain.id != batch.chain());
        let newest = earlier.filter(|chain| chain.head.is_some()).last();
        let Some(end) = beginning.before else {
            let is_first = newest.is_none() && reason == Reason::First;
            return if is_first { Continuity::Begun(reason) } else { Continuity::Unsure(reason) };
        };
        let known = self.0.iter().find(|chain| chain.id == end.chain);
        let (next, head) = known.map_or((1, None), |chain| (chain.next, chain.head));
        let passes_over = head.is_some() && newest.is_some_and(|chain| chain.id != end.chain);
        if passes_over || (reason == Reason::Restored && end.last < next) {
            // A device that was restored does not know what it had recorded since.
            return Continuity::Unsure(reason);
        }
        if end.last >= next {
            let missing = Missing { chain: end.chain, from: next, through: end.last };
            return Continuity::Outstanding(reason, missing);
        }
        let is_end = end.last.checked_add(1) == Some(next) && head.is_some_and(|head| same(&head, &end.hash));
        if is_end { Continuity::Begun(reason) } else { Continuity::Unsure(reason) }
    }

    /// Takes a batch although others before it are missing, because a person says that they do not come. Should they come after all, they
    /// are taken.
    pub fn concede(&mut self, batch: &Verified, set_aside: u64) -> Result<Taken, Refused> {
        let found = batch.batch();
        let id = found.chain();
        let next = self.0.iter().find(|chain| chain.id == id).map_or(1, |chain| chain.next);
        if found.first() <= next {
            return self.take(batch, set_aside, None);
        }
        if !self.0.iter().any(|chain| chain.id == id) {
            if self.0.len() >= MAX_CHAINS {
                return Err(Refused::TooManyChains);
            }
            self.0.push(Chain::new(id));
        }
        let Some(chain) = self.0.iter_mut().find(|chain| chain.id == id) else { return Err(Refused::TooManyChains) };
        if chain.gaps.len() >= MAX_GAPS {
            return Err(Refused::TooManyGaps);
        }
        let missing = Missing { chain: id, from: next, through: found.first().saturating_sub(1) };
        chain.gaps.push(Gap { from: missing.from, through: missing.through });
        chain.since = found.first();
        Ok(Taken::New(chain.append(batch, set_aside), Continuity::Conceded(missing)))
    }

    /// What is known to be missing: conceded gaps, and what a later chain says was before it.
    pub fn missing(&self) -> Vec<Missing> {
        let of = |chain: &Chain| {
            let through = chain.claimed.filter(|claimed| *claimed >= chain.next);
            let end = through.map(|through| Gap { from: chain.next, through });
            let gaps: Vec<Gap> = chain.gaps.iter().copied().chain(end).collect();
            gaps.into_iter().map(|Gap { from, through }| Missing { chain: chain.id, from, through }).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// How many records are stored.
    pub fn stored(&self) -> u64 {
        let of = |chain: &Chain| {
            let gaps = chain.gaps.iter().map(|gap| gap.through.saturating_sub(gap.from).saturating_add(1));
            gaps.fold(chain.next.saturating_sub(1), u64::saturating_sub)
        };
        self.0.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How many records are stored and were set aside.
    pub fn set_aside(&self) -> u64 {
        self.0.iter().map(|chain| chain.set_aside).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;

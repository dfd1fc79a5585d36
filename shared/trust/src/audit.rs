//! The audit log: every act of a person or device, each entry chained to the one before by SHA-256.
//!
//! Whoever changes, removes, inserts or reorders entries breaks the chain, and [`verify`] says where. Whoever cuts off its end, or
//! writes the whole of it anew, is found by the [`SignedHead`]s that the control unit gave out before: a person keeps them
//! elsewhere, with each export. What the log does not stop is a control unit that never writes an entry.

use core::fmt;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, EnvelopeError, Header, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::schedule::{message_hash, same};
use wardlink_crypto::x509::{Chain, ChainError, X509Error};
use wardlink_protocol::api::Role;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{KeyFingerprint, Purpose, Sha256};
use wardlink_protocol::{Device, UnixMillis};

mod act;

pub use act::Act;

/// The longest name of a person or rule, and the longest subject, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 128;
/// The longest detail of an entry, in bytes.
pub const MAX_DETAIL_BYTES: usize = 512;
/// The longest entry in an export, in bytes: one line of JSON.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// The longest signed head, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

const ENTRY_LABEL: &str = "wardlink audit entry";
const BEGINNING_LABEL: &str = "wardlink audit beginning";
/// The external AAD of a signed head.
const HEAD_LABEL: &str = "wardlink audit head";

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// A person who is signed in.
    Person {
        /// The person's name.
        name: String,
        /// What the person was at the site then.
        role: Role,
    },
    /// A device, by its proved key.
    Device {
        /// Which device.
        device: Device,
        /// Its static key.
        key: KeyFingerprint,
    },
    /// A rule of policy that acts without a person.
    Rule {
        /// The rule, in words.
        name: String,
    },
    /// The control unit by itself: a timer, the first start.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { name, .. } | Self::Rule { name } => f.write_str(name),
            Self::Device { device, .. } => write!(f, "{device}"),
            Self::System => f.write_str("control unit"),
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was begun, and another entry says how it ended.
    Begun,
    /// It was refused: nothing has changed.
    Refused,
    /// It failed: nothing has changed, or the detail says what.
    Failed,
}

/// What is written into the log: an entry without its place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who acted.
    pub actor: Actor,
    /// What was done.
    pub act: Act,
    /// To whom or to what: a device, a person, a channel.
    pub subject: String,
    /// What else is to be known, such as the reason that a person gave. Never a secret.
    pub detail: String,
    /// How it went.
    pub outcome: Outcome,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it was written, by the control unit's clock.
    pub at: UnixMillis,
    /// Who acted.
    pub actor: Actor,
    /// What was done.
    pub act: Act,
    /// To whom or to what.
    pub subject: String,
    /// What else is to be known.
    pub detail: String,
    /// How it went.
    pub outcome: Outcome,
}

/// An entry with its hash: one row of the stored log, one line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The entry.
    pub entry: Entry,
    /// SHA-256 over a label, the hash before, and the entry.
    pub hash: Sha256,
}

/// The end of a log: what the next entry is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The number of the last entry; 0 for a log without any.
    pub sequence: u64,
    /// Its hash.
    pub hash: Sha256,
}

/// Why a log, a line or a head is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Entries are missing, or stand in another order.
    #[error("entry {expected} of the log is missing or out of order: {found} stands in its place")]
    Sequence {
        /// The number that should follow.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// An entry, or one before it, was changed.
    #[error("entry {0} of the log was changed, or one before it")]
    Altered(u64),
    /// The log was longer once.
    #[error("the log ends with entry {end}, and had {signed} when its head was signed")]
    Truncated {
        /// The last entry now.
        end: u64,
        /// The last entry then.
        signed: u64,
    },
    /// The log was another one when its head was signed.
    #[error("entry {0} of the log is not the one whose head was signed")]
    Rewritten(u64),
    /// A line that is no entry.
    #[error("the line is no entry of the log")]
    Line,
    /// A signed head whose envelope is refused.
    #[error("the signed head is refused: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A signed head whose chain is not to be believed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A signed head that is malformed, or an entry that cannot be encoded.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A signed head whose header says something else than a head's.
    #[error("the header is not that of a signed head")]
    Header,
    /// Our fault, or a damaged chain: a key that cannot be named.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate in the chain whose key cannot be named.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// Our fault: as many entries as can be counted.
    #[error("the log has no number left")]
    UsedUp,
}

impl Head {
    /// A log without entries; `site` keeps the logs of two sites apart.
    pub fn beginning(site: &str) -> Result<Self, AuditError> {
        Ok(Self { sequence: 0, hash: message_hash(&cbor::encode(&(BEGINNING_LABEL, site))?) })
    }

    /// Writes an entry. The shell stores the record and the head that follows together, with what the entry is about.
    pub fn append(&self, draft: Draft, at: UnixMillis) -> Result<(Record, Self), AuditError> {
        let Draft { actor, act, subject, detail, outcome } = draft;
        let entry = Entry {
            sequence: self.sequence.checked_add(1).ok_or(AuditError::UsedUp)?,
            at,
            actor: match actor {
                Actor::Person { name, role } => Actor::Person { name: bounded(&name, MAX_SUBJECT_BYTES), role },
                Actor::Rule { name } => Actor::Rule { name: bounded(&name, MAX_SUBJECT_BYTES) },
                Actor::Device { .. } | Actor::System => actor,
            },
            act,
            subject: bounded(&subject, MAX_SUBJECT_BYTES),
            detail: bounded(&detail, MAX_DETAIL_BYTES),
            outcome,
        };
        let head = self.after(&entry)?;
        Ok((Record { entry, hash: head.hash }, head))
    }

    /// The head after this entry.
    fn after(&self, entry: &Entry) -> Result<Self, AuditError> {
        Ok(Self { sequence: entry.sequence, hash: message_hash(&cbor::encode(&(ENTRY_LABEL, self.hash, entry))?) })
    }
}

/// Verifies a run of entries that follows `from`, and returns its end. `signed` are heads that were signed after `from`, in any
/// order: whatever was cut off or written anew since is found by them.
pub fn verify<'a>(
    from: Head,
    records: impl IntoIterator<Item = &'a Record>,
    signed: &[Head],
) -> Result<Head, AuditError> {
    let mut end = from;
    for record in records {
        let expected = end.sequence.checked_add(1).ok_or(AuditError::UsedUp)?;
        let found = record.entry.sequence;
        if found != expected {
            return Err(AuditError::Sequence { expected, found });
        }
        let next = end.after(&record.entry)?;
        if !same(&next.hash, &record.hash) {
            return Err(AuditError::Altered(found));
        }
        if signed.iter().any(|head| head.sequence == found && !same(&head.hash, &next.hash)) {
            return Err(AuditError::Rewritten(found));
        }
        end = next;
    }
    match signed.iter().map(|head| head.sequence).max() {
        Some(signed) if signed > end.sequence => Err(AuditError::Truncated { end: end.sequence, signed }),
        _ => Ok(end),
    }
}

impl Record {
    /// The entry as one line of JSON with its hash, without the line feed: with the lines before it, anybody can verify it.
    pub fn to_line(&self) -> Result<String, AuditError> {
        serde_json::to_string(self).map_err(|_| AuditError::Line)
    }

    /// Reads a line of an export.
    pub fn from_line(line: &str) -> Result<Self, AuditError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(AuditError::Line);
        }
        serde_json::from_str(line).map_err(|_| AuditError::Line)
    }
}

/// What the control unit signs from time to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// The site.
    pub site: String,
    /// The number of the last entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Sha256,
    /// When it was signed.
    pub signed_at: UnixMillis,
}

impl SignedHead {
    /// Signs the head of a site's log (`COSE_Sign1`). `chain` is the control unit's certificate and those above, up to and
    /// including the root, DER.
    pub fn sign(
        head: Head,
        site: &str,
        key: &PrivateKey,
        chain: &[ByteBuf],
        now: UnixMillis,
    ) -> Result<Vec<u8>, AuditError> {
        let Head { sequence, hash } = head;
        let message = Self { site: bounded(site, MAX_SUBJECT_BYTES), sequence, hash, signed_at: now };
        let kid = key.public().fingerprint()?.as_bytes().to_vec();
        let header = Header { kid, chain: chain.to_vec(), ..Header::default() };
        Ok(cose::sign(&header, key, HEAD_LABEL.as_bytes(), &cbor::encode(&message)?)?)
    }

    /// Opens a signed head of this site. The chain has to lead to the root with this SHA-256, and to hold when the head was signed.
    pub fn open(bytes: &[u8], site: &str, root: &Sha256) -> Result<Self, AuditError> {
        let envelope = Signed::parse(bytes, MAX_HEAD_BYTES)?;
        let chain = Chain::parse(&envelope.header().chain)?;
        let first = chain.certificates().first().ok_or(ChainError::Length)?;
        let payload = envelope.verify(first.key(), HEAD_LABEL.as_bytes())?;
        let head: Self = cbor::decode(payload, MAX_HEAD_BYTES)?;
        let signer = chain.verify(root, Purpose::ControlUnit, head.signed_at)?;
        let kid = signer.fingerprint()?.as_bytes().to_vec();
        let expected = Header { kid, chain: envelope.header().chain.clone(), ..Header::default() };
        if *envelope.header() != expected || head.site != bounded(site, MAX_SUBJECT_BYTES) {
            return Err(AuditError::Header);
        }
        Ok(head)
    }

    /// What [`verify`] compares.
    pub const fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.hash }
    }
}

/// A text that is fit to be stored and shown: control characters become spaces, and what is too long is cut.
fn bounded(text: &str, limit: usize) -> String {
    const CUT: &str = "\u{2026}";
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.len() <= limit {
        return clean;
    }
    let mut kept = String::new();
    for character in clean.chars() {
        if kept.len() + character.len_utf8() + CUT.len() > limit {
            break;
        }
        kept.push(character);
    }
    kept + CUT
}

#[cfg(test)]
mod tests;

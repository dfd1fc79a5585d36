//! Software revisions and their order.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// The longest revision, in bytes.
pub const MAX_REVISION_BYTES: usize = 32;
/// The most digits of one number in a revision.
const MAX_DIGITS: usize = 9;
/// The most letters in one run of a revision.
const MAX_LETTERS: usize = 4;

/// Why a text is no revision. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a revision is numbers and capital letters between dots, such as 1B or 2.10.3, without leading zeros")]
pub struct InvalidRevision;

/// A software revision level (figure 3, 63 and 64), such as `1B` or `2.10.3`.
///
/// Parts stand between dots; a part is numbers (at most 9 digits, no leading zero) and runs of capital letters (at most 4). Parts are
/// compared one after another, and so are the runs within a part: numbers by their value, letters as the columns of a sheet are
/// counted (`Z` before `AA`), a number before letters, and what ends first comes first. So `1A` < `1B` < `1AA` < `2`, and
/// `1.9` < `1.10` < `1.10.1` < `1.10A`. Two revisions are equal only where their texts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision {
    text: String,
    parts: Vec<Vec<Run>>,
}

/// A part's piece, in the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Run {
    Number(u32),
    /// More letters come later, as `AA` after `Z`.
    Letters(usize, String),
}

impl Revision {
    /// The revision as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn part(text: &str) -> Result<Vec<Run>, InvalidRevision> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let in_run = |letter: char| if is_digit { letter.is_ascii_digit() } else { letter.is_ascii_uppercase() };
        let end = rest.find(|letter| !in_run(letter)).unwrap_or(rest.len());
        let (run, after) = rest.split_at_checked(end).ok_or(InvalidRevision)?;
        let is_padded = is_digit && run.len() > 1 && first == '0';
        if run.is_empty() || run.len() > if is_digit { MAX_DIGITS } else { MAX_LETTERS } || is_padded {
            return Err(InvalidRevision);
        }
        let read = if is_digit { run.parse().map(Run::Number) } else { Ok(Run::Letters(run.len(), run.to_owned())) };
        runs.push(read.map_err(|_| InvalidRevision)?);
        rest = after;
    }
    if runs.is_empty() { Err(InvalidRevision) } else { Ok(runs) }
}

impl TryFrom<String> for Revision {
    type Error = InvalidRevision;
    fn try_from(text: String) -> Result<Self, InvalidRevision> {
        if text.len() > MAX_REVISION_BYTES {
            return Err(InvalidRevision);
        }
        let parts = text.split('.').map(part).collect::<Result<_, _>>()?;
        Ok(Self { text, parts })
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;
    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        text.to_owned().try_into()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.text
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Revision {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A range of revisions, both ends included (figure 3, 63: a range, or a single revision).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Ends", into = "Ends")]
pub struct RevisionRange(Ends);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    from: Revision,
    to: Revision,
}

/// The caller's or the peer's fault: a range ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range of revisions ends before it begins")]
pub struct EmptyRange;

impl RevisionRange {
    /// From one revision to another, both included.
    pub fn new(from: Revision, to: Revision) -> Result<Self, EmptyRange> {
        Ends { from, to }.try_into()
    }

    /// One revision only.
    pub fn single(revision: Revision) -> Self {
        Self(Ends { from: revision.clone(), to: revision })
    }

    /// The first revision.
    pub const fn from(&self) -> &Revision {
        &self.0.from
    }

    /// The last revision.
    pub const fn to(&self) -> &Revision {
        &self.0.to
    }

    /// Whether the revision lies in the range.
    pub fn contains(&self, revision: &Revision) -> bool {
        (&self.0.from..=&self.0.to).contains(&revision)
    }
}

impl TryFrom<Ends> for RevisionRange {
    type Error = EmptyRange;
    fn try_from(ends: Ends) -> Result<Self, EmptyRange> {
        if ends.from <= ends.to { Ok(Self(ends)) } else { Err(EmptyRange) }
    }
}

impl From<RevisionRange> for Ends {
    fn from(range: RevisionRange) -> Self {
        range.0
    }
}

#[cfg(test)]
mod tests;

//! Why an update is refused, and at which step.

use super::File;
use crate::metadata::{Expires, InvalidMetadata, Role, Signed, Version};
use core::fmt;

/// A step of the specification, such as `5.4.3.1` of TUF 1.0.34.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(pub &'static str);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A refusal: nothing of the refused file counts, and what was trusted before still does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}, {file}: {why}")]
pub struct Refusal {
    /// The step that failed.
    pub step: Step,
    /// Which file was refused.
    pub file: String,
    /// Why.
    pub why: Why,
}

/// Why a file is refused. All are the repository's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The repository does not have it.
    #[error("the repository does not have it")]
    Missing,
    /// It is longer than it may be.
    #[error("it is longer than {max_bytes} bytes")]
    TooLong {
        /// How long it may be.
        max_bytes: u64,
    },
    /// It is no metadata of its role.
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    /// Fewer keys than needed have signed it (an arbitrary software attack).
    #[error("not enough of the right keys have signed it")]
    Signatures,
    /// It is older than what was trusted before (a rollback attack).
    #[error("it has version {found}, and version {least} was expected at least")]
    Rollback {
        /// The least version that would do.
        least: Version,
        /// Its version.
        found: Version,
    },
    /// It has another version than the one that lists it says (a mix-and-match attack).
    #[error("it has version {found}, and {listed} is listed")]
    Version {
        /// The version that is listed.
        listed: Version,
        /// Its version.
        found: Version,
    },
    /// A file that was listed before, or that has to be, is not listed.
    #[error("it does not list {0}")]
    Unlisted(String),
    /// Its hash or length is not the one that is listed (a mix-and-match attack).
    #[error("its hash or length is not the listed one")]
    Hash,
    /// Its time is over (a freeze attack).
    #[error("it ended at {0}")]
    Expired(Expires),
}

impl Refusal {
    pub(super) fn new(step: Step, file: &File, why: impl Into<Why>) -> Self {
        Self { step, file: file.name(), why: why.into() }
    }
}

pub(super) fn parse<T: Role>(bytes: &[u8], step: Step, file: &File) -> Result<Signed<T>, Refusal> {
    Signed::parse(bytes).map_err(|invalid| Refusal::new(step, file, invalid))
}

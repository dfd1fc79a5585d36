//! Verification over two repositories (Uptane 2.1, section 5.4): in full for a gateway ([`Full`]), in part for a device ([`partial()`]).
//!
//! Steps are Uptane's, such as `5.4.4.2 step 10.2.1`; where a step is TUF's workflow, the cause names TUF's own. A refusal changes
//! nothing: what was trusted before stays trusted, and nothing is installed. A stolen key of the server alone installs nothing, since
//! every image needs its manufacturer's signature as well, unless a model is provisioned otherwise ([`Trust`]).

mod check;
mod delivery;
mod full;
mod outcome;
mod partial;
mod rotation;

pub use delivery::{Corrupt, Delivery};
pub use full::{Bound, Full, HandedOn, Next};
pub use outcome::{Circumstances, Decision, FIRST_RETRY, MAX_RETRIES, Notification, Outcome, Postponed, Then, rests};
pub use partial::{Accepted, Delegated, Handed, Provisioned, Seen, Source, Trust, partial};
pub use rotation::{Rotated, follow_delegation, follow_roots};

use crate::client::{Refusal, Step, Why};
use crate::director::{Added, InvalidDirective, When};
use crate::metadata::{InvalidMetadata, Target, TargetPath, Version};
use crate::package::{
    AtomicMember, BoundFile, DeltaFormat, Encrypted, InvalidPackage, Manufacturer, NotForUs, Package, ReleaseCounter,
    Revision,
};
use core::fmt;
use wardlink_protocol::identity::Device;

/// Whose repository: Uptane's repository mapping (5.2.6). Every image has to be named by the director and by its manufacturer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repository {
    /// The server's, for this gateway.
    Director,
    /// The manufacturer's image repository.
    Image(Manufacturer),
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Director => f.write_str("director"),
            Self::Image(manufacturer) => write!(f, "images of {manufacturer}"),
        }
    }
}

/// A refusal: nothing is installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Uptane {step}, {repository}: {cause}")]
pub struct Refused {
    /// The step of Uptane 2.1 that failed.
    pub step: Step,
    /// Whose metadata was refused.
    pub repository: Repository,
    /// Why.
    pub cause: Box<Cause>,
}

/// Why an update is refused. All are a repository's fault, or that of whoever holds its keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A step of TUF's workflow failed.
    #[error("TUF {0}")]
    Tuf(#[from] Refusal),
    /// Metadata that was handed on cannot be read.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// The directive is none.
    #[error(transparent)]
    Directive(#[from] InvalidDirective),
    /// What the manufacturer says of the target cannot be read, or belongs to another path.
    #[error(transparent)]
    Package(#[from] InvalidPackage),
    /// Metadata that was asked for was not handed on.
    #[error("its metadata is missing")]
    Missing,
    /// Metadata that was handed on is longer than it may be.
    #[error("its metadata is too long")]
    TooLong,
    /// Fewer keys than needed have signed.
    #[error("not enough of the right keys have signed it")]
    Signatures,
    /// Older than what was seen before.
    #[error("it has version {found}, and version {least} was expected at least")]
    Version {
        /// The least version that would do.
        least: Version,
        /// Its version.
        found: Version,
    },
    /// Its time is over.
    #[error("its time is over")]
    Expired,
    /// The directive is for another gateway.
    #[error("it is for {0}")]
    Gateway(Device),
    /// A device that this gateway does not serve.
    #[error("{0} is not here")]
    Absent(Device),
    /// The package is for other devices.
    #[error("{device}: {why}")]
    Unsuitable {
        /// The device.
        device: Device,
        /// What does not fit.
        why: &'static str,
    },
    /// The package cannot be installed over the device's revision.
    #[error("{device} has revision {present}, which the package does not update")]
    Revision {
        /// The device.
        device: Device,
        /// Its revision.
        present: Revision,
    },
    /// The release is older than the device's (a rollback attack).
    #[error("{device} has release {installed}, and {found} is older")]
    Rollback {
        /// The device.
        device: Device,
        /// Its release counter.
        installed: ReleaseCounter,
        /// The package's.
        found: ReleaseCounter,
    },
    /// The manufacturer has recalled it.
    #[error("{0} has been recalled")]
    Recalled(TargetPath),
    /// A member of an atomic set is missing.
    #[error("the atomic set needs {0} too")]
    Incomplete(AtomicMember),
    /// It is encrypted to somebody else.
    #[error(transparent)]
    Encrypted(#[from] NotForUs),
    /// Nothing of this manufacturer is trusted.
    #[error("no image repository of {0} is trusted")]
    NoRepository(Manufacturer),
    /// The manufacturer does not name the target.
    #[error("the manufacturer names no {0}")]
    Unnamed(TargetPath),
    /// Director and manufacturer differ (a mix-and-match attack, or a stolen key of the server).
    #[error("{path}: director and manufacturer differ in {what}")]
    Differs {
        /// The target.
        path: TargetPath,
        /// In what.
        what: &'static str,
    },
}

/// The kind of attack that a refusal points to (Uptane 5.4.4.2, last paragraph).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Software that nobody with the right keys has signed.
    ArbitrarySoftware,
    /// Earlier metadata, or an earlier release.
    Rollback,
    /// Metadata whose time is over.
    Freeze,
    /// Parts that do not belong together.
    MixAndMatch,
    /// More than there can be.
    EndlessData,
    /// Something for somebody else.
    Misdirection,
}

impl Refused {
    pub(crate) fn new(step: &'static str, repository: Repository, cause: impl Into<Cause>) -> Self {
        Self { step: Step(step), repository, cause: Box::new(cause.into()) }
    }

    /// What kind of attack it may be; none where it is rather a mistake.
    pub fn attack(&self) -> Option<Attack> {
        match &*self.cause {
            Cause::Tuf(refusal) => match refusal.why {
                Why::Signatures => Some(Attack::ArbitrarySoftware),
                Why::Rollback { .. } | Why::Unlisted(_) => Some(Attack::Rollback),
                Why::Expired(_) => Some(Attack::Freeze),
                Why::Version { .. } | Why::Hash => Some(Attack::MixAndMatch),
                Why::TooLong { .. } => Some(Attack::EndlessData),
                Why::Missing | Why::Invalid(_) => None,
            },
            Cause::Signatures | Cause::Unnamed(_) | Cause::NoRepository(_) => Some(Attack::ArbitrarySoftware),
            Cause::Version { .. } | Cause::Rollback { .. } => Some(Attack::Rollback),
            Cause::Expired => Some(Attack::Freeze),
            Cause::Differs { .. } | Cause::Incomplete(_) => Some(Attack::MixAndMatch),
            Cause::TooLong | Cause::Directive(InvalidDirective::TooMany { .. }) => Some(Attack::EndlessData),
            Cause::Gateway(_)
            | Cause::Absent(_)
            | Cause::Unsuitable { .. }
            | Cause::Revision { .. }
            | Cause::Encrypted(_)
            | Cause::Directive(InvalidDirective::Encrypted { .. }) => Some(Attack::Misdirection),
            Cause::Metadata(_) | Cause::Directive(_) | Cause::Package(_) | Cause::Missing | Cause::Recalled(_) => None,
        }
    }
}

/// The shorter way to an image, for a device that has its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortcut {
    /// The delta, as it is downloaded.
    pub file: BoundFile,
    /// How it is written.
    pub format: DeltaFormat,
    /// What it is applied to.
    pub source: BoundFile,
}

/// What one device may install, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The device.
    pub device: Device,
    /// Where the image is.
    pub path: TargetPath,
    /// Its length and hashes: [`Delivery`] checks them, however the image came here.
    pub target: Target,
    /// What its manufacturer says of it.
    pub package: Package,
    /// The shorter way.
    pub shortcut: Option<Shortcut>,
    /// What is installed with it, or neither is.
    pub added: Vec<Added>,
    /// The variant that only the gateway can read.
    pub encrypted: Option<Encrypted>,
    /// When.
    pub when: When,
}

/// What is installed whole, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its parts, one for each device.
    pub installs: Vec<Install>,
}

//! Packages (figure 3): what a manufacturer says of a target in its `custom`, as values.
//!
//! A target's `custom` has exactly one member that the image repository signs: `package` for a whole image, `delta` for the
//! way from one image to another. It is Uptane's section that has to match (Uptane 5.2.3.1): the director repeats it unchanged,
//! and adds members of its own ([`crate::director`]). Reading is strict: unknown members, lists that are not in ascending order and
//! values that contradict each other are refused, so that each package has one spelling.

mod added;
mod atomic;
mod encrypted;
mod file;
mod folder;
mod name;
mod revision;

pub use added::{AddedKind, Drug, DrugLibrary, InvalidAdded, MAX_ADDED_BYTES, MAX_DRUGS, SiteSettings};
pub use atomic::AtomicMember;
pub(crate) use atomic::Given;
pub use encrypted::{
    ENCRYPTED_HEADER_BYTES, ENCRYPTED_RECORD_BYTES, ENCRYPTED_RECORD_OVERHEAD_BYTES, Encrypted, Encryption,
    MAX_SEALED_KEY_BYTES, NotForUs, SealedKey,
};
pub use file::BoundFile;
pub use folder::ModelFolder;
pub use name::{
    FeatureSet, HardwareId, InvalidName, MAX_NAME_BYTES, MAX_NOTE_BYTES, Manufacturer, Model, Note, SerialNumber,
};
pub use revision::{EmptyRange, InvalidRevision, MAX_REVISION_BYTES, Revision, RevisionRange};

use crate::metadata::{RoleName, Target, TargetPath};
use core::fmt;
use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_protocol::identity::ClientClass;

/// The most hardware ids of a package.
pub const MAX_HARDWARE_IDS: usize = 32;
/// The most other members of an atomic set.
pub const MAX_ATOMIC_MEMBERS: usize = 16;

/// Why a target's `custom` is no package. The peer's fault when it is read, the caller's when it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPackage {
    /// It has not the members that a package has.
    #[error("its description cannot be read: {0}")]
    Json(String),
    /// It lies where packages of this manufacturer, type and model do not.
    #[error("it lies at {path}, and its description belongs under {folder}")]
    Path {
        /// Where it lies.
        path: TargetPath,
        /// Where it belongs.
        folder: ModelFolder,
    },
    /// Its path is not that of a package: `<manufacturer>/<device type>/<model>/<file>`.
    #[error("{0} is not of the form <manufacturer>/<device type>/<model>/<file>")]
    Form(String),
    /// What it binds to itself is not among the targets, or is another file there.
    #[error("it needs {0}, which is not there as it was bound")]
    Unbound(TargetPath),
    /// A role names it that is not trusted for it, or two roles do.
    #[error("{0} is named by a role that is not trusted for it, or by two roles")]
    Untrusted(TargetPath),
    /// A role is trusted for more than a manufacturer's own models.
    #[error("the delegation to {0} is not limited to a manufacturer's own models")]
    Delegation(RoleName),
    /// A list is empty, too long, or not in ascending order without repetition.
    #[error("its list of {0} is empty, too long, or not in ascending order without repetition")]
    List(&'static str),
    /// What it says contradicts itself.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl InvalidPackage {
    pub(crate) fn json(cause: impl fmt::Display) -> Self {
        Self::Json(cause.to_string())
    }
}

/// Counts the releases for a model; it only rises, also where an older revision is released again (Uptane 5.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseCounter(NonZeroU32);

impl ReleaseCounter {
    /// Takes a number from 1 on.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for ReleaseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The manufacturer's word that this package may take devices back to an earlier revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downgrade {
    /// Why, for people.
    pub reason: Note,
}

/// The manufacturer's word that this package is installed no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recall {
    /// Why, for people.
    pub reason: Note,
}

/// A package's header (figure 3). [`Package::check`] holds for everything that was read or can be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Who made it.
    pub manufacturer: Manufacturer,
    /// The device type (61): the class under which such devices pair.
    pub device_type: ClientClass,
    /// The model (62).
    pub model: Model,
    /// The revisions that it can be installed over (63).
    pub pre_revision: RevisionRange,
    /// The revision that the device has then (64).
    pub post_revision: Revision,
    /// The hardware that it runs on, in ascending order; at most [`MAX_HARDWARE_IDS`].
    pub hardware: Vec<HardwareId>,
    /// Its place among the releases for the model.
    pub release_counter: ReleaseCounter,
    /// The feature set that it brings.
    pub feature_set: FeatureSet,
    /// The other members of its atomic set, in ascending order; at most [`MAX_ATOMIC_MEMBERS`], none: it stands alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub atomic: Vec<AtomicMember>,
    /// The software bill of materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<BoundFile>,
    /// How it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<BoundFile>,
    /// The kinds of data that the server may add for the device, in ascending order; none: it takes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<AddedKind>,
    /// Whether it may be installed while a therapy, such as an infusion, runs. Left out, it may not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub during_therapy: bool,
    /// Whether it may take a device back; it has to be there where the post-revision lies before the pre-revisions, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<Downgrade>,
    /// Whether it is installed no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recall>,
}

/// What is not so is left out; there is no second way to say it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// How a delta is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeltaFormat {
    /// That of bsdiff 4, `BSDIFF40`.
    Bsdiff,
}

/// The way from one image to another. It says nothing about devices: what it gives is a package, which does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// How it is written.
    pub format: DeltaFormat,
    /// The image that it is applied to.
    pub source: BoundFile,
    /// The package that it gives; the full package is always there.
    pub result: BoundFile,
}

/// What the image repository says of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// A whole image.
    Package(Box<Package>),
    /// A way to one.
    Delta(Delta),
}

impl Package {
    /// Where packages of its manufacturer, type and model lie.
    pub fn folder(&self) -> ModelFolder {
        let (manufacturer, device_type, model) =
            (self.manufacturer.clone(), self.device_type.clone(), self.model.clone());
        ModelFolder { manufacturer, device_type, model }
    }

    /// What the types alone cannot hold.
    pub fn check(&self) -> Result<(), InvalidPackage> {
        check_list(&self.hardware, 1, MAX_HARDWARE_IDS, "hardware ids")?;
        check_list(&self.atomic, 0, MAX_ATOMIC_MEMBERS, "atomic members")?;
        check_list(&self.accepts, 0, AddedKind::ALL.len(), "kinds of added data")?;
        let models: BTreeSet<_> = self.set().iter().map(AtomicMember::models).collect();
        if models.len() != self.atomic.len().saturating_add(1) {
            return Err(InvalidPackage::Contradiction("an atomic set has two packages for one model"));
        }
        let (is_later, is_earlier) =
            (*self.pre_revision.to() < self.post_revision, self.post_revision < *self.pre_revision.from());
        if !is_later && !is_earlier {
            return Err(InvalidPackage::Contradiction("the post-revision lies among the pre-revisions"));
        }
        if is_earlier != self.downgrade.is_some() {
            return Err(InvalidPackage::Contradiction("a downgrade, and nothing else, has its authorization"));
        }
        let bound: Vec<_> = self.sbom.iter().chain(&self.provenance).collect();
        if bound.iter().any(|file| !self.folder().contains(&file.path)) {
            return Err(InvalidPackage::Contradiction("its documents lie in another model's folder"));
        }
        if matches!(bound.as_slice(), [sbom, provenance] if sbom.path == provenance.path) {
            return Err(InvalidPackage::Contradiction("its documents are one file"));
        }
        Ok(())
    }
}

impl Delta {
    /// What the types alone cannot hold.
    pub fn check(&self) -> Result<(), InvalidPackage> {
        if self.source.sha256 == self.result.sha256 {
            return Err(InvalidPackage::Contradiction("a delta gives what it is applied to"));
        }
        Ok(())
    }
}

impl Release {
    /// Reads a target's `custom`; none where it has none, as the documents of packages have not.
    pub fn of(path: &TargetPath, target: &Target) -> Result<Option<Self>, InvalidPackage> {
        let Some(custom) = &target.custom else { return Ok(None) };
        let release = Self::deserialize(custom).map_err(InvalidPackage::json)?;
        check_spelling(&release, custom)?;
        release.check(path, target)?;
        Ok(Some(release))
    }

    /// What it says as a target's `custom`, for the target at this path.
    pub fn to_custom(&self, path: &TargetPath, target: &Target) -> Result<serde_json::Value, InvalidPackage> {
        self.check(path, target)?;
        serde_json::to_value(self).map_err(InvalidPackage::json)
    }

    /// Whether it says of the target at this path what may be said of it: the path is its model's, and nothing is itself.
    pub(crate) fn check(&self, path: &TargetPath, target: &Target) -> Result<(), InvalidPackage> {
        let found = ModelFolder::of(path)?;
        match self {
            Self::Package(package) => {
                package.check()?;
                let folder = package.folder();
                if folder != found {
                    return Err(InvalidPackage::Path { path: path.clone(), folder });
                }
                if package.sbom.iter().chain(&package.provenance).any(|file| file.path == *path) {
                    return Err(InvalidPackage::Contradiction("a package is its own document"));
                }
            }
            Self::Delta(delta) => {
                delta.check()?;
                if !found.contains(&delta.source.path) || !found.contains(&delta.result.path) {
                    return Err(InvalidPackage::Contradiction("a delta leads to or from another model's folder"));
                }
                if delta.result.path == *path || delta.source.path == *path {
                    return Err(InvalidPackage::Contradiction("a delta leads to or from itself"));
                }
                // The full package is always there: a delta that is not smaller is of no use, and not written.
                if target.length >= delta.result.length {
                    return Err(InvalidPackage::Contradiction("a delta is not smaller than the package that it gives"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a list has one spelling: ascending, each once, and not more than it may have.
pub(crate) fn check_list<T: Ord>(
    list: &[T],
    least: usize,
    most: usize,
    what: &'static str,
) -> Result<(), InvalidPackage> {
    let rises = list.iter().zip(list.iter().skip(1)).all(|(one, next)| one < next);
    if (least..=most).contains(&list.len()) && rises { Ok(()) } else { Err(InvalidPackage::List(what)) }
}

/// Whether what was read would be written so: what is not so is left out, and not said in a second way.
pub(crate) fn check_spelling<T: Serialize>(read: &T, custom: &serde_json::Value) -> Result<(), InvalidPackage> {
    if serde_json::to_value(read).map_err(InvalidPackage::json)? == *custom {
        Ok(())
    } else {
        Err(InvalidPackage::Contradiction("it says what goes without saying"))
    }
}

#[cfg(test)]
mod tests;

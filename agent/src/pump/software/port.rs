//! The service port: a folder that stands in for a gateway, such as a stick's. What lies there is trusted no more than what a gateway brings.
//!
//! It is a manufacturer's export (`metadata/`, `targets/`), and beside it `directive.json` (the director's targets), `director-root.cose`
//! (the site's director, signed by its control unit), `director/` (the director's newer roots) and `added/` (added data, by SHA-256).

use crate::bundle::{self, Word};
use crate::device::hub::TOLD;
use crate::device::image::MAX_CHUNK_BYTES;
use crate::device::trusted::{News, Trusted};
use crate::device::{DeviceError, Offer};
use crate::files::{if_there, open_file, read_file};
use crate::firmware::versions;
use crate::tuf::quoted;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::MAX_DIRECTOR_ROOT_BYTES;
use wardlink_update::limits::{MAX_ROOT_BYTES, MAX_ROOT_ROTATIONS, MAX_TARGETS_BYTES};
use wardlink_update::metadata::{Signed, Target, TargetPath, Targets};
use wardlink_update::package::{MAX_ADDED_BYTES, Package, Release};
use wardlink_update::report::State;
use wardlink_update::uptane::{Handed, Trust};

/// From how large a step of the device's clock on what was refused may count.
const CLOCK_STEP: Duration = Duration::from_mins(1);

/// A service port.
pub(super) struct Port {
    folder: PathBuf,
    /// What was taken last.
    taken: Option<Seen>,
}

/// What lay there, and when.
struct Seen {
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    moment: Moment,
}

/// What a verdict depends on beside the files.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// The site that the device is at.
    pub(super) site: Option<Sha256>,
    /// By the device's clock.
    pub(super) now: UnixMillis,
    /// By one that nobody sets.
    pub(super) instant: Instant,
}

impl Moment {
    /// Whether what was refused then may count now: at another site, or by a clock that was set.
    fn decides_otherwise(&self, later: &Self) -> bool {
        let expected = self.now.after(later.instant.duration_since(self.instant));
        let step = expected.since(later.now).max(later.now.since(expected));
        self.site != later.site || step > CLOCK_STEP
    }
}

/// What lies there.
pub(super) struct HandedOn {
    seen: Seen,
    pub(super) director: Option<Vec<u8>>,
    director_roots: Vec<Vec<u8>>,
    image_roots: Vec<Vec<u8>>,
    delegator: Option<Vec<u8>>,
    directive: Option<Vec<u8>>,
    release: Option<Vec<u8>>,
    is_undirected: bool,
}

impl Port {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, taken: None }
    }

    /// What lies there, unless it was taken already and would be judged as it was then; none where nothing does. It is there until
    /// [`Port::taken`].
    pub(super) fn changed(&mut self, trusted: &Trusted, moment: Moment) -> Result<Option<HandedOn>, DeviceError> {
        let files = self.look();
        if files.is_empty() {
            // Whoever puts the same there once more means it.
            self.taken = None;
            return Ok(None);
        }
        let is_same = |taken: &Seen| taken.files == files && !taken.moment.decides_otherwise(&moment);
        // What is just being changed is looked at when it is whole.
        if self.taken.as_ref().is_some_and(is_same) || bundle::is_under_way(&self.folder) {
            return Ok(None);
        }
        let (images, director) = trusted.root_versions();
        let metadata = self.folder.join("metadata");
        let manufacturer = &trusted.provisioned.manufacturer;
        let newest = |of: &str| versions(&metadata, of).pop().map(|(_, path)| path);
        let handed = HandedOn {
            seen: Seen { files, moment },
            director: read(&self.folder.join("director-root.cose"), limit(MAX_DIRECTOR_ROOT_BYTES))?,
            director_roots: roots(&self.folder.join("director"), director)?,
            image_roots: roots(&metadata, images)?,
            delegator: newest("targets.json").map(|path| read(&path, MAX_TARGETS_BYTES)).transpose()?.flatten(),
            directive: read(&self.folder.join("directive.json"), MAX_TARGETS_BYTES)?,
            // The release tool escapes the names of roles in those of files.
            release: newest(&format!("{}.json", quoted(manufacturer.as_str())))
                .map(|path| read(&path, MAX_TARGETS_BYTES))
                .transpose()?
                .flatten(),
            is_undirected: trusted.provisioned.trust == Trust::Manufacturer,
        };
        // It has begun to be changed meanwhile: what was read may be something of both.
        if bundle::is_under_way(&self.folder) {
            return Ok(None);
        }
        if handed.release.is_none() && handed.directive.is_none() {
            self.taken(handed);
            return Ok(None);
        }
        Ok(Some(handed))
    }

    /// It was judged, and is not looked at again as long as it is the same.
    pub(super) fn taken(&mut self, handed: HandedOn) {
        self.taken = Some(handed.seen);
    }

    fn look(&self) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
        let folders = [self.folder.clone(), self.folder.join("metadata"), self.folder.join("director")];
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let files = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
        let files = files.filter(|(path, metadata)| metadata.is_file() && !is_beside(path));
        let mut seen: Vec<_> = files.map(|(path, metadata)| (path, metadata.len(), metadata.modified().ok())).collect();
        seen.sort();
        seen
    }

    /// Bytes of an image from a position on; none where they are not there.
    pub(super) fn image(&self, path: &TargetPath, target: &Target, position: u64) -> Option<Vec<u8>> {
        let file = open_file(&self.folder.join(Self::place_of_image(path, target))).ok()?;
        let mut bytes = vec![0; MAX_CHUNK_BYTES];
        let count = file.read_at(&mut bytes, position).ok()?;
        bytes.truncate(count);
        // No more than is wanted: what lies behind the image's end on a stick is not the image's fault.
        bytes.truncate(usize::try_from(target.length.saturating_sub(position)).unwrap_or(usize::MAX));
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Where an image lies in the port.
    pub(super) fn place_of_image(path: &TargetPath, target: &Target) -> PathBuf {
        Path::new("targets").join(target.file_name(path))
    }

    /// Where added data lies in the port.
    pub(super) fn place_of_added(hash: Sha256) -> PathBuf {
        Path::new("added").join(hash.to_string())
    }

    /// Removes what lies at this place of the port.
    pub(super) fn forget(&self, place: &Path) -> io::Result<()> {
        if_there(fs::remove_file(self.folder.join(place))).map(drop)
    }

    /// What is said to a member of a set.
    pub(super) fn word(&self) -> Option<Word> {
        bundle::word(&self.folder)
    }

    /// Added data; none where it is not there.
    pub(super) fn added(&self, hash: Sha256) -> Option<Vec<u8>> {
        read(&self.folder.join(Self::place_of_added(hash)), MAX_ADDED_BYTES).ok().flatten()
    }
}

impl HandedOn {
    /// Where nobody directs: the newest package that the manufacturer has for the device.
    pub(super) fn path(&self, state: &State) -> Option<TargetPath> {
        let bytes = self.release.as_ref().filter(|_| self.is_undirected)?;
        let targets = Signed::<Targets>::parse(bytes).ok()?.role.targets;
        let packages = targets.into_iter().filter_map(|(path, target)| match Release::of(&path, &target) {
            Ok(Some(Release::Package(package))) => Some((package.release_counter, path, package)),
            _ => None,
        });
        let fits = |package: &Package| {
            package.recalled.is_none()
                && package.hardware.contains(&state.characteristics.hardware)
                && package.pre_revision.contains(&state.characteristics.revision)
        };
        packages.filter(|(_, _, package)| fits(package)).max_by_key(|(counter, ..)| *counter).map(|(_, path, _)| path)
    }

    pub(super) fn offer<'a>(&'a self, path: Option<&'a TargetPath>) -> Offer<'a> {
        let news = News {
            director_roots: &self.director_roots,
            image_roots: &self.image_roots,
            delegator: self.delegator.as_deref(),
        };
        let handed = Handed { server: self.directive.as_deref(), manufacturer: self.release.as_deref(), path };
        Offer { news, handed }
    }
}

/// Whether a file is none of what is handed on: what the device says itself, a word to a member of a set, and what is hidden.
fn is_beside(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    [TOLD, bundle::SET].contains(&name) || name.starts_with('.')
}

/// The roots after this version, one after another; none where the device follows none.
fn roots(folder: &Path, known: Option<u64>) -> io::Result<Vec<Vec<u8>>> {
    let Some(mut known) = known else { return Ok(Vec::new()) };
    let mut roots = Vec::new();
    for (version, path) in versions(folder, "root.json") {
        let is_next = known.checked_add(1) == Some(version);
        if is_next && roots.len() < usize::try_from(MAX_ROOT_ROTATIONS).unwrap_or(usize::MAX) {
            roots.extend(read(&path, MAX_ROOT_BYTES)?);
            known = version;
        }
    }
    Ok(roots)
}

/// At most one byte more than a file may have: whoever reads it sees that it is too long. None where there is none.
fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    Ok(if_there(read_file(path, max_bytes))?.flatten())
}

fn limit(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

//! The folder of a repository: what is published, what is being made, and how the one becomes the other.
//!
//! ```text
//! metadata/   published: every root, timestamp, and the versions of the other roles
//! targets/    the files, each with its hash before its name
//! inventory/  published: the newest inventory of each manufacturer
//! drafts/     metadata that waits for signatures
//! commit/     the next state, while it is moved to metadata/
//! settings.json
//! ```
//!
//! A publication is verified, and written to `commit/` as a whole; the renaming that gives the folder its name is the moment from which it
//! counts. A command that finds the folder moves what is left of it before it does anything else, so that no interruption leaves
//! a mixture.

use super::settings::Settings;
use super::verify::{Places, verify};
use super::work::{Files, Item, Work, typed};
use super::{ReleaseError, files};
use std::fs::{self, File as Handle, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wardlink_update::limits::{MAX_ROOT_BYTES, MAX_TARGETS_BYTES};
use wardlink_update::metadata::{Snapshot, Target, TargetPath, Timestamp};

const METADATA: &str = "metadata";
const TARGETS: &str = "targets";
const DRAFTS: &str = "drafts";
const COMMIT: &str = "commit";
/// What is not yet a whole `commit/`.
const COMMIT_IN_THE_MAKING: &str = "commit.new";
const INVENTORY: &str = "inventory";
const LOCK: &str = "lock";
/// The longest metadata file, in bytes.
const MAX_METADATA_BYTES: u64 = MAX_TARGETS_BYTES;

/// A repository's folder, locked against other commands.
pub(super) struct Repository {
    folder: PathBuf,
    pub(super) work: Work,
    pub(super) settings: Settings,
    /// Held until the end of the command.
    _lock: Handle,
}

impl Repository {
    /// Makes a new repository's folder, with drafts only.
    pub(super) fn create(folder: &Path, work: Work, settings: Settings) -> Result<Self, ReleaseError> {
        if is_repository(folder) {
            return Err(ReleaseError::Exists(folder.to_owned()));
        }
        for name in [METADATA, TARGETS, DRAFTS, INVENTORY] {
            files::make_folder(&folder.join(name))?;
        }
        let lock = lock(folder)?;
        let repository = Self { folder: folder.to_owned(), work, settings, _lock: lock };
        repository.save()?;
        // Only the settings make it a repository.
        repository.settings.write(folder)?;
        Ok(repository)
    }

    /// Opens a repository's folder; ends a publication that was interrupted.
    pub(super) fn open(folder: &Path) -> Result<Self, ReleaseError> {
        if !is_repository(folder) {
            let text = format!("{} is no repository; make one with: wardlink release init", folder.display());
            return Err(ReleaseError::Usage(text));
        }
        let lock = lock(folder)?;
        let settings = Settings::read(folder)?;
        let mut repository = Self { folder: folder.to_owned(), work: Work::default(), settings, _lock: lock };
        repository.end_commit()?;
        repository.load()?;
        Ok(repository)
    }

    /// Where the published metadata is.
    fn metadata(&self) -> PathBuf {
        self.folder.join(METADATA)
    }

    /// Where the files of targets are.
    pub(super) fn targets(&self) -> PathBuf {
        self.folder.join(TARGETS)
    }

    /// Where a target's file is.
    pub(super) fn place(&self, path: &TargetPath, target: &Target) -> PathBuf {
        self.targets().join(target.file_name(path))
    }

    /// Stores the drafts as they are.
    pub(super) fn save(&self) -> Result<(), ReleaseError> {
        for item in &self.work.void {
            eprintln!("{} was signed before it changed: it has to be signed anew", item.name());
        }
        let folder = self.folder.join(DRAFTS);
        let wanted: Vec<String> = self.work.drafts.keys().map(Item::file_name).collect();
        // What is void goes first: no snapshot is left that lists what is no longer there.
        for name in names(&folder)?.into_iter().filter(|name| !wanted.contains(name)) {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(ReleaseError::file(&path))?;
        }
        for (name, bytes) in wanted.iter().zip(self.work.drafts.values()) {
            let path = folder.join(name);
            if files::read_if_there(&path, MAX_METADATA_BYTES)?.as_ref() != Some(bytes) {
                files::write(&path, bytes)?;
            }
        }
        files::synchronize(&folder)
    }

    /// Publishes all drafts, in one step; but only what a client accepts.
    pub(super) fn publish(&mut self) -> Result<(), ReleaseError> {
        let making = self.folder.join(COMMIT_IN_THE_MAKING);
        remove_folder(&making)?;
        files::make_folder(&making)?;
        for (name, bytes) in self.work.publication()? {
            files::write(&making.join(name), &bytes)?;
        }
        let mut places = self.places();
        places.metadata.insert(0, making.clone());
        verify(&places, None)?;
        let commit = self.folder.join(COMMIT);
        fs::rename(&making, &commit).map_err(ReleaseError::file(&commit))?;
        files::synchronize(&self.folder)?;
        self.end_commit()?;
        self.load()
    }

    /// Moves what is left of a publication, and forgets the drafts that it was made of.
    fn end_commit(&self) -> Result<(), ReleaseError> {
        remove_folder(&self.folder.join(COMMIT_IN_THE_MAKING))?;
        let commit = self.folder.join(COMMIT);
        if !commit.exists() {
            return Ok(());
        }
        let metadata = self.metadata();
        let mut left = names(&commit)?;
        // Root first, timestamp last: it is what makes clients look at the others.
        left.sort_by_key(|name| (name == "timestamp.json", !name.ends_with(".root.json")));
        for name in left {
            let (from, to) = (commit.join(&name), metadata.join(&name));
            fs::rename(&from, &to).map_err(ReleaseError::file(&to))?;
            files::synchronize(&metadata)?;
        }
        let drafts = self.folder.join(DRAFTS);
        let is_void = |name: &String| !matches!(Item::of(name), Some(Item::Inventory(_)));
        for name in names(&drafts)?.into_iter().filter(is_void) {
            let path = drafts.join(name);
            fs::remove_file(&path).map_err(ReleaseError::file(&path))?;
        }
        files::synchronize(&drafts)?;
        remove_folder(&commit)?;
        files::synchronize(&self.folder)
    }

    fn load(&mut self) -> Result<(), ReleaseError> {
        let (roots, mut published) = load_published(&self.metadata())?;
        for (item, bytes) in self.load_folder(INVENTORY)? {
            published.insert(item, bytes);
        }
        let mut drafts = self.load_folder(DRAFTS)?;
        // One that is published already waits for nothing: an interruption left it.
        drafts.retain(|item, bytes| published.get(item) != Some(bytes));
        self.work = Work { roots, published, drafts, void: Vec::new() };
        Ok(())
    }

    fn load_folder(&self, name: &str) -> Result<Files, ReleaseError> {
        let folder = self.folder.join(name);
        let mut loaded = Files::new();
        for name in names(&folder)? {
            let Some(item) = Item::of(&name) else { continue };
            loaded.insert(item, files::read(&folder.join(name), MAX_METADATA_BYTES)?);
        }
        Ok(loaded)
    }

    /// Puts complete inventories into their place.
    pub(super) fn publish_inventories(&mut self) -> Result<Vec<Item>, ReleaseError> {
        let mut done = Vec::new();
        for (item, bytes) in &self.work.drafts {
            if matches!(item, Item::Inventory(_)) && self.work.is_complete(item)? {
                files::write(&self.inventories().join(item.file_name()), bytes)?;
                done.push(item.clone());
            }
        }
        for item in &done {
            if let Some(bytes) = self.work.drafts.remove(item) {
                self.work.published.insert(item.clone(), bytes);
            }
        }
        Ok(done)
    }

    /// Where the published inventories are.
    fn inventories(&self) -> PathBuf {
        self.folder.join(INVENTORY)
    }

    /// Where everything is that is published.
    pub(super) fn places(&self) -> Places {
        Places { metadata: vec![self.metadata()], targets: self.targets(), inventories: self.inventories() }
    }
}

/// Reads what is published in a folder of metadata: all roots, and the other roles as timestamp and snapshot list them.
pub(super) fn load_published(metadata: &Path) -> Result<(Vec<Vec<u8>>, Files), ReleaseError> {
    let mut roots = Vec::new();
    let mut published = Files::new();
    for number in 1_u64.. {
        let Some(root) = files::read_if_there(&metadata.join(format!("{number}.root.json")), MAX_ROOT_BYTES)? else {
            break;
        };
        published.insert(Item::Root, root.clone());
        roots.push(root);
    }
    let Some(bytes) = files::read_if_there(&metadata.join("timestamp.json"), MAX_METADATA_BYTES)? else {
        return Ok((roots, published));
    };
    let timestamp = typed::<Timestamp>(&Item::Timestamp, &bytes)?;
    published.insert(Item::Timestamp, bytes);
    let name = format!("{}.snapshot.json", timestamp.role.snapshot().version);
    let bytes = files::read(&metadata.join(name), MAX_METADATA_BYTES)?;
    let snapshot = typed::<Snapshot>(&Item::Snapshot, &bytes)?;
    published.insert(Item::Snapshot, bytes);
    for (name, listed) in &snapshot.role.meta {
        let quoted = crate::tuf::quoted(name);
        let Some(item @ Item::Targets(_)) = Item::of(&quoted) else { continue };
        let name = format!("{}.{quoted}", listed.version);
        published.insert(item, files::read(&metadata.join(name), MAX_METADATA_BYTES)?);
    }
    Ok((roots, published))
}

fn is_repository(folder: &Path) -> bool {
    Settings::path(folder).is_file()
}

fn lock(folder: &Path) -> Result<Handle, ReleaseError> {
    let path = folder.join(LOCK);
    let handle = Handle::create(&path).map_err(ReleaseError::file(&path))?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(ReleaseError::Busy(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(ReleaseError::file(&path)(error)),
    }
}

/// The names of the files in a folder, in order; what is not yet whole is none of them.
fn names(folder: &Path) -> Result<Vec<String>, ReleaseError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(ReleaseError::file(folder))? {
        let name = entry.map_err(ReleaseError::file(folder))?.file_name();
        let name = name.into_string().map_err(|name| {
            ReleaseError::usage(format!("{} does not belong into {}", name.display(), folder.display()))
        })?;
        if !name.starts_with(files::TEMPORARY) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn remove_folder(folder: &Path) -> Result<(), ReleaseError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ReleaseError::file(folder)(error)),
        _ => Ok(()),
    }
}

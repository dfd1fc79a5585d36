//! `wardlink release export`: a folder for a mirror or a USB stick, whole and verified, in one step.

use super::ask::Progress;
use super::repository::Repository;
use super::verify::{Places, Verified, verify};
use super::work::{Item, published_name, typed};
use super::{ReleaseError, files};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use wardlink_update::limits::{MAX_ROOT_BYTES, MAX_TIMESTAMP_BYTES};
use wardlink_update::metadata::{Role, Target, TargetPath, Targets, Timestamp};

/// What an exported folder has, and nothing else.
const PARTS: [&str; 3] = ["metadata", "targets", "inventory"];

/// Exports what is published.
pub(super) fn run(folder: &Path, destination: &Path) -> Result<Verified, ReleaseError> {
    let repository = Repository::open(folder)?;
    if !repository.work.published.contains_key(&Item::Timestamp) {
        return Err(ReleaseError::usage("nothing is published yet; sign it first"));
    }
    let is_there = destination.symlink_metadata().is_ok();
    if is_there {
        check_earlier(&repository, destination)?;
    }
    let parent = files::folder_of(destination);
    files::make_folder(parent)?;
    let making = tempfile::Builder::new().prefix(files::TEMPORARY).tempdir_in(parent);
    let making = making.map_err(ReleaseError::file(parent))?;
    write(&repository, making.path())?;
    let places = Places::of(making.path());
    let verified = verify(&places, None)?;
    files::make_folder_readable(making.path())?;
    if is_there {
        exchange(making.path(), destination)?;
        files::synchronize(parent)?;
        // What was exported before goes with the temporary folder.
        return Ok(verified);
    }
    fs::rename(making.path(), destination).map_err(ReleaseError::file(destination))?;
    // The folder has its own name now, and stays.
    drop(making.keep());
    files::synchronize(parent)?;
    Ok(verified)
}

/// A folder is replaced only where it is an earlier export of the same repository, and no newer one.
fn check_earlier(repository: &Repository, destination: &Path) -> Result<(), ReleaseError> {
    let foreign = || ReleaseError::usage(format!("{} is no earlier export of this repository", destination.display()));
    for entry in fs::read_dir(destination).map_err(|_| foreign())? {
        let name = entry.map_err(ReleaseError::file(destination))?.file_name();
        if !PARTS.iter().any(|part| name == *part) {
            return Err(foreign());
        }
    }
    let metadata = destination.join("metadata");
    let root = files::read(&metadata.join("1.root.json"), MAX_ROOT_BYTES).map_err(|_| foreign())?;
    if Some(&root) != repository.work.roots.first() {
        return Err(foreign());
    }
    let earlier = files::read(&metadata.join("timestamp.json"), MAX_TIMESTAMP_BYTES).map_err(|_| foreign())?;
    let earlier = typed::<Timestamp>(&Item::Timestamp, &earlier)?.role.version();
    let own = repository.work.published.get(&Item::Timestamp).map(|bytes| typed::<Timestamp>(&Item::Timestamp, bytes));
    if own.transpose()?.is_none_or(|own| own.role.version() < earlier) {
        return Err(ReleaseError::usage(format!("{} is newer than this repository", destination.display())));
    }
    Ok(())
}

fn write(repository: &Repository, folder: &Path) -> Result<(), ReleaseError> {
    for part in PARTS {
        files::make_folder(&folder.join(part))?;
    }
    let metadata = folder.join("metadata");
    for root in &repository.work.roots {
        files::write(&metadata.join(published_name(&Item::Root, root)?), root)?;
    }
    let mut targets = BTreeMap::new();
    for (item, bytes) in &repository.work.published {
        match item {
            Item::Root => continue,
            Item::Inventory(_) => files::write(&folder.join("inventory").join(item.file_name()), bytes)?,
            _ => files::write(&metadata.join(published_name(item, bytes)?), bytes)?,
        }
        if matches!(item, Item::Targets(_)) {
            targets.extend(typed::<Targets>(item, bytes)?.role.targets);
        }
    }
    let total = targets.values().fold(0_u64, |total, target: &Target| total.saturating_add(target.length));
    let mut progress = Progress::new("Copying", total);
    for (path, target) in &targets {
        copy(repository, path, target, &folder.join("targets"), &mut progress)?;
    }
    Ok(())
}

fn copy(
    repository: &Repository,
    path: &TargetPath,
    target: &Target,
    into: &Path,
    progress: &mut Progress,
) -> Result<(), ReleaseError> {
    let (from, to) = (repository.place(path, target), into.join(target.file_name(path)));
    files::make_folder(files::folder_of(&to))?;
    let source = File::open(&from).map_err(|_| ReleaseError::WrongFile { path: from.clone() })?;
    let mut source = source.take(target.length.saturating_add(1));
    let mut temporary = files::temporary_beside(&to)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = source.read(&mut buffer).map_err(ReleaseError::file(&from))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        temporary.write_all(chunk).map_err(ReleaseError::file(&to))?;
        progress.add(count);
    }
    files::make_readable(temporary.as_file()).map_err(ReleaseError::file(&to))?;
    files::put(temporary, &to)
}

/// Puts one folder in the place of another. Where the file system cannot do so in one step, it takes two.
fn exchange(new: &Path, destination: &Path) -> Result<(), ReleaseError> {
    if renameat_with(CWD, new, CWD, destination, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let parent = files::folder_of(destination);
    let aside = tempfile::Builder::new().prefix(files::TEMPORARY).tempdir_in(parent);
    let aside = aside.map_err(ReleaseError::file(parent))?;
    let old = aside.path().join("old");
    fs::rename(destination, &old).map_err(ReleaseError::file(destination))?;
    fs::rename(new, destination).map_err(|error| {
        // The earlier export goes back to its place.
        drop(fs::rename(&old, destination));
        ReleaseError::file(destination)(error)
    })
}

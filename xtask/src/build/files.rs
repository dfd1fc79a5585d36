//! Small operations on folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The name of a file, as text.
pub(super) fn name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} has no usable name", path.display()))
}

/// Empties a folder, or creates it.
pub(super) fn recreate(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file, and the folders above it, unless it already says the same.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// The files of a folder, relative to it, in order.
pub(crate) fn list(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let entries = fs::read_dir(folder.join(&relative));
        for entry in entries.with_context(|| format!("cannot list {}", folder.join(&relative).display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let path = relative.join(entry.file_name());
            if entry.file_type().with_context(|| format!("cannot read {}", entry.path().display()))?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

/// Copies the files of one folder into another, touching only those that differ.
pub(super) fn add(from: &Path, to: &Path) -> Result<()> {
    for file in list(from)? {
        let content =
            fs::read(from.join(&file)).with_context(|| format!("cannot read {}", from.join(&file).display()))?;
        write(&to.join(&file), &content)?;
    }
    Ok(())
}

/// Makes one folder hold exactly the files of another, touching only those that differ.
pub(super) fn mirror(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    add(from, to)?;
    for file in list(to)?.difference(&list(from)?) {
        fs::remove_file(to.join(file)).with_context(|| format!("cannot remove {}", to.join(file).display()))?;
    }
    Ok(())
}

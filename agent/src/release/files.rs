//! Files that are whole or not there: written beside their place, made durable, and put there in one step.

use super::ReleaseError;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReleaseError> {
    let file = File::open(path).map_err(ReleaseError::file(path))?;
    // In one piece: what is secret leaves no copies behind while it grows.
    let length = file.metadata().map_or(0, |metadata| metadata.len().min(max_bytes));
    let mut bytes = Vec::with_capacity(usize::try_from(length.saturating_add(1)).unwrap_or(0));
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(ReleaseError::file(path))?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > max_bytes) {
        return Err(ReleaseError::usage(format!("{} is longer than {max_bytes} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a file that may be missing.
pub(super) fn read_if_there(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, ReleaseError> {
    match read(path, max_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReleaseError::File { why, .. }) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file, in place of an earlier one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ReleaseError> {
    let mut temporary = temporary_beside(path)?;
    temporary.write_all(bytes).map_err(ReleaseError::file(path))?;
    make_readable(temporary.as_file()).map_err(ReleaseError::file(path))?;
    put(temporary, path)
}

/// Writes a file that must not be there yet. Only its owner may read it where it is `secret`.
pub(super) fn write_new(path: &Path, bytes: &[u8], secret: bool) -> Result<(), ReleaseError> {
    let mut temporary = temporary_beside(path)?;
    temporary.write_all(bytes).map_err(ReleaseError::file(path))?;
    if !secret {
        make_readable(temporary.as_file()).map_err(ReleaseError::file(path))?;
    }
    temporary.as_file().sync_all().map_err(ReleaseError::file(path))?;
    temporary.persist_noclobber(path).map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => ReleaseError::Exists(path.to_owned()),
        _ => ReleaseError::file(path)(error.error),
    })?;
    synchronize(folder_of(path))
}

/// A file of our own in the folder of `path`, which only its owner may read.
pub(super) fn temporary_beside(path: &Path) -> Result<NamedTempFile, ReleaseError> {
    let folder = folder_of(path);
    tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder).map_err(ReleaseError::file(folder))
}

/// How names of files begin that are not whole yet.
pub(super) const TEMPORARY: &str = ".wardlink-";

/// Puts a whole file into its place, durably and in one step.
pub(super) fn put(temporary: NamedTempFile, path: &Path) -> Result<(), ReleaseError> {
    temporary.as_file().sync_all().map_err(ReleaseError::file(path))?;
    temporary.persist(path).map_err(|error| ReleaseError::file(path)(error.error))?;
    synchronize(folder_of(path))
}

/// Makes the names in a folder durable.
pub(super) fn synchronize(folder: &Path) -> Result<(), ReleaseError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ReleaseError::file(folder))
}

/// Makes a folder, and those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), ReleaseError> {
    fs::create_dir_all(path).map_err(ReleaseError::file(path))
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is published may be read by everybody: temporary files begin as readable by their owner only.
pub(super) fn make_readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// The same for a folder.
pub(super) fn make_folder_readable(folder: &Path) -> Result<(), ReleaseError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(ReleaseError::file(folder))
}

/// Whether others than its owner may read a file.
pub(super) fn is_readable_by_others(path: &Path) -> Result<bool, ReleaseError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).map_err(ReleaseError::file(path))?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o077 != 0)
}

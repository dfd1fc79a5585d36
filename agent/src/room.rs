//! Room on a disk, for what is long: what devices have stored has it first.

use std::io;
use std::path::Path;

/// What images leave free on a disk, in bytes: room for what devices have stored.
const KEPT_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// Whether the disk on which this folder lies has room for so many bytes more.
pub(crate) fn is_there(folder: &Path, bytes: u64) -> io::Result<bool> {
    let free = rustix::fs::statvfs(folder)?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize) >= bytes.saturating_add(KEPT_FREE_BYTES))
}

/// Whether a disk has refused to write because there is no room on it, or none for us.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

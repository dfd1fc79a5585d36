//! Deltas: what has to be changed in one version of a file to make the next one of it.
//!
//! The format is that of bsdiff 4 (`BSDIFF40`): a header, and three bzip2 streams of controls, differences and new bytes. Native
//! only: the manufacturer's tool makes deltas, gateways and devices apply them.
//!
//! Threats considered: a delta may come from an attacker. Its header and every control are checked before a byte is written;
//! the caller says how long the result is, and nothing is written beyond. Applying takes the old file and the delta as slices,
//! and beyond them no more than [`APPLY_BYTES`], whatever the delta says. Whether the result is the right one says only
//! its hash, which the caller has to check.

mod controls;

use controls::Controls;
use qbsdiff::{Bsdiff, Bspatch, ParallelScheme};
use std::io::{self, Write};

/// The longest file that a delta leads from or to, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most memory that applying takes beyond the old file and the delta, in bytes: three bzip2 decoders of at most 4 MB, and
/// buffers.
pub const APPLY_BYTES: u64 = 16_000_000;

/// How much is computed before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// How well bzip2 compresses; also the size of its blocks, in 100,000 bytes.
const COMPRESSION: u32 = 9;

/// Why a delta is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The delta's fault: it is not of the format, or is cut short.
    #[error("the delta is damaged: {0}")]
    Damaged(&'static str),
    /// The delta's fault: it leads to a file of another length.
    #[error("the delta makes {found} bytes, not the {wanted} that are listed")]
    Length {
        /// What is listed.
        wanted: u64,
        /// What the delta says.
        found: u64,
    },
    /// The delta's fault: it is no shorter than what it makes.
    #[error("the delta is no shorter than the whole file")]
    NotSmaller,
    /// The caller's fault, or the delta's: a file is too long for deltas.
    #[error("files of more than {MAX_FILE_BYTES} bytes have no deltas")]
    TooLong,
    /// The delta's fault: its data ends early or cannot be unpacked; or the result cannot be written.
    #[error("the delta cannot be applied: {0}")]
    Io(#[from] io::Error),
}

/// Why no delta is made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The caller's fault: a file is too long for deltas.
    #[error("files of more than {MAX_FILE_BYTES} bytes have no deltas")]
    TooLong,
    /// The whole file is as short: it is the better delta.
    #[error("the delta would have {delta} bytes, and the whole file has {whole}")]
    NotSmaller {
        /// The delta's length.
        delta: u64,
        /// The file's.
        whole: u64,
    },
    /// Our fault: what was made does not lead to the new file.
    #[error("the delta does not lead to the new file")]
    Wrong,
    /// Our fault: it cannot be packed.
    #[error("the delta cannot be made: {0}")]
    Io(#[from] io::Error),
}

/// Makes the delta from `old` to `new`, and applies it once to see that it leads there.
///
/// It takes five times the old file's length of memory, and twice the new file's.
pub fn make(old: &[u8], new: &[u8]) -> Result<Vec<u8>, MakeError> {
    if length(old) > MAX_FILE_BYTES || length(new) > MAX_FILE_BYTES {
        return Err(MakeError::TooLong);
    }
    let not_smaller = |delta| MakeError::NotSmaller { delta, whole: length(new) };
    if old.is_empty() {
        return Err(not_smaller(length(new)));
    }
    let mut delta = Vec::new();
    let differ = Bsdiff::new(old, new).compression_level(COMPRESSION).parallel_scheme(ParallelScheme::Never);
    differ.compare(io::Cursor::new(&mut delta))?;
    if delta.len() >= new.len() {
        return Err(not_smaller(length(&delta)));
    }
    let mut made = Vec::with_capacity(new.len());
    match apply(old, &delta, length(new), &mut made) {
        Ok(()) if made == new => Ok(delta),
        _ => Err(MakeError::Wrong),
    }
}

/// Applies a delta to the old file; `new_length` is the listed length of the result, in bytes.
///
/// After an error some of the result may have been written: it is of no use then.
pub fn apply(old: &[u8], delta: &[u8], new_length: u64, out: impl Write) -> Result<(), ApplyError> {
    if length(old) > MAX_FILE_BYTES || new_length > MAX_FILE_BYTES {
        return Err(ApplyError::TooLong);
    }
    if length(delta) >= new_length {
        return Err(ApplyError::NotSmaller);
    }
    Controls::check(delta, length(old), new_length)?;
    let mut out = Limited { out, left: new_length };
    Bspatch::new(delta)?.buffer_size(BUFFER_BYTES).delta_min(BUFFER_BYTES).apply(old, &mut out)?;
    if out.left > 0 {
        return Err(ApplyError::Length { wanted: new_length, found: new_length.saturating_sub(out.left) });
    }
    Ok(())
}

/// Takes no more than it may.
struct Limited<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(length(bytes)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it makes more than is listed"));
        };
        self.out.write_all(bytes)?;
        self.left = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

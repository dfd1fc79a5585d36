//! Where a device keeps its software: a flat folder, in steps so small that a power loss falls before, into or after one of them.
//!
//! Nothing is durable before it was synchronized: a file's content by [`Disk::sync`], the names of files by [`Disk::sync_names`].

use super::slots::Slot;
use crate::files::{if_there, make_folder};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wardlink_protocol::identity::Sha256;
use wardlink_records::queue::BatchKey;

const LOCK_FILE: &str = "lock";
/// What the name of a damaged batch ends with.
const DAMAGED: &str = ".damaged";

/// A file of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// What the device knows: which slot is active, what it trusts, how far an update has come.
    Record,
    /// The record on its way.
    NewRecord,
    /// An image.
    Slot(Slot),
    /// Data that a server has added, by its SHA-256.
    Added(Sha256),
    /// What the device has stored of its data, and not signed yet, and how far each signed batch is.
    Stored,
    /// The same on its way.
    NewStored,
    /// What could not be read of it, for a person to look at.
    DamagedStored,
    /// A signed batch of stored data.
    Batch(BatchKey),
    /// One that could not be read, for a person to look at.
    DamagedBatch(BatchKey),
}

impl Name {
    /// The name in the folder.
    pub fn text(self) -> String {
        match self {
            Self::Record => "software".to_owned(),
            Self::NewRecord => "software.new".to_owned(),
            Self::Slot(Slot::A) => "slot-a".to_owned(),
            Self::Slot(Slot::B) => "slot-b".to_owned(),
            Self::Added(hash) => format!("added-{hash}"),
            Self::Stored => "stored".to_owned(),
            Self::NewStored => "stored.new".to_owned(),
            Self::DamagedStored => "stored.damaged".to_owned(),
            Self::Batch(key) => format!("batch-{}-{}", key.chain, key.first),
            Self::DamagedBatch(key) => format!("{}{DAMAGED}", Self::Batch(key).text()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let fixed = [
            Self::Record,
            Self::NewRecord,
            Self::Slot(Slot::A),
            Self::Slot(Slot::B),
            Self::Stored,
            Self::NewStored,
            Self::DamagedStored,
        ];
        let fixed = fixed.into_iter().find(|name| name.text() == text);
        let added = || text.strip_prefix("added-")?.parse().ok().map(Self::Added);
        fixed.or_else(added).or_else(|| {
            let rest = text.strip_prefix("batch-")?;
            let (rest, is_damaged) = rest.strip_suffix(DAMAGED).map_or((rest, false), |rest| (rest, true));
            let (chain, first) = rest.split_once('-')?;
            let key = BatchKey { chain: chain.parse().ok()?, first: first.parse().ok()? };
            Some(if is_damaged { Self::DamagedBatch(key) } else { Self::Batch(key) })
        })
    }
}

/// The files of a device. Each change is one step.
pub trait Disk {
    /// The file's length in bytes; none where there is no such file.
    fn length(&self, name: Name) -> io::Result<Option<u64>>;
    /// Reads bytes from a place on, as many as there are, up to the buffer's length.
    fn read_at(&self, name: Name, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The files that are there.
    fn names(&self) -> io::Result<Vec<Name>>;
    /// Writes bytes at a place; makes the file where there is none.
    fn write_at(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file, or makes an empty one.
    fn set_length(&mut self, name: Name, length: u64) -> io::Result<()>;
    /// Makes the file's content durable.
    fn sync(&mut self, name: Name) -> io::Result<()>;
    /// Puts a file in another's place.
    fn rename(&mut self, from: Name, to: Name) -> io::Result<()>;
    /// Removes a file, if it is there.
    fn remove(&mut self, name: Name) -> io::Result<()>;
    /// Makes the names of files durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

impl<D: Disk> Disk for &mut D {
    fn length(&self, name: Name) -> io::Result<Option<u64>> {
        (**self).length(name)
    }

    fn read_at(&self, name: Name, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(name, offset, buffer)
    }

    fn names(&self) -> io::Result<Vec<Name>> {
        (**self).names()
    }

    fn write_at(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(name, offset, bytes)
    }

    fn set_length(&mut self, name: Name, length: u64) -> io::Result<()> {
        (**self).set_length(name, length)
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        (**self).sync(name)
    }

    fn rename(&mut self, from: Name, to: Name) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        (**self).remove(name)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        (**self).sync_names()
    }
}

/// Reads a whole file of at most so many bytes; none where there is none, or where it is longer.
pub(super) fn read(disk: &impl Disk, name: Name, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = disk.length(name)?.filter(|length| *length <= limit) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(name, u64::try_from(filled).map_err(|_| ErrorKind::FileTooLarge)?, rest)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => filled = filled.saturating_add(count),
        }
    }
    Ok(Some(bytes))
}

/// Writes a whole file and makes it durable. After a power loss it is there, or anything may be in its place.
pub(super) fn write(disk: &mut impl Disk, name: Name, bytes: &[u8]) -> io::Result<()> {
    disk.set_length(name, 0)?;
    disk.write_at(name, 0, bytes)?;
    disk.sync(name)?;
    disk.sync_names()
}

/// A folder that only its owner can look into, held for this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens the folder, or makes it. Another process that has it is an error of the kind `WouldBlock`.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_folder(path)?;
        let lock = options().create(true).truncate(false).open(path.join(LOCK_FILE))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn file(&self, name: Name) -> PathBuf {
        self.path.join(name.text())
    }

    fn to_write(&self, name: Name) -> io::Result<File> {
        options().create(true).truncate(false).open(self.file(name))
    }
}

/// As the device's own files are opened: never through a link that somebody put there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

impl Disk for Folder {
    fn length(&self, name: Name) -> io::Result<Option<u64>> {
        Ok(if_there(fs::symlink_metadata(self.file(name)))?.map(|metadata| metadata.len()))
    }

    fn read_at(&self, name: Name, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        options().open(self.file(name))?.read_at(buffer, offset)
    }

    fn names(&self) -> io::Result<Vec<Name>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(Name::parse(&entry?.file_name().to_string_lossy())));
        names.filter_map(Result::transpose).collect()
    }

    fn write_at(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.to_write(name)?.write_all_at(bytes, offset)
    }

    fn set_length(&mut self, name: Name, length: u64) -> io::Result<()> {
        self.to_write(name)?.set_len(length)
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        self.to_write(name)?.sync_all()
    }

    fn rename(&mut self, from: Name, to: Name) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        if_there(fs::remove_file(self.file(name))).map(drop)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
pub(super) mod model;

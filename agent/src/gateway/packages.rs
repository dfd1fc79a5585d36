//! The cache of images: files by their SHA-256, synchronized before the store knows them. What is on its way lies under another name,
//! and goes on where it was cut off.

use super::store::{Store, StoreError};
use crate::files::{make_folder, open_file};
use crate::room;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempPath;
use wardlink_protocol::identity::Sha256;
use wardlink_update::metadata::Target;
use wardlink_update::uptane::{Corrupt, Delivery};

/// Who may read an image, as far as the mask of this process lets them: whoever may come into its folder.
const MODE: u32 = 0o666;

/// The folder of images.
#[derive(Clone, Debug)]
pub(super) struct Packages {
    folder: PathBuf,
}

/// An image on its way.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    /// How much of it is there, in bytes.
    pub(super) length: u64,
    /// Deletes what is made here, unless it has another name by then.
    _made: Option<TempPath>,
}

impl Packages {
    pub(super) fn open(folder: PathBuf) -> Result<Self, StoreError> {
        make_folder(&folder).map_err(StoreError::of_file)?;
        Ok(Self { folder })
    }

    /// Where an image lies, or will lie.
    pub(super) fn path(&self, sha256: &Sha256) -> PathBuf {
        self.folder.join(sha256.to_string())
    }

    fn path_of_part(&self, sha256: &Sha256) -> PathBuf {
        self.folder.join(format!("{sha256}.part"))
    }

    /// What is there already of an image.
    pub(super) fn partial(&self, sha256: &Sha256) -> Result<Partial, StoreError> {
        let path = self.path_of_part(sha256);
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(StoreError::of_file)?;
        Ok(Partial { file, path, length, _made: None })
    }

    /// An image that is made here, from its beginning: what has come of it lies beside. What is not finished goes by itself.
    pub(super) fn make(&self) -> Result<Partial, StoreError> {
        let mut builder = tempfile::Builder::new();
        let made = builder.permissions(fs::Permissions::from_mode(MODE)).tempfile_in(&self.folder);
        let (file, made) = made.map_err(StoreError::of_file)?.into_parts();
        Ok(Partial { file, path: made.to_path_buf(), length: 0, _made: Some(made) })
    }

    /// Takes an image that came whole: it counts when it is the listed one, and is in the store then. Another one is deleted.
    pub(super) fn finish(
        &self,
        store: &Store,
        partial: &Partial,
        sha256: &Sha256,
        target: &Target,
    ) -> Result<Result<PathBuf, Corrupt>, StoreError> {
        if let Err(error) = check(&partial.path, target).map_err(StoreError::of_file)? {
            fs::remove_file(&partial.path).map_err(StoreError::of_file)?;
            return Ok(Err(error));
        }
        let path = self.path(sha256);
        let put = || {
            partial.file.sync_all()?;
            fs::rename(&partial.path, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        put().map_err(StoreError::of_file)?;
        store.change(|change| change.add_package(sha256, target.length))?;
        Ok(Ok(path))
    }

    /// The image, where it lies whole in the cache.
    pub(super) fn find(&self, store: &Store, sha256: &Sha256) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path(sha256);
        Ok((store.has_package(sha256)? && path.exists()).then_some(path))
    }

    /// Forgets an image, whole or not.
    pub(super) fn forget(&self, store: &Store, sha256: &Sha256) -> Result<(), StoreError> {
        store.change(|change| change.remove_package(sha256))?;
        remove(&self.path(sha256))
    }

    /// Whether there is room for so many bytes more: what devices have stored has it first.
    pub(super) fn has_room(&self, bytes: u64) -> Result<bool, StoreError> {
        room::is_there(&self.folder, bytes).map_err(StoreError::of_file)
    }

    /// Forgets the part of an image that has come.
    pub(super) fn forget_part(&self, sha256: &Sha256) -> Result<(), StoreError> {
        remove(&self.path_of_part(sha256))
    }

    /// Forgets an image that is another than the listed one, as disks wear out; whether it was.
    pub(super) fn forget_if_damaged(&self, store: &Store, target: &Target) -> Result<bool, StoreError> {
        let Some(sha256) = target.sha256() else { return Ok(false) };
        let Some(path) = self.find(store, &sha256)? else { return Ok(false) };
        let is_damaged = is_damaged(&path, target);
        if is_damaged {
            self.forget(store, &sha256)?;
        }
        Ok(is_damaged)
    }

    /// Deletes every image that nobody needs (figure 12, 264), and what an interrupted run has left.
    pub(super) fn keep_only(&self, store: &Store, needed: &BTreeSet<Sha256>) -> Result<(), StoreError> {
        for sha256 in store.packages()? {
            if !needed.contains(&sha256) {
                self.forget(store, &sha256)?;
            }
        }
        let names: BTreeSet<String> = needed.iter().map(ToString::to_string).collect();
        for entry in fs::read_dir(&self.folder).map_err(StoreError::of_file)? {
            let entry = entry.map_err(StoreError::of_file)?;
            let name = entry.file_name();
            let is_needed = name.to_str().is_some_and(|name| names.contains(name.trim_end_matches(".part")));
            if !is_needed {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl Partial {
    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::of_file)?;
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        self.length = 0;
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(StoreError::of_file)
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::of_file(error)),
        _ => Ok(()),
    }
}

/// Whether a file that is there is another than the listed one, or cannot be read.
pub(super) fn is_damaged(path: &Path, target: &Target) -> bool {
    match check(path, target) {
        Ok(checked) => checked.is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether a file is the listed one.
pub(super) fn check(path: &Path, target: &Target) -> io::Result<Result<(), Corrupt>> {
    let mut delivery = Delivery::new(target);
    let mut taken = Ok(());
    read_through(path, |chunk| {
        taken = delivery.take(chunk);
        taken.is_ok()
    })?;
    Ok(taken.and_then(|()| delivery.finish()))
}

/// Reads a file to its end, or until nobody wants more. What is no file is not waited for.
pub(super) fn read_through(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = open_file(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length if take(buffer.get(..length).unwrap_or_default()) => {}
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

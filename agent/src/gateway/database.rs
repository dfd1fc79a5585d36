//! The files of the gateway's databases.

use super::store::StoreError;
use crate::files::if_there;
use redb::Database;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a database in a file, or makes it: under another name until it is whole, so that a disk that is full or power that fails meanwhile leaves no file
/// that is none.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let length = if_there(fs::metadata(path)).map_err(StoreError::of_file)?.map(|file| file.len());
    if length.unwrap_or_default() == 0 {
        make(path)?;
    }
    Ok(Database::builder().create(path)?)
}

fn make(path: &Path) -> Result<(), StoreError> {
    let unfinished = path.with_extension("new");
    if_there(fs::remove_file(&unfinished)).map_err(StoreError::of_file)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(StoreError::of_file)?;
    drop(Database::builder().create(&unfinished)?);
    take_place(&unfinished, path).map_err(StoreError::of_file)
}

fn take_place(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_database_that_could_not_be_made_whole_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, unfinished) = (folder.path().join("store.redb"), folder.path().join("store.new"));
        // What is left where the disk was full, or the power failed: as long as a database, and empty.
        File::create(&unfinished).unwrap().set_len(1 << 20).unwrap();
        File::create(&path).unwrap();
        drop(open(&path).unwrap());
        assert!(!unfinished.exists() && fs::metadata(&path).unwrap().len() > 0);
        // Where it cannot be made, there is none.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&unfinished).unwrap();
        open(&path).unwrap_err();
        assert!(!path.exists());
        fs::remove_dir(&unfinished).unwrap();
        drop(open(&path).unwrap());
        open(&path).unwrap();
    }
}

//! The folder of trusted metadata: a plain file for each role.

use super::{TufError, quoted};
use percent_encoding::percent_decode_str;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use wardlink_update::client::{Command, File, Stored};
use wardlink_update::metadata::RoleName;

pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Begins with a trusted root. What else is there counts only as far as this root's keys have signed it.
    pub(super) fn begin(&self, root: &[u8]) -> Result<(), TufError> {
        fs::create_dir_all(&self.path).map_err(TufError::file(&self.path))?;
        self.write(&File::Root, root)
    }

    /// Everything that was stored. Files that are no metadata of ours are left alone.
    pub(super) fn load(&self) -> Result<Stored, TufError> {
        let mut stored = Stored {
            root: self.read(&File::Root)?.ok_or_else(|| TufError::NoRoot(self.path.clone()))?,
            timestamp: self.read(&File::Timestamp)?,
            snapshot: self.read(&File::Snapshot)?,
            ..Stored::default()
        };
        for entry in fs::read_dir(&self.path).map_err(TufError::file(&self.path))? {
            let name = entry.map_err(TufError::file(&self.path))?.file_name();
            let role = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let Some(role) = role.filter(|role| !matches!(*role, "root" | "timestamp" | "snapshot")) else { continue };
            let decoded = percent_decode_str(role).decode_utf8().ok();
            let Some(role) = decoded.and_then(|role| RoleName::try_from(role.into_owned()).ok()) else { continue };
            if let Some(bytes) = self.read(&File::Targets(role.clone()))? {
                stored.targets.insert(role, bytes);
            }
        }
        Ok(stored)
    }

    pub(super) fn carry_out(&self, command: Command) -> Result<(), TufError> {
        match command {
            Command::Store(file, bytes) => self.write(&file, &bytes),
            Command::Delete(file) => {
                let place = self.place(&file);
                match fs::remove_file(&place) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(TufError::file(&place)(error)),
                    _ => synchronize(&self.path),
                }
            }
        }
    }

    fn place(&self, file: &File) -> PathBuf {
        self.path.join(quoted(&file.name()))
    }

    fn read(&self, file: &File) -> Result<Option<Vec<u8>>, TufError> {
        let place = self.place(file);
        match fs::read(&place) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TufError::file(&place)(error)),
        }
    }

    fn write(&self, file: &File, bytes: &[u8]) -> Result<(), TufError> {
        let place = self.place(file);
        let mut temporary = NamedTempFile::new_in(&self.path).map_err(TufError::file(&self.path))?;
        temporary.write_all(bytes).map_err(TufError::file(&place))?;
        put(temporary, &place)
    }
}

/// Puts a whole file into its place, durably and in one step.
pub(super) fn put(temporary: NamedTempFile, place: &Path) -> Result<(), TufError> {
    temporary.as_file().sync_all().map_err(TufError::file(place))?;
    temporary.persist(place).map_err(|error| TufError::file(place)(error.error))?;
    synchronize(place.parent().unwrap_or(Path::new(".")))
}

fn synchronize(folder: &Path) -> Result<(), TufError> {
    fs::File::open(folder)
        .and_then(|folder: fs::File| -> io::Result<()> { folder.sync_all() })
        .map_err(TufError::file(folder))
}

//! Attacks as folders: `expected.json`, the client's `trusted/` files, and the `repository/`'s.

use crate::attacks::{ATTACKS, Attack};
use crate::{Disk, NOW, Repository};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};
use wardlink_update::client::Stored;

/// What has to happen.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The fixed time of the update, seconds since 1970.
    pub now: u64,
    /// The target that is looked for.
    pub target: String,
    /// The step that refuses.
    pub step: String,
    /// The file that is refused.
    pub file: String,
}

type Files = BTreeMap<String, Vec<u8>>;

/// A frozen attack.
pub struct Frozen {
    pub expected: Expected,
    pub disk: Disk,
    pub repository: Repository,
}

impl Frozen {
    /// Reads an attack's folder.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let expected = serde_json::from_slice(&fs::read(folder.join("expected.json"))?)?;
        let mut trusted = read_files(&folder.join("trusted"))?;
        let mut stored = Stored { root: trusted.remove("root.json").unwrap_or_default(), ..Stored::default() };
        stored.timestamp = trusted.remove("timestamp.json");
        stored.snapshot = trusted.remove("snapshot.json");
        for (name, bytes) in trusted {
            stored.targets.insert(crate::role(name.trim_end_matches(".json")), bytes);
        }
        let mut repository = Repository::new();
        repository.files = read_files(&folder.join("repository"))?;
        Ok(Self { expected, disk: Disk(stored), repository })
    }
}

/// Writes every attack's folder.
pub fn write_all(folder: &Path) -> io::Result<()> {
    for attack in ATTACKS {
        write(&attack, &folder.join(attack.name))?;
    }
    Ok(())
}

fn write(attack: &Attack, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let (disk, repository) = attack.make();
    write_files(&folder.join("trusted"), &trusted(&disk))?;
    write_files(&folder.join("repository"), &repository.files)?;
    let mut expected = serde_json::to_vec_pretty(&expected(attack))?;
    expected.push(b'\n');
    fs::write(folder.join("expected.json"), expected)
}

/// What has to happen in an attack.
pub fn expected(attack: &Attack) -> Expected {
    let (step, file) = (attack.step.to_owned(), attack.file.to_owned());
    Expected { now: NOW, target: Attack::TARGET.to_owned(), step, file }
}

/// The client's files by name.
pub fn trusted(disk: &Disk) -> Files {
    let stored = &disk.0;
    let mut files = Files::from([("root.json".to_owned(), stored.root.clone())]);
    files.extend(stored.timestamp.clone().map(|bytes| ("timestamp.json".to_owned(), bytes)));
    files.extend(stored.snapshot.clone().map(|bytes| ("snapshot.json".to_owned(), bytes)));
    files.extend(stored.targets.iter().map(|(role, bytes)| (role.file(), bytes.clone())));
    files
}

fn read_files(folder: &Path) -> io::Result<Files> {
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?))
    };
    fs::read_dir(folder)?.map(read).collect()
}

fn write_files(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}

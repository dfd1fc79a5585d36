//! A folder of updates for one device, as it is copied over the network: what a service port has (`pump::software`), file by file and piece by piece.
//!
//! The gateway's side lays a folder down ([`lay_down`]) and answers questions about it ([`answer`]); the device's side asks them until its own folder is the same ([`crate::device::hub`]). A file is known by its
//! path, length and time; a copy that was broken off goes on where it was. Nothing here has to be trusted: the device verifies what it finds in its folder, as on a stick.

mod laying;
mod set;

pub(crate) use laying::{Content, begin, end, is_under_way, lay_down};
pub use set::{Say, Standing, Step, Word};
pub(crate) use set::{put_word, word};

use crate::files::{make_folder, open_file, put, read_file};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wardlink_protocol::Device;
use wardlink_protocol::cbor::{self, CborError};

/// The most files of a bundle.
pub(crate) const MAX_FILES: usize = 192;
/// The longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 200;
/// How deep a bundle is.
const MAX_DEPTH: usize = 6;
/// The longest file, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// How long a bundle is in all, in bytes.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 1024 * 1024 * 1024;
/// How much of a file is in one answer, in bytes.
pub(crate) const PIECE_BYTES: usize = 32 * 1024;
/// The longest question or answer, in bytes.
pub(crate) const MAX_BYTES: usize = 55 * 1024;

/// Where the bundles lie in a gateway's port.
pub(crate) const FOLDER: &str = "updates";
/// What a device has said of its software, beside its bundle.
const TOLD: &str = "told.cbor";
/// Single files of a bundle.
pub(crate) const DIRECTIVE: &str = "directive.json";
pub(crate) const DIRECTOR_ROOT: &str = "director-root.cose";
pub(crate) const SET: &str = "set.cbor";
/// Folders of a bundle.
const FOLDERS: [&str; 4] = [METADATA, DIRECTOR, ADDED, TARGETS];
pub(crate) const METADATA: &str = "metadata";
pub(crate) const DIRECTOR: &str = "director";
pub(crate) const ADDED: &str = "added";
pub(crate) const TARGETS: &str = "targets";

/// Why a text is no path in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no file of a bundle")]
pub(crate) struct InvalidPath;

/// A path in a bundle: nothing leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct FilePath(String);

impl FilePath {
    /// The path as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that it is in; a single file is in none.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.0.split_once('/').map(|(folder, _)| folder)
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        let is_name = |name: &str| {
            !name.is_empty() && !name.starts_with('.') && !name.chars().any(|one| one.is_control() || one == '\\')
        };
        let mut names = text.split('/');
        let first = names.next().unwrap_or_default();
        let is_inside = match names.clone().count() {
            0 => [DIRECTIVE, DIRECTOR_ROOT, SET].contains(&first),
            below => below < MAX_DEPTH && FOLDERS.contains(&first) && names.all(is_name),
        };
        if is_inside && text.len() <= MAX_PATH_BYTES { Ok(Self(text)) } else { Err(InvalidPath) }
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

/// A file, in one version of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// Where it is.
    pub(crate) path: FilePath,
    /// Its length in bytes.
    pub(crate) length: u64,
    /// When it was written, milliseconds since 1970.
    pub(crate) modified: u64,
}

/// What a device says beside its letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    /// Which files are there?
    Files,
    /// Bytes of a file, from a position on.
    Piece {
        /// Which.
        file: Listed,
        /// From where.
        from: u64,
    },
    /// What the device runs and what came of its updates: [`Told`], encoded.
    Told(ByteBuf),
}

/// What the gateway says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Answered {
    /// All files.
    Files(Vec<Listed>),
    /// A piece.
    Piece {
        /// Of which.
        file: Listed,
        /// From where.
        from: u64,
        /// The bytes.
        bytes: ByteBuf,
    },
}

/// What a device says of its software.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Its report, JSON, signed by it.
    pub report: ByteBuf,
    /// What came of its updates, the newest last: notifications, JSON.
    pub outcomes: Vec<ByteBuf>,
    /// How it stands with a member of an atomic set that is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

impl Told {
    /// The longest, in bytes: so that it fits into a message.
    pub(crate) const MAX_BYTES: usize = MAX_BYTES - 64;

    pub(crate) fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }
}

impl Asked {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Reads at most [`MAX_BYTES`]. A letter is none of these.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_BYTES)
    }
}

impl Answered {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Reads at most [`MAX_BYTES`]. A letter is none of these.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_BYTES)
    }
}

/// Where a device's bundle lies in a gateway's port.
pub(crate) fn folder(port: &Path, device: &Device) -> PathBuf {
    port.join(FOLDER).join(device.client.as_str()).join(device.identifier.as_str())
}

/// When a file was written.
pub(crate) fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The files of a bundle, in the order of their paths: as many as may be. Links are none.
pub(crate) fn list(folder: &Path) -> Vec<Listed> {
    let mut files = Vec::new();
    walk(folder, "", &mut files);
    files.sort();
    files.truncate(MAX_FILES);
    files
}

fn walk(folder: &Path, below: &str, files: &mut Vec<Listed>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), fs::symlink_metadata(entry.path())) else {
            continue;
        };
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if files.len() > 4 * MAX_FILES || path.len() > MAX_PATH_BYTES {
            continue;
        }
        if metadata.is_dir() {
            walk(&entry.path(), &path, files);
        } else if let Ok(path) = FilePath::try_from(path)
            && metadata.is_file()
            && metadata.len() <= MAX_FILE_BYTES
        {
            files.push(Listed { path, length: metadata.len(), modified: modified(&metadata) });
        }
    }
}

/// The list, where nobody is just laying the bundle down: whoever copies it finds what fits together.
fn whole(folder: &Path) -> Option<Answered> {
    let is_whole = !is_under_way(folder);
    // Once more afterwards: it may have begun meanwhile.
    let files = is_whole.then(|| list(folder))?;
    (!is_under_way(folder)).then_some(Answered::Files(files))
}

/// Answers a device out of its bundle; none where there is nothing to say.
pub(crate) fn answer(folder: &Path, asked: &Asked) -> io::Result<Option<Answered>> {
    match asked {
        Asked::Files => Ok(whole(folder)),
        Asked::Piece { file, from } => {
            let path = folder.join(file.path.as_str());
            let is_it = fs::symlink_metadata(&path).is_ok_and(|metadata| {
                metadata.is_file() && metadata.len() == file.length && modified(&metadata) == file.modified
            });
            if !is_it {
                return Ok(whole(folder));
            }
            let mut bytes = vec![0; PIECE_BYTES];
            let count = open_file(&path)?.read_at(&mut bytes, (*from).min(file.length))?;
            bytes.truncate(count);
            Ok(Some(Answered::Piece { file: file.clone(), from: *from, bytes: ByteBuf::from(bytes) }))
        }
        Asked::Told(told) => {
            make_folder(folder)?;
            put(&folder.join(TOLD), told)?;
            Ok(None)
        }
    }
}

/// Of which moment that is: it changes with every word.
pub(crate) fn told_at(port: &Path, device: &Device) -> Option<SystemTime> {
    fs::symlink_metadata(folder(port, device).join(TOLD)).ok()?.modified().ok()
}

/// What a device has said of its software, as it lies in a gateway's port.
pub fn told(port: &Path, device: &Device) -> Option<Told> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let bytes = read_file(&folder(port, device).join(TOLD), limit).ok()??;
    cbor::decode(&bytes, MAX_BYTES).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;
    use wardlink_records::exchange::Upward;

    fn path(text: &str) -> Result<FilePath, InvalidPath> {
        FilePath::try_from(text.to_owned())
    }

    #[test]
    fn no_path_leads_out_of_a_bundle() {
        for fits in ["directive.json", "director-root.cose", "metadata/1.root.json", "targets/acme/PM2/12.1B.bin"] {
            assert_eq!(path(fits).unwrap().as_str(), fits);
        }
        let long = format!("targets/{}", "x".repeat(MAX_PATH_BYTES));
        for wrong in [
            "",
            "/etc/passwd",
            "told.cbor",
            "targets",
            "targets/",
            "targets/../directive.json",
            "targets/./x",
            "targets//x",
            "targets/a/b/c/d/e/f",
            "elsewhere/x",
            "targets/.hidden",
            "targets/a\0b",
            "..",
            &long,
        ] {
            assert_eq!(path(wrong), Err(InvalidPath), "{wrong:?}");
        }
    }

    #[test]
    fn a_question_is_never_a_letter_nor_a_letter_a_question() {
        let letter = Upward::Batch(ByteBuf::from([1, 2])).encode().unwrap();
        assert!(Asked::decode(&letter).is_err());
        let file = Listed { path: path("directive.json").unwrap(), length: 1, modified: 2 };
        for asked in [Asked::Files, Asked::Piece { file, from: 3 }, Asked::Told(ByteBuf::from([1]))] {
            let bytes = asked.encode().unwrap();
            assert_eq!(Asked::decode(&bytes), Ok(asked));
            assert!(Upward::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_full_bundle_fits_into_an_answer() {
        let path = path(&format!("targets/{}", "x".repeat(MAX_PATH_BYTES - 8))).unwrap();
        let listed = Listed { path, length: u64::MAX, modified: u64::MAX };
        let files = Answered::Files(vec![listed.clone(); MAX_FILES]).encode().unwrap();
        let bytes = ByteBuf::from(vec![0xff; PIECE_BYTES]);
        let piece = Answered::Piece { file: listed, from: u64::MAX, bytes }.encode().unwrap();
        assert!(files.len().max(piece.len()) <= MAX_BYTES, "{} {}", files.len(), piece.len());
    }

    #[test]
    fn a_bundle_is_listed_without_what_is_none_of_it_and_read_piece_by_piece() {
        let port = tempfile::tempdir().unwrap();
        let device = "infusion-pump/p1".parse().unwrap();
        let folder = folder(port.path(), &device);
        assert_eq!(answer(&folder, &Asked::Files).unwrap(), Some(Answered::Files(Vec::new())));
        fs::create_dir_all(folder.join("targets/acme")).unwrap();
        let image: Vec<u8> = (0..=255).cycle().take(PIECE_BYTES + 7).collect();
        fs::write(folder.join("targets/acme/1B"), &image).unwrap();
        fs::write(folder.join("note.txt"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("directive.json")).unwrap();
        let files = list(&folder);
        let [file] = &files[..] else { panic!("{files:?}") };
        let piece = |from| match answer(&folder, &Asked::Piece { file: file.clone(), from }).unwrap() {
            Some(Answered::Piece { bytes, .. }) => bytes.into_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!([piece(0), piece(PIECE_BYTES as u64)].concat(), image);
        assert_eq!(piece(u64::MAX / 2), b"");
        // Another version of it: the list instead.
        let other = Listed { length: 3, ..file.clone() };
        let answered = answer(&folder, &Asked::Piece { file: other, from: 0 }).unwrap();
        assert_eq!(answered, Some(Answered::Files(files.clone())));
        // What the device tells lies beside, and is no file of it.
        let said = Told { report: ByteBuf::from([1]), outcomes: vec![ByteBuf::from([2])], standing: None };
        let bytes = ByteBuf::from(cbor::encode(&said).unwrap());
        assert_eq!(answer(&folder, &Asked::Told(bytes)).unwrap(), None);
        assert_eq!((told(port.path(), &device), list(&folder)), (Some(said), files));
    }
}

//! How a bundle comes to a gateway's port: whatever happens meanwhile, whoever copies it finds the one before or the one after.

use super::{FilePath, SET, TARGETS, list};
use crate::files::{if_there, make_folder, put};
use crate::room;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile, TempPath};

/// Lies in a folder that is not whole. Its name is hidden, so that it is no file of the bundle.
const UNDER_WAY: &str = ".laying-down";

/// What a file of a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What this file holds, which nobody changes. Two of the same name and length are the same.
    File(PathBuf),
}

/// Whether the folder is just being laid down, or was not finished.
pub(crate) fn is_under_way(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(UNDER_WAY)).is_ok()
}

/// From now on the folder is not whole, also after a power loss, until [`end`].
pub(crate) fn begin(folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    File::create(folder.join(UNDER_WAY))?.sync_all()?;
    File::open(folder)?.sync_all()
}

/// The folder is whole.
pub(crate) fn end(folder: &Path) -> io::Result<()> {
    remove_empty(&folder.join(TARGETS));
    fs::remove_file(folder.join(UNDER_WAY))?;
    File::open(folder)?.sync_all()
}

/// Lays down exactly these files, durably. What a device has told beside them stays, as does the word to a member of a set ([`super::set`]).
pub(crate) fn lay_down(folder: &Path, wanted: &[(FilePath, Content)]) -> io::Result<()> {
    let there: BTreeSet<FilePath> = list(folder).into_iter().map(|file| file.path).collect();
    let is_over = |path: &&FilePath| path.as_str() != SET && wanted.iter().all(|(other, _)| other != *path);
    let over: Vec<&FilePath> = there.iter().filter(is_over).collect();
    let mut missing = Vec::new();
    for (path, content) in wanted {
        if !is_there(&folder.join(path.as_str()), content)? {
            missing.push((path, content));
        }
    }
    if over.is_empty() && missing.is_empty() && !is_under_way(folder) {
        return Ok(());
    }
    begin(folder)?;
    for path in over {
        fs::remove_file(folder.join(path.as_str()))?;
    }
    for (path, content) in missing {
        lay(&folder.join(path.as_str()), content)?;
    }
    end(folder)
}

fn is_there(path: &Path, content: &Content) -> io::Result<bool> {
    let Some(metadata) = if_there(fs::symlink_metadata(path))?.filter(fs::Metadata::is_file) else { return Ok(false) };
    Ok(match content {
        Content::Bytes(bytes) => fs::read(path)? == *bytes,
        Content::File(source) => metadata.len() == fs::metadata(source)?.len(),
    })
}

fn lay(path: &Path, content: &Content) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let source = match content {
        Content::Bytes(bytes) => return put(path, bytes),
        Content::File(source) => source,
    };
    // An image takes no room of its own, where the file system can do that.
    let linked = Builder::new().make_in(folder, |beside| fs::hard_link(source, beside));
    let beside = if let Ok(linked) = linked { linked.into_temp_path() } else { copy(source, folder)? };
    beside.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// A copy under a name of its own, which goes by itself where it is not whole.
fn copy(source: &Path, folder: &Path) -> io::Result<TempPath> {
    let mut source = File::open(source)?;
    if !room::is_there(folder, source.metadata()?.len())? {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "there is no room for an image on its disk"));
    }
    let mut copied = NamedTempFile::new_in(folder)?;
    io::copy(&mut source, &mut copied)?;
    copied.as_file().sync_all()?;
    Ok(copied.into_temp_path())
}

/// Removes folders in which nothing lies any more.
fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
            // One in which something lies cannot be removed.
            let _is_empty = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::bundle::{Answered, Asked, answer};

    fn path(text: &str) -> FilePath {
        FilePath::try_from(text.to_owned()).unwrap()
    }

    fn bytes(name: &str, bytes: &str) -> (FilePath, Content) {
        (path(name), Content::Bytes(bytes.into()))
    }

    fn names(folder: &Path) -> Vec<String> {
        list(folder).into_iter().map(|file| String::from(file.path)).collect()
    }

    #[test]
    fn exactly_what_is_wanted_lies_there_and_what_is_there_already_is_not_written_again() {
        let port = tempfile::tempdir().unwrap();
        let (folder, image) = (port.path().join("updates/infusion-pump/p1"), port.path().join("image"));
        fs::write(&image, "an image").unwrap();
        let target = (path("targets/acme/PM2/1B.bin"), Content::File(image));
        lay_down(&folder, &[bytes("directive.json", "1"), bytes("metadata/1.acme.json", "acme"), target.clone()])
            .unwrap();
        assert_eq!(names(&folder), ["directive.json", "metadata/1.acme.json", "targets/acme/PM2/1B.bin"]);
        assert_eq!(fs::read(folder.join("targets/acme/PM2/1B.bin")).unwrap(), b"an image");
        fs::write(folder.join("told.cbor"), "told").unwrap();
        let before = list(&folder);
        lay_down(&folder, &[bytes("directive.json", "2"), target]).unwrap();
        let after = list(&folder);
        assert_eq!(names(&folder), ["directive.json", "targets/acme/PM2/1B.bin"]);
        assert!(before.last() == after.last() && before.first() != after.first(), "{before:?} {after:?}");
        assert_eq!(fs::read(folder.join("directive.json")).unwrap(), b"2");
        lay_down(&folder, &[]).unwrap();
        assert!(names(&folder).is_empty() && !folder.join("targets/acme").exists());
        assert_eq!(fs::read(folder.join("told.cbor")).unwrap(), b"told");
    }

    #[test]
    fn an_image_for_which_there_is_no_room_is_not_copied() {
        let (port, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let image = cache.path().join("image");
        // It says that it is longer than any disk has room, and has no bytes.
        File::create(&image).unwrap().set_len(1 << 42).unwrap();
        assert_eq!(copy(&image, port.path()).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(port.path()).unwrap().count(), 0);
        fs::write(&image, "an image").unwrap();
        assert_eq!(fs::read(copy(&image, port.path()).unwrap()).unwrap(), b"an image");
    }

    #[test]
    fn nobody_copies_what_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = [bytes("directive.json", "1")];
        lay_down(folder.path(), &wanted).unwrap();
        // The power failed while another one was laid down.
        fs::write(folder.path().join(UNDER_WAY), "").unwrap();
        assert_eq!(answer(folder.path(), &Asked::Files).unwrap(), None);
        lay_down(folder.path(), &wanted).unwrap();
        assert!(
            matches!(answer(folder.path(), &Asked::Files).unwrap(), Some(Answered::Files(files)) if files.len() == 1)
        );
    }
}

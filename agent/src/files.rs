//! Files at a port, in a device's folder, or beside a store: some of them somebody else may have put there.

use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Reads a file, at most one byte more than it may have: whoever reads it sees that it is too long. None where that is no file but a link,
/// a folder, a pipe or whatever else; it is never waited for.
pub(crate) fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open_if_file(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Opens a file to read it piece by piece. A link, a folder, a pipe or whatever else is invalid input; it is never waited for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    open_if_file(path)?.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, format!("{} is no file", path.display())))
}

/// None where that is no file.
fn open_if_file(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if is_no_file(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A link, and a socket, cannot be opened.
fn is_no_file(error: &io::Error) -> bool {
    let links = rustix::io::Errno::LOOP.raw_os_error();
    let sockets = rustix::io::Errno::NXIO.raw_os_error();
    error.raw_os_error().is_some_and(|code| code == links || code == sockets)
}

/// Makes a folder for one user, with those above it, where there is none.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Puts a file into its place, whole and durably: whatever happens meanwhile, the one before lies there or this one. Its folder is there.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put_for(0o600, path, bytes)
}

/// The same for the folder's group, too, as far as the mask of this process lets it.
pub(crate) fn put_for_group(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put_for(0o660, path, bytes)
}

fn put_for(mode: u32, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// What was done with a file that need not be there.
pub(crate) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Puts what is no file under each of these names: a pipe that nobody writes into, a folder with something in it, a link.
    pub(crate) fn put_no_files([pipe, folder, link]: [&Path; 3]) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("something"), "").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", link).unwrap();
    }

    #[test]
    fn only_a_file_is_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        put_no_files([&path("pipe"), &path("folder"), &path("link")]);
        for name in ["pipe", "folder", "link"] {
            assert_eq!(read_file(&path(name), 4).unwrap(), None, "{name}");
            assert_eq!(open_file(&path(name)).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        std::fs::write(path("file"), "too long").unwrap();
        assert_eq!(read_file(&path("file"), 4).unwrap(), Some(b"too l".to_vec()), "one byte more than may be");
        assert_eq!(std::io::read_to_string(open_file(&path("file")).unwrap()).unwrap(), "too long");
        assert_eq!(if_there(read_file(&path("nothing"), 4)).unwrap(), None);
        assert!(if_there(open_file(&path("nothing"))).unwrap().is_none());
    }
}

//! A device's copy of the bundle that its gateway has for it: one question at a time, and a file counts when it is whole.
//!
//! A file comes into a folder beside, under a name that says which version it is, so that a copy that was broken off goes on where it was, also after a power loss. Metadata goes to
//! its place all at once, and what is not at the gateway any more goes with that: whoever looks there finds what fits together, or that it is being changed.

use crate::bundle::{
    self, ADDED, Answered, Asked, FilePath, Listed, MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_FILES, TARGETS,
};
use crate::files::if_there;
use core::time::Duration;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tokio::time::Instant;

/// Where files are while they come.
const INCOMING: &str = ".incoming";
/// How often the device asks what there is.
const LOOKED_AT: Duration = Duration::from_secs(5);
/// After so long a question is asked again.
const ANSWERED_IN: Duration = Duration::from_secs(10);

/// The pause after something could not be kept, such as for lack of room.
const KEPT_AGAIN: Duration = Duration::from_secs(30);

/// How far the copy is.
pub(super) struct Copying {
    folder: PathBuf,
    /// The files that are still to be copied, the next one last.
    missing: Vec<Listed>,
    /// Metadata that is whole and waits for the rest of it.
    staged: Vec<Listed>,
    /// What is not at the gateway any more, and goes when metadata comes to its place.
    gone: Vec<FilePath>,
    /// What was asked, and when.
    asked: Option<(Asked, Instant)>,
    list_at: Instant,
    /// Whether something was asked that nobody has answered, so that it was asked again.
    was_silent: bool,
}

impl Copying {
    /// Into this folder.
    pub(super) fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        let (missing, staged, gone) = (Vec::new(), Vec::new(), Vec::new());
        Self { folder, missing, staged, gone, asked: None, list_at: Instant::now(), was_silent: false }
    }

    /// The connection is a new one: what was asked is not answered any more.
    pub(super) fn begin(&mut self) {
        (self.asked, self.list_at) = (None, Instant::now());
        self.missing.clear();
    }

    /// What is to be asked now. After an error nothing is, for a while.
    pub(super) fn next(&mut self, now: Instant) -> io::Result<Option<Asked>> {
        let next = self.question(now);
        self.rest_after(next, now)
    }

    /// After an error it begins with the list again, later; what had come of files stays.
    fn rest_after<T>(&mut self, result: io::Result<T>, now: Instant) -> io::Result<T> {
        if result.is_err() {
            self.begin();
            self.list_at = now + KEPT_AGAIN;
        }
        result
    }

    fn question(&mut self, now: Instant) -> io::Result<Option<Asked>> {
        if self.asked.as_ref().is_some_and(|(_, at)| now.duration_since(*at) < ANSWERED_IN) {
            return Ok(None);
        }
        let asked = match self.missing.last() {
            Some(file) => Asked::Piece { file: file.clone(), from: length_of(&self.incoming(file))? },
            None if self.list_at <= now => Asked::Files,
            None => return Ok(None),
        };
        self.was_silent |= self.asked.is_some();
        self.asked = Some((asked.clone(), now));
        Ok(Some(asked))
    }

    /// Whether the gateway answers after it did not: it may not have heard what else was said meanwhile.
    pub(super) const fn is_back(&mut self) -> bool {
        core::mem::replace(&mut self.was_silent, false)
    }

    /// Takes an answer, and says whether there was room for it; one to nothing that was asked counts as nothing.
    pub(super) fn take(&mut self, answered: Answered, now: Instant) -> io::Result<bool> {
        let is_piece = matches!(answered, Answered::Piece { .. });
        let kept = self.keep(answered, now);
        self.rest_after(kept, now)?;
        Ok(is_piece || self.missing.is_empty())
    }

    fn keep(&mut self, answered: Answered, now: Instant) -> io::Result<()> {
        match (answered, self.asked.take()) {
            (Answered::Files(files), Some(_)) => {
                self.list_at = now + LOOKED_AT;
                self.plan(files)
            }
            (Answered::Piece { file, from, bytes }, Some((asked, _)))
                if asked == (Asked::Piece { file: file.clone(), from }) =>
            {
                self.append(&file, from, &bytes)
            }
            (_, asked) => {
                self.asked = asked;
                Ok(())
            }
        }
    }

    fn incoming(&self, file: &Listed) -> PathBuf {
        let path = HEXLOWER.encode(&Sha256::digest(file.path.as_str()));
        let name = format!("{}-{}-{path}", file.modified, file.length);
        self.folder.join(INCOMING).join(name)
    }

    fn place(&self, path: &FilePath) -> PathBuf {
        self.folder.join(path.as_str())
    }

    /// Works out what is missing, and what is not there any more.
    fn plan(&mut self, mut files: Vec<Listed>) -> io::Result<()> {
        files.sort();
        files.dedup_by(|one, other| one.path == other.path);
        files.truncate(MAX_FILES);
        let mut total = 0_u64;
        files.retain(|file| {
            total = total.saturating_add(file.length);
            file.length <= MAX_FILE_BYTES && total <= MAX_BUNDLE_BYTES
        });
        let here = bundle::list(&self.folder);
        let listed: BTreeSet<&FilePath> = files.iter().map(|file| &file.path).collect();
        let gone = here.iter().map(|file| &file.path).filter(|path| !listed.contains(path));
        self.gone = gone.cloned().collect();
        self.missing = files.into_iter().filter(|file| !here.contains(file)).collect();
        // The last one is the next: metadata before what it is about.
        self.missing.sort_by_key(|file| match file.path.folder() {
            Some(TARGETS) => 0,
            Some(ADDED) => 1,
            _ => 2,
        });
        self.staged.clear();
        let wanted: BTreeSet<PathBuf> = self.missing.iter().map(|file| self.incoming(file)).collect();
        let folder = self.folder.join(INCOMING);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            if !wanted.contains(&entry.path()) {
                if_there(fs::remove_file(entry.path()))?;
            }
        }
        self.finish_whole_ones()
    }

    fn append(&mut self, file: &Listed, from: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.incoming(file);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if from != length_of(&path)? || from.saturating_add(length) > file.length || bytes.is_empty() {
            // It is not what was asked for: from the beginning, after a pause.
            if_there(fs::remove_file(&path))?;
            self.missing.clear();
            return Ok(());
        }
        OpenOptions::new().create(true).append(true).open(&path)?.write_all(bytes)?;
        self.finish_whole_ones()
    }

    /// What is whole goes to its place, or waits for the rest of the metadata.
    fn finish_whole_ones(&mut self) -> io::Result<()> {
        while let Some(file) = self.missing.last() {
            let path = self.incoming(file);
            if file.length > 0 && length_of(&path)? < file.length {
                break;
            }
            let whole = OpenOptions::new().create(true).append(true).open(&path)?;
            whole.set_modified(UNIX_EPOCH + Duration::from_millis(file.modified))?;
            whole.sync_all()?;
            let is_metadata = !matches!(file.path.folder(), Some(TARGETS | ADDED));
            let Some(file) = self.missing.pop() else { break };
            if is_metadata {
                self.staged.push(file);
            } else {
                self.put(&file)?;
            }
        }
        let waits = self.missing.iter().any(|file| !matches!(file.path.folder(), Some(TARGETS | ADDED)));
        if waits {
            return Ok(());
        }
        let (staged, gone) = (core::mem::take(&mut self.staged), core::mem::take(&mut self.gone));
        if staged.is_empty() && gone.is_empty() && !bundle::is_under_way(&self.folder) {
            return Ok(());
        }
        bundle::begin(&self.folder)?;
        for path in gone {
            if_there(fs::remove_file(self.place(&path)))?;
        }
        staged.iter().try_for_each(|file| self.put(file))?;
        bundle::end(&self.folder)
    }

    fn put(&self, file: &Listed) -> io::Result<()> {
        let place = self.place(&file.path);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(self.incoming(file), &place)?;
        place.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

fn length_of(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::bundle::{PIECE_BYTES, answer, list};

    fn write(folder: &Path, path: &str, bytes: &[u8]) {
        let place = folder.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    /// Asks and answers until nothing is asked any more, or so often; says what was asked.
    fn talk(copying: &mut Copying, source: &Path, at_most: usize) -> Vec<Asked> {
        let (now, mut asked) = (Instant::now() + LOOKED_AT, Vec::new());
        copying.list_at = copying.list_at.min(now);
        while asked.len() < at_most
            && let Some(one) = copying.next(now).unwrap()
        {
            let answered = answer(source, &one).unwrap().unwrap();
            copying.take(answered, now).unwrap();
            asked.push(one);
        }
        asked
    }

    fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let read = |file: Listed| (file.path.as_str().to_owned(), fs::read(folder.join(file.path.as_str())).unwrap());
        list(folder).into_iter().map(read).collect()
    }

    #[test]
    fn a_copy_is_the_same_goes_on_where_it_was_and_follows_what_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        fs::create_dir(&copy).unwrap();
        let image: Vec<u8> = (0..=255).cycle().take(5 * PIECE_BYTES + 3).collect();
        write(&source, "directive.json", b"directive");
        write(&source, "metadata/2.acme.json", b"metadata");
        write(&source, "added/00", b"");
        write(&source, "targets/acme/1B", &image);
        // The power fails in the middle of the image.
        let mut copying = Copying::new(&copy);
        let asked = talk(&mut copying, &source, 5);
        assert!(matches!(&asked[..], [Asked::Files, .., Asked::Piece { from, .. }] if *from > 0), "{asked:?}");
        let names: Vec<_> = contents(&copy).into_iter().map(|(path, _)| path).collect();
        assert_eq!(names, ["added/00", "directive.json", "metadata/2.acme.json"], "whole files only");
        let mut copying = Copying::new(&copy);
        let asked = talk(&mut copying, &source, 100);
        assert!(matches!(asked.get(1), Some(Asked::Piece { from, .. }) if *from > 0), "it goes on: {asked:?}");
        assert_eq!(contents(&copy), contents(&source));
        assert_eq!(list(&copy), list(&source), "with their times");
        // Nothing new: one question.
        copying.list_at = Instant::now();
        assert_eq!(talk(&mut copying, &source, 100), [Asked::Files]);
        // Another directive, and a file less.
        fs::remove_file(source.join("added/00")).unwrap();
        write(&source, "directive.json", b"another");
        copying.list_at = Instant::now();
        talk(&mut copying, &source, 100);
        assert_eq!(contents(&copy), contents(&source));
        assert_eq!(fs::read_dir(copy.join(INCOMING)).unwrap().count(), 0, "nothing is left over");
    }

    #[test]
    fn the_directive_comes_with_all_of_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        fs::create_dir(&copy).unwrap();
        write(&source, "directive.json", b"directive");
        write(&source, "metadata/2.acme.json", &vec![1; 2 * PIECE_BYTES]);
        write(&source, "metadata/3.root.json", b"root");
        let mut copying = Copying::new(&copy);
        for _ in 0..10 {
            let before = contents(&copy).len();
            assert!(before == 0 || before == 3, "{before}");
            if talk(&mut copying, &source, 1).is_empty() {
                break;
            }
        }
        assert_eq!(contents(&copy), contents(&source));

        // Another directive with other metadata: the former ones lie there together until then.
        let before = contents(&copy);
        fs::remove_file(source.join("metadata/2.acme.json")).unwrap();
        write(&source, "metadata/3.acme.json", &vec![2; 2 * PIECE_BYTES]);
        write(&source, "directive.json", b"another one");
        let mut copying = Copying::new(&copy);
        for _ in 0..10 {
            let now = contents(&copy);
            assert!(now == before || now == contents(&source), "something of both");
            if talk(&mut copying, &source, 1).is_empty() {
                break;
            }
        }
        assert_eq!(contents(&copy), contents(&source));
    }

    #[test]
    fn where_nothing_can_be_kept_it_rests_and_then_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        fs::create_dir(&copy).unwrap();
        write(&source, "directive.json", b"directive");
        // What comes has no place.
        write(&copy, INCOMING, b"");
        let (mut copying, now) = (Copying::new(&copy), Instant::now() + LOOKED_AT);
        let list = copying.next(now).unwrap().unwrap();
        copying.take(answer(&source, &list).unwrap().unwrap(), now).unwrap_err();
        assert_eq!(copying.next(now).unwrap(), None);
        assert_eq!(copying.next(now + KEPT_AGAIN - LOOKED_AT).unwrap(), None);
        fs::remove_file(copy.join(INCOMING)).unwrap();
        let later = now + KEPT_AGAIN;
        for is_kept in [false, true] {
            let asked = copying.next(later).unwrap().unwrap();
            assert_eq!(copying.take(answer(&source, &asked).unwrap().unwrap(), later).unwrap(), is_kept);
        }
        assert_eq!(contents(&copy), contents(&source));
    }

    #[test]
    fn what_was_not_asked_for_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut copying = Copying::new(folder.path());
        let path = FilePath::try_from("directive.json".to_owned()).unwrap();
        let file = Listed { path, length: 3, modified: 1 };
        let now = Instant::now();
        copying.take(Answered::Files(vec![file.clone()]), now).unwrap();
        let bytes = serde_bytes::ByteBuf::from(b"abc");
        copying.take(Answered::Piece { file: file.clone(), from: 0, bytes: bytes.clone() }, now).unwrap();
        assert_eq!(copying.next(now).unwrap(), Some(Asked::Files));
        assert_eq!(copying.next(now).unwrap(), None, "one question at a time");
        // More of a file than there is, or none of it, ends the copy until the next list.
        for wrong in [&b"abcd"[..], b""] {
            copying.begin();
            assert_eq!(copying.next(now + LOOKED_AT).unwrap(), Some(Asked::Files));
            copying.take(Answered::Files(vec![file.clone()]), now).unwrap();
            assert!(matches!(copying.next(now).unwrap(), Some(Asked::Piece { .. })));
            let bytes = serde_bytes::ByteBuf::from(wrong);
            copying.take(Answered::Piece { file: file.clone(), from: 0, bytes }, now).unwrap();
            assert_eq!(copying.next(now).unwrap(), None);
        }
        assert_eq!(list(folder.path()), []);
    }
}

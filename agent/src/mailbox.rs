//! Messages in a folder, one file each: how a device and its gateway talk at a port, one folder for each direction (Distribution, figure
//! 13, 272 to 274).
//!
//! One side writes, the other reads and deletes. Nothing here has to be durable or trusted: who gets no answer sends again, and what is
//! read is verified by whoever reads it.

use crate::files::{if_there, make_folder, read_file};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use wardlink_protocol::Device;

/// The most messages that wait in one direction.
pub const MAX_LETTERS: usize = 16;
/// The most files of a folder that are looked at.
const MAX_FILES: usize = 1024;
/// How many digits a message's name has.
const DIGITS: usize = 20;
/// Where the folders of stored data lie in a port.
pub(crate) const FOLDER: &str = "records";
/// A message on its way; there is one writer.
const UNFINISHED: &str = ".new";

/// One direction.
#[derive(Clone, Debug)]
pub struct Mailbox {
    port: PathBuf,
    folder: PathBuf,
    limit: u64,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    number: u64,
    /// What it says; one that is too long is cut, and is not understood.
    pub bytes: Vec<u8>,
}

/// The way to a device, or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    Up,
    /// To the device.
    Down,
}

/// Which message has this name; none where it is no message's.
fn number(name: &str) -> Option<u64> {
    let is_one = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_one)
}

fn folder_of(port: &Path, device: &Device) -> PathBuf {
    port.join(FOLDER).join(device.client.as_str()).join(device.identifier.as_str())
}

impl Mailbox {
    /// The messages of a device in this direction, of at most `limit` bytes each.
    pub fn new(port: &Path, device: &Device, direction: Direction, limit: usize) -> Self {
        let name = match direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        Self {
            port: port.to_owned(),
            folder: folder_of(port, device).join(name),
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
        }
    }

    /// The devices that have ever written at a port.
    pub fn devices(port: &Path) -> Vec<Device> {
        let names = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FILES);
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        let of_class = |class: String| {
            let identifiers = names(port.join(FOLDER).join(&class));
            identifiers.into_iter().filter_map(move |identifier| format!("{class}/{identifier}").parse().ok())
        };
        names(port.join(FOLDER)).into_iter().flat_map(of_class).collect()
    }

    /// The numbers of the messages; what is no file is none, whatever it is called.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let Some(entries) = if_there(fs::read_dir(&self.folder))? else { return Ok(Vec::new()) };
        let files =
            entries.take(MAX_FILES).flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let numbers = files.filter_map(|entry| number(entry.file_name().to_str()?));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:0DIGITS$}"))
    }

    /// Whether its device has ever written at this port: it makes a folder of its own.
    pub fn is_used(port: &Path, device: &Device) -> bool {
        fs::metadata(folder_of(port, device)).is_ok_and(|is| is.is_dir())
    }

    /// How many wait.
    pub fn count(&self) -> io::Result<usize> {
        Ok(self.numbers()?.len())
    }

    /// The first messages, so many at most, in the order in which they were written.
    pub fn letters(&self, most: usize) -> io::Result<Vec<Letter>> {
        let (mut letters, mut unreadable) = (Vec::new(), None);
        for number in self.numbers()? {
            if letters.len() >= most {
                break;
            }
            match if_there(read_file(&self.file(number), self.limit)) {
                Ok(Some(Some(bytes))) => letters.push(Letter { number, bytes }),
                // Its writer has taken it back, or it is no file any more.
                Ok(_) => {}
                Err(error) => unreadable = Some(error),
            }
        }
        // One that cannot be read holds up none that can.
        match unreadable {
            Some(error) if letters.is_empty() => Err(error),
            _ => Ok(letters),
        }
    }

    /// It was read.
    pub fn remove(&self, letter: &Letter) -> io::Result<()> {
        if_there(fs::remove_file(self.file(letter.number))).map(drop)
    }

    /// Writes a message; false where too many wait already. A port that is not there is an error.
    pub fn put(&self, bytes: &[u8]) -> io::Result<bool> {
        fs::metadata(&self.port)?;
        let numbers = self.numbers()?;
        if numbers.len() >= MAX_LETTERS {
            return Ok(false);
        }
        make_folder(&self.folder)?;
        let unfinished = self.folder.join(UNFINISHED);
        if_there(fs::remove_file(&unfinished))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        // What is no message, and has its name, stays where it is.
        let mut files = (next..=u64::MAX).map(|number| self.file(number)).take(MAX_FILES);
        let free = files.find(|file| fs::symlink_metadata(file).is_err()).unwrap_or_else(|| self.file(next));
        fs::rename(&unfinished, free)?;
        Ok(true)
    }

    /// Takes back everything that was not read, and what was not written to its end.
    pub fn clear(&self) -> io::Result<()> {
        if_there(fs::remove_file(self.folder.join(UNFINISHED)))?;
        self.numbers()?.into_iter().try_for_each(|number| if_there(fs::remove_file(self.file(number))).map(drop))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::files::tests::put_no_files;
    use std::io::ErrorKind;

    fn mailbox(port: &Path) -> Mailbox {
        Mailbox::new(port, &"infusion-pump/p1".parse().unwrap(), Direction::Up, 4)
    }

    #[test]
    fn messages_are_read_in_their_order_and_deleted() {
        let port = tempfile::tempdir().unwrap();
        let mailbox = mailbox(port.path());
        assert_eq!(mailbox.letters(MAX_LETTERS).unwrap(), []);
        let device: Device = "infusion-pump/p1".parse().unwrap();
        assert!(!Mailbox::is_used(port.path(), &device));
        assert!(mailbox.put(b"one").unwrap() && mailbox.put(b"two").unwrap());
        let letters = mailbox.letters(MAX_LETTERS).unwrap();
        assert_eq!(letters.iter().map(|letter| letter.bytes.as_slice()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(mailbox.letters(1).unwrap(), letters[..1]);
        mailbox.remove(&letters[0]).unwrap();
        assert!(mailbox.put(b"three").unwrap());
        assert_eq!(mailbox.letters(MAX_LETTERS).unwrap()[1].bytes, b"three");
        fs::write(mailbox.folder.join(UNFINISHED), b"half").unwrap();
        mailbox.clear().unwrap();
        assert_eq!((mailbox.count().unwrap(), fs::read_dir(&mailbox.folder).unwrap().count()), (0, 0));
        assert!(Mailbox::is_used(port.path(), &device));
        assert_eq!(Mailbox::devices(port.path()), [device]);
    }

    #[test]
    fn a_port_is_bounded_in_every_way() {
        let port = tempfile::tempdir().unwrap();
        let mailbox = mailbox(port.path());
        assert!(mailbox.put(b"far too long").unwrap());
        assert_eq!(mailbox.letters(MAX_LETTERS).unwrap()[0].bytes.len(), 5, "one byte more than may be");
        for _ in 1..MAX_LETTERS {
            assert!(mailbox.put(b"more").unwrap());
        }
        assert!(!mailbox.put(b"more").unwrap());
        // What somebody else puts there is no message, and a link leads nowhere.
        for name in ["note", "7", "+5", "+0000000000000000005", "99999999999999999999"] {
            fs::write(mailbox.folder.join(name), b"").unwrap();
        }
        mailbox.clear().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", mailbox.file(7)).unwrap();
        assert_eq!((mailbox.letters(MAX_LETTERS).unwrap(), mailbox.count().unwrap()), (vec![], 0));
    }

    #[test]
    fn what_is_no_file_is_no_message_and_holds_nothing_up() {
        let port = tempfile::tempdir().unwrap();
        let mailbox = mailbox(port.path());
        fs::create_dir_all(&mailbox.folder).unwrap();
        let [pipe, folder, link] = [1, 2, 3].map(|number| mailbox.file(number));
        put_no_files([&pipe, &folder, &link]);
        for number in 0..MAX_LETTERS {
            assert!(mailbox.put(&[u8::try_from(number).unwrap()]).unwrap());
        }
        let letters = mailbox.letters(MAX_LETTERS).unwrap();
        assert!(letters.iter().zip(0..).all(|(letter, number)| letter.bytes == [number]), "{letters:?}");
        assert_eq!((letters.len(), mailbox.count().unwrap()), (MAX_LETTERS, MAX_LETTERS));
        mailbox.clear().unwrap();
        assert_eq!((mailbox.letters(MAX_LETTERS).unwrap(), mailbox.count().unwrap()), (vec![], 0));
    }

    #[test]
    fn a_port_that_is_not_there_is_not_made() {
        let port = tempfile::tempdir().unwrap();
        let gone = port.path().join("stick");
        assert_eq!(mailbox(&gone).put(b"one").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!gone.exists());
    }
}

//! Members of an atomic set that verify for themselves (Distribution, paragraph 0029): how they stand they tell with what they run, and the word of their gateway lies in
//! their bundle, until it has been heard.
//!
//! No word brings in anything that the device has not verified: it says when, and no more.

use super::SET;
use crate::files::{if_there, make_folder, put, read_file};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use wardlink_protocol::cbor;
use wardlink_update::metadata::{TargetPath, Version};
use wardlink_update::package::Note;

/// The longest word, in bytes.
const MAX_WORD_BYTES: usize = 8 * 1024;

/// How a device stands with its member of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The member's package.
    pub path: TargetPath,
    /// The directive by which it comes.
    pub directive: Version,
    /// How far it is.
    pub step: Step,
}

/// How far a member of a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It waits, or comes.
    Comes,
    /// It lies beside what runs, verified, and waits for [`Say::Commit`].
    Prepared,
    /// It is switched to, and proves itself.
    Tries,
    /// It works, and waits for [`Say::Settle`].
    Works,
}

/// What a gateway says to a member of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// The member's package.
    pub path: TargetPath,
    /// The directive by which it comes.
    pub directive: Version,
    /// What to do.
    pub say: Say,
}

/// What a member of a set is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// All are prepared: change over.
    Commit,
    /// All work: keep it.
    Settle,
    /// One cannot, for this reason: keep, or take back, what ran before.
    Abort(Note),
}

/// Lays down a word in a bundle, durably, in the place of the one before; none takes it away.
pub(crate) fn put_word(folder: &Path, word: Option<&Word>) -> io::Result<()> {
    let path = folder.join(SET);
    match word {
        Some(word) => {
            let bytes = cbor::encode(word).map_err(io::Error::other)?;
            let limit = u64::try_from(MAX_WORD_BYTES).unwrap_or(u64::MAX);
            // What lies there already is not written again: the device would copy it again.
            if if_there(read_file(&path, limit))?.flatten().as_ref() == Some(&bytes) {
                return Ok(());
            }
            make_folder(folder)?;
            put(&path, &bytes)
        }
        None => if_there(fs::remove_file(path)).map(drop),
    }
}

/// The word that lies there; none where there is none that can be read.
pub(crate) fn word(folder: &Path) -> Option<Word> {
    let limit = u64::try_from(MAX_WORD_BYTES).unwrap_or(u64::MAX);
    let bytes = read_file(&folder.join(SET), limit).ok()??;
    cbor::decode(&bytes, MAX_WORD_BYTES).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::bundle::{Content, FilePath, lay_down, list};

    #[test]
    fn a_word_lies_in_the_bundle_until_it_is_taken_away() {
        let port = tempfile::tempdir().unwrap();
        let folder = port.path().join("updates/infusion-pump/p1");
        put_word(&folder, None).unwrap();
        let path = TargetPath::try_from("acme/infusion-pump/PM2/1B.bin".to_owned()).unwrap();
        let say = Say::Abort("another one has no room".parse().unwrap());
        let first = Word { path, directive: 7, say };
        put_word(&folder, Some(&first)).unwrap();
        assert_eq!(word(&folder), Some(first.clone()));
        let before = list(&folder);
        put_word(&folder, Some(&first)).unwrap();
        assert_eq!(list(&folder), before, "not written again");
        // What is laid down beside it leaves it there.
        let directive = FilePath::try_from("directive.json".to_owned()).unwrap();
        lay_down(&folder, &[(directive, Content::Bytes(vec![1]))]).unwrap();
        let next = Word { say: Say::Commit, ..first };
        put_word(&folder, Some(&next)).unwrap();
        assert_eq!((word(&folder), list(&folder).len()), (Some(next), 2));
        put_word(&folder, None).unwrap();
        assert_eq!(word(&folder), None);
        fs::write(folder.join(SET), vec![0; MAX_WORD_BYTES + 1]).unwrap();
        assert_eq!(word(&folder), None, "what is none says nothing");
    }
}

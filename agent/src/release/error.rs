//! Why a command of `wardlink release` ends without success: what happened, and what to do.

use std::io;
use std::path::{Path, PathBuf};
use wardlink_delta::MakeError;
use wardlink_update::client::Refusal;
use wardlink_update::metadata::{InvalidMetadata, RoleName};
use wardlink_update::package::InvalidPackage;
use wardlink_update::repository::NotAccepted;

/// Why a command of `wardlink release` ends without success.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The repository's fault: a client would refuse it.
    #[error("a client refuses the repository: {0}")]
    Refused(#[from] Refusal),
    /// The repository's fault: a server would refuse it.
    #[error("the repository is not accepted: {0}")]
    NotAccepted(NotAccepted),
    /// The repository's fault: a file of a target is not what its metadata says, or is missing.
    #[error(
        "{path} is not the file that its metadata names; put the right one back, or export again from a whole repository"
    )]
    WrongFile {
        /// The file.
        path: PathBuf,
    },
    /// The caller's fault, or the repository's: what is said of a package contradicts itself or the rules of packages.
    #[error(transparent)]
    Package(#[from] InvalidPackage),
    /// The file's fault: it is no metadata.
    #[error("{what} cannot be read: {why}")]
    Metadata {
        /// Which file or draft.
        what: String,
        /// Why not.
        why: InvalidMetadata,
    },
    /// The file's fault: it is no key that is usable here.
    #[error("{path} holds no usable key: {why}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The caller's fault: the passphrase does not open the key, or the file is damaged.
    #[error("{0} does not open: the passphrase is wrong, or the file is damaged")]
    Passphrase(PathBuf),
    /// The caller's fault: there is nowhere to take a passphrase from.
    #[error("no passphrase: give --passphrase-file, set WARDLINK_PASSPHRASE, or run this at a terminal")]
    NoPassphrase,
    /// The caller's fault: a passphrase for a new key is too short.
    #[error("the passphrase is too short; take at least {0} characters")]
    WeakPassphrase(usize),
    /// The caller's fault: two entries of a new passphrase differ.
    #[error("the two passphrases differ; nothing was written")]
    PassphraseTwice,
    /// The caller's fault: a secret file is readable by others.
    #[error("{0} can be read by others; run chmod 600 on it first")]
    Readable(PathBuf),
    /// The caller's fault: a dangerous step was not confirmed.
    #[error("nothing was done: {0}; say yes at a terminal, or give --yes")]
    NotConfirmed(String),
    /// The caller's fault: a key may sign nothing of what is waiting.
    #[error("key {key} may not sign {what}; its role does not allow it")]
    NotAllowed {
        /// The key's id.
        key: String,
        /// What it was to sign.
        what: String,
    },
    /// The caller's fault: nothing waits for a signature.
    #[error("nothing waits for signatures")]
    NothingToSign,
    /// The caller's fault: the repository has no such role.
    #[error("the repository has no role {0}")]
    NoRole(RoleName),
    /// The caller's fault: something that was named is not there, or contradicts what is.
    #[error("{0}")]
    Usage(String),
    /// The caller's fault: something is there already and would be lost.
    #[error("{0} is there already; nothing was changed")]
    Exists(PathBuf),
    /// Another command is at work in the repository.
    #[error("another command is working in {0}; wait for it to end")]
    Busy(PathBuf),
    /// No delta is made.
    #[error("no delta was added: {0}")]
    Delta(#[from] MakeError),
    /// The distribution server refuses, and says at which step.
    #[error("the server refuses: {0}")]
    Server(String),
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Our fault: something that we made cannot be encoded.
    #[error("cannot encode {0}")]
    Encoding(&'static str),
}

impl From<NotAccepted> for ReleaseError {
    fn from(why: NotAccepted) -> Self {
        match why {
            NotAccepted::Client(refusal) => Self::Refused(refusal),
            why @ NotAccepted::Step { .. } => Self::NotAccepted(why),
        }
    }
}

impl ReleaseError {
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::File { path: path.to_owned(), why }
    }

    pub(super) fn metadata(what: impl Into<String>) -> impl FnOnce(InvalidMetadata) -> Self {
        move |why| Self::Metadata { what: what.into(), why }
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}

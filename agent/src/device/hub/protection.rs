//! What a device and its gateway say to each other, sealed under the device's keys of the channel `update` and signed inside
//! (`wardlink_trust::protect`). The device signs with its own key; what a gateway signs brings the gateway's certificates.

use crate::clock;
use crate::files::{if_there, put, read_file};
use crate::link::{NoGateway, SiteGateways};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::io;
use std::path::{Path, PathBuf};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::cbor;
use wardlink_protocol::topic::Topic;
use wardlink_trust::associated::ChannelKeys;
use wardlink_trust::{OpenError, Receivers, SealError, Sender};
use zeroize::Zeroizing;

/// The number of the newest run, and what has counted.
const FILE: &str = "protection.cbor";
/// The longest that may be, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Why a message of a gateway is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Its key is on its way here.
    #[error("it is under a later key than this device has")]
    Awaits,
    /// Whoever signed it is no gateway of the site.
    #[error("{0}")]
    Gateway(NoGateway),
    /// It does not count.
    #[error(transparent)]
    Refused(#[from] OpenError),
}

/// Why nothing can be said to the gateway.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsaid {
    /// The device has no such channel.
    #[error("the site has given this device no channel to its gateway")]
    NoKey,
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No run can be begun.
    #[error("a run cannot be begun: {0}")]
    Store(#[from] io::Error),
}

/// What a device keeps of it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    run: u64,
    counted: Receivers,
}

/// Both directions.
pub(super) struct Protection {
    file: PathBuf,
    /// Where the device speaks, and where it listens.
    topics: (Topic, Topic),
    keys: ChannelKeys,
    kept: Kept,
    /// Whether more has counted than is stored.
    is_changed: bool,
    /// The device's run under one key.
    sender: Option<Sender>,
}

impl Protection {
    /// Goes on with what is kept in a folder. A file that cannot be read counts as none: runs are numbered by the time, too.
    pub(super) fn open_in(folder: &Path, topics: (Topic, Topic), keys: ChannelKeys) -> Self {
        let file = folder.join(FILE);
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        let stored = if_there(read_file(&file, limit)).ok().flatten().flatten();
        let kept = stored.and_then(|bytes| cbor::decode(&bytes, MAX_BYTES).ok()).unwrap_or_default();
        Self { file, topics, keys, kept, is_changed: false, sender: None }
    }

    /// The site has given the device other keys.
    pub(super) fn learn(&mut self, keys: ChannelKeys) {
        self.keys = keys;
    }

    /// Seals what the device says.
    pub(super) fn seal(&mut self, said: &[u8], key: &PrivateKey) -> Result<Vec<u8>, Unsaid> {
        let current = self.keys.current().ok_or(Unsaid::NoKey)?;
        let mut sender = match self.sender.take().filter(|sender| sender.kid() == current.kid) {
            Some(sender) => sender,
            None => {
                // Its number is stored before it is used, above every one before, also where the file was lost.
                self.kept.run = self.kept.run.saturating_add(1).max(clock::now().as_secs());
                let sender = Sender::begin(current, self.topics.0.clone(), self.kept.run, &mut clock::rng())?;
                self.is_changed = true;
                self.store()?;
                sender
            }
        };
        let sealed = sender.seal(said, key)?;
        self.sender = Some(sender);
        Ok(sealed)
    }

    /// Reads what a gateway says.
    pub(super) fn open(&mut self, message: &[u8], gateways: &SiteGateways) -> Result<Zeroizing<Vec<u8>>, Unread> {
        if self.keys.await_key_of(message) {
            return Err(Unread::Awaits);
        }
        let now = clock::now();
        let mut stranger = None;
        let signer = |chain: &[ByteBuf]| {
            gateways.key_of(chain, now).map_err(|error| {
                stranger = Some(error);
                OpenError::Unsigned
            })
        };
        let opened = self.kept.counted.open_certified(&self.keys.accepted(now), &self.topics.1, message, signer);
        match (opened, stranger) {
            (Ok(opened), _) => {
                self.is_changed = true;
                Ok(opened.plaintext)
            }
            (Err(_), Some(stranger)) => Err(Unread::Gateway(stranger)),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Stores what has counted, where that is more than before.
    pub(super) fn store(&mut self) -> io::Result<()> {
        if self.is_changed {
            put(&self.file, &cbor::encode(&self.kept).map_err(io::Error::other)?)?;
            self.is_changed = false;
        }
        Ok(())
    }
}

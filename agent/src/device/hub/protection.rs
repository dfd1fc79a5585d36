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
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{UnixMillis, cbor};
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

/// A message that was read. It counts when [`Protection::count`] has heard that it was dealt with.
pub(super) struct Read {
    pub(super) said: Zeroizing<Vec<u8>>,
    counted: Receivers,
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
    pub(super) fn seal(&mut self, said: &[u8], key: &PrivateKey, now: UnixMillis) -> Result<Vec<u8>, Unsaid> {
        let current = self.keys.current().ok_or(Unsaid::NoKey)?;
        if self.sender.as_ref().is_none_or(|sender| sender.kid() != current.kid) {
            // Its number is stored before it is used, above every one before, also where the file was lost.
            self.kept.run = self.kept.run.saturating_add(1).max(now.as_secs());
            let sender = Sender::begin(current, self.topics.0.clone(), self.kept.run, &mut clock::rng())?;
            self.is_changed = true;
            self.store()?;
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().ok_or(Unsaid::NoKey)?;
        Ok(sender.seal(said, key)?)
    }

    /// Reads what a gateway says.
    pub(super) fn open(&self, message: &[u8], gateways: &SiteGateways, now: UnixMillis) -> Result<Read, Unread> {
        if self.keys.await_key_of(message) {
            return Err(Unread::Awaits);
        }
        let mut stranger = None;
        let signer = |chain: &[ByteBuf]| {
            gateways.key_of(chain, now).map_err(|error| {
                stranger = Some(error);
                OpenError::Unsigned
            })
        };
        let mut counted = self.kept.counted.clone();
        let opened = counted.open_certified(&self.keys.accepted(now), &self.topics.1, message, signer);
        match (opened, stranger) {
            (Ok(opened), _) => Ok(Read { said: opened.plaintext, counted }),
            (Err(_), Some(stranger)) => Err(Unread::Gateway(stranger)),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// A message was dealt with: it counts no second time.
    pub(super) fn count(&mut self, read: Read) {
        self.kept.counted = read.counted;
        self.is_changed = true;
    }

    /// Whether something can be said.
    pub(super) fn has_key(&self) -> bool {
        self.keys.current().is_some()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::link::Revoked;
    use crate::testing::{NOW, Site, later, pump};
    use wardlink_crypto::x509::Holder;
    use wardlink_protocol::channel::{ChannelKey, UPDATE_CHANNEL, default_channels};
    use wardlink_protocol::identity::KeyId;
    use wardlink_protocol::keys::AcceptedKey;
    use wardlink_trust::Receiver;

    fn key(epoch: u8) -> ChannelKey {
        let channel = default_channels().into_iter().find(|row| row.name.as_str() == UPDATE_CHANNEL).unwrap();
        ChannelKey { channel, kid: KeyId([epoch; 8]), epoch: epoch.into(), key: [epoch; 32] }
    }

    fn keys(epoch: u8) -> ChannelKeys {
        ChannelKeys::new(vec![AcceptedKey { key: key(epoch), until: None }])
    }

    fn topics() -> (Topic, Topic) {
        let channel = || UPDATE_CHANNEL.parse().unwrap();
        (Topic::Data(channel(), pump()), Topic::Control(channel(), pump()))
    }

    fn open_in(folder: &Path) -> Protection {
        Protection::open_in(folder, topics(), keys(1))
    }

    /// What somebody says to the pump under a key.
    fn said(epoch: u8, run: u64, (signer, chain): &(PrivateKey, Vec<ByteBuf>)) -> Vec<u8> {
        let mut sender = Sender::begin(&key(epoch), topics().1, run, &mut clock::rng()).unwrap();
        sender.seal_certified(b"said", signer, chain).unwrap()
    }

    #[test]
    fn a_device_takes_nothing_that_is_not_sealed_and_signed_by_a_gateway_of_its_site() {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::open());
        let gateways = SiteGateways::with(site.root, Revoked::default());
        let mut protection = open_in(folder.path());
        let gateway = site.gateway();
        let device = site.member(&Holder::Device(pump()));
        let control_unit = site.member(&Holder::ControlUnit("St. Elsewhere".into()));
        let elsewhere = Site::open().gateway();
        for (forged, why) in [
            (b"said".to_vec(), "does not open"),
            (said(1, 1, &device), "purpose"),
            (said(1, 1, &control_unit), "purpose"),
            (said(1, 1, &elsewhere), "root"),
            (said(1, 1, &(gateway.0.clone(), Vec::new())), "length"),
            // Somebody who shows the gateway's certificates and does not hold its key.
            (said(1, 1, &(device.0.clone(), gateway.1.clone())), "not signed"),
        ] {
            let refused = protection.open(&forged, &gateways, NOW).err().unwrap();
            assert!(refused.to_string().contains(why), "{why}: {refused}");
        }
        let message = said(1, 5, &gateway);
        let read = protection.open(&message, &gateways, NOW).unwrap();
        assert_eq!(read.said.as_slice(), b"said");
        // What could not be dealt with is read again.
        assert!(protection.open(&message, &gateways, NOW).is_ok());
        protection.count(read);
        // Once, also after a restart; and no earlier run of this gateway, though one of another gateway.
        protection.store().unwrap();
        let protection = open_in(folder.path());
        assert!(matches!(protection.open(&message, &gateways, NOW), Err(Unread::Refused(OpenError::Replay(_)))));
        let earlier = said(1, 4, &gateway);
        assert!(matches!(protection.open(&earlier, &gateways, NOW), Err(Unread::Refused(OpenError::Replay(_)))));
        assert!(protection.open(&said(1, 4, &site.gateway()), &gateways, NOW).is_ok());
    }

    #[test]
    fn what_is_under_a_later_key_waits_for_it() {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::open());
        let gateways = SiteGateways::with(site.root, Revoked::default());
        let mut protection = open_in(folder.path());
        let gateway = site.gateway();
        let (old, new) = (said(1, 1, &gateway), said(2, 2, &gateway));
        assert!(matches!(protection.open(&new, &gateways, NOW), Err(Unread::Awaits)));
        protection.learn(keys(2));
        assert!(protection.open(&new, &gateways, later(1)).is_ok());
        assert!(matches!(protection.open(&old, &gateways, later(1)), Err(Unread::Refused(OpenError::UnknownKey))));
    }

    #[test]
    fn each_run_is_above_every_one_before_also_where_its_file_was_lost() {
        let (folder, signer) = (tempfile::tempdir().unwrap(), PrivateKey::make(&mut clock::rng()));
        let mut receiver = Receiver::default();
        let mut counts = |message: &[u8]| {
            receiver.open(&[key(1), key(2)], &topics().0, &signer.public(), message).map(|opened| opened.missing)
        };
        let mut protection = open_in(folder.path());
        for missing in [0, 0] {
            assert_eq!(counts(&protection.seal(b"x", &signer, NOW).unwrap()), Ok(missing));
        }
        // The clock goes back, and the program begins anew; then a new key.
        let mut protection = open_in(folder.path());
        assert_eq!(counts(&protection.seal(b"x", &signer, UnixMillis(0)).unwrap()), Ok(0));
        protection.learn(keys(2));
        assert_eq!(counts(&protection.seal(b"x", &signer, UnixMillis(0)).unwrap()), Ok(0));
        // Its file is damaged.
        std::fs::write(folder.path().join(FILE), b"damaged").unwrap();
        let mut protection = open_in(folder.path());
        assert_eq!(counts(&protection.seal(b"x", &signer, later(60)).unwrap()), Ok(0));
        // Where the site gives it no key, nothing is said.
        protection.learn(ChannelKeys::default());
        assert!(matches!(protection.seal(b"x", &signer, later(61)), Err(Unsaid::NoKey)));
    }
}

//! The messages by which later epochs of network keys reach one device, and what it answers (`docs/protocol.md`, "Later epochs").
//!
//! They travel on the device's T2, and its answers on T3, so that one retained place holds everything that the control unit has
//! to say to one device. A gateway gets the keys of its devices with the list of them.

use crate::channel::{ChannelKey, ChannelName, ContentAlgorithm};
use crate::identity::KeyId;
use crate::pairing::Status;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What the header of a wrapped key says, before anything is opened: the device refuses by it, and the AAD binds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedFor {
    /// The channel.
    pub channel: ChannelName,
    /// The id of the network key inside.
    pub kid: KeyId,
    /// The algorithm of the channel's content.
    pub algorithm: ContentAlgorithm,
}

/// KEY_UPDATE: a new epoch of a channel's key, with the row of policy that it belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct KeyUpdate {
    /// [`Status::KeyUpdate`].
    #[zeroize(skip)]
    pub status: Status,
    /// The row of policy and the key.
    pub key: ChannelKey,
    /// Until when messages under the epoch before it are still accepted; past: not at all.
    #[zeroize(skip)]
    pub previous_until: UnixMillis,
}

/// CHANNEL_WITHDRAWN: the device has this channel no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelWithdrawn {
    /// [`Status::ChannelWithdrawn`].
    pub status: Status,
    /// The channel.
    pub channel: ChannelName,
    /// Every epoch up to this one has ended.
    pub epoch: u64,
}

/// KEYS_UPDATED: what the device holds, after it stored it durably. A device that refused an epoch because it holds a higher one
/// says so in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysUpdated {
    /// [`Status::KeysUpdated`].
    pub status: Status,
    /// The newest epoch of each channel that changed.
    pub keys: Vec<HeldKey>,
}

/// The newest epoch of one channel at a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldKey {
    /// The channel.
    pub channel: ChannelName,
    /// The id of the network key; none where the channel was withdrawn.
    pub kid: Option<KeyId>,
    /// The epoch.
    pub epoch: u64,
}

/// A network key under which messages count.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct AcceptedKey {
    /// The row of policy and the key.
    pub key: ChannelKey,
    /// The first moment in which they no longer count; none for the key in force.
    #[zeroize(skip)]
    pub until: Option<UnixMillis>,
}

/// ASSOCIATED_KEYS: the keys of one channel of a device, for a gateway that it is associated with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssociatedKeys {
    /// [`Status::AssociatedKeys`].
    pub status: Status,
    /// The keys, the newest first.
    pub keys: Vec<AcceptedKey>,
}

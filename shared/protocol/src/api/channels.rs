//! The second channels as people set them, and their keys.

use crate::channel::{Channel, ChannelName};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/channels`, and the answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelsView {
    /// Rises with every change.
    pub version: u64,
    /// The rows, by falling priority, then by name.
    pub channels: Vec<Channel>,
    /// When they were changed last; none: they are those of a new site.
    pub changed_at: Option<UnixMillis>,
    /// Who changed them.
    pub changed_by: Option<String>,
    /// How the keys of each channel stand, in the same order.
    pub keys: Vec<ChannelKeyState>,
    /// New keys that are on their way to devices.
    pub jobs: Vec<KeyJob>,
}

/// The body of `PUT /api/v1/channels` and of `POST /api/v1/channels/preview`, which only says what it would do.
/// `POST /api/v1/channels/{channel}/rotate` takes no body and makes new keys of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsChange {
    /// The version that the change was made from; where that is outdated, it is refused.
    pub version: u64,
    /// All rows.
    pub channels: Vec<Channel>,
}

/// How the keys of a channel stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelKeyState {
    /// The channel.
    pub channel: ChannelName,
    /// When new keys were made last, by schedule or by hand; none: there is no key yet.
    pub rotated_at: Option<UnixMillis>,
    /// When the next ones are made.
    pub rotates_at: Option<UnixMillis>,
}

/// Why devices get new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyJobReason {
    /// They were used for as long as the channel allows.
    Schedule,
    /// A person wanted it.
    ByHand,
    /// The channel has changed.
    Policy,
    /// A device that knew them was revoked.
    Revocation,
    /// The site was restored from an earlier state.
    Restored,
}

/// New keys on their way to devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyJob {
    /// Why.
    pub reason: KeyJobReason,
    /// Since when.
    pub began_at: UnixMillis,
    /// How many devices get them.
    pub devices: u64,
    /// To how many they were sent.
    pub reached: u64,
}

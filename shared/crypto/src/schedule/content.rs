//! The keys of messages on the second channels.

use super::{DerivationError, expand, extract};
use crate::cose::{ContentKey, SUITE};
use serde_bytes::Bytes;
use wardlink_protocol::Device;
use wardlink_protocol::channel::{ChannelName, ContentAlgorithm, Direction};

/// What a content key belongs to, beside the network key: every field is an input of its derivation.
#[derive(Clone, Copy, Debug)]
pub struct ContentContext<'a> {
    /// The epoch of the network key.
    pub epoch: u64,
    /// The channel.
    pub channel: &'a ChannelName,
    /// Up or down.
    pub direction: Direction,
    /// The device that the topic names: the sender upwards, the receiver downwards.
    pub device: &'a Device,
    /// The sender's boot number.
    pub boot: u64,
    /// The sender's 16 random bytes.
    pub instance: &'a [u8; 16],
}

/// The key of one instance of one sender, derived from the channel's network key.
pub fn derive_content_key(
    network_key: &[u8; 32],
    algorithm: ContentAlgorithm,
    context: &ContentContext<'_>,
) -> Result<ContentKey, DerivationError> {
    let info = (
        "wardlink content",
        SUITE,
        algorithm,
        context.epoch,
        context.channel,
        context.direction,
        &context.device.client,
        &context.device.identifier,
        context.boot,
        Bytes::new(context.instance),
    );
    let prk = extract(&[], network_key);
    match algorithm {
        ContentAlgorithm::A128GCM => expand(&prk, &info).map(ContentKey::A128),
        ContentAlgorithm::A256GCM => expand(&prk, &info).map(ContentKey::A256),
    }
}

//! A message on a second channel as it comes from the bridge: whether it counts, for whoever follows the stamps.
//!
//! Everything that the issue of trust asks of a message is asked here, in this order: a topic of a second channel, the stamp of
//! the one publisher to whom the topic belongs, a key that counts at the time of the stamp from a sender who is trusted now, and
//! then what [`Receiver::open`] checks: encryption, topic, signature, and that it counts once.

use wardlink_crypto::cose::{Encrypted, EnvelopeError};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use crate::epochs::{KeyRefusal, Line};
use crate::protect::{OpenError, Opened, Receiver};

/// Why a message does not count. Nothing has changed; whoever runs the shell reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The peer's fault: the topic is no second channel upwards, or not the sender's.
    #[error("this topic is not the sender's second channel")]
    Topic,
    /// The peer's fault, or a forged stamp: another publisher than the sender with a device's certificate.
    #[error("the stamp names another publisher than the sender")]
    Publisher,
    /// The peer's fault: its network key does not count.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// The peer's fault: it does not open, or has counted already.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<EnvelopeError> for Refused {
    fn from(error: EnvelopeError) -> Self {
        Self::Open(error.into())
    }
}

/// The device that a topic names, as the site knows it now.
#[derive(Clone, Copy)]
pub struct KnownSender<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its static key.
    pub key: &'a PublicKey,
    /// Whether it is trusted now: paired, and neither revoked nor locked.
    pub trusted: bool,
}

/// Opens a message that the bridge stamped. `lines` are those under which the sender's messages on this channel may be: the class's,
/// its own, or both while the scope changes. `receiver` is the topic's, and is stored afterwards.
pub fn open(
    receiver: &mut Receiver,
    lines: &[Line],
    sender: KnownSender<'_>,
    stamped: &StampedMessage,
    now: UnixMillis,
) -> Result<Opened, Refused> {
    let topic: Topic = stamped.topic.parse().map_err(|_| Refused::Topic)?;
    let Topic::Data(channel, device) = &topic else { return Err(Refused::Topic) };
    if device != sender.device {
        return Err(Refused::Topic);
    }
    let fingerprint = sender.key.fingerprint().map_err(OpenError::Key)?;
    let by_sender = matches!(
        &stamped.publisher,
        Publisher::Key { key, device: named, certificate: Some((_, purpose)) }
            if *key == fingerprint && named == device && *purpose == device.purpose()
    );
    if !by_sender {
        return Err(Refused::Publisher);
    }
    let envelope = Encrypted::parse(&stamped.payload, MAX_CHANNEL_MESSAGE_BYTES)?;
    let kid = envelope.header().kid.as_slice();
    let mut refusal = KeyRefusal::Unknown;
    for line in lines.iter().filter(|line| line.id().channel == *channel && line.id().covers(device)) {
        match line.admit(kid, stamped.accepted_at, sender.trusted, now) {
            Ok(key) => {
                let key = core::slice::from_ref(key);
                return Ok(receiver.open(key, &topic, sender.key, &stamped.payload)?);
            }
            Err(KeyRefusal::Unknown) => {}
            Err(other) => refusal = other,
        }
    }
    Err(refusal.into())
}

#[cfg(test)]
mod tests;

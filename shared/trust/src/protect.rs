//! Protection of one message: encryption for every holder of the channel's key, and the sender's signature inside.

use crate::replay::{ReplayError, ReplayWindow};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, ContentKey, Encrypted, EnvelopeError, Header, IV_BYTES, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, ContentContext, DerivationError};
use wardlink_crypto::x509::ChainError;
use wardlink_protocol::Device;
use wardlink_protocol::channel::{ChannelKey, ChannelName, Direction};
use wardlink_protocol::identity::{KeyFingerprint, KeyId};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::topic::Topic;
use zeroize::Zeroizing;

/// The random part of an instance's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

impl Serialize for Instance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        bytes.as_slice().try_into().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The length of an instance in a header: the boot number, big-endian, and 16 random bytes.
const INSTANCE_BYTES: usize = 8 + 16;
/// The most messages of one instance under one key: far below what AES-GCM allows for deterministic nonces.
const MAX_MESSAGES: u64 = 1 << 32;

/// Why a message cannot be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The caller's fault: the topic is no second channel, or another one than the key's.
    #[error("this topic does not belong to the channel")]
    Topic,
    /// The caller's fault: longer than [`MAX_CHANNEL_MESSAGE_BYTES`] when it is protected.
    #[error("the message is too long")]
    TooLong,
    /// The caller's fault: the instance is used up; begin a new one.
    #[error("the instance has sent as many messages as one key allows")]
    UsedUp,
    /// Our fault: the envelope or a key could not be made.
    #[error("the message cannot be protected: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Our fault: the content key could not be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    /// Our fault: the signing key could not be named.
    #[error("the signing key cannot be named: {0}")]
    Key(#[from] KeyError),
}

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The peer's fault: not an envelope of this profile, changed, or for another topic.
    #[error("the message does not open: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: under a network key that is unknown or retired here.
    #[error("the message is under an unknown network key")]
    UnknownKey,
    /// The peer's fault: its epoch is not the key's.
    #[error("the message names another epoch than its key's")]
    Epoch,
    /// The peer's fault: a header that second channels need is missing or has the wrong form.
    #[error("the message's header is incomplete")]
    Header,
    /// The peer's fault: the topic is no second channel, or another one than the key's.
    #[error("this topic does not belong to the channel")]
    Topic,
    /// The peer's fault: the channel asks for signed messages, and this one is not signed by the sender.
    #[error("the message is not signed by its sender")]
    Unsigned,
    /// The peer's fault: the certificate that came with it is not that of somebody who may send it.
    #[error("the message's signer may not send it: {0}")]
    Signer(ChainError),
    /// The peer's fault, or a resent message: it has counted already, or cannot be told from one that has.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Our fault: the content key could not be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    /// Our fault: a public key could not be named.
    #[error("the sender's key cannot be named: {0}")]
    Key(#[from] KeyError),
}

/// The topic's channel, direction and device.
fn place(topic: &Topic) -> Option<(&ChannelName, Direction, &Device)> {
    match topic {
        Topic::Data(channel, device) => Some((channel, Direction::Up, device)),
        Topic::Control(channel, device) => Some((channel, Direction::Down, device)),
        _ => None,
    }
}

fn content_key(
    key: &ChannelKey,
    topic: &Topic,
    boot: u64,
    instance: Instance,
) -> Option<Result<ContentKey, DerivationError>> {
    let (channel, direction, device) = place(topic)?;
    (*channel == key.channel.name).then(|| {
        schedule::derive_content_key(
            &key.key,
            key.channel.algorithm,
            &ContentContext { epoch: key.epoch, channel, direction, device, boot, instance: &instance.0 },
        )
    })
}

fn instance_bytes(boot: u64, instance: Instance) -> ByteBuf {
    let mut bytes = Vec::with_capacity(INSTANCE_BYTES);
    bytes.extend_from_slice(&boot.to_be_bytes());
    bytes.extend_from_slice(&instance.0);
    ByteBuf::from(bytes)
}

fn split_instance(bytes: &[u8]) -> Option<(u64, Instance)> {
    let (boot, instance) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*boot), Instance(instance.try_into().ok()?)))
}

/// The nonce: the counter, big-endian, behind four zero bytes. A key belongs to one instance, so a counter suffices.
fn iv(counter: u64) -> [u8; IV_BYTES] {
    let mut iv = [0; IV_BYTES];
    if let Some(end) = iv.last_chunk_mut::<8>() {
        *end = counter.to_be_bytes();
    }
    iv
}

fn counter(iv: &[u8; IV_BYTES]) -> Option<u64> {
    let (zero, counter) = iv.split_last_chunk::<8>()?;
    zero.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(*counter))
}

/// One instance of a sender on one topic. It is made anew for each connection, and never stored.
pub struct Sender {
    topic: Topic,
    kid: KeyId,
    epoch: u64,
    signed: bool,
    key: ContentKey,
    instance: ByteBuf,
    next: u64,
}

impl Sender {
    /// Begins an instance. `boot` has been stored durably and is higher than in any instance before.
    pub fn begin<R: CryptoRng>(key: &ChannelKey, topic: Topic, boot: u64, rng: &mut R) -> Result<Self, SealError> {
        let mut random = [0; 16];
        rng.fill_bytes(&mut random);
        let instance = Instance(random);
        let content = content_key(key, &topic, boot, instance).ok_or(SealError::Topic)??;
        Ok(Self {
            topic,
            kid: key.kid,
            epoch: key.epoch,
            signed: key.channel.signed,
            key: content,
            instance: instance_bytes(boot, instance),
            next: 0,
        })
    }

    /// Where the messages go.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The network key that the messages are under.
    pub fn kid(&self) -> KeyId {
        self.kid
    }

    /// Protects one message of a device. `signer` is its static key; it is used where the channel asks for signatures.
    pub fn seal(&mut self, plaintext: &[u8], signer: &PrivateKey) -> Result<Vec<u8>, SealError> {
        self.seal_certified(plaintext, signer, &[])
    }

    /// Protects one message to a device. Where the channel asks for signatures, it brings the chain of the signer's certificate, up to and
    /// including the root: a device does not know who else writes to it.
    pub fn seal_certified(
        &mut self,
        plaintext: &[u8],
        signer: &PrivateKey,
        chain: &[ByteBuf],
    ) -> Result<Vec<u8>, SealError> {
        if self.next >= MAX_MESSAGES {
            return Err(SealError::UsedUp);
        }
        let counter = self.next;
        let aad = self.topic.to_string();
        let header = self.header(self.kid.as_bytes());
        let envelope;
        let content = if self.signed {
            let kid = signer.public().fingerprint()?;
            // The signature covers instance and counter, so that nobody who holds the channel's key can send it once more.
            let inner = Header { counter: Some(counter), chain: chain.to_vec(), ..self.header(kid.as_bytes()) };
            envelope = cose::sign(&inner, signer, aad.as_bytes(), plaintext)?;
            envelope.as_slice()
        } else {
            plaintext
        };
        let message = cose::seal_with_iv(&header, &self.key, &iv(counter), aad.as_bytes(), content)?;
        if message.len() > MAX_CHANNEL_MESSAGE_BYTES {
            return Err(SealError::TooLong);
        }
        self.next += 1;
        Ok(message)
    }

    fn header(&self, kid: &[u8]) -> Header {
        Header {
            kid: kid.to_vec(),
            instance: Some(self.instance.clone()),
            epoch: Some(self.epoch),
            ..Header::default()
        }
    }
}

/// A message that counts.
pub struct Opened {
    /// What it says.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Whether the sender signed it. Otherwise only the bridge's stamp says who sent it.
    pub signed: bool,
    /// How many messages before it are missing so far.
    pub missing: u64,
}

/// A receiver of one topic. Its state is stored by the shell after each message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    window: ReplayWindow,
}

impl Receiver {
    /// Opens one message under the key that its kid selects among `keys`. `sender` is the static key of the device that the topic names.
    pub fn open(
        &mut self,
        keys: &[ChannelKey],
        topic: &Topic,
        sender: &PublicKey,
        message: &[u8],
    ) -> Result<Opened, OpenError> {
        let known = |chain: &[ByteBuf]| if chain.is_empty() { Ok(*sender) } else { Err(OpenError::Unsigned) };
        self.open_certified(keys, topic, message, known)
    }

    /// Opens one message under the key that its kid selects among `keys`. `signer` says whose key a message has to be signed with that
    /// brings this chain; nothing of the chain is believed before.
    pub fn open_certified(
        &mut self,
        keys: &[ChannelKey],
        topic: &Topic,
        message: &[u8],
        signer: impl FnOnce(&[ByteBuf]) -> Result<PublicKey, OpenError>,
    ) -> Result<Opened, OpenError> {
        let sealed = Sealed::parse(keys, message)?;
        sealed.check(&self.window)?;
        let (plaintext, _) = sealed.open(topic, signer)?;
        self.count(&sealed, plaintext)
    }

    fn count(&mut self, sealed: &Sealed<'_>, plaintext: Zeroizing<Vec<u8>>) -> Result<Opened, OpenError> {
        let missing = self.window.accept(sealed.boot, sealed.instance, sealed.counter)?;
        Ok(Opened { plaintext, signed: sealed.key.channel.signed, missing })
    }
}

/// Of how many who write on one topic a receiver remembers what has counted.
const MAX_SENDERS: usize = 8;

/// A receiver of one topic on which several write, one after the other, such as a device's gateways: each has runs and counters of its own.
/// Its state is stored by the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receivers(Vec<(Option<KeyFingerprint>, Receiver)>);

impl Receivers {
    /// Opens one message, as [`Receiver::open_certified`] does; what has counted is told apart by the key that has signed it, and together for
    /// all of whom nothing is signed.
    pub fn open_certified(
        &mut self,
        keys: &[ChannelKey],
        topic: &Topic,
        message: &[u8],
        signer: impl FnOnce(&[ByteBuf]) -> Result<PublicKey, OpenError>,
    ) -> Result<Opened, OpenError> {
        let sealed = Sealed::parse(keys, message)?;
        let (plaintext, signed_by) = sealed.open(topic, signer)?;
        let at = self.0.iter().position(|(known, _)| *known == signed_by);
        let mut receiver = at.map_or_else(Receiver::default, |at| self.0.remove(at).1);
        let counted = receiver.count(&sealed, plaintext);
        // Whoever was silent for longest is forgotten.
        self.0.push((signed_by, receiver));
        self.0.drain(..self.0.len().saturating_sub(MAX_SENDERS));
        counted
    }
}

/// A message as its header names it; nothing of that is authentic.
struct Sealed<'a> {
    envelope: Encrypted,
    key: &'a ChannelKey,
    boot: u64,
    instance: Instance,
    counter: u64,
}

impl<'a> Sealed<'a> {
    fn parse(keys: &'a [ChannelKey], message: &[u8]) -> Result<Self, OpenError> {
        let envelope = Encrypted::parse(message, MAX_CHANNEL_MESSAGE_BYTES)?;
        let header = envelope.header();
        let key = keys.iter().find(|key| key.kid.as_bytes() == header.kid.as_slice()).ok_or(OpenError::UnknownKey)?;
        if header.epoch != Some(key.epoch) {
            return Err(OpenError::Epoch);
        }
        let instance = header.instance.as_ref().ok_or(OpenError::Header)?;
        let (boot, instance) = split_instance(instance).ok_or(OpenError::Header)?;
        let counter = counter(envelope.iv()).ok_or(OpenError::Header)?;
        if *header != only_these(header) || counter >= MAX_MESSAGES {
            return Err(OpenError::Header);
        }
        Ok(Self { envelope, key, boot, instance, counter })
    }

    /// Whether it would count.
    fn check(&self, window: &ReplayWindow) -> Result<(), ReplayError> {
        window.check(self.boot, self.instance, self.counter)
    }

    /// What it says, and who signed it, where the channel asks for that.
    fn open(
        &self,
        topic: &Topic,
        signer: impl FnOnce(&[ByteBuf]) -> Result<PublicKey, OpenError>,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<KeyFingerprint>), OpenError> {
        let content = content_key(self.key, topic, self.boot, self.instance).ok_or(OpenError::Topic)??;
        let aad = topic.to_string();
        let plaintext = self.envelope.open(&content, aad.as_bytes())?;
        if !self.key.channel.signed {
            return Ok((plaintext, None));
        }
        let expected = Header { counter: Some(self.counter), ..only_these(self.envelope.header()) };
        let (plaintext, signed_by) = verified(&plaintext, expected, signer, aad.as_bytes())?;
        Ok((plaintext, Some(signed_by)))
    }
}

/// Of a header, what a message of a second channel has.
fn only_these(header: &Header) -> Header {
    Header { kid: header.kid.clone(), instance: header.instance.clone(), epoch: header.epoch, ..Header::default() }
}

fn verified(
    bytes: &[u8],
    expected: Header,
    whose: impl FnOnce(&[ByteBuf]) -> Result<PublicKey, OpenError>,
    aad: &[u8],
) -> Result<(Zeroizing<Vec<u8>>, KeyFingerprint), OpenError> {
    let envelope = Signed::parse(bytes, MAX_CHANNEL_MESSAGE_BYTES).map_err(|_| OpenError::Unsigned)?;
    let chain = envelope.header().chain.clone();
    let key = whose(&chain)?;
    let fingerprint = key.fingerprint()?;
    let expected = Header { kid: fingerprint.as_bytes().to_vec(), chain, ..expected };
    if *envelope.header() != expected {
        return Err(OpenError::Unsigned);
    }
    let payload = envelope.verify(&key, aad).map_err(|_| OpenError::Unsigned)?;
    Ok((Zeroizing::new(payload.to_vec()), fingerprint))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

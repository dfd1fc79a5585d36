//! The second channels: messages that were changed outside, inside the encryption, and inside the signature.

use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, Header, IV_BYTES};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule::{ContentContext, derive_content_key};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{ChannelKey, Direction};
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::topic::Topic;
use wardlink_trust::Receiver;

use crate::site::site;
use crate::vectors::Vectors;
use crate::{select, selected};

const EPOCH: u64 = 3;
const BOOT: u64 = 7;

/// The frozen channel of that name.
struct Frozen {
    key: ChannelKey,
    topic: Topic,
    device: PrivateKey,
    messages: [Vec<u8>; 2],
    random: [u8; 16],
}

impl Frozen {
    fn read(name: &str) -> Self {
        let vectors = Vectors::channel();
        let channel = site().channels.iter().find(|key| key.channel.name.as_str() == name).expect("a channel");
        let kid: KeyId = vectors.text(&format!("/{name}/kid")).parse().expect("a kid");
        let network_key = vectors.bytes(&format!("/{name}/network_key")).try_into().expect("a key");
        let message = |number: u8| vectors.bytes(&format!("/{name}/messages/{number}"));
        Self {
            key: ChannelKey { channel: channel.channel.clone(), kid, epoch: EPOCH, key: network_key },
            topic: vectors.text(&format!("/{name}/topic")).parse().expect("a topic"),
            device: PrivateKey::from_pkcs8(&vectors.bytes(&format!("/{name}/device_pkcs8"))).expect("a key"),
            messages: [message(0), message(1)],
            random: vectors.bytes(&format!("/{name}/random_bytes")).try_into().expect("16 bytes"),
        }
    }

    fn header(&self, kid: &[u8], counter: Option<u64>) -> Header {
        let instance = Some(ByteBuf::from([&BOOT.to_be_bytes()[..], &self.random].concat()));
        Header { kid: kid.to_vec(), instance, epoch: Some(EPOCH), counter, ..Header::default() }
    }

    /// Encrypts `content` as the device's message with that counter.
    fn seal(&self, counter: u64, inside: &[u8]) -> Vec<u8> {
        let Topic::Data(channel, device) = &self.topic else { panic!("no second channel") };
        let (direction, instance) = (Direction::Up, &self.random);
        let context = ContentContext { epoch: EPOCH, channel, direction, device, boot: BOOT, instance };
        let key = derive_content_key(&self.key.key, self.key.channel.algorithm, &context).expect("a content key");
        let mut iv = [0; IV_BYTES];
        iv[4..].copy_from_slice(&counter.to_be_bytes());
        let aad = self.topic.to_string();
        let header = self.header(self.key.kid.as_bytes(), None);
        cose::seal_with_iv(&header, &key, &iv, aad.as_bytes(), inside).expect("an envelope")
    }

    fn sign(&self, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let kid = self.device.public().fingerprint().expect("a key");
        let header = self.header(kid.as_bytes(), Some(counter));
        cose::sign(&header, &self.device, self.topic.to_string().as_bytes(), plaintext).expect("an envelope")
    }

    /// Opens a message after the first frozen one; what counts once never counts again.
    fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (keys, sender) = ([self.key.clone()], self.device.public());
        let mut receiver = Receiver::default();
        receiver.open(&keys, &self.topic, &sender, &self.messages[0]).expect("a frozen message");
        let before = receiver.clone();
        let opened = receiver.open(&keys, &self.topic, &sender, message);
        let stored = cbor::encode(&receiver).expect("a receiver");
        assert!(stored.len() < 2048);
        assert_eq!(cbor::decode::<Receiver>(&stored, stored.len()).as_ref(), Ok(&receiver));
        let Ok(opened) = opened else {
            assert_eq!(receiver, before, "a refused message was remembered");
            return None;
        };
        assert!(receiver.open(&keys, &self.topic, &sender, message).is_err(), "a message counts twice");
        assert!(opened.plaintext.len() < message.len() && opened.signed == self.key.channel.signed);
        Some(opened.plaintext.to_vec())
    }
}

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let frozen = Frozen::read(if selector % 2 == 0 { "alarm" } else { "telemetry" });
    match (selector / 2) % 3 {
        // Someone who has no key.
        0 => assert!(frozen.open(bytes).is_none() || bytes == frozen.messages[1], "a foreign message counts"),
        // Another holder of the channel's key: only the signature tells who wrote the message.
        1 => {
            let opened = frozen.open(&frozen.seal(1, bytes));
            assert!(!frozen.key.channel.signed || opened.is_none() || bytes == frozen.sign(1, b"second"));
        }
        // The device itself, with any counter and any content.
        _ => {
            let Some((counter, content)) = bytes.split_first_chunk::<8>() else { return };
            let counter = u64::from_be_bytes(*counter);
            let signed = frozen.key.channel.signed.then(|| frozen.sign(counter, content));
            let message = frozen.seal(counter, signed.as_deref().unwrap_or(content));
            if let Some(plaintext) = frozen.open(&message) {
                assert!(plaintext == content && counter > 0);
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let [alarm, telemetry] = ["alarm", "telemetry"].map(Frozen::read);
    let report = |number: u64| [&number.to_be_bytes()[..], b"second"].concat();
    vec![
        select(0, &alarm.messages[1]),
        select(1, &telemetry.messages[1]),
        select(0, &alarm.messages[0]),
        select(2, &alarm.sign(1, b"second")),
        select(3, b"second"),
        select(4, &report(1)),
        select(4, &report(1 << 32)),
        select(5, &report(0)),
        select(5, &report(2000)),
    ]
}

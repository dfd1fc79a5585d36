//! A device: what it stores, what it remembers for good, and what it publishes.

use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::identity::{CertificateSerial, Purpose, Sha256};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::Sender;
use wardlink_trust::wrap::{Keychain, WrapKey};

/// What a device stores.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) keychain: Keychain,
    pub(crate) wrap_key: WrapKey,
    pub(crate) certificate: ByteBuf,
    boot: u64,
}

/// A device that was paired at least once.
pub(crate) struct Pump {
    pub(crate) name: Device,
    pub(crate) key: PrivateKey,
    pub(crate) cert_ca: Sha256,
    pub(crate) stored: Stored,
    saved: Option<Stored>,
    /// Whether it ever came back from a copy: its boot numbers may be behind then.
    pub(crate) restored: bool,
    /// Every key that it ever held: whoever is revoked forgets nothing.
    pub(crate) ever: Vec<ChannelKey>,
    senders: Vec<Sender>,
}

impl Pump {
    pub(crate) fn new(name: Device, key: PrivateKey, cert_ca: Sha256, stored: (Keychain, WrapKey, ByteBuf)) -> Self {
        let (keychain, wrap_key, certificate) = stored;
        let stored = Stored { keychain, wrap_key, certificate, boot: 0 };
        let mut pump =
            Self { name, key, cert_ca, stored, saved: None, restored: false, ever: Vec::new(), senders: Vec::new() };
        pump.remember();
        pump
    }

    /// Keeps in mind what it holds now, for good.
    pub(crate) fn remember(&mut self) {
        for key in self.stored.keychain.channels() {
            if !self.ever.contains(key) {
                self.ever.push(key.clone());
            }
        }
    }

    pub(crate) fn restart(&mut self) {
        let stored = cbor::encode(&self.stored.keychain).unwrap();
        self.stored.keychain = cbor::decode(&stored, stored.len()).unwrap();
        self.senders.clear();
    }

    pub(crate) fn save(&mut self) {
        self.saved = Some(self.stored.clone());
    }

    pub(crate) fn restore(&mut self) {
        if let Some(saved) = self.saved.clone() {
            self.stored = saved;
            self.restored = true;
            self.senders.clear();
        }
    }

    pub(crate) fn serial(&self) -> CertificateSerial {
        Certificate::parse(&self.stored.certificate).unwrap().serial()
    }

    /// One protected message, as the bridge stamps it; none where the device does not have the channel. Under a new key, and after a
    /// restart, it begins a new instance, whose boot number it has stored before.
    pub(crate) fn publish(&mut self, channel: &str, now: UnixMillis, rng: &mut StdRng) -> Option<StampedMessage> {
        let key = self.stored.keychain.channels().into_iter().find(|key| key.channel.name.as_str() == channel)?.clone();
        let topic = Topic::Data(key.channel.name.clone(), self.name.clone());
        let place = self.senders.iter().position(|sender| *sender.topic() == topic && sender.kid() == key.kid);
        let place = place.unwrap_or_else(|| {
            self.senders.retain(|sender| *sender.topic() != topic);
            self.stored.boot += 1;
            self.senders.push(Sender::begin(&key, topic.clone(), self.stored.boot, rng).unwrap());
            self.senders.len() - 1
        });
        let payload = self.senders[place].seal(b"report", &self.key).unwrap();
        Some(self.stamped(&topic, &payload, now))
    }

    pub(crate) fn stamped(&self, topic: &Topic, payload: &[u8], now: UnixMillis) -> StampedMessage {
        self.stamped_with(topic, payload, self.serial(), now)
    }

    pub(crate) fn stamped_with(
        &self,
        topic: &Topic,
        payload: &[u8],
        serial: CertificateSerial,
        now: UnixMillis,
    ) -> StampedMessage {
        StampedMessage {
            topic: topic.to_string(),
            payload: ByteBuf::from(payload),
            publisher: Publisher::Key {
                key: self.key.public().fingerprint().unwrap(),
                device: self.name.clone(),
                certificate: Some((serial, Purpose::Device)),
            },
            accepted_at: now,
            sequence: 1,
            network: NetworkOrigin::default(),
        }
    }
}

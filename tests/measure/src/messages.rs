//! One sender and one receiver of a channel.

use crate::NotMeasured;
use rand_core::CryptoRng;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_protocol::channel::{ChannelKey, default_channels};
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::report::{Content, Report, Telemetry};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::{Receiver, Sender};

/// The device that sends.
const DEVICE: &str = "infusion-pump/ip-1";

/// A channel as a new site begins with it, and a report of an infusion that travels on it.
pub struct Messages {
    keys: [ChannelKey; 1],
    topic: Topic,
    sender: Sender,
    signer: PrivateKey,
    public: PublicKey,
    receiver: Receiver,
    report: Vec<u8>,
    protected: Vec<Vec<u8>>,
}

impl Messages {
    /// Begins on the channel of this name.
    pub fn begin<R: CryptoRng>(channel: &str, rng: &mut R) -> Result<Self, NotMeasured> {
        let row = default_channels().into_iter().find(|row| row.name.as_str() == channel);
        let row = row.ok_or_else(|| NotMeasured::new(format!("no channel {channel}")))?;
        let device: Device = DEVICE.parse().map_err(NotMeasured::new)?;
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let key = ChannelKey { channel: row, kid: KeyId([1; 8]), epoch: 1, key: secret };
        let signer = PrivateKey::make(rng);
        let topic = Topic::Data(key.channel.name.clone(), device);
        let report = Report {
            measured_at: UnixMillis(1_800_000_000_000),
            content: Content::Telemetry(Telemetry {
                rate_ul_per_h: 5_000,
                infused_ul: 12_345,
                remaining_ul: 37_655,
                pressure_mmhg: 80,
                battery_percent: 97,
            }),
        };
        Ok(Self {
            sender: Sender::begin(&key, topic.clone(), 1, rng).map_err(NotMeasured::new)?,
            public: signer.public(),
            signer,
            keys: [key],
            topic,
            receiver: Receiver::default(),
            report: cbor::encode(&report).map_err(NotMeasured::new)?,
            protected: Vec::new(),
        })
    }

    /// Protects so many messages, signed where the channel asks for it.
    pub fn protect(&mut self, count: usize) -> Result<(), NotMeasured> {
        for _ in 0..count {
            self.protected.push(self.sender.seal(&self.report, &self.signer).map_err(NotMeasured::new)?);
        }
        Ok(())
    }

    /// Opens everything that was protected; returns how many messages that were.
    pub fn open(&mut self) -> Result<usize, NotMeasured> {
        let protected = core::mem::take(&mut self.protected);
        for message in &protected {
            let opened = self.receiver.open(&self.keys, &self.topic, &self.public, message);
            if *opened.map_err(NotMeasured::new)?.plaintext != self.report {
                return Err(NotMeasured::new("what was opened is not what was protected"));
            }
        }
        Ok(protected.len())
    }
}

//! What the bridge puts on every message that it accepts.

use crate::identity::{CertificateSerial, Device, KeyFingerprint, Purpose};
use crate::network::NetworkOrigin;
use crate::time::UnixMillis;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// MQTT user property: the publisher, as [`Publisher`] prints itself.
pub const PUBLISHER_PROPERTY: &str = "wardlink-publisher";
/// MQTT user property: the time of acceptance, milliseconds since 1970, decimal.
pub const TIME_PROPERTY: &str = "wardlink-time";
/// MQTT user property: the sequence number within the topic, decimal.
pub const SEQUENCE_PROPERTY: &str = "wardlink-sequence";

/// Who published a message, as proved to the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publisher {
    /// The control unit itself.
    ControlUnit,
    /// A key, with the device that it claims or proves to be.
    Key {
        /// Which key.
        key: KeyFingerprint,
        /// Which device.
        device: Device,
        /// The certificate that it showed; none for a bare key.
        certificate: Option<(CertificateSerial, Purpose)>,
    },
}

impl fmt::Display for Publisher {
    /// `control-unit`, or `<client>/<identifier> <key>`, after which a certificate adds `<serial> <purpose>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlUnit => f.write_str("control-unit"),
            Self::Key { key, device, certificate: None } => write!(f, "{device} {key}"),
            Self::Key { key, device, certificate: Some((serial, purpose)) } => {
                write!(f, "{device} {key} {serial} {purpose}")
            }
        }
    }
}

/// A text that names no publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this names no publisher")]
pub struct InvalidPublisher;

impl FromStr for Publisher {
    type Err = InvalidPublisher;
    fn from_str(text: &str) -> Result<Self, InvalidPublisher> {
        fn read<T: FromStr>(word: &str) -> Result<T, InvalidPublisher> {
            word.parse().map_err(|_| InvalidPublisher)
        }
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["control-unit"] => Ok(Self::ControlUnit),
            [device, key] => Ok(Self::Key { device: read(device)?, key: read(key)?, certificate: None }),
            [device, key, serial, purpose] => {
                let purpose = Purpose::ALL.into_iter().find(|known| known.to_string() == *purpose);
                let certificate = Some((read(serial)?, purpose.ok_or(InvalidPublisher)?));
                Ok(Self::Key { device: read(device)?, key: read(key)?, certificate })
            }
            _ => Err(InvalidPublisher),
        }
    }
}

/// A message as the bridge accepted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampedMessage {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: ByteBuf,
    /// Who published it.
    pub publisher: Publisher,
    /// When the bridge accepted it.
    pub accepted_at: UnixMillis,
    /// Its number within the topic, from 1.
    pub sequence: u64,
    /// Where the publisher connected from.
    pub network: NetworkOrigin,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_publisher_is_read_as_it_is_printed() {
        let (key, device) = (KeyFingerprint([1; 32]), "infusion-pump/p-1".parse::<Device>().unwrap());
        let certificates = Purpose::ALL.into_iter().map(|purpose| Some((CertificateSerial([2; 16]), purpose)));
        let keys =
            certificates.chain([None]).map(|certificate| Publisher::Key { key, device: device.clone(), certificate });
        for publisher in keys.chain([Publisher::ControlUnit]) {
            assert_eq!(publisher.to_string().parse(), Ok(publisher));
        }
        for other in ["", "control-unit ", "infusion-pump/p-1", "infusion-pump/p-1 00", "a b c d", "a/b c d device e"] {
            assert_eq!(other.parse::<Publisher>(), Err(InvalidPublisher), "{other}");
        }
    }
}

//! Who a device, a key or a session is.

use crate::bytes::fixed_bytes;
use crate::limits::MAX_NAME_BYTES;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// Why a text is no valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The peer's fault: it is empty, too long, or of the wrong length.
    #[error("it has the wrong length")]
    Length,
    /// The peer's fault: a character that is not allowed there.
    #[error("it has a character that is not allowed")]
    Character,
    /// The peer's fault: a word that the topics need for themselves.
    #[error("it is a reserved word")]
    Reserved,
}

/// Words that stand for themselves in topics, so that no class or identifier may be one of them.
const RESERVED: [&str; 6] = ["register", "command", "meta", "data", "ctl", "renew"];

fn check_name(text: &str) -> Result<(), InvalidName> {
    check_alphabet(text)?;
    if RESERVED.contains(&text) {
        return Err(InvalidName::Reserved);
    }
    Ok(())
}

pub(crate) fn check_alphabet(text: &str) -> Result<(), InvalidName> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES {
        return Err(InvalidName::Length);
    }
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(plain) || !bytes.iter().all(|byte| plain(byte) || *byte == b'-') {
        return Err(InvalidName::Character);
    }
    Ok(())
}

/// Makes a type of text that holds only what `$check` allows; `InvalidName` is that of the module that calls it.
#[macro_export]
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use name;

name! {
    /// A device class: the patent's "client", such as `infusion-pump`. It matches `[a-z0-9][a-z0-9-]{0,31}`.
    ClientClass, check_name
}

/// The class that services stand under, so that one form of name serves in stamps, sessions, grants and logs. No device has it.
const SERVICE_CLASS: &str = "service";
/// The class of gateways (Distribution, figure 1, 13): they pair like devices, and their certificates are of a purpose of their own.
const GATEWAY_CLASS: &str = "gateway";

impl ClientClass {
    /// Whether it is that of services.
    pub fn is_of_services(&self) -> bool {
        self.as_str() == SERVICE_CLASS
    }

    /// Whether it is that of gateways.
    pub fn is_of_gateways(&self) -> bool {
        self.as_str() == GATEWAY_CLASS
    }
}

name! {
    /// One device within its class: the patent's "client identifier". It matches `[a-z0-9][a-z0-9-]{0,31}`.
    DeviceIdentifier, check_name
}
name! {
    /// The id of an access secret.
    SecretId, check_name
}

/// One device: its class and its identifier; or a service, under the class of services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// The class.
    pub client: ClientClass,
    /// The identifier within the class.
    pub identifier: DeviceIdentifier,
}

impl Device {
    /// A service, by its name.
    pub fn service(name: DeviceIdentifier) -> Self {
        Self { client: ClientClass(SERVICE_CLASS.into()), identifier: name }
    }

    /// Whether it is a service.
    pub fn is_service(&self) -> bool {
        self.client.is_of_services()
    }

    /// Whether it is a gateway.
    pub fn is_gateway(&self) -> bool {
        self.client.is_of_gateways()
    }

    /// What its certificate is for, once it is paired or enrolled.
    pub fn purpose(&self) -> Purpose {
        if self.is_service() {
            Purpose::Service
        } else if self.is_gateway() {
            Purpose::Gateway
        } else {
            Purpose::Device
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.client, self.identifier)
    }
}

impl FromStr for Device {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (client, identifier) = text.split_once('/').ok_or(InvalidName::Length)?;
        Ok(Self { client: client.parse()?, identifier: identifier.parse()? })
    }
}

fixed_bytes! {
    /// One pairing session, drawn by the device (16 random bytes).
    SessionId, 16
}
fixed_bytes! {
    /// SHA-256 of a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): which key this is.
    KeyFingerprint, 32
}
fixed_bytes! {
    /// SHA-256 of something: a certificate, a message.
    Sha256, 32
}
fixed_bytes! {
    /// The id of a network key (COSE `kid`): 8 random bytes.
    KeyId, 8
}
fixed_bytes! {
    /// A certificate's serial number: 16 random bytes, of which the first bit is clear and the second set, so that
    /// its DER integer is always 16 bytes long (RFC 5280 section 4.1.2.2).
    CertificateSerial, 16
}

fixed_bytes! {
    /// A patient, as devices and the catalog know one: 16 random bytes, which nobody can read a name from.
    PatientReference, 16
}
fixed_bytes! {
    /// One chain of a device's stored data: 16 random bytes, drawn by the device when the chain begins.
    RecordChain, 16
}

impl KeyFingerprint {
    /// The first eight bytes in groups, as people compare them: `7F3A 91C0 22DE 5A07`.
    pub fn short(&self) -> String {
        let hex = data_encoding::HEXUPPER.encode(&self.0[..8]);
        let groups: Vec<&str> = (0..4).filter_map(|group| hex.get(group * 4..group * 4 + 4)).collect();
        groups.join(" ")
    }
}

/// What a certificate of the site is for; each purpose has its own extended key usage, checked everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Provisional: good for T2 and T3 while a pairing runs.
    Pairing,
    /// A paired device.
    Device,
    /// The control unit.
    ControlUnit,
    /// A gateway.
    Gateway,
    /// A server application.
    Service,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [Self::Pairing, Self::Device, Self::ControlUnit, Self::Gateway, Self::Service];
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pairing => "pairing",
            Self::Device => "device",
            Self::ControlUnit => "control-unit",
            Self::Gateway => "gateway",
            Self::Service => "service",
        })
    }
}

/// How far a paired device is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustLevel {
    /// Paired without verification (`pairing_simple`).
    Reduced,
    /// Paired with a code or a QR code.
    Full,
}

#[cfg(test)]
mod tests;

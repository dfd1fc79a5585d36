//! Grants: what the control unit tells the bridge about a key. The bridge derives the rights from the state.

use crate::channel::ChannelName;
use crate::identity::{CertificateSerial, Device, KeyFingerprint, Purpose};
use crate::service::ServiceAccess;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How far a device's key has come; each state has its rights (`docs/protocol.md`, "Rights").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Unknown, rejected, or its request expired.
    Unknown,
    /// For 60 s after an abort.
    Closing,
    /// Accepted by a person; T2 exists.
    Accepted,
    /// The command was sent, with a provisional certificate.
    Certified,
    /// Verified, and the confirmation was sent.
    Confirmed,
    /// Paired.
    Paired,
    /// Paired, but the certificate expired.
    Expired,
    /// Locked after too many failures; only an administrator lifts it.
    Locked,
    /// Revoked; only an administrator lifts it.
    Revoked,
}

/// What the control unit says of one key. A later version replaces an earlier one whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which key.
    pub key: KeyFingerprint,
    /// Which device the key belongs to.
    pub device: Device,
    /// How far it has come.
    pub state: DeviceState,
    /// The certificates for the key that count in this state.
    pub certificates: Vec<GrantedCertificate>,
    /// The second channels that the device has.
    pub channels: Vec<ChannelName>,
    /// What the service may read and write; nothing for a device.
    #[serde(default)]
    pub access: ServiceAccess,
    /// Rises with every change of the site's table.
    pub version: u64,
}

/// A certificate that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedCertificate {
    /// Its serial number.
    pub serial: CertificateSerial,
    /// What it is for.
    pub purpose: Purpose,
    /// When it ends.
    pub not_after: UnixMillis,
}

//! How trust in a device ends.

use crate::identity::{CertificateSerial, Device};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Why trust in a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// It is lost or stolen.
    Lost,
    /// Somebody may have tampered with it, or know its key.
    Compromised,
    /// Another device takes its place.
    Replaced,
    /// It is taken out of service.
    Retired,
    /// Something else; the note says what.
    Other,
}

impl RevocationReason {
    /// All reasons, in the order that a form shows them.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Compromised, Self::Replaced, Self::Retired, Self::Other];
}

/// `POST /api/v1/revocations`: ends the trust in these devices, at once. It is answered when every one of them is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRevocation {
    /// Which devices; at least one, at most [`crate::limits::MAX_REVOKED_AT_ONCE`].
    pub devices: Vec<Device>,
    /// Why.
    pub reason: RevocationReason,
    /// What the person wrote; may be empty, except for [`RevocationReason::Other`].
    pub note: String,
}

/// A device that is told to erase itself: by `POST /api/v1/devices/{client}/{identifier}/decommission`, which takes no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decommissioning {
    /// When that was ordered.
    pub ordered_at: UnixMillis,
    /// Who ordered it.
    pub ordered_by: String,
    /// When the device had erased everything, by its own clock.
    pub erased_at: Option<UnixMillis>,
    /// When its signed receipt came; `GET /api/v1/devices/{client}/{identifier}/receipt` shows it.
    pub received_at: Option<UnixMillis>,
}

/// A device whose trust has ended: a row of `GET /api/v1/revocations`. `POST /api/v1/devices/{client}/{identifier}/reinstate` takes no body and
/// lets the device ask to pair again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Which device.
    pub device: Device,
    /// The serial number on its casing.
    pub serial_number: String,
    /// The certificate that was revoked with it.
    pub certificate: Option<CertificateSerial>,
    /// Why.
    pub reason: RevocationReason,
    /// What the person wrote.
    pub note: String,
    /// Who revoked it.
    pub revoked_by: String,
    /// When.
    pub revoked_at: UnixMillis,
    /// When the bridge had cut it off; none as long as it has not said so.
    pub cut_at: Option<UnixMillis>,
    /// How often the device has tried to come back since.
    pub attempts: u64,
    /// When it tried last.
    pub last_attempt: Option<UnixMillis>,
}

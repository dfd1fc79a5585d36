//! The messages of a pairing, as they stand inside their COSE envelopes (`docs/protocol.md`).
//!
//! Every payload begins its meaning with a status field (Coupling, second column 3 and following). CBOR maps with text keys in
//! deterministic encoding.

use crate::channel::ChannelKey;
use crate::identity::{Device, Purpose, SessionId, Sha256, TrustLevel};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// How a person verifies the device (Coupling, claim 1). Weaker modes order before stronger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No verification; secured networks only, and reduced trust.
    PairingSimple,
    /// A person types the code that the device shows.
    PairingCode,
    /// A person scans the QR code that the device shows.
    PairingQrcode,
}

/// The status field of a payload, which says what the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Step 1 (S2), on T1.
    PairingRequest,
    /// Step 2 (S5), on T2: simple mode.
    PairingSimple,
    /// Step 2 (S5), on T2: code mode.
    PairingCode,
    /// Step 2 (S5), on T2: QR mode.
    PairingQrcode,
    /// Step 3 (S7), on T3.
    PairingVerified,
    /// Step 4 (S9), on T2.
    PairingConfirmed,
    /// Step 5 (S10), on T3.
    PairingFinished,
    /// An abort, on T2.
    PairingRefused,
    /// A newly paired device, on T4.
    DevicePaired,
    /// A new epoch of a network key, on T2.
    KeyUpdate,
    /// A channel that a device has no longer, on T2.
    ChannelWithdrawn,
    /// What a device holds, on T3.
    KeysUpdated,
    /// A device asks for a new certificate, on the topic for renewals.
    CertificateRenewal,
    /// The new certificate, on T2.
    CertificateRenewed,
    /// The new certificate is in use, on the topic for renewals.
    RenewalFinished,
    /// The order to wipe, on T2.
    Decommission,
    /// The receipt of a device that wiped itself, on T3.
    Decommissioned,
    /// A service asks for its certificate.
    ServiceEnrolment,
    /// The service's certificate.
    ServiceEnrolled,
    /// A service asks for a new certificate.
    ServiceRenewal,
    /// The service's new certificate.
    ServiceRenewed,
    /// A service asks for keys.
    KeysAsked,
    /// The keys that a service asked for.
    ServiceKeys,
    /// The keys of one channel of a device, for the gateway that it is associated with.
    AssociatedKeys,
    /// A device that is trusted no longer, on T4.
    DeviceRevoked,
}

impl From<Mode> for Status {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::PairingSimple => Self::PairingSimple,
            Mode::PairingCode => Self::PairingCode,
            Mode::PairingQrcode => Self::PairingQrcode,
        }
    }
}

/// What a device's display and keys can do, so that the control unit can choose the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisplayAbilities {
    /// It can show eight digits.
    pub code: bool,
    /// It can show a QR code.
    pub qr: bool,
    /// A person can enter digits at it.
    pub digit_entry: bool,
}

/// What a device says of itself, for people to read at the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceInformation {
    /// The type, such as "Infusion pump".
    pub device_type: String,
    /// The product family.
    pub family: String,
    /// The model.
    pub model: String,
    /// The serial number on the casing.
    pub serial_number: String,
    /// The version of the running firmware.
    pub firmware_version: String,
    /// The hardware revision.
    pub hardware_id: String,
    /// What its display and keys can do.
    pub display: DisplayAbilities,
}

/// Step 1, PAIRING_REQUEST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingRequest {
    /// [`Status::PairingRequest`].
    pub status: Status,
    /// What the device says of itself.
    pub information: DeviceInformation,
    /// PKCS#10 for the static key, DER (RFC 2986).
    pub csr: ByteBuf,
    /// The device's ephemeral key Ed: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
    /// c: the hash that binds the device to its Nd before it knows E.
    pub commitment: Sha256,
    /// The manufacturer's certificate chain for the device, DER, leaf first; empty where it has none.
    pub attestation: Vec<ByteBuf>,
    /// Whether the device was given no CertCA: a person has to enter the control unit's answer at it before it commits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_answer: bool,
}

/// What is not so is left out; the deterministic encoding has no second way to say it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Step 2, PAIRING_COMMAND.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingCommand {
    /// The mode, as a status: one of the three pairing modes.
    pub status: Status,
    /// In QR mode: whether the device also shows the code, because policy allows it.
    pub code_beside: bool,
    /// The control unit's ephemeral key E: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
    /// SHA-256 of the request's whole COSE message.
    pub request_hash: Sha256,
    /// The provisional certificate, DER.
    pub certificate: ByteBuf,
    /// The certificates between the device's and the root, DER, issuing CA first.
    pub chain: Vec<ByteBuf>,
    /// The root certificate (CertCA), DER.
    pub cert_ca: ByteBuf,
    /// The certificates that the device trusts for TLS from now on, DER.
    pub tls_anchors: Vec<ByteBuf>,
    /// Whether the public web PKI counts for TLS, too.
    pub web_pki: bool,
    /// The name under which the broker is reached, with its port where it is not the usual one.
    pub broker_host: String,
    /// The control unit's web origin, such as `https://wardlink.example`.
    pub web_origin: String,
    /// When the verification ends.
    pub expires_at: UnixMillis,
}

/// Step 3, PAIRING_VERIFIED.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingVerified {
    /// [`Status::PairingVerified`].
    pub status: Status,
    /// The mode that the device followed.
    pub mode: Mode,
    /// Nd, 32 bytes: opens the commitment.
    pub nonce: Sha256,
    /// The MAC of the key confirmation (SP 800-56A rev. 3 section 5.9).
    pub mac: Sha256,
}

/// Step 4, PAIRING_CONFIRMED.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct PairingConfirmed {
    /// [`Status::PairingConfirmed`].
    #[zeroize(skip)]
    pub status: Status,
    /// The final certificate, DER.
    #[zeroize(skip)]
    pub certificate: ByteBuf,
    /// How far the device is trusted.
    #[zeroize(skip)]
    pub trust: TrustLevel,
    /// The channels that the device gets, with their keys, by falling priority, then by name.
    pub channels: Vec<ChannelKey>,
}

/// Step 5, PAIRING_FINISHED.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingFinished {
    /// [`Status::PairingFinished`].
    pub status: Status,
    /// The MAC over the confirmation.
    pub mac: Sha256,
}

/// Why a pairing was refused, as the device shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// A person rejected the request.
    Rejected,
    /// Nobody answered the request in time.
    RequestExpired,
    /// Nobody verified the device in time.
    VerificationExpired,
    /// The wrong code was entered too often.
    WrongCode,
    /// A person cancelled the pairing.
    Cancelled,
    /// The messages of the session did not fit together.
    ProtocolViolation,
    /// The identifier is locked after too many failures.
    Locked,
}

/// An abort, PAIRING_REFUSED; signed by the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingRefused {
    /// [`Status::PairingRefused`].
    pub status: Status,
    /// The session that ends.
    pub session: SessionId,
    /// Why.
    pub reason: RefusalReason,
    /// What the person wrote; may be empty.
    pub note: String,
}

/// The announcement of a newly paired device on T4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicePaired {
    /// [`Status::DevicePaired`].
    pub status: Status,
    /// Which device.
    pub device: Device,
    /// Its certificate, DER.
    pub certificate: ByteBuf,
    /// The certificate's purpose.
    pub purpose: Purpose,
    /// How far it is trusted.
    pub trust: TrustLevel,
}

#[cfg(test)]
mod tests;

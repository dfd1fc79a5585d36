//! The messages that follow a pairing: a certificate is renewed, a device is decommissioned (`docs/protocol.md`).

use crate::identity::{CertificateSerial, KeyFingerprint, SessionId, Sha256};
use crate::pairing::Status;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// CERTIFICATE_RENEWAL, on `ais/renew/<client>`: signed by the device's static key, before or after its certificate ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRenewal {
    /// [`Status::CertificateRenewal`].
    pub status: Status,
    /// The serial number of the certificate that is to be replaced.
    pub serial: CertificateSerial,
    /// PKCS#10 for the same static key, DER (RFC 2986).
    pub csr: ByteBuf,
    /// A fresh ephemeral key Ed: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
}

/// CERTIFICATE_RENEWED, on T2: signed by the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRenewed {
    /// [`Status::CertificateRenewed`].
    pub status: Status,
    /// SHA-256 of the whole CERTIFICATE_RENEWAL.
    pub request_hash: Sha256,
    /// The new certificate, DER.
    pub certificate: ByteBuf,
    /// The certificates between the device's and the root, DER, issuing CA first.
    pub chain: Vec<ByteBuf>,
    /// A fresh ephemeral key E of the control unit: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
}

/// RENEWAL_FINISHED, on `ais/renew/<client>`: published with the new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalFinished {
    /// [`Status::RenewalFinished`].
    pub status: Status,
    /// The key confirmation, over both messages (SP 800-56A rev. 3 section 5.9).
    pub mac: Sha256,
}

/// DECOMMISSION, on T2: the order to wipe, signed by the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decommission {
    /// [`Status::Decommission`].
    pub status: Status,
    /// The order's number, drawn by the control unit.
    pub order: SessionId,
    /// The static key of the pairing that ends: a device that has paired again since does not obey.
    pub key: KeyFingerprint,
    /// When the order was given.
    pub ordered_at: UnixMillis,
}

/// DECOMMISSIONED, on T3: the receipt, signed by the device's static key, whose last act it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decommissioned {
    /// [`Status::Decommissioned`].
    pub status: Status,
    /// SHA-256 of the whole DECOMMISSION.
    pub order_hash: Sha256,
    /// When everything but the static key and its certificate was erased; these go when the receipt is delivered.
    pub wiped_at: UnixMillis,
    /// What was erased, in words of this list.
    pub wiped: Vec<Wiped>,
}

/// What a device erases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wiped {
    /// Network keys of every epoch, and `K_wrap`.
    NetworkKeys,
    /// Messages that were kept for the network.
    KeptMessages,
    /// What the device knew of the site: its network, CertCA, its channels.
    SiteSettings,
    /// The access secret and what else was provisioned.
    Provisioning,
    /// Patient and therapy data.
    StoredData,
}

//! Renewal of a device's certificate: before it ends, and after it with the static key, as long as the device is not revoked.
//!
//! Three messages repeat the exchange of a pairing with fresh ephemeral keys, and replace `K_wrap`. The device signs its request
//! with its static key, the control unit its answer with its certificate; the device confirms the new keys with the new
//! certificate, and only then the old certificate and the old `K_wrap` end. Each side stores before it sends; each message can be
//! sent again, byte for byte the same. [`DeviceRenewal`] runs on the device, [`Renewal`] at the control unit.

use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::CborError;

use crate::message::MessageError;
use wardlink_crypto::x509::{Certificate, X509Error};

mod control_unit;
mod device;

pub use control_unit::{KnownDevice, Renewal, RenewalAction, RenewedDevice, RenewingControlUnit};
pub use device::{DeviceRenewal, Renewed, RenewingDevice};

/// Why a message of a renewal, or a call, is not followed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewalRefusal {
    /// The peer's fault: the message is refused.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer's fault: the bridge's stamp names another publisher than the device with the certificate that belongs to the step.
    #[error("the publisher does not belong to the renewal")]
    Publisher,
    /// The peer's fault: a message for another renewal, or one that has no meaning now.
    #[error("the message has no meaning in this state")]
    OutOfPlace,
    /// The peer's fault: the device is revoked, locked, or not paired.
    #[error("the device is not trusted")]
    NotTrusted,
    /// The peer's fault: more than half of the certificate's time is left.
    #[error("it is too early to renew the certificate")]
    TooEarly,
    /// Our fault: a certificate that cannot be issued.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// Our fault: the snapshot is damaged.
    #[error("the stored state is damaged: {0}")]
    Snapshot(CborError),
}

/// The longest stored snapshot of either side.
const MAX_SNAPSHOT_BYTES: usize = 128 * 1024;

/// When a device asks for a new certificate: after two thirds of its time, spread over the next twelfth by its serial number, so
/// that a fleet does not ask at once.
pub fn renews_at(certificate: &Certificate) -> UnixMillis {
    let (begin, lifetime) = lifetime(certificate);
    let [.., last] = certificate.serial().0;
    let spread = (lifetime / 12).saturating_mul(u64::from(last)) / 256;
    UnixMillis(begin.saturating_add(lifetime / 3 * 2).saturating_add(spread))
}

/// From when on the control unit renews it: after half of its time.
fn may_renew_from(certificate: &Certificate) -> UnixMillis {
    let (begin, lifetime) = lifetime(certificate);
    UnixMillis(begin.saturating_add(lifetime / 2))
}

fn lifetime(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.validity();
    (validity.not_before.0, validity.not_after.0.saturating_sub(validity.not_before.0))
}

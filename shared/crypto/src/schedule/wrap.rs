//! What follows from `K_wrap`, and what replaces it when a certificate is renewed.

use serde_bytes::Bytes;
use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::{CertificateSerial, Device, KeyFingerprint, KeyId, Sha256};

use super::{DerivationError, PairingKeys, expand, hash, mac};
use crate::cose::{ContentKey, SUITE};
use crate::key::SharedSecret;

/// The keys that one `K_wrap` gives for one device; each direction has its own.
pub struct WrapKeys {
    id: KeyId,
    down: ContentKey,
    up: ContentKey,
}

impl WrapKeys {
    /// Derives them from `K_wrap`.
    pub fn derive(wrap_key: &[u8; 32], device: &Device) -> Result<Self, DerivationError> {
        let Device { client, identifier } = device;
        let key = |direction: Direction| {
            expand(wrap_key, &("wardlink wrap key", direction, SUITE, client, identifier)).map(ContentKey::A256)
        };
        let id = expand::<{ KeyId::LENGTH }>(wrap_key, &("wardlink wrap id", client, identifier))?;
        Ok(Self { id: KeyId(*id), down: key(Direction::Down)?, up: key(Direction::Up)? })
    }

    /// Which `K_wrap` it is: the kid of messages under it.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the control unit wraps with, on T2.
    pub const fn down(&self) -> &ContentKey {
        &self.down
    }

    /// What the device answers with, on T3.
    pub const fn up(&self) -> &ContentKey {
        &self.up
    }
}

/// Who takes part in a renewal: what its key confirmation covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalParties {
    /// The device.
    pub device: Device,
    /// The device's static key.
    pub device_key: KeyFingerprint,
    /// The key of the control unit's certificate, which signed the answer.
    pub control_unit_key: KeyFingerprint,
    /// The new certificate.
    pub serial: CertificateSerial,
}

impl PairingKeys {
    /// The keys of a renewal: z as in a pairing, the transcript over its own two messages, whole.
    pub fn derive_renewal(
        static_secret: &SharedSecret,
        ephemeral_secret: &SharedSecret,
        request: &[u8],
        answer: &[u8],
    ) -> Result<Self, DerivationError> {
        let transcript = hash(&("wardlink renewal transcript", Bytes::new(request), Bytes::new(answer)))?;
        Ok(Self::extracted(&transcript, static_secret, ephemeral_secret))
    }

    /// The MAC of RENEWAL_FINISHED: the device's key confirmation (SP 800-56A rev. 3 section 5.9).
    pub fn renewal_confirmation(&self, parties: &RenewalParties) -> Result<Sha256, DerivationError> {
        let input = (
            "wardlink renewal KC_1_U",
            &parties.device.client,
            &parties.device.identifier,
            &parties.device_key,
            &parties.control_unit_key,
            &parties.serial,
        );
        mac(self.confirm()?.as_slice(), &input)
    }
}

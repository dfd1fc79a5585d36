//! Every derivation of a pairing. The input of each hash, MAC and expansion is a CBOR array that begins with its label.
//!
//! `docs/protocol.md` lists them; `tests/vectors` freezes them.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use sha2::{Digest, Sha256 as Sha256Hasher};
use subtle::ConstantTimeEq;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::{ChannelKey, Direction};
use wardlink_protocol::identity::{Device, KeyFingerprint, SecretId, SessionId, Sha256};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::verification::{Answer, QrTag, VerificationCode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cose::{ContentKey, SUITE};
use crate::key::SharedSecret;

mod content;
mod enrolment;
mod session;
mod wrap;
pub use content::{ContentContext, derive_content_key};
pub use enrolment::{KID_ENROLMENT, derive_enrolment_key};
pub(crate) use session::derive_session;
pub use wrap::{RenewalParties, WrapKeys};

/// The kid of messages under the access key, up: step 1.
pub const KID_ACCESS_UP: &[u8] = b"access-up";
/// The kid of messages under the access key, down: step 2 and refusals.
pub const KID_ACCESS_DOWN: &[u8] = b"access-down";
/// The kid of messages under `K_device`: step 3.
pub const KID_DEVICE: &[u8] = b"device";
/// The kid of messages under `K_control`: step 4.
pub const KID_CONTROL: &[u8] = b"control";

/// A derivation that could not be made: our fault, as its inputs are of fixed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key cannot be derived")]
pub struct DerivationError;

impl From<CborError> for DerivationError {
    fn from(_: CborError) -> Self {
        Self
    }
}

/// HKDF-Extract (RFC 5869 section 2.2).
fn extract(salt: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let (prk, _) = Hkdf::<Sha256Hasher>::extract(Some(salt), secret);
    Zeroizing::new(prk.into())
}

/// HKDF-Expand (RFC 5869 section 2.3); `info` is the deterministic CBOR of an array that begins with a label.
fn expand<const N: usize>(prk: &[u8; 32], info: &impl Serialize) -> Result<Zeroizing<[u8; N]>, DerivationError> {
    let mut output = Zeroizing::new([0; N]);
    Hkdf::<Sha256Hasher>::from_prk(prk)
        .map_err(|_| DerivationError)?
        .expand(&cbor::encode(info)?, output.as_mut_slice())
        .map_err(|_| DerivationError)?;
    Ok(output)
}

/// SHA-256 over the deterministic CBOR of an array that begins with a label.
fn hash(input: &impl Serialize) -> Result<Sha256, DerivationError> {
    Ok(Sha256(Sha256Hasher::digest(cbor::encode(input)?).into()))
}

/// HMAC-SHA-256 over the deterministic CBOR of an array that begins with a label.
fn mac(key: &[u8], input: &impl Serialize) -> Result<Sha256, DerivationError> {
    let mut mac = Hmac::<Sha256Hasher>::new_from_slice(key).map_err(|_| DerivationError)?;
    mac.update(&cbor::encode(input)?);
    Ok(Sha256(mac.finalize().into_bytes().into()))
}

/// Compares in constant time.
pub fn same(a: &Sha256, b: &Sha256) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// SHA-256 of a whole message, as it pins requests and commands.
pub fn message_hash(message: &[u8]) -> Sha256 {
    Sha256(Sha256Hasher::digest(message).into())
}

/// An access secret of one device: HMAC-SHA-256(master, secret id, client, identifier). One that was ended is followed by another
/// id, and so by another secret.
pub fn derive_device_secret(
    master: &AccessSecret,
    id: &SecretId,
    device: &Device,
) -> Result<AccessSecret, DerivationError> {
    let secret = mac(master.as_bytes(), &("wardlink device secret", id, &device.client, &device.identifier))?;
    AccessSecret::new(secret.as_bytes().to_vec()).map_err(|_| DerivationError)
}

/// The access key of one session in one direction: T1 up, T2 down.
pub fn derive_access_key(
    secret: &AccessSecret,
    direction: Direction,
    secret_id: &SecretId,
    device: &Device,
    session: &SessionId,
) -> Result<ContentKey, DerivationError> {
    let info = ("wardlink access", direction, SUITE, secret_id, &device.client, &device.identifier, session);
    expand(&extract(&[], secret.as_bytes()), &info).map(ContentKey::A256)
}

/// The commitment c that binds the device to its Nd.
pub fn derive_commitment(session: &SessionId, nonce: &Sha256) -> Result<Sha256, DerivationError> {
    hash(&("wardlink commitment", session, nonce))
}

/// Who takes part in a pairing: what the key confirmation covers (SP 800-56A rev. 3 section 5.9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The device.
    pub device: Device,
    /// The device's static key.
    pub device_key: KeyFingerprint,
    /// The key of the control unit's certificate, which signed the command.
    pub control_unit_key: KeyFingerprint,
    /// The device's ephemeral key Ed, SEC1 uncompressed.
    pub device_ephemeral: Vec<u8>,
    /// The control unit's ephemeral key E, SEC1 uncompressed.
    pub control_unit_ephemeral: Vec<u8>,
}

/// The keys that device and control unit share once both have seen request and command.
///
/// It can be stored with the state of a pairing, and is erased from memory when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PairingKeys {
    #[serde(with = "serde_bytes")]
    prk: [u8; 32],
}

impl PairingKeys {
    /// Derives them from z = ECDH(static, E) || ECDH(Ed, E) and the transcript: both COSE messages, whole.
    pub fn derive(
        static_secret: &SharedSecret,
        ephemeral_secret: &SharedSecret,
        request: &[u8],
        command: &[u8],
    ) -> Result<Self, DerivationError> {
        let transcript = hash(&("wardlink transcript", Bytes::new(request), Bytes::new(command)))?;
        Ok(Self::extracted(&transcript, static_secret, ephemeral_secret))
    }

    fn extracted(transcript: &Sha256, static_secret: &SharedSecret, ephemeral_secret: &SharedSecret) -> Self {
        let mut z = Zeroizing::new([0; 64]);
        let (first, second) = z.split_at_mut(32);
        first.copy_from_slice(static_secret.as_slice());
        second.copy_from_slice(ephemeral_secret.as_slice());
        Self { prk: *extract(transcript.as_bytes(), z.as_slice()) }
    }

    /// `K_confirm`: what both MACs are made with.
    fn confirm(&self) -> Result<Zeroizing<[u8; 32]>, DerivationError> {
        expand(&self.prk, &("wardlink confirm",))
    }

    /// `K_device`: what the device encrypts with, on T3.
    pub fn device(&self) -> Result<ContentKey, DerivationError> {
        expand(&self.prk, &("wardlink device",)).map(ContentKey::A256)
    }

    /// `K_control`: what the control unit encrypts with, on T2.
    pub fn control(&self) -> Result<ContentKey, DerivationError> {
        expand(&self.prk, &("wardlink control",)).map(ContentKey::A256)
    }

    /// `K_wrap`: under which later epochs of network keys reach the device.
    pub fn wrap(&self) -> Result<Zeroizing<[u8; 32]>, DerivationError> {
        expand(&self.prk, &("wardlink wrap",))
    }

    /// The eight digits that the device shows.
    pub fn code(&self, nonce: &Sha256, mode: Mode) -> Result<VerificationCode, DerivationError> {
        let bytes = expand::<8>(&self.prk, &("wardlink code", nonce, mode))?;
        Ok(VerificationCode::from_number(u64::from_be_bytes(*bytes)))
    }

    /// The tag in the QR code that the device shows.
    pub fn tag(
        &self,
        nonce: &Sha256,
        session: &SessionId,
        device: &Device,
        origin: &str,
    ) -> Result<QrTag, DerivationError> {
        let info = ("wardlink qr", nonce, session, &device.identifier, origin);
        expand::<{ QrTag::LENGTH }>(&self.prk, &info).map(|bytes| QrTag(*bytes))
    }

    /// The four digits that the control unit shows to be entered at a device that was given no CertCA.
    pub fn answer(&self, nonce: &Sha256) -> Result<Answer, DerivationError> {
        let bytes = expand::<8>(&self.prk, &("wardlink answer", nonce))?;
        Ok(Answer::from_number(u64::from_be_bytes(*bytes)))
    }

    /// The MAC of step 3: the device's key confirmation, over both identities (SP 800-56A rev. 3 section 5.9).
    pub fn device_confirmation(&self, parties: &Parties, mode: Mode) -> Result<Sha256, DerivationError> {
        let input = (
            "wardlink KC_1_U",
            &parties.device.client,
            &parties.device.identifier,
            &parties.device_key,
            &parties.control_unit_key,
            Bytes::new(&parties.device_ephemeral),
            Bytes::new(&parties.control_unit_ephemeral),
            mode,
        );
        mac(self.confirm()?.as_slice(), &input)
    }

    /// The MAC of step 5, over the whole COSE message of the confirmation.
    pub fn finish_mac(&self, confirmation: &[u8]) -> Result<Sha256, DerivationError> {
        mac(self.confirm()?.as_slice(), &("wardlink finished", Bytes::new(confirmation)))
    }
}

/// The key of PAIRING_FINISHED, from the network key of the confirmation's first channel.
pub fn derive_finish_key(
    channel: &ChannelKey,
    device: &Device,
    session: &SessionId,
) -> Result<ContentKey, DerivationError> {
    let info = ("wardlink finish key", SUITE, &channel.kid, channel.epoch, &device.client, &device.identifier, session);
    expand(&extract(&[], &channel.key), &info).map(ContentKey::A256)
}

#[cfg(test)]
mod tests;

//! What a service and the control unit share: the key of its enrolment, and the keys that follow from it.

use serde_bytes::Bytes;
use wardlink_protocol::identity::{DeviceIdentifier, SessionId};
use zeroize::Zeroizing;

use super::{DerivationError, PairingKeys, expand, extract, hash};
use crate::cose::SUITE;
use crate::key::SharedSecret;

/// The kid of a service's request to be enrolled.
pub const KID_ENROLMENT: &[u8] = b"enrolment";

/// The key of one enrolment. The control unit keeps it in place of the secret, which stands in the enrolment text only.
pub fn derive_enrolment_key(
    secret: &[u8; 32],
    id: &SessionId,
    name: &DeviceIdentifier,
) -> Result<Zeroizing<[u8; 32]>, DerivationError> {
    expand(&extract(&[], secret), &("wardlink enrolment", SUITE, id, name))
}

impl PairingKeys {
    /// The keys of an enrolment: z as in a pairing, the transcript over its own two messages, whole.
    pub fn derive_enrolment(
        static_secret: &SharedSecret,
        ephemeral_secret: &SharedSecret,
        request: &[u8],
        answer: &[u8],
    ) -> Result<Self, DerivationError> {
        let transcript = hash(&("wardlink enrolment transcript", Bytes::new(request), Bytes::new(answer)))?;
        Ok(Self::extracted(&transcript, static_secret, ephemeral_secret))
    }
}

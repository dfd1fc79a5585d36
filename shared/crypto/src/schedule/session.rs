//! The keys of a gateway's session.

use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::Sha256;
use zeroize::Zeroizing;

use super::{DerivationError, expand, extract};
use crate::cose::SUITE;
use crate::key::SharedSecret;

/// The key of one direction, from the secret of both ephemeral keys. `transcript` is the hash of everything that both sides sent.
pub(crate) fn derive_session(
    secret: &SharedSecret,
    transcript: &Sha256,
    direction: Direction,
) -> Result<Zeroizing<[u8; 32]>, DerivationError> {
    expand(&extract(transcript.as_bytes(), secret.as_slice()), &("wardlink session", SUITE, direction))
}

//! The states of a session, as they are stored.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::ContentKey;
use wardlink_crypto::schedule::PairingKeys;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::grant::GrantedCertificate;
use wardlink_protocol::identity::{KeyFingerprint, Sha256};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::verification::Answer;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::policy::Choice;

/// A stored AES-256 key.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(super) struct Secret(#[serde(with = "serde_bytes")] [u8; 32]);

impl Secret {
    /// Takes an AES-256 key; every key of a pairing is one.
    pub(super) fn new(key: &ContentKey) -> Option<Self> {
        match key {
            ContentKey::A256(bytes) => Some(Self(**bytes)),
            ContentKey::A128(_) => None,
        }
    }

    pub(super) fn to_content_key(&self) -> ContentKey {
        ContentKey::A256(Zeroizing::new(self.0))
    }
}

/// How far the session has come.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum State {
    /// The request waits for a person.
    Requested(Requested),
    /// Accepted; the command was sent.
    Commanded(Box<Commanded>),
    /// The device answered; a person verifies.
    Verifying(Box<Verifying>),
    /// Verified; the confirmation was sent. Nothing expires any more.
    Confirmed(Box<Confirmed>),
    /// Paired.
    Finished(Box<Finished>),
    /// Ended without success, or dismissed.
    Ended(Ended),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Requested {
    /// The whole COSE message, for the transcript.
    pub(super) request: ByteBuf,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Commanded {
    pub(super) choice: Choice,
    /// The whole COSE message.
    pub(super) command: ByteBuf,
    /// The control unit's key that signed it.
    pub(super) signer: KeyFingerprint,
    /// The control unit's E, SEC1. Its private half was erased when the keys were derived.
    pub(super) ephemeral: ByteBuf,
    pub(super) keys: PairingKeys,
    pub(super) provisional: GrantedCertificate,
    /// The origin that QR codes name.
    pub(super) origin: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Verifying {
    pub(super) commanded: Commanded,
    /// Nd, as the commitment bound it.
    pub(super) nonce: Sha256,
    /// The hash of PAIRING_VERIFIED.
    pub(super) verified_hash: Sha256,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Confirmed {
    pub(super) choice: Choice,
    /// What the person used of what the device showed; none in snapshots of an earlier version.
    #[serde(default)]
    pub(super) used: Option<Mode>,
    /// The whole COSE message.
    pub(super) confirmation: ByteBuf,
    pub(super) keys: PairingKeys,
    /// What a person enters at the device; none where it was given CertCA.
    pub(super) answer: Option<Answer>,
    /// The final certificate, DER.
    pub(super) certificate: ByteBuf,
    pub(super) granted: GrantedCertificate,
    pub(super) channels: Vec<ChannelKey>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) choice: Choice,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Ended {
    /// What a person had chosen, if it came so far.
    pub(super) choice: Option<Choice>,
    /// Why; none: dismissed.
    pub(super) reason: Option<RefusalReason>,
    pub(super) note: String,
    pub(super) counts_as_failure: bool,
    /// The signed refusal, as long as the device can read it.
    pub(super) refused: Option<ByteBuf>,
    pub(super) closing_until: Option<UnixMillis>,
}

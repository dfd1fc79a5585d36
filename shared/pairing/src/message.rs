//! Sealing and opening the messages of a pairing; both machines use the same functions.

use core::fmt;
use rand_core::CryptoRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, ContentKey, Encrypted, EnvelopeError, Header, Signed};
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::schedule::DerivationError;
use wardlink_crypto::x509::{Certificate, Chain, ChainError, X509Error};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{Purpose, SessionId, Sha256};
use wardlink_protocol::limits::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH, MAX_PAIRING_MESSAGE_BYTES, MAX_TEXT_BYTES};
use wardlink_protocol::pairing::{DeviceInformation, PairingRequest, Status};
use wardlink_protocol::topic::Topic;

/// Why a message is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The peer's fault: the envelope is malformed or does not open.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The peer's fault: the payload does not have the fields of this message.
    #[error("the payload is malformed: {0}")]
    Payload(#[from] CborError),
    /// The peer's fault: a certificate or certification request is not acceptable.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: a chain is not to be believed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault: a key is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The peer's fault: the header names another key or another session, or says more than this message's header may.
    #[error("the header does not fit the session")]
    Header,
    /// The peer's fault: the fields contradict each other or what was said before.
    #[error("the message does not fit the session")]
    Contradiction,
    /// The peer's fault: pairing without verification, which a device without CertCA does not take.
    #[error("a device that was given no CertCA does not pair without verification")]
    SimpleWithoutCertCa,
    /// Our fault: a key that cannot be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
}

/// Reads an envelope. Nothing of it is authentic before it is opened.
pub(crate) fn parse(payload: &[u8]) -> Result<Encrypted, MessageError> {
    Ok(Encrypted::parse(payload, MAX_PAIRING_MESSAGE_BYTES)?)
}

/// Encrypts a message; the external AAD is the topic.
pub(crate) fn seal<T: Serialize, R: CryptoRng>(
    header: &Header,
    key: &ContentKey,
    topic: &impl fmt::Display,
    message: &T,
    rng: &mut R,
) -> Result<Vec<u8>, MessageError> {
    let plaintext = zeroize::Zeroizing::new(cbor::encode(message)?);
    Ok(cose::seal(header, key, topic.to_string().as_bytes(), &plaintext, rng)?)
}

/// Opens a message whose header has to be exactly `header`.
pub(crate) fn open<T: Serialize + DeserializeOwned>(
    envelope: &Encrypted,
    header: &Header,
    key: &ContentKey,
    topic: &impl fmt::Display,
) -> Result<T, MessageError> {
    if envelope.header() != header {
        return Err(MessageError::Header);
    }
    let plaintext = envelope.open(key, topic.to_string().as_bytes())?;
    Ok(cbor::decode(&plaintext, MAX_PAIRING_MESSAGE_BYTES)?)
}

/// Who signs for the control unit.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The key of the control unit's certificate.
    pub key: &'a PrivateKey,
    /// The control unit's certificate and the chain up to and including the root, DER.
    pub chain: &'a [ByteBuf],
}

/// Signs a message of the control unit.
pub(crate) fn sign<T: Serialize>(
    signer: Signer<'_>,
    session: Option<SessionId>,
    topic: &impl fmt::Display,
    message: &T,
) -> Result<Vec<u8>, MessageError> {
    let kid = signer.key.public().fingerprint()?.as_bytes().to_vec();
    let header = Header { kid, session, chain: signer.chain.to_vec(), ..Header::default() };
    Ok(cose::sign(&header, signer.key, topic.to_string().as_bytes(), &cbor::encode(message)?)?)
}

/// A payload of the control unit whose signature and chain were verified.
pub(crate) struct Verified {
    pub(crate) payload: Vec<u8>,
    pub(crate) signer: Certificate,
    /// The root to which its chain leads.
    pub(crate) root: Sha256,
    /// The root itself, DER.
    pub(crate) root_certificate: ByteBuf,
}

impl Verified {
    /// What the payload says that it is.
    pub(crate) fn status(&self) -> Result<Status, MessageError> {
        #[derive(Deserialize)]
        struct AnyPayload {
            status: Status,
        }
        Ok(cbor::decode_lenient::<AnyPayload>(&self.payload, MAX_PAIRING_MESSAGE_BYTES)?.status)
    }

    /// The payload as this message.
    pub(crate) fn decode<T: Serialize + DeserializeOwned>(&self) -> Result<T, MessageError> {
        Ok(cbor::decode(&self.payload, MAX_PAIRING_MESSAGE_BYTES)?)
    }
}

/// Verifies a message of the control unit against the SHA-256 of the root (CertCA); none takes any root, and says which it was.
pub(crate) fn verify(
    bytes: &[u8],
    session: Option<SessionId>,
    topic: &impl fmt::Display,
    root: Option<&Sha256>,
    now: UnixMillis,
) -> Result<Verified, MessageError> {
    let envelope = Signed::parse(bytes, MAX_PAIRING_MESSAGE_BYTES)?;
    let chain = Chain::parse(&envelope.header().chain)?;
    let (signer, root) = match root {
        Some(root) => (chain.verify(root, Purpose::ControlUnit, now)?, *root),
        None => chain.dangerous_verify_any_root(Purpose::ControlUnit, now)?,
    };
    let kid = signer.fingerprint()?.as_bytes().to_vec();
    let expected = Header { kid, session, chain: envelope.header().chain.clone(), ..Header::default() };
    if *envelope.header() != expected {
        return Err(MessageError::Header);
    }
    let payload = envelope.verify(signer.key(), topic.to_string().as_bytes())?.to_vec();
    let root_certificate = envelope.header().chain.last().cloned().unwrap_or_default();
    Ok(Verified { payload, signer: signer.clone(), root, root_certificate })
}

/// Seals what the control unit signed: sign, then encrypt.
pub(crate) fn seal_signed<T: Serialize, R: CryptoRng>(
    signer: Signer<'_>,
    header: &Header,
    key: &ContentKey,
    topic: &Topic,
    message: &T,
    rng: &mut R,
) -> Result<Vec<u8>, MessageError> {
    let inner = sign(signer, header.session, topic, message)?;
    Ok(cose::seal(header, key, topic.to_string().as_bytes(), &inner, rng)?)
}

/// Opens what [`seal_signed`] made, up to the signed message.
pub(crate) fn open_signed(
    envelope: &Encrypted,
    header: &Header,
    key: &ContentKey,
    topic: &Topic,
) -> Result<Vec<u8>, MessageError> {
    if envelope.header() != header {
        return Err(MessageError::Header);
    }
    let mut plaintext = envelope.open(key, topic.to_string().as_bytes())?;
    Ok(core::mem::take(&mut *plaintext))
}

/// Whether what a device says of itself keeps the limits, and is fit to be shown to a person.
pub(crate) fn check_request(request: &PairingRequest) -> Result<(), MessageError> {
    let DeviceInformation { device_type, family, model, serial_number, firmware_version, hardware_id, display: _ } =
        &request.information;
    let texts = [device_type, family, model, serial_number, firmware_version, hardware_id];
    let fit = |text: &&String| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    let attestation = request.attestation.len() <= MAX_CHAIN_LENGTH
        && request.attestation.iter().all(|der| der.len() <= MAX_CERTIFICATE_BYTES);
    if texts.iter().all(fit) && attestation { Ok(()) } else { Err(MessageError::Contradiction) }
}

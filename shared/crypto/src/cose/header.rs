//! The protected header of Wardlink's envelopes, and what it may say.

use ciborium::value::Value;
use coset::iana::{Algorithm, EnumI64};
use coset::{Label, ProtectedHeader, RegisteredLabelWithPrivate};
use serde_bytes::ByteBuf;
use wardlink_protocol::channel::{ChannelName, ContentAlgorithm};
use wardlink_protocol::identity::{ClientClass, Device, DeviceIdentifier, KeyId, SecretId, SessionId};
use wardlink_protocol::keys::WrappedFor;
use wardlink_protocol::limits::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH};

/// The id of the one suite: P-256, SHA-256, HKDF, HMAC, AES-GCM.
pub const SUITE: u64 = 1;

/// The longest kid, in bytes.
const MAX_KID_BYTES: usize = 32;

// Labels for private use (RFC 9052 section 11.1: integers below -65536).
const SUITE_LABEL: i64 = -65537;
const SESSION_LABEL: i64 = -65538;
const SECRET_LABEL: i64 = -65539;
const CLIENT_LABEL: i64 = -65540;
const IDENTIFIER_LABEL: i64 = -65541;
const COUNTER_LABEL: i64 = -65542;
const INSTANCE_LABEL: i64 = -65543;
const EPOCH_LABEL: i64 = -65544;
const WRAPPED_LABEL: i64 = -65545;

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The peer's fault: something stands in the unprotected header.
    #[error("the unprotected header is not empty")]
    Unprotected,
    /// The peer's fault: a critical header.
    #[error("a critical header is unknown")]
    Critical,
    /// The peer's fault: a header that the profile does not have.
    #[error("a header is unknown")]
    Unknown,
    /// The peer's fault: a header of the wrong type or length.
    #[error("a header has the wrong form")]
    Form,
    /// The peer's fault: another suite than [`SUITE`].
    #[error("the suite is unknown")]
    Suite,
    /// The peer's fault: another algorithm than the key's.
    #[error("the algorithm is not the expected one")]
    Algorithm,
    /// The peer's fault: an IV of the wrong length, or one where none belongs.
    #[error("the IV has the wrong length")]
    Iv,
}

/// Where a request comes from: what selects the access secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of the access secret.
    pub secret: SecretId,
    /// The device that asks.
    pub device: Device,
}

/// What the protected header says beside suite, algorithm and IV.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which key the message is under.
    pub kid: Vec<u8>,
    /// The pairing session.
    pub session: Option<SessionId>,
    /// In step 1: where the request comes from.
    pub origin: Option<Origin>,
    /// In signed messages of the control unit: its certificate and the chain up to and including the root, DER.
    pub chain: Vec<ByteBuf>,
    /// On second channels: the number of the message within its instance.
    pub counter: Option<u64>,
    /// On second channels: which run of the sender the message belongs to.
    pub instance: Option<ByteBuf>,
    /// On second channels, and with a wrapped key: the epoch of the network key.
    pub epoch: Option<u64>,
    /// With a wrapped key: which one is inside.
    pub wrapped: Option<WrappedFor>,
}

impl Header {
    /// A header of a pairing's message.
    pub fn pairing(kid: &[u8], session: SessionId) -> Self {
        Self { kid: kid.to_vec(), session: Some(session), ..Self::default() }
    }

    pub(super) fn to_cose(&self, algorithm: Algorithm, iv: &[u8]) -> coset::Header {
        let mut rest = Vec::new();
        if !self.chain.is_empty() {
            // RFC 9360: one certificate is a byte string, several are an array.
            let mut certificates: Vec<Value> = self.chain.iter().map(|der| Value::Bytes(der.to_vec())).collect();
            let value = if certificates.len() == 1 { certificates.remove(0) } else { Value::Array(certificates) };
            rest.push((super::chain_label(), value));
        }
        rest.push((Label::Int(SUITE_LABEL), Value::from(SUITE)));
        let mut private = |label: i64, value: Option<Value>| rest.extend(value.map(|value| (Label::Int(label), value)));
        let text = |text: &str| Value::Text(text.to_owned());
        private(SESSION_LABEL, self.session.map(|session| Value::Bytes(session.as_bytes().to_vec())));
        private(SECRET_LABEL, self.origin.as_ref().map(|origin| text(origin.secret.as_str())));
        private(CLIENT_LABEL, self.origin.as_ref().map(|origin| text(origin.device.client.as_str())));
        private(IDENTIFIER_LABEL, self.origin.as_ref().map(|origin| text(origin.device.identifier.as_str())));
        private(COUNTER_LABEL, self.counter.map(Value::from));
        private(INSTANCE_LABEL, self.instance.as_ref().map(|instance| Value::Bytes(instance.to_vec())));
        private(EPOCH_LABEL, self.epoch.map(Value::from));
        private(WRAPPED_LABEL, self.wrapped.as_ref().map(wrapped_value));
        coset::Header {
            alg: Some(RegisteredLabelWithPrivate::Assigned(algorithm)),
            key_id: self.kid.clone(),
            iv: iv.to_vec(),
            rest,
            ..coset::Header::default()
        }
    }

    pub(super) fn from_cose(protected: &ProtectedHeader) -> Result<Self, HeaderError> {
        let mut header = Self { kid: protected.header.key_id.clone(), ..Self::default() };
        if header.kid.is_empty() || header.kid.len() > MAX_KID_BYTES {
            return Err(HeaderError::Form);
        }
        let (mut suite, mut secret, mut client, mut identifier) = (None, None, None, None);
        for (label, value) in &protected.header.rest {
            match label {
                label if *label == super::chain_label() => header.chain = chain(value)?,
                Label::Int(SUITE_LABEL) => suite = Some(number(value)?),
                Label::Int(SESSION_LABEL) => {
                    header.session = Some(bytes(value)?.try_into().map_err(|_| HeaderError::Form)?);
                }
                Label::Int(SECRET_LABEL) => secret = Some(name::<SecretId>(value)?),
                Label::Int(CLIENT_LABEL) => client = Some(name::<ClientClass>(value)?),
                Label::Int(IDENTIFIER_LABEL) => identifier = Some(name::<DeviceIdentifier>(value)?),
                Label::Int(COUNTER_LABEL) => header.counter = Some(number(value)?),
                Label::Int(INSTANCE_LABEL) => header.instance = Some(instance(value)?),
                Label::Int(EPOCH_LABEL) => header.epoch = Some(number(value)?),
                Label::Int(WRAPPED_LABEL) => header.wrapped = Some(wrapped(value)?),
                _ => return Err(HeaderError::Unknown),
            }
        }
        if suite != Some(SUITE) {
            return Err(HeaderError::Suite);
        }
        header.origin = match (secret, client, identifier) {
            (None, None, None) => None,
            (Some(secret), Some(client), Some(identifier)) => {
                Some(Origin { secret, device: Device { client, identifier } })
            }
            _ => return Err(HeaderError::Form),
        };
        Ok(header)
    }
}

fn bytes(value: &Value) -> Result<&[u8], HeaderError> {
    value.as_bytes().map(Vec::as_slice).ok_or(HeaderError::Form)
}

fn number(value: &Value) -> Result<u64, HeaderError> {
    value.as_integer().and_then(|number| u64::try_from(number).ok()).ok_or(HeaderError::Form)
}

fn name<T: core::str::FromStr>(value: &Value) -> Result<T, HeaderError> {
    value.as_text().and_then(|text| text.parse().ok()).ok_or(HeaderError::Form)
}

fn instance(value: &Value) -> Result<ByteBuf, HeaderError> {
    let bytes = bytes(value)?;
    if bytes.len() > MAX_KID_BYTES { Err(HeaderError::Form) } else { Ok(ByteBuf::from(bytes.to_vec())) }
}

/// `[channel, kid, algorithm]`, the algorithm by its COSE number.
fn wrapped_value(wrapped: &WrappedFor) -> Value {
    Value::Array(vec![
        Value::Text(wrapped.channel.as_str().to_owned()),
        Value::Bytes(wrapped.kid.as_bytes().to_vec()),
        Value::from(cose_algorithm(wrapped.algorithm).to_i64()),
    ])
}

fn wrapped(value: &Value) -> Result<WrappedFor, HeaderError> {
    let Value::Array(items) = value else { return Err(HeaderError::Form) };
    let [channel, kid, algorithm] = items.as_slice() else { return Err(HeaderError::Form) };
    let named = number(algorithm)?;
    let algorithm = [ContentAlgorithm::A128GCM, ContentAlgorithm::A256GCM]
        .into_iter()
        .find(|algorithm| u64::try_from(cose_algorithm(*algorithm).to_i64()) == Ok(named))
        .ok_or(HeaderError::Algorithm)?;
    Ok(WrappedFor {
        channel: name::<ChannelName>(channel)?,
        kid: KeyId::try_from(bytes(kid)?).map_err(|_| HeaderError::Form)?,
        algorithm,
    })
}

const fn cose_algorithm(algorithm: ContentAlgorithm) -> Algorithm {
    match algorithm {
        ContentAlgorithm::A128GCM => Algorithm::A128GCM,
        ContentAlgorithm::A256GCM => Algorithm::A256GCM,
    }
}

fn chain(value: &Value) -> Result<Vec<ByteBuf>, HeaderError> {
    let certificate = |value: &Value| match bytes(value)? {
        der if der.len() > MAX_CERTIFICATE_BYTES => Err(HeaderError::Form),
        der => Ok(ByteBuf::from(der.to_vec())),
    };
    match value {
        Value::Array(items) if (2..=MAX_CHAIN_LENGTH).contains(&items.len()) => items.iter().map(certificate).collect(),
        Value::Bytes(_) => Ok(vec![certificate(value)?]),
        _ => Err(HeaderError::Form),
    }
}

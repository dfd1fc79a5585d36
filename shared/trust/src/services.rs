//! How a service comes to the keys of what it reads and writes: it asks for one channel of one device, and is given what the site
//! itself judges that device's messages by, the lines of keys with their epochs and cuts ([`Line`]) and the device's certificate.
//!
//! Question and answer are sealed under the service's `K_wrap`, so that nobody else can ask or read; the answer is bound to its
//! question. A service that is revoked has no `K_wrap` at the site any more. Nothing is noted as given: a service counts as knowing
//! every key that it could have asked for, and all of them are replaced when it is revoked.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wardlink_crypto::cose::{self, Encrypted, Header};
use wardlink_crypto::schedule::{WrapKeys, message_hash};
use wardlink_protocol::Device;
use wardlink_protocol::cbor;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::limits::{MAX_KEYS_ASKED_BYTES, MAX_RECORDS_FED_BYTES, MAX_SERVICE_KEYS_BYTES};
use wardlink_protocol::pairing::Status;
use wardlink_protocol::service::{KeysAsked, KnownDevice, RecordsAsked};
use zeroize::Zeroizing;

use crate::epochs::Line;
use crate::wrap::WrapError;

/// SERVICE_KEYS: what a service needs for one channel of one device. It holds secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeys {
    /// [`Status::ServiceKeys`].
    pub status: Status,
    /// The lines under which the device's messages on the channel may be: the class's, its own, or both.
    pub lines: Vec<Line>,
    /// The device; none where the site does not know it.
    pub device: Option<KnownDevice>,
}

fn header(keys: &WrapKeys) -> Header {
    Header { kid: keys.id().as_bytes().to_vec(), ..Header::default() }
}

fn question_aad(service: &Device) -> Result<Vec<u8>, WrapError> {
    Ok(cbor::encode(&("wardlink keys asked", &service.client, &service.identifier))?)
}

fn answer_aad(service: &Device, question: &[u8]) -> Result<Vec<u8>, WrapError> {
    Ok(cbor::encode(&("wardlink service keys", &service.client, &service.identifier, message_hash(question)))?)
}

/// Asks for the keys of one channel of one device: KEYS_ASKED.
pub fn ask<R: CryptoRng>(
    channel: ChannelName,
    device: Device,
    service: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let message = KeysAsked { status: Status::KeysAsked, channel, device };
    Ok(cose::seal(&header(keys), keys.up(), &question_aad(service)?, &cbor::encode(&message)?, rng)?)
}

/// Under which `K_wrap` a question is, before anything of it is authentic.
pub fn asked_under(question: &[u8]) -> Option<KeyId> {
    let envelope = Encrypted::parse(question, MAX_KEYS_ASKED_BYTES).ok()?;
    KeyId::try_from(envelope.header().kid.as_slice()).ok()
}

/// Opens a question. Whether the service may have these keys, the caller decides.
pub fn open_question(question: &[u8], service: &Device, keys: &WrapKeys) -> Result<KeysAsked, WrapError> {
    let plaintext = open(question, MAX_KEYS_ASKED_BYTES, keys, keys.up(), &question_aad(service)?)?;
    let message: KeysAsked = cbor::decode(&plaintext, MAX_KEYS_ASKED_BYTES)?;
    if message.status == Status::KeysAsked { Ok(message) } else { Err(WrapError::Contradiction) }
}

/// Answers a question that [`open_question`] has opened. Only lines of the channel that can be given to the device go out, and those of its own only
/// where it `has_channel`: what nobody uses is replaced for nobody, and would still be known when the device is given the channel.
pub fn answer<R: CryptoRng>(
    question: &[u8],
    asked: &KeysAsked,
    (mut lines, has_channel): (Vec<Line>, bool),
    device: Option<KnownDevice>,
    service: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let belongs = |line: &Line| line.id().channel == asked.channel && line.id().covers(&asked.device);
    if !lines.iter().all(belongs) {
        return Err(WrapError::NoKey);
    }
    lines.retain(|line| has_channel || !line.id().is_for_one_device());
    let message = ServiceKeys { status: Status::ServiceKeys, lines, device };
    let plaintext = Zeroizing::new(cbor::encode(&message)?);
    Ok(cose::seal(&header(keys), keys.down(), &answer_aad(service, question)?, &plaintext, rng)?)
}

/// Opens the answer to a question.
pub fn open_answer(
    answer: &[u8],
    question: &[u8],
    service: &Device,
    keys: &WrapKeys,
) -> Result<ServiceKeys, WrapError> {
    let plaintext = open(answer, MAX_SERVICE_KEYS_BYTES, keys, keys.down(), &answer_aad(service, question)?)?;
    let message: ServiceKeys = cbor::decode(&plaintext, MAX_SERVICE_KEYS_BYTES)?;
    if message.status == Status::ServiceKeys { Ok(message) } else { Err(WrapError::Contradiction) }
}

fn records_aad(service: &Device) -> Result<Vec<u8>, WrapError> {
    Ok(cbor::encode(&("wardlink records asked", &service.client, &service.identifier))?)
}

fn fed_aad(service: &Device, question: &[u8]) -> Result<Vec<u8>, WrapError> {
    Ok(cbor::encode(&("wardlink records fed", &service.client, &service.identifier, message_hash(question)))?)
}

/// Asks for stored data after a position: RECORDS_ASKED.
pub fn ask_for_records<R: CryptoRng>(
    after: u64,
    service: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    let message = cbor::encode(&RecordsAsked { after })?;
    Ok(cose::seal(&header(keys), keys.up(), &records_aad(service)?, &message, rng)?)
}

/// Opens a question for stored data. Which data the service may have, the caller decides.
pub fn open_records_question(question: &[u8], service: &Device, keys: &WrapKeys) -> Result<RecordsAsked, WrapError> {
    let plaintext = open(question, MAX_KEYS_ASKED_BYTES, keys, keys.up(), &records_aad(service)?)?;
    Ok(cbor::decode(&plaintext, MAX_KEYS_ASKED_BYTES)?)
}

/// Answers a question that [`open_records_question`] has opened.
pub fn answer_records<R: CryptoRng>(
    question: &[u8],
    fed: &[u8],
    service: &Device,
    keys: &WrapKeys,
    rng: &mut R,
) -> Result<Vec<u8>, WrapError> {
    Ok(cose::seal(&header(keys), keys.down(), &fed_aad(service, question)?, fed, rng)?)
}

/// Opens the answer to a question for stored data.
pub fn open_records(
    answer: &[u8],
    question: &[u8],
    service: &Device,
    keys: &WrapKeys,
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    open(answer, MAX_RECORDS_FED_BYTES, keys, keys.down(), &fed_aad(service, question)?)
}

fn open(
    bytes: &[u8],
    limit: usize,
    keys: &WrapKeys,
    key: &cose::ContentKey,
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let envelope = Encrypted::parse(bytes, limit)?;
    if envelope.header().kid != keys.id().as_bytes() {
        return Err(WrapError::UnknownWrapKey);
    }
    if *envelope.header() != header(keys) {
        return Err(WrapError::Header);
    }
    Ok(envelope.open(key, aad)?)
}

#[cfg(test)]
mod tests;

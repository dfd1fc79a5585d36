//! CBOR in its one deterministic encoding (RFC 8949 section 4.2.1).
//!
//! [`decode`] accepts exactly the bytes that [`encode`] would write for the same value: no duplicate keys, no trailing
//! bytes, no indefinite lengths, no longer form of a number than needed, map keys in bytewise order; and no field in a form
//! that only the decoder would take for it, such as a tag before a value. What nobody else reads is [packed](pack) without that care.

use crate::limits::MAX_CBOR_DEPTH;
use ciborium::value::Value;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// The deepest nesting of what we wrote ourselves.
const MAX_PACKED_DEPTH: usize = 64;

/// Why bytes are no acceptable CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The peer's fault: more bytes than the limit for this message.
    #[error("the message is longer than allowed")]
    TooLong,
    /// The peer's fault: not well-formed, nested too deeply, or cut short.
    #[error("the message is not well-formed CBOR")]
    Malformed,
    /// The peer's fault: well-formed, but not in the deterministic encoding.
    #[error("the message is not in deterministic encoding")]
    NotDeterministic,
    /// The peer's fault: well-formed, but not of the expected shape.
    #[error("the message does not have the expected fields")]
    Shape,
    /// Our fault: a value that CBOR cannot carry.
    #[error("the value cannot be encoded")]
    Encode,
}

/// Encodes `value` deterministically.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CborError> {
    let packed = Zeroizing::new(pack(value)?);
    let mut value = parse(&packed, usize::MAX, MAX_PACKED_DEPTH).map_err(|_| CborError::Encode)?;
    sort_maps(&mut value);
    pack(&value)
}

/// Decodes at most `limit` bytes that are one value in the deterministic encoding.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    let decoded = decode_lenient(bytes, limit)?;
    // Serde is lenient in what it takes for a field; only what `encode` writes for this value counts.
    if *Zeroizing::new(encode(&decoded)?) == bytes { Ok(decoded) } else { Err(CborError::Shape) }
}

/// Decodes like [`decode`], but leaves it to the type which forms of a field it takes: for types that have only some of the fields.
pub fn decode_lenient<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    let value = checked(bytes, limit)?;
    value.deserialized().map_err(|_| CborError::Shape)
}

/// Checks that at most `limit` bytes are one value, whatever it is, in the deterministic encoding.
pub fn check(bytes: &[u8], limit: usize) -> Result<(), CborError> {
    checked(bytes, limit).map(drop)
}

fn checked(bytes: &[u8], limit: usize) -> Result<Value, CborError> {
    let mut value = parse(bytes, limit, MAX_CBOR_DEPTH)?;
    sort_maps(&mut value);
    let is_deterministic = *Zeroizing::new(pack(&value)?) == bytes && !has_duplicate_keys(&value);
    if is_deterministic { Ok(value) } else { Err(CborError::NotDeterministic) }
}

/// Encodes what only we read again, in one pass: records, and messages between our own parts. Fields come in the order of the type.
pub fn pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| CborError::Encode)?;
    Ok(bytes)
}

/// Decodes what [`pack`] or [`encode`] wrote, perhaps in an earlier version: one value of at most `limit` bytes, in whatever form
/// the type takes.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    parse(bytes, limit, MAX_PACKED_DEPTH)?.deserialized().map_err(|_| CborError::Shape)
}

/// Reads one value. Types are built from it: code that reads each of them from bytes would be twice as much.
fn parse(mut bytes: &[u8], limit: usize, depth: usize) -> Result<Value, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLong);
    }
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, depth).map_err(|_| CborError::Malformed)?;
    if bytes.is_empty() { Ok(value) } else { Err(CborError::NotDeterministic) }
}

fn sort_maps(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort_maps),
        Value::Map(entries) => {
            for (key, item) in entries.iter_mut() {
                sort_maps(key);
                sort_maps(item);
            }
            entries.sort_by_cached_key(|(key, _)| encoded(key));
        }
        Value::Tag(_, inner) => sort_maps(inner),
        _ => {}
    }
}

/// The bytes of a map's key, by which its entries are ordered; a key that cannot be written fails with the whole value.
fn encoded(key: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    if ciborium::into_writer(key, &mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

fn has_duplicate_keys(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_duplicate_keys),
        Value::Map(entries) => {
            entries.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b))
                || entries.iter().any(|(key, item)| has_duplicate_keys(key) || has_duplicate_keys(item))
        }
        Value::Tag(_, inner) => has_duplicate_keys(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

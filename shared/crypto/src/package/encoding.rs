//! The content coding `aes128gcm` (RFC 8188): records of AES-128-GCM, each in its place, the last one marked. No more than a record has to be kept
//! in memory.

use aes_gcm::aead::Payload;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cose::{ContentKey, IV_BYTES, TAG_BYTES};

/// The length of a content key, in bytes.
pub const CODE_BYTES: usize = 16;
/// The length of the salt, in bytes (RFC 8188 section 2.1).
pub const SALT_BYTES: usize = 16;
/// What stands before the records: salt, length of a record, length of the key id, which is empty.
const HEADER_BYTES: usize = SALT_BYTES + 4 + 1;
/// The length of a full record, in bytes.
const RECORD_BYTES: usize = 65_536;
/// The mark after the content of the last record, and of the ones before it (section 2).
const LAST: u8 = 2;
const MORE: u8 = 1;

/// A content key: 16 bytes, drawn anew for each package and gateway.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ContentCode([u8; CODE_BYTES]);

impl ContentCode {
    /// Takes random bytes.
    pub const fn new(bytes: [u8; CODE_BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; CODE_BYTES] {
        &self.0
    }
}

/// Why an encrypted file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The peer's fault: its beginning is not that of our files.
    #[error("it does not begin as an encrypted package does")]
    Header,
    /// The peer's fault, or somebody between: a record that was changed, moved, or is under another key.
    #[error("a record does not open with this key")]
    Record,
    /// It ends before its last record, or goes on after it.
    #[error("it does not end with its last record")]
    End,
    /// Our fault: a record that cannot be made.
    #[error("a record cannot be made")]
    Encode,
}

/// The keys of one file.
struct Keys {
    key: ContentKey,
    nonce: Zeroizing<[u8; IV_BYTES]>,
    /// The number of the next record.
    sequence: u64,
}

impl Keys {
    /// Section 2.2 and 2.3.
    fn derive(code: &ContentCode, salt: &[u8]) -> Result<Self, EncodingError> {
        let hkdf = Hkdf::<Sha256>::new(Some(salt), &code.0);
        let (mut key, mut nonce) = (Zeroizing::new([0; 16]), Zeroizing::new([0; IV_BYTES]));
        hkdf.expand(b"Content-Encoding: aes128gcm\0", key.as_mut_slice()).map_err(|_| EncodingError::Encode)?;
        hkdf.expand(b"Content-Encoding: nonce\0", nonce.as_mut_slice()).map_err(|_| EncodingError::Encode)?;
        Ok(Self { key: ContentKey::A128(key), nonce, sequence: 0 })
    }

    /// The nonce of the next record: the file's, exclusive-or its number.
    fn next(&mut self) -> Result<[u8; IV_BYTES], EncodingError> {
        let mut nonce = *self.nonce;
        let number = self.sequence.to_be_bytes();
        for (byte, of) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= of;
        }
        self.sequence = self.sequence.checked_add(1).ok_or(EncodingError::Encode)?;
        Ok(nonce)
    }
}

/// How much of the file a full record of this length has.
const fn content_of(record_bytes: usize) -> usize {
    record_bytes.saturating_sub(TAG_BYTES + 1)
}

/// A place in an encrypted file, where a part of it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record in which it lies.
    record: u64,
    with_header: bool,
    /// From which byte on the file itself is needed.
    pub content: u64,
    /// So many bytes of what is made then lie before the place.
    pub before: u64,
}

impl Place {
    /// Finds a place by its distance from the beginning of the encrypted file, in bytes.
    pub const fn at(offset: u64) -> Self {
        let Some(within) = offset.checked_sub(HEADER_BYTES as u64) else {
            return Self { record: 0, with_header: true, content: 0, before: offset };
        };
        let record = within / RECORD_BYTES as u64;
        let content = record.saturating_mul(content_of(RECORD_BYTES) as u64);
        Self { record, with_header: false, content, before: within % RECORD_BYTES as u64 }
    }
}

/// How long the encrypted file is, in bytes, of a file of this length.
pub const fn encrypted_bytes(content: u64) -> u64 {
    let full = content_of(RECORD_BYTES) as u64;
    let records = if content == 0 { 1 } else { content.div_ceil(full) };
    content.saturating_add(HEADER_BYTES as u64).saturating_add(records.saturating_mul((TAG_BYTES + 1) as u64))
}

/// Encrypts a file piece by piece.
pub struct Encoder {
    keys: Keys,
    record_bytes: usize,
    header: Vec<u8>,
    waiting: Zeroizing<Vec<u8>>,
}

impl Encoder {
    /// Begins a file under a key that is used for no other; the salt is random.
    pub fn new(code: &ContentCode, salt: [u8; SALT_BYTES]) -> Result<Self, EncodingError> {
        Self::with_records(code, salt, RECORD_BYTES)
    }

    /// Makes a part of such a file, from this place on.
    pub fn at(code: &ContentCode, salt: [u8; SALT_BYTES], place: Place) -> Result<Self, EncodingError> {
        let whole = Self::new(code, salt)?;
        let header = if place.with_header { whole.header } else { Vec::new() };
        let keys = Keys { sequence: place.record, ..whole.keys };
        Ok(Self { keys, header, ..whole })
    }

    fn with_records(code: &ContentCode, salt: [u8; SALT_BYTES], record_bytes: usize) -> Result<Self, EncodingError> {
        let length = u32::try_from(record_bytes).map_err(|_| EncodingError::Encode)?;
        let header = [&salt[..], &length.to_be_bytes(), &[0]].concat();
        let keys = Keys::derive(code, &salt)?;
        Ok(Self { keys, record_bytes, header, waiting: Zeroizing::default() })
    }

    /// Takes the next piece; returns what can be sent of the encrypted file.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, EncodingError> {
        let mut out = core::mem::take(&mut self.header);
        let mut waiting = core::mem::take(&mut self.waiting);
        waiting.extend_from_slice(piece);
        let mut rest = waiting.as_slice();
        // A full record is only sent when something follows: the last one is marked.
        while let Some((record, next)) =
            rest.split_at_checked(content_of(self.record_bytes)).filter(|(_, next)| !next.is_empty())
        {
            out.extend(self.record(record, MORE)?);
            rest = next;
        }
        self.waiting = Zeroizing::new(rest.to_vec());
        Ok(out)
    }

    /// The end of the encrypted file.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodingError> {
        let mut out = core::mem::take(&mut self.header);
        let record = core::mem::take(&mut self.waiting);
        out.extend(self.record(&record, LAST)?);
        Ok(out)
    }

    fn record(&mut self, content: &[u8], mark: u8) -> Result<Vec<u8>, EncodingError> {
        let content = Zeroizing::new([content, &[mark]].concat());
        let nonce = self.keys.next()?;
        self.keys.key.encrypt(&nonce, Payload::from(content.as_slice())).map_err(|_| EncodingError::Encode)
    }
}

/// Decrypts a file piece by piece. Nothing that it returns is whole before [`Decoder::finish`] has succeeded.
pub struct Decoder {
    code: ContentCode,
    record_bytes: usize,
    keys: Option<Keys>,
    waiting: Vec<u8>,
    is_over: bool,
}

impl Decoder {
    /// Begins with no bytes.
    pub fn new(code: ContentCode) -> Self {
        Self::with_records(code, RECORD_BYTES)
    }

    const fn with_records(code: ContentCode, record_bytes: usize) -> Self {
        Self { code, record_bytes, keys: None, waiting: Vec::new(), is_over: false }
    }

    /// Takes the next piece; returns what it decrypts.
    pub fn push(&mut self, piece: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncodingError> {
        self.waiting.extend_from_slice(piece);
        if self.keys.is_none() {
            if self.waiting.len() < HEADER_BYTES {
                return Ok(Zeroizing::default());
            }
            let rest = self.waiting.split_off(HEADER_BYTES);
            let header = core::mem::replace(&mut self.waiting, rest);
            self.keys = Some(self.keys_of(&header)?);
        }
        let mut out = Zeroizing::new(Vec::new());
        // The last record may be a full one: it is told apart when nothing follows.
        while self.waiting.len() > self.record_bytes {
            let rest = self.waiting.split_off(self.record_bytes);
            let record = core::mem::replace(&mut self.waiting, rest);
            out.extend_from_slice(&self.open(&record, MORE)?);
        }
        Ok(out)
    }

    /// The end of the file: its last record.
    pub fn finish(mut self) -> Result<Zeroizing<Vec<u8>>, EncodingError> {
        let record = core::mem::take(&mut self.waiting);
        self.is_over = true;
        self.open(&record, LAST)
    }

    fn keys_of(&self, header: &[u8]) -> Result<Keys, EncodingError> {
        let (salt, rest) = header.split_at_checked(SALT_BYTES).ok_or(EncodingError::Header)?;
        let length = u32::try_from(self.record_bytes).map_err(|_| EncodingError::Header)?;
        if rest != [&length.to_be_bytes()[..], &[0]].concat() {
            return Err(EncodingError::Header);
        }
        Keys::derive(&self.code, salt)
    }

    fn open(&mut self, record: &[u8], mark: u8) -> Result<Zeroizing<Vec<u8>>, EncodingError> {
        let keys = self.keys.as_mut().ok_or(EncodingError::Header)?;
        if record.is_empty() {
            return Err(EncodingError::End);
        }
        let nonce = keys.next()?;
        let opened = keys.key.decrypt(&nonce, Payload::from(record)).map_err(|_| EncodingError::Record)?;
        let mut opened = Zeroizing::new(opened);
        // Section 2: the content, one mark, and padding of zeros, of which we make none.
        match opened.pop() {
            Some(found) if found == mark => Ok(opened),
            _ => Err(EncodingError::End),
        }
    }
}

#[cfg(test)]
mod tests;

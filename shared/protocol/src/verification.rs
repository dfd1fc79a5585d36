//! What a person carries from the device to the control unit: eight digits, or the address in a QR code.

use crate::bytes::fixed_bytes;
use crate::identity::{DeviceIdentifier, InvalidName, SessionId};
use core::fmt;
use core::str::FromStr;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The digits that carry the code's secret; the eighth is the check digit.
const SECRET_DIGITS: usize = 7;
/// The digits of an answer.
const ANSWER_DIGITS: usize = 4;

/// The Damm quasigroup of order 10: finds every single wrong digit and every swap of neighbours.
const DAMM: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

fn damm(digits: impl Iterator<Item = u8>) -> u8 {
    digits.fold(0, |row, digit| {
        DAMM.get(usize::from(row)).and_then(|row| row.get(usize::from(digit))).copied().unwrap_or(0)
    })
}

/// The code that a device shows: seven digits and a check digit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerificationCode([u8; SECRET_DIGITS + 1]);

/// Why a typed text is no code. A mistyped code counts as no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCode {
    /// The person's fault: not eight digits.
    #[error("a code has eight digits")]
    Length,
    /// The person's fault: the check digit does not fit, so that a digit is mistyped.
    #[error("a digit is mistyped")]
    CheckDigit,
}

impl VerificationCode {
    /// The code for a number, of which the last seven decimal digits count.
    pub fn from_number(number: u64) -> Self {
        let mut digits = [0; SECRET_DIGITS + 1];
        let mut rest = number;
        for digit in digits.iter_mut().take(SECRET_DIGITS).rev() {
            *digit = u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let check = damm(digits.iter().take(SECRET_DIGITS).copied());
        if let Some(last) = digits.last_mut() {
            *last = check;
        }
        Self(digits)
    }

    /// The eight digits as ASCII, to be compared in constant time.
    pub fn to_ascii(&self) -> [u8; SECRET_DIGITS + 1] {
        self.0.map(|digit| digit + b'0')
    }
}

impl FromStr for VerificationCode {
    type Err = InvalidCode;
    /// Accepts eight digits; spaces and hyphens between them don't matter.
    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| !character.is_whitespace() && *character != '-')
            .map(|character| {
                character.to_digit(10).and_then(|digit| u8::try_from(digit).ok()).ok_or(InvalidCode::Length)
            })
            .collect::<Result<_, _>>()?;
        let digits: [u8; SECRET_DIGITS + 1] = digits.try_into().map_err(|_| InvalidCode::Length)?;
        if damm(digits.iter().copied()) != 0 {
            return Err(InvalidCode::CheckDigit);
        }
        Ok(Self(digits))
    }
}

impl fmt::Display for VerificationCode {
    /// Two groups of four, as it is read aloud: `4071 9326`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, digit) in self.0.iter().enumerate() {
            if index == 4 {
                f.write_str(" ")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// The four digits that the control unit shows once it has verified a device that was given no CertCA, to be entered at it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
pub struct Answer([u8; ANSWER_DIGITS]);

/// The person's fault: a text that is no answer. It counts as no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer has four digits")]
pub struct InvalidAnswer;

impl Answer {
    /// The answer for a number, of which the last four decimal digits count.
    pub fn from_number(number: u64) -> Self {
        let mut digits = [0; ANSWER_DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = u8::try_from(rest % 10).unwrap_or(0) + b'0';
            rest /= 10;
        }
        Self(digits)
    }

    /// The four digits as ASCII, to be compared in constant time.
    pub const fn as_ascii(&self) -> &[u8; ANSWER_DIGITS] {
        &self.0
    }
}

impl fmt::Debug for Answer {
    /// Keeps the digits to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl FromStr for Answer {
    type Err = InvalidAnswer;
    /// Accepts four digits; spaces between them don't matter.
    fn from_str(text: &str) -> Result<Self, InvalidAnswer> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).take(ANSWER_DIGITS + 1).collect();
        let digits: [u8; ANSWER_DIGITS] = digits.try_into().map_err(|_| InvalidAnswer)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(InvalidAnswer) }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

fixed_bytes! {
    /// The tag in a QR code: proves that who scanned it saw this device's display. Works once.
    QrTag, 16
}

/// What the QR code says: `HTTPS://<origin>/V/<base32>` in upper case, so that it fits QR's alphanumeric mode.
#[derive(Clone, PartialEq, Eq)]
pub struct VerificationLink {
    /// The control unit's web origin, lower case, such as `https://wardlink.example:8443`.
    pub origin: String,
    /// The pairing session.
    pub session: SessionId,
    /// The tag.
    pub tag: QrTag,
    /// The device's identifier.
    pub identifier: DeviceIdentifier,
}

/// Why a scanned text is not for this control unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLink {
    /// The person scanned something else.
    #[error("this is no pairing code")]
    Form,
    /// The identifier in it is not valid.
    #[error("the identifier in it is not valid: {0}")]
    Identifier(#[from] InvalidName),
}

/// The path under which verification pages stand.
const LINK_PATH: &str = "/V/";

impl VerificationLink {
    /// The last part of the address: base32 (RFC 4648 section 6, without padding) of session, tag and identifier.
    pub fn token(&self) -> String {
        let mut bytes = Vec::with_capacity(SessionId::LENGTH + QrTag::LENGTH + self.identifier.as_str().len());
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(self.tag.as_bytes());
        bytes.extend_from_slice(self.identifier.as_str().as_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    /// Reads the last part of the address, for a page that knows its own origin.
    pub fn from_token(origin: &str, token: &str) -> Result<Self, InvalidLink> {
        let bytes = BASE32_NOPAD.decode(token.as_bytes()).map_err(|_| InvalidLink::Form)?;
        let (session, rest) = bytes.split_at_checked(SessionId::LENGTH).ok_or(InvalidLink::Form)?;
        let (tag, identifier) = rest.split_at_checked(QrTag::LENGTH).ok_or(InvalidLink::Form)?;
        let identifier = core::str::from_utf8(identifier).map_err(|_| InvalidLink::Form)?.parse()?;
        Ok(Self {
            origin: origin.to_ascii_lowercase(),
            session: SessionId::try_from(session)?,
            tag: QrTag::try_from(tag)?,
            identifier,
        })
    }
}

/// A scheme, a host, perhaps a port, and nothing else: neither a path nor the name of a user.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

impl fmt::Display for VerificationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{LINK_PATH}{}", self.origin.to_ascii_uppercase(), self.token())
    }
}

impl FromStr for VerificationLink {
    type Err = InvalidLink;
    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let (origin, token) = text.split_once(LINK_PATH).ok_or(InvalidLink::Form)?;
        if !is_origin(&origin.to_ascii_lowercase()) {
            return Err(InvalidLink::Form);
        }
        Self::from_token(origin, token)
    }
}

#[cfg(test)]
mod tests;

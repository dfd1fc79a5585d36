//! Numbers as devices give them: decimal, exact, with the digits that were measured.

use core::fmt;
use core::str::FromStr;

use ciborium::tag::Required;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_MANTISSA, MAX_PLACES};

/// The tag of a decimal fraction (RFC 8949 section 3.4.4).
const DECIMAL_FRACTION: u64 = 4;
/// Billionths in one.
pub(crate) const SCALE: i128 = 1_000_000_000;

/// A decimal number: `37.50` is not the same as `37.5`, because it was measured more precisely, but equally large.
///
/// In CBOR a decimal fraction (tag 4 of RFC 8949), as text with its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i64,
    places: u8,
}

/// Why something is no decimal. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDecimal {
    /// More than 15 digits, or more than 9 of them after the point.
    #[error("a decimal has at most 15 digits, of which at most {MAX_PLACES} stand after the point")]
    Range,
    /// No digits, or other characters; a leading zero; a zero with a sign.
    #[error("this is no decimal number, such as 37.5")]
    Form,
}

impl Decimal {
    /// The number `mantissa` / 10^`places`.
    pub const fn new(mantissa: i64, places: u8) -> Result<Self, InvalidDecimal> {
        if mantissa.unsigned_abs() > MAX_MANTISSA.unsigned_abs() || places > MAX_PLACES {
            return Err(InvalidDecimal::Range);
        }
        Ok(Self { mantissa, places })
    }

    /// The number without its point.
    pub const fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// The digits after the point.
    pub const fn places(self) -> u8 {
        self.places
    }

    /// The number as a count of billionths, exact.
    pub fn billionths(self) -> Billionths {
        let missing = u32::from(MAX_PLACES - self.places);
        Billionths(i128::from(self.mantissa) * 10_i128.pow(missing))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let power = 10_u64.pow(u32::from(self.places));
        let (whole, rest) = (self.mantissa.unsigned_abs() / power, self.mantissa.unsigned_abs() % power);
        if self.places == 0 {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{rest:0width$}", width = usize::from(self.places))
        }
    }
}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, rest) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !rest.is_none_or(is_number) || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(InvalidDecimal::Form);
        }
        let rest = rest.unwrap_or_default();
        let places = u8::try_from(rest.len()).map_err(|_| InvalidDecimal::Range)?;
        let mantissa: i64 = [whole, rest].concat().parse().map_err(|_| InvalidDecimal::Range)?;
        if negative && mantissa == 0 {
            return Err(InvalidDecimal::Form);
        }
        Self::new(if negative { -mantissa } else { mantissa }, places)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            // At most 9 places, so that the exponent always fits.
            let exponent = -i64::from(self.places);
            Required::<(i64, i64), DECIMAL_FRACTION>((exponent, self.mantissa)).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let Required((exponent, mantissa)) = Required::<(i64, i64), DECIMAL_FRACTION>::deserialize(deserializer)?;
            let places = exponent.checked_neg().and_then(|places| u8::try_from(places).ok());
            Self::new(mantissa, places.ok_or(InvalidDecimal::Range).map_err(D::Error::custom)?)
                .map_err(D::Error::custom)
        }
    }
}

/// A number as a count of billionths, for comparing and calculating: a decimal exactly, or what a conversion of units gave,
/// rounded to the nearest billionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Billionths(#[serde(with = "wide")] pub(crate) i128);

impl Billionths {
    /// So many.
    pub const fn new(count: i128) -> Self {
        Self(count)
    }

    /// The count.
    pub const fn count(self) -> i128 {
        self.0
    }
}

impl fmt::Display for Billionths {
    /// With as many digits after the point as it takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let scale = SCALE.unsigned_abs();
        let (whole, rest) = (self.0.unsigned_abs() / scale, self.0.unsigned_abs() % scale);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// 128-bit numbers as text: not every encoding has them.
mod wide {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;

//! When metadata ends.

use core::fmt;
use der::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Until when metadata counts: seconds since 1970. Metadata spells it as `2030-01-01T00:00:00Z`, without fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expires(u64);

impl Expires {
    /// Takes seconds since 1970.
    pub const fn at(seconds: u64) -> Self {
        Self(seconds)
    }

    /// When that is, in seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// Whether it counts no longer at this time, in seconds since 1970.
    pub const fn is_over(self, now: u64) -> bool {
        self.0 <= now
    }
}

impl Serialize for Expires {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expires {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let date = text.parse::<DateTime>();
        let date = date.map_err(|_| serde::de::Error::custom("write times as 2030-01-01T00:00:00Z"))?;
        Ok(Self(date.unix_duration().as_secs()))
    }
}

impl fmt::Display for Expires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(core::time::Duration::from_secs(self.0)) {
            Ok(date) => date.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Expires;

    #[test]
    fn times_have_one_spelling() {
        let read = |text: &str| serde_json::from_value::<Expires>(text.into()).ok();
        assert_eq!(read("1970-01-02T00:00:01Z"), Some(Expires(86_401)));
        for wrong in
            ["2030-01-01T00:00:00.5Z", "2030-01-01T00:00:00+00:00", "2030-01-01 00:00:00Z", "2030-13-01T00:00:00Z", ""]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn metadata_counts_before_its_end_only() {
        assert!(!Expires(10).is_over(9));
        assert!(Expires(10).is_over(10));
    }
}

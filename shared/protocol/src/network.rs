//! Where a connection comes from, and which networks a policy calls secured (Coupling, claim 1).

use crate::identity::{InvalidName, check_alphabet, name};
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What kind of network a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A policy rule says that it is secured.
    Secured,
    /// Every other.
    Untrusted,
}

name! {
    /// What a reverse proxy says of the network that a connection came over, such as `ward-lan`. It matches
    /// `[a-z0-9][a-z0-9-]{0,31}`.
    NetworkMarker, check_alphabet
}

/// Where a connection comes from, as far as the deployment trusts somebody to tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkOrigin {
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The reverse proxy's marker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<NetworkMarker>,
}

/// Addresses with one prefix (RFC 4632, RFC 4291 section 2.3), such as `10.20.0.0/16`; one address alone is a range, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange(IpNet);

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an address, or a prefix and its length, such as 10.20.0.0/16")]
pub struct InvalidRange;

impl AddressRange {
    /// Whether the address is in the range. An IPv4 address that is written as an IPv6 one counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The length of the common prefix, in bits.
    pub fn prefix_length(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl FromStr for AddressRange {
    type Err = InvalidRange;
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let single = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let range = text.parse::<IpNet>().or_else(|_| single()).map_err(|_| InvalidRange)?;
        Ok(Self(range.trunc()))
    }
}

impl TryFrom<String> for AddressRange {
    type Error = InvalidRange;
    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By what a network is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMatch {
    /// By the client's address.
    Range(AddressRange),
    /// By the reverse proxy's marker.
    Marker(NetworkMarker),
}

/// A network that a policy calls secured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecuredNetwork {
    /// What people call it; at most [`crate::limits::MAX_TEXT_BYTES`].
    pub name: String,
    /// By what it is known.
    pub by: NetworkMatch,
}

impl SecuredNetwork {
    /// Whether a connection came over this network. One of unknown origin did not.
    pub fn covers(&self, origin: &NetworkOrigin) -> bool {
        match &self.by {
            NetworkMatch::Range(range) => origin.address.is_some_and(|address| range.contains(address)),
            NetworkMatch::Marker(marker) => origin.marker.as_ref() == Some(marker),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn range(text: &str) -> SecuredNetwork {
        SecuredNetwork { name: "Ward".to_owned(), by: NetworkMatch::Range(text.parse().unwrap()) }
    }

    fn at(address: &str) -> NetworkOrigin {
        NetworkOrigin { address: Some(address.parse().unwrap()), marker: None }
    }

    #[test]
    fn a_range_covers_its_addresses_and_no_other() {
        let ward = range("10.20.0.0/16");
        assert!(ward.covers(&at("10.20.255.1")));
        assert!(ward.covers(&at("::ffff:10.20.3.4")));
        assert!(!ward.covers(&at("10.21.0.1")));
        assert!(!ward.covers(&at("fe80::1")));
        assert!(range("2001:db8::/32").covers(&at("2001:db8:7::1")));
        assert!(range("192.0.2.7").covers(&at("192.0.2.7")));
        assert!(!range("192.0.2.7").covers(&at("192.0.2.8")));
    }

    #[test]
    fn what_is_not_known_is_covered_by_nothing() {
        assert!(!range("0.0.0.0/0").covers(&NetworkOrigin::default()));
        let marked = SecuredNetwork { name: "Ward".to_owned(), by: NetworkMatch::Marker("ward-lan".parse().unwrap()) };
        assert!(!marked.covers(&NetworkOrigin::default()));
        assert!(!marked.covers(&NetworkOrigin { marker: Some("guests".parse().unwrap()), ..NetworkOrigin::default() }));
        assert!(
            marked.covers(&NetworkOrigin { marker: Some("ward-lan".parse().unwrap()), ..NetworkOrigin::default() })
        );
    }

    #[test]
    fn a_range_prints_as_its_prefix() {
        assert_eq!("10.20.3.4/16".parse::<AddressRange>().unwrap().to_string(), "10.20.0.0/16");
        assert_eq!("192.0.2.7".parse::<AddressRange>().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!("::ffff:192.0.2.7".parse::<AddressRange>().unwrap().to_string(), "192.0.2.7/32");
        for wrong in ["", "10.20.0.0/33", "10.20/16", "ward", "10.20.0.0/16 "] {
            assert_eq!(wrong.parse::<AddressRange>(), Err(InvalidRange), "{wrong}");
        }
    }
}

//! Under which names and addresses this machine is reached.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::unistd::gethostname;

/// The machine's names and addresses, as far as somebody on the network reaches it by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The machine's own name, where it is one that DNS can carry.
    pub(super) host: Option<String>,
    /// The addresses; the first is the one that is shown first.
    pub(super) addresses: Vec<IpAddr>,
}

impl Names {
    /// The names under which a program is reached that listens on `address`.
    pub(super) fn of(address: IpAddr) -> Result<Self> {
        let addresses = if address.is_unspecified() { of_interfaces(address)? } else { vec![address] };
        ensure!(!addresses.is_empty(), "this machine has no address on a network; connect it, or name one with --host");
        let host = gethostname().ok().and_then(|name| dns_name(name.to_str()?));
        Ok(Self { host, addresses })
    }

    /// The origins of a service at `port`: addresses first, because phones seldom find a machine by its name.
    pub(super) fn origins(&self, scheme: &str, port: u16) -> Vec<String> {
        let addresses = self.addresses.iter().map(|&address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        addresses.chain(self.host.clone()).map(|host| origin(scheme, &host, port)).collect()
    }
}

/// A web origin (RFC 6454): the port only where it is not the scheme's own.
pub(super) fn origin(scheme: &str, host: &str, port: u16) -> String {
    match (scheme, port) {
        ("https", 443) | ("http", 80) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

/// The addresses of the interfaces that are up; what listens on all of IPv4 is not reached by IPv6.
fn of_interfaces(unspecified: IpAddr) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in getifaddrs().context("cannot list the network interfaces")? {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP);
        let Some(address) = interface.address.filter(|_| up) else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let address = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())));
        addresses.extend(address.filter(|address| is_of_network(*address)));
    }
    addresses.retain(|address| unspecified.is_ipv6() || address.is_ipv4());
    let usual = usual_address();
    addresses.sort_by_key(|address| (Some(*address) != usual, address.is_ipv6(), *address));
    addresses.dedup();
    Ok(addresses)
}

/// Whether others reach an address without naming an interface.
fn is_of_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

/// The address that this machine shows to most others: asking for the route sends nothing.
fn usual_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address that belongs to nobody (RFC 5737).
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A host name in lower case, if DNS can carry it.
fn dns_name(name: &str) -> Option<String> {
    let fits = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_usable = name.len() <= 253 && name.split('.').all(fits) && name != "localhost";
    is_usable.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{Names, dns_name, is_of_network};

    #[test]
    fn names_that_dns_cannot_carry_are_left_out() {
        assert_eq!(dns_name("Ward-7.hospital.example").as_deref(), Some("ward-7.hospital.example"));
        for name in ["", "localhost", "ward 7", "ward_7", "-ward", "ward..7", "<b>"] {
            assert_eq!(dns_name(name), None, "{name}");
        }
    }

    #[test]
    fn addresses_that_need_an_interface_are_left_out() {
        for (address, reached) in [
            ("192.168.1.20", true),
            ("fd00::2", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_of_network(address.parse().unwrap()), reached, "{address}");
        }
    }

    #[test]
    fn origins_name_the_port_only_where_it_is_needed() {
        let names = Names {
            host: Some("ward".to_owned()),
            addresses: vec!["192.168.1.20".parse().unwrap(), "fd00::2".parse().unwrap()],
        };
        assert_eq!(names.origins("https", 443), ["https://192.168.1.20", "https://[fd00::2]", "https://ward"]);
        assert_eq!(names.origins("http", 8788).first().map(String::as_str), Some("http://192.168.1.20:8788"));
    }
}

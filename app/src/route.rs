//! The addresses of the control unit's screens: the part after `#`.

use core::fmt;
use wardlink_protocol::Device;
use wardlink_protocol::identity::SessionId;

/// A screen of the control unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The requests, one of them opened or none.
    Requests(Option<SessionId>),
    /// The fleet.
    Devices,
    /// One device.
    Device(Device),
    /// Provisioning files and access secrets.
    Provisioning,
    /// The accounts.
    People,
    /// The rules of pairing.
    Policy,
    /// The device classes.
    Classes,
    /// The channels and their keys.
    Channels,
    /// The server applications.
    Services,
    /// What the manufacturers have released, and what of it is offered.
    Releases,
    /// The devices of one offer.
    Offer(u64),
    /// What every device runs.
    Catalog,
    /// One device of the catalog.
    CatalogDevice(Device),
    /// The gateways.
    Gateways,
    /// What became of every update.
    Outcomes,
    /// The manufacturers.
    Manufacturers,
    /// Whose stored data has arrived.
    Records,
    /// The stored data of one device.
    RecordsDevice(Device),
    /// What rules have found in it.
    Flags,
    /// The rules.
    Rules,
    /// The CA.
    Authority,
    /// The audit log.
    Audit,
    /// The first administrator's one-time link.
    Welcome(String),
    /// There is no such screen.
    Unknown,
}

impl Route {
    /// Reads the part after `#`, with or without the `#`.
    pub(crate) fn parse(hash: &str) -> Self {
        let path = hash.trim_start_matches('#').trim_start_matches('/');
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let route = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) | (Some("requests"), None, _) => Some(Self::Requests(None)),
            (Some("requests"), Some(session), None) => {
                session.parse().ok().map(|session| Self::Requests(Some(session)))
            }
            (Some("devices"), None, _) => Some(Self::Devices),
            (Some("devices"), Some(client), Some(identifier)) => device(client, identifier).map(Self::Device),
            (Some("provisioning"), None, _) => Some(Self::Provisioning),
            (Some("people"), None, _) => Some(Self::People),
            (Some("policy"), None, _) => Some(Self::Policy),
            (Some("classes"), None, _) => Some(Self::Classes),
            (Some("channels"), None, _) => Some(Self::Channels),
            (Some("services"), None, _) => Some(Self::Services),
            (Some("updates"), None, _) => Some(Self::Releases),
            (Some("updates"), Some("offers"), Some(id)) => id.parse().ok().map(Self::Offer),
            (Some("updates"), Some("gateways"), None) => Some(Self::Gateways),
            (Some("updates"), Some("outcomes"), None) => Some(Self::Outcomes),
            (Some("updates"), Some("manufacturers"), None) => Some(Self::Manufacturers),
            (Some("catalog"), None, _) => Some(Self::Catalog),
            (Some("catalog"), Some(client), Some(identifier)) => device(client, identifier).map(Self::CatalogDevice),
            (Some("records"), None, _) => Some(Self::Records),
            (Some("records"), Some(client), Some(identifier)) => device(client, identifier).map(Self::RecordsDevice),
            (Some("flags"), None, _) => Some(Self::Flags),
            (Some("rules"), None, _) => Some(Self::Rules),
            (Some("authority"), None, _) => Some(Self::Authority),
            (Some("audit"), None, _) => Some(Self::Audit),
            (Some("welcome"), None, _) => query
                .split('&')
                .find_map(|pair| pair.strip_prefix("token="))
                .map(|token| Self::Welcome(token.to_owned())),
            _ => None,
        };
        route.filter(|_| parts.next().is_none()).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(None) | Self::Unknown => f.write_str("#/requests"),
            Self::Requests(Some(session)) => write!(f, "#/requests/{session}"),
            Self::Devices => f.write_str("#/devices"),
            Self::Device(device) => write!(f, "#/devices/{device}"),
            Self::Provisioning => f.write_str("#/provisioning"),
            Self::People => f.write_str("#/people"),
            Self::Policy => f.write_str("#/policy"),
            Self::Classes => f.write_str("#/classes"),
            Self::Channels => f.write_str("#/channels"),
            Self::Services => f.write_str("#/services"),
            Self::Releases => f.write_str("#/updates"),
            Self::Offer(id) => write!(f, "#/updates/offers/{id}"),
            Self::Catalog => f.write_str("#/catalog"),
            Self::CatalogDevice(device) => write!(f, "#/catalog/{device}"),
            Self::Gateways => f.write_str("#/updates/gateways"),
            Self::Outcomes => f.write_str("#/updates/outcomes"),
            Self::Manufacturers => f.write_str("#/updates/manufacturers"),
            Self::Records => f.write_str("#/records"),
            Self::RecordsDevice(device) => write!(f, "#/records/{device}"),
            Self::Flags => f.write_str("#/flags"),
            Self::Rules => f.write_str("#/rules"),
            Self::Authority => f.write_str("#/authority"),
            Self::Audit => f.write_str("#/audit"),
            Self::Welcome(_) => f.write_str("#/welcome"),
        }
    }
}

fn device(client: &str, identifier: &str) -> Option<Device> {
    Some(Device { client: client.parse().ok()?, identifier: identifier.parse().ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_screen_is_found_again_by_its_address() {
        let device: Device = "infusion-pump/ip-204817".parse().unwrap();
        let screens = [
            Route::Requests(None),
            Route::Requests(Some(SessionId([7; 16]))),
            Route::Devices,
            Route::Device(device.clone()),
            Route::CatalogDevice(device.clone()),
            Route::RecordsDevice(device),
            Route::Records,
            Route::Flags,
            Route::Rules,
            Route::Releases,
            Route::Offer(7),
            Route::Catalog,
            Route::Gateways,
            Route::Outcomes,
            Route::Manufacturers,
            Route::Provisioning,
            Route::People,
            Route::Policy,
            Route::Classes,
            Route::Channels,
            Route::Services,
            Route::Authority,
            Route::Audit,
        ];
        for screen in screens {
            assert_eq!(Route::parse(&screen.to_string()), screen);
        }
    }

    #[test]
    fn the_empty_address_is_the_requests() {
        assert_eq!(Route::parse(""), Route::Requests(None));
        assert_eq!(Route::parse("#/"), Route::Requests(None));
    }

    #[test]
    fn the_welcome_address_carries_its_token_and_never_prints_it() {
        let route = Route::parse("#/welcome?token=abc_-1");
        assert_eq!(route, Route::Welcome("abc_-1".to_owned()));
        assert_eq!(route.to_string(), "#/welcome");
    }

    #[test]
    fn nonsense_is_unknown() {
        for hash in
            ["#/nothing", "#/devices/a", "#/devices/A/b", "#/devices/a/b/c", "#/requests/zz", "#/welcome", "#/people/1"]
        {
            assert_eq!(Route::parse(hash), Route::Unknown, "{hash}");
        }
    }
}

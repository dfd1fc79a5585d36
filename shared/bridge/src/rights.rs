//! Who may publish and read what: the table of `docs/protocol.md`, "Rights", as a pure function; and the one row of a gateway's own broker
//! (`docs/distribution.md`, "Over the network"). Denies by default.

use serde::{Deserialize, Serialize};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::grant::{DeviceState, Grant};
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, Purpose};
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::stamp::Publisher;
use wardlink_protocol::topic::{Topic, TopicFilter};
use wardlink_protocol::{ClientClass, Device, UnixMillis};

/// How a client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// By its bare key.
    BareKey,
    /// By a certificate of the site, whose chain was verified.
    Certificate {
        /// Its serial number.
        serial: CertificateSerial,
        /// What it is for.
        purpose: Purpose,
        /// When it ends.
        not_after: UnixMillis,
    },
}

/// Who a client is, as proved to the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Its key.
    pub key: KeyFingerprint,
    /// The device or service that it claims to be (bare key) or is (certificate).
    pub device: Device,
    /// How it proved it.
    pub credential: Credential,
}

impl Principal {
    /// The principal as it is stamped on messages.
    pub fn publisher(&self) -> Publisher {
        let certificate = match self.credential {
            Credential::BareKey => None,
            Credential::Certificate { serial, purpose, .. } => Some((serial, purpose)),
        };
        Publisher::Key { key: self.key, device: self.device.clone(), certificate }
    }
}

/// A row of the table that applies to a principal: what it may do right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// Nothing.
    Nothing,
    /// Publish T1.
    Ask,
    /// Publish T1, read T2.
    AskAndListen,
    /// Publish T3, read T2.
    Pair,
    /// Publish T3, renewal and the second channels; read T2, the second channels and T4.
    Work,
    /// Publish renewal, read T2.
    Renew,
    /// A service: publish and read what it is granted.
    Serve,
    /// At a gateway's broker: publish and read the second channels, and nothing else.
    Exchange,
}

/// The rights of one principal at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    row: Row,
    device: &'a Device,
    channels: &'a [ChannelName],
    access: Option<&'a ServiceAccess>,
}

impl<'a> Rights<'a> {
    /// The rights of `principal`, of whose key the control unit says `grant`; `now` decides whether a certificate counts.
    pub fn of(principal: &'a Principal, grant: Option<&'a Grant>, now: UnixMillis) -> Self {
        let row = match grant {
            // What a key claims counts only as long as nothing else is known of it.
            Some(grant) if grant.key != principal.key || grant.device != principal.device => Row::Nothing,
            grant => match principal.credential {
                // A service has no bare key, and nobody asks to become one here.
                Credential::BareKey if principal.device.is_service() => Row::Nothing,
                Credential::BareKey => bare_key(grant.map_or(DeviceState::Unknown, |grant| grant.state)),
                Credential::Certificate { serial, purpose, not_after } => {
                    grant.map_or(Row::Nothing, |grant| certificate(grant, serial, purpose, not_after, now))
                }
            },
        };
        let channels = grant.map_or(&[][..], |grant| grant.channels.as_slice());
        let access = grant.filter(|_| row == Row::Serve).map(|grant| &grant.access);
        Self { row, device: &principal.device, channels, access }
    }

    /// The rights at a gateway's own broker, which issues nothing and pairs nobody: a device that the site has associated with the gateway
    /// has its second channels there. The gateway is not told of serial numbers, only of keys: any certificate counts that the site has
    /// issued for this key and device, as long as it lasts.
    pub fn at_gateway(principal: &'a Principal, grant: Option<&'a Grant>, now: UnixMillis) -> Self {
        let associated = grant.filter(|grant| {
            grant.key == principal.key && grant.device == principal.device && grant.state == DeviceState::Paired
        });
        let (row, channels) = match (associated, principal.credential) {
            (Some(grant), Credential::Certificate { purpose: Purpose::Device, not_after, .. }) if now <= not_after => {
                (Row::Exchange, grant.channels.as_slice())
            }
            _ => (Row::Nothing, &[][..]),
        };
        Self { row, device: &principal.device, channels, access: None }
    }

    /// No rights.
    pub fn none(principal: &'a Principal) -> Self {
        Self { row: Row::Nothing, device: &principal.device, channels: &[], access: None }
    }

    /// Whether it may publish on `topic`; `is_configured` knows the classes whose devices may ask.
    pub fn may_publish(&self, topic: &Topic, is_configured: impl Fn(&ClientClass) -> bool) -> bool {
        if let Some(access) = self.access {
            return access.may_publish(topic);
        }
        match topic {
            Topic::Register(client) => {
                matches!(self.row, Row::Ask | Row::AskAndListen)
                    && *client == self.device.client
                    && is_configured(client)
            }
            Topic::Command(client) => matches!(self.row, Row::Pair | Row::Work) && *client == self.device.client,
            Topic::Renew(client) => matches!(self.row, Row::Work | Row::Renew) && *client == self.device.client,
            Topic::Data(channel, device) => {
                matches!(self.row, Row::Work | Row::Exchange)
                    && device == self.device
                    && self.channels.contains(channel)
            }
            Topic::Device(_) | Topic::Meta(_) | Topic::Control(..) => false,
        }
    }

    /// Whether it may read `topic`.
    pub fn may_read(&self, topic: &Topic) -> bool {
        if let Some(access) = self.access {
            return access.may_read(topic);
        }
        match topic {
            Topic::Device(device) => {
                matches!(self.row, Row::AskAndListen | Row::Pair | Row::Work | Row::Renew) && device == self.device
            }
            Topic::Meta(client) => self.row == Row::Work && *client == self.device.client,
            Topic::Control(channel, device) => {
                matches!(self.row, Row::Work | Row::Exchange)
                    && device == self.device
                    && self.channels.contains(channel)
            }
            Topic::Register(_) | Topic::Command(_) | Topic::Renew(_) | Topic::Data(..) => false,
        }
    }

    /// Whether it may read every topic that `filter` could match. A wildcard matches topics of devices that do not exist yet, so
    /// that no device's rights ever cover one; a service's do, where it is granted a whole class.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        if let Some(access) = self.access {
            return access.may_subscribe(filter);
        }
        !filter.has_wildcard() && filter.as_str().parse().is_ok_and(|topic: Topic| self.may_read(&topic))
    }

    /// Whether it may connect: there is something that it may do, and where that is only to ask, its class may.
    pub fn is_welcome(&self, is_configured: impl Fn(&ClientClass) -> bool) -> bool {
        match self.row {
            Row::Nothing => false,
            Row::Ask => is_configured(&self.device.client),
            Row::AskAndListen | Row::Pair | Row::Work | Row::Renew | Row::Serve | Row::Exchange => true,
        }
    }

    /// Whether its device counts as paired, so that its presence is of interest.
    pub fn is_paired(&self) -> bool {
        matches!(self.row, Row::Work | Row::Renew | Row::Exchange)
    }
}

fn bare_key(state: DeviceState) -> Row {
    match state {
        DeviceState::Unknown | DeviceState::Paired | DeviceState::Expired => Row::Ask,
        DeviceState::Closing | DeviceState::Accepted | DeviceState::Certified => Row::AskAndListen,
        DeviceState::Confirmed | DeviceState::Locked | DeviceState::Revoked => Row::Nothing,
    }
}

fn certificate(
    grant: &Grant,
    serial: CertificateSerial,
    purpose: Purpose,
    not_after: UnixMillis,
    now: UnixMillis,
) -> Row {
    let listed = grant.certificates.iter().find(|listed| listed.serial == serial && listed.purpose == purpose);
    let Some(listed) = listed else { return Row::Nothing };
    let expired = now > not_after.min(listed.not_after);
    match (grant.state, purpose) {
        (DeviceState::Certified, Purpose::Pairing) if !expired => Row::Pair,
        // After the confirmation nothing expires: a device that was cut off can still fetch it.
        (DeviceState::Confirmed, Purpose::Pairing) => Row::Pair,
        // A certificate of another purpose than its holder's is good for nothing, whoever lists it.
        (_, purpose) if purpose != grant.device.purpose() => Row::Nothing,
        (DeviceState::Paired, Purpose::Service) if !expired => Row::Serve,
        (_, Purpose::Service) => Row::Nothing,
        (DeviceState::Confirmed, _) => Row::Pair,
        (DeviceState::Paired, _) if !expired => Row::Work,
        (DeviceState::Paired | DeviceState::Expired, _) => Row::Renew,
        _ => Row::Nothing,
    }
}

/// Whether a connection of this key has to be closed.
pub fn is_barred(grant: Option<&Grant>) -> bool {
    grant.is_some_and(|grant| matches!(grant.state, DeviceState::Revoked | DeviceState::Locked))
}

#[cfg(test)]
mod tests;

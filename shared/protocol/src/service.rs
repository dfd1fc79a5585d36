//! Server applications ("services"): what one may read and write, how it is enrolled, and how it asks for keys
//! (`docs/protocol.md`, "Services").

use crate::UnixMillis;
use crate::channel::ChannelName;
use crate::identity::{CertificateSerial, ClientClass, Device, Sha256};
use crate::limits::MAX_SERVICE_CHANNELS;
use crate::pairing::Status;
use crate::topic::{Topic, TopicFilter};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

mod ticket;

pub use ticket::{EnrolmentTicket, TicketError};

/// One channel of one device class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelOfClass {
    /// The channel.
    pub channel: ChannelName,
    /// The class.
    pub client: ClientClass,
}

/// What a service may read and write. Topics and keys both follow from it, so that neither is ever given without the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccess {
    /// What the devices of the class send on the channel.
    pub reads: BTreeSet<ChannelOfClass>,
    /// What is sent to the devices of the class on the channel.
    pub writes: BTreeSet<ChannelOfClass>,
}

impl ServiceAccess {
    /// Whether there is something, and not more than a service may have.
    pub fn is_reasonable(&self) -> bool {
        (1..=MAX_SERVICE_CHANNELS).contains(&(self.reads.len() + self.writes.len()))
    }

    /// The classes with whose devices it has to do: it reads their certificates (T4).
    pub fn classes(&self) -> BTreeSet<&ClientClass> {
        self.reads.iter().chain(&self.writes).map(|each| &each.client).collect()
    }

    /// Everything that it has the keys of, each once.
    pub fn keys(&self) -> BTreeSet<&ChannelOfClass> {
        self.reads.iter().chain(&self.writes).collect()
    }

    /// The topic filters that are granted to it for reading.
    pub fn filters(&self) -> Vec<TopicFilter> {
        let data = self.reads.iter().map(|each| TopicFilter::of_class(&each.channel, &each.client));
        let meta = self.classes().into_iter().map(|client| TopicFilter::from(&Topic::Meta(client.clone())));
        data.chain(meta).collect()
    }

    /// Whether it may read this topic: never T1, T2, T3, renewal, or what is sent to devices.
    pub fn may_read(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Data(channel, device) => holds(&self.reads, channel, device),
            Topic::Meta(client) => self.classes().contains(client),
            Topic::Register(_) | Topic::Device(_) | Topic::Command(_) | Topic::Renew(_) | Topic::Control(..) => false,
        }
    }

    /// Whether it may read every topic that `filter` could match.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        self.filters().iter().any(|granted| granted.covers(filter))
    }

    /// Whether it may publish on this topic: to devices only, and never in the name of one.
    pub fn may_publish(&self, topic: &Topic) -> bool {
        matches!(topic, Topic::Control(channel, device) if holds(&self.writes, channel, device))
    }

    /// Whether it has the keys of this channel of this device.
    pub fn has_keys(&self, channel: &ChannelName, device: &Device) -> bool {
        holds(&self.reads, channel, device) || holds(&self.writes, channel, device)
    }
}

fn holds(granted: &BTreeSet<ChannelOfClass>, channel: &ChannelName, device: &Device) -> bool {
    granted.iter().any(|each| each.channel == *channel && each.client == device.client)
}

/// SERVICE_ENROLMENT: a service asks for its certificate, under the key of its enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEnrolment {
    /// [`Status::ServiceEnrolment`].
    pub status: Status,
    /// PKCS#10 for its static key, DER (RFC 2986).
    pub csr: ByteBuf,
    /// An ephemeral key Ed: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
}

/// SERVICE_ENROLLED: its certificate, signed by the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEnrolled {
    /// [`Status::ServiceEnrolled`], or [`Status::ServiceRenewed`].
    pub status: Status,
    /// SHA-256 of the whole SERVICE_ENROLMENT.
    pub request_hash: Sha256,
    /// The certificate, DER.
    pub certificate: ByteBuf,
    /// The certificates between the service's and the root, DER, issuing CA first.
    pub chain: Vec<ByteBuf>,
    /// An ephemeral key E of the control unit: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
    /// What it may read and write.
    pub access: ServiceAccess,
}

/// SERVICE_RENEWAL: a service asks for a new certificate, signed by its static key. SERVICE_RENEWED has the fields of [`ServiceEnrolled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRenewal {
    /// [`Status::ServiceRenewal`].
    pub status: Status,
    /// The serial number of the certificate that is to be replaced.
    pub serial: CertificateSerial,
    /// PKCS#10 for the same static key, DER (RFC 2986).
    pub csr: ByteBuf,
    /// An ephemeral key Ed: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
}

/// KEYS_ASKED: a service asks for the keys of one channel of one device, and for the device's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysAsked {
    /// [`Status::KeysAsked`].
    pub status: Status,
    /// The channel.
    pub channel: ChannelName,
    /// The device.
    pub device: Device,
}

/// RECORDS_ASKED: a service asks for stored data of the classes whose `update` channel it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsAsked {
    /// The position that it has come to; 0 at the beginning.
    pub after: u64,
}

/// A device as a service has to know it, to judge what it sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownDevice {
    /// Its certificate, DER.
    pub certificate: ByteBuf,
    /// Whether it is trusted now: paired, and neither revoked nor locked.
    pub trusted: bool,
}

/// DEVICE_REVOKED, on T4: a device is trusted no longer, and the keys that it knew were replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRevoked {
    /// [`Status::DeviceRevoked`].
    pub status: Status,
    /// The device.
    pub device: Device,
    /// Since when.
    pub revoked_at: UnixMillis,
}

#[cfg(test)]
mod tests;

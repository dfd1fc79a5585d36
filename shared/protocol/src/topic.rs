//! The site's topics, and MQTT topic filters.
//!
//! The patent's `ais.register.<client>` is written with MQTT's separator: `ais/register/<client>`.

use crate::channel::ChannelName;
use crate::identity::{ClientClass, Device, InvalidName};
use crate::limits::MAX_TOPIC_BYTES;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A topic of the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topic {
    /// T1, `ais/register/<client>`: requests of devices that want to join (S2).
    Register(ClientClass),
    /// T2, `ais/<client>/<identifier>`: the control unit to one device (S4).
    Device(Device),
    /// T3, `ais/command/<client>`: devices to the control unit (S6).
    Command(ClientClass),
    /// T4, `ais/meta/<client>`: certificates of paired devices (S10).
    Meta(ClientClass),
    /// `ais/renew/<client>`: devices that renew their certificate.
    Renew(ClientClass),
    /// `ais/data/<channel>/<client>/<identifier>`: a second channel, from the device up.
    Data(ChannelName, Device),
    /// `ais/ctl/<channel>/<client>/<identifier>`: a second channel, down to the device.
    Control(ChannelName, Device),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(client) => write!(f, "ais/register/{client}"),
            Self::Device(device) => write!(f, "ais/{device}"),
            Self::Command(client) => write!(f, "ais/command/{client}"),
            Self::Meta(client) => write!(f, "ais/meta/{client}"),
            Self::Renew(client) => write!(f, "ais/renew/{client}"),
            Self::Data(channel, device) => write!(f, "ais/data/{channel}/{device}"),
            Self::Control(channel, device) => write!(f, "ais/ctl/{channel}/{device}"),
        }
    }
}

/// Why a text is no topic of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// The peer's fault: longer than [`MAX_TOPIC_BYTES`], or empty.
    #[error("the topic has the wrong length")]
    Length,
    /// The peer's fault: not one of the site's forms.
    #[error("no topic of this form exists here")]
    Form,
    /// The peer's fault: a wildcard where it may not stand, or a character that MQTT forbids.
    #[error("the topic filter is malformed")]
    Filter,
    /// The peer's fault: a name in it is not valid.
    #[error("a name in the topic is not valid: {0}")]
    Name(#[from] InvalidName),
}

impl FromStr for Topic {
    type Err = InvalidTopic;
    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        if text.is_empty() || text.len() > MAX_TOPIC_BYTES {
            return Err(InvalidTopic::Length);
        }
        let levels: Vec<&str> = text.split('/').collect();
        let device = |client: &str, identifier: &str| -> Result<Device, InvalidName> {
            Ok(Device { client: client.parse()?, identifier: identifier.parse()? })
        };
        Ok(match levels.as_slice() {
            ["ais", "register", client] => Self::Register(client.parse()?),
            ["ais", "command", client] => Self::Command(client.parse()?),
            ["ais", "meta", client] => Self::Meta(client.parse()?),
            ["ais", "renew", client] => Self::Renew(client.parse()?),
            ["ais", "data", channel, client, identifier] => Self::Data(channel.parse()?, device(client, identifier)?),
            ["ais", "ctl", channel, client, identifier] => Self::Control(channel.parse()?, device(client, identifier)?),
            ["ais", client, identifier] => Self::Device(device(client, identifier)?),
            _ => return Err(InvalidTopic::Form),
        })
    }
}

impl TryFrom<String> for Topic {
    type Error = InvalidTopic;
    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        text.parse()
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.to_string()
    }
}

/// An MQTT topic filter (MQTT 5.0 section 4.7), checked when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter has a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.split('/').any(|level| level == "+" || level == "#")
    }

    /// What every device of a class sends on a channel.
    pub fn of_class(channel: &ChannelName, client: &ClientClass) -> Self {
        Self(format!("ais/data/{channel}/{client}/+").into())
    }

    /// Whether every topic that `other` matches is matched by this filter, too.
    pub fn covers(&self, other: &Self) -> bool {
        // A first level that is a wildcard does not stand for one that begins with `$`.
        if other.0.starts_with('$') && !self.0.starts_with('$') {
            return false;
        }
        // A topic has one level at least.
        let asked = if &*other.0 == "#" { "+/#" } else { &other.0 };
        let (granted, asked): (Vec<&str>, Vec<&str>) = (self.0.split('/').collect(), asked.split('/').collect());
        covers_levels(&granted, &asked)
    }

    /// Whether `topic` matches: `+` stands for one level, `#` for the rest, and neither for a first level that
    /// begins with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && !self.0.starts_with('$') {
            return false;
        }
        let mut levels = topic.split('/');
        for part in self.0.split('/') {
            match (part, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (part, Some(level)) if part == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

fn covers_levels(granted: &[&str], asked: &[&str]) -> bool {
    match (granted, asked) {
        (["#"], _) | ([], []) => true,
        (_, ["#", ..]) => false,
        (["+", granted @ ..], [_, asked @ ..]) => covers_levels(granted, asked),
        ([level, granted @ ..], [same, asked @ ..]) if level == same => covers_levels(granted, asked),
        _ => false,
    }
}

impl FromStr for TopicFilter {
    type Err = InvalidTopic;
    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        if text.is_empty() || text.len() > MAX_TOPIC_BYTES {
            return Err(InvalidTopic::Length);
        }
        let last = text.split('/').count().saturating_sub(1);
        for (index, level) in text.split('/').enumerate() {
            let wildcard = level.contains(['+', '#']);
            let alone = level == "+" || (level == "#" && index == last);
            if (wildcard && !alone) || level.contains('\0') {
                return Err(InvalidTopic::Filter);
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for TopicFilter {
    type Error = InvalidTopic;
    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        text.parse()
    }
}

impl From<TopicFilter> for String {
    fn from(filter: TopicFilter) -> Self {
        filter.0.into()
    }
}

impl From<&Topic> for TopicFilter {
    fn from(topic: &Topic) -> Self {
        Self(topic.to_string().into())
    }
}

impl From<Topic> for TopicFilter {
    fn from(topic: Topic) -> Self {
        Self::from(&topic)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;

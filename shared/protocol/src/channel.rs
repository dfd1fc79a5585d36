//! The second channels: what kind of data travels how (Coupling, claims 1, 3 and 6).

use crate::identity::{InvalidName, KeyId, TrustLevel, check_alphabet, name};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

name! {
    /// A second channel's name, such as `alarm`: the alphabet of a device's names, and no word is reserved.
    ChannelName, check_alphabet
}

/// How urgent a channel's data is; a confirmation lists channels by falling priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before everything else.
    High,
    /// The usual.
    Medium,
    /// When there is room.
    Low,
}

/// What kind of data a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataType {
    /// Alarms of the device (IEC 60601-1-8).
    Alarm,
    /// Infusion status and events.
    Therapy,
    /// Orders of the control unit.
    Command,
    /// Measurements.
    Telemetry,
    /// The technical log.
    Log,
    /// Feature sets and stored data.
    Update,
}

/// MQTT's quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// How content is encrypted (COSE algorithm numbers, RFC 9053 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ContentAlgorithm {
    /// AES-128-GCM, COSE algorithm 1.
    A128GCM,
    /// AES-256-GCM, COSE algorithm 3.
    A256GCM,
}

/// Who shares a channel's key (Coupling, claim 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyScope {
    /// All devices of a class.
    Class,
    /// One device.
    Device,
}

/// Which way a channel's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the device to the network.
    Up,
    /// From the network to the device.
    Down,
}

/// One row of the site's channel policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// How urgent its data is.
    pub priority: Priority,
    /// The kinds of data that travel on it.
    pub data_types: Vec<DataType>,
    /// MQTT's quality of service.
    pub qos: Qos,
    /// How content is encrypted.
    pub algorithm: ContentAlgorithm,
    /// Whether the sender signs each message.
    pub signed: bool,
    /// Who shares the key.
    pub scope: KeyScope,
    /// Whether the bridge keeps a log that can be read again.
    pub durable: bool,
    /// How long one key is used, in seconds.
    pub rotation_secs: u64,
    /// The least trust a device needs to be given the channel.
    pub trust: TrustLevel,
}

/// A channel as one device is given it: the row of policy and the key in force (Coupling, claims 4 and 5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct ChannelKey {
    /// The row of policy.
    #[zeroize(skip)]
    pub channel: Channel,
    /// The id of the network key.
    #[zeroize(skip)]
    pub kid: KeyId,
    /// The epoch of the key: it only rises.
    #[zeroize(skip)]
    pub epoch: u64,
    /// The network key itself, 32 bytes, whatever the algorithm: content keys are derived from it.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

/// The channel of feature sets and stored data. Association gives a gateway the rights and the keys of its devices' (Distribution, figure 2).
pub const UPDATE_CHANNEL: &str = "update";

/// The channel of a message, by its kind of data and how urgent it is (Coupling, claim 1): of the channels that carry this kind, the one
/// whose priority is nearest from above, and where none is as urgent, the most urgent; by name where several are.
pub fn select<'a>(
    channels: impl Iterator<Item = &'a Channel> + Clone,
    data_type: DataType,
    priority: Priority,
) -> Option<&'a Channel> {
    let carrying = channels.filter(|channel| channel.data_types.contains(&data_type));
    // `High` orders first: what is urgent enough comes last among those up to `priority`.
    let enough = carrying
        .clone()
        .filter(|channel| channel.priority <= priority)
        .max_by(|a, b| a.priority.cmp(&b.priority).then_with(|| b.name.cmp(&a.name)));
    enough.or_else(|| carrying.min_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name))))
}

const DAY: u64 = 24 * 60 * 60;
const WEEK: u64 = 7 * DAY;

/// The channels that a new site begins with, by falling priority, then by name.
pub fn default_channels() -> Vec<Channel> {
    // What most rows have: data of a whole class upwards, signed, kept, one key a day, given to every paired device.
    let usual = |name: &str, priority, data_type| Channel {
        name: ChannelName(name.into()),
        priority,
        data_types: vec![data_type],
        qos: Qos::AtLeastOnce,
        algorithm: ContentAlgorithm::A256GCM,
        signed: true,
        scope: KeyScope::Class,
        durable: true,
        rotation_secs: DAY,
        trust: TrustLevel::Reduced,
    };
    let for_one_device = |channel| Channel { scope: KeyScope::Device, durable: false, ..channel };
    let technical =
        |channel| Channel { algorithm: ContentAlgorithm::A128GCM, signed: false, rotation_secs: WEEK, ..channel };
    vec![
        usual("alarm", Priority::High, DataType::Alarm),
        Channel { trust: TrustLevel::Full, ..for_one_device(usual("command", Priority::High, DataType::Command)) },
        usual("therapy", Priority::Medium, DataType::Therapy),
        for_one_device(usual(UPDATE_CHANNEL, Priority::Medium, DataType::Update)),
        technical(usual("log", Priority::Low, DataType::Log)),
        Channel {
            qos: Qos::AtMostOnce,
            durable: false,
            ..technical(usual("telemetry", Priority::Low, DataType::Telemetry))
        },
    ]
}

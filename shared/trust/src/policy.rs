//! The site's channel policy: which kinds of data travel how (Coupling, claims 1, 3 and 6).
//!
//! A [`ChannelPolicy`] exists only when its rows hold together; above all, no device is ever left without a channel for its
//! alarms. [`ChannelPolicy::select`] chooses a message's channel by its kind of data and its priority, [`ChannelPolicy::preview`]
//! says what a change would do to which devices, before anybody does it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_protocol::ClientClass;
use wardlink_protocol::channel::{
    self, Channel, ChannelName, ContentAlgorithm, DataType, KeyScope, Priority, Qos, default_channels,
};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::limits::{MAX_CHANNELS_PER_DEVICE, MAX_ROTATION_SECS, MIN_ROTATION_SECS};

mod preview;

pub use preview::{Affected, ChannelChange, Effect, Field, Population, Preview};

/// Every kind of data.
pub const DATA_TYPES: [DataType; 6] =
    [DataType::Alarm, DataType::Therapy, DataType::Command, DataType::Telemetry, DataType::Log, DataType::Update];

/// Every level of trust.
pub const TRUST_LEVELS: [TrustLevel; 2] = [TrustLevel::Reduced, TrustLevel::Full];

/// Why rows are no policy. Every message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The caller's fault: no row, or more than a device can have.
    #[error("a policy has 1 to {MAX_CHANNELS_PER_DEVICE} channels, not {0}")]
    Count(usize),
    /// The caller's fault: a name twice.
    #[error("there are two channels called {0}; give one of them another name")]
    NameTwice(ChannelName),
    /// The caller's fault: a channel that carries nothing.
    #[error("the channel {0} carries no kind of data; choose one, or remove the channel")]
    NoData(ChannelName),
    /// The caller's fault: a kind of data twice in one row.
    #[error("the channel {0} names a kind of data twice")]
    DataTwice(ChannelName),
    /// The caller's fault: keys that change too often or too rarely.
    #[error(
        "the channel {channel} changes its key every {seconds} s; choose {MIN_ROTATION_SECS} s to {MAX_ROTATION_SECS} s"
    )]
    Rotation {
        /// The channel.
        channel: ChannelName,
        /// What was asked for.
        seconds: u64,
    },
    /// The caller's fault: devices of this trust could not tell their alarms.
    #[error(
        "no channel carries the alarms of devices with {} trust; give one channel for alarms to every device",
        trust_word(*.0)
    )]
    NoAlarms(TrustLevel),
    /// The caller's fault: devices of this trust could not send or receive this kind of data.
    #[error("no channel carries {} for devices with {} trust", data_word(*data_type), trust_word(*trust))]
    NotCarried {
        /// The kind of data.
        data_type: DataType,
        /// The trust.
        trust: TrustLevel,
    },
    /// The caller's fault: alarms that may get lost.
    #[error("the channel {0} carries alarms, which must arrive: choose QoS 1 (at least once)")]
    AlarmsMayBeLost(ChannelName),
    /// The caller's fault: alarms that another device could forge.
    #[error("the channel {0} carries alarms under a key that many devices share: let each message be signed")]
    AlarmsUnsigned(ChannelName),
    /// The caller's fault: orders that another device could forge.
    #[error(
        "the channel {0} carries orders to devices under a key that many share: let each message be signed, or give each device its own key"
    )]
    OrdersUnsigned(ChannelName),
    /// The caller's fault: orders that may be lost.
    #[error("the channel {0} carries orders to devices, which must arrive: choose QoS 1 (at least once)")]
    OrdersMayBeLost(ChannelName),
    /// The caller's fault: a weaker cipher for what must stay secret for long, or move devices.
    #[error("the channel {channel} carries {}: choose A256GCM", data_word(*data_type))]
    Algorithm {
        /// The channel.
        channel: ChannelName,
        /// What it carries.
        data_type: DataType,
    },
    /// The caller's fault: a log that the bridge keeps of messages that it may never get.
    #[error("the channel {0} is kept, and yet its messages may be lost: choose QoS 1, or do not keep it")]
    DurableButLossy(ChannelName),
}

const fn trust_word(trust: TrustLevel) -> &'static str {
    match trust {
        TrustLevel::Reduced => "reduced",
        TrustLevel::Full => "full",
    }
}

const fn data_word(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Alarm => "alarms",
        DataType::Therapy => "therapy events",
        DataType::Command => "orders",
        DataType::Telemetry => "measurements",
        DataType::Log => "the technical log",
        DataType::Update => "updates",
    }
}

/// Rows that hold together, by falling priority, then by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Channel>", into = "Vec<Channel>")]
pub struct ChannelPolicy(Vec<Channel>);

impl Default for ChannelPolicy {
    /// What a new site begins with.
    fn default() -> Self {
        Self(sorted(default_channels()))
    }
}

impl TryFrom<Vec<Channel>> for ChannelPolicy {
    type Error = PolicyError;
    fn try_from(rows: Vec<Channel>) -> Result<Self, PolicyError> {
        Self::new(rows)
    }
}

impl From<ChannelPolicy> for Vec<Channel> {
    fn from(policy: ChannelPolicy) -> Self {
        policy.0
    }
}

impl ChannelPolicy {
    /// Takes rows that hold together.
    pub fn new(rows: Vec<Channel>) -> Result<Self, PolicyError> {
        if !(1..=MAX_CHANNELS_PER_DEVICE).contains(&rows.len()) {
            return Err(PolicyError::Count(rows.len()));
        }
        let mut names = BTreeSet::new();
        for row in &rows {
            if !names.insert(&row.name) {
                return Err(PolicyError::NameTwice(row.name.clone()));
            }
            check_row(row)?;
        }
        let policy = Self(sorted(rows));
        policy.check_coverage()?;
        Ok(policy)
    }

    /// The rows, by falling priority, then by name.
    pub fn rows(&self) -> &[Channel] {
        &self.0
    }

    /// The row of that name.
    pub fn row(&self, name: &ChannelName) -> Option<&Channel> {
        self.0.iter().find(|row| row.name == *name)
    }

    /// The rows that a device of this trust has, by falling priority, then by name.
    pub fn rows_for(&self, trust: TrustLevel) -> impl Iterator<Item = &Channel> + Clone {
        self.0.iter().filter(move |row| row.trust <= trust)
    }

    /// The channel of a message of a device of this trust ([`channel::select`]).
    pub fn select(&self, trust: TrustLevel, data_type: DataType, priority: Priority) -> Option<&Channel> {
        channel::select(self.rows_for(trust), data_type, priority)
    }

    fn check_coverage(&self) -> Result<(), PolicyError> {
        for trust in TRUST_LEVELS {
            let carried = |data_type| self.rows_for(trust).any(|row| row.data_types.contains(&data_type));
            if !carried(DataType::Alarm) {
                return Err(PolicyError::NoAlarms(trust));
            }
            // A device that nobody verified may be left without orders: nobody has to rely on who it is.
            let needed = |data_type: &DataType| trust == TrustLevel::Full || *data_type != DataType::Command;
            if let Some(data_type) = DATA_TYPES.into_iter().filter(needed).find(|data_type| !carried(*data_type)) {
                return Err(PolicyError::NotCarried { data_type, trust });
            }
        }
        Ok(())
    }
}

fn sorted(mut rows: Vec<Channel>) -> Vec<Channel> {
    rows.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    rows
}

fn check_row(row: &Channel) -> Result<(), PolicyError> {
    let name = || row.name.clone();
    if row.data_types.is_empty() {
        return Err(PolicyError::NoData(name()));
    }
    if row.data_types.iter().collect::<BTreeSet<_>>().len() != row.data_types.len() {
        return Err(PolicyError::DataTwice(name()));
    }
    if !(MIN_ROTATION_SECS..=MAX_ROTATION_SECS).contains(&row.rotation_secs) {
        return Err(PolicyError::Rotation { channel: name(), seconds: row.rotation_secs });
    }
    let lossy = row.qos == Qos::AtMostOnce;
    let open_to_forgery = row.scope == KeyScope::Class && !row.signed;
    let carries = |data_type| row.data_types.contains(&data_type);
    if carries(DataType::Alarm) && lossy {
        return Err(PolicyError::AlarmsMayBeLost(name()));
    }
    if carries(DataType::Alarm) && open_to_forgery {
        return Err(PolicyError::AlarmsUnsigned(name()));
    }
    if carries(DataType::Command) && lossy {
        return Err(PolicyError::OrdersMayBeLost(name()));
    }
    if carries(DataType::Command) && open_to_forgery {
        return Err(PolicyError::OrdersUnsigned(name()));
    }
    let strong = [DataType::Alarm, DataType::Therapy, DataType::Command, DataType::Update];
    if row.algorithm == ContentAlgorithm::A128GCM
        && let Some(data_type) = strong.into_iter().find(|data_type| carries(*data_type))
    {
        return Err(PolicyError::Algorithm { channel: name(), data_type });
    }
    if row.durable && lossy {
        return Err(PolicyError::DurableButLossy(name()));
    }
    Ok(())
}

/// The classes of a population, each once.
fn classes_of(population: &[Population]) -> BTreeSet<ClientClass> {
    population.iter().map(|group| group.client.clone()).collect()
}

#[cfg(test)]
mod tests;

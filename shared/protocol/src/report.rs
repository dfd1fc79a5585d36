//! What a device reports on its second channels, before it is encrypted. CBOR; quantities are whole numbers in the unit
//! that the field's name says.

use crate::channel::{DataType, Priority};
use crate::order::{OrderOutcome, RefusedMessage};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// When the device measured it, by its own clock.
    pub measured_at: UnixMillis,
    /// What it says.
    pub content: Content,
}

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A measurement.
    Telemetry(Telemetry),
    /// Something happened to the infusion.
    Therapy(Therapy),
    /// An alarm began or ended.
    Alarm(Alarm),
    /// How an order went.
    Order(OrderOutcome),
    /// A message to the device does not count.
    RefusedMessage(RefusedMessage),
}

impl Content {
    /// The kind of data, by which the control unit chose the channel.
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Telemetry(_) => DataType::Telemetry,
            Self::Therapy(_) => DataType::Therapy,
            Self::Alarm(_) => DataType::Alarm,
            Self::Order(_) | Self::RefusedMessage(_) => DataType::Command,
        }
    }

    /// How urgent it is: an alarm as urgent as it says.
    pub const fn priority(&self) -> Priority {
        match self {
            Self::Telemetry(_) => Priority::Low,
            Self::Therapy(_) => Priority::Medium,
            Self::Order(_) | Self::RefusedMessage(_) => Priority::High,
            Self::Alarm(alarm) => match alarm.priority {
                AlarmPriority::Low => Priority::Low,
                AlarmPriority::Medium => Priority::Medium,
                AlarmPriority::High => Priority::High,
            },
        }
    }
}

/// A measurement of an infusion pump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The present rate, microlitres per hour.
    pub rate_ul_per_h: u32,
    /// Infused since the start, microlitres.
    pub infused_ul: u32,
    /// Left to infuse, microlitres.
    pub remaining_ul: u32,
    /// Pressure in the line, millimetres of mercury.
    pub pressure_mmhg: u16,
    /// The battery's charge, per cent.
    pub battery_percent: u8,
}

/// An event of the therapy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Therapy {
    /// What happened.
    pub event: TherapyEvent,
    /// The drug, as the pump's drug library names it.
    pub drug: String,
    /// The set rate, microlitres per hour.
    pub rate_ul_per_h: u32,
    /// The volume to be infused, microlitres.
    pub volume_ul: u32,
}

/// What happened to the infusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TherapyEvent {
    /// It was started.
    Started,
    /// Its rate was changed.
    RateChanged,
    /// It was paused.
    Paused,
    /// It went on.
    Resumed,
    /// It is complete.
    Completed,
}

/// How urgent an alarm is (IEC 60601-1-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmPriority {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Its kind.
    pub kind: AlarmKind,
    /// How urgent it is.
    pub priority: AlarmPriority,
    /// Whether it is active; false: it ended.
    pub active: bool,
}

/// What an infusion pump alarms for (IEC 60601-2-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The line downstream is blocked.
    DownstreamOcclusion,
    /// Air in the line.
    AirInLine,
    /// The container is nearly empty.
    NearEnd,
    /// The battery is low.
    BatteryLow,
    /// The door is open.
    DoorOpen,
}

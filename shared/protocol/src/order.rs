//! Orders to one device, and what it says of them (`docs/protocol.md`, "Orders"). None of them changes a therapy.
//!
//! An order has an id, which its giver draws, and an end; it is carried out once at most, and not after its end.

use crate::bytes::fixed_bytes;
use crate::channel::ChannelName;
use crate::identity::KeyFingerprint;
use crate::limits::{MAX_INTERVAL_SECS, MAX_NOTE_BYTES, MAX_ORDER_LIFETIME, MIN_INTERVAL_SECS};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

fixed_bytes! {
    /// One order among those of its giver: 16 random bytes.
    OrderId, 16
}

/// An order, as it stands inside its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which order.
    pub id: OrderId,
    /// When it was given.
    pub given_at: UnixMillis,
    /// From then on it is not carried out.
    pub expires_at: UnixMillis,
    /// What is to be done.
    pub task: Task,
}

/// What a device can be told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Show these words to the staff, for some minutes.
    ShowMessage {
        /// The words: 1 to [`MAX_NOTE_BYTES`], without control characters.
        text: String,
    },
    /// Report now what is measured, and the active alarms.
    ReportNow,
    /// Pause the tone of the active alarms for two minutes (IEC 60601-1-8: audio paused). They stay on the display.
    PauseAlarmTone,
    /// Measure and report at this interval from now on.
    SetInterval {
        /// [`MIN_INTERVAL_SECS`] to [`MAX_INTERVAL_SECS`].
        seconds: u32,
    },
}

/// Why something is no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// The caller's fault: words that no display shows.
    #[error("a message has 1 to {MAX_NOTE_BYTES} bytes, without control characters")]
    Text,
    /// The caller's fault: an interval that no device keeps.
    #[error("an interval has {MIN_INTERVAL_SECS} to {MAX_INTERVAL_SECS} seconds")]
    Interval,
    /// The caller's fault: an end before the beginning, or too far away.
    #[error("an order ends after it was given, and at most {} hours after", MAX_ORDER_LIFETIME.as_secs() / 3600)]
    Lifetime,
}

impl Task {
    /// Checks its limits.
    pub fn check(&self) -> Result<(), InvalidOrder> {
        match self {
            Self::ShowMessage { text } => {
                let fits = (1..=MAX_NOTE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
                if fits { Ok(()) } else { Err(InvalidOrder::Text) }
            }
            Self::SetInterval { seconds } => {
                let fits = (MIN_INTERVAL_SECS..=MAX_INTERVAL_SECS).contains(seconds);
                if fits { Ok(()) } else { Err(InvalidOrder::Interval) }
            }
            Self::ReportNow | Self::PauseAlarmTone => Ok(()),
        }
    }

    /// The kind in a word, for logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ShowMessage { .. } => "show-message",
            Self::ReportNow => "report-now",
            Self::PauseAlarmTone => "pause-alarm-tone",
            Self::SetInterval { .. } => "set-interval",
        }
    }
}

impl Order {
    /// Checks its limits.
    pub fn check(&self) -> Result<(), InvalidOrder> {
        let lives = self.given_at < self.expires_at && self.expires_at <= self.given_at.after(MAX_ORDER_LIFETIME);
        if !lives {
            return Err(InvalidOrder::Lifetime);
        }
        self.task.check()
    }
}

/// Who gave an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Giver {
    /// The control unit, for a person.
    ControlUnit,
    /// The service with this static key.
    Service(KeyFingerprint),
}

/// Why a device does not carry out an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderRefusal {
    /// No alarm is active.
    NoAlarm,
    /// A value is out of its range.
    OutOfRange,
    /// It remembers as many orders as it can.
    Busy,
    /// It lost power after it had taken the order: it may have been carried out, and is not carried out again.
    Interrupted,
}

/// How an order went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderResult {
    /// The device has it, stored durably, and carries it out.
    Taken,
    /// It was carried out.
    Done,
    /// It came too late, and was not carried out.
    Expired,
    /// It was not carried out.
    Refused(OrderRefusal),
}

/// What a device says of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderOutcome {
    /// Which order.
    pub order: OrderId,
    /// Of those of this giver.
    pub giver: Giver,
    /// How it went.
    pub result: OrderResult,
}

/// Why a message to a device does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotTaken {
    /// It has counted already.
    Replayed,
    /// It is beyond the window of what can be told apart.
    TooOld,
    /// Its sender has begun a later run.
    EarlierRun,
    /// Not on a channel of the device for orders.
    Topic,
    /// The stamp names nobody who may send it, or another one than its signature.
    Sender,
    /// Under a key that the device does not have for this channel.
    UnknownKey,
    /// Under an epoch that has ended.
    OldEpoch,
    /// The stamp contradicts the time, or is missing.
    Stamp,
    /// Not signed as the channel asks.
    Unsigned,
    /// It does not open: changed, or for another topic.
    Altered,
    /// It opens, and is no order.
    NoOrder,
}

/// What a device says of a message to it that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedMessage {
    /// The channel on which it came.
    pub channel: ChannelName,
    /// The bridge's number for it within the topic; 0 where it had none.
    pub sequence: u64,
    /// Why.
    pub reason: NotTaken,
}

#[cfg(test)]
mod tests;

//! What is asked of the object that holds stored data.

use crate::body::Body;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_protocol::api::{ConcedeGap, Person, RecordsSettings, RulesChange};
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier, UnixMillis};

/// What is asked of the object that holds stored data.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordsRequest {
    /// A person acts. Answer: JSON as the web API gives it.
    Act(Person, RecordsCommand),
    /// A gateway, or a device that speaks for itself, brings a signed batch. Answer: [`Deposited`].
    Take(Device, ByteBuf),
    /// A gateway's session stands. Answer: what it has yet to be asked for, a list of [`Wanted`].
    Wanted(Device),
    /// A service that the site has let in asks for what comes after a position. Answer: a `Fed` as bytes.
    Feed {
        /// Which service.
        service: DeviceIdentifier,
        /// The position that it has come to.
        after: u64,
        /// Of which classes it may have data.
        classes: Vec<ClientClass>,
    },
    /// A gateway was asked, over its session, for what has these numbers. Answer: nothing.
    Told(Vec<u64>),
}

/// What a gateway has yet to be asked for.
#[derive(Serialize, Deserialize)]
pub struct Wanted {
    /// Which request: a number that is never given again.
    pub number: u64,
    /// Whose data; none: everything.
    pub of: Option<Device>,
}

/// What became of a batch.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deposited {
    /// It is stored: the receipt, as the control unit signed it.
    Stored(ByteBuf),
    /// It was refused.
    Refused(SessionRefusal),
}

/// What a person asks of stored data.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordsCommand {
    /// Shows what has arrived, of the devices after this one; without one, also what waits and was refused.
    Overview(Option<Device>),
    /// Shows through which gateways it has come.
    Gateways,
    /// Says when the server asks by itself.
    SetSettings(Body<RecordsSettings>),
    /// Asks for a device's data now.
    AskDevice(Device),
    /// Asks for everything that a gateway holds.
    AskGateway(Device),
    /// Says that missing records do not come.
    Concede(Device, Body<ConcedeGap>),
    /// Shows what of a device is stored.
    Show(Device),
    /// Plots one series.
    Plot {
        /// Whose.
        device: Device,
        /// Which.
        series: String,
        /// From when on.
        from: UnixMillis,
        /// Before when.
        until: UnixMillis,
    },
    /// Gives a page of what counts.
    Values {
        /// Whose.
        device: Device,
        /// Only this series; all where it is empty.
        series: String,
        /// Only after this position.
        after: u64,
    },
    /// Shows the rules.
    Rules,
    /// Changes the rules.
    SetRules(Body<RulesChange>),
    /// Lists flags.
    Flags {
        /// Only of this device.
        device: Option<Device>,
        /// Only those that nobody has acknowledged, and no late record has disproved.
        open: bool,
        /// Only before this one.
        before: Option<u64>,
    },
    /// Acknowledges a flag.
    Acknowledge(u64),
}

impl RecordsCommand {
    /// Whether nothing is written, asked or noted for it.
    pub const fn only_shows(&self) -> bool {
        match self {
            Self::Overview(_)
            | Self::Gateways
            | Self::Show(_)
            | Self::Plot { .. }
            | Self::Rules
            | Self::Flags { .. } => true,
            Self::SetSettings(_)
            | Self::AskDevice(_)
            | Self::AskGateway(_)
            | Self::Concede(..)
            | Self::Values { .. }
            | Self::SetRules(_)
            | Self::Acknowledge(_) => false,
        }
    }
}

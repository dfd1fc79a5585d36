//! What a pump says of itself to other programs: with `--json` one line for each event.

use crate::display::Update;
use serde::Serialize;
use wardlink_protocol::channel::{ChannelName, DataType};
use wardlink_protocol::identity::{CertificateSerial, SessionId};
use wardlink_protocol::order::{OrderId, OrderOutcome, RefusedMessage};
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::metadata::TargetPath;
use wardlink_update::package::Revision;
use wardlink_update::uptane::Outcome;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When.
    pub at: UnixMillis,
    /// To which pump.
    #[serde(serialize_with = "as_text")]
    pub device: Device,
    /// What its screen shows then: a phase's name.
    pub state: &'static str,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The pump runs.
    Starting,
    /// It is connected, and both sides have proved who they are.
    Connected,
    /// Its request is stored at the bridge.
    Requested {
        /// The pairing session.
        session: SessionId,
    },
    /// The command came: a person has accepted the pump.
    Accepted {
        /// The pairing session.
        session: SessionId,
    },
    /// It shows what a person is to carry to the control unit.
    Code {
        /// The digits, in groups of four.
        code: Option<String>,
        /// What the QR code says.
        link: Option<String>,
    },
    /// Its answer to the command is stored at the bridge.
    Verified,
    /// Without CertCA: the control unit has verified the pump, and shows the answer that a person is to enter.
    Answer {
        /// Tries that are left.
        tries_left: u32,
    },
    /// The confirmation came, and is stored.
    Confirmed,
    /// It is paired.
    Paired {
        /// Its channels.
        channels: Vec<ChannelName>,
    },
    /// The control unit refused it.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// What the person wrote.
        note: String,
    },
    /// It uses a new epoch of a channel's key, which is stored.
    KeyUpdated {
        /// The channel.
        channel: ChannelName,
        /// The epoch.
        epoch: u64,
    },
    /// It has a channel no longer.
    ChannelWithdrawn {
        /// The channel.
        channel: ChannelName,
    },
    /// It has a new certificate, and the old one has ended.
    Renewed {
        /// The new certificate's serial number.
        serial: CertificateSerial,
        /// When it ends.
        ends_at: UnixMillis,
    },
    /// It runs this image now.
    Booted {
        /// Its revision.
        revision: Revision,
    },
    /// An update stands otherwise than before.
    Updating {
        /// How.
        update: Update,
    },
    /// Something has come of an update.
    Update {
        /// The package, where one was found.
        path: Option<TargetPath>,
        /// What.
        outcome: Outcome,
    },
    /// It wiped itself on an order, and its receipt is delivered.
    Decommissioned,
    /// Its stored data is elsewhere: a gateway has stored a batch, or the server has and it is deleted here.
    Handed {
        /// Whether the server has it.
        is_at_server: bool,
        /// How many records are still stored here.
        records: u64,
    },
    /// It sent a report.
    Sent {
        /// On which channel.
        channel: ChannelName,
        /// What kind of data.
        data: DataType,
    },
    /// It has stored that it took an order, and carries it out.
    OrderTaken {
        /// Which order.
        order: OrderId,
        /// What is to be done, in a word.
        task: &'static str,
    },
    /// How an order went, or how it stands when it comes again.
    OrderSettled(OrderOutcome),
    /// A message to it does not count.
    MessageRefused(RefusedMessage),
    /// The connection is gone, or was not made.
    Disconnected {
        /// Why.
        reason: String,
        /// When it is tried again, in milliseconds.
        again_in_ms: u64,
    },
    /// Something went wrong.
    Error {
        /// What, and what to do.
        message: String,
    },
}

fn as_text<S: serde::Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_says_what_when_who_and_in_which_state() {
        let entry = Entry {
            event: Event::Refused { reason: RefusalReason::WrongCode, note: "no \"joke\"".into() },
            at: UnixMillis(5),
            device: "infusion-pump/pump-1".parse().unwrap(),
            state: "refused",
        };
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            r#"{"event":"refused","reason":"wrong_code","note":"no \"joke\"","at":5,"device":"infusion-pump/pump-1","state":"refused"}"#
        );
    }
}

//! What a service prints: one line for each event.

use crate::printable::printable;
use data_encoding::HEXLOWER;
use pkcs8::der::DateTime;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::CertificateSerial;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::order::{OrderId, OrderRefusal, OrderResult};
use wardlink_protocol::report::Report;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::TopicFilter;
use wardlink_protocol::{Device, DeviceIdentifier, UnixMillis, cbor};
use wardlink_trust::Opened;

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The service has its certificate.
    Enrolled {
        /// Its name.
        service: DeviceIdentifier,
        /// The certificate's serial number.
        certificate: CertificateSerial,
        /// When it ends.
        ends_at: UnixMillis,
    },
    /// It has a new certificate.
    Renewed {
        /// Its name.
        service: DeviceIdentifier,
        /// The certificate's serial number.
        certificate: CertificateSerial,
        /// When it ends.
        ends_at: UnixMillis,
    },
    /// It is connected, and both sides have proved who they are.
    Connected {
        /// Its name.
        service: DeviceIdentifier,
    },
    /// A subscription holds.
    Subscribed {
        /// The filter.
        filter: TopicFilter,
    },
    /// The bridge does not allow a subscription; it is asked again.
    SubscriptionRefused {
        /// The filter.
        filter: TopicFilter,
    },
    /// A message that counts.
    Message {
        /// The channel.
        channel: ChannelName,
        /// The device that sent it.
        #[serde(serialize_with = "as_text")]
        device: Device,
        /// When the bridge accepted it.
        accepted_at: UnixMillis,
        /// Its number within the topic.
        sequence: u64,
        /// Whether the device signed it; otherwise only the bridge says who sent it.
        signed: bool,
        /// How many messages before it are missing so far.
        missing: u64,
        /// What it says, where it is a report.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<Report>,
        /// What it says otherwise, in hexadecimal.
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
    },
    /// A message that does not count.
    Refused {
        /// The topic.
        topic: String,
        /// Its number within the topic.
        sequence: Option<u64>,
        /// Why.
        reason: String,
    },
    /// An order is stored at the bridge, for a device that listens or will.
    Sent {
        /// Which order.
        order: OrderId,
        /// To whom.
        device: Device,
        /// What is to be done, in a word.
        task: &'static str,
        /// From then on it is not carried out.
        expires_at: UnixMillis,
    },
    /// The device does not listen for orders now. The order is sent again.
    NobodyListens {
        /// Which order.
        order: OrderId,
        /// To whom.
        device: Device,
    },
    /// What the device says of the order.
    Outcome {
        /// Which order.
        order: OrderId,
        /// How it went.
        result: OrderResult,
    },
    /// Stored data is committed in the outside database.
    Forwarded {
        /// How many records.
        records: usize,
        /// The position up to which that is all.
        through: u64,
        /// How many are still to come.
        behind: u64,
    },
    /// The server has fewer records than the outside database was sent: it was restored from an older state.
    SetBack {
        /// The position that the database had.
        from: u64,
        /// The server's last one, after which it goes on.
        to: u64,
    },
    /// The connection is gone, or was not made.
    Disconnected {
        /// Why.
        reason: String,
        /// When it is tried again, in milliseconds.
        again_in_ms: u64,
    },
}

fn as_text<S: serde::Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}

impl Event {
    pub(crate) fn message(channel: ChannelName, device: Device, message: &StampedMessage, opened: &Opened) -> Self {
        let report: Option<Report> = cbor::decode(&opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES).ok();
        let content = report.is_none().then(|| HEXLOWER.encode(&opened.plaintext));
        Self::Message {
            channel,
            device,
            accepted_at: message.accepted_at,
            sequence: message.sequence,
            signed: opened.signed,
            missing: opened.missing,
            report,
            content,
        }
    }

    pub(crate) fn refused(topic: &str, sequence: Option<u64>, reason: &impl ToString) -> Self {
        Self::Refused { topic: topic.to_owned(), sequence, reason: reason.to_string() }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrolled { service, certificate, ends_at } => {
                write!(f, "{service} is enrolled: certificate {certificate}, until {}", time(*ends_at))
            }
            Self::Renewed { service, certificate, ends_at } => {
                write!(f, "{service} has a new certificate: {certificate}, until {}", time(*ends_at))
            }
            Self::Connected { service } => write!(f, "connected as {service}"),
            Self::Subscribed { filter } => write!(f, "reads {filter}"),
            Self::SubscriptionRefused { filter } => write!(f, "may not read {filter}"),
            Self::Message { channel, device, accepted_at, sequence, signed, missing, report, content } => {
                write!(f, "{} {device} {channel} {sequence}", time(*accepted_at))?;
                if !signed {
                    f.write_str(" (unsigned)")?;
                }
                if *missing > 0 {
                    write!(f, " ({missing} before it are missing)")?;
                }
                let report = report.as_ref().and_then(|report| serde_json::to_string(&report.content).ok());
                write!(f, " {}", report.as_deref().or(content.as_deref()).unwrap_or_default())
            }
            Self::Refused { topic, sequence, reason } => {
                write!(f, "REFUSED {topic} {}: {reason}", sequence.unwrap_or_default())
            }
            Self::Sent { order, device, task, expires_at } => {
                write!(f, "{task} for {device} is on its way: order {order}, until {}", time(*expires_at))
            }
            Self::NobodyListens { device, .. } => write!(f, "{device} does not listen for orders now"),
            Self::Outcome { result, .. } => match result {
                OrderResult::Taken => f.write_str("the device has it"),
                OrderResult::Done => f.write_str("done"),
                OrderResult::Expired => f.write_str("expired: it came too late, and was not carried out"),
                OrderResult::Refused(OrderRefusal::NoAlarm) => f.write_str("refused: no alarm is active"),
                OrderResult::Refused(OrderRefusal::OutOfRange) => f.write_str("refused: a value is out of its range"),
                OrderResult::Refused(OrderRefusal::Busy) => f.write_str("refused: the device has too many orders"),
                OrderResult::Refused(OrderRefusal::Interrupted) => {
                    f.write_str("refused: the device lost power meanwhile; look at it before you send it again")
                }
            },
            Self::Forwarded { records, through, behind } => {
                write!(f, "{records} records are in the database, up to position {through}; {behind} are to come")
            }
            Self::SetBack { from, to } => write!(
                f,
                "the server has records up to position {to} only, and the database came to {from}: the server was restored from an older state; what comes after {to} is sent on, and no record is there twice"
            ),
            Self::Disconnected { reason, again_in_ms } => write!(f, "{reason}; again in {again_in_ms} ms"),
        }
    }
}

fn time(at: UnixMillis) -> String {
    DateTime::from_unix_duration(Duration::from_secs(at.as_secs()))
        .map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

/// Prints events, until the pipe is closed.
pub struct Printer {
    format: Format,
    open: bool,
}

impl Printer {
    /// Prints in this format.
    pub const fn new(format: Format) -> Self {
        Self { format, open: true }
    }

    /// Whether somebody still reads.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn print(&mut self, event: &Event) {
        let line = match self.format {
            Format::Text => printable(&event.to_string()),
            Format::Json => serde_json::to_string(event).unwrap_or_default(),
        };
        let mut out = io::stdout().lock();
        self.open = self.open && writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use wardlink_protocol::report::{Content, Therapy, TherapyEvent};

    fn message(drug: &str) -> Event {
        let therapy = Therapy { event: TherapyEvent::Started, drug: drug.to_owned(), rate_ul_per_h: 1, volume_ul: 2 };
        Event::Message {
            channel: "therapy".parse().unwrap(),
            device: "infusion-pump/ip-1".parse().unwrap(),
            accepted_at: UnixMillis::from_secs(1_800_000_000),
            sequence: 7,
            signed: false,
            missing: 2,
            report: Some(Report { measured_at: UnixMillis(5), content: Content::Therapy(therapy) }),
            content: None,
        }
    }

    #[test]
    fn a_message_is_one_line_for_people_or_programs() {
        assert_eq!(
            message("NaCl").to_string(),
            "2027-01-15T08:00:00Z infusion-pump/ip-1 therapy 7 (unsigned) (2 before it are missing) \
             {\"therapy\":{\"event\":\"started\",\"drug\":\"NaCl\",\"rate_ul_per_h\":1,\"volume_ul\":2}}"
        );
        assert_eq!(
            serde_json::to_value(message("NaCl")).unwrap(),
            serde_json::json!({
                "event": "message", "channel": "therapy", "device": "infusion-pump/ip-1", "accepted_at": 1_800_000_000_000_u64,
                "sequence": 7, "signed": false, "missing": 2,
                "report": {
                    "measured_at": 5,
                    "content": {"therapy": {"event": "started", "drug": "NaCl", "rate_ul_per_h": 1, "volume_ul": 2}},
                },
            })
        );
    }

    #[test]
    fn what_a_device_says_stays_on_its_line() {
        assert!(!message("a\nREFUSED").to_string().contains('\n'));
        assert!(!serde_json::to_string(&message("a\nREFUSED")).unwrap().contains('\n'));
    }
}

//! The second channels: what devices send is opened here, for people who may see it, and what services send to devices is noted.

use super::{Outcome, Site, channels, devices, keys, orders};
use wardlink_crypto::x509::Certificate;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::api::{LiveData, LiveEvent};
use wardlink_protocol::channel::{Channel, ChannelName};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, cbor};
use wardlink_trust::inbox::{self, KnownSender, Refused};
use wardlink_trust::{OpenError, Receiver};

/// Why a message on a second channel does not count.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    /// The peer's fault: not the topic of a second channel, up.
    #[error("the topic is no second channel")]
    Topic,
    /// The peer's fault: the topic names a device that is not paired.
    #[error("the topic names a device that is not paired")]
    Stranger,
    /// The peer's fault: it is not its publisher's, or not under a key that counts, or does not open.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The peer's fault: it is no report.
    #[error("it is no report: {0}")]
    Report(#[from] cbor::CborError),
    /// The peer's fault: this kind of data belongs on another channel.
    #[error("this kind of data does not belong on the channel")]
    DataType,
    /// Our fault.
    #[error("internal")]
    Internal(Failure),
}

impl From<Failure> for NotTaken {
    fn from(failure: Failure) -> Self {
        Self::Internal(failure)
    }
}

/// Opens a message, and stores what it says. One that does not count is dropped, and logged.
pub(super) fn take(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<(), Failure> {
    let database = site.database;
    if matches!(message.topic.parse(), Ok(Topic::Control(..))) {
        return orders::take(site, message, outcome);
    }
    match open(site, message) {
        Ok(data) => {
            devices::note_seen(database, &data.device, data.accepted_at)?;
            match &data.report.content {
                Content::Order(said) => return orders::take_outcome(site, &data.device, said, outcome),
                Content::RefusedMessage(said) => return orders::take_refusal(site, &data.device, said, outcome),
                Content::Telemetry(_) | Content::Therapy(_) | Content::Alarm(_) => {}
            }
            devices::put_latest(database, &data)?;
            outcome.people.push(LiveEvent::Data { data: Box::new(data) });
            Ok(())
        }
        Err(NotTaken::Internal(failure)) => Err(failure),
        // The same message again: delivery is at least once.
        Err(NotTaken::Refused(Refused::Open(OpenError::Replay(_)))) => Ok(()),
        Err(refusal) => {
            log!("site: message {} on {} does not count: {refusal}", message.sequence, message.topic);
            Ok(())
        }
    }
}

fn open(site: &Site<'_>, message: &StampedMessage) -> Result<LiveData, NotTaken> {
    let database = site.database;
    let topic: Topic = message.topic.parse().map_err(|_| NotTaken::Topic)?;
    let Topic::Data(channel, device) = &topic else { return Err(NotTaken::Topic) };
    let known = devices::find(database, device)?.ok_or(NotTaken::Stranger)?;
    let certificate = Certificate::parse(&known.certificate).map_err(|_| NotTaken::Stranger)?;
    let trusted = known.state == DeviceState::Paired;
    let sender = KnownSender { device, key: certificate.key(), trusted };
    let lines = keys::lines(site, channel, device)?;
    let mut receiver = receiver(database, channel, device)?;
    let opened = inbox::open(&mut receiver, &lines, sender, message, site.now)?;
    put_receiver(database, channel, device, &receiver)?;
    let report: Report = cbor::decode(&opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES)?;
    let carries = |row: &Channel| row.data_types.contains(&report.content.data_type());
    if !channels::policy(database)?.row(channel).is_some_and(carries) {
        return Err(NotTaken::DataType);
    }
    Ok(LiveData {
        device: device.clone(),
        channel: channel.clone(),
        report,
        accepted_at: message.accepted_at,
        sequence: message.sequence,
        signed: opened.signed,
    })
}

fn receiver(database: &Database, channel: &ChannelName, device: &Device) -> Result<Receiver, Failure> {
    let [client, identifier] = devices::names(device);
    let query = "SELECT state FROM receivers WHERE client = ? AND identifier = ? AND channel = ?";
    let row = database.row(query, [client, identifier, channel.to_string().into_value()])?;
    row.map_or_else(|| Ok(Receiver::default()), |mut row| row.take_record())
}

fn put_receiver(
    database: &Database,
    channel: &ChannelName,
    device: &Device,
    receiver: &Receiver,
) -> Result<(), Failure> {
    let [client, identifier] = devices::names(device);
    database.run(
        "INSERT OR REPLACE INTO receivers (client, identifier, channel, state) VALUES (?, ?, ?, ?)",
        [client, identifier, channel.to_string().into_value(), record(receiver)?],
    )
}

/// Begins anew with a device that was paired with a new key: its boot numbers may, too.
pub(super) fn forget_receivers(database: &Database, device: &Device) -> Result<(), Failure> {
    database.run("DELETE FROM receivers WHERE client = ? AND identifier = ?", devices::names(device))
}

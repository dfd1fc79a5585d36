//! What a paired pump sends: measurements, events and alarms of its infusion, each on the channel that carries its kind of data.

use super::journal::Event;
use super::{Pump, PumpError};
use crate::clock;
use crate::display;
use crate::link::Ticket;
use crate::simulation::Infusion;
use crate::state::Record;
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::time::Duration;
use tokio::time::Instant;
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{self, Channel, ChannelKey, ChannelName, DataType, Qos};
use wardlink_protocol::limits::MAX_CLOCK_SKEW;
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::Sender;

/// How many reports wait for the bridge at most: some hours of an eventful infusion.
const MAX_KEPT: usize = 1_000;
/// How long delivered reports are kept: a key whose epoch was cut off arrives well before that, and they are sent again.
const KEPT_AFTER_DELIVERY: Duration = Duration::from_mins(15);
/// The pause before refused reports are sent again: right after the pairing the bridge may not know the new rights yet.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// What a pump has to say.
const DATA_TYPES: [DataType; 4] = [DataType::Alarm, DataType::Therapy, DataType::Telemetry, DataType::Command];

/// A running infusion and the channels that it is told on.
pub(super) struct Reporter {
    infusion: Infusion,
    outlets: Vec<Outlet>,
    kept: Vec<Kept>,
}

/// A channel, opened for this connection.
struct Outlet {
    channel: Channel,
    sender: Sender,
}

/// A protected report that the bridge has not stored yet, or not long ago.
#[derive(Serialize, Deserialize)]
struct Kept {
    topic: Topic,
    message: ByteBuf,
    /// What it says, to be protected anew under another epoch; none where an earlier version kept it.
    #[serde(default)]
    report: Option<Report>,
    /// When the bridge said that it stored it.
    #[serde(default)]
    delivered_at: Option<UnixMillis>,
    #[serde(skip)]
    ticket: Option<Ticket>,
}

impl Reporter {
    /// The infusion.
    pub(super) const fn infusion(&self) -> &Infusion {
        &self.infusion
    }
}

impl Outlet {
    /// Opens a channel, where it carries what a pump has to say.
    fn open(key: &ChannelKey, device: &Device, boot: u64) -> Result<Option<Self>, PumpError> {
        let channel = &key.channel;
        if !channel.data_types.iter().any(|data_type| DATA_TYPES.contains(data_type)) {
            return Ok(None);
        }
        let topic = Topic::Data(channel.name.clone(), device.clone());
        let sender = Sender::begin(key, topic, boot, &mut clock::rng())?;
        Ok(Some(Self { channel: channel.clone(), sender }))
    }
}

fn is_open(outlets: &[Outlet], channel: &ChannelName) -> bool {
    outlets.iter().any(|outlet| outlet.channel.name == *channel)
}

/// The channel of what is to be said, by its kind and how urgent it is.
fn outlet_for<'o>(outlets: &'o mut [Outlet], content: &Content) -> Option<&'o mut Outlet> {
    let channels = outlets.iter().map(|outlet| &outlet.channel);
    let name = channel::select(channels, content.data_type(), content.priority())?.name.clone();
    outlets.iter_mut().find(|outlet| outlet.channel.name == name)
}

impl Pump {
    /// Begins the infusion, with the reports that an earlier run could not deliver.
    pub(super) fn prepare_reporting(&mut self) -> Result<(), PumpError> {
        let infusion = Infusion::start(clock::rng().next_u64(), clock::now());
        let kept = self.state.read_value(Record::Outbox)?.unwrap_or_default();
        self.reporter = Some(Reporter { infusion, outlets: Vec::new(), kept });
        Ok(())
    }

    /// Opens the channels anew for this connection: no two share a key and a nonce, whatever happened before. What waits goes first.
    pub(super) fn begin_reporting(&mut self) -> Result<(), PumpError> {
        let channels = self.channels();
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let boot = self.state.next_boot()?;
        reporter.outlets.clear();
        for key in &channels {
            reporter.outlets.extend(Outlet::open(key, &self.settings.device, boot)?);
        }
        // However long the interval is, what is measured now is said at once.
        self.times.telemetry.reset_immediately();
        self.protect_anew()?;
        self.listen_for_orders()
    }

    /// Opens one channel anew under its new key.
    pub(super) fn reopen(&mut self, key: &ChannelKey) -> Result<(), PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let boot = self.state.next_boot()?;
        reporter.outlets.retain(|outlet| outlet.channel.name != key.channel.name);
        reporter.outlets.extend(Outlet::open(key, &self.settings.device, boot)?);
        self.protect_anew()?;
        self.listen_for_orders()
    }

    /// Ends a channel that the pump has no longer; what waits on it takes another one that carries its kind of data.
    pub(super) fn end_channel(&mut self, name: &ChannelName) -> Result<(), PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        reporter.outlets.retain(|outlet| outlet.channel.name != *name);
        self.protect_anew()
    }

    /// Protects anew what waits under a key or on a channel that does not count any more, and what was delivered when the key did not
    /// count: no alarm is lost, and one that comes twice says so by its time. Stored before it is sent. What no channel carries waits
    /// for one; what an earlier version kept without its content stays as it is.
    fn protect_anew(&mut self) -> Result<(), PumpError> {
        let stale = self.stale_channels();
        let Some(Reporter { outlets, kept, .. }) = &mut self.reporter else { return Ok(()) };
        let mut sent = Vec::new();
        for kept in kept {
            let Topic::Data(channel, _) = &kept.topic else { continue };
            let is_lost = match stale.get(channel) {
                Some(until) => kept.delivered_at.is_none_or(|at| at.after(MAX_CLOCK_SKEW) >= *until),
                None => kept.delivered_at.is_none() && !is_open(outlets, channel),
            };
            let Some(report) = kept.report.as_ref().filter(|_| is_lost) else { continue };
            let data = report.content.data_type();
            let Some(outlet) = outlet_for(outlets, &report.content) else { continue };
            kept.message = ByteBuf::from(outlet.sender.seal(&cbor::encode(report)?, &self.key)?);
            kept.topic = outlet.sender.topic().clone();
            (kept.delivered_at, kept.ticket) = (None, None);
            sent.push(Event::Sent { channel: outlet.channel.name.clone(), data });
        }
        if !sent.is_empty() {
            self.store_kept()?;
        }
        self.forget_stale_channels()?;
        self.send_waiting();
        for event in sent {
            self.tell(event);
        }
        Ok(())
    }

    /// Lets the infusion go on, and reports what happened and what is measured.
    pub(super) fn report(&mut self) -> Result<(), PumpError> {
        let now = clock::now();
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let mut contents = reporter.infusion.advance(now);
        let telemetry = reporter.infusion.telemetry();
        let infusion = display::Infusion {
            drug: reporter.infusion.drug().to_owned(),
            telemetry: telemetry.clone(),
            alarms: reporter.infusion.alarms(),
        };
        self.screen.send_modify(|screen| screen.infusion = Some(infusion));
        contents.push(Content::Telemetry(telemetry));
        for content in contents {
            self.send(&Report { measured_at: now, content })?;
        }
        Ok(())
    }

    /// What is measured now, and the active alarms: somebody asks for it.
    pub(super) fn report_state(&mut self) -> Result<(), PumpError> {
        let Some(reporter) = &self.reporter else { return Ok(()) };
        let alarms = reporter.infusion.alarms().into_iter().map(Content::Alarm);
        let contents: Vec<Content> = alarms.chain([Content::Telemetry(reporter.infusion.telemetry())]).collect();
        for content in contents {
            self.send(&Report { measured_at: clock::now(), content })?;
        }
        Ok(())
    }

    /// Whether an alarm is active.
    pub(super) fn has_alarms(&self) -> bool {
        self.reporter.as_ref().is_some_and(|reporter| !reporter.infusion.alarms().is_empty())
    }

    /// Protects a report and sends it on its channel; false where it could not be. Measurements without a connection are
    /// past when it returns; everything else waits for it, in memory where the disk has no room.
    pub(super) fn send(&mut self, report: &Report) -> Result<bool, PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(false) };
        let data = report.content.data_type();
        let Some(outlet) = outlet_for(&mut reporter.outlets, &report.content) else { return Ok(false) };
        let qos = outlet.channel.qos;
        let at_least_once = qos == Qos::AtLeastOnce;
        if !self.online && !at_least_once {
            return Ok(false);
        }
        let waiting = reporter.kept.iter().filter(|kept| kept.delivered_at.is_none()).count();
        if at_least_once && waiting >= MAX_KEPT {
            let message = format!("{MAX_KEPT} reports wait for the network; a report was lost");
            self.tell(Event::Error { message });
            return Ok(false);
        }
        let message = outlet.sender.seal(&cbor::encode(report)?, &self.key)?;
        let (topic, name) = (outlet.sender.topic().clone(), outlet.channel.name.clone());
        let link = self.link.as_mut().map(|(link, _)| link);
        let ticket = link.map(|link| link.publish(topic.clone(), message.clone(), qos));
        if at_least_once {
            reporter.kept.push(Kept {
                topic,
                message: ByteBuf::from(message),
                report: Some(report.clone()),
                delivered_at: None,
                ticket,
            });
            self.keep()?;
        }
        self.tell(Event::Sent { channel: name, data });
        Ok(true)
    }

    /// The bridge has stored a report.
    pub(super) fn report_delivered(&mut self, ticket: Ticket) -> Result<(), PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let now = clock::now();
        let Some(kept) = reporter.kept.iter_mut().find(|kept| kept.ticket == Some(ticket)) else { return Ok(()) };
        kept.ticket = None;
        kept.delivered_at = Some(now);
        let recent = |kept: &Kept| kept.delivered_at.is_none_or(|at| now.since(at) < KEPT_AFTER_DELIVERY);
        reporter.kept.retain(recent);
        let too_many = reporter.kept.len().saturating_sub(2 * MAX_KEPT);
        let mut dropped = 0;
        reporter.kept.retain(|kept| {
            let old = kept.delivered_at.is_some() && dropped < too_many;
            dropped += usize::from(old);
            !old
        });
        self.keep()
    }

    /// The bridge has refused a report: it is sent again in a moment.
    pub(super) fn report_refused(&mut self, ticket: Ticket) {
        let Some(reporter) = &mut self.reporter else { return };
        if let Some(kept) = reporter.kept.iter_mut().find(|kept| kept.ticket == Some(ticket)) {
            kept.ticket = None;
            self.times.reports.get_or_insert(Instant::now() + REFUSED_PAUSE);
        }
    }

    /// Hands to the link what waits and is not with it: what an earlier run left, what was refused, what was protected anew.
    pub(super) fn send_waiting(&mut self) {
        let (Some(reporter), Some((link, _))) = (&mut self.reporter, &mut self.link) else { return };
        let Reporter { outlets, kept, .. } = reporter;
        let waits = |kept: &&mut Kept| kept.ticket.is_none() && kept.delivered_at.is_none();
        let has_channel = |kept: &&mut Kept| matches!(&kept.topic, Topic::Data(name, _) if is_open(outlets, name));
        for kept in kept.iter_mut().filter(waits).filter(has_channel) {
            kept.ticket = Some(link.publish(kept.topic.clone(), kept.message.to_vec(), Qos::AtLeastOnce));
        }
    }

    /// The link that the reports are with has ended.
    pub(super) fn take_reports_back(&mut self) {
        for kept in self.reporter.iter_mut().flat_map(|reporter| &mut reporter.kept) {
            kept.ticket = None;
        }
    }

    /// Stores what waits, now or as soon as the disk has room: no alarm waits for that.
    fn keep(&mut self) -> Result<(), PumpError> {
        if self.waits_for_disk() {
            return Ok(());
        }
        self.store_kept().or_else(|error| self.wait_for_disk(error))
    }

    pub(super) fn store_kept(&self) -> Result<(), PumpError> {
        let Some(reporter) = &self.reporter else { return Ok(()) };
        Ok(self.state.write_value(Record::Outbox, &reporter.kept)?)
    }
}

#[cfg(test)]
mod tests;

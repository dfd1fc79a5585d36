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
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{ChannelName, DataType, Qos};
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::topic::Topic;
use wardlink_trust::Sender;

/// How many reports wait for the bridge at most: some hours of an eventful infusion.
const MAX_KEPT: usize = 1_000;
/// The pause before refused reports are sent again: right after the pairing the bridge may not know the new rights yet.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// What a pump has to say.
const DATA_TYPES: [DataType; 3] = [DataType::Alarm, DataType::Therapy, DataType::Telemetry];

/// A running infusion and the channels that it is told on.
pub(super) struct Reporter {
    infusion: Infusion,
    outlets: Vec<Outlet>,
    kept: Vec<Kept>,
}

/// A channel, opened for this connection.
struct Outlet {
    name: ChannelName,
    data_types: Vec<DataType>,
    qos: Qos,
    sender: Sender,
}

/// A protected report that the bridge has not stored yet.
#[derive(Serialize, Deserialize)]
struct Kept {
    topic: Topic,
    message: ByteBuf,
    #[serde(skip)]
    ticket: Option<Ticket>,
}

impl Pump {
    /// Begins the infusion. Reports that an earlier run could not deliver go first.
    pub(super) fn prepare_reporting(&mut self) -> Result<(), PumpError> {
        let infusion = Infusion::start(clock::rng().next_u64(), clock::now());
        let mut kept: Vec<Kept> = self.state.read_value(Record::Outbox)?.unwrap_or_default();
        if let Some((link, _)) = &mut self.link {
            for report in &mut kept {
                let message = report.message.to_vec();
                report.ticket = Some(link.publish(report.topic.clone(), message, Qos::AtLeastOnce));
            }
        }
        self.reporter = Some(Reporter { infusion, outlets: Vec::new(), kept });
        Ok(())
    }

    /// Opens the channels anew for this connection: no two share a key and a nonce, whatever happened before.
    pub(super) fn begin_reporting(&mut self) -> Result<(), PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let Some(pairing) = self.pairing.as_ref().and_then(DevicePairing::pairing) else { return Ok(()) };
        let boot = self.state.next_boot()?;
        reporter.outlets.clear();
        for key in &pairing.channels {
            let channel = &key.channel;
            if !channel.data_types.iter().any(|data_type| DATA_TYPES.contains(data_type)) {
                continue;
            }
            let topic = Topic::Data(channel.name.clone(), self.settings.device.clone());
            reporter.outlets.push(Outlet {
                name: channel.name.clone(),
                data_types: channel.data_types.clone(),
                qos: channel.qos,
                sender: Sender::begin(key, topic, boot, &mut clock::rng())?,
            });
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

    /// Protects a report and sends it on the first channel that carries its kind of data. Measurements without a connection are
    /// past when it returns; everything else waits for it.
    fn send(&mut self, report: &Report) -> Result<(), PumpError> {
        let (Some(reporter), Some((link, _))) = (&mut self.reporter, &mut self.link) else { return Ok(()) };
        let data = report.content.data_type();
        let Some(outlet) = reporter.outlets.iter_mut().find(|outlet| outlet.data_types.contains(&data)) else {
            return Ok(());
        };
        let at_least_once = outlet.qos == Qos::AtLeastOnce;
        if !self.online && !at_least_once {
            return Ok(());
        }
        if at_least_once && reporter.kept.len() >= MAX_KEPT {
            let message = format!("{MAX_KEPT} reports wait for the network; a report was lost");
            self.tell(Event::Error { message });
            return Ok(());
        }
        let message = outlet.sender.seal(&cbor::encode(report)?, &self.key)?;
        let (topic, name) = (outlet.sender.topic().clone(), outlet.name.clone());
        let ticket = link.publish(topic.clone(), message.clone(), outlet.qos);
        if at_least_once {
            reporter.kept.push(Kept { topic, message: ByteBuf::from(message), ticket: Some(ticket) });
            self.store_kept()?;
        }
        self.tell(Event::Sent { channel: name, data });
        Ok(())
    }

    /// The bridge has stored a report.
    pub(super) fn report_delivered(&mut self, ticket: Ticket) -> Result<(), PumpError> {
        let Some(reporter) = &mut self.reporter else { return Ok(()) };
        let before = reporter.kept.len();
        reporter.kept.retain(|kept| kept.ticket != Some(ticket));
        if reporter.kept.len() < before { self.store_kept() } else { Ok(()) }
    }

    /// The bridge has refused a report: it is sent again in a moment.
    pub(super) fn report_refused(&mut self, ticket: Ticket) {
        let Some(reporter) = &mut self.reporter else { return };
        if let Some(kept) = reporter.kept.iter_mut().find(|kept| kept.ticket == Some(ticket)) {
            kept.ticket = None;
            self.times.reports.get_or_insert(Instant::now() + REFUSED_PAUSE);
        }
    }

    pub(super) fn send_refused_again(&mut self) {
        let (Some(reporter), Some((link, _))) = (&mut self.reporter, &mut self.link) else { return };
        for kept in reporter.kept.iter_mut().filter(|kept| kept.ticket.is_none()) {
            kept.ticket = Some(link.publish(kept.topic.clone(), kept.message.to_vec(), Qos::AtLeastOnce));
        }
    }

    fn store_kept(&self) -> Result<(), PumpError> {
        let Some(reporter) = &self.reporter else { return Ok(()) };
        Ok(self.state.write_value(Record::Outbox, &reporter.kept)?)
    }
}

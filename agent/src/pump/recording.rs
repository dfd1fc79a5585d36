//! What a pump stores of its infusion, and hands over at its service port (Distribution, figures 7 and 13).

use super::journal::Event;
use super::reporting::Reporter;
use super::settings::Settings;
use super::software::Software;
use super::{Pump, PumpError};
use crate::clock;
use crate::device::disk::Folder;
use crate::device::handover::{Handover, Heard, PortWay, new_chain};
use crate::device::hub::TOLD;
use crate::device::records::{Recorded, Records, RecordsError};
use crate::mailbox::{Direction, Mailbox};
use crate::simulation::Infusion;
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wardlink_crypto::key::PrivateKey;
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::report::AlarmPriority;
use wardlink_records::chain::GAP;
use wardlink_records::decimal::Decimal;
use wardlink_records::record::{Answer, Content, Measure, Record, Response};
use wardlink_records::sending::Trigger;

/// Where stored data lies in a pump's state directory.
const FOLDER: &str = "records";
/// How often a pump looks at its port.
const LOOKED_AT: Duration = Duration::from_millis(250);
/// After how many records of measurements the patient answers.
const ANSWERS_EVERY: u64 = 30;

/// What a pump stores, and when.
pub(super) struct Recording {
    tick: Interval,
    record_at: Instant,
    every: Duration,
    port: Option<PortWay>,
    made: u64,
    /// Whether something urgent was told already.
    is_alarmed: bool,
    /// What is wrong, so that it is told once.
    trouble: Option<String>,
}

impl Recording {
    /// The next moment to look after it; never where nothing is stored.
    pub(super) async fn tick(recording: Option<&mut Self>) {
        match recording {
            Some(recording) => drop(recording.tick.tick().await),
            None => std::future::pending().await,
        }
    }
}

impl Software {
    /// Opens what the pump has stored of its data.
    pub(super) fn begin_recording(&mut self, settings: &Settings, key: &PrivateKey) -> Result<Recording, RecordsError> {
        let disk = Folder::open(&settings.state.join(FOLDER))?;
        let device = settings.device.clone();
        let records = Records::open(disk, device.clone(), key.clone(), settings.stored_bytes, new_chain())?;
        self.driven.handover = Some(Handover::new(records, settings.upload, clock::now()));
        let port = settings.port();
        let mut tick = interval(LOOKED_AT.min(settings.record_every));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Recording {
            tick,
            // Many pumps that are switched on together do not write at once.
            record_at: Instant::now() + settings.record_every.mul_f64(rand::rng().random()),
            every: settings.record_every,
            port: port.map(|folder| PortWay::new(&folder, device)),
            made: 0,
            is_alarmed: false,
            trouble: None,
        })
    }
}

impl Pump {
    /// Stores what is measured, where it is time, and hands over what the gateway wants. What the disk or the port does not do is told
    /// once and tried again: the infusion goes on.
    pub(super) fn look_after_records(&mut self) {
        let root = self.pairing.as_ref().and_then(DevicePairing::pairing).map(|pairing| pairing.cert_ca);
        let (Some(recording), Some(software)) = (&mut self.recording, &mut self.software) else { return };
        let Some(handover) = &mut software.driven.handover else { return };
        let now = clock::now();
        let mut troubles = Vec::new();
        if let Some(reporter) = self.reporter.as_ref().filter(|_| recording.record_at <= Instant::now()) {
            recording.record_at = Instant::now() + recording.every;
            troubles.extend(recording.record(handover, reporter, now).err().map(|error| error.to_string()));
        }
        let mut heard = Vec::new();
        if let (Some(port), Some(root)) = (&mut recording.port, root) {
            match port.exchange(handover, &root, now) {
                Ok(came) => heard = came,
                Err(error) => troubles.push(error.to_string()),
            }
        }
        troubles.extend(handover.trouble.clone());
        let (records, damaged) = (handover.records.stored(), handover.records.damaged());
        if damaged > 0 {
            troubles.push(format!("{damaged} batches of stored data are damaged: they are kept apart"));
        }
        let trouble = troubles.into_iter().next();
        let is_new = trouble.is_some() && trouble != recording.trouble;
        recording.trouble.clone_from(&trouble);
        if let Some(message) = trouble.filter(|_| is_new) {
            self.tell(Event::Error { message });
        }
        for one in heard {
            match one {
                Heard::Kept => self.tell(Event::Handed { is_at_server: false, records }),
                Heard::Stored(_) => self.tell(Event::Handed { is_at_server: true, records }),
                // It is asked for again until it has come; what was there is sent once more.
                Heard::Refused { step, .. } if step == GAP => {}
                Heard::Refused { step, reason } => {
                    self.tell(Event::Error { message: format!("stored data is refused ({step}): {reason}") });
                }
                Heard::Failed(message) => self.tell(Event::Error { message }),
                Heard::Ignored(why) => tracing::debug!(why, "a word about stored data counts as nothing"),
                Heard::Wanted => {}
            }
        }
    }

    /// The pump has left its site: what it stored of patients there goes, and what it has written at its port.
    pub(super) fn erase_records(&mut self) -> Result<(), PumpError> {
        let port = self.recording.as_ref().and_then(|recording| recording.port.as_ref());
        if let Some(Err(error)) = port.map(PortWay::clear) {
            // A port that is out of reach is no reason to keep what can be erased here.
            self.tell(Event::Error { message: format!("what was written at the port stays there: {error}") });
        }
        let capacity = self.settings.stored_bytes;
        let handover = self.software.as_mut().and_then(|software| software.driven.handover.as_mut());
        if let Some(handover) = handover {
            handover.records.erase(capacity, new_chain())?;
        }
        self.erase_letters();
        Ok(())
    }
}

impl Pump {
    /// What is on its way to a gateway or from it is of the site that was left, too. A folder that others share is not the pump's to erase.
    fn erase_letters(&self) {
        let has_hub = self.settings.software.as_ref().is_some_and(|given| given.gateway.is_some());
        let Some(folder) = self.settings.port().filter(|_| has_hub) else { return };
        for direction in [Direction::Up, Direction::Down] {
            let mailbox = Mailbox::new(&folder, &self.settings.device, direction, 0);
            if let Err(error) = mailbox.clear() {
                tracing::error!(%error, "letters to the gateway stay in the folder");
            }
        }
        match std::fs::remove_file(folder.join(TOLD)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(%error, "what the gateway was told stays in the folder");
            }
            _ => {}
        }
    }
}

impl Recording {
    fn record(
        &mut self,
        handover: &mut Handover<Folder>,
        reporter: &Reporter,
        now: UnixMillis,
    ) -> Result<(), RecordsError> {
        let infusion = reporter.infusion();
        let urgent = infusion.alarms().iter().any(|alarm| alarm.priority == AlarmPriority::High);
        if urgent && !core::mem::replace(&mut self.is_alarmed, urgent) {
            handover.ask(Trigger::OwnInitiative);
        }
        self.is_alarmed = urgent;
        let answered = self.made.is_multiple_of(ANSWERS_EVERY);
        let answer = answered.then(|| answer(self.made / ANSWERS_EVERY)).flatten();
        let contents = measured(infusion).into_iter().chain(answer);
        self.made = self.made.saturating_add(1);
        let records = contents.map(|content| Record { at: now, patient: None, content });
        if let Recorded::Lost(span) = handover.records.record_all(records, now)? {
            tracing::warn!(count = span.count, "the store of the pump's data is full");
        }
        Ok(())
    }
}

/// What a pump measures of an infusion.
fn measured(infusion: &Infusion) -> Vec<Content> {
    let is = infusion.telemetry();
    let rows = [
        ("infused-volume", i64::from(is.infused_ul), 3, "mL"),
        ("remaining-volume", i64::from(is.remaining_ul), 3, "mL"),
        ("flow-rate", i64::from(is.rate_ul_per_h), 3, "mL/h"),
        ("line-pressure", i64::from(is.pressure_mmhg), 0, "mm[Hg]"),
        ("battery-charge", i64::from(is.battery_percent), 0, "%"),
    ];
    let measure = |(kind, mantissa, places, unit): (&str, i64, u8, &str)| {
        let value = Decimal::new(mantissa, places).ok()?;
        Some(Content::Measure(Measure { kind: kind.parse().ok()?, value, unit: unit.parse().ok()? }))
    };
    rows.into_iter().filter_map(measure).collect()
}

/// What the simulated patient answers: one question after another.
fn answer(number: u64) -> Option<Content> {
    let rows =
        [("pain", "3"), ("overall", "72"), ("breathlessness", "slight"), ("slept-well", "yes"), ("tiredness", "none")];
    let (question, response) = *rows.get(usize::try_from(number % 5).ok()?)?;
    let response = match response.parse::<Decimal>() {
        Ok(number) => Response::Number(number),
        Err(_) => Response::Choice(response.parse().ok()?),
    };
    let instrument = "daily-wellbeing".parse().ok()?;
    Some(Content::Answer(Answer { instrument, question: question.parse().ok()?, response }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use wardlink_records::check::check;
    use wardlink_records::kind::Definitions;

    #[test]
    fn everything_that_a_pump_stores_counts_at_a_server() {
        let start = UnixMillis::from_secs(1_800_000_000);
        let mut infusion = Infusion::start(7, start);
        for minute in 0..600 {
            let at = start.after(Duration::from_mins(minute));
            infusion.advance(at);
            let contents = measured(&infusion).into_iter().chain(answer(minute));
            let records: Vec<_> = contents.map(|content| Record { at, patient: None, content }).collect();
            assert_eq!(records.len(), 6);
            for record in records {
                check(&record, &Definitions::default(), at).unwrap();
            }
        }
    }
}

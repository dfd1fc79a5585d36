//! When a device sends its stored data, and what it does about the answers: by poll, on schedule, on its own initiative (Distribution,
//! paragraphs 0053 to 0055), to its gateway at a port ([`PortWay`]), or to the server itself ([`super::direct`]).

use super::disk::Disk;
use super::records::{Outgoing, Records, RecordsError};
use crate::clock;
use crate::mailbox::{Direction, MAX_LETTERS, Mailbox};
use core::time::Duration;
use rand_core::Rng as _;
use serde_bytes::ByteBuf;
use std::io;
use std::path::Path;
use wardlink_protocol::identity::{RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::collector::{self, MAX_SAID_BYTES};
use wardlink_records::exchange::{Downward, MAX_UPWARD_BYTES, RefusedBatch, Upward};
use wardlink_records::queue::Remedy;
use wardlink_records::receipt::Receipt;
use wardlink_records::sending::{Plan, Sending, Trigger};

/// When a device sends by itself, unless it is told otherwise: every quarter of an hour, and as soon as a whole batch waits.
pub const PLAN: Plan = Plan { every_secs: Some(15 * 60), at_batches: Some(2) };
/// How long a gateway may take for an answer.
const ANSWERED_IN: Duration = Duration::from_mins(1);
/// How many batches are on their way to a gateway at once.
const AT_ONCE: usize = 4;

/// A device's stored data, and when it is sent.
pub struct Handover<D> {
    /// What is stored.
    pub records: Records<D>,
    /// What does not work with it, for people, where it is handed over elsewhere than at a port.
    pub trouble: Option<String>,
    sending: Sending,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The data is wanted.
    Wanted,
    /// A gateway has stored a batch.
    Kept,
    /// The server has so many batches: they are deleted here.
    Stored(usize),
    /// A batch was refused, and is kept.
    Refused {
        /// At which step.
        step: String,
        /// Why, for people.
        reason: String,
    },
    /// It counts as nothing.
    Ignored(String),
    /// It counts, and cannot be followed: our own store is damaged.
    Failed(String),
}

/// Where a chain may have to begin.
pub fn new_chain() -> RecordChain {
    let mut bytes = [0; RecordChain::LENGTH];
    clock::rng().fill_bytes(&mut bytes);
    RecordChain(bytes)
}

impl<D: Disk> Handover<D> {
    /// Begins the plan now.
    pub fn new(records: Records<D>, plan: Plan, now: UnixMillis) -> Self {
        Self { records, trouble: None, sending: Sending::new(plan, now) }
    }

    /// Somebody asks, or something urgent was recorded.
    pub fn ask(&mut self, trigger: Trigger) {
        self.sending.ask(trigger);
    }

    /// The next batch, where it is time for one: only then the records are signed.
    pub fn outgoing(&mut self, now: UnixMillis) -> Result<Option<Outgoing>, RecordsError> {
        if self.sending.due(now, self.records.waiting()).is_none() {
            return Ok(None);
        }
        if let Some(next) = self.records.next_batch(new_chain())? {
            return Ok(Some(next));
        }
        // What waits behind a refused batch is not made more by making it smaller.
        if self.records.queue().waiting() > 0 {
            return Ok(None);
        }
        self.records.close(now)?;
        self.records.next_batch(new_chain())
    }

    /// The other side cannot be reached, or does not answer.
    pub fn failed(&mut self, now: UnixMillis) {
        self.records.interrupted();
        self.sending.failed(now, clock::rng().next_u64());
    }

    /// Whether everything was sent and answered.
    pub fn is_done(&self) -> bool {
        self.records.waiting() == 0 && !self.records.queue().is_under_way()
    }

    fn settle(&mut self, now: UnixMillis) {
        if self.is_done() {
            self.sending.done(now);
        }
    }

    /// Takes what the collector says. `root` is the site's, of whose control unit a receipt has to be.
    pub fn hear(&mut self, message: Downward, root: &Sha256, now: UnixMillis) -> Result<Heard, RecordsError> {
        let heard = match message {
            Downward::Send(trigger) => {
                self.sending.ask(trigger);
                if trigger == Trigger::Request {
                    self.records.retry()?;
                }
                // What waited there is with the collector, or not: it says which.
                return Ok(Heard::Wanted);
            }
            Downward::Kept(kept) if self.records.kept(&kept)? => Heard::Kept,
            Downward::Kept(_) => Heard::Ignored("a batch that is not held is said to be kept".to_owned()),
            Downward::Refused(refused) => self.refused(&refused, now)?,
            Downward::Receipt(bytes) => self.receipt(&bytes, root, now)?,
        };
        self.settle(now);
        Ok(heard)
    }

    /// A batch was refused: what has to happen then happens.
    pub fn refused(&mut self, refused: &RefusedBatch, now: UnixMillis) -> Result<Heard, RecordsError> {
        let remedy = self.records.refused(refused, new_chain())?;
        if remedy == Some(Remedy::TryLater) {
            self.failed(now);
        }
        let (step, reason) = (refused.step.clone(), refused.reason.clone());
        Ok(if remedy.is_some() { Heard::Refused { step, reason } } else { Heard::Ignored(reason) })
    }

    /// A receipt of the server: what it is for is deleted, and nothing else.
    pub fn receipt(&mut self, bytes: &[u8], root: &Sha256, now: UnixMillis) -> Result<Heard, RecordsError> {
        let receipt = match Receipt::open(bytes, root) {
            Ok(receipt) => receipt,
            Err(error) => return Ok(Heard::Ignored(format!("{}: {error}", error.step()))),
        };
        let heard = match self.records.receive(&receipt)? {
            Ok(count) => Heard::Stored(count),
            Err(error) => Heard::Ignored(format!("{}: {error}", error.step())),
        };
        self.settle(now);
        Ok(heard)
    }
}

/// Why nothing goes on at a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The port's folder.
    #[error("the port cannot be used: {0}")]
    Port(#[from] io::Error),
    /// The device's store.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// A device's end of a port.
pub struct PortWay {
    device: Device,
    up: Mailbox,
    down: Mailbox,
    /// Until when the gateway has to have answered.
    answered_by: Option<UnixMillis>,
}

impl PortWay {
    /// The device's end of the port in this folder.
    pub fn new(folder: &Path, device: Device) -> Self {
        let up = Mailbox::new(folder, &device, Direction::Up, MAX_UPWARD_BYTES);
        let down = Mailbox::new(folder, &device, Direction::Down, MAX_SAID_BYTES);
        Self { device, up, down, answered_by: None }
    }

    /// Takes what the gateway has written, and writes what it is time for.
    pub fn exchange<D: Disk>(
        &mut self,
        handover: &mut Handover<D>,
        root: &Sha256,
        now: UnixMillis,
    ) -> Result<Vec<Heard>, PortError> {
        let mut heard = Vec::new();
        for letter in self.down.letters(MAX_LETTERS)? {
            let message = collector::open(&letter.bytes, &self.device, root, now);
            heard.push(match message.map(|message| handover.hear(message, root, now)) {
                Ok(Ok(heard)) => heard,
                // The disk may have room later: the word is heard then.
                Ok(Err(error @ RecordsError::Io(_))) => return Err(error.into()),
                // A word that cannot be followed holds up none that comes after it.
                Ok(Err(error)) => Heard::Failed(error.to_string()),
                Err(error) => Heard::Ignored(error.to_string()),
            });
            self.down.remove(&letter)?;
        }
        let is_wanted = heard.contains(&Heard::Wanted);
        if is_wanted {
            handover.settle(now);
        }
        self.look_for_answers(handover, is_wanted, now)?;
        while self.up.count()? < AT_ONCE
            && let Some(next) = handover.outgoing(now)?
        {
            match self.say(&Upward::Batch(ByteBuf::from(next.bytes))) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    handover.failed(now);
                    return Err(error.into());
                }
            }
            handover.records.sent(next.key);
            self.answered_by = Some(now.after(ANSWERED_IN));
        }
        Ok(heard)
    }

    /// Takes back everything that no gateway has read: the device has left its site.
    pub fn clear(&self) -> io::Result<()> {
        self.up.clear()
    }

    /// What is not answered in time is taken back and written again later; at once where a gateway asks, which may be another one.
    fn look_for_answers<D: Disk>(
        &mut self,
        handover: &mut Handover<D>,
        is_wanted: bool,
        now: UnixMillis,
    ) -> io::Result<()> {
        if !handover.records.queue().is_under_way() {
            self.answered_by = None;
            return Ok(());
        }
        let is_over = self.answered_by.is_none_or(|by| by <= now);
        if is_over {
            self.answered_by = None;
            self.up.clear()?;
        }
        if is_wanted && (is_over || self.up.count()? == 0) {
            handover.records.interrupted();
        } else if is_over {
            handover.failed(now);
        }
        Ok(())
    }

    fn say(&self, message: &Upward) -> io::Result<bool> {
        self.up.put(&message.encode().map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests;

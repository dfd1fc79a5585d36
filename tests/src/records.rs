//! A device's stored data in its plainest words: batches that it signs, each chained to the one before.

use anyhow::{Context as _, Result, bail};
use wardlink_agent::clock;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_protocol::identity::{PatientReference, RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{Batch, Beginning, ChainEnd, Link, Reason};
use wardlink_records::receipt::Receipt;
use wardlink_records::record::{Content, Measure, Record};

use crate::hub::{Hub, Talk};

/// Whose records the tests make.
pub const PATIENT: PatientReference = PatientReference([7; 16]);

/// A rule that flags a heart rate.
pub const RULES: &str = r#"{"rules": [
  {"id": "fast", "version": 1, "severity": "critical", "series": {"kind": "heart-rate"},
   "condition": {"threshold": {"above": "120", "unit": "/min"}},
   "message": {"en": "Heart rate above 120", "de": "Herzfrequenz über 120"}}
]}"#;

/// What a device records, one batch after another.
#[derive(Clone)]
pub struct Recorder {
    device: Device,
    key: PrivateKey,
    /// Its chain.
    pub chain: RecordChain,
    next: u64,
    link: Link,
}

/// A measurement, so many seconds ago.
pub fn measured(kind: &str, value: &str, unit: &str, seconds_ago: u64) -> Result<Record> {
    let measure = Measure {
        kind: kind.parse().context("a kind")?,
        value: value.parse().context("a number")?,
        unit: unit.parse().context("a unit")?,
    };
    let at = UnixMillis(clock::now().0.saturating_sub(seconds_ago * 1000));
    Ok(Record { at, patient: Some(PATIENT), content: Content::Measure(measure) })
}

/// A heart rate, so many seconds ago.
pub fn heart_rate(value: &str, seconds_ago: u64) -> Result<Record> {
    measured("heart-rate", value, "/min", seconds_ago)
}

impl Recorder {
    /// A device that has recorded nothing. `key` signs, and `number` tells its chain from others.
    pub fn of(device: &Device, key: &PrivateKey, number: u8) -> Self {
        let link = Link::Begins(Beginning { reason: Reason::First, before: None });
        Self { device: device.clone(), key: key.clone(), chain: RecordChain([number; 16]), next: 1, link }
    }

    /// A device that has recorded nothing in this chain, and says how its chain before ended.
    #[must_use]
    pub fn after(self, reason: Reason, before: ChainEnd) -> Self {
        Self { link: Link::Begins(Beginning { reason, before: Some(before) }), ..self }
    }

    /// Goes on with this number, whatever it should be.
    #[must_use]
    pub fn at(self, next: u64) -> Self {
        Self { next, ..self }
    }

    /// The hash of the last batch; none before the first.
    pub const fn end(&self) -> Option<Sha256> {
        match self.link {
            Link::Follows(hash) => Some(hash),
            Link::Begins(_) => None,
        }
    }

    /// Signs the next batch.
    pub fn sign(&mut self, records: Vec<Record>) -> Result<Vec<u8>> {
        let batch = Batch::new(self.device.clone(), self.chain, self.next, self.link, clock::now(), records)?;
        let (bytes, verified) = batch.sign(&self.key)?;
        self.next = verified.batch().last() + 1;
        self.link = Link::Follows(verified.hash());
        Ok(bytes)
    }
}

/// The receipt of a batch that is handed over; an error where it is refused.
pub fn taken(hub: &Hub, talk: &mut Talk, batch: &[u8]) -> Result<Receipt> {
    match talk.records(batch)? {
        Ok(receipt) => Ok(Receipt::open(&receipt, &hub.root())?),
        Err(refused) => bail!("it was refused: {refused:?}"),
    }
}

/// Why a batch that is handed over is refused; an error where it is taken.
pub fn refused(talk: &mut Talk, batch: &[u8]) -> Result<SessionRefusal> {
    talk.records(batch)?.err().context("it was taken")
}

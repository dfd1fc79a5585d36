//! What the tests of this crate share.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use core::time::Duration;
use rand_core::{Infallible, TryCryptoRng, TryRng};
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::identity::{PatientReference, Purpose, RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};

use crate::batch::{Batch, Beginning, ChainEnd, Link, Reason, Signer, Verified};
use crate::chain::{Chains, Refused, StoredBatch, Taken};
use crate::record::{Content, Measure, Record};

/// When the tests happen.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

/// Counts upwards from a seed: every test repeats itself exactly.
pub(crate) struct Counting(pub(crate) u64);

impl TryRng for Counting {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(number ^ (number >> 31))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let random = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }
}
impl TryCryptoRng for Counting {}

/// A control unit with its certificate.
pub(crate) struct Site {
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<ByteBuf>,
    pub(crate) root: Sha256,
}

/// A site; others have other numbers.
pub(crate) fn site(number: u64, purpose: Purpose) -> Site {
    let mut rng = Counting(number << 32);
    let validity = Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24 * 3650)) };
    let root = RootCa::make("Wardlink Test Root", validity, &mut rng).unwrap();
    let issuing: IssuingCa = root.make_issuing_ca("Wardlink Test CA", validity, &mut rng).unwrap();
    let key = PrivateKey::make(&mut rng);
    let holder = match purpose {
        Purpose::ControlUnit => Holder::ControlUnit("St. Elsewhere".into()),
        Purpose::Gateway => Holder::Gateway("gateway/ward-3".parse().unwrap()),
        _ => Holder::Device(pump(1)),
    };
    let certificate: Certificate = issuing.issue(&holder, &key.public(), validity, &mut rng).unwrap();
    let chain = core::iter::once(certificate.to_bytes()).chain(issuing.chain()).collect();
    Site { key, chain, root: root.certificate().sha256() }
}

/// An infusion pump.
pub(crate) fn pump(number: u32) -> Device {
    format!("infusion-pump/p-{number:05}").parse().unwrap()
}

/// A device's key.
pub(crate) fn key(number: u64) -> PrivateKey {
    PrivateKey::make(&mut Counting(number))
}

/// So many seconds after [`NOW`].
pub(crate) fn later(seconds: u64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1000)
}

/// A chain's id.
pub(crate) const fn chain(number: u8) -> RecordChain {
    RecordChain([number; 16])
}

/// A patient.
pub(crate) const fn patient(number: u8) -> PatientReference {
    PatientReference([number; 16])
}

/// A heart rate, so many seconds after [`NOW`].
pub(crate) fn heart_rate(seconds: u64, rate: &str) -> Record {
    let measure =
        Measure { kind: "heart-rate".parse().unwrap(), value: rate.parse().unwrap(), unit: "/min".parse().unwrap() };
    Record { at: later(seconds), patient: Some(patient(1)), content: Content::Measure(measure) }
}

/// So many records.
pub(crate) fn records(count: u64) -> Vec<Record> {
    (0..count).map(|number| heart_rate(number, &(60 + number % 40).to_string())).collect()
}

/// A beginning that follows nothing.
pub(crate) const FIRST: Link = Link::Begins(Beginning { reason: Reason::First, before: None });

/// A beginning that follows a batch.
pub(crate) fn after(reason: Reason, batch: &Verified) -> Link {
    let end = ChainEnd { chain: batch.batch().chain(), last: batch.batch().last(), hash: batch.hash() };
    Link::Begins(Beginning { reason, before: Some(end) })
}

/// A signed batch of pump 1.
pub(crate) fn signed(chain: RecordChain, first: u64, link: Link, records: Vec<Record>) -> (Vec<u8>, Verified) {
    Batch::new(pump(1), chain, first, link, NOW, records).unwrap().sign(&key(1)).unwrap()
}

/// A run of batches of one chain, with two records each.
pub(crate) fn run(id: RecordChain, link: Link, count: u64) -> Vec<Verified> {
    let mut batches: Vec<Verified> = Vec::new();
    for number in 0..count {
        let link = batches.last().map_or(link, |last| Link::Follows(last.hash()));
        let made = vec![heart_rate(number, "70"), heart_rate(number, &format!("{}", 70 + u64::from(id.0[0])))];
        batches.push(signed(id, number * 2 + 1, link, made).1);
    }
    batches
}

/// Opens what pump 1 signed.
pub(crate) fn open(bytes: &[u8]) -> Result<Verified, crate::batch::BatchError> {
    let devices = [pump(1)];
    crate::batch::Sealed::parse(bytes)?.open(Signer { key: &key(1).public(), devices: &devices })
}

/// A reader that stores what it takes, as a server does.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) chains: Chains,
    pub(crate) stored: Vec<StoredBatch>,
}

impl Reader {
    fn known(&self, batch: &Verified) -> Option<StoredBatch> {
        let found = batch.batch();
        self.stored.iter().copied().find(|stored| stored.chain == found.chain() && stored.first == found.first())
    }

    pub(crate) fn take(&mut self, batch: &Verified) -> Result<Taken, Refused> {
        let before = self.chains.clone();
        let taken = self.chains.take(batch, 0, self.known(batch));
        match &taken {
            Ok(Taken::New(stored, _)) => self.stored.push(*stored),
            _ => assert_eq!(self.chains, before, "only a new batch changes something"),
        }
        taken
    }

    pub(crate) fn concede(&mut self, batch: &Verified) -> Result<Taken, Refused> {
        let taken = self.chains.concede(batch, 0);
        if let Ok(Taken::New(stored, _)) = &taken {
            self.stored.push(*stored);
        }
        taken
    }
}

//! A server's part in stored data, by the same core as the real one: it verifies, judges chains, checks values, and gives receipts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its part")]

use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{Sealed, Signer};
use wardlink_records::chain::{Chains, StoredBatch, Taken};
use wardlink_records::check::check;
use wardlink_records::kind::Definitions;
use wardlink_records::receipt::Receipt;
use wardlink_records::record::{Content, Measure, Record, RecordId};

/// What a server has stored, and what it knows.
pub(crate) struct Archive {
    /// The control unit's key and certificates.
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<ByteBuf>,
    /// For whom each key signs.
    signers: BTreeMap<KeyFingerprint, (PublicKey, Vec<Device>)>,
    chains: BTreeMap<Device, Chains>,
    stored: Vec<(Device, StoredBatch)>,
    /// Every record that came, and whether it counts.
    pub(crate) records: Vec<(Device, RecordId, Record, bool)>,
    /// The steps of what was refused.
    pub(crate) refused: Vec<String>,
}

impl Archive {
    pub(crate) fn new(key: PrivateKey, chain: Vec<ByteBuf>) -> Self {
        let (signers, chains) = (BTreeMap::new(), BTreeMap::new());
        Self { key, chain, signers, chains, stored: Vec::new(), records: Vec::new(), refused: Vec::new() }
    }

    /// From now on this key signs for this device, too.
    pub(crate) fn knows(&mut self, key: &PublicKey, device: &Device) {
        let of = self.signers.entry(key.fingerprint().unwrap()).or_insert_with(|| (*key, Vec::new()));
        of.1.push(device.clone());
    }

    /// The server has lost what it knew of a device's chains: it was restored from an older state.
    pub(crate) fn forgets(&mut self, device: &Device) {
        self.chains.remove(device);
        self.stored.retain(|(of, _)| of != device);
        self.records.retain(|(of, ..)| of != device);
    }

    /// Takes a batch, and gives the receipt; or says at which step it is refused, and why.
    pub(crate) fn take(&mut self, bytes: &[u8], now: UnixMillis) -> Result<Vec<u8>, (String, String)> {
        let taken = self.judge(bytes, now);
        self.refused.extend(taken.as_ref().err().map(|(step, _)| step.clone()));
        taken
    }

    fn judge(&mut self, bytes: &[u8], now: UnixMillis) -> Result<Vec<u8>, (String, String)> {
        let refusal = |step: &str, reason: &dyn ToString| (step.to_owned(), reason.to_string());
        let sealed = Sealed::parse(bytes).map_err(|error| refusal(error.step(), &error))?;
        let (key, devices) = self.signers.get(&sealed.signer()).ok_or_else(|| refusal("signature", &"nobody's key"))?;
        let opened = sealed.open(Signer { key, devices }).map_err(|error| refusal(error.step(), &error))?;
        let (found, device) = (opened.batch(), opened.batch().device().clone());
        let counts = |record: &Record| check(record, &Definitions::default(), now).is_ok();
        let set_aside = found.records().filter(|(_, record)| !counts(record)).count();
        let is_this = |stored: &StoredBatch| stored.chain == found.chain() && stored.first == found.first();
        let known = self.stored.iter().find(|(of, stored)| *of == device && is_this(stored)).map(|(_, stored)| *stored);
        let chains = self.chains.entry(device.clone()).or_default();
        let stored = match chains.take(&opened, set_aside.try_into().unwrap(), known) {
            Ok(Taken::New(stored, _)) => {
                self.stored.push((device.clone(), stored));
                let records = found.records();
                self.records.extend(records.map(|(id, is)| (device.clone(), id, is.clone(), counts(is))));
                stored
            }
            Ok(Taken::Again(stored)) => stored,
            Err(error) => return Err(refusal(error.step(), &error)),
        };
        Ok(Receipt::of(device, &stored, now).sign(&self.key, &self.chain).unwrap())
    }

    /// What came of a device, in the order of its times.
    pub(crate) fn values(&self, device: &Device) -> Vec<String> {
        let mut of: Vec<&Record> =
            self.records.iter().filter(|(of, ..)| of == device).map(|(_, _, record, _)| record).collect();
        of.sort_by_key(|record| record.at);
        of.into_iter().map(text).collect()
    }
}

/// What a measurement says.
pub(crate) fn text(record: &Record) -> String {
    match &record.content {
        Content::Measure(measure) => measure.value.to_string(),
        other => format!("{other:?}"),
    }
}

/// A heart rate.
pub(crate) fn heart_rate(at: UnixMillis, value: u64) -> Record {
    let value = value.to_string().parse().unwrap();
    let measure = Measure { kind: "heart-rate".parse().unwrap(), value, unit: "/min".parse().unwrap() };
    Record { at, patient: None, content: Content::Measure(measure) }
}

//! Stored data: batches and receipts, the chains of a reader, rules, and the queues of device and gateway with a server behind them.

use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use wardlink_crypto::cose::{self, Header};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::RecordChain;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{Batch, Beginning, Link, Reason, Sealed, Signer, Verified};
use wardlink_records::chain::{Chains, Refused, StoredBatch, Taken};
use wardlink_records::check::check;
use wardlink_records::depot::{Depot, Kept};
use wardlink_records::exchange::{Downward, KeptBatch, RefusedBatch, Upward};
use wardlink_records::kind::Definitions;
use wardlink_records::limits::MAX_BATCH_BYTES;
use wardlink_records::outbox::{MIN_CAPACITY, Outbox};
use wardlink_records::queue::BatchKey;
use wardlink_records::receipt::Receipt;
use wardlink_records::record::{Content, Measure, Record};
use wardlink_records::rules::{Change, Evaluation, Rules, Seen};
use wardlink_records::sending::Trigger;

use crate::site::{NOW, site};
use crate::vectors::Vectors;
use crate::{select, selected};

const BATCH_LABEL: &[u8] = b"wardlink record batch";
const RECEIPT_LABEL: &[u8] = b"wardlink records receipt";
const CHAIN: RecordChain = RecordChain([1; 16]);

fn open(bytes: &[u8]) -> Option<Verified> {
    let devices = [site().device.clone()];
    let key = site().key.public();
    Sealed::parse(bytes).ok()?.open(Signer { key: &key, devices: &devices }).ok()
}

fn header(key: &PrivateKey) -> Header {
    let kid = key.public().fingerprint().expect("a key").as_bytes().to_vec();
    Header { kid, ..Header::default() }
}

fn heart_rate(number: u64, value: &str) -> Record {
    let (kind, value, unit) = ("heart-rate", value, "/min");
    let measure = Measure {
        kind: kind.parse().expect("a kind"),
        value: value.parse().expect("a value"),
        unit: unit.parse().expect("a unit"),
    };
    Record { at: UnixMillis(NOW.0 + number * 1000), patient: None, content: Content::Measure(measure) }
}

fn batch(chain: RecordChain, first: u64, link: Link, records: Vec<Record>) -> (Vec<u8>, Verified) {
    let batch = Batch::new(site().device.clone(), chain, first, link, NOW, records).expect("a batch");
    batch.sign(&site().key).expect("a signed batch")
}

/// Three batches of one chain, of two records each.
static HELD: LazyLock<Vec<(Vec<u8>, Verified)>> = LazyLock::new(|| {
    let mut link = Link::Begins(Beginning { reason: Reason::First, before: None });
    let next = |number: u64| {
        let made = batch(CHAIN, number * 2 + 1, link, vec![heart_rate(number, "70"), heart_rate(number, "71.5")]);
        link = Link::Follows(made.1.hash());
        made
    };
    (0..3).map(next).collect()
});

fn stored(batch: &Verified) -> StoredBatch {
    let found = batch.batch();
    StoredBatch {
        chain: found.chain(),
        first: found.first(),
        last: found.last(),
        hash: batch.hash(),
        since: 1,
        set_aside: 0,
    }
}

fn receipt() -> Receipt {
    Receipt::of(site().device.clone(), &stored(&HELD[1].1), NOW)
}

pub(crate) fn envelopes(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 5 {
        0 => {
            if let Some(opened) = open(bytes) {
                assert!(HELD.iter().any(|(_, held)| *held == opened), "a batch that nobody signed");
            }
        }
        1 => payload(bytes),
        2 => {
            if let Ok(opened) = Receipt::open(bytes, &site().cert_ca()) {
                assert_eq!(opened, receipt(), "a receipt that nobody signed");
            }
        }
        3 => signed_receipt(bytes),
        _ => exchanged(bytes),
    }
}

/// Whatever a device signs: what is read has one encoding, and is taken by a reader at most once.
fn payload(bytes: &[u8]) {
    let envelope = cose::sign(&header(&site().key), &site().key, BATCH_LABEL, bytes).expect("an envelope");
    let Some(opened) = open(&envelope) else { return };
    assert_eq!(cbor::encode(opened.batch()).expect("what was read can be written"), bytes);
    assert!(opened.batch().last() >= opened.batch().first());
    let known = Definitions::default();
    let set_aside = opened.batch().records().filter(|(_, record)| check(record, &known, NOW).is_err()).count() as u64;
    let mut chains = Chains::default();
    match chains.take(&opened, set_aside, None) {
        Ok(Taken::New(stored, _)) => {
            let before = chains.clone();
            assert_eq!(chains.take(&opened, set_aside, Some(stored)), Ok(Taken::Again(stored)));
            assert_eq!((&chains, chains.set_aside()), (&before, set_aside));
        }
        Ok(Taken::Again(stored)) => panic!("{stored:?} was never stored"),
        Err(_) => assert_eq!(chains, Chains::default(), "a refusal changes something"),
    }
}

/// What a device and its gateway say to each other has one encoding.
fn exchanged(bytes: &[u8]) {
    if let Ok(message) = Upward::decode(bytes) {
        assert_eq!(message.encode().as_deref(), Ok(bytes));
    }
    if let Ok(message) = Downward::decode(bytes) {
        assert_eq!(message.encode().as_deref(), Ok(bytes));
    }
}

/// Whatever the control unit signs: only what it names exactly is deleted.
fn signed_receipt(bytes: &[u8]) {
    let site = site();
    let header = Header { chain: site.chain.clone(), ..header(&site.signer) };
    let envelope = cose::sign(&header, &site.signer, RECEIPT_LABEL, bytes).expect("an envelope");
    let Ok(opened) = Receipt::open(&envelope, &site.cert_ca()) else { return };
    assert_eq!(cbor::encode(&opened).expect("what was read can be written"), bytes);
    let mut depot = Depot::new(1 << 20);
    for (bytes, batch) in HELD.iter() {
        depot.take(batch, bytes.len() as u64).expect("it fits");
    }
    let before = depot.clone();
    match depot.receive(&opened) {
        Ok(keys) => {
            assert_eq!(opened.device, site.device);
            let last = keys.last().expect("at least one is deleted");
            let named = HELD.iter().map(|(_, batch)| batch).find(|batch| batch.hash() == opened.hash);
            let named = named.expect("a batch that is held").batch();
            assert_eq!((last.chain, last.first, opened.through), (opened.chain, named.first(), named.last()));
            assert!(keys.iter().all(|key| key.first >= opened.first && key.first <= named.first()));
        }
        Err(_) => assert_eq!(depot, before, "a receipt for something else changes something"),
    }
}

pub(crate) fn envelope_seeds() -> Vec<Vec<u8>> {
    let signed = receipt().sign(&site().signer, &site().chain).expect("a receipt");
    let mut seeds: Vec<Vec<u8>> = HELD.iter().map(|(bytes, _)| select(0, bytes)).collect();
    seeds.extend(HELD.iter().map(|(_, held)| select(1, &cbor::encode(held.batch()).expect("a payload"))));
    // The frozen records, in this device's name: every form of content.
    for number in 0..3 {
        let text = Vectors::records().json(&format!("/batches/{number}/records"));
        let entries: Vec<serde_json::Value> = serde_json::from_str(&text).expect("records");
        let records = entries.iter().map(|entry| serde_json::from_value(entry["record"].clone()).expect("a record"));
        let link = Link::Begins(Beginning { reason: Reason::StoreLost, before: None });
        let made = batch(RecordChain([9; 16]), 1, link, records.collect());
        seeds.push(select(1, &cbor::encode(made.1.batch()).expect("a payload")));
    }
    let key = BatchKey { chain: CHAIN, first: 3 };
    let kept = Downward::Kept(KeptBatch { key, hash: HELD[1].1.hash() });
    let refused = Downward::Refused(RefusedBatch::new(Some(key), "chain: gap", "records from number 1 on are missing"));
    let receipt_down = Downward::Receipt(ByteBuf::from(signed.clone()));
    for message in [kept, refused, receipt_down, Downward::Send(Trigger::Poll)] {
        seeds.push(select(4, &message.encode().expect("a message")));
    }
    let up = Upward::Batch(ByteBuf::from(HELD[0].0.clone()));
    seeds.push(select(4, &up.encode().expect("a message")));
    seeds.extend([select(2, &signed), select(3, &cbor::encode(&receipt()).expect("a payload"))]);
    seeds
}

/// The text of rules: what is read is evaluated, in two orders, with the same flags.
pub(crate) fn rules(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    let known = Definitions::default();
    let Ok(rules) = Rules::parse(text, &known) else { return };
    for rule in rules.iter() {
        assert!(rule.version() > 0 && !rule.english().trim().is_empty() && !rule.german().trim().is_empty());
    }
    let values = ["70", "121", "135.5", "60", "61", "130", "130", "40", "180", "90"];
    let records: Vec<Record> = (0..).zip(values).map(|(number, value)| heart_rate(number * 240, value)).collect();
    let id = |number: usize| wardlink_records::record::RecordId { chain: CHAIN, sequence: number as u64 + 1 };
    let seen = |number: usize| {
        let record = &records[number];
        Seen { id: id(number), record, counted: check(record, &known, record.at).expect("it counts") }
    };
    let feed = |order: &mut dyn Iterator<Item = usize>| {
        let (mut evaluation, mut flags) = (Evaluation::default(), BTreeMap::new());
        for number in order {
            for change in evaluation.feed(&rules, [seen(number)]) {
                match change {
                    Change::Raised(flag) => drop(flags.insert(flag.id.clone(), flag)),
                    Change::Withdrawn(id) => assert!(flags.remove(&id).is_some(), "a flag that was never raised"),
                }
            }
            assert_eq!(evaluation.feed(&rules, [seen(number)]), [], "fed again, nothing changes");
            let states = evaluation.states().iter().map(|state| {
                let packed = cbor::pack(state).expect("a state");
                cbor::unpack(&packed, packed.len()).expect("the same state")
            });
            evaluation = Evaluation::restore(states.collect(), evaluation.late());
        }
        flags
    };
    let forwards = feed(&mut (0..records.len()));
    assert_eq!(forwards, feed(&mut (0..records.len()).rev()), "the order of arrival counts");
}

pub(crate) fn rule_seeds() -> Vec<Vec<u8>> {
    let rule = |condition: &str| {
        let message = r#""message": {"en": "Look at it", "de": "Ansehen"}"#;
        let series = r#""series": {"kind": "heart-rate"}"#;
        format!(r#"{{"rules": [{{"id": "r", "version": 1, "severity": "warning", {series}, "condition": {{{condition}}}, {message}}}]}}"#)
            .into_bytes()
    };
    let frozen = Vectors::records().json("/rules").into_bytes();
    let choices = String::from_utf8(rule(r#""threshold": {"one_of": ["severe"]}"#)).expect("text").replace(
        r#"{"kind": "heart-rate"}"#,
        r#"{"question": {"instrument": "daily-wellbeing", "question": "tiredness"}}"#,
    );
    vec![
        frozen,
        choices.into_bytes(),
        rule(r#""threshold": {"above": "120", "unit": "/min"}"#),
        rule(r#""threshold": {"below": "1", "unit": "Hz"}"#),
        rule(r#""duration": {"limit": {"above": "100", "unit": "/min"}, "seconds": 240, "gap_seconds": 240}"#),
        rule(r#""trend": {"rises": "60", "unit": "/min", "within_seconds": 600}"#),
        rule(r#""trend": {"falls": "60", "unit": "/min", "within_seconds": 600}"#),
    ]
}

/// A device, two gateways and a server, and what is on their disks.
struct World {
    outbox: Outbox,
    disk: BTreeMap<BatchKey, Vec<u8>>,
    gateways: [(Depot, BTreeMap<BatchKey, Vec<u8>>); 2],
    chains: Chains,
    stored: Vec<StoredBatch>,
    /// The numbers of the records that the server has.
    arrived: Vec<u64>,
    made: u64,
    begun: u8,
}

impl World {
    fn new() -> Self {
        let device: Device = site().device.clone();
        let gateway = || (Depot::new(4 * 1024), BTreeMap::new());
        Self {
            outbox: Outbox::begin(device, MIN_CAPACITY, RecordChain([1; 16]), Reason::First),
            disk: BTreeMap::new(),
            gateways: [gateway(), gateway()],
            chains: Chains::default(),
            stored: Vec::new(),
            arrived: Vec::new(),
            made: 0,
            begun: 1,
        }
    }

    fn record(&mut self) {
        let freed = self.outbox.record(heart_rate(self.made, "70")).expect("it fits");
        assert_eq!(freed, []);
        self.made += 1;
    }

    fn close(&mut self) {
        if let Some((key, bytes)) = self.outbox.close(&site().key, NOW).expect("a batch") {
            assert!(bytes.len() <= MAX_BATCH_BYTES);
            self.disk.insert(key, bytes);
        }
    }

    /// The device hands its next batch to a gateway.
    fn hand(&mut self, which: usize) {
        let Some(key) = self.outbox.queue().next().map(|held| held.key) else { return };
        let bytes = &self.disk[&key];
        let opened = open(bytes).expect("its own batch");
        let (depot, disk) = &mut self.gateways[which];
        match depot.take(&opened, bytes.len() as u64) {
            Ok(Kept::New(key)) => drop(disk.insert(key, bytes.clone())),
            Ok(Kept::Again(key)) => assert!(disk.contains_key(&key)),
            // The gateway is full: the device keeps it.
            Err(_) => return,
        }
        assert!(self.outbox.queue_mut().handed(key, &opened.hash()));
    }

    /// The server judges a batch.
    fn judge(&mut self, opened: &Verified) -> Result<StoredBatch, Refused> {
        let found = opened.batch();
        let known =
            self.stored.iter().copied().find(|stored| stored.chain == found.chain() && stored.first == found.first());
        Ok(match self.chains.take(opened, 0, known)? {
            Taken::New(stored, _) => {
                self.stored.push(stored);
                self.arrived.extend(found.records().map(|(_, record)| (record.at.0 - NOW.0) / 1000));
                stored
            }
            Taken::Again(stored) => stored,
        })
    }

    /// A gateway sends its next batch; `is_lost`: the receipt does not come back.
    fn send(&mut self, which: usize, is_lost: bool) -> bool {
        let Some(key) = self.gateways[which].0.next().map(|(_, held)| held.key) else { return false };
        let opened = open(&self.gateways[which].1[&key]).expect("what it took");
        let device = site().device.clone();
        let judged = self.judge(&opened);
        let (depot, disk) = &mut self.gateways[which];
        match judged {
            Ok(_) if is_lost => depot.queue_mut(&device).expect("its queue").sent(key),
            Ok(stored) => {
                let receipt = Receipt::of(device, &stored, NOW);
                for key in depot.receive(&receipt).expect("it is for this batch") {
                    disk.remove(&key).expect("it was there");
                }
                // The gateway passes it on; the device may have had it from elsewhere.
                for key in self.outbox.receive(&receipt).unwrap_or_default() {
                    self.disk.remove(&key).expect("it was there");
                }
            }
            Err(refused) => drop(depot.queue_mut(&device).expect("its queue").refused(key, refused.step())),
        }
        true
    }

    fn begin_anew(&mut self) {
        self.begun += 1;
        let chain = RecordChain([self.begun; 16]);
        assert_eq!(self.outbox.begin_anew(chain, Reason::PairedAgain, None, Vec::new()), Ok(Vec::new()));
    }

    /// Everybody is there, and nothing is in the way.
    fn finish(&mut self) {
        self.close();
        for _ in 0..self.made + 4 {
            for which in [0, 1] {
                self.hand(which);
                self.gateways[which].0.interrupted();
                while self.send(which, false) {}
            }
        }
        assert!(self.outbox.queue().is_empty() && self.disk.is_empty(), "something stays at the device");
        assert!(
            self.gateways.iter().all(|(depot, disk)| depot.bytes() == 0 && disk.is_empty()),
            "something stays at a gateway"
        );
        assert_eq!((self.chains.missing(), self.chains.stored()), (Vec::new(), self.made));
        self.arrived.sort_unstable();
        assert!(self.arrived.iter().copied().eq(0..self.made), "a record is lost, or came twice");
    }
}

/// Each byte is something that happens; in the end every record has arrived once.
pub(crate) fn queues(input: &[u8]) {
    let mut world = World::new();
    for event in input.iter().take(40) {
        let which = usize::from(event / 8 % 2);
        match event % 8 {
            0 | 1 => world.record(),
            2 => world.close(),
            3 => world.hand(which),
            4 => drop(world.send(which, false)),
            5 => drop(world.send(which, true)),
            6 => world.gateways[which].0.interrupted(),
            _ => world.begin_anew(),
        }
        let packed = cbor::pack(&(&world.outbox, &world.chains, &world.gateways[0].0)).expect("a state");
        let read: (Outbox, Chains, Depot) = cbor::unpack(&packed, packed.len()).expect("the same state");
        assert_eq!(read, (world.outbox.clone(), world.chains.clone(), world.gateways[0].0.clone()));
    }
    world.finish();
}

pub(crate) fn queue_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 2, 3, 4],
        vec![0, 0, 2, 3, 5, 6, 4],
        // Two gateways have one chain between them, and the later part comes first.
        vec![0, 2, 3, 0, 2, 11, 12, 14, 4, 12],
        vec![0, 2, 7, 0, 2, 3, 11, 12, 4, 0, 7, 7, 1, 2, 3, 4],
        vec![0, 1, 2, 3, 11, 5, 13, 6, 14, 4, 12],
    ]
}

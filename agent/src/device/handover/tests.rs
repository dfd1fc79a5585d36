#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::device::disk::Name;
use crate::device::disk::model::Model;
use crate::device::records::STORED_BYTES;
use crate::records_archive::heart_rate;
use crate::testing::{NOW, Site, chain, later, pump};
use tempfile::TempDir;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Holder;
use wardlink_records::batch::Verified;
use wardlink_records::chain::FORK;
use wardlink_records::depot::FULL;
use wardlink_records::exchange::KeptBatch;
use wardlink_records::queue::BatchKey;

/// A device at a port, and the gateway's end of it.
struct Bench {
    port: TempDir,
    site: Site,
    gateway: (PrivateKey, Vec<ByteBuf>),
    key: PrivateKey,
    handover: Handover<Model>,
    way: PortWay,
    made: u64,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let (port, mut site) = (tempfile::tempdir().unwrap(), Site::open());
        let key = PrivateKey::make(&mut clock::rng());
        site.archive.knows(&key.public(), &pump());
        let records = Records::open(Model::default(), pump(), key.clone(), STORED_BYTES, chain(1)).unwrap();
        let handover = Handover::new(records, plan, NOW);
        let way = PortWay::new(port.path(), pump());
        let gateway = site.gateway();
        Self { port, site, gateway, key, handover, way, made: 0 }
    }

    fn record(&mut self, secs: u64) {
        self.handover.records.record(heart_rate(later(secs), self.made), later(secs)).unwrap();
        self.made += 1;
    }

    fn exchange(&mut self, secs: u64) -> Vec<Heard> {
        self.way.exchange(&mut self.handover, &self.site.root, later(secs)).unwrap()
    }

    /// What the device has written, taken away.
    fn written(&self) -> Vec<Upward> {
        let up = Mailbox::new(self.port.path(), &pump(), Direction::Up, MAX_UPWARD_BYTES);
        let letters = up.letters(MAX_LETTERS).unwrap();
        for letter in &letters {
            up.remove(letter).unwrap();
        }
        letters.iter().map(|letter| Upward::decode(&letter.bytes).unwrap()).collect()
    }

    /// The batches among it, with their keys.
    fn batches(&self) -> Vec<(KeptBatch, Vec<u8>)> {
        let written = self.written().into_iter().map(|Upward::Batch(bytes)| bytes.into_vec());
        let opened = |bytes: Vec<u8>| {
            let opened = Verified::open(&bytes, &self.key.public(), &pump()).unwrap();
            let key = BatchKey { chain: opened.batch().chain(), first: opened.batch().first() };
            (KeptBatch { key, hash: opened.hash() }, bytes)
        };
        written.map(opened).collect()
    }

    fn say_as(&self, who: &(PrivateKey, Vec<ByteBuf>), message: &Downward) {
        let said = collector::sign(message, &pump(), &who.0, &who.1).unwrap();
        assert!(Mailbox::new(self.port.path(), &pump(), Direction::Down, MAX_SAID_BYTES).put(&said).unwrap());
    }

    fn say(&self, message: &Downward) {
        self.say_as(&self.gateway, message);
    }
}

const BY_POLL: Plan = Plan { every_secs: None, at_batches: None };

#[test]
fn a_poll_brings_everything_that_waits_and_the_receipt_deletes_it() {
    let mut bench = Bench::new(BY_POLL);
    bench.record(1);
    bench.record(2);
    assert_eq!((bench.exchange(2), bench.written()), (vec![], vec![]), "nobody has asked");
    bench.say(&Downward::Send(Trigger::Poll));
    assert_eq!(bench.exchange(3), [Heard::Wanted]);
    let batches = bench.batches();
    assert_eq!(batches.len(), 1);
    bench.say(&Downward::Kept(batches[0].0));
    assert_eq!((bench.exchange(4), bench.handover.records.stored()), (vec![Heard::Kept], 2));
    let receipt = bench.site.archive.take(&batches[0].1, later(5)).unwrap();
    bench.say(&Downward::Receipt(ByteBuf::from(receipt)));
    assert_eq!((bench.exchange(5), bench.handover.records.stored()), (vec![Heard::Stored(1)], 0));
    // The next poll finds nothing.
    bench.say(&Downward::Send(Trigger::Poll));
    assert_eq!((bench.exchange(6), bench.written()), (vec![Heard::Wanted], vec![]));
    assert_eq!(bench.site.archive.values(&pump()), ["0", "1"]);
}

#[test]
fn it_sends_on_schedule_and_on_its_own_initiative() {
    let mut bench = Bench::new(Plan { every_secs: Some(600), at_batches: None });
    bench.record(1);
    bench.exchange(599);
    assert_eq!(bench.written(), []);
    bench.exchange(601);
    let sent = bench.batches();
    bench.say(&Downward::Kept(sent[0].0));
    bench.exchange(602);
    bench.record(603);
    bench.exchange(700);
    assert_eq!(bench.written(), [], "the schedule begins anew");
    bench.handover.ask(Trigger::OwnInitiative);
    bench.exchange(701);
    assert_eq!(bench.batches().len(), 1);
}

#[test]
fn what_a_gateway_does_not_answer_is_sent_again_and_at_once_when_it_polls() {
    let mut bench = Bench::new(BY_POLL);
    bench.record(1);
    bench.handover.ask(Trigger::OwnInitiative);
    bench.exchange(1);
    // The gateway is off: what was written is taken back, and written again after a pause.
    let up = Mailbox::new(bench.port.path(), &pump(), Direction::Up, MAX_UPWARD_BYTES);
    assert_eq!(up.count().unwrap(), 1);
    bench.exchange(62);
    assert_eq!(up.count().unwrap(), 0);
    bench.exchange(200);
    assert_eq!(up.count().unwrap(), 1);
    for minute in 4..600 {
        bench.exchange(minute * 60);
    }
    bench.say(&Downward::Send(Trigger::Poll));
    bench.exchange(36_001);
    let batches = bench.batches();
    assert_eq!(batches.len(), 1, "once, however often it was sent");
    bench.say(&Downward::Kept(batches[0].0));
    assert_eq!((bench.exchange(36_002), bench.handover.is_done()), (vec![Heard::Kept], true));
}

#[test]
fn only_a_gateway_of_the_site_says_what_is_kept_and_only_its_control_unit_what_is_stored() {
    let mut bench = Bench::new(BY_POLL);
    bench.record(1);
    bench.handover.ask(Trigger::OwnInitiative);
    bench.exchange(1);
    let (kept, bytes) = bench.batches().remove(0);
    let mut elsewhere = Site::open();
    elsewhere.archive.knows(&bench.key.public(), &pump());
    let (other_gateway, device) = (elsewhere.gateway(), bench.site.member(&Holder::Device(pump())));
    for who in [&other_gateway, &device] {
        bench.say_as(who, &Downward::Kept(kept));
    }
    // The gateway's word, and another signer's receipt; and one for something else.
    let receipt = elsewhere.archive.take(&bytes, NOW).unwrap();
    bench.say(&Downward::Receipt(ByteBuf::from(receipt)));
    bench.say(&Downward::Kept(KeptBatch { hash: Sha256([7; 32]), ..kept }));
    Mailbox::new(bench.port.path(), &pump(), Direction::Down, MAX_SAID_BYTES).put(b"nothing").unwrap();
    let heard = bench.exchange(2);
    assert!(heard.len() == 5 && heard.iter().all(|heard| matches!(heard, Heard::Ignored(_))), "{heard:?}");
    assert_eq!((bench.handover.records.stored(), bench.handover.is_done()), (1, false));
}

#[test]
fn a_gateway_without_room_is_asked_again_later_and_a_refusal_is_told() {
    let mut bench = Bench::new(BY_POLL);
    bench.record(1);
    bench.handover.ask(Trigger::OwnInitiative);
    bench.exchange(1);
    let (kept, _) = bench.batches().remove(0);
    bench.say(&Downward::Refused(RefusedBatch::new(Some(kept.key), FULL, "no room")));
    let heard = bench.exchange(2);
    assert_eq!(heard, [Heard::Refused { step: FULL.to_owned(), reason: "no room".to_owned() }]);
    assert_eq!(bench.written(), [], "not at once");
    bench.exchange(63);
    assert_eq!(bench.batches().len(), 1);
    bench.say(&Downward::Refused(RefusedBatch::new(Some(kept.key), "signature", "who are you?")));
    bench.exchange(64);
    bench.exchange(40_000);
    assert_eq!(bench.written(), [], "not by itself");
    // New values do not make small batches behind it.
    for secs in 0..5 {
        bench.record(40_001 + secs);
        bench.exchange(40_001 + secs);
    }
    assert_eq!(bench.handover.records.queue().iter().count(), 1);
    bench.say(&Downward::Send(Trigger::Request));
    bench.exchange(40_010);
    assert_eq!(bench.batches().len(), 2, "a person has asked");
}

#[test]
fn a_word_about_a_damaged_batch_holds_up_none_that_comes_after_it() {
    let mut bench = Bench::new(BY_POLL);
    let mut disk = Model::default();
    let mut records = Records::open(&mut disk, pump(), bench.key.clone(), STORED_BYTES, chain(2)).unwrap();
    for at in 0..2 {
        records.record(heart_rate(later(at), at), later(at)).unwrap();
        records.close(later(at)).unwrap();
    }
    let held: Vec<_> = records.queue().iter().cloned().collect();
    drop(records);
    disk.spoil(Name::Batch(held[1].key), Vec::clear);
    let records = Records::open(disk, pump(), bench.key.clone(), STORED_BYTES, chain(3)).unwrap();
    bench.handover = Handover::new(records, BY_POLL, NOW);
    bench.say(&Downward::Refused(RefusedBatch::new(Some(held[1].key), FORK, "gone on elsewhere")));
    bench.say(&Downward::Kept(KeptBatch { key: held[0].key, hash: held[0].hash }));
    let heard = bench.exchange(2);
    assert_eq!((heard.len(), heard.last()), (2, Some(&Heard::Kept)));
    assert_eq!(bench.exchange(3), [], "it is not heard once more");
}

#[test]
fn a_device_that_leaves_takes_back_what_nobody_has_read() {
    let mut bench = Bench::new(BY_POLL);
    bench.record(1);
    bench.handover.ask(Trigger::OwnInitiative);
    bench.exchange(1);
    let up = Mailbox::new(bench.port.path(), &pump(), Direction::Up, MAX_UPWARD_BYTES);
    assert_eq!(up.count().unwrap(), 1);
    bench.way.clear().unwrap();
    assert_eq!(up.count().unwrap(), 0);
    PortWay::new(&bench.port.path().join("never"), pump()).clear().unwrap();
}

#[test]
fn a_port_that_is_not_there_is_waited_for() {
    let mut bench = Bench::new(BY_POLL);
    let gone = bench.port.path().join("stick");
    bench.way = PortWay::new(&gone, pump());
    bench.record(1);
    bench.handover.ask(Trigger::OwnInitiative);
    assert!(bench.way.exchange(&mut bench.handover, &bench.site.root, later(1)).is_err());
    std::fs::create_dir(&gone).unwrap();
    assert_eq!(bench.exchange(2), [], "after a pause");
    bench.exchange(62);
    let up = Mailbox::new(&gone, &pump(), Direction::Up, MAX_UPWARD_BYTES);
    assert_eq!(up.count().unwrap(), 1);
}

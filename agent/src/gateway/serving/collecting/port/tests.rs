#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gateway::stored::STORED_BYTES;
use crate::records_archive::heart_rate;
use crate::testing::{NOW, Site, chain, pump};
use tempfile::TempDir;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::identity::Sha256;
use wardlink_records::batch::Reason;
use wardlink_records::outbox::Outbox;
use wardlink_records::sending::Plan;

/// A gateway's end of a pump's port.
struct Bench {
    ports: TempDir,
    root: Sha256,
    device: Device,
    identity: Identity,
    chain: Vec<ByteBuf>,
    /// The device's.
    key: PrivateKey,
    store: Store,
    holdings: Holdings,
}

impl Bench {
    fn new() -> Self {
        let (ports, site) = (tempfile::tempdir().unwrap(), Site::open());
        let (key, chain): (PrivateKey, _) = site.gateway();
        let device = "gateway/ward-3".parse().unwrap();
        let identity = Identity { key, device, certificate: None, root: Some(site.root) };
        let store = Store::open(&ports.path().join("store")).unwrap();
        let holdings = Holdings::open(&store, STORED_BYTES, Plan::default(), NOW).unwrap();
        let key = PrivateKey::make(&mut crate::clock::rng());
        Self { ports, root: site.root, device: pump(), identity, chain, key, store, holdings }
    }

    fn port(&self) -> Port<'_> {
        Port::new(self.ports.path(), &self.device, &self.identity, &self.chain)
    }

    /// What the device has yet to read.
    fn told(&self) -> Vec<Downward> {
        let letters = self.port().down.letters(MAX_LETTERS).unwrap();
        letters.iter().map(|letter| collector::open(&letter.bytes, &self.device, &self.root, NOW).unwrap()).collect()
    }

    /// The device brings this, and it is looked at.
    fn brings(&mut self, message: &[u8], unreadable: &mut Option<String>) {
        let port = Port::new(self.ports.path(), &self.device, &self.identity, &self.chain);
        assert!(port.up.put(message).unwrap());
        port.collect(&self.store, &mut self.holdings, (&self.key.public(), unreadable), NOW, &mut { 9 }).unwrap();
        assert_eq!(port.up.count().unwrap(), 0);
    }
}

/// A batch of the device that is signed with this key.
fn signed(key: &PrivateKey) -> Upward {
    let mut outbox = Outbox::begin(pump(), 1 << 20, chain(1), Reason::First);
    outbox.record(heart_rate(NOW, 60)).unwrap();
    Upward::Batch(ByteBuf::from(outbox.close(key, NOW).unwrap().unwrap().1))
}

#[test]
fn what_cannot_be_read_is_told_until_something_is_kept() {
    let mut bench = Bench::new();
    let (strange, good) = (signed(&PrivateKey::make(&mut crate::clock::rng())), signed(&bench.key));
    let mut unreadable = None;
    bench.brings(&strange.encode().unwrap(), &mut unreadable);
    assert!(unreadable.as_ref().is_some_and(|why| why.contains("refused (signature)")), "{unreadable:?}");
    let port = Port::new(bench.ports.path(), &bench.device, &bench.identity, &bench.chain);
    port.collect(&bench.store, &mut bench.holdings, (&bench.key.public(), &mut unreadable), NOW, &mut { 9 }).unwrap();
    assert!(unreadable.is_some(), "it is not over because nothing more comes");
    bench.brings(&good.encode().unwrap(), &mut unreadable);
    assert_eq!(unreadable, None);
    bench.brings(b"nothing", &mut unreadable);
    assert!(unreadable.as_ref().is_some_and(|why| why.contains("says nothing")), "{unreadable:?}");
}

#[test]
fn a_poll_waits_until_the_device_has_read_and_a_request_only_while_there_is_no_room() {
    let bench = Bench::new();
    let port = bench.port();
    let ask = |trigger| port.ask(trigger, Vec::new()).unwrap();
    assert!(ask(Trigger::Poll) && !ask(Trigger::Poll));
    assert!(ask(Trigger::Request));
    assert_eq!(bench.told(), [Downward::Send(Trigger::Poll), Downward::Send(Trigger::Request)]);
    while port.down.count().unwrap() < MAX_LETTERS {
        assert!(ask(Trigger::Request));
    }
    assert!(!ask(Trigger::Request), "it is asked again later");
}

#[test]
fn what_a_device_brings_that_does_not_read_stays_where_it_is() {
    let mut bench = Bench::new();
    for _ in 0..MAX_LETTERS - 1 {
        bench.port().tell(&Downward::Send(Trigger::Poll)).unwrap();
    }
    for _ in 0..3 {
        let batch = signed(&bench.key);
        assert!(bench.port().up.put(&batch.encode().unwrap()).unwrap());
    }
    let port = Port::new(bench.ports.path(), &bench.device, &bench.identity, &bench.chain);
    for left in [2, 2] {
        port.collect(&bench.store, &mut bench.holdings, (&bench.key.public(), &mut None), NOW, &mut { 9 }).unwrap();
        assert_eq!((port.up.count().unwrap(), port.down.count().unwrap()), (left, MAX_LETTERS));
    }
}

#[test]
fn no_more_is_taken_at_once_than_may_be() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let batch = signed(&bench.key);
        assert!(bench.port().up.put(&batch.encode().unwrap()).unwrap());
    }
    let port = Port::new(bench.ports.path(), &bench.device, &bench.identity, &bench.chain);
    for (mut may, left, stay) in [(2, 0, 1), (0, 0, 1), (2, 1, 0)] {
        port.collect(&bench.store, &mut bench.holdings, (&bench.key.public(), &mut None), NOW, &mut may).unwrap();
        assert_eq!((may, port.up.count().unwrap()), (left, stay));
    }
}

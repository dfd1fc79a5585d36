#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::testing::{NOW, Site, pump};
use tempfile::TempDir;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::identity::Sha256;

/// A gateway's end of a pump's port.
struct Bench {
    ports: TempDir,
    root: Sha256,
    device: Device,
    identity: Identity,
    chain: Vec<ByteBuf>,
}

impl Bench {
    fn new() -> Self {
        let (ports, site) = (tempfile::tempdir().unwrap(), Site::open());
        let (key, chain): (PrivateKey, _) = site.gateway();
        let device = "gateway/ward-3".parse().unwrap();
        let identity = Identity { key, device, certificate: None, root: Some(site.root) };
        Self { ports, root: site.root, device: pump(), identity, chain }
    }

    fn port(&self) -> Port<'_> {
        Port::new(self.ports.path(), &self.device, &self.identity, &self.chain)
    }

    /// What the device has yet to read.
    fn told(&self) -> Vec<Downward> {
        let letters = self.port().down.letters().unwrap();
        letters.iter().map(|letter| collector::open(&letter.bytes, &self.device, &self.root, NOW).unwrap()).collect()
    }
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

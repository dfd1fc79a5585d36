#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::testing::{HOST, LATE, NOW, Site};
use crate::x509::Holder;
use proptest::prelude::*;

impl Site {
    fn gateway(&mut self) -> (PrivateKey, Certificate) {
        self.holder(&Holder::Gateway("gateway/ward-3".parse().unwrap()))
    }

    fn issuers(&self) -> Vec<Certificate> {
        vec![self.ca.certificate().clone()]
    }

    fn answer(&mut self, hello: &[u8]) -> Result<(ServerHandshake, Vec<u8>), SessionError> {
        let unanswered = Unanswered::start(hello, HOST, &mut self.rng)?;
        let signed = unanswered.opening().clone().sign(self.chain.clone(), &self.key)?;
        unanswered.answer(&signed)
    }

    /// An answer that somebody else has signed, or under another chain.
    fn answer_as(&mut self, hello: &[u8], chain: &[ByteBuf], key: &PrivateKey) -> Vec<u8> {
        let unanswered = Unanswered::start(hello, HOST, &mut self.rng).unwrap();
        let signed = unanswered.opening().clone().sign(chain.to_vec(), key).unwrap();
        unanswered.answer(&signed).unwrap().1
    }

    /// Both ends of a session.
    fn session(&mut self) -> (Session, Session) {
        let (key, certificate) = self.gateway();
        let (gateway, hello) = GatewayHandshake::start(&certificate, HOST, &mut self.rng).unwrap();
        let (server, answer) = self.answer(&hello).unwrap();
        let (here, proof) = gateway.finish(&answer, &key, &self.root(), NOW).unwrap();
        let (there, proved) = server.finish(&proof, &self.issuers(), Purpose::Gateway, NOW).unwrap();
        assert_eq!(proved, certificate);
        (here, there)
    }
}

#[test]
fn messages_go_both_ways() {
    let (mut gateway, mut server) = Site::new(1).session();
    for text in ["first", "second", ""] {
        let up = gateway.seal(text.as_bytes()).unwrap();
        assert_eq!(*server.open(&up).unwrap(), text.as_bytes());
        let down = server.seal(text.as_bytes()).unwrap();
        assert_eq!(*gateway.open(&down).unwrap(), text.as_bytes());
    }
}

#[test]
fn a_session_goes_on_after_it_was_stored() {
    let (mut gateway, mut server) = Site::new(2).session();
    server.open(&gateway.seal(b"one").unwrap()).unwrap();
    let mut server: Session = cbor::decode(&cbor::encode(&server).unwrap(), 1024).unwrap();
    assert_eq!(*server.open(&gateway.seal(b"two").unwrap()).unwrap(), b"two");
    assert_eq!(*gateway.open(&server.seal(b"three").unwrap()).unwrap(), b"three");
}

#[test]
fn a_message_that_is_repeated_missing_or_turned_round_does_not_open() {
    let (mut gateway, mut server) = Site::new(3).session();
    let first = gateway.seal(b"first").unwrap();
    let second = gateway.seal(b"second").unwrap();
    assert!(server.open(&second).is_err(), "one is missing");
    assert!(gateway.open(&first).is_err(), "its own");
    server.open(&first).unwrap();
    assert!(server.open(&first).is_err(), "again");
    server.open(&second).unwrap();
}

#[test]
fn a_message_of_another_session_does_not_open() {
    let mut site = Site::new(4);
    let (mut gateway, _) = site.session();
    let (_, mut server) = site.session();
    assert!(server.open(&gateway.seal(b"hello").unwrap()).is_err());
}

#[test]
fn only_the_sites_control_unit_is_believed() {
    let mut site = Site::new(5);
    let mut other = Site::new(6);
    let (key, certificate) = site.gateway();
    let start = |site: &mut Site| GatewayHandshake::start(&certificate, HOST, &mut site.rng).unwrap();

    let (gateway, hello) = start(&mut site);
    let (_, answer) = other.answer(&hello).unwrap();
    assert!(matches!(gateway.finish(&answer, &key, &site.root(), NOW), Err(SessionError::Chain(_))), "another site");

    let (gateway, hello) = start(&mut site);
    let (server_key, server_certificate) = site.holder(&Holder::Service("listener".into()));
    let mut chain = vec![server_certificate.to_bytes()];
    chain.extend(site.ca.chain());
    let answer = site.answer_as(&hello, &chain, &server_key);
    assert!(matches!(gateway.finish(&answer, &key, &site.root(), NOW), Err(SessionError::Chain(_))), "a service");

    let (gateway, hello) = start(&mut site);
    let answer = site.answer_as(&hello, &site.chain.clone(), &other.key);
    assert!(matches!(gateway.finish(&answer, &key, &site.root(), NOW), Err(SessionError::Key(_))), "another key");

    let (first, hello) = start(&mut site);
    let (_, answer) = site.answer(&hello).unwrap();
    let (second, _) = start(&mut site);
    assert!(second.finish(&answer, &key, &site.root(), NOW).is_err(), "the answer to another hello");
    first.finish(&answer, &key, &site.root(), NOW).unwrap();
}

#[test]
fn only_a_gateway_of_the_site_is_believed() {
    let mut site = Site::new(7);
    let mut other = Site::new(8);
    let mut refuse = |key: &PrivateKey, certificate: &Certificate, purpose, now| {
        let (gateway, hello) = GatewayHandshake::start(certificate, HOST, &mut site.rng).unwrap();
        let (server, answer) = site.answer(&hello).unwrap();
        let (_, proof) = gateway.finish(&answer, key, &site.root(), NOW).unwrap();
        server.finish(&proof, &site.issuers(), purpose, now).err()
    };
    let (key, foreign) = other.gateway();
    assert!(matches!(refuse(&key, &foreign, Purpose::Gateway, NOW), Some(SessionError::Chain(_))), "another site's");

    let (key, certificate) = Site::new(7).gateway();
    assert_eq!(refuse(&key, &certificate, Purpose::Gateway, NOW), None);
    assert!(matches!(refuse(&key, &certificate, Purpose::Gateway, LATE), Some(SessionError::Chain(_))), "ended");
    assert!(matches!(refuse(&key, &certificate, Purpose::Device, NOW), Some(SessionError::Chain(_))), "not a device's");
    let (stranger, _) = Site::new(9).gateway();
    assert!(matches!(refuse(&stranger, &certificate, Purpose::Gateway, NOW), Some(SessionError::Key(_))), "a thief's");
}

#[test]
fn another_host_is_refused() {
    let mut site = Site::new(10);
    let (_, certificate) = site.gateway();
    let (_, hello) = GatewayHandshake::start(&certificate, "evil.example", &mut site.rng).unwrap();
    assert!(matches!(site.answer(&hello), Err(SessionError::Host)));
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..200, flip in 1_u8..) {
        let mut site = Site::new(11);
        prop_assert!(site.answer(&bytes).is_err());
        let (mut gateway, mut server) = site.session();
        prop_assert!(server.open(&bytes).is_err());
        let mut frame = gateway.seal(b"a report").unwrap();
        let at = at % frame.len();
        frame[at] ^= flip;
        prop_assert!(server.open(&frame).is_err());
    }
}

//! The enrolment of a service, between the two sides.

mod vectors;

use super::site::{START, Site};
use crate::control_unit::Signer;
use crate::enrolment::{AwaitedService, EnrolledService, Enrolling, EnrolmentError, enrol, enrolment_of};
use crate::message::MessageError;
use crate::renewal::RenewingControlUnit;
use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wardlink_crypto::cose::EnvelopeError;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule::derive_enrolment_key;
use wardlink_crypto::x509::{Certificate, ChainError, Holder};
use wardlink_protocol::identity::{DeviceIdentifier, SessionId, Sha256};
use wardlink_protocol::service::{ChannelOfClass, EnrolmentTicket, ServiceAccess};

struct World {
    site: Site,
    ticket: EnrolmentTicket,
    /// What the site keeps of the secret.
    kept: [u8; 32],
    access: ServiceAccess,
    key: PrivateKey,
    rng: StdRng,
}

impl World {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(4);
        let site = Site::new(&mut rng);
        let name: DeviceIdentifier = "ward-monitor".parse().unwrap();
        let (id, secret) = (SessionId([5; 16]), [6; 32]);
        let kept = *derive_enrolment_key(&secret, &id, &name).unwrap();
        let root = site.cert_ca();
        let reads = ChannelOfClass { channel: "alarm".parse().unwrap(), client: "infusion-pump".parse().unwrap() };
        let access = ServiceAccess { reads: [reads].into(), ..ServiceAccess::default() };
        let key = PrivateKey::make(&mut rng);
        Self { site, ticket: EnrolmentTicket { name, id, secret, root }, kept, access, key, rng }
    }

    fn ask(&mut self) -> Enrolling {
        Enrolling::begin(&self.ticket, &self.key, &mut self.rng).unwrap()
    }

    fn answer(&mut self, request: &[u8]) -> Result<EnrolledService, EnrolmentError> {
        let name = self.ticket.name.clone();
        self.answer_for(&name, request)
    }

    fn answer_for(&mut self, name: &DeviceIdentifier, request: &[u8]) -> Result<EnrolledService, EnrolmentError> {
        let control_unit = RenewingControlUnit {
            signer: Signer { key: &self.site.key, chain: &self.site.chain },
            ca: &self.site.ca,
            certificate_lifetime: Duration::from_hours(24),
        };
        let service = AwaitedService { name, id: self.ticket.id, key: &self.kept, access: &self.access };
        enrol(service, request, control_unit, START, &mut self.rng)
    }
}

fn refusal<T>(result: &Result<T, EnrolmentError>) -> MessageError {
    match result {
        Err(EnrolmentError::Message(error)) => *error,
        Err(EnrolmentError::Certificate(error)) => panic!("{error}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn a_service_gets_its_certificate_its_access_and_the_same_wrapping_key() {
    let mut world = World::new();
    let asking = world.ask();
    assert_eq!(enrolment_of(asking.request()), Some(world.ticket.id));
    let answered = world.answer(asking.request()).unwrap();
    let enrolled = asking.finish(&world.key, &answered.answer, START).unwrap();
    assert_eq!(enrolled.wrap_key, answered.wrap_key);
    assert_eq!(enrolled.access, world.access);
    let certificate = Certificate::parse(&enrolled.certificate).unwrap();
    assert_eq!(certificate.holder(), Some(&Holder::Service("ward-monitor".to_owned())));
    assert_eq!(certificate.serial(), answered.serial);
    assert_eq!(certificate.fingerprint().unwrap(), answered.key);
    // The text is worth nothing to whoever sees what crosses the network.
    let secret = world.ticket.secret;
    assert!(!asking.request().windows(secret.len()).any(|part| part == secret));
}

#[test]
fn a_request_under_another_secret_is_refused() {
    let mut world = World::new();
    world.ticket.secret[31] ^= 1;
    let asking = world.ask();
    assert_eq!(refusal(&world.answer(asking.request())), MessageError::Envelope(EnvelopeError::Authentication));
}

#[test]
fn a_request_for_another_enrolment_or_under_another_name_is_refused() {
    let mut world = World::new();
    let asking = world.ask();
    let request = asking.request().to_vec();
    // The enrolment's key belongs to the name, so that only a request that says another name inside comes so far.
    assert_eq!(refusal(&world.answer_for(&"other".parse().unwrap(), &request)), MessageError::Contradiction);
    world.ticket.id = SessionId([9; 16]);
    assert_eq!(refusal(&world.answer(&request)), MessageError::Header);
}

#[test]
fn a_request_that_was_changed_or_cut_short_is_refused() {
    let mut world = World::new();
    let request = world.ask().request().to_vec();
    for place in 0..request.len() {
        let mut changed = request.clone();
        changed[place] ^= 1;
        assert!(world.answer(&changed).is_err(), "byte {place}");
        assert!(world.answer(&request[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn an_answer_of_another_site_is_refused() {
    let mut world = World::new();
    let asking = world.ask();
    // Another control unit, to which somebody gave the enrolment's key.
    let mut other = World { site: Site::new(&mut StdRng::seed_from_u64(77)), ..World::new() };
    let answered = other.answer(asking.request()).unwrap();
    let error = refusal(&asking.finish(&world.key, &answered.answer, START));
    assert_eq!(error, MessageError::Chain(ChainError::Root));
    world.ticket.root = Sha256([0; 32]);
    let asking = world.ask();
    let answered = world.answer(asking.request()).unwrap();
    assert!(asking.finish(&world.key, &answered.answer, START).is_err());
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let mut world = World::new();
    let (first, second) = (world.ask(), world.ask());
    let answered = world.answer(first.request()).unwrap();
    assert_eq!(refusal(&second.finish(&world.key, &answered.answer, START)), MessageError::Contradiction);
    let stranger = PrivateKey::make(&mut world.rng);
    assert_eq!(refusal(&first.finish(&stranger, &answered.answer, START)), MessageError::Contradiction);
}

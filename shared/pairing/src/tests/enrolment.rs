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

mod renewing {
    use super::*;
    use crate::enrolment::Enrolled;
    use crate::enrolment::renewal::{Asking, EnrolledOne, Renewing, asked_by, renewable_from};
    use wardlink_protocol::UnixMillis;
    use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint};

    const LIFETIME: Duration = Duration::from_hours(24);

    struct Renewal {
        world: World,
        enrolled: Enrolled,
        serial: CertificateSerial,
        ends: UnixMillis,
        fingerprint: KeyFingerprint,
    }

    fn enrolled() -> Renewal {
        enrolled_in(World::new())
    }

    fn enrolled_in(mut world: World) -> Renewal {
        let asked = world.ask();
        let answer = world.answer(asked.request()).unwrap();
        let enrolled = asked.finish(&world.key, &answer.answer, START).unwrap();
        let fingerprint = world.key.public().fingerprint().unwrap();
        Renewal { enrolled, serial: answer.serial, ends: answer.certificate_ends, fingerprint, world }
    }

    impl Renewal {
        fn begin(&mut self) -> Renewing {
            Renewing::begin(&self.enrolled, &self.world.key, &mut self.world.rng).unwrap()
        }

        fn renew(&mut self, request: &[u8], now: UnixMillis) -> Result<EnrolledService, EnrolmentError> {
            let control_unit = RenewingControlUnit {
                signer: Signer { key: &self.world.site.key, chain: &self.world.site.chain },
                ca: &self.world.site.ca,
                certificate_lifetime: LIFETIME,
            };
            let from = renewable_from(self.ends, LIFETIME);
            let enrolled = EnrolledOne { serial: self.serial, from, access: &self.world.access };
            let asking = Asking::open(&self.world.ticket.name, self.fingerprint, request)?;
            asking.renew(enrolled, control_unit, now, &mut self.world.rng)
        }
    }

    fn later(hours: u64) -> UnixMillis {
        START.after(Duration::from_hours(hours))
    }

    #[test]
    fn a_service_gets_a_new_certificate_and_a_new_wrapping_key_before_and_after_the_old_one_ends() {
        for hours in [13, 23, 25, 24 * 40] {
            let mut service = enrolled();
            let asked = service.begin();
            assert_eq!(asked_by(asked.request()), Some(service.fingerprint));
            let answer = service.renew(asked.request(), later(hours)).unwrap();
            let renewed = asked.finish(&service.enrolled, &service.world.key, &answer.answer, later(hours)).unwrap();
            assert_eq!(renewed.wrap_key, answer.wrap_key);
            assert!(renewed.wrap_key != service.enrolled.wrap_key, "fresh keys");
            let certificate = Certificate::parse(&renewed.certificate).unwrap();
            assert_eq!((certificate.serial(), certificate.key()), (answer.serial, &service.world.key.public()));
            assert_eq!(certificate.holder(), Some(&Holder::Service("ward-monitor".into())));
            assert!(answer.certificate_ends > service.ends);
            assert_eq!((renewed.access.clone(), renewed.root), (service.world.access.clone(), service.enrolled.root));
        }
    }

    #[test]
    fn a_service_shows_which_certificate_it_has_and_the_next_one_is_renewed_too() {
        let mut service = enrolled();
        let mut now = START;
        for _ in 0..3 {
            now = now.after(Duration::from_hours(13));
            let asked = service.begin();
            let (name, key) = (service.world.ticket.name.clone(), service.fingerprint);
            let shown = Asking::open(&name, key, asked.request()).unwrap().serial();
            assert_eq!(shown, Certificate::parse(&service.enrolled.certificate).unwrap().serial());
            // The site believes that it has the certificate that it shows, and nothing else has to be heard of it.
            service.serial = shown;
            let answer = service.renew(asked.request(), now).unwrap();
            service.enrolled = asked.finish(&service.enrolled, &service.world.key, &answer.answer, now).unwrap();
            service.ends = answer.certificate_ends;
        }
    }

    #[test]
    fn a_service_is_enrolled_and_renewed_where_a_ca_stands_between_the_root_and_the_sites() {
        let mut world = World::new();
        world.site = Site::below_another_ca(&mut world.rng);
        world.ticket.root = world.site.cert_ca();
        let mut service = enrolled_in(world);
        assert_eq!(service.enrolled.chain.len(), 3);
        assert_eq!(service.enrolled.chain, service.world.site.ca.chain());
        let asked = service.begin();
        let answer = service.renew(asked.request(), later(13)).unwrap();
        let renewed = asked.finish(&service.enrolled, &service.world.key, &answer.answer, later(13)).unwrap();
        assert_eq!(renewed.chain, service.world.site.ca.chain());
    }

    #[test]
    fn nobody_renews_too_early_twice_or_for_another() {
        let mut service = enrolled();
        let asked = service.begin();
        let contradiction = Err(EnrolmentError::Message(MessageError::Contradiction));
        assert_eq!(service.renew(asked.request(), later(11)).map(drop), contradiction, "too early");
        // Of a certificate that was renewed already.
        let serial = core::mem::replace(&mut service.serial, CertificateSerial([9; 16]));
        assert_eq!(service.renew(asked.request(), later(13)).map(drop), contradiction);
        service.serial = serial;
        // By another key, with the certificate of the service, or with its own.
        let other = enrolled_as("archive");
        let stolen = Renewing::begin(&service.enrolled, &other.world.key, &mut service.world.rng).unwrap();
        let refused = service.renew(stolen.request(), later(13)).map(drop);
        assert_eq!(refused, Err(EnrolmentError::Message(MessageError::Header)));
        let own = Renewing::begin(&other.enrolled, &other.world.key, &mut service.world.rng).unwrap();
        let refused = service.renew(own.request(), later(13)).map(drop);
        assert_eq!(refused, Err(EnrolmentError::Message(MessageError::Header)));
        // Changed anywhere.
        for index in (0..asked.request().len()).step_by(5) {
            let mut changed = asked.request().to_vec();
            changed[index] ^= 1;
            assert!(service.renew(&changed, later(13)).is_err(), "{index}");
        }
    }

    fn enrolled_as(name: &str) -> Renewal {
        let mut world = World::new();
        world.ticket.name = name.parse().unwrap();
        world.kept = *derive_enrolment_key(&world.ticket.secret, &world.ticket.id, &world.ticket.name).unwrap();
        world.key = PrivateKey::make(&mut StdRng::seed_from_u64(99));
        enrolled_in(world)
    }

    #[test]
    fn an_answer_counts_for_its_own_request_and_from_this_site_only() {
        let mut service = enrolled();
        let (asked, other) = (service.begin(), service.begin());
        let answer = service.renew(asked.request(), later(13)).unwrap();
        let finish = |renewing: &Renewing, answer: &[u8]| {
            renewing.finish(&service.enrolled, &service.world.key, answer, later(13)).map(drop)
        };
        assert_eq!(finish(&asked, &answer.answer), Ok(()));
        assert!(finish(&other, &answer.answer).is_err());
        for index in (0..answer.answer.len()).step_by(7) {
            let mut changed = answer.answer.clone();
            changed[index] ^= 1;
            assert!(finish(&asked, &changed).is_err(), "{index}");
        }
        let mut elsewhere = service.enrolled.clone();
        elsewhere.root = Sha256([1; 32]);
        assert!(asked.finish(&elsewhere, &service.world.key, &answer.answer, later(13)).is_err());
        assert!(asked.is_of(&service.enrolled));
    }
}

//! Renewal of a certificate, between the two machines.

mod vectors;

use super::site::{Pair, fingerprint};
use crate::control_unit::PairedDevice;
use crate::message::MessageError;
use crate::renewal::{
    DeviceRenewal, KnownDevice, Renewal, RenewalAction, RenewalRefusal, RenewedDevice, RenewingControlUnit,
    RenewingDevice, renews_at,
};
use core::time::Duration;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::EnvelopeError;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, ChainError};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{CertificateSerial, Purpose, Sha256};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

/// A paired device, and the site that paired it.
pub(super) struct Fleet {
    pub(super) pair: Pair,
    pub(super) paired: PairedDevice,
    state: DeviceState,
    lifetime: Duration,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self::of("infusion-pump/pump-1")
    }

    pub(super) fn of(name: &str) -> Self {
        let mut pair = Pair::requested_as(name);
        pair.accept(Some(Mode::PairingSimple));
        for _ in 0..2 {
            pair.deliver_t2();
            pair.deliver_t3();
        }
        let paired = pair.paired().unwrap();
        let lifetime = pair.site.policy.certificate_lifetime;
        Self { pair, paired, state: DeviceState::Paired, lifetime }
    }

    /// When the device's certificate is due.
    fn due() -> Self {
        let mut fleet = Self::new();
        fleet.pair.now = renews_at(&fleet.certificate());
        fleet
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::parse(&self.paired.certificate).unwrap()
    }

    pub(super) fn cert_ca(&self) -> Sha256 {
        self.pair.site.cert_ca()
    }

    fn begin(&mut self) -> DeviceRenewal {
        let cert_ca = self.cert_ca();
        let Self { pair: Pair { name, key, now, rng, .. }, paired, .. } = self;
        let device = RenewingDevice { device: name, key, certificate: &paired.certificate, cert_ca: &cert_ca };
        DeviceRenewal::begin(device, *now, rng).unwrap()
    }

    fn answered(&mut self, renewal: &mut DeviceRenewal, payload: &[u8]) -> Result<(), RenewalRefusal> {
        let cert_ca = self.cert_ca();
        let Self { pair: Pair { name, key, now, rng, .. }, paired, .. } = self;
        let device = RenewingDevice { device: name, key, certificate: &paired.certificate, cert_ca: &cert_ca };
        renewal.receive(device, payload, *now, rng)
    }

    pub(super) fn stamped(&self, topic: &Topic, payload: &[u8], serial: CertificateSerial) -> StampedMessage {
        StampedMessage {
            topic: topic.to_string(),
            payload: ByteBuf::from(payload.to_vec()),
            publisher: Publisher::Key {
                key: fingerprint(&self.pair.key),
                device: self.pair.name.clone(),
                certificate: Some((serial, self.pair.name.purpose())),
            },
            accepted_at: self.pair.now,
            sequence: 1,
            network: NetworkOrigin::default(),
        }
    }

    fn on_renewals(&self, payload: &[u8], serial: CertificateSerial) -> StampedMessage {
        self.stamped(&Topic::Renew(self.pair.name.client.clone()), payload, serial)
    }

    fn take(
        &mut self,
        before: Option<Renewal>,
        stamped: &StampedMessage,
    ) -> Result<(Renewal, Vec<RenewalAction>), RenewalRefusal> {
        let Self { pair: Pair { site, name, now, rng, .. }, paired, state, lifetime } = self;
        let known = KnownDevice {
            device: name,
            key: paired.key,
            certificate: &paired.certificate,
            state: *state,
            trust: paired.trust,
            channels: &paired.channels,
        };
        let control_unit =
            RenewingControlUnit { signer: site.control_unit().signer, ca: &site.ca, certificate_lifetime: *lifetime };
        Renewal::receive(before, stamped, known, control_unit, *now, rng)
    }

    /// Request and answer: the device has its new certificate, and the confirmation is on its way.
    fn exchanged(&mut self) -> (DeviceRenewal, Renewal) {
        let mut device = self.begin();
        let request = self.on_renewals(device.publishes().unwrap(), self.paired.serial);
        let (site, actions) = self.take(None, &request).unwrap();
        self.answered(&mut device, &published(&actions)).unwrap();
        (device, site)
    }

    fn finish_of(&self, device: &DeviceRenewal) -> StampedMessage {
        let serial = Certificate::parse(&device.renewed().unwrap().certificate).unwrap().serial();
        self.on_renewals(device.publishes().unwrap(), serial)
    }
}

fn published(actions: &[RenewalAction]) -> Vec<u8> {
    let payload = |action: &RenewalAction| match action {
        RenewalAction::Publish { payload, .. } => Some(payload.clone()),
        _ => None,
    };
    actions.iter().find_map(payload).unwrap()
}

fn granted(actions: &[RenewalAction]) -> Vec<CertificateSerial> {
    let grant = |action: &RenewalAction| match action {
        RenewalAction::Grant(grant) => Some(grant.clone()),
        _ => None,
    };
    let grant = actions.iter().find_map(grant).unwrap();
    assert_eq!(grant.state, DeviceState::Paired);
    grant.certificates.iter().map(|granted| granted.serial).collect()
}

fn renewed(actions: &[RenewalAction]) -> Option<RenewedDevice> {
    actions.iter().find_map(|action| match action {
        RenewalAction::Renewed(renewed) => Some((**renewed).clone()),
        _ => None,
    })
}

fn refusal<T>(result: Result<T, RenewalRefusal>) -> RenewalRefusal {
    result.err().unwrap()
}

#[test]
fn keys_that_are_stored_elsewhere_are_erased_from_a_finished_pairing() {
    let mut fleet = Fleet::new();
    let pump = &mut fleet.pair.pump;
    assert!(!pump.pairing().unwrap().channels.is_empty() && !pump.erase_keys(), "not before it is delivered");
    let (topic, payload) = pump.plan().publish.map(|(topic, payload)| (topic, payload.to_vec())).unwrap();
    pump.delivered(&topic, &payload);
    let before = pump.snapshot().unwrap();
    assert!(pump.erase_keys() && !pump.erase_keys());
    let after = pump.snapshot().unwrap();
    let holds = |snapshot: &[u8], secret: &[u8]| snapshot.windows(secret.len()).any(|window| window == secret);
    for secret in [fleet.paired.wrap_key.as_slice(), &fleet.pair.site.channels[0].key] {
        assert!(holds(&before, secret) && !holds(&after, secret));
    }
    assert!(fleet.pair.pump.is_paired());
}

#[test]
fn a_gateway_renews_as_a_gateway() {
    let mut fleet = Fleet::of("gateway/ward-3");
    assert_eq!(fleet.certificate().purpose(), Some(Purpose::Gateway));
    fleet.pair.now = renews_at(&fleet.certificate());
    let (device, site) = fleet.exchanged();
    let new = Certificate::parse(&device.renewed().unwrap().certificate).unwrap();
    assert_eq!(new.purpose(), Some(Purpose::Gateway));
    let finish = fleet.finish_of(&device);
    let as_device = StampedMessage {
        publisher: Publisher::Key {
            key: fleet.paired.key,
            device: fleet.pair.name.clone(),
            certificate: Some((new.serial(), Purpose::Device)),
        },
        ..finish.clone()
    };
    assert_eq!(refusal(fleet.take(Some(site.clone()), &as_device)), RenewalRefusal::Publisher);
    let (_, actions) = fleet.take(Some(site), &finish).unwrap();
    let grants = actions.iter().filter_map(|action| match action {
        RenewalAction::Grant(grant) => Some(grant.certificates.iter().map(|granted| granted.purpose)),
        _ => None,
    });
    assert_eq!(grants.flatten().collect::<Vec<_>>(), [Purpose::Gateway]);
}

#[test]
fn a_renewal_replaces_certificate_and_k_wrap_on_both_sides() {
    let mut fleet = Fleet::due();
    let old = fleet.paired.serial;
    let mut device = fleet.begin();
    let request = fleet.on_renewals(device.publishes().unwrap(), old);
    let (site, actions) = fleet.take(None, &request).unwrap();
    let answer = published(&actions);
    assert!(device.is_answer(&answer) && device.renewed().is_none() && !site.is_finished());
    assert!(site.standing() == Some((Topic::Device(fleet.pair.name.clone()), answer.clone())));
    fleet.answered(&mut device, &answer).unwrap();
    let new = Certificate::parse(&device.renewed().unwrap().certificate).unwrap();
    assert_eq!(granted(&actions), [old, new.serial()]);
    assert_eq!(new.key(), fleet.certificate().key());
    assert!(new.validity().not_after > fleet.certificate().validity().not_after);

    let finish = fleet.finish_of(&device);
    let (site, actions) = fleet.take(Some(site), &finish).unwrap();
    assert!(site.is_finished() && site.standing().is_none());
    assert_eq!(granted(&actions), [new.serial()]);
    let renewed = renewed(&actions).unwrap();
    assert_eq!((renewed.serial, renewed.replaces), (new.serial(), old));
    assert_eq!(renewed.wrap_key, device.renewed().unwrap().wrap_key);
    assert_ne!(renewed.wrap_key, fleet.paired.wrap_key);
    let payload = device.publishes().unwrap().to_vec();
    assert!(!device.delivered(b"something else") && device.delivered(&payload));
    assert!(device.is_finished() && device.publishes().is_none());
}

#[test]
fn both_sides_go_on_from_what_they_stored_and_repeat_themselves_exactly() {
    let mut fleet = Fleet::due();
    let restart = |device: &DeviceRenewal| DeviceRenewal::restore(&device.snapshot().unwrap()).unwrap();
    let mut device = fleet.begin();
    device = restart(&device);
    let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    let (site, first) = fleet.take(None, &request).unwrap();
    let site = Renewal::restore(&site.snapshot().unwrap()).unwrap();
    // The answer was lost: the same request gets the same answer, and no second certificate.
    let (site, again) = fleet.take(Some(site), &request).unwrap();
    assert_eq!(published(&first), published(&again));
    assert_eq!(again.len(), 1);
    fleet.answered(&mut device, &published(&again)).unwrap();
    device = restart(&device);
    fleet.answered(&mut device, &published(&again)).unwrap();
    let finish = fleet.finish_of(&device);
    let (site, actions) = fleet.take(Some(site), &finish).unwrap();
    assert!(renewed(&actions).is_some());
    let site = Renewal::restore(&site.snapshot().unwrap()).unwrap();
    let (_, repeated) = fleet.take(Some(site), &finish).unwrap();
    assert!(repeated.is_empty());
    assert!(DeviceRenewal::restore(b"junk").is_err() && Renewal::restore(b"junk").is_err());
}

#[test]
fn a_device_whose_certificate_has_ended_renews_with_its_static_key() {
    let mut fleet = Fleet::new();
    fleet.pair.now = fleet.certificate().validity().not_after.after(Duration::from_hours(24));
    fleet.state = DeviceState::Expired;
    let (device, site) = fleet.exchanged();
    let finish = fleet.finish_of(&device);
    let (_, actions) = fleet.take(Some(site), &finish).unwrap();
    assert!(renewed(&actions).is_some_and(|renewed| renewed.certificate_ends > fleet.pair.now));
}

#[test]
fn a_device_that_is_revoked_locked_or_not_paired_renews_nothing() {
    let untrusted = [
        DeviceState::Unknown,
        DeviceState::Closing,
        DeviceState::Accepted,
        DeviceState::Certified,
        DeviceState::Confirmed,
        DeviceState::Locked,
        DeviceState::Revoked,
    ];
    for state in untrusted {
        let mut fleet = Fleet::due();
        let device = fleet.begin();
        let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
        fleet.state = state;
        assert_eq!(refusal(fleet.take(None, &request)), RenewalRefusal::NotTrusted);
        // Nor does one that was revoked between the answer and its confirmation.
        fleet.state = DeviceState::Paired;
        let (device, site) = fleet.exchanged();
        let finish = fleet.finish_of(&device);
        fleet.state = state;
        assert_eq!(refusal(fleet.take(Some(site), &finish)), RenewalRefusal::NotTrusted);
    }
}

#[test]
fn nobody_renews_for_another_device() {
    let mut fleet = Fleet::due();
    let device = fleet.begin();
    let genuine = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    let (key, name, serial) = (fleet.paired.key, fleet.pair.name.clone(), fleet.paired.serial);
    let other: Device = "infusion-pump/pump-2".parse().unwrap();
    let foreign_key = fingerprint(&PrivateKey::make(&mut fleet.pair.rng));
    let publisher = |key, device: &Device, certificate| Publisher::Key { key, device: device.clone(), certificate };
    let wrong = [
        Publisher::ControlUnit,
        publisher(foreign_key, &name, Some((serial, Purpose::Device))),
        publisher(key, &other, Some((serial, Purpose::Device))),
        publisher(key, &name, Some((CertificateSerial([0x41; 16]), Purpose::Device))),
        publisher(key, &name, Some((serial, Purpose::Pairing))),
        publisher(key, &name, None),
    ];
    for publisher in wrong {
        let forged = StampedMessage { publisher, ..genuine.clone() };
        assert_eq!(refusal(fleet.take(None, &forged)), RenewalRefusal::Publisher);
    }
    let moved = StampedMessage { topic: "ais/command/infusion-pump".into(), ..genuine };
    assert_eq!(refusal(fleet.take(None, &moved)), RenewalRefusal::OutOfPlace);
}

#[test]
fn a_request_that_another_key_signed_is_refused() {
    let mut fleet = Fleet::due();
    let other = PrivateKey::make(&mut fleet.pair.rng);
    let own = core::mem::replace(&mut fleet.pair.key, other);
    let forged = fleet.begin();
    fleet.pair.key = own;
    let stamped = fleet.on_renewals(forged.publishes().unwrap(), fleet.paired.serial);
    assert_eq!(refusal(fleet.take(None, &stamped)), MessageError::Header.into());
    let genuine = fleet.begin();
    let mut changed = genuine.publishes().unwrap().to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let stamped = fleet.on_renewals(&changed, fleet.paired.serial);
    let expected = MessageError::from(EnvelopeError::Authentication);
    assert_eq!(refusal(fleet.take(None, &stamped)), expected.into());
    let stamped = fleet.on_renewals(b"junk", fleet.paired.serial);
    assert!(matches!(refusal(fleet.take(None, &stamped)), RenewalRefusal::Message(MessageError::Envelope(_))));
}

#[test]
fn a_request_about_another_certificate_is_refused() {
    let mut fleet = Fleet::due();
    let device = fleet.begin();
    let request = device.publishes().unwrap().to_vec();
    // The device has paired again meanwhile, with the same key.
    let (first, site) = fleet.exchanged();
    let finish = fleet.finish_of(&first);
    let (_, actions) = fleet.take(Some(site), &finish).unwrap();
    let renewed = renewed(&actions).unwrap();
    fleet.paired.certificate = renewed.certificate.clone();
    fleet.paired.serial = renewed.serial;
    fleet.pair.now = renews_at(&fleet.certificate());
    let stamped = fleet.on_renewals(&request, renewed.serial);
    assert_eq!(refusal(fleet.take(None, &stamped)), MessageError::Contradiction.into());
}

#[test]
fn nobody_renews_without_end() {
    let mut fleet = Fleet::new();
    let device = fleet.begin();
    let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    assert_eq!(refusal(fleet.take(None, &request)), RenewalRefusal::TooEarly);
    let validity = fleet.certificate().validity();
    fleet.pair.now = UnixMillis(validity.not_before.0 + (validity.not_after.0 - validity.not_before.0) / 2);
    assert!(fleet.take(None, &request).is_ok());
    let due = renews_at(&fleet.certificate());
    assert!(due > fleet.pair.now && due < validity.not_after);
}

#[test]
fn a_new_request_takes_the_place_of_an_unfinished_one() {
    let mut fleet = Fleet::due();
    let (first, site) = fleet.exchanged();
    let second = fleet.begin();
    assert_eq!(second.deadline(), Some(fleet.pair.now.after(Duration::from_hours(1))));
    let request = fleet.on_renewals(second.publishes().unwrap(), fleet.paired.serial);
    let (site, actions) = fleet.take(Some(site), &request).unwrap();
    assert_eq!(granted(&actions).len(), 2);
    assert!(first.deadline().is_none() && !first.is_answer(&published(&actions)));
    let finish = fleet.finish_of(&first);
    assert_eq!(refusal(fleet.take(Some(site), &finish)), RenewalRefusal::Publisher);
    assert_eq!(refusal(fleet.take(None, &finish)), RenewalRefusal::OutOfPlace);
}

#[test]
fn an_answer_that_the_control_unit_did_not_sign_for_this_request_is_refused() {
    let mut fleet = Fleet::due();
    let mut device = fleet.begin();
    let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    let (_, actions) = fleet.take(None, &request).unwrap();
    let answer = published(&actions);
    // Another site.
    let genuine_root = fleet.pair.site.cert_ca();
    let mut other = Fleet::due();
    other.pair.site = super::site::Site::new(&mut StdRng::seed_from_u64(99));
    let chain_error = |error: ChainError| RenewalRefusal::from(MessageError::from(error));
    assert_eq!(refusal(other.answered(&mut device, &answer)), chain_error(ChainError::Root));
    assert_ne!(other.cert_ca(), genuine_root);
    // Another request's answer.
    let mut second = fleet.begin();
    assert!(!second.is_answer(&answer));
    assert_eq!(refusal(fleet.answered(&mut second, &answer)), MessageError::Header.into());
    // Changed on the way, or too long.
    for index in (0..answer.len()).step_by(31) {
        let mut changed = answer.clone();
        changed[index] ^= 1;
        assert!(fleet.answered(&mut device, &changed).is_err(), "byte {index}");
    }
    assert_eq!(refusal(fleet.answered(&mut device, &vec![0; 20_000])), RenewalRefusal::OutOfPlace);
    fleet.answered(&mut device, &answer).unwrap();
    assert_eq!(refusal(fleet.answered(&mut device, &answer[1..])), RenewalRefusal::OutOfPlace);
}

#[test]
fn an_answer_with_a_certificate_that_does_not_last_longer_is_refused() {
    let mut fleet = Fleet::due();
    fleet.lifetime = Duration::from_mins(5);
    let mut device = fleet.begin();
    let request = fleet.on_renewals(device.publishes().unwrap(), fleet.paired.serial);
    let (_, actions) = fleet.take(None, &request).unwrap();
    assert_eq!(refusal(fleet.answered(&mut device, &published(&actions))), MessageError::Contradiction.into());
}

#[test]
fn a_confirmation_with_the_old_certificate_or_from_nobody_who_has_the_keys_is_refused() {
    let mut fleet = Fleet::due();
    let (device, site) = fleet.exchanged();
    let finish = device.publishes().unwrap().to_vec();
    let by_old = fleet.on_renewals(&finish, fleet.paired.serial);
    assert_eq!(refusal(fleet.take(Some(site.clone()), &by_old)), RenewalRefusal::Publisher);
    let mut changed = fleet.finish_of(&device);
    let last = changed.payload.len() - 1;
    changed.payload[last] ^= 1;
    let expected = MessageError::from(EnvelopeError::Authentication);
    assert_eq!(refusal(fleet.take(Some(site.clone()), &changed)), expected.into());
    let finish = fleet.finish_of(&device);
    assert_eq!(refusal(fleet.take(None, &finish)), RenewalRefusal::OutOfPlace);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_lost_or_repeated_both_sides_agree(steps in prop::collection::vec(0..6_u8, 1..40)) {
        let mut fleet = Fleet::due();
        let mut device = fleet.begin();
        let mut site: Option<Renewal> = None;
        let mut standing: Option<Vec<u8>> = None;
        let mut taken_over: Option<RenewedDevice> = None;
        for step in steps {
            match step {
                // The device publishes what its plan says, with the certificate of that step.
                0 | 1 => {
                    let Some(payload) = device.publishes().map(<[u8]>::to_vec) else { continue };
                    let serial = device
                        .renewed()
                        .map_or(fleet.paired.serial, |renewed| Certificate::parse(&renewed.certificate).unwrap().serial());
                    let stamped = fleet.on_renewals(&payload, serial);
                    let (next, actions) = fleet.take(site.clone(), &stamped).unwrap();
                    standing = next.standing().map(|(_, payload)| payload);
                    taken_over = renewed(&actions).or(taken_over);
                    site = Some(next);
                    if step == 1 {
                        device.delivered(&payload);
                    }
                }
                2 | 3 => {
                    if let Some(answer) = &standing {
                        fleet.answered(&mut device, answer).unwrap();
                    }
                }
                4 => device = DeviceRenewal::restore(&device.snapshot().unwrap()).unwrap(),
                _ => site = site.map(|site| Renewal::restore(&site.snapshot().unwrap()).unwrap()),
            }
            if let Some(taken_over) = &taken_over {
                prop_assert_eq!(taken_over.wrap_key, device.renewed().unwrap().wrap_key);
            }
            prop_assert!(!device.is_finished() || taken_over.is_some());
        }
    }
}

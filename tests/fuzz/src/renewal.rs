//! Renewals and decommissioning: messages that were changed, and payloads that their signers never wrote.

use core::time::Duration;
use serde_bytes::ByteBuf;
use std::sync::LazyLock;
use wardlink_crypto::cose::{self, Header, Signed};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::decommission::{self, ALWAYS_WIPED, Order};
use wardlink_pairing::renewal::{
    DeviceRenewal, KnownDevice, Renewal, RenewalAction, RenewingControlUnit, RenewingDevice, renews_at,
};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{CertificateSerial, Purpose, SessionId, TrustLevel};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::{Publisher, StampedMessage};

use crate::site::{Site, rng, site};
use crate::{select, selected};

const LIFETIME: Duration = Duration::from_hours(24 * 365);

/// A renewal of the site's device, stopped at every step; and an order with its receipt.
struct Made {
    now: UnixMillis,
    certificate: Certificate,
    asking: DeviceRenewal,
    answered: Renewal,
    renewed: CertificateSerial,
    request: Vec<u8>,
    answer: Vec<u8>,
    finish: Vec<u8>,
    order: Order,
    receipt: Vec<u8>,
}

static MADE: LazyLock<Made> = LazyLock::new(Made::make);

impl Made {
    fn make() -> Self {
        let (site, mut rng) = (site(), rng());
        let certificate = Certificate::parse(&site.issued[1]).expect("a certificate");
        let now = renews_at(&certificate);
        let cert_ca = site.cert_ca();
        let device =
            RenewingDevice { device: &site.device, key: &site.key, certificate: &site.issued[1], cert_ca: &cert_ca };
        let asking = DeviceRenewal::begin(device, now, &mut rng).expect("a request");
        let request = asking.publishes().expect("a request").to_vec();
        let stamp = stamped(site, "ais/renew/infusion-pump", &request, certificate.serial(), now);
        let (answered, actions) = take(site, None, &stamp, now).expect("a renewal");
        let answer = actions.iter().find_map(|action| match action {
            RenewalAction::Publish { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        let answer = answer.expect("an answer");
        let mut pump = asking.clone();
        pump.receive(device, &answer, now, &mut rng).expect("the answer");
        let renewed = Certificate::parse(&pump.renewed().expect("the answer").certificate).expect("a certificate");
        let finish = pump.publishes().expect("the confirmation").to_vec();
        let signer = Signer { key: &site.signer, chain: &site.chain };
        let order = Order::give(site.device.clone(), site.fingerprint(), signer, now, &mut rng).expect("an order");
        let obeyed = decommission::obey(&order.payload, &site.device, &site.key, &cert_ca, now).expect("an order");
        let receipt = obeyed.receipt(&site.device, &site.key, ALWAYS_WIPED.to_vec(), now).expect("a receipt");
        let renewed = renewed.serial();
        Self { now, certificate, asking, answered, renewed, request, answer, finish, order, receipt }
    }

    fn receive(&self, payload: &[u8]) -> bool {
        let (site, mut pump) = (site(), self.asking.clone());
        let cert_ca = site.cert_ca();
        let device =
            RenewingDevice { device: &site.device, key: &site.key, certificate: &site.issued[1], cert_ca: &cert_ca };
        let taken = pump.receive(device, payload, self.now, &mut rng()).is_ok();
        assert_eq!(pump.renewed().is_some(), taken, "a refused answer left a trace");
        assert!(DeviceRenewal::restore(&pump.snapshot().expect("a snapshot")).is_ok());
        taken
    }

    fn take(&self, before: Option<Renewal>, payload: &[u8], serial: CertificateSerial) -> bool {
        let stamp = stamped(site(), "ais/renew/infusion-pump", payload, serial, self.now);
        take(site(), before, &stamp, self.now).is_some()
    }

    fn receipt_counts(&self, payload: &[u8]) -> bool {
        let stamp = stamped(site(), "ais/command/infusion-pump", payload, self.certificate.serial(), self.now);
        self.order.receipt(&stamp, &self.certificate).is_ok()
    }
}

fn take(
    site: &Site,
    before: Option<Renewal>,
    stamped: &StampedMessage,
    now: UnixMillis,
) -> Option<(Renewal, Vec<RenewalAction>)> {
    let known = KnownDevice {
        device: &site.device,
        key: site.fingerprint(),
        certificate: &site.issued[1],
        state: DeviceState::Paired,
        trust: TrustLevel::Full,
        channels: &[],
    };
    let signer = Signer { key: &site.signer, chain: &site.chain };
    let control_unit = RenewingControlUnit { signer, ca: &site.ca, certificate_lifetime: LIFETIME };
    Renewal::receive(before, stamped, known, control_unit, now, &mut rng()).ok()
}

fn stamped(site: &Site, topic: &str, payload: &[u8], serial: CertificateSerial, now: UnixMillis) -> StampedMessage {
    StampedMessage {
        topic: topic.into(),
        payload: ByteBuf::from(payload),
        publisher: Publisher::Key {
            key: site.fingerprint(),
            device: site.device.clone(),
            certificate: Some((serial, Purpose::Device)),
        },
        accepted_at: now,
        sequence: 1,
        network: NetworkOrigin::default(),
    }
}

/// What the holder of `key` would have signed.
fn signed(key: &PrivateKey, chain: &[ByteBuf], session: Option<SessionId>, topic: &str, payload: &[u8]) -> Vec<u8> {
    let kid = key.public().fingerprint().expect("a key").as_bytes().to_vec();
    let header = Header { kid, chain: chain.to_vec(), session, ..Header::default() };
    cose::sign(&header, key, topic.as_bytes(), payload).expect("an envelope")
}

fn payload_of(message: &[u8], key: &PrivateKey, topic: &str) -> (Option<SessionId>, Vec<u8>) {
    let envelope = Signed::parse(message, message.len()).expect("an envelope");
    let payload = envelope.verify(&key.public(), topic.as_bytes()).expect("the signer's message").to_vec();
    (envelope.header().session, payload)
}

const T2: &str = "ais/infusion-pump/pump-1";
const T3: &str = "ais/command/infusion-pump";
const RENEW: &str = "ais/renew/infusion-pump";

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let (site, made) = (site(), &*MADE);
    let own = made.certificate.serial();
    let session = payload_of(&made.request, &site.key, RENEW).0;
    match selector % 9 {
        0 => assert!(!made.receive(bytes) || same(bytes, &made.answer, &site.signer, T2), "a foreign answer counts"),
        // The control unit says something else: only a whole answer to this request is taken.
        1 => drop(made.receive(&signed(&site.signer, &site.chain, session, T2, bytes))),
        2 => assert!(!made.take(None, bytes, own) || same(bytes, &made.request, &site.key, RENEW)),
        3 => drop(made.take(None, &signed(&site.key, &[], session, RENEW, bytes), own)),
        4 => {
            let counts = made.take(Some(made.answered.clone()), bytes, made.renewed);
            assert!(!counts || bytes == made.finish || bytes == made.request, "a foreign confirmation counts");
        }
        5 => {
            let obeyed = decommission::obey(bytes, &site.device, &site.key, &site.cert_ca(), made.now).is_ok();
            assert!(!obeyed || same(bytes, &made.order.payload, &site.signer, T2), "a foreign order is obeyed");
        }
        6 => {
            let order = signed(&site.signer, &site.chain, None, T2, bytes);
            drop(decommission::obey(&order, &site.device, &site.key, &site.cert_ca(), made.now));
        }
        7 => assert!(!made.receipt_counts(bytes) || same(bytes, &made.receipt, &site.key, T3)),
        _ => drop(made.receipt_counts(&signed(&site.key, &[], None, T3, bytes))),
    }
}

/// Whether two signed messages say the same; ECDSA is malleable, so that their bytes may differ.
fn same(a: &[u8], b: &[u8], key: &PrivateKey, topic: &str) -> bool {
    payload_of(a, key, topic) == payload_of(b, key, topic)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (site, made) = (site(), &*MADE);
    let payload = |message: &[u8], key, topic| payload_of(message, key, topic).1;
    vec![
        select(0, &made.answer),
        select(1, &payload(&made.answer, &site.signer, T2)),
        select(2, &made.request),
        select(3, &payload(&made.request, &site.key, RENEW)),
        select(4, &made.finish),
        select(5, &made.order.payload),
        select(6, &payload(&made.order.payload, &site.signer, T2)),
        select(7, &made.receipt),
        select(8, &payload(&made.receipt, &site.key, T3)),
    ]
}

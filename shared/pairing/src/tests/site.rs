//! A site and a device for tests.

use core::time::Duration;
use data_encoding::BASE64;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity, certify, read_certificates};
use wardlink_protocol::channel::{ChannelKey, default_channels};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyFingerprint, KeyId, Purpose, SecretId, SessionId, Sha256};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, Mode};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use crate::control_unit::{Acceptance, Action, Arrived, ControlUnit, KeyGrant, PairedDevice, Session, Signer};
use crate::device::{Credential, DevicePairing, Display, NetworkAccess, Provisioned};
use crate::policy::{Network, Policy};

pub(crate) const START: UnixMillis = UnixMillis::from_secs(1_800_000_000);
pub(super) const BOTH: DisplayAbilities = DisplayAbilities { code: true, qr: true, digit_entry: false };

pub(super) fn information(display: DisplayAbilities) -> DeviceInformation {
    DeviceInformation {
        device_type: "Infusion pump".into(),
        family: "Ward".into(),
        model: "W1".into(),
        serial_number: "SN-0042".into(),
        firmware_version: "1.0.0".into(),
        hardware_id: "rev-b".into(),
        display,
    }
}

/// OpenSSL made what is read here: `tests/vectors/est/make.sh`.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/vectors/est/", $name))
    };
}

/// The control unit of a site.
pub(crate) struct Site {
    pub(crate) ca: IssuingCa,
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<ByteBuf>,
    pub(crate) policy: Policy,
    pub(crate) network: NetworkAccess,
    pub(crate) channels: Vec<ChannelKey>,
    pub(crate) secret_id: SecretId,
    pub(crate) secret: AccessSecret,
}

impl Site {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        let validity = Validity { not_before: UnixMillis(0), not_after: START.after(Duration::from_hours(24 * 3650)) };
        let root = RootCa::make("Test root", validity, rng).unwrap();
        let ca = root.make_issuing_ca("Test issuing CA", validity, rng).unwrap();
        Self::with_ca(ca, rng)
    }

    /// The control unit of a hospital with a CA between its root and the site's.
    pub(crate) fn below_another_ca(rng: &mut StdRng) -> Self {
        let key = BASE64.decode(vector!("site-below.pkcs8").replace('\n', "").as_bytes()).unwrap();
        let key = PrivateKey::from_pkcs8(&key).unwrap();
        let given = read_certificates(vector!("site-below").as_bytes()).unwrap();
        let known = read_certificates(vector!("cacerts").as_bytes()).unwrap();
        let root = vector!("root.sha256").trim().parse().unwrap();
        let chain = certify(&given, &known, &key.public(), &root, START).unwrap();
        let [own, between, root] = <[Certificate; 3]>::try_from(chain).unwrap();
        Self::with_ca(IssuingCa::restore_below(key, own, vec![between], root).unwrap(), rng)
    }

    fn with_ca(ca: IssuingCa, rng: &mut StdRng) -> Self {
        let validity = ca.certificate().validity();
        let key = PrivateKey::make(rng);
        let own = ca.issue(&Holder::ControlUnit("Test site".into()), &key.public(), validity, rng).unwrap();
        let mut chain = vec![own.to_bytes()];
        chain.extend(ca.chain());
        let network = NetworkAccess {
            broker_host: "localhost:8787".into(),
            tls_anchors: vec![ca.root().to_bytes()],
            web_pki: false,
            web_origin: "https://wardlink.example".into(),
            chain: Vec::new(),
        };
        let channels = default_channels()
            .into_iter()
            .zip(1u8..)
            .map(|(channel, number)| ChannelKey { channel, kid: KeyId([number; 8]), epoch: 1, key: [number; 32] })
            .collect();
        let secret = AccessSecret::new(vec![7; 16]).unwrap();
        let policy = Policy::default();
        Self { ca, key, chain, policy, network, channels, secret_id: "hospital".parse().unwrap(), secret }
    }

    pub(super) fn control_unit(&self) -> ControlUnit<'_> {
        ControlUnit {
            signer: Signer { key: &self.key, chain: &self.chain },
            ca: &self.ca,
            policy: &self.policy,
            network: &self.network,
            channels: &self.channels,
        }
    }

    pub(crate) fn cert_ca(&self) -> Sha256 {
        self.ca.root().sha256()
    }

    /// What a device is given beforehand.
    pub(super) const fn provisioned<'a>(
        &'a self,
        device: &'a Device,
        key: &'a PrivateKey,
        cert_ca: Option<Sha256>,
    ) -> Provisioned<'a> {
        let (secret_id, secret) = (&self.secret_id, &self.secret);
        Provisioned { device, key, secret_id, secret, cert_ca, simple_without_cert_ca: false }
    }
}

/// A device, and the control unit's session for it.
pub(super) struct Pair {
    pub(super) site: Site,
    pub(super) name: Device,
    pub(super) key: PrivateKey,
    pub(super) pump: DevicePairing,
    pub(super) session: Session,
    pub(super) now: UnixMillis,
    pub(super) rng: StdRng,
    /// What the device is provisioned with; none: the hospital could not give it.
    pub(super) cert_ca: Option<Sha256>,
    /// Its local setting.
    pub(super) simple_without_cert_ca: bool,
    /// Everything that the control unit said to do, in order.
    pub(super) actions: Vec<Action>,
}

impl Pair {
    /// A device whose request has arrived.
    pub(super) fn requested(display: DisplayAbilities) -> Self {
        Self::requested_over(Network::Untrusted, display, 1)
    }

    pub(super) fn requested_over(network: Network, display: DisplayAbilities, seed: u64) -> Self {
        Self::requested_with("infusion-pump/pump-1", network, display, seed, true)
    }

    /// A device that was given no CertCA.
    pub(super) fn requested_without_cert_ca(network: Network, display: DisplayAbilities) -> Self {
        Self::requested_with("infusion-pump/pump-1", network, display, 1, false)
    }

    /// A device of another name, in a secured network.
    pub(super) fn requested_as(name: &str) -> Self {
        Self::requested_with(name, Network::Secured, BOTH, 1, true)
    }

    fn requested_with(name: &str, network: Network, display: DisplayAbilities, seed: u64, knows_cert_ca: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let site = Site::new(&mut rng);
        let name: Device = name.parse().unwrap();
        let key = PrivateKey::make(&mut rng);
        let cert_ca = knows_cert_ca.then(|| site.cert_ca());
        let provisioned = site.provisioned(&name, &key, cert_ca);
        let pump = DevicePairing::start(provisioned, information(display), Vec::new(), START, &mut rng).unwrap();
        let stamped = stamped(&pump, &name, &key, START);
        let arrived = Arrived::parse(&stamped).unwrap();
        let session = arrived.open(&site.secret, network, None, &site.policy).unwrap();
        let simple_without_cert_ca = false;
        Self { site, name, key, pump, session, now: START, rng, cert_ca, simple_without_cert_ca, actions: Vec::new() }
    }

    /// A device that shows its code and its QR code.
    pub(super) fn verifying(mode: Mode) -> Self {
        let mut pair = Self::requested(BOTH);
        pair.accept(Some(mode));
        pair.deliver_t2();
        pair.deliver_t3();
        pair
    }

    pub(super) fn provisioned(&self) -> Provisioned<'_> {
        let provisioned = self.site.provisioned(&self.name, &self.key, self.cert_ca);
        Provisioned { simple_without_cert_ca: self.simple_without_cert_ca, ..provisioned }
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    pub(super) fn accept(&mut self, mode: Option<Mode>) {
        let acceptance = Acceptance { mode, location: "Bed 7".into(), accepted_by: "nurse".into() };
        let actions = self.session.accept(acceptance, self.site.control_unit(), self.now, &mut self.rng).unwrap();
        self.actions.extend(actions);
    }

    /// The device reads what stands on its T2.
    pub(super) fn deliver_t2(&mut self) {
        let payload = self.t2().unwrap();
        self.receive(&payload).unwrap();
    }

    pub(super) fn receive(&mut self, payload: &[u8]) -> Result<(), crate::device::Refusal> {
        let Self { site, name, key, cert_ca, simple_without_cert_ca, pump, now, rng, .. } = self;
        let provisioned = site.provisioned(name, key, *cert_ca);
        let provisioned = Provisioned { simple_without_cert_ca: *simple_without_cert_ca, ..provisioned };
        pump.receive(provisioned, payload, *now, rng)
    }

    /// The control unit takes what the device publishes.
    pub(super) fn deliver_t3(&mut self) {
        let message = self.published();
        self.take(&message).unwrap();
    }

    /// What the device publishes, as the bridge stamps it.
    pub(super) fn published(&self) -> StampedMessage {
        stamped(&self.pump, &self.name, &self.key, self.now)
    }

    pub(super) fn take(&mut self, message: &StampedMessage) -> Result<(), crate::control_unit::Refusal> {
        let actions = self.session.receive(message, self.site.control_unit(), self.now, &mut self.rng)?;
        self.actions.extend(actions);
        Ok(())
    }

    /// The newest message that the control unit published on T2.
    pub(super) fn t2(&self) -> Option<Vec<u8>> {
        let t2 = Topic::Device(self.name.clone());
        self.actions.iter().rev().find_map(|action| match action {
            Action::Publish { topic, payload } if *topic == t2 => Some(payload.clone()),
            _ => None,
        })
    }

    pub(super) fn grants(&self) -> Vec<KeyGrant> {
        let grant = |action: &Action| if let Action::Grant(grant) = action { Some(grant.clone()) } else { None };
        self.actions.iter().filter_map(grant).collect()
    }

    pub(super) fn granted_states(&self) -> Vec<DeviceState> {
        self.grants().iter().map(|grant| grant.state).collect()
    }

    pub(super) fn paired(&self) -> Option<PairedDevice> {
        self.actions.iter().find_map(|action| match action {
            Action::Paired(paired) => Some((**paired).clone()),
            _ => None,
        })
    }

    /// What a person reads from the display.
    pub(super) fn shown(&self) -> (Option<String>, Option<String>) {
        match self.pump.display().unwrap() {
            Display::Verifying { code, link, .. } => {
                (code.map(|code| code.to_string()), link.map(|link| link.to_string()))
            }
            _ => (None, None),
        }
    }

    /// Both sides lose their memory and go on from what they stored.
    pub(super) fn restart_both(&mut self) {
        self.pump = DevicePairing::restore(&self.pump.snapshot().unwrap()).unwrap();
        self.session = Session::restore(&self.session.snapshot().unwrap()).unwrap();
    }
}

pub(super) fn fingerprint(key: &PrivateKey) -> KeyFingerprint {
    key.public().fingerprint().unwrap()
}

/// What the device's plan publishes, stamped as the bridge would.
pub(super) fn stamped(pump: &DevicePairing, name: &Device, key: &PrivateKey, now: UnixMillis) -> StampedMessage {
    let plan = pump.plan();
    let (topic, payload) = plan.publish.unwrap();
    let certificate = match plan.credential {
        Credential::BareKey => None,
        Credential::Certificate(der) => {
            let certificate = Certificate::parse(der).unwrap();
            Some((certificate.serial(), certificate.purpose().unwrap()))
        }
    };
    StampedMessage {
        topic: topic.to_string(),
        payload: ByteBuf::from(payload.to_vec()),
        publisher: Publisher::Key { key: fingerprint(key), device: name.clone(), certificate },
        accepted_at: now,
        sequence: 1,
        network: NetworkOrigin::default(),
    }
}

/// An idempotency key.
pub(super) fn attempt(number: u8) -> SessionId {
    SessionId([number; 16])
}

/// The purpose of the certificate that the device connects with.
pub(super) fn credential(pump: &DevicePairing) -> Option<Purpose> {
    match pump.plan().credential {
        Credential::BareKey => None,
        Credential::Certificate(der) => Certificate::parse(der).unwrap().purpose(),
    }
}

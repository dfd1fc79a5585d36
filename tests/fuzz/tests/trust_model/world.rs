//! The site, its devices, and what has to hold between them.

mod checks;
mod keys;
mod messages;
mod pairing;
mod services;

use crate::bridge::{Bridge, Shown};
use crate::pump::Pump;
use crate::service::Service;
use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_bridge::ConnectionId;
use wardlink_bridge::auth::ControlUnit as BridgeControlUnit;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_pairing::control_unit::PairedDevice;
use wardlink_pairing::device::NetworkAccess;
use wardlink_pairing::policy::Policy;
use wardlink_pairing::renewal::Renewal;
use wardlink_protocol::channel::{Channel, default_channels};
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, KeyId};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::Receiver;
use wardlink_trust::epochs::{Knowledge, Line, LineId, Why};

const START: UnixMillis = UnixMillis::from_secs(1_800_000_000);
/// How long a service's certificate lasts.
const SERVICE_LIFETIME: Duration = Duration::from_hours(24 * 30);

/// A nonce under a key: kid, topic, instance and IV; of wraps, kid and IV.
type Nonce = (Vec<u8>, String, Vec<u8>, [u8; 12]);

/// What the site knows of one device.
struct Member {
    paired: PairedDevice,
    key: PublicKey,
    knowledge: Knowledge,
    revoked: bool,
    renewal: Option<Renewal>,
}

/// Something that a device or service has had, to show to the bridge.
#[derive(Clone)]
struct Held {
    shown: Shown,
    key: KeyFingerprint,
    /// Of a certificate, its serial number.
    serial: Option<CertificateSerial>,
}

impl Held {
    fn bare(key: &PrivateKey, device: &Device) -> Self {
        Self { shown: Shown::bare(key, device), key: key.public().fingerprint().unwrap(), serial: None }
    }

    fn certificate(key: &PrivateKey, certificate: &ByteBuf) -> Self {
        Self {
            shown: Shown::certificate(key, certificate),
            key: key.public().fingerprint().unwrap(),
            serial: Some(Certificate::parse(certificate).unwrap().serial()),
        }
    }
}

/// A connection that a device keeps.
#[derive(Clone, Copy)]
struct Kept {
    id: ConnectionId,
    key: KeyFingerprint,
    serial: CertificateSerial,
}

/// What the bridge said so far, to show that all of it is tried.
#[derive(Default)]
struct Said {
    granted: usize,
    denied: usize,
    shut_out: usize,
    heard: usize,
}

/// A site and its devices.
pub(crate) struct World {
    bridge: Bridge,
    /// Everything that each device, and each service, ever had to show.
    held: BTreeMap<usize, Vec<Held>>,
    held_by_services: BTreeMap<usize, Vec<Held>>,
    kept: BTreeMap<usize, Kept>,
    said: Said,
    rng: StdRng,
    now: UnixMillis,
    ca: IssuingCa,
    signer: PrivateKey,
    chain: Vec<ByteBuf>,
    policy: Policy,
    network: NetworkAccess,
    secret: AccessSecret,
    lines: BTreeMap<LineId, Line>,
    members: BTreeMap<usize, Member>,
    pumps: BTreeMap<usize, Pump>,
    services: BTreeMap<usize, Service>,
    /// What waits on each T2.
    queues: BTreeMap<usize, Vec<Vec<u8>>>,
    receivers: BTreeMap<String, Receiver>,
    /// The model's own memory: until when each key's messages count; none for the current ones.
    ends: BTreeMap<KeyId, UnixMillis>,
    /// Every message that was published, and whether it counted.
    published: Vec<(StampedMessage, bool)>,
    nonces: BTreeSet<Nonce>,
    counted: usize,
    refused: usize,
}

fn name(number: usize) -> Device {
    format!("infusion-pump/p{number}").parse().unwrap()
}

fn rows() -> Vec<Channel> {
    default_channels()
}

impl World {
    pub(crate) fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(9);
        let validity =
            Validity { not_before: UnixMillis(0), not_after: START.after(Duration::from_hours(24 * 36_500)) };
        let root = RootCa::make("Root", validity, &mut rng).unwrap();
        let ca = root.make_issuing_ca("CA", validity, &mut rng).unwrap();
        let signer = PrivateKey::make(&mut rng);
        let own = ca.issue(&Holder::ControlUnit("Site".into()), &signer.public(), validity, &mut rng).unwrap();
        let chain = [vec![own.to_bytes()], ca.chain()].concat();
        let network = NetworkAccess {
            broker_host: "localhost:8787".into(),
            tls_anchors: Vec::new(),
            web_pki: false,
            web_origin: "https://wardlink.example".into(),
            chain: Vec::new(),
        };
        let key = signer.to_pkcs8().unwrap();
        let control_unit = BridgeControlUnit::new(chain.clone(), &key, &[ca.certificate().to_bytes()]).unwrap();
        let policy = Policy { certificate_lifetime: Duration::from_hours(24 * 30), ..Policy::default() };
        Self {
            bridge: Bridge::new(control_unit, START),
            held: BTreeMap::new(),
            held_by_services: BTreeMap::new(),
            kept: BTreeMap::new(),
            said: Said::default(),
            rng,
            now: START,
            ca,
            signer,
            chain,
            policy,
            network,
            secret: AccessSecret::new(vec![7; 16]).unwrap(),
            lines: BTreeMap::new(),
            members: BTreeMap::new(),
            pumps: BTreeMap::new(),
            services: BTreeMap::new(),
            queues: BTreeMap::new(),
            receivers: BTreeMap::new(),
            ends: BTreeMap::new(),
            published: Vec::new(),
            nonces: BTreeSet::new(),
            counted: 0,
            refused: 0,
        }
    }

    pub(crate) const fn tally(&self) -> (usize, usize) {
        (self.counted, self.refused)
    }

    pub(crate) fn with_pump(&mut self, device: usize, act: fn(&mut Pump)) {
        if let Some(pump) = self.pumps.get_mut(&device) {
            act(pump);
        }
    }

    /// How often the bridge granted a subscription, denied one, and let somebody not in; and how often a device heard the control unit.
    pub(crate) const fn bridge_tally(&self) -> (usize, usize, usize, usize) {
        let Said { granted, denied, shut_out, heard } = self.said;
        (granted, denied, shut_out, heard)
    }

    pub(crate) fn restart_site(&mut self) {
        self.bridge.restart();
        for line in self.lines.values_mut() {
            let stored = cbor::encode(line).unwrap();
            *line = cbor::decode(&stored, stored.len()).unwrap();
        }
        for member in self.members.values_mut() {
            let stored = cbor::encode(&member.knowledge).unwrap();
            member.knowledge = cbor::decode(&stored, stored.len()).unwrap();
        }
        for receiver in self.receivers.values_mut() {
            let stored = cbor::encode(receiver).unwrap();
            *receiver = cbor::decode(&stored, stored.len()).unwrap();
        }
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        // The schedule, as a shell's timer has it.
        let due = |line: &&Line| line.due_at().is_some_and(|due| due <= self.now);
        let due: Vec<LineId> = self.lines.values().filter(due).map(|line| line.id().clone()).collect();
        for line in due {
            self.make_key(&line, Why::Schedule);
        }
        for line in self.lines.values_mut() {
            line.tick(self.now);
        }
        self.bridge.set_time(self.now);
        let ended = |member: &&Member| !member.revoked && member.paired.certificate_ends <= self.now;
        for member in self.members.values().filter(ended) {
            self.bridge.expire(member.paired.key);
        }
    }

    /// Whether the device can connect with its certificate.
    fn is_let_in(&self, number: usize) -> bool {
        let (Some(member), Some(pump)) = (self.members.get(&number), self.pumps.get(&number)) else { return false };
        !member.revoked && pump.serial() == member.paired.serial
    }
}

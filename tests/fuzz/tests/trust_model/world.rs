//! The site, its devices, and what has to hold between them.

use crate::DEVICES;
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
use wardlink_crypto::cose::Encrypted;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_pairing::control_unit::{Acceptance, Action as Paired, Arrived, Begun, ControlUnit, PairedDevice, Signer};
use wardlink_pairing::device::{DevicePairing, Display, NetworkAccess, Provisioned};
use wardlink_pairing::policy::{Network, Policy};
use wardlink_pairing::renewal::{
    DeviceRenewal, KnownDevice, Renewal, RenewalAction, RenewalRefusal, RenewingControlUnit, RenewingDevice,
};
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::channel::{Channel, ChannelKey, KeyScope, default_channels};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, KeyId, Purpose, SessionId};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, Mode};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::{Topic, TopicFilter};
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::epochs::{
    Acknowledged, Action, KeyRefusal, Knowledge, Line, LineId, Recipient, Rekeying, Target, Why,
};
use wardlink_trust::inbox::{self, KnownSender, Refused};
use wardlink_trust::wrap::{self, Keychain, WrapKey};
use wardlink_trust::{OpenError, Receiver, Sender};

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

/// The bridge is told what the state machine of a pairing says.
fn give(bridge: &mut Bridge, actions: &[Paired]) {
    for action in actions {
        if let Paired::Grant(grant) = action {
            bridge.give(grant.clone());
        }
    }
}

/// The bridge is told what the state machine of a renewal says.
fn give_renewed(bridge: &mut Bridge, actions: &[RenewalAction]) {
    for action in actions {
        if let RenewalAction::Grant(grant) = action {
            bridge.give(grant.clone());
        }
    }
}

/// What anybody could want to read: each device's topics, and whole classes of them.
fn filters(number: usize) -> Vec<String> {
    let (own, other) = (name(number), name((number + 1) % DEVICES));
    let client = own.client.clone();
    let of = |device: &Device| {
        let control = rows().into_iter().map(|row| Topic::Control(row.name, device.clone()));
        let data = Topic::Data(rows()[0].name.clone(), device.clone());
        control.chain([Topic::Device(device.clone()), data]).map(|topic| topic.to_string()).collect::<Vec<_>>()
    };
    let shared = [Topic::Meta(client.clone()), Topic::Register(client.clone()), Topic::Command(client)];
    let wild = ["ais/#", "#", "+/+/infusion-pump/+", "ais/data/alarm/infusion-pump/+", "ais/infusion-pump/+"];
    let shared = shared.into_iter().map(|topic| topic.to_string());
    [of(&own), of(&other), shared.collect(), wild.map(str::to_owned).to_vec()].concat()
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

    pub(crate) fn rotate(&mut self, channel: usize) {
        let channel = rows()[channel].name.clone();
        let lines: Vec<LineId> = self.lines.keys().filter(|line| line.channel == channel).cloned().collect();
        for line in lines {
            self.make_key(&line, Why::ByHand);
        }
    }

    /// Carries out [`Action::MakeKey`], and notes in the model's own words what ends with it.
    fn make_key(&mut self, id: &LineId, why: Why) {
        let row = rows().into_iter().find(|row| row.name == id.channel).unwrap();
        let line = self.lines.get_mut(id).unwrap();
        if line.current().is_none() && !matches!(why, Why::Cut(_)) {
            return;
        }
        let known: Vec<KeyId> = line.epochs(self.now).map(|(epoch, _)| epoch.key.kid).collect();
        let current = line.current().map(|key| key.kid);
        line.rotate(row, why, self.now, &mut self.rng).unwrap();
        match why {
            Why::Cut(cut) => {
                for kid in known {
                    let end = self.ends.entry(kid).or_insert(cut);
                    *end = (*end).min(cut);
                }
            }
            _ => drop(current.map(|kid| self.ends.insert(kid, self.now.after(Duration::from_mins(10))))),
        }
    }

    fn close_line(&mut self, id: &LineId, cut: UnixMillis) {
        let line = self.lines.get_mut(id).unwrap();
        for (epoch, _) in line.epochs(self.now) {
            let end = self.ends.entry(epoch.key.kid).or_insert(cut);
            *end = (*end).min(cut);
        }
        line.close(cut);
    }

    fn channels_for(&mut self, device: &Device) -> Vec<ChannelKey> {
        let mut keys = Vec::new();
        for row in rows() {
            let id = LineId::of(&row, device);
            if !self.lines.contains_key(&id) {
                let line = Line::begin(id.clone(), row.clone(), 0, self.now, &mut self.rng).unwrap();
                self.lines.insert(id.clone(), line);
            }
            let line = self.lines.get_mut(&id).unwrap();
            if line.current().is_none() {
                line.rotate(row, Why::ByHand, self.now, &mut self.rng).unwrap();
            }
            keys.push(line.current().unwrap().clone());
        }
        keys
    }

    /// The whole coupling by the real machines. A revoked device pairs only after the revocation was lifted.
    pub(crate) fn pair(&mut self, number: usize, verified: bool) {
        if self.members.get(&number).is_some_and(|member| member.revoked) {
            return;
        }
        // What the earlier pairing knew ends with it: a lost copy of the device may still hold it.
        let cut = self.now;
        if let Some(mut member) = self.members.remove(&number) {
            self.perform(member.knowledge.revoke(cut));
            self.deliver_to_others();
        }
        let (device, key) = (name(number), PrivateKey::make(&mut self.rng));
        let channels = self.channels_for(&device);
        let (mut pump, paired) = self.couple(number, &key, &channels, verified);
        let held = self.held.entry(number).or_default();
        held.push(Held::certificate(&key, &paired.certificate));
        let certificate = Certificate::parse(&paired.certificate).unwrap();
        let mut knowledge = Knowledge::new(device.clone());
        for line in self.lines.values().filter(|line| paired.channels.contains(&line.id().channel)) {
            knowledge.give(line);
        }
        let kept = pump.pairing().unwrap().clone();
        pump.erase_keys();
        let keychain = Keychain::from_pairing(&kept.channels);
        for held in kept.channels.iter().filter_map(|key| keychain.held(&key.channel.name)) {
            assert_eq!(knowledge.acknowledge(&held), Acknowledged::Stored);
        }
        let stored = (keychain, WrapKey::new(kept.wrap_key), kept.certificate.clone());
        let mut pump = Pump::new(device, key, self.ca.root().sha256(), stored);
        if let Some(before) = self.pumps.remove(&number) {
            pump.ever.extend(before.ever);
        }
        self.receivers.retain(|topic, _| !topic.ends_with(&format!("/{}", pump.name)));
        self.pumps.insert(number, pump);
        self.queues.insert(number, Vec::new());
        let key = *certificate.key();
        self.members.insert(number, Member { paired, key, knowledge, revoked: false, renewal: None });
    }

    fn couple(
        &mut self,
        number: usize,
        key: &PrivateKey,
        channels: &[ChannelKey],
        verified: bool,
    ) -> (DevicePairing, PairedDevice) {
        let device = &name(number);
        let t2 = [Topic::Device(device.clone()).to_string()];
        let (held, bridge) = (self.held.entry(number).or_default(), &mut self.bridge);
        let bare = Held::bare(key, device);
        held.push(bare.clone());
        let (secret_id, cert_ca) = ("hospital".parse().unwrap(), Some(self.ca.root().sha256()));
        let secret = &self.secret;
        let provisioned =
            Provisioned { device, key, secret_id: &secret_id, secret, cert_ca, simple_without_cert_ca: false };
        let control_unit = ControlUnit {
            signer: Signer { key: &self.signer, chain: &self.chain },
            ca: &self.ca,
            policy: &self.policy,
            network: &self.network,
            channels,
        };
        let (now, rng) = (self.now, &mut self.rng);
        let display = DisplayAbilities { code: true, qr: true, digit_entry: false };
        let text = || "W1".to_owned();
        let information = DeviceInformation {
            device_type: text(),
            family: text(),
            model: text(),
            serial_number: text(),
            firmware_version: text(),
            hardware_id: text(),
            display,
        };
        let mut pump = DevicePairing::start(provisioned, information, Vec::new(), now, rng).unwrap();
        let stamp = |pump: &DevicePairing| {
            let plan = pump.plan();
            let (topic, payload) = plan.publish.unwrap();
            let certificate = match plan.credential {
                wardlink_pairing::device::Credential::BareKey => None,
                wardlink_pairing::device::Credential::Certificate(der) => {
                    let certificate = Certificate::parse(der).unwrap();
                    Some((certificate.serial(), certificate.purpose().unwrap()))
                }
            };
            let fingerprint = key.public().fingerprint().unwrap();
            StampedMessage {
                topic: topic.to_string(),
                payload: ByteBuf::from(payload),
                publisher: Publisher::Key { key: fingerprint, device: device.clone(), certificate },
                accepted_at: now,
                sequence: 1,
                network: NetworkOrigin::default(),
            }
        };
        let on_t2 = |actions: &[Paired]| {
            let payload = |action: &Paired| match action {
                Paired::Publish { topic: Topic::Device(_), payload } => Some(payload.clone()),
                _ => None,
            };
            actions.iter().rev().find_map(payload).unwrap()
        };
        let request = stamp(&pump);
        let arrived = Arrived::parse(&request).unwrap();
        let mut session = arrived.open(secret, Network::Secured, None, &self.policy).unwrap();
        let mode = Some(if verified { Mode::PairingCode } else { Mode::PairingSimple });
        let acceptance = Acceptance { mode, location: String::new(), accepted_by: "nurse".into() };
        assert_eq!(bridge.try_to_read(&bare.shown, &t2), Some(vec![false]), "T2 of a key that nobody accepted");
        let accepted = session.accept(acceptance, control_unit, now, rng).unwrap();
        give(bridge, &accepted);
        assert_eq!(bridge.try_to_read(&bare.shown, &t2), Some(vec![true]), "the command waits for the bare key");
        pump.receive(provisioned, &on_t2(&accepted), now, rng).unwrap();
        let wardlink_pairing::device::Credential::Certificate(provisional) = pump.plan().credential else {
            panic!("no provisional certificate")
        };
        let provisional = Held::certificate(key, &ByteBuf::from(provisional.to_vec()));
        assert_eq!(bridge.try_to_read(&provisional.shown, &t2), Some(vec![true]), "and for the certificate in it");
        held.push(provisional);
        let mut actions = session.receive(&stamp(&pump), control_unit, now, rng).unwrap();
        if verified {
            let Display::Verifying { code: Some(code), .. } = pump.display().unwrap() else { panic!("no code") };
            let proof = VerificationProof::Code(code.to_string());
            let begun = session.begin_attempt(SessionId([1; 16]), &proof, None, now).unwrap();
            let Begun::Counted(attempt) = begun else { panic!("not counted") };
            give(bridge, &actions);
            actions = session.decide(attempt, control_unit, now, rng).unwrap().1;
        }
        give(bridge, &actions);
        pump.receive(provisioned, &on_t2(&actions), now, rng).unwrap();
        let actions = session.receive(&stamp(&pump), control_unit, now, rng).unwrap();
        give(bridge, &actions);
        let paired = actions.into_iter().find_map(|action| match action {
            Paired::Paired(paired) => Some(*paired),
            _ => None,
        });
        (pump, paired.unwrap())
    }

    pub(crate) fn revoke(&mut self, number: usize) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let again = member.revoked;
        member.revoked = true;
        let actions = member.knowledge.revoke(self.now);
        assert!(!again || actions.is_empty(), "a second revocation finds nothing to do");
        self.bridge.set(member.paired.key, &name(number), DeviceState::Revoked);
        self.queues.insert(number, Vec::new());
        self.perform(actions);
        self.deliver_to_others();
    }

    pub(crate) fn lift(&mut self, number: usize) {
        if let Some(member) = self.members.remove(&number) {
            if member.revoked {
                self.bridge.set(member.paired.key, &name(number), DeviceState::Unknown);
            } else {
                self.members.insert(number, member);
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::MakeKey { line, why } => self.make_key(&line, why),
                Action::CloseLine { line, cut } => self.close_line(&line, cut),
                Action::WrapFor { device, line } => self.wrap_for(&device, &line),
                Action::Withdraw { .. } => panic!("nothing is withdrawn here"),
            }
        }
    }

    /// The new epochs on their way to whoever is left, in slices.
    fn deliver_to_others(&mut self) {
        let shared = rows().into_iter().filter(|row| row.scope == KeyScope::Class).collect();
        self.carry_out(Rekeying::deliver(
            name(0).client,
            shared,
            Why::Cut(self.now),
            self.members.len() as u64,
            self.now,
        ));
    }

    fn carry_out(&mut self, mut job: Rekeying) {
        while !job.is_finished() {
            let members: Vec<_> = self
                .members
                .values()
                .filter(|member| !member.revoked && job.after().is_none_or(|after| member.knowledge.device() > after))
                .map(|member| Recipient { trust: member.paired.trust, knowledge: &member.knowledge })
                .take(2)
                .collect();
            let actions = job.slice(members, 2);
            self.perform(actions);
        }
    }

    /// A service is enrolled under a name that is free: that of one that is revoked, or of none.
    pub(crate) fn make_service(&mut self, number: usize, channel: usize) {
        if self.services.get(&number).is_some_and(|service| !service.revoked) {
            return;
        }
        let channel = rows()[channel].name.clone();
        let mut service = Service::enrolled(number, &channel, "infusion-pump", &mut self.rng);
        // Whoever has the machine has what the service before it left there.
        service.ever.extend(self.services.remove(&number).into_iter().flat_map(|before| before.ever));
        let key = PrivateKey::make(&mut self.rng);
        let validity = Validity { not_before: UnixMillis(0), not_after: self.now.after(SERVICE_LIFETIME) };
        let holder = Holder::Service(service.name.identifier.to_string());
        let certificate = self.ca.issue(&holder, &key.public(), validity, &mut self.rng).unwrap();
        let held = Held::certificate(&key, &certificate.to_bytes());
        let (serial, not_after) = (certificate.serial(), certificate.validity().not_after);
        self.bridge.grant(Grant {
            key: held.key,
            device: service.name.clone(),
            state: DeviceState::Paired,
            certificates: vec![GrantedCertificate { serial, purpose: Purpose::Service, not_after }],
            channels: Vec::new(),
            access: service.access.clone(),
            version: 0,
        });
        service.current = Some((held.key, not_after));
        self.held_by_services.entry(number).or_default().push(held);
        self.services.insert(number, service);
    }

    pub(crate) fn ask(&mut self, service: usize, device: usize, channel: usize) {
        let (channel, device) = (rows()[channel].name.clone(), name(device));
        let belongs = |line: &&Line| line.id().channel == channel && line.id().covers(&device);
        let lines: Vec<Line> = self.lines.values().filter(belongs).cloned().collect();
        let current: Vec<ChannelKey> = lines.iter().filter_map(|line| line.current().cloned()).collect();
        let (now, rng) = (self.now, &mut self.rng);
        let Some(service) = self.services.get_mut(&service) else { return };
        service.ask(&channel, &device, lines, now, rng);
        let may = !service.revoked && service.access.has_keys(&channel, &device);
        assert!(!may || current.iter().all(|key| service.ever.contains(key)), "a service does not get its keys");
    }

    /// Every key that the service could have asked for is replaced, as the site does it.
    pub(crate) fn revoke_service(&mut self, number: usize) {
        let Some(service) = self.services.get_mut(&number).filter(|service| !service.revoked) else { return };
        service.revoked = true;
        if let Some((key, _)) = service.current {
            self.bridge.set(key, &service.name, DeviceState::Revoked);
        }
        let knows = |row: &Channel| service.access.reads.iter().any(|each| each.channel == row.name);
        let targets = rows().into_iter().filter(knows).map(Target::standing).collect();
        let client = name(0).client;
        let devices = self.members.len() as u64;
        let job = Rekeying::begin(Why::Cut(self.now), Some(client.clone()), targets, devices, self.now);
        self.perform(job.first_actions(&[client]));
        self.carry_out(job);
    }

    fn wrap_for(&mut self, device: &Device, id: &LineId) {
        let (number, member) = self.members.iter_mut().find(|(_, m)| m.knowledge.device() == device).unwrap();
        let line = &self.lines[id];
        if line.current().is_none() {
            return;
        }
        member.knowledge.give(line);
        let keys = WrapKey::new(member.paired.wrap_key).keys(device).unwrap();
        let update = wrap::wrap(line, device, &keys, &mut self.rng).unwrap();
        let envelope = Encrypted::parse(&update, update.len()).unwrap();
        let nonce = (envelope.header().kid.clone(), String::new(), Vec::new(), *envelope.iv());
        assert!(self.nonces.insert(nonce), "a nonce is used twice under K_wrap");
        self.queues.entry(*number).or_default().push(update);
    }

    /// Whether the device can connect with its certificate.
    fn is_let_in(&self, number: usize) -> bool {
        let (Some(member), Some(pump)) = (self.members.get(&number), self.pumps.get(&number)) else { return false };
        !member.revoked && pump.serial() == member.paired.serial
    }

    /// The device connects and subscribes: the site wraps again what it has not stored, and it takes everything in.
    pub(crate) fn read(&mut self, number: usize) {
        if !self.is_let_in(number) {
            return;
        }
        // It says what it holds: a copy that came back is behind what its later self stored.
        let (member, pump) = (self.members.get_mut(&number).unwrap(), &self.pumps[&number]);
        for held in pump.stored.keychain.all_held() {
            let said = member.knowledge.acknowledge(&held);
            assert!(!matches!(said, Acknowledged::Ahead(_) | Acknowledged::Foreign), "{said:?}");
        }
        let awaits = |line: &&Line| member.knowledge.awaits(line);
        let has = |line: &&Line| member.paired.channels.contains(&line.id().channel);
        let awaited: Vec<LineId> =
            self.lines.values().filter(has).filter(awaits).map(|line| line.id().clone()).collect();
        for line in awaited {
            self.wrap_for(&name(number), &line);
        }
        let queue = self.queues.insert(number, Vec::new()).unwrap_or_default();
        for update in queue {
            self.take_in(number, &update);
        }
    }

    fn take_in(&mut self, number: usize, update: &[u8]) {
        let pump = self.pumps.get_mut(&number).unwrap();
        let before = pump.stored.keychain.channels().into_iter().cloned().collect::<Vec<_>>();
        let wrap_key = pump.stored.wrap_key.clone();
        let taken = pump.stored.keychain.receive(&pump.name, core::slice::from_ref(&wrap_key), update, self.now);
        for key in &before {
            let now = pump.stored.keychain.held(&key.channel.name).unwrap();
            assert!(now.epoch >= key.epoch, "an epoch fell");
        }
        pump.remember();
        let Some(channel) = Keychain::channel_of(update) else { panic!("no update") };
        // Wrapped before a renewal: it comes again under the new K_wrap.
        if taken == Err(wrap::WrapError::UnknownWrapKey) {
            return;
        }
        let keys = wrap_key.keys(&pump.name).unwrap();
        let held = pump.stored.keychain.held(&channel).unwrap();
        let answer = wrap::answer(vec![held], &pump.name, &keys, &mut self.rng).unwrap();
        let topic = Topic::Command(pump.name.client.clone());
        let stamped = pump.stamped(&topic, &answer, self.now);
        let member = self.members.get_mut(&number).unwrap();
        for held in wrap::open_answer(&stamped, &pump.name, member.paired.key, &keys).unwrap() {
            assert!(matches!(member.knowledge.acknowledge(&held), Acknowledged::Stored | Acknowledged::Old));
        }
    }

    pub(crate) fn publish(&mut self, number: usize, channel: usize) {
        let channel = rows()[channel].name.to_string();
        let (now, rng) = (self.now, &mut self.rng);
        let Some(pump) = self.pumps.get_mut(&number) else { return };
        let Some(stamped) = pump.publish(&channel, now, rng) else { return };
        let envelope = Encrypted::parse(&stamped.payload, MAX_CHANNEL_MESSAGE_BYTES).unwrap();
        let header = envelope.header();
        let instance = header.instance.clone().unwrap().into_vec();
        let nonce = (header.kid.clone(), stamped.topic.clone(), instance, *envelope.iv());
        assert!(self.nonces.insert(nonce), "a nonce is used twice under a content key");
        // What the bridge does not let in never comes so far; what does is judged, also for a revoked sender.
        let expired = self.members.get(&number).is_some_and(|member| member.paired.certificate_ends < self.now);
        if expired {
            return;
        }
        let counted = self.judge(number, &stamped);
        self.published.push((stamped, counted));
    }

    /// Somebody sends again what was published before, stamped now.
    pub(crate) fn replay(&mut self, which: usize) {
        if self.published.is_empty() {
            return;
        }
        let (message, counted) = self.published[which % self.published.len()].clone();
        let number = (0..DEVICES).find(|number| message.topic.ends_with(&name(*number).to_string())).unwrap();
        let Some(member) = self.members.get(&number) else { return };
        // After it has paired again the device has another key, and its topics begin anew.
        let Publisher::Key { key, .. } = &message.publisher else { panic!("no device") };
        if *key != member.paired.key {
            return;
        }
        let message = StampedMessage { accepted_at: self.now, ..message };
        assert!(!(counted && self.judge(number, &message)), "a message counts twice");
    }

    /// The site reads a message: it counts exactly where the model says so.
    fn judge(&mut self, number: usize, stamped: &StampedMessage) -> bool {
        let Some(member) = self.members.get(&number) else { return false };
        let device = name(number);
        let lines: Vec<Line> = self.lines.values().filter(|line| line.id().covers(&device)).cloned().collect();
        let sender = KnownSender { device: &device, key: &member.key, trusted: !member.revoked };
        let receiver = self.receivers.entry(stamped.topic.clone()).or_default();
        let envelope = Encrypted::parse(&stamped.payload, MAX_CHANNEL_MESSAGE_BYTES).unwrap();
        let kid = KeyId::try_from(envelope.header().kid.as_slice()).unwrap();
        let ended = self.ends.get(&kid).is_some_and(|end| stamped.accepted_at >= *end);
        let opened = inbox::open(receiver, &lines, sender, stamped, self.now);
        match &opened {
            Ok(opened) => {
                assert!(!member.revoked && !ended, "a message counts that should not");
                assert_eq!(opened.plaintext.as_slice(), b"report");
            }
            Err(Refused::Key(KeyRefusal::Sender)) => assert!(member.revoked),
            Err(Refused::Key(KeyRefusal::Retired)) => assert!(ended || member.revoked),
            Err(Refused::Open(OpenError::Replay(_))) => {
                let again = self.published.iter().any(|(earlier, _)| earlier.payload == stamped.payload);
                assert!(again || self.pumps[&number].restored, "a new message is taken for an old one");
            }
            // Its key was erased long after it had ended.
            Err(Refused::Key(KeyRefusal::Unknown)) => assert!(ended),
            Err(error) => panic!("{error}"),
        }
        if opened.is_ok() {
            self.counted += 1;
        } else {
            self.refused += 1;
        }
        opened.is_ok()
    }

    pub(crate) fn renew(&mut self, number: usize) {
        let (Some(member), Some(pump)) = (self.members.get_mut(&number), self.pumps.get_mut(&number)) else { return };
        if pump.serial() != member.paired.serial {
            return;
        }
        let (now, rng) = (self.now, &mut self.rng);
        let certificate = pump.stored.certificate.clone();
        let device =
            RenewingDevice { device: &pump.name, key: &pump.key, certificate: &certificate, cert_ca: &pump.cert_ca };
        let mut renewal = DeviceRenewal::begin(device, now, rng).unwrap();
        let topic = Topic::Renew(pump.name.client.clone());
        let request = pump.stamped(&topic, renewal.publishes().unwrap(), now);
        let state = if member.revoked {
            DeviceState::Revoked
        } else if member.paired.certificate_ends <= now {
            DeviceState::Expired
        } else {
            DeviceState::Paired
        };
        let known = KnownDevice {
            device: &pump.name,
            key: member.paired.key,
            certificate: &certificate,
            state,
            trust: member.paired.trust,
            channels: &member.paired.channels,
        };
        let control_unit = RenewingControlUnit {
            signer: Signer { key: &self.signer, chain: &self.chain },
            ca: &self.ca,
            certificate_lifetime: self.policy.certificate_lifetime,
        };
        let (site, actions) = match Renewal::receive(member.renewal.take(), &request, known, control_unit, now, rng) {
            Ok(answered) => answered,
            Err(RenewalRefusal::NotTrusted) => return assert!(member.revoked),
            Err(RenewalRefusal::TooEarly) => return,
            Err(error) => panic!("{error}"),
        };
        assert!(!member.revoked, "a revoked device renews its certificate");
        give_renewed(&mut self.bridge, &actions);
        let answer = actions.iter().find_map(|action| match action {
            RenewalAction::Publish { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        renewal.receive(device, &answer.unwrap(), now, rng).unwrap();
        let renewed = renewal.renewed().unwrap().clone();
        let serial = Certificate::parse(&renewed.certificate).unwrap().serial();
        let finish = pump.stamped_with(&topic, renewal.publishes().unwrap(), serial, now);
        let (_, actions) = Renewal::receive(Some(site), &finish, known, control_unit, now, rng).unwrap();
        give_renewed(&mut self.bridge, &actions);
        self.held.entry(number).or_default().push(Held::certificate(&pump.key, &renewed.certificate));
        let taken = actions.into_iter().find_map(|action| match action {
            RenewalAction::Renewed(renewed) => Some(*renewed),
            _ => None,
        });
        let taken = taken.unwrap();
        assert_eq!(taken.wrap_key, renewed.wrap_key);
        member.paired.certificate = taken.certificate.clone();
        member.paired.serial = taken.serial;
        member.paired.certificate_ends = taken.certificate_ends;
        member.paired.wrap_key = taken.wrap_key;
        pump.stored.certificate = renewed.certificate.clone();
        pump.stored.wrap_key = WrapKey::new(renewed.wrap_key);
    }

    /// Whether the device should read what is said on this line now.
    fn should_read(&self, number: usize, line: &Line) -> bool {
        let Some(member) = self.members.get(&number) else { return false };
        let row = &line.current().unwrap().channel;
        !member.revoked && line.id().covers(&name(number)) && row.trust <= member.paired.trust
    }

    /// Somebody says something on every line, under its current key; every device tries everything that it ever knew.
    pub(crate) fn check_readers(&mut self) {
        let talker = PrivateKey::make(&mut self.rng);
        for line in self.lines.values().filter(|line| line.current().is_some()) {
            let key = line.current().unwrap();
            let topic = Topic::Data(key.channel.name.clone(), name(99));
            let mut sender = Sender::begin(key, topic.clone(), 1, &mut self.rng).unwrap();
            let message = sender.seal(b"secret", &talker).unwrap();
            for (number, pump) in &self.pumps {
                let opened = Receiver::default().open(&pump.ever, &topic, &talker.public(), &message);
                let holds = pump.ever.contains(key);
                assert_eq!(opened.is_ok(), holds, "a key and nothing else opens a message");
                assert!(
                    !holds || self.should_read(*number, line),
                    "device {number} reads {} and should not",
                    line.id()
                );
            }
            for (number, service) in &self.services {
                let opened = Receiver::default().open(&service.ever, &topic, &talker.public(), &message);
                let may = !service.revoked
                    && service
                        .access
                        .reads
                        .iter()
                        .any(|each| each.channel == line.id().channel && each.client == line.id().client);
                assert!(opened.is_err() || may, "service {number} reads {} and should not", line.id());
            }
        }
    }

    /// What the device may read with something that it has; none where it is not let in at all. In the model's own words: only who is
    /// paired now, with the key and the certificate of now, reads its own T2, T4 of its class, and what is sent to it on its channels;
    /// once the certificate has ended, only T2.
    fn may_read(&self, number: usize, held: &Held) -> Option<BTreeSet<String>> {
        let mut topics = BTreeSet::new();
        let Some(member) = self.members.get(&number).filter(|member| member.paired.key == held.key) else {
            // A key of before is one that nobody knows: it may ask.
            return held.serial.is_none().then_some(topics);
        };
        if member.revoked {
            return None;
        }
        let Some(serial) = held.serial else { return Some(topics) };
        if serial != member.paired.serial {
            return None;
        }
        let device = name(number);
        topics.insert(Topic::Device(device.clone()).to_string());
        if self.now < member.paired.certificate_ends {
            topics.insert(Topic::Meta(device.client.clone()).to_string());
            topics.extend(
                member.paired.channels.iter().map(|row| Topic::Control(row.clone(), device.clone()).to_string()),
            );
        }
        Some(topics)
    }

    /// Every device and service tries to subscribe with everything that it ever had, and who kept a connection listens on it.
    pub(crate) fn check_subscribers(&mut self) {
        self.check_kept();
        for number in 0..DEVICES {
            let filters = filters(number);
            for held in self.held.get(&number).cloned().unwrap_or_default() {
                let may = self.may_read(number, &held);
                let granted = self.bridge.try_to_read(&held.shown, &filters);
                self.said.shut_out += usize::from(granted.is_none());
                let what = if held.serial.is_some() { "a certificate" } else { "its bare key" };
                assert_eq!(granted.is_some(), may.is_some(), "device {number} with {what}: let in, and should be");
                for (filter, granted) in filters.iter().zip(granted.unwrap_or_default()) {
                    let may = may.as_ref().is_some_and(|topics| topics.contains(filter));
                    assert_eq!(granted, may, "device {number} with {what} subscribes to {filter}: does, and should");
                    *(if granted { &mut self.said.granted } else { &mut self.said.denied }) += 1;
                }
            }
        }
        let client = name(0).client;
        let mut filters = filters(0);
        filters.extend(rows().iter().map(|row| TopicFilter::of_class(&row.name, &client).to_string()));
        for (number, held) in self.held_by_services.clone() {
            for held in held {
                let service = &self.services[&number];
                let is_current = service.current.is_some_and(|(key, ends)| key == held.key && self.now <= ends);
                let may = (is_current && !service.revoked).then(|| service.access.clone());
                let granted = self.bridge.try_to_read(&held.shown, &filters);
                self.said.shut_out += usize::from(granted.is_none());
                assert_eq!(granted.is_some(), may.is_some(), "service {number}: let in, and should be");
                for (filter, granted) in filters.iter().zip(granted.unwrap_or_default()) {
                    let reads = may.as_ref().is_some_and(|access| {
                        access.reads.iter().any(|each| {
                            let (all, one) = (TopicFilter::of_class(&each.channel, &each.client), name(0));
                            let others = [one, name(1)].map(|device| Topic::Data(each.channel.clone(), device));
                            let others = others.map(|topic| topic.to_string());
                            *filter == all.to_string() || others.contains(filter)
                        }) || *filter == Topic::Meta(client.clone()).to_string()
                    });
                    assert_eq!(granted, reads, "service {number} subscribes to {filter}: does, and should");
                }
            }
        }
        self.keep_connections();
    }

    /// The control unit says something to each device that has kept its connection: who may no longer read hears nothing more, at once.
    fn check_kept(&mut self) {
        let channel = rows().into_iter().find(|row| row.name.as_str() == "command").unwrap().name;
        for (number, kept) in self.kept.clone() {
            let topic = Topic::Control(channel.clone(), name(number));
            let heard = self.bridge.hears(kept.id, &topic);
            let member = self.members.get(&number).filter(|member| member.paired.key == kept.key);
            let may = member.is_some_and(|member| {
                !member.revoked
                    && member.paired.serial == kept.serial
                    && self.now < member.paired.certificate_ends
                    && member.paired.channels.contains(&channel)
            });
            assert!(!heard || may, "device {number} hears the control unit and should not");
            let is_closed = self.bridge.is_closed(kept.id);
            assert!(heard || !may || is_closed, "device {number} does not hear the control unit and should");
            assert!(is_closed || member.is_none_or(|member| !member.revoked), "a revoked device keeps its connection");
            self.said.heard += usize::from(heard);
            if !is_closed && !may {
                self.bridge.lose(kept.id);
            }
            if is_closed || !may {
                self.kept.remove(&number);
            }
        }
    }

    fn keep_connections(&mut self) {
        for number in 0..DEVICES {
            let Some(member) = self.members.get(&number).filter(|_| !self.kept.contains_key(&number)) else { continue };
            let held = self.held[&number].iter().find(|held| held.serial == Some(member.paired.serial)).unwrap();
            let (key, serial) = (held.key, member.paired.serial);
            if let Some(id) = self.bridge.connect(&held.shown) {
                let channels = rows().into_iter().map(|row| Topic::Control(row.name, name(number)).to_string());
                self.bridge.subscribe(id, &channels.collect::<Vec<_>>());
                self.kept.insert(number, Kept { id, key, serial });
            }
        }
    }

    /// Everybody who is let in has the current key of each channel that it should read.
    pub(crate) fn check_trusted_read_everything(&self) {
        for number in (0..DEVICES).filter(|number| self.is_let_in(*number)) {
            let pump = &self.pumps[&number];
            for line in self.lines.values().filter(|line| line.current().is_some()) {
                if self.should_read(number, line) {
                    let held = pump.stored.keychain.channels().into_iter().any(|key| Some(key) == line.current());
                    assert!(held, "device {number} should read {} and cannot", line.id());
                }
            }
        }
    }
}

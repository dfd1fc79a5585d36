//! The site, its devices, and what has to hold between them.

use crate::DEVICES;
use crate::pump::Pump;
use crate::service::Service;
use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
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
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyId, SessionId};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, Mode};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::epochs::{
    Acknowledged, Action, KeyRefusal, Knowledge, Line, LineId, Recipient, Rekeying, Target, Why,
};
use wardlink_trust::inbox::{self, KnownSender, Refused};
use wardlink_trust::wrap::{self, Keychain, WrapKey};
use wardlink_trust::{OpenError, Receiver, Sender};

const START: UnixMillis = UnixMillis::from_secs(1_800_000_000);

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

/// A site and its devices.
pub(crate) struct World {
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
        let policy = Policy { certificate_lifetime: Duration::from_hours(24 * 30), ..Policy::default() };
        Self {
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

    pub(crate) fn restart_site(&mut self) {
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
        let (mut pump, paired) = self.couple(&device, &key, &channels, verified);
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
        device: &Device,
        key: &PrivateKey,
        channels: &[ChannelKey],
        verified: bool,
    ) -> (DevicePairing, PairedDevice) {
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
        let command = on_t2(&session.accept(acceptance, control_unit, now, rng).unwrap());
        pump.receive(provisioned, &command, now, rng).unwrap();
        let mut actions = session.receive(&stamp(&pump), control_unit, now, rng).unwrap();
        if verified {
            let Display::Verifying { code: Some(code), .. } = pump.display().unwrap() else { panic!("no code") };
            let proof = VerificationProof::Code(code.to_string());
            let begun = session.begin_attempt(SessionId([1; 16]), &proof, None, now).unwrap();
            let Begun::Counted(attempt) = begun else { panic!("not counted") };
            actions = session.decide(attempt, control_unit, now, rng).unwrap().1;
        }
        pump.receive(provisioned, &on_t2(&actions), now, rng).unwrap();
        let actions = session.receive(&stamp(&pump), control_unit, now, rng).unwrap();
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
        self.queues.insert(number, Vec::new());
        self.perform(actions);
        self.deliver_to_others();
    }

    pub(crate) fn lift(&mut self, number: usize) {
        if self.members.get(&number).is_some_and(|member| member.revoked) {
            self.members.remove(&number);
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
        let state = if member.revoked { DeviceState::Revoked } else { DeviceState::Paired };
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
        let answer = actions.iter().find_map(|action| match action {
            RenewalAction::Publish { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        renewal.receive(device, &answer.unwrap(), now, rng).unwrap();
        let renewed = renewal.renewed().unwrap().clone();
        let serial = Certificate::parse(&renewed.certificate).unwrap().serial();
        let finish = pump.stamped_with(&topic, renewal.publishes().unwrap(), serial, now);
        let (_, actions) = Renewal::receive(Some(site), &finish, known, control_unit, now, rng).unwrap();
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

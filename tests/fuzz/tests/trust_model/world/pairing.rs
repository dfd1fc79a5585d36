//! Devices couple with the site, and renew their certificates, by the real machines.

use super::{Held, Member, World, name};
use crate::bridge::Bridge;
use crate::pump::Pump;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::control_unit::{Acceptance, Action as Paired, Arrived, Begun, ControlUnit, PairedDevice, Signer};
use wardlink_pairing::device::{DevicePairing, Display, Provisioned};
use wardlink_pairing::policy::Network;
use wardlink_pairing::renewal::{
    DeviceRenewal, KnownDevice, Renewal, RenewalAction, RenewalRefusal, RenewingControlUnit, RenewingDevice,
};
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, Mode};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_trust::epochs::{Acknowledged, Knowledge};
use wardlink_trust::wrap::{Keychain, WrapKey};

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

impl World {
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
}

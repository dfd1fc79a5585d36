//! Services are enrolled, ask for keys, and are revoked.

use super::{Held, SERVICE_LIFETIME, World, name, rows};
use crate::service::Service;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, Validity};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::{Channel, ChannelKey};
use wardlink_protocol::grant::{DeviceState, Grant, GrantedCertificate};
use wardlink_protocol::identity::Purpose;
use wardlink_trust::epochs::{Line, Rekeying, Target, Why};

impl World {
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
        let has_channel = self.members.values().any(|member| {
            let is_it = *member.knowledge.device() == device;
            is_it && !member.revoked && member.paired.channels.contains(&channel)
        });
        let given = lines.iter().filter(|line| has_channel || !line.id().is_for_one_device());
        let current: Vec<ChannelKey> = given.filter_map(|line| line.current().cloned()).collect();
        let (now, rng) = (self.now, &mut self.rng);
        let Some(service) = self.services.get_mut(&service) else { return };
        service.ask(&channel, &device, (lines, has_channel), now, rng);
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
}

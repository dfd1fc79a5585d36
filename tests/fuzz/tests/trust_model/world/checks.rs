//! What has to hold, in the model's own words.

use super::{Held, Kept, World, name, rows};
use crate::DEVICES;
use std::collections::BTreeSet;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;
use wardlink_protocol::topic::{Topic, TopicFilter};
use wardlink_trust::epochs::Line;
use wardlink_trust::{Receiver, Sender};

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

impl World {
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

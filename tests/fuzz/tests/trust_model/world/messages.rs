//! Devices take in what waits for them, and say something that the site judges.

use super::{World, name, rows};
use crate::DEVICES;
use wardlink_crypto::cose::Encrypted;
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_trust::OpenError;
use wardlink_trust::epochs::{Acknowledged, KeyRefusal, Line, LineId};
use wardlink_trust::inbox::{self, KnownSender, Refused};
use wardlink_trust::wrap::{self, Keychain};

impl World {
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
}

//! Keys are made, replaced, wrapped and cut.

use super::{World, name, rows};
use core::time::Duration;
use wardlink_crypto::cose::Encrypted;
use wardlink_protocol::channel::{ChannelKey, KeyScope};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::epochs::{Action, Line, LineId, Recipient, Rekeying, Why};
use wardlink_trust::wrap::{self, WrapKey};

impl World {
    pub(crate) fn rotate(&mut self, channel: usize) {
        let channel = rows()[channel].name.clone();
        let lines: Vec<LineId> = self.lines.keys().filter(|line| line.channel == channel).cloned().collect();
        for line in lines {
            self.make_key(&line, Why::ByHand);
        }
    }

    /// Carries out [`Action::MakeKey`], and notes in the model's own words what ends with it.
    pub(super) fn make_key(&mut self, id: &LineId, why: Why) {
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

    pub(super) fn channels_for(&mut self, device: &Device) -> Vec<ChannelKey> {
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

    pub(super) fn perform(&mut self, actions: Vec<Action>) {
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
    pub(super) fn deliver_to_others(&mut self) {
        let shared = rows().into_iter().filter(|row| row.scope == KeyScope::Class).collect();
        self.carry_out(Rekeying::deliver(
            name(0).client,
            shared,
            Why::Cut(self.now),
            self.members.len() as u64,
            self.now,
        ));
    }

    pub(super) fn carry_out(&mut self, mut job: Rekeying) {
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

    pub(super) fn wrap_for(&mut self, device: &Device, id: &LineId) {
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
}

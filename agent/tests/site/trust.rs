//! The hospital's trust: keys and their epochs, revocation, renewal, decommissioning.

#![allow(dead_code, reason = "each test file uses its part")]

use super::{Hospital, Site};
use rand_core::Rng as _;
use serde_bytes::ByteBuf;
use std::time::Duration;
use wardlink_agent::clock;
use wardlink_bridge::{ControlMessage, Step};
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::control_unit::{KeyGrant, PairedDevice, Signer};
use wardlink_pairing::decommission::{self, Order, Receipt};
use wardlink_pairing::renewal::{KnownDevice, Renewal, RenewalAction, RenewingControlUnit};
use wardlink_protocol::channel::{Channel, ChannelKey, Qos, default_channels};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint};
use wardlink_protocol::keys::WrappedFor;
use wardlink_protocol::order::{OrderId, Task};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::epochs::{Acknowledged, Knowledge, Line, LineId, Why};
use wardlink_trust::inbox::{self, KnownSender, Refused};
use wardlink_trust::wrap::{self, WrapKey};
use wardlink_trust::{Opened, Sender};

/// A device that the hospital has paired.
pub(super) struct Paired {
    device: PairedDevice,
    key: PublicKey,
    knowledge: Knowledge,
    renewal: Option<Renewal>,
    order: Option<Order>,
    receipt: Option<Receipt>,
}

impl Paired {
    fn wrap_keys(&self) -> wardlink_crypto::schedule::WrapKeys {
        WrapKey::new(self.device.wrap_key).keys(&self.device.device).unwrap()
    }
}

fn row(name: &str) -> Channel {
    default_channels().into_iter().find(|row| row.name.as_str() == name).unwrap()
}

impl Hospital {
    /// The keys in force for one device.
    pub(super) fn channels_of(&mut self, device: &Device) -> Vec<ChannelKey> {
        let keys = default_channels().into_iter().map(|row| {
            let id = LineId::of(&row, device);
            let line = self.lines.entry(id.clone());
            line.or_insert_with(|| Line::begin(id, row, 0, clock::now(), &mut clock::rng()).unwrap())
                .current()
                .unwrap()
                .clone()
        });
        keys.collect()
    }

    pub(super) fn paired_with(&mut self, device: &PairedDevice) {
        let certificate = Certificate::parse(&device.certificate).unwrap();
        let mut knowledge = Knowledge::new(device.device.clone());
        for line in self.lines.values() {
            if device.channels.contains(&line.id().channel) {
                knowledge.give(line);
            }
        }
        for key in self.lines.values().filter_map(|line| line.current()).cloned().collect::<Vec<_>>() {
            let held = wardlink_protocol::keys::HeldKey {
                channel: key.channel.name.clone(),
                kid: Some(key.kid),
                epoch: key.epoch,
            };
            knowledge.acknowledge(&held);
        }
        let key = *certificate.key();
        let device = device.clone();
        self.paired.push(Paired { device, key, knowledge, renewal: None, order: None, receipt: None });
    }

    pub(super) fn open(&mut self, device: &Device, stamped: &StampedMessage) -> Result<Opened, Refused> {
        let paired = self.paired.iter().rev().find(|paired| paired.device.device == *device).expect("only paired ones");
        let lines: Vec<Line> = self.lines.values().filter(|line| line.id().covers(device)).cloned().collect();
        let sender = KnownSender { device, key: &paired.key, trusted: true };
        let receiver = self.receivers.entry(stamped.topic.clone()).or_default();
        inbox::open(receiver, &lines, sender, stamped, clock::now())
    }

    /// Publishes on T2, as often as it is wanted.
    fn publish(&mut self, messages: Vec<(Topic, Vec<u8>)>) {
        self.versions += 1;
        let message =
            |(topic, payload)| ControlMessage { topic, payload: ByteBuf::from(payload), qos: Qos::AtLeastOnce };
        let publish = messages.into_iter().map(message).collect();
        self.broker.apply(Step { number: self.versions, publish, ..Step::default() }, clock::now());
    }

    fn grant(&mut self, grant: KeyGrant) {
        self.versions += 1;
        let grants = vec![grant.at_version(self.versions)];
        self.broker.apply(Step { number: self.versions, grants, ..Step::default() }, clock::now());
    }

    /// What a device has not stored yet is wrapped for it; so is what stands on its T2.
    pub(super) fn catch_up(&mut self, key: KeyFingerprint) {
        let mut messages = Vec::new();
        for paired in self.paired.iter_mut().filter(|paired| paired.device.key == key) {
            let keys = paired.wrap_keys();
            for line in self.lines.values() {
                let has = paired.device.channels.contains(&line.id().channel);
                if has && paired.knowledge.awaits(line) {
                    paired.knowledge.give(line);
                    let device = &paired.device.device;
                    let update = wrap::wrap(line, device, &keys, &mut clock::rng()).unwrap();
                    messages.push((Topic::Device(device.clone()), update));
                }
            }
            messages.extend(paired.renewal.as_ref().and_then(Renewal::standing));
            let order = paired.order.as_ref().filter(|_| paired.receipt.is_none());
            messages.extend(order.map(|order| (Topic::Device(order.device.clone()), order.payload.to_vec())));
        }
        if !messages.is_empty() {
            self.publish(messages);
        }
    }

    fn rotate(&mut self, channel: &str, why: Why) {
        for line in self.lines.values_mut().filter(|line| line.id().channel.as_str() == channel) {
            line.rotate(row(channel), why, clock::now(), &mut clock::rng()).unwrap();
        }
        let keys: Vec<_> = self.paired.iter().map(|paired| paired.device.key).collect();
        for key in keys {
            self.catch_up(key);
        }
    }

    /// Answers about keys, renewals, receipts.
    pub(super) fn about_trust(&mut self, stamped: &StampedMessage) -> bool {
        let Publisher::Key { key, .. } = &stamped.publisher else { return false };
        let Some(index) = self.paired.iter().position(|paired| paired.device.key == *key) else { return false };
        if stamped.topic.starts_with("ais/renew/") {
            if self.renews {
                self.renew(index, stamped);
            }
        } else if decommission::is_receipt(&stamped.payload) {
            let paired = &mut self.paired[index];
            let certificate = Certificate::parse(&paired.device.certificate).unwrap();
            let order = paired.order.as_ref().expect("an order");
            paired.receipt = Some(order.receipt(stamped, &certificate).unwrap());
        } else if wrap::is_answer(&stamped.payload) {
            let paired = &mut self.paired[index];
            // An answer under a K_wrap that a renewal has just replaced is given again.
            let opened = wrap::open_answer(stamped, &paired.device.device, paired.device.key, &paired.wrap_keys());
            let mut behind = false;
            for held in opened.unwrap_or_default() {
                match self.paired[index].knowledge.acknowledge(&held) {
                    Acknowledged::Ahead(above) => {
                        let channel = held.channel.to_string();
                        self.rotate(&channel, Why::Restored { above });
                    }
                    Acknowledged::Behind => behind = true,
                    Acknowledged::Stored | Acknowledged::Old | Acknowledged::Foreign => {}
                }
            }
            if behind {
                self.catch_up(self.paired[index].device.key);
            }
        } else {
            return false;
        }
        true
    }

    fn renew(&mut self, index: usize, stamped: &StampedMessage) {
        let paired = &mut self.paired[index];
        let known = KnownDevice {
            device: &paired.device.device,
            key: paired.device.key,
            certificate: &paired.device.certificate,
            state: DeviceState::Paired,
            trust: paired.device.trust,
            channels: &paired.device.channels,
        };
        let control_unit = RenewingControlUnit {
            signer: Signer { key: &self.key, chain: &self.chain },
            ca: &self.ca,
            certificate_lifetime: self.policy.certificate_lifetime,
        };
        let before = paired.renewal.clone();
        let taken = Renewal::receive(before, stamped, known, control_unit, clock::now(), &mut clock::rng());
        let (renewal, actions) = match taken {
            Ok(taken) => taken,
            Err(error) => return self.broken.push(format!("renewal: {error}")),
        };
        paired.renewal = Some(renewal);
        for action in actions {
            match action {
                RenewalAction::Grant(grant) => self.grant(grant),
                RenewalAction::Publish { topic, payload } => self.publish(vec![(topic, payload)]),
                RenewalAction::Renewed(renewed) => {
                    let paired = &mut self.paired[index];
                    paired.device.certificate = renewed.certificate.clone();
                    paired.device.serial = renewed.serial;
                    paired.device.certificate_ends = renewed.certificate_ends;
                    paired.device.wrap_key = renewed.wrap_key;
                    let key = paired.device.key;
                    self.catch_up(key);
                }
            }
        }
    }

    fn decommission(&mut self) {
        let paired = self.paired.last().unwrap();
        let signer = Signer { key: &self.key, chain: &self.chain };
        let (device, key) = (paired.device.device.clone(), paired.device.key);
        let order = Order::give(device, key, signer, clock::now(), &mut clock::rng()).unwrap();
        self.paired.last_mut().unwrap().order = Some(order);
        self.catch_up(key);
    }

    /// Seals an order for the last device under the key in force, as each time anew.
    fn seal(&mut self, order: &wardlink_protocol::order::Order) -> (Topic, Vec<u8>) {
        let device = self.paired.last().unwrap().device.device.clone();
        let id = LineId::of(&row("command"), &device);
        let key = self.lines[&id].current().unwrap();
        let topic = Topic::Control(key.channel.name.clone(), device);
        self.versions += 1;
        let mut sender = Sender::begin(key, topic.clone(), self.versions, &mut clock::rng()).unwrap();
        let message = sender.seal_certified(&cbor::encode(order).unwrap(), &self.key, &self.chain).unwrap();
        (topic, message)
    }

    fn order(&mut self, task: Task, lifetime: Duration) -> wardlink_protocol::order::Order {
        let given_at = clock::now();
        let mut id = [0; 16];
        clock::rng().fill_bytes(&mut id);
        let order =
            wardlink_protocol::order::Order { id: OrderId(id), given_at, expires_at: given_at.after(lifetime), task };
        self.orders.push(order.clone());
        order
    }

    fn send_down(&mut self, message: (Topic, Vec<u8>)) {
        self.sent_down = Some(message.clone());
        self.publish(vec![message]);
    }

    fn epoch_stored(&self, channel: &str) -> Option<u64> {
        let given = self.paired.last()?.knowledge.of_channel(&channel.parse().unwrap())?;
        given.stored.then_some(given.epoch)
    }
}

impl Site {
    /// Waits until the last device listens for orders.
    pub(crate) async fn listening(&self) {
        self.until("a device that listens", |hospital| hospital.listens.then_some(())).await;
    }

    /// Gives the last device an order.
    pub(crate) async fn give(&self, task: Task, lifetime: Duration) -> OrderId {
        self.ask(move |hospital| {
            let order = hospital.order(task, lifetime);
            let message = hospital.seal(&order);
            hospital.send_down(message);
            order.id
        })
        .await
    }

    /// Sends an order once more, sealed anew.
    pub(crate) async fn give_again(&self, id: OrderId) {
        self.ask(move |hospital| {
            let order = hospital.orders.iter().find(|order| order.id == id).unwrap().clone();
            let message = hospital.seal(&order);
            hospital.send_down(message);
        })
        .await;
    }

    /// Seals an order without sending it.
    pub(crate) async fn seal(&self, task: Task, lifetime: Duration) -> (Topic, Vec<u8>) {
        self.ask(move |hospital| {
            let order = hospital.order(task, lifetime);
            hospital.seal(&order)
        })
        .await
    }

    /// Sends what was sealed before.
    pub(crate) async fn send_down(&self, message: (Topic, Vec<u8>)) {
        self.ask(move |hospital| hospital.send_down(message)).await;
    }

    /// Somebody publishes the last order's bytes once more.
    pub(crate) async fn replay(&self) {
        self.ask(|hospital| {
            let message = hospital.sent_down.clone().unwrap();
            hospital.publish(vec![message]);
        })
        .await;
    }

    /// A new epoch of a channel's keys, with an overlap.
    pub(crate) async fn rotate(&self, channel: &'static str) {
        self.ask(move |hospital| hospital.rotate(channel, Why::ByHand)).await;
    }

    /// A new epoch as after a revocation whose cut lies so long ago.
    pub(crate) async fn cut_off(&self, channel: &'static str, ago: Duration) {
        self.ask(move |hospital| {
            let ago = u64::try_from(ago.as_millis()).unwrap();
            hospital.rotate(channel, Why::Cut(UnixMillis(clock::now().0 - ago)));
        })
        .await;
    }

    /// Goes back to epoch 1 with other keys, as when the control unit is restored from an earlier state.
    pub(crate) async fn restore_keys(&self, channel: &'static str) {
        self.ask(move |hospital| {
            let now = clock::now();
            for line in hospital.lines.values_mut().filter(|line| line.id().channel.as_str() == channel) {
                *line = Line::begin(line.id().clone(), row(channel), 0, now, &mut clock::rng()).unwrap();
            }
            let keys: Vec<_> = hospital.paired.iter().map(|paired| paired.device.key).collect();
            for key in keys {
                hospital.catch_up(key);
            }
        })
        .await;
    }

    /// Waits until the last device has stored this epoch.
    pub(crate) async fn stored(&self, channel: &'static str, epoch: u64) {
        for _ in 0..2_000 {
            if self.ask(move |hospital| hospital.epoch_stored(channel)).await == Some(epoch) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("epoch {epoch} of {channel} was never stored");
    }

    /// How many messages came under an epoch that had ended.
    pub(crate) async fn retired(&self) -> usize {
        self.ask(|hospital| hospital.retired).await
    }

    /// How long the certificates hold that are issued from now on.
    pub(crate) async fn certificates_hold(&self, lifetime: Duration) {
        self.ask(move |hospital| hospital.policy.certificate_lifetime = lifetime).await;
    }

    /// From now on, requests for a new certificate are answered, or not.
    pub(crate) async fn renews(&self, renews: bool) {
        self.ask(move |hospital| hospital.renews = renews).await;
    }

    /// The last device's certificate: its serial number and end.
    pub(crate) async fn certificate(&self) -> (CertificateSerial, UnixMillis) {
        self.ask(|hospital| {
            let device = &hospital.paired.last().unwrap().device;
            (device.serial, device.certificate_ends)
        })
        .await
    }

    /// Orders the last device to wipe itself.
    pub(crate) async fn decommission(&self) {
        self.ask(Hospital::decommission).await;
    }

    /// The receipt of the last device.
    pub(crate) async fn receipt(&self) -> Receipt {
        self.until("a receipt", |hospital| hospital.paired.last()?.receipt.clone()).await
    }

    /// Publishes something on the last device's T2.
    pub(crate) async fn tell(&self, payload: Vec<u8>) {
        self.ask(move |hospital| {
            let device = hospital.paired.last().unwrap().device.device.clone();
            hospital.publish(vec![(Topic::Device(device), payload)]);
        })
        .await;
    }

    /// A key update that was sealed for another device.
    pub(crate) async fn foreign_update(&self) -> Vec<u8> {
        self.ask(|hospital| {
            let line = hospital.lines.values().find(|line| !line.id().is_for_one_device()).unwrap();
            let other: Device = "infusion-pump/another".parse().unwrap();
            let keys = WrapKey::new(hospital.paired.last().unwrap().device.wrap_key).keys(&other).unwrap();
            wrap::wrap(line, &other, &keys, &mut clock::rng()).unwrap()
        })
        .await
    }

    /// Takes a channel from the last device.
    pub(crate) async fn withdraw(&self, channel: &'static str) {
        self.ask(move |hospital| {
            let paired = hospital.paired.last().unwrap();
            let line = hospital.lines.values().find(|line| line.id().channel.as_str() == channel).unwrap();
            let key = line.current().unwrap();
            let last = WrappedFor { channel: key.channel.name.clone(), kid: key.kid, algorithm: key.channel.algorithm };
            let device = paired.device.device.clone();
            let keys = paired.wrap_keys();
            let message = wrap::withdraw(&last, line.highest(), &device, &keys, &mut clock::rng()).unwrap();
            hospital.publish(vec![(Topic::Device(device), message)]);
        })
        .await;
    }
}

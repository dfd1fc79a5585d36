//! Orders down to a device: who may give one, that it counts once, and that it is carried out once at most.
//!
//! Several may write to one device: the control unit, and services that are granted the channel. Each has runs and counters of its
//! own, so that the device keeps a window for each of them ([`Givers`]); on a channel that is signed, the message brings its giver's certificate, which
//! has to lead to the site's root and to be that of the publisher whom the bridge's stamp names. An [`OrderBook`] is all that a device
//! remembers of orders: the shell stores it before it acts on what [`OrderBook::receive`] returns, so that whatever is sent again,
//! by whomever, is carried out no second time.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::Encrypted;
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::x509::{Chain, ChainError, Holder};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{ChannelKey, ChannelName};
use wardlink_protocol::identity::{CertificateSerial, DeviceIdentifier, Purpose, Sha256};
use wardlink_protocol::limits::{
    MAX_CHANNEL_MESSAGE_BYTES, MAX_CLOCK_SKEW, MAX_GIVERS, MAX_KNOWN_ORDERS, MAX_KNOWN_SERVICE_ORDERS,
    MAX_ORDER_LIFETIME, ORDER_MEMORY,
};
use wardlink_protocol::order::{Giver, NotTaken, Order, OrderId, OrderOutcome, OrderRefusal, OrderResult};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use crate::epochs::KeyRefusal;
use crate::inbox::Refused;
use crate::protect::{OpenError, Opened, Receiver};
use crate::wrap::Keychain;

/// What has counted of each who writes to one device on one channel, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Givers(Vec<(Giver, Receiver)>);

impl Givers {
    fn take(&mut self, giver: Giver) -> Receiver {
        match self.0.iter().position(|(known, _)| *known == giver) {
            Some(index) => self.0.remove(index).1,
            None => Receiver::default(),
        }
    }

    /// Those who were silent for longest are forgotten: what they wrote has expired, or its order is remembered.
    fn put(&mut self, giver: Giver, receiver: Receiver) {
        self.0.push((giver, receiver));
        let most = self.0.len().saturating_sub(MAX_GIVERS);
        self.0.drain(..most);
    }
}

/// A message to a device that counts.
pub struct Given {
    /// On which channel.
    pub channel: ChannelName,
    /// Who wrote it.
    pub giver: Giver,
    /// The service's name; none for the control unit.
    pub service: Option<DeviceIdentifier>,
    /// What it says.
    pub opened: Opened,
}

/// Who published, as far as the stamp says.
struct Named<'a> {
    giver: Giver,
    service: Option<(&'a DeviceIdentifier, CertificateSerial)>,
}

fn named(publisher: &Publisher) -> Result<Named<'_>, Refused> {
    match publisher {
        Publisher::ControlUnit => Ok(Named { giver: Giver::ControlUnit, service: None }),
        Publisher::Key { key, device, certificate: Some((serial, Purpose::Service)) } if device.is_service() => {
            Ok(Named { giver: Giver::Service(*key), service: Some((&device.identifier, *serial)) })
        }
        Publisher::Key { .. } => Err(Refused::Publisher),
    }
}

impl Named<'_> {
    /// The key of whoever signed: the certificate is the publisher's, and the site's.
    fn key(&self, chain: &[ByteBuf], root: &Sha256, now: UnixMillis) -> Result<PublicKey, OpenError> {
        let chain = Chain::parse(chain).map_err(OpenError::Signer)?;
        let purpose = if self.service.is_some() { Purpose::Service } else { Purpose::ControlUnit };
        let certificate = chain.verify(root, purpose, now).map_err(OpenError::Signer)?;
        if let Some((name, serial)) = self.service {
            let fingerprint = certificate.fingerprint().map_err(|error| OpenError::Signer(error.into()))?;
            let is_its_own = certificate.holder() == Some(&Holder::Service(name.to_string()))
                && certificate.serial() == serial
                && self.giver == Giver::Service(fingerprint);
            if !is_its_own {
                return Err(OpenError::Signer(ChainError::Purpose));
            }
        }
        Ok(*certificate.key())
    }
}

/// Opens a message to a device that the bridge stamped. `admit` gives the key for the channel, kid and epoch that the message names,
/// where that counts at the stamp's time. `givers` are the topic's, and are stored afterwards.
pub fn open(
    givers: &mut Givers,
    device: &Device,
    root: &Sha256,
    stamped: &StampedMessage,
    now: UnixMillis,
    admit: impl FnOnce(&ChannelName, &[u8], Option<u64>) -> Result<ChannelKey, KeyRefusal>,
) -> Result<Given, Refused> {
    let topic: Topic = stamped.topic.parse().map_err(|_| Refused::Topic)?;
    let Topic::Control(channel, to) = &topic else { return Err(Refused::Topic) };
    if to != device {
        return Err(Refused::Topic);
    }
    let named = named(&stamped.publisher)?;
    let envelope = Encrypted::parse(&stamped.payload, MAX_CHANNEL_MESSAGE_BYTES)?;
    let key = admit(channel, &envelope.header().kid, envelope.header().epoch)?;
    let mut receiver = givers.take(named.giver);
    let key = core::slice::from_ref(&key);
    let opened = receiver.open_certified(key, &topic, &stamped.payload, |chain| named.key(chain, root, now));
    if opened.is_ok() || receiver != Receiver::default() {
        givers.put(named.giver, receiver);
    }
    let service = named.service.map(|(name, _)| name.clone());
    Ok(Given { channel: channel.clone(), giver: named.giver, service, opened: opened? })
}

/// The reason in the words of a report.
pub const fn reason(refused: &Refused) -> NotTaken {
    use crate::replay::ReplayError;
    match refused {
        Refused::Topic | Refused::Open(OpenError::Topic) => NotTaken::Topic,
        Refused::Publisher | Refused::Key(KeyRefusal::Sender) | Refused::Open(OpenError::Signer(_)) => NotTaken::Sender,
        Refused::Key(KeyRefusal::Unknown) | Refused::Open(OpenError::UnknownKey) => NotTaken::UnknownKey,
        Refused::Key(KeyRefusal::Retired) | Refused::Open(OpenError::Epoch) => NotTaken::OldEpoch,
        Refused::Key(KeyRefusal::Stamp) => NotTaken::Stamp,
        Refused::Open(OpenError::Replay(ReplayError::Duplicate)) => NotTaken::Replayed,
        Refused::Open(OpenError::Replay(ReplayError::TooOld | ReplayError::TooManyInstances)) => NotTaken::TooOld,
        Refused::Open(OpenError::Replay(ReplayError::LowerBoot)) => NotTaken::EarlierRun,
        Refused::Open(OpenError::Unsigned) => NotTaken::Unsigned,
        Refused::Open(OpenError::Envelope(_) | OpenError::Header | OpenError::Derivation(_) | OpenError::Key(_)) => {
            NotTaken::Altered
        }
    }
}

/// Until when a device carries out orders at most, by this clock.
fn latest(now: UnixMillis) -> UnixMillis {
    now.after(MAX_ORDER_LIFETIME).after(MAX_CLOCK_SKEW)
}

/// What an order that was stamped then comes to, as far as it alone says: it is to be carried out ([`OrderResult::Taken`]), or it is too
/// late, or beyond its limits.
pub fn verdict(order: &Order, stamped_at: UnixMillis, now: UnixMillis) -> OrderResult {
    match order.check() {
        Ok(()) if order.expires_at <= now || order.expires_at <= stamped_at => OrderResult::Expired,
        Ok(()) if order.expires_at <= latest(now) => OrderResult::Taken,
        _ => OrderResult::Refused(OrderRefusal::OutOfRange),
    }
}

/// An order that a device took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    giver: Giver,
    id: OrderId,
    expires_at: UnixMillis,
    result: OrderResult,
    /// Whether the report of this result is under way: stored, to be sent until the bridge has it.
    reported: bool,
}

impl Known {
    const fn outcome(&self) -> OrderOutcome {
        OrderOutcome { order: self.id, giver: self.giver, result: self.result }
    }
}

/// What a message means for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// An order to be carried out now, once the book is stored. [`OrderBook::settle`] takes what came of it.
    CarryOut(Giver, Order),
    /// An order whose outcome stands, now or since it came before: only its report is due.
    Settled(OrderOutcome),
    /// The bridge delivers once more what was dealt with, as it may: nothing is to be done.
    Again,
    /// It does not count. That is reported.
    Refused(NotTaken),
}

/// All that a device remembers of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBook {
    /// By channel: who wrote, and the highest number of the bridge's.
    channels: Vec<(ChannelName, Givers, u64)>,
    /// The orders that were taken, the newest last.
    known: Vec<Known>,
}

impl OrderBook {
    /// Begins with none.
    pub const fn new() -> Self {
        Self { channels: Vec::new(), known: Vec::new() }
    }

    /// Takes a message that was delivered to the device. The book is stored before anything else is done about it.
    pub fn receive(
        &mut self,
        keychain: &Keychain,
        device: &Device,
        root: &Sha256,
        stamped: &StampedMessage,
        now: UnixMillis,
    ) -> Received {
        self.prune(now);
        let Ok(Topic::Control(channel, _)) = stamped.topic.parse::<Topic>() else {
            return Received::Refused(NotTaken::Topic);
        };
        let at = self.channels.iter().position(|(name, ..)| *name == channel);
        let (_, mut givers, heard) =
            at.map_or_else(|| (channel.clone(), Givers::default(), 0), |at| self.channels.remove(at));
        let admit = |channel: &ChannelName, kid: &[u8], epoch: Option<u64>| {
            keychain.admit(channel, kid, epoch, stamped.accepted_at, now).cloned()
        };
        let opened = open(&mut givers, device, root, stamped, now, admit);
        let is_old = stamped.sequence <= heard;
        if opened.is_ok() || at.is_some() {
            let heard = if opened.is_ok() { heard.max(stamped.sequence) } else { heard };
            self.channels.push((channel, givers, heard));
        }
        match opened {
            Ok(given) => match cbor::decode::<Order>(&given.opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES) {
                Ok(order) => self.take(given.giver, order, stamped.accepted_at, now),
                Err(_) => Received::Refused(NotTaken::NoOrder),
            },
            // What was dealt with, and whose acknowledgement was lost, comes with the number that it had; what somebody publishes
            // once more gets another one.
            Err(Refused::Open(OpenError::Replay(_))) if is_old => Received::Again,
            Err(refused) => Received::Refused(reason(&refused)),
        }
    }

    fn take(&mut self, giver: Giver, order: Order, stamped_at: UnixMillis, now: UnixMillis) -> Received {
        if let Some(known) = self.find(giver, order.id) {
            known.reported = false;
            return Received::Settled(known.outcome());
        }
        let has_room = self.has_room(giver);
        let result = match verdict(&order, stamped_at, now) {
            OrderResult::Taken if !has_room => OrderResult::Refused(OrderRefusal::Busy),
            verdict => verdict,
        };
        let expires_at = order.expires_at.min(latest(now));
        let known = Known { giver, id: order.id, expires_at, result, reported: false };
        let outcome = known.outcome();
        if has_room {
            self.known.push(known);
        }
        if result == OrderResult::Taken { Received::CarryOut(giver, order) } else { Received::Settled(outcome) }
    }

    fn has_room(&self, giver: Giver) -> bool {
        let of_services = self.known.iter().filter(|known| known.giver != Giver::ControlUnit).count();
        let is_fair = giver == Giver::ControlUnit || of_services < MAX_KNOWN_SERVICE_ORDERS;
        is_fair && self.known.len() < MAX_KNOWN_ORDERS
    }

    fn find(&mut self, giver: Giver, id: OrderId) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| known.giver == giver && known.id == id)
    }

    /// An order that was taken has come to its end.
    pub fn settle(&mut self, outcome: OrderOutcome) {
        if let Some(known) = self.find(outcome.giver, outcome.order) {
            known.result = outcome.result;
            known.reported = false;
        }
    }

    /// The device starts: what it had taken when the power went may have been carried out, and is not carried out again.
    pub fn resume(&mut self) {
        for known in self.known.iter_mut().filter(|known| known.result == OrderResult::Taken) {
            known.result = OrderResult::Refused(OrderRefusal::Interrupted);
            known.reported = false;
        }
    }

    /// The outcomes whose reports are due.
    pub fn unreported(&self) -> Vec<OrderOutcome> {
        self.known.iter().filter(|known| !known.reported).map(Known::outcome).collect()
    }

    /// The report of this outcome is under way.
    pub fn reported(&mut self, outcome: OrderOutcome) {
        if let Some(known) = self.find(outcome.giver, outcome.order)
            && known.result == outcome.result
        {
            known.reported = true;
        }
    }

    /// Forgets orders that have ended for long: by their own end they are not carried out any more.
    fn prune(&mut self, now: UnixMillis) {
        self.known.retain(|known| now < known.expires_at.after(ORDER_MEMORY) || !known.reported);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

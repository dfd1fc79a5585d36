//! The hub without its sockets: the real broker, its records, what its devices may do, and their letters.
//!
//! What the broker says leaves only when the records have what it rests on, so that a PUBACK means: stored. When the records fail, nothing in memory counts any
//! more: all connections end, and the broker is rebuilt from the file as soon as that can be read. Until it knows its devices, it denies.

use super::outgoing::{self, Farewell, Outgoing, Peer};
use super::protection::{Protection, Unread, Unsaid};
use super::records::Records;
use crate::bundle::{self, Asked};
use crate::files::make_folder;
use crate::gateway::store::{Associated, StoreError};
use crate::link::Identity;
use crate::mailbox::{Direction, MAX_LETTERS, Mailbox};
use rand_core::Rng as _;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};
use wardlink_bridge::auth::ControlUnit;
use wardlink_bridge::storage::Changes;
use wardlink_bridge::{Broker, Cause, ConnectionId, ControlMessage, LocalTable, Origin, Output, Step, Stream};
use wardlink_crypto::authentication::AuthenticationError;
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::x509::{Certificate, Chain, ChainError, Validity};
use wardlink_protocol::channel::{ChannelName, Qos, UPDATE_CHANNEL};
use wardlink_protocol::grant::{DeviceState, Grant};
use wardlink_protocol::identity::{KeyFingerprint, Purpose};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::collector::MAX_SAID_BYTES;
use wardlink_records::exchange::MAX_UPWARD_BYTES;

/// RFC 6455: our fault.
pub(super) const CLOSE_INTERNAL: u16 = 1011;
/// Numbers of connections stay below 2^53, as the broker asks for it.
const CONNECTION_SHIFT: u32 = 11;

/// How many devices that are turned away are named, and for how long after they last came.
const MAX_STRANGERS: usize = 32;
pub(super) const STRANGER_REMEMBERED: Duration = Duration::from_mins(10);

/// Why the gateway cannot speak for itself to its devices.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoOwner {
    /// It is not paired, or has never had a session.
    #[error("the gateway is not paired, or has not reached the server yet: devices are let in afterwards")]
    Nobody,
    /// Its certificate and those that the server shows do not fit together.
    #[error(
        "the gateway's certificate does not fit the site's CA ({0}): let the gateway reach the server, so that it is renewed"
    )]
    Chain(#[from] ChainError),
    /// The same, or a key that cannot be used.
    #[error("the gateway's certificate or key cannot be used: {0}")]
    Identity(#[from] AuthenticationError),
}

/// The gateway, as the broker speaks for it.
struct Owner {
    chain: Vec<ByteBuf>,
    gateway: ControlUnit,
    publisher: Publisher,
    /// When all of its certificates hold.
    holds: Validity,
}

/// What the hub goes by: who the gateway is, and which devices are its own.
pub(super) struct Knowledge {
    /// The gateway at its site.
    pub(super) identity: Arc<Identity>,
    /// The certificates above the gateway's own, the root last.
    pub(super) issuers: Vec<ByteBuf>,
    /// The CAs that have issued at this site: those that the server has shown.
    pub(super) issuing: Vec<ByteBuf>,
    /// The devices, as the server said last.
    pub(super) devices: Vec<Associated>,
    /// Whether that counts; not where the server was silent for too long.
    pub(super) counts: bool,
}

impl Knowledge {
    /// The gateway's certificate and those above it, the root last.
    pub(super) fn chain(&self) -> Option<Vec<ByteBuf>> {
        let own = self.identity.certificate.clone()?;
        Some(core::iter::once(ByteBuf::from(own)).chain(self.issuers.iter().cloned()).collect())
    }

    /// The gateway, as the broker speaks for it.
    fn owner(&self, now: UnixMillis) -> Result<Owner, NoOwner> {
        let (chain, root) =
            self.chain().filter(|_| !self.issuers.is_empty()).zip(self.identity.root).ok_or(NoOwner::Nobody)?;
        let parsed = Chain::parse(&chain)?;
        let validities = || parsed.certificates().iter().map(Certificate::validity);
        let holds = Validity {
            not_before: validities().map(|one| one.not_before).max().unwrap_or(now),
            not_after: validities().map(|one| one.not_after).min().unwrap_or(now),
        };
        let own: &Certificate = parsed.verify(&root, Purpose::Gateway, now)?;
        let key = own.fingerprint().map_err(AuthenticationError::from)?;
        let certificate = Some((own.serial(), Purpose::Gateway));
        let publisher = Publisher::Key { key, device: self.identity.device.clone(), certificate };
        let pkcs8 = self.identity.key.to_pkcs8().map_err(AuthenticationError::from)?;
        // Devices have theirs from one of the CAs that issue, or did; those above them issue none.
        let above = chain.get(1).filter(|above| !self.issuing.contains(above));
        let issuing: Vec<ByteBuf> = self.issuing.iter().chain(above).cloned().collect();
        let gateway = ControlUnit::new(chain.clone(), &pkcs8, &issuing)?;
        Ok(Owner { chain, gateway, publisher, holds })
    }

    /// What each of the devices may do; those that have no key have nothing to do here.
    fn rights(&self) -> BTreeMap<KeyFingerprint, (Device, DeviceState)> {
        let state = if self.counts { DeviceState::Paired } else { DeviceState::Unknown };
        let key = |one: &Associated| PublicKey::from_spki(one.key.as_ref()?).ok()?.fingerprint().ok();
        self.devices.iter().filter_map(|one| Some((key(one)?, (one.device.clone(), state)))).collect()
    }
}

/// The hub.
pub(super) struct Hub {
    open_records: Box<dyn Fn() -> Result<Records, StoreError> + Send>,
    ports: PathBuf,
    records: Option<Records>,
    broker: Broker,
    /// Records that are only to be forgotten; they go with the next write.
    forgotten: Changes,
    connections: BTreeMap<ConnectionId, Peer>,
    /// The chain by which the broker speaks for the gateway, and the CAs whose certificates count; none while it denies everything.
    chain: Option<(Vec<ByteBuf>, Vec<ByteBuf>)>,
    grants: BTreeMap<KeyFingerprint, Grant>,
    version: u64,
    /// Whose letters were lost, so that it is told once.
    overflowing: BTreeSet<Device>,
    /// Whose letters cannot be kept, since the last one that was not, and why.
    lost: BTreeMap<Device, io::Error>,
    /// Why what devices have published waits.
    waits: Option<io::Error>,
    /// Whether somebody was turned away who has no rights, as far as is known here, or speaks under a key that is not known here.
    has_refused: bool,
    /// Who has proved who they are, and has no rights here: when they last came. At most [`MAX_STRANGERS`].
    strangers: BTreeMap<Device, UnixMillis>,
    /// Where messages lie whose keys are on their way.
    sealed: PathBuf,
    protection: Protection,
    /// Who the gateway is, to sign what it says.
    signer: Option<Arc<Identity>>,
    /// Of whom sealed messages may be read by now.
    readable: BTreeSet<Device>,
    /// Whose later keys the server was asked for.
    awaited: BTreeSet<Device>,
}

impl Hub {
    /// A hub with its records where those are, the letters of its devices in the port at that place, and in a folder what it cannot read yet.
    pub(super) fn new(
        open_records: impl Fn() -> Result<Records, StoreError> + Send + 'static,
        ports: PathBuf,
        sealed: PathBuf,
    ) -> Self {
        Self {
            open_records: Box::new(open_records),
            ports,
            records: None,
            broker: Broker::default(),
            forgotten: Changes::new(),
            connections: BTreeMap::new(),
            chain: None,
            grants: BTreeMap::new(),
            version: 0,
            overflowing: BTreeSet::new(),
            lost: BTreeMap::new(),
            waits: None,
            has_refused: false,
            strangers: BTreeMap::new(),
            sealed,
            protection: Protection::default(),
            signer: None,
            readable: BTreeSet::new(),
            awaited: BTreeSet::new(),
        }
    }

    /// The devices that listen at this moment.
    pub(super) fn listening(&self, now: UnixMillis) -> Vec<Device> {
        let paired = self.grants.values().filter(|grant| grant.state == DeviceState::Paired);
        paired
            .filter(|grant| down_to(&grant.device).is_some_and(|topic| self.broker.waiting_for(&topic, now).is_some()))
            .map(|grant| grant.device.clone())
            .collect()
    }

    /// Reads the records, where that has not been done.
    fn load(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        if self.records.is_none() {
            let records = (self.open_records)()?;
            make_folder(&self.sealed).map_err(StoreError::of_file)?;
            self.broker = Broker::restore(records.load()?, [], now);
            self.protection.restore(records.counted()?);
            self.readable = Mailbox::devices(&self.sealed).into_iter().collect();
            // The broker knows nothing of whoever has connected meanwhile.
            self.end_connections();
            self.records = Some(records);
        }
        Ok(())
    }

    fn end_connections(&mut self) {
        for (_, peer) in core::mem::take(&mut self.connections) {
            peer.end(Farewell { frames: Vec::new(), code: CLOSE_INTERNAL });
        }
    }

    /// Nothing in memory counts any more: everybody connects anew.
    fn begin_anew(&mut self) {
        self.end_connections();
        self.records = None;
        self.broker = Broker::default();
        self.forgotten.clear();
        self.chain = None;
    }

    /// Whether it speaks for the gateway, and lets devices in that way.
    pub(super) const fn speaks(&self) -> bool {
        self.chain.is_some()
    }

    /// Makes what is known count: at once, and for every connection. Says for how long the gateway's certificates allow that, or why nobody is
    /// let in.
    pub(super) fn know(
        &mut self,
        known: Option<&Knowledge>,
        now: UnixMillis,
    ) -> Result<Result<Validity, NoOwner>, StoreError> {
        self.load(now)?;
        let Some(known) = known else {
            self.deny();
            return Ok(Err(NoOwner::Nobody));
        };
        let Owner { chain, gateway, publisher, holds } = match known.owner(now) {
            Ok(owner) => owner,
            Err(error) => {
                self.deny();
                return Ok(Err(error));
            }
        };
        self.signer = Some(Arc::clone(&known.identity));
        let renewed = self.protection.learn(&known.devices);
        self.awaited.retain(|device| !renewed.contains(device));
        self.readable.extend(renewed);
        let wanted = known.rights();
        let gone = self.grants.iter().filter(|(key, _)| !wanted.contains_key(key));
        let gone: Vec<_> = gone.map(|(key, grant)| (*key, (grant.device.clone(), DeviceState::Revoked))).collect();
        let speaks_by = (chain, known.issuing.clone());
        let mut changes = self.chain.as_ref() != Some(&speaks_by);
        for (key, (device, state)) in wanted.into_iter().chain(gone) {
            let is_same = |grant: &Grant| grant.device == device && grant.state == state;
            if self.grants.get(&key).is_some_and(is_same) {
                continue;
            }
            changes = true;
            self.version = self.version.saturating_add(1);
            let (channels, version) = (channel().into_iter().collect(), self.version);
            let (certificates, access) = (Vec::new(), ServiceAccess::default());
            self.grants.insert(key, Grant { key, device, state, certificates, channels, access, version });
        }
        if changes {
            let is_let_in = |device: &Device| {
                self.grants.values().any(|grant| grant.device == *device && grant.state == DeviceState::Paired)
            };
            self.lost.retain(|device, _| is_let_in(device));
            let grants = self.grants.values().cloned().collect();
            self.broker.set_local_table(LocalTable { grants, gateway, publisher }, now);
            self.chain = Some(speaks_by);
            self.settle(now)?;
        }
        Ok(Ok(holds))
    }

    /// Lets nobody in, and closes what is open. What is stored stays.
    fn deny(&mut self) {
        if self.chain.is_some() {
            self.begin_anew();
        }
    }

    /// A WebSocket was accepted.
    pub(super) fn open(&mut self, origin: Origin, now: UnixMillis) -> Result<(ConnectionId, Outgoing), StoreError> {
        let id = ConnectionId(crate::clock::rng().next_u64() >> CONNECTION_SHIFT);
        let (peer, outgoing) = outgoing::pair();
        self.connections.insert(id, peer);
        self.broker.open(id, origin, now);
        self.settle(now)?;
        Ok((id, outgoing))
    }

    /// A frame arrived; none: a text, which MQTT knows not.
    pub(super) fn received(
        &mut self,
        id: ConnectionId,
        frame: Option<&[u8]>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        match frame {
            Some(bytes) => self.broker.received(id, bytes, now, &mut crate::clock::rng()),
            None => self.broker.received_text(id, now),
        }
        self.settle(now)
    }

    /// Whether the device at the other end has proved who it is.
    pub(super) fn is_live(&self, id: ConnectionId) -> bool {
        self.broker.is_live(id)
    }

    /// A WebSocket is gone.
    pub(super) fn closed(&mut self, id: ConnectionId, now: UnixMillis) -> Result<(), StoreError> {
        self.connections.remove(&id);
        self.broker.closed(id, now);
        self.settle(now)
    }

    /// What is done from moment to moment: deadlines, and the letters in both directions. Says why letters do not go, where that is so.
    pub(super) fn tick(&mut self, now: UnixMillis) -> Result<io::Result<()>, StoreError> {
        self.load(now)?;
        self.broker.tick(now);
        self.settle(now)?;
        let mut brought = self.read_sealed(now);
        if !self.forgotten.is_empty() || self.protection.has_changed() {
            self.write()?;
        }
        for device in self.listening(now) {
            match self.bring_down(&device, now)? {
                Ok(()) => {}
                Err(error) => brought = Err(error),
            }
        }
        Ok(brought.and_then(|()| self.taken_up()))
    }

    /// Why what devices have published is not, or was not, put at the port.
    fn taken_up(&self) -> io::Result<()> {
        if let Some(error) = &self.waits {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        match self.lost.first_key_value() {
            Some((device, error)) => Err(io::Error::new(error.kind(), format!("{device}: {error}"))),
            None => Ok(()),
        }
    }

    /// Stores what has changed, then lets out what rests on it, then hands on what came up.
    fn settle(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        loop {
            let batch = self.broker.flush(now);
            for overstep in &batch.oversteps {
                tracing::warn!(%overstep, "a device asks for what it may not do here");
            }
            let only_forgets = batch.outputs.is_empty() && batch.changes.values().all(Option::is_none);
            self.forgotten.extend(batch.changes);
            if !only_forgets && !self.forgotten.is_empty() {
                self.write()?;
            }
            self.perform(batch.outputs, now);
            if !self.take_up(now) {
                return Ok(());
            }
        }
    }

    /// Whether somebody without rights was turned away, or spoke under a later key than there is here, since this was asked last.
    pub(super) const fn take_refused(&mut self) -> bool {
        core::mem::replace(&mut self.has_refused, false)
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let stored = match &self.records {
            Some(records) => records.store(&self.forgotten, &self.protection.take_changed()),
            None => Err(StoreError::Damaged("the broker's file")),
        };
        self.forgotten.clear();
        stored.inspect_err(|_| self.begin_anew())
    }

    fn note_stranger(&mut self, cause: Cause, now: UnixMillis) {
        let Cause::Unwelcome(device) = cause else { return };
        // Of whom the site has said that it is no device of this gateway's any more, it says the opposite by itself.
        self.has_refused |= !self.grants.values().any(|grant| grant.device == device);
        if self.strangers.len() < MAX_STRANGERS || self.strangers.contains_key(&device) {
            self.strangers.insert(device, now);
        }
    }

    /// Who was turned away lately, and has no rights here yet.
    pub(super) fn strangers(&mut self, now: UnixMillis) -> Vec<Device> {
        let of_the_gateway = self.grants.values().filter(|grant| grant.state != DeviceState::Revoked);
        let of_the_gateway: BTreeSet<_> = of_the_gateway.map(|grant| &grant.device).collect();
        self.strangers.retain(|device, at| now.since(*at) < STRANGER_REMEMBERED && !of_the_gateway.contains(device));
        self.strangers.keys().cloned().collect()
    }

    fn perform(&mut self, outputs: Vec<Output>, now: UnixMillis) {
        let closed = |output: &Output| match output {
            Output::Close { connection, .. } => Some(*connection),
            _ => None,
        };
        let mut last: BTreeMap<ConnectionId, Vec<Vec<u8>>> =
            outputs.iter().filter_map(closed).map(|connection| (connection, Vec::new())).collect();
        for output in outputs {
            match output {
                Output::Frame { connection, bytes } => {
                    if let Some(frames) = last.get_mut(&connection) {
                        frames.push(bytes);
                    } else if !self.connections.get(&connection).is_none_or(|peer| peer.send(bytes)) {
                        // It does not read: its end is told by its socket.
                        self.connections.remove(&connection);
                    }
                }
                Output::Close { connection, code, cause } => {
                    if let Some(cause) = cause {
                        tracing::info!(%cause, "a device's connection is closed");
                        self.note_stranger(cause, now);
                    }
                    let frames = last.remove(&connection).unwrap_or_default();
                    if let Some(peer) = self.connections.remove(&connection) {
                        peer.end(Farewell { frames, code });
                    }
                }
                // No connection outlives this process.
                Output::Attachment { .. } => {}
            }
        }
    }

    /// Hands on what devices have published, as letters at the port; what the broker says of devices that come and go is seen otherwise. Whether
    /// there was anything. It waits for a port that is not there; what goes wrong for one device is that device's loss, which sends again.
    fn take_up(&mut self, now: UnixMillis) -> bool {
        let mut has_taken = false;
        self.waits = None;
        let notices: Vec<u64> = self.broker.notices().map(|(number, _)| number).collect();
        for number in notices {
            self.broker.site_knows(number);
        }
        // Whose messages they are, and under which keys, is known from then on.
        if !self.speaks() {
            return false;
        }
        while let Some((last, messages)) = self.broker.for_site(Stream::Data) {
            for message in &messages {
                if let Err(error) = self.put(message, now) {
                    self.waits = Some(error);
                    return has_taken;
                }
            }
            self.broker.site_has(Stream::Data, last);
            has_taken = true;
        }
        has_taken
    }

    /// Puts one message where it belongs; an error where there is no port.
    fn put(&mut self, message: &StampedMessage, now: UnixMillis) -> io::Result<()> {
        let Ok(Topic::Data(_, device)) = message.topic.parse() else { return Ok(()) };
        self.has_port()?;
        // A key that counted when it came is waited for by nobody.
        if let Err(Unread::Awaits) = self.read(&device, &message.payload, message.accepted_at, now)? {
            self.keep_sealed(device, &message.payload);
        }
        Ok(())
    }

    /// Reads a message that came at that time, and puts where it belongs what it says; an error where there is no port. It counts when that is done.
    fn read(
        &mut self,
        device: &Device,
        message: &[u8],
        came_at: UnixMillis,
        now: UnixMillis,
    ) -> io::Result<Result<(), Unread>> {
        let Some(topic) = up_from(device) else { return Ok(Ok(())) };
        match self.protection.open(device, &topic, message, came_at) {
            Ok(read) => {
                self.take(device, &read.plaintext, now)?;
                self.protection.count(device, read);
                Ok(Ok(()))
            }
            Err(unread) => {
                if let Unread::Refused(why) = &unread {
                    tracing::warn!(%device, %why, "what a device says does not count");
                }
                Ok(Err(unread))
            }
        }
    }

    /// Takes what a device says.
    fn take(&mut self, device: &Device, said: &[u8], now: UnixMillis) -> io::Result<()> {
        if let Ok(asked) = Asked::decode(said) {
            self.answer(device, &asked, now);
            return Ok(());
        }
        let mailbox = Mailbox::new(&self.ports, device, Direction::Up, MAX_UPWARD_BYTES);
        let has_room = said.len() <= MAX_UPWARD_BYTES
            && match mailbox.put(said) {
                Ok(has_room) => {
                    self.lost.remove(device);
                    has_room
                }
                Err(error) => {
                    // The port may have gone away meanwhile.
                    self.has_port()?;
                    self.lost.insert(device.clone(), error);
                    return Ok(());
                }
            };
        if has_room {
            self.overflowing.remove(device);
        } else if self.overflowing.insert(device.clone()) {
            // A device waits for answers after a few letters; this one does not, or is longer than any may be.
            tracing::warn!(%device, "it sends more than is taken: the rest is lost, and to be sent again");
        }
        Ok(())
    }

    fn sealed_of(&self, device: &Device) -> Mailbox {
        Mailbox::new(&self.sealed, device, Direction::Up, MAX_CHANNEL_MESSAGE_BYTES)
    }

    /// Keeps a message until its key is here, which the server is asked for, once until it has given that. What has waited longest makes room.
    fn keep_sealed(&mut self, device: Device, message: &[u8]) {
        let mailbox = self.sealed_of(&device);
        let kept = mailbox.letters(MAX_LETTERS).and_then(|letters| {
            if let Some(oldest) = letters.first().filter(|_| letters.len() >= MAX_LETTERS) {
                mailbox.remove(oldest)?;
            }
            mailbox.put(message)
        });
        self.has_refused |= self.awaited.insert(device.clone());
        if let Err(error) = kept {
            self.lost.insert(device, error);
        }
    }

    /// Reads what was kept until its key is here; an error where there is no port, or no way to what was kept.
    fn read_sealed(&mut self, now: UnixMillis) -> io::Result<()> {
        if !self.speaks() {
            return Ok(());
        }
        while let Some(device) = self.readable.pop_first() {
            if let Err(error) = self.read_kept(&device, now) {
                self.readable.insert(device);
                return Err(error);
            }
        }
        Ok(())
    }

    fn read_kept(&mut self, device: &Device, now: UnixMillis) -> io::Result<()> {
        let mailbox = self.sealed_of(device);
        for letter in mailbox.letters(MAX_LETTERS)? {
            self.has_port()?;
            if !matches!(self.read(device, &letter.bytes, now, now)?, Err(Unread::Awaits)) {
                mailbox.remove(&letter)?;
            }
        }
        Ok(())
    }

    /// Whether something can be said to a device.
    pub(super) fn has_key(&self, device: &Device) -> bool {
        self.protection.has_key(device)
    }

    /// Seals what the gateway says to a device.
    fn seal(&mut self, device: &Device, topic: &Topic, said: &[u8]) -> Result<ByteBuf, Unsaid> {
        let (Some(signer), Some((chain, _)), Some(records)) = (&self.signer, &self.chain, &self.records) else {
            return Err(Unsaid::NoKey);
        };
        let begin = || records.begin_run(crate::clock::now().as_secs());
        let sealed = self.protection.seal(device, topic.clone(), said, (signer, chain), begin)?;
        Ok(ByteBuf::from(sealed))
    }

    /// Publishes what was sealed.
    fn publish(&mut self, topic: Topic, payload: ByteBuf, qos: Qos, now: UnixMillis) {
        let message = ControlMessage { topic, payload, qos };
        let number = self.broker.applied().saturating_add(1);
        self.broker.apply(Step { number, publish: vec![message], ..Step::default() }, now);
    }

    /// Whether the port is there.
    fn has_port(&self) -> io::Result<()> {
        if fs::metadata(&self.ports)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    /// Answers a device's question about its bundle, as long as it is there: it asks again.
    fn answer(&mut self, device: &Device, asked: &Asked, now: UnixMillis) {
        let answered = match bundle::answer(&bundle::folder(&self.ports, device), asked) {
            Ok(answered) => answered,
            Err(error) => return tracing::warn!(%device, %error, "its updates cannot be read"),
        };
        let said = answered.and_then(|answered| answered.encode().ok());
        let (Some(said), Some(topic)) = (said, down_to(device)) else { return };
        match self.seal(device, &topic, &said) {
            Ok(payload) => self.publish(topic, payload, Qos::AtMostOnce, now),
            Err(error) => tracing::warn!(%device, %error, "it is not answered"),
        }
    }

    /// Publishes what the gateway has for a device that listens. It is gone from the port when the broker has it durably.
    fn bring_down(&mut self, device: &Device, now: UnixMillis) -> Result<io::Result<()>, StoreError> {
        let Some(topic) = down_to(device) else { return Ok(Ok(())) };
        let mailbox = Mailbox::new(&self.ports, device, Direction::Down, MAX_SAID_BYTES);
        let letters = match mailbox.letters(MAX_LETTERS) {
            Ok(letters) => letters,
            Err(error) => return Ok(Err(error)),
        };
        for letter in letters {
            // What a device does not acknowledge waits at the port, which is bounded for each.
            if self.broker.waiting_for(&topic, now).is_none_or(|waiting| waiting >= MAX_LETTERS) {
                break;
            }
            match self.seal(device, &topic, &letter.bytes) {
                Ok(payload) => self.publish(topic.clone(), payload, Qos::AtLeastOnce, now),
                // They wait at the port.
                Err(Unsaid::NoKey) => break,
                Err(Unsaid::Store(error)) => return Err(error),
                Err(Unsaid::Seal(error)) => tracing::warn!(%device, %error, "what is said to it is lost"),
            }
            self.settle(now)?;
            if let Err(error) = mailbox.remove(&letter) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

fn channel() -> Option<ChannelName> {
    UPDATE_CHANNEL.parse().ok()
}

/// Where a device speaks.
fn up_from(device: &Device) -> Option<Topic> {
    Some(Topic::Data(channel()?, device.clone()))
}

/// Where a device listens.
fn down_to(device: &Device) -> Option<Topic> {
    Some(Topic::Control(channel()?, device.clone()))
}

//! A device's way to its gateway over the network (`wardlink pump --gateway`): what lies in its own end of a port is carried to the gateway's broker, and what the
//! gateway says is laid down there. On the way all of it is sealed under the device's keys of the channel `update` (`protection`).
//!
//! The port is a folder of the device's own ([`crate::mailbox`]), so that whoever hands over ([`super::handover::PortWay`]) does not know which way its letters go. A letter
//! is removed when the gateway has it durably (PUBACK), and one that came is acknowledged when it lies in the folder. The connection is the device's link
//! ([`crate::link`]): it comes back by itself, and checks that the other side is a gateway of the site.

mod copying;
mod protection;

use crate::bundle::{Answered, Asked as Question};
use crate::clock;
use crate::files::make_folder;
use crate::gateway::http::{Asked, Http};
use crate::link::{
    Endpoint, EndpointError, Link, LinkEvent, LinkOptions, Receipt, Revoked, SESSION, SiteGateways, Ticket,
};
use crate::mailbox::{Direction, Letter, MAX_LETTERS, Mailbox};
use crate::pump::Membership;
use crate::room;
use copying::Copying;
use core::time::Duration;
use hyper::StatusCode;
use protection::{Protection, Unread};
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wardlink_crypto::x509::RevocationList;
use wardlink_protocol::Device;
use wardlink_protocol::channel::{ChannelName, Qos, UPDATE_CHANNEL};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::MAX_CRL_BYTES;
use wardlink_protocol::topic::Topic;
use wardlink_records::collector::MAX_SAID_BYTES;
use wardlink_records::exchange::MAX_UPWARD_BYTES;

/// How often it looks for letters.
const LOOKED_AT: Duration = Duration::from_millis(250);
/// Where the site publishes what is revoked.
const REVOCATION_LIST: &str = "/api/v1/crl";
/// How often the device looks there.
const REVOKED_LOOKED_AT: Duration = Duration::from_hours(1);
/// What a device says of its software, in its own end of the way: [`crate::bundle::Told`], encoded.
pub(crate) const TOLD: &str = "told.cbor";
/// The pause before a letter that was refused is sent again.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);

/// Where a device carries its letters.
pub struct Hub {
    /// The device's own end of the port.
    pub folder: PathBuf,
    /// The gateway's address, `wss://host:port`.
    pub address: String,
    /// Whether the device takes updates from there.
    pub takes_updates: bool,
    unkept: watch::Sender<Option<Unkept>>,
}

/// Why what the gateway has for the device cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    /// For people.
    pub message: String,
    /// Whether there is no room for it.
    pub is_full: bool,
}

impl Unkept {
    fn of(error: &io::Error) -> Self {
        let is_full = room::is_lacking(error);
        Self { message: format!("what the gateway has for this device cannot be kept: {error}"), is_full }
    }
}

impl Hub {
    /// Checks the address, and makes the folder.
    pub fn prepare(folder: PathBuf, address: String, takes_updates: bool) -> Result<Self, HubError> {
        Endpoint::of_gateway(&address, SiteGateways::of(Sha256([0; Sha256::LENGTH])))?;
        make_folder(&folder)?;
        Ok(Self { folder, address, takes_updates, unkept: watch::Sender::new(None) })
    }

    /// What cannot be kept, as long as it cannot.
    pub fn unkept(&self) -> watch::Receiver<Option<Unkept>> {
        self.unkept.subscribe()
    }

    /// Carries letters as long as the device is paired, until nobody says any more who it is.
    pub async fn run(self, mut membership: watch::Receiver<Option<Membership>>) {
        loop {
            let member = membership.borrow_and_update().clone();
            let root = member.as_ref().and_then(|member| member.identity.root);
            let carried = match (member, root) {
                (Some(member), Some(root)) => self.carry(&member, root, &mut membership).await,
                _ => membership.changed().await.is_ok(),
            };
            if !carried {
                return;
            }
        }
    }

    /// Carries letters until the device has left its site; false where nobody says any more who it is.
    async fn carry(
        &self,
        member: &Membership,
        root: Sha256,
        membership: &mut watch::Receiver<Option<Membership>>,
    ) -> bool {
        let revoked = Revoked::default();
        let gateways = SiteGateways::with(root, revoked.clone());
        let endpoint = match Endpoint::of_gateway(&self.address, gateways.clone()) {
            Ok(endpoint) => Arc::new(endpoint),
            Err(error) => {
                tracing::error!(%error, "no way to the gateway");
                return membership.changed().await.is_ok();
            }
        };
        let device = member.identity.device.clone();
        let Some(mut carrying) = self.begin(member, Arc::clone(&endpoint), gateways) else {
            return membership.changed().await.is_ok();
        };
        let mut lists = JoinSet::new();
        let mut look = interval(REVOKED_LOOKED_AT);
        let mut known = None;
        loop {
            tokio::select! {
                event = carrying.events.recv() => match event {
                    Some(event) => carrying.hear(event),
                    None => return true,
                },
                _ = carrying.tick.tick() => carrying.send(),
                _ = look.tick() => {
                    let http = Http::new(Arc::clone(&member.endpoint), Arc::clone(&member.identity));
                    lists.spawn(async move { revocation_list(&http).await });
                }
                Some(list) = lists.join_next() => if let Ok(Some(list)) = list {
                    let is_new = known.replace(list.number()) != Some(list.number());
                    revoked.learn(list);
                    if is_new {
                        // Whoever is at the other end is judged by it.
                        carrying.link.reconnect(Arc::clone(&endpoint), Arc::clone(&carrying.identity));
                    }
                },
                changed = membership.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let now = membership.borrow_and_update().clone();
                    match now {
                        Some(now) if now.identity.root == Some(root) && now.identity.device == device => {
                            carrying.learn(now);
                        }
                        _ => return true,
                    }
                }
            }
        }
    }
}

/// Why there is no way to a gateway.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The caller's fault: the address.
    #[error(transparent)]
    Address(#[from] EndpointError),
    /// The device's folder.
    #[error("the letters to the gateway cannot be kept: {0}")]
    Folder(#[from] io::Error),
}

/// The list, as far as it can be had: without one the device goes by what it knows.
async fn revocation_list(http: &Http) -> Option<RevocationList> {
    let answer = http.get(Asked { path: REVOCATION_LIST, ..Asked::default() }).await.ok()?;
    if answer.status != StatusCode::OK {
        return None;
    }
    let bytes = answer.bytes(u64::try_from(MAX_CRL_BYTES).unwrap_or(u64::MAX)).await.ok()?;
    RevocationList::parse(&bytes).ok()
}

/// Letters on their way.
struct Carrying {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    identity: Arc<crate::link::Identity>,
    tick: Interval,
    up: Mailbox,
    down: Mailbox,
    /// Where the device speaks, and where it listens.
    topics: (Topic, Topic),
    is_connected: bool,
    /// What was sent and is not acknowledged.
    sent: Vec<(Ticket, Letter)>,
    /// What came and waits for its key, or for room in the folder; sealed.
    came: VecDeque<(Vec<u8>, Receipt)>,
    protection: Protection,
    /// Whose word counts.
    gateways: SiteGateways,
    /// After a refusal: when the rest is sent.
    again_at: Option<Instant>,
    /// The copy of what the gateway has for this device.
    copying: Option<Copying>,
    /// What of it cannot be kept.
    unkept: watch::Sender<Option<Unkept>>,
    /// What the device says of its software lies there.
    told_file: PathBuf,
    /// What the gateway was told of it, on this connection.
    told: Option<Vec<u8>>,
    /// Whether it was said already that the site gives this device no key to speak under.
    is_mute: bool,
}

impl Hub {
    fn begin(&self, member: &Membership, endpoint: Arc<Endpoint>, gateways: SiteGateways) -> Option<Carrying> {
        let (device, identity) = (&member.identity.device, Arc::clone(&member.identity));
        let channel: ChannelName = UPDATE_CHANNEL.parse().ok()?;
        let topics = (Topic::Data(channel.clone(), device.clone()), Topic::Control(channel, device.clone()));
        let client_id = client_id(device);
        let options = LinkOptions { endpoint, identity: Arc::clone(&identity), client_id, session: SESSION };
        let (link, events) = Link::start(options);
        link.subscribe(&topics.1);
        let mut tick = interval(LOOKED_AT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let up = Mailbox::new(&self.folder, device, Direction::Up, MAX_UPWARD_BYTES);
        let down = Mailbox::new(&self.folder, device, Direction::Down, MAX_SAID_BYTES);
        let (sent, came, again_at, is_mute) = (Vec::new(), VecDeque::new(), None, false);
        let protection = Protection::open_in(&self.folder, topics.clone(), member.keys.update.clone());
        let copying = self.takes_updates.then(|| Copying::new(&self.folder));
        let (told_file, told) = (self.folder.join(TOLD), None);
        Some(Carrying {
            link,
            events,
            identity,
            tick,
            up,
            down,
            topics,
            is_connected: false,
            sent,
            came,
            protection,
            gateways,
            again_at,
            copying,
            unkept: self.unkept.clone(),
            told_file,
            told,
            is_mute,
        })
    }
}

impl Carrying {
    fn hear(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected => {
                tracing::info!("connected to the gateway");
                // What came before and was not laid down comes again.
                (self.is_connected, self.told, self.came) = (true, None, VecDeque::new());
                // What it runs it says anew here: what it said to another gateway is older then.
                let _is_gone = std::fs::remove_file(&self.told_file);
                if let Some(copying) = &mut self.copying {
                    copying.begin();
                }
                self.send();
            }
            LinkEvent::Disconnected { error, again_in } => {
                if self.is_connected || error.is_refusal() {
                    tracing::warn!(%error, ?again_in, "no connection to the gateway");
                }
                (self.is_connected, self.came) = (false, VecDeque::new());
            }
            LinkEvent::Message { topic, payload, receipt, .. } if topic == self.topics.1.to_string() => {
                if receipt.is_awaited() {
                    self.came.push_back((payload, receipt));
                    self.lay_down();
                } else if let Ok(read) = self.protection.open(&payload, &self.gateways, clock::now()) {
                    // What is said so is an answer; it is asked for again.
                    let answered = Answered::decode(&read.said);
                    self.protection.count(read);
                    if let Ok(answered) = answered {
                        self.copy(answered);
                    }
                }
            }
            LinkEvent::Message { receipt, .. } => self.link.acknowledge(receipt),
            LinkEvent::Delivered { ticket, .. } => {
                if let Some((_, letter)) = self.answered(ticket)
                    && let Err(error) = self.up.remove(&letter)
                {
                    tracing::warn!(%error, "a letter that was handed over stays in the folder");
                }
            }
            LinkEvent::Refused { ticket, reason } => {
                tracing::warn!(%reason, "the gateway does not take a letter");
                if self.answered(ticket).is_none() {
                    self.told = None;
                }
                self.again_at = Some(Instant::now() + REFUSED_AGAIN);
            }
            LinkEvent::Subscribed { .. } | LinkEvent::SubscriptionRefused { .. } => {}
        }
    }

    /// The device was given another certificate, or other keys.
    fn learn(&mut self, now: Membership) {
        self.protection.learn(now.keys.update);
        if now.identity.certificate != self.identity.certificate {
            self.identity = Arc::clone(&now.identity);
            self.link.identify(now.identity);
        }
        // What was on its way under a key that was replaced may not count any more.
        (self.told, self.is_mute) = (None, false);
        self.send();
    }

    /// Publishes what the device says, sealed; none where the site gives it no key for that, or nothing can be stored.
    fn publish(&mut self, said: &[u8], qos: Qos) -> Option<Ticket> {
        match self.protection.seal(said, &self.identity.key, clock::now()) {
            Ok(sealed) => Some(self.link.publish(self.topics.0.clone(), sealed, qos)),
            Err(error) => {
                if !core::mem::replace(&mut self.is_mute, true) {
                    tracing::warn!(%error, "the gateway is told nothing");
                }
                self.again_at = Some(Instant::now() + REFUSED_AGAIN);
                None
            }
        }
    }

    fn answered(&mut self, ticket: Ticket) -> Option<(Ticket, Letter)> {
        let place = self.sent.iter().position(|(of, _)| *of == ticket)?;
        Some(self.sent.swap_remove(place))
    }

    /// Sends what lies there and is not on its way. Without a connection nothing is sent, as the device may take it back meanwhile.
    fn send(&mut self) {
        self.lay_down();
        if let Err(error) = self.protection.store() {
            tracing::warn!(%error, "what has counted of the gateway's messages cannot be stored");
        }
        if !self.is_connected || self.again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        if !self.protection.has_key() && self.is_mute {
            return;
        }
        self.again_at = None;
        self.ask();
        self.tell();
        let letters = match self.up.letters(MAX_LETTERS) {
            Ok(letters) => letters,
            Err(error) => return tracing::warn!(%error, "the letters to the gateway cannot be read"),
        };
        for letter in letters {
            let is_sent = self.sent.iter().any(|(_, sent)| *sent == letter);
            if is_sent || self.sent.len() >= MAX_LETTERS {
                continue;
            }
            let Some(ticket) = self.publish(&letter.bytes, Qos::AtLeastOnce) else { return };
            self.sent.push((ticket, letter));
        }
    }

    /// Takes what the gateway has answered, and asks for what is next.
    fn copy(&mut self, answered: Answered) {
        let Some(copying) = &mut self.copying else { return };
        if copying.is_back() {
            self.told = None;
        }
        match copying.take(answered, Instant::now()) {
            Ok(is_kept) => {
                self.unkept.send_if_modified(|unkept| is_kept && unkept.take().is_some());
                self.ask();
            }
            Err(error) => self.not_kept(&error),
        }
    }

    /// It is asked for again after a pause, and said once.
    fn not_kept(&self, error: &io::Error) {
        let now = Some(Unkept::of(error));
        self.unkept.send_if_modified(|unkept| core::mem::replace(unkept, now.clone()) != now);
    }

    /// Asks for what is missing. What gets lost is asked for again.
    fn ask(&mut self) {
        let Some(copying) = &mut self.copying else { return };
        match copying.next(Instant::now()) {
            Ok(None) => {}
            Ok(Some(question)) => drop(self.say(&question, Qos::AtMostOnce)),
            Err(error) => self.not_kept(&error),
        }
    }

    /// Tells what the device says of its software, once on each connection and whenever it says something else.
    fn tell(&mut self) {
        let Ok(now) = std::fs::read(&self.told_file) else { return };
        if self.told.as_ref() != Some(&now) {
            let is_said = self.say(&Question::Told(ByteBuf::from(now.clone())), Qos::AtLeastOnce);
            self.told = Some(now).filter(|_| is_said);
        }
    }

    fn say(&mut self, question: &Question, qos: Qos) -> bool {
        question.encode().is_ok_and(|said| self.publish(&said, qos).is_some())
    }

    /// Lays down what came, as far as its keys are here and there is room. It counts, and is acknowledged, when it lies there.
    fn lay_down(&mut self) {
        while let Some((payload, receipt)) = self.came.front() {
            let receipt = *receipt;
            match self.protection.open(payload, &self.gateways, clock::now()) {
                Ok(read) => match self.down.put(&read.said) {
                    Ok(true) => self.protection.count(read),
                    Ok(false) => return,
                    Err(error) => return tracing::warn!(%error, "what the gateway says cannot be kept"),
                },
                Err(Unread::Awaits) => return,
                Err(error) => tracing::warn!(%error, "what came from the gateway does not count"),
            }
            self.link.acknowledge(receipt);
            self.came.pop_front();
        }
    }
}

/// MQTT's client id of a device at its gateway.
fn client_id(device: &Device) -> String {
    format!("{device}/hub")
}

//! A device's way to its gateway over the network (`wardlink pump --gateway`): what lies in its own end of a port is carried to the gateway's broker, and what the
//! gateway says is laid down there.
//!
//! The port is a folder of the device's own ([`crate::mailbox`]), so that whoever hands over ([`super::handover::PortWay`]) does not know which way its letters go. A letter
//! is removed when the gateway has it durably (PUBACK), and one that came is acknowledged when it lies in the folder. The connection is the device's link
//! ([`crate::link`]): it comes back by itself, and checks that the other side is a gateway of the site.

use crate::gateway::http::{Asked, Http};
use crate::link::{
    Endpoint, EndpointError, Link, LinkEvent, LinkOptions, Receipt, Revoked, SESSION, SiteGateways, Ticket,
};
use crate::mailbox::{Direction, Letter, MAX_LETTERS, Mailbox};
use crate::pump::Membership;
use core::time::Duration;
use hyper::StatusCode;
use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wardlink_crypto::x509::RevocationList;
use wardlink_protocol::Device;
use wardlink_protocol::channel::{ChannelName, Qos};
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
/// The pause before a letter that was refused is sent again.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);

/// Where a device carries its letters.
pub struct Hub {
    /// The device's own end of the port.
    pub folder: PathBuf,
    /// The gateway's address, `wss://host:port`.
    pub address: String,
}

impl Hub {
    /// Checks the address, and makes the folder.
    pub fn prepare(folder: PathBuf, address: String) -> Result<Self, HubError> {
        Endpoint::of_gateway(&address, SiteGateways::of(Sha256([0; Sha256::LENGTH])))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder, address })
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
        let endpoint = match Endpoint::of_gateway(&self.address, SiteGateways::with(root, revoked.clone())) {
            Ok(endpoint) => Arc::new(endpoint),
            Err(error) => {
                tracing::error!(%error, "no way to the gateway");
                return membership.changed().await.is_ok();
            }
        };
        let device = member.identity.device.clone();
        let Some(mut carrying) = Carrying::begin(&self.folder, member, Arc::clone(&endpoint)) else {
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
                            carrying.identity = Arc::clone(&now.identity);
                            carrying.link.identify(now.identity);
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
    /// What came and has found no room in the folder yet.
    came: VecDeque<(Vec<u8>, Receipt)>,
    /// After a refusal: when the rest is sent.
    again_at: Option<Instant>,
}

impl Carrying {
    fn begin(folder: &std::path::Path, member: &Membership, endpoint: Arc<Endpoint>) -> Option<Self> {
        let (device, identity) = (&member.identity.device, Arc::clone(&member.identity));
        let channel: ChannelName = crate::gateway::broker::UPDATE_CHANNEL.parse().ok()?;
        let topics = (Topic::Data(channel.clone(), device.clone()), Topic::Control(channel, device.clone()));
        let client_id = client_id(device);
        let options = LinkOptions { endpoint, identity: Arc::clone(&identity), client_id, session: SESSION };
        let (link, events) = Link::start(options);
        link.subscribe(&topics.1);
        let mut tick = interval(LOOKED_AT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let up = Mailbox::new(folder, device, Direction::Up, MAX_UPWARD_BYTES);
        let down = Mailbox::new(folder, device, Direction::Down, MAX_SAID_BYTES);
        let (sent, came, again_at) = (Vec::new(), VecDeque::new(), None);
        Some(Self { link, events, identity, tick, up, down, topics, is_connected: false, sent, came, again_at })
    }

    fn hear(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected => {
                tracing::info!("connected to the gateway");
                self.is_connected = true;
                self.send();
            }
            LinkEvent::Disconnected { error, again_in } => {
                if self.is_connected || error.is_refusal() {
                    tracing::warn!(%error, ?again_in, "no connection to the gateway");
                }
                // What came and was not laid down comes again.
                (self.is_connected, self.came) = (false, VecDeque::new());
            }
            LinkEvent::Message { topic, payload, receipt, .. } if topic == self.topics.1.to_string() => {
                self.came.push_back((payload, receipt));
                self.lay_down();
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
                self.answered(ticket);
                self.again_at = Some(Instant::now() + REFUSED_AGAIN);
            }
            LinkEvent::Subscribed { .. } | LinkEvent::SubscriptionRefused { .. } => {}
        }
    }

    fn answered(&mut self, ticket: Ticket) -> Option<(Ticket, Letter)> {
        let place = self.sent.iter().position(|(of, _)| *of == ticket)?;
        Some(self.sent.swap_remove(place))
    }

    /// Sends what lies there and is not on its way. Without a connection nothing is sent, as the device may take it back meanwhile.
    fn send(&mut self) {
        self.lay_down();
        if !self.is_connected || self.again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.again_at = None;
        let letters = match self.up.letters() {
            Ok(letters) => letters,
            Err(error) => return tracing::warn!(%error, "the letters to the gateway cannot be read"),
        };
        for letter in letters {
            let is_sent = self.sent.iter().any(|(_, sent)| *sent == letter);
            if is_sent || self.sent.len() >= MAX_LETTERS {
                continue;
            }
            let ticket = self.link.publish(self.topics.0.clone(), letter.bytes.clone(), Qos::AtLeastOnce);
            self.sent.push((ticket, letter));
        }
    }

    /// Lays down what came, as far as there is room.
    fn lay_down(&mut self) {
        while let Some((payload, receipt)) = self.came.front() {
            match self.down.put(payload) {
                Ok(true) => self.link.acknowledge(*receipt),
                Ok(false) => return,
                Err(error) => return tracing::warn!(%error, "what the gateway says cannot be kept"),
            }
            self.came.pop_front();
        }
    }
}

/// MQTT's client id of a device at its gateway.
fn client_id(device: &Device) -> String {
    format!("{device}/hub")
}

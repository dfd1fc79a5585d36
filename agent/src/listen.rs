//! `wardlink listen`: a small server application that reads the channels it is granted, and prints every message.
//!
//! It is enrolled once, by the text that an administrator got when making it in the web app. Then it connects with its certificate,
//! asks the control unit for the keys of each device that it hears, and judges each message as the control unit itself does.

mod event;
mod keys;
mod settings;
mod site;

pub use event::{Event, Format, Printer};
pub use settings::{ListenArgs, Settings};
pub use site::SiteError;

use crate::clock;
use crate::link::{EndpointError, Identity, Link, LinkError, LinkEvent, LinkOptions, Receipt, Stamp};
use crate::state::{Record, StateDirectory, StateError};
use keys::Keys;
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use site::Site;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::x509::{Certificate, X509Error};
use wardlink_pairing::enrolment::{Enrolled, Enrolling, EnrolmentError};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::epochs::KeyRefusal;
use wardlink_trust::inbox::{self, Refused};
use wardlink_trust::wrap::WrapError;
use wardlink_trust::{OpenError, Opened, Receiver};
use zeroize::Zeroizing;

/// How many messages are taken before what has counted is stored, where so many wait already.
const MAX_AT_ONCE: usize = 64;
/// Of how many topics it is remembered what has counted; then those that were silent for longest are forgotten.
const MAX_REMEMBERED: usize = 8_000;
/// The pause before the control unit is asked again, when it cannot be reached.
const RETRY: Duration = Duration::from_secs(1);
/// MQTT's client id; a service has one session.
const CLIENT_ID: &str = "wardlink-listen";

/// Why a service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The site's address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The control unit does not answer, or refuses.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The enrolment could not be begun, or its answer does not count.
    #[error("the service cannot be enrolled: {0}")]
    Enrolment(#[from] EnrolmentError),
    /// The stored static key.
    #[error("the stored key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The stored or enrolled certificate.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] X509Error),
    /// A question for keys could not be asked, or its answer does not count.
    #[error("the keys cannot be read: {0}")]
    Keys(#[from] WrapError),
    /// The caller's fault: nothing is enrolled in this directory yet.
    #[error("nothing is enrolled in this directory; give the enrolment text of the web app with --enrol")]
    NotEnrolled,
    /// The caller's fault: another service is enrolled there.
    #[error("{0} is enrolled in this directory; choose another one for a new service")]
    EnrolledAlready(Device),
    /// The caller's fault: a device lives there.
    #[error("this is the directory of {0}, which is no service; choose another one")]
    Foreign(Device),
    /// The caller's fault: nobody reads what is printed.
    #[error("nobody reads what is printed any more; the last message comes again at the next start")]
    Unread,
    /// The site has revoked the service, or its certificate has ended.
    #[error("the control unit does not let this service in any more: it is revoked, or its certificate has ended")]
    Ended,
    /// Our fault: a task that broke.
    #[error("a task broke")]
    Broken,
}

/// What has counted of one topic.
#[derive(Clone, Serialize, Deserialize)]
struct Received {
    topic: Topic,
    /// The sender's key: whoever has paired again counts anew.
    key: KeyFingerprint,
    receiver: Receiver,
    /// When it was heard last, by the bridge's time.
    heard_at: UnixMillis,
}

/// Why a message is not printed.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    /// The bridge's fault: it says nothing of the message.
    #[error("the bridge's stamp is missing")]
    Stamp,
    /// The peer's fault: nobody knows its sender.
    #[error("the control unit does not know the sender")]
    Stranger,
    /// The peer's fault: it does not count.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Ours, or the site's.
    #[error(transparent)]
    Failed(#[from] ListenError),
}

/// A service that listens.
struct Listener {
    state: StateDirectory,
    site: Site,
    settings: Settings,
    key: PrivateKey,
    enrolled: Enrolled,
    keys: Keys,
    received: BTreeMap<Topic, Received>,
    /// Whether something has counted since it was stored.
    has_counted: bool,
    /// What was taken since then, to be acknowledged.
    taken: Vec<Receipt>,
    printer: Printer,
}

/// Enrols the service where that was not done before, and listens until it is stopped.
pub async fn run(settings: Settings, printer: Printer, mut stopped: watch::Receiver<bool>) -> Result<(), ListenError> {
    let listener = tokio::select! {
        listener = Listener::open(settings, printer) => listener?,
        _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
    };
    listener.run(stopped).await
}

impl Listener {
    /// Opens the service's state, and enrols it where that was not done before.
    async fn open(settings: Settings, mut printer: Printer) -> Result<Self, ListenError> {
        let state = StateDirectory::lock(&settings.data)?;
        if let Some(owner) = state.owner()?.filter(|owner| !owner.is_service()) {
            return Err(ListenError::Foreign(owner));
        }
        let site = Site::new(&settings);
        let mut stored: Option<Enrolled> = state.read_value(Record::Service)?;
        if let (Some(enrolled), Some(ticket)) = (&stored, &settings.ticket) {
            if ticket.name != enrolled.name {
                return Err(ListenError::EnrolledAlready(Device::service(enrolled.name.clone())));
            }
            // Another text for the same name: a person has made the service anew, and what it had is worth nothing.
            if ticket.id != enrolled.id {
                state.remove(Record::Service)?;
                stored = None;
            }
        }
        let (key, enrolled) = match stored {
            Some(enrolled) => {
                let missing = || StateError::Damaged {
                    path: state.file(Record::StaticKey),
                    reason: "it is missing, while the service is enrolled with it",
                };
                let key = state.read(Record::StaticKey)?.ok_or_else(missing)?;
                (PrivateKey::from_pkcs8(&key)?, enrolled)
            }
            None => enrol(&state, &settings, &site, &mut printer).await?,
        };
        let received: Vec<Received> = state.read_value(Record::Received)?.unwrap_or_default();
        let received = received.into_iter().map(|received| (received.topic.clone(), received)).collect();
        let keys = Keys::new(&enrolled)?;
        Ok(Self {
            state,
            site,
            settings,
            key,
            enrolled,
            keys,
            received,
            has_counted: false,
            taken: Vec::new(),
            printer,
        })
    }

    /// Listens until it is stopped.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<(), ListenError> {
        let identity = Identity {
            key: self.key.clone(),
            device: Device::service(self.enrolled.name.clone()),
            certificate: Some(self.enrolled.certificate.to_vec()),
            root: Some(self.enrolled.root),
        };
        let (link, mut events) = Link::start(LinkOptions {
            endpoint: Arc::clone(&self.settings.endpoint),
            identity: Arc::new(identity),
            client_id: CLIENT_ID.to_owned(),
        });
        for filter in self.enrolled.access.filters() {
            link.subscribe(filter);
        }
        let result = tokio::select! {
            result = self.listen(&link, &mut events) => result,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        };
        // What nobody read comes again: it is neither counted nor acknowledged.
        let kept = if matches!(result, Err(ListenError::Unread)) { Ok(()) } else { self.keep(&link) };
        link.close().await;
        result.and(kept)
    }

    async fn listen(&mut self, link: &Link, events: &mut mpsc::Receiver<LinkEvent>) -> Result<(), ListenError> {
        loop {
            // What is here already is stored together, and only then acknowledged.
            let event = match events.try_recv() {
                Ok(event) if self.taken.len() < MAX_AT_ONCE => event,
                event => {
                    self.keep(link)?;
                    let next = event.ok();
                    let waited = if next.is_some() { next } else { events.recv().await };
                    waited.ok_or(ListenError::Broken)?
                }
            };
            match event {
                LinkEvent::Connected => {
                    // What was told on T4 meanwhile may have been lost.
                    self.keys.forget_all();
                    self.printer.print(&Event::Connected { service: self.enrolled.name.clone() });
                }
                LinkEvent::Subscribed { filter } => self.printer.print(&Event::Subscribed { filter }),
                LinkEvent::SubscriptionRefused { filter } => {
                    self.printer.print(&Event::SubscriptionRefused { filter });
                }
                LinkEvent::Message { topic, payload, stamp, receipt } => {
                    self.take(&topic, payload, stamp).await?;
                    self.taken.push(receipt);
                }
                LinkEvent::Disconnected { error, again_in } => {
                    if matches!(error, LinkError::Refused(ConnectReasonCode::Banned | ConnectReasonCode::NotAuthorized))
                    {
                        return Err(ListenError::Ended);
                    }
                    let again_in_ms = u64::try_from(again_in.as_millis()).unwrap_or(u64::MAX);
                    self.printer.print(&Event::Disconnected { reason: error.to_string(), again_in_ms });
                }
                LinkEvent::Delivered { .. } | LinkEvent::Refused { .. } => {}
            }
        }
    }

    /// Stores what has counted, and acknowledges what was taken.
    fn keep(&mut self, link: &Link) -> Result<(), ListenError> {
        while self.received.len() > MAX_REMEMBERED {
            let silent = self.received.values().min_by_key(|received| received.heard_at);
            let Some(topic) = silent.map(|received| received.topic.clone()) else { break };
            self.received.remove(&topic);
        }
        if core::mem::take(&mut self.has_counted) {
            let received: Vec<&Received> = self.received.values().collect();
            self.state.write_value(Record::Received, &received)?;
        }
        self.taken.drain(..).for_each(|receipt| link.acknowledge(receipt));
        Ok(())
    }

    /// Prints a message that counts, and says why another does not.
    async fn take(&mut self, topic: &str, payload: Vec<u8>, stamp: Option<Stamp>) -> Result<(), ListenError> {
        let parsed = topic.parse::<Topic>();
        if let Ok(Topic::Meta(client)) = &parsed {
            // A device was paired or revoked: what is known of its class may be of yesterday.
            self.keys.forget(client);
            return Ok(());
        }
        let sequence = stamp.as_ref().map(|stamp| stamp.sequence);
        let heard = match (parsed, stamp) {
            (Ok(Topic::Data(channel, device)), Some(stamp)) => self.open_message(channel, device, payload, stamp).await,
            (_, Some(_)) => Err(Refused::Topic.into()),
            (_, None) => Err(Unheard::Stamp),
        };
        match heard {
            Ok(event) => {
                self.printer.print(&event);
                if self.printer.is_open() { Ok(()) } else { Err(ListenError::Unread) }
            }
            Err(Unheard::Failed(error)) => Err(error),
            Err(error) => {
                self.printer.print(&Event::refused(topic, sequence, &error));
                Ok(())
            }
        }
    }

    async fn open_message(
        &mut self,
        channel: ChannelName,
        device: Device,
        payload: Vec<u8>,
        stamp: Stamp,
    ) -> Result<Event, Unheard> {
        let stamped = StampedMessage {
            topic: Topic::Data(channel.clone(), device.clone()).to_string(),
            payload: ByteBuf::from(payload),
            publisher: stamp.publisher,
            accepted_at: stamp.accepted_at,
            sequence: stamp.sequence,
            network: NetworkOrigin::default(),
        };
        let was_fresh = self.know(&channel, &device).await?;
        let opened = match self.judge(&channel, &device, &stamped) {
            // A later epoch, or a device that was paired again: what the site says now counts.
            Err(error) if !was_fresh && may_be_news(&error) && self.keys.may_ask_again(&device) => {
                self.keys.forget_one(&channel, &device);
                self.know(&channel, &device).await?;
                self.judge(&channel, &device, &stamped)?
            }
            judged => judged?,
        };
        Ok(Event::message(channel, device, &stamped, &opened))
    }

    /// Knows the keys of a channel of a device; whether they were asked for just now. While the site does not answer, it is asked again.
    async fn know(&mut self, channel: &ChannelName, device: &Device) -> Result<bool, ListenError> {
        if self.keys.knows(channel, device) {
            return Ok(false);
        }
        loop {
            let question = self.keys.ask(channel, device)?;
            match self.site.keys(question.clone()).await {
                Ok(answer) => {
                    self.keys.learn(channel, device, &question, &answer)?;
                    return Ok(true);
                }
                Err(SiteError::Unreachable(reason)) => {
                    tracing::warn!(%reason, "the control unit is asked for keys again");
                    sleep(RETRY).await;
                }
                Err(SiteError::Refused { status: 403, .. }) => return Err(ListenError::Ended),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn judge(&mut self, channel: &ChannelName, device: &Device, message: &StampedMessage) -> Result<Opened, Unheard> {
        let known = self.keys.of(channel, device).ok_or(Unheard::Stranger)?;
        let sender = known.sender(device).ok_or(Unheard::Stranger)?;
        let key = sender.key.fingerprint().map_err(OpenError::Key).map_err(Refused::Open)?;
        let topic = Topic::Data(channel.clone(), device.clone());
        let heard_at = message.accepted_at;
        let fresh = || Received { topic: topic.clone(), key, receiver: Receiver::default(), heard_at };
        let received = self.received.entry(topic.clone()).or_insert_with(fresh);
        if received.key != key {
            *received = fresh();
        }
        let is_first = received.receiver == Receiver::default();
        let mut opened = inbox::open(&mut received.receiver, known.lines(), sender, message, clock::now())?;
        if is_first {
            // What was sent before it ever listened is not missing.
            opened.missing = 0;
        }
        received.heard_at = heard_at;
        self.has_counted = true;
        Ok(opened)
    }
}

/// Whether the site may know better by now.
const fn may_be_news(error: &Unheard) -> bool {
    matches!(
        error,
        Unheard::Stranger
            | Unheard::Refused(
                Refused::Publisher | Refused::Key(KeyRefusal::Unknown | KeyRefusal::Sender | KeyRefusal::Stamp)
            )
    )
}

/// Enrols the service: the request is stored before it is sent, so that the same one can be sent again.
async fn enrol(
    state: &StateDirectory,
    settings: &Settings,
    site: &Site,
    printer: &mut Printer,
) -> Result<(PrivateKey, Enrolled), ListenError> {
    let begun: Option<Enrolling> = state.read_value(Record::Enrolment)?;
    let begun = begun.filter(|begun| settings.ticket.as_ref().is_none_or(|ticket| ticket.id == begun.id()));
    let (key, begun) = match (begun, &settings.ticket) {
        (Some(begun), _) => (PrivateKey::from_pkcs8(&state.static_key(Zeroizing::default)?)?, begun),
        (None, Some(ticket)) => {
            let mut rng = clock::rng();
            let key = PrivateKey::make(&mut rng);
            let begun = Enrolling::begin(ticket, &key, &mut rng)?;
            state.write_value(Record::Device, &Device::service(ticket.name.clone()))?;
            state.write(Record::StaticKey, &key.to_pkcs8()?)?;
            state.write_value(Record::Enrolment, &begun)?;
            (key, begun)
        }
        (None, None) => return Err(ListenError::NotEnrolled),
    };
    let answer = site.enrol(begun.request().to_vec()).await?;
    let enrolled = begun.finish(&key, &answer, clock::now())?;
    state.write_value(Record::Service, &enrolled)?;
    state.remove(Record::Enrolment)?;
    let certificate = Certificate::parse(&enrolled.certificate)?;
    printer.print(&Event::Enrolled {
        service: enrolled.name.clone(),
        certificate: certificate.serial(),
        ends_at: certificate.validity().not_after,
    });
    Ok((key, enrolled))
}

//! `wardlink listen`: a small server application that reads the channels it is granted, and prints every message.
//!
//! It is enrolled once, by the text that an administrator got when making it in the web app. Then it connects with its certificate,
//! asks the control unit for the keys of each device that it hears, and judges each message as the control unit itself does.

use crate::clock;
use crate::link::{Link, LinkError, LinkEvent, LinkOptions, Receipt, SESSION, Stamp};
use crate::service::{Event, Printer, Service, ServiceError, Settings};
use crate::state::Record;
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::epochs::KeyRefusal;
use wardlink_trust::inbox::{self, Refused};
use wardlink_trust::{OpenError, Opened, Receiver};

/// How many messages are taken before what has counted is stored, where so many wait already.
const MAX_AT_ONCE: usize = 64;
/// Of how many topics it is remembered what has counted; then those that were silent for longest are forgotten.
const MAX_REMEMBERED: usize = 8_000;
/// The longest pause between two looks whether the certificate is to be renewed: the computer may have slept.
const RENEWAL_LOOK: Duration = Duration::from_hours(1);
/// The shortest one: the control unit does not answer, or does not want to yet.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// MQTT's client id; a service has one session.
const CLIENT_ID: &str = "wardlink-listen";

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
    Failed(#[from] ServiceError),
}

/// A service that listens.
struct Listener {
    service: Service,
    received: BTreeMap<Topic, Received>,
    /// Whether something has counted since it was stored.
    has_counted: bool,
    /// What was taken since then, to be acknowledged.
    taken: Vec<Receipt>,
    printer: Printer,
}

/// Enrols the service where that was not done before, and listens until it is stopped.
pub async fn run(
    settings: Settings,
    mut printer: Printer,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ServiceError> {
    let service = tokio::select! {
        service = Service::open(settings, &mut printer) => service?,
        _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
    };
    let received: Vec<Received> = service.state.read_value(Record::Received)?.unwrap_or_default();
    let received = received.into_iter().map(|received| (received.topic.clone(), received)).collect();
    Listener { service, received, has_counted: false, taken: Vec::new(), printer }.run(stopped).await
}

impl Listener {
    /// Listens until it is stopped.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<(), ServiceError> {
        let (link, mut events) = Link::start(LinkOptions {
            endpoint: Arc::clone(&self.service.settings.endpoint),
            identity: Arc::new(self.service.identity()),
            client_id: CLIENT_ID.to_owned(),
            session: SESSION,
        });
        for filter in self.service.enrolled.access.filters() {
            link.subscribe(filter);
        }
        let result = tokio::select! {
            result = self.listen(&link, &mut events) => result,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        };
        // What nobody read comes again: it is neither counted nor acknowledged.
        let kept = if matches!(result, Err(ServiceError::Unread)) { Ok(()) } else { self.keep(&link) };
        link.close().await;
        result.and(kept)
    }

    async fn listen(&mut self, link: &Link, events: &mut mpsc::Receiver<LinkEvent>) -> Result<(), ServiceError> {
        let mut renew_at = self.look_again_at()?;
        loop {
            if renew_at <= Instant::now() {
                if self.service.renew(&mut self.printer).await? {
                    link.identify(Arc::new(self.service.identity()));
                }
                renew_at = self.look_again_at()?;
            }
            // What is here already is stored together, and only then acknowledged.
            let event = match events.try_recv() {
                Ok(event) if self.taken.len() < MAX_AT_ONCE => event,
                event => {
                    self.keep(link)?;
                    let next = event.ok();
                    let waited = if next.is_some() {
                        next
                    } else {
                        tokio::select! {
                            event = events.recv() => event,
                            () = sleep_until(renew_at) => continue,
                        }
                    };
                    waited.ok_or(ServiceError::Broken)?
                }
            };
            match event {
                LinkEvent::Connected => {
                    // What was told on T4 meanwhile may have been lost.
                    self.service.keys.forget_all();
                    self.printer.print(&Event::Connected { service: self.service.enrolled.name.clone() });
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
                    // Once the certificate has ended, the control unit alone says whether it is renewed.
                    if matches!(error, LinkError::Refused(ConnectReasonCode::Banned | ConnectReasonCode::NotAuthorized))
                        && !self.service.has_ended(clock::now())?
                    {
                        return Err(ServiceError::Ended);
                    }
                    let again_in_ms = u64::try_from(again_in.as_millis()).unwrap_or(u64::MAX);
                    self.printer.print(&Event::Disconnected { reason: error.to_string(), again_in_ms });
                }
                LinkEvent::Delivered { .. } | LinkEvent::Refused { .. } => {}
            }
        }
    }

    /// When it is looked whether the certificate is to be renewed.
    fn look_again_at(&self) -> Result<Instant, ServiceError> {
        let due = self.service.renews_at()?.since(clock::now());
        Ok(Instant::now() + due.clamp(RENEWAL_PAUSE, RENEWAL_LOOK))
    }

    /// Stores what has counted, and acknowledges what was taken.
    fn keep(&mut self, link: &Link) -> Result<(), ServiceError> {
        while self.received.len() > MAX_REMEMBERED {
            let silent = self.received.values().min_by_key(|received| received.heard_at);
            let Some(topic) = silent.map(|received| received.topic.clone()) else { break };
            self.received.remove(&topic);
        }
        if core::mem::take(&mut self.has_counted) {
            let received: Vec<&Received> = self.received.values().collect();
            self.service.state.write_value(Record::Received, &received)?;
        }
        self.taken.drain(..).for_each(|receipt| link.acknowledge(receipt));
        Ok(())
    }

    /// Prints a message that counts, and says why another does not.
    async fn take(&mut self, topic: &str, payload: Vec<u8>, stamp: Option<Stamp>) -> Result<(), ServiceError> {
        let parsed = topic.parse::<Topic>();
        if let Ok(Topic::Meta(client)) = &parsed {
            // A device was paired or revoked: what is known of its class may be of yesterday.
            self.service.keys.forget(client);
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
                if self.printer.is_open() { Ok(()) } else { Err(ServiceError::Unread) }
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
        let was_fresh = self.service.know(&channel, &device).await?;
        let opened = match self.judge(&channel, &device, &stamped) {
            // A later epoch, or a device that was paired again: what the site says now counts.
            Err(error) if !was_fresh && may_be_news(&error) && self.service.keys.may_ask_again(&device) => {
                self.service.keys.forget_one(&channel, &device);
                self.service.know(&channel, &device).await?;
                self.judge(&channel, &device, &stamped)?
            }
            judged => judged?,
        };
        Ok(Event::message(channel, device, &stamped, &opened))
    }

    fn judge(&mut self, channel: &ChannelName, device: &Device, message: &StampedMessage) -> Result<Opened, Unheard> {
        let known = self.service.keys.of(channel, device).ok_or(Unheard::Stranger)?;
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

//! `wardlink send`: a small server application that gives one device an order, and waits for its outcome.
//!
//! It uses the enrolment of `wardlink listen`. The order has an id and an end; however often it is sent on the way, the device carries it out
//! once at most.

use crate::clock;
use crate::link::{Link, LinkError, LinkEvent, LinkOptions, Stamp, Ticket};
use crate::service::{Event, Printer, Service, ServiceArgs, ServiceError, Settings};
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use rand_core::Rng;
use serde_bytes::ByteBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use wardlink_protocol::channel::{ChannelName, Qos};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::order::{Giver, NotTaken, Order, OrderId, OrderResult, Task};
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, cbor};
use wardlink_trust::epochs::{KeyRefusal, Line};
use wardlink_trust::inbox::{self, Refused};
use wardlink_trust::{Opened, Receiver, Sender};

/// MQTT's client id.
const CLIENT_ID: &str = "wardlink-send";
/// How long the bridge keeps the session over a lost connection.
const SESSION: Duration = Duration::from_mins(5);
/// The pause before an order is sent again that nobody listened to.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is sent again because a key has changed meanwhile.
const MAX_NEW_KEYS: u32 = 5;

/// The flags of `wardlink send`.
#[derive(Clone, clap::Args)]
pub struct SendArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The channel.
    #[arg(long, env = "WARDLINK_CHANNEL", value_name = "NAME", default_value = "command")]
    channel: ChannelName,
    /// The order counts for so many seconds; at most a day.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    expires_in: u32,
    /// How long its outcome is waited for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    /// Prints one JSON object per line.
    #[arg(long)]
    pub json: bool,
    /// To which device, such as infusion-pump/ip-1.
    device: Device,
    /// What it is to do.
    #[command(subcommand)]
    task: TaskArgs,
}

/// What a device is to do.
#[derive(Clone, clap::Subcommand)]
enum TaskArgs {
    /// Show these words to the staff.
    Message {
        /// The words.
        text: String,
    },
    /// Report now what is measured, and the active alarms.
    Report,
    /// Pause the tone of the active alarms for two minutes.
    Silence,
    /// Measure and report at this interval from now on.
    Interval {
        /// In seconds.
        seconds: u32,
    },
}

impl From<TaskArgs> for Task {
    fn from(task: TaskArgs) -> Self {
        match task {
            TaskArgs::Message { text } => Self::ShowMessage { text },
            TaskArgs::Report => Self::ReportNow,
            TaskArgs::Silence => Self::PauseAlarmTone,
            TaskArgs::Interval { seconds } => Self::SetInterval { seconds },
        }
    }
}

/// An order to be sent.
pub struct Errand {
    channel: ChannelName,
    device: Device,
    task: Task,
    lifetime: Duration,
    timeout: Duration,
}

impl SendArgs {
    /// What the service needs to know, and what it is to do.
    pub fn settings(&self) -> anyhow::Result<(Settings, Errand)> {
        let errand = Errand {
            channel: self.channel.clone(),
            device: self.device.clone(),
            task: self.task.clone().into(),
            lifetime: Duration::from_secs(self.expires_in.into()),
            timeout: Duration::from_secs(self.timeout.into()),
        };
        Ok((self.service.settings()?, errand))
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The device says how it went.
    Outcome(OrderResult),
    /// It is sent, and the service may not read the outcome.
    Unread,
    /// The bridge does not let the service send it.
    NotLetIn,
    /// The device said nothing in time. Until the order's end it may still carry it out.
    Silence,
}

/// An order on its way.
struct Sending {
    service: Service,
    errand: Errand,
    order: Order,
    reads: bool,
    receiver: Receiver,
    ticket: Option<Ticket>,
    /// When it is sent again.
    again: Option<Instant>,
    new_keys: u32,
    printer: Printer,
}

/// Gives the order, and waits for its outcome.
pub async fn run(settings: Settings, errand: Errand, mut printer: Printer) -> Result<Ending, ServiceError> {
    let given_at = clock::now();
    let mut id = [0; OrderId::LENGTH];
    clock::rng().fill_bytes(&mut id);
    let expires_at = given_at.after(errand.lifetime);
    let order = Order { id: OrderId(id), given_at, expires_at, task: errand.task.clone() };
    order.check()?;
    let until = Instant::now() + errand.timeout;
    let opened = tokio::time::timeout_at(until, Service::open(settings, &mut printer)).await;
    let Ok(service) = opened else { return Ok(Ending::Silence) };
    let service = service?;
    let access = &service.enrolled.access;
    if !access.may_publish(&Topic::Control(errand.channel.clone(), errand.device.clone())) {
        return Err(ServiceError::NotGranted { channel: errand.channel, client: errand.device.client });
    }
    let reads = access.may_read(&Topic::Data(errand.channel.clone(), errand.device.clone()));
    let (receiver, ticket) = (Receiver::default(), None);
    let sending = Sending { service, errand, order, reads, receiver, ticket, again: None, new_keys: 0, printer };
    sending.run(until).await
}

impl Sending {
    async fn run(mut self, until: Instant) -> Result<Ending, ServiceError> {
        let (mut link, mut events) = Link::start(LinkOptions {
            endpoint: Arc::clone(&self.service.settings.endpoint),
            identity: Arc::new(self.service.identity()),
            client_id: CLIENT_ID.to_owned(),
            session: SESSION,
        });
        if self.reads {
            // The outcome may come as soon as the order is sent.
            link.subscribe(Topic::Data(self.errand.channel.clone(), self.errand.device.clone()));
        }
        let ending = tokio::time::timeout_at(until, self.follow(&mut link, &mut events)).await;
        link.close().await;
        ending.unwrap_or(Ok(Ending::Silence))
    }

    async fn follow(
        &mut self,
        link: &mut Link,
        events: &mut mpsc::Receiver<LinkEvent>,
    ) -> Result<Ending, ServiceError> {
        loop {
            let again = self.again;
            let event = tokio::select! {
                event = events.recv() => event.ok_or(ServiceError::Broken)?,
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    self.again = None;
                    self.publish(link).await?;
                    continue;
                }
            };
            match event {
                LinkEvent::Connected if !self.reads => self.publish(link).await?,
                // Also after a lost connection: the device says once more how it stands.
                LinkEvent::Subscribed { .. } => self.publish(link).await?,
                LinkEvent::Delivered { ticket, is_read } if self.ticket == Some(ticket) => {
                    if !is_read {
                        let (order, device) = (self.order.id, self.errand.device.clone());
                        self.printer.print(&Event::NobodyListens { order, device });
                        self.again = Some(Instant::now() + AGAIN);
                        continue;
                    }
                    self.printer.print(&Event::Sent {
                        order: self.order.id,
                        device: self.errand.device.clone(),
                        task: self.order.task.word(),
                        expires_at: self.order.expires_at,
                    });
                    if !self.reads {
                        return Ok(Ending::Unread);
                    }
                }
                LinkEvent::Refused { ticket, .. } if self.ticket == Some(ticket) => return Ok(Ending::NotLetIn),
                LinkEvent::Message { topic, payload, stamp, receipt } => {
                    let heard = self.hear(&topic, payload, stamp).await?;
                    link.acknowledge(receipt);
                    match heard {
                        Some(Content::Order(said)) if self.is_ours(said.order, said.giver) => {
                            self.printer.print(&Event::Outcome { order: said.order, result: said.result });
                            if said.result != OrderResult::Taken {
                                return Ok(Ending::Outcome(said.result));
                            }
                        }
                        Some(Content::RefusedMessage(said))
                            if matches!(said.reason, NotTaken::OldEpoch | NotTaken::UnknownKey)
                                && self.new_keys < MAX_NEW_KEYS =>
                        {
                            // The key has changed meanwhile.
                            self.new_keys += 1;
                            self.service.keys.forget_all();
                            self.again = Some(Instant::now());
                        }
                        _ => {}
                    }
                }
                LinkEvent::Disconnected { error, again_in } => {
                    if matches!(error, LinkError::Refused(ConnectReasonCode::Banned | ConnectReasonCode::NotAuthorized))
                    {
                        return Err(ServiceError::Ended);
                    }
                    let again_in_ms = u64::try_from(again_in.as_millis()).unwrap_or(u64::MAX);
                    self.printer.print(&Event::Disconnected { reason: error.to_string(), again_in_ms });
                }
                LinkEvent::SubscriptionRefused { filter } => {
                    self.printer.print(&Event::SubscriptionRefused { filter });
                }
                LinkEvent::Connected | LinkEvent::Delivered { .. } | LinkEvent::Refused { .. } => {}
            }
        }
    }

    fn is_ours(&self, order: OrderId, giver: Giver) -> bool {
        let own = self.service.key.public().fingerprint().ok().map(Giver::Service);
        order == self.order.id && Some(giver) == own
    }

    /// Sends the order, protected anew: the device knows it by its id.
    async fn publish(&mut self, link: &mut Link) -> Result<(), ServiceError> {
        let Errand { channel, device, .. } = &self.errand;
        self.service.know(channel, device).await?;
        let known = self.service.keys.of(channel, device);
        let trusted = known.and_then(|known| known.sender(device)).is_some_and(|sender| sender.trusted);
        let key = known.and_then(|known| known.lines().iter().find_map(Line::current)).filter(|_| trusted);
        let Some(key) = key else { return Err(ServiceError::NoDevice(device.clone())) };
        let boot = self.service.state.next_boot_from(clock::now().0)?;
        let topic = Topic::Control(channel.clone(), device.clone());
        let mut sender = Sender::begin(key, topic.clone(), boot, &mut clock::rng())?;
        let chain = self.service.enrolled.whole_chain();
        let message = sender.seal_certified(&cbor::encode(&self.order)?, &self.service.key, &chain)?;
        self.ticket = Some(link.publish(topic, message, Qos::AtLeastOnce));
        Ok(())
    }

    /// What the device reports, where it counts. What it said before this run is of other orders.
    async fn hear(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
        stamp: Option<Stamp>,
    ) -> Result<Option<Content>, ServiceError> {
        let Some(stamp) = stamp else { return Ok(None) };
        let (channel, device) = (self.errand.channel.clone(), self.errand.device.clone());
        let stamped = StampedMessage {
            topic: topic.to_owned(),
            payload: ByteBuf::from(payload),
            publisher: stamp.publisher,
            accepted_at: stamp.accepted_at,
            sequence: stamp.sequence,
            network: NetworkOrigin::default(),
        };
        let was_fresh = self.service.know(&channel, &device).await?;
        let mut opened = self.judge(&channel, &device, &stamped);
        if matches!(opened, Err(Refused::Key(_) | Refused::Publisher))
            && !was_fresh
            && self.service.keys.may_ask_again(&device)
        {
            // A later epoch, or a device that was paired again.
            self.service.keys.forget_one(&channel, &device);
            self.service.know(&channel, &device).await?;
            opened = self.judge(&channel, &device, &stamped);
        }
        let opened = opened.inspect_err(|error| tracing::warn!(%error, "a report does not count")).ok();
        let report =
            opened.and_then(|opened| cbor::decode::<Report>(&opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES).ok());
        Ok(report.map(|report| report.content))
    }

    fn judge(&mut self, channel: &ChannelName, device: &Device, stamped: &StampedMessage) -> Result<Opened, Refused> {
        let known = self.service.keys.of(channel, device).ok_or(KeyRefusal::Unknown)?;
        let sender = known.sender(device).ok_or(KeyRefusal::Sender)?;
        inbox::open(&mut self.receiver, known.lines(), sender, stamped, clock::now())
    }
}

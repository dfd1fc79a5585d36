//! The link's task: one connection after the other, and what has to survive between them.

use super::backoff::Backoff;
use super::outbox::Outbox;
use super::session::{LinkError, Session};
use super::{Command, LinkEvent, LinkOptions, Receipt, Stamp};
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos as MqttQos, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, PubackReasonCode, SubackReasonCode};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::stamp::{PUBLISHER_PROPERTY, SEQUENCE_PROPERTY, TIME_PROPERTY};
use wardlink_protocol::topic::TopicFilter;

/// How long connecting and authenticating may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long sending may take before the connection counts as broken.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between attempts to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The same where the bridge does not answer in time: it has much to do, and those who come back at once would give it more.
const RECONNECT_LATER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Pauses between attempts to subscribe: short, as a person who accepts a device waits for its code.
const SUBSCRIBE: (Duration, Duration) = (Duration::from_millis(15), Duration::from_secs(1));
/// A connection that stood for this long was a good one: the next pause is short again. An attempt is none, however long it took.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// One that stood for this long shows that the bridge has time again.
const CALM: Duration = Duration::from_mins(2);

/// How a connection, or the wait for one, ends.
enum End {
    /// The device wants it so.
    Close,
    /// The device wants another one.
    Reconnect,
    /// It failed.
    Lost(LinkError),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

struct Subscription {
    filter: TopicFilter,
    state: Asking,
    backoff: Backoff,
}

enum Asking {
    Due(Instant),
    Asked(u16),
    Held,
}

/// The pauses between attempts to connect.
struct Pauses {
    soon: Backoff,
    later: Backoff,
}

impl Pauses {
    fn new() -> Self {
        let [soon, later] = [RECONNECT, RECONNECT_LATER].map(|(first, limit)| Backoff::new(first, limit));
        Self { soon, later }
    }

    /// The device wants another connection: at once.
    fn begin_anew(&mut self) {
        self.soon.reset();
    }

    /// The pause after this end of a connection that stood for so long; none: of an attempt.
    fn next(&mut self, error: &LinkError, stood: Option<Duration>) -> Duration {
        if stood.is_some_and(|stood| stood >= GOOD_CONNECTION) {
            self.soon.reset();
        }
        if stood.is_some_and(|stood| stood >= CALM) {
            self.later.reset();
        }
        if matches!(error, LinkError::Timeout) { self.later.pause() } else { self.soon.pause() }
    }
}

pub(super) struct Task {
    options: LinkOptions,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<LinkEvent>,
    outbox: Outbox,
    subscriptions: Vec<Subscription>,
    sessions: u64,
    /// Since when the connection stands, or stood.
    stands_since: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        options: LinkOptions,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let (outbox, subscriptions) = (Outbox::default(), Vec::new());
        Self { options, commands, events, outbox, subscriptions, sessions: 0, stands_since: None }
    }

    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new();
        loop {
            let error = match self.connection().await {
                End::Close => return,
                End::Reconnect => {
                    pauses.begin_anew();
                    continue;
                }
                End::Lost(error) => error,
            };
            let again_in = pauses.next(&error, self.stands_since.take().map(|since| since.elapsed()));
            tracing::info!(%error, ?again_in, "no connection to the bridge");
            if self.tell(LinkEvent::Disconnected { error, again_in }).await.is_err() {
                return;
            }
            match self.wait(sleep(again_in)).await {
                Ok(()) => {}
                Err(End::Reconnect) => pauses.begin_anew(),
                Err(_) => return,
            }
        }
    }

    /// Takes orders until `done` is done.
    async fn wait<T>(&mut self, done: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(done);
        loop {
            tokio::select! {
                result = &mut done => return Ok(result),
                command = self.commands.recv() => self.apply(command, None)?,
            }
        }
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self) -> End {
        let opening = timeout(CONNECT_TIMEOUT, Session::open(self.options.clone()));
        let mut session = match self.wait(opening).await {
            Ok(Ok(Ok(session))) => session,
            Ok(Ok(Err(error))) => return End::Lost(error),
            Ok(Err(_)) => return End::Lost(LinkError::Timeout),
            Err(end) => return end,
        };
        self.sessions += 1;
        self.stands_since = Some(Instant::now());
        self.outbox.start_again(session.kept);
        for subscription in &mut self.subscriptions {
            subscription.state = Asking::Due(Instant::now());
            subscription.backoff.reset();
        }
        let end = match self.begin(&mut session).await {
            Ok(()) => loop {
                if let Err(end) = self.turn(&mut session).await {
                    break end;
                }
            },
            Err(end) => end,
        };
        if matches!(end, End::Close | End::Reconnect)
            && let Ok(Err(error)) = timeout(CONNECT_TIMEOUT, session.disconnect()).await
        {
            tracing::debug!(%error, "the bridge did not hear our leave");
        }
        end
    }

    /// Reserves the packet ids of messages that the bridge may know, before any other is drawn.
    async fn begin(&mut self, session: &mut Session) -> Result<(), End> {
        for packet in self.outbox.packets() {
            session.packet_id(Some(packet))?;
        }
        self.tell(LinkEvent::Connected).await
    }

    /// Sends what is due, then waits for one thing to happen.
    async fn turn(&mut self, session: &mut Session) -> Result<(), End> {
        let window = if session.is_authenticating() { 0 } else { session.in_flight };
        while let Some(message) = self.outbox.next_unsent(window) {
            let packet = match message.packet {
                Some(packet) => packet,
                None => session.packet_id(None)?,
            };
            session.publish(&message.topic, &message.payload, Some(packet), message.packet.is_some())?;
            self.outbox.mark_sent(packet);
        }
        let subscribe_at = self.subscribe_due(session)?;
        timeout(SEND_TIMEOUT, session.flush()).await.map_err(|_| LinkError::Timeout)??;
        tokio::select! {
            packet = session.receive() => match packet? {
                Some(packet) => self.handle(packet, session).await,
                None => Ok(()),
            },
            command = self.commands.recv() => {
                self.apply(command, Some(session))?;
                // What else was ordered meanwhile goes into the same frame.
                while let Ok(command) = self.commands.try_recv() {
                    self.apply(Some(command), Some(session))?;
                }
                Ok(())
            }
            () = sleep_until(subscribe_at) => Ok(()),
        }
    }

    /// Asks for the subscriptions that are due; returns when the next one is.
    fn subscribe_due(&mut self, session: &mut Session) -> Result<Instant, LinkError> {
        let now = Instant::now();
        let mut next = now + Duration::from_hours(24);
        for subscription in &mut self.subscriptions {
            match subscription.state {
                Asking::Due(at) if at <= now => {
                    subscription.state = Asking::Asked(session.subscribe(&subscription.filter)?);
                }
                Asking::Due(at) => next = next.min(at),
                Asking::Asked(_) | Asking::Held => {}
            }
        }
        Ok(next)
    }

    fn apply(&mut self, command: Option<Command>, session: Option<&mut Session>) -> Result<(), End> {
        match command {
            None | Some(Command::Close) => return Err(End::Close),
            Some(Command::Publish { ticket, topic, payload, qos: Qos::AtLeastOnce }) => {
                self.outbox.push(ticket, topic, payload);
            }
            Some(Command::Publish { topic, payload, qos: Qos::AtMostOnce, .. }) => {
                if let Some(session) = session {
                    session.publish(&topic, &payload, None, false)?;
                }
            }
            Some(Command::Subscribe(filter)) => {
                self.subscriptions.retain(|subscription| subscription.filter != filter);
                let backoff = Backoff::new(SUBSCRIBE.0, SUBSCRIBE.1);
                self.subscriptions.push(Subscription { filter, state: Asking::Due(Instant::now()), backoff });
            }
            Some(Command::Forget(filter)) => {
                self.subscriptions.retain(|subscription| subscription.filter != filter);
            }
            Some(Command::Acknowledge(Receipt { session: of, packet: Some(packet) })) => {
                if let Some(session) = session
                    && of == self.sessions
                {
                    session.acknowledge(packet)?;
                }
            }
            Some(Command::Acknowledge(_)) => {}
            Some(Command::Identify(identity)) => {
                self.options.identity = identity;
                match session {
                    Some(session) => session.authenticate_again(&self.options)?,
                    None => return Err(End::Reconnect),
                }
            }
            Some(Command::Reconnect(endpoint, identity)) => {
                self.options.endpoint = endpoint;
                self.options.identity = identity;
                return Err(End::Reconnect);
            }
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet, session: &mut Session) -> Result<(), End> {
        match packet {
            Packet::V5_0Publish(publish) => {
                let packet = if publish.qos() == MqttQos::AtMostOnce { None } else { publish.packet_id() };
                let receipt = Receipt { session: self.sessions, packet };
                let payload = publish.payload().as_slice().to_vec();
                let (topic, stamp) = (publish.topic_name().to_owned(), stamp(publish.props()));
                self.tell(LinkEvent::Message { topic, payload, stamp, receipt }).await
            }
            Packet::V5_0Puback(puback) => {
                let reason = puback.reason_code().unwrap_or(PubackReasonCode::Success);
                let Some(ticket) = self.outbox.acknowledge(puback.packet_id()) else { return Ok(()) };
                let taken = matches!(reason, PubackReasonCode::Success | PubackReasonCode::NoMatchingSubscribers);
                let is_read = reason == PubackReasonCode::Success;
                let event = if taken {
                    LinkEvent::Delivered { ticket, is_read }
                } else {
                    LinkEvent::Refused { ticket, reason }
                };
                self.tell(event).await
            }
            Packet::V5_0Auth(auth) => {
                if session.continue_authentication(&auth)? {
                    self.tell(LinkEvent::Connected).await?;
                }
                Ok(())
            }
            Packet::V5_0Suback(suback) => self.subscribed(&suback).await,
            Packet::V5_0Disconnect(disconnect) => {
                let reason = disconnect.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
                Err(End::Lost(LinkError::Disconnected(reason)))
            }
            _ => Ok(()),
        }
    }

    async fn subscribed(&mut self, suback: &v5_0::Suback) -> Result<(), End> {
        let asked = |subscription: &&mut Subscription| matches!(subscription.state, Asking::Asked(packet) if packet == suback.packet_id());
        let Some(subscription) = self.subscriptions.iter_mut().find(asked) else { return Ok(()) };
        let granted = suback.reason_codes().iter().all(|reason| {
            matches!(
                reason,
                SubackReasonCode::GrantedQos0 | SubackReasonCode::GrantedQos1 | SubackReasonCode::GrantedQos2
            )
        });
        if !granted {
            subscription.state = Asking::Due(Instant::now() + subscription.backoff.pause());
            let filter = subscription.filter.clone();
            return self.tell(LinkEvent::SubscriptionRefused { filter }).await;
        }
        subscription.state = Asking::Held;
        let filter = subscription.filter.clone();
        self.tell(LinkEvent::Subscribed { filter }).await
    }

    /// A device that no longer listens wants no link.
    async fn tell(&self, event: LinkEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Close)
    }
}

/// What the bridge says of a message, in its user properties. It drops those of a publisher that look the same.
fn stamp(properties: &[Property]) -> Option<Stamp> {
    let text = |name: &str| {
        properties.iter().find_map(|property| match property {
            Property::UserProperty(pair) if pair.key() == name => Some(pair.val().to_owned()),
            _ => None,
        })
    };
    Some(Stamp {
        publisher: text(PUBLISHER_PROPERTY)?.parse().ok()?,
        accepted_at: UnixMillis(text(TIME_PROPERTY)?.parse().ok()?),
        sequence: text(SEQUENCE_PROPERTY)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gets_no_answer_in_time_comes_back_later_and_later() {
        let mut pauses = Pauses::new();
        // The connection stood while the bridge still had time, and no attempt counts as one.
        let stood = [None, Some(Duration::from_secs(30))].into_iter().cycle();
        let last = stood.take(40).map(|stood| pauses.next(&LinkError::Timeout, stood)).last();
        assert!(last.is_some_and(|last| last >= RECONNECT_LATER.1 / 2), "{last:?}");
        assert!(pauses.next(&LinkError::Timeout, Some(CALM)) <= RECONNECT_LATER.0, "it has time again");
        for _ in 0..40 {
            assert!(pauses.next(&LinkError::Closed, None) <= RECONNECT.1, "one that is not there is tried soon");
        }
        assert!(pauses.next(&LinkError::Closed, Some(GOOD_CONNECTION)) <= RECONNECT.0);
    }
}

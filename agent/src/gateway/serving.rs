//! What a gateway does from moment to moment: its session, its rounds of updates, its polls.

mod collecting;
mod devices;

use super::change_over::Changed;
use super::round::{Polled, Round, RoundEnd};
use super::session::{Connection, Ended, GOOD_SESSION, MAX_WAITING, PING_EVERY, Sent};
use super::status::{self, Status};
use super::store::{Attack, Contact, Directives, Issuers, Issuing, Poll, StoreError, Work};
use super::troubles::Source;
use super::{GatewayError, Order, Shared};
use crate::clock;
use crate::link::Backoff;
use crate::pump::Membership;
use collecting::Collecting;
use devices::Holding;
use rand::RngExt;
use serde_bytes::ByteBuf;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use wardlink_crypto::x509::{Certificate, Chain};
use wardlink_protocol::distribution::{Answer, FromServer, Welcome};
use wardlink_protocol::identity::Purpose;
use wardlink_update::metadata::Version;
use wardlink_update::uptane::{Postponed, Repository};

/// How long a session that is not kept stays open with nothing to say.
const LINGER: Duration = Duration::from_secs(5);
/// How often a gateway that is the broker of its devices asks which they are: the server tells of a revocation by itself, and a word may be lost.
const DEVICES_ASKED: Duration = Duration::from_mins(1);
/// How long a ticket is used where the clock is in doubt, by which it may have ended when the server gives it: then a new one is asked for.
const TICKET_LASTS: Duration = Duration::from_hours(1);
/// When it is tried again to take back an own program that has not reached the server.
const TRIAL_AGAIN: Duration = Duration::from_mins(1);
/// The longest pause between two polls that fail, where that is more than the usual one.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How often it is stored that the server was heard: each time is a write that has to be durable.
const CONTACT_STORED: Duration = Duration::from_mins(1);

/// A session that stands, and what the server says first.
type Dialled = (Box<Connection>, Box<Welcome>);

type Task<'a, T> = Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

/// A gateway at work.
pub(super) struct Serving<'a> {
    shared: &'a Shared,
    status: &'a watch::Sender<Status>,
    member: Option<Membership>,
    connection: Option<Connection>,
    begun: Option<Instant>,
    dialling: Task<'a, Result<Dialled, Ended>>,
    round: Task<'a, Result<RoundEnd, GatewayError>>,
    polling: Task<'a, Result<Polled, GatewayError>>,
    backoff: Backoff,
    /// How many polls have failed, one after the other.
    failed_polls: u32,
    /// The counter of the newest report that the server has.
    reported: Version,
    report_due: bool,
    ask_due: bool,
    holding: Holding,
    times: Times,
    collecting: Collecting,
    /// Whether the clock was in doubt.
    was_in_doubt: bool,
}

/// When something is to be done by itself.
struct Times {
    session: Option<Instant>,
    round: Option<Instant>,
    poll: Instant,
    ping: Instant,
    close: Option<Instant>,
    /// When it is stored again that the server was heard.
    contact: Instant,
    /// When the ticket ends that came with the session.
    ticket: Option<Instant>,
    /// When it asks which its devices are, where it is their broker.
    devices: Option<Instant>,
    /// When strangers at the broker may begin a session again.
    strangers: Instant,
    /// When the gateway's own program on trial has to have reached the server.
    trial: Option<Instant>,
}

/// What has happened.
enum Event {
    Stop,
    Member,
    Order(Order),
    Message(Result<FromServer, Ended>),
    Dialled(Result<Dialled, Ended>),
    Round(Result<RoundEnd, GatewayError>),
    Polled(Result<Polled, GatewayError>),
    Collect,
    Time,
}

impl<'a> Serving<'a> {
    pub(super) fn new(shared: &'a Shared, status: &'a watch::Sender<Status>) -> Self {
        let now = Instant::now();
        let (first, limit) = shared.settings.reconnect;
        let times = Times {
            session: Some(now),
            round: None,
            poll: now,
            ping: now,
            close: None,
            contact: now,
            ticket: None,
            devices: None,
            strangers: now,
            trial: None,
        };
        Self {
            shared,
            status,
            member: None,
            connection: None,
            begun: None,
            dialling: None,
            round: None,
            polling: None,
            backoff: Backoff::new(first, limit),
            failed_polls: 0,
            reported: 0,
            report_due: true,
            ask_due: false,
            holding: Holding::default(),
            times,
            collecting: Collecting::new(&shared.settings),
            was_in_doubt: false,
        }
    }

    /// Works until it is told to stop, or the store fails.
    pub(super) async fn run(
        mut self,
        membership: &mut watch::Receiver<Option<Membership>>,
        orders: &mut mpsc::Receiver<Order>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), GatewayError> {
        self.member.clone_from(&membership.borrow_and_update());
        self.refresh_collected()?;
        self.check_clock(self.shared.store.value()?);
        self.times.poll = self.next_poll();
        let directives: Directives = self.shared.store.value()?.unwrap_or_default();
        if directives.heard > directives.done {
            self.times.round = Some(Instant::now());
        }
        // What has stopped the gateway before is over when a round comes to its end.
        if self.member.is_none() {
            self.shared.troubles.works(Source::Gateway);
        } else if self.shared.troubles.has(Source::Gateway) {
            self.times.round = Some(Instant::now());
        }
        self.times.trial = self.shared.trial_ends()?.map(Instant::from_std);
        loop {
            self.begin_what_is_due()?;
            self.say_what_is_due().await?;
            self.publish()?;
            let wake = self.wake()?;
            let event = tokio::select! {
                _ = stop.changed() => Event::Stop,
                Ok(()) = membership.changed() => Event::Member,
                Some(order) = orders.recv() => Event::Order(order),
                message = received(self.connection.as_mut()) => Event::Message(message),
                dialled = done(&mut self.dialling) => Event::Dialled(dialled),
                ended = done(&mut self.round) => Event::Round(ended),
                polled = done(&mut self.polling) => Event::Polled(polled),
                () = self.collecting.tick() => Event::Collect,
                () = sleep_until(wake) => Event::Time,
            };
            match event {
                Event::Stop => {
                    if let Some(connection) = self.connection.take() {
                        connection.close().await;
                    }
                    return Ok(());
                }
                Event::Member => {
                    let before = core::mem::replace(&mut self.member, membership.borrow_and_update().clone());
                    if before.zip(self.member.as_ref()).is_some_and(|(before, now)| before.is_same_place(now)) {
                        // It was given keys.
                        continue;
                    }
                    self.refresh_collected()?;
                    // Whoever it is now speaks for itself, in a session of its own.
                    (self.connection, self.dialling, self.round, self.polling) = (None, None, None, None);
                    self.records_interrupted();
                    self.times.session = Some(Instant::now());
                    if self.member.is_some() {
                        self.times.round = Some(Instant::now());
                    }
                }
                Event::Order(order) => self.obey(order)?,
                Event::Message(Ok(message)) => self.hear(message).await?,
                Event::Message(Err(ended)) => self.lost(&ended),
                Event::Dialled(Err(ended)) => {
                    self.check_clock(self.shared.store.value()?);
                    self.lost(&ended);
                }
                Event::Dialled(Ok((connection, welcome))) => self.welcomed(*connection, &welcome)?,
                Event::Round(ended) => self.round_ended(ended?)?,
                Event::Polled(polled) => self.polled(polled)?,
                Event::Collect => {
                    self.collect()?;
                    self.ask_for_strangers();
                }
                Event::Time => self.on_time().await?,
            }
        }
    }

    /// Begins what it is time for.
    fn begin_what_is_due(&mut self) -> Result<(), GatewayError> {
        let Some(member) = self.member.clone() else { return Ok(()) };
        let now = Instant::now();
        let shared = self.shared;
        let is_in_doubt = shared.time.is_in_doubt();
        if core::mem::replace(&mut self.was_in_doubt, is_in_doubt) && !is_in_doubt {
            // What seemed to have ended may count.
            self.times.round = Some(now);
        }
        if self.round.is_none() && self.times.round.is_some_and(|at| at <= now) {
            self.times.round = None;
            let member = member.clone();
            self.round = Some(Box::pin(async move { Round::new(shared, &member)?.run().await }));
        }
        let is_away = self.connection.is_none() && self.dialling.is_none();
        if is_away && self.wants_session()? && self.times.session.is_some_and(|at| at <= now) {
            self.times.session = None;
            let member = member.clone();
            self.dialling = Some(Box::pin(async move { Connection::begin(&member).await }));
        }
        if self.polls() && self.times.poll <= now {
            self.times.poll = self.next_poll();
            self.polling = Some(Box::pin(async move { Round::new(shared, &member)?.poll().await }));
        }
        Ok(())
    }

    /// Whether it polls: without a session, and as long as its clock is in doubt, since every answer tells the time.
    fn polls(&self) -> bool {
        self.polling.is_none() && (self.connection.is_none() || self.was_in_doubt)
    }

    /// Whether there is something to say, or the session is to be kept.
    fn wants_session(&self) -> Result<bool, StoreError> {
        if self.shared.settings.keep_session || self.report_due || self.ask_due {
            return Ok(true);
        }
        let has_ticket = self.shared.store.value::<Poll>()?.is_some();
        let has_records = || self.shared.stored().due(clock::now()).is_some();
        Ok(!has_ticket || self.shared.store.waiting()? > 0 || has_records())
    }

    /// Sends what the server has to know: stored before, and sent again in the next session unless it is answered.
    async fn say_what_is_due(&mut self) -> Result<(), GatewayError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut sent = Ok(());
        if self.report_due
            && !connection.waits_for(|sent| matches!(sent, Sent::Report(_)))
            && let Some(member) = &self.member
        {
            let (counter, report) = self.shared.make_report(&member.identity.key, self.reported)?;
            self.report_due = false;
            sent = connection.report(counter, report).await;
        }
        if sent.is_ok() && self.ask_due && connection.has_room() {
            self.ask_due = false;
            sent = connection.ask().await;
        }
        // As it was shown last: it is not counted twice.
        let held = self.status.borrow().stored.held();
        if sent.is_ok() && self.holding.is_news(held) {
            sent = connection.holds(held).await;
        }
        for (number, notification) in self.shared.store.outcomes(MAX_WAITING)? {
            if sent.is_err() || !connection.has_room() {
                break;
            }
            if !connection.waits_for(|sent| *sent == Sent::Outcome(number)) {
                sent = connection.outcome(number, notification).await;
            }
        }
        if let Err(ended) = sent {
            self.lost(&ended);
        }
        self.send_records().await
    }

    fn welcomed(&mut self, connection: Connection, welcome: &Welcome) -> Result<(), GatewayError> {
        let (store, troubles) = (&self.shared.store, &self.shared.troubles);
        let mut roots = vec![(Repository::Director, welcome.director_root.to_vec())];
        troubles.works(Source::Server);
        let began = troubles.begin();
        for first in &welcome.manufacturers {
            match first.manufacturer.parse() {
                Ok(manufacturer) => roots.push((Repository::Image(manufacturer), first.root.to_vec())),
                Err(_) => troubles.find(Source::Welcome, "server", "it names a manufacturer that is none"),
            }
        }
        for (repository, root) in roots {
            match self.shared.trust(&repository, &root) {
                Ok(_) => {}
                // A root that is none harms nobody but whose it is.
                Err(error @ GatewayError::Root { .. }) => {
                    troubles.find(Source::Welcome, repository.to_string(), error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        troubles.end(Source::Welcome, began);
        let (ticket, now) = (welcome.ticket.clone(), clock::now());
        let (shown, devices) = (connection.issuers(), self.listed(&welcome.devices)?);
        let (directives, last) = store.change(|change| {
            let directives: Directives = change.value()?.unwrap_or_default();
            let directives = Directives { heard: directives.heard.max(welcome.directive), ..directives };
            let etag = change.value::<Poll>()?.and_then(|poll| poll.etag);
            let last: Option<Contact> = change.value()?;
            change.set(&directives)?;
            change.set(&devices)?;
            // The gateway's own certificate may be of a CA before the one that issues now, and goes with that one's until it is renewed.
            let Issuers(before) = change.value()?.unwrap_or_default();
            if self.are_above_own(shown) || !self.are_above_own(&before) {
                change.set(&Issuers(shown.to_vec()))?;
            }
            let mut issuing: Issuing = change.value()?.unwrap_or_default();
            shown.iter().take(1).for_each(|newest| issuing.learn(newest));
            change.set(&issuing)?;
            change.set(&Poll { ticket, etag })?;
            change.set(&Contact(now))?;
            Ok((directives, last))
        })?;
        self.times.contact = Instant::now() + CONTACT_STORED;
        self.check_clock(last);
        self.shared.tell_broker(self.member.as_ref())?;
        self.devices_changed()?;
        let left = welcome.ticket_ends_at.since(now);
        let lasts = if left.is_zero() || self.shared.time.is_in_doubt() { TICKET_LASTS } else { left };
        self.times.ticket = Some(Instant::now() + lasts);
        (self.reported, self.report_due) = (welcome.reported, true);
        if directives.heard > directives.done {
            self.times.round = Some(Instant::now());
        }
        if !self.shared.has_reached.swap(true, Ordering::Relaxed) {
            // A program on trial has proved itself: what it was installed with can end.
            self.times.round = Some(Instant::now());
        }
        self.times.ping = Instant::now() + PING_EVERY;
        self.times.devices = self.shared.broker.as_ref().map(|_| Instant::now() + DEVICES_ASKED);
        (self.connection, self.begun) = (Some(connection), Some(Instant::now()));
        self.holding = Holding::default();
        Ok(())
    }

    /// Whether the gateway's certificate and these are one chain to its root.
    fn are_above_own(&self, issuers: &[ByteBuf]) -> bool {
        let identity = self.member.as_ref().map(|member| &member.identity);
        let own = identity.and_then(|identity| Some((identity.certificate.clone()?, identity.root?)));
        own.is_some_and(|(own, root)| {
            let chain: Vec<ByteBuf> = core::iter::once(ByteBuf::from(own)).chain(issuers.iter().cloned()).collect();
            Chain::parse(&chain).is_ok_and(|chain| chain.verify(&root, Purpose::Gateway, clock::now()).is_ok())
        })
    }

    /// A clock that has gone back makes what is over count again, and what counts seem not to have begun.
    fn check_clock(&self, last: Option<Contact>) {
        let contact = last.map(|Contact(last)| (last, "behind the last contact with the server"));
        let identity = self.member.as_ref().map(|member| &member.identity);
        let own = identity.and_then(|identity| Certificate::parse(identity.certificate.as_ref()?).ok());
        let begun = own.map(|own| (own.validity().not_before, "behind the beginning of the gateway's certificate"));
        self.shared.time.been(contact.into_iter().chain(begun), clock::now());
    }

    /// The server was heard.
    fn heard(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.times.contact <= now {
            let at = clock::now();
            self.shared.store.set(&Contact(at))?;
            if let Some(broker) = &self.shared.broker {
                broker.heard(at);
            }
            self.times.contact = now + CONTACT_STORED;
        }
        Ok(())
    }

    /// Takes a message of the server. What has to arrive is answered when it is stored.
    async fn hear(&mut self, message: FromServer) -> Result<(), GatewayError> {
        self.heard()?;
        let store = &self.shared.store;
        let answer = match message {
            FromServer::Devices(devices) => {
                let devices_now = self.listed(&devices.message)?;
                let is_known = self.shared.broker.is_some() && store.value()?.as_ref() == Some(&devices_now);
                store.set(&devices_now)?;
                // A device that is not on the list any more is cut before the server hears that we know.
                self.shared.tell_broker(self.member.as_ref())?;
                // What was asked for to hear of revocations begins nothing, where it says nothing new.
                if !is_known {
                    self.devices_changed()?;
                    self.times.round = Some(Instant::now());
                }
                taken(devices.number)
            }
            FromServer::Directive(directive) => {
                let directives = store.change(|change| {
                    let directives: Directives = change.value()?.unwrap_or_default();
                    let directives = Directives { heard: directives.heard.max(directive.message), ..directives };
                    change.set(&directives)?;
                    Ok(directives)
                })?;
                if directives.heard > directives.done {
                    self.times.round = Some(Instant::now());
                }
                taken(directive.number)
            }
            FromServer::Report(wanted) => {
                self.report_due = true;
                taken(wanted.number)
            }
            FromServer::Send(wanted) => {
                self.records_wanted(wanted.message.as_ref());
                taken(wanted.number)
            }
            FromServer::Receipt(receipt) => return self.receipt(&receipt),
            FromServer::Answer(answer) => return self.answered(&answer),
            FromServer::Welcome(_) => {
                tracing::warn!("a message of the server that has no meaning now");
                return Ok(());
            }
        };
        if let Some(connection) = &mut self.connection
            && let Err(ended) = connection.answer(answer).await
        {
            self.lost(&ended);
        }
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) -> Result<(), GatewayError> {
        let sent = self.connection.as_mut().and_then(|connection| connection.answered(answer.number));
        let why = answer.refused.as_ref().map(|refused| format!("{}: {}", refused.step, refused.reason));
        match sent {
            Some(Sent::Report(counter)) => match why {
                None => {
                    self.shared.troubles.works(Source::Report);
                    self.reported = counter;
                    self.attack_reported(counter)?;
                }
                Some(why) => self.shared.troubles.find(Source::Report, "report", why),
            },
            Some(Sent::Outcome(number)) => {
                if let Some(why) = why {
                    tracing::warn!(why, "the server refused to hear what became of an update");
                }
                self.shared.store.told(number)?;
            }
            Some(Sent::Ask) => {
                if let Some(why) = why {
                    self.shared.troubles.find(Source::Report, "report", why);
                }
            }
            Some(Sent::Records(of)) => {
                if let Some(refused) = &answer.refused {
                    self.records_refused(&of, refused)?;
                }
            }
            None => tracing::debug!(number = answer.number, "an answer to nothing"),
        }
        Ok(())
    }

    /// The server knows what this report tells; what was seen later has yet to be told.
    fn attack_reported(&mut self, counter: Version) -> Result<(), StoreError> {
        let Some(seen) = self.shared.store.value::<Attack>()?.and_then(|attack| attack.seen) else { return Ok(()) };
        if seen.reported_in.is_some_and(|first| first <= counter) {
            return self.shared.store.set(&Attack { seen: None });
        }
        self.report_due = true;
        Ok(())
    }

    /// The session is over, or has not come about: again after a pause.
    fn lost(&mut self, ended: &Ended) {
        self.shared.troubles.find(Source::Server, "server", ended.to_string());
        self.leave();
    }

    /// The session is over, for whatever reason: again after a pause.
    fn leave(&mut self) {
        self.connection = None;
        if self.begun.take().is_some_and(|begun| begun.elapsed() >= GOOD_SESSION) {
            self.backoff.reset();
        }
        self.times.session = Some(Instant::now() + self.backoff.pause());
        // What was not answered is sent again.
        self.report_due = true;
        self.records_interrupted();
    }

    fn round_ended(&mut self, end: RoundEnd) -> Result<(), GatewayError> {
        if let Some(at) = end.again_at {
            let wait = Duration::from_secs(at.saturating_sub(clock::now().as_secs()));
            let at = Instant::now() + wait;
            self.times.round = Some(self.times.round.map_or(at, |earlier| earlier.min(at)));
        }
        self.shared.troubles.works(Source::Gateway);
        if end.is_denied && self.connection.is_some() {
            // The next session brings another ticket.
            self.leave();
        } else if end.is_denied {
            self.report_due = true;
            self.times.session.get_or_insert_with(Instant::now);
        }
        let seen = self.shared.store.value::<Attack>()?.and_then(|attack| attack.seen);
        let has_unreported = seen.is_some_and(|seen| seen.reported_in.is_none());
        if has_unreported || self.shared.store.waiting()? > 0 {
            self.report_due = true;
            self.times.session.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn polled(&mut self, polled: Result<Polled, GatewayError>) -> Result<(), GatewayError> {
        if polled.is_ok() {
            self.shared.troubles.works(Source::Server);
            self.failed_polls = 0;
        } else {
            self.failed_polls = self.failed_polls.saturating_add(1);
        }
        // It was planned before anybody knew how this one would end.
        self.times.poll = self.next_poll();
        match polled {
            Ok(Polled::Nothing) => self.heard()?,
            Ok(Polled::New) => self.times.round = Some(Instant::now()),
            Ok(Polled::Denied) => self.report_due = true,
            Err(error @ GatewayError::Store(_)) => return Err(error),
            Err(error) => self.shared.troubles.find(Source::Server, "server", error.to_string()),
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), GatewayError> {
        match order {
            Order::Ask => {
                (self.ask_due, self.report_due) = (true, true);
                self.times.session = Some(Instant::now());
            }
            Order::Confirm { device, directive } => {
                let is_confirmed = self.shared.store.change(|change| {
                    let work = change.work(&device, directive)?;
                    if work.postponed != Some(Postponed::Confirmation) {
                        return Ok(false);
                    }
                    change.set_work(&device, &Work { confirmed: true, postponed: None, offered: None, ..work })?;
                    Ok(true)
                })?;
                if !is_confirmed {
                    tracing::info!(%device, directive, "what was confirmed is not on offer any more");
                }
            }
            Order::Retry => return self.retry_records(),
            Order::Discard(device, key) => return self.discard_records(&device, key),
        }
        self.times.round = Some(Instant::now());
        Ok(())
    }

    async fn on_time(&mut self) -> Result<(), GatewayError> {
        let now = Instant::now();
        if self.round.is_none() && self.times.trial.is_some_and(|at| at <= now) {
            // Without a membership there are no rounds that would notice.
            if self.shared.change_over()? == Changed::Restart {
                return Err(GatewayError::Restart);
            }
            self.times.trial = self.shared.trial_ends()?.map(|at| Instant::from_std(at).max(now + TRIAL_AGAIN));
        }
        if let Some(connection) = &mut self.connection
            && self.times.ping <= now
        {
            self.times.ping = now + PING_EVERY;
            match connection.ping().await {
                // What was asked before this was answered: the server is there.
                Ok(()) => self.heard()?,
                Err(ended) => self.lost(&ended),
            }
        }
        if self.connection.is_some() && self.times.devices.is_some_and(|at| at <= now) {
            self.times.devices = Some(now + DEVICES_ASKED);
            self.ask_due = true;
        }
        if self.connection.is_some() && self.times.ticket.is_some_and(|at| at <= now) {
            self.times.ticket = None;
            self.leave();
        }
        if self.times.close.is_some_and(|at| at <= now) {
            self.times.close = None;
            if let Some(connection) = self.connection.take() {
                connection.close().await;
                self.records_interrupted();
                self.times.session = Some(now);
                self.times.poll = self.next_poll();
            }
        }
        Ok(())
    }

    /// A session that is not kept ends when there is nothing more to say.
    fn plan_the_end(&mut self) -> Result<(), StoreError> {
        let is_idle = self.connection.as_ref().is_some_and(Connection::is_idle) && self.round.is_none();
        self.times.close = match self.times.close {
            _ if self.shared.settings.keep_session || !is_idle || self.wants_session()? => None,
            Some(at) => Some(at),
            None => Some(Instant::now() + LINGER.min(self.shared.settings.poll_every)),
        };
        Ok(())
    }

    /// The next poll.
    fn next_poll(&self) -> Instant {
        let pause = poll_pause(self.shared.settings.poll_every, self.failed_polls);
        Instant::now() + pause.mul_f64(rand::rng().random_range(0.5..=1.5))
    }

    fn wake(&mut self) -> Result<Instant, StoreError> {
        self.plan_the_end()?;
        let far = Instant::now() + Duration::from_hours(1);
        let trial = self.times.trial.filter(|_| self.round.is_none());
        if self.member.is_none() {
            return Ok(trial.map_or(far, |at| at.min(far)));
        }
        let is_away = self.connection.is_none();
        let session = self.times.session.filter(|_| is_away && self.dialling.is_none());
        let session = if session.is_some() && self.wants_session()? { session } else { None };
        let poll = Some(self.times.poll).filter(|_| self.polls());
        let ping = Some(self.times.ping).filter(|_| !is_away);
        let ticket = self.times.ticket.filter(|_| !is_away);
        let devices = self.times.devices.filter(|_| !is_away);
        let round = self.times.round.filter(|_| self.round.is_none());
        let times = [session, round, poll, ping, ticket, devices, trial, self.times.close];
        Ok(times.into_iter().flatten().fold(far, Instant::min))
    }

    /// Shows how things stand, where that has changed. What a device runs otherwise than before, the server has to know.
    fn publish(&mut self) -> Result<(), GatewayError> {
        let now = Status::of(self.shared, self.member.is_some(), self.connection.is_some())?;
        let runs = |status: &Status| status.devices.iter().map(|one| one.state.clone()).collect::<Vec<_>>();
        if runs(&now) != runs(&self.status.borrow()) {
            self.report_due = true;
        }
        let events = &self.shared.events;
        self.shared.store.take_told().into_iter().for_each(|told| events.told(told));
        let changed = self.status.send_if_modified(|status| {
            let differs = *status != now;
            events.changed(status, &now);
            *status = now;
            differs
        });
        if changed {
            status::write(&self.shared.settings.directory, &self.status.borrow());
        }
        Ok(())
    }
}

/// The pause between two polls, on average: after polls that failed longer and longer. What it comes to lies between half of it and one and a half, so
/// that a thousand gateways don't come at once.
fn poll_pause(every: Duration, failed: u32) -> Duration {
    // With its jitter the longest one is the limit.
    let longest = every.max(LONGEST_PAUSE * 2 / 3);
    every.saturating_mul(1_u32.checked_shl(failed).unwrap_or(u32::MAX)).min(longest)
}

fn taken(number: u64) -> Answer {
    Answer { number, refused: None }
}

async fn received(connection: Option<&mut Connection>) -> Result<FromServer, Ended> {
    match connection {
        Some(connection) => connection.receive().await,
        None => pending().await,
    }
}

/// The end of a work; it is over then.
async fn done<T>(work: &mut Task<'_, T>) -> T {
    match work {
        Some(future) => {
            let ended = future.as_mut().await;
            *work = None;
            ended
        }
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_fail_come_less_and_less_often() {
        let minutes = |every: u64, failed| poll_pause(Duration::from_mins(every), failed).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 31, 32, u32::MAX].map(|failed| minutes(5, failed)), [5, 10, 20, 40, 40, 40, 40, 40]);
        assert_eq!([0, 7].map(|failed| minutes(120, failed)), [120, 120], "never more often than asked for");
    }
}

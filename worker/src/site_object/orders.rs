//! Orders to devices: given by people, or by services and seen here, sent until the device has them, and what came of them.

use super::devices::{self, DeviceRecord};
use super::timers::{self, Timer};
use super::{Outcome, Site, audit, channels, keys, services};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, record};
use wardlink_protocol::api::{LiveEvent, NewOrder, OrderState, OrderView, Person, ProblemKind};
use wardlink_protocol::channel::{ChannelName, DataType, Priority};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyFingerprint, KeyId};
use wardlink_protocol::limits::{MAX_CHANNEL_MESSAGE_BYTES, MAX_KEPT_ORDERS, MAX_WAITING_ORDERS};
use wardlink_protocol::order::{Giver, Order, OrderId, OrderOutcome, OrderRefusal, OrderResult, RefusedMessage};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::Sender;
use wardlink_trust::audit::{Act, Actor, Outcome as Went};
use wardlink_trust::epochs::{KeyRefusal, Line};
use wardlink_trust::orders::{self, Givers};

/// An order, and how it stands.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    order: Order,
    /// The device's static key: another one has never heard of it.
    key: KeyFingerprint,
    giver: Giver,
    /// A person's name, or a service's.
    given_by: String,
    /// On which channel it travels.
    channel: ChannelName,
    /// The network key that it was last sent under.
    sent_under: Option<KeyId>,
    state: OrderState,
    refusal: Option<OrderRefusal>,
    ended_at: Option<UnixMillis>,
}

impl Record {
    /// Until when it waits for the device. What a device has taken it tells of, however late.
    fn waits_until(&self) -> Option<UnixMillis> {
        (self.state == OrderState::Waiting).then_some(self.order.expires_at)
    }

    fn view(self, device: &Device) -> OrderView {
        OrderView {
            id: self.order.id,
            device: device.clone(),
            task: self.order.task,
            given_at: self.order.given_at,
            given_by: self.given_by,
            by_service: self.giver != Giver::ControlUnit,
            expires_at: self.order.expires_at,
            state: self.state,
            refusal: self.refusal,
            ended_at: self.ended_at,
        }
    }
}

/// The orders of a device, the newest first.
pub(super) fn all(site: &Site<'_>, device: &Device) -> Result<Vec<OrderView>, Failure> {
    devices::find(site.database, device)?.ok_or(ProblemKind::NotFound)?;
    let query = "SELECT record FROM orders WHERE client = ? AND identifier = ? ORDER BY number DESC";
    let rows = site.database.rows(query, devices::names(device))?;
    rows.into_iter().map(|mut row| Ok(row.take_record::<Record>()?.view(device))).collect()
}

/// A person gives an order. The same id again is the same order.
pub(super) fn give(
    site: &Site<'_>,
    person: &Person,
    device: &Device,
    new: NewOrder,
    outcome: &mut Outcome,
) -> Result<OrderView, Failure> {
    let refuse = |kind, detail: String| Err(Failure::with_detail(kind, detail));
    let NewOrder { id, task, lifetime_secs } = new;
    let known = devices::find(site.database, device)?.ok_or(ProblemKind::NotFound)?;
    if let Some(given) = find(site, device, Giver::ControlUnit, id)? {
        return Ok(given.view(device));
    }
    let expires_at = site.now.after(Duration::from_secs(lifetime_secs.into()));
    let order = Order { id, given_at: site.now, expires_at, task };
    if let Err(error) = order.check() {
        return refuse(ProblemKind::BadRequest, format!("{error}."));
    }
    let policy = channels::policy(site.database)?;
    let channel = policy.select(known.trust, DataType::Command, Priority::High);
    let channel = channel.filter(|row| known.state == DeviceState::Paired && known.channels.contains(&row.name));
    let Some(channel) = channel else {
        let detail = format!("{device} has no channel for orders now. Nothing was sent.");
        return refuse(ProblemKind::WrongState, detail);
    };
    let of_people = |given: &&Record| given.giver == Giver::ControlUnit;
    if waiting(site, device)?.iter().filter(of_people).count() >= MAX_WAITING_ORDERS {
        let detail = format!("{MAX_WAITING_ORDERS} orders wait for {device} already.");
        return refuse(ProblemKind::WrongState, detail);
    }
    log!("site: person {} gives {device} the order {id}: {}", person.id, order.task.word());
    let detail = describe(&order);
    outcome.notes.put(audit::actor(Some(person)), Act::OrderGiven, device, detail, Went::Begun);
    let mut given = Record {
        order,
        key: known.key,
        giver: Giver::ControlUnit,
        given_by: person.name.clone(),
        channel: channel.name.clone(),
        sent_under: None,
        state: OrderState::Waiting,
        refusal: None,
        ended_at: None,
    };
    send(site, &known, &mut given, outcome)?;
    put(site, device, &given, outcome)?;
    Ok(given.view(device))
}

/// What the log says of an order.
fn describe(order: &Order) -> String {
    use wardlink_protocol::order::Task;
    let id = order.id;
    match &order.task {
        Task::ShowMessage { text } => format!("show-message \"{text}\" ({id})"),
        Task::SetInterval { seconds } => format!("set-interval {seconds} s ({id})"),
        task => format!("{} ({id})", task.word()),
    }
}

/// Sends an order that nobody has yet, where the device holds the key in force; where not, it is sent when the device has stored it.
fn send(site: &Site<'_>, known: &DeviceRecord, given: &mut Record, outcome: &mut Outcome) -> Result<(), Failure> {
    let device = &known.device;
    let wants = known.state == DeviceState::Paired && known.key == given.key && known.channels.contains(&given.channel);
    if !wants || given.state != OrderState::Waiting || given.order.expires_at <= site.now {
        return Ok(());
    }
    let knowledge = keys::knowledge(site, device)?;
    let lines = keys::lines(site, &given.channel, device)?;
    let line = lines.iter().find(|line| line.current().is_some() && !knowledge.awaits(line));
    let Some(key) = line.and_then(Line::current) else { return Ok(()) };
    let topic = Topic::Control(given.channel.clone(), device.clone());
    let mut sender = Sender::begin(key, topic.clone(), next_boot(site)?, &mut rng()).map_err(Failure::internal)?;
    let (signer, chain) = (site.authority.key()?, site.authority.chain()?);
    let message = sender.seal_certified(&cbor::encode(&given.order)?, signer, &chain).map_err(Failure::internal)?;
    outcome.bridge.publish(topic, message);
    given.sent_under = Some(key.kid);
    Ok(())
}

/// The number of a run of this sender: it rises, also over a restored storage, as time does.
fn next_boot(site: &Site<'_>) -> Result<u64, Failure> {
    let boot =
        site.database.one("UPDATE versions SET boot = max(boot + 1, ?) RETURNING boot", [site.now.into_value()])?;
    boot.ok_or_else(|| Failure::internal("the boot number is missing"))
}

/// A device listens for orders: what it may have missed is sent again.
pub(super) fn subscribed(
    site: &Site<'_>,
    device: &Device,
    key: KeyFingerprint,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    send_again(site, device, outcome, |given| given.key == key)
}

/// A device has stored a key: orders that were sent under another one do not reach it any more.
pub(super) fn key_stored(
    site: &Site<'_>,
    device: &Device,
    channel: &ChannelName,
    kid: Option<KeyId>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    send_again(site, device, outcome, |given| given.channel == *channel && given.sent_under != kid)
}

fn send_again(
    site: &Site<'_>,
    device: &Device,
    outcome: &mut Outcome,
    which: impl Fn(&Record) -> bool,
) -> Result<(), Failure> {
    let waiting = waiting(site, device)?;
    if waiting.is_empty() {
        return Ok(());
    }
    let Some(known) = devices::find(site.database, device)? else { return Ok(()) };
    for mut given in waiting.into_iter().filter(|given| given.giver == Giver::ControlUnit && which(given)) {
        send(site, &known, &mut given, outcome)?;
        update(site, device, &given)?;
    }
    Ok(())
}

/// A service has sent an order, which the bridge has let pass: it is noted, as people give account of theirs.
pub(super) fn take(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<(), Failure> {
    let Ok(Topic::Control(channel, device)) = message.topic.parse() else { return Ok(()) };
    let Publisher::Key { key, device: service, .. } = &message.publisher else { return Ok(()) };
    let Some(known) = devices::find(site.database, &device)? else { return Ok(()) };
    let lines = keys::lines(site, &channel, &device)?;
    let is_trusted = services::is_active(site, &service.identifier, *key)?;
    let admit = |_: &ChannelName, kid: &[u8], _: Option<u64>| {
        let mut refusal = KeyRefusal::Unknown;
        for line in &lines {
            match line.admit(kid, message.accepted_at, is_trusted, site.now) {
                Ok(key) => return Ok(key.clone()),
                Err(KeyRefusal::Unknown) => {}
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    };
    // Which order it is decides whether it is news; the device decides whether it counts.
    let opened = orders::open(&mut Givers::default(), &device, &site.authority.root(), message, site.now, admit);
    let order = opened.map_err(|error| error.to_string()).and_then(|read| {
        let order = cbor::decode::<Order>(&read.opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES);
        Ok((read.giver, order.map_err(|error| error.to_string())?))
    });
    let (giver, order) = match order {
        Ok(order) => order,
        Err(refusal) => {
            log!("site: message {} on {} does not count: {refusal}", message.sequence, message.topic);
            return Ok(());
        }
    };
    if find(site, &device, giver, order.id)?.is_some() {
        return Ok(());
    }
    let actor = audit::device(service, *key);
    if let Err((went, reason)) = judge(site, &known, &channel, &order, message.accepted_at)? {
        log!("site: the order {} of {service} to {device} is not kept: {reason}", order.id);
        let detail = format!("{} ({}): {reason}", describe(&order), order.id);
        outcome.notes.put(actor, Act::OrderGiven, &device, detail, went);
        return Ok(());
    }
    log!("site: {service} gives {device} the order {}: {}", order.id, order.task.word());
    outcome.notes.put(actor, Act::OrderGiven, &device, describe(&order), Went::Begun);
    let noted = Record {
        order,
        key: known.key,
        giver,
        given_by: service.identifier.to_string(),
        channel,
        sent_under: None,
        state: OrderState::Waiting,
        refusal: None,
        ended_at: None,
    };
    put(site, &device, &noted, outcome)
}

/// Whether a service's order is kept: as one of people's is. What is not kept is in the log: as refused where the device judges the same
/// ([`orders::verdict`]), and as begun where it may carry it out all the same, as the bridge has let it pass.
fn judge(
    site: &Site<'_>,
    known: &DeviceRecord,
    channel: &ChannelName,
    order: &Order,
    stamped_at: UnixMillis,
) -> Result<Result<(), (Went, String)>, Failure> {
    let unkept = |reason| Ok(Err((Went::Begun, reason)));
    let policy = channels::policy(site.database)?;
    let carries = policy.row(channel).is_some_and(|row| row.data_types.contains(&DataType::Command));
    if !carries || known.state != DeviceState::Paired || !known.channels.contains(channel) {
        return unkept(format!("{channel} is no channel for orders to it now"));
    }
    match orders::verdict(order, stamped_at, stamped_at) {
        OrderResult::Expired => return Ok(Err((Went::Refused, "it came too late".to_owned()))),
        OrderResult::Refused(_) => return Ok(Err((Went::Refused, "it is beyond the limits of orders".to_owned()))),
        OrderResult::Taken | OrderResult::Done => {}
    }
    let of_services = |given: &&Record| given.giver != Giver::ControlUnit;
    if waiting(site, &known.device)?.iter().filter(of_services).count() >= MAX_WAITING_ORDERS {
        return unkept(format!("{MAX_WAITING_ORDERS} of services wait for it already"));
    }
    Ok(Ok(()))
}

/// A device says how an order went.
pub(super) fn take_outcome(
    site: &Site<'_>,
    device: &Device,
    said: &OrderOutcome,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let Some(mut given) = find(site, device, said.giver, said.order)? else {
        return take_unkept(site, device, said, outcome);
    };
    let (state, refusal) = match said.result {
        OrderResult::Taken => (OrderState::Delivered, None),
        OrderResult::Done => (OrderState::Done, None),
        OrderResult::Expired => (OrderState::Expired, None),
        OrderResult::Refused(refusal) => (OrderState::Refused, Some(refusal)),
    };
    let is_news = match given.state {
        OrderState::Waiting => true,
        OrderState::Delivered => state != OrderState::Delivered,
        // Nobody had heard of it in time: what the device says counts more.
        OrderState::Expired => !matches!(state, OrderState::Expired | OrderState::Delivered),
        OrderState::Done | OrderState::Refused => false,
    };
    if !is_news {
        return Ok(());
    }
    given.state = state;
    given.refusal = refusal;
    if state != OrderState::Delivered {
        given.ended_at = Some(site.now);
        let (word, went) = ended(said.result);
        log!("site: {device} says of the order {}: {word}", said.order);
        let detail = match refusal {
            Some(refusal) => format!("{}: {refusal:?}", describe(&given.order)),
            None => format!("{}: {word}", describe(&given.order)),
        };
        outcome.notes.put(audit::device(device, given.key), Act::OrderEnded, device, detail, went);
    }
    update(site, device, &given)?;
    tell(device, given, outcome);
    Ok(())
}

/// How an order ended, in a word and for the log.
const fn ended(result: OrderResult) -> (&'static str, Went) {
    match result {
        OrderResult::Refused(_) => ("refused", Went::Refused),
        OrderResult::Expired => ("expired", Went::Refused),
        OrderResult::Taken | OrderResult::Done => ("done", Went::Done),
    }
}

/// A device says how an order went that is not kept here: the log tells of it all the same.
fn take_unkept(site: &Site<'_>, device: &Device, said: &OrderOutcome, outcome: &mut Outcome) -> Result<(), Failure> {
    log!("site: {device} tells of an order that is not kept here: {}", said.order);
    if said.result == OrderResult::Taken {
        return Ok(());
    }
    let Some(known) = devices::find(site.database, device)? else { return Ok(()) };
    let (word, went) = ended(said.result);
    let detail = format!("an order that is not kept here ({}): {word}", said.order);
    outcome.notes.put(audit::device(device, known.key), Act::OrderEnded, device, detail, went);
    Ok(())
}

/// A device has refused a message: somebody may have tried to make it do something.
pub(super) fn take_refusal(
    site: &Site<'_>,
    device: &Device,
    said: &RefusedMessage,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    log!("site: {device} refused message {} on {}: {:?}", said.sequence, said.channel, said.reason);
    let Some(known) = devices::find(site.database, device)? else { return Ok(()) };
    let detail = format!("message {} to it: {:?}", said.sequence, said.reason);
    outcome.notes.put(audit::device(device, known.key), Act::MessageRefused, &said.channel, detail, Went::Refused);
    Ok(())
}

/// Orders whose end has come, and of which nobody has heard, have expired as far as is known.
pub(super) fn expire(site: &Site<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
    let query = "SELECT client, identifier, record FROM orders WHERE ends_at <= ?";
    for mut row in site.database.rows(query, [site.now.into_value()])? {
        let device = devices::take_name(&mut row)?;
        let mut given: Record = row.take_record()?;
        given.state = OrderState::Expired;
        given.ended_at = Some(site.now);
        log!("site: the order {} to {device} has expired", given.order.id);
        let detail = format!("{}: no outcome in time", describe(&given.order));
        outcome.notes.put(Actor::System, Act::OrderEnded, &device, detail, Went::Failed);
        update(site, &device, &given)?;
        tell(&device, given, outcome);
    }
    set_timer(site)
}

fn set_timer(site: &Site<'_>) -> Result<(), Failure> {
    let next = site.database.one::<Option<UnixMillis>, 0>("SELECT min(ends_at) FROM orders", [])?.flatten();
    next.map_or(Ok(()), |due| timers::set(site.database, &Timer::Orders, due))
}

/// People see the order as it is now.
fn tell(device: &Device, given: Record, outcome: &mut Outcome) {
    outcome.people.push(LiveEvent::Order { order: Box::new(given.view(device)) });
}

/// The orders that a device is not known to have, the oldest first.
fn waiting(site: &Site<'_>, device: &Device) -> Result<Vec<Record>, Failure> {
    let query = "SELECT record FROM orders WHERE client = ? AND identifier = ? AND ends_at IS NOT NULL ORDER BY number";
    site.database.rows(query, devices::names(device))?.into_iter().map(|mut row| row.take_record()).collect()
}

fn find(site: &Site<'_>, device: &Device, giver: Giver, id: OrderId) -> Result<Option<Record>, Failure> {
    let [client, identifier] = devices::names(device);
    let query = "SELECT record FROM orders WHERE client = ? AND identifier = ? AND giver = ? AND id = ?";
    let row = site.database.row(query, [client, identifier, record(&giver)?, id.as_bytes().to_vec().into_value()])?;
    row.map(|mut row| row.take_record()).transpose()
}

/// Stores a new order. Of those that have ended, the oldest go where there are too many: people's displace people's, and services'
/// displace services'.
fn put(site: &Site<'_>, device: &Device, given: &Record, outcome: &mut Outcome) -> Result<(), Failure> {
    let [client, identifier] = devices::names(device);
    site.database.run(
        "INSERT INTO orders (client, identifier, giver, id, ends_at, record) VALUES (?, ?, ?, ?, ?, ?)",
        [
            client,
            identifier,
            record(&given.giver)?,
            given.order.id.as_bytes().to_vec().into_value(),
            given.waits_until().into_value(),
            record(given)?,
        ],
    )?;
    let [client, identifier] = devices::names(device);
    let are_alike = if given.giver == Giver::ControlUnit { "=" } else { "<>" };
    site.database.run(
        &format!(
            "DELETE FROM orders WHERE number IN (SELECT number FROM orders
             WHERE client = ? AND identifier = ? AND giver {are_alike} ?
             ORDER BY ends_at IS NULL, number DESC LIMIT -1 OFFSET ?)"
        ),
        [client, identifier, record(&Giver::ControlUnit)?, MAX_KEPT_ORDERS.into_value()],
    )?;
    tell(device, given.clone(), outcome);
    timers::set_by(site.database, &Timer::Orders, given.order.expires_at)
}

fn update(site: &Site<'_>, device: &Device, given: &Record) -> Result<(), Failure> {
    let [client, identifier] = devices::names(device);
    site.database.run(
        "UPDATE orders SET record = ?, ends_at = ? WHERE client = ? AND identifier = ? AND giver = ? AND id = ?",
        [
            record(given)?,
            given.waits_until().into_value(),
            client,
            identifier,
            record(&given.giver)?,
            given.order.id.as_bytes().to_vec().into_value(),
        ],
    )
}

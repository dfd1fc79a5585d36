//! What a paired pump does about orders: it stores that it took one before it acts, carries it out once, and says how it went.

use super::journal::Event;
use super::{Pump, PumpError};
use crate::clock;
use crate::display::Notice;
use crate::link::Stamp;
use crate::state::Record;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::{ChannelName, DataType};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::order::{NotTaken, OrderOutcome, OrderRefusal, OrderResult, RefusedMessage, Task};
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_trust::orders::{OrderBook, Received};

/// How long words for the staff stay on the display.
const MESSAGE_STAYS: Duration = Duration::from_mins(10);
/// How long the tone of alarms is paused.
const TONE_PAUSE: Duration = Duration::from_mins(2);
/// So many messages that do not count are reported within [`REFUSALS_PERIOD`]; of more the journal alone says something.
const MAX_REFUSALS: u32 = 16;
/// See [`MAX_REFUSALS`].
const REFUSALS_PERIOD: Duration = Duration::from_mins(1);

/// What a paired pump keeps of orders: the record [`Record::Orders`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    /// The pairing that it belongs to.
    session: SessionId,
    book: OrderBook,
    /// Words for the staff, and until when they are shown.
    message: Option<(String, UnixMillis)>,
    /// Until when the tone of alarms is paused.
    tone_paused_until: Option<UnixMillis>,
    /// The interval of measurements that was ordered.
    interval_secs: Option<u32>,
    /// The channels on which it listens.
    #[serde(skip)]
    listens: BTreeSet<ChannelName>,
    /// How many refusals were reported, since when.
    #[serde(skip)]
    refusals: (UnixMillis, u32),
}

impl Ordered {
    const fn new(session: SessionId) -> Self {
        Self {
            session,
            book: OrderBook::new(),
            message: None,
            tone_paused_until: None,
            interval_secs: None,
            listens: BTreeSet::new(),
            refusals: (UnixMillis(0), 0),
        }
    }

    /// Whether another refusal is reported now.
    fn may_report(&mut self, now: UnixMillis) -> bool {
        let (since, count) = &mut self.refusals;
        if now.since(*since) >= REFUSALS_PERIOD {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REFUSALS
    }
}

impl Pump {
    /// Goes on with the orders of this pairing; what was under way when the power went is settled.
    pub(super) fn begin_orders(&mut self) -> Result<(), PumpError> {
        let Some(session) = self.pairing.as_ref().filter(|pairing| pairing.is_paired()).map(DevicePairing::session)
        else {
            return Ok(());
        };
        if self.ordered.as_ref().is_some_and(|ordered| ordered.session == session) {
            return Ok(());
        }
        let stored: Option<Ordered> = self.state.read_value(Record::Orders)?;
        let mut ordered = stored.filter(|stored| stored.session == session).unwrap_or_else(|| Ordered::new(session));
        ordered.book.resume();
        let seconds = ordered.interval_secs;
        self.ordered = Some(ordered);
        self.store_orders()?;
        if let Some(seconds) = seconds {
            self.measure_every(Duration::from_secs(u64::from(seconds)));
        }
        self.show_orders();
        Ok(())
    }

    fn store_orders(&self) -> Result<(), PumpError> {
        let Some(ordered) = &self.ordered else { return Ok(()) };
        Ok(self.state.write_value(Record::Orders, ordered)?)
    }

    /// Listens on the channels that carry orders, and says what was not said yet.
    pub(super) fn listen_for_orders(&mut self) -> Result<(), PumpError> {
        let channels = self.channels();
        let (Some(ordered), Some((link, _))) = (&mut self.ordered, &self.link) else { return Ok(()) };
        for key in channels.iter().filter(|key| key.channel.data_types.contains(&DataType::Command)) {
            if ordered.listens.insert(key.channel.name.clone()) {
                link.subscribe(Topic::Control(key.channel.name.clone(), self.settings.device.clone()));
            }
        }
        self.report_outcomes(None)
    }

    /// The pump has a channel no longer: it does not listen there any more.
    pub(super) fn hear_no_more(&mut self, channel: &ChannelName) {
        let (Some(ordered), Some((link, _))) = (&mut self.ordered, &self.link) else { return };
        if ordered.listens.remove(channel) {
            link.forget(Topic::Control(channel.clone(), self.settings.device.clone()));
        }
    }

    /// Takes a message of a second channel. When this returns, it is dealt with for good.
    pub(super) fn receive_order(
        &mut self,
        channel: ChannelName,
        topic: &str,
        payload: Vec<u8>,
        stamp: Option<Stamp>,
    ) -> Result<(), PumpError> {
        let root = self.root();
        let (Some(ordered), Some(trust), Some(root)) = (&mut self.ordered, &self.trust, root) else { return Ok(()) };
        let Some(stamp) = stamp else { return self.refuse(channel, 0, NotTaken::Stamp) };
        let stamped = StampedMessage {
            topic: topic.to_owned(),
            payload: ByteBuf::from(payload),
            publisher: stamp.publisher,
            accepted_at: stamp.accepted_at,
            sequence: stamp.sequence,
            network: NetworkOrigin::default(),
        };
        let received = ordered.book.receive(trust.keychain(), &self.settings.device, &root, &stamped, clock::now());
        // Nothing is done before this is stored: whatever happens then, the order is not carried out a second time.
        self.store_orders()?;
        match received {
            Received::Again => Ok(()),
            Received::Refused(reason) => self.refuse(channel, stamped.sequence, reason),
            Received::Settled(outcome) => {
                self.tell(Event::OrderSettled(outcome));
                self.report_outcomes(Some(outcome))
            }
            Received::CarryOut(giver, order) => {
                self.tell(Event::OrderTaken { order: order.id, task: order.task.word() });
                self.report_outcomes(None)?;
                let result = self.carry_out(order.task)?;
                let outcome = OrderOutcome { order: order.id, giver, result };
                if let Some(ordered) = &mut self.ordered {
                    ordered.book.settle(outcome);
                }
                self.store_orders()?;
                self.tell(Event::OrderSettled(outcome));
                self.report_outcomes(None)
            }
        }
    }

    fn carry_out(&mut self, task: Task) -> Result<OrderResult, PumpError> {
        let now = clock::now();
        let Some(ordered) = &mut self.ordered else { return Ok(OrderResult::Refused(OrderRefusal::Interrupted)) };
        match task {
            Task::ShowMessage { text } => ordered.message = Some((text, now.after(MESSAGE_STAYS))),
            Task::ReportNow => self.report_state()?,
            Task::PauseAlarmTone => {
                if !self.has_alarms() {
                    return Ok(OrderResult::Refused(OrderRefusal::NoAlarm));
                }
                if let Some(ordered) = &mut self.ordered {
                    ordered.tone_paused_until = Some(now.after(TONE_PAUSE));
                }
            }
            Task::SetInterval { seconds } => {
                ordered.interval_secs = Some(seconds);
                self.measure_every(Duration::from_secs(u64::from(seconds)));
            }
        }
        self.show_orders();
        Ok(OrderResult::Done)
    }

    fn measure_every(&mut self, every: Duration) {
        self.times.telemetry = interval(every);
        self.times.telemetry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }

    /// Reports the outcomes that are due, and this one, which the book may not remember. What cannot be sent or stored now stays due.
    fn report_outcomes(&mut self, more: Option<OrderOutcome>) -> Result<(), PumpError> {
        let Some(ordered) = &self.ordered else { return Ok(()) };
        let mut due = ordered.book.unreported();
        due.extend(more.filter(|outcome| !due.contains(outcome)));
        let mut is_changed = false;
        for outcome in due {
            if self.send(&Report { measured_at: clock::now(), content: Content::Order(outcome) })?
                && !self.waits_for_disk()
                && let Some(ordered) = &mut self.ordered
            {
                ordered.book.reported(outcome);
                is_changed = true;
            }
        }
        if is_changed { self.store_orders() } else { Ok(()) }
    }

    /// A message does not count: it is logged and reported.
    fn refuse(&mut self, channel: ChannelName, sequence: u64, reason: NotTaken) -> Result<(), PumpError> {
        tracing::warn!(%channel, sequence, ?reason, "a message to this pump does not count");
        let refused = RefusedMessage { channel, sequence, reason };
        self.tell(Event::MessageRefused(refused.clone()));
        let now = clock::now();
        if self.ordered.as_mut().is_some_and(|ordered| ordered.may_report(now)) {
            self.send(&Report { measured_at: now, content: Content::RefusedMessage(refused) })?;
        }
        Ok(())
    }

    /// Brings to the screen what orders put there, as long as it stays.
    pub(super) fn show_orders(&mut self) {
        let now = clock::now();
        let Some(ordered) = &mut self.ordered else { return };
        ordered.message.take_if(|(_, until)| *until <= now);
        ordered.tone_paused_until.take_if(|until| *until <= now);
        let notice = Notice {
            message: ordered.message.as_ref().map(|(text, _)| text.clone()),
            tone_paused: ordered.tone_paused_until.is_some(),
        };
        self.screen.send_if_modified(|screen| {
            let changes = screen.notice != notice;
            screen.notice = notice;
            changes
        });
    }

    /// When something of it is to leave the screen.
    pub(super) fn orders_leave_at(&self) -> Option<UnixMillis> {
        let ordered = self.ordered.as_ref()?;
        let message = ordered.message.as_ref().map(|(_, until)| *until);
        message.into_iter().chain(ordered.tone_paused_until).min()
    }
}

//! What the bridge and the site tell one another.

use super::{BridgeObject, Core};
use core::cell::Cell;
use core::time::Duration;
use wardlink_bridge::auth::ControlUnit;
use wardlink_bridge::{Broker, Clients, ControlMessage, SiteTable, Step, Stream};
use wardlink_edge::messages::{Apply, BridgeTable, SiteRequest, Taken};
use wardlink_edge::objects::call;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_protocol::UnixMillis;

/// The wait after the first failure to tell the site something; it doubles from failure to failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The most notices in one parcel.
const MAX_NOTICES: usize = 256;

/// What travels to the site in one order, and is repeated until the site has it. Lanes don't wait for one another.
pub(super) struct Lane {
    cargo: Cargo,
    is_busy: Cell<bool>,
    failures: Cell<u32>,
    again_at: Cell<Option<UnixMillis>>,
}

#[derive(Clone, Copy)]
enum Cargo {
    Messages(Stream),
    Notices,
}

/// A piece of cargo, and how the broker knows it.
enum Parcel {
    Messages(Stream, u64),
    Notices(Vec<u64>),
}

/// All lanes.
pub(super) fn lanes() -> [Lane; 4] {
    let streams = [Stream::Pairing, Stream::Request, Stream::Data].map(Cargo::Messages);
    let [pairing, request, data] = streams;
    [pairing, request, Cargo::Notices, data].map(|cargo| Lane {
        cargo,
        is_busy: Cell::new(false),
        failures: Cell::new(0),
        again_at: Cell::new(None),
    })
}

impl Lane {
    /// When the alarm has to see to this lane: after a failure, or after `patience`, as nobody else may live to do it.
    pub(super) fn tell_at(&self, broker: &Broker, patience: Duration) -> Option<UnixMillis> {
        let has_cargo = match self.cargo {
            Cargo::Messages(stream) => broker.has_for_site(stream),
            Cargo::Notices => broker.notices().next().is_some(),
        };
        has_cargo.then(|| self.again_at.get().unwrap_or_else(|| now().after(patience)))
    }

    /// The next parcel of this lane.
    fn next(&self, broker: &Broker) -> Option<(Parcel, SiteRequest)> {
        match self.cargo {
            Cargo::Messages(stream) => broker.for_site(stream).map(|(last, messages)| {
                let request = match stream {
                    Stream::Pairing | Stream::Request => SiteRequest::Messages(messages),
                    Stream::Data => SiteRequest::Data(messages),
                };
                (Parcel::Messages(stream, last), request)
            }),
            Cargo::Notices => {
                let next = broker.notices().take(MAX_NOTICES).map(|(number, notice)| (number, notice.clone()));
                let (numbers, notices): (Vec<_>, Vec<_>) = next.unzip();
                (!numbers.is_empty()).then_some((Parcel::Notices(numbers), SiteRequest::Notices(notices)))
            }
        }
    }

    fn succeeded(&self) {
        self.failures.set(0);
        self.again_at.set(None);
    }

    fn failed(&self) {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
        self.again_at.set(Some(now().after(wait)));
    }

    fn is_due(&self) -> bool {
        self.again_at.get().is_none_or(|time| time <= now())
    }
}

impl BridgeObject {
    /// Fetches the site's table if the broker does not have it.
    pub(super) async fn need_table(&self) -> Result<(), Failure> {
        if self.with_broker(|broker| broker.has_table())? {
            return Ok(());
        }
        let table: BridgeTable = call(&self.env, &SiteRequest::FetchTable).await?;
        // What the site told by itself meanwhile is newer.
        if self.with_broker(|broker| broker.has_table())? {
            return Ok(());
        }
        self.take_table(&table)
    }

    pub(super) fn take_table(&self, table: &BridgeTable) -> Result<(), Failure> {
        let control_unit = ControlUnit::new(table.control_unit_chain.clone(), &table.control_unit_key, &table.issuing)
            .map_err(Failure::internal)?;
        let table =
            SiteTable { grants: table.grants.clone(), clients: clients_of(table.clients.clone()), control_unit };
        self.with_broker(|broker| broker.set_table(table, now()))
    }

    /// Tells the site what it has yet to be told, lane by lane, until nothing is left or a lane fails.
    pub(super) async fn tell_site(&self) {
        for lane in &self.lanes {
            if lane.is_due() && !lane.is_busy.replace(true) {
                self.run(lane).await;
                lane.is_busy.set(false);
            }
        }
    }

    async fn run(&self, lane: &Lane) {
        loop {
            let next = self.core.borrow().as_ref().and_then(|core| lane.next(&core.broker));
            let Some((parcel, request)) = next else { return lane.succeeded() };
            match self.tell(&request).await {
                Ok(taken) => {
                    lane.succeeded();
                    self.delivered(&parcel, &taken);
                }
                Err(failure) => {
                    worker::console_error!("the site is told again later: {failure:?}");
                    lane.failed();
                    self.settle(Ok(()));
                    return;
                }
            }
        }
    }

    async fn tell(&self, request: &SiteRequest) -> Result<Taken, Failure> {
        if matches!(request, SiteRequest::Messages(_)) {
            return call(&self.env, request).await;
        }
        call::<_, ()>(&self.env, request).await.map(|()| Taken { junk: Vec::new() })
    }

    /// The site has a parcel. That may be written later: it takes nothing twice.
    fn delivered(&self, parcel: &Parcel, taken: &Taken) {
        if let Some(Core { broker, .. }) = self.core.borrow_mut().as_mut() {
            broker.blame(&taken.junk, now());
            match parcel {
                Parcel::Messages(stream, last) => broker.site_has(*stream, *last),
                Parcel::Notices(numbers) => numbers.iter().for_each(|number| broker.site_knows(*number)),
            }
        }
        if taken.junk.is_empty() {
            self.forget_later();
        } else {
            self.settle(Ok(()));
        }
    }
}

fn clients_of(clients: wardlink_edge::messages::Clients) -> Clients {
    Clients { version: clients.version, names: clients.names.into_iter().collect() }
}

/// A step of the site, as the broker takes it.
pub(super) fn step_of(step: Apply) -> Step {
    let message = |message: wardlink_edge::messages::ControlMessage| ControlMessage {
        topic: message.topic,
        payload: message.payload,
        qos: message.qos,
    };
    Step {
        number: step.number,
        grants: step.grants,
        clients: step.clients.map(clients_of),
        remove_topics: step.remove_topics,
        publish: step.publish.into_iter().map(message).collect(),
    }
}

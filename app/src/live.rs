//! What happens at the control unit, as it happens: pairings and devices over the live WebSocket.

use core::time::Duration;
use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Either, abortable, select};
use gloo_net::http::Method;
use gloo_net::websocket::Message;
use gloo_net::websocket::futures::WebSocket;
use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::Device;
use wardlink_protocol::api::{DeviceView, KeyJob, LiveData, LiveEvent, Lock, OrderView, PairingView};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::SessionId;

use crate::app::{App, Session};

mod history;

pub(crate) use history::History;

/// After this silence the connection is tested.
const SILENCE: Duration = Duration::from_secs(20);

/// The connection to the control unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing is known yet.
    Connecting,
    /// Events arrive.
    Connected,
    /// It is lost, and tried again.
    Lost,
}

/// A device and what it has sent while the page was open.
#[derive(Clone, Debug)]
pub(crate) struct LiveDevice {
    /// The device.
    pub(crate) view: ArcRwSignal<DeviceView>,
    /// How far it has come: told only when that changes, unlike its measurements.
    pub(crate) state: ArcRwSignal<DeviceState>,
    /// What it has sent.
    pub(crate) history: ArcRwSignal<History>,
}

/// Everything that is known; each pairing and device has its own signal, so that a measurement redraws one figure, not a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    /// The connection.
    pub(crate) link: RwSignal<Link>,
    /// Whether the pairings and devices have come, so that an empty list is one.
    pub(crate) is_known: RwSignal<bool>,
    /// The pairings.
    pub(crate) pairings: RwSignal<BTreeMap<SessionId, ArcRwSignal<PairingView>>>,
    /// The devices.
    pub(crate) devices: RwSignal<BTreeMap<Device, LiveDevice>>,
    /// The locked identifiers.
    pub(crate) locks: RwSignal<Vec<Lock>>,
    /// New keys on their way to devices.
    pub(crate) key_jobs: RwSignal<Vec<KeyJob>>,
    /// The orders of the devices that were looked at, the newest first.
    pub(crate) orders: RwSignal<BTreeMap<Device, Vec<OrderView>>>,
    /// How often it was told that something of updates has changed.
    pub(crate) updates: RwSignal<u64>,
    /// How often it was told that something of stored data has changed.
    pub(crate) records: RwSignal<u64>,
    /// Ends the present connection.
    connection: StoredValue<Option<AbortHandle>>,
}

impl Live {
    /// Connects while a person is signed in and the page is not locked.
    pub(crate) fn start(app: App) -> Self {
        let live = Self {
            link: RwSignal::new(Link::Connecting),
            is_known: RwSignal::new(false),
            pairings: RwSignal::default(),
            devices: RwSignal::default(),
            locks: RwSignal::default(),
            key_jobs: RwSignal::default(),
            orders: RwSignal::default(),
            updates: RwSignal::new(0),
            records: RwSignal::new(0),
            connection: StoredValue::new(None),
        };
        let person = Memo::new(move |_| {
            app.session.with(|session| match session {
                Session::In(person) => Some((person.id, person.role)),
                _ => None,
            })
        });
        let is_locked = Memo::new(move |_| app.lock.is_on());
        Effect::new(move |last: Option<Option<_>>| {
            let (last, person) = (last.flatten(), person.get());
            // The older connection is closed at once.
            live.connection.update_value(|connection| {
                if let Some(connection) = connection.take() {
                    connection.abort();
                }
            });
            if person.is_some() && last != person {
                live.forget();
            }
            if is_locked.get() {
                live.link.set(Link::Connecting);
            } else if person.is_some() {
                let (run, connection) = abortable(live.run(app));
                live.connection.set_value(Some(connection));
                spawn_local(async move {
                    // It ends by being aborted only.
                    let _ = run.await;
                });
            }
            person.or(last)
        });
        live
    }

    /// Another person may see other things.
    fn forget(self) {
        self.link.set(Link::Connecting);
        self.is_known.set(false);
        self.pairings.set(BTreeMap::new());
        self.devices.set(BTreeMap::new());
        self.locks.set(Vec::new());
        self.key_jobs.set(Vec::new());
        self.orders.set(BTreeMap::new());
    }

    async fn run(self, app: App) {
        let mut pauses = Pauses::default();
        loop {
            if let Ok(mut socket) = WebSocket::open("/api/v1/live") {
                while let Some(event) = next_event(&mut socket, app).await {
                    pauses = Pauses::default();
                    self.apply(event, app);
                }
            }
            if self.link.get_untracked() == Link::Connected {
                self.link.set(Link::Lost);
            }
            sleep(pauses.next(js_sys::Math::random())).await;
            // A connection is refused when the session has ended: ask.
            app.ask_session().await;
            if self.link.get_untracked() == Link::Connecting {
                self.link.set(Link::Lost);
            }
        }
    }

    fn apply(self, event: LiveEvent, app: App) {
        match event {
            LiveEvent::Snapshot { now, pairings, devices, locks } => {
                app.clock.set(now);
                self.replace_pairings(pairings);
                self.replace_devices(devices);
                if self.locks.with_untracked(|known| *known != locks) {
                    self.locks.set(locks);
                }
                // What did not change draws nothing anew: a half-typed code stays.
                if !self.is_known.get_untracked() {
                    self.is_known.set(true);
                }
                if self.link.get_untracked() != Link::Connected {
                    self.link.set(Link::Connected);
                }
            }
            LiveEvent::Pairing { pairing } => self.put_pairing(*pairing),
            LiveEvent::PairingGone { session } => self.pairings.update(|known| drop(known.remove(&session))),
            LiveEvent::Device { device } => self.put_device(*device),
            LiveEvent::Locked { lock } => self.locks.update(|locks| {
                locks.retain(|known| known.device != lock.device);
                locks.push(lock);
            }),
            LiveEvent::Keys { jobs } => {
                if self.key_jobs.with_untracked(|known| *known != jobs) {
                    self.key_jobs.set(jobs);
                }
            }
            LiveEvent::Order { order } => self.put_order(*order),
            LiveEvent::Unlocked { device } => self.lift(&device),
            LiveEvent::Data { data } => self.put_data(*data),
            LiveEvent::UpdatesChanged => self.updates.update(|told| *told = told.wrapping_add(1)),
            LiveEvent::RecordsChanged => self.records.update(|told| *told = told.wrapping_add(1)),
        }
    }

    /// Learns the orders of a device. What was told meanwhile of one of them stays.
    pub(crate) fn know_orders(self, device: Device, mut orders: Vec<OrderView>) {
        self.orders.update(|known| {
            let before = known.remove(&device).unwrap_or_default();
            for order in &mut orders {
                if let Some(told) = before.iter().find(|told| told.is_same(order) && order.is_behind(told)) {
                    order.clone_from(told);
                }
            }
            known.insert(device, orders);
        });
    }

    /// Learns an order, also from the answer to a request; of a device that nobody looked at it is asked for when somebody does.
    pub(crate) fn put_order(self, order: OrderView) {
        if !self.orders.with_untracked(|known| known.contains_key(&order.device)) {
            return;
        }
        self.orders.update(|known| {
            let Some(orders) = known.get_mut(&order.device) else { return };
            let place = orders.iter().position(|known| known.is_same(&order));
            match place.and_then(|place| orders.get_mut(place)) {
                Some(known) if order.is_behind(known) => {}
                Some(known) => *known = order,
                None => orders.insert(0, order),
            }
        });
    }

    /// An identifier is no longer locked.
    pub(crate) fn lift(self, device: &Device) {
        self.locks.update(|locks| locks.retain(|known| known.device != *device));
    }

    fn replace_pairings(self, pairings: Vec<PairingView>) {
        let gone = |known: &SessionId| !pairings.iter().any(|pairing| pairing.session == *known);
        if self.pairings.with_untracked(|known| known.keys().any(gone)) {
            self.pairings.update(|known| known.retain(|session, _| !gone(session)));
        }
        for pairing in pairings {
            self.put_pairing(pairing);
        }
    }

    fn replace_devices(self, devices: Vec<DeviceView>) {
        let gone = |known: &Device| !devices.iter().any(|device| device.device == *known);
        if self.devices.with_untracked(|known| known.keys().any(gone)) {
            self.devices.update(|known| known.retain(|device, _| !gone(device)));
        }
        for device in devices {
            self.put_device(device);
        }
    }

    /// Learns a pairing, also from the answer to a request, which may come before the event.
    pub(crate) fn put_pairing(self, pairing: PairingView) {
        let known = self.pairings.with_untracked(|known| known.get(&pairing.session).cloned());
        match known {
            Some(signal) if signal.with_untracked(|known| *known == pairing) => {}
            Some(signal) => signal.set(pairing),
            None => self.pairings.update(|known| {
                known.insert(pairing.session, ArcRwSignal::new(pairing));
            }),
        }
    }

    fn put_device(self, device: DeviceView) {
        let known = self.devices.with_untracked(|known| known.get(&device.device).cloned());
        match known {
            Some(known) => {
                // After a lost connection, the newest of what was missed.
                known.history.update(|history| history.put_all(&device));
                if known.state.with_untracked(|state| *state != device.state) {
                    known.state.set(device.state);
                }
                known.view.set(device);
            }
            None => self.devices.update(|known| {
                let mut history = History::default();
                history.put_all(&device);
                let live = LiveDevice {
                    view: ArcRwSignal::new(device.clone()),
                    state: ArcRwSignal::new(device.state),
                    history: ArcRwSignal::new(history),
                };
                known.insert(device.device.clone(), live);
            }),
        }
    }

    fn put_data(self, data: LiveData) {
        let Some(known) = self.devices.with_untracked(|known| known.get(&data.device).cloned()) else { return };
        known.history.update(|history| history.put(data.clone()));
        known.view.update(|view| history::put_latest(view, data));
    }
}

/// The next event; none when the connection is lost. In silence the server is asked for a sign of life, because a vanished network
/// closes no socket.
async fn next_event(socket: &mut WebSocket, app: App) -> Option<LiveEvent> {
    loop {
        let silence = core::pin::pin!(sleep(SILENCE));
        match select(socket.next(), silence).await {
            Either::Left((Some(Ok(Message::Text(text))), _)) => {
                // An event of a newer server: this page does not know it.
                if let Ok(event) = serde_json::from_str(&text) {
                    return Some(event);
                }
            }
            Either::Left((Some(Ok(Message::Bytes(_))), _)) => {}
            Either::Left((Some(Err(_)) | None, _)) => return None,
            Either::Right(_) => app.send(Method::GET, "/health", None).await.ok().map(drop)?,
        }
    }
}

/// The pauses between attempts to connect: 1, 2, 4, 8 and at most 15 seconds, each shortened by chance by up to a half, so that the phones
/// of a hospital don't all come back in the same moment.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    tries: u32,
}

impl Pauses {
    fn next(&mut self, chance: f64) -> Duration {
        let whole = Duration::from_secs(1 << self.tries.min(4)).min(Duration::from_secs(15));
        self.tries += 1;
        whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_fifteen_seconds_and_are_shortened_by_up_to_a_half() {
        let mut pauses = Pauses::default();
        let seconds: Vec<u64> = (0..7).map(|_| pauses.next(0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(pauses.next(1.0), Duration::from_millis(7_500));
    }
}

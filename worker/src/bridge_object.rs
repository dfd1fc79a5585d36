//! The site's MQTT bridge: a shell around [`Broker`].
//!
//! Frames that arrive within a moment are gathered: one write to storage, then all answers, several packets to a frame. The
//! platform holds what is sent until what was written before is on disk, so that a PUBACK survives a power cut. The object can be
//! rebuilt at any time around open WebSockets; the broker is then restored from storage and attachments.

mod records;
mod site;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use data_encoding::BASE64URL_NOPAD;
use rand_core::Rng;
use serde_bytes::ByteBuf;
use site::Lane;
use std::collections::BTreeMap;
use wardlink_bridge::storage::Changes;
use wardlink_bridge::{Broker, ConnectionId, Origin, Output};
use wardlink_edge::http::address;
use wardlink_edge::messages::{ADDRESS_HEADER, Applied, BridgeRequest, CLIENT_CERTIFICATE_HEADER, NETWORK_HEADER};
use wardlink_edge::objects::{answer, receive};
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::network::NetworkOrigin;
use worker::js_sys::Object;
use worker::{
    Date, DateInit, Delay, DurableObject, Env, Error, Headers, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, durable_object, wasm_bindgen,
};

/// Frames that follow one another faster than this are gathered, stored and answered together.
const GATHERING: Duration = Duration::from_millis(2);
/// How long the alarm leaves it to whoever works at this moment to tell the site what has happened.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long something that is only to be forgotten waits for the next write.
const FORGETTING: Duration = Duration::from_millis(25);
/// RFC 6455: our fault.
const CLOSE_INTERNAL: u16 = 1011;
/// Numbers of connections stay below 2^53, so that they pass through JavaScript.
const CONNECTION_BITS: u32 = 53;

/// What arrived and has not been dealt with.
enum Event {
    Frame(ConnectionId, Vec<u8>),
    Text(ConnectionId),
    Closed(ConnectionId),
}

/// The broker and its connections, as long as the object is in memory.
struct Core {
    broker: Broker,
    sockets: BTreeMap<ConnectionId, WebSocket>,
    /// Records that go with the next write.
    forgotten: Changes,
}

/// Whether records that are only to be forgotten have yet to be written. Until then a rebuilt bridge would repeat a delivery, which
/// may happen at any time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Forgetting {
    /// There are none.
    #[default]
    Done,
    /// The next write takes them along.
    Waiting,
    /// So it does, or else somebody writes them soon.
    Promised,
    /// They are written now.
    Due,
}

/// The Durable Object around the broker.
#[durable_object]
pub struct BridgeObject {
    state: State,
    env: Env,
    database: Database,
    core: RefCell<Option<Core>>,
    inbox: RefCell<Vec<Event>>,
    is_gathering: Cell<bool>,
    /// When the last batch was released.
    released_at: Cell<UnixMillis>,
    forgetting: Cell<Forgetting>,
    lanes: [Lane; 4],
    /// When the alarm rings, as far as this instance knows.
    alarm_at: Cell<Option<UnixMillis>>,
}

impl DurableObject for BridgeObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, records::VERSIONS);
        Self {
            state,
            env,
            database,
            core: RefCell::new(None),
            inbox: RefCell::new(Vec::new()),
            is_gathering: Cell::new(false),
            released_at: Cell::new(UnixMillis::default()),
            forgetting: Cell::default(),
            lanes: site::lanes(),
            alarm_at: Cell::new(None),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let answered =
            if request.headers().has("Upgrade")? { self.take_socket(&request) } else { self.ask(&mut request).await };
        answered.or_else(Failure::into_response)
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        if let Some(id) = self.id_of(&socket) {
            let event = match message {
                WebSocketIncomingMessage::Binary(bytes) => Event::Frame(id, bytes),
                WebSocketIncomingMessage::String(_) => Event::Text(id),
            };
            self.gather(event).await;
        }
        Ok(())
    }

    async fn websocket_close(&self, socket: WebSocket, _code: usize, _reason: String, _clean: bool) -> Result<()> {
        let id = self.id_of(&socket);
        // The other half of the closing handshake (RFC 6455 section 5.5.1); it fails where ours was the first.
        drop(socket.close(Some(1000), Some("")));
        if let Some(id) = id {
            self.gather(Event::Closed(id)).await;
        }
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _error: Error) -> Result<()> {
        if let Some(id) = self.id_of(&socket) {
            self.gather(Event::Closed(id)).await;
        }
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at.set(None);
        let worked = self.with_broker(|broker| broker.tick(now()));
        if !self.settle(worked) {
            // The platform repeats an alarm that fails.
            return Err(Error::from("the bridge could not be rebuilt"));
        }
        self.tell_site().await;
        self.catch_up().await;
        Response::empty()
    }
}

impl BridgeObject {
    /// Takes a WebSocket.
    fn take_socket(&self, request: &Request) -> Result<Response, Failure> {
        let headers = request.headers();
        let host = match headers.get("Host")? {
            Some(host) => host,
            None => address(request)?.authority().map(ToString::to_string).unwrap_or_default(),
        };
        let network = NetworkOrigin {
            address: headers.get(ADDRESS_HEADER)?.and_then(|address| address.parse().ok()),
            marker: headers.get(NETWORK_HEADER)?.and_then(|marker| marker.parse().ok()),
        };
        let certificate = headers.get(CLIENT_CERTIFICATE_HEADER)?;
        let certificate = certificate.map(|text| BASE64URL_NOPAD.decode(text.as_bytes())).transpose();
        let client_certificate = certificate.map_err(Failure::internal)?.map(ByteBuf::from);
        let origin = Origin { network, host, client_certificate };
        let id = ConnectionId(rng().next_u64() >> (u64::BITS - CONNECTION_BITS));
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_websocket_with_tags(&server, &[&id.0.to_string()]);
        self.with_broker(|broker| broker.open(id, origin, now()))?;
        if let Some(core) = self.core.borrow_mut().as_mut() {
            core.sockets.insert(id, server);
        }
        self.release(Duration::ZERO)?;
        let answer = Headers::new();
        answer.set("Sec-WebSocket-Protocol", "mqtt")?;
        Ok(Response::from_websocket(client)?.with_headers(answer))
    }

    /// Does what the site asks.
    async fn ask(&self, request: &mut Request) -> Result<Response, Failure> {
        match receive::<BridgeRequest>(request).await? {
            BridgeRequest::Table(table) => {
                self.take_table(&table)?;
                self.release(Duration::ZERO)?;
                answer(&())
            }
            BridgeRequest::Apply(steps) => {
                self.need_table().await?;
                let number = steps.last().map(|step| step.number).unwrap_or_default();
                let mut steps = steps.into_iter().map(site::step_of);
                if !self.with_broker(|broker| steps.all(|step| broker.apply(step, now())))? {
                    return Err(ProblemKind::Unavailable.into());
                }
                self.release(Duration::ZERO)?;
                answer(&Applied { number })
            }
        }
    }

    /// Puts an event to the others of this moment. The first one deals with all of them.
    async fn gather(&self, event: Event) {
        self.inbox.borrow_mut().push(event);
        if self.is_gathering.replace(true) {
            return;
        }
        // After a pause nobody else is to be waited for; in a rush, everybody is.
        if now().since(self.released_at.get()) < GATHERING {
            Delay::from(GATHERING).await;
        }
        if let Err(failure) = self.need_table().await {
            // The broker turns clients away until the table is there.
            worker::console_error!("the site's table cannot be had: {failure:?}");
        }
        self.is_gathering.set(false);
        let events = self.inbox.take();
        let worked = self.with_broker(|broker| {
            for event in events {
                match event {
                    Event::Frame(id, bytes) => broker.received(id, &bytes, now(), &mut rng()),
                    Event::Text(id) => broker.received_text(id, now()),
                    Event::Closed(id) => broker.closed(id, now()),
                }
            }
        });
        self.settle(worked);
        self.tell_site().await;
        self.catch_up().await;
    }

    /// Notes that something is only to be forgotten.
    fn forget_later(&self) {
        if self.forgetting.get() == Forgetting::Done {
            self.forgetting.set(Forgetting::Waiting);
        }
    }

    /// Writes what is only to be forgotten, unless another write takes it along meanwhile.
    async fn catch_up(&self) {
        if self.forgetting.get() != Forgetting::Waiting {
            return;
        }
        self.forgetting.set(Forgetting::Promised);
        Delay::from(FORGETTING).await;
        if self.forgetting.get() == Forgetting::Promised {
            self.forgetting.set(Forgetting::Due);
            self.settle(Ok(()));
        }
    }

    /// Gives the broker something to do; it is rebuilt first where the object is new in memory.
    fn with_broker<T>(&self, work: impl FnOnce(&mut Broker) -> T) -> Result<T, Failure> {
        if self.core.borrow().is_none() {
            let restored = self.restore().inspect_err(|_| self.begin_anew())?;
            self.core.replace(Some(restored));
        }
        let mut core = self.core.borrow_mut();
        core.as_mut().map(|core| work(&mut core.broker)).ok_or_else(|| Failure::internal("there is no broker"))
    }

    fn restore(&self) -> Result<Core, Failure> {
        let records = records::load(self.database.open()?)?;
        let mut attachments = Vec::new();
        let mut sockets = BTreeMap::new();
        for socket in self.state.get_websockets() {
            if let (Some(id), Ok(Some(bytes))) = (self.id_of(&socket), socket.deserialize_attachment::<ByteBuf>()) {
                attachments.push(bytes.into_vec());
                sockets.insert(id, socket);
            }
        }
        let broker = Broker::restore(records, attachments, now());
        for (id, socket) in &sockets {
            if !broker.knows(*id) {
                drop(socket.close(Some(CLOSE_INTERNAL), Some("")));
            }
        }
        Ok(Core { broker, sockets, forgotten: Changes::new() })
    }

    /// Stores and sends what the work led to; false where the bridge had to begin anew.
    fn settle(&self, worked: Result<(), Failure>) -> bool {
        let settled = worked.and_then(|()| self.release(PATIENCE));
        if let Err(failure) = &settled {
            worker::console_error!("the bridge begins anew: {failure:?}");
        }
        settled.is_ok()
    }

    /// Stores what changed, and sends what may be sent then. What the site has to be told, the alarm tells it after `patience`.
    fn release(&self, patience: Duration) -> Result<(), Failure> {
        self.released_at.set(now());
        self.store_and_send(patience).inspect_err(|_| self.begin_anew())
    }

    fn store_and_send(&self, patience: Duration) -> Result<(), Failure> {
        let mut core = self.core.borrow_mut();
        let Some(core) = core.as_mut() else { return Ok(()) };
        let batch = core.broker.flush(now());
        self.set_alarm(core, patience)?;
        for overstep in &batch.oversteps {
            log!("bridge: {overstep}");
        }
        let only_forgets = batch.outputs.is_empty() && batch.changes.values().all(Option::is_none);
        core.forgotten.extend(batch.changes);
        if only_forgets && self.forgetting.get() != Forgetting::Due {
            if !core.forgotten.is_empty() {
                self.forget_later();
            }
            return Ok(());
        }
        records::store(self.database.open()?, core::mem::take(&mut core.forgotten))?;
        self.forgetting.set(Forgetting::Done);
        for output in batch.outputs {
            core.perform(output);
        }
        Ok(())
    }

    /// Storage has failed: nothing in memory counts any more. The clients connect again, and send again what was not acknowledged.
    fn begin_anew(&self) {
        self.core.replace(None);
        for socket in self.state.get_websockets() {
            drop(socket.close(Some(CLOSE_INTERNAL), Some("")));
        }
    }

    fn id_of(&self, socket: &WebSocket) -> Option<ConnectionId> {
        self.state.get_tags(socket).first().and_then(|tag| tag.parse().ok()).map(ConnectionId)
    }

    /// Sets the alarm for the broker's next deadline, and for what the site has to be told (again). It is written together with what
    /// led to it: should this instance die before the site knows, the next one is woken to tell it.
    fn set_alarm(&self, core: &Core, patience: Duration) -> Result<(), Failure> {
        let lanes = self.lanes.iter().filter_map(|lane| lane.tell_at(&core.broker, patience));
        let Some(time) = lanes.chain(core.broker.next_deadline()).min() else { return Ok(()) };
        if self.alarm_at.get().is_some_and(|set| set <= time) {
            return Ok(());
        }
        // Not awaited: nothing may come between this and the writes around it.
        let date = Date::new(DateInit::Millis(time.0)).into();
        drop(self.state.storage().as_raw().set_alarm(date, Object::new()).map_err(Error::from)?);
        self.alarm_at.set(Some(time));
        Ok(())
    }
}

impl Core {
    /// Performs one output. A socket that fails is closing; its end is reported by itself.
    fn perform(&mut self, output: Output) {
        let done = match output {
            Output::Frame { connection, bytes } => {
                self.sockets.get(&connection).map(|socket| socket.send_with_bytes(&bytes))
            }
            Output::Attachment { connection, bytes } => {
                self.sockets.get(&connection).map(|socket| socket.serialize_attachment(ByteBuf::from(bytes)))
            }
            Output::Close { connection, code, cause } => {
                if let Some(cause) = cause {
                    log!("bridge: connection {} is closed: {cause}", connection.0);
                }
                self.sockets.remove(&connection).map(|socket| socket.close(Some(code), Some("")))
            }
        };
        if let Some(Err(error)) = done {
            worker::console_debug!("a connection is gone: {error}");
        }
    }
}

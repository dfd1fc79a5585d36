//! One gateway, or one device that speaks for itself: its session with the distribution server, its director's repository, its polls.
//!
//! Nothing is stored for a name that the site does not admit. An idle poll is answered from memory.

mod poll;
mod schema;
mod session;
mod socket;

use core::cell::{Cell, RefCell};
use core::time::Duration;
pub(crate) use poll::ADDED;
use poll::Poll;
use serde_bytes::ByteBuf;
use std::rc::Rc;
use wardlink_edge::messages::{
    Admission, AssociatedDevices, DirectorFiles, DistributionRequest, GatewayRequest, Orders,
};
use wardlink_edge::objects::{self, answer};
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::{Device, UnixMillis};
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, ScheduledTime, State, WebSocket,
    WebSocketIncomingMessage, durable_object, wasm_bindgen,
};

/// How long a poll's ticket counts; each session gives a new one.
const TICKET_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How exactly it is noted when a gateway was heard.
const HEARD_RESOLUTION: Duration = Duration::from_mins(1);

/// The Durable Object of one gateway.
#[durable_object]
pub struct GatewayObject {
    state: State,
    env: Env,
    database: Database,
    /// With what sessions are authenticated, for the handshakes that run.
    admission: RefCell<Option<Rc<Admission>>>,
    /// What a poll is answered by, once it was read.
    poll: RefCell<Option<Rc<Poll>>>,
    /// The number of the newest list of the gateway's devices.
    listed: Cell<u64>,
    /// Counts how often everything was ended: what began before does not go on afterwards.
    ends: Cell<u64>,
    /// When the distribution server was told last that the gateway was heard.
    heard_at: Cell<UnixMillis>,
}

impl DurableObject for GatewayObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &schema::VERSIONS);
        let (admission, poll) = (RefCell::default(), RefCell::default());
        Self {
            state,
            env,
            database,
            admission,
            poll,
            listed: Cell::default(),
            ends: Cell::default(),
            heard_at: Cell::default(),
        }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.handle(request).await.or_else(Failure::into_response)
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let taken = match message {
            WebSocketIncomingMessage::Binary(bytes) => self.take_frame(&socket, bytes).await,
            WebSocketIncomingMessage::String(_) => Err(socket::Over::Malformed),
        };
        if let Err(over) = taken {
            log!("gateway: a session ends: {over}");
            socket::close(&socket, &over);
            self.left().await;
        }
        Ok(())
    }

    async fn websocket_close(&self, socket: WebSocket, _code: usize, _reason: String, _clean: bool) -> Result<()> {
        // The other half of the closing handshake (RFC 6455 section 5.5.1); it fails where ours was the first.
        drop(socket.close(Some(1000), Some("")));
        socket::forget(&socket);
        self.left().await;
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _error: Error) -> Result<()> {
        socket::forget(&socket);
        self.left().await;
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        for socket in self.state.get_websockets() {
            if socket::unproven_since(&socket).is_some_and(|since| now() >= since.after(socket::PATIENCE)) {
                socket::close(&socket, &socket::Over::Late);
            }
        }
        // The platform tries again.
        self.watch().await.map_err(|failure| Error::RustError(format!("{failure:?}")))?;
        Response::empty()
    }
}

impl GatewayObject {
    async fn handle(&self, mut request: Request) -> core::result::Result<Response, Failure> {
        if let Some(asked) = poll::Asked::of(&request.path()) {
            return self.answer_poll(&request, &asked).await;
        }
        if request.headers().has("Upgrade")? {
            return self.take_socket(&request).await;
        }
        // What comes from outside is a GET; only the other objects ask by POST.
        if request.method() != Method::Post {
            return Err(ProblemKind::NotFound.into());
        }
        match objects::receive(&mut request).await? {
            GatewayRequest::Say(orders) => answer(&self.say(&orders)?),
            GatewayRequest::Close => {
                self.end()?;
                answer(&())
            }
            GatewayRequest::Send(of) => answer(&self.ask_for_records(of.as_ref())),
            GatewayRequest::Inquire => answer(&self.ask_for_report()),
            GatewayRequest::Silent => {
                for socket in self.state.get_websockets() {
                    socket::close(&socket, &socket::Over::Late);
                }
                answer(&())
            }
        }
    }

    /// Whether something is stored; a name that was never admitted has no table.
    fn is_known(&self) -> core::result::Result<bool, Failure> {
        let query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'gateway')";
        Ok(self.database.one::<bool, 0>(query, [])?.unwrap_or_default())
    }

    /// Whose object it is, once it has proved itself.
    fn device(&self) -> core::result::Result<Option<Device>, Failure> {
        let device: Option<String> = self.database.open()?.one("SELECT device FROM gateway", [])?;
        Ok(device.and_then(|device| device.parse().ok()))
    }

    /// Whether no later list of the gateway's devices was heard of: a key that has lost its rights since does not come back by an earlier one.
    fn is_newest(&self, list: &AssociatedDevices) -> bool {
        let is_newest = list.number >= self.listed.get();
        self.listed.set(self.listed.get().max(list.number));
        is_newest
    }

    /// Stores what is said to the gateway, and tells it over its session; the version of the directive that is there then.
    fn say(&self, orders: &Orders) -> core::result::Result<u64, Failure> {
        let devices = orders.devices.as_ref().filter(|list| self.is_newest(list));
        if !self.is_known()? {
            return Ok(0);
        }
        let is_newer = orders.directive.as_ref().map(|files| self.store(files)).transpose()?.unwrap_or_default();
        for open in session::open(&self.state) {
            if is_newer && let Some(files) = &orders.directive {
                open.tell_of_directive(files.version);
            }
            if let Some(list) = devices {
                open.tell_of_devices(list.devices.clone());
            }
        }
        self.directive()
    }

    /// Stores a version of the director's repository, unless it is older than the one that is there.
    fn store(&self, files: &DirectorFiles) -> core::result::Result<bool, Failure> {
        let database = self.database.open()?;
        if self.directive()? >= files.version {
            return Ok(false);
        }
        let version = files.version;
        let named = [
            (format!("{version}.targets.json"), &files.targets),
            (format!("{version}.snapshot.json"), &files.snapshot),
            (String::from("timestamp.json"), &files.timestamp),
        ];
        for (name, bytes) in named {
            database.run(
                "INSERT OR REPLACE INTO files (name, version, bytes) VALUES (?, ?, ?)",
                [name.into_value(), version.into_value(), bytes.to_vec().into_value()],
            )?;
        }
        // A client that has begun ends with the files of the version before.
        let before: Option<u64> = database.one("SELECT directive FROM gateway", [])?;
        database.run("DELETE FROM files WHERE version < ?", [before.unwrap_or_default().into_value()])?;
        database.run("UPDATE gateway SET directive = ?", [version.into_value()])?;
        self.poll.take();
        Ok(true)
    }

    /// The newest directive's version; 0 before the first.
    fn directive(&self) -> core::result::Result<u64, Failure> {
        Ok(self.database.open()?.one("SELECT directive FROM gateway", [])?.unwrap_or_default())
    }

    /// The device has no rights any more.
    fn end(&self) -> core::result::Result<(), Failure> {
        self.ends.set(self.ends.get().wrapping_add(1));
        self.admission.take();
        self.poll.take();
        for socket in self.state.get_websockets() {
            socket::close(&socket, &socket::Over::Refused);
        }
        if self.is_known()? {
            self.database.open()?.run("UPDATE gateway SET ticket = NULL, ticket_ends = 0", [])?;
        }
        Ok(())
    }

    /// Begins to store, for a device that has proved itself.
    fn begin(&self, device: &Device, root: &ByteBuf) -> core::result::Result<&Database, Failure> {
        let database = self.database.open()?;
        database.run(
            "INSERT INTO gateway (one, device) VALUES (1, ?) ON CONFLICT (one) DO NOTHING",
            [device.to_string().into_value()],
        )?;
        database.run(
            "INSERT OR IGNORE INTO files (name, version, bytes) VALUES (?, NULL, ?)",
            [poll::FIRST_ROOT.to_owned().into_value(), root.to_vec().into_value()],
        )?;
        Ok(database)
    }

    /// The gateway was heard, in its session or by a poll: the distribution server is told beside, once in a while.
    fn note_heard(&self, gateway: Device, in_session: bool) {
        let now = now();
        if now.since(self.heard_at.get()) < HEARD_RESOLUTION {
            return;
        }
        self.heard_at.set(now);
        let env = self.env.clone();
        self.state.wait_until(async move {
            if let Err(failure) =
                objects::call::<_, ()>(&env, &DistributionRequest::Heard { gateway, in_session }).await
            {
                log!("gateway: the distribution server does not hear of a contact: {failure:?}");
            }
        });
    }

    /// Stores a new ticket's hash; the earlier one counts no longer.
    fn make_ticket(&self) -> core::result::Result<(wardlink_protocol::distribution::PollTicket, UnixMillis), Failure> {
        let (ticket, sha256) = poll::make_ticket(&mut rng());
        let ends_at = now().after(TICKET_LIFETIME);
        self.database.open()?.run(
            "UPDATE gateway SET ticket = ?, ticket_ends = ?",
            [sha256.to_vec().into_value(), ends_at.into_value()],
        )?;
        self.poll.take();
        Ok((ticket, ends_at))
    }

    /// A session may have ended: where none stands or is about to, the distribution server is told.
    async fn left(&self) {
        if self.state.get_websockets().iter().any(socket::is_proven) {
            return;
        }
        let told = async {
            if !self.is_known()? {
                return Ok(());
            }
            let Some(device) = self.device()? else { return Ok(()) };
            objects::call::<_, ()>(&self.env, &DistributionRequest::Leave(device)).await
        };
        if let Err(failure) = told.await {
            log!("gateway: the distribution server does not hear of an end: {failure:?}");
        }
    }

    /// Wakes when the first of the connections that prove nothing has taken too long, whoever comes later.
    async fn watch(&self) -> core::result::Result<(), Failure> {
        let Some(since) = self.state.get_websockets().iter().filter_map(socket::unproven_since).min() else {
            return Ok(());
        };
        let left = since.after(socket::PATIENCE).since(now());
        Ok(self.state.storage().set_alarm(ScheduledTime::from(left)).await?)
    }
}

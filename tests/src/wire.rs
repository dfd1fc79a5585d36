//! Everything between pumps, people and the worker, as a wire that a test cuts at a message.
//!
//! A [`Wire`] stands in front of a worker, under an origin of its own. A [`Trap`] names a message of one device's pairing and a
//! [`Moment`]: there the wire calls the trap's action (which kills somebody), and all its connections end in the same
//! instant. Until the next trap the wire passes on what it gets.

mod packets;
mod request;
pub mod usurper;

use std::collections::BTreeMap;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

use crate::api::Api;
use crate::mqtt::packets::publish;
use packets::{Packet, split};
use request::Requests;

/// Which message of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// The device's first CONNECT, as its bare key.
    Hello,
    /// `PAIRING_REQUEST` on T1.
    Request,
    /// A person accepts.
    Accept,
    /// The first message on T2: `PAIRING_COMMAND`, or a refusal without one.
    Command,
    /// The device's second CONNECT, with its provisional certificate.
    Return,
    /// `PAIRING_VERIFIED`: the first message on T3.
    Verified,
    /// A person brings the code or the tag.
    Attempt,
    /// A person cancels.
    Cancel,
    /// A person rejects.
    Reject,
    /// The second message on T2: `PAIRING_CONFIRMED`, or `PAIRING_REFUSED` after a command.
    Verdict,
    /// The device shows its final certificate on the living connection.
    Renewal,
    /// `PAIRING_FINISHED`: the second message on T3.
    Finished,
    /// The announcement on T4, to whoever reads it.
    Announcement,
    /// The first message that the bridge has to keep on a second channel.
    Data,
}

/// When, within a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It was sent, and never arrives.
    Before,
    /// It has arrived so long ago, and everything has gone on since.
    At(Duration),
    /// It was answered, and the answer never arrives.
    After,
}

/// Where the wire is cut, and what happens then.
pub struct Trap {
    /// Whose pairing: the MQTT client id, which is the device's name.
    pub client: String,
    /// At which message.
    pub message: Message,
    /// When.
    pub moment: Moment,
    /// What happens while nothing moves on the wire.
    pub action: Box<dyn FnOnce() + Send>,
}

/// A wire in front of a worker. It ends with the value.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

struct Shared {
    worker: u16,
    /// What the wire adds to each WebSocket's request.
    fields: Vec<(&'static str, String)>,
    armed: Mutex<Armed>,
    cuts: watch::Sender<u64>,
}

/// Makes the command that a device gets instead of the control unit's, from the device's request.
type Forge = Box<dyn FnOnce(&[u8]) -> Result<Vec<u8>> + Send>;

#[derive(Default)]
struct Armed {
    forge: Option<Forge>,
    /// The last request on T1.
    request: Vec<u8>,
    trap: Option<Trap>,
    /// The trap has been stepped on, and springs in a moment.
    is_hit: bool,
    /// The different messages on each topic of each client, in their order.
    said: BTreeMap<(String, String), Vec<Vec<u8>>>,
    connects: usize,
}

/// What is to be done with a message.
enum Judgement {
    Pass,
    Lose,
    PassAndCut(Duration),
    PassAndAwaitAnswer,
}

impl Wire {
    /// Opens a wire to the worker on this port.
    pub fn open(worker: u16) -> Result<Self> {
        Self::with_fields(worker, Vec::new())
    }

    /// Opens a wire to the worker on this port that adds header fields to the requests of devices, as a reverse proxy does.
    pub fn with_fields(worker: u16, fields: Vec<(&'static str, String)>) -> Result<Self> {
        let listener = StdListener::bind("127.0.0.1:0").context("cannot open the wire")?;
        listener.set_nonblocking(true).context("cannot open the wire")?;
        let port = listener.local_addr().context("a listener has an address")?.port();
        let shared = Arc::new(Shared { worker, fields, armed: Mutex::default(), cuts: watch::Sender::new(0) });
        let (stop, stopped) = oneshot::channel();
        // One thread: while an action runs, nothing else moves.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        let wire = Arc::clone(&shared);
        thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = listen(listener, wire, port) => {}
                }
            });
        });
        Ok(Self { port, shared, _stop: stop })
    }

    /// The control unit's web origin on this side of the wire.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The MQTT bridge's address on this side of the wire.
    pub fn broker(&self) -> String {
        format!("ws://localhost:{}/mqtt", self.port)
    }

    /// A person's web interface on this side of the wire.
    pub fn api(&self, of: &Api) -> Api {
        of.at(self.origin())
    }

    /// Sets a trap, instead of an earlier one.
    pub fn set(&self, trap: Trap) {
        *self.shared.armed() = Armed { trap: Some(trap), ..Armed::default() };
    }

    /// Gives the next device that gets a command another one.
    pub fn forge_command(&self, forge: impl FnOnce(&[u8]) -> Result<Vec<u8>> + Send + 'static) {
        *self.shared.armed() = Armed { forge: Some(Box::new(forge)), ..Armed::default() };
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether the trap was sprung.
    pub fn is_sprung(&self) -> bool {
        self.shared.armed().trap.is_none()
    }
}

impl Shared {
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, client: &str, message: Message) -> Judgement {
        let mut armed = self.armed();
        let hit = armed.trap.as_ref().filter(|trap| {
            // A person's acts name the session, and announcements go to others: one device pairs at a time.
            trap.message == message && (client.is_empty() || trap.client == client)
        });
        let moment = hit.map(|trap| trap.moment).filter(|_| !armed.is_hit);
        armed.is_hit |= moment.is_some();
        match moment {
            None => Judgement::Pass,
            Some(Moment::Before) => Judgement::Lose,
            Some(Moment::At(delay)) => Judgement::PassAndCut(delay),
            Some(Moment::After) => {
                // Where no answer comes on this connection, the message will come again.
                armed.is_hit = false;
                Judgement::PassAndAwaitAnswer
            }
        }
    }

    /// Springs the trap, and ends every connection.
    fn spring(&self) {
        let trap = self.armed().trap.take();
        if let Some(trap) = trap {
            (trap.action)();
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
    }

    /// Springs the trap in a moment; until then everything goes on.
    async fn spring_after(self: Arc<Self>, delay: Duration) {
        tokio::time::sleep(delay).await;
        self.spring();
    }

    /// The number of a message among the different ones of its topic.
    fn number(&self, client: &str, topic: &str, payload: &[u8]) -> usize {
        let mut armed = self.armed();
        let said = armed.said.entry((client.to_owned(), topic.to_owned())).or_default();
        said.iter().position(|known| known == payload).unwrap_or_else(|| {
            said.push(payload.to_vec());
            said.len() - 1
        })
    }
}

async fn listen(listener: StdListener, shared: Arc<Shared>, port: u16) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Whoever loses the connection by that sees it as the network's fault.
            let _ = carry(stream, shared, port).await;
        });
    }
}

async fn carry(stream: TcpStream, shared: Arc<Shared>, port: u16) -> Result<()> {
    let mut cuts = shared.cuts.subscribe();
    let worker = TcpStream::connect(("127.0.0.1", shared.worker)).await?;
    stream.set_nodelay(true)?;
    worker.set_nodelay(true)?;
    let mut start = [0; 9];
    while stream.peek(&mut start).await? < start.len() {
        stream.readable().await?;
    }
    let carried = async {
        if start.starts_with(b"GET /mqtt") {
            let mut line = Line::open(stream, worker, Arc::clone(&shared), port).await?;
            line.carry().await
        } else {
            carry_http(stream, worker, Arc::clone(&shared)).await
        }
    };
    tokio::select! {
        carried = carried => carried,
        _ = cuts.changed() => Ok(()),
    }
}

/// Requests of people and their answers. They go one after another on a connection.
async fn carry_http(mut person: TcpStream, mut worker: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut requests = Requests::default();
    let mut is_awaited = false;
    loop {
        tokio::select! {
            read = person.read(&mut up) => {
                let bytes = up.get(..read?).filter(|bytes| !bytes.is_empty()).context("the person has gone")?;
                for (message, request) in requests.take(bytes) {
                    match message.map_or(Judgement::Pass, |message| shared.judge("", message)) {
                        Judgement::Pass => worker.write_all(&request).await?,
                        Judgement::Lose => shared.spring(),
                        Judgement::PassAndCut(delay) => {
                            worker.write_all(&request).await?;
                            spring(&shared, delay);
                        }
                        Judgement::PassAndAwaitAnswer => {
                            is_awaited = true;
                            worker.write_all(&request).await?;
                        }
                    }
                }
            }
            read = worker.read(&mut down) => {
                let bytes = down.get(..read?).filter(|bytes| !bytes.is_empty()).context("the worker has gone")?;
                if is_awaited {
                    shared.spring();
                    return Ok(());
                }
                person.write_all(bytes).await?;
            }
        }
    }
}

/// One MQTT connection.
struct Line {
    client: WebSocketStream<TcpStream>,
    worker: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    name: String,
    /// The beginnings of packets.
    up: Vec<u8>,
    down: Vec<u8>,
    /// The way and the packet id of the answer that springs the trap; no id is any packet.
    awaited: Option<(Way, Option<u16>)>,
}

impl Line {
    async fn open(client: TcpStream, worker: TcpStream, shared: Arc<Shared>, port: u16) -> Result<Self> {
        let mut request = format!("ws://localhost:{port}/mqtt").into_client_request()?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        for (name, value) in &shared.fields {
            request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
        }
        let (worker, _) = tokio_tungstenite::client_async(request, worker).await?;
        // The library names the form of the answer that refuses.
        #[expect(clippy::result_large_err, reason = "the callback's type")]
        let accept = |_: &Request, mut response: Response| {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
            Ok(response)
        };
        let client = tokio_tungstenite::accept_hdr_async(client, accept).await?;
        Ok(Self { client, worker, shared, name: String::new(), up: Vec::new(), down: Vec::new(), awaited: None })
    }

    async fn carry(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                frame = self.client.next() => self.take(Way::Up, frame.context("the device has gone")??).await?,
                frame = self.worker.next() => self.take(Way::Down, frame.context("the worker has gone")??).await?,
            }
        }
    }

    async fn take(&mut self, way: Way, frame: Frame) -> Result<()> {
        let Frame::Binary(bytes) = frame else {
            // Ping and pong are the libraries' own.
            return if frame.is_close() { Err(anyhow!("the connection is closed")) } else { Ok(()) };
        };
        let rest = if way == Way::Up { &mut self.up } else { &mut self.down };
        rest.extend_from_slice(&bytes);
        for packet in split(rest)? {
            self.pass(way, &packet).await?;
        }
        Ok(())
    }

    async fn pass(&mut self, way: Way, packet: &Packet) -> Result<()> {
        if self.awaited.is_some_and(|(awaited, id)| awaited == way && (id.is_none() || packet.puback() == id)) {
            self.shared.spring();
            return Ok(());
        }
        let message = self.message(way, packet)?;
        if let Some(forged) = self.forged(message.as_ref().map(|(_, message)| *message), packet)? {
            return self.client.send(Frame::binary(forged)).await.context("the device has gone");
        }
        match message.map_or(Judgement::Pass, |(client, message)| self.shared.judge(&client, message)) {
            Judgement::Pass => self.send(way, packet).await,
            Judgement::Lose => {
                self.shared.spring();
                Ok(())
            }
            Judgement::PassAndCut(delay) => {
                self.send(way, packet).await?;
                spring(&self.shared, delay);
                Ok(())
            }
            Judgement::PassAndAwaitAnswer => {
                let back = if way == Way::Up { Way::Down } else { Way::Up };
                self.awaited = Some((back, packet.packet_id()));
                self.send(way, packet).await
            }
        }
    }

    /// The packet that a device gets instead of this one.
    fn forged(&self, message: Option<Message>, packet: &Packet) -> Result<Option<Vec<u8>>> {
        let (Some(message), Some(published)) = (message, packet.publish()?) else { return Ok(None) };
        let mut armed = self.shared.armed();
        if message == Message::Request {
            armed.request = published.payload;
            return Ok(None);
        }
        let Some(forge) = armed.forge.take_if(|_| message == Message::Command) else { return Ok(None) };
        let forged = forge(&armed.request)?;
        let id = packet.packet_id().context("a command is acknowledged")?;
        Ok(Some(publish(&published.topic, &forged, id)?))
    }

    async fn send(&mut self, way: Way, packet: &Packet) -> Result<()> {
        let to = if way == Way::Up { &mut self.worker } else { &mut self.client };
        to.send(Frame::binary(packet.bytes().to_vec())).await.context("the other side has gone")
    }

    /// What a packet is, and whose trap it may spring.
    fn message(&mut self, way: Way, packet: &Packet) -> Result<Option<(String, Message)>> {
        if let Some(client) = packet.connect()? {
            client.clone_into(&mut self.name);
            let mut armed = self.shared.armed();
            if armed.trap.as_ref().is_none_or(|trap| trap.client != client) {
                return Ok(None);
            }
            armed.connects += 1;
            let message = if armed.connects == 1 { Message::Hello } else { Message::Return };
            return Ok(Some((client, message)));
        }
        if way == Way::Up && packet.begins_authentication_again()? {
            return Ok(Some((self.name.clone(), Message::Renewal)));
        }
        let Some(published) = packet.publish()? else { return Ok(None) };
        let number = || self.shared.number(&self.name, &published.topic, &published.payload);
        let mut levels = published.topic.split('/').skip(1);
        let message = match (way, levels.next()) {
            (Way::Up, Some("register")) => Some(Message::Request),
            (Way::Up, Some("command")) => [Message::Verified, Message::Finished].get(number()).copied(),
            (Way::Up, Some("data")) => published.is_kept.then_some(Message::Data),
            (Way::Down, Some("meta")) => {
                let armed = self.shared.armed();
                let identifier = armed.trap.as_ref().and_then(|trap| trap.client.split('/').next_back());
                let is_ours = identifier.is_some_and(|name| contains(&published.payload, name.as_bytes()));
                return Ok(is_ours.then(|| (String::new(), Message::Announcement)));
            }
            (Way::Down, Some("data" | "ctl")) => None,
            (Way::Down, Some(_)) => [Message::Command, Message::Verdict].get(number()).copied(),
            _ => None,
        };
        Ok(message.map(|message| (self.name.clone(), message)))
    }
}

/// Springs the trap now, or in a moment, whatever becomes of the connection.
fn spring(shared: &Arc<Shared>, delay: Duration) {
    if delay.is_zero() {
        shared.spring();
    } else {
        tokio::spawn(Arc::clone(shared).spring_after(delay));
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

//! A gateway in its plainest words: the session with the distribution server, reports, and polls. It has the key and the certificate of a
//! paired pump that no longer runs, and speaks for itself as a device without a gateway does.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::stage::note;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{HandshakeError, Message, WebSocket};
use ureq::Agent;
use ureq::http::Request;
use wardlink_agent::clock;
use wardlink_agent::state::{Record, StateDirectory};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::session::{GatewayHandshake, Session};
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::api::Held;
use wardlink_protocol::distribution::{
    Answer, FromGateway, FromServer, Numbered, PollTicket, SESSION_PROTOCOL, SessionRefusal, Welcome,
};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::MAX_SESSION_MESSAGE_BYTES;
use wardlink_protocol::{Device, cbor};
use wardlink_update::client::{Client, Fetched, Next, Stored};
use wardlink_update::director::{Directed, Directive};
use wardlink_update::inventory::Characteristics;
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, Role, RoleName};
use wardlink_update::package::ReleaseCounter;
use wardlink_update::report::{ConfigurationReport, DeviceReport, Reported, State};
use wardlink_update::uptane::{Notification, Outcome};

use crate::mqtt::rng;
use crate::pump::Pump;
use crate::wait;

/// Who speaks with the distribution server.
pub struct Hub {
    /// As which device.
    pub device: Device,
    key: PrivateKey,
    certificate: Certificate,
    root: Sha256,
    origin: String,
    counter: u64,
}

/// A session that stands.
pub struct Talk {
    socket: WebSocket<TcpStream>,
    session: Session,
    number: u64,
    /// What the server said first.
    pub welcome: Box<Welcome>,
}

/// A connection that proves nothing.
#[derive(Debug)]
pub struct Silent(WebSocket<TcpStream>);

/// How the server took a poll.
#[derive(Debug)]
pub struct Polled {
    /// The HTTP status.
    pub status: u16,
    /// The tag of the file.
    pub etag: String,
    /// The file.
    pub body: Vec<u8>,
}

/// A device that has no key, or a gateway, as a report has it.
pub fn state(device: &Device, revision: &str, counter: Option<u32>) -> Result<State> {
    let characteristics = Characteristics {
        device: device.clone(),
        manufacturer: "acme".parse().context("a name")?,
        model: "PM2".parse().context("a model")?,
        serial_number: format!("S-{}", device.identifier).parse().context("a serial number")?,
        revision: revision.parse().context("a revision")?,
        hardware: "PM2-B".parse().context("hardware")?,
    };
    Ok(State { characteristics, image: None, release_counter: counter.and_then(ReleaseCounter::new), attack: None })
}

fn in_an_hour() -> Expires {
    Expires::at(clock::now().as_secs() + 3_600)
}

impl Hub {
    /// Takes over for a paired pump that no longer runs.
    pub fn of(pump: &Pump<'_>, device: &Device, origin: &str) -> Result<Self> {
        Self::with_state(&pump.state(), device, origin)
    }

    /// The same for a device that has kept its state in this folder.
    pub fn with_state(folder: &Path, device: &Device, origin: &str) -> Result<Self> {
        let state = StateDirectory::open(folder, device)?;
        let key = state.read(Record::StaticKey)?.context("the pump has a key")?;
        let snapshot = state.read(Record::Pairing)?.context("the pump is paired")?;
        let pairing = DevicePairing::restore(&snapshot)?;
        let pairing = pairing.pairing().context("the pump is paired")?;
        let root = pairing.network.chain.last().context("a root")?;
        Ok(Self {
            device: device.clone(),
            key: PrivateKey::from_pkcs8(&key)?,
            certificate: Certificate::parse(&pairing.certificate)?,
            root: Certificate::parse(root)?.sha256(),
            origin: origin.to_owned(),
            counter: 0,
        })
    }

    /// The same key and certificate, under another name.
    #[must_use]
    pub fn posing_as(&self, device: &Device) -> Self {
        let (key, certificate) = (self.key.clone(), self.certificate.clone());
        let (root, origin) = (self.root, self.origin.clone());
        Self { device: device.clone(), key, certificate, root, origin, counter: 0 }
    }

    /// The same at another server.
    #[must_use]
    pub fn at(&self, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..self.posing_as(&self.device) }
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The SHA-256 of its site's root.
    pub const fn root(&self) -> Sha256 {
        self.root
    }

    fn authority(&self) -> &str {
        self.origin.trim_start_matches("http://")
    }

    /// Opens a WebSocket; says with which HTTP status the worker refused.
    fn dial(&self) -> Result<Result<WebSocket<TcpStream>, u16>> {
        let authority = self.authority();
        let mut request = format!("ws://{authority}/api/gateways/{}/session", self.device).into_client_request()?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SESSION_PROTOCOL));
        let stream = TcpStream::connect(authority).context("the worker does not answer")?;
        stream.set_read_timeout(Some(wait::LIMIT)).context("cannot limit reading")?;
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Ok(socket)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => Ok(Err(response.status().as_u16())),
            Err(error) => Err(anyhow!("no WebSocket: {error}")),
        }
    }

    /// Opens a connection, and says nothing over it.
    pub fn connect_silently(&self) -> Result<Silent> {
        self.dial()?.map(Silent).map_err(|status| anyhow!("the worker refused with {status}"))
    }

    /// Begins a session.
    pub fn connect(&self) -> Result<Talk> {
        let mut socket = self.dial()?.map_err(|status| anyhow!("the worker refused with {status}"))?;
        let (handshake, hello) = GatewayHandshake::start(&self.certificate, self.authority(), &mut rng())?;
        socket.send(Message::Binary(hello.into()))?;
        let answer = binary(&mut socket)?;
        let (mut session, proof) = handshake.finish(&answer, &self.key, &self.root, clock::now())?;
        socket.send(Message::Binary(proof.into()))?;
        let first = session.open(&binary(&mut socket)?)?;
        let FromServer::Welcome(welcome) = cbor::decode(&first, MAX_SESSION_MESSAGE_BYTES)? else {
            bail!("the server does not say welcome first")
        };
        Ok(Talk { socket, session, number: 0, welcome })
    }

    /// A session that the server has to refuse: with an HTTP status, or by closing the connection in the handshake.
    pub fn refused(&self, dialled: Option<&str>, signing: Option<&PrivateKey>) -> Result<Option<u16>> {
        let mut socket = match self.dial()? {
            Ok(socket) => socket,
            Err(status) => return Ok(Some(status)),
        };
        let host = dialled.unwrap_or_else(|| self.authority());
        let (handshake, hello) = GatewayHandshake::start(&self.certificate, host, &mut rng())?;
        socket.send(Message::Binary(hello.into()))?;
        let Ok(answer) = binary(&mut socket) else { return Ok(None) };
        let (_, proof) = handshake.finish(&answer, signing.unwrap_or(&self.key), &self.root, clock::now())?;
        socket.send(Message::Binary(proof.into()))?;
        ensure!(binary(&mut socket).is_err(), "the server goes on");
        Ok(None)
    }

    /// A signed report of what it runs, and of devices that cannot sign.
    pub fn report(&mut self, revision: &str, counter: Option<u32>, devices: &[State]) -> Result<Vec<u8>> {
        self.report_with(revision, counter, devices.iter().cloned().map(Reported::Unsigned).collect())
    }

    /// The same with devices that may have signed themselves.
    pub fn report_with(&mut self, revision: &str, counter: Option<u32>, devices: Vec<Reported>) -> Result<Vec<u8>> {
        self.counter += 1;
        let own = state(&self.device, revision, counter)?;
        self.signed(&ConfigurationReport::new(self.counter, in_an_hour(), own, devices))
    }

    /// What it says of itself, for a gateway's report.
    pub fn own_report(&self, counter: u64, is: State) -> Result<Reported> {
        let report = self.signed(&DeviceReport::new(counter, in_an_hour(), is))?;
        Ok(Reported::Signed(serde_json::from_slice(&report)?))
    }

    fn signed<T: Role + Serialize>(&self, report: &T) -> Result<Vec<u8>> {
        let key = SigningKey::from_pkcs8_der(&self.key.to_pkcs8()?)?;
        let mut draft = Draft::new(report)?;
        draft.sign(Key::ecdsa_p256(key.verifying_key())?.id(), &key);
        Ok(draft.to_bytes())
    }

    /// Asks for a file of its director's repository.
    pub fn poll(&self, file: &str, ticket: &PollTicket, known: &str) -> Result<Polled> {
        self.get(file, ticket, (!known.is_empty()).then_some(("If-None-Match", known)))
    }

    /// Asks for a part of a file of its director's repository, such as `bytes=10-`.
    pub fn part(&self, file: &str, ticket: &PollTicket, range: &str) -> Result<Polled> {
        self.get(file, ticket, Some(("Range", range)))
    }

    fn get(&self, file: &str, ticket: &PollTicket, field: Option<(&str, &str)>) -> Result<Polled> {
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/api/gateways/{}/director/{file}", self.origin, self.device);
        let request = Request::builder().uri(url).header("Authorization", format!("Bearer {}", &*ticket.to_text()));
        let request = field.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut answer = agent.run(request.body(())?).context("the worker does not answer")?;
        let etag = answer.headers().get("ETag").and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Polled { status: answer.status().as_u16(), etag, body: answer.body_mut().read_to_vec()? })
    }

    /// Follows its director's repository with the client, and reads the directive.
    pub fn directive(&self, welcome: &Welcome) -> Result<Directed> {
        let stored = Stored { root: welcome.director_root.to_vec(), ..Stored::default() };
        let mut client = Client::start(stored, clock::now().as_secs())?;
        while let Next::Fetch(wanted) = client.next() {
            let polled = self.poll(&format!("metadata/{}", wanted.name()), &welcome.ticket, "")?;
            let fetched = if polled.status == 200 { Fetched::Bytes(polled.body) } else { Fetched::Missing };
            client.receive(fetched)?;
        }
        let directive = client.received(&RoleName::targets()).context("a directive")?;
        Ok(Directive::parse(directive)?.1)
    }
}

impl Silent {
    /// Waits until the server closes the connection.
    pub fn wait_for_end(mut self) -> Result<()> {
        ensure!(self.ends_within(wait::LIMIT)?, "the connection was not closed");
        Ok(())
    }

    /// Listens for so long; says whether the server has closed the connection.
    pub fn ends_within(&mut self, patience: Duration) -> Result<bool> {
        self.0.get_ref().set_read_timeout(Some(patience)).context("cannot limit reading")?;
        match self.0.read() {
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                Ok(true)
            }
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            other => bail!("neither silence nor an end: {other:?}"),
        }
    }
}

fn binary(socket: &mut WebSocket<TcpStream>) -> Result<Vec<u8>> {
    loop {
        match socket.read().context("the session ended")? {
            Message::Binary(bytes) => return Ok(bytes.to_vec()),
            Message::Close(frame) => bail!("the server closed the session: {frame:?}"),
            _ => {}
        }
    }
}

impl Talk {
    fn say(&mut self, message: &FromGateway) -> Result<()> {
        let frame = self.session.seal(&cbor::encode(message)?)?;
        Ok(self.socket.send(Message::Binary(frame.into()))?)
    }

    fn numbered<T>(&mut self, message: T) -> Numbered<T> {
        self.number += 1;
        Numbered { number: self.number, message }
    }

    /// What the server says next.
    pub fn hear(&mut self) -> Result<FromServer> {
        let frame = binary(&mut self.socket)?;
        Ok(cbor::decode(&self.session.open(&frame)?, MAX_SESSION_MESSAGE_BYTES)?)
    }

    /// Says something, and waits for the answer to it; what else is said meanwhile is passed over.
    fn answered(&mut self, message: &FromGateway) -> Result<Option<SessionRefusal>> {
        self.say(message)?;
        loop {
            if let FromServer::Answer(Answer { number, refused }) = self.hear()? {
                ensure!(number == self.number, "the answer to another message");
                return Ok(refused);
            }
        }
    }

    /// Reports; why that was refused, where it was.
    pub fn report(&mut self, report: Vec<u8>) -> Result<Option<SessionRefusal>> {
        let message = FromGateway::Report(self.numbered(ByteBuf::from(report)));
        self.answered(&message)
    }

    /// Reports, and leaves without waiting for the answer.
    pub fn report_and_leave(mut self, report: Vec<u8>) -> Result<()> {
        let message = FromGateway::Report(self.numbered(ByteBuf::from(report)));
        self.say(&message)?;
        self.socket.close(None)?;
        self.wait_for_end()
    }

    /// Tells what became of an update.
    pub fn outcome(
        &mut self,
        device: &Device,
        directive: u64,
        path: &str,
        outcome: Outcome,
    ) -> Result<Option<SessionRefusal>> {
        let path = Some(path.to_owned().try_into().context("a path")?);
        self.tell(&Notification { device: device.clone(), directive, path, outcome })
    }

    /// Tells that the gateway refuses a directive as a whole.
    pub fn refuse(&mut self, gateway: &Device, directive: u64, reason: &str) -> Result<Option<SessionRefusal>> {
        let outcome = Outcome::Refused { step: note("5.4.4.2 step 6")?, reason: note(reason)? };
        self.tell(&Notification { device: gateway.clone(), directive, path: None, outcome })
    }

    fn tell(&mut self, told: &Notification) -> Result<Option<SessionRefusal>> {
        let message = FromGateway::Outcome(self.numbered(ByteBuf::from(serde_json::to_vec(&told)?)));
        self.answered(&message)
    }

    /// Hands over stored data, and does not wait for what is answered.
    pub fn send_records(&mut self, batch: &[u8]) -> Result<()> {
        let message = FromGateway::Records(self.numbered(ByteBuf::from(batch.to_vec())));
        self.say(&message)
    }

    /// Hands over stored data: the receipt, or why it was refused.
    pub fn records(&mut self, batch: &[u8]) -> Result<Result<Vec<u8>, SessionRefusal>> {
        let message = FromGateway::Records(self.numbered(ByteBuf::from(batch.to_vec())));
        if let Some(refused) = self.answered(&message)? {
            return Ok(Err(refused));
        }
        loop {
            if let FromServer::Receipt(receipt) = self.hear()? {
                return Ok(Ok(receipt.into_vec()));
            }
        }
    }

    /// Ends the session from this side.
    pub fn leave(mut self) -> Result<()> {
        self.socket.close(None)?;
        self.wait_for_end()
    }

    /// Asks to look for updates now.
    pub fn ask(&mut self) -> Result<Option<SessionRefusal>> {
        let message = FromGateway::Ask(self.numbered(()));
        self.answered(&message)
    }

    /// Says what it holds of stored data.
    pub fn holds(&mut self, held: Held) -> Result<()> {
        self.say(&FromGateway::Holds(held))
    }

    /// Waits until a report is wanted.
    pub fn wait_for_inquiry(&mut self) -> Result<()> {
        while !matches!(self.hear()?, FromServer::Report(_)) {}
        Ok(())
    }

    /// Waits for word of a directive; its version.
    pub fn directive(&mut self) -> Result<u64> {
        loop {
            if let FromServer::Directive(told) = self.hear()? {
                return Ok(told.message);
            }
        }
    }

    /// How long it waits for what the server says next.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        self.socket.get_ref().set_read_timeout(Some(patience)).context("cannot limit reading")
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::Binary(bytes.to_vec().into()))?)
    }

    /// Waits until the server closes the session.
    pub fn wait_for_end(mut self) -> Result<()> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => bail!("the session neither went on nor was closed: {error}"),
            }
        }
    }
}

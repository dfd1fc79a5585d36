//! One session with the distribution server: mutual authentication, then numbered messages until either side lets go
//! (Distribution, figures 11 and 12: 231, 251).

use crate::clock;
use crate::link::{DialError, Socket};
use crate::pump::Membership;
use futures_util::{SinkExt, StreamExt};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use wardlink_crypto::session::{GatewayHandshake, Session, SessionError};
use wardlink_crypto::x509::{Certificate, X509Error};
use wardlink_protocol::Device;
use wardlink_protocol::api::Held;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::distribution::{
    Answer, FromGateway, FromServer, Numbered, SESSION_PROTOCOL, SessionAnswer, Welcome,
};
use wardlink_protocol::limits::{MAX_SESSION_FRAME_BYTES, MAX_SESSION_MESSAGE_BYTES};
use wardlink_records::queue::BatchKey;
use wardlink_update::metadata::Version;

/// How long connecting, and each step of the handshake, may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a silent connection is tried: whoever has gone without a word is noticed then.
pub(crate) const PING_EVERY: Duration = Duration::from_mins(5);
/// A session that lasted this long was a good one: the next pause is short again.
pub(crate) const GOOD_SESSION: Duration = Duration::from_mins(1);
/// How many messages wait for their answers at most.
pub(crate) const MAX_WAITING: usize = 64;

/// Why a session does not come about, or ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// There is no way to the server.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The connection.
    #[error("{0}")]
    Socket(#[from] Box<tungstenite::Error>),
    /// The server is not the site's, or somebody is between.
    #[error("the session is refused: {0}")]
    Session(#[from] SessionError),
    /// The server's fault: what it says means nothing.
    #[error("a message of the server is malformed: {0}")]
    Message(#[from] CborError),
    /// Our fault: the gateway's certificate.
    #[error("the gateway's certificate: {0}")]
    Certificate(#[from] X509Error),
    /// The server let go.
    #[error("the server closed the session")]
    Closed,
    /// The server does not answer.
    #[error("the server does not answer")]
    Silent,
    /// The gateway is not paired.
    #[error("the gateway is not paired")]
    Unpaired,
}

impl From<tungstenite::Error> for Ended {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// What was sent and is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A report, with its counter.
    Report(Version),
    /// An outcome, by its number in the store.
    Outcome(u64),
    /// The word to look for updates.
    Ask,
    /// A batch of a device's stored data.
    Records(Box<(Device, BatchKey)>),
}

/// A session that stands.
pub(crate) struct Connection {
    socket: Socket,
    session: Session,
    next_number: u64,
    waiting: BTreeMap<u64, Sent>,
    /// Whether a ping has not been answered by anything yet.
    pinged: bool,
    issuers: Vec<ByteBuf>,
}

/// Where a gateway's session is, at its host.
pub(crate) fn path_of(gateway: &Device) -> String {
    format!("/api/gateways/{}/{}/session", gateway.client, gateway.identifier)
}

impl Connection {
    /// Begins a session: both sides prove who they are, and the server says what there is.
    pub(crate) async fn begin(member: &Membership) -> Result<(Box<Self>, Box<Welcome>), Ended> {
        let identity = &member.identity;
        let (Some(certificate), Some(root)) = (&identity.certificate, &identity.root) else {
            return Err(Ended::Unpaired);
        };
        let certificate = Certificate::parse(certificate)?;
        let path = path_of(&identity.device);
        let dialled = member.endpoint.dial_at(Some(&path), SESSION_PROTOCOL, MAX_SESSION_FRAME_BYTES, identity);
        let mut socket = in_time(dialled).await??;
        let (handshake, hello) = GatewayHandshake::start(&certificate, member.endpoint.host(), &mut clock::rng())?;
        in_time(socket.send(Message::binary(hello))).await??;
        let answer = in_time(next_frame(&mut socket)).await??;
        let (session, proof) = handshake.finish(&answer, &identity.key, root, clock::now())?;
        in_time(socket.send(Message::binary(proof))).await??;
        let said: SessionAnswer = cbor::decode(&answer, MAX_SESSION_FRAME_BYTES)?;
        let issuers = said.chain.into_iter().skip(1).collect();
        let (next_number, waiting) = (1, BTreeMap::new());
        let mut connection = Self { socket, session, next_number, waiting, pinged: false, issuers };
        match in_time(connection.receive()).await?? {
            FromServer::Welcome(welcome) => Ok((Box::new(connection), welcome)),
            _ => Err(Ended::Message(CborError::Malformed)),
        }
    }

    /// The server's next message. Nothing is lost where the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<FromServer, Ended> {
        let frame = next_frame(&mut self.socket).await?;
        self.pinged = false;
        let message = self.session.open(&frame)?;
        Ok(cbor::decode(&message, MAX_SESSION_MESSAGE_BYTES)?)
    }

    /// Sends a report.
    pub(crate) async fn report(&mut self, counter: Version, report: Vec<u8>) -> Result<(), Ended> {
        let numbered = self.number(Sent::Report(counter), ByteBuf::from(report));
        self.send(&FromGateway::Report(numbered)).await
    }

    /// Sends what became of an update.
    pub(crate) async fn outcome(&mut self, number: u64, notification: ByteBuf) -> Result<(), Ended> {
        let numbered = self.number(Sent::Outcome(number), notification);
        self.send(&FromGateway::Outcome(numbered)).await
    }

    /// Sends a batch of a device's stored data (figure 13, 274).
    pub(crate) async fn records(&mut self, device: Device, key: BatchKey, batch: Vec<u8>) -> Result<(), Ended> {
        let numbered = self.number(Sent::Records(Box::new((device, key))), ByteBuf::from(batch));
        self.send(&FromGateway::Records(numbered)).await
    }

    /// Says what the gateway holds of stored data.
    pub(crate) async fn holds(&mut self, held: Held) -> Result<(), Ended> {
        self.send(&FromGateway::Holds(held)).await
    }

    /// The certificates above the server's own, up to and including the root: the server has proved its own by them.
    pub(crate) fn issuers(&self) -> &[ByteBuf] {
        &self.issuers
    }

    /// Asks to look for updates.
    pub(crate) async fn ask(&mut self) -> Result<(), Ended> {
        let numbered = self.number(Sent::Ask, ());
        self.send(&FromGateway::Ask(numbered)).await
    }

    /// Answers a message of the server.
    pub(crate) async fn answer(&mut self, answer: Answer) -> Result<(), Ended> {
        self.send(&FromGateway::Answer(answer)).await
    }

    /// What the server has answered; none where nothing of that number waits.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Sent> {
        self.waiting.remove(&number)
    }

    /// Whether something of this kind waits for its answer.
    pub(crate) fn waits_for(&self, fits: impl Fn(&Sent) -> bool) -> bool {
        self.waiting.values().any(fits)
    }

    /// How many of this kind wait for their answers.
    pub(crate) fn count(&self, fits: impl Fn(&Sent) -> bool) -> usize {
        self.waiting.values().filter(|sent| fits(sent)).count()
    }

    /// Whether everything is answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more may be sent before something is answered.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Tries whether the server is still there; one that did not answer the last time is not.
    pub(crate) async fn ping(&mut self) -> Result<(), Ended> {
        if self.pinged {
            return Err(Ended::Silent);
        }
        self.pinged = true;
        Ok(in_time(self.socket.send(Message::Ping(Vec::new().into()))).await??)
    }

    /// Takes leave.
    pub(crate) async fn close(mut self) {
        if let Ok(Err(error)) = in_time(self.socket.close(None)).await {
            tracing::debug!(%error, "the session ended without a farewell");
        }
    }

    fn number<T>(&mut self, sent: Sent, message: T) -> Numbered<T> {
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        self.waiting.insert(number, sent);
        Numbered { number, message }
    }

    async fn send(&mut self, message: &FromGateway) -> Result<(), Ended> {
        let frame = self.session.seal(&cbor::encode(message)?)?;
        Ok(in_time(self.socket.send(Message::binary(frame))).await??)
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Ended> {
    timeout(TIMEOUT, work).await.map_err(|_| Ended::Silent)
}

async fn next_frame(socket: &mut Socket) -> Result<Vec<u8>, Ended> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(_)) | None => return Err(Ended::Closed),
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

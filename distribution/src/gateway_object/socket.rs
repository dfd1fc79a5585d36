//! What is kept with a connection: how far its handshake is, or its session's keys.

use core::time::Duration;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_crypto::session::{ServerHandshake, Session, SessionError};
use wardlink_edge::problem::Failure;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::{self, CborError};
use worker::WebSocket;
use zeroize::Zeroizing;

/// How long a gateway may take to prove itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The longest attachment, in bytes: the platform's limit.
const MAX_ATTACHMENT_BYTES: usize = 16 * 1024;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    /// The peer's fault: a message that is not what comes here.
    #[error("a message is malformed")]
    Malformed,
    /// The peer's fault: it did not prove itself in time.
    #[error("it did not prove itself in time")]
    Late,
    /// The peer's fault: it does not prove itself, or a message does not open.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer has no rights, or none any more.
    #[error("the site admits no session of it")]
    Refused,
    /// A newer session of the same gateway takes its place, or a newer connection while it proves nothing.
    #[error("a newer session takes its place")]
    Replaced,
    /// Our fault.
    #[error("{0:?}")]
    Failure(Failure),
}

impl From<Failure> for Over {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<worker::Error> for Over {
    fn from(error: worker::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl From<CborError> for Over {
    fn from(_: CborError) -> Self {
        Self::Malformed
    }
}

/// How far a connection is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Nothing was said yet.
    Fresh,
    /// The hello is being answered.
    Answering,
    /// The proof is awaited.
    Answered(ServerHandshake),
    /// The proof is being looked at.
    Proving,
    /// It has proved itself, and is being welcomed.
    Joining,
    /// The session stands.
    Open(Session),
}

/// What is kept with a connection.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// `<client>/<identifier>`, as the path named it.
    pub(super) device: String,
    /// The host that the gateway dialled.
    pub(super) host: String,
    /// When it began.
    pub(super) since: UnixMillis,
    /// The number of our next message that has to arrive.
    pub(super) number: u64,
    /// How far it is.
    pub(super) stage: Stage,
}

/// Reads what is kept with a connection.
pub(super) fn kept(socket: &WebSocket) -> Result<Kept, Over> {
    let bytes = socket.deserialize_attachment::<ByteBuf>()?.map(|bytes| Zeroizing::new(bytes.into_vec()));
    let bytes = bytes.ok_or_else(|| Failure::internal("a connection has nothing with it"))?;
    Ok(cbor::unpack(&bytes, MAX_ATTACHMENT_BYTES)?)
}

/// Keeps it with the connection.
pub(super) fn keep(socket: &WebSocket, kept: &Kept) -> Result<(), Over> {
    Ok(socket.serialize_attachment(ByteBuf::from(cbor::pack(kept)?))?)
}

/// Since when a connection has yet to prove itself; none of one that has, or that is just going.
pub(super) fn unproven_since(socket: &WebSocket) -> Option<UnixMillis> {
    kept(socket).ok().filter(|kept| !matches!(kept.stage, Stage::Open(_))).map(|kept| kept.since)
}

/// Whether it has proved itself: the gateway's session stands, or is about to.
pub(super) fn is_proven(socket: &WebSocket) -> bool {
    kept(socket).is_ok_and(|kept| matches!(kept.stage, Stage::Joining | Stage::Open(_)))
}

/// Closes a connection (RFC 6455 section 7.4.1); its keys go with it.
pub(super) fn close(socket: &WebSocket, over: &Over) {
    let (code, reason) = match over {
        Over::Malformed | Over::Session(_) => (1008, "this does not count here"),
        Over::Late | Over::Refused => (1008, "not admitted"),
        Over::Replaced => (1000, "a newer session takes its place"),
        Over::Failure(_) => (1011, "try again"),
    };
    forget(socket);
    drop(socket.close(Some(code), Some(reason)));
}

/// The keys of a connection go with it: it counts as open no longer, though the platform may name it for a while.
pub(super) fn forget(socket: &WebSocket) {
    drop(socket.serialize_attachment(ByteBuf::new()));
}

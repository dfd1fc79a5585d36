//! How connections end, and what the log says of it.

use super::Broker;
use crate::auth::CredentialError;
use crate::connection::ConnectionId;
use crate::packet;
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode};
use wardlink_protocol::{Device, UnixMillis};

/// RFC 6455: the connection has done its work.
pub(super) const CLOSE_NORMAL: u16 = 1000;
/// RFC 6455: the peer did what it may not do.
pub(super) const CLOSE_POLICY: u16 = 1008;
/// IANA's registry: the server is overloaded.
pub(super) const CLOSE_TRY_LATER: u16 = 1013;

/// Why the bridge ended a connection, in the words of MQTT 5.0: for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The client did not begin with CONNECT.
    #[error("it does not begin with CONNECT")]
    NotMqtt,
    /// CONNECT, or what followed before CONNACK, is refused.
    #[error("CONNECT is refused: {0:?}")]
    Refused(ConnectReasonCode),
    /// The client has proved who it is, and may do nothing here.
    #[error("CONNECT is refused: {0} may do nothing here")]
    Unwelcome(Device),
    /// What the client shows as its identity is refused.
    #[error("CONNECT is refused: {0}")]
    Credential(#[from] CredentialError),
    /// A client that had connected is cut off.
    #[error("it is disconnected: {0:?}")]
    Disconnected(DisconnectReasonCode),
    /// There are too many connections.
    #[error("there are too many connections")]
    Overloaded,
    /// The session of the connection did not survive the broker.
    #[error("its session is lost")]
    Lost,
}

impl Broker {
    /// Ends a connection with DISCONNECT (MQTT 5.0 section 3.14); in MQTT 3.1.1 it just ends.
    pub(super) fn disconnect(&mut self, id: ConnectionId, reason: DisconnectReasonCode, now: UnixMillis) {
        let live = self.connections.get(&id).filter(|connection| connection.live().is_some());
        let packet = live.and_then(|connection| packet::disconnect(connection.durable.version, reason));
        self.end(id, packet, CLOSE_POLICY, Some(Cause::Disconnected(reason)), now);
    }

    /// Ends a connection with CONNACK.
    pub(super) fn refuse(&mut self, id: ConnectionId, reason: ConnectReasonCode, now: UnixMillis) {
        self.refuse_because(id, reason, Cause::Refused(reason), now);
    }

    /// Ends a connection whose client does not prove who it is.
    pub(super) fn refuse_credential(&mut self, id: ConnectionId, error: CredentialError, now: UnixMillis) {
        self.refuse_because(id, error.reason(), Cause::Credential(error), now);
    }

    /// Ends a connection whose client may do nothing here.
    pub(super) fn refuse_unwelcome(
        &mut self,
        id: ConnectionId,
        device: Device,
        reason: ConnectReasonCode,
        now: UnixMillis,
    ) {
        self.refuse_because(id, reason, Cause::Unwelcome(device), now);
    }

    fn refuse_because(&mut self, id: ConnectionId, reason: ConnectReasonCode, cause: Cause, now: UnixMillis) {
        let version = self.connections.get(&id).map(|connection| connection.durable.version).unwrap_or_default();
        self.end(id, packet::connack_refusal(version, reason), CLOSE_POLICY, Some(cause), now);
    }

    /// Nothing can be decided without the site's table: the client tries again later, and keeps what is unacknowledged.
    pub(super) fn turn_away(&mut self, id: ConnectionId, now: UnixMillis) {
        match self.connections.get(&id).map(|connection| connection.live().is_some()) {
            Some(true) => self.disconnect(id, DisconnectReasonCode::ServerBusy, now),
            Some(false) => self.refuse(id, ConnectReasonCode::ServerUnavailable, now),
            None => {}
        }
    }

    /// Ends a connection; no cause means that the client wanted it.
    pub(super) fn end(
        &mut self,
        id: ConnectionId,
        last: Option<Vec<u8>>,
        code: u16,
        cause: Option<Cause>,
        now: UnixMillis,
    ) {
        let Some(connection) = self.remove_connection(id) else { return };
        self.detach(&connection, now);
        let mut packets = connection.outgoing;
        packets.extend(last);
        self.closing.push(Closing { id, packets, code, cause });
    }

    /// The WebSocket is gone.
    pub fn closed(&mut self, id: ConnectionId, now: UnixMillis) {
        if let Some(connection) = self.remove_connection(id) {
            self.detach(&connection, now);
        }
    }
}

/// A connection that is closed with this batch.
pub(super) struct Closing {
    pub(super) id: ConnectionId,
    /// What its client is told at last.
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) code: u16,
    pub(super) cause: Option<Cause>,
}

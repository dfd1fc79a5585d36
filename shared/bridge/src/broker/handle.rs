//! Bytes and packets of clients.

use super::Broker;
use crate::connection::{ConnectionId, Phase};
use crate::limits::MAX_BEGUN_BYTES;
use crate::packet::{self, Incoming};
use mqtt_protocol_core::mqtt::connection::RawPacket;
use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError};
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;

/// The type of CONNECT in a packet's first byte.
const CONNECT: u8 = 1;

impl Broker {
    /// A binary frame arrived: any part of one packet, or of several.
    pub fn received<R: CryptoRng>(&mut self, id: ConnectionId, frame: &[u8], now: UnixMillis, rng: &mut R) {
        if !self.has_table() {
            return self.turn_away(id, now);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.heard(now);
        let longest = connection.longest_packet();
        let rest = core::mem::take(&mut connection.durable.rest).into_vec();
        let had_rest = !rest.is_empty();
        self.begun_bytes = self.begun_bytes.saturating_sub(rest.len());
        let joined;
        let bytes = if had_rest {
            joined = [rest.as_slice(), frame].concat();
            joined.as_slice()
        } else {
            frame
        };
        let (packets, taken) = match packet::split(bytes, longest) {
            Ok(cut) => cut,
            Err(error) => return self.fail(id, None, error, now),
        };
        for packet in packets {
            self.handle(id, &packet, now, rng);
        }
        let rest = bytes.get(taken..).unwrap_or_default();
        if self.begun_bytes + rest.len() > MAX_BEGUN_BYTES {
            return self.disconnect(id, DisconnectReasonCode::ServerBusy, now);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            self.changed.insert(id);
            if had_rest || !rest.is_empty() {
                self.begun_bytes += rest.len();
                connection.durable.rest = ByteBuf::from(rest);
                connection.changed = true;
            }
        }
    }

    fn handle<R: CryptoRng>(&mut self, id: ConnectionId, raw: &RawPacket, now: UnixMillis, rng: &mut R) {
        let Some(connection) = self.connections.get(&id) else { return };
        let packet = match packet::parse(raw) {
            Ok(packet) => packet,
            Err(error) => return self.fail(id, Some(raw), error, now),
        };
        match (&connection.durable.phase, packet) {
            (Phase::Opened, Incoming::Connect(connect)) => self.handle_connect(id, &connect, now, rng),
            (Phase::Authenticating { .. }, Incoming::Auth(auth)) => self.handle_proof(id, &auth, now),
            (Phase::Live(_), Incoming::Auth(auth)) => self.handle_auth_again(id, &auth, now, rng),
            (Phase::Live(_), Incoming::Publish(publish)) => self.handle_publish(id, &publish, now),
            (Phase::Live(live), Incoming::Puback(packet_id)) => {
                let session = live.session;
                self.acknowledged(session, packet_id);
            }
            (Phase::Live(_), Incoming::Subscribe(subscribe)) => self.handle_subscribe(id, &subscribe, now),
            (Phase::Live(_), Incoming::Unsubscribe(unsubscribe)) => self.handle_unsubscribe(id, &unsubscribe, now),
            (Phase::Live(_), Incoming::Ping) => self.send(id, Ok(packet::pingresp()), now),
            (_, Incoming::Disconnect(disconnect)) => {
                let properties = disconnect.props().as_deref().unwrap_or_default();
                self.leave(id, packet::number(properties, PropertyId::SessionExpiryInterval), now);
            }
            // MQTT 5.0 sections 3.1.0 and 4.12: CONNECT comes once and first, and until CONNACK only AUTH and DISCONNECT follow.
            _ => self.fail(id, None, MqttError::ProtocolError, now),
        }
    }

    /// The client broke the protocol: it is told why in the words that it can understand, and the connection ends.
    fn fail(&mut self, id: ConnectionId, raw: Option<&RawPacket>, error: MqttError, now: UnixMillis) {
        let Some(connection) = self.connections.get(&id) else { return };
        match &connection.durable.phase {
            Phase::Live(_) => self.disconnect(id, packet::disconnect_reason(error), now),
            Phase::Opened if error == MqttError::UnsupportedProtocolVersion => self.refuse_version(id, raw, now),
            Phase::Opened if raw.is_none_or(|raw| raw.packet_type() != CONNECT) => self.drop_silently(id, now),
            Phase::Opened | Phase::Authenticating { .. } => {
                let reason = match error {
                    MqttError::ClientIdentifierNotValid => ConnectReasonCode::ClientIdentifierNotValid,
                    MqttError::ProtocolError => ConnectReasonCode::ProtocolError,
                    MqttError::PacketTooLarge => ConnectReasonCode::PacketTooLarge,
                    _ => ConnectReasonCode::MalformedPacket,
                };
                self.refuse(id, reason, now);
            }
        }
    }

    /// MQTT 5.0 section 3.1.2.2: another version is refused, as far as possible in its own words.
    fn refuse_version(&mut self, id: ConnectionId, raw: Option<&RawPacket>, now: UnixMillis) {
        let version = raw.and_then(|raw| raw.data_as_slice().get(6)).copied().unwrap_or(0);
        if version < 5 {
            self.send(id, packet::connack_for_older_mqtt(), now);
            self.drop_silently(id, now);
        } else {
            self.refuse(id, ConnectReasonCode::UnsupportedProtocolVersion, now);
        }
    }

    /// Ends a connection with DISCONNECT (MQTT 5.0 section 3.14).
    pub(super) fn disconnect(&mut self, id: ConnectionId, reason: DisconnectReasonCode, now: UnixMillis) {
        let packet = self.connections.get(&id).and_then(|connection| connection.live());
        let packet = packet.and_then(|_| packet::disconnect(reason).ok());
        self.end(id, packet, super::CLOSE_POLICY, now);
    }

    /// Ends a connection with CONNACK.
    pub(super) fn refuse(&mut self, id: ConnectionId, reason: ConnectReasonCode, now: UnixMillis) {
        self.end(id, packet::connack_refusal(reason).ok(), super::CLOSE_POLICY, now);
    }

    /// Nothing can be decided without the site's table: the client tries again later, and keeps what is unacknowledged.
    fn turn_away(&mut self, id: ConnectionId, now: UnixMillis) {
        match self.connections.get(&id).map(|connection| connection.live().is_some()) {
            Some(true) => self.disconnect(id, DisconnectReasonCode::ServerBusy, now),
            Some(false) => self.refuse(id, ConnectReasonCode::ServerUnavailable, now),
            None => {}
        }
    }

    /// The client sent what is no MQTT: a WebSocket text (MQTT 5.0 section 6).
    pub fn received_text(&mut self, id: ConnectionId, now: UnixMillis) {
        self.fail(id, None, MqttError::ProtocolError, now);
    }

    fn drop_silently(&mut self, id: ConnectionId, now: UnixMillis) {
        self.end(id, None, super::CLOSE_POLICY, now);
    }

    /// The client said goodbye; it may shorten the session's life (MQTT 5.0 section 3.14.2.2.2).
    fn leave(&mut self, id: ConnectionId, session_expiry: Option<u32>, now: UnixMillis) {
        let live = self.connections.get(&id).and_then(|connection| connection.live());
        let session = live.and_then(|live| self.sessions.get_mut(&live.session));
        if let (Some(session), Some(expiry)) = (session, session_expiry)
            && session.state.expiry_secs > 0
        {
            session.state.expiry_secs = expiry;
        }
        self.end(id, None, super::CLOSE_NORMAL, now);
    }

    fn end(&mut self, id: ConnectionId, last: Option<Vec<u8>>, code: u16, now: UnixMillis) {
        let Some(connection) = self.remove_connection(id) else { return };
        self.detach(&connection, now);
        let mut packets = connection.outgoing;
        packets.extend(last);
        self.closing.push((id, packets, code));
    }

    /// The WebSocket is gone.
    pub fn closed(&mut self, id: ConnectionId, now: UnixMillis) {
        if let Some(connection) = self.remove_connection(id) {
            self.detach(&connection, now);
        }
    }
}

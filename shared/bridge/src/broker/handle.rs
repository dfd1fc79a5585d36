//! Bytes and packets of clients.

use super::Broker;
use super::ending::{CLOSE_NORMAL, CLOSE_POLICY, Cause};
use crate::connection::{ConnectionId, Phase};
use crate::limits::MAX_BEGUN_BYTES;
use crate::packet::{self, CONNECT, Incoming, Splitter};
use mqtt_protocol_core::mqtt::connection::RawPacket;
use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError};
use rand_core::CryptoRng;
use wardlink_protocol::UnixMillis;

impl Broker {
    /// A binary frame arrived: any part of one packet, or of several.
    pub fn received<R: CryptoRng>(&mut self, id: ConnectionId, frame: &[u8], now: UnixMillis, rng: &mut R) {
        let has_table = self.has_table();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !has_table {
            connection.note_version(frame);
            return self.turn_away(id, now);
        }
        connection.heard(now);
        self.changed.insert(id);
        let begun = connection.begun().len();
        let joined;
        let bytes = if begun == 0 {
            frame
        } else {
            let Some(all) = connection.continue_begun(frame) else { return self.count_begun(id, frame.len(), now) };
            self.begun_bytes = self.begun_bytes.saturating_sub(begun);
            joined = all;
            joined.as_slice()
        };
        let mut splitter = Splitter::new(bytes);
        while let Some(connection) = self.connections.get(&id) {
            match splitter.next(connection.longest_packet()) {
                Ok(Some(packet)) => self.handle(id, &packet, now, rng),
                Ok(None) => break,
                Err(error) => self.fail(id, None, error, now),
            }
        }
        let rest = bytes.get(splitter.taken()..).unwrap_or_default();
        if begun + rest.len() > 0
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.begin(rest, &mut self.journal);
            self.count_begun(id, rest.len(), now);
        }
    }

    /// Counts the bytes of begun packets, which are bounded over all connections.
    fn count_begun(&mut self, id: ConnectionId, more: usize, now: UnixMillis) {
        self.begun_bytes += more;
        if self.begun_bytes > MAX_BEGUN_BYTES {
            self.disconnect(id, DisconnectReasonCode::ServerBusy, now);
        }
    }

    fn handle<R: CryptoRng>(&mut self, id: ConnectionId, raw: &RawPacket, now: UnixMillis, rng: &mut R) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.note_version_of(raw);
        let packet = match packet::parse(raw, connection.durable.version) {
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
            Phase::Opened if raw.is_none_or(|raw| raw.packet_type() != CONNECT) => {
                self.end(id, None, CLOSE_POLICY, Some(Cause::NotMqtt), now);
            }
            Phase::Opened | Phase::Authenticating { .. } => {
                let reason = match error {
                    MqttError::UnsupportedProtocolVersion => ConnectReasonCode::UnsupportedProtocolVersion,
                    MqttError::ClientIdentifierNotValid => ConnectReasonCode::ClientIdentifierNotValid,
                    MqttError::ProtocolError => ConnectReasonCode::ProtocolError,
                    MqttError::PacketTooLarge => ConnectReasonCode::PacketTooLarge,
                    _ => ConnectReasonCode::MalformedPacket,
                };
                self.refuse(id, reason, now);
            }
        }
    }

    /// The client sent what is no MQTT: a WebSocket text (MQTT 5.0 section 6).
    pub fn received_text(&mut self, id: ConnectionId, now: UnixMillis) {
        self.fail(id, None, MqttError::ProtocolError, now);
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
        self.end(id, None, CLOSE_NORMAL, None, now);
    }
}

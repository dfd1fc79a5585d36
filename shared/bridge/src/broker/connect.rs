//! CONNECT, AUTH and CONNACK: who a client is, and which session it goes on with.

use super::Broker;
use crate::auth::CredentialError;
use crate::connection::{ConnectionId, Live, Origin, Phase, Wishes};
use crate::limits::{
    MAX_CLIENT_ID_BYTES, MAX_PACKET_BYTES, MAX_SESSION_EXPIRY_SECS, MAX_SESSIONS, MAX_SESSIONS_PER_KEY,
    MAX_UNKNOWN_SESSION_EXPIRY_SECS,
};
use crate::packet::{self, Accepted, Connect, Version};
use crate::rights::{Principal, is_barred};
use crate::session::{Session, SessionKey, SessionState};
use mqtt_protocol_core::mqtt::packet::v5_0::Auth;
use mqtt_protocol_core::mqtt::packet::{Property, PropertyId, Qos};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReasonCode, DisconnectReasonCode};
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use wardlink_crypto::authentication::ServerAuthentication;
use wardlink_crypto::token::{self, Verified};
use wardlink_protocol::authentication::METHOD;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::{Device, UnixMillis};

/// Reads what CONNECT asks for, or says why that is not available.
fn wishes(connect: &Connect) -> Result<Wishes, ConnectReasonCode> {
    if let Some((qos, retained)) = connect.will {
        return Err(match qos {
            Qos::ExactlyOnce => ConnectReasonCode::QosNotSupported,
            _ if retained => ConnectReasonCode::RetainNotSupported,
            _ => ConnectReasonCode::ImplementationSpecificError,
        });
    }
    // The client signs its id, so that the bridge cannot choose one for it.
    let client_id = &connect.client_id;
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES {
        return Err(ConnectReasonCode::ClientIdentifierNotValid);
    }
    let properties = &connect.properties;
    let number = |id| packet::number(properties, id);
    let receive_maximum = number(PropertyId::ReceiveMaximum).unwrap_or(u32::from(u16::MAX));
    Ok(Wishes {
        client_id: client_id.clone(),
        clean_start: connect.clean_start,
        session_expiry: connect.session_expiry,
        receive_maximum: u16::try_from(receive_maximum).unwrap_or(u16::MAX).max(1),
        maximum_packet: number(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX),
        keep_alive: connect.keep_alive,
        enhanced: packet::property(properties, PropertyId::AuthenticationMethod).is_some(),
    })
}

/// The data of the method, if it is ours (MQTT 5.0 section 4.12).
fn method_data(properties: &[Property]) -> Option<&[u8]> {
    let method = packet::text(properties, PropertyId::AuthenticationMethod)?;
    (method == METHOD).then(|| packet::bytes(properties, PropertyId::AuthenticationData)).flatten()
}

/// Why CONNECT is refused.
#[derive(Clone)]
enum Refusal {
    Credential(CredentialError),
    Reason(ConnectReasonCode),
    /// There is nothing that it may do.
    Unwelcome(Device),
    /// Its key is locked or revoked; the client has proved that it holds it.
    Barred {
        device: Device,
        key: KeyFingerprint,
    },
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        Self::Credential(error)
    }
}

impl From<ConnectReasonCode> for Refusal {
    fn from(reason: ConnectReasonCode) -> Self {
        Self::Reason(reason)
    }
}

impl Broker {
    pub(super) fn handle_connect<R: CryptoRng>(
        &mut self,
        id: ConnectionId,
        connect: &Connect,
        now: UnixMillis,
        rng: &mut R,
    ) {
        let wishes = match wishes(connect) {
            Ok(wishes) => wishes,
            Err(reason) => return self.refuse(id, reason, now),
        };
        if wishes.enhanced {
            return self.begin_proof(id, wishes, &connect.properties, now, rng);
        }
        match self.check_at_once(id, connect, now) {
            Ok(principal) => self.accept(id, wishes, principal, None, now),
            Err(refusal) => self.refuse_for(id, refusal, now),
        }
    }

    /// Who a client is that has shown everything with CONNECT, and that it may connect at all. Its token is remembered with the batch
    /// that CONNACK waits for.
    fn check_at_once(&mut self, id: ConnectionId, connect: &Connect, now: UnixMillis) -> Result<Principal, Refusal> {
        let (principal, token) = self.identify_at_once(id, connect, now)?;
        self.check_tls(id, &principal, now)?;
        self.check_rights(&principal, now)?;
        if let Some(token) = token {
            let is_known = self.table.as_ref().is_some_and(|rules| rules.grant(&principal.key).is_some());
            self.tokens.remember(&principal.key, is_known, &token, now, &mut self.journal)?;
            self.check_at(token.until);
        }
        Ok(principal)
    }

    /// By a token, or by the certificate that was proved in TLS.
    fn identify_at_once(
        &self,
        id: ConnectionId,
        connect: &Connect,
        now: UnixMillis,
    ) -> Result<(Principal, Option<Verified>), Refusal> {
        let rules = self.table.as_ref().ok_or(ConnectReasonCode::ServerUnavailable)?;
        // A gateway proves itself in turn, and only enhanced authentication does that.
        if rules.is_local() {
            return Err(ConnectReasonCode::BadAuthenticationMethod.into());
        }
        let connection = self.connections.get(&id).ok_or(ConnectReasonCode::UnspecifiedError)?;
        let Origin { host, client_certificate, .. } = &connection.durable.origin;
        let (principal, token) = match (&connect.password, client_certificate) {
            (Some(password), _) if connection.durable.version == Version::Older => {
                let purpose = token::Purpose { host, client_id: &connect.client_id, now };
                let (principal, token) = rules.control_unit.identify_by_token(password, purpose)?;
                (principal, Some(token))
            }
            (None, Some(certificate)) => (rules.control_unit.identify_by_certificate(certificate, now)?, None),
            (None, None) if connection.durable.version == Version::Older => {
                return Err(CredentialError::Missing.into());
            }
            // MQTT 5.0 has a better way: a token proves less than a signature over the bridge's nonce.
            _ => return Err(ConnectReasonCode::BadAuthenticationMethod.into()),
        };
        let named = connect.user_name.as_deref().filter(|name| !name.is_empty());
        if named.is_some_and(|name| name != principal.device.to_string()) {
            return Err(CredentialError::Contradiction.into());
        }
        Ok((principal, token))
    }

    /// A certificate that was proved in TLS names the same key and device as what the client shows in MQTT.
    fn check_tls(&self, id: ConnectionId, principal: &Principal, now: UnixMillis) -> Result<(), Refusal> {
        let rules = self.table.as_ref().ok_or(ConnectReasonCode::ServerUnavailable)?;
        let connection = self.connections.get(&id).ok_or(ConnectReasonCode::UnspecifiedError)?;
        let Some(certificate) = &connection.durable.origin.client_certificate else { return Ok(()) };
        let proved = rules.control_unit.identify_by_certificate(certificate, now)?;
        let agrees = proved.key == principal.key && proved.device == principal.device;
        if agrees { Ok(()) } else { Err(CredentialError::Contradiction.into()) }
    }

    /// Whoever may do nothing may not connect.
    fn check_rights(&self, principal: &Principal, now: UnixMillis) -> Result<(), Refusal> {
        let rules = self.table.as_ref().ok_or(ConnectReasonCode::ServerUnavailable)?;
        let grant = rules.grant(&principal.key);
        if is_barred(grant) {
            return Err(Refusal::Barred { device: principal.device.clone(), key: principal.key });
        }
        if !rules.rights(principal, now).is_welcome(|client| rules.is_configured(client)) {
            return Err(Refusal::Unwelcome(principal.device.clone()));
        }
        Ok(())
    }

    fn refuse_for(&mut self, id: ConnectionId, refusal: Refusal, now: UnixMillis) {
        match refusal {
            Refusal::Credential(error) => self.refuse_credential(id, error, now),
            Refusal::Reason(reason) => self.refuse(id, reason, now),
            Refusal::Unwelcome(device) => {
                self.refuse_unwelcome(id, device, ConnectReasonCode::NotAuthorized, now);
            }
            Refusal::Barred { device, key } => {
                self.note_barred(device.clone(), key, now);
                self.refuse_unwelcome(id, device, ConnectReasonCode::Banned, now);
            }
        }
    }

    /// MQTT 5.0 section 4.12: the bridge's challenge.
    fn begin_proof<R: CryptoRng>(
        &mut self,
        id: ConnectionId,
        wishes: Wishes,
        properties: &[Property],
        now: UnixMillis,
        rng: &mut R,
    ) {
        let Some(hello) = method_data(properties) else {
            return self.refuse(id, ConnectReasonCode::BadAuthenticationMethod, now);
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match ServerAuthentication::start(hello, &wishes.client_id, &connection.durable.origin.host, rng) {
            Ok((exchange, challenge)) => {
                connection.durable.phase = Phase::Authenticating { wishes, exchange: Box::new(exchange) };
                connection.changed = true;
                self.send(id, packet::auth(AuthReasonCode::ContinueAuthentication, &challenge), now);
            }
            Err(error) => self.refuse_credential(id, error.into(), now),
        }
    }

    /// The proof before CONNACK.
    pub(super) fn handle_proof(&mut self, id: ConnectionId, auth: &Auth, now: UnixMillis) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Phase::Authenticating { wishes, exchange } = &connection.durable.phase else { return };
        let (wishes, exchange) = (wishes.clone(), exchange.clone());
        match self.check_proof(id, auth, &exchange, now) {
            Ok((principal, acceptance)) => self.accept(id, wishes, principal, Some(&acceptance), now),
            Err(refusal) => self.refuse_for(id, refusal, now),
        }
    }

    /// Authentication on a live connection: 0x19 begins it, 0x18 brings the proof (MQTT 5.0 section 4.12.1).
    pub(super) fn handle_auth_again<R: CryptoRng>(
        &mut self,
        id: ConnectionId,
        auth: &Auth,
        now: UnixMillis,
        rng: &mut R,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Phase::Live(live) = &mut connection.durable.phase else { return };
        let properties = auth.props().as_deref().unwrap_or_default();
        let pending = live.again.take();
        connection.changed = true;
        match (auth.reason_code(), pending) {
            (Some(AuthReasonCode::ReAuthenticate), None) if live.wishes.enhanced => {
                let host = &connection.durable.origin.host;
                let begun = method_data(properties)
                    .and_then(|hello| ServerAuthentication::start(hello, &live.wishes.client_id, host, rng).ok());
                let Some((exchange, challenge)) = begun else {
                    return self.disconnect(id, DisconnectReasonCode::NotAuthorized, now);
                };
                live.again = Some(Box::new(exchange));
                self.send(id, packet::auth(AuthReasonCode::ContinueAuthentication, &challenge), now);
            }
            (Some(AuthReasonCode::ContinueAuthentication), Some(exchange)) => {
                let session = live.session;
                match self.check_proof(id, auth, &exchange, now) {
                    Ok((principal, acceptance)) => self.change_principal(id, session, principal, &acceptance, now),
                    Err(_) => self.disconnect(id, DisconnectReasonCode::NotAuthorized, now),
                }
            }
            _ => self.disconnect(id, DisconnectReasonCode::ProtocolError, now),
        }
    }

    /// Verifies a proof, and that the principal may connect at all; returns the bridge's own proof too.
    fn check_proof(
        &self,
        id: ConnectionId,
        auth: &Auth,
        exchange: &ServerAuthentication,
        now: UnixMillis,
    ) -> Result<(Principal, Vec<u8>), Refusal> {
        let rules = self.table.as_ref().ok_or(ConnectReasonCode::ServerUnavailable)?;
        let properties = auth.props().as_deref().unwrap_or_default();
        let proof = method_data(properties).ok_or(ConnectReasonCode::BadAuthenticationMethod)?;
        let principal = rules.control_unit.identify(exchange, proof, now)?;
        self.check_tls(id, &principal, now)?;
        self.check_rights(&principal, now)?;
        let acceptance = rules.control_unit.accept(exchange).map_err(|_| ConnectReasonCode::UnspecifiedError)?;
        Ok((principal, acceptance))
    }

    fn accept(
        &mut self,
        id: ConnectionId,
        wishes: Wishes,
        principal: Principal,
        acceptance: Option<&[u8]>,
        now: UnixMillis,
    ) {
        let owner = SessionKey { key: principal.key, client_id: wishes.client_id.clone() };
        let longest = self.longest_expiry(&principal);
        let expiry = wishes.session_expiry.min(longest);
        let (session, present) = match self.resume_session(&owner, wishes.clean_start, now) {
            Some(session) => (session, true),
            None if self.make_room_for_session(&owner, now) => (self.new_session(owner, &principal), false),
            None => return self.refuse(id, ConnectReasonCode::QuotaExceeded, now),
        };
        let keep_alive = wishes.keep_alive_secs();
        let version = self.connections.get(&id).map(|connection| connection.durable.version).unwrap_or_default();
        let connack = packet::connack(
            version,
            &Accepted {
                session_present: present,
                session_expiry: (expiry != wishes.session_expiry).then_some(expiry),
                keep_alive: (keep_alive != wishes.keep_alive).then_some(keep_alive),
                maximum_packet: u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX),
                acceptance,
            },
        );
        self.check_at(now.after(wishes.keep_alive()));
        self.moved.insert(principal.key);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.state.principal = principal;
            session.state.expiry_secs = wishes.session_expiry;
            session.state.ends_at = None;
            session.resume(id, &mut self.journal);
            session.save(&mut self.journal);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.durable.phase = Phase::Live(Live { session, wishes, again: None });
            connection.changed = true;
        }
        self.send(id, connack, now);
        self.curtail(session, now);
        self.waiting.insert(session);
    }

    /// A live connection has a new certificate: its session stays, its rights are those of the new principal.
    fn change_principal(
        &mut self,
        id: ConnectionId,
        session: u64,
        principal: Principal,
        acceptance: &[u8],
        now: UnixMillis,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        if state.state.owner.key != principal.key {
            return self.disconnect(id, DisconnectReasonCode::NotAuthorized, now);
        }
        self.moved.insert(principal.key);
        state.state.principal = principal;
        state.save(&mut self.journal);
        self.send(id, packet::auth(AuthReasonCode::Success, acceptance), now);
        self.curtail(session, now);
        self.waiting.insert(session);
    }

    /// How long a session of this principal may outlive its connection, in seconds.
    pub(super) fn longest_expiry(&self, principal: &Principal) -> u32 {
        let known = self.table.as_ref().is_some_and(|rules| rules.grant(&principal.key).is_some());
        if known { MAX_SESSION_EXPIRY_SECS } else { MAX_UNKNOWN_SESSION_EXPIRY_SECS }
    }

    /// The session to go on with, taken over from another connection where one has it (MQTT 5.0 section 3.1.4).
    fn resume_session(&mut self, owner: &SessionKey, clean_start: bool, now: UnixMillis) -> Option<u64> {
        let number = *self.owners.get(owner)?;
        let holder = self.sessions.get(&number)?.connection;
        if let Some(holder) = holder {
            self.disconnect(holder, DisconnectReasonCode::SessionTakenOver, now);
        }
        let session = self.sessions.get(&number)?;
        let over = session.state.ends_at.is_some_and(|end| end <= now);
        if clean_start || over || session.state.curtailed {
            self.delete_session(number);
            return None;
        }
        Some(number)
    }

    /// Makes room for a new session of the key, at the cost of its oldest one that is not connected.
    fn make_room_for_session(&mut self, owner: &SessionKey, now: UnixMillis) -> bool {
        let of_key = self.sessions_of(&owner.key);
        if of_key.len() >= MAX_SESSIONS_PER_KEY {
            let idle = |number: &&u64| self.sessions.get(number).is_some_and(|session| session.connection.is_none());
            let Some(oldest) = of_key.iter().filter(idle).min().copied() else { return false };
            self.delete_session(oldest);
        }
        if self.sessions.len() >= MAX_SESSIONS {
            self.delete_ended_sessions(now);
        }
        self.sessions.len() < MAX_SESSIONS
    }

    fn new_session(&mut self, owner: SessionKey, principal: &Principal) -> u64 {
        let number = self.next_session;
        self.next_session += 1;
        self.owners.insert(owner.clone(), number);
        let state = SessionState {
            owner,
            principal: principal.clone(),
            expiry_secs: 0,
            ends_at: None,
            subscriptions: BTreeMap::new(),
            present: false,
            curtailed: false,
        };
        self.sessions.insert(number, Session::new(number, state));
        number
    }
}

//! The life of sessions: left, lost, ended; and what the site is told of it.

use super::Broker;
use super::ending::{CLOSE_TRY_LATER, Cause, Closing};
use crate::connection::{Connection, ConnectionId, Phase};
use crate::limits::AUTHENTICATION_TIME;
use crate::rights::Rights;
use crate::session::{Session, SessionKey};
use crate::storage::{Table, decode};
use core::time::Duration;
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode};
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::{Device, UnixMillis};

/// Something that the site is told, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// A device subscribed to its T2.
    Subscribed {
        /// Which device.
        device: Device,
        /// With which key.
        key: KeyFingerprint,
    },
    /// A device subscribed to one of its second channels.
    Listens {
        /// Which device.
        device: Device,
        /// With which key.
        key: KeyFingerprint,
    },
    /// A paired device came or went.
    Presence {
        /// Which device.
        device: Device,
        /// Whether it is connected now.
        online: bool,
    },
    /// The holder of a locked or revoked key tried to connect. Told at least once: a repetition names the same time.
    Barred {
        /// The device that the key belongs to.
        device: Device,
        /// Which key.
        key: KeyFingerprint,
        /// How often, since the site was told.
        count: u32,
        /// When it did so last.
        last: UnixMillis,
    },
}

impl Broker {
    /// The sessions of a key.
    pub(super) fn sessions_of(&self, key: &KeyFingerprint) -> Vec<u64> {
        let first = SessionKey { key: *key, client_id: String::new() };
        self.owners.range(first..).take_while(|(owner, _)| owner.key == *key).map(|(_, number)| *number).collect()
    }

    /// A connection is gone: its session ends, or waits for the client.
    pub(super) fn detach(&mut self, connection: &Connection, now: UnixMillis) {
        let Some(number) = connection.live().map(|live| live.session) else { return };
        let Some(session) = self.sessions.get(&number) else { return };
        if session.connection != Some(connection.id) {
            return;
        }
        let longest = self.longest_expiry(&session.state.principal);
        self.moved.insert(session.state.owner.key);
        let Some(session) = self.sessions.get_mut(&number) else { return };
        session.connection = None;
        let expiry = session.state.expiry_secs.min(longest);
        let end = now.after(Duration::from_secs(u64::from(expiry)));
        session.state.ends_at = Some(end);
        session.save(&mut self.journal);
        if expiry == 0 && !session.state.present {
            self.delete_session(number);
        } else {
            self.check_at(end);
        }
    }

    pub(super) fn delete_session(&mut self, number: u64) {
        let Some(session) = self.sessions.remove(&number) else { return };
        self.owners.remove(&session.state.owner);
        self.waiting.remove(&number);
        if session.state.present {
            self.moved.insert(session.state.owner.key);
            self.tell_gone(&session);
        }
        for filter in session.state.subscriptions.keys() {
            self.subscriptions.remove(filter, number);
        }
        for message in session.delete(&mut self.journal) {
            self.log.release(message, &mut self.journal);
        }
    }

    pub(super) fn delete_ended_sessions(&mut self, now: UnixMillis) {
        let ended = |session: &&Session| session.state.ends_at.is_some_and(|end| end <= now);
        let numbers: Vec<u64> = self.sessions.values().filter(ended).map(|session| session.id).collect();
        for number in numbers {
            self.delete_session(number);
        }
    }

    /// Time has passed: connections that are silent for too long end, and so do sessions (MQTT 5.0 sections 3.1.2.10 and 4.1).
    pub fn tick(&mut self, now: UnixMillis) {
        if self.next_check.is_none_or(|check| check > now) {
            return;
        }
        self.next_check = None;
        let deadlines: Vec<(ConnectionId, UnixMillis, bool)> = self.connections.values().map(deadline).collect();
        for (id, end, live) in deadlines {
            match (end <= now, live) {
                (false, _) => self.check_at(end),
                (true, true) => self.disconnect(id, DisconnectReasonCode::KeepAliveTimeout, now),
                (true, false) => self.refuse(id, ConnectReasonCode::NotAuthorized, now),
            }
        }
        self.delete_ended_sessions(now);
        self.tokens.forget_ended(now, &mut self.journal);
        self.tell_attempts(now);
        self.check_ends();
    }

    /// Sees to it that [`Self::tick`] comes when the next session or token ends.
    pub(super) fn check_ends(&mut self) {
        let sessions = self.sessions.values().filter_map(|session| session.state.ends_at).min();
        for end in [sessions, self.tokens.next_end()].into_iter().flatten() {
            self.check_at(end);
        }
    }

    /// Tells the site whose presence changed since the last batch.
    pub(super) fn note_presence(&mut self) {
        let now_of = |broker: &Self, session: &Session| {
            let online = session.connection.and_then(|id| broker.connections.get(&id));
            let at = online.map(|connection| connection.last_heard);
            at.is_some_and(|at| broker.rights(session, at).is_paired())
        };
        for key in core::mem::take(&mut self.moved) {
            let numbers = self.sessions_of(&key);
            let sessions: Vec<&Session> = numbers.iter().filter_map(|number| self.sessions.get(number)).collect();
            let was = sessions.iter().any(|session| session.state.present);
            let states: Vec<(u64, bool)> = sessions.iter().map(|session| (session.id, now_of(self, session))).collect();
            let is = states.iter().any(|(_, present)| *present);
            let device = sessions.first().map(|session| session.state.principal.device.clone());
            for (number, present) in states {
                self.set_present(number, present);
            }
            if let (true, Some(device)) = (was != is, device) {
                self.notify(Notice::Presence { device, online: is });
            }
        }
    }

    /// Remembers what the site knows; a session that was kept for that alone goes.
    fn set_present(&mut self, number: u64, present: bool) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        if session.state.present != present {
            session.state.present = present;
            session.save(&mut self.journal);
        }
        if session.connection.is_none() && session.state.expiry_secs == 0 {
            session.state.present = false;
            self.delete_session(number);
        }
    }

    /// A session goes before the site was told that its device is gone; another session of the key may still be there.
    fn tell_gone(&mut self, gone: &Session) {
        let key = gone.state.owner.key;
        let other = self.sessions_of(&key).first().copied();
        match other.and_then(|number| self.sessions.get_mut(&number)) {
            // The next look at this key finds out.
            Some(other) => other.state.present = true,
            None => self.notify(Notice::Presence { device: gone.state.principal.device.clone(), online: false }),
        }
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        let same = |known: &Notice| match (known, &notice) {
            (Notice::Presence { device: known, .. }, Notice::Presence { device, .. }) => known == device,
            (known, notice) => known == notice,
        };
        // The newest word counts; an older one that was not told yet is superseded.
        let older: Vec<u64> = self.notices.iter().filter(|(_, known)| same(known)).map(|(number, _)| *number).collect();
        for number in older {
            self.site_knows(number);
        }
        let number = self.next_notice;
        self.next_notice += 1;
        self.journal.add(Table::Notice, number, 0, &notice);
        self.notices.insert(number, notice);
    }

    /// What the site has yet to be told, oldest first, with the number to give to [`Broker::site_knows`].
    pub fn notices(&self) -> impl Iterator<Item = (u64, &Notice)> {
        self.notices.iter().map(|(number, notice)| (*number, notice))
    }

    /// The site was told.
    pub fn site_knows(&mut self, number: u64) {
        if self.notices.remove(&number).is_some() {
            self.journal.delete(Table::Notice, number, 0);
        }
    }

    /// What the session's last principal may do; nothing without the site's table.
    pub(super) fn rights<'a>(&'a self, session: &'a Session, now: UnixMillis) -> Rights<'a> {
        let principal = &session.state.principal;
        self.table.as_ref().map_or_else(|| Rights::none(principal), |rules| rules.rights(principal, now))
    }

    pub(super) fn restore_session(&mut self, number: u64, bytes: &[u8]) {
        let Some(session) = Session::restore(number, bytes) else { return };
        self.next_session = self.next_session.max(number + 1);
        self.owners.insert(session.state.owner.clone(), number);
        for filter in session.state.subscriptions.keys() {
            self.subscriptions.add(filter, number);
        }
        if let Some(end) = session.state.ends_at {
            self.check_at(end);
        }
        self.sessions.insert(number, session);
    }

    pub(super) fn restore_queue(&mut self, session: u64, number: u64, bytes: &[u8]) {
        let restored = self.sessions.get_mut(&session).and_then(|session| session.restore_entry(number, bytes));
        match restored {
            Some(message) if self.log.restore_reference(message) => {}
            _ => self.journal.delete(Table::Queue, session, number),
        }
    }

    pub(super) fn restore_notice(&mut self, number: u64, bytes: &[u8]) {
        if let Some(notice) = decode(bytes) {
            self.next_notice = self.next_notice.max(number + 1);
            self.notices.insert(number, notice);
        }
    }

    pub(super) fn restore_connection(&mut self, connection: Connection, now: UnixMillis) {
        let id = connection.id;
        if let Some(live) = connection.live() {
            let Some(session) = self.sessions.get_mut(&live.session) else {
                let cause = Some(Cause::Lost);
                self.closing.push(Closing { id, packets: Vec::new(), code: CLOSE_TRY_LATER, cause });
                return;
            };
            session.connection = Some(id);
            self.waiting.insert(live.session);
        }
        let (_, end, _) = deadline(&connection);
        self.check_at(end.max(now));
        self.insert_connection(connection);
    }

    /// After rebuilding: sessions whose connection did not survive.
    pub(super) fn end_lost_connections(&mut self, now: UnixMillis) {
        let lost: Vec<u64> = self
            .sessions
            .values()
            .filter(|session| session.connection.is_none() && session.state.ends_at.is_none())
            .map(|session| session.id)
            .collect();
        for number in lost {
            let Some(session) = self.sessions.get_mut(&number) else { continue };
            let longest = crate::limits::MAX_SESSION_EXPIRY_SECS;
            let end = now.after(Duration::from_secs(u64::from(session.state.expiry_secs.min(longest))));
            session.state.ends_at = Some(end);
            session.save(&mut self.journal);
            self.moved.insert(session.state.owner.key);
            self.check_at(end);
        }
    }
}

/// When the connection ends if nothing is heard, and whether its client has proved who it is.
fn deadline(connection: &Connection) -> (ConnectionId, UnixMillis, bool) {
    match &connection.durable.phase {
        // MQTT 5.0 section 3.1.2.10: one and a half times the keep-alive.
        Phase::Live(live) => (connection.id, connection.last_heard.after(live.wishes.keep_alive() * 3 / 2), true),
        _ => (connection.id, connection.durable.opened_at.after(AUTHENTICATION_TIME), false),
    }
}

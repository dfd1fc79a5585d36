//! The rows of the pairings.

use super::super::authority::before;
use super::super::timers::{self, Timer};
use super::super::{Outcome, Site, devices};
use core::time::Duration;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Row, read_record, record};
use wardlink_pairing::control_unit::Session;
use wardlink_protocol::Device;
use wardlink_protocol::api::{LiveEvent, PairingPhase, PairingView, ProblemKind};
use wardlink_protocol::identity::SessionId;
use worker::SqlStorageValue;

/// How long a pairing that is over is shown, unless somebody dismisses it.
const SHOWN_TIME: Duration = Duration::from_hours(24);
/// The most pairings that are shown.
const MAX_SHOWN: u64 = 500;
/// The most pairings that run at once: who holds the hospital's access secret cannot fill the storage with requests.
const MAX_RUNNING: u64 = 1000;
/// How long a pairing that is over is kept.
const KEPT_TIME: Duration = Duration::from_hours(30 * 24);

/// Stores a session, sets its timer, and has people see it. Returns how far it has come.
pub(super) fn put(site: &Site<'_>, session: &Session, outcome: &mut Outcome) -> Result<PairingPhase, Failure> {
    let view = session.view(site.rules.modes());
    let snapshot = session.snapshot().map_err(Failure::internal)?;
    let [client, identifier] = devices::names(session.device());
    site.database.run(
        "INSERT INTO pairings (session, client, identifier, running, changed_at, state, record)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (session) DO UPDATE SET running = excluded.running, changed_at = excluded.changed_at,
             state = excluded.state, record = excluded.record",
        [
            column(session.id()),
            client,
            identifier,
            (!session.is_over()).into_value(),
            site.now.into_value(),
            site.vault.seal(&place(session.id()), &snapshot)?.into_value(),
            record(&view)?,
        ],
    )?;
    let timer = Timer::Pairing(session.id());
    match session.deadline() {
        Some(due) => timers::set(site.database, &timer, due)?,
        None => timers::clear(site.database, &timer)?,
    }
    let phase = view.phase;
    if !is_dismissed(site, session.id())? {
        outcome.people.push(LiveEvent::Pairing { pairing: Box::new(view) });
    }
    Ok(phase)
}

/// One session; none where it is unknown.
pub(super) fn find(site: &Site<'_>, session: SessionId) -> Result<Option<Session>, Failure> {
    let sealed = site.database.one::<Vec<u8>, _>("SELECT state FROM pairings WHERE session = ?", [column(session)])?;
    sealed.map(|sealed| restore(site, session, &sealed)).transpose()
}

/// One session that a person named.
pub(super) fn get(site: &Site<'_>, session: SessionId) -> Result<Session, Failure> {
    Ok(find(site, session)?.ok_or(ProblemKind::NotFound)?)
}

/// The sessions of a device that are not over.
pub(super) fn running(site: &Site<'_>, device: &Device) -> Result<Vec<Session>, Failure> {
    let query = "SELECT session, state FROM pairings WHERE client = ? AND identifier = ? AND running = 1";
    let rows = site.database.rows(query, devices::names(device))?;
    rows.into_iter().map(|row| restore_row(site, row)).collect()
}

/// The other sessions of a session's device that are not over.
pub(super) fn running_beside(site: &Site<'_>, session: &Session) -> Result<Vec<Session>, Failure> {
    let query = "SELECT session, state FROM pairings
                 WHERE client = ? AND identifier = ? AND running = 1 AND session <> ?";
    let [client, identifier] = devices::names(session.device());
    let rows = site.database.rows(query, [client, identifier, column(session.id())])?;
    rows.into_iter().map(|row| restore_row(site, row)).collect()
}

/// The sessions that wait for a person to accept them.
pub(super) fn waiting(site: &Site<'_>) -> Result<Vec<Session>, Failure> {
    let rows = site.database.rows("SELECT session, state FROM pairings WHERE running = 1", [])?;
    let sessions = rows.into_iter().map(|row| restore_row(site, row));
    sessions.filter(|session| session.as_ref().map_or(true, Session::is_waiting)).collect()
}

fn restore_row(site: &Site<'_>, mut row: Row) -> Result<Session, Failure> {
    let id = SessionId::try_from(row.take::<Vec<u8>>()?.as_slice()).map_err(Failure::internal)?;
    restore(site, id, &row.take::<Vec<u8>>()?)
}

/// Whether another request fits. Forgets old pairings.
pub(super) fn has_room(site: &Site<'_>) -> Result<bool, Failure> {
    let end = before(site.now, KEPT_TIME).into_value();
    site.database.run("DELETE FROM pairings WHERE running = 0 AND changed_at < ?", [end])?;
    let running: Option<u64> = site.database.one("SELECT count(*) FROM pairings WHERE running = 1", [])?;
    Ok(running.unwrap_or_default() < MAX_RUNNING)
}

/// Nothing happens to a session any more.
pub(super) fn archive(site: &Site<'_>, session: SessionId) -> Result<(), Failure> {
    timers::clear(site.database, &Timer::Pairing(session))?;
    site.database.run("UPDATE pairings SET running = 0 WHERE session = ?", [column(session)])
}

/// Takes a pairing out of people's sight.
pub(super) fn hide(site: &Site<'_>, session: SessionId, outcome: &mut Outcome) -> Result<(), Failure> {
    site.database.run("UPDATE pairings SET dismissed = 1 WHERE session = ?", [column(session)])?;
    outcome.people.push(LiveEvent::PairingGone { session });
    Ok(())
}

/// What people see: everything that runs or was over lately, and was not dismissed; the newest first.
pub(super) fn views(site: &Site<'_>) -> Result<Vec<PairingView>, Failure> {
    let query = "SELECT session, record FROM pairings WHERE dismissed = 0 AND (running = 1 OR changed_at > ?)
                 ORDER BY changed_at DESC LIMIT ?";
    let rows = site.database.rows(query, [before(site.now, SHOWN_TIME).into_value(), MAX_SHOWN.into_value()])?;
    rows.into_iter().map(|row| view(site, row)).collect()
}

/// One pairing as people see it.
pub(super) fn view_of(site: &Site<'_>, session: SessionId) -> Result<PairingView, Failure> {
    let row = site.database.row("SELECT session, record FROM pairings WHERE session = ?", [column(session)])?;
    view(site, row.ok_or(ProblemKind::NotFound)?)
}

fn view(site: &Site<'_>, mut row: Row) -> Result<PairingView, Failure> {
    let id = SessionId::try_from(row.take::<Vec<u8>>()?.as_slice()).map_err(Failure::internal)?;
    let stored: Vec<u8> = row.take()?;
    if stored.is_empty() {
        // It was written by an earlier version of the schema.
        return Ok(get(site, id)?.view(site.rules.modes()));
    }
    read_record(&stored)
}

fn is_dismissed(site: &Site<'_>, session: SessionId) -> Result<bool, Failure> {
    let dismissed = site.database.one("SELECT dismissed FROM pairings WHERE session = ?", [column(session)])?;
    Ok(dismissed.unwrap_or_default())
}

fn restore(site: &Site<'_>, session: SessionId, sealed: &[u8]) -> Result<Session, Failure> {
    Session::restore(&site.vault.unseal(&place(session), sealed)?).map_err(Failure::internal)
}

fn column(session: SessionId) -> SqlStorageValue {
    session.as_bytes().to_vec().into_value()
}

fn place(session: SessionId) -> String {
    format!("pairing {session}")
}

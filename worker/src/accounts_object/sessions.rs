//! The table of browser sessions. Of a session's secret only the SHA-256 is stored.

use super::people;
use core::time::Duration;
use data_encoding::BASE64URL_NOPAD;
use rand_core::CryptoRng;
use sha2::Digest as _;
use wardlink_edge::messages::{Session, SessionToken};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use zeroize::Zeroizing;

/// A session that nobody used for so long is over.
const IDLE_TIME: Duration = Duration::from_mins(30);
/// A session is over after a shift, whatever happens.
const LIFETIME: Duration = Duration::from_hours(12);
/// How exactly the last use is kept: a write for every request would cost more than it tells.
const USE_PRECISION: Duration = Duration::from_mins(1);
/// The secret's length: 256 bits.
const TOKEN_BYTES: usize = 32;

/// By what a session is known.
pub(super) fn id(token: &SessionToken) -> Sha256 {
    Sha256(sha2::Sha256::digest(token.0.as_bytes()).into())
}

/// Begins a session; returns its secret and when it ends at the latest.
pub(super) fn begin(
    database: &Database,
    person: u64,
    now: UnixMillis,
    rng: &mut impl CryptoRng,
) -> Result<(SessionToken, UnixMillis), Failure> {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    rng.fill_bytes(bytes.as_mut());
    let token = SessionToken(BASE64URL_NOPAD.encode(bytes.as_ref()));
    let ends_at = now.after(LIFETIME);
    database.run(
        "INSERT INTO sessions (id, person, used_at, ends_at) VALUES (?, ?, ?, ?)",
        [column(id(&token)), person.into_value(), now.into_value(), ends_at.into_value()],
    )?;
    Ok((token, ends_at))
}

/// The session of a secret, if it counts, and notes its use.
pub(super) fn find(database: &Database, token: &SessionToken, now: UnixMillis) -> Result<Option<Session>, Failure> {
    let Some((session, used_at)) = known(database, token, now)? else { return Ok(None) };
    if now.since(used_at) >= USE_PRECISION {
        database.run("UPDATE sessions SET used_at = ? WHERE id = ?", [now.into_value(), column(session.id)])?;
    }
    Ok(Some(session))
}

/// The session of a secret, if it counts. Nobody has used it by that.
pub(super) fn look(database: &Database, token: &SessionToken, now: UnixMillis) -> Result<Option<Session>, Failure> {
    Ok(known(database, token, now)?.map(|(session, _)| session))
}

/// The session of a secret, if it counts, and when it was used last.
fn known(database: &Database, token: &SessionToken, now: UnixMillis) -> Result<Option<(Session, UnixMillis)>, Failure> {
    let id = id(token);
    let query = "SELECT person, used_at, ends_at FROM sessions WHERE id = ?";
    let Some(mut row) = database.row(query, [column(id)])? else { return Ok(None) };
    let (person, used_at, ends_at) = (row.take()?, row.take::<UnixMillis>()?, row.take::<UnixMillis>()?);
    if ends_at <= now || used_at.after(IDLE_TIME) <= now {
        return Ok(None);
    }
    let Some(person) = people::find(database, person)?.filter(|person| person.active) else { return Ok(None) };
    Ok(Some((Session { id, person, ends_at }, used_at)))
}

/// Ends one session.
pub(super) fn end(database: &Database, id: Sha256) -> Result<(), Failure> {
    database.run("INSERT OR IGNORE INTO ended_sessions SELECT id FROM sessions WHERE id = ?", [column(id)])?;
    database.run("DELETE FROM sessions WHERE id = ?", [column(id)])
}

/// Ends all sessions of a person.
pub(super) fn end_all(database: &Database, person: u64) -> Result<(), Failure> {
    let person = || person.into_value();
    database.run("INSERT OR IGNORE INTO ended_sessions SELECT id FROM sessions WHERE person = ?", [person()])?;
    database.run("DELETE FROM sessions WHERE person = ?", [person()])
}

/// Ends the sessions whose time is up.
pub(super) fn end_expired(database: &Database, now: UnixMillis) -> Result<(), Failure> {
    const EXPIRED: &str = "ends_at <= ? OR used_at <= ?";
    let used = UnixMillis(now.0.saturating_sub(UnixMillis::default().after(IDLE_TIME).0));
    let values = || [now.into_value(), used.into_value()];
    let note = format!("INSERT OR IGNORE INTO ended_sessions SELECT id FROM sessions WHERE {EXPIRED}");
    database.run(&note, values())?;
    database.run(&format!("DELETE FROM sessions WHERE {EXPIRED}"), values())
}

/// When the next session ends, as far as is known now.
pub(super) fn next_end(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let idle = UnixMillis::default().after(IDLE_TIME);
    let query = "SELECT min(min(ends_at, used_at + ?)) FROM sessions";
    Ok(database.one::<Option<UnixMillis>, _>(query, [idle.into_value()])?.flatten())
}

/// The sessions that ended and of which the site does not know yet.
pub(super) fn ended(database: &Database) -> Result<Vec<Sha256>, Failure> {
    let rows = database.rows("SELECT id FROM ended_sessions", [])?;
    rows.into_iter().map(|mut row| take_id(&mut row)).collect()
}

/// The site knows of them.
pub(super) fn forget_ended(database: &Database, ids: &[Sha256]) -> Result<(), Failure> {
    ids.iter().try_for_each(|id| database.run("DELETE FROM ended_sessions WHERE id = ?", [column(*id)]))
}

fn column(id: Sha256) -> worker::SqlStorageValue {
    id.as_bytes().to_vec().into_value()
}

fn take_id(row: &mut Row) -> Result<Sha256, Failure> {
    Sha256::try_from(row.take::<Vec<u8>>()?.as_slice()).map_err(Failure::internal)
}

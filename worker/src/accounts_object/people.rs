//! The table of people.

use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{Person, ProblemKind, Role};

/// The longest sign-in name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// A sign-in name.
pub(super) struct Name(String);

impl Name {
    /// Takes up to 64 printable characters; blanks around them don't count.
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || text.chars().any(char::is_control) {
            let detail = format!("A sign-in name has 1 to {MAX_NAME_CHARS} printable characters.");
            return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
        }
        Ok(Self(text.to_owned()))
    }

    /// The form by which names are compared.
    pub(super) fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

const COLUMNS: &str = "id, name, role, active, last_signed_in";

fn person(row: &mut Row) -> Result<Person, Failure> {
    Ok(Person {
        id: row.take()?,
        name: row.take()?,
        role: row.take_record()?,
        active: row.take()?,
        last_signed_in: row.take()?,
    })
}

/// Everybody, in the order of the accounts' making.
pub(super) fn all(database: &Database) -> Result<Vec<Person>, Failure> {
    let rows = database.rows(&format!("SELECT {COLUMNS} FROM people ORDER BY id"), [])?;
    rows.into_iter().map(|mut row| person(&mut row)).collect()
}

/// One person.
pub(super) fn find(database: &Database, id: u64) -> Result<Option<Person>, Failure> {
    let row = database.row(&format!("SELECT {COLUMNS} FROM people WHERE id = ?"), [id.into_value()])?;
    row.map(|mut row| person(&mut row)).transpose()
}

/// One person and the hash of the password.
pub(super) fn find_by_name(database: &Database, name: &Name) -> Result<Option<(Person, String)>, Failure> {
    let query = format!("SELECT {COLUMNS}, password FROM people WHERE folded_name = ?");
    let row = database.row(&query, [name.folded().into_value()])?;
    row.map(|mut row| Ok((person(&mut row)?, row.take()?))).transpose()
}

/// Makes an account.
pub(super) fn add(database: &Database, name: &Name, role: Role, password: &str) -> Result<Person, Failure> {
    database.run(
        "INSERT INTO people (name, folded_name, role, active, password) VALUES (?, ?, ?, 1, ?)",
        [name.0.clone().into_value(), name.folded().into_value(), record(&role)?, password.to_owned().into_value()],
    )?;
    match find_by_name(database, name)? {
        Some((person, _)) => Ok(person),
        None => Err(Failure::internal("a new account is not found")),
    }
}

/// Stores a changed account, and a new password where there is one.
pub(super) fn store(database: &Database, person: &Person, password: Option<&str>) -> Result<(), Failure> {
    let password = password.map(str::to_owned).into_value();
    database.run(
        "UPDATE people SET role = ?, active = ?, password = coalesce(?, password) WHERE id = ?",
        [record(&person.role)?, person.active.into_value(), password, person.id.into_value()],
    )
}

/// Notes that the person signed in.
pub(super) fn note_signed_in(database: &Database, person: Person, now: UnixMillis) -> Result<Person, Failure> {
    database.run("UPDATE people SET last_signed_in = ? WHERE id = ?", [now.into_value(), person.id.into_value()])?;
    Ok(Person { last_signed_in: Some(now), ..person })
}

/// Whether there is any administrator, active or not: then the one-time link is used up.
pub(super) fn is_any_administrator(database: &Database) -> Result<bool, Failure> {
    let query = "SELECT count(*) FROM people WHERE role = ?";
    Ok(database.one::<u64, _>(query, [record(&Role::Administrator)?])?.unwrap_or_default() > 0)
}

/// Whether somebody else is an active administrator.
pub(super) fn is_other_administrator(database: &Database, id: u64) -> Result<bool, Failure> {
    let query = "SELECT count(*) FROM people WHERE role = ? AND active = 1 AND id <> ?";
    Ok(database.one::<u64, _>(query, [record(&Role::Administrator)?, id.into_value()])?.unwrap_or_default() > 0)
}

//! Acts for the audit log of the site, of an object that is not the site: stored in the turn of the act, and told until the site has
//! written them.

use crate::messages::Note;
use crate::objects::{self, ObjectRequest};
use crate::platform::rng;
use crate::problem::Failure;
use crate::storage::{Column, Database, record};
use rand_core::Rng as _;
use wardlink_protocol::api::Person;
use wardlink_trust::audit::Act;
use worker::Env;

/// How many are told at once.
const BATCH: u64 = 100;

/// Somebody did something. No person: nobody was signed in.
pub fn add(
    database: &Database,
    person: Option<&Person>,
    act: Act,
    subject: &str,
    detail: impl Into<String>,
) -> Result<(), Failure> {
    let refused = act == Act::SignInRefused;
    let (subject, detail) = (subject.to_owned(), detail.into());
    let note = Note { id: rng().next_u64(), person: person.cloned(), act, subject, detail, refused };
    database.run("INSERT INTO notes (record) VALUES (?)", [record(&note)?])
}

/// Tells the site everything that it has not written, in this request.
pub async fn tell<R: ObjectRequest>(
    env: &Env,
    database: &Database,
    request: impl Fn(Vec<Note>) -> R,
) -> Result<(), Failure> {
    loop {
        let (notes, last) = waiting(database)?;
        if notes.is_empty() {
            return Ok(());
        }
        let () = objects::call(env, &request(notes)).await?;
        forget(database, last)?;
    }
}

/// The oldest that the site has not written, and the number of the last of them.
fn waiting(database: &Database) -> Result<(Vec<Note>, u64), Failure> {
    let mut last = 0;
    let rows = database.rows("SELECT number, record FROM notes ORDER BY number LIMIT ?", [BATCH.into_value()])?;
    let notes = rows.into_iter().map(|mut row| {
        last = row.take()?;
        row.take_record()
    });
    Ok((notes.collect::<Result<_, Failure>>()?, last))
}

/// The site has written them, up to this number.
fn forget(database: &Database, last: u64) -> Result<(), Failure> {
    database.run("DELETE FROM notes WHERE number <= ?", [last.into_value()])
}

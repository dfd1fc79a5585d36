//! What people ask of the site. The routes have checked their rights.

use super::pairings::{self, Step};
use super::{Outcome, Site, devices, secrets};
use crate::guard::Origin;
use crate::messages::Command;
use crate::platform::log;
use crate::problem::Failure;
use serde::Serialize;
use wardlink_protocol::api::{Person, ProblemKind};
use worker::Response;

/// Carries out a command; the answer is what the web API gives. No person: the holder of the bootstrap token.
pub(super) fn perform(
    site: &Site<'_>,
    person: Option<&Person>,
    origin: &Origin,
    command: Command,
    outcome: &mut Outcome,
) -> Result<Response, Failure> {
    let database = site.database;
    let (session, step) = match command {
        Command::Pairings => return json(&pairings::views(site)?),
        Command::Pairing(session) => return json(&pairings::view_of(site, session)?),
        Command::Devices => return json(&devices::views(database)?),
        Command::Device(device) => return json(&devices::view_of(database, &device)?),
        Command::Unlock(device) => {
            log!("site: {} lifts the lock of {device}", who(person));
            pairings::unlock(site, &device)?;
            return Ok(Response::empty()?.with_status(204));
        }
        Command::Secrets => return json(&secrets::all(database, site.now)?),
        Command::Provision(new) => {
            let file = secrets::provision(site, new, origin)?;
            log!("site: {} was given a provisioning file with {}", who(person), file.secret_id);
            return json(&file);
        }
        Command::Accept(session, accept) => (session, Step::Accept(accept)),
        Command::Reject(session, reject) => (session, Step::Reject(reject)),
        Command::Dismiss(session) => (session, Step::Dismiss),
        Command::Cancel(session) => (session, Step::Cancel),
        // It takes two turns.
        Command::Verify(..) => return Err(Failure::internal("a verification is answered elsewhere")),
    };
    let person = person.ok_or(ProblemKind::Forbidden)?;
    pairings::act(site, person, origin, session, step, outcome)
}

/// Answers with JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Response, Failure> {
    Ok(Response::from_json(value)?)
}

fn who(person: Option<&Person>) -> String {
    person.map_or_else(|| "the holder of the bootstrap token".to_owned(), |person| format!("person {}", person.id))
}

//! What people ask of the site. The routes have checked their rights.

use super::pairings::{self, Step};
use super::{
    Outcome, Site, audit, channels, classes, decommissioning, devices, locks, orders, outside_ca, policy, rekeying,
    revocations, secrets, services,
};
use crate::guard::Origin;
use std::rc::Rc;
use wardlink_edge::http::json;
use wardlink_edge::messages::Command;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{Person, ProblemKind};
use wardlink_trust::audit::Act;
use wardlink_trust::epochs::Why;
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
        Command::Devices(after) => return json(&devices::views_after(database, after.as_ref())?),
        Command::Device(device) => return json(&devices::view_of(database, &device)?),
        Command::Locks => return json(&locks::all(database)?),
        Command::Unlock(device) => {
            log!("site: {} lifts the lock of {device}", who(person));
            locks::lift(site, &device, outcome)?;
            outcome.notes.by(person, Act::IdentifierUnlocked, &device, "");
            return Ok(Response::empty()?.with_status(204));
        }
        Command::Orders(device) => return json(&orders::all(site, &device)?),
        Command::GiveOrder(device, new) => {
            let given = orders::give(site, someone(person)?, &device, new.read()?, outcome)?;
            return Ok(json(&given)?.with_status(201));
        }
        Command::Revocations => return json(&revocations::all(database)?),
        Command::Decommission(device) => {
            decommissioning::order(site, someone(person)?, &device, outcome)?;
            return json(&devices::view_of(database, &device)?);
        }
        Command::Receipt(device) => return decommissioning::receipt(database, &device),
        Command::Reinstate(device) => {
            revocations::reinstate(site, someone(person)?, &device, outcome)?;
            outcome.notes.by(person, Act::RevocationLifted, &device, "");
            return json(&devices::view_of(database, &device)?);
        }
        Command::Policy(vantage) => return json(&site.rules.view(vantage)),
        Command::SetPolicy(policy, vantage) => {
            let rules = Rc::new(policy::set(site, someone(person)?, origin, policy.read()?)?);
            outcome.notes.by(person, Act::PolicyChanged, "pairing rules", format!("version {}", rules.version()));
            outcome.rules = Some(Rc::clone(&rules));
            let site = Site { rules, authority: Rc::clone(&site.authority), ..*site };
            pairings::weigh_anew(&site, outcome)?;
            return json(&site.rules.view(vantage));
        }
        Command::Authority => return json(&outside_ca::view(site)?),
        Command::AskAuthority => {
            let view = outside_ca::ask(site, someone(person)?)?;
            outcome.notes.by(person, Act::AuthorityChanged, &site.authority.root(), "asked for a certificate");
            return json(&view);
        }
        Command::Audit(query) => return json(&audit::page(database, query)?),
        Command::ExportAudit(after) => {
            outcome.notes.by(person, Act::LogExported, "audit log", format!("after entry {after}"));
            return audit::export(site, after);
        }
        Command::Channels => return json(&channels::view(site)?),
        Command::PreviewChannels(change) => return json(&channels::preview(site, change.read()?)?),
        Command::SetChannels(change) => return json(&channels::set(site, someone(person)?, change.read()?, outcome)?),
        Command::RotateKeys(channel) => {
            let row = channels::row(database, &channel)?;
            log!("site: {} makes new keys of the channel {channel}", who(person));
            outcome.notes.by(person, Act::KeyRotated, &channel, "by hand");
            rekeying::rotate(site, &row.name, Why::ByHand, outcome)?;
            return json(&channels::view(site)?);
        }
        Command::Classes => return json(&classes::all(database)?),
        Command::SetClass(client, class) => {
            let set = classes::set(site, someone(person)?, &client, class.read()?, outcome)?;
            let detail = if set.enabled { "may ask" } else { "may not ask" };
            outcome.notes.by(person, Act::ClassesChanged, &set.client, detail);
            return json(&set);
        }
        Command::Secrets => return json(&secrets::all(site)?),
        Command::MakeSecret(new) => {
            let made = secrets::make(site, someone(person)?, new.read()?)?;
            outcome.notes.by(person, Act::SecretMade, &made.id, made.name.clone());
            return Ok(json(&made)?.with_status(201));
        }
        Command::EndSecret(id) => {
            let ended = secrets::end(site, someone(person)?, &id)?;
            outcome.notes.by(person, Act::SecretEnded, &id, ended.name.clone());
            pairings::refuse_under(site, &id, outcome)?;
            return json(&ended);
        }
        Command::Provision(new) => {
            let file = secrets::provision(site, person, new.read()?, origin)?;
            log!("site: {} was given a provisioning file with {}", who(person), file.secret_id);
            outcome.notes.by(person, Act::SecretShown, &file.secret_id, "provisioning file");
            return json(&file);
        }
        Command::Services => return json(&services::all(site)?),
        Command::MakeService(new) => {
            let made = services::make(site, someone(person)?, new.read()?, outcome)?;
            return Ok(json(&made)?.with_status(201));
        }
        Command::RevokeService(name) => return json(&services::revoke(site, someone(person)?, &name, outcome)?),
        Command::Accept(session, accept) => (session, Step::Accept(accept.read()?)),
        Command::Reject(session, reject) => (session, Step::Reject(reject.read()?)),
        Command::Dismiss(session) => (session, Step::Dismiss),
        Command::Cancel(session) => (session, Step::Cancel),
        // They take more than this turn.
        Command::Verify(..) | Command::Revoke(_) => return Err(Failure::internal("this is answered elsewhere")),
    };
    pairings::act(site, someone(person)?, origin, session, step, outcome)
}

/// The person, for what the bootstrap token does not open.
fn someone(person: Option<&Person>) -> Result<&Person, Failure> {
    Ok(person.ok_or(ProblemKind::Forbidden)?)
}

fn who(person: Option<&Person>) -> String {
    person.map_or_else(|| "the holder of the bootstrap token".to_owned(), |person| format!("person {}", person.id))
}

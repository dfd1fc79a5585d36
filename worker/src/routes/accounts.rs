//! Signing in and out, and the accounts.

use super::{Call, json};
use crate::guard;
use crate::messages::{AccountsRequest, Note, Session, SignedIn, SiteRequest};
use crate::objects;
use crate::platform::{is_bootstrap_token, log, now};
use crate::problem::Failure;
use crate::session::{self, with_right};
use wardlink_protocol::api::{
    Bootstrap, BootstrapState, Credentials, NewPerson, Person, PersonChange, ProblemKind, Right,
};
use wardlink_trust::audit::Act;
use worker::Response;

/// `GET /api/v1/bootstrap`.
pub(super) async fn bootstrap_state(call: &Call) -> Result<Response, Failure> {
    json(&objects::call::<_, BootstrapState>(&call.env, &AccountsRequest::BootstrapState).await?)
}

/// `POST /api/v1/bootstrap`.
pub(super) async fn bootstrap(call: Call) -> Result<Response, Failure> {
    let body: Bootstrap = call.body()?;
    if !is_bootstrap_token(&call.env, &body.token) {
        return Err(ProblemKind::WrongToken.into());
    }
    let first: SignedIn = objects::call(&call.env, &AccountsRequest::Bootstrap(body.credentials.clone())).await?;
    note(&call, Some(&first.person), Act::PersonAdded, &first.person.name, "first administrator").await?;
    signed_in(&first)
}

/// `GET /api/v1/session`: 204 where nobody is signed in, because to ask is no mistake.
pub(super) async fn who(call: &Call) -> Result<Response, Failure> {
    match session::present(&call.request, &call.env).await? {
        Some(session) => json(&session.person),
        None => Ok(Response::empty()?.with_status(204)),
    }
}

/// `POST /api/v1/session`.
pub(super) async fn sign_in(call: Call) -> Result<Response, Failure> {
    let credentials: Credentials = call.body()?;
    let address = guard::network(&call.request, &call.env)?.address.map(|address| address.to_string());
    let name = credentials.name.clone();
    match objects::call::<_, SignedIn>(&call.env, &AccountsRequest::SignIn { credentials, address }).await {
        Ok(session) => {
            note(&call, Some(&session.person), Act::SignedIn, &session.person.name, "").await?;
            signed_in(&session)
        }
        Err(failure) => {
            // Attempts beyond the throttle are not compared, and fill no log.
            if matches!(&failure, Failure::Problem(problem) if problem.kind == ProblemKind::WrongPassword) {
                let (act, detail) = (Act::SignInRefused, String::new());
                tell(&call, Note { person: None, act, subject: name, detail, refused: true }).await?;
            }
            Err(failure)
        }
    }
}

/// `DELETE /api/v1/session`.
pub(super) async fn sign_out(call: &Call) -> Result<Response, Failure> {
    if let Some(token) = session::token(&call.request)? {
        let person = session::present(&call.request, &call.env).await?.map(|session| session.person);
        let () = objects::call(&call.env, &AccountsRequest::SignOut(token)).await?;
        if let Some(person) = person {
            note(call, Some(&person), Act::SignedOut, &person.name, "").await?;
        }
    }
    let response = Response::empty()?.with_status(204);
    response.headers().set("Set-Cookie", &session::no_cookie())?;
    Ok(response)
}

/// `GET /api/v1/people`.
pub(super) async fn people(call: &Call) -> Result<Response, Failure> {
    with_right(&call.request, &call.env, Right::ManagePeople).await?;
    json(&objects::call::<_, Vec<Person>>(&call.env, &AccountsRequest::People).await?)
}

/// `POST /api/v1/people`.
pub(super) async fn add(call: Call) -> Result<Response, Failure> {
    let Session { person: actor, .. } = with_right(&call.request, &call.env, Right::ManagePeople).await?;
    let new: NewPerson = call.body()?;
    let person: Person = objects::call(&call.env, &AccountsRequest::AddPerson(new)).await?;
    log!("accounts: person {} made the account {}, {:?}", actor.id, person.id, person.role);
    note(&call, Some(&actor), Act::PersonAdded, &person.name, &format!("{:?}", person.role)).await?;
    Ok(json(&person)?.with_status(201))
}

/// `PATCH /api/v1/people/{id}`.
pub(super) async fn change(call: Call, id: u64) -> Result<Response, Failure> {
    let Session { person: actor, .. } = with_right(&call.request, &call.env, Right::ManagePeople).await?;
    let change: PersonChange = call.body()?;
    let password = if change.password.is_some() { ", with a new password" } else { "" };
    let person: Person = objects::call(&call.env, &AccountsRequest::ChangePerson(id, change)).await?;
    log!("accounts: person {} changed {id}: {:?}, active {}{password}", actor.id, person.role, person.active);
    let active = if person.active { "active" } else { "inactive" };
    let detail = format!("{:?}, {active}{password}", person.role);
    note(&call, Some(&actor), Act::PersonChanged, &person.name, &detail).await?;
    json(&person)
}

/// Writes an act into the audit log.
async fn note(call: &Call, person: Option<&Person>, act: Act, subject: &str, detail: &str) -> Result<(), Failure> {
    let (subject, detail) = (subject.to_owned(), detail.to_owned());
    tell(call, Note { person: person.cloned(), act, subject, detail, refused: false }).await
}

async fn tell(call: &Call, note: Note) -> Result<(), Failure> {
    objects::call(&call.env, &SiteRequest::Note(Box::new(note))).await
}

/// The answer to signing in: the person, and the session's cookie.
fn signed_in(signed_in: &SignedIn) -> Result<Response, Failure> {
    let response = json(&signed_in.person)?;
    let cookie = session::cookie(&signed_in.token, signed_in.ends_at.since(now()));
    response.headers().set("Set-Cookie", &cookie)?;
    Ok(response)
}

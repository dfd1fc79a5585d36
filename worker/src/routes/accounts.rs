//! Signing in and out, and the accounts.

use super::{Call, json};
use crate::guard;
use crate::session::{self, with_right};
use wardlink_edge::messages::{AccountsRequest, Session, SignedIn};
use wardlink_edge::objects;
use wardlink_edge::platform::{is_bootstrap_token, now};
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{
    Bootstrap, BootstrapState, Credentials, NewPerson, Person, PersonChange, ProblemKind, Right,
};
use worker::Response;

/// `GET /api/v1/bootstrap`.
pub(super) async fn bootstrap_state(call: &Call) -> Result<Response, Failure> {
    json(&objects::call::<_, BootstrapState>(&call.env, &AccountsRequest::BootstrapState).await?)
}

/// `POST /api/v1/bootstrap`.
pub(super) async fn bootstrap(call: Call) -> Result<Response, Failure> {
    let body: Bootstrap = call.body()?.read()?;
    if !is_bootstrap_token(&call.env, &body.token) {
        return Err(ProblemKind::WrongToken.into());
    }
    let first: SignedIn = objects::call(&call.env, &AccountsRequest::Bootstrap(body.credentials.clone())).await?;
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
    let credentials: Credentials = call.body()?.read()?;
    let address = guard::network(&call.request, &call.env)?.address.map(|address| address.to_string());
    signed_in(&objects::call(&call.env, &AccountsRequest::SignIn { credentials, address }).await?)
}

/// `DELETE /api/v1/session`.
pub(super) async fn sign_out(call: &Call) -> Result<Response, Failure> {
    if let Some(token) = session::token(&call.request)? {
        let () = objects::call(&call.env, &AccountsRequest::SignOut(token)).await?;
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
    let Session { person: by, .. } = with_right(&call.request, &call.env, Right::ManagePeople).await?;
    let new: NewPerson = call.body()?.read()?;
    let person: Person = objects::call(&call.env, &AccountsRequest::AddPerson { by, new }).await?;
    Ok(json(&person)?.with_status(201))
}

/// `PATCH /api/v1/people/{id}`.
pub(super) async fn change(call: Call, id: u64) -> Result<Response, Failure> {
    let Session { person: by, .. } = with_right(&call.request, &call.env, Right::ManagePeople).await?;
    let change: PersonChange = call.body()?.read()?;
    let person: Person = objects::call(&call.env, &AccountsRequest::ChangePerson { by, id, change }).await?;
    json(&person)
}

/// The answer to signing in: the person, and the session's cookie.
fn signed_in(signed_in: &SignedIn) -> Result<Response, Failure> {
    let response = json(&signed_in.person)?;
    let cookie = session::cookie(&signed_in.token, signed_in.ends_at.since(now()));
    response.headers().set("Set-Cookie", &cookie)?;
    Ok(response)
}

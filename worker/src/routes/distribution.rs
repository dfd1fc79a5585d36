//! Manufacturers and what they publish: each a person's command to the distribution server, or a publisher's request.

use super::Call;
use crate::messages::{DistributionCommand, DistributionRequest};
use crate::objects;
use crate::problem::Failure;
use crate::session::with_right;
use wardlink_protocol::api::{ProblemKind, Right};
use worker::{Env, Request, Response};

/// `GET /api/v1/manufacturers`.
pub(super) async fn manufacturers(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeUpdates, DistributionCommand::Manufacturers).await
}

/// `POST /api/v1/manufacturers`.
pub(super) async fn add_manufacturer(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ManageManufacturers).await?.person;
    let command = DistributionCommand::AddManufacturer(call.body()?);
    objects::send(&call.env, &DistributionRequest::Act(person, command)).await
}

/// `POST /api/v1/manufacturers/{manufacturer}/end`.
pub(super) async fn end_manufacturer(call: &Call, name: String) -> Result<Response, Failure> {
    act(call, Right::ManageManufacturers, DistributionCommand::EndManufacturer(name)).await
}

/// `POST /api/v1/manufacturers/{manufacturer}/tokens`.
pub(super) async fn make_token(call: &Call, name: String) -> Result<Response, Failure> {
    act(call, Right::ManageManufacturers, DistributionCommand::MakeToken(name)).await
}

/// `POST /api/v1/manufacturers/{manufacturer}/tokens/{id}/revoke`.
pub(super) async fn revoke_token(call: &Call, name: String, id: u64) -> Result<Response, Failure> {
    act(call, Right::ManageManufacturers, DistributionCommand::RevokeToken(name, id)).await
}

/// `GET /api/v1/releases`.
pub(super) async fn releases(call: &Call) -> Result<Response, Failure> {
    let url = call.request.url()?;
    let manufacturer = url.query_pairs().find(|(name, _)| name == "manufacturer").map(|(_, value)| value.into_owned());
    act(call, Right::SeeUpdates, DistributionCommand::Releases(manufacturer)).await
}

/// `/api/publish/…`: for whoever has a publishing token. The object reads path, token and body.
pub(super) async fn publish(request: Request, env: &Env) -> Result<Response, Failure> {
    objects::stub::<DistributionRequest>(env)?.fetch_with_request(request).await.map_err(|error| {
        worker::console_error!("the distribution server does not answer: {error}");
        ProblemKind::Unavailable.into()
    })
}

async fn act(call: &Call, right: Right, command: DistributionCommand) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, right).await?.person;
    objects::send(&call.env, &DistributionRequest::Act(person, command)).await
}

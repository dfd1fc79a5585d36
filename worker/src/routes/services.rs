//! Server applications: made, listed and revoked by an administrator; enrolled, and given keys, by themselves.

use super::Call;
use super::site::{act, send};
use crate::session::with_right;
use wardlink_edge::messages::{Command, SiteRequest};
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use wardlink_protocol::DeviceIdentifier;
use wardlink_protocol::api::Right;
use worker::Response;

/// `GET /api/v1/services`.
pub(super) async fn all(call: &Call) -> Result<Response, Failure> {
    act(call, Right::ManageServices, Command::Services).await
}

/// `POST /api/v1/services`.
pub(super) async fn make(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ManageServices).await?.person;
    let new = call.body()?;
    send(&call, Some(person), Command::MakeService(new)).await
}

/// `POST /api/v1/services/{identifier}/revoke`.
pub(super) async fn revoke(call: &Call, name: DeviceIdentifier) -> Result<Response, Failure> {
    act(call, Right::ManageServices, Command::RevokeService(name)).await
}

/// `POST /api/v1/services/enrol`: for whoever has an enrolment text.
pub(super) async fn enrol(call: Call) -> Result<Response, Failure> {
    let env = call.env.clone();
    objects::send(&env, &SiteRequest::EnrolService(call.cose()?)).await
}

/// `POST /api/v1/services/keys`: for whoever has the wrapping key of a service.
pub(super) async fn keys(call: Call) -> Result<Response, Failure> {
    let env = call.env.clone();
    objects::send(&env, &SiteRequest::ServiceKeys(call.cose()?)).await
}

/// `POST /api/v1/services/records`: for whoever has the wrapping key of a service.
pub(super) async fn records(call: Call) -> Result<Response, Failure> {
    let env = call.env.clone();
    objects::send(&env, &SiteRequest::ServiceRecords(call.cose()?)).await
}

/// `POST /api/v1/services/renew`: for whoever has the static key of a service.
pub(super) async fn renew(call: Call) -> Result<Response, Failure> {
    let env = call.env.clone();
    objects::send(&env, &SiteRequest::RenewService(call.cose()?)).await
}

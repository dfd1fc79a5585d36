//! Manufacturers and what they publish: each a person's command to the distribution server, or a publisher's request.

use super::Call;
use crate::session::with_right;
use data_encoding::BASE64URL_NOPAD;
use wardlink_edge::http::query;
use wardlink_edge::messages::{DistributionCommand, DistributionRequest, PERSON_HEADER};
use wardlink_edge::objects;
use wardlink_edge::platform::streams;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{ProblemKind, Right};
use wardlink_protocol::{Device, cbor};
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

/// `POST /api/v1/manufacturers/{manufacturer}/confidential`.
pub(super) async fn keep_confidential(call: &Call, name: String) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ManageManufacturers).await?.person;
    let command = DistributionCommand::KeepConfidential(name, call.body()?);
    objects::send(&call.env, &DistributionRequest::Act(person, command)).await
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
    let manufacturer =
        query(&call.request)?.into_iter().find(|(name, _)| name == "manufacturer").map(|(_, value)| value);
    act(call, Right::SeeUpdates, DistributionCommand::Releases(manufacturer)).await
}

/// `GET /api/v1/catalog`.
pub(super) async fn catalog(call: &Call) -> Result<Response, Failure> {
    let (mut find, mut client, mut gateway) = (String::new(), String::new(), String::new());
    let (mut standing, mut after) = (String::new(), None);
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "find" => find = value,
            "client" => client = value,
            "gateway" => gateway = value,
            "update" => standing = value,
            "after" => after = Some(value.parse().map_err(|_| wrong(&name))?),
            _ => return Err(wrong(&name)),
        }
    }
    act(call, Right::SeeUpdates, DistributionCommand::Catalog { find, client, gateway, standing, after }).await
}

/// A part of the question that cannot be read.
pub(super) fn wrong(name: &str) -> Failure {
    Failure::with_detail(ProblemKind::BadRequest, format!("{name} has another form."))
}

/// The device after which a page begins, where a question asks for nothing else.
pub(super) fn page_after(call: &Call) -> Result<Option<Device>, Failure> {
    let mut after = None;
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "after" => after = Some(value.parse().map_err(|_| wrong(&name))?),
            _ => return Err(wrong(&name)),
        }
    }
    Ok(after)
}

/// `GET /api/v1/catalog/{client}/{identifier}`.
pub(super) async fn catalog_device(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::SeeUpdates, DistributionCommand::CatalogDevice(device)).await
}

/// `POST /api/v1/catalog/{client}/{identifier}/gateway`.
pub(super) async fn associate(call: Call, device: Device) -> Result<Response, Failure> {
    decide(&call, || Ok(DistributionCommand::Associate(device, call.body()?))).await
}

/// `POST /api/v1/catalog/{client}/{identifier}/patient`.
pub(super) async fn assign_patient(call: Call, device: Device) -> Result<Response, Failure> {
    decide(&call, || Ok(DistributionCommand::AssignPatient(device, call.body()?))).await
}

/// `POST /api/v1/catalog/{client}/{identifier}/uploads`.
pub(super) async fn allow_upload(call: Call, device: Device) -> Result<Response, Failure> {
    decide(&call, || Ok(DistributionCommand::AllowUpload(device, call.body()?))).await
}

/// `POST /api/v1/catalog/{client}/{identifier}/resume`.
pub(super) async fn resume(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, DistributionCommand::Resume(device)).await
}

/// `GET /api/v1/gateways`.
pub(super) async fn gateways(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeUpdates, DistributionCommand::Gateways).await
}

/// `POST /api/v1/gateways/{client}/{identifier}/push`.
pub(super) async fn push(call: &Call, gateway: Device) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, DistributionCommand::Push(gateway)).await
}

/// `POST /api/v1/gateways/push`.
pub(super) async fn broadcast(call: Call) -> Result<Response, Failure> {
    decide(&call, || Ok(DistributionCommand::Broadcast(call.body()?))).await
}

/// `GET /api/v1/offers`.
pub(super) async fn offers(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeUpdates, DistributionCommand::Offers).await
}

/// `POST /api/v1/offers`.
pub(super) async fn make_offer(call: Call) -> Result<Response, Failure> {
    decide(&call, || Ok(DistributionCommand::MakeOffer(call.body()?))).await
}

/// `GET /api/v1/offers/{id}/devices`.
pub(super) async fn offer_devices(call: &Call, id: u64) -> Result<Response, Failure> {
    act(call, Right::SeeUpdates, DistributionCommand::OfferDevices(id, page_after(call)?)).await
}

/// `POST /api/v1/offers/{id}/withdraw`.
pub(super) async fn withdraw_offer(call: &Call, id: u64) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, DistributionCommand::WithdrawOffer(id)).await
}

/// `GET /api/v1/outcomes`.
pub(super) async fn outcomes(call: &Call) -> Result<Response, Failure> {
    let (mut device, mut before) = (None, None);
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "device" => device = Some(value.parse().map_err(|_| wrong(&name))?),
            "before" => before = Some(value.parse().map_err(|_| wrong(&name))?),
            _ => return Err(wrong(&name)),
        }
    }
    act(call, Right::SeeUpdates, DistributionCommand::Outcomes(device, before)).await
}

/// `POST /api/v1/inventories/preview`, and `POST /api/v1/inventories`: the body is the inventory as it was signed.
pub(super) async fn inventory(call: Call, imports: bool) -> Result<Response, Failure> {
    decide(&call, || {
        let text = call.body.as_ref().and_then(|body| core::str::from_utf8(body).ok());
        let text = text.ok_or_else(|| Failure::with_detail(ProblemKind::BadRequest, "Send an inventory, as JSON."))?;
        Ok(DistributionCommand::Inventory { text: text.to_owned(), imports })
    })
    .await
}

/// A person with the right decides; the body is looked at after the right.
async fn decide(
    call: &Call,
    command: impl FnOnce() -> Result<DistributionCommand, Failure>,
) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ManageUpdates).await?.person;
    objects::send(&call.env, &DistributionRequest::Act(person, command()?)).await
}

/// `/api/publish/…`: for whoever has a publishing token, and for people who may manage updates. The object reads path, token and body.
pub(super) async fn publish(request: Request, env: &Env) -> Result<Response, Failure> {
    let request = request.clone_mut()?;
    // Who somebody is, nobody says but us.
    let headers = request.headers();
    headers.delete(PERSON_HEADER)?;
    if !headers.has("Authorization")? {
        match with_right(&request, env, Right::ManageUpdates).await {
            Ok(session) => headers.set(PERSON_HEADER, &BASE64URL_NOPAD.encode(&cbor::pack(&session.person)?))?,
            Err(failure) => {
                streams::drain(&request).await;
                return Err(failure);
            }
        }
    }
    objects::stub::<DistributionRequest>(env)?.fetch_with_request(request).await.map_err(|error| {
        worker::console_error!("the distribution server does not answer: {error}");
        ProblemKind::Unavailable.into()
    })
}

async fn act(call: &Call, right: Right, command: DistributionCommand) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, right).await?.person;
    objects::send(&call.env, &DistributionRequest::Act(person, command)).await
}

//! Stored data: each a person's command to the object that holds it.

use super::Call;
use super::distribution::{page_after, wrong};
use crate::session::with_right;
use wardlink_edge::http::query;
use wardlink_edge::messages::{RecordsCommand, RecordsRequest};
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::MAX_INTEGER;
use wardlink_protocol::api::Right;
use wardlink_protocol::{Device, UnixMillis};
use worker::Response;

/// `GET /api/v1/records`.
pub(super) async fn overview(call: &Call) -> Result<Response, Failure> {
    see(call, RecordsCommand::Overview(page_after(call)?)).await
}

/// `GET /api/v1/rules`, `GET /api/v1/records/gateways` and `GET /api/v1/records/{client}/{identifier}`.
pub(super) async fn see(call: &Call, command: RecordsCommand) -> Result<Response, Failure> {
    act(call, Right::SeeRecords, || Ok(command)).await
}

/// `POST /api/v1/records/{client}/{identifier}/ask` and `POST /api/v1/gateways/{client}/{identifier}/ask`.
pub(super) async fn ask(call: &Call, command: RecordsCommand) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, || Ok(command)).await
}

/// `PUT /api/v1/records/settings`.
pub(super) async fn set_settings(call: &Call) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, || Ok(RecordsCommand::SetSettings(call.body()?))).await
}

/// `POST /api/v1/records/{client}/{identifier}/concede`.
pub(super) async fn concede(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::ManageUpdates, || Ok(RecordsCommand::Concede(device, call.body()?))).await
}

/// `GET /api/v1/records/{client}/{identifier}/plot`.
pub(super) async fn plot(call: &Call, device: Device) -> Result<Response, Failure> {
    let (mut series, mut from, mut until) = (String::new(), 0, 0);
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "series" => series = value,
            "from" => from = number(&name, &value)?,
            "until" => until = number(&name, &value)?,
            _ => return Err(wrong(&name)),
        }
    }
    let (from, until) = (UnixMillis(from), UnixMillis(until));
    see(call, RecordsCommand::Plot { device, series, from, until }).await
}

/// `GET /api/v1/records/{client}/{identifier}/values`.
pub(super) async fn values(call: &Call, device: Device) -> Result<Response, Failure> {
    let (mut series, mut after) = (String::new(), 0);
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "series" => series = value,
            "after" => after = number(&name, &value)?,
            _ => return Err(wrong(&name)),
        }
    }
    see(call, RecordsCommand::Values { device, series, after }).await
}

/// `PUT /api/v1/rules`.
pub(super) async fn set_rules(call: &Call) -> Result<Response, Failure> {
    act(call, Right::ChangeRules, || Ok(RecordsCommand::SetRules(call.body()?))).await
}

/// `GET /api/v1/flags`.
pub(super) async fn flags(call: &Call) -> Result<Response, Failure> {
    let (mut device, mut open, mut before) = (None, false, None);
    for (name, value) in query(&call.request)? {
        match name.as_str() {
            "device" => device = Some(value.parse().map_err(|_| wrong(&name))?),
            "open" => open = value.parse().map_err(|_| wrong(&name))?,
            "before" => before = Some(number(&name, &value)?),
            _ => return Err(wrong(&name)),
        }
    }
    see(call, RecordsCommand::Flags { device, open, before }).await
}

/// `POST /api/v1/flags/{id}/acknowledge`.
pub(super) async fn acknowledge(call: &Call, id: u64) -> Result<Response, Failure> {
    act(call, Right::AcknowledgeFlags, || Ok(RecordsCommand::Acknowledge(id))).await
}

/// A number that storage takes as it is.
fn number(name: &str, value: &str) -> Result<u64, Failure> {
    value.parse().ok().filter(|number| *number <= MAX_INTEGER).ok_or_else(|| wrong(name))
}

/// A person with the right acts; the body is looked at after the right.
async fn act(
    call: &Call,
    right: Right,
    command: impl FnOnce() -> Result<RecordsCommand, Failure>,
) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, right).await?.person;
    objects::send(&call.env, &RecordsRequest::Act(person, command()?)).await
}

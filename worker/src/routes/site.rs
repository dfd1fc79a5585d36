//! Pairings, devices, access secrets: each a person's command to the site.

use super::distribution::page_after;
use super::{Call, Step};
use crate::guard;
use crate::session::with_right;
use serde_bytes::ByteBuf;
use wardlink_edge::http::query;
use wardlink_edge::messages::{self, AccountsRequest, AuditQuery, Command, SiteRequest, Vantage};
use wardlink_edge::objects;
use wardlink_edge::platform::is_bootstrap_token;
use wardlink_edge::problem::Failure;
use wardlink_protocol::Device;
use wardlink_protocol::api::{BootstrapState, Person, ProblemKind, Right};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::{SecretId, SessionId};
use wardlink_trust::audit::Act;
use worker::Response;

/// `GET /api/v1/secrets`.
pub(super) async fn secrets(call: &Call) -> Result<Response, Failure> {
    act(call, Right::Provision, Command::Secrets).await
}

/// `POST /api/v1/secrets`.
pub(super) async fn make_secret(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::Provision).await?.person;
    let new = call.body()?;
    send(&call, Some(person), Command::MakeSecret(new)).await
}

/// `POST /api/v1/secrets/{id}/end`.
pub(super) async fn end_secret(call: &Call, id: SecretId) -> Result<Response, Failure> {
    act(call, Right::Provision, Command::EndSecret(id)).await
}

/// `GET /api/v1/policy`.
pub(super) async fn policy(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeePolicy, Command::Policy(vantage(call)?)).await
}

/// `PUT /api/v1/policy`.
pub(super) async fn set_policy(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ChangePolicy).await?.person;
    let policy = call.body()?;
    let vantage = vantage(&call)?;
    send(&call, Some(person), Command::SetPolicy(policy, vantage)).await
}

fn vantage(call: &Call) -> Result<Vantage, Failure> {
    Ok(Vantage { trust: guard::trust(&call.env), here: guard::network(&call.request, &call.env)? })
}

/// `GET /api/v1/classes`.
pub(super) async fn classes(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Classes).await
}

/// `PUT /api/v1/classes/{client}`.
pub(super) async fn set_class(call: Call, client: &str) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ChangeClasses).await?.person;
    let class = call.body()?;
    send(&call, Some(person), Command::SetClass(client.to_owned(), class)).await
}

/// `GET /api/v1/locks`.
pub(super) async fn locks(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Locks).await
}

/// `POST /api/v1/provisioning`: for people with the right, and until there is an administrator for who has the bootstrap
/// token.
pub(super) async fn provision(call: Call) -> Result<Response, Failure> {
    let person = match bearer(&call)? {
        Some(token) => {
            let state: BootstrapState = objects::call(&call.env, &AccountsRequest::BootstrapState).await?;
            if !state.needed || !is_bootstrap_token(&call.env, &token) {
                return Err(ProblemKind::WrongToken.into());
            }
            None
        }
        None => Some(with_right(&call.request, &call.env, Right::Provision).await?.person),
    };
    let new = call.body()?;
    send(&call, person, Command::Provision(new)).await
}

/// `GET /api/v1/pairings`.
pub(super) async fn pairings(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeRequests, Command::Pairings).await
}

/// `GET /api/v1/pairings/{session}`.
pub(super) async fn pairing(call: &Call, session: SessionId) -> Result<Response, Failure> {
    act(call, Right::SeeRequests, Command::Pairing(session)).await
}

/// `POST /api/v1/pairings/{session}/{step}`.
pub(super) async fn step(call: Call, session: SessionId, step: Step) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::Pair).await?.person;
    let command = match step {
        Step::Accept => Command::Accept(session, call.body()?),
        Step::Reject => Command::Reject(session, call.body()?),
        Step::Dismiss => Command::Dismiss(session),
        Step::Cancel => Command::Cancel(session),
        Step::Verify => Command::Verify(session, call.body()?),
    };
    send(&call, Some(person), command).await
}

/// `GET /api/v1/devices`.
pub(super) async fn devices(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Devices(page_after(call)?)).await
}

/// `GET /api/v1/devices/{client}/{identifier}`.
pub(super) async fn device(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Device(device)).await
}

/// `POST /api/v1/devices/{client}/{identifier}/unlock`.
pub(super) async fn unlock(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::Unlock, Command::Unlock(device)).await
}

/// `GET /api/v1/revocations`.
pub(super) async fn revocations(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Revocations).await
}

/// `POST /api/v1/revocations`.
pub(super) async fn revoke(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::Revoke).await?.person;
    let new = call.body()?;
    send(&call, Some(person), Command::Revoke(new)).await
}

/// `POST /api/v1/devices/{client}/{identifier}/reinstate`.
pub(super) async fn reinstate(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::Revoke, Command::Reinstate(device)).await
}

/// `POST /api/v1/devices/{client}/{identifier}/decommission`.
pub(super) async fn decommission(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::Revoke, Command::Decommission(device)).await
}

/// `GET /api/v1/devices/{client}/{identifier}/receipt`.
pub(super) async fn receipt(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Receipt(device)).await
}

/// `GET /api/v1/crl` and `GET /api/v1/crl/{issuer}`: for everybody.
pub(super) async fn revocation_list(call: &Call, issuer: Option<Vec<u8>>) -> Result<Response, Failure> {
    objects::send(&call.env, &SiteRequest::RevocationList(issuer.map(ByteBuf::from))).await
}

/// `GET /api/v1/authority`.
pub(super) async fn authority(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeeRequests, Command::Authority).await
}

/// `POST /api/v1/authority/ask`.
pub(super) async fn ask_authority(call: &Call) -> Result<Response, Failure> {
    act(call, Right::ChangePolicy, Command::AskAuthority).await
}

/// `GET /api/v1/devices/{client}/{identifier}/orders`.
pub(super) async fn orders(call: &Call, device: Device) -> Result<Response, Failure> {
    act(call, Right::SeeDevices, Command::Orders(device)).await
}

/// `POST /api/v1/devices/{client}/{identifier}/orders`.
pub(super) async fn give_order(call: Call, device: Device) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::Order).await?.person;
    let new = call.body()?;
    send(&call, Some(person), Command::GiveOrder(device, new)).await
}

/// `GET /api/v1/audit`.
pub(super) async fn audit(call: &Call) -> Result<Response, Failure> {
    let mut asked = AuditQuery::default();
    for (name, value) in query(&call.request)? {
        let wrong = || Failure::with_detail(ProblemKind::BadRequest, format!("{name} has another form."));
        match name.as_str() {
            "before" => asked.before = Some(value.parse().map_err(|_| wrong())?),
            "act" => asked.act = Some(Act::ALL.iter().find(|act| act.word() == value).copied().ok_or_else(wrong)?),
            "find" => asked.find = Some(value),
            _ => return Err(wrong()),
        }
    }
    act(call, Right::SeeAudit, Command::Audit(asked)).await
}

/// `GET /api/v1/audit/export`.
pub(super) async fn export_audit(call: &Call) -> Result<Response, Failure> {
    let after = query(&call.request)?.into_iter().find(|(name, _)| name == "after").map(|(_, value)| value);
    let after = after.map_or(Ok(0), |after| after.parse());
    let after = after.map_err(|_| Failure::with_detail(ProblemKind::BadRequest, "after is a number."))?;
    act(call, Right::SeeAudit, Command::ExportAudit(after)).await
}

/// `GET /api/v1/channels`.
pub(super) async fn channels(call: &Call) -> Result<Response, Failure> {
    act(call, Right::SeePolicy, Command::Channels).await
}

/// `PUT /api/v1/channels`.
pub(super) async fn set_channels(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ChangeChannels).await?.person;
    let change = call.body()?;
    send(&call, Some(person), Command::SetChannels(change)).await
}

/// `POST /api/v1/channels/preview`.
pub(super) async fn preview_channels(call: Call) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, Right::ChangeChannels).await?.person;
    let change = call.body()?;
    send(&call, Some(person), Command::PreviewChannels(change)).await
}

/// `POST /api/v1/channels/{channel}/rotate`.
pub(super) async fn rotate_keys(call: &Call, channel: ChannelName) -> Result<Response, Failure> {
    act(call, Right::ChangeChannels, Command::RotateKeys(channel)).await
}

pub(super) async fn act(call: &Call, right: Right, command: Command) -> Result<Response, Failure> {
    let person = with_right(&call.request, &call.env, right).await?.person;
    send(call, Some(person), command).await
}

pub(super) async fn send(call: &Call, person: Option<Person>, command: Command) -> Result<Response, Failure> {
    let act = messages::Act { person, origin: call.origin.to_string(), command };
    objects::send(&call.env, &SiteRequest::Act(Box::new(act))).await
}

fn bearer(call: &Call) -> Result<Option<String>, Failure> {
    let field = call.request.headers().get("Authorization")?;
    Ok(field.map(|field| field.strip_prefix("Bearer ").unwrap_or_default().to_owned()))
}

//! The WebSockets: live changes for people, MQTT for devices.

use super::Call;
use crate::guard;
use crate::messages::{ADDRESS_HEADER, BridgeRequest, SESSION_HEADER, SiteRequest};
use crate::objects::stub;
use crate::problem::Failure;
use crate::session::with_right;
use data_encoding::BASE64URL_NOPAD;
use wardlink_protocol::api::{ProblemKind, Right};
use wardlink_protocol::cbor;
use worker::{Request, Response};

/// MQTT over WebSocket (MQTT 5.0 section 6).
const MQTT_SUBPROTOCOL: &str = "mqtt";

/// `GET /api/v1/live`.
pub(super) async fn live(call: &Call) -> Result<Response, Failure> {
    check_upgrade(&call.request)?;
    let session = with_right(&call.request, &call.env, Right::SeeDevices).await?;
    let mut request = call.request.clone_mut()?;
    request.headers_mut()?.set(SESSION_HEADER, &BASE64URL_NOPAD.encode(&cbor::encode(&session)?))?;
    forward::<SiteRequest>(call, request).await
}

/// `GET /mqtt`.
pub(super) async fn mqtt(call: &Call) -> Result<Response, Failure> {
    check_upgrade(&call.request)?;
    let offered = call.request.headers().get("Sec-WebSocket-Protocol")?.unwrap_or_default();
    if !offered.split(',').any(|name| name.trim() == MQTT_SUBPROTOCOL) {
        return Err(Failure::with_detail(ProblemKind::BadRequest, "Ask for the subprotocol \"mqtt\"."));
    }
    let address = guard::address(&call.request, &call.env)?;
    let mut request = call.request.clone_mut()?;
    let headers = request.headers_mut()?;
    headers.delete(ADDRESS_HEADER)?;
    if let Some(address) = address {
        headers.set(ADDRESS_HEADER, &address)?;
    }
    forward::<BridgeRequest>(call, request).await
}

fn check_upgrade(request: &Request) -> Result<(), Failure> {
    let upgrade = request.headers().get("Upgrade")?.unwrap_or_default();
    if upgrade.eq_ignore_ascii_case("websocket") {
        Ok(())
    } else {
        Err(Failure::with_detail(ProblemKind::BadRequest, "Open a WebSocket here."))
    }
}

async fn forward<R: crate::objects::ObjectRequest>(call: &Call, request: Request) -> Result<Response, Failure> {
    stub::<R>(&call.env)?.fetch_with_request(request).await.map_err(|error| {
        worker::console_error!("an object takes no connection: {error}");
        ProblemKind::Unavailable.into()
    })
}

//! The WebSockets: live changes for people, MQTT for devices.

use super::Call;
use crate::guard;
use crate::session::with_right;
use data_encoding::BASE64URL_NOPAD;
use wardlink_edge::messages::{
    ADDRESS_HEADER, BridgeRequest, CLIENT_CERTIFICATE_HEADER, NETWORK_HEADER, SESSION_HEADER, SiteRequest,
};
use wardlink_edge::objects::{ObjectRequest, stub};
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{ProblemKind, Right};
use wardlink_protocol::cbor;
use worker::{Headers, Request, RequestInit, Response};

/// MQTT over WebSocket (MQTT 5.0 section 6).
const MQTT_SUBPROTOCOL: &str = "mqtt";

/// `GET /api/v1/live`.
pub(super) async fn live(call: &Call) -> Result<Response, Failure> {
    check_upgrade(&call.request)?;
    let session = with_right(&call.request, &call.env, Right::SeeDevices).await?;
    let headers = Headers::new();
    headers.set(SESSION_HEADER, &BASE64URL_NOPAD.encode(&cbor::pack(&session)?))?;
    open::<SiteRequest>(call, headers).await
}

/// `GET /mqtt`.
pub(super) async fn mqtt(call: &Call) -> Result<Response, Failure> {
    check_upgrade(&call.request)?;
    let offered = call.request.headers().get("Sec-WebSocket-Protocol")?.unwrap_or_default();
    if !offered.split(',').any(|name| name.trim() == MQTT_SUBPROTOCOL) {
        return Err(Failure::with_detail(ProblemKind::BadRequest, "Ask for the subprotocol \"mqtt\"."));
    }
    let headers = Headers::new();
    headers.set("Sec-WebSocket-Protocol", MQTT_SUBPROTOCOL)?;
    let network = guard::network(&call.request, &call.env)?;
    if let Some(address) = network.address {
        headers.set(ADDRESS_HEADER, &address.to_string())?;
    }
    if let Some(marker) = network.marker {
        headers.set(NETWORK_HEADER, marker.as_str())?;
    }
    if let Some(certificate) = guard::client_certificate(&call.request, &call.env)? {
        headers.set(CLIENT_CERTIFICATE_HEADER, &BASE64URL_NOPAD.encode(&certificate))?;
    }
    open::<BridgeRequest>(call, headers).await
}

pub(super) fn check_upgrade(request: &Request) -> Result<(), Failure> {
    let upgrade = request.headers().get("Upgrade")?.unwrap_or_default();
    if upgrade.eq_ignore_ascii_case("websocket") {
        Ok(())
    } else {
        Err(Failure::with_detail(ProblemKind::BadRequest, "Open a WebSocket here."))
    }
}

/// Opens a WebSocket at an object, under the address that the client dialled and with these headers only: nothing that the
/// client made up reaches the object.
async fn open<R: ObjectRequest>(call: &Call, headers: Headers) -> Result<Response, Failure> {
    headers.set("Upgrade", "websocket")?;
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let request = Request::new_with_init(&format!("{}/", call.origin), &init)?;
    stub::<R>(&call.env)?.fetch_with_request(request).await.map_err(|error| {
        worker::console_error!("an object takes no connection: {error}");
        ProblemKind::Unavailable.into()
    })
}

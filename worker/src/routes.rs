//! The routes of the web API, of MQTT and of the verification page.

mod accounts;
mod distribution;
mod gateways;
mod page;
mod records;
mod repository;
mod services;
mod site;
mod socket;

use crate::guard::{Origin, check_page};
use data_encoding::HEXLOWER;
use http::uri::Scheme;
use serde_bytes::ByteBuf;
use wardlink_edge::body::Body;
use wardlink_edge::http::{address, date, decoded, json};
use wardlink_edge::messages::{PublicName, RecordsCommand};
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::{SecretId, SessionId};
use wardlink_protocol::{Device, DeviceIdentifier};
use wardlink_update::inventory::MAX_INVENTORY_BYTES;
use worker::{Env, Headers, Method, Request, Response};
use zeroize::Zeroizing;

/// The longest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// The longest body with a root, or with data that the server adds, as text in JSON.
const MAX_LONG_BODY_BYTES: usize = 1_100_000;

/// What stands under a path.
enum Route {
    Health,
    Bootstrap,
    Session,
    People,
    Person(u64),
    Secrets,
    EndSecret(SecretId),
    Provisioning,
    Policy,
    Classes,
    /// The class as it stands in the path.
    Class(String),
    Locks,
    Pairings,
    Pairing(SessionId),
    PairingStep(SessionId, Step),
    Devices,
    Device(Device),
    Unlock(Device),
    Reinstate(Device),
    Decommission(Device),
    Receipt(Device),
    Orders(Device),
    Revocations,
    RevocationList,
    /// Of the issuing CA that has this key identifier.
    RevocationListOf(Vec<u8>),
    Authority,
    AskAuthority,
    Audit,
    ExportAudit,
    Channels,
    PreviewChannels,
    RotateKeys(ChannelName),
    Services,
    RevokeService(DeviceIdentifier),
    EnrolService,
    ServiceKeys,
    ServiceRecords,
    RenewService,
    Live,
    Manufacturers,
    EndManufacturer(String),
    KeepConfidential(String),
    MakeToken(String),
    RevokeToken(String, u64),
    Releases,
    Catalog,
    CatalogDevice(Device),
    Associate(Device),
    AssignPatient(Device),
    AllowUpload(Device),
    Resume(Device),
    Gateways,
    Push(Device),
    Broadcast,
    Offers,
    OfferDevices(u64),
    WithdrawOffer(u64),
    Outcomes,
    PreviewInventory,
    ImportInventory,
    Records,
    RecordsGateways,
    RecordsSettings,
    RecordsOf(Device),
    RecordsPlot(Device),
    RecordsValues(Device),
    AskDevice(Device),
    AskGateway(Device),
    ConcedeGap(Device),
    Rules,
    Flags,
    AcknowledgeFlag(u64),
    /// A public file of a manufacturer's repository.
    Repository(PublicName),
    /// What a publisher asks; the object reads the rest of the path.
    Publish,
    Mqtt,
    VerificationPage,
}

/// What a person does with a pairing.
#[derive(Clone, Copy)]
enum Step {
    Accept,
    Reject,
    Dismiss,
    Cancel,
    Verify,
}

impl Route {
    /// How long its body may be, in bytes.
    const fn max_body_bytes(&self) -> usize {
        match self {
            Self::Manufacturers | Self::Offers | Self::Rules => MAX_LONG_BODY_BYTES,
            Self::PreviewInventory | Self::ImportInventory => MAX_INVENTORY_BYTES,
            _ => MAX_BODY_BYTES,
        }
    }

    /// Services are no browsers, and what they send proves itself.
    const fn proves_itself(&self) -> bool {
        matches!(self, Self::EnrolService | Self::ServiceKeys | Self::ServiceRecords | Self::RenewService)
    }

    fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments.as_slice() {
            ["mqtt"] => Self::Mqtt,
            ["V", _] => Self::VerificationPage,
            ["api", "v1", rest @ ..] => Self::of_api(rest)?,
            ["api", "publish", _, ..] => Self::Publish,
            ["api", "repositories", manufacturer, part @ ("metadata" | "targets"), name @ ..] => {
                Self::Repository(repository::name(manufacturer, part, name)?)
            }
            _ => return None,
        })
    }

    fn of_api(segments: &[&str]) -> Option<Self> {
        Some(match segments {
            ["health"] => Self::Health,
            ["bootstrap"] => Self::Bootstrap,
            ["session"] => Self::Session,
            ["people"] => Self::People,
            ["people", id] => Self::Person(id.parse().ok()?),
            ["secrets"] => Self::Secrets,
            ["secrets", id, "end"] => Self::EndSecret(id.parse().ok()?),
            ["policy"] => Self::Policy,
            ["classes"] => Self::Classes,
            ["classes", client] => Self::Class((*client).to_owned()),
            ["locks"] => Self::Locks,
            ["provisioning"] => Self::Provisioning,
            ["pairings"] => Self::Pairings,
            ["pairings", session] => Self::Pairing(session.parse().ok()?),
            ["pairings", session, step] => Self::PairingStep(session.parse().ok()?, Step::of(step)?),
            ["devices"] => Self::Devices,
            ["devices", client, identifier] => Self::Device(device(client, identifier)?),
            ["devices", client, identifier, "unlock"] => Self::Unlock(device(client, identifier)?),
            ["devices", client, identifier, "reinstate"] => Self::Reinstate(device(client, identifier)?),
            ["devices", client, identifier, "decommission"] => Self::Decommission(device(client, identifier)?),
            ["devices", client, identifier, "receipt"] => Self::Receipt(device(client, identifier)?),
            ["devices", client, identifier, "orders"] => Self::Orders(device(client, identifier)?),
            ["revocations"] => Self::Revocations,
            ["crl"] => Self::RevocationList,
            ["crl", issuer] => Self::RevocationListOf(HEXLOWER.decode(issuer.as_bytes()).ok()?),
            ["authority"] => Self::Authority,
            ["authority", "ask"] => Self::AskAuthority,
            ["audit"] => Self::Audit,
            ["audit", "export"] => Self::ExportAudit,
            ["channels"] => Self::Channels,
            ["channels", "preview"] => Self::PreviewChannels,
            ["channels", channel, "rotate"] => Self::RotateKeys(channel.parse().ok()?),
            ["services"] => Self::Services,
            ["services", "enrol"] => Self::EnrolService,
            ["services", "keys"] => Self::ServiceKeys,
            ["services", "records"] => Self::ServiceRecords,
            ["services", "renew"] => Self::RenewService,
            ["services", identifier, "revoke"] => Self::RevokeService(identifier.parse().ok()?),
            ["live"] => Self::Live,
            ["manufacturers"] => Self::Manufacturers,
            ["manufacturers", name, "end"] => Self::EndManufacturer(decoded(name)?),
            ["manufacturers", name, "confidential"] => Self::KeepConfidential(decoded(name)?),
            ["manufacturers", name, "tokens"] => Self::MakeToken(decoded(name)?),
            ["manufacturers", name, "tokens", id, "revoke"] => Self::RevokeToken(decoded(name)?, id.parse().ok()?),
            ["releases"] => Self::Releases,
            ["catalog"] => Self::Catalog,
            ["catalog", client, identifier] => Self::CatalogDevice(device(client, identifier)?),
            ["catalog", client, identifier, "gateway"] => Self::Associate(device(client, identifier)?),
            ["catalog", client, identifier, "patient"] => Self::AssignPatient(device(client, identifier)?),
            ["catalog", client, identifier, "uploads"] => Self::AllowUpload(device(client, identifier)?),
            ["catalog", client, identifier, "resume"] => Self::Resume(device(client, identifier)?),
            ["gateways"] => Self::Gateways,
            ["gateways", "push"] => Self::Broadcast,
            ["gateways", client, identifier, "push"] => Self::Push(device(client, identifier)?),
            ["offers"] => Self::Offers,
            ["offers", id, "devices"] => Self::OfferDevices(id.parse().ok()?),
            ["offers", id, "withdraw"] => Self::WithdrawOffer(id.parse().ok()?),
            ["outcomes"] => Self::Outcomes,
            ["inventories", "preview"] => Self::PreviewInventory,
            ["inventories"] => Self::ImportInventory,
            ["gateways", client, identifier, "ask"] => Self::AskGateway(device(client, identifier)?),
            ["records"] => Self::Records,
            ["records", "settings"] => Self::RecordsSettings,
            ["records", "gateways"] => Self::RecordsGateways,
            ["records", client, identifier] => Self::RecordsOf(device(client, identifier)?),
            ["records", client, identifier, "plot"] => Self::RecordsPlot(device(client, identifier)?),
            ["records", client, identifier, "values"] => Self::RecordsValues(device(client, identifier)?),
            ["records", client, identifier, "ask"] => Self::AskDevice(device(client, identifier)?),
            ["records", client, identifier, "concede"] => Self::ConcedeGap(device(client, identifier)?),
            ["rules"] => Self::Rules,
            ["flags"] => Self::Flags,
            ["flags", id, "acknowledge"] => Self::AcknowledgeFlag(id.parse().ok()?),
            _ => return None,
        })
    }
}

fn device(client: &str, identifier: &str) -> Option<Device> {
    Some(Device { client: client.parse().ok()?, identifier: identifier.parse().ok()? })
}

impl Step {
    fn of(segment: &str) -> Option<Self> {
        Some(match segment {
            "accept" => Self::Accept,
            "reject" => Self::Reject,
            "dismiss" => Self::Dismiss,
            "cancel" => Self::Cancel,
            "verify" => Self::Verify,
            _ => return None,
        })
    }
}

/// A request with all that its handler needs.
struct Call {
    request: Request,
    env: Env,
    origin: Origin,
    /// The body; none where there is none, or one that is too long.
    body: Option<Zeroizing<Vec<u8>>>,
    /// How long it may be.
    max_body_bytes: usize,
}

impl Call {
    /// The body, a COSE message (RFC 9052 section 10.1) of a bounded length.
    fn cose(self) -> Result<ByteBuf, Failure> {
        let is_cose = self.request.headers().get("Content-Type")?.is_some_and(|kind| kind == "application/cose");
        let Some(mut bytes) = self.body.filter(|_| is_cose) else {
            let detail = format!("Send COSE of at most {MAX_BODY_BYTES} bytes, with its type and length.");
            return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
        };
        Ok(ByteBuf::from(core::mem::take(&mut *bytes)))
    }

    /// The body, JSON of a bounded length: for the object that acts on it.
    fn body<T>(&self) -> Result<Body<T>, Failure> {
        let is_json = self.request.headers().get("Content-Type")?.is_some_and(|kind| is_json(&kind));
        let Some(bytes) = self.body.as_ref().filter(|_| is_json) else {
            let detail = format!("Send JSON of at most {} bytes, with its type and length.", self.max_body_bytes);
            return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
        };
        Ok(Body::new(bytes))
    }
}

/// Takes a body of a bounded length off the connection, whatever becomes of the request: a proxy that uses the connection again must
/// not find the rest of it there.
async fn take_body(request: &mut Request, max_bytes: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let length = request.headers().get("Content-Length")?.and_then(|length| length.parse::<usize>().ok());
    if length.is_none_or(|length| length == 0 || length > max_bytes) {
        return Ok(None);
    }
    Ok(Some(Zeroizing::new(request.bytes().await?)))
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Answers a request.
pub(crate) async fn handle(request: Request, env: Env) -> worker::Result<Response> {
    // Polls are many: nothing is done for them but what has to be.
    if let Some(gateway) = gateways::of(&request.path()) {
        return gateways::hand_on(request, &env, &gateway).await.or_else(Failure::into_response);
    }
    let is_secure = address(&request).is_ok_and(|address| address.scheme() == Some(&Scheme::HTTPS));
    match dispatch(request, env).await {
        // Nothing is added to the answer that opens a WebSocket.
        Ok(response) if response.status_code() == 101 => Ok(response),
        Ok(response) => with_security_headers(response, is_secure),
        Err(failure) => with_security_headers(failure.into_response()?, is_secure),
    }
}

async fn dispatch(mut request: Request, env: Env) -> Result<Response, Failure> {
    let route = Route::of(&request.path());
    if matches!(route, Some(Route::Publish)) {
        // The object reads the body, which is long.
        check_page(&request, &Origin::of(&request, &env)?, false)?;
        return distribution::publish(request, &env).await;
    }
    let max_body_bytes = route.as_ref().map_or(MAX_BODY_BYTES, Route::max_body_bytes);
    let body = take_body(&mut request, max_body_bytes).await?;
    let route = route.ok_or(ProblemKind::NotFound)?;
    let origin = Origin::of(&request, &env)?;
    if !matches!(route, Route::Mqtt | Route::VerificationPage) {
        check_page(&request, &origin, route.proves_itself())?;
    }
    answer(route, Call { request, env, origin, body, max_body_bytes }).await
}

/// Answers what stands under a path.
async fn answer(route: Route, call: Call) -> Result<Response, Failure> {
    match (route, call.request.method()) {
        (Route::Health, Method::Get) => json(&serde_json::json!({ "status": "ok" })),
        (Route::Bootstrap, Method::Get) => accounts::bootstrap_state(&call).await,
        (Route::Bootstrap, Method::Post) => accounts::bootstrap(call).await,
        (Route::Session, Method::Get) => accounts::who(&call).await,
        (Route::Session, Method::Post) => accounts::sign_in(call).await,
        (Route::Session, Method::Delete) => accounts::sign_out(&call).await,
        (Route::People, Method::Get) => accounts::people(&call).await,
        (Route::People, Method::Post) => accounts::add(call).await,
        (Route::Person(id), Method::Patch) => accounts::change(call, id).await,
        (Route::Secrets, Method::Get) => site::secrets(&call).await,
        (Route::Secrets, Method::Post) => site::make_secret(call).await,
        (Route::EndSecret(id), Method::Post) => site::end_secret(&call, id).await,
        (Route::Policy, Method::Get) => site::policy(&call).await,
        (Route::Policy, Method::Put) => site::set_policy(call).await,
        (Route::Classes, Method::Get) => site::classes(&call).await,
        (Route::Class(client), Method::Put) => site::set_class(call, &client).await,
        (Route::Locks, Method::Get) => site::locks(&call).await,
        (Route::Provisioning, Method::Post) => site::provision(call).await,
        (Route::Pairings, Method::Get) => site::pairings(&call).await,
        (Route::Pairing(session), Method::Get) => site::pairing(&call, session).await,
        (Route::PairingStep(session, step), Method::Post) => site::step(call, session, step).await,
        (Route::Devices, Method::Get) => site::devices(&call).await,
        (Route::Device(device), Method::Get) => site::device(&call, device).await,
        (Route::Unlock(device), Method::Post) => site::unlock(&call, device).await,
        (Route::Reinstate(device), Method::Post) => site::reinstate(&call, device).await,
        (Route::Decommission(device), Method::Post) => site::decommission(&call, device).await,
        (Route::Receipt(device), Method::Get) => site::receipt(&call, device).await,
        (Route::Orders(device), Method::Get) => site::orders(&call, device).await,
        (Route::Orders(device), Method::Post) => site::give_order(call, device).await,
        (Route::Revocations, Method::Get) => site::revocations(&call).await,
        (Route::Revocations, Method::Post) => site::revoke(call).await,
        (Route::RevocationList, Method::Get) => site::revocation_list(&call, None).await,
        (Route::RevocationListOf(issuer), Method::Get) => site::revocation_list(&call, Some(issuer)).await,
        (Route::Authority, Method::Get) => site::authority(&call).await,
        (Route::AskAuthority, Method::Post) => site::ask_authority(&call).await,
        (Route::Audit, Method::Get) => site::audit(&call).await,
        (Route::ExportAudit, Method::Get) => site::export_audit(&call).await,
        (Route::Channels, Method::Get) => site::channels(&call).await,
        (Route::Channels, Method::Put) => site::set_channels(call).await,
        (Route::PreviewChannels, Method::Post) => site::preview_channels(call).await,
        (Route::RotateKeys(channel), Method::Post) => site::rotate_keys(&call, channel).await,
        (Route::Services, Method::Get) => services::all(&call).await,
        (Route::Services, Method::Post) => services::make(call).await,
        (Route::RevokeService(name), Method::Post) => services::revoke(&call, name).await,
        (Route::EnrolService, Method::Post) => services::enrol(call).await,
        (Route::ServiceKeys, Method::Post) => services::keys(call).await,
        (Route::ServiceRecords, Method::Post) => services::records(call).await,
        (Route::RenewService, Method::Post) => services::renew(call).await,
        (Route::Live, Method::Get) => socket::live(&call).await,
        (Route::Manufacturers, Method::Get) => distribution::manufacturers(&call).await,
        (Route::Manufacturers, Method::Post) => distribution::add_manufacturer(call).await,
        (Route::EndManufacturer(name), Method::Post) => distribution::end_manufacturer(&call, name).await,
        (Route::KeepConfidential(name), Method::Post) => distribution::keep_confidential(&call, name).await,
        (Route::MakeToken(name), Method::Post) => distribution::make_token(&call, name).await,
        (Route::RevokeToken(name, id), Method::Post) => distribution::revoke_token(&call, name, id).await,
        (Route::Releases, Method::Get) => distribution::releases(&call).await,
        (Route::Catalog, Method::Get) => distribution::catalog(&call).await,
        (Route::CatalogDevice(device), Method::Get) => distribution::catalog_device(&call, device).await,
        (Route::Associate(device), Method::Post) => distribution::associate(call, device).await,
        (Route::AssignPatient(device), Method::Post) => distribution::assign_patient(call, device).await,
        (Route::AllowUpload(device), Method::Post) => distribution::allow_upload(call, device).await,
        (Route::Resume(device), Method::Post) => distribution::resume(&call, device).await,
        (Route::Gateways, Method::Get) => distribution::gateways(&call).await,
        (Route::Push(gateway), Method::Post) => distribution::push(&call, gateway).await,
        (Route::Broadcast, Method::Post) => distribution::broadcast(call).await,
        (Route::Offers, Method::Get) => distribution::offers(&call).await,
        (Route::Offers, Method::Post) => distribution::make_offer(call).await,
        (Route::OfferDevices(id), Method::Get) => distribution::offer_devices(&call, id).await,
        (Route::WithdrawOffer(id), Method::Post) => distribution::withdraw_offer(&call, id).await,
        (Route::Outcomes, Method::Get) => distribution::outcomes(&call).await,
        (Route::PreviewInventory, Method::Post) => distribution::inventory(call, false).await,
        (Route::ImportInventory, Method::Post) => distribution::inventory(call, true).await,
        (Route::Records, Method::Get) => records::overview(&call).await,
        (Route::RecordsGateways, Method::Get) => records::see(&call, RecordsCommand::Gateways).await,
        (Route::RecordsSettings, Method::Put) => records::set_settings(&call).await,
        (Route::RecordsOf(device), Method::Get) => records::see(&call, RecordsCommand::Show(device)).await,
        (Route::RecordsPlot(device), Method::Get) => records::plot(&call, device).await,
        (Route::RecordsValues(device), Method::Get) => records::values(&call, device).await,
        (Route::AskDevice(device), Method::Post) => records::ask(&call, RecordsCommand::AskDevice(device)).await,
        (Route::AskGateway(gateway), Method::Post) => records::ask(&call, RecordsCommand::AskGateway(gateway)).await,
        (Route::ConcedeGap(device), Method::Post) => records::concede(&call, device).await,
        (Route::Rules, Method::Get) => records::see(&call, RecordsCommand::Rules).await,
        (Route::Rules, Method::Put) => records::set_rules(&call).await,
        (Route::Flags, Method::Get) => records::flags(&call).await,
        (Route::AcknowledgeFlag(id), Method::Post) => records::acknowledge(&call, id).await,
        (Route::Repository(name), Method::Get | Method::Head) => repository::get(&call, name).await,
        (Route::Mqtt, Method::Get) => socket::mqtt(&call).await,
        (Route::VerificationPage, Method::Get | Method::Head) => page::verification(&call).await,
        _ => Err(ProblemKind::MethodNotAllowed.into()),
    }
}

/// What holds for every answer but a page's: it is no document, and nobody keeps it.
fn with_security_headers(response: Response, is_secure: bool) -> worker::Result<Response> {
    let headers = copied(response.headers());
    let defaults = [
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    for (name, value) in defaults {
        if !headers.has(name)? {
            headers.set(name, value)?;
        }
    }
    date(&headers)?;
    if is_secure {
        headers.set("Strict-Transport-Security", "max-age=31536000")?;
    }
    Ok(response.with_headers(headers))
}

/// Headers that can be changed: those of an answer from elsewhere cannot.
fn copied(headers: &Headers) -> Headers {
    headers.entries().collect()
}

#[cfg(test)]
mod tests {
    use super::{Route, is_json};

    #[test]
    fn a_path_has_one_route_and_its_names_are_checked() {
        assert!(matches!(Route::of("/api/v1/people/7"), Some(Route::Person(7))));
        assert!(matches!(Route::of("/api/v1/devices/infusion-pump/pump-1"), Some(Route::Device(_))));
        assert!(matches!(Route::of("/V/MFRGG"), Some(Route::VerificationPage)));
        for foreign in ["/api/v1", "/api/v1/people/x", "/api/v1/pairings/1/accept", "/mqtt/", "/V/a/b", "/api/v1/live/"]
        {
            assert!(Route::of(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn only_json_is_json() {
        assert!(is_json("application/json; charset=utf-8"));
        assert!(!is_json("text/plain"));
        assert!(!is_json("application/jsonp"));
    }
}

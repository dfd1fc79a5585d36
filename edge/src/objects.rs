//! How the Durable Objects are reached, and how they are spoken to.

use crate::messages::{
    AccountsRequest, BridgeRequest, DeskRequest, DistributionRequest, GatewayRequest, MAX_OBJECT_MESSAGE_BYTES,
    RecordsRequest, SiteRequest,
};
use crate::problem::Failure;
use serde::{Serialize, de::DeserializeOwned};
use wardlink_protocol::api::{Problem, ProblemKind};
use wardlink_protocol::{Device, cbor};
use worker::js_sys::Uint8Array;
use worker::{Env, Method, Request, RequestInit, Response, Stub};

/// The one site of a deployment; further sites are further names.
const SITE_NAME: &str = "site";
/// The binding of gateways' objects, of which there are many.
const GATEWAY: &str = "GATEWAY";
/// Internal requests never leave the machine, so that the host says nothing.
const INTERNAL_ORIGIN: &str = "https://object";

/// An object that takes requests of the type `Self`.
pub trait ObjectRequest: Serialize + DeserializeOwned {
    /// The binding of the object's class.
    const BINDING: &'static str;
}

impl ObjectRequest for SiteRequest {
    const BINDING: &'static str = "SITE";
}
impl ObjectRequest for DeskRequest {
    const BINDING: &'static str = "DESK";
}
impl ObjectRequest for BridgeRequest {
    const BINDING: &'static str = "BRIDGE";
}
impl ObjectRequest for AccountsRequest {
    const BINDING: &'static str = "ACCOUNTS";
}
impl ObjectRequest for DistributionRequest {
    const BINDING: &'static str = "DISTRIBUTION";
}
impl ObjectRequest for RecordsRequest {
    const BINDING: &'static str = "RECORDS";
}

/// The object that takes requests of the type `R`.
pub fn stub<R: ObjectRequest>(env: &Env) -> Result<Stub, Failure> {
    Ok(env.durable_object(R::BINDING)?.get_by_name(SITE_NAME)?)
}

/// The object of one gateway.
pub fn gateway(env: &Env, gateway: &Device) -> Result<Stub, Failure> {
    Ok(env.durable_object(GATEWAY)?.get_by_name(&gateway.to_string())?)
}

/// Asks the object of one gateway.
pub async fn tell_gateway<A: DeserializeOwned>(env: &Env, to: &Device, request: &GatewayRequest) -> Result<A, Failure> {
    read(send_to(&gateway(env, to)?, request).await?).await
}

/// Asks an object, and reads its answer.
pub async fn call<R: ObjectRequest, A: DeserializeOwned>(env: &Env, request: &R) -> Result<A, Failure> {
    read(send(env, request).await?).await
}

async fn read<A: DeserializeOwned>(mut response: Response) -> Result<A, Failure> {
    let body = response.bytes().await.map_err(|error| unavailable(&error))?;
    if response.status_code() != 200 {
        let problem: Problem = serde_json::from_slice(&body)?;
        return Err(Failure::Problem(Box::new(problem)));
    }
    Ok(cbor::unpack(&body, MAX_OBJECT_MESSAGE_BYTES)?)
}

/// Asks an object, and leaves its answer as it is.
pub async fn send<R: ObjectRequest>(env: &Env, request: &R) -> Result<Response, Failure> {
    send_to(&stub::<R>(env)?, request).await
}

async fn send_to<R: Serialize>(to: &Stub, request: &R) -> Result<Response, Failure> {
    pass_on(to, "/", &cbor::pack(request)?).await
}

/// Passes a request on as it is, under a path that says from whom it comes.
pub async fn pass_on(to: &Stub, path: &str, body: &[u8]) -> Result<Response, Failure> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(Uint8Array::from(body).into()));
    let request = Request::new_with_init(&format!("{INTERNAL_ORIGIN}{path}"), &init)?;
    to.fetch_with_request(request).await.map_err(|error| unavailable(&error))
}

/// Reads what an object is asked.
pub async fn receive<R: DeserializeOwned>(request: &mut Request) -> Result<R, Failure> {
    Ok(cbor::unpack(&request.bytes().await?, MAX_OBJECT_MESSAGE_BYTES)?)
}

/// Answers with a value.
pub fn answer<A: Serialize>(value: &A) -> Result<Response, Failure> {
    Ok(Response::from_bytes(cbor::pack(value)?)?)
}

/// The object could not be reached, or was reset while it worked.
fn unavailable(error: &worker::Error) -> Failure {
    worker::console_error!("an object does not answer: {error}");
    ProblemKind::Unavailable.into()
}

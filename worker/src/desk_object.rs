//! The desk: the way to the site for whoever may ask little of it. The distribution server has a binding to this object and none to the
//! site, so that code which reads foreign packages can do nothing in a person's name, and holds none of the site's keys. What it writes into the audit
//! log is limited to what is done there.
//!
//! It passes requests on, marked as its own; the site reads them as [`DeskRequest`](wardlink_edge::messages::DeskRequest)s and as nothing else.

use wardlink_edge::messages::SiteRequest;
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

/// The path under which the desk's requests reach the site. Nothing that comes from outside does.
const PATH: &str = "/desk";

/// The Durable Object that passes on.
#[durable_object]
pub struct DeskObject {
    env: Env,
}

impl DurableObject for DeskObject {
    fn new(_state: State, env: Env) -> Self {
        Self { env }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        self.pass_on(&mut request).await.or_else(Failure::into_response)
    }
}

impl DeskObject {
    async fn pass_on(&self, request: &mut Request) -> core::result::Result<Response, Failure> {
        objects::pass_on(&objects::stub::<SiteRequest>(&self.env)?, PATH, &request.bytes().await?).await
    }
}

/// Whether the desk has passed this on.
pub(crate) fn passed_on(request: &Request) -> bool {
    request.path() == PATH
}

//! The site.

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

/// The Durable Object for a site.
#[durable_object]
pub struct SiteObject {}

impl DurableObject for SiteObject {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        crate::objects::answer(&()).or_else(|failure| failure.into_response())
    }
}

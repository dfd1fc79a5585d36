//! The site's MQTT bridge.

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};

/// The Durable Object around the broker.
#[durable_object]
pub struct BridgeObject {}

impl DurableObject for BridgeObject {
    fn new(_state: State, _env: Env) -> Self {
        Self {}
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Response::empty()
    }
}

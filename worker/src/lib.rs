//! Wardlink's control unit, MQTT bridge and accounts as a Cloudflare Worker.
//!
//! The routes and the Durable Objects are thin: what they decide is decided in `shared/`; they move bytes, store what they are told
//! before they send, and keep the clock and the random source.

#![expect(missing_docs, reason = "the platform's macros generate public items without")]

mod bridge_object;
mod messages;

use worker::{Context, DurableObject, Env, Request, Response, Result, State, durable_object, event, wasm_bindgen};

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    if request.path().starts_with("/V/") {
        return env.assets("ASSETS")?.fetch("https://assets/verify", None).await;
    }
    Response::from_json(&"wardlink")
}

macro_rules! object {
    ($name:ident) => {
        /// A Durable Object.
        #[durable_object]
        pub struct $name {}

        impl DurableObject for $name {
            fn new(_state: State, _env: Env) -> Self {
                Self {}
            }

            async fn fetch(&self, _request: Request) -> Result<Response> {
                Response::empty()
            }
        }
    };
}
object!(SiteObject);
object!(AccountsObject);

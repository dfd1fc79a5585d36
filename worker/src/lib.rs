//! Wardlink's control unit, MQTT bridge and accounts as a Cloudflare Worker. The distribution server is a worker of its own.
//!
//! The routes and the Durable Objects are thin: what they decide is decided in `shared/`; they move bytes, store what they
//! are told before they send, and keep the clock and the random source.
//!
//! Threats considered: every request is hostile until its page, its session and its role are checked ([`guard`],
//! [`session`]); keys at rest are encrypted under the deployment's master key; nothing secret is logged.

#![allow(missing_docs, reason = "the platform's macros generate public items without")]

mod accounts_object;
mod bridge_object;
mod desk_object;
mod est;
mod guard;
mod routes;
mod session;
mod site_object;
mod tls;

use worker::{Context, Env, Request, Response, Result, event};

#[event(start)]
fn start() {
    wardlink_edge::platform::p256::install();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    routes::handle(request, env).await
}

//! Wardlink's distribution server as a Cloudflare Worker of its own: what manufacturers publish, the configuration catalog, offers,
//! the gateways' sessions, and what devices have stored and handed over, with the rules that look at it.
//!
//! It has no address: what comes from outside reaches its Durable Objects through the control unit's routes, which check page, session
//! and right. It holds none of the control unit's keys.

#![allow(missing_docs, reason = "the platform's macros generate public items without")]

mod distribution_object;
mod foreign;
mod gateway_object;
mod hints;
mod records_object;
mod variant;

use worker::{Context, Env, Request, Response, Result, event};

#[event(start)]
fn start() {
    wardlink_edge::platform::p256::install();
    foreign::install();
}

/// Nobody comes here.
#[event(fetch)]
async fn fetch(_request: Request, _env: Env, _context: Context) -> Result<Response> {
    Response::error("There is no such thing here", 404)
}

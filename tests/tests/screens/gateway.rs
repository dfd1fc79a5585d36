//! The gateway's own page, served by the agent's own server, as it stands in different moments.

use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use wardlink_agent::clock;
use wardlink_agent::gateway::status::Status;
use wardlink_agent::gateway::{Handle, Order, page};
use wardlink_tests::browser::Target;
use wardlink_tests::fleet::device_of;
use wardlink_tests::hub::state;

use crate::display;
use crate::stage::{Row, Stage, World, row};

/// A gateway's page, and the hand that says what it shows.
pub(crate) struct GatewayPage {
    pub(crate) origin: String,
    status: watch::Sender<Status>,
    /// Whoever presses its buttons is heard by nobody.
    _orders: mpsc::Receiver<Order>,
    end: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl World for GatewayPage {
    type In<'s> = Self;
}

impl GatewayPage {
    /// Serves it.
    pub(crate) fn serve() -> Result<Self> {
        let (status, seen) = watch::channel(stands(&json!({}))?);
        let (orders, heard) = mpsc::channel(8);
        let (coupling, screen) = display::of_gateway();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("no port")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let (end, ended) = oneshot::channel();
        let server = thread::spawn(move || {
            let _kept = screen;
            let gateway = Handle { status: seen, orders };
            runtime.block_on(async {
                tokio::select! {
                    _ = page::serve(listener, gateway, &coupling) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Self { origin, status, _orders: heard, end: Some(end), server: Some(server) })
    }
}

impl Drop for GatewayPage {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// What it shows.
pub(crate) const TABLE: &[Row<GatewayPage>] = &[
    row("gateway, just switched on", &[], |stage, page| show(stage, page, &json!({}))),
    row("gateway, nothing to do", &[], |stage, page| {
        show(
            stage,
            page,
            &json!({
                "is_paired": true, "is_connected": true, "last_contact": clock::now(), "directive_heard": 7, "directive_done": 7,
                "manufacturers": ["acme"], "devices": [passive(None)?], "verifying": [pump("pump-1", &json!({}))?],
                "hub": { "address": "192.0.2.7:8884", "listening": [device("infusion-pump/pump-1")?], "is_overdue": false },
            }),
        )
    }),
    row("gateway, much to do and much that is wrong", &[], |stage, page| {
        let waits = json!({ "why": "confirmation", "directive": 9, "revision": "1B" });
        let failed = json!({ "failed": "its self-test failed", "is_listening": false });
        show(
            stage,
            page,
            &json!({
                "is_paired": true, "last_contact": 0, "directive_heard": 9, "directive_done": 8, "outcomes_waiting": 3,
                "manufacturers": ["acme", "Acme Inc+Co"], "devices": [passive(Some(&waits))?],
                "verifying": [
                    pump("pump-1", &json!({ "offered": "1B", "postponed": "therapy" }))?,
                    pump("pump-2", &failed)?,
                ],
                "hub": { "address": null, "listening": [], "is_overdue": true },
                "stored": {
                    "records": 70_000, "bytes": 240_000_000, "capacity": 256_000_000, "oldest": 0, "receipted_at": null,
                    "devices": [{ "device": device("infusion-pump/pump-1")?, "records": 70_000, "batches": 500, "impossible": 2 }],
                    "refused_batches": 1,
                    "refused": [{
                        "device": device("infusion-pump/pump-1")?, "chain": "00112233445566778899aabbccddeeff",
                        "first": 1, "last": 9, "step": "figure 9, 194", "reason": "an unknown kind <of value>",
                    }],
                },
                "troubles": [
                    { "what": "clock", "why": "it is 20 days ahead of the server's: set it (NTP)", "since": 0 },
                    { "what": "hub: address", "why": "it is taken", "since": clock::now() },
                ],
            }),
        )
    }),
];

fn show(stage: &Stage, page: &GatewayPage, status: &Value) -> Result<()> {
    page.status.send_replace(stands(status)?);
    let title = Target::xpath("the page", "//h1[text()]");
    stage.visit(&format!("/?lang={}", stage.language()), &title)
}

/// A gateway that stands so, and otherwise as it was just switched on.
fn stands(so: &Value) -> Result<Status> {
    let mut status = json!({
        "version": "1.0.0", "gateway": device("gateway/ward-3")?, "is_paired": false, "is_connected": false, "last_contact": null,
        "directive_heard": 0, "directive_done": 0, "devices": [], "manufacturers": [], "outcomes_waiting": 0, "troubles": [],
    });
    let members = status.as_object_mut().context("an object")?;
    for (name, value) in so.as_object().context("an object")? {
        members.insert(name.clone(), value.clone());
    }
    serde_json::from_value(status).context("a status")
}

fn device(name: &str) -> Result<Value> {
    Ok(serde_json::to_value(device_of(name)?)?)
}

fn passive(waits: Option<&Value>) -> Result<Value> {
    let is = state(&device_of("scale/scale-1")?, "1A", None)?;
    Ok(json!({ "state": is, "is_updated_here": true, "waits": waits }))
}

fn pump(name: &str, so: &Value) -> Result<Value> {
    let of = device_of(&format!("infusion-pump/{name}"))?;
    let mut pump =
        json!({ "device": of, "state": state(&of, "1A", None)?, "is_updated_here": true, "is_listening": true });
    let members = pump.as_object_mut().context("an object")?;
    for (name, value) in so.as_object().context("an object")? {
        members.insert(name.clone(), value.clone());
    }
    Ok(pump)
}

//! The control unit's screens.

use std::cell::RefCell;

use anyhow::Result;
use wardlink_protocol::identity::SessionId;
use wardlink_tests::browser::Target;
use wardlink_tests::pump::{another, mistyped};
use wardlink_tests::worker::Worker;

use crate::scenery::Busy;
use crate::stage::{Row, Stage, World, failing, id, row};

/// A ward in which nothing has happened yet.
pub(crate) const EMPTY: &[Row<()>] = &[
    row("no requests", &[], |stage, ()| stage.visit("/#/requests", &id("no-requests"))),
    row("no devices", &[], |stage, ()| stage.visit("/#/devices", &id("no-devices"))),
    row("no services", &["route::Route::Services"], |stage, ()| stage.visit("/#/services", &id("no-services"))),
    row("no secrets of classes", &["route::Route::Provisioning"], |stage, ()| {
        stage.visit("/#/provisioning", &id("secrets"))
    }),
];

/// A ward in which something of everything has happened, as an administrator sees it.
pub(crate) const FULL: &[Row<Busy>] = &[
    row("connecting", &["live::Link::Connecting", "session::Stage::In"], |stage, _| {
        stage.browser.hold_requests(Some("*/api/v1/live"))?;
        stage.visit("/#/requests", &id("me"))
    }),
    row("requests", &["route::Route::Requests", "live::Link::Connected"], |stage, scenery| {
        scenery.verifying()?;
        stage.visit("/#/requests", &id("accept"))
    }),
    row("request, waiting", &[], |stage, scenery| open(stage, scenery.waiting, &id("accept-here"))),
    row("accepting", &["requests::ask::Ask::Accept"], |stage, scenery| {
        open(stage, scenery.waiting, &id("accept-here"))?;
        stage.browser.click(&id("accept-here"))?;
        stage.browser.see(&id("accept-form")).map(drop)
    }),
    row("accepting without a place", &[], |stage, scenery| {
        open(stage, scenery.waiting, &id("accept-here"))?;
        stage.browser.click(&id("accept-here"))?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
    row("rejecting", &["requests::ask::Ask::Reject"], |stage, scenery| {
        open(stage, scenery.waiting, &id("accept-here"))?;
        stage.browser.click(&id("reject"))?;
        stage.browser.see(&id("reject-form")).map(drop)
    }),
    row("request, verifying", &[], |stage, scenery| open(stage, scenery.verifying()?.0, &id("code-form"))),
    row("request, code mistyped", &[], |stage, scenery| {
        let (session, code) = scenery.verifying()?;
        open(stage, session, &id("code-form"))?;
        enter(stage, &mistyped(&code))
    }),
    row("request, code wrong", &[], |stage, scenery| {
        let (session, code) = scenery.verifying()?;
        open(stage, session, &id("code-form"))?;
        enter(stage, &another(&code, 1))
    }),
    row("cancelling", &["requests::ask::Ask::Cancel"], |stage, scenery| {
        open(stage, scenery.verifying()?.0, &id("cancel"))?;
        stage.browser.click(&id("cancel"))?;
        stage.browser.see(&id("cancel-form")).map(drop)
    }),
    row("request, ended", &[], |stage, scenery| open(stage, scenery.ended, &id("detail"))),
    row("request, finished", &[], |stage, scenery| {
        open(stage, scenery.finished, &Target::xpath("the way on", "//aside//a[contains(@href, \"#/devices/\")]"))
    }),
    row("request, gone", &[], |stage, _| {
        open(stage, SessionId([9; 16]), &Target::xpath("that it is gone", "//aside/p"))
    }),
    row("dismissed, with the way back", &[], |stage, scenery| {
        open(stage, scenery.ended, &id("ended-requests"))?;
        stage.browser.click(&id("dismiss").inside(&id("ended-requests")))?;
        stage.browser.see(&Target::xpath("a notice", "//*[@class=\"notice\"]")).map(drop)
    }),
    row("devices", &["route::Route::Devices"], |stage, _| stage.visit("/#/devices", &id("devices"))),
    row("devices, nothing found", &[], |stage, _| {
        stage.visit("/#/devices", &id("devices"))?;
        stage.browser.fill(&id("search"), "nothing like this")?;
        stage.browser.see_vanish(&id("devices"))
    }),
    row("device", &["route::Route::Device"], |stage, _| {
        stage.visit("/#/devices/infusion-pump/ip-1", &id("device-facts"))?;
        let figure = Target::xpath("a figure", "//*[@data-testid=\"figure\"][1]//b[not(. = \"–\")]");
        stage.browser.see(&figure).map(drop)
    }),
    row("giving an order", &[], |stage, _| give_order(stage)),
    row("giving an order without words", &[], |stage, _| {
        give_order(stage)?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
    row("an order is done", &[], |stage, _| {
        give_order(stage)?;
        stage.browser.fill(&Target::xpath("the words", "//input[@name=\"order-text\"]"), "Please call 2104")?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&Target::xpath(
            "that it is done",
            "//*[@data-testid=\"order-state\"]//*[contains(@class, \"done\")]",
        ))?;
        Ok(())
    }),
    row("device, with orders", &[], |stage, _| {
        stage.visit("/#/devices/infusion-pump/ip-1", &id("orders"))?;
        stage.browser.see(&Target::xpath("an order", "//*[@data-testid=\"order\"][@data-state=\"done\"]")).map(drop)
    }),
    row("device, unknown", &[], |stage, _| {
        stage.visit("/#/devices/infusion-pump/nothing", &Target::xpath("a heading", "//h1"))
    }),
    row("devices, choosing", &[], |stage, _| {
        stage.visit("/#/devices", &id("devices"))?;
        stage.browser.click(&id("select"))?;
        stage.browser.click(&id("select-all"))?;
        stage.browser.see(&Target::xpath("a chosen device", "//li[contains(@class, \"selected\")]")).map(drop)
    }),
    row("revoking", &["devices::revoke::Ask::Revoke"], |stage, _| {
        stage.visit("/#/devices/infusion-pump/ip-1", &id("revoke"))?;
        stage.browser.click(&id("revoke"))?;
        stage.browser.see(&id("revoke-form")).map(drop)
    }),
    row("revoking without a word", &[], |stage, _| {
        stage.visit("/#/devices/infusion-pump/ip-1", &id("revoke"))?;
        stage.browser.click(&id("revoke"))?;
        stage.browser.click(&Target::xpath("the last reason", "//*[@data-testid=\"reasons\"]//label[last()]"))?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
    row("taking a device out of service", &["devices::revoke::Ask::Decommission"], |stage, _| {
        stage.visit("/#/devices/infusion-pump/ip-1", &id("decommission"))?;
        stage.browser.click(&id("decommission"))?;
        stage.browser.see(&id("order-form")).map(drop)
    }),
    row("device, revoked", &[], |stage, scenery| {
        scenery.revoke()?;
        stage.visit("/#/devices/infusion-pump/ip-9", &id("revoked"))
    }),
    row("devices, revoked only", &[], |stage, scenery| {
        scenery.revoke()?;
        stage.visit("/#/devices", &id("devices"))?;
        stage.browser.click(&Target::xpath(
            "the last filter",
            "//*[contains(@class, \"list-tools\")]//*[@role=\"group\"]/button[last()]",
        ))?;
        stage
            .browser
            .see(&Target::xpath(
                "the revoked device",
                "//*[@data-testid=\"device\"][@data-device=\"infusion-pump/ip-9\"]",
            ))
            .map(drop)
    }),
    row("letting a device pair again", &["devices::revoke::Ask::Reinstate"], |stage, scenery| {
        scenery.revoke()?;
        stage.visit("/#/devices/infusion-pump/ip-9", &id("reinstate"))?;
        stage.browser.click(&id("reinstate"))?;
        stage.browser.see(&id("order-form")).map(drop)
    }),
    row("people", &["route::Route::People"], |stage, _| stage.visit("/#/people", &id("people"))),
    row("adding a person", &["people::Ask::Add"], |stage, _| {
        stage.visit("/#/people", &id("people"))?;
        stage.browser.click(&id("add-person"))?;
        stage.browser.see(&id("person-form")).map(drop)
    }),
    row("changing a role", &["people::Ask::Role"], |stage, _| ask_of_person(stage, 1)),
    row("changing a password", &["people::Ask::Password"], |stage, _| ask_of_person(stage, 2)),
    row("locked", &[], |stage, _| {
        stage.visit("/#/requests", &id("requests"))?;
        stage.browser.click(&id("lock-now"))?;
        stage.browser.see(&id("lock-screen")).map(drop)
    }),
    row("unlocked", &[], |stage, _| {
        stage.browser.click(&id("continue"))?;
        stage.browser.see(&id("requests")).map(drop)
    }),
    row("nowhere", &["route::Route::Unknown"], |stage, _| {
        stage.visit("/#/nowhere", &Target::xpath("a heading", "//h1"))
    }),
];

/// A worker that can be stopped.
pub(crate) struct Served;

impl World for Served {
    type In<'s> = RefCell<Worker<'s>>;
}

/// What is to be seen when the worker has gone.
pub(crate) const LOST: &[Row<Served>] = &[failing("connection lost", &["live::Link::Lost"], |stage, worker| {
    worker.borrow_mut().kill();
    worker.borrow_mut().restart()?;
    stage.visit("/#/requests", &id("requests"))?;
    stage.browser.see(&Target::xpath("that it is live", "//*[contains(@class, \"link-word live\")]"))?;
    worker.borrow_mut().kill();
    stage.browser.see(&id("connection-lost")).map(drop)
})];

/// Opens a pairing.
fn open(stage: &Stage, session: SessionId, target: &Target) -> Result<()> {
    stage.visit(&format!("/#/requests/{session}"), target)
}

/// Asks what a pump is to do.
fn give_order(stage: &Stage) -> Result<()> {
    stage.visit("/#/devices/infusion-pump/ip-1", &id("give-order"))?;
    stage.browser.click(&id("give-order"))?;
    stage.browser.see(&id("order-task-form")).map(drop)
}

/// Enters a code that will be refused.
pub(crate) fn enter(stage: &Stage, code: &str) -> Result<()> {
    stage.browser.fill(&id("code"), code)?;
    stage.submit("code-form")?;
    stage.browser.see(&Target::xpath("the complaint", "//*[@data-testid=\"code\"][@aria-invalid]")).map(drop)
}

/// Presses one of the buttons beside the first person.
fn ask_of_person(stage: &Stage, button: u8) -> Result<()> {
    stage.visit("/#/people", &id("people"))?;
    let button = Target::xpath("a button", &format!("//*[@data-testid=\"person\"][1]//button[{button}]"));
    stage.browser.click(&button)?;
    stage.browser.see(&id("person-form")).map(drop)
}

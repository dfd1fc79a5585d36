//! Software for devices: releases, offers, the catalog, gateways, outcomes, manufacturers.

use anyhow::{Context as _, Result};
use serde_json::json;
use std::fs;
use wardlink_protocol::api::{InventoryPreview, NewOffer, OfferScope, OfferView, OfferWhen};
use wardlink_tests::browser::Target;
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::ward::Ward;

use crate::stage::{Row, Stage, World, id, row};

/// A manufacturer at its desk.
pub(crate) struct Desk;

impl World for Desk {
    type In<'s> = Manufacturer<'s>;
}

/// A file of which no byte comes.
const NOTHING_IS_READ: &str = "Blob.prototype.arrayBuffer = () => new Promise(() => {})";
/// A server that takes its time.
const NOTHING_IS_ANSWERED: &str = "window.fetch = () => new Promise(() => {})";

/// Nothing is known yet.
pub(crate) const EMPTY: &[Row<Desk>] = &[
    row("no releases", &["route::Route::Releases"], |stage, _| stage.visit("/#/updates", &id("no-releases"))),
    row("no catalog", &["route::Route::Catalog"], |stage, _| stage.visit("/#/catalog", &id("no-catalog"))),
    row("no gateways", &["route::Route::Gateways"], |stage, _| stage.visit("/#/updates/gateways", &id("no-gateways"))),
    row("no outcomes", &["route::Route::Outcomes"], |stage, _| stage.visit("/#/updates/outcomes", &id("no-outcomes"))),
    row("no manufacturers", &["route::Route::Manufacturers"], |stage, _| {
        stage.visit("/#/updates/manufacturers", &id("no-manufacturers"))
    }),
    row("release, uploading for nobody", &["updates::releases::Ask::Upload"], |stage, _| {
        stage.visit("/#/updates", &id("no-releases"))?;
        stage.browser.click(&id("upload"))?;
        stage.browser.see(&id("no-makers")).map(drop)
    }),
    row("manufacturer, a new one", &["updates::manufacturers::Ask::Add"], |stage, desk| {
        stage.visit("/#/updates/manufacturers", &id("no-manufacturers"))?;
        stage.browser.click(&id("add-manufacturer"))?;
        stage.browser.fill(&Target::field("manufacturer"), desk.name())?;
        stage.browser.choose(&Target::field("root"), &desk.first_root())?;
        stage.browser.see(&id("root-hash")).map(drop)
    }),
    row("manufacturer, not compared", &[], |stage, desk| {
        stage.visit("/#/updates/manufacturers", &id("no-manufacturers"))?;
        stage.browser.click(&id("add-manufacturer"))?;
        stage.browser.choose(&Target::field("root"), &desk.first_root())?;
        stage.browser.see(&id("root-hash"))?;
        stage.submit("manufacturer-form")?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
];

/// Releases, one of them offered, and devices that could take them.
pub(crate) const FULL: &[Row<Desk>] = &[
    row("releases", &[], |stage, _| stage.visit("/#/updates", &id("offered"))),
    row("release, uploading", &["updates::upload::Stage::Choosing"], |stage, _| {
        ask(stage, "/#/updates", "upload", "upload-form")
    }),
    row("release, uploading, verifying", &["updates::upload::Stage::Verifying"], |stage, desk| {
        ask(stage, "/#/updates", "upload", "upload-form")?;
        stage.browser.script::<()>(NOTHING_IS_READ)?;
        stage.browser.choose(&Target::field("folder"), &desk.repository())?;
        stage.browser.see(&id("upload-progress")).map(drop)
    }),
    row("release, uploading, verified", &["updates::upload::Stage::Verified"], |stage, desk| {
        ask(stage, "/#/updates", "upload", "upload-form")?;
        stage.browser.choose(&Target::field("folder"), &desk.repository())?;
        stage.browser.see(&id("upload-verified")).map(drop)
    }),
    row("release, uploading, sending", &["updates::upload::Stage::Sending"], |stage, desk| {
        ask(stage, "/#/updates", "upload", "upload-form")?;
        stage.browser.choose(&Target::field("folder"), &desk.repository())?;
        stage.browser.see(&id("upload-verified"))?;
        stage.browser.script::<()>(NOTHING_IS_ANSWERED)?;
        stage.submit("upload-form")?;
        stage.browser.see(&id("upload-progress")).map(drop)
    }),
    row("release, uploading something else", &[], |stage, desk| {
        ask(stage, "/#/updates", "upload", "upload-form")?;
        stage.browser.choose(&Target::field("folder"), &desk.repository().join("targets"))?;
        stage
            .browser
            .see(&Target::xpath("the refusal", "//*[@data-testid=\"upload-refused\"][normalize-space()]"))
            .map(drop)
    }),
    row("release, contents", &["updates::releases::Ask::Contents"], |stage, _| {
        ask(stage, "/#/updates", "contents", "release-contents")
    }),
    row("release, offering", &["updates::releases::Ask::Offer"], |stage, _| {
        ask(stage, "/#/updates", "offer", "offer-form")
    }),
    row("release, offering to chosen devices", &[], |stage, _| {
        ask(stage, "/#/updates", "offer", "offer-form")?;
        stage.browser.click(&Target::choice("devices"))?;
        stage.browser.click(&Target::choice("window"))?;
        stage.browser.see(&id("offer-devices"))?;
        stage.submit("offer-form")?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//p[@class=\"error\"][normalize-space()]")).map(drop)
    }),
    row("offer, no devices", &[], |stage, _| stage.visit("/#/updates/offers/1", &id("no-offer-devices"))),
    row("offer, its devices", &["route::Route::Offer"], |stage, _| {
        stage.visit("/#/updates/offers/2", &id("offer-device"))?;
        stage.browser.see(&id("offer-facts")).map(drop)
    }),
    row("offer, withdrawing", &["updates::releases::Ask::Withdraw"], |stage, _| {
        ask(stage, "/#/updates", "withdraw", "withdraw-form")
    }),
    row("catalog", &[], |stage, _| stage.visit("/#/catalog", &id("catalog-device"))),
    row("catalog, nothing found", &[], |stage, _| {
        stage.visit("/#/catalog", &id("catalog-device"))?;
        stage.browser.fill(&id("catalog-find"), "nothing of this name")?;
        stage.browser.see_vanish(&id("catalog-device"))
    }),
    row("catalog, nothing in conflict", &[], |stage, _| {
        stage.visit("/#/catalog", &id("catalog-device"))?;
        stage.browser.click(&Target::xpath("the choice", "//select[@name=\"update\"]/option[@value=\"conflict\"]"))?;
        stage.browser.see_vanish(&id("catalog-device"))
    }),
    row("catalog, a device", &["route::Route::CatalogDevice"], |stage, _| {
        stage.visit("/#/catalog/infusion-pump/ip-1", &id("update-state"))
    }),
    row("catalog, another gateway", &["updates::device::Ask::Move"], |stage, _| {
        ask(stage, "/#/catalog/infusion-pump/ip-1", "move", "move-form")
    }),
    row("catalog, data through other gateways", &["updates::device::Ask::Uploads"], |stage, _| {
        ask(stage, "/#/catalog/infusion-pump/ip-1", "uploads", "uploads-form")
    }),
    row("catalog, for whom a device is there", &["updates::device::Ask::Patient"], |stage, _| {
        ask(stage, "/#/catalog/infusion-pump/ip-1", "patient", "patient-form")?;
        stage.submit("patient-form")?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//p[@class=\"error\"][normalize-space()]")).map(drop)
    }),
    row("pushing to a class", &["updates::gateways::Ask::Push"], |stage, _| {
        ask(stage, "/#/updates/gateways", "push-class", "push-form")
    }),
    row("manufacturers", &[], |stage, _| stage.visit("/#/updates/manufacturers", &id("manufacturer"))),
    row("manufacturer, tokens", &["updates::manufacturers::Ask::Tokens"], |stage, _| {
        ask(stage, "/#/updates/manufacturers", "tokens", "tokens-form")?;
        stage.browser.click(&id("make-token"))?;
        stage.browser.see(&id("token")).map(drop)
    }),
    row("manufacturer, revoking a token", &[], |stage, _| {
        ask(stage, "/#/updates/manufacturers", "tokens", "tokens-form")?;
        stage.browser.click(&id("revoke-token"))?;
        stage.browser.see(&Target::xpath(
            "the question",
            "//*[@data-testid=\"revoke-token\"][contains(@aria-label, \"for good\") or contains(@aria-label, \"Endgültig\")]",
        ))?;
        Ok(())
    }),
    row("manufacturer, confidential", &["updates::manufacturers::Ask::Confidential"], |stage, _| {
        ask(stage, "/#/updates/manufacturers", "keep-confidential", "confidential-form")
    }),
    row("manufacturer, ending", &["updates::manufacturers::Ask::End"], |stage, _| {
        ask(stage, "/#/updates/manufacturers", "end-manufacturer", "end-manufacturer-form")
    }),
    row("inventory", &["updates::manufacturers::Ask::Inventory"], |stage, desk| {
        ask(stage, "/#/updates/manufacturers", "inventory", "inventory-form")?;
        stage.browser.choose(&Target::field("inventory"), &desk.path("inventory.json"))?;
        stage.submit("inventory-form")?;
        stage.browser.see(&id("inventory-preview")).map(drop)
    }),
];

fn ask(stage: &Stage, page: &str, button: &str, form: &str) -> Result<()> {
    stage.visit(page, &id(button))?;
    stage.browser.click(&id(button))?;
    stage.browser.see(&id(form)).map(drop)
}

/// Publishes two releases, imports an inventory, and offers one release to all and one to a device.
pub(crate) fn published<'s>(ward: &Ward<'_>, desk: Manufacturer<'s>) -> Result<Manufacturer<'s>> {
    desk.onboard(&ward.administrator)?;
    desk.add("1A", "1B", b"an earlier program", &[])?;
    desk.add("1B", "1C", b"a later program", &[])?;
    desk.publish(&ward.worker.origin())?;
    let device = |identifier: &str| {
        json!({ "characteristics": {
            "device": { "client": "infusion-pump", "identifier": identifier }, "manufacturer": desk.name(),
            "model": "PM2", "serial_number": format!("SN-{identifier}"), "revision": "1B", "hardware": "PM2-B",
        }})
    };
    let inventory = desk.inventory(&json!([device("ip-1"), device("ip-2")]))?;
    let _: InventoryPreview = ward.administrator.post("inventories", &inventory)?;
    // Another one, which is looked at only.
    let next = desk.inventory(&json!([device("ip-1"), device("ip-2"), device("ip-3")]))?;
    fs::write(desk.path("inventory.json"), next.to_string()).context("cannot write the inventory")?;
    let chosen = vec!["infusion-pump/ip-1".parse()?];
    for (revision, scope) in [("1C", OfferScope::Model), ("1B", OfferScope::Devices(chosen))] {
        let (path, when) = (desk.program(revision), OfferWhen::NextSafeMoment);
        let _: OfferView = ward.administrator.post("offers", &NewOffer { path, scope, when, added: Vec::new() })?;
    }
    Ok(desk)
}

//! The catalog of a large house in the browser: 10,000 devices that are imported, found, looked through and saved.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogPage, NewOffer, OfferScope, OfferView, OfferWhen};
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::fleet::Fleet;
use wardlink_tests::hub::state;
use wardlink_tests::table::{self, Row};
use wardlink_tests::{Scene, scene, wait};
use wardlink_update::package::ReleaseCounter;
use wardlink_update::uptane::{Outcome, Postponed};

/// The pumps of the house: every tenth has a newer revision.
const PUMPS: usize = 8_000;
/// Its scales.
const SCALES: usize = 2_000;
/// The pumps behind its gateway.
const REPORTED: usize = 150;
/// The devices of one page.
const PAGE: usize = 100;

/// A device of the inventory: its name, and the revision with which it was delivered.
fn delivered() -> impl Iterator<Item = (Device, &'static str)> {
    let pumps = (1..=PUMPS)
        .map(|number| (format!("infusion-pump/pump-{number:05}"), if number % 10 == 0 { "1B" } else { "1A" }));
    let scales = (1..=SCALES).map(|number| (format!("scale/scale-{number:05}"), "1A"));
    pumps.chain(scales).filter_map(|(name, revision)| Some((name.parse().ok()?, revision)))
}

/// What the manufacturer signs of a device.
fn record((device, revision): (Device, &str)) -> Value {
    let (model, hardware) = if device.client.as_str() == "scale" { ("S1", "B") } else { ("PM2", "PM2-B") };
    json!({ "characteristics": {
        "device": { "client": device.client, "identifier": device.identifier }, "manufacturer": "acme", "model": model,
        "serial_number": format!("S-{}", device.identifier), "revision": revision, "hardware": hardware,
    } })
}

fn device() -> Target {
    Target::id("catalog-device")
}

fn choice(name: &str, value: &str) -> Target {
    Target::xpath(&format!("the choice {value}"), &format!("//select[@name={name:?}]/option[@value={value:?}]"))
}

/// How many devices fit what is asked, as the page says it.
fn found(desk: &Browser, count: usize) -> Result<()> {
    desk.see(&Target::xpath(&format!("{count} devices"), &format!("//p[@role=\"status\"][.=\"Devices: {count}\"]")))
        .map(drop)
}

/// The names of the devices that the page shows, in their order.
fn shown(desk: &Browser) -> Result<Vec<String>> {
    desk.script("return [...document.querySelectorAll('[data-testid=catalog-device]')].map(row => row.dataset.device)")
}

/// The revisions of a table's devices.
fn revisions(rows: &[Row]) -> Result<BTreeMap<String, String>> {
    let of = |row: &Row| {
        let cell = |name: &str| row.get(name).cloned().context("a column");
        ensure!(cell("serial_number")? == format!("S-{}", cell("identifier")?), "{row:?}");
        Ok((format!("{}/{}", cell("client")?, cell("identifier")?), cell("revision")?))
    };
    rows.iter().map(of).collect()
}

/// A house whose manufacturer delivers pumps and scales, and its inventory, as a file.
fn house(scene: &Scene) -> Result<(Fleet<'_>, PathBuf)> {
    let hospital = Fleet::with_pages(scene)?;
    hospital.acme.delegate(&["infusion-pump/PM2", "scale/S1"])?;
    hospital.release("1A", "1B", &[])?;
    let inventory = hospital.acme.inventory(&delivered().map(record).collect())?;
    let file = hospital.acme.path("inventory.json");
    fs::write(&file, inventory.to_string()).context("cannot write the inventory")?;
    Ok((hospital, file))
}

#[test]
fn ten_thousand_devices_are_imported_found_looked_through_and_saved() -> Result<()> {
    scene(|scene| {
        let (hospital, inventory) = house(scene)?;
        let page = |path: &str| format!("{}/#/{path}", hospital.ward.worker.origin());
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page("updates/manufacturers"), ADMINISTRATOR)?;
        desk.click(&Target::id("inventory"))?;
        desk.choose(&Target::field("inventory"), &inventory)?;
        wait::until("the file to be read", || {
            desk.click(&Target::id("confirm"))?;
            Ok((!desk.sees(&Target::text("Choose a file."))?).then_some(()))
        })?;
        ensure!(
            desk.see(&Target::id("inventory-preview"))?.contains("Devices 10000: new 10000, changed 0"),
            "the preview"
        );
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("Imported: 10000"))?;

        // The first pages, in their order, without one that is missing or twice.
        desk.open(&page("catalog"))?;
        found(&desk, PUMPS + SCALES)?;
        let names: Vec<String> = delivered().map(|(device, _)| device.to_string()).collect();
        for pages in 1..=6 {
            desk.see_count(&device(), pages * PAGE)?;
            desk.click(&Target::id("catalog-more"))?;
        }
        desk.see_count(&device(), 7 * PAGE)?;
        assert_eq!(Some(shown(&desk)?.as_slice()), names.get(..7 * PAGE));

        // By words, from among all of them.
        let find = Target::id("catalog-find");
        desk.fill(&find, "s-pump-07777")?;
        found(&desk, 1)?;
        desk.see_count(&device(), 1)?;
        assert_eq!(shown(&desk)?, ["infusion-pump/pump-07777"]);
        desk.fill(&find, "pm2 1b")?;
        found(&desk, PUMPS / 10)?;
        let newer: Vec<&String> = names.iter().take(PUMPS).skip(9).step_by(10).collect();
        desk.walk(&device(), &Target::id("catalog-more"), &[100, 200, 300, 400, 500, 600, 700, 800])?;
        assert_eq!(shown(&desk)?.iter().collect::<Vec<_>>(), newer);
        desk.fill(&find, "nothing of this name")?;
        desk.see(&Target::text("No device fits."))?;
        desk.fill(&find, " ")?;
        desk.click(&choice("class", "scale"))?;
        found(&desk, SCALES)?;
        desk.see_count(&device(), PAGE)?;
        assert_eq!(Some(shown(&desk)?.as_slice()), names.get(PUMPS..PUMPS + PAGE));

        // What is found is saved to the last row, and no more than that.
        let delivered: BTreeMap<String, String> =
            delivered().map(|(device, revision)| (device.to_string(), revision.to_owned())).collect();
        desk.click(&Target::id("export-catalog"))?;
        desk.see(&Target::text("Entries saved: 2000"))?;
        let saved = table::read(&desk.saved("catalog.csv")?)?;
        assert_eq!(saved.len(), SCALES);
        let scales: BTreeMap<_, _> =
            delivered.clone().into_iter().filter(|(name, _)| name.starts_with("scale/")).collect();
        ensure!(revisions(&saved)? == scales, "the scales");
        desk.click(&choice("class", ""))?;
        found(&desk, PUMPS + SCALES)?;
        desk.click(&Target::id("export-catalog"))?;
        let saved = table::read(&desk.saved("catalog.csv")?)?;
        assert_eq!(saved.len(), PUMPS + SCALES);
        ensure!(revisions(&saved)? == delivered, "every device");

        // One of them, and back.
        desk.fill(&find, "pump-00010")?;
        found(&desk, 1)?;
        desk.click(&Target::xpath("the device", "//*[@data-testid=\"catalog-device\"]//h2/a"))?;
        desk.see(&Target::xpath("its history", "//*[@data-testid=\"history\"][contains(., \"Inventory\")]"))?;
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn lists_of_the_updates_are_walked_to_the_end_and_filters_hold_on_every_page() -> Result<()> {
    scene(|scene| {
        let (hospital, inventory) = house(scene)?;
        let inventory: Value = serde_json::from_slice(&fs::read(inventory)?).context("an inventory is JSON")?;
        let administrator = &hospital.ward.administrator;
        let _: Value = administrator.post("inventories", &inventory)?;
        let mut hub = hospital.ward.hub("hub-1")?;
        let mut talk = hub.connect()?;
        let behind: Vec<(Device, &str)> = delivered().take(REPORTED).collect();
        let states =
            behind.iter().map(|(device, revision)| state(device, revision, None)).collect::<Result<Vec<_>>>()?;
        ensure!(talk.report(hub.report("1B", None, &states)?)?.is_none(), "the report is taken");
        let path = hospital.acme.program("1B");
        let new = NewOffer {
            path: path.clone(),
            scope: OfferScope::Model,
            when: OfferWhen::NextSafeMoment,
            added: Vec::new(),
        };
        let offer: OfferView = administrator.post("offers", &new)?;
        let old: Vec<&Device> =
            behind.iter().filter(|(_, revision)| *revision == "1A").map(|(device, _)| device).collect();
        let directed = wait::patiently("all of them to be directed", || {
            let directive = hub.directive(&talk.welcome)?;
            Ok(old.iter().all(|device| directive.order_for(device).is_some()).then_some(directive.version))
        })?;
        for until in [Postponed::Therapy, Postponed::Unsafe] {
            for device in &old {
                let refused = talk.outcome(device, directed, &path, Outcome::Postponed(until))?;
                ensure!(refused.is_none(), "{refused:?}");
            }
        }

        let page = |path: &str| format!("{}/#/{path}", hospital.ward.worker.origin());
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page("catalog"), ADMINISTRATOR)?;
        let more = Target::id("catalog-more");
        found(&desk, PUMPS + SCALES + 1)?;
        desk.click(&choice("gateway", "infusion-pump/hub-1"))?;
        found(&desk, REPORTED + 1)?;
        desk.walk(&device(), &more, &[PAGE, REPORTED + 1])?;
        desk.click(&choice("update", "postponed"))?;
        found(&desk, old.len())?;
        desk.walk(&device(), &more, &[PAGE, old.len()])?;
        assert_eq!(shown(&desk)?, old.iter().map(ToString::to_string).collect::<Vec<_>>());

        // What changes on a page that was asked for changes while the person looks.
        let last = old.last().context("a device")?;
        let release_counter = ReleaseCounter::new(2).context("a counter")?;
        let installed = Outcome::Installed { revision: "1B".parse()?, release_counter };
        ensure!(talk.outcome(last, directed, &path, installed)?.is_none(), "it is taken");
        desk.see_vanish(&Target::row("catalog-device", &last.to_string()))?;
        desk.see_count(&device(), old.len() - 1)?;

        desk.open(&page(&format!("updates/offers/{}", offer.id)))?;
        let row = Target::id("offer-device");
        desk.walk(&row, &Target::id("offer-devices-more"), &[PAGE, old.len()])?;
        let of_last =
            format!("//*[@data-testid=\"offer-device\"][@data-device=\"{last}\"][@data-standing=\"installed\"]");
        desk.see(&Target::xpath("the last device", &of_last))?;

        let outcomes = 2 * old.len() + 1;
        desk.open(&page("updates/outcomes"))?;
        let (row, more) = (Target::id("outcome"), Target::id("outcomes-more"));
        desk.walk(&row, &more, &[200, outcomes])?;
        // A new one comes: none of the others goes.
        let first = old.first().context("a device")?;
        ensure!(talk.outcome(first, directed, &path, Outcome::Postponed(Postponed::Window))?.is_none(), "it is taken");
        desk.see_count(&row, outcomes + 1)?;
        desk.click(&Target::id("export-outcomes"))?;
        let saved = table::read(&desk.saved("outcomes.csv")?)?;
        assert_eq!(saved.len(), outcomes + 1);

        // A device to which a release is offered is chosen from wherever it stands.
        desk.open(&page("updates"))?;
        desk.click(&Target::id("offer"))?;
        desk.click(&Target::choice("devices"))?;
        let pick = Target::xpath("a device to choose", "//*[@data-testid=\"offer-devices\"]//label[@class=\"choice\"]");
        desk.see_count(&pick, PAGE)?;
        desk.click(&Target::id("offer-more"))?;
        desk.see_count(&pick, 2 * PAGE)?;
        desk.click(&Target::xpath(
            "the last of them",
            "(//*[@data-testid=\"offer-devices\"]//label[@class=\"choice\"])[last()]",
        ))?;
        desk.fill(&Target::id("offer-find"), "pump-07777")?;
        desk.see_count(&pick, 1)?;
        desk.click(&pick)?;
        desk.see(&Target::text("Chosen: 2"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see_vanish(&Target::id("offer-form"))?;
        let offers: Vec<OfferView> = administrator.get("offers")?;
        let chosen = offers.iter().find_map(|offer| match &offer.scope {
            OfferScope::Devices(devices) => Some(devices.iter().map(ToString::to_string).collect::<Vec<_>>()),
            _ => None,
        });
        assert_eq!(chosen.context("the offer")?, ["infusion-pump/pump-00199", "infusion-pump/pump-07777"]);
        let all: CatalogPage = administrator.get("catalog?client=infusion-pump")?;
        assert_eq!(all.total, u64::try_from(PUMPS + 1)?);
        Ok(())
    })
}

//! Every screen, in both languages and themes, on phone and desk, so that every two of these meet: nothing that axe finds (WCAG 2.2 AA and good practice), nothing that the
//! Content Security Policy refuses, no complaint in the console, nothing that sticks out of the screen, and a way through it
//! with the keyboard alone.
//!
//! A new screen is a row in one of the tables ([`doors`], [`control_unit`], [`rules`], [`phone`], [`display`]); [`coverage`] fails when the app lists
//! one that has none. With `WARDLINK_PICTURES=<folder>` each is looked at in every combination, and pictures are written there.

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Aim, Browser, Screen};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward};
use wardlink_tests::worker::{Host, Worker};

use display::Display;
use gateway::GatewayPage;
use scenery::Scenery;
use stage::{Row, Stage, World};

mod colours;
mod control_unit;
mod coverage;
mod display;
mod doors;
mod gateway;
mod phone;
mod records;
mod rules;
mod scenery;
mod stage;
mod updates;
mod walk;

#[test]
fn the_doors_are_in_order() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_under(scene, Host::WithPages, &[])?;
        let stage = Stage::open(scene, worker.origin(), Aim::Pointer)?;
        stage.show(doors::TABLE, &())?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_the_control_unit_is_in_order() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Pointer)?;
        stage.sign_in("/", ADMINISTRATOR)?;
        stage.show(control_unit::EMPTY, &())?;
        let scenery = Scenery::build(scene, ward)?;
        stage.show(control_unit::FULL, &scenery)?;
        stage.show(control_unit::LOST, &RefCell::new(scenery.ward.worker))?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_the_rules_is_in_order() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Pointer)?;
        stage.sign_in("/", ADMINISTRATOR)?;
        stage.show(rules::TABLE, &Scenery::build(scene, ward)?)?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_updates_is_in_order() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Pointer)?;
        stage.sign_in("/", ADMINISTRATOR)?;
        let acme = Manufacturer::found(scene, "acme")?;
        stage.show(updates::EMPTY, &acme)?;
        stage.show(updates::FULL, &updates::published(&ward, acme)?)?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_stored_data_is_in_order() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Pointer)?;
        stage.sign_in("/", ADMINISTRATOR)?;
        stage.show(records::EMPTY, &())?;
        records::recorded(&ward)?;
        stage.show(records::FULL, &())?;
        stage.verdict()
    })
}

#[test]
fn the_screens_of_a_site_that_waits_for_the_hospitals_ca_are_in_order() -> Result<()> {
    scene(|scene| {
        // Nobody listens there.
        let variables = [("EST_URL", "http://127.0.0.1:9"), ("EST_ROOT_SHA256", &"00".repeat(32))];
        let worker = Worker::start_under(scene, Host::WithPages, &variables)?;
        let ward = Ward::around(scene, worker)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Pointer)?;
        stage.sign_in("/", ADMINISTRATOR)?;
        stage.show(rules::WAITING_FOR_CA, &())?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_the_phone_is_in_order() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let stage = Stage::open(scene, ward.worker.origin(), Aim::Thumb)?;
        stage.sign_in("/verify", NURSE)?;
        stage.show(phone::EMPTY, &())?;
        let scenery = Scenery::build(scene, ward)?;
        stage.show(phone::FULL, &scenery)?;
        stage.verdict()
    })
}

#[test]
fn every_screen_of_the_pump_is_in_order() -> Result<()> {
    scene(|scene| {
        for (count, table) in [(1, display::TABLE), (2, display::SEVERAL)] {
            let display = Display::serve(count)?;
            let stage = Stage::open(scene, display.origin.clone(), Aim::Pointer)?;
            stage.show(table, &display)?;
            stage.verdict()?;
        }
        Ok(())
    })
}

#[test]
fn every_screen_of_the_gateway_is_in_order() -> Result<()> {
    scene(|scene| {
        for aim in [Aim::Pointer, Aim::Thumb] {
            let page = GatewayPage::serve()?;
            let stage = Stage::open(scene, page.origin.clone(), aim)?;
            stage.show(gateway::TABLE, &page)?;
            stage.verdict()?;
        }
        Ok(())
    })
}

#[test]
fn every_screen_that_the_app_lists_has_a_row() -> Result<()> {
    fn shown<W: World>(table: &[Row<W>]) -> impl Iterator<Item = String> {
        table.iter().flat_map(|row| row.shows).map(|&name| name.to_owned())
    }
    let shown: BTreeSet<String> = shown(doors::TABLE)
        .chain(shown(control_unit::EMPTY))
        .chain(shown(control_unit::FULL))
        .chain(shown(control_unit::LOST))
        .chain(shown(rules::TABLE))
        .chain(shown(updates::EMPTY))
        .chain(shown(updates::FULL))
        .chain(shown(records::EMPTY))
        .chain(shown(records::FULL))
        .chain(shown(phone::EMPTY))
        .chain(shown(phone::FULL))
        .chain(shown(display::TABLE))
        .chain(shown(display::SEVERAL))
        .collect();
    let listed = coverage::listed()?;
    ensure!(listed.contains("route::Route::Devices"), "the lists are no longer found: {listed:?}");
    let without_row: Vec<&String> = listed.difference(&shown).collect();
    ensure!(without_row.is_empty(), "the app lists screens that no table has: {without_row:?}");
    let unknown: Vec<&String> = shown.difference(&listed).collect();
    ensure!(unknown.is_empty(), "the tables name screens that the app does not list: {unknown:?}");
    let forms = coverage::forms()?;
    ensure!(forms.contains("sign-in") && forms.contains("accept-form"), "the forms are no longer found: {forms:?}");
    let tables = [
        include_str!("doors.rs"),
        include_str!("control_unit.rs"),
        include_str!("rules.rs"),
        include_str!("updates.rs"),
        include_str!("records.rs"),
        include_str!("phone.rs"),
    ];
    let unseen: Vec<&String> =
        forms.iter().filter(|form| !tables.iter().any(|table| table.contains(&format!("\"{form}\"")))).collect();
    ensure!(unseen.is_empty(), "no table opens these forms of the app: {unseen:?}");
    Ok(())
}

#[test]
fn what_is_wrong_with_a_page_is_found() -> Result<()> {
    scene(|scene| {
        let browser = Browser::start(scene, Screen::Phone)?;
        browser.open(
            "data:text/html,<title>Wrong</title><main><h1>Wrong</h1><p style='color:%23ccc'>pale</p><img src='x'>\
             <button style='width:10px;height:10px;padding:0'>a</button><button style='width:10px;height:10px;padding:0'>b</button>\
             <p tabindex='0' style='outline:0'>quiet</p></main>",
        )?;
        let rules: Vec<String> = browser.violations(Aim::Thumb)?.into_iter().map(|found| found.rule).collect();
        for rule in ["color-contrast", "html-has-lang", "image-alt", "target-size", "thumb-target"] {
            ensure!(rules.iter().any(|found| found == rule), "{rule} is not found: {rules:?}");
        }
        let faults = walk::walk(&browser)?.join("\n");
        ensure!(faults.contains("nothing shows that the focus is on"), "{faults}");
        Ok(())
    })
}

//! From what a manufacturer has released to what devices run, as a person decides it and watches it in the browser.

use anyhow::{Result, ensure};
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::fleet::Fleet;
use wardlink_tests::scene;

/// The row of something that is marked with its path.
fn of_path(id: &str, path: &str) -> Target {
    Target::xpath(&format!("{id} {path}"), &format!("//*[@data-testid={id:?}][@data-path={path:?}]"))
}

/// A chip or a fact with these words.
fn with_words(id: &str, words: &str) -> Target {
    Target::xpath(
        &format!("{id}: {words}"),
        &format!("//*[@data-testid={id:?}][contains(normalize-space(.), {words:?})]"),
    )
}

#[test]
fn a_person_keeps_a_release_confidential_offers_it_to_one_device_and_watches_it_arrive() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        let _north = hospital.gateway("north", &["n-1", "n-2"], &[])?;
        hospital.release("1A", "1B", &[])?;
        let page = |path: &str| format!("{}/#/{path}", hospital.ward.worker.origin());
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page("updates/manufacturers"), ADMINISTRATOR)?;
        desk.click(&Target::id("keep-confidential"))?;
        desk.see(&Target::id("confidential-form"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::id("confidential"))?;

        // One device of the model is chosen.
        desk.open(&page("updates"))?;
        let release = of_path("release", &hospital.acme.program("1B"));
        desk.click(&Target::id("offer").inside(&release))?;
        desk.click(&Target::choice("devices"))?;
        desk.fill(&Target::id("offer-find"), "n-1")?;
        desk.click(&Target::xpath("the device n-1", "//*[@data-testid=\"offer-devices\"]//label[.//b=\"n-1\"]"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&of_path("offered", &hospital.acme.program("1B")))?;

        // How far that one is with it changes while the person looks.
        desk.click(&Target::xpath("the offer", "//*[@data-testid=\"offered\"]//h2/a"))?;
        desk.see(&Target::xpath(
            "the device of the offer",
            "//*[@data-testid=\"offer-device\"][@data-device=\"infusion-pump/n-1\"][@data-standing=\"installed\"]",
        ))?;

        // Its state changes while the person looks, and what became of it is told.
        desk.open(&page("catalog/infusion-pump/n-1"))?;
        desk.see(&with_words("history", "1B"))?;
        desk.see(&with_words("update-state", "Up to date"))?;
        desk.open(&page("updates/outcomes"))?;
        desk.see(&Target::xpath(
            "the outcome",
            "//*[@data-testid=\"outcome\"][@data-outcome=\"installed\"][contains(., \"n-1\")]",
        ))?;
        desk.click(&Target::id("export-outcomes"))?;
        desk.see(&Target::text("records were saved"))?;

        // The catalog is looked through by gateway and by what needs a decision.
        desk.open(&page("catalog"))?;
        let choose = |name: &str, value: &str| {
            let option = format!("//select[@name={name:?}]/option[contains(@value, {value:?})]");
            desk.click(&Target::xpath(&format!("the choice {value}"), &option))
        };
        choose("gateway", "north")?;
        desk.see(&Target::row("catalog-device", "infusion-pump/n-1"))?;
        choose("update", "conflict")?;
        desk.see_vanish(&Target::id("catalog-device"))?;
        ensure!(hospital.revision("n-2")? == "1A", "nobody has offered it to the other one");

        // Public again, by the same way.
        desk.open(&page("updates/manufacturers"))?;
        desk.click(&Target::id("keep-confidential"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see_vanish(&Target::id("confidential"))
    })
}

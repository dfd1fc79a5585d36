//! From what a manufacturer has released to what devices run, as a person decides it and watches it in the browser.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use wardlink_protocol::api::{CatalogPage, OfferScope, OfferView, OfferWhen, Pushed, UpdateState};
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::fleet::{Fleet, TAKES_DATA, library, settings};
use wardlink_tests::hub::state;
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};
use wardlink_update::uptane::Outcome;

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

/// A fact of a device, by its name and a word of its value.
fn fact(name: &str, word: &str) -> Target {
    Target::xpath(&format!("{name}: {word}"), &format!("//dl/div[dt[.={name:?}]]/dd[contains(., {word:?})]"))
}

/// A screen of the web app.
fn page(hospital: &Fleet<'_>, path: &str) -> String {
    format!("{}/#/{path}", hospital.ward.worker.origin())
}

#[test]
fn a_person_keeps_a_release_confidential_offers_it_to_one_device_and_watches_it_arrive() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
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
        desk.see(&Target::text("Entries saved:"))?;

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

#[test]
fn a_person_moves_a_device_to_another_gateway_and_decides_between_two_that_report_it() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
        let (mut first, mut second) = (hospital.ward.hub("pump-1")?, hospital.ward.hub("pump-2")?);
        let (mut one, mut two) = (first.connect()?, second.connect()?);
        let (moving, disputed) = (state(&device("n-1")?, "1A", None)?, state(&device("n-2")?, "1A", None)?);
        one.report(first.report("1A", None, &[moving, disputed.clone()])?)?;
        two.report(second.report("1A", None, &[disputed])?)?;

        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page(&hospital, "catalog/infusion-pump/n-1"), ADMINISTRATOR)?;
        desk.see(&fact("Updated through", "infusion-pump/pump-1"))?;
        let choose = |gateway: &str| -> Result<()> {
            desk.click(&Target::id("move"))?;
            desk.click(&Target::choice(gateway).inside(&Target::id("move-form")))?;
            desk.click(&Target::id("confirm"))?;
            desk.see_vanish(&Target::id("move-form"))
        };
        choose("infusion-pump/pump-2")?;
        desk.see(&Target::text("It is updated through pump-2 now."))?;
        desk.see(&fact("Updated through", "infusion-pump/pump-2"))?;
        desk.see(&with_words("history", "Gateway: infusion-pump/pump-1 → infusion-pump/pump-2"))?;

        // Of the other one it is said that nobody knows where it is, until a person does.
        desk.open(&page(&hospital, "catalog/infusion-pump/n-2"))?;
        let conflict = Target::text("Two gateways report this device");
        desk.see(&conflict)?;
        desk.see(&Target::text("infusion-pump/pump-1 and infusion-pump/pump-2."))?;
        choose("infusion-pump/pump-2")?;
        desk.see_vanish(&conflict)?;
        desk.see(&fact("Updated through", "infusion-pump/pump-2"))?;
        let conflicts: CatalogPage = hospital.ward.administrator.get("catalog?update=conflict")?;
        assert_eq!(conflicts.total, 0);
        Ok(())
    })
}

#[test]
fn a_person_looks_at_an_inventory_and_then_imports_what_was_shown() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
        hospital.release("1A", "1B", &[])?;
        let inventory = |names: &[&str]| {
            let record = |name: &&str| {
                json!({ "characteristics": {
                    "device": { "client": "infusion-pump", "identifier": name }, "manufacturer": "acme", "model": "PM2",
                    "serial_number": format!("SN-{name}"), "revision": "1A", "hardware": "PM2-B",
                } })
            };
            hospital.acme.inventory(&names.iter().map(record).collect())
        };
        let [good, forged] = ["good.json", "forged.json"].map(|name| hospital.acme.path(name));
        let signed = inventory(&["stored-1", "stored-2"])?;
        fs::write(&good, signed.to_string()).context("cannot write an inventory")?;
        fs::write(&forged, signed.to_string().replace("SN-stored-1", "SN-another")).context("cannot forge one")?;

        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page(&hospital, "updates/manufacturers"), ADMINISTRATOR)?;
        desk.click(&Target::id("inventory"))?;
        let (field, preview) = (Target::field("inventory"), Target::id("inventory-preview"));
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("Choose a file."))?;
        let form = Target::id("inventory-form");
        let look = |file| {
            desk.choose(&field, file)?;
            // The page reads the file; until then it says that there is none.
            wait::until("the file to be read", || {
                desk.click(&Target::id("confirm"))?;
                Ok((!desk.sees(&Target::text("Choose a file."))?).then_some(()))
            })
        };
        look(&forged)?;
        desk.see(&Target::id("problem").inside(&form))?;
        ensure!(!desk.sees(&preview)?, "a forged inventory is shown as if it counted");

        look(&good)?;
        let shown = desk.see(&preview)?;
        for words in ["acme, version 1", "Devices 2: new 2, changed 0", "stored-1, stored-2"] {
            ensure!(shown.contains(words), "{shown}");
        }
        assert_eq!(hospital.ward.administrator.get::<CatalogPage>("catalog")?.total, 0, "to look changes nothing");
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("Imported: 2"))?;
        desk.see_vanish(&form)?;
        desk.open(&page(&hospital, "catalog"))?;
        for name in ["infusion-pump/stored-1", "infusion-pump/stored-2"] {
            desk.see(&Target::row("catalog-device", name))?;
        }
        Ok(())
    })
}

#[test]
fn a_person_pushes_to_a_class_and_withdraws_an_offer_and_the_gateway_is_told_of_both() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
        hospital.release("1A", "1B", &[])?;
        hospital.offer("1B")?;
        let mut hub = hospital.ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let before = talk.directive()?;

        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page(&hospital, "updates/gateways"), ADMINISTRATOR)?;
        let of = |words: &str| {
            let row = "//*[@data-testid=\"gateway\"][@data-gateway=\"infusion-pump/pump-1\"]";
            Target::xpath(&format!("the gateway: {words}"), &format!("{row}[contains(normalize-space(.), {words:?})]"))
        };
        desk.see(&of(&format!("Directive {before} for 1")))?;
        desk.click(&Target::id("push-class"))?;
        desk.see(&Target::id("push-form"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("Gateways that were told: 1"))?;
        desk.see_vanish(&Target::id("push-form"))?;
        let after = talk.directive()?;
        ensure!(after > before, "{after} after {before}");
        desk.see(&of(&format!("Directive {after} for 1")))?;

        // The row changes under a person's finger: its button is the same one, and keeps the focus.
        let push = Target::id("push");
        desk.script::<()>("document.querySelector('[data-testid=push]').focus()")?;
        desk.see_focus(&push)?;
        let _: Pushed = hospital.ward.administrator.post("gateways/infusion-pump/pump-1/push", &())?;
        let later = talk.directive()?;
        desk.see(&of(&format!("Directive {later} for 1")))?;
        ensure!(desk.has_focus(&push)?, "the button has lost the focus");

        desk.open(&page(&hospital, "updates"))?;
        let offered = of_path("offered", &hospital.acme.program("1B"));
        desk.click(&Target::id("withdraw").inside(&offered))?;
        desk.see(&Target::id("withdraw-form"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("The offer is withdrawn."))?;
        desk.see_vanish(&offered)?;
        talk.directive()?;
        ensure!(hub.directive(&talk.welcome)?.orders.is_empty(), "it is directed still");
        desk.open(&page(&hospital, "catalog/infusion-pump/pump-1"))?;
        desk.see(&with_words("update-state", "Up to date")).map(drop)
    })
}

#[test]
fn a_device_that_was_set_aside_is_tried_again_when_a_person_says_so() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
        hospital.release("1A", "1B", &[])?;
        let offer = hospital.offer("1B")?;
        let mut hub = hospital.ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let pump = hub.device.clone();
        for _ in 0..3 {
            let directed = wait::until("it is directed", || {
                Ok(Some(hub.directive(&talk.welcome)?).filter(|directed| directed.order_for(&pump).is_some()))
            })?;
            let failed = Outcome::Failed { reason: "the flash is worn out".to_owned().try_into()? };
            talk.outcome(&pump, directed.version, &offer.path, failed)?;
            let _: Pushed = hospital.ward.administrator.post(&format!("gateways/{pump}/push"), &())?;
        }
        let aside: CatalogPage = hospital.ward.administrator.get("catalog?update=set-aside")?;
        ensure!(aside.devices.iter().any(|known| known.update == UpdateState::SetAside), "{aside:?}");

        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page(&hospital, &format!("catalog/{pump}")), ADMINISTRATOR)?;
        let warning = Target::text("Set aside after too many failures");
        desk.see(&warning)?;
        desk.see(&Target::text("the flash is worn out"))?;
        desk.see(&with_words("update-state", "Set aside"))?;
        desk.click(&Target::id("resume"))?;
        desk.see(&Target::text("The device is tried again."))?;
        desk.see_vanish(&warning)?;
        desk.see_vanish(&Target::id("resume"))?;
        desk.see(&with_words("update-state", "Under way"))?;
        wait::until("it is directed again", || Ok(hub.directive(&talk.welcome)?.order_for(&pump).map(drop)))
    })
}

#[test]
fn a_person_offers_to_a_class_or_a_model_for_a_window_a_confirmation_or_at_once_with_data_of_the_site() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::with_pages(scene)?;
        let _north = hospital.gateway("north", &["n-1"], &[])?;
        hospital.release("1A", "1B", &TAKES_DATA)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&page(&hospital, "updates"), ADMINISTRATOR)?;
        let program = hospital.acme.program("1B");
        let offered = of_path("offered", &program);
        let ask = || desk.click(&Target::id("offer").inside(&of_path("release", &program)));
        let set = |name: &str, time: &str| {
            let typed = "const field = document.getElementsByName(arguments[0])[0]; field.value = arguments[1]; \
                         field.dispatchEvent(new Event('input', { bubbles: true }));";
            desk.script_with::<()>(typed, vec![json!(name), json!(time)])
        };
        let newest = || -> Result<OfferView> {
            let offers: Vec<OfferView> = hospital.ward.administrator.get("offers")?;
            offers.into_iter().max_by_key(|offer| offer.id).context("an offer")
        };
        // What the device waits for is told on the offer's page; then it is withdrawn.
        let see_and_withdraw = |why: &str| -> Result<()> {
            desk.click(&Target::xpath("the offer", "//*[@data-testid=\"offered\"]//h2/a"))?;
            let row =
                "//*[@data-testid=\"offer-device\"][@data-device=\"infusion-pump/n-1\"][@data-standing=\"waiting\"]";
            desk.see(&Target::xpath("the device that waits", &format!("{row}[contains(., {why:?})]")))?;
            desk.open(&page(&hospital, "updates"))?;
            desk.click(&Target::id("withdraw").inside(&offered))?;
            desk.see(&Target::id("withdraw-form"))?;
            desk.click(&Target::id("confirm"))?;
            desk.see_vanish(&offered)
        };

        // To a class, for a night to come; a window that ends before it begins is none.
        ask()?;
        desk.click(&Target::choice("class"))?;
        desk.click(&Target::choice("window"))?;
        desk.see(&Target::field("window-from"))?;
        set("window-from", "2040-03-01T04:00")?;
        set("window-until", "2040-03-01T02:00")?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::text("The window has to end after it begins"))?;
        set("window-until", "2040-03-01T06:00")?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&offered)?;
        let made = newest()?;
        assert_eq!(made.scope, OfferScope::Class("infusion-pump".parse()?));
        let OfferWhen::Window { from, until } = made.when else { bail!("no window: {:?}", made.when) };
        assert_eq!((from % 3_600, until - from), (0, 2 * 3_600));
        see_and_withdraw("For its maintenance window")?;

        // To the model, when somebody confirms it.
        ask()?;
        desk.click(&Target::choice("confirmed"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&offered)?;
        let made = newest()?;
        assert_eq!((made.scope, made.when), (OfferScope::Model, OfferWhen::OnConfirmation));
        see_and_withdraw("For somebody to confirm it at the device")?;

        // At once, with data of the site.
        let data = [("site-settings", settings("Ward 3")), ("drug-library", library("Heparin"))];
        ask()?;
        desk.click(&Target::choice("once"))?;
        for (name, added) in &data {
            let file = scene.path(&format!("{name}.json"));
            fs::write(&file, &added.text).context("a file")?;
            desk.choose(&Target::field(name), &file)?;
        }
        desk.click(&Target::id("confirm"))?;
        desk.see(&offered)?;
        let made = newest()?;
        assert_eq!((made.when, made.added.len()), (OfferWhen::AtOnce, 2));
        hospital.wait_for_all(&[&device("n-1")?], "1B")?;
        for (name, added) in &data {
            let file = hospital.slot("n-1")?.join(format!("{name}.json"));
            ensure!(fs::read_to_string(&file).with_context(|| format!("no {name}"))? == added.text, "another {name}");
        }
        Ok(())
    })
}

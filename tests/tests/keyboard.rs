//! Each task with the keyboard alone: real keys, no pointer. That every screen can be walked through with Tab is asked in `screens`.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{ADMINISTRATOR, PASSWORD};
use wardlink_tests::browser::{Browser, Key, Screen, Target};
use wardlink_tests::pump::Pump;
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward};

const PUMP: &str = "infusion-pump/ip-1";

fn id(id: &str) -> Target {
    Target::id(id)
}

fn heading() -> Target {
    Target::xpath("the heading", "//h1")
}

/// Signs in: the first field has the focus, and Enter sends.
fn sign_in(browser: &Browser, address: &str, name: &str) -> Result<()> {
    browser.open(address)?;
    browser.see_focus(&Target::field("username"))?;
    browser.type_text(name)?;
    browser.press(Key::Tab)?;
    browser.type_text(PASSWORD)?;
    browser.press(Key::Enter)?;
    browser.see(&id("me")).map(drop)
}

fn tab_and_press(browser: &Browser, target: &Target) -> Result<()> {
    browser.see(target)?;
    browser.tab_to(target)?;
    browser.press(Key::Enter)
}

#[test]
fn a_nurse_accepts_and_verifies_a_pump() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let mut pump = ward.pump("ip-1")?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward.worker.origin(), NURSE)?;

        tab_and_press(&desk, &id("accept").inside(&Target::row("request", PUMP)))?;
        desk.see_focus(&Target::field("location"))?;
        desk.type_text("Bed 4")?;
        desk.press(Key::Tab)?;
        desk.see_focus(&Target::xpath("the proposed mode", "//input[@value=\"pairing_qrcode\"]"))?;
        desk.press(Key::Down)?;
        desk.see_focus(&Target::xpath("the next mode", "//input[@value=\"pairing_code\"]"))?;
        desk.press(Key::Enter)?;

        let code = pump.code()?;
        desk.see_focus(&id("code"))?;
        desk.type_text(&code.replace(' ', ""))?;
        desk.press(Key::Enter)?;
        pump.wait_for("paired")?;
        tab_and_press(&desk, &Target::xpath("the way to the device", "//aside//a[contains(@href, \"#/devices/\")]"))?;
        desk.see(&id("device-facts"))?;
        desk.see_focus(&heading())
    })
}

#[test]
fn a_nurse_verifies_with_the_code_on_her_phone() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (mut pump, _, code) = ward.pump_with_code("ip-1", Mode::PairingQrcode)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        sign_in(&phone, &format!("{}/verify", ward.worker.origin()), NURSE)?;

        tab_and_press(&phone, &id("camera"))?;
        phone.see_focus(&id("camera-off"))?;
        phone.press(Key::Space)?;
        phone.see_focus(&id("camera"))?;

        phone.tab_to(&id("code"))?;
        phone.type_text(&code.replace(' ', ""))?;
        phone.press(Key::Enter)?;
        pump.wait_for("paired")?;
        phone.see(&Target::xpath("that it is connected", "//*[@data-result=\"connected\"]"))?;
        phone.see_focus(&heading())?;
        tab_and_press(&phone, &id("next-pump"))?;
        phone.see_focus(&heading())
    })
}

#[test]
fn a_code_that_was_opened_as_a_link_is_verified_by_one_key() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        sign_in(&phone, &format!("{}/verify", ward.worker.origin()), NURSE)?;
        let mut pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.nurse.accept(waiting.session, Mode::PairingQrcode)?;
        let link = pump.link()?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        phone.open(&format!("{}/V/{}", ward.worker.origin(), link.token()))?;
        phone.see_focus(&heading())?;
        phone.press(Key::Tab)?;
        phone.see_focus(&id("verify"))?;
        phone.press(Key::Space)?;
        pump.wait_for("paired").map(drop)
    })
}

#[test]
fn the_answer_is_typed_at_the_pump() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::with_pages(scene)?;
        ward.provisioning.cert_ca_sha256 = None;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        let display = Browser::start(scene, Screen::Pump)?;
        display.open(&pump.display())?;
        let verified = ward.type_code(&pairing, &code)?.pairing;
        let answer = verified.answer.context("the control unit shows an answer")?;
        display.see_focus(&Target::xpath("the answer", "//*[@id=\"answer-digits\"]"))?;
        display.type_text(&answer)?;
        display.press(Key::Enter)?;
        pump.wait_for("paired").map(drop)
    })
}

#[test]
fn a_dialog_keeps_the_focus_and_gives_it_back() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let _pump = ward.pump("ip-1")?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward.worker.origin(), ADMINISTRATOR)?;
        let dialog = Target::xpath("the dialog", "//dialog[@open]");
        let row = Target::row("request", PUMP);
        let add = (format!("{}/#/people", ward.worker.origin()), id("add-person"));
        let requests = format!("{}/#/requests", ward.worker.origin());
        for (address, button) in
            [(requests.clone(), id("accept").inside(&row)), (requests, id("reject").inside(&row)), add]
        {
            desk.open(&address)?;
            tab_and_press(&desk, &button)?;
            desk.see(&dialog)?;
            for back in [false, true] {
                for _ in 0..12 {
                    if back {
                        desk.press_back()?;
                    } else {
                        desk.press(Key::Tab)?;
                    }
                    let outside: bool = desk.script(
                        "const at = document.activeElement;
                         return at !== document.body && !document.querySelector('dialog[open]').contains(at)",
                    )?;
                    ensure!(!outside, "{button}: the focus leaves the dialog to {}", desk.focused()?);
                }
            }
            desk.press(Key::Escape)?;
            desk.see_vanish(&dialog)?;
            desk.see_focus(&button)?;
        }
        Ok(())
    })
}

#[test]
fn the_skip_link_leads_past_the_navigation() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward.worker.origin(), ADMINISTRATOR)?;
        desk.see_focus(&heading())?;
        let skip = Target::xpath("the skip link", "//a[@class=\"skip\"]");
        // Back from the heading through the navigation, to the beginning of the page.
        let mut stops = 0;
        while !desk.has_focus(&skip)? {
            stops += 1;
            ensure!(stops < 40, "the skip link is the first stop of the page; the focus is on {}", desk.focused()?);
            desk.press_back()?;
        }
        ensure!(stops > 4, "the navigation lies between");
        desk.press(Key::Enter)?;
        desk.see_focus(&Target::xpath("the main part", "//main"))?;
        desk.open(&format!("{}/#/people", ward.worker.origin()))?;
        desk.see(&id("people"))?;
        desk.script::<()>("document.querySelector('.skip').focus()")?;
        desk.press(Key::Enter)?;
        desk.press(Key::Tab)?;
        desk.see_focus(&id("add-person"))
    })
}

#[test]
fn what_was_dismissed_is_taken_back() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let pump: Pump<'_> = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward.worker.origin(), NURSE)?;
        let row = Target::row("request", PUMP);
        tab_and_press(&desk, &id("dismiss").inside(&row))?;
        desk.see_vanish(&row)?;
        desk.see_focus(&id("undo"))?;
        desk.press(Key::Enter)?;
        desk.see(&row)?;
        desk.see_focus(&heading())?;
        assert_eq!(ward.nurse.pairing(waiting.session)?.phase, PairingPhase::Waiting);
        drop(pump);
        Ok(())
    })
}

#[test]
fn language_and_theme_are_chosen_without_losing_the_place() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let browser = Browser::start(scene, Screen::Desk)?;
        let german = Target::xpath("the switch to German", "//button[@lang=\"de\"]");
        for address in [ward.worker.origin(), format!("{}/verify", ward.worker.origin())] {
            browser.open(&address)?;
            browser.script::<()>("localStorage.clear()")?;
            sign_in(&browser, &address, ADMINISTRATOR)?;
            let folded = Target::xpath("the folded switches", "//summary");
            if browser.sees(&folded)? {
                tab_and_press(&browser, &folded)?;
            }
            tab_and_press(&browser, &german)?;
            browser.see(&Target::xpath("the page in German", "//html[@lang=\"de\"]//main"))?;
            if browser.sees(&folded)? {
                browser.see_focus(&folded)?;
                browser.press(Key::Enter)?;
                browser.tab_to(&german)?;
            }
            browser.see_focus(&german)?;
            let dark = Target::xpath("the dark theme", "//*[@role=\"group\"][2]/button[3]");
            tab_and_press(&browser, &dark)?;
            browser.see(&Target::xpath("the page in the dark", "//html[@data-theme=\"dark\"]//main"))?;
            browser.see_focus(&dark)?;
            tab_and_press(&browser, &id("sign-out"))?;
            browser.see(&id("sign-in"))?;
        }
        Ok(())
    })
}

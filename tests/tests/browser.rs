//! What people do in the browser: the control unit on a desk, the verification on a phone.

use anyhow::{Result, ensure};
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{ADMINISTRATOR, Api, PASSWORD};
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::pump::{Pump, another, mistyped};
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward};
use wardlink_tests::worker::{BOOTSTRAP_TOKEN, Host, Worker};

const PUMP: &str = "infusion-pump/ip-1";

/// The main button of a form.
fn submit(form: &str) -> Target {
    Target::xpath("the main button", "//button[not(@type=\"button\")]").inside(&Target::id(form))
}

fn sign_in(browser: &Browser, origin: &str, page: &str, name: &str) -> Result<()> {
    browser.open(&format!("{origin}{page}"))?;
    browser.fill(&Target::field("username"), name)?;
    browser.fill(&Target::field("password"), PASSWORD)?;
    browser.click(&submit("sign-in"))
}

fn shown_code(browser: &Browser, pump: &Pump<'_>) -> Result<String> {
    browser.read_elsewhere(&pump.display(), &Target::xpath("the code", "//*[@id=\"code\"]"))
}

fn picture(browser: &Browser, pump: &Pump<'_>) -> Result<Vec<u8>> {
    browser.photograph(&pump.display(), &Target::xpath("the QR code", "//*[@id=\"qr\"]"))
}

fn row() -> Target {
    Target::row("request", PUMP)
}

/// Accepts the waiting pump on the control unit's screen.
fn accept(browser: &Browser, mode: &str) -> Result<()> {
    browser.click(&Target::id("accept").inside(&row()))?;
    browser.fill(&Target::field("location").inside(&Target::id("accept-form")), "Room 3, bed 4")?;
    browser.click(&Target::choice(mode).inside(&Target::id("accept-form")))?;
    browser.click(&Target::id("confirm").inside(&Target::id("accept-form")))
}

#[test]
fn the_first_administrator_pairs_a_pump_by_its_code_and_sees_its_data() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_under(scene, Host::WithPages, &[])?;
        let browser = Browser::start(scene, Screen::Desk)?;
        browser.open(&format!("{}/#/welcome?token={BOOTSTRAP_TOKEN}", worker.origin()))?;
        browser.fill(&Target::field("username"), ADMINISTRATOR)?;
        browser.fill(&Target::field("password"), PASSWORD)?;
        browser.click(&submit("welcome"))?;
        browser.see(&Target::id("no-requests"))?;
        ensure!(!browser.address()?.contains(BOOTSTRAP_TOKEN), "the token stays out of the address");

        let api: Api = worker.api().sign_in(ADMINISTRATOR, PASSWORD)?;
        let mut pump = Pump::start(scene, &api.provisioning()?, "ip-1")?;
        let seen = browser.see(&row())?;
        ensure!(seen.to_lowercase().contains("ip-1"), "the request appears by itself: {seen}");
        accept(&browser, "pairing_code")?;
        let code = shown_code(&browser, &pump)?;
        assert_eq!(code.replace(' ', ""), pump.code()?.replace(' ', ""), "page and events show the same code");

        browser.fill(&Target::id("code"), &mistyped(&code))?;
        browser.click(&submit("code-form"))?;
        browser.see(&Target::xpath("the complaint", "//*[@data-testid=\"code\"][@aria-invalid]"))?;
        let pairing = api.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(pairing.attempts_left, 3, "a mistyped digit counts as no attempt");
        browser.fill(&Target::id("code"), &code)?;
        browser.click(&submit("code-form"))?;
        pump.wait_for("paired")?;

        browser.click(&Target::xpath("the way to the device", "//aside//a[contains(@href, \"#/devices/\")]"))?;
        let facts = browser.see(&Target::id("device-facts"))?;
        ensure!(facts.contains(ADMINISTRATOR), "it says who paired it: {facts}");
        browser.see(&Target::xpath("a figure", "//*[@data-testid=\"figure\"][1]//b[not(. = \"–\")]"))?;
        browser.see(&Target::xpath("an event", "//*[@data-testid=\"events\"]/li"))?;
        assert_eq!(browser.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

/// The verification's end on the phone, in this way.
fn result(word: &str) -> Target {
    Target::xpath(&format!("the result `{word}`"), &format!("//*[@data-testid=\"result\"][@data-result=\"{word}\"]"))
}

#[test]
fn a_nurse_verifies_with_her_phone_by_scanning_the_pumps_display() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        let (mut pump, pairing, _) = ward.pump_with_code("ip-1", Mode::PairingQrcode)?;
        phone.hold_before_camera(&picture(&phone, &pump)?)?;
        sign_in(&phone, &ward.worker.origin(), "/verify", NURSE)?;
        phone.click(&Target::id("camera"))?;
        phone.see(&result("connected"))?;
        let card = phone.see(&Target::row("device-card", PUMP))?;
        ensure!(
            card.to_lowercase().contains("ip-1") && card.contains("Bed 4"),
            "it says which device is paired, and where: {card}"
        );
        ward.wait_until_paired(&mut pump, "ip-1")?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Finished);
        assert_eq!(phone.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn the_code_of_another_pump_before_the_camera_is_refused_and_costs_nothing() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        let (_chosen, first, _) = ward.pump_with_code("ip-1", Mode::PairingQrcode)?;
        let (other, second, _) = ward.pump_with_code("ip-2", Mode::PairingQrcode)?;
        phone.hold_before_camera(&picture(&phone, &other)?)?;
        sign_in(&phone, &ward.worker.origin(), "/verify", NURSE)?;
        phone.click(&Target::row("pump", PUMP))?;
        phone.see(&Target::row("device-card", PUMP))?;
        phone.click(&Target::id("camera"))?;
        let said = phone.see(&Target::id("refused-code"))?;
        ensure!(said.to_lowercase().contains("ip-2"), "it says whose code that is: {said}");
        for pairing in [first, second] {
            let view = ward.nurse.pairing(pairing.session)?;
            assert_eq!((view.phase, view.attempts_left), (PairingPhase::Verifying, 3));
        }
        Ok(())
    })
}

#[test]
fn a_code_opened_as_a_link_submits_nothing_until_a_person_says_so() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        let mut pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.nurse.accept(waiting.session, Mode::PairingQrcode)?;
        let link = pump.link()?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        sign_in(&phone, &ward.worker.origin(), &format!("/V/{}", link.token()), NURSE)?;
        let card = phone.see(&Target::row("device-card", PUMP))?;
        ensure!(card.contains("Bed 4"), "it shows the device first: {card}");
        phone.see(&Target::id("verify"))?;
        assert_eq!(ward.nurse.pairing(link.session)?.phase, PairingPhase::Verifying, "nothing was submitted by itself");
        phone.click(&Target::id("verify"))?;
        phone.see(&result("connected"))?;
        pump.wait_for("paired")?;

        phone.open(&format!("{}/V/{}", ward.worker.origin(), link.token()))?;
        phone.see(&Target::id("refused-code"))?;
        assert_eq!(phone.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn what_is_typed_survives_a_lost_connection_and_is_sent_when_it_is_back() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        sign_in(&phone, &ward.worker.origin(), "/verify", NURSE)?;
        phone.fill(&Target::id("code"), &code)?;
        phone.cut_off(true)?;
        phone.click(&submit("code-form"))?;
        phone.see(&Target::xpath(
            "the word that it waits",
            "//*[@data-testid=\"code-form\"]//*[@role=\"status\"][text()]",
        ))?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Verifying);
        phone.cut_off(false)?;
        phone.see(&result("connected"))?;
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn the_third_wrong_code_ends_the_pairing_on_every_screen() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        sign_in(&phone, &ward.worker.origin(), "/verify", NURSE)?;
        for (number, left) in [(1, 2), (2, 1)] {
            phone.fill(&Target::id("code"), &another(&code, number))?;
            phone.click(&submit("code-form"))?;
            let xpath = format!("//*[@data-testid=\"attempts-left\"][contains(., \"{left}\")]");
            phone.see(&Target::xpath(&format!("{left} attempts left"), &xpath))?;
        }
        phone.fill(&Target::id("code"), &another(&code, 3))?;
        phone.click(&submit("code-form"))?;
        phone.see(&result("ended"))?;
        pump.wait_for("refused")?;
        browser_shows_the_reason(&phone, &pump)?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Ended);
        Ok(())
    })
}

fn browser_shows_the_reason(browser: &Browser, pump: &Pump<'_>) -> Result<()> {
    let refused = Target::xpath("the display of a refused pump", "//body[@data-phase=\"refused\"]//*[@id=\"title\"]");
    let said = browser.read_elsewhere(&pump.display(), &refused)?;
    ensure!(!said.is_empty(), "the pump's display says that it was refused");
    Ok(())
}

#[test]
fn a_pump_that_is_rejected_shows_what_the_nurse_wrote() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward.worker.origin(), "/", NURSE)?;
        desk.see(&Target::id("no-requests"))?;
        let mut pump = ward.pump("ip-1")?;
        desk.click(&Target::id("reject").inside(&row()))?;
        desk.fill(&Target::field("note").inside(&Target::id("reject-form")), "Belongs to ward 7")?;
        desk.click(&Target::id("confirm").inside(&Target::id("reject-form")))?;
        pump.wait_for("refused")?;
        let said = desk.read_elsewhere(&pump.display(), &Target::text("Belongs to ward 7"))?;
        ensure!(said.contains("ward 7"), "the pump shows the reason");
        desk.see(&row().inside(&Target::id("ended-requests")))?;
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

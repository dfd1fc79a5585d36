//! Every screen, in both languages and themes, on phone and desk: no complaint in the console (errors, refused resources,
//! Content Security Policy), nothing that sticks out of the screen.

use anyhow::{Result, ensure};
use wardlink_protocol::api::PairingPhase;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{ADMINISTRATOR, PASSWORD};
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::ward::Ward;
use wardlink_tests::worker::{BOOTSTRAP_TOKEN, Worker};
use wardlink_tests::{Scene, scene};

const LOOKS: [(&str, &str); 4] = [("en", "light"), ("en", "dark"), ("de", "light"), ("de", "dark")];

/// Chooses language and theme, as the switches of the page remember them.
fn dress(browser: &Browser, (language, theme): (&str, &str)) -> Result<()> {
    browser.script::<()>(&format!(
        "localStorage.setItem('wardlink.language', '{language}'); localStorage.setItem('wardlink.theme', '{theme}')"
    ))
}

/// Opens an address anew, and looks at it when `target` is there.
fn visit(browser: &Browser, address: &str, target: &Target, look: (&str, &str)) -> Result<()> {
    // Only another document is loaded anew; a new fragment of the same one is not.
    browser.open("about:blank")?;
    browser.open(address)?;
    browser.see(target)?;
    let language: String = browser.script("return document.documentElement.lang")?;
    ensure!(language == look.0, "{address} is in {language} instead of {}", look.0);
    let (wide, room): (f64, f64) = browser.script("return [document.documentElement.scrollWidth, innerWidth]")?;
    ensure!(wide <= room, "{address} is {wide} wide on a screen of {room} ({look:?})");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{address} ({look:?}): {complaints:?}");
    Ok(())
}

fn every_screen_of_a_ward(scene: &Scene, screen: Screen) -> Result<()> {
    let ward = Ward::open(scene)?;
    let origin = ward.worker.origin();
    let _paired = ward.paired_pump("ip-1")?;
    let (_verifying, verifying, _) = ward.pump_with_code("ip-2", Mode::PairingQrcode)?;
    let _waiting = ward.pump("ip-3")?;
    let waiting = ward.nurse.wait_for_pairing("ip-3", |pairing| pairing.phase == PairingPhase::Waiting)?;

    let browser = Browser::start(scene, screen)?;
    browser.open(&origin)?;
    browser.fill(&Target::field("username"), ADMINISTRATOR)?;
    browser.fill(&Target::field("password"), PASSWORD)?;
    browser.click(&Target::xpath("the main button", "//form//button[not(@type=\"button\")]"))?;
    browser.see(&Target::id("requests"))?;
    for look in LOOKS {
        dress(&browser, look)?;
        for (address, target) in [
            ("/#/requests".to_owned(), Target::id("requests")),
            (format!("/#/requests/{}", waiting.session), Target::id("accept-here")),
            (format!("/#/requests/{}", verifying.session), Target::id("code-form")),
            ("/#/devices".to_owned(), Target::id("devices")),
            ("/#/devices/infusion-pump/ip-1".to_owned(), Target::id("device-facts")),
            ("/#/provisioning".to_owned(), Target::id("secrets")),
            ("/#/people".to_owned(), Target::id("people")),
            ("/#/nowhere".to_owned(), Target::xpath("a heading", "//h1")),
            ("/verify".to_owned(), Target::id("scanner")),
        ] {
            visit(&browser, &format!("{origin}{address}"), &target, look)?;
        }
    }
    Ok(())
}

#[test]
fn every_screen_is_in_order_on_a_desk() -> Result<()> {
    scene(|scene| every_screen_of_a_ward(scene, Screen::Desk))
}

#[test]
fn every_screen_is_in_order_on_a_phone() -> Result<()> {
    scene(|scene| every_screen_of_a_ward(scene, Screen::Phone))
}

#[test]
fn the_doors_are_in_order() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start(scene)?;
        let origin = worker.origin();
        let browser = Browser::start(scene, Screen::Desk)?;
        browser.open(&origin)?;
        for screen in [Screen::Desk, Screen::Phone] {
            browser.hold(screen)?;
            for look in LOOKS {
                dress(&browser, look)?;
                visit(&browser, &format!("{origin}/"), &Target::id("sign-in"), look)?;
                let welcome = format!("{origin}/#/welcome?token={BOOTSTRAP_TOKEN}");
                visit(&browser, &welcome, &Target::id("welcome"), look)?;
                visit(&browser, &format!("{origin}/verify"), &Target::id("sign-in"), look)?;
            }
        }
        Ok(())
    })
}

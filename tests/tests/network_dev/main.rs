//! `cargo xtask dev --host`: the development run as phones on the network reach it.

use anyhow::{Context as _, Result, ensure};
use data_encoding::HEXUPPER;
use sha2::{Digest as _, Sha256};
use wardlink_tests::api::{ADMINISTRATOR, Api, PASSWORD};
use wardlink_tests::browser::{Aim, Browser, Screen, Target};
use wardlink_tests::{scene, wait};

mod run;

use run::Run;

const PUMP: &str = "infusion-pump/pump-1";

/// The main button of a form.
fn submit(form: &str) -> Target {
    Target::xpath("the main button", "//button[not(@type=\"button\")]").inside(&Target::id(form))
}

#[test]
fn a_pump_is_paired_over_the_network_by_somebody_who_trusts_the_development_ca() -> Result<()> {
    scene(|scene| {
        let mut run = Run::start(scene)?;
        let origin = run.said("Control unit")?;
        ensure!(origin.starts_with("https://"), "phones need https: {origin}");

        let browser = Browser::start_trusting(scene, Screen::Desk, &run.server_key()?)?;
        browser.open(&run.said("First sign-in")?)?;
        browser.fill(&Target::field("username"), ADMINISTRATOR)?;
        browser.fill(&Target::field("password"), PASSWORD)?;
        browser.click(&submit("welcome"))?;
        let row = Target::row("request", PUMP);
        browser.click(&Target::id("accept").inside(&row))?;
        let form = Target::id("accept-form");
        browser.fill(&Target::field("location").inside(&form), "Room 3, bed 4")?;
        browser.click(&Target::choice("pairing_qrcode").inside(&form))?;
        browser.click(&Target::id("confirm").inside(&form))?;

        let link = run.pump_link()?;
        let text = link.to_string();
        let named = text.split("/V/").next().unwrap_or_default();
        assert_eq!(named.to_ascii_lowercase(), origin, "the pump's QR code leads back to the network address");
        browser.open(&format!("{origin}/V/{}", link.token()))?;
        browser.click(&Target::id("verify"))?;
        browser.see(&Target::xpath("the result", "//*[@data-testid=\"result\"][@data-result=\"connected\"]"))?;
        assert_eq!(browser.complaints()?, Vec::<String>::new());

        let api = Api::trusting(origin, &run.authority()?).sign_in(ADMINISTRATOR, PASSWORD)?;
        api.wait_for_finished_pairing("pump-1")?;
        run.stop()
    })
}

#[test]
fn the_certificate_counts_for_who_trusts_the_authority_and_for_nobody_else() -> Result<()> {
    scene(|scene| {
        let mut run = Run::start(scene)?;
        let origin = run.said("Control unit")?;
        ensure!(Api::trusting(origin.clone(), &run.authority()?).is_healthy(), "the authority's certificate counts");
        let refused = ureq::get(format!("{origin}/api/v1/health")).call();
        let error = refused.err().context("a certificate that nobody vouches for was taken")?.to_string();
        ensure!(error.contains("UnknownIssuer"), "refused for its issuer: {error}");
        let plain = ureq::get(format!("{}/api/v1/health", origin.replace("https", "http"))).call();
        ensure!(plain.is_err(), "there is no http beside https");

        let before = run.authority()?;
        run.restart()?;
        assert_eq!(run.authority()?, before, "phones trust it once");
        run.stop()
    })
}

#[test]
fn the_page_for_phones_gives_out_the_certificate_that_the_terminal_names() -> Result<()> {
    scene(|scene| {
        let mut run = Run::start(scene)?;
        let page = run.said("Phones begin here")?;
        let mut answer = ureq::get(format!("{page}/wardlink-development-ca.crt")).call()?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        assert_eq!(kind.as_deref(), Some("application/x-x509-ca-cert"), "what phones offer to install");
        let certificate = answer.body_mut().read_to_vec()?;
        let terminal = format!("{}{}", run.said("SHA-256")?, run.said_below("SHA-256")?).replace(':', "");
        assert_eq!(HEXUPPER.encode(&Sha256::digest(&certificate)), terminal);
        assert_eq!(certificate, run.authority()?);

        let phone = Browser::start_trusting(scene, Screen::Phone, &run.server_key()?)?;
        phone.open(&format!("{page}/"))?;
        let shown = phone.see(&Target::id("fingerprint"))?.replace([':', ' ', '\n'], "");
        assert_eq!(shown, terminal, "page and terminal show the same fingerprint");
        phone.click(&Target::id("control-unit"))?;
        let origin = run.said("Control unit")?;
        wait::until("the page leads on to the control unit, by https", || {
            Ok(phone.address()?.starts_with(&origin).then_some(()))
        })?;
        run.stop()
    })
}

#[test]
fn the_page_for_phones_is_for_everybody() -> Result<()> {
    scene(|scene| {
        let mut run = Run::start(scene)?;
        let page = run.said("Phones begin here")?;
        let browser = Browser::start(scene, Screen::Phone)?;
        browser.watch_policy()?;
        for (language, heading) in [("en", "Trust this machine"), ("de", "Dem Zertifikat dieses Rechners")] {
            for (screen, aim) in [(Screen::Phone, Aim::Thumb), (Screen::Desk, Aim::Pointer)] {
                for dark in [false, true] {
                    let look = format!("{language}, {screen:?}, dark: {dark}");
                    browser.hold(screen)?;
                    browser.prefer_dark(dark)?;
                    browser.open(&format!("{page}/?lang={language}"))?;
                    browser.see(&Target::text(heading))?;
                    // What is folded is for everybody, too; only one is open at a time for people.
                    browser.script::<()>(
                        "document.querySelectorAll('details').forEach((part) => { part.name = ''; part.open = true; })",
                    )?;
                    let violations = browser.violations(aim)?;
                    ensure!(violations.is_empty(), "{look}: {violations:#?}");
                    let [needed, there]: [u32; 2] =
                        browser.script("return [document.documentElement.scrollWidth, innerWidth]")?;
                    ensure!(needed <= there, "{look}: it is {needed} wide on a screen of {there}");
                }
            }
        }
        assert_eq!(browser.refused_by_policy()?, Vec::<String>::new());
        assert_eq!(browser.complaints()?, Vec::<String>::new());
        run.stop()
    })
}

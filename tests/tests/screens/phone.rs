//! The phone's page.

use anyhow::{Context as _, Result};
use wardlink_protocol::api::{PairingPhase, SerialQuestion};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::browser::Target;
use wardlink_tests::pump::{another, mistyped};

use crate::control_unit::enter;
use crate::scenery::{Busy, Scenery};
use crate::stage::{Row, Stage, failing, id, row};

/// A browser that has no camera (Media Capture and Streams, section 10.2).
const NO_CAMERA: &str = "navigator.mediaDevices.getUserMedia = \
    () => Promise.reject(new DOMException('none', 'NotFoundError'))";
/// A browser whose person has not yet said whether the page may use the camera.
const UNDECIDED: &str = "navigator.mediaDevices.getUserMedia = () => new Promise(() => {})";

/// A ward in which no pump waits.
pub(crate) const EMPTY: &[Row<()>] = &[
    row("phone, loading", &["verify_page::Screen::Loading"], |stage, ()| {
        stage.browser.hold_requests(Some("*/api/v1/pairings"))?;
        stage.visit("/verify", &Target::xpath("that it loads", "//*[contains(@class, \"loading\")]"))
    }),
    failing("phone, no answer", &["verify_page::Screen::Failed"], |stage, ()| {
        stage.browser.lose_requests(Some("*/api/v1/pairings"))?;
        stage.visit("/verify", &id("problem"))
    }),
    row("phone, no pump waits", &[], |stage, ()| stage.visit("/verify", &id("nothing-to-verify"))),
    row("phone, code no longer good", &[], |stage, ()| stage.visit("/V/MFRGG", &id("refused-code"))),
];

/// Pumps that wait, and pairings that have ended.
pub(crate) const FULL: &[Row<Busy>] = &[
    row("phone, one pump", &["verify_page::Screen::One", "scanner::camera::Sight::Off"], |stage, scenery| {
        one(stage, scenery)
    }),
    row("phone, scanning", &["scanner::camera::Sight::Seeing"], |stage, scenery| {
        one(stage, scenery)?;
        stage.browser.click(&id("camera"))?;
        stage.browser.see(&scanner_in("seeing")).map(drop)
    }),
    row("phone, nothing found", &["scanner::camera::Sight::SeeingNothing"], |stage, scenery| {
        one(stage, scenery)?;
        stage.browser.click(&id("camera"))?;
        stage.browser.see(&scanner_in("seeing-nothing")).map(drop)
    }),
    row("phone, camera starts", &["scanner::camera::Sight::Starting"], |stage, scenery| {
        one(stage, scenery)?;
        stage.browser.script::<()>(UNDECIDED)?;
        stage.browser.click(&id("camera"))?;
        stage.browser.see(&scanner_in("starting")).map(drop)
    }),
    row("phone, no camera", &["scanner::camera::Sight::Failed"], |stage, scenery| {
        one(stage, scenery)?;
        stage.browser.script::<()>(NO_CAMERA)?;
        stage.browser.click(&id("camera"))?;
        stage.browser.see(&scanner_in("failed")).map(drop)
    }),
    row("phone, code mistyped", &[], |stage, scenery| {
        one(stage, scenery)?;
        enter(stage, &mistyped(&scenery.verifying()?.1))
    }),
    row("phone, code wrong", &[], |stage, scenery| {
        one(stage, scenery)?;
        enter(stage, &another(&scenery.verifying()?.1, 1))
    }),
    failing("phone, connection lost", &[], |stage, scenery| {
        one(stage, scenery)?;
        stage.browser.cut_off(true)?;
        stage.browser.see(&id("connection-lost")).map(drop)
    }),
    row("phone, opened by its own camera", &["verify_page::Screen::Link"], |stage, scenery| {
        stage.visit(&scenery.link()?, &id("verify"))
    }),
    row("phone, connected", &["verify_page::Screen::Outcome"], |stage, scenery| {
        stage.visit(&format!("/verify#{}", scenery.finished), &id("result"))
    }),
    row("phone, ended", &[], |stage, scenery| stage.visit(&format!("/verify#{}", scenery.ended), &id("result"))),
    row("phone, answer to enter at the pump", &[], |stage, scenery| {
        let session = scenery.answering()?;
        stage.visit(&format!("/verify#{session}"), &id("answer"))
    }),
    row("phone, serial number asked for, too", &[], |stage, scenery| {
        scenery.rule(SerialQuestion::Always, Mode::PairingCode)?;
        one(stage, scenery)?;
        stage.browser.see(&Target::field("serial")).map(drop)
    }),
    row("phone, scan alone, serial number asked for, too", &[], |stage, scenery| {
        scenery.rule(SerialQuestion::Always, Mode::PairingQrcode)?;
        stage.visit(&format!("/verify#{}", scenery.verifying()?.0), &id("serial-form"))
    }),
    row("phone, opened by its own camera, serial number asked for, too", &[], |stage, scenery| {
        stage.visit(&scenery.link()?, &Target::field("serial"))
    }),
    row("phone, locked", &[], |stage, scenery| {
        scenery.rule(SerialQuestion::Never, Mode::PairingCode)?;
        one(stage, scenery)?;
        stage.browser.click(&id("lock-now"))?;
        stage.browser.see(&id("lock-screen")).map(drop)
    }),
    row("phone, unlocked", &[], |stage, _| {
        stage.browser.click(&id("continue"))?;
        stage.browser.see(&id("code-form")).map(drop)
    }),
    row("phone, which pump", &["verify_page::Screen::Choose"], |stage, scenery| {
        scenery.verifying()?;
        // A second pump that shows its code, for as long as the screen is looked at.
        let nurse = &scenery.ward.nurse;
        let other = nurse
            .wait_for_pairing("ip-2", |other| matches!(other.phase, PairingPhase::Waiting | PairingPhase::Verifying))?;
        if other.phase == PairingPhase::Waiting {
            nurse.accept(other.session, Mode::PairingCode).context("a second pump")?;
            nurse.wait_for_pairing("ip-2", |other| other.phase == PairingPhase::Verifying)?;
        }
        // Both the one pump and the choice have the camera.
        stage.visit("/verify", &id("camera"))?;
        if stage.browser.sees(&id("other-pump"))? {
            stage.browser.click(&id("other-pump"))?;
        }
        stage.browser.see(&id("pump")).map(drop)
    }),
];

fn one(stage: &Stage, scenery: &Scenery<'_>) -> Result<()> {
    stage.visit(&format!("/verify#{}", scenery.verifying()?.0), &id("code-form"))
}

fn scanner_in(state: &str) -> Target {
    let xpath = format!("//*[@data-testid=\"scanner\"][@data-state=\"{state}\"]");
    Target::xpath(&format!("the scanner in the state `{state}`"), &xpath)
}

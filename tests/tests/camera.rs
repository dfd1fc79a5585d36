//! The phone's camera: what helps while it finds nothing, and what only some cameras have.
//!
//! Chromium's camera, which shows a film, has neither lamp nor zoom nor a second lens. Where a test needs them, a script that is loaded before
//! the page answers for the camera as a phone's would (MediaStream Image Capture, section 10), and notes what it is asked.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::PASSWORD;
use wardlink_tests::browser::{Browser, Key, Screen, Target};
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward};

/// A phone's camera, by what it answers.
const CAMERA_OF_A_PHONE: &str = include_str!("camera/phone.js");

fn scanner_in(state: &str) -> Target {
    let xpath = format!("//*[@data-testid=\"scanner\"][@data-state=\"{state}\"]");
    Target::xpath(&format!("the scanner in the state `{state}`"), &xpath)
}

fn sign_in(phone: &Browser, origin: &str) -> Result<()> {
    phone.open(&format!("{origin}/verify"))?;
    phone.fill(&Target::field("username"), NURSE)?;
    phone.fill(&Target::field("password"), PASSWORD)?;
    phone.press(Key::Enter)?;
    phone.see(&Target::id("camera")).map(drop)
}

/// What the camera was asked for since it was opened.
fn asked(phone: &Browser) -> Result<Vec<Value>> {
    phone.script("return window.asked")
}

#[test]
fn lamp_lens_and_zoom_are_offered_where_the_camera_has_them() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (_pump, ..) = ward.pump_with_code("ip-1", Mode::PairingQrcode)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        phone.before_load(CAMERA_OF_A_PHONE)?;
        sign_in(&phone, &ward.worker.origin())?;
        phone.click(&Target::id("camera"))?;
        phone.see(&scanner_in("seeing"))?;

        phone.click(&Target::id("lamp"))?;
        phone.see(&Target::xpath("that the lamp is on", "//*[@data-testid=\"lamp\"][@aria-pressed=\"true\"]"))?;
        for (shown, zoom) in [("2×", 2), ("4×", 4), ("1×", 1)] {
            phone.click(&Target::id("zoom"))?;
            let button = format!("//*[@data-testid=\"zoom\"][contains(., \"{shown}\")]");
            phone.see(&Target::xpath(&format!("{shown} on the button"), &button))?;
            assert_eq!(asked(&phone)?.last().map(|last| last["zoom"].clone()), Some(json!(zoom)));
        }
        assert_eq!(asked(&phone)?.first(), Some(&json!({ "torch": true })));

        phone.click(&Target::id("lens"))?;
        phone.see(&Target::xpath("the other lens's lamp", "//*[@data-testid=\"lamp\"][@aria-pressed=\"false\"]"))?;
        let opened: Vec<Value> = phone.script("return window.opened")?;
        assert_eq!(opened, [Value::Null, json!("wide")], "first the camera at the back, then the other lens");
        assert_eq!(phone.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_camera_that_finds_nothing_says_what_helps() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (_pump, ..) = ward.pump_with_code("ip-1", Mode::PairingQrcode)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        sign_in(&phone, &ward.worker.origin())?;
        phone.click(&Target::id("camera"))?;
        phone.see(&scanner_in("seeing"))?;
        let hint = Target::xpath("the hint", "//*[@data-testid=\"scanner\"]/*[@role=\"status\"]");
        let before = phone.see(&hint)?;
        phone.see(&scanner_in("seeing-nothing"))?;
        let after = phone.see(&hint)?;
        ensure!(before != after, "the hint changes: {after}");
        for missing in ["lamp", "zoom", "lens"] {
            ensure!(!phone.sees(&Target::id(missing))?, "this camera has no {missing}");
        }

        phone.before_load(CAMERA_OF_A_PHONE)?;
        phone.open(&format!("{}/verify", ward.worker.origin()))?;
        phone.click(&Target::id("camera"))?;
        phone.see(&scanner_in("seeing-nothing"))?;
        let with_lamp = phone.see(&hint)?;
        ensure!(with_lamp.starts_with(&after) && with_lamp != after, "lamp and zoom are named: {with_lamp}");
        phone.click(&Target::id("lamp"))?;
        phone.see(&Target::xpath("that the lamp is on", "//*[@data-testid=\"lamp\"][@aria-pressed=\"true\"]"))?;
        ensure!(phone.see(&hint)?.len() < with_lamp.len(), "the lamp that is on is not named");
        Ok(())
    })
}

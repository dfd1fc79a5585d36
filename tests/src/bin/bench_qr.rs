//! `cargo xtask bench qr`: the phone's page in Chromium, its camera fed with pictures of pumps' displays, 640x480.
//!
//! `qr.decode_p95_ms`: how long the page looks at one frame, by its own measurements in the performance timeline.
//! `qr.verified_p50_ms`: from the camera's first frame, in which the code is visible, to the page that says so.

use std::time::Duration;

use anyhow::{Result, ensure};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::figures::{Figures, argument, percentile};
use wardlink_tests::scene;
use wardlink_tests::wait;
use wardlink_tests::ward::{NURSE, Ward};

/// Frames that are looked at while a code is before the camera that is not submitted.
const FRAMES: usize = 100;

/// Notes when the first frame came, and when the page said that the pump is verified.
const WATCH: &str = "
    window.firstFrame = null;
    window.verified = null;
    document.addEventListener('playing', () => { window.firstFrame ??= performance.now(); }, true);
    new MutationObserver(() => {
        const result = document.querySelector('[data-testid=result]')?.dataset.result;
        if (result === 'verified' || result === 'connected') window.verified ??= performance.now();
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
    return null";
const DECODED: &str = "return performance.getEntriesByName('qr-decode').map(entry => entry.duration)";

fn main() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let origin = ward.worker.origin();
        let phone = Browser::start(scene, Screen::Phone)?;
        phone.sign_in(&format!("{origin}/verify"), NURSE)?;

        let rounds = argument("--rounds", 15)?;
        let (mut decoded, mut verified) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let name = format!("ip-{round}");
            let (mut pump, _, _) = ward.pump_with_code(&name, Mode::PairingQrcode)?;
            let picture = phone.photograph(&pump.display(), &Target::xpath("the QR code", "//*[@id=\"qr\"]"))?;
            phone.hold_before_camera(&picture)?;
            phone.open(&format!("{origin}/verify"))?;
            phone.see(&Target::row("device-card", &format!("infusion-pump/{name}")))?;
            phone.script::<()>(WATCH)?;
            phone.click(&Target::id("camera"))?;
            phone.see(&Target::id("result"))?;
            pump.wait_for("paired")?;
            let (first, last): (f64, f64) = phone.script("return [window.firstFrame, window.verified]")?;
            ensure!(last > first, "the page noted the first frame after the verification");
            verified.push(Duration::from_secs_f64((last - first) / 1000.0));
            decoded.extend(phone.script::<Vec<f64>>(DECODED)?);
        }
        decoded.extend(frames_of_a_spent_code(&ward, &phone)?);

        let decoded: Vec<Duration> = decoded.into_iter().map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect();
        let mut figures = Figures::default();
        figures.put("qr.frames", f64::from(u32::try_from(decoded.len())?));
        figures.put_ms("qr.decode_p50_ms", percentile(&decoded, 50)?);
        figures.put_ms("qr.decode_p95_ms", percentile(&decoded, 95)?);
        figures.put("qr.rounds", f64::from(u32::try_from(rounds)?));
        figures.put_ms("qr.verified_p50_ms", percentile(&verified, 50)?);
        figures.put_ms("qr.verified_p95_ms", percentile(&verified, 95)?);
        figures.print()
    })
}

/// Many frames with a code in them that the page reads and refuses, as it belongs to a pairing that is over.
fn frames_of_a_spent_code(ward: &Ward<'_>, phone: &Browser) -> Result<Vec<f64>> {
    let (_pump, _, _) = ward.pump_with_code("ip-waits", Mode::PairingQrcode)?;
    phone.open(&format!("{}/verify", ward.worker.origin()))?;
    phone.click(&Target::id("camera"))?;
    phone.see(&Target::id("refused-code"))?;
    wait::until("enough frames", || {
        let decoded: Vec<f64> = phone.script(DECODED)?;
        Ok((decoded.len() >= FRAMES).then_some(decoded))
    })
}

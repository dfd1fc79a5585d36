//! `cargo xtask bench pairing`: what a pairing takes when no person keeps it waiting, on plain workerd with durable storage.
//!
//! First one pairing after the other, each by a pump process of its own (`pairing.p50_ms`, `pairing.p99_ms`: from the request
//! to "connection successful", by the pump's own events); then many at once (`pairing.per_second`). The nurse is a script: it
//! accepts and types the code as soon as it hears of them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use wardlink_protocol::api::{LiveEvent, PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::crowd::Crowd;
use wardlink_tests::figures::{Figures, argument, percentile};
use wardlink_tests::live::Live;
use wardlink_tests::pump::{Pump, is, milliseconds};
use wardlink_tests::ward::Ward;
use wardlink_tests::{Scene, scene};

/// Where a pairing's time goes: medians from the request to these events of the pump.
const STAGES: [(&str, &str); 4] = [
    ("pairing.code_shown_p50_ms", "code"),
    ("pairing.answered_p50_ms", "verified"),
    ("pairing.confirmed_p50_ms", "confirmed"),
    ("pairing.p50_ms", "paired"),
];

fn main() -> Result<()> {
    scene(|scene| {
        let mut figures = Figures::default();
        let ward = Ward::open(scene)?;
        // The worker's engine compiles for good what it has run for a while.
        one_by_one(&ward, "warm", argument("--warm-up", 30)?, &mut Figures::default())?;
        one_by_one(&ward, "ip", argument("--pairings", 200)?, &mut figures)?;
        side_by_side(scene, &ward, argument("--pumps", 300)?, &mut figures)?;
        figures.print()
    })
}

fn one_by_one(ward: &Ward<'_>, prefix: &str, count: usize, figures: &mut Figures) -> Result<()> {
    let mut live = Live::connect(&ward.nurse)?;
    let mut stages = STAGES.map(|(key, name)| (key, name, Vec::with_capacity(count)));
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        let mut pump = ward.pump(&name)?;
        let session = wait_for(&mut live, &name, PairingPhase::Waiting)?;
        ward.nurse.accept(session, Mode::PairingCode)?;
        let code = pump.code()?;
        wait_for(&mut live, &name, PairingPhase::Verifying)?;
        let answer = ward.nurse.verify(session, VerificationProof::Code(code))?;
        if answer.result != VerifyResult::Verified {
            bail!("the code of {name} did not count");
        }
        pump.wait_for("paired")?;
        // The request is the first thing that it sends on its first connection.
        let begin = first(&pump, "connected")?;
        for (_, name, times) in &mut stages {
            // Where the next step overtakes an acknowledgement, the pump leaves out the event.
            times.extend(first(&pump, name).map(|at| at.saturating_sub(begin)));
        }
    }
    figures.put("pairing.count", f64::from(u32::try_from(count)?));
    for (key, name, times) in &stages {
        figures.put_ms(key, percentile(times, 50)?);
        if *name == "paired" {
            figures.put_ms("pairing.p99_ms", percentile(times, 99)?);
        }
    }
    Ok(())
}

/// When a pump first said this.
fn first(pump: &Pump<'_>, name: &str) -> Result<Duration> {
    let event =
        pump.seen().iter().find(|event| is(event, name)).with_context(|| format!("the pump never said {name}"))?;
    milliseconds(event, "at")
}

fn wait_for(live: &mut Live, identifier: &str, phase: PairingPhase) -> Result<SessionId> {
    live.wait_for(&format!("{identifier} {phase:?}"), |event| match event {
        LiveEvent::Pairing { pairing } => {
            let fits = pairing.phase == phase && pairing.device.identifier.as_str() == identifier;
            fits.then_some(pairing.session)
        }
        _ => None,
    })
}

fn side_by_side(scene: &Scene, ward: &Ward<'_>, count: usize, figures: &mut Figures) -> Result<()> {
    let elapsed = Crowd::PUMPS.pair(scene, ward, count, |_| Ok(()))?;
    figures.put("pairing.side_by_side", f64::from(u32::try_from(count)?));
    figures.put("pairing.per_second", f64::from(u32::try_from(count)?) / elapsed.as_secs_f64());
    Ok(())
}

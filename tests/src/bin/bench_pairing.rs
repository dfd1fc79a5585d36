//! `cargo xtask bench pairing`: what a pairing takes when no person keeps it waiting, on plain workerd with durable storage.
//!
//! First one pairing after the other, each by a pump process of its own (`pairing.p50_ms`, `pairing.p99_ms`: from the request
//! to "connection successful", by the pump's own events); then many at once (`pairing.per_second`). The nurse is a script: it
//! accepts and types the code as soon as it hears of them.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use wardlink_protocol::api::{LiveEvent, PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::Api;
use wardlink_tests::figures::{Figures, argument, percentile};
use wardlink_tests::live::Live;
use wardlink_tests::pump::{Event, Pump, is, milliseconds, text};
use wardlink_tests::ward::Ward;
use wardlink_tests::worker::{Host, Worker};
use wardlink_tests::{Scene, scene};

/// How many requests the nurse has under way at a time.
const HANDS: usize = 32;
/// A silence after which the benchmark gives up.
const STANDSTILL: Duration = Duration::from_mins(1);

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
        let ward = Ward::around(scene, Worker::start_under(scene, Host::Workerd)?)?;
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

/// What the nurse hears.
enum Heard {
    Live(LiveEvent),
    Pump(Event),
}

/// What the nurse does.
enum Act {
    Accept(SessionId),
    Verify(SessionId, String),
}

fn side_by_side(scene: &Scene, ward: &Ward<'_>, count: usize, figures: &mut Figures) -> Result<()> {
    let live = Live::connect(&ward.nurse)?;
    let (acts, to_do) = mpsc::channel();
    let to_do = Arc::new(Mutex::new(to_do));
    let hands: Vec<_> = (0..HANDS).map(|_| hand(&ward.nurse, &to_do)).collect();
    let elapsed: Result<Duration> = thread::scope(|threads| {
        let (sender, heard) = mpsc::channel();
        let told = sender.clone();
        threads.spawn(move || listen(live, &told));
        let mut pumps = Pump::start_with(
            scene,
            &ward.provisioning,
            "pumps",
            &["--count", &count.to_string(), "--telemetry-ms", "10000"],
        )?;
        threads.spawn(move || while pumps.next_event().is_ok_and(|event| sender.send(Heard::Pump(event)).is_ok()) {});
        let elapsed = direct(&heard, &acts, count);
        drop((heard, acts));
        elapsed
    });
    for hand in hands {
        hand.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    figures.put("pairing.side_by_side", f64::from(u32::try_from(count)?));
    figures.put("pairing.per_second", f64::from(u32::try_from(count)?) / elapsed?.as_secs_f64());
    Ok(())
}

fn listen(mut live: Live, told: &Sender<Heard>) {
    while live.next_event().is_ok_and(|event| told.send(Heard::Live(event)).is_ok()) {}
}

/// Accepts and verifies whatever appears, until all are paired; the time from the first request to the last pairing.
fn direct(heard: &Receiver<Heard>, acts: &Sender<Act>, count: usize) -> Result<Duration> {
    let mut codes: HashMap<String, (Option<String>, Option<SessionId>)> = HashMap::new();
    let mut accepted = HashSet::new();
    let mut begun = None;
    let mut paired = 0;
    while paired < count {
        let known = match heard.recv_timeout(STANDSTILL).context("the pairings have come to a standstill")? {
            Heard::Live(LiveEvent::Pairing { pairing }) if pairing.phase == PairingPhase::Waiting => {
                begun.get_or_insert_with(Instant::now);
                // A request may be told again, as when its pump sends it again.
                if accepted.insert(pairing.session) {
                    acts.send(Act::Accept(pairing.session))?;
                }
                continue;
            }
            Heard::Live(LiveEvent::Pairing { pairing }) if pairing.phase == PairingPhase::Verifying => {
                let known = codes.entry(pairing.device.to_string()).or_default();
                known.1 = Some(pairing.session);
                known
            }
            Heard::Pump(event) if is(&event, "code") => {
                let known = codes.entry(text(&event, "device")?.to_owned()).or_default();
                known.0 = Some(text(&event, "code")?.to_owned());
                known
            }
            Heard::Pump(event) => {
                paired += usize::from(is(&event, "paired"));
                continue;
            }
            Heard::Live(_) => continue,
        };
        if let (Some(code), Some(session)) = known {
            acts.send(Act::Verify(*session, std::mem::take(code)))?;
            *known = (None, None);
        }
    }
    Ok(begun.context("a request")?.elapsed())
}

fn hand(nurse: &Api, to_do: &Arc<Mutex<Receiver<Act>>>) -> thread::JoinHandle<Result<()>> {
    let (nurse, to_do) = (nurse.clone(), Arc::clone(to_do));
    thread::spawn(move || {
        loop {
            let act = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match act {
                Ok(Act::Accept(session)) => drop(nurse.accept(session, Mode::PairingCode)?),
                Ok(Act::Verify(session, code)) => drop(nurse.verify(session, VerificationProof::Code(code))?),
                Err(_) => return Ok(()),
            }
        }
    })
}

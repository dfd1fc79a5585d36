//! `cargo xtask bench trust`: what protection and re-keying cost natively, and how fast a revocation is on plain workerd.
//!
//! `trust.protect_<channel>_per_second`: messages with a report of an infusion that one sender protects, signed where the channel
//! asks for it; `trust.open_<channel>_per_second`: that one receiver opens; `…_wasm_per_second`: the same in WebAssembly. `trust.wrap_10000_ms`: a new epoch of a class's key
//! wrapped for 10,000 devices, each under its own `K_wrap`, in slices as a shell takes them; `trust.wrap_slice_max_ms`: the longest
//! slice of 100, in which nobody else is served.
//!
//! `trust.revocation_p50_ms`, `trust.revocation_p99_ms`: from the call to the closed socket, by the pump's own clock, while
//! `trust.connected` pumps are connected; `trust.revocation_answer_*`: to the answer; `trust.new_keys_*`: until every other pump was
//! sent its new keys.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand_core::{CryptoRng, Rng};
use wardlink_agent::clock;
use wardlink_measure::messages::Messages;
use wardlink_protocol::Device;
use wardlink_protocol::channel::{Channel, default_channels};
use wardlink_protocol::identity::TrustLevel;
use wardlink_tests::figures::{Figures, argument};
use wardlink_tests::ward::Ward;
use wardlink_tests::{revocations, scene, wasm};
use wardlink_trust::epochs::{Action, Knowledge, Line, LineId, Recipient, Rekeying, Why};
use wardlink_trust::wrap::{WrapKey, wrap};

/// The channels that a site begins with, and the keys of their figures.
const CHANNELS: [[&str; 5]; 6] = [
    [
        "alarm",
        "trust.protect_alarm_per_second",
        "trust.open_alarm_per_second",
        "trust.protect_alarm_wasm_per_second",
        "trust.open_alarm_wasm_per_second",
    ],
    [
        "command",
        "trust.protect_command_per_second",
        "trust.open_command_per_second",
        "trust.protect_command_wasm_per_second",
        "trust.open_command_wasm_per_second",
    ],
    [
        "log",
        "trust.protect_log_per_second",
        "trust.open_log_per_second",
        "trust.protect_log_wasm_per_second",
        "trust.open_log_wasm_per_second",
    ],
    [
        "telemetry",
        "trust.protect_telemetry_per_second",
        "trust.open_telemetry_per_second",
        "trust.protect_telemetry_wasm_per_second",
        "trust.open_telemetry_wasm_per_second",
    ],
    [
        "therapy",
        "trust.protect_therapy_per_second",
        "trust.open_therapy_per_second",
        "trust.protect_therapy_wasm_per_second",
        "trust.open_therapy_wasm_per_second",
    ],
    [
        "update",
        "trust.protect_update_per_second",
        "trust.open_update_per_second",
        "trust.protect_update_wasm_per_second",
        "trust.open_update_wasm_per_second",
    ],
];
const DEVICES: usize = 10_000;
const SLICE: usize = 100;

fn main() -> Result<()> {
    let messages = argument("--messages", 5_000)?;
    ensure!(messages > 0, "--messages takes a number above 0");
    let mut figures = Figures::default();
    let mut rng = clock::rng();
    for [name, protect, open, protect_wasm, open_wasm] in CHANNELS {
        let (protected, opened) = messages_of(name, messages, &mut rng)?;
        figures.put(protect, per_second(messages, protected)?);
        figures.put(open, per_second(messages, opened)?);
        let in_wasm = wasm::times(&["messages", name, &messages.to_string()])?;
        let [protected, opened] = in_wasm[..] else { bail!("two times, not {in_wasm:?}") };
        figures.put(protect_wasm, per_second(messages, protected)?);
        figures.put(open_wasm, per_second(messages, opened)?);
    }
    let (whole, longest) = wrapping(&mut rng)?;
    figures.put_ms("trust.wrap_10000_ms", whole);
    figures.put_ms("trust.wrap_slice_max_ms", longest);
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (devices, trials) = (argument("--devices", 1_000)?, argument("--trials", 40)?);
        revocations::measure(scene, &ward, devices, trials, &mut figures)
    })?;
    figures.print()
}

fn row(name: &str) -> Result<Channel> {
    default_channels().into_iter().find(|row| row.name.as_str() == name).with_context(|| format!("no channel {name}"))
}

fn per_second(messages: usize, time: Duration) -> Result<f64> {
    Ok(f64::from(u32::try_from(messages)?) / time.as_secs_f64())
}

fn device(number: usize) -> Result<Device> {
    Ok(format!("infusion-pump/ip-{number:05}").parse()?)
}

/// How long it takes to protect so many messages on one channel, and to open them.
fn messages_of<R: CryptoRng>(channel: &str, count: usize, rng: &mut R) -> Result<(Duration, Duration)> {
    let mut messages = Messages::begin(channel, rng)?;
    let begin = Instant::now();
    messages.protect(count)?;
    let protecting = begin.elapsed();
    let begin = Instant::now();
    ensure!(messages.open()? == count, "not every message was opened");
    Ok((protecting, begin.elapsed()))
}

/// How long it takes to wrap a new epoch for every device, and the longest slice of it.
fn wrapping<R: CryptoRng + Rng>(rng: &mut R) -> Result<(Duration, Duration)> {
    let row = row("alarm")?;
    let mut fleet = Vec::with_capacity(DEVICES);
    for number in 0..DEVICES {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        fleet.push((Knowledge::new(device(number)?), WrapKey::new(secret)));
    }
    let (class, now) = (device(0)?.client, clock::now());
    let mut line = Line::begin(LineId::of(&row, &device(0)?), row.clone(), 0, now, rng)?;
    let begin = Instant::now();
    line.rotate(row.clone(), Why::Cut(now), now, rng)?;
    let mut job = Rekeying::deliver(class, vec![row], Why::Cut(now), u64::try_from(DEVICES)?, now);
    let (mut longest, mut wrapped, mut next) = (Duration::ZERO, 0, 0);
    while !job.is_finished() {
        let slice_began = Instant::now();
        let slice = fleet.get(next..).unwrap_or_default();
        let recipients =
            slice.iter().take(SLICE).map(|(knowledge, _)| Recipient { trust: TrustLevel::Full, knowledge });
        let actions = job.slice(recipients, SLICE);
        for (action, (knowledge, wrap_key)) in actions.iter().zip(fleet.iter_mut().skip(next)) {
            let Action::WrapFor { device, .. } = action else { continue };
            ensure!(device == knowledge.device(), "a slice is out of order");
            knowledge.give(&line);
            let update = wrap(&line, device, &wrap_key.keys(device)?, rng)?;
            wrapped += usize::from(!update.is_empty());
        }
        next += SLICE;
        longest = longest.max(slice_began.elapsed());
    }
    ensure!(wrapped == DEVICES, "{wrapped} of {DEVICES} devices got their key");
    Ok((begin.elapsed(), longest))
}

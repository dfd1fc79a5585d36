//! Revocations among many devices that are connected: how long until the socket is closed, and how long the new keys take.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use wardlink_protocol::Device;
use wardlink_protocol::api::{ChannelsView, ProblemKind};

use crate::Scene;
use crate::api::{Api, Refused, ask_again};
use crate::crowd::{Crowd, Heard};
use crate::figures::{Figures, percentile};
use crate::pump::{is, milliseconds, text};
use crate::wait;
use crate::ward::Ward;

/// The longest that a pump takes to notice that it was cut off.
const NOTICE: Duration = Duration::from_secs(10);

/// The longest that new keys for everybody take.
const NEW_KEYS: Duration = Duration::from_mins(10);

/// The longest that a worker which rests takes for an answer, and the pause before it is asked again.
const AT_ONCE: Duration = Duration::from_millis(50);
/// So often in a row it has to answer at once.
const RESTS: usize = 100;

/// Pairs so many devices, and revokes some of them, one after the other.
pub fn measure(scene: &Scene, ward: &Ward<'_>, devices: usize, trials: usize, figures: &mut Figures) -> Result<()> {
    let (mut answers, mut cuts, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    Crowd::PUMPS.pair(scene, ward, devices, |heard| {
        for number in 1..=trials.min(devices) {
            rest(&ward.administrator)?;
            let device = Crowd::PUMPS.device(number)?;
            let (begun, clock) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
            revoke(&ward.administrator, &device)?;
            answers.push(begun.elapsed());
            cuts.push(cut_at(heard, &device)?.saturating_sub(clock));
            // The others get new keys: nobody else is to be revoked in between.
            wait::within(NEW_KEYS, "new keys for everybody", || {
                let view: ChannelsView = ask_again(|| ward.administrator.get("channels"))?;
                Ok(view.jobs.is_empty().then_some(()))
            })?;
            keys.push(begun.elapsed());
        }
        Ok(())
    })?;
    figures.put("trust.connected", f64::from(u32::try_from(devices)?));
    for (half, whole, values) in [
        ("trust.revocation_p50_ms", "trust.revocation_p99_ms", &cuts),
        ("trust.revocation_answer_p50_ms", "trust.revocation_answer_p99_ms", &answers),
        ("trust.new_keys_p50_ms", "trust.new_keys_p99_ms", &keys),
    ] {
        figures.put_ms(half, percentile(values, 50)?);
        figures.put_ms(whole, percentile(values, 99)?);
    }
    Ok(())
}

/// Waits until the worker answers at once for a while: what devices still have to say about their new keys belongs to the revocation before.
fn rest(administrator: &Api) -> Result<()> {
    wait::within(NEW_KEYS, "a worker that rests", || {
        for _ in 0..RESTS {
            let asked = Instant::now();
            if !administrator.is_healthy() || asked.elapsed() > AT_ONCE {
                return Ok(None);
            }
            thread::sleep(AT_ONCE);
        }
        Ok(Some(()))
    })
}

/// Revokes a device. Where no answer came, it may have been revoked already.
fn revoke(administrator: &Api, device: &Device) -> Result<()> {
    let is_revoked = |error: &anyhow::Error| {
        error.downcast_ref::<Refused>().is_some_and(|refused| refused.0.kind == ProblemKind::WrongState)
    };
    match administrator.revoke(std::slice::from_ref(device)) {
        Err(error) if !error.is::<Refused>() => match administrator.revoke(std::slice::from_ref(device)) {
            Err(error) if !is_revoked(&error) => Err(error),
            _ => Ok(()),
        },
        outcome => outcome.map(drop),
    }
}

/// When a pump saw that its connection was closed, since 1970.
fn cut_at(heard: &Receiver<Heard>, device: &Device) -> Result<Duration> {
    let name = device.to_string();
    loop {
        match heard.recv_timeout(NOTICE).with_context(|| format!("{name} is still connected"))? {
            Heard::Pump(event) if is(&event, "disconnected") && text(&event, "device")? == name => {
                return milliseconds(&event, "at");
            }
            Heard::Failed(error) => return Err(error),
            Heard::Live(_) | Heard::Pump(_) => {}
        }
    }
}

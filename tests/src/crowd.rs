//! A crowd of devices that pair side by side, and the nurse who accepts and verifies each as soon as she hears of it: a script.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wardlink_protocol::Device;
use wardlink_protocol::api::{LiveEvent, PairingPhase, VerificationProof};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;

use crate::Scene;
use crate::api::{Api, ask_again};
use crate::live::Live;
use crate::pump::{Event, Pump, is, text};
use crate::ward::Ward;

/// How many devices one process simulates, and how many begin to pair at a time: more would wait for one another's files.
const WAVE: usize = 500;
/// The pause between two messages of a device is so long for each of the crowd, in milliseconds.
const TELEMETRY_MS_EACH: usize = 20;
/// It is never shorter than this, in milliseconds.
const LEAST_TELEMETRY_MS: usize = 10_000;
/// How many requests the nurse has under way at a time.
const HANDS: usize = 32;
/// How often somebody who hears nothing looks whether anybody still wants to know.
const PAUSE: Duration = Duration::from_secs(1);
/// A silence after which she gives up.
const STANDSTILL: Duration = Duration::from_mins(1);

/// Devices of one class that pair side by side, as `<class>/<name>-<wave>-<number>`.
#[derive(Clone, Copy, Debug)]
pub struct Crowd<'n> {
    /// Their class.
    pub class: &'n str,
    /// What their identifiers and their folders begin with.
    pub name: &'n str,
}

impl Crowd<'static> {
    /// Pumps.
    pub const PUMPS: Self = Self { class: "infusion-pump", name: "ward" };
}

impl Crowd<'_> {
    /// Starts so many of them, in waves, and pairs all; then `meanwhile` hears their events. Returns the time from the first request to
    /// the last pairing. Their processes end when nobody hears their events any more.
    pub fn pair(
        self,
        scene: &Scene,
        ward: &Ward<'_>,
        count: usize,
        meanwhile: impl FnOnce(&Receiver<Heard>) -> Result<()>,
    ) -> Result<Duration> {
        let provisioning = ward.administrator.provisioning_for(self.class)?;
        let live = Live::connect(&ward.nurse)?;
        let (acts, to_do) = mpsc::channel();
        let to_do = Arc::new(Mutex::new(to_do));
        let (sender, heard) = mpsc::channel();
        let hands: Vec<_> = (0..HANDS).map(|_| hand(&ward.nurse, &to_do, &sender)).collect();
        let elapsed: Result<Duration> = thread::scope(|threads| {
            let told = sender.clone();
            threads.spawn(move || listen(live, &told));
            // However many they are, they send as much together.
            let telemetry = Duration::from_millis(u64::try_from((TELEMETRY_MS_EACH * count).max(LEAST_TELEMETRY_MS))?);
            let mut pairings = Pairings::default();
            let mut elapsed = Ok(Duration::ZERO);
            // Gone when this scope ends, however it ends.
            let audience = Arc::new(());
            for (wave, begin) in (0..count).step_by(WAVE).enumerate() {
                let size = WAVE.min(count - begin);
                let mut devices = self.start(scene, &provisioning, wave, size, telemetry)?;
                let (sender, audience) = (sender.clone(), Arc::downgrade(&audience));
                threads.spawn(move || hear(&mut devices, &sender, &audience));
                elapsed = pairings.direct(&heard, &acts, begin + size);
                if elapsed.is_err() {
                    break;
                }
            }
            let meanwhile = elapsed.as_ref().ok().map(|_| meanwhile(&heard));
            drop((heard, acts));
            meanwhile.transpose()?;
            elapsed
        });
        for hand in hands {
            hand.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        }
        elapsed
    }

    /// Starts a wave.
    fn start<'s>(
        self,
        scene: &'s Scene,
        provisioning: &Provisioning,
        wave: usize,
        size: usize,
        telemetry: Duration,
    ) -> Result<Pump<'s>> {
        let (name, identifier) = (self.folder(wave), format!("{}-{wave}", self.name));
        let (size, telemetry) = (size.to_string(), telemetry.as_millis().to_string());
        let more = ["--identifier", &identifier, "--count", &size, "--telemetry-ms", &telemetry];
        Pump::start_with(scene, provisioning, &name, &more)
    }

    fn folder(self, wave: usize) -> String {
        format!("{}-{}-{wave}", self.class, self.name)
    }

    /// The one with this number, from 1. One that is alone has none.
    pub fn device(self, number: usize) -> Result<Device> {
        let (wave, number) = place(number);
        Ok(format!("{}/{}-{wave}-{number}", self.class, self.name).parse()?)
    }

    /// Where it keeps its state.
    pub fn state(self, scene: &Scene, number: usize) -> PathBuf {
        let (wave, number) = place(number);
        scene.path(&format!("{}-state", self.folder(wave))).join(number.to_string())
    }
}

/// What the nurse hears.
#[derive(Debug)]
pub enum Heard {
    /// From the control unit.
    Live(LiveEvent),
    /// From a device.
    Pump(Event),
    /// That something she did was not taken.
    Failed(anyhow::Error),
}

/// What the nurse does.
enum Act {
    Accept(SessionId),
    Verify(SessionId, String),
}

fn listen(mut live: Live, told: &Sender<Heard>) {
    while live.next_event().is_ok_and(|event| told.send(Heard::Live(event)).is_ok()) {}
}

/// Hears what devices say, as long as somebody wants to know; they may be silent for long.
fn hear(devices: &mut Pump<'_>, told: &Sender<Heard>, audience: &Weak<()>) {
    while audience.strong_count() > 0 {
        let said = match devices.event_within(PAUSE) {
            Ok(None) => continue,
            Ok(Some(event)) => Heard::Pump(event),
            Err(error) => Heard::Failed(error),
        };
        let has_failed = matches!(said, Heard::Failed(_));
        if told.send(said).is_err() || has_failed {
            return;
        }
    }
}

/// In which wave a device is, and its number there, from 1.
fn place(number: usize) -> (usize, usize) {
    let before = number.saturating_sub(1);
    (before / WAVE, before % WAVE + 1)
}

/// The pairings of a crowd.
#[derive(Default)]
struct Pairings {
    /// What a device shows and which session it is in, as far as either is known.
    codes: HashMap<String, (Option<String>, Option<SessionId>)>,
    accepted: HashSet<SessionId>,
    /// When the first request came.
    begun: Option<Instant>,
    paired: usize,
}

impl Pairings {
    /// Accepts and verifies whatever appears, until so many are paired; the time since the first request.
    fn direct(&mut self, heard: &Receiver<Heard>, acts: &Sender<Act>, count: usize) -> Result<Duration> {
        while self.paired < count {
            let known = match heard.recv_timeout(STANDSTILL).context("the pairings have come to a standstill")? {
                Heard::Live(LiveEvent::Pairing { pairing }) if pairing.phase == PairingPhase::Waiting => {
                    self.begun.get_or_insert_with(Instant::now);
                    // A request may be told again, as when its pump sends it again.
                    if self.accepted.insert(pairing.session) {
                        acts.send(Act::Accept(pairing.session))?;
                    }
                    continue;
                }
                Heard::Live(LiveEvent::Pairing { pairing }) if pairing.phase == PairingPhase::Verifying => {
                    let known = self.codes.entry(pairing.device.to_string()).or_default();
                    known.1 = Some(pairing.session);
                    known
                }
                Heard::Pump(event) if is(&event, "code") => {
                    let known = self.codes.entry(text(&event, "device")?.to_owned()).or_default();
                    known.0 = Some(text(&event, "code")?.to_owned());
                    known
                }
                Heard::Pump(event) => {
                    self.paired += usize::from(is(&event, "paired"));
                    continue;
                }
                Heard::Live(_) => continue,
                Heard::Failed(error) => return Err(error),
            };
            if let (Some(code), Some(session)) = known {
                acts.send(Act::Verify(*session, std::mem::take(code)))?;
                *known = (None, None);
            }
        }
        Ok(self.begun.context("a request")?.elapsed())
    }
}

fn hand(nurse: &Api, to_do: &Arc<Mutex<Receiver<Act>>>, told: &Sender<Heard>) -> thread::JoinHandle<()> {
    let (nurse, to_do, told) = (nurse.clone(), Arc::clone(to_do), told.clone());
    thread::spawn(move || {
        loop {
            let act = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(act) = act else { return };
            let attempt = || match &act {
                Act::Accept(session) => nurse.accept(*session, Mode::PairingCode).map(drop),
                Act::Verify(session, code) => nurse.verify(*session, VerificationProof::Code(code.clone())).map(drop),
            };
            let outcome = ask_again(attempt);
            // Nobody hears it any more where everything is over.
            if let Err(error) = outcome
                && told.send(Heard::Failed(error)).is_err()
            {
                return;
            }
        }
    })
}

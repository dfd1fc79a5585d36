//! A believable infusion: what a pump would measure, do and alarm for, without a pump.
//!
//! Deterministic for a seed and a sequence of times. Volumes are counted in nanolitres, so that nothing is lost to rounding
//! at one microlitre per hour.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority, Content, Telemetry, Therapy, TherapyEvent};

/// The step of the simulation, in milliseconds.
const STEP_MS: u64 = 250;
/// A longer gap than this (the computer slept) is not made up for, in milliseconds.
const MAX_GAP_MS: u64 = 60 * 60 * 1000;
/// The pressure at which a line counts as blocked, in mmHg.
const OCCLUSION_LIMIT: f64 = 500.0;
/// The charge below which the battery alarms, in per cent.
const BATTERY_LOW: f64 = 20.0;

/// An entry of the pump's drug library.
struct Drug {
    name: &'static str,
    /// Usual rates, in microlitres per hour.
    rates: [u32; 2],
    /// The container, in microlitres.
    volume_ul: u32,
}

const DRUGS: [Drug; 5] = [
    Drug { name: "Noradrenaline 0.1 mg/ml", rates: [2_000, 14_000], volume_ul: 50_000 },
    Drug { name: "Propofol 1 %", rates: [6_000, 22_000], volume_ul: 50_000 },
    Drug { name: "Heparin 500 IU/ml", rates: [1_000, 3_500], volume_ul: 50_000 },
    Drug { name: "Sodium chloride 0.9 %", rates: [60_000, 125_000], volume_ul: 500_000 },
    Drug { name: "Ringer's acetate", rates: [80_000, 150_000], volume_ul: 1_000_000 },
];

/// What disturbs an infusion, and when a person has put it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incident {
    /// The line is kinked; from the limit on the pump stops and alarms.
    Kink,
    /// Air was found in the line.
    Air,
    /// A person opened the door.
    Door,
    /// The patient is moved: battery instead of mains.
    Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Running,
    Paused,
    Complete,
}

/// A running infusion.
pub struct Infusion {
    rng: StdRng,
    at: UnixMillis,
    drug: &'static Drug,
    rate_ul_per_h: u32,
    infused_nl: u64,
    flow: Flow,
    pressure: f64,
    battery: f64,
    incident: Option<(Incident, UnixMillis)>,
    next_incident: UnixMillis,
    next_container: UnixMillis,
    alarms: Vec<AlarmKind>,
    happened: Vec<Content>,
}

impl Infusion {
    /// Starts an infusion at `now`.
    pub fn start(seed: u64, now: UnixMillis) -> Self {
        let mut infusion = Self {
            rng: StdRng::seed_from_u64(seed),
            at: now,
            drug: &DRUGS[0],
            rate_ul_per_h: 0,
            infused_nl: 0,
            flow: Flow::Running,
            pressure: 20.0,
            battery: 96.0,
            incident: None,
            next_incident: now,
            next_container: now,
            alarms: Vec::new(),
            happened: Vec::new(),
        };
        infusion.battery = infusion.rng.random_range(70.0..100.0);
        infusion.hang_container();
        // The first container was begun a while ago.
        infusion.infused_nl = u64::from(infusion.drug.volume_ul) * infusion.rng.random_range(50..600);
        infusion.next_incident = infusion.in_secs(40..150);
        infusion
    }

    /// Goes on until `now` and says what happened meanwhile.
    pub fn advance(&mut self, now: UnixMillis) -> Vec<Content> {
        if now.0 > self.at.0.saturating_add(MAX_GAP_MS) {
            self.at = now;
        }
        while self.at.0.saturating_add(STEP_MS) <= now.0 {
            self.at.0 += STEP_MS;
            self.step();
        }
        core::mem::take(&mut self.happened)
    }

    /// What the pump measures now.
    pub fn telemetry(&self) -> Telemetry {
        let infused_ul = u32::try_from(self.infused_nl / 1000).unwrap_or(u32::MAX).min(self.drug.volume_ul);
        Telemetry {
            rate_ul_per_h: if self.flow == Flow::Running { self.rate_ul_per_h } else { 0 },
            infused_ul,
            remaining_ul: self.drug.volume_ul - infused_ul,
            pressure_mmhg: rounded(self.pressure),
            battery_percent: u8::try_from(rounded(self.battery)).unwrap_or(100).min(100),
        }
    }

    /// Whether a patient is being treated: a container hangs, and is not empty.
    pub fn runs(&self) -> bool {
        self.flow != Flow::Complete
    }

    /// The drug that runs.
    pub const fn drug(&self) -> &'static str {
        self.drug.name
    }

    /// The active alarms, the most urgent first.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> =
            self.alarms.iter().map(|kind| Alarm { kind: *kind, priority: priority(*kind), active: true }).collect();
        alarms.sort_by_key(|alarm| core::cmp::Reverse(alarm.priority));
        alarms
    }

    fn step(&mut self) {
        self.disturb();
        self.infuse();
        self.press();
        self.charge();
    }

    /// Begins and ends incidents.
    fn disturb(&mut self) {
        match self.incident {
            None if self.at >= self.next_incident && self.flow == Flow::Running => {
                let (incident, lasts) = match self.rng.random_range(0..10) {
                    0..=3 => (Incident::Kink, 30..70),
                    4..=5 => (Incident::Air, 12..30),
                    6..=7 => (Incident::Door, 6..20),
                    _ => (Incident::Transport, 240..900),
                };
                self.incident = Some((incident, self.in_secs(lasts)));
                match incident {
                    Incident::Air => self.stop_for(AlarmKind::AirInLine),
                    Incident::Door => self.stop_for(AlarmKind::DoorOpen),
                    Incident::Kink | Incident::Transport => {}
                }
            }
            Some((incident, until)) if self.at >= until => {
                self.incident = None;
                self.next_incident = self.in_secs(90..400);
                match incident {
                    Incident::Kink => self.go_on_after(AlarmKind::DownstreamOcclusion),
                    Incident::Air => self.go_on_after(AlarmKind::AirInLine),
                    Incident::Door => self.go_on_after(AlarmKind::DoorOpen),
                    Incident::Transport => {}
                }
            }
            _ => {}
        }
    }

    /// Moves the volume, changes the rate now and then, ends the container and hangs the next one.
    fn infuse(&mut self) {
        if self.flow == Flow::Complete && self.at >= self.next_container {
            self.end_alarm(AlarmKind::NearEnd);
            self.hang_container();
        }
        if self.flow != Flow::Running {
            return;
        }
        let volume_nl = u64::from(self.drug.volume_ul) * 1000;
        self.infused_nl = (self.infused_nl + u64::from(self.rate_ul_per_h) * STEP_MS / 3600).min(volume_nl);
        let left_nl = volume_nl - self.infused_nl;
        if left_nl == 0 {
            self.flow = Flow::Complete;
            self.next_container = self.in_secs(30..90);
            self.therapy(TherapyEvent::Completed);
        } else if left_nl < volume_nl / 20 {
            self.begin_alarm(AlarmKind::NearEnd);
        }
        let a_quarter_of_an_hour = 15 * 60 * 1000 / STEP_MS;
        if self.flow == Flow::Running && self.rng.random_range(0..a_quarter_of_an_hour) == 0 {
            self.rate_ul_per_h = self.draw_rate();
            self.therapy(TherapyEvent::RateChanged);
        }
    }

    /// The pressure follows the rate with noise, rises behind a kink, and falls when it is gone.
    fn press(&mut self) {
        let seconds = 0.25;
        let running = self.flow == Flow::Running;
        let kinked = matches!(self.incident, Some((Incident::Kink, _)));
        if kinked && running {
            self.pressure += (6.0 + f64::from(self.rate_ul_per_h) / 2_000.0) * seconds * 4.0;
        } else if !kinked {
            let rest = if running { 18.0 + f64::from(self.rate_ul_per_h) / 2_500.0 } else { 12.0 };
            self.pressure += (rest - self.pressure) * 0.12 + self.rng.random_range(-0.8..0.8);
        }
        self.pressure = self.pressure.clamp(0.0, OCCLUSION_LIMIT * 1.2);
        if kinked && self.pressure >= OCCLUSION_LIMIT {
            self.stop_for(AlarmKind::DownstreamOcclusion);
        }
    }

    /// Four hours from full to empty on battery, three hours back on mains.
    fn charge(&mut self) {
        let hours = 0.25 / 3600.0;
        let on_battery = matches!(self.incident, Some((Incident::Transport, _)));
        self.battery += if on_battery { -25.0 * hours } else { 33.0 * hours };
        self.battery = self.battery.clamp(1.0, 100.0);
        if on_battery && self.battery < BATTERY_LOW {
            self.begin_alarm(AlarmKind::BatteryLow);
        } else if !on_battery {
            self.end_alarm(AlarmKind::BatteryLow);
        }
    }

    fn hang_container(&mut self) {
        let index = self.rng.random_range(0..DRUGS.len());
        if let Some(drug) = DRUGS.get(index) {
            self.drug = drug;
        }
        self.rate_ul_per_h = self.draw_rate();
        self.infused_nl = 0;
        self.flow = Flow::Running;
        self.therapy(TherapyEvent::Started);
    }

    fn stop_for(&mut self, kind: AlarmKind) {
        self.begin_alarm(kind);
        if self.flow == Flow::Running {
            self.flow = Flow::Paused;
            self.therapy(TherapyEvent::Paused);
        }
    }

    fn go_on_after(&mut self, kind: AlarmKind) {
        self.end_alarm(kind);
        if self.flow == Flow::Paused {
            self.flow = Flow::Running;
            self.therapy(TherapyEvent::Resumed);
        }
    }

    fn begin_alarm(&mut self, kind: AlarmKind) {
        if !self.alarms.contains(&kind) {
            self.alarms.push(kind);
            self.happened.push(Content::Alarm(Alarm { kind, priority: priority(kind), active: true }));
        }
    }

    fn end_alarm(&mut self, kind: AlarmKind) {
        if self.alarms.contains(&kind) {
            self.alarms.retain(|active| *active != kind);
            self.happened.push(Content::Alarm(Alarm { kind, priority: priority(kind), active: false }));
        }
    }

    fn therapy(&mut self, event: TherapyEvent) {
        self.happened.push(Content::Therapy(Therapy {
            event,
            drug: self.drug.name.to_owned(),
            rate_ul_per_h: self.rate_ul_per_h,
            volume_ul: self.drug.volume_ul,
        }));
    }

    fn draw_rate(&mut self) -> u32 {
        let [low, high] = self.drug.rates;
        self.rng.random_range(low..high) / 100 * 100
    }

    fn in_secs(&mut self, range: core::ops::Range<u64>) -> UnixMillis {
        UnixMillis(self.at.0.saturating_add(self.rng.random_range(range) * 1000))
    }
}

const fn priority(kind: AlarmKind) -> AlarmPriority {
    match kind {
        AlarmKind::DownstreamOcclusion | AlarmKind::AirInLine => AlarmPriority::High,
        AlarmKind::DoorOpen | AlarmKind::BatteryLow => AlarmPriority::Medium,
        AlarmKind::NearEnd => AlarmPriority::Low,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn rounded(value: f64) -> u16 {
    value.round().clamp(0.0, f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests;

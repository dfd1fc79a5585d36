//! What the device shows: one [`Screen`], drawn in the terminal and as a small web page.

pub mod qr;
pub mod terminal;
pub mod texts;
pub mod web;

use serde::Serialize;
use texts::Language;
use wardlink_protocol::Device;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::report::{Alarm, AlarmPriority, Telemetry};
use wardlink_update::uptane::Postponed;

/// What a pump's screen knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Which device.
    pub device: Device,
    /// The model.
    pub model: String,
    /// The serial number on the casing.
    pub serial: String,
    /// How far the coupling has come.
    pub phase: Phase,
    /// Whether the bridge can be reached.
    pub online: bool,
    /// Why not; none before the first attempt has failed.
    pub trouble: Option<String>,
    /// The infusion, once one runs.
    pub infusion: Option<Infusion>,
    /// What orders put there.
    pub notice: Notice,
    /// What it runs; none where it is no pump.
    pub software: Option<Software>,
}

/// What a device runs, as the screen shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// Its revision.
    pub revision: String,
    /// What the image says beside it.
    pub greeting: Option<String>,
    /// How an update stands, or how the last one has ended.
    pub update: Option<Update>,
}

/// How an update stands. Each is one calm line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stands", rename_all = "snake_case")]
pub enum Update {
    /// It waits for its moment.
    Waits {
        /// Its revision.
        revision: String,
        /// For what.
        why: Postponed,
    },
    /// It is on its way.
    Comes {
        /// Its revision.
        revision: String,
        /// How much of it is there, per cent.
        percent: u8,
    },
    /// It is there, and the other members of its set are waited for.
    WaitsForOthers {
        /// Its revision.
        revision: String,
    },
    /// The device restarts with it.
    Restarts {
        /// Its revision.
        revision: String,
    },
    /// It runs.
    Installed {
        /// Its revision.
        revision: String,
    },
    /// It could not be installed, or was taken back; the device runs what it ran before.
    Failed {
        /// Its revision.
        revision: String,
        /// Why.
        reason: String,
    },
    /// It never came as it should.
    Corrupt {
        /// Its revision.
        revision: String,
    },
}

/// What orders of the control unit or of a service put on the screen for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Words for the staff.
    pub message: Option<String>,
    /// Whether the tone of alarms is paused.
    pub tone_paused: bool,
}

/// How far the coupling has come, as the screen tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Unpaired, and not asked to couple (`--start manual`).
    Idle,
    /// The request is on its way, or waits for a person.
    Requesting,
    /// A person verifies the device.
    Verifying {
        /// The eight digits, where the mode has them.
        code: Option<String>,
        /// What the QR code says, where the mode has one.
        link: Option<String>,
    },
    /// Verified by the control unit, whose answer a person is to enter here.
    Answering {
        /// Tries that are left.
        tries_left: u32,
    },
    /// Verified; the keys are being delivered.
    Finishing,
    /// Coupled.
    Paired,
    /// The control unit refused.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// What the person wrote.
        note: String,
        /// When the device asks again; none where it does not.
        again_at: Option<UnixMillis>,
    },
    /// The device cannot go on without a person.
    Fault {
        /// What happened and what to do.
        message: String,
    },
}

impl Phase {
    /// The phase's name, as `/state` and `--json` have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Requesting => "requesting",
            Self::Verifying { .. } => "verifying",
            Self::Answering { .. } => "answering",
            Self::Finishing => "finishing",
            Self::Paired => "paired",
            Self::Refused { .. } => "refused",
            Self::Fault { .. } => "fault",
        }
    }
}

/// The infusion, as the screen shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infusion {
    /// The drug.
    pub drug: String,
    /// The newest measurement.
    pub telemetry: Telemetry,
    /// The active alarms, the most urgent first.
    pub alarms: Vec<Alarm>,
}

/// A screen in a person's language, ready to be drawn; also the JSON of `/state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the JSON")]
pub struct View {
    /// The language, as in HTML's `lang`.
    pub language: &'static str,
    /// Class and identifier.
    pub device: String,
    /// The model.
    pub model: String,
    /// The serial number.
    pub serial: String,
    /// [`Phase::name`].
    pub phase: &'static str,
    /// The state in a few words, such as "Coupling in progress".
    pub title: String,
    /// What happens next, or what to do.
    pub detail: String,
    /// The digits, in groups of four.
    pub code: Option<String>,
    /// What the QR code says.
    pub link: Option<String>,
    /// Whether the control unit's answer is to be entered now.
    pub answering: bool,
    /// Whether the button that begins the coupling does something now.
    pub button: bool,
    /// Whether the bridge can be reached.
    pub online: bool,
    /// The connection in a few words.
    pub connection: String,
    /// The infusion.
    pub infusion: Option<InfusionView>,
    /// What it runs, in a few words.
    pub version: Option<String>,
    /// How an update stands, in one line.
    pub update: Option<String>,
    /// Whether the button that lets an update be installed does something now.
    pub confirming: bool,
    /// Words for the staff.
    pub message: Option<String>,
    /// That the tone of alarms is paused, where it is.
    pub tone: Option<&'static str>,
}

/// The infusion, formatted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InfusionView {
    /// The drug.
    pub drug: String,
    /// Rate in ml/h.
    pub rate: String,
    /// Infused volume with unit.
    pub infused: String,
    /// Remaining volume with unit.
    pub remaining: String,
    /// Pressure with unit.
    pub pressure: String,
    /// The battery's charge, per cent.
    pub battery: u8,
    /// How much of the container is infused, per cent.
    pub progress: u32,
    /// The active alarms.
    pub alarms: Vec<AlarmView>,
}

/// An alarm, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmView {
    /// What it says.
    pub text: String,
    /// `high`, `medium` or `low`.
    pub priority: AlarmPriority,
}

impl Screen {
    /// The screen in a language.
    pub fn view(&self, language: Language) -> View {
        let texts = language.texts();
        let (title, detail) = texts.phase(&self.phase);
        let (code, link) = match &self.phase {
            Phase::Verifying { code, link } => (code.clone(), link.clone()),
            _ => (None, None),
        };
        let update = self.software.as_ref().and_then(|software| software.update.as_ref());
        View {
            language: language.tag(),
            device: self.device.to_string(),
            model: self.model.clone(),
            serial: self.serial.clone(),
            phase: self.phase.name(),
            title,
            detail,
            code,
            link,
            answering: matches!(self.phase, Phase::Answering { .. }),
            button: matches!(self.phase, Phase::Idle | Phase::Refused { .. }),
            online: self.online,
            connection: texts.connection(self.online, self.trouble.as_deref()),
            infusion: self.infusion.as_ref().map(|infusion| infusion.view(language)),
            message: self.notice.message.clone(),
            tone: self.notice.tone_paused.then_some(texts.tone_paused),
            version: self.software.as_ref().map(Software::version),
            update: update.map(|update| texts.update(update)),
            confirming: matches!(update, Some(Update::Waits { why: Postponed::Confirmation, .. })),
        }
    }
}

impl Software {
    fn version(&self) -> String {
        match &self.greeting {
            Some(greeting) => format!("{} · {greeting}", self.revision),
            None => self.revision.clone(),
        }
    }
}

impl Infusion {
    fn view(&self, language: Language) -> InfusionView {
        let telemetry = &self.telemetry;
        let volume = u64::from(telemetry.infused_ul) + u64::from(telemetry.remaining_ul);
        let progress = (u64::from(telemetry.infused_ul) * 100).checked_div(volume).unwrap_or(0);
        InfusionView {
            drug: self.drug.clone(),
            rate: language.millilitres(telemetry.rate_ul_per_h),
            infused: format!("{} ml", language.millilitres(telemetry.infused_ul)),
            remaining: format!("{} ml", language.millilitres(telemetry.remaining_ul)),
            pressure: format!("{} mmHg", telemetry.pressure_mmhg),
            battery: telemetry.battery_percent,
            progress: u32::try_from(progress).unwrap_or(100),
            alarms: self
                .alarms
                .iter()
                .map(|alarm| AlarmView {
                    text: language.texts().alarm(alarm.kind).to_owned(),
                    priority: alarm.priority,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

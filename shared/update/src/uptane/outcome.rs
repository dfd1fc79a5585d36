//! What becomes of an update: begun, installed, refused, failed, corrupt or postponed (figure 12, 261 to 265), and whether it is tried again.

use super::{Install, Refused, Transaction};
use crate::director::When;
use crate::metadata::{TargetPath, Version};
use crate::package::{Note, ReleaseCounter, Revision};
use crate::report::State;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Device;

/// How often a corrupt image is asked for again.
pub const MAX_RETRIES: u32 = 5;
/// How long until the first retry; each further one waits twice as long.
pub const FIRST_RETRY: Duration = Duration::from_mins(1);
/// How long until the last one: an end that is further away was set by a clock that was wrong.
const LONGEST_RETRY: Duration = FIRST_RETRY.saturating_mul(1 << (MAX_RETRIES - 1));

/// Whether an image is not yet asked for again at this time; both in seconds since 1970.
pub const fn rests(retry_at: u64, now: u64) -> bool {
    now < retry_at && retry_at - now <= LONGEST_RETRY.as_secs()
}

/// Why an update waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Postponed {
    /// A therapy runs, and the package may not be installed meanwhile.
    Therapy,
    /// The device says that this is no safe moment.
    Unsafe,
    /// The maintenance window has not begun, or is over.
    Window,
    /// A person has not yet confirmed it at the device.
    Confirmation,
}

/// What came of it, or that it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Its installation has begun: nothing has come of it yet.
    Begun,
    /// It runs.
    Installed {
        /// The revision that the device has now.
        revision: Revision,
        /// Its release counter.
        release_counter: ReleaseCounter,
    },
    /// Verification failed.
    Refused {
        /// At which step of Uptane.
        step: Note,
        /// Why, for people.
        reason: Note,
    },
    /// It was verified, and could not be installed; the device runs what it ran before.
    Failed {
        /// Why, for people.
        reason: Note,
    },
    /// The image was not the listed one.
    Corrupt,
    /// It waits.
    Postponed(Postponed),
}

/// What a device tells its gateway, and the gateway its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// The device.
    pub device: Device,
    /// The version of the directive.
    pub directive: Version,
    /// The package; none where the directive was refused before one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TargetPath>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What becomes of a transaction whose parts are being prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Some devices have yet to say whether they are ready.
    Wait,
    /// Every device has verified its image and written it beside the present one: all of them change over.
    Commit,
    /// This device cannot: all of them keep what they run.
    Abort(Device),
}

impl Transaction {
    /// Decides for the whole set: `is_ready` says of each device whether it has verified its image and could start it; none where
    /// it has not answered. One that cannot ends it for all.
    pub fn decide(&self, is_ready: impl Fn(&Device) -> Option<bool>) -> Decision {
        let answers = || self.installs.iter().map(|install| (&install.device, is_ready(&install.device)));
        if let Some((device, _)) = answers().find(|(_, answer)| *answer == Some(false)) {
            return Decision::Abort(device.clone());
        }
        if answers().all(|(_, answer)| answer == Some(true)) { Decision::Commit } else { Decision::Wait }
    }

    /// Whether all of its devices may begin now; otherwise the first that may not.
    pub fn may_begin(&self, at: impl Fn(&Device) -> Circumstances) -> Result<(), (Device, Postponed)> {
        self.installs.iter().try_for_each(|install| {
            install.may_begin(&at(&install.device)).map_err(|postponed| (install.device.clone(), postponed))
        })
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it is done.
    Done,
    /// Ask for the image again, after this time.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// It is under way, or looked at again when the circumstances change; no attempt is counted.
    Wait,
    /// Nothing by itself: a new directive, or a person, has to come first.
    Stop,
}

impl Outcome {
    /// What to tell about a refusal.
    pub fn refused(refused: &Refused) -> Self {
        Self::Refused { step: Note::cut(refused.step.0), reason: Note::cut(&refused.to_string()) }
    }

    /// What to tell where it was verified and could not be installed.
    pub fn failed(reason: &str) -> Self {
        Self::Failed { reason: Note::cut(reason) }
    }

    /// How it goes on after so many retries.
    pub fn then(&self, retries: u32) -> Then {
        match self {
            Self::Installed { .. } => Then::Done,
            Self::Corrupt if retries < MAX_RETRIES => {
                Then::Retry { after: FIRST_RETRY.saturating_mul(2_u32.saturating_pow(retries)) }
            }
            Self::Begun | Self::Postponed(_) => Then::Wait,
            Self::Corrupt | Self::Refused { .. } | Self::Failed { .. } => Then::Stop,
        }
    }

    /// What the catalog says of the device afterwards (figure 10, 220): only success changes it.
    pub fn apply(&self, state: &mut State) {
        if let Self::Installed { revision, release_counter } = self {
            state.characteristics.revision = revision.clone();
            state.release_counter = Some(*release_counter);
            // Which image it is, the device's next report says.
            state.image = None;
        }
    }
}

/// How things stand at the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The time, seconds since 1970.
    pub now: u64,
    /// Whether a therapy, such as an infusion, runs.
    pub therapy_runs: bool,
    /// Whether the device says that this is a safe moment: power, no alarm, nobody at its keys.
    pub is_safe: bool,
    /// Whether a person has confirmed this update at the device.
    pub is_confirmed: bool,
}

impl Install {
    /// Whether the device may begin now (Uptane 5.4.3.5). Nothing that the director says makes a package be installed during a
    /// therapy that its manufacturer has not allowed it for.
    pub const fn may_begin(&self, at: &Circumstances) -> Result<(), Postponed> {
        if at.therapy_runs && !self.package.during_therapy {
            return Err(Postponed::Therapy);
        }
        match self.when {
            When::AtOnce => Ok(()),
            When::NextSafeMoment if at.is_safe => Ok(()),
            When::NextSafeMoment => Err(Postponed::Unsafe),
            When::Window { from, until } if from <= at.now && at.now < until => Ok(()),
            When::Window { .. } => Err(Postponed::Window),
            When::OnConfirmation if at.is_confirmed => Ok(()),
            When::OnConfirmation => Err(Postponed::Confirmation),
        }
    }

    /// What to tell when it runs.
    pub fn installed(&self) -> Outcome {
        let (revision, release_counter) = (self.package.post_revision.clone(), self.package.release_counter);
        Outcome::Installed { revision, release_counter }
    }
}

//! An update on its way, from the offer to the switch: what the device has accepted, how far it is, and what holds it up.
//!
//! These are values and what follows from them; nothing here reads or writes.

use super::slots::Slot;
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Device;
use wardlink_update::director::{Added, When};
use wardlink_update::metadata::{Expires, Target, TargetPath, Version};
use wardlink_update::package::Package;
use wardlink_update::report::Image;
use wardlink_update::uptane::{Circumstances, Install, Notification, Outcome, Postponed, Then, rests};

/// How far an update is. Each stage is stored before anything is done that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JobStage {
    /// It was verified, and waits for its moment.
    Waiting,
    /// The image, and the data with it, are on their way into the inactive slot.
    Receiving,
    /// All of it lies there, verified. A member of an atomic set waits for the word that all have come so far.
    Prepared {
        /// What lies in the slot.
        image: Image,
        /// Whether that word has come.
        is_committed: bool,
    },
    /// It was switched to, and has yet to prove itself.
    OnTrial,
}

/// An update on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The version of the directive; of the manufacturer's metadata where nobody directs.
    pub directive: Version,
    /// Until when what was verified counts: the earliest end of its metadata.
    pub valid_until: Expires,
    /// Where the image is.
    pub path: TargetPath,
    /// Its length and hashes.
    pub target: Target,
    /// What its manufacturer says of it.
    pub package: Package,
    /// What is installed with it, or neither is.
    pub added: Vec<Added>,
    /// When.
    pub when: When,
    /// Where it is written.
    pub slot: Slot,
    /// How far it is.
    pub stage: JobStage,
    /// Whether a person has confirmed it at the device.
    pub is_confirmed: bool,
    /// How often a corrupt image was asked for again.
    pub retries: u32,
    /// When a corrupt image is asked for again, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<u64>,
    /// Why it waits, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postponed: Option<Postponed>,
}

/// What holds an update up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The circumstances.
    Postponed(Postponed),
    /// The image was corrupt, and is asked for again at this time, in seconds since 1970.
    Until(u64),
    /// Its metadata has ended: nothing is installed by it any more.
    Over,
}

/// What becomes of an update whose image was corrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterCorrupt {
    /// It goes on so.
    Again(Box<Job>),
    /// It was tried often enough.
    GivenUp,
}

impl Job {
    /// What was accepted, before anything is done.
    pub fn new(install: Install, directive: Version, valid_until: Expires, slot: Slot) -> Self {
        let Install { path, target, package, added, when, .. } = install;
        Self {
            directive,
            valid_until,
            path,
            target,
            package,
            added,
            when,
            slot,
            stage: JobStage::Waiting,
            is_confirmed: false,
            retries: 0,
            retry_at: None,
            postponed: None,
        }
    }

    /// The same update as it is directed anew: what was done stays done, where it is the same image with the same data. A person's
    /// confirmation was for what was offered then.
    #[must_use]
    pub fn directed_anew(self, newer: Self) -> Self {
        let is_same = self.path == newer.path && self.target == newer.target && self.package == newer.package;
        if !is_same || self.added != newer.added {
            return newer;
        }
        let is_confirmed = self.is_confirmed && self.when == newer.when;
        let stage = match self.stage {
            // The word was about the directive of then.
            JobStage::Prepared { image, is_committed } => {
                JobStage::Prepared { image, is_committed: is_committed && self.directive == newer.directive }
            }
            stage => stage,
        };
        let (retries, retry_at, postponed) = (self.retries, self.retry_at, self.postponed);
        Self { stage, is_confirmed, retries, retry_at, postponed, ..newer }
    }

    /// Whether it goes on now. Asked before each step until the switch, which nothing holds up that was allowed to happen.
    pub fn may_go_on(&self, device: &Device, at: &Circumstances) -> Result<(), Hold> {
        if self.stage == JobStage::OnTrial {
            return Ok(());
        }
        if self.valid_until.is_over(at.now) {
            return Err(Hold::Over);
        }
        self.may_interrupt(device, at).map_err(Hold::Postponed)?;
        match self.retry_at {
            Some(retry_at) if rests(retry_at, at.now) => Err(Hold::Until(retry_at)),
            _ => Ok(()),
        }
    }

    /// Whether what runs may be interrupted for it now.
    pub fn may_interrupt(&self, device: &Device, at: &Circumstances) -> Result<(), Postponed> {
        let at = Circumstances { is_confirmed: self.is_confirmed, ..*at };
        self.install(device).may_begin(&at)
    }

    /// Whether it belongs to a set that is installed whole or not at all.
    pub const fn is_of_a_set(&self) -> bool {
        !self.package.atomic.is_empty()
    }

    /// What becomes of it after a corrupt image (figure 12, 261).
    pub fn after_corrupt(self, now: u64) -> AfterCorrupt {
        match Outcome::Corrupt.then(self.retries) {
            Then::Retry { after } => AfterCorrupt::Again(Box::new(Self {
                stage: JobStage::Waiting,
                retries: self.retries.saturating_add(1),
                retry_at: Some(now.saturating_add(after.as_secs())),
                ..self
            })),
            _ => AfterCorrupt::GivenUp,
        }
    }

    /// What to tell about it.
    pub fn notification(&self, device: &Device, outcome: Outcome) -> Notification {
        Notification { device: device.clone(), directive: self.directive, path: Some(self.path.clone()), outcome }
    }

    /// What was accepted.
    pub fn install(&self, device: &Device) -> Install {
        Install {
            device: device.clone(),
            path: self.path.clone(),
            target: self.target.clone(),
            package: self.package.clone(),
            shortcut: None,
            added: self.added.clone(),
            encrypted: None,
            when: self.when,
        }
    }
}

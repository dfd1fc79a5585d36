//! Two places for an image: one is active, the other is written; and what is switched, tried out, confirmed or taken back.
//!
//! These are values and what follows from them. A change counts when the record that holds them was replaced, which is one step.

use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Sha256;
use wardlink_update::director::Added;
use wardlink_update::package::{ReleaseCounter, Revision};
use wardlink_update::report::Image;

/// How often an image on trial is started before it is taken back, unless it has said that it works.
pub const TRIAL_BOOTS: u8 = 3;

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The one that the factory fills.
    A,
    /// The other one.
    B,
}

impl Slot {
    /// The other place.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// An image that lies whole in its slot, and the data that a server has added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Where it lies.
    pub slot: Slot,
    /// Its length, in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its revision.
    pub revision: Revision,
    /// Its release counter; none where it came from the factory without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_counter: Option<ReleaseCounter>,
    /// The added data, each kind once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Added>,
}

impl Installed {
    /// Its length and hash, as a report names them.
    pub const fn image(&self) -> Image {
        Image { length: self.length, sha256: self.sha256 }
    }

    /// The data of both, each kind once: of what is there twice, the newer.
    #[must_use]
    pub fn with_added(mut self, newer: &[Added]) -> Self {
        self.added.retain(|old| newer.iter().all(|new| new.kind != old.kind));
        self.added.extend_from_slice(newer);
        self.added.sort();
        self
    }
}

/// An image that has yet to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The image.
    pub installed: Installed,
    /// How often it may still be started.
    pub boots_left: u8,
    /// Whether its self-test has passed, so that it only waits for the other members of its set.
    pub has_passed: bool,
}

/// What lies in the two slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// The image that has proved itself. It stays until another one has.
    pub active: Installed,
    /// The one that is tried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// Which image is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The active one.
    Active,
    /// The one on trial. That it was started has to be stored before it is.
    Trial,
    /// The one on trial was started as often as it may be: it is to be taken back.
    Exhausted,
}

impl Slots {
    /// As the device leaves the factory.
    pub const fn new(active: Installed) -> Self {
        Self { active, trial: None }
    }

    /// Where the next image is written: never over the active one.
    pub const fn inactive(&self) -> Slot {
        self.active.slot.other()
    }

    /// What is started next; a start of an image on trial is counted.
    pub const fn start(&mut self) -> Start {
        match &mut self.trial {
            None => Start::Active,
            Some(trial) if trial.has_passed => Start::Trial,
            Some(trial) => match trial.boots_left.checked_sub(1) {
                Some(left) => {
                    trial.boots_left = left;
                    Start::Trial
                }
                None => Start::Exhausted,
            },
        }
    }

    /// Tries out the image in the inactive slot from the next start on.
    pub fn try_out(&mut self, installed: Installed) {
        self.trial = Some(Trial { installed, boots_left: TRIAL_BOOTS, has_passed: false });
    }

    /// The image on trial is the active one from now on; the one before may be deleted (figure 12, 264).
    pub fn confirm(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.active = trial.installed;
        }
    }

    /// The image on trial is taken back.
    pub fn roll_back(&mut self) {
        self.trial = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    pub(in crate::device) fn installed(slot: Slot, revision: &str) -> Installed {
        let sha256 = Sha256([7; 32]);
        let (revision, release_counter) = (revision.parse().unwrap(), ReleaseCounter::new(1));
        Installed { slot, length: 5, sha256, revision, release_counter, added: Vec::new() }
    }

    fn on_trial() -> Slots {
        let mut slots = Slots::new(installed(Slot::A, "1A"));
        slots.try_out(installed(slots.inactive(), "1B"));
        slots
    }

    #[test]
    fn an_image_on_trial_is_started_only_so_often() {
        let mut slots = on_trial();
        for _ in 0..TRIAL_BOOTS {
            assert_eq!(slots.start(), Start::Trial);
        }
        assert_eq!(slots.start(), Start::Exhausted);
        slots.roll_back();
        assert_eq!((slots.start(), slots.active.slot), (Start::Active, Slot::A));
    }

    #[test]
    fn an_image_that_has_passed_waits_for_its_set_over_any_number_of_starts() {
        let mut slots = on_trial();
        slots.trial.as_mut().unwrap().has_passed = true;
        assert!((0..100).all(|_| slots.start() == Start::Trial));
    }

    #[test]
    fn a_confirmed_image_is_active_and_the_other_slot_is_free() {
        let mut slots = on_trial();
        slots.confirm();
        assert_eq!((slots.start(), slots.active.slot, slots.inactive()), (Start::Active, Slot::B, Slot::A));
    }

    proptest! {
        #[test]
        fn the_active_image_is_never_the_one_that_is_written(steps in prop::collection::vec(0_u8..4, 0..40)) {
            let mut slots = Slots::new(installed(Slot::A, "1A"));
            for step in steps {
                match step {
                    0 if slots.trial.is_none() => slots.try_out(installed(slots.inactive(), "1B")),
                    1 => slots.confirm(),
                    2 => slots.roll_back(),
                    _ => drop(slots.start()),
                }
                prop_assert_ne!(slots.inactive(), slots.active.slot);
                if let Some(trial) = &slots.trial {
                    prop_assert_eq!(trial.installed.slot, slots.inactive());
                }
            }
        }
    }
}

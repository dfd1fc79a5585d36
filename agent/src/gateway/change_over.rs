//! Changing over: all devices of a transaction, or none (Distribution, paragraph 0029; figure 12, 260 to 265).
//!
//! Its journal is stored before the first device changes over and goes when the last one has, together with what the server has to
//! know. After a power loss the journal is followed to its end. The gateway's own program changes over last, and is on trial then
//! ([`super::own`]).

use super::devices::{DeviceError, Passive};
use super::store::{ChangeOverPhase, Journal, Part, Sets, StoreError, Work};
use super::troubles::Source;
use super::{Shared, own};
use std::sync::atomic::Ordering;
use std::time::Instant;
use wardlink_protocol::Device;
use wardlink_update::uptane::{Notification, Outcome};

/// What came of going on with a change-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// There was none.
    Nothing,
    /// It has ended, for all of its devices alike.
    Ended,
    /// It is still under way.
    Stuck,
    /// The gateway has another program now, and is to start with it.
    Restart,
}

impl Shared {
    /// Goes on with a change-over that has begun, to its end. Where a device can neither go on nor back, it stays under way: that is
    /// told, and tried again.
    pub(super) fn change_over(&self) -> Result<Changed, StoreError> {
        let Some(mut journal) = self.store.value::<Journal>()? else { return Ok(Changed::Nothing) };
        if journal.phase == ChangeOverPhase::Commit {
            let own = self.own_part(&journal);
            journal.phase = match (self.commit(&journal), own) {
                (Err(reason), _) => {
                    journal.reason = reason;
                    ChangeOverPhase::Undo
                }
                (Ok(()), Some((own, part))) => {
                    // From now on whoever starts finds out how it goes on.
                    self.store.set(&Journal { phase: ChangeOverPhase::Trial, ..journal.clone() })?;
                    match own::begin_trial(&own, &part.after) {
                        Ok(()) => return Ok(Changed::Restart),
                        Err(error) => {
                            journal.reason = format!("{}: {error}", own.device());
                            ChangeOverPhase::Undo
                        }
                    }
                }
                (Ok(()), None) => ChangeOverPhase::Commit,
            };
            if journal.phase == ChangeOverPhase::Undo {
                self.store.set(&journal)?;
            }
        } else if journal.phase == ChangeOverPhase::Trial
            && let Some(changed) = self.on_trial(&mut journal)?
        {
            return Ok(changed);
        }
        if journal.phase == ChangeOverPhase::Undo
            && let Err((device, error)) = self.undo(&journal)?
        {
            let why = format!("it can neither start the new image nor go back: {error}");
            self.troubles.find(Source::Round, device.to_string(), why);
            return Ok(Changed::Stuck);
        }
        self.end(&journal)?;
        self.keep_what_runs();
        Ok(Changed::Ended)
    }

    /// When the gateway's own program on trial has to have reached the server; none where none is on trial.
    pub(super) fn trial_ends(&self) -> Result<Option<Instant>, StoreError> {
        let journal = self.store.value::<Journal>()?;
        let is_on_trial = journal.is_some_and(|journal| journal.phase == ChangeOverPhase::Trial);
        Ok(self.begun.checked_add(self.settings.trial).filter(|_| is_on_trial))
    }

    /// The gateway's own part, where it has one: it is the last to change over.
    fn own_part<'j>(&self, journal: &'j Journal) -> Option<(Passive, &'j Part)> {
        let own = self.own.clone()?;
        let part = journal.parts.iter().find(|part| part.after.characteristics.device == *own.device())?;
        Some((own, part))
    }

    /// Looks at the gateway's own program on trial: it counts when it has reached the server. None where it goes on in this run.
    fn on_trial(&self, journal: &mut Journal) -> Result<Option<Changed>, StoreError> {
        let own = self.own_part(journal);
        let stands = own.as_ref().map(|(own, part)| own.state().map(|state| (own, state == part.after)));
        match stands {
            Some(Ok((_, true))) if self.has_reached.load(Ordering::Relaxed) => {
                own::end_watch();
                journal.phase = ChangeOverPhase::Commit;
                return Ok(None);
            }
            Some(Ok((_, true))) if self.begun.elapsed() < self.settings.trial => return Ok(Some(Changed::Stuck)),
            Some(Ok((own, true))) => match own.go_back() {
                Ok(()) => return Ok(Some(Changed::Restart)),
                Err(error) => self.troubles.find(Source::Round, own.device().to_string(), error.to_string()),
            },
            // The launcher has taken it back, or the power failed before it was switched to.
            Some(Ok((_, false))) | None => {
                "the gateway's new program did not start, or did not reach the server".clone_into(&mut journal.reason);
                journal.phase = ChangeOverPhase::Undo;
                self.store.set(journal)?;
                return Ok(None);
            }
            Some(Err(error)) => self.troubles.find(Source::Round, "own program", error.to_string()),
        }
        Ok(Some(Changed::Stuck))
    }

    fn commit(&self, journal: &Journal) -> Result<(), String> {
        let own = self.own.as_ref().map(Passive::device);
        let mut others = journal.parts.iter().filter(|part| Some(&part.after.characteristics.device) != own);
        others.try_for_each(|part| {
            let device = &part.after.characteristics.device;
            let changed = match self.device(device) {
                Some(passive) => passive.change_over(&part.after).map_err(|error| error.to_string()),
                None => Err("it is not among the gateway's devices any more".to_owned()),
            };
            changed.map_err(|error| format!("{device}: {error}"))
        })
    }

    fn undo(&self, journal: &Journal) -> Result<Result<(), (Device, DeviceError)>, StoreError> {
        let mut undone = Ok(());
        for part in &journal.parts {
            let device = &part.before.characteristics.device;
            // One that is not among the gateway's devices any more is left as it is.
            let Some(passive) = self.device(device) else { continue };
            if let Err(error) = self.state_now(passive)?.and_then(|_| passive.go_back()) {
                // The others go back meanwhile.
                undone = undone.and(Err((device.clone(), error)));
            }
        }
        Ok(undone)
    }

    /// The journal goes, with the word to the server, in one step.
    fn end(&self, journal: &Journal) -> Result<(), StoreError> {
        let outcome = |part: &Part| match (journal.phase, part.after.release_counter) {
            (ChangeOverPhase::Commit | ChangeOverPhase::Trial, Some(release_counter)) => {
                Outcome::Installed { revision: part.after.characteristics.revision.clone(), release_counter }
            }
            _ => Outcome::failed(&journal.reason),
        };
        self.store.change(|change| {
            for part in &journal.parts {
                let device = part.after.characteristics.device.clone();
                change.set_work(&device, &Work { ended: true, ..Work::new(journal.directive) })?;
                let path = Some(part.path.clone());
                change.tell(&Notification { device, directive: journal.directive, path, outcome: outcome(part) })?;
            }
            change.remove::<Journal>()
        })?;
        self.remember_devices()
    }

    /// No change-over is under way: what devices ran before is deleted (figure 12, 264). What a set has prepared stays where it is.
    pub(super) fn keep_what_runs(&self) {
        let Ok(Sets(sets)) = self.store.value().map(Option::unwrap_or_default) else { return };
        let is_prepared = |device: &Device| sets.iter().any(|set| set.has_prepared(device));
        for device in self.devices.iter().chain(&self.own).filter(|device| !is_prepared(device.device())) {
            let Ok(seen) = self.state_now(device) else { return };
            let what = device.device().to_string();
            // One that has lost its record does not say what it runs: nothing of it is deleted.
            match seen.and_then(|_| device.keep()) {
                Ok(()) => self.troubles.works_again(Source::Replaced, &what),
                Err(error) => self.troubles.find(Source::Replaced, what, error.to_string()),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

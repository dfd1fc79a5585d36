//! Changing over: all devices of a transaction, or none (Distribution, paragraph 0029; figure 12, 260 to 265).
//!
//! Its journal is stored before the first device changes over and goes when the last one has, together with what the server has to
//! know. After a power loss the journal is followed to its end.

use super::Shared;
use super::devices::{DeviceError, Passive};
use super::store::{Journal, Part, Phase, StoreError, Work};
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
}

impl Shared {
    /// Goes on with a change-over that has begun, to its end. Where a device can neither go on nor back, it stays under way: that is
    /// told, and tried again.
    pub(super) fn change_over(&self) -> Result<Changed, StoreError> {
        let Some(mut journal) = self.store.value::<Journal>()? else { return Ok(Changed::Nothing) };
        if journal.phase == Phase::Commit
            && let Err(reason) = self.commit(&journal)
        {
            journal.phase = Phase::Undo;
            journal.reason = reason;
            self.store.set(&journal)?;
        }
        if journal.phase == Phase::Undo
            && let Err((device, error)) = self.undo(&journal)
        {
            self.trouble(device.to_string(), format!("it can neither start the new image nor go back: {error}"));
            return Ok(Changed::Stuck);
        }
        self.end(&journal)?;
        self.keep_what_runs();
        Ok(Changed::Ended)
    }

    fn commit(&self, journal: &Journal) -> Result<(), String> {
        journal.parts.iter().try_for_each(|part| {
            let device = &part.after.characteristics.device;
            let changed = match self.device(device) {
                Some(passive) => passive.change_over(&part.after).map_err(|error| error.to_string()),
                None => Err("it is not among the gateway's devices any more".to_owned()),
            };
            changed.map_err(|error| format!("{device}: {error}"))
        })
    }

    fn undo(&self, journal: &Journal) -> Result<(), (Device, DeviceError)> {
        journal.parts.iter().try_for_each(|part| {
            let device = &part.before.characteristics.device;
            // One that is not here any more is left as it is.
            self.device(device).map_or(Ok(()), Passive::go_back).map_err(|error| (device.clone(), error))
        })
    }

    /// The journal goes, with the word to the server, in one step.
    fn end(&self, journal: &Journal) -> Result<(), StoreError> {
        let outcome = |part: &Part| match (journal.phase, part.after.release_counter) {
            (Phase::Commit, Some(release_counter)) => {
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
        })
    }

    /// No change-over is under way: what devices ran before is deleted (figure 12, 264).
    pub(super) fn keep_what_runs(&self) {
        for device in &self.devices {
            if let Err(error) = device.keep() {
                self.trouble(device.device().to_string(), error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests;

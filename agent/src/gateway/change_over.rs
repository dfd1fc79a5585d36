//! Changing over: all devices of a transaction, or none (Distribution, paragraph 0029; figure 12, 260 to 265).
//!
//! Its journal is stored before the first device changes over and goes when the last one has, together with what the server has to
//! know. After a power loss the journal is followed to its end.

use super::store::{Journal, Part, Phase, StoreError, Work};
use super::{GatewayError, Shared};
use wardlink_update::uptane::{Notification, Outcome};

impl Shared {
    /// Goes on with a change-over that has begun, to its end. Returns whether there was one.
    pub(super) fn change_over(&self) -> Result<bool, GatewayError> {
        let Some(mut journal) = self.store.value::<Journal>()? else { return Ok(false) };
        if journal.phase == Phase::Commit
            && let Err(reason) = self.commit(&journal)
        {
            journal.phase = Phase::Undo;
            journal.reason = reason;
            self.store.set(&journal)?;
        }
        if journal.phase == Phase::Undo {
            // Where a device cannot even go back, the journal stays, and it is tried again.
            self.undo(&journal)?;
        }
        self.end(&journal)?;
        self.keep_what_runs();
        Ok(true)
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

    fn undo(&self, journal: &Journal) -> Result<(), GatewayError> {
        for part in &journal.parts {
            let device = &part.before.characteristics.device;
            if let Some(passive) = self.device(device) {
                let went_back = passive.go_back();
                went_back.map_err(|error| GatewayError::Device { device: device.clone(), error })?;
            }
        }
        Ok(())
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

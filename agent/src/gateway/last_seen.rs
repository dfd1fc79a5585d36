//! What the devices run for which the gateway speaks: as they say it, or as they said it last.
//!
//! A device that cannot be looked at is this gateway's still: a directive may be about it, and what it runs is not lost. Only its own update fails.

use super::Shared;
use super::devices::{DeviceError, Passive};
use super::store::StoreError;
use super::troubles::Source;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wardlink_protocol::Device;
use wardlink_update::report::State;

/// What a device ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    state: State,
    /// Whether a record of its own said so.
    has_record: bool,
}

/// What the devices ran when they were looked at last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastSeen(BTreeMap<Device, Seen>);

impl LastSeen {
    /// Of a device; one with another serial number is another one.
    fn of(&self, passive: &Passive) -> Option<&Seen> {
        self.0.get(passive.device()).filter(|seen| seen.state.characteristics.serial_number == *passive.serial_number())
    }

    /// Looks at a device. One that had a record and has none any more is not as it comes: its folder is another one.
    fn look(&self, passive: &Passive) -> Result<Seen, DeviceError> {
        let (state, has_record) = passive.look()?;
        if !has_record && self.of(passive).is_some_and(|seen| seen.has_record) {
            return Err(DeviceError::Forgotten);
        }
        Ok(Seen { state, has_record })
    }
}

impl Shared {
    /// What a device runs now.
    pub(super) fn state_now(&self, passive: &Passive) -> Result<Result<State, DeviceError>, StoreError> {
        let last: LastSeen = self.store.value()?.unwrap_or_default();
        Ok(last.look(passive).map(|seen| seen.state))
    }

    /// What the devices run for which the gateway speaks. One that cannot be looked at is told of, and stands there as it was.
    pub(super) fn device_states(&self) -> Result<Vec<State>, StoreError> {
        let last: LastSeen = self.store.value()?.unwrap_or_default();
        let state_of = |device| self.state_of(device, &device.device().to_string(), &last);
        Ok(self.devices.iter().filter_map(state_of).collect())
    }

    /// What the gateway's own program is.
    pub(super) fn own_program(&self) -> Result<Option<State>, StoreError> {
        let last: LastSeen = self.store.value()?.unwrap_or_default();
        Ok(self.own.as_ref().and_then(|own| self.state_of(own, "own program", &last)))
    }

    fn state_of(&self, device: &Passive, what: &str, last: &LastSeen) -> Option<State> {
        match last.look(device) {
            Ok(seen) => {
                self.troubles.works_again(Source::Record, what);
                Some(seen.state)
            }
            Err(error) => {
                self.troubles.find(Source::Record, what, error.to_string());
                last.of(device).map(|seen| seen.state.clone())
            }
        }
    }

    /// Remembers what the devices run that can be looked at.
    pub(super) fn remember_devices(&self) -> Result<(), StoreError> {
        let before: LastSeen = self.store.value()?.unwrap_or_default();
        let mut now = before.clone();
        now.0.retain(|device, _| self.devices.iter().any(|passive| passive.device() == device));
        for passive in &self.devices {
            if let Ok(seen) = before.look(passive) {
                now.0.insert(passive.device().clone(), seen);
            }
        }
        if now == before { Ok(()) } else { self.store.set(&now) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use crate::gateway::change_over::tests::{part, revisions, shared};
    use crate::gateway::devices::DeviceError;
    use crate::gateway::store::{ChangeOverPhase, Journal};
    use std::fs;

    #[test]
    fn a_device_that_had_a_record_and_has_none_is_not_taken_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        let parts = vec![part(&shared, 0)];
        shared
            .store
            .set(&Journal { directive: 3, phase: ChangeOverPhase::Commit, reason: String::new(), parts })
            .unwrap();
        shared.change_over().unwrap();
        assert_eq!(revisions(&shared), ["1B", "1A"]);
        shared.remember_devices().unwrap();
        let shown = || {
            let states = shared.device_states().unwrap().into_iter();
            states.map(|state| state.characteristics.revision.to_string()).collect::<Vec<_>>()
        };
        // Its file system is not mounted, with a folder in its place and without.
        for has_folder in [true, false] {
            fs::remove_dir_all(shared.devices[0].folder()).unwrap();
            if has_folder {
                fs::create_dir(shared.devices[0].folder()).unwrap();
            }
            let now = shared.state_now(&shared.devices[0]).unwrap();
            assert!(matches!(now, Err(DeviceError::Forgotten | DeviceError::Away)));
            shared.remember_devices().unwrap();
            assert_eq!(shown(), ["1B", "1A"], "it stands there as it was");
            assert_eq!(shared.troubles.all().len(), 1);
        }
        // Nothing is known of one that was never there.
        fs::remove_dir_all(shared.devices[1].folder()).unwrap();
        assert_eq!(shown(), ["1B", "1A"], "it was, as it comes");
    }
}

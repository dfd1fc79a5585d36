//! Reports: what the gateway and its devices run (Distribution, figure 6; figure 12, 253).

use super::devices::Passive;
use super::store::{Attack, Devices, StoreError};
use super::troubles::Source;
use super::{GatewayError, Shared};
use crate::clock;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, Version};
use wardlink_update::report::{ConfigurationReport, MAX_REPORTED_DEVICES, Reported, State};

/// How long a report counts, in seconds: the server takes it within a session, whose clocks may differ.
const REPORT_LIFETIME_SECS: u64 = 24 * 60 * 60;

/// Our fault: no report can be made.
#[derive(Debug, thiserror::Error)]
#[error("a report cannot be made: {0}")]
pub struct Unmade(String);

impl Shared {
    /// What the gateway runs, with what it has seen and not yet reported.
    pub(super) fn own_state(&self) -> Result<State, StoreError> {
        let Attack { seen } = self.store.value()?.unwrap_or_default();
        let state = self.own.as_ref().and_then(|own| self.state_of(own, "own program"));
        let state = state.unwrap_or_else(|| self.settings.state.clone());
        Ok(State { attack: seen.map(|seen| seen.note), ..state })
    }

    /// What the devices run for which the gateway speaks. One whose record cannot be read is left out, and told of.
    pub(super) fn device_states(&self) -> Vec<State> {
        self.devices.iter().filter_map(|device| self.state_of(device, &device.device().to_string())).collect()
    }

    fn state_of(&self, device: &Passive, what: &str) -> Option<State> {
        match device.state() {
            Ok(state) => {
                self.troubles.works_again(Source::Record, what);
                Some(state)
            }
            Err(error) => {
                self.troubles.find(Source::Record, what, error.to_string());
                None
            }
        }
    }

    /// What the gateway and those devices run that the server updates through it: what a directive may be about.
    pub(super) fn present(&self) -> Result<Vec<State>, StoreError> {
        let Devices(listed) = self.store.value()?.unwrap_or_default();
        let is_updated = |device: &Device| listed.iter().any(|one| one.device == *device && one.updates);
        let mut present = vec![self.own_state()?];
        present.extend(self.device_states().into_iter().filter(|state| is_updated(&state.characteristics.device)));
        for state in self.verifying_states()? {
            // One that stands in the file of devices as well is reported once.
            if present.iter().all(|other| other.characteristics.device != state.characteristics.device) {
                present.push(state);
            }
        }
        Ok(present)
    }

    /// Makes the next report: its counter is stored before.
    pub(super) fn make_report(&self, key: &PrivateKey, seen: Version) -> Result<(Version, Vec<u8>), GatewayError> {
        let Devices(listed) = self.store.value()?.unwrap_or_default();
        let has_key = |device: &Device| listed.iter().any(|one| one.device == *device && one.has_key);
        let mut devices = Vec::new();
        let began = self.troubles.begin();
        for state in self.device_states() {
            let device = &state.characteristics.device;
            if has_key(device) {
                let why = "it has a key at the control unit, and has to report itself; take it out of --devices";
                self.troubles.find(Source::Unreported, device.to_string(), why);
            } else {
                devices.push(Reported::Unsigned(state));
            }
        }
        self.troubles.end(Source::Unreported, began);
        devices.extend(self.signed_reports()?);
        devices.truncate(MAX_REPORTED_DEVICES);
        let counter = self.store.next_counter(seen)?;
        Ok((counter, signed(counter, self.own_state()?, devices, key)?))
    }
}

/// The report that counts from now on, as an envelope that the key of whoever reports has signed.
pub(crate) fn signed(
    counter: Version,
    own: State,
    devices: Vec<Reported>,
    key: &PrivateKey,
) -> Result<Vec<u8>, Unmade> {
    let unmade = |error: &dyn core::fmt::Display| Unmade(error.to_string());
    let expires = Expires::at(clock::now().as_secs().saturating_add(REPORT_LIFETIME_SECS));
    let report = ConfigurationReport::new(counter, expires, own, devices);
    let key = key.to_pkcs8().map_err(|error| unmade(&error))?;
    let key = SigningKey::from_pkcs8_der(&key).map_err(|error| unmade(&error))?;
    let id = Key::ecdsa_p256(key.verifying_key()).map_err(|error| unmade(&error))?.id();
    let mut draft = Draft::new(&report).map_err(|error| unmade(&error))?;
    draft.sign(id, &key);
    Ok(draft.to_bytes())
}

//! Reports: what the gateway and its devices run (Distribution, figure 6; figure 12, 253).

use super::store::{Attack, Devices, Reported as Known, StoreError};
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

/// What the trouble of a report is called that has no room for everybody.
const TROUBLE: &str = "report";
/// So many of those that are left out are named.
const MAX_NAMED: usize = 20;

/// Our fault: no report can be made.
#[derive(Debug, thiserror::Error)]
#[error("a report cannot be made: {0}")]
pub struct Unmade(String);

impl Shared {
    /// What the gateway runs, with what it has seen and not yet reported.
    pub(super) fn own_state(&self) -> Result<State, StoreError> {
        let Attack { seen } = self.store.value()?.unwrap_or_default();
        let state = self.own_program()?.unwrap_or_else(|| self.settings.state.clone());
        Ok(State { attack: seen.map(|seen| seen.note), ..state })
    }

    /// What the gateway and those devices run that the server updates through it: what a directive may be about.
    pub(super) fn present(&self) -> Result<Vec<State>, StoreError> {
        let Devices(listed) = self.store.value()?.unwrap_or_default();
        let is_updated = |device: &Device| listed.iter().any(|one| one.device == *device && one.updates);
        let mut present = vec![self.own_state()?];
        present.extend(self.device_states()?.into_iter().filter(|state| is_updated(&state.characteristics.device)));
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
        self.remember_devices()?;
        for state in self.device_states()? {
            let device = &state.characteristics.device;
            if has_key(device) {
                let why = "it has a key at the control unit, and has to report itself; take it out of --devices";
                self.troubles.find(Source::Unreported, device.to_string(), why);
            } else {
                devices.push(Reported::Unsigned(state));
            }
        }
        devices.extend(self.signed_reports()?);
        let known: Known = self.store.value()?.unwrap_or_default();
        let (devices, left_out) = chosen(devices, &known, MAX_REPORTED_DEVICES);
        if !left_out.is_empty() {
            self.troubles.find(Source::Unreported, TROUBLE, unreported(&left_out));
        }
        self.troubles.end(Source::Unreported, began);
        let reported = Known(devices.iter().filter_map(device_of).collect());
        if reported != known {
            self.store.set(&reported)?;
        }
        let counter = self.store.next_counter(seen)?;
        Ok((counter, signed(counter, self.own_state()?, devices, key)?))
    }
}

/// Whose report it is.
fn device_of(reported: &Reported) -> Option<Device> {
    match reported {
        Reported::Unsigned(state) => Some(state.characteristics.device.clone()),
        Reported::Signed(report) => {
            serde_json::from_value(report.pointer("/signed/state/characteristics/device")?.clone()).ok()
        }
    }
}

/// Those that stand in the report, and those for whom it has no room: the server takes them for gone, so that those stay in it who were in it before.
fn chosen(mut devices: Vec<Reported>, before: &Known, most: usize) -> (Vec<Reported>, Vec<Device>) {
    if devices.len() <= most {
        return (devices, Vec::new());
    }
    devices.sort_by_cached_key(|one| device_of(one).is_none_or(|device| !before.0.contains(&device)));
    let left_out = devices.split_off(most);
    (devices, left_out.iter().filter_map(device_of).collect())
}

/// Which devices are left out, for people.
fn unreported(left_out: &[Device]) -> String {
    let named: Vec<String> = left_out.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = left_out.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "a gateway reports {MAX_REPORTED_DEVICES} devices at most, and the server takes for gone whoever is left out: {}{more}; associate them with another gateway",
        named.join(", ")
    )
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn scale(number: usize) -> State {
        let characteristics = serde_json::json!({
            "device": {"client": "scale", "identifier": format!("s{number}")}, "manufacturer": "acme", "model": "S1", "serial_number": "7",
            "revision": "1A", "hardware": "B",
        });
        let characteristics = serde_json::from_value(characteristics).unwrap();
        State { characteristics, image: None, release_counter: None, attack: None }
    }

    fn names(devices: &[Reported]) -> Vec<String> {
        devices.iter().filter_map(device_of).map(|device| device.to_string()).collect()
    }

    #[test]
    fn those_who_were_reported_before_stay_in_the_report_and_the_others_are_named() {
        let signed = serde_json::json!({"signed": {"state": scale(0)}, "signatures": []});
        let devices: Vec<Reported> = core::iter::once(Reported::Signed(signed))
            .chain((1..4).map(|one| Reported::Unsigned(scale(one))))
            .collect();
        let (all, left_out) = chosen(devices.clone(), &Known::default(), 4);
        assert_eq!((all.len(), left_out), (4, Vec::new()));
        let (first, left_out) = chosen(devices.clone(), &Known::default(), 3);
        assert_eq!(names(&first), ["scale/s0", "scale/s1", "scale/s2"]);
        assert!(unreported(&left_out).contains("left out: scale/s3;"));
        let before = Known(["scale/s3", "scale/s0"].into_iter().map(|name| name.parse().unwrap()).collect());
        let (kept, left_out) = chosen(devices, &before, 3);
        assert_eq!(names(&kept), ["scale/s0", "scale/s3", "scale/s1"]);
        assert!(unreported(&left_out).contains("scale/s2"));
        let many: Vec<Device> = (0..30).map(|number| scale(number).characteristics.device).collect();
        assert!(unreported(&many).contains("scale/s19 and 10 more"));
    }
}

//! Configuration reports (figure 6; figure 10, 213; figure 12, 253): what runs on a gateway and on its devices.
//!
//! They are Uptane's vehicle version manifest and ECU version reports (Uptane 5.4.2.1): envelopes like TUF's metadata, of the types
//! `configuration-report` and `device-report`. Their version is the counter that keeps a report from being replayed. A device that
//! has a key signs its own report, and the gateway passes it on as it was received; for one that has none, the gateway speaks. A device makes a
//! report when it has something to say: the gateway shows the newest one in each of its own until there is another, and that it is the one which the
//! reader has says that the device is still there.

use crate::inventory::Characteristics;
use crate::key::Key;
use crate::metadata::{Expires, InvalidMetadata, Role, RoleKeys, Signed, Version};
use crate::package::{Note, ReleaseCounter};
use core::cmp::Ordering;
use core::num::NonZeroUsize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_protocol::identity::{Device, Sha256};
use wardlink_protocol::limits::MAX_INTEGER;

/// The longest configuration report, in bytes.
pub const MAX_REPORT_BYTES: usize = 1_000_000;
/// The longest report of a single device, in bytes: those of all devices of a gateway fit into its own.
pub const MAX_DEVICE_REPORT_BYTES: usize = 3_000;
/// The most devices of a gateway.
pub const MAX_REPORTED_DEVICES: usize = 256;

/// An installed image, by its length and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its length, in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// What a device, or a gateway, runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What it is.
    pub characteristics: Characteristics,
    /// Its image; none where it cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The release counter of its image; none where it came from the factory without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_counter: Option<ReleaseCounter>,
    /// An attack that it has seen (Uptane 5.4.2.1.2), for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<Note>,
}

/// A device's own report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    version: Version,
    expires: Expires,
    /// What it runs.
    pub state: State,
}

/// How a device stands in its gateway's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// The device's own report, the envelope as it was received.
    Signed(serde_json::Value),
    /// What the gateway says of a device that cannot sign.
    Unsigned(State),
}

/// A gateway's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    version: Version,
    expires: Expires,
    /// What the gateway runs.
    pub gateway: State,
    /// Its devices; at most [`MAX_REPORTED_DEVICES`].
    pub devices: Vec<Reported>,
}

/// A report whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The gateway's counter, to be stored: the next report has a higher one.
    pub counter: Version,
    /// What the gateway runs.
    pub gateway: State,
    /// What its devices run, with their counters where they signed themselves.
    pub devices: Vec<(State, Option<Version>)>,
    /// Devices whose newest report the reader has already: they are there, and nothing new is said of them.
    pub unchanged: Vec<Device>,
    /// Why reports that devices have signed themselves are left out: for those nobody else has to answer.
    pub left_out: Vec<InvalidReport>,
}

impl Configuration {
    /// What the gateway and its devices run, the gateway first.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        core::iter::once(&self.gateway).chain(self.devices.iter().map(|(state, _)| state))
    }
}

/// What the reader knows of who reports.
pub trait Known {
    /// The key of a device or gateway; none where it has none.
    fn key(&self, device: &Device) -> Option<Key>;

    /// The counter of its newest report; 0 before the first.
    fn counter(&self, device: &Device) -> Version;
}

/// Why a report is refused. The reporter's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReport {
    /// It is too long.
    #[error("it is longer than {MAX_REPORT_BYTES} bytes")]
    Length,
    /// It is too long for a single device.
    #[error("a device's report is longer than {MAX_DEVICE_REPORT_BYTES} bytes")]
    DeviceLength,
    /// Its counter is none.
    #[error("the counter of {0} is above {MAX_INTEGER}")]
    Counter(Device),
    /// It is no report.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// It is another gateway's.
    #[error("it is the report of {0}")]
    Gateway(Device),
    /// The signature is not that of the device or gateway.
    #[error("the report of {0} is not signed by its key")]
    Signature(Device),
    /// A device that has a key did not sign.
    #[error("{0} has a key, and its report is not signed")]
    Unsigned(Device),
    /// A report that was seen before, or an older one.
    #[error("the report of {0} was seen before")]
    Replayed(Device),
    /// Its time is over.
    #[error("the report of {0} is too old")]
    Expired(Device),
    /// A device stands there twice.
    #[error("{0} is reported twice")]
    Twice(Device),
}

impl DeviceReport {
    /// Makes a report; `counter` rises with each of them.
    pub const fn new(counter: Version, expires: Expires, state: State) -> Self {
        Self { version: counter, expires, state }
    }

    /// Reads a device's report and verifies it at this time, in seconds since 1970: what it runs, and its counter.
    pub fn verify(bytes: &[u8], known: &impl Known, now: u64) -> Result<(State, Version), InvalidReport> {
        let signed = Self::signed(bytes, known)?;
        check_news(&signed, &signed.role.state.characteristics.device, known, now)?;
        Ok((signed.role.state, signed.role.version))
    }

    /// One that its device has signed.
    fn signed(bytes: &[u8], known: &impl Known) -> Result<Signed<Self>, InvalidReport> {
        if bytes.len() > MAX_DEVICE_REPORT_BYTES {
            return Err(InvalidReport::DeviceLength);
        }
        let signed: Signed<Self> = Signed::parse(bytes)?;
        check_signature(&signed, &signed.role.state.characteristics.device, known)?;
        Ok(signed)
    }

    /// The same in a gateway's report: the newest one may be shown again, and older ones are none.
    fn shown(envelope: &serde_json::Value, known: &impl Known, now: u64) -> Result<(State, Version), InvalidReport> {
        let signed = Self::signed(&envelope_bytes(envelope)?, known)?;
        let device = &signed.role.state.characteristics.device;
        if signed.role.version > known.counter(device) {
            check_news(&signed, device, known, now)?;
        }
        Ok((signed.role.state, signed.role.version))
    }
}

impl ConfigurationReport {
    /// Makes a report; `counter` rises with each of them.
    pub const fn new(counter: Version, expires: Expires, gateway: State, devices: Vec<Reported>) -> Self {
        Self { version: counter, expires, gateway, devices }
    }

    /// Reads the report of this gateway and verifies it at this time, in seconds since 1970. A device's own report that is older than the newest
    /// one is as if it were not there: the device has reported elsewhere since.
    pub fn verify(
        bytes: &[u8],
        gateway: &Device,
        known: &impl Known,
        now: u64,
    ) -> Result<Configuration, InvalidReport> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(InvalidReport::Length);
        }
        let signed: Signed<Self> = Signed::parse(bytes)?;
        let reporter = &signed.role.gateway.characteristics.device;
        if reporter != gateway {
            return Err(InvalidReport::Gateway(reporter.clone()));
        }
        check_signature(&signed, gateway, known)?;
        check_news(&signed, gateway, known, now)?;
        let Self { version: counter, gateway: state, devices: listed, .. } = signed.role;
        let mut seen = BTreeSet::from([gateway.clone()]);
        let (mut devices, mut unchanged, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for one in listed {
            let (state, counter) = match one {
                Reported::Signed(envelope) => match DeviceReport::shown(&envelope, known, now) {
                    Ok((state, counter)) => (state, Some(counter)),
                    Err(error) => {
                        left_out.push(error);
                        continue;
                    }
                },
                Reported::Unsigned(state) if known.key(&state.characteristics.device).is_some() => {
                    return Err(InvalidReport::Unsigned(state.characteristics.device));
                }
                Reported::Unsigned(state) => (state, None),
            };
            let device = &state.characteristics.device;
            if !seen.insert(device.clone()) {
                return Err(InvalidReport::Twice(device.clone()));
            }
            match counter.map(|counter| counter.cmp(&known.counter(device))) {
                None | Some(Ordering::Greater) => devices.push((state, counter)),
                Some(Ordering::Equal) => unchanged.push(state.characteristics.device),
                Some(Ordering::Less) => {}
            }
        }
        Ok(Configuration { counter, gateway: state, devices, unchanged, left_out })
    }
}

fn envelope_bytes(envelope: &serde_json::Value) -> Result<Vec<u8>, InvalidMetadata> {
    serde_json::to_vec(envelope).map_err(|_| InvalidMetadata::Contradiction("a device's report cannot be read"))
}

/// Signed by its own key.
fn check_signature<T: Role>(signed: &Signed<T>, device: &Device, known: &impl Known) -> Result<(), InvalidReport> {
    let signature = || InvalidReport::Signature(device.clone());
    let key = known.key(device).ok_or_else(signature)?;
    let (id, threshold) = (key.id(), NonZeroUsize::MIN);
    let role = RoleKeys { keyids: vec![id.clone()], threshold };
    if signed.is_signed_by(&role, &[(id, key)].into()) { Ok(()) } else { Err(signature()) }
}

/// Newer than what was seen, and not over.
fn check_news<T: Role>(signed: &Signed<T>, device: &Device, known: &impl Known, now: u64) -> Result<(), InvalidReport> {
    if signed.role.version() > MAX_INTEGER {
        return Err(InvalidReport::Counter(device.clone()));
    }
    if signed.role.version() <= known.counter(device) {
        return Err(InvalidReport::Replayed(device.clone()));
    }
    if signed.role.expires().is_over(now) {
        return Err(InvalidReport::Expired(device.clone()));
    }
    Ok(())
}

impl Role for DeviceReport {
    const TYPE: &'static str = "device-report";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }
}

impl Role for ConfigurationReport {
    const TYPE: &'static str = "configuration-report";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        if self.devices.len() > MAX_REPORTED_DEVICES {
            return Err(InvalidMetadata::Contradiction("a report has too many devices"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

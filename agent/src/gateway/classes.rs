//! The cache for classes of devices (Distribution, paragraph 0052): the image that devices of a model were directed last stays here as long as another
//! device of that model at this gateway runs something older, so that the next one does not fetch it again.
//!
//! It takes its room from what is free: bounded in count and bytes, the oldest goes first, and nothing of it stays where the disk has little room.

use super::Shared;
use super::doctor::LITTLE_ROOM_BYTES;
use super::round::Ready;
use super::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_protocol::ClientClass;
use wardlink_protocol::identity::Sha256;
use wardlink_update::package::{HardwareId, Manufacturer, Model, ReleaseCounter};
use wardlink_update::report::State;
use wardlink_update::uptane::Install;

/// The most images that are kept for a model alone.
const MAX_IMAGES: usize = 16;
/// The most bytes of such images.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The images that devices were directed last, one for each model and its hardware, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directed(Vec<OfModel>);

/// The image that devices of a model were directed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfModel {
    manufacturer: Manufacturer,
    device_type: ClientClass,
    model: Model,
    hardware: Vec<HardwareId>,
    release_counter: ReleaseCounter,
    sha256: Sha256,
    length: u64,
}

impl OfModel {
    fn of(install: &Install) -> Option<Self> {
        let package = &install.package;
        Some(Self {
            manufacturer: package.manufacturer.clone(),
            device_type: package.device_type.clone(),
            model: package.model.clone(),
            hardware: package.hardware.clone(),
            release_counter: package.release_counter,
            sha256: install.target.sha256()?,
            length: install.target.length,
        })
    }

    /// Whether both are for the same devices.
    fn is_for_those_of(&self, other: &Self) -> bool {
        (&self.manufacturer, &self.device_type, &self.model, &self.hardware)
            == (&other.manufacturer, &other.device_type, &other.model, &other.hardware)
    }

    /// Whether a device of this model runs something older.
    fn is_newer_than(&self, state: &State) -> bool {
        let is = &state.characteristics;
        self.manufacturer == is.manufacturer
            && self.device_type == is.device.client
            && self.model == is.model
            && self.hardware.contains(&is.hardware)
            && state.release_counter.is_none_or(|counter| counter < self.release_counter)
    }
}

impl Directed {
    /// This is directed now.
    fn learn(&mut self, directed: OfModel) {
        if self.0.contains(&directed) {
            return;
        }
        self.0.retain(|other| !other.is_for_those_of(&directed));
        self.0.push(directed);
        let over = self.0.len().saturating_sub(MAX_IMAGES);
        self.0.drain(..over);
    }

    /// What is kept for those devices, beside what is needed anyhow: the newest first, as far as there is room.
    fn kept(&self, present: &[State], needed: &BTreeSet<Sha256>, mut room: u64) -> BTreeSet<Sha256> {
        let mut kept = BTreeSet::new();
        for of in self.0.iter().rev().filter(|of| !needed.contains(&of.sha256)) {
            if kept.contains(&of.sha256) || !present.iter().any(|state| of.is_newer_than(state)) {
                continue;
            }
            let Some(left) = room.checked_sub(of.length) else { break };
            room = left;
            kept.insert(of.sha256);
        }
        kept
    }
}

impl Shared {
    /// These images are directed, and lie in the cache.
    pub(super) fn learn_directed(&self, ready: &[Ready<'_>]) -> Result<(), StoreError> {
        let before: Directed = self.store.value()?.unwrap_or_default();
        let mut now = before.clone();
        ready.iter().filter_map(|(install, ..)| OfModel::of(install)).for_each(|of| now.learn(of));
        if now == before { Ok(()) } else { self.store.set(&now) }
    }

    /// The images that are kept for devices of a model which run something older, beside those that are needed anyhow.
    pub(super) fn kept_for_classes(&self, needed: &BTreeSet<Sha256>) -> Result<BTreeSet<Sha256>, StoreError> {
        let free = rustix::fs::statvfs(&self.settings.directory);
        let free = free.map_or(0, |of| of.f_bavail.saturating_mul(of.f_frsize));
        let room = if free < LITTLE_ROOM_BYTES { 0 } else { MAX_BYTES };
        let directed: Directed = self.store.value()?.unwrap_or_default();
        Ok(directed.kept(&self.present()?, needed, room))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn of(model: &str, counter: u32, image: u8) -> OfModel {
        OfModel {
            manufacturer: "acme".parse().unwrap(),
            device_type: "infusion-pump".parse().unwrap(),
            model: model.parse().unwrap(),
            hardware: vec!["B".parse().unwrap()],
            release_counter: ReleaseCounter::new(counter).unwrap(),
            sha256: Sha256([image; 32]),
            length: 10,
        }
    }

    fn pump(model: &str, counter: Option<u32>) -> State {
        let characteristics = serde_json::json!({
            "device": {"client": "infusion-pump", "identifier": "p1"}, "manufacturer": "acme", "model": model, "serial_number": "7",
            "revision": "1A", "hardware": "B",
        });
        let characteristics = serde_json::from_value(characteristics).unwrap();
        let release_counter = counter.map(|counter| ReleaseCounter::new(counter).unwrap());
        State { characteristics, image: None, release_counter, attack: None }
    }

    fn kept(directed: &Directed, present: &[State], room: u64) -> Vec<u8> {
        directed.kept(present, &BTreeSet::new(), room).into_iter().map(|sha256| sha256.0[0]).collect()
    }

    #[test]
    fn what_was_directed_last_is_kept_while_a_device_of_the_model_runs_something_older() {
        let mut directed = Directed::default();
        directed.learn(of("PM1", 2, 1));
        for (counter, expected) in [(None, vec![1]), (Some(1), vec![1]), (Some(2), vec![]), (Some(3), vec![])] {
            assert_eq!(kept(&directed, &[pump("PM1", counter)], 100), expected, "{counter:?}");
        }
        assert_eq!(kept(&directed, &[pump("PM2", None)], 100), [0; 0], "another model");
        directed.learn(of("PM1", 3, 2));
        assert_eq!(kept(&directed, &[pump("PM1", Some(1))], 100), [2], "the last one");
        let needed = BTreeSet::from([Sha256([2; 32])]);
        assert!(
            directed.kept(&[pump("PM1", None)], &needed, 0).is_empty(),
            "it is kept anyhow, and takes no room here"
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut directed = Directed::default();
        let models: Vec<String> = (0..20).map(|number| format!("PM{number}")).collect();
        for (number, model) in (0..20).zip(&models) {
            directed.learn(of(model, 2, number));
        }
        let present: Vec<State> = models.iter().map(|model| pump(model, None)).collect();
        assert_eq!(kept(&directed, &present, 1_000), (4..20).collect::<Vec<u8>>());
        assert_eq!(kept(&directed, &present, 35), [17, 18, 19]);
        assert_eq!(kept(&directed, &present, 0), [0; 0]);
    }
}

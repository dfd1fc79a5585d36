//! Atomic sets (paragraph 0029): packages that are installed whole, on every device that they are for, or not at all.

use super::{FeatureSet, Manufacturer, Model, ModelFolder, Package};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wardlink_protocol::identity::ClientClass;

/// A member of an atomic set: it is installed with the others, or none of them is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtomicMember {
    /// Its manufacturer.
    pub manufacturer: Manufacturer,
    /// Its device type.
    pub device_type: ClientClass,
    /// Its model.
    pub model: Model,
    /// Its feature set.
    pub feature_set: FeatureSet,
}

impl AtomicMember {
    /// The model that it is for.
    pub fn models(&self) -> ModelFolder {
        let (manufacturer, device_type, model) =
            (self.manufacturer.clone(), self.device_type.clone(), self.model.clone());
        ModelFolder { manufacturer, device_type, model }
    }
}

impl fmt::Display for AtomicMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manufacturer, device_type, model, feature_set } = self;
        write!(f, "{manufacturer}/{device_type}/{model} with {feature_set}")
    }
}

/// A device, as far as whoever asks can see it: its model, and the package that it is given or has already.
pub(crate) struct Given<'a> {
    pub(crate) models: ModelFolder,
    pub(crate) package: Option<&'a Package>,
}

impl<'a> Given<'a> {
    /// Some device that is given this package.
    pub(crate) fn of(package: &'a Package) -> Self {
        Self { models: package.folder(), package: Some(package) }
    }
}

impl Package {
    /// What other members of its atomic set call it.
    pub fn member(&self) -> AtomicMember {
        AtomicMember {
            manufacturer: self.manufacturer.clone(),
            device_type: self.device_type.clone(),
            model: self.model.clone(),
            feature_set: self.feature_set.clone(),
        }
    }

    /// Every member of its atomic set, itself included.
    pub fn set(&self) -> BTreeSet<AtomicMember> {
        self.atomic.iter().cloned().chain([self.member()]).collect()
    }

    /// The rule of atomic sets: each member has a device, and each device of a member's model is given just this member of just this
    /// set. The first member of which that is not so; none: the set is whole, or the package stands alone. It depends on the set
    /// only, so that all its members agree.
    pub(crate) fn missing_member(&self, devices: &[Given<'_>]) -> Option<AtomicMember> {
        if self.atomic.is_empty() {
            return None;
        }
        let set = self.set();
        let is_whole = |member: &AtomicMember| {
            let models = member.models();
            let mut of_model = devices.iter().filter(|device| device.models == models).peekable();
            let is_given = |device: &Given<'_>| {
                device.package.is_some_and(|package| package.member() == *member && package.set() == set)
            };
            of_model.peek().is_some() && of_model.all(is_given)
        };
        set.iter().find(|member| !is_whole(member)).cloned()
    }
}

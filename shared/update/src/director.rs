//! The director: what the distribution server tells one gateway to install (Uptane 5.2.3.1, 5.3.2.1; figure 5B, 126).
//!
//! A directive is the top-level targets metadata of the gateway's own director repository. Other TUF clients can read it; what is
//! ours stands in `custom`. It names its gateway and is never empty: where nothing is to be done, it says so. One target has one
//! package, repeated as the manufacturer signed it, and the devices that it is assigned to.
//!
//! Versions rise over all gateways of a server, drawn from one sequence: a device that moves to another gateway sees later ones.

mod publish;

pub use publish::{Ends, Files, publish};

use crate::catalog::{Associations, Pick};
use crate::metadata::{Expires, InvalidMetadata, Role, Signed, Target, TargetCheck, TargetPath, Version};
use crate::package::{
    AddedKind, BoundFile, Encrypted, HardwareId, InvalidAdded, InvalidPackage, MAX_ADDED_BYTES, Package, Release,
    ReleaseCounter, SerialNumber, check_list, check_spelling,
};
use crate::report::MAX_REPORTED_DEVICES;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::identity::Device;

/// The most devices of a directive, over all its orders: a gateway's, and the gateway itself.
pub const MAX_ASSIGNMENTS: usize = MAX_REPORTED_DEVICES + 1;

/// When a device installs what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// As soon as it has it.
    AtOnce,
    /// When nothing runs that it could disturb.
    NextSafeMoment,
    /// Within a maintenance window, seconds since 1970.
    Window {
        /// From then on.
        from: u64,
        /// Before then.
        until: u64,
    },
    /// When a person says so at the device.
    OnConfirmation,
}

/// Data that the server adds for a device (figure 5B, 125).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// What it is.
    pub kind: AddedKind,
    /// The file.
    pub file: BoundFile,
}

impl Added {
    /// Whether the bytes are the file that the directive names, and acceptable data of its kind.
    pub fn check(&self, bytes: &[u8]) -> Result<(), InvalidAdded> {
        let target = self.file.target();
        let mut check = TargetCheck::new(&target);
        check.update(bytes);
        if check.finish() { self.kind.check(bytes) } else { Err(InvalidAdded::Hash) }
    }
}

/// One device's part of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The device: Uptane's ECU identifier.
    pub device: Device,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Its hardware.
    pub hardware: HardwareId,
    /// The release counter that it has afterwards: the package's.
    pub release_counter: ReleaseCounter,
    /// The delta that leads there from its present image; the full package is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<BoundFile>,
    /// What is installed with the update, or neither is; in ascending order of kinds, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Added>,
    /// When.
    pub when: When,
}

/// A package, and who installs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its path at the image repository.
    pub path: TargetPath,
    /// Its length and hashes.
    pub target: Target,
    /// What its manufacturer says of it.
    pub package: Package,
    /// The devices, in ascending order.
    pub assignments: Vec<Assignment>,
    /// The variant that only this gateway can read.
    pub encrypted: Option<Encrypted>,
}

/// The `custom` of a director's target. `package` is what has to match.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    package: Package,
    assignments: Vec<Assignment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted: Option<Encrypted>,
}

/// Whether there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Install,
    NothingToDo,
}

/// The `custom` of the whole directive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    gateway: Device,
    directive: Kind,
}

/// A directive, as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directive {
    version: Version,
    expires: Expires,
    targets: BTreeMap<TargetPath, Target>,
    custom: Header,
    /// Only to be refused: a director delegates nothing.
    #[serde(default, skip_serializing)]
    delegations: Option<serde_json::Value>,
}

/// What a directive says, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directed {
    /// Its version.
    pub version: Version,
    /// Until when it counts.
    pub expires: Expires,
    /// Whom it is for.
    pub gateway: Device,
    /// What is to be installed; none: there is nothing to do.
    pub orders: Vec<Order>,
}

/// Why a directive is refused, or not made. The server's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirective {
    /// It is no directive.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// It delegates (Uptane 5.4.4.6 step 6).
    #[error("it delegates, which a director does not")]
    Delegations,
    /// A device stands there twice (Uptane 5.4.4.6 step 7).
    #[error("{0} is given two orders")]
    Twice(Device),
    /// It has more devices than a gateway can have.
    #[error("it has orders for {found} devices, and a gateway has {MAX_ASSIGNMENTS} at most")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// It says that nothing is to be done and yet orders something, or the other way round.
    #[error("it does not say whether there is something to do")]
    Empty,
    /// What it says of a package cannot be read, or contradicts itself.
    #[error("{path}: {why}")]
    Order {
        /// The package's path.
        path: TargetPath,
        /// Why.
        why: InvalidPackage,
    },
    /// An assignment contradicts its package.
    #[error("what {0} is given contradicts its package: {1}")]
    Assignment(Device, &'static str),
    /// The encrypted variant of a package can't be one of it for this gateway.
    #[error("the encrypted variant of {path} does not fit: {why}")]
    Encrypted {
        /// The package's path.
        path: TargetPath,
        /// Why.
        why: &'static str,
    },
    /// A device is updated through another gateway.
    #[error("{0} is not updated through this gateway")]
    Association(Device),
}

impl Order {
    /// The orders that come of picks: one for each package. `offer` says when a device installs it, and what the server adds.
    pub fn of(picks: &[Pick], mut offer: impl FnMut(&Pick) -> (When, Vec<Added>)) -> Vec<Self> {
        let mut orders: BTreeMap<TargetPath, Self> = BTreeMap::new();
        for pick in picks {
            let (when, added) = offer(pick);
            let is = &pick.state.characteristics;
            let package = &pick.package.release;
            let delta = pick.delta.as_ref().and_then(|delta| bound(&delta.path, &delta.target));
            let assignment = Assignment {
                device: is.device.clone(),
                serial_number: is.serial_number.clone(),
                hardware: is.hardware.clone(),
                release_counter: package.release_counter,
                delta,
                added,
                when,
            };
            let new = || Self {
                path: pick.package.path.clone(),
                target: Target { custom: None, ..pick.package.target.clone() },
                package: package.clone(),
                assignments: Vec::new(),
                encrypted: None,
            };
            orders.entry(pick.package.path.clone()).or_insert_with(new).assignments.push(assignment);
        }
        let mut orders: Vec<Self> = orders.into_values().collect();
        for order in &mut orders {
            order.assignments.sort_by(|one, other| one.device.cmp(&other.device));
        }
        orders
    }

    fn read(path: &TargetPath, target: &Target, gateway: &Device) -> Result<Self, InvalidDirective> {
        let refused = |why| InvalidDirective::Order { path: path.clone(), why };
        let custom = target.custom.as_ref().ok_or_else(|| refused(InvalidPackage::Json("it has none".to_owned())))?;
        let read = Custom::deserialize(custom).map_err(|error| refused(InvalidPackage::json(error)))?;
        check_spelling(&read, custom).map_err(refused)?;
        let Custom { package, assignments, encrypted } = read;
        let target = Target { custom: None, ..target.clone() };
        let order = Self { path: path.clone(), target, package, assignments, encrypted };
        order.check(gateway)?;
        Ok(order)
    }

    /// Whether it agrees with itself, as an order to this gateway.
    fn check(&self, gateway: &Device) -> Result<(), InvalidDirective> {
        let refused = |why| InvalidDirective::Order { path: self.path.clone(), why };
        Release::Package(Box::new(self.package.clone())).check(&self.path, &self.target).map_err(refused)?;
        let devices: Vec<_> = self.assignments.iter().map(|assignment| &assignment.device).collect();
        check_list(&devices, 1, usize::MAX, "assignments").map_err(refused)?;
        self.assignments.iter().try_for_each(|assignment| {
            let check = assignment.check(&self.package, &self.target);
            check.map_err(|why| InvalidDirective::Assignment(assignment.device.clone(), why))
        })?;
        let Some(encrypted) = &self.encrypted else { return Ok(()) };
        let check = encrypted.check(gateway, &self.package.folder(), &self.path, &self.target);
        check.map_err(|why| InvalidDirective::Encrypted { path: self.path.clone(), why })
    }

    fn to_target(&self) -> Result<Target, InvalidDirective> {
        let (package, assignments) = (self.package.clone(), self.assignments.clone());
        let custom = Custom { package, assignments, encrypted: self.encrypted.clone() };
        let refused = |error| InvalidDirective::Order { path: self.path.clone(), why: InvalidPackage::json(error) };
        let custom = Some(serde_json::to_value(custom).map_err(refused)?);
        Ok(Target { custom, ..self.target.clone() })
    }
}

/// The target with its SHA-256; none where it has none.
fn bound(path: &TargetPath, target: &Target) -> Option<BoundFile> {
    Some(BoundFile { path: path.clone(), length: target.length, sha256: target.sha256()? })
}

impl Assignment {
    /// Whether it agrees with its package.
    fn check(&self, package: &Package, target: &Target) -> Result<(), &'static str> {
        if self.device.client != package.device_type {
            return Err("it is of another type");
        }
        if !package.hardware.contains(&self.hardware) {
            return Err("it has other hardware");
        }
        if self.release_counter != package.release_counter {
            return Err("the release counter is another");
        }
        let is_useful = |delta: &BoundFile| package.folder().contains(&delta.path) && delta.length < target.length;
        if !self.delta.iter().all(is_useful) {
            return Err("the delta is another model's, or not smaller");
        }
        let kinds: Vec<_> = self.added.iter().map(|added| added.kind).collect();
        if check_list(&kinds, 0, AddedKind::ALL.len(), "added data").is_err() {
            return Err("a kind of added data stands there twice, or out of order");
        }
        if !kinds.iter().all(|kind| package.accepts.contains(kind)) {
            return Err("the package takes no such added data");
        }
        if self.added.iter().any(|added| added.file.length > MAX_ADDED_BYTES) {
            return Err("the added data is too long");
        }
        if matches!(self.when, When::Window { from, until } if from >= until) {
            return Err("the window ends before it begins");
        }
        Ok(())
    }
}

impl Directive {
    /// Makes a directive for one gateway; without orders it says that there is nothing to do. Every device has to be updated through
    /// this gateway (claim 1).
    pub fn new(
        version: Version,
        expires: Expires,
        gateway: &Device,
        orders: &[Order],
        associations: &Associations,
    ) -> Result<Self, InvalidDirective> {
        for device in orders.iter().flat_map(|order| &order.assignments).map(|assignment| &assignment.device) {
            if device != gateway && associations.gateway_of(device) != Some(gateway) {
                return Err(InvalidDirective::Association(device.clone()));
            }
        }
        let directive = if orders.is_empty() { Kind::NothingToDo } else { Kind::Install };
        let custom = Header { gateway: gateway.clone(), directive };
        let mut targets = BTreeMap::new();
        for order in orders {
            if targets.insert(order.path.clone(), order.to_target()?).is_some() {
                let why = InvalidPackage::Contradiction("it stands there twice");
                return Err(InvalidDirective::Order { path: order.path.clone(), why });
            }
        }
        let made = Self { version, expires, targets, custom, delegations: None };
        made.read()?;
        Ok(made)
    }

    /// Reads a directive whose signatures have been checked, or will be.
    pub fn parse(bytes: &[u8]) -> Result<(Signed<Self>, Directed), InvalidDirective> {
        let signed: Signed<Self> = Signed::parse(bytes)?;
        let directed = signed.role.read()?;
        Ok((signed, directed))
    }

    /// What it says. Whoever acts on it has checked its signatures before.
    pub fn read(&self) -> Result<Directed, InvalidDirective> {
        // Uptane 5.4.4.6 step 6: no delegations.
        if self.delegations.is_some() {
            return Err(InvalidDirective::Delegations);
        }
        // Uptane 5.2.3.1: without images, a directive that names its gateway keeps another one from being replayed.
        if self.targets.is_empty() != (self.custom.directive == Kind::NothingToDo) {
            return Err(InvalidDirective::Empty);
        }
        let orders = self.targets.iter().map(|(path, target)| Order::read(path, target, &self.custom.gateway));
        let orders = orders.collect::<Result<Vec<_>, _>>()?;
        // Uptane 5.4.4.6 step 7: no device is represented more than once.
        let found = orders.iter().map(|order| order.assignments.len()).fold(0, usize::saturating_add);
        if found > MAX_ASSIGNMENTS {
            return Err(InvalidDirective::TooMany { found });
        }
        let mut seen = BTreeSet::new();
        for device in orders.iter().flat_map(|order| &order.assignments).map(|assignment| &assignment.device) {
            if !seen.insert(device) {
                return Err(InvalidDirective::Twice(device.clone()));
            }
        }
        let (version, expires, gateway) = (self.version, self.expires, self.custom.gateway.clone());
        Ok(Directed { version, expires, gateway, orders })
    }
}

impl Directed {
    /// The order for a device, and its part of it (Uptane 5.4.3.4 step 2).
    pub fn order_for(&self, device: &Device) -> Option<(&Order, &Assignment)> {
        self.orders.iter().find_map(|order| {
            let assignment = order.assignments.iter().find(|assignment| assignment.device == *device)?;
            Some((order, assignment))
        })
    }
}

impl Role for Directive {
    const TYPE: &'static str = "targets";

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> Expires {
        self.expires
    }

    fn check(&self) -> Result<(), InvalidMetadata> {
        self.targets.values().try_for_each(|target| target.hashes.check())
    }
}

#[cfg(test)]
mod tests;

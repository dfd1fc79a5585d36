//! The configuration catalog (figure 2) and its matching against releases (figure 10, 214).
//!
//! [`Associations`] says which gateway a device is updated through: one, never two. [`Releases::pick`] finds the right release for each
//! device of a report, and says why where there is none.

mod associations;

pub use associations::Associations;

use crate::metadata::{RoleName, Target, TargetPath, Targets};
use crate::package::{
    AtomicMember, BoundFile, Delta, Given, InvalidPackage, Manufacturer, ModelFolder, Package, Recall, Release,
};
use crate::report::{Configuration, State};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_protocol::identity::Device;

/// The verified targets roles of an image repository, the top-level one and those that are delegated to.
pub type Roles = BTreeMap<RoleName, Targets>;

/// A package and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Its path.
    pub path: TargetPath,
    /// Its length and hashes.
    pub target: Target,
    /// What its manufacturer says of it.
    pub release: T,
}

/// Every release of the image repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releases {
    packages: Vec<Listed<Package>>,
    deltas: Vec<Listed<Delta>>,
}

/// What one device is given, or has already as its part of an atomic set that others are still to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// What it runs now.
    pub state: State,
    /// What it is given. The full package is always there.
    pub package: Listed<Package>,
    /// The shorter way there, where its present image is the source of one.
    pub delta: Option<Listed<Delta>>,
}

/// Why a device is given nothing, though there is a release for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// A member of the atomic set has no device here, no release, or a device that cannot take it.
    #[error("the atomic set needs {0} too")]
    Incomplete(AtomicMember),
    /// It is updated through another gateway, or through none.
    #[error("it is not updated through this gateway")]
    Association,
}

/// What comes of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picks {
    /// What is given, device by device in the report's order, the gateway first.
    pub picks: Vec<Pick>,
    /// Who is given nothing, and why.
    pub withheld: Vec<(Device, Withheld)>,
    /// Who runs a release that was recalled.
    pub recalled: Vec<(Device, Recall)>,
}

impl Package {
    /// Whether it is for this device as it is now: manufacturer, type, model, hardware and revision (figure 3, 61 to 63).
    pub fn applies_to(&self, state: &State) -> bool {
        let is = &state.characteristics;
        self.is_for(state) && self.hardware.contains(&is.hardware) && self.pre_revision.contains(&is.revision)
    }

    /// Whether the device runs it.
    pub fn is_installed_on(&self, state: &State) -> bool {
        self.is_for(state)
            && self.post_revision == state.characteristics.revision
            && state.release_counter == Some(self.release_counter)
    }

    /// Whether the device may take it: it applies, is not recalled, and is a later release than the device's. A downgrade is a later
    /// release, too, and has its authorization: [`Package::check`] holds for everything that was read.
    pub fn may_be_taken_by(&self, state: &State) -> bool {
        self.applies_to(state)
            && self.recalled.is_none()
            && state.release_counter.is_none_or(|present| present < self.release_counter)
    }

    /// Whether the device is of its manufacturer, type and model.
    pub(crate) fn is_for(&self, state: &State) -> bool {
        let is = &state.characteristics;
        self.manufacturer == is.manufacturer && self.device_type == is.device.client && self.model == is.model
    }
}

impl Releases {
    /// Takes the releases of verified image repositories: of each one those of the manufacturer whose repository it is. A repository
    /// that should not have been accepted is refused as a whole: a delegation that is not limited to a manufacturer's own models, a
    /// target that its role is not trusted for, a description that contradicts itself or its path, a document or the full package
    /// of a delta that is not there.
    pub fn of<'a>(
        repositories: impl IntoIterator<Item = (&'a Manufacturer, &'a Roles)>,
    ) -> Result<Self, InvalidPackage> {
        let mut releases = Self::default();
        for (manufacturer, roles) in repositories {
            let Self { packages, deltas } = Self::read(roles)?;
            let is_own =
                |path: &TargetPath| ModelFolder::of(path).is_ok_and(|folder| folder.manufacturer == *manufacturer);
            releases.packages.extend(packages.into_iter().filter(|listed| is_own(&listed.path)));
            releases.deltas.extend(deltas.into_iter().filter(|listed| is_own(&listed.path)));
        }
        Ok(releases)
    }

    /// Everything that one repository has.
    fn read(roles: &Roles) -> Result<Self, InvalidPackage> {
        let targets = trusted_targets(roles)?;
        let mut releases = Self::default();
        for (path, target) in &targets {
            let (path, target) = (*path, *target);
            let (path, target, release) = (path.clone(), target.clone(), Release::of(path, target)?);
            match release {
                Some(Release::Package(package)) => {
                    releases.packages.push(Listed { path, target, release: *package });
                }
                Some(Release::Delta(delta)) => releases.deltas.push(Listed { path, target, release: delta }),
                None => {}
            }
        }
        let documents =
            releases.packages.iter().flat_map(|listed| listed.release.sbom.iter().chain(&listed.release.provenance));
        let results = releases.deltas.iter().map(|listed| &listed.release.result);
        let is_there = |file: &BoundFile| targets.get(&file.path).is_some_and(|target| file.is(target));
        match documents.chain(results).find(|file| !is_there(file)) {
            Some(missing) => Err(InvalidPackage::Unbound(missing.path.clone())),
            None => Ok(releases),
        }
    }

    /// Every package.
    pub fn packages(&self) -> &[Listed<Package>] {
        &self.packages
    }

    /// Finds what the gateway and its devices are given. A set is given whole or not at all, across all devices that it needs.
    pub fn pick(&self, configuration: &Configuration, associations: &Associations) -> Picks {
        self.pick_offered(configuration, associations, |_, _| true)
    }

    /// The same, where not every device is offered every package.
    pub fn pick_offered(
        &self,
        configuration: &Configuration,
        associations: &Associations,
        is_offered: impl Fn(&Device, &TargetPath) -> bool,
    ) -> Picks {
        let gateway = &configuration.gateway.characteristics.device;
        let recalled = configuration.states().filter_map(|state| self.recalled(state)).collect();
        let mut picks = Picks { recalled, ..Picks::default() };
        let is_ours = |state: &State| {
            let device = &state.characteristics.device;
            device == gateway || associations.gateway_of(device) == Some(gateway)
        };
        let best: Best<'_> = configuration
            .states()
            .filter(|state| is_ours(state))
            .map(|state| (&state.characteristics.device, (state, self.best(state, &is_offered))))
            .collect();
        for state in configuration.states() {
            let device = &state.characteristics.device;
            let Some((_, chosen)) = best.get(device) else {
                if self.best(state, &is_offered).is_some() {
                    picks.withheld.push((device.clone(), Withheld::Association));
                }
                continue;
            };
            let Some(package) = chosen.or_else(|| self.repeated(state, &best)) else { continue };
            if let Some(member) = self.missing(&package.release, &best) {
                picks.withheld.push((device.clone(), Withheld::Incomplete(member)));
            } else {
                let delta = self.delta(state, package).cloned();
                picks.picks.push(Pick { state: state.clone(), package: (*package).clone(), delta });
            }
        }
        picks
    }

    /// The release with the highest counter that the device may take; among equals the later revision, then the later path.
    pub fn best(&self, state: &State, is_offered: &impl Fn(&Device, &TargetPath) -> bool) -> Option<&Listed<Package>> {
        let device = &state.characteristics.device;
        let may = self.packages.iter().filter(|listed| listed.release.may_be_taken_by(state));
        let may = may.filter(|listed| is_offered(device, &listed.path));
        may.max_by(|one, other| order(one).cmp(&order(other)))
    }

    /// The first member of the package's set that is not whole here. A device that is given nothing may have its part already, such
    /// as from an update that was cut short.
    fn missing(&self, package: &Package, best: &Best<'_>) -> Option<AtomicMember> {
        if package.atomic.is_empty() {
            return None;
        }
        let set = package.set();
        let installed = |state: &State| {
            let packages = self.packages.iter().map(|listed| &listed.release);
            packages.filter(|other| other.is_installed_on(state)).find(|other| other.set() == set)
        };
        let mut devices = Vec::new();
        for (state, chosen) in best.values() {
            let package = chosen.map_or_else(|| installed(state), |listed| Some(&listed.release));
            devices.push(Given { models: state.characteristics.models(), package });
        }
        package.missing_member(&devices)
    }

    /// The part of a set that the device has already, where others are still to be given theirs: it is named again, so that whoever
    /// verifies sees the set whole.
    fn repeated(&self, state: &State, best: &Best<'_>) -> Option<&Listed<Package>> {
        self.packages.iter().find(|listed| {
            let package = &listed.release;
            let set = package.set();
            !package.atomic.is_empty()
                && package.is_installed_on(state)
                && best.values().any(|(_, chosen)| chosen.is_some_and(|other| other.release.set() == set))
                && self.missing(package, best).is_none()
        })
    }

    /// The smallest delta from the device's image to the package.
    fn delta(&self, state: &State, package: &Listed<Package>) -> Option<&Listed<Delta>> {
        let image = state.image.as_ref()?;
        let leads = |listed: &&Listed<Delta>| {
            let Delta { source, result, .. } = &listed.release;
            source.length == image.length
                && source.sha256 == image.sha256
                && result.path == package.path
                && result.is(&package.target)
        };
        self.deltas.iter().filter(leads).min_by_key(|listed| listed.target.length)
    }

    fn recalled(&self, state: &State) -> Option<(Device, Recall)> {
        let mut installed = self.packages.iter().filter(|listed| listed.release.is_installed_on(state));
        let recall = installed.find_map(|listed| listed.release.recalled.clone())?;
        Some((state.characteristics.device.clone(), recall))
    }
}

/// What the roles of a repository name: each of them only what it is trusted for, and none what another one names.
fn trusted_targets(roles: &Roles) -> Result<BTreeMap<&TargetPath, &Target>, InvalidPackage> {
    let mut delegated: BTreeMap<&RoleName, BTreeSet<ModelFolder>> = BTreeMap::new();
    for delegation in roles.values().flat_map(Targets::delegated) {
        delegated.entry(&delegation.name).or_default().extend(ModelFolder::of_delegation(delegation)?);
    }
    let top = RoleName::targets();
    let mut all = BTreeMap::new();
    for (role, targets) in roles {
        let is_trusted = |path: &TargetPath| {
            let folders = delegated.get(role);
            *role == top || folders.is_some_and(|folders| folders.iter().any(|folder| folder.contains(path)))
        };
        for (path, target) in &targets.targets {
            if !is_trusted(path) || all.insert(path, target).is_some() {
                return Err(InvalidPackage::Untrusted(path.clone()));
            }
        }
    }
    Ok(all)
}

/// Each device that is updated through the gateway, and the release that it would be given if it stood alone.
type Best<'a> = BTreeMap<&'a Device, (&'a State, Option<&'a Listed<Package>>)>;

fn order(listed: &Listed<Package>) -> impl Ord + '_ {
    (listed.release.release_counter, &listed.release.post_revision, &listed.path)
}

#[cfg(test)]
mod tests;
